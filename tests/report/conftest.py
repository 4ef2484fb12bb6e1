from pathlib import Path

import pytest

from frailt.report.compose import compose
from frailt.report.document import Document
from frailt.report.markdown import markdown
from frailt.report.reading import read_records


@pytest.fixture
def sweep(tmp_path) -> Path:
    """Where a test may make a sweep."""
    return tmp_path / "sweep"


def document_of(*sweeps: Path) -> Document:
    return compose(read_records([str(sweep) for sweep in sweeps]))


@pytest.fixture
def text_of():
    """The Markdown of a report on sweeps; no figure is drawn."""
    return lambda *sweeps: markdown(document_of(*sweeps))
