"""The Inspect task: replay each story, and let the judge grade it. `inspect view` opens its log."""

import math
from collections.abc import Callable, Sequence

from inspect_ai import Task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import ModelOutput
from inspect_ai.scorer import Score, Scorer, Target, mean, scorer
from inspect_ai.solver import Generate, Solver, TaskState, solver

from .ask import Asker
from .prompt import CATEGORIES
from .questions import Question


def judge_task(asked: Sequence[Question], asker: Asker, progress: Callable[[], object]) -> Task:
    """Grade stories that were told before; no model is asked for a story.

    Solver and scorer take no arguments, since Inspect writes those into the log.
    """
    by_id = {f"{question.story_sha256[:16]}-{question.repeat}": question for question in asked}

    @solver
    def replay() -> Solver:
        async def solve(state: TaskState, generate: Generate) -> TaskState:
            state.output = ModelOutput.from_content("completions", by_id[str(state.sample_id)].completion)
            state.messages.append(state.output.message)
            return state

        return solve

    @scorer(metrics={name: [mean()] for name in CATEGORIES})
    def grades() -> Scorer:
        async def score(state: TaskState, target: Target) -> Score:
            found = await _score(by_id[str(state.sample_id)], asker)
            progress()
            return found

        return score

    samples = [
        Sample(
            id=name,
            input=question.beginning or " ",  # Inspect takes no empty one
            metadata={"repeat": question.repeat, "order": list(question.order), "question": question.key},
        )
        for name, question in by_id.items()
    ]
    return Task(
        name="frailt_judge",
        dataset=MemoryDataset(samples, name="completions"),
        solver=replay(),
        scorer=grades(),
        metadata={"judge": asker.config.model, "endpoint": asker.config.endpoint},
    )


async def _score(question: Question, asker: Asker) -> Score:
    """What the judge says; where there is no grade, no number, and why."""
    try:
        await asker.ask(question)
    except (OSError, ValueError) as error:  # of the ledger, when a disk is full; of a request that cannot be made
        asker.end(error)
    if (graded := asker.ledger.grade(question.key)) and graded.grades:
        return Score(value=dict(graded.grades), explanation=graded.assessment)
    unscored = asker.ledger.unscored(question.key, asker.config.max_attempts)
    why = f"unscored: {unscored}" if unscored else f"not graded yet: {asker.ended or 'the endpoint failed'}"
    return Score(value=dict.fromkeys(CATEGORIES, math.nan), explanation=why, reason="grader_failed")
