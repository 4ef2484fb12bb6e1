"""Checkpoints of tiny models whose every part matters, with a tokenizer of 330 ids."""

from collections.abc import Callable
from pathlib import Path

import pytest

from frailt.training.checkpoint import load_checkpoint, save_checkpoint, set_generation_defaults

from ..model.tiny import tiny_model

CARD = """---
library_name: transformers
license: cc-by-4.0
---

# A model

It is small.

```python
import frailt
```

## More
"""


@pytest.fixture(scope="session")
def vocabulary(run):
    """The tokenizer of a small run."""
    return load_checkpoint(run)[1]


@pytest.fixture
def saved(vocabulary, tmp_path) -> Callable[..., Path]:
    """Saves a tiny model of a layout, with overrides, as a checkpoint."""

    def saved(layout: str = "1,(2)^3,1^2", **overrides) -> Path:
        return save_tiny(tmp_path / "checkpoint", vocabulary, layout, **overrides)

    return saved


def save_tiny(folder: Path, vocabulary, layout: str, **overrides) -> Path:
    model = tiny_model(layout, **({"vocab_size": 330, "eos_token_id": [1, 2]} | overrides))
    set_generation_defaults(model, vocabulary)
    save_checkpoint(folder, model, vocabulary, CARD)
    return folder
