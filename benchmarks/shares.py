"""Where the time of a training step goes, by torch's profiler: attention, matrix products, the optimiser, the rest.

    python benchmarks/shares.py [--widths 64 256]

Some steps of `frailt train` are profiled, uncompiled so that operators keep their names. Shares are of the time of
operators, a backward pass counted with its forward one. What a step waits for its data and how long its log takes is
not in it: `frailt train` logs the former, as `waiting_share`. Cells that the record of this machine has are passed
over; --again measures anew. With --smoke everything is tiny, and the page is only printed.
"""

import re
from pathlib import Path
from typing import Any

import recording
import torch
from report import SHARES
from torch.profiler import ProfilerActivity, profile
from transformers import TrainerCallback

from frailt.model import FraiLTConfig
from frailt.training.config import ModelConfig, TrainConfig
from frailt.training.hardware import choose_attention_of_rows
from frailt.training.train import train

_OPERATORS = {
    "attention": r"scaled_dot_product|flash_attention|narrow_attention",
    "matrix products": r"aten::(mm|addmm|bmm|addbmm|baddbmm)$",
    "optimiser and clipping": r"adamw|_foreach_|linalg_vector_norm|Optimizer|clip",
    "loss": r"log_softmax|nll_loss",
}
assert [*_OPERATORS, "the rest"] == SHARES


class Profiled(TrainerCallback):
    """Profiles the steps after the first `before`, to the end."""

    def __init__(self, before: int) -> None:
        self.before = before
        self.profile = profile(activities=[ProfilerActivity.CPU])

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == self.before:
            self.profile.start()

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == state.max_steps:
            self.profile.stop()

    def shares(self) -> dict[str, float]:
        """Of the operators' own time."""
        took = dict.fromkeys(SHARES, 0.0)
        for event in self.profile.key_averages():
            kind = next((kind for kind, names in _OPERATORS.items() if re.search(names, event.key)), "the rest")
            took[kind] += event.self_cpu_time_total
        return {kind: round(us / sum(took.values()), 4) for kind, us in took.items()}


def architecture(layout: str, width: int, heads: int) -> FraiLTConfig:
    """The model that is trained, but for its vocabulary."""
    return FraiLTConfig(layout=layout, hidden_size=width, num_attention_heads=heads)


def measure(options: Any, data: str, out: Path, layout: str, width: int, heads: int) -> dict[str, float]:
    """The shares of one layout and width."""
    config = TrainConfig(
        data=data,
        out=str(out),
        model=ModelConfig(layout=layout, hidden_size=width, num_attention_heads=heads),
        context=options.context,
        batch_rows=options.rows,
        steps=options.before + options.steps,
        precision="float32",
        compile="off",
        device="cpu",
        threads=options.threads,
        evaluations=1,
        evaluation_share=0.01,
        log_every_steps=1000,
    )
    profiled = Profiled(options.before)
    train(config, [profiled])
    return profiled.shares()


def main() -> None:
    parser = recording.parser(__doc__)
    recording.add_records(parser)
    parser.add_argument("--widths", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--layouts", nargs="+", default=["8", "2^4", "1^8"])
    parser.add_argument("--rows", type=int, default=4, help="rows per step")
    parser.add_argument("--before", type=int, default=2, help="steps that are not profiled")
    parser.add_argument("--steps", type=int, default=5, help="steps that are")
    options = parser.parse_args()
    if options.smoke:
        options.widths, options.layouts, options.rows, options.steps = [32], ["2^4"], 2, 1
    torch.set_num_threads(options.threads)
    heads = 2 if options.smoke else 8
    with recording.recording("shares", options) as found:
        shares = found.record.setdefault("shares", {})
        for width in options.widths:
            for layout in options.layouts:
                kernel = choose_attention_of_rows(
                    torch.device("cpu"), architecture(layout, width, heads), options.context
                )
                name = f"width {width}, {options.rows} rows of {options.context} tokens, {kernel}"
                if layout in shares.get(name, {}) and not options.again:
                    continue
                measured = measure(options, found.data, found.folder / f"{width}-{layout}", layout, width, heads)
                shares.setdefault(name, {})[layout] = measured
                found.save()


if __name__ == "__main__":
    main()
