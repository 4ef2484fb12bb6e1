"""Asking: one request after another until a question is settled, within bounds, each written down before the next.

Inspect and the SDK send each request once; retries, back-off and caps are here, where each attempt is counted.
"""

import json
import random
import time
from datetime import UTC, datetime
from typing import Any

import anyio
from inspect_ai.model import ChatMessageSystem, ChatMessageUser, GenerateConfig, Model, get_model
from inspect_ai.tool import ToolChoice, ToolFunction, ToolInfo, ToolParams

from . import tool
from .config import JudgeConfig
from .ledger import Asked, Ledger, Outcome
from .prompt import SYSTEM
from .purse import CapReached, Purse, cost, tokens_of
from .questions import Question
from .wire import Exchange, NotedClient, exchange

LONGEST_BACKOFF_S = 60.0
SENT_AGAIN = {408, 409, 425, 429}
"""Statuses below 500 after which the same request may succeed later."""
OF_THE_STORY = {400, 413, 422}
"""Statuses that one story may meet with and others not: it is too long, or a filter stopped it. Whatever else is below
500 is meant for all: no such key, no such model, no money."""
_MANY = 1000
FAILED_IN_A_ROW = 3
"""Questions given up one after another, with no answer in between, after which the run ends."""
REFUSED_IN_A_ROW = 5
"""Stories refused so, although the endpoint has answered others: where an account is empty, some say so with 400."""
_TOOL_CHOICE: dict[str, ToolChoice] = {"named": ToolFunction(name=tool.NAME), "required": "any"}
"""In Inspect's words, which sends any as required."""


def judge_model(config: JudgeConfig) -> Model:
    """The judge as a model of Inspect's, each generate of which is one HTTP request."""
    key = config.key()
    return get_model(
        f"openai-api/judge/{config.model}",
        base_url=config.base_url,
        api_key=key or "none",
        config=GenerateConfig(
            max_retries=0,
            max_connections=_MANY,  # Inspect holds a process to the first number it was told; see Asker
            temperature=config.temperature,
            max_tokens=config.max_tokens,
        ),
        memoize=False,
        http_client=NotedClient(key, config.timeout_s),
        max_retries=0,
        strict_tools=False,  # the paper's judge knows no strict schemas; calls are checked here
        stream=False,
    )


