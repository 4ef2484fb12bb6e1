"""Planned against measured memory of a training step; the table in docs/planning.md.

    python benchmarks/memory.py [--device cuda] [--presets]

Measured is a whole step: forward, backward, clipping, AdamW. On a CPU torch's memory tracker follows every tensor
(`torch.distributed._tools.mem_tracker`); on a GPU it is the peak of torch's allocator. What several processes need is
tracked in one of them, over a process group that only pretends (`--shared`). With `--presets` the shipped
configurations are tracked too, as tensors without contents, so that they need neither the memory nor the time.

Each run writes its record into results/memory, and the page's table anew from all records there.
"""

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
from torch.distributed._tools.mem_tracker import MemTracker

from frailt import FraiLTConfig, FraiLTForCausalLM
from frailt.planning.memory import Step, training_peak

ROOT = Path(__file__).parents[1]
RECORDS = ROOT / "results" / "memory"
PAGE = ROOT / "docs" / "planning.md"
BETWEEN = re.compile(r"(?<=<!-- measured: benchmarks/memory.py -->\n).*?(?=<!-- end of measured -->)", re.DOTALL)
MIB = 2**20

# Layout, width, key-value heads of 8, vocabulary, context, and the step.
CELLS: list[tuple[str, int, int, int, int, dict[str, Any]]] = [
    ("8", 64, 8, 512, 128, {"rows": 4}),
    ("8", 64, 8, 512, 128, {"rows": 4, "gradient_checkpointing": True}),
    ("8", 128, 2, 512, 128, {"rows": 1, "bfloat16": True}),
    ("8", 256, 8, 512, 128, {"rows": 1}),
    ("8", 64, 8, 8192, 128, {"rows": 1, "accumulates": True}),
    ("2^4", 64, 8, 512, 512, {"rows": 1, "kernel": "sdpa_padded"}),
    ("2^4", 64, 8, 8192, 256, {"rows": 2, "gradient_checkpointing": True}),
    ("2^4", 128, 8, 512, 256, {"rows": 1, "kernel": "eager"}),
    ("2^4", 128, 2, 512, 128, {"rows": 1, "bfloat16": True, "gradient_checkpointing": True}),
    ("2^4", 256, 8, 512, 256, {"rows": 1}),
    ("1^8", 64, 2, 512, 128, {"rows": 2, "bfloat16": True}),
    ("1^8", 128, 8, 8192, 256, {"rows": 1}),
    ("1^8", 256, 8, 512, 128, {"rows": 2, "gradient_checkpointing": True}),
    ("1,(2)^3,1", 64, 8, 512, 256, {"rows": 1, "kernel": "eager", "gradient_checkpointing": True}),
    ("1,(2)^3,1", 128, 2, 512, 512, {"rows": 1, "accumulates": True}),
    ("1,(2)^3,1", 128, 8, 512, 128, {"rows": 1, "kernel": "eager", "bfloat16": True}),
    ("1,(2)^3,1", 64, 8, 8192, 128, {"rows": 1, "bfloat16": True}),
]
SHARED_CELLS: list[tuple[str, int, int, int, int, dict[str, Any]]] = [
    (layout, 256, 8, vocabulary, 128, {"rows": 1, "processes": 4, **how})
    for layout, vocabulary, how in (
        ("2^2", 512, {}),
        ("1,(1)^2,1", 512, {"sharded": True}),
        ("2^2", 512, {"sharded": True, "accumulates": True}),
        ("8", 8192, {}),
        ("8", 512, {"sharded": True}),
        ("2^4", 512, {"sharded": True, "bfloat16": True}),
        ("1,(2)^3,1", 512, {"sharded": True}),
        ("1,(2)^3,1", 8192, {"sharded": True}),
        ("8", 512, {"sharded": True, "accumulates": True}),
    )
]


