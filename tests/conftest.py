"""Fixtures shared by all tests. Sizes are distinct primes wherever the model allows, so that mixed-up axes fail."""

import os
from pathlib import Path

import pytest
import torch

REFERENCE_DATA = Path(os.environ.get("FRAILT_REFERENCE_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture(scope="session")
def reference_data() -> Path:
    """The folder of reference data; tests that ask for it are skipped where there is none."""
    if not REFERENCE_DATA.is_dir():
        pytest.skip(f"no reference data at {REFERENCE_DATA}; set FRAILT_REFERENCE_DATA")
    return REFERENCE_DATA


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)
