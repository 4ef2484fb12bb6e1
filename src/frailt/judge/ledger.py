"""`replies.jsonl`: one line for every request that was sent, with whatever came back. It is the truth.

What is graded, what is left to ask and what was spent are read from it, so nothing can disagree with it. Lines are only
ever added, each synced to disk before it is counted; one that a kill has cut is dropped.
"""

import json
import os
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Literal

Outcome = Literal["grade", "invalid", "refused", "failed", "lost"]
"""grade: a valid call. invalid: an answer without one, or this story refused. refused: asked in vain, whatever the
story. failed: 429, 5xx and such, or no connection. lost: no answer came to what was sent."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One request and what came of it."""

    question: str
    """Its key."""
    story_sha256: str
    repeat: int
    order: list[str]
    model: str
    endpoint: str
    temperature: float | None
    prompt: str
    outcome: Outcome
    reason: str | None
    """Why there is no grade."""
    grades: dict[str, int] | None
    assessment: str | None
    status: int | None
    raw: str
    """The body of the answer as it came."""
    prompt_tokens: int
    completion_tokens: int
    tokens_from: Literal["reported", "estimated", "none"]
    """estimated: an answer came without a count. none: nothing was to be paid, or nothing is known of it."""
    cost_usd: float | None
    """None where no prices were given."""
    at: str
    elapsed_s: float


class Ledger:
    """All requests so far of one folder.

    Raises:
        ValueError: a line before the last is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.all: list[Asked] = []
        self._by_question: dict[str, list[Asked]] = defaultdict(list)
        self._whole_bytes = 0
        self._file: IO[bytes] | None = None
        raw = path.read_bytes() if path.exists() else b""
        *lines, _cut = raw.split(b"\n")
        for number, line in enumerate(lines, 1):
            try:
                asked = Asked(**json.loads(line))
            except (ValueError, TypeError) as error:
                raise ValueError(
                    f"out must hold a whole replies.jsonl, got {path} with damaged line {number}: restore or remove it"
                ) from error
            self._keep(asked)
            self._whole_bytes += len(line) + 1

    def add(self, asked: Asked) -> None:
        """Write one line; when this returns it will be there whatever happens."""
        if self._file is None:
            self._file = self.path.open("ab")
            self._file.truncate(self._whole_bytes)  # away with what a kill has cut
        line = json.dumps(asdict(asked)).encode() + b"\n"
        self._file.write(line)
        self._file.flush()
        os.fsync(self._file.fileno())
        self._keep(asked)

    def grade(self, question: str) -> Asked | None:
        """The request that brought the grade, if one did: the first, should there be several."""
        return next((asked for asked in self.of(question) if asked.outcome == "grade"), None)

    def unscored(self, question: str, max_attempts: int) -> str | None:
        """Why there is no grade and will be none: so many answers without a valid call. None where that is not so."""
        invalid = [asked for asked in self.of(question) if asked.outcome == "invalid"]
        if self.grade(question) or len(invalid) < max_attempts:
            return None
        return f"{len(invalid)} replies without a valid call, the last: {invalid[-1].reason}"

    def settled(self, question: str, max_attempts: int) -> bool:
        """Whether it is graded or unscored, and not to be asked again."""
        return self.grade(question) is not None or self.unscored(question, max_attempts) is not None

    def of(self, question: str) -> list[Asked]:
        """All requests of a question."""
        return self._by_question.get(question, [])

    def _keep(self, asked: Asked) -> None:
        self.all.append(asked)
        self._by_question[asked.question].append(asked)
