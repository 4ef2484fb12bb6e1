"""The report of a sweep, from its records alone and without torch: tables, figures, what holds of the paper's claims.

records -> cells -> studies -> estimates, comparisons, fits -> sections of a document -> Markdown, a page, pictures.
grades, stories, measures -> checkpoints -> scores -> differences, power laws -> sections of the same document.
"""
