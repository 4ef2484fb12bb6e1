"""What measuring is told; plain, without torch."""

from dataclasses import dataclass


@dataclass(kw_only=True)
class MeasureConfig:
    """Measure completions without a judge: perplexity, repetition, distinct n-grams, ends, copies from training.

    Each folder gets a measures.json and a measures.jsonl. Finished ones are passed over.

    Args:
        completions: folders that `frailt complete` or `frailt real-stories` wrote.
        evaluator: checkpoint or run folder of a stronger model, of this project or any causal language model that
            transformers loads; without it there is no perplexity.
        corpus: prepared corpus that the measured models were trained on; without it copies are not looked for.
        batch_size: texts per forward pass of the evaluator.
        device: of the evaluator; auto is a GPU where there is one.
        threads: CPU threads; by default torch's own choice.
    """

    completions: list[str]
    evaluator: str | None = None
    corpus: str | None = None
    batch_size: int = 16
    device: str = "auto"
    threads: int | None = None

    def __post_init__(self) -> None:
        if not self.completions:
            raise ValueError("completions must be one folder or more, got none")
        for name in ("batch_size", "threads"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, got {getattr(self, name)}")


@dataclass(kw_only=True)
class RealStoriesConfig:
    """Lay out real stories as if a model had told them, so that measures and judges have a yardstick.

    Stories of the validation split are cut into a beginning, as long as one that models are given, and what follows.

    Args:
        data: prepared corpus.
        out: folder of completions to write.
        stories: how many, evenly spread over the split.
        prompts: beginnings that models are given, whose lengths in words are taken in turn; by default those shipped.
    """

    data: str
    out: str
    stories: int = 100
    prompts: str | None = None

    def __post_init__(self) -> None:
        if self.stories < 1:
            raise ValueError(f"stories must be 1 or more, got {self.stories}")
