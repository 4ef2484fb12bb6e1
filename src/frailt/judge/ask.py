"""Asking: one request after another until a question is settled, within bounds, each written down before the next.

Inspect and the SDK send each request once; retries, back-off and caps are here, where each attempt is counted.
"""

import json
import random
import time
from datetime import UTC, datetime

import anyio
from inspect_ai.model import ChatMessageSystem, ChatMessageUser, GenerateConfig, Model, get_model
from inspect_ai.tool import ToolFunction, ToolInfo, ToolParams

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
REFUSE_ALL = {401, 403, 404}
"""Statuses that no other story would be spared."""
_MANY = 1000
FAILED_IN_A_ROW = 3
"""Questions given up one after another, with no answer in between, after which the run ends."""


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
        self._given_up = 0
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
                self.purse.settle(aside, asked, question)
            if asked.outcome in ("grade", "invalid"):
                self._given_up = 0
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
                tool_choice=ToolFunction(name=tool.NAME),
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
            outcome = self._outcome_of_error(noted.status)
            reply = tool.Reply(None, f"status {noted.status}: {_message(noted.body)}", None, None)
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
        if asked.status not in REFUSE_ALL and self._given_up < FAILED_IN_A_ROW:
            return
        if asked.outcome == "refused":
            key = f"the key in {self.config.key_variable}"
            self.end(ValueError(f"the endpoint refused ({asked.reason}); check base_url, model and {key}"))
        else:
            self.end(ConnectionError(f"{self.config.endpoint} fails again and again ({asked.reason})"))

    def _outcome_of_error(self, status: int) -> Outcome:
        """What another status than 200 comes to.

        A story that the endpoint refuses, when it has answered others in the same words, counts as a reply without a
        call: it is too long, or a filter stopped it.
        """
        if status >= 500 or status in SENT_AGAIN:
            return "failed"
        if status not in REFUSE_ALL and any(asked.status == 200 for asked in self.ledger.all):
            return "invalid"
        return "refused"

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
    """The message of an error's body, shortened."""
    try:
        return str(json.loads(body)["error"]["message"])[:160]
    except (ValueError, KeyError, TypeError):
        return " ".join(body.split())[:160] or "no message"
