"""What a server is told; plain, without torch."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

KEY_VARIABLE = "FRAILT_API_KEY"


@dataclass(kw_only=True)
class ServeConfig:
    """Serve one checkpoint to OpenAI's clients.

    Args:
        checkpoint: checkpoint folder, or run folder, whose last checkpoint is taken.
        host: address to listen at; any but this machine's own needs a key, or open.
        port: port to listen at; 0 takes one that is free.
        name: the model's name for clients; by default that of its folder, or of the run it is in.
        iterations: how often looped groups run; by default as trained. One number, or one per group.
        max_concurrent: texts told at a time.
        max_waiting: texts that may wait for a place; more are answered with 429.
        key_variable: the environment variable that holds the key clients must send; none is asked for where it is
            not set.
        open: let anyone use a server without a key that other machines can reach.
        compile: on compiles the decoding step before the server is ready, which takes some tens of seconds; off does
            not.
        device: auto is a GPU where there is one.
        threads: CPU threads; by default torch's own choice.
    """

    checkpoint: str
    host: str = "127.0.0.1"
    port: int = 8000
    name: str | None = None
    iterations: int | list[int] | None = None
    max_concurrent: int = 16
    max_waiting: int = 64
    key_variable: str = KEY_VARIABLE
    open: bool = False
    compile: Literal["on", "off"] = "off"
    device: str = "auto"
    threads: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.port < 2**16:
            raise ValueError(f"port must be from 0 to 65535, got {self.port}")
        for name in ("max_concurrent", "threads"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, got {getattr(self, name)}")
        if self.max_waiting < 0:
            raise ValueError(f"max_waiting must be 0 or more, got {self.max_waiting}")
        for name in ("host", "name"):
            if getattr(self, name) is not None and not getattr(self, name).strip():
                raise ValueError(f"{name} must not be empty")
        if not self.key_variable.isidentifier():
            raise ValueError("key_variable must be the name of an environment variable that holds the key, not the key")

    def key(self) -> str | None:
        """The key that clients must send; None where the variable is not set, and was not named either.

        Raises:
            ValueError: there is none in a variable that was named, or what cannot be one. The message does not show
                it.
        """
        key = os.environ.get(self.key_variable)
        if key is None and self.key_variable != KEY_VARIABLE:  # not shown: somebody may have given the key itself
            raise ValueError("key_variable must name an environment variable that is set: export it")
        if key is not None and not (key.isascii() and key.isprintable() and key and " " not in key):
            raise ValueError(
                f"key_variable must name a variable with a key of ASCII without spaces, got {self.key_variable}: "
                "set it anew, or unset it"
            )
        return key

    @property
    def model_name(self) -> str:
        """What clients call the model."""
        if self.name is not None:
            return self.name
        folder = Path(self.checkpoint).expanduser().resolve()
        return folder.parent.name if folder.name in ("last", "best") else folder.name
