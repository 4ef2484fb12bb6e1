"""The model: layout notation, configuration, blocks, groups, transformer, costs, conversion.

Imports nothing else of ours. Names that need torch are loaded on first use, so that the layout notation can be had in
milliseconds.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from .early_exit import EarlyExit
from .layout import Layout

if TYPE_CHECKING:
    from .configuration_frailt import FraiLTConfig
    from .modeling_frailt import FraiLTForCausalLM, FraiLTModel

__all__ = ["EarlyExit", "FraiLTConfig", "FraiLTForCausalLM", "FraiLTModel", "Layout"]


def __getattr__(name: str):
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(".auto", __name__), name)
