"""Records of the speed benchmarks, and the page docs/benchmarks.md that is made of them. No torch.

A record is one JSON file per machine and script: `machine`, `versions`, `threads`, and what was measured, `cells` (by
name, contenders that took turns), `compile` (times to the first step), `shares` (of a step's time) or `kernels` (times
of attention kernels).
"""

import json
import math
import os
import platform
import re
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import Any

from frailt.report.statistics import estimate

ROOT = Path(__file__).parents[1]
RECORDS = ROOT / "results" / "benchmarks"
PAGE = ROOT / "docs" / "benchmarks.md"
MISSING = "—"
KERNELS = ["sdpa", "sdpa_padded", "narrow"]
"""Attention kernels for narrow heads: torch's, the same with heads padded to 16, ours."""
SHARES = ["attention", "matrix products", "optimiser and clipping", "loss", "the rest"]
"""What the operators of a training step are told apart as."""

HEAD = """# Speed and memory of training

Written by the scripts in `benchmarks/` from the records in `results/benchmarks/`; `python benchmarks/report.py` writes
it anew.

`frailt` is `frailt train` itself, logging included. `trainer` is a user's script: transformers' `Trainer` with its
defaults on a `LlamaForCausalLM` of depth 8. `loop` is a loop written by hand on the same Llama: torch.compile of the
whole model, fused AdamW, the fastest of torch's attention kernels for the width, nothing read back. Batch, context,
precision and threads are equal; every layout of ours has depth 8 too, so that a token costs as many FLOPs. Each
contender is a process; they train in turn, some steps each, in an order that rotates.

Throughput is the median over the rounds, with the lowest and highest; a ratio is that of the medians, with the lowest
and highest ratio within one round. A bar is met where the ratio of the medians is; *undecided* is what the 95 %
interval over rounds leaves open. Ours is judged compiled by block, whatever was faster. MFU is against a large matrix
product on the same device and in the same precision, attention counted as the full square. Weights and AdamW are bytes
of tensors; the peak is of all tensors on a GPU, of the process on a CPU. The first step is missing where several
contenders set themselves up at the same time.
"""


def new_record(name: str, device: str, threads: int) -> dict[str, Any]:
    """A record without measurements."""
    return {"machine": machine(name, device), "versions": versions(), "threads": threads, "cells": {}, "compile": {}}


def machine(name: str, device: str) -> dict[str, Any]:
    """What the machine is; `name` in place of the one found, where it is not empty."""
    cpu = re.search(r"model name\s*:\s*(.*)", _text(Path("/proc/cpuinfo")))
    memory = re.search(r"MemTotal:\s*(\d+)", _text(Path("/proc/meminfo")))
    found = {
        "cpu": cpu[1].strip() if cpu else platform.processor() or platform.machine(),
        "cores": _cores(),
        "memory_gb": round(int(memory[1]) / 1e6, 1) if memory else None,
    }
    if device == "cuda":
        import torch  # here because reports are rebuilt where there is none

        found["gpu"] = torch.cuda.get_device_name()
    return {"name": name or f"{found.get('gpu', found['cpu'])}, {found['cores']} cores", **found}


def versions() -> dict[str, str | None]:
    """Of the libraries that matter for speed."""
    named = ("torch", "transformers", "accelerate", "frailt")
    return {"python": platform.python_version(), **{name: _version(name) for name in named}}


def record_path(folder: Path, script: str, record: dict[str, Any]) -> Path:
    """Where a record lies: the script and the machine, in letters that every file system takes."""
    return folder / f"{script}-{re.sub(r'[^a-z0-9]+', '-', record['machine']['name'].lower()).strip('-')}.json"


def load(path: Path) -> dict[str, Any] | None:
    """The record at `path`, None where there is none."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def save(path: Path, record: dict[str, Any]) -> None:
    """Write, then rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    partial.replace(path)


def write_page(page: Path = PAGE, records: Path = RECORDS) -> None:
    """Write the page from all records there are."""
    found = [record for path in sorted(records.glob("*.json")) if (record := load(path)) is not None]
    page.write_text(render(found), encoding="utf-8")