class Asker:
    """Asks the judge, and ends the run where that has no use: `ended` then says why."""

    def __init__(self, config: JudgeConfig, ledger: Ledger, purse: Purse) -> None:
        self.config = config
        self.ledger = ledger
        self.purse = purse
        self.ended: BaseException | None = None
        self._began = len(ledger.all)
        self._given_up = self._refused = 0
        self._slots = anyio.Semaphore(config.connections)
        self._model = judge_model(config)

    async def ask(self, question: Question) -> None:
        """Ask until it is settled, given up for now, or the run is to end; as many at a time as connections.

        Raises:
            ValueError, OSError: a request could not be made, or not be written down.
        """
        async with self._slots:
            await self._ask(question)

    async def _ask(self, question: Question) -> None:
        failures = 0
        while not self.ended and not self.ledger.settled(question.key, self.config.max_attempts):
            aside = await self.purse.set_aside(question)
            if aside is None:
                self.end(CapReached(f"{self.purse.cap()} leaves no room for another request"))
                return
            asked, noted = None, Exchange()
            try:
                if self.ended:
                    return
                began = time.perf_counter()
                trouble = await self._send(question, noted)
                asked = self._entry(question, noted, trouble, time.perf_counter() - began)
                self.ledger.add(asked)
            finally:
                self.purse.settle(aside, asked)
            if asked.outcome in ("grade", "invalid"):
                self._given_up = 0
                self._note_refusals(asked)
                continue
            failures += 1
            if asked.outcome == "refused" or failures > self.config.retries:
                self._give_up(asked)
                return
            await self._wait(self._wait_s(failures, noted.retry_after_s))

    def end(self, why: BaseException) -> None:
        """Let no request be sent any more; what is under way is still waited for and kept."""
        self.ended = self.ended or why

    async def _send(self, question: Question, noted: Exchange) -> str:
        """Send one request; returns what went wrong on the way, in words.

        Raises:
            ValueError: nothing was sent.
        """
        fields = tool.parameters(question.order)
        called = ToolInfo(
            name=tool.NAME,
            description=tool.ABOUT,
            parameters=ToolParams.model_validate({"properties": fields, "required": list(fields)}),
        )
        token = exchange.set(noted)
        try:
            await self._model.generate(
                [ChatMessageSystem(content=SYSTEM), ChatMessageUser(content=question.prompt)],
                tools=[called],
                tool_choice=_TOOL_CHOICE[self.config.tool_choice],
            )
        except Exception as error:  # whatever Inspect makes of it: what came over the wire is in `noted`
            cause = error
            while cause.__cause__ is not None:
                cause = cause.__cause__  # type: ignore[assignment]
            if not noted.sent:
                raise ValueError(f"the request could not be made: {cause}") from error
            return f"{type(cause).__name__}: {str(cause)[:120]}"
        finally:
            exchange.reset(token)
        return ""

    def _entry(self, question: Question, noted: Exchange, trouble: str, elapsed_s: float) -> Asked:
        """What the ledger says of a request."""
        outcome: Outcome = "lost"
        reply = tool.Reply(None, trouble or "no answer", None, None)
        if noted.status == 200:
            reply = tool.read_reply(noted.body)
            outcome = "grade" if reply.grade else "invalid"
        elif noted.status is not None:
            outcome = self._outcome_of_error(question, noted.status, noted.body)
            reply = tool.Reply(None, f"status {noted.status}: {_message(noted.body)}", None, None)
        elif not noted.connected:
            outcome = "failed"
        prompt_tokens, completion_tokens = reply.prompt_tokens or 0, reply.completion_tokens or 0
        known = reply.prompt_tokens is not None and reply.completion_tokens is not None
        if noted.status == 200 and not known:
            prompt_tokens, completion_tokens = tokens_of(question.sent_bytes), tokens_of(len(noted.body.encode()))
        return Asked(
            question=question.key,
            story_sha256=question.story_sha256,
            repeat=question.repeat,
            order=list(question.order),
            model=self.config.model,
            endpoint=self.config.endpoint,
            temperature=question.temperature,
            prompt=question.prompt,
            outcome=outcome,
            reason=reply.reason,
            grades=reply.grade.grades if reply.grade else None,
            assessment=reply.grade.assessment if reply.grade else None,
            status=noted.status,
            raw=noted.body,
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            tokens_from="none" if noted.status != 200 else "reported" if known else "estimated",
            cost_usd=cost(self.config, prompt_tokens, completion_tokens).usd,
            at=datetime.now(UTC).isoformat(timespec="seconds"),
            elapsed_s=round(elapsed_s, 3),
        )

    def _give_up(self, asked: Asked) -> None:
        """Leave a question open for another run; end this one where the others will fare no better."""
        self._given_up += 1
        for_all = asked.outcome == "refused" and asked.status not in OF_THE_STORY
        if not for_all and self._given_up < FAILED_IN_A_ROW:
            return
        if asked.outcome == "refused":
            self.end(ValueError(f"the endpoint refused ({asked.reason}); {self._check()}"))
        else:
            self.end(ConnectionError(f"{self.config.endpoint} fails again and again ({asked.reason})"))

    def _note_refusals(self, asked: Asked) -> None:
        """End the run where story after story is refused: it may be all of them, whatever was answered before."""
        if asked.status == 200:
            self._refused = 0
            return
        self._refused += self.ledger.settled(asked.question, self.config.max_attempts)
        if self._refused >= REFUSED_IN_A_ROW:
            more = f"{self._check()}; a higher max_attempts asks again for these stories, which are unscored now"
            self.end(ValueError(f"the endpoint refused {self._refused} stories on end ({asked.reason}); {more}"))

    def _check(self) -> str:
        return f"check base_url, model, the key in {self.config.key_variable} and what its account has left"

    def _outcome_of_error(self, question: Question, status: int, body: str) -> Outcome:
        """What another status than 200 comes to."""
        if status == 429 and _error(body).get("code") == "insufficient_quota":  # OpenAI's, where no money is left
            return "refused"
        if status >= 500 or status in SENT_AGAIN:
            return "failed"
        return "invalid" if status in OF_THE_STORY and self._others_are_answered(question) else "refused"

    def _others_are_answered(self, question: Question) -> bool:
        """Whether the endpoint answers stories but refuses this one: such a refusal is a reply without a call.

        Answers of this run count, and those since it first refused this story; older ones say nothing of it now.
        """
        asked = self.ledger.all
        first = next((i for i, each in enumerate(asked) if _refuses(each, question)), self._began)
        return any(each.status == 200 for each in asked[min(first, self._began) :])

    async def _wait(self, seconds: float) -> None:
        """Sleep, but no longer than the run goes on."""
        until = anyio.current_time() + seconds
        while not self.ended and (left := until - anyio.current_time()) > 0:
            await anyio.sleep(min(left, 0.2))

    def _wait_s(self, failures: int, retry_after_s: float | None) -> float:
        """Doubling, with jitter so that not all come back at once; and at least what the server asks for."""
        wait = min(self.config.backoff_s * 2 ** (failures - 1), LONGEST_BACKOFF_S)
        return max(wait * random.uniform(0.5, 1.0), retry_after_s or 0.0)


def _message(body: str) -> str:
    """The message of an error's body, on one line and shortened."""
    return " ".join(str(_error(body).get("message") or body).split())[:160] or "no message"


def _error(body: str) -> dict[str, Any]:
    """What an error's body says of it; empty where that cannot be read."""
    try:
        error = json.loads(body)["error"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    return error if isinstance(error, dict) else {}


def _refuses(asked: Asked, question: Question) -> bool:
    return asked.question == question.key and asked.status in OF_THE_STORY
