"""What an export is told; plain, without torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Target = Literal["llama", "gguf", "hub"]
Numbers = Literal["float32", "float16", "q8_0"]


@dataclass(kw_only=True)
class ExportConfig:
    """Write a model for other programs.

    Args:
        checkpoint: checkpoint folder, or run folder, whose last checkpoint is taken.
        to: llama is a folder with a stock Llama, its loops unrolled; gguf is the same in one file, for llama.cpp and
            Ollama; hub is a folder with the looped model and its code, for transformers without this package.
        out: folder or file to write; nothing may be there.
        iterations: how often looped groups run; by default as the checkpoint says. One number, or one per group.
        dtype: numbers in a gguf file; by default float32. q8_0 takes 8.5 bits a number.
        push: repository on the Hugging Face hub, as in me/model, that gets a copy of the folder.
    """

    checkpoint: str
    to: Target
    out: str
    iterations: int | list[int] | None = None
    dtype: Numbers | None = None
    push: str | None = None

    def __post_init__(self) -> None:
        if self.dtype is not None and self.to != "gguf":
            raise ValueError(f"dtype is for gguf files only, got {self.dtype} with {self.to}, which keeps its own")
        if self.push is not None and self.to == "gguf":
            raise ValueError(f"push takes a folder, got {self.push} with a gguf file: export --to llama or hub")
        if self.to == "gguf" and Path(self.out).suffix != ".gguf":
            raise ValueError(f"out must end in .gguf for a gguf file, got {self.out}")