def cell(layout: str, width: int, groups: int, vocabulary: int, context: int, how: dict) -> tuple[FraiLTConfig, Step]:
    """Model and step of an entry of the lists above."""
    config = FraiLTConfig(
        layout=layout,
        hidden_size=width,
        num_key_value_heads=groups,
        vocab_size=vocabulary,
        max_position_embeddings=context,
    )
    return config, Step(context=context, **how)


def measured_peak(config: FraiLTConfig, step: Step, device: str = "cpu") -> int:
    """Bytes of tensors at the fullest moment of a step that is not the first: AdamW's means are there."""
    if device == "cpu":
        return _tracked_peak(config, step)
    _allocated_peak(config, Step(rows=1, context=step.context, bfloat16=step.bfloat16))  # kernels take their workspaces
    return _allocated_peak(config, step)


def _training(config: FraiLTConfig, step: Step, device: str) -> tuple[FraiLTForCausalLM, torch.Tensor]:
    config.use_cache = False  # as transformers' Trainer sets it
    with torch.device(device):
        model = FraiLTForCausalLM(config).train()
    model.set_attn_implementation(step.kernel)
    if step.gradient_checkpointing:
        (getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable)()
    return model, torch.randint(config.vocab_size, (step.rows, step.context), device=device)


def _take_step(
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    tokens: torch.Tensor,
    step: Step,
    before_pass: Callable[[bool], object] = lambda last: None,
) -> None:
    """One optimiser step; `before_pass` is told whether a forward pass is the last of it."""
    for last in (False, True) if step.accumulates else (True,):
        before_pass(last)
        with torch.autocast(tokens.device.type, torch.bfloat16, enabled=step.bfloat16):
            loss = model(input_ids=tokens, labels=tokens, shift_labels=tokens).loss
        loss.backward()
        del loss
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()


def _tracked_peak(config: FraiLTConfig, step: Step) -> int:
    model, tokens = _training(config, step, "cpu")
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    optimizer.zero_grad()
    tracker = MemTracker()
    tracker.track_external(model, optimizer, tokens)
    with tracker:
        _take_step(model, optimizer, tokens, step, lambda last: tracker.reset_mod_stats())
    return tracker.get_tracker_snapshot("peak")[torch.device("cpu")]["Total"]


def _allocated_peak(config: FraiLTConfig, step: Step) -> int:
    before = torch.cuda.memory_allocated()
    model, tokens = _training(config, step, "cuda")
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    _take_step(model, optimizer, tokens, step)
    torch.cuda.reset_peak_memory_stats()
    _take_step(model, optimizer, tokens, step)
    return torch.cuda.max_memory_allocated() - before


def shared_peak(config: FraiLTConfig, step: Step) -> int:
    """The same of one process among several, as `frailt train` shares the model; in a pretended process group."""
    from torch.nn.parallel import DistributedDataParallel

    from frailt.training.processes import shard

    model, tokens = _training(config, step, "cpu")
    if step.sharded:
        shard(model, SimpleNamespace(count=step.processes, device=torch.device("cpu")))  # type: ignore[arg-type]
    tracker = MemTracker()
    tracker.track_external(model, tokens)
    with tracker:
        wrapped = model if step.sharded else DistributedDataParallel(model)
        optimizer = torch.optim.AdamW(wrapped.parameters(), fused=True)

        def before_pass(last: bool) -> None:
            tracker.reset_mod_stats()
            if step.sharded:
                wrapped.set_requires_gradient_sync(last)  # as transformers' Trainer does

        for _ in range(2):
            _take_step(wrapped, optimizer, tokens, step, before_pass)
    return tracker.get_tracker_snapshot("peak")[torch.device("cpu")]["Total"]


@contextmanager
def process_group(step: Step) -> Iterator[None]:
    """For FSDP a group whose other members do not exist: sends go nowhere, what is received is not written.

    For DDP, which does not take that, a group of one: its buckets are the same.
    """
    import torch.distributed as dist
    from torch.testing._internal.distributed.fake_pg import FakeStore

    if step.sharded:
        dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=step.processes)
    else:
        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        yield
    finally:
        dist.destroy_process_group()