def render(records: Sequence[dict[str, Any]]) -> str:
    """The page."""
    parts = [HEAD]
    if not any(map(_is_filled, records)):
        parts.append("There are no records yet.\n")
    ordered = sorted(records, key=lambda record: record["machine"]["name"])
    for name, group in groupby(ordered, key=lambda record: record["machine"]["name"]):
        parts.append(f"## {name}\n")
        for record in group:
            parts += _record(record)
    return "\n".join(parts)


def _record(record: dict[str, Any]) -> Iterable[str]:
    cells = [cell for cell in record["cells"].values() if cell["contenders"]]
    if not _is_filled(record):
        return
    yield facts(record)
    for cell in record["cells"].values():
        yield _cell(cell)
    if cells:
        yield _bars(cells)
    if record["compile"]:
        yield _compile(record["compile"])
    if record.get("shares"):
        yield _shares(record["shares"])
    if record.get("kernels"):
        yield _kernels(record["kernels"])


def _is_filled(record: dict[str, Any]) -> bool:
    has_cells = any(cell["contenders"] for cell in record["cells"].values())
    return has_cells or any(record.get(part) for part in ("compile", "shares", "kernels"))


def facts(record: dict[str, Any]) -> str:
    """A line on the machine and the libraries."""
    libraries = ", ".join(f"{name} {number}" for name, number in record["versions"].items() if number)
    memory = record["machine"].get("memory_gb")
    found = [record["machine"]["cpu"], f"{record['machine']['cores']} cores", f"threads {record['threads']}"]
    found += [f"{memory} GB"] if memory else []
    return f"{', '.join(found)}; {libraries}.\n"


# Throughput


def _cell(cell: dict[str, Any]) -> str:
    what = f"Width {cell['hidden_size']}, {cell['rows']} rows of {cell['context']} tokens"
    if not cell["contenders"]:
        return f"### {what}, precision auto\n\nauto comes to {cell['precision']} here: see there.\n"
    columns = [
        "contender", "layout", "compile", "precision", "tokens/s", "to trainer", "to loop", "MFU", "weights, MB",
        "AdamW, MB", "peak, MB", "planned, MB", "first step, s",
    ]  # fmt: skip
    rows = [_contender(cell, name) for name in cell["contenders"]]
    return f"### {what}, {cell['precision']}\n\n{table(columns, rows)}\n"


def _contender(cell: dict[str, Any], name: str) -> list[str]:
    entry = cell["contenders"][name]
    if "error" in entry:
        return [name, *[MISSING] * 3, entry["error"].replace("|", "/")[:80], *[MISSING] * 8]
    rates, flops = entry["tokens_per_s"], entry["training_flops_per_token"]
    ceiling = ceiling_of(cell, entry)
    own = entry["kind"] == "frailt"
    return [
        entry["kind"],
        f"`{entry['layout']}`",
        entry.get("chosen_compile") or entry["compile"],
        entry.get("chosen_precision") or entry["precision"],
        spread(rates, "{:,.0f}"),
        ratio(cell, name, "trainer") if own else MISSING,
        ratio(cell, name, "loop") if own else MISSING,
        f"{median(rates) * flops / ceiling:.0%}" if ceiling else MISSING,
        megabytes(entry["weight_bytes"]),
        megabytes(entry["optimizer_bytes"]),
        megabytes(entry["peak_memory_bytes"]),
        megabytes(entry["planned_peak_memory_bytes"]) if "gpu" in cell["device"] else MISSING,
        f"{entry['first_step_s']:.1f}" if cell.get("at_once", 1) == 1 else MISSING,
    ]


def ceiling_of(cell: dict[str, Any], entry: dict[str, Any]) -> float | None:
    """FLOP/s of a matrix product in the entry's precision, as our contenders of this cell measured it."""
    precision = entry.get("chosen_precision") or entry["precision"]
    if "matmul_flops_per_s" in cell:  # measured apart, for contenders that set themselves up at the same time
        return cell["matmul_flops_per_s"] if precision == cell["precision"] else None
    found = [
        other["chosen_matmul_flops_per_s"]
        for other in cell["contenders"].values()
        if other.get("chosen_precision") == precision and other.get("chosen_matmul_flops_per_s")
    ]
    return median(found) if found else None


