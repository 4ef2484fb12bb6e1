"""What the judge is told; plain, without torch and without the extra `judge`."""

import math
import os
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

SHORTEST_KEY = 8
"""A shorter one, such as x for a local server, stands in answers by chance, from which the key is taken out."""


@dataclass(kw_only=True)
class JudgeConfig:
    """Have a language model grade stories that `frailt complete` told: grammar, creativity, consistency, plot.

    The same command goes on where it was stopped, and asks nothing again that is graded. The key of the endpoint is
    read from the environment and written nowhere.

    Args:
        completions: folders that `frailt complete` wrote, one per checkpoint.
        out: folder of this judge, new or to go on with; more completions may be judged in it later.
        model: the judge's name at the endpoint, such as gpt-4-1106-preview, the paper's.
        base_url: any endpoint that speaks OpenAI's chat completions: OpenAI, vLLM, Ollama, llama.cpp's server.
        key_variable: the environment variable that holds the key; local servers need none.
        temperature: of the judge; null sends none. The paper names none, so the API's default of 1.
        max_tokens: of one reply of the judge.
        repeats: how often each story is graded; from 2 on the judge's agreement with itself is known.
        orders: paper has the categories always in its order; rotated turns them by one with each repeat, in prompt
            and tool, to measure what their order does.
        tool_choice: how the call is forced. named says which tool, in OpenAI's words; required says any of them, which
            here is the same, for servers that read no name, such as llama.cpp's.
        max_attempts: times a story is asked for before it counts as unscored; of replies without a valid call.
        retries: times a request is sent again after 429, 5xx, a time-out or a cut connection, in this run.
        connections: requests at a time.
        timeout_s: of one request.
        backoff_s: wait before the first retry; doubles with each, with jitter, up to 60 s.
        price_in: dollars per million tokens of prompts.
        price_out: dollars per million tokens of replies.
        spend_cap_usd: most dollars to spend on all that `out` holds; needs both prices.
        token_cap: most tokens, of prompts and replies together, for all that `out` holds.
        dry_run: say what is left to ask and what it may cost, and ask nothing.
        seed: of the order in which stories are asked for.
    """

    completions: list[str]
    out: str
    model: str
    base_url: str = "https://api.openai.com/v1"
    key_variable: str = "OPENAI_API_KEY"
    temperature: float | None = 1.0
    max_tokens: int = 600
    repeats: int = 1
    orders: Literal["paper", "rotated"] = "paper"
    tool_choice: Literal["named", "required"] = "named"
    max_attempts: int = 3
    retries: int = 5
    connections: int = 4
    timeout_s: float = 60.0
    backoff_s: float = 1.0
    price_in: float | None = None
    price_out: float | None = None
    spend_cap_usd: float | None = None
    token_cap: int | None = None
    dry_run: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.completions:
            raise ValueError("completions must be one folder or more, got none")
        if not self.model.strip():
            raise ValueError("model must be the judge's name at the endpoint, got an empty text")
        _check_url(self.base_url)
        if self.key_variable.startswith("sk-") or not self.key_variable.isidentifier():
            raise ValueError("key_variable must be the name of an environment variable that holds the key, not the key")
        for name in ("max_tokens", "repeats", "max_attempts", "connections", "token_cap"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, got {getattr(self, name)}")
        if self.retries < 0:
            raise ValueError(f"retries must be 0 or more, got {self.retries}")
        if self.temperature is not None and not 0 <= self.temperature <= 2:
            raise ValueError(f"temperature must be from 0 to 2, or null, got {self.temperature}")
        for name in ("timeout_s", "spend_cap_usd"):
            if getattr(self, name) is not None and not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be a number above 0, got {getattr(self, name)}")
        for name in ("backoff_s", "price_in", "price_out"):
            if getattr(self, name) is not None and not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be a number, 0 or more, got {getattr(self, name)}")
        if (self.price_in is None) != (self.price_out is None):
            raise ValueError("price_in and price_out must be given both or neither")
        if self.spend_cap_usd is not None and self.price_in is None:
            raise ValueError("spend_cap_usd needs price_in and price_out; without prices give token_cap")

    @property
    def endpoint(self) -> str:
        """Host and port, which is what records name."""
        return urlsplit(self.base_url).netloc

    def key(self) -> str | None:
        """The key from the environment; None where there is none, for a server that asks for none."""
        key = os.environ.get(self.key_variable) or None
        if key is None and self.endpoint == "api.openai.com":
            raise ValueError(
                f"key_variable must name an environment variable that is set, got {self.key_variable}: export it"
            )
        if key is not None and not (key.isascii() and key.isprintable()):
            raise ValueError(
                f"key_variable must name a variable with a key of ASCII, got {self.key_variable}: set it anew"
            )
        if key is not None and len(key) < SHORTEST_KEY:
            raise ValueError(
                f"key_variable must name a variable with a key of {SHORTEST_KEY} characters or more, got "
                f"{self.key_variable} with {len(key)}: unset it where the server asks for none"
            )
        return key


@dataclass(kw_only=True)
class JudgeQualityConfig:
    """Say what grades are worth: agreement, strictness, effects of order and length, and intervals of means.

    Args:
        judged: folder that `frailt judge` wrote.
        other: folder of another judge of the same stories, to measure how far the two agree.
    """

    judged: str
    other: str | None = None


def _check_url(url: str) -> None:
    parts = urlsplit(url)
    if parts.username or parts.password or parts.query:
        raise ValueError("base_url must hold no credentials: put the key into the variable that key_variable names")
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ValueError(f"base_url must start with http:// or https:// and name a host, got {url!r}")
