"""What asking costs: an estimate before, and caps that the whole folder is held to.

A request is sent only if all that was counted so far, all that is under way and the most that this one should cost stay
within the caps together. What was counted is what the endpoint reported, whether its reply was of use or not; for a
request without an answer, which it may bill, it is the most that it should cost.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import anyio

from .config import JudgeConfig
from .ledger import Asked, Ledger
from .questions import Question, sent_bytes

USUAL_BYTES_PER_TOKEN = 4.0
"""Of English in the vocabularies of large models; for the estimate."""
FEWEST_BYTES_PER_TOKEN = 3.0
"""For the most that a request should cost; raised by what the endpoint reports, where that is more."""
USUAL_REPLY_TOKENS = 150
OVERHEAD_TOKENS = 64
"""Of the chat protocol, for roles and the tool."""


@dataclass(frozen=True)
class Cost:
    """Tokens, and dollars where prices are known."""

    tokens: int
    usd: float | None

    def __str__(self) -> str:
        return f"{self.tokens:,} tokens" + ("" if self.usd is None else f", ${self.usd:,.2f}")


def cost(config: JudgeConfig, prompt_tokens: int, completion_tokens: int) -> Cost:
    """What so many tokens cost by the prices of the configuration."""
    usd = None
    if config.price_in is not None and config.price_out is not None:
        usd = (prompt_tokens * config.price_in + completion_tokens * config.price_out) / 1e6
    return Cost(prompt_tokens + completion_tokens, usd)


def tokens_of(text_bytes: int, bytes_per_token: float = USUAL_BYTES_PER_TOKEN) -> int:
    """Tokens of so many bytes, rounded up."""
    return math.ceil(text_bytes / bytes_per_token)


def expected(config: JudgeConfig, asked: Sequence[Question], ledger: Ledger) -> Cost:
    """What asking all this should cost: each once, replies as long as those so far, or 150 tokens."""
    replies = [reply.completion_tokens for reply in ledger.all if reply.tokens_from == "reported"]
    reply_tokens = math.ceil(sum(replies) / len(replies)) if replies else min(USUAL_REPLY_TOKENS, config.max_tokens)
    prompts = sum(tokens_of(question.sent_bytes) + OVERHEAD_TOKENS for question in asked)
    return cost(config, prompts, len(asked) * reply_tokens)


class CapReached(ValueError):
    """Another request could cost more than is left."""


class Purse:
    """What is spent, what is set aside for requests under way, and whether another one fits."""

    def __init__(self, config: JudgeConfig, ledger: Ledger) -> None:
        self.config = config
        self.tokens = 0
        self.usd = 0.0
        self.lost = 0
        self.unknown = Cost(0, None if config.price_in is None else 0.0)
        """The most that the lost ones should have cost; counts against caps, and not as spent."""
        self._aside: list[Cost] = []
        self._stretch = 1.0
        self._released = anyio.Event()
        for reply in ledger.all:
            self._count(reply)

    def most(self, question: Question) -> Cost:
        """The most that one request should cost."""
        return self._most(question.sent_bytes)

    async def set_aside(self, question: Question) -> Cost | None:
        """Set the most that a request should cost aside; None where no cap leaves room for it.

        While others are under way this waits for them, since most cost less than was set aside.
        """
        while not self._fits(most := self.most(question)):
            if not self._aside:
                return None
            await self._released.wait()
        self._aside.append(most)
        return most

    def settle(self, aside: Cost, reply: Asked | None) -> None:
        """Count what came in place of what was set aside."""
        self._aside.remove(aside)
        if reply is not None:
            self._count(reply)
        released, self._released = self._released, anyio.Event()
        released.set()

    @property
    def spent(self) -> Cost:
        """All that was counted, of this run and those before it."""
        return Cost(self.tokens, None if self.config.price_in is None else self.usd)

    def told(self) -> str:
        """What was spent in words, and what may have been."""
        if not self.lost:
            return f"{self.spent} spent"
        requests = f"{self.lost} request{'s' if self.lost > 1 else ''}"
        return f"{self.spent} spent and up to {self.unknown} more by {requests} without an answer"

    def cap(self) -> str:
        """The caps in words."""
        caps = []
        if self.config.spend_cap_usd is not None:
            caps.append(f"spend_cap_usd of ${self.config.spend_cap_usd:,.2f}")
        if self.config.token_cap is not None:
            caps.append(f"token_cap of {self.config.token_cap:,}")
        return " or ".join(caps)

    def _fits(self, most: Cost) -> bool:
        may_come = [self.unknown, *self._aside, most]
        tokens = self.tokens + sum(each.tokens for each in may_come)
        usd = self.usd + math.fsum(each.usd or 0.0 for each in may_come)
        config = self.config
        return (config.token_cap is None or tokens <= config.token_cap) and (
            config.spend_cap_usd is None or usd <= config.spend_cap_usd
        )

    def _count(self, reply: Asked) -> None:
        self.tokens += reply.prompt_tokens + reply.completion_tokens
        paid = reply.cost_usd
        if paid is None:  # no prices were given then; by today's
            paid = cost(self.config, reply.prompt_tokens, reply.completion_tokens).usd
        self.usd += paid or 0.0
        size = sent_bytes(reply.prompt, tuple(reply.order))
        if reply.tokens_from == "reported":
            self._stretch = max(self._stretch, reply.prompt_tokens / _guessed_tokens(size))
        if reply.outcome == "lost":
            self.lost += 1
            most = self._most(size)
            usd = None if self.unknown.usd is None else self.unknown.usd + (most.usd or 0.0)
            self.unknown = Cost(self.unknown.tokens + most.tokens, usd)

    def _most(self, size: int) -> Cost:
        """The most that a request of so many bytes should cost."""
        return cost(self.config, math.ceil(_guessed_tokens(size) * self._stretch), self.config.max_tokens)


def _guessed_tokens(size: int) -> int:
    """The most tokens that a prompt of so many bytes should have, before anything is known of the endpoint."""
    return tokens_of(size, FEWEST_BYTES_PER_TOKEN) + OVERHEAD_TOKENS
