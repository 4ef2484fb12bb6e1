"""What was measured, as JSON."""

import json
import math
from dataclasses import asdict
from typing import Any


def in_json(measured: Any, *left_out: str) -> str:
    """The fields of a dataclass but for those left out, on one line; null for what is no finite number."""
    return json.dumps({name: _plain(value) for name, value in asdict(measured).items() if name not in left_out})


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