def _compared(name: str, config: FraiLTConfig, step: Step, measured: int) -> dict[str, Any]:
    planned = training_peak(config, step)
    row = {
        "name": name,
        "width": config.hidden_size,
        "key_value_heads": f"{config.num_key_value_heads} of {config.num_attention_heads}",
        "vocabulary": config.vocab_size,
        "step": asdict(step),
        "measured_bytes": measured,
        "planned_bytes": planned.total,
        "fullest": planned.name,
    }
    print(f"{planned.total / measured - 1:+.1%}  {measured / MIB:10,.1f} MiB  {name} {step}", file=sys.stderr)
    return row


def _presets() -> Iterator[dict[str, Any]]:
    from torch._subclasses import FakeTensorMode

    from frailt.cli import _parse, presets
    from frailt.planning.plan import plan

    for name in presets():
        vocabulary = ["--vocab_size", "512"] if name.startswith("paper") else []
        planned = plan(_parse("plan", ["--config", name, "--on", "h100", *vocabulary]))
        # Tensors without contents make transformers build a mask, which a real run with sdpa does without.
        with FakeTensorMode(), patch("frailt.model.modeling_frailt.create_causal_mask", return_value=None):
            measured = _tracked_peak(planned.model, planned.step)
        yield _compared(name, planned.model, planned.step, measured)


def _write_page() -> None:
    lines = [
        "| on | model | width | kv heads | vocabulary | step | measured, MiB | planned, MiB | off by |",
        "|---|---|---:|---|---:|---|---:|---:|---:|",
    ]
    for path in sorted(RECORDS.glob("*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        for row in record["rows"]:
            step, measured, planned = row["step"], row["measured_bytes"], row["planned_bytes"]
            heads, vocabulary = row["key_value_heads"], row["vocabulary"]
            how = [f"{step['rows']} x {step['context']}", "bfloat16" if step["bfloat16"] else "float32", step["kernel"]]
            how += ["checkpointing"] * step["gradient_checkpointing"] + ["accumulation"] * step["accumulates"]
            if step["processes"] > 1:
                how.append(f"{'FSDP' if step['sharded'] else 'DDP'} of {step['processes']}")
            lines.append(
                f"| {record['on']} | `{row['name']}` | {row['width']} | {heads} | {vocabulary:,} "
                f"| {', '.join(how)} | {measured / MIB:,.1f} | {planned / MIB:,.1f} | {planned / measured - 1:+.1%} |"
            )
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(BETWEEN.sub(lambda _: "\n" + "\n".join(lines) + "\n\n", text), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--presets", action="store_true")
    parser.add_argument(
        "--shared",
        type=int,
        nargs="*",
        metavar="I",
        help="print what one of several processes needs, as JSON, and end; of these entries of SHARED_CELLS, or of all",
    )
    options = parser.parse_args()
    if options.shared is not None:
        rows = []
        for i in options.shared or range(len(SHARED_CELLS)):
            chosen, (config, step) = SHARED_CELLS[i], cell(*SHARED_CELLS[i])
            with process_group(step):
                rows.append(_compared(chosen[0], config, step, shared_peak(config, step)))
        print(json.dumps(rows))
        return
    torch.manual_seed(0)
    name, on = options.device, torch.cuda.get_device_name() if options.device == "cuda" else "CPU"
    if options.presets:
        name, on, rows = "presets", "no contents", list(_presets())
    else:
        rows = [_compared(c[0], *cell(*c), measured_peak(*cell(*c), options.device)) for c in CELLS]
        if options.device == "cpu":
            command = [sys.executable, __file__, "--shared"]
            rows += json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    RECORDS.mkdir(parents=True, exist_ok=True)
    record = {"on": on, "torch": torch.__version__, "rows": rows}
    (RECORDS / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    _write_page()


if __name__ == "__main__":
    main()
