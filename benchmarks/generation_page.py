"""The page docs/benchmarks-generation.md, made of the records of generate.py. No torch."""

from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import Any

import report

RECORDS = report.RECORDS / "generation"
PAGE = report.ROOT / "docs" / "benchmarks-generation.md"

HEAD = """# Speed of decoding

Written by `benchmarks/generate.py` from the records in `results/benchmarks/generation/`;
`python benchmarks/generation_page.py` writes it anew.

`generate` is transformers' `model.generate` on a `LlamaForCausalLM` of depth 8, greedy, with its own cache. `frailt` is
what `frailt generate`, `frailt complete` and `frailt serve` run: a cache written in place, the step as it is (`off`) or
compiled (`on`). All layouts have depth 8. Every row has a prompt of the same length and none ends, so that nothing is
padded and no finished row dropped: that would be ours to gain. Prompts have 16 tokens where none are said; throughput
counts new tokens over all of the time, reading included. Contenders take turns in one process, in an order that
rotates.

Throughput is the median over the rounds, with the lowest and highest; a ratio is that of the medians, with the lowest
and highest ratio within one round. The first token is the time from prompts to one token each. The first call is a call
for three tokens that compiles, into an empty cache (for twelve on a GPU, where a graph is recorded too); one graph
serves all numbers of rows from two on. Weights are bytes of tensors.

What was aimed at is judged by the faster of `off` and `on`: met where the ratio of the medians reaches the bar;
undecided where it does not but the 95 % interval over rounds does.
"""

SHORT = 16
"""Tokens of a prompt, where none are said."""
BARS = {1: 3.0, 44: 2.0, 256: 2.0}
"""What is aimed at at width 64, compiled, by batch; 1 everywhere else."""


def write_page(page: Path = PAGE, records: Path = RECORDS) -> None:
    """Write the page from all records there are."""
    found = [record for path in sorted(records.glob("*.json")) if (record := report.load(path)) is not None]
    page.write_text(render(found), encoding="utf-8")


def render(records: Sequence[dict[str, Any]]) -> str:
    """The page."""
    parts = [HEAD]
    if not any(record["cells"] for record in records):
        parts.append("There are no records yet.\n")
    for record in sorted(records, key=lambda record: record["machine"]["name"]):
        if record["cells"]:
            parts += [f"## {record['machine']['name']}\n", report.facts(record), *map(_cell, record["cells"].values())]
            parts.append(_bars(record["cells"].values()))
    return "\n".join(parts)


def _cell(cell: dict[str, Any]) -> str:
    columns = [
        "contender",
        "layout",
        "compile",
        "tokens/s",
        "to generate",
        "first token, ms",
        "first call, s",
        "weights, MB",
    ]
    rows = []
    for entry in cell["contenders"].values():
        own = entry["kind"] == "frailt"
        rows.append(
            [
                entry["kind"],
                f"`{entry['layout']}`",
                entry["compile"],
                report.spread(entry["tokens_per_s"], "{:,.0f}"),
                report.shown_ratio(_to_generate(cell, entry)) if own else report.MISSING,
                f"{entry['first_token_s'] * 1e3:,.0f}",
                f"{entry['first_call_s']:.1f}" if entry["compile"] == "on" else report.MISSING,
                report.megabytes(entry["weight_bytes"]),
            ]
        )
    what = f"Width {cell['hidden_size']}, {cell['batch']} {'row' if cell['batch'] == 1 else 'rows'}"
    behind = f" behind {cell['prompt_tokens']:,} read" if cell["prompt_tokens"] != SHORT else ""
    return f"### {what}, {cell['tokens']} tokens each{behind}\n\n{report.table(columns, rows)}\n"


def _bars(cells: Iterable[dict[str, Any]]) -> str:
    rows = []
    for cell in cells:
        is_short = cell["prompt_tokens"] == SHORT
        where = f"width {cell['hidden_size']}, batch {cell['batch']}"
        where += "" if is_short else f", prompt {cell['prompt_tokens']:,}"
        ours = [entry for entry in cell["contenders"].values() if entry["kind"] == "frailt"]
        for layout, entries in groupby(ours, key=lambda entry: entry["layout"]):
            best = max(entries, key=lambda entry: median(entry["tokens_per_s"]))
            bar = BARS.get(cell["batch"], 1.0) if cell["hidden_size"] == 64 and is_short else 1.0
            found = _to_generate(cell, best)
            verdict = report.verdict(best["tokens_per_s"], _of_generate(cell), bar)
            rows.append(
                [f"`{layout}` {best['compile']} to generate", where, f"{bar:.1f}", report.shown_ratio(found), verdict]
            )
    rows += _memory(list(cells))
    return f"### What was aimed at\n\n{report.table(['ratio', 'where', 'bar', 'measured', ''], rows)}\n"


def _memory(cells: Sequence[dict[str, Any]]) -> Iterable[list[str]]:
    """Weights to those of the plain model: under a third for looped layouts, from width 256 on."""
    for width in sorted({cell["hidden_size"] for cell in cells if cell["hidden_size"] >= 256}):
        entries = next(cell for cell in cells if cell["hidden_size"] == width)["contenders"].values()
        plain = next(entry["weight_bytes"] for entry in entries if entry["kind"] == "generate")
        for layout in dict.fromkeys(entry["layout"] for entry in entries if entry["weight_bytes"] < plain):
            held = next(entry["weight_bytes"] for entry in entries if entry["layout"] == layout) / plain
            yield [f"weights, `{layout}` to the Llama's", f"width {width}", "0.333", f"{held:.3f}",
                   "met" if held < 1 / 3 else "not met"]  # fmt: skip


def _to_generate(cell: dict[str, Any], entry: dict[str, Any]) -> tuple[float, float, float]:
    found = report.ratios(entry["tokens_per_s"], _of_generate(cell))
    assert found is not None
    return found


def _of_generate(cell: dict[str, Any]) -> list[float]:
    return next(other["tokens_per_s"] for other in cell["contenders"].values() if other["kind"] == "generate")


if __name__ == "__main__":
    write_page()
