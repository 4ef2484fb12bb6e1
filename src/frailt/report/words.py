"""How numbers are written, in tables and sentences alike, and how text from records is kept from being markup."""

import re
from collections.abc import Sequence

from .statistics import Estimate

MISSING = "—"
_MINUS = "−"
_UNBROKEN = "\u00a0"
"""A space at which no line is broken."""
_LEAST_P = 0.001
_HARMLESS = re.compile(r"[\w .,:;()^/+=-]+", re.ASCII)
_MARKUP = re.compile(r"([\\`*_{}\[\]<>#|!&~])")


def number(value: float | None, digits: int = 3) -> str:
    """A number with a true minus sign, and none for a zero."""
    if value is None:
        return MISSING
    text = f"{value:.{digits}f}"
    return (text.lstrip("-") if float(text) == 0 else text).replace("-", _MINUS)


def signed(value: float | None, digits: int = 3) -> str:
    """A number with its sign."""
    text = number(value, digits)
    return f"+{text}" if value is not None and float(text.replace(_MINUS, "-")) > 0 else text


def whole(value: float) -> str:
    """Such as 139,584."""
    return f"{value:,.0f}"


def short(value: object) -> str:
    """A value on one line; of a long one, such as a hash, the beginning."""
    text = " ".join(str(value).split())
    return text if len(text) <= 40 else f"{text[:12]}…"


def rate(value: float) -> str:
    """A learning rate, such as 0.003."""
    return f"{value:g}"


def counted(count: int, what: str) -> str:
    """1 run, 12 runs."""
    return f"{whole(count)} {what}{'' if count == 1 else 's'}"


def seeds(count: int) -> str:
    """1 seed, 5 seeds."""
    return counted(count, "seed")


def percent(share: float, *, signed: bool = False) -> str:
    """Such as 3 %, on one line; its size alone unless `signed`."""
    rounded = round(100 * share)
    sign = "" if not signed or not rounded else "+" if rounded > 0 else _MINUS
    return f"{sign}{abs(rounded)}{_UNBROKEN}%"


def probability(p: float) -> str:
    """Such as p = 0.62, or p < 0.001."""
    return (f"p {p_alone(p)}" if p < _LEAST_P else f"p = {p_alone(p)}").replace(" ", _UNBROKEN)


def p_alone(p: float) -> str:
    """Such as 0.62, or < 0.001."""
    return f"< {_LEAST_P}" if p < _LEAST_P else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def interval(low: float, high: float, digits: int = 3) -> str:
    """Such as [0.050, 0.088]."""
    return f"[{number(low, digits)}, {number(high, digits)}]"


def around(found: Estimate, digits: int = 3) -> str:
    """The interval of an estimate with a space before it; empty where it has none."""
    if found.half_width is None:
        return ""
    return f" {interval(found.mean - found.half_width, found.mean + found.half_width, digits)}"


def nats(found: Estimate) -> str:
    """The size of an effect, its sign left to the sentence: 0.069 nats [0.050, 0.088], 5 seeds."""
    size = Estimate(abs(found.mean), found.half_width, found.seeds)
    return f"{number(size.mean)} nats{around(size)}, {seeds(size.seeds)}"


def spread(found: Estimate | None, digits: int = 3) -> str:
    """A mean with its interval and seeds, for tables: 1.935 ± 0.012 (5), or 1.935 (1 seed)."""
    if found is None:
        return MISSING
    if found.half_width is None:
        return f"{number(found.mean, digits)} ({seeds(found.seeds)})"
    return f"{number(found.mean, digits)} ± {number(found.half_width, digits)} ({found.seeds})"


def series(parts: Sequence[str]) -> str:
    """Such as 1, 2 and 3."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def code(text: object) -> str:
    """Text to be shown as it is typed; where it holds what markup is made of, as plain text."""
    return f"`{text}`" if _HARMLESS.fullmatch(str(text)) else plain(text)


def plain(text: object) -> str:
    """Text from records, on one line, with what might be markup taken literally."""
    whole = " ".join(str(text).split()).encode("utf-8", "replace").decode()  # halves of characters cannot be written
    return _MARKUP.sub(r"\\\1", whole)
