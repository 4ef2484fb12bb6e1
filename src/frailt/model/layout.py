"""The layout notation: which blocks a model has, and how often it runs them.

A layout is a sequence of groups. A group is L blocks run in order, M times (paper, section 2). One string writes it:

=============  ==========================================================
``8``          eight blocks, each run once: the standard model
``2^4``        2 groups of one block, each iterated 4 times (the paper's notation, Table 3)
``(2)^4``      one group of two blocks, the whole of it run 4 times
``1,(2)^4,1``  prelude, loop, coda: groups one after another
=============  ==========================================================

Layouts that compute the same are equal and print the same: ``(1)^4,(1)^4`` is ``2^4``, ``1,1`` is ``2``, ``(3)^1`` is
``3``.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

MAX_DEPTH = 1024
"""The most block applications a layout may ask for: a bound against slips such as ``(8)^800``."""

_TERM = re.compile(r"(?:(?P<count>\d+)|\((?P<blocks>\d+)\))(?:\^(?P<iterations>\d+))?", re.ASCII)
_EXAMPLES = "write it like 8, 2^4, (2)^4 or 1,(2)^4,1"


class GroupShape(NamedTuple):
    """`blocks` (L) run in order, `iterations` (M) times."""

    blocks: int
    iterations: int


class Application(NamedTuple):
    """One block application: block `block` of group `group` in iteration `iteration`, each counted from 0."""

    group: int
    iteration: int
    block: int


@dataclass(frozen=True)
class Layout:
    """A sequence of groups in normal form: neighbouring groups with M = 1 are one group.

    Raises:
        ValueError: no groups, a count below 1, or a depth above `MAX_DEPTH`.
    """

    groups: tuple[GroupShape, ...]

    def __post_init__(self) -> None:
        if not self.groups:
            raise ValueError(f"layout must have at least one group, got none: {_EXAMPLES}")
        for shape in self.groups:
            if shape.blocks < 1 or shape.iterations < 1:
                raise ValueError(
                    f"layout must have at least 1 block and 1 iteration in every group, "
                    f"got {shape.blocks} and {shape.iterations}: {_EXAMPLES}"
                )
        object.__setattr__(self, "groups", tuple(_merge_plain(self.groups)))
        check_depth(self.depth, "layout", str(self))

    @classmethod
    def parse(cls, text: str) -> "Layout":
        """Read the notation. Spaces around commas are allowed.

        Raises:
            ValueError: the text is not a layout; the line names the term at fault and the rule.
        """
        if not isinstance(text, str) or not text.strip():
            raise ValueError(f"layout must be a text such as 2^4, got {text!r}: {_EXAMPLES}")
        groups: list[GroupShape] = []
        for term in (part.strip() for part in text.split(",")):
            groups += _parse_term(term, text)
        return cls(tuple(groups))

    def __str__(self) -> str:
        terms = []
        for shape, run in groupby(self.groups):
            repeats = len(list(run))
            if shape.iterations == 1:
                terms.append(str(shape.blocks))
            elif shape.blocks == 1:
                terms.append(f"{repeats}^{shape.iterations}")
            else:
                terms += [f"({shape.blocks})^{shape.iterations}"] * repeats
        return ",".join(terms)

    @property
    def depth(self) -> int:
        """Block applications in one pass: the sum of L * M over groups. Compute is matched on it."""
        return sum(shape.blocks * shape.iterations for shape in self.groups)

    @property
    def unique_blocks(self) -> int:
        """Blocks with weights of their own: the sum of L over groups."""
        return sum(shape.blocks for shape in self.groups)

    @property
    def is_looped(self) -> bool:
        """Whether any group runs more than once. A layout that is not looped is Llama."""
        return any(shape.iterations > 1 for shape in self.groups)

    def iterations(self, wanted: int | Sequence[int] | None = None) -> tuple[int, ...]:
        """How often each group runs: the trained M, or what is wanted instead.

        Args:
            wanted: `None` for the trained counts; one count for every looped group; or one count per group.

        Raises:
            ValueError: a count below 1, a wrong number of counts, one count where nothing loops, or too deep.
        """
        trained = tuple(shape.iterations for shape in self.groups)
        if wanted is None:
            return trained
        given = wanted if isinstance(wanted, Sequence) else (wanted,)
        if any(type(count) is not int or count < 1 for count in given):
            raise ValueError(f"iterations must be whole numbers of 1 or more, got {wanted!r}")
        if isinstance(wanted, int):
            if not self.is_looped:
                raise ValueError(
                    f"iterations must be one count per group where the layout has no loop, "
                    f"got {wanted} for layout {self}"
                )
            counts = tuple(wanted if m > 1 else 1 for m in trained)
        else:
            counts = tuple(given)
        if len(counts) != len(trained):
            raise ValueError(
                f"iterations must have one count per group, "
                f"got {list(counts)} for the {len(trained)} groups of layout {self}"
            )
        depth = sum(shape.blocks * count for shape, count in zip(self.groups, counts, strict=True))
        check_depth(depth, "iterations", str(wanted))
        return counts

    def applications(self, iterations: int | Sequence[int] | None = None) -> list[Application]:
        """Every block application in the order it runs; entry k uses attention slot k."""
        return [
            Application(g, m, b)
            for g, (shape, count) in enumerate(zip(self.groups, self.iterations(iterations), strict=True))
            for m in range(count)
            for b in range(shape.blocks)
        ]


def check_depth(depth: int, field: str, value: str) -> None:
    """Raise a ValueError naming `field` where `depth` block applications are more than `MAX_DEPTH`."""
    if depth > MAX_DEPTH:
        raise ValueError(f"{field} must stay within {MAX_DEPTH} block applications, got {value} with {depth}")


def _parse_term(term: str, text: str) -> list[GroupShape]:
    if not term:
        raise ValueError(f"layout has an empty term, got {text!r}: put one group between commas, as in 1,(2)^4,1")
    match = _TERM.fullmatch(term)
    if match is None:
        raise ValueError(f"layout term must be a number or (number), then perhaps ^number, got {term!r}: {_EXAMPLES}")
    count, blocks, iterations = match["count"], match["blocks"], match["iterations"]
    for number in (count, blocks, iterations):
        if number is not None and (len(number) > 6 or int(number) < 1):
            raise ValueError(f"layout numbers must be from 1 to {MAX_DEPTH}, got {term!r}: {_EXAMPLES}")
    if blocks is not None and iterations is None:
        raise ValueError(
            f"layout term {term!r} has brackets but no iterations: write ({blocks})^4, or {blocks} for no loop"
        )
    if blocks is not None:
        return [GroupShape(int(blocks), int(iterations))]
    if iterations is None:
        return [GroupShape(int(count), 1)]
    check_depth(int(count) * int(iterations), "layout", term)  # before a list of that many groups is made
    return [GroupShape(1, int(iterations))] * int(count)


def _merge_plain(groups: Iterable[GroupShape]) -> Iterable[GroupShape]:
    for plain, run in groupby(groups, key=lambda shape: shape.iterations == 1):
        if plain:
            yield GroupShape(sum(shape.blocks for shape in run), 1)
        else:
            yield from (GroupShape(*shape) for shape in run)