def rates_of(cell: dict[str, Any], kind: str, precision: str) -> list[float] | None:
    """Tokens per second, round by round, of a peer; None where it was not measured."""
    found = [
        entry["tokens_per_s"]
        for entry in cell["contenders"].values()
        if entry.get("kind") == kind and entry["precision"] == precision
    ]
    return found[0] if found else None


def ratios(ours: Sequence[float], theirs: Sequence[float] | None) -> tuple[float, float, float] | None:
    """The ratio of the medians, and the lowest and highest ratio within one round."""
    if not theirs or not ours:
        return None
    rounds = [a / b for a, b in zip(ours, theirs, strict=False)]
    return median(ours) / median(theirs), min(rounds), max(rounds)


def ratio(cell: dict[str, Any], name: str, kind: str) -> str:
    """A contender's throughput to that of a peer at the cell's precision."""
    return shown_ratio(ratios(cell["contenders"][name]["tokens_per_s"], rates_of(cell, kind, cell["precision"])))


# What is aimed at


def _bars(cells: list[dict[str, Any]]) -> str:
    rows: list[list[str]] = []
    for cell in cells:
        where = f"width {cell['hidden_size']}, {cell['precision']}"
        peers = [rates for kind in ("trainer", "loop") if (rates := rates_of(cell, kind, cell["precision"]))]
        faster = max(peers, key=median, default=None)
        slow = rates_of(cell, "trainer", "float32") if cell["precision"] != "float32" else None
        plain = next((e for e in cell["contenders"].values() if e.get("kind") == "trainer"), None)
        own = dict(_ours(cell))
        for layout, entries in own.items():
            best = next((entry for entry in entries if entry["chosen_compile"] == "block"), entries[0])
            how = f"`{layout}` {best['chosen_compile']}"
            rows.append([f"throughput to the faster peer, {how}", where, "1.0", *_judged(best, faster, 1.0)])
            if slow and cell["hidden_size"] >= 256:
                rows.append([f"throughput to the float32 trainer, {how}", where, "1.6", *_judged(best, slow, 1.6)])
            if layout != "8":
                for entry in entries:
                    alike = [e for e in own.get("8", ()) if e["chosen_compile"] == entry["chosen_compile"]]
                    what = f"throughput of `{layout}` to our `8`, {entry['chosen_compile']}"
                    if alike:
                        rows.append([what, where, "1.0", *_judged(entry, alike[0]["tokens_per_s"], 1.0)])
            if plain and cell["precision"] == "float32":
                unique = best["parameters"] / plain["parameters"]
                held = (best["weight_bytes"] + best["optimizer_bytes"]) / (
                    plain["weight_bytes"] + plain["optimizer_bytes"]
                )
                verdict = "met" if held <= unique * 1.01 else "not met"
                rows.append(
                    [f"weights and AdamW to trainer's, `{layout}`", where, f"{unique:.3f}", f"{held:.3f}", verdict]
                )
    if cells and all(cell["precision"] == "float32" for cell in cells):
        rows.append(["throughput with `auto` to the float32 trainer", "width 256 and up", "1.6", MISSING, _NO_BFLOAT16])
    return f"### What was aimed at\n\n{table(['ratio', 'where', 'bar', 'measured', ''], rows)}\n"


_NO_BFLOAT16 = "not shown: `auto` is float32 on this machine"


def _ours(cell: dict[str, Any]) -> Iterable[tuple[str, list[dict[str, Any]]]]:
    ours = [entry for entry in cell["contenders"].values() if entry.get("kind") == "frailt" and entry["tokens_per_s"]]
    return [(key, list(group)) for key, group in groupby(ours, key=lambda entry: entry["layout"])]


def _judged(ours: dict[str, Any], theirs: list[float] | None, bar: float) -> tuple[str, str]:
    found = ratios(ours["tokens_per_s"], theirs)
    if found is None or theirs is None:
        return MISSING, MISSING
    return shown_ratio(found), verdict(ours["tokens_per_s"], theirs, bar)


