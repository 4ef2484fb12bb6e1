"""Figures, each from losses or cells to a matplotlib figure; `style` says how a layout looks in all of them."""