def verdict(ours: Sequence[float], theirs: Sequence[float], bar: float) -> str:
    """Met where the ratio of the medians is, undecided where the 95 % interval over rounds reaches the bar even so."""
    found = ratios(ours, theirs)
    assert found is not None
    if found[0] >= bar:
        return "met"
    over_rounds = estimate([math.log(a / b) for a, b in zip(ours, theirs, strict=False)])
    return "not met" if over_rounds.high is None or over_rounds.high < math.log(bar) else "undecided"


# Where the time goes


def _shares(measured: dict[str, dict[str, dict[str, float]]]) -> str:
    rows = [
        [where, f"`{layout}`", *(f"{found[kind]:.0%}" for kind in SHARES)]
        for where, layouts in measured.items()
        for layout, found in layouts.items()
    ]
    about = "Of the time of operators, uncompiled, forward and backward (`benchmarks/shares.py`)."
    return f"### Where the time of a training step goes\n\n{about}\n\n{table(['', 'layout', *SHARES], rows)}\n"


def _kernels(measured: dict[str, dict[str, list[float]]]) -> str:
    rows = []
    for where, took in measured.items():
        rates = {kernel: [1 / milliseconds for milliseconds in took[kernel]] for kernel in KERNELS}
        times = [f"{median(took[kernel]):.1f}" for kernel in KERNELS]
        rows.append([where, *times, *(shown_ratio(ratios(rates["narrow"], rates[kernel])) for kernel in KERNELS[:2])])
    about = (
        "8 heads, 2,048 tokens, causal, float32 (`benchmarks/narrow_heads.py`): milliseconds, medians, and how many "
        "times as fast `narrow` is, with the least and greatest of a round."
    )
    columns = ["", *(f"`{kernel}`" for kernel in KERNELS), "to `sdpa`", "to `sdpa_padded`"]
    return f"### Attention kernels for narrow heads\n\n{about}\n\n{table(columns, rows)}\n"


# Compile times


def _compile(measured: dict[str, Any]) -> str:
    rows = []
    settings = measured["settings"]
    for layout in settings["layouts"]:
        for mode in settings["modes"]:
            entries = measured["runs"].get(f"{layout} {mode}", [])
            one = measured["runs"].get(f"1 {mode}", [])
            rates = [entry["tokens_per_s"] for entry in entries]
            block = [entry["tokens_per_s"] for entry in measured["runs"].get(f"{layout} block", [])]
            whole = [entry["tokens_per_s"] for entry in measured["runs"].get(f"{layout} whole", [])]
            first = [entry["first_step_s"] for entry in entries]
            rows.append(
                [
                    f"`{layout}`",
                    mode,
                    spread(first, "{:.1f}"),
                    shown_ratio(ratios(first, [entry["first_step_s"] for entry in one])) if mode != "off" else MISSING,
                    spread(rates, "{:,.0f}"),
                    shown_ratio(ratios(block, whole)) if mode == "block" else MISSING,
                ]
            )
    columns = ["layout", "compile", "first step, s", "to layout `1`", "tokens/s", "block to whole"]
    return (
        f"### Compile times, width {settings['hidden_size']}, {settings['rows']} rows of {settings['context']} tokens, "
        f"{settings['precision']}\n\n"
        "Each run compiles into an empty cache. Aimed at: the first step with `block` takes at most 1.5 times that of "
        "layout `1`, and `block` trains at least 0.9 times as fast as `whole`.\n\n"
        f"{table(columns, rows)}\n"
    )


# Cells of tables


def spread(values: Sequence[float], form: str) -> str:
    """The median, and the lowest and highest where there are several."""
    if not values:
        return MISSING
    middle = form.format(median(values))
    return middle if len(values) == 1 else f"{middle} ({form.format(min(values))}–{form.format(max(values))})"


def shown_ratio(found: tuple[float, float, float] | None) -> str:
    return MISSING if found is None else f"{found[0]:.2f} ({found[1]:.2f}–{found[2]:.2f})"


def megabytes(size: int | None) -> str:
    return MISSING if size is None else f"{size / 1e6:,.1f}" if size < 1e8 else f"{size / 1e6:,.0f}"


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


if __name__ == "__main__":
    write_page()
