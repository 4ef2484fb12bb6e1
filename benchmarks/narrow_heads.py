"""The attention kernel for narrow heads against torch's fused one, with heads padded and without.

    python benchmarks/narrow_heads.py [--rounds 9]

Causal rows, heads of width 8 and 16, several contexts of as many tokens together, forward alone and forward and
backward, the kernels in turn. Cells that the record of this machine has are passed over; --again measures anew. With
--smoke everything is tiny, and the page is only printed.
"""

import time
from collections.abc import Callable
from types import SimpleNamespace

import recording
import torch
from report import KERNELS
from transformers import AttentionInterface

from frailt.model import narrow_attention

HEADS, TOKENS = 8, 2048


def calls(width: int, context: int) -> dict[str, dict[str, Callable[[], object]]]:
    """What is timed, by forward or forward and backward, then by kernel."""
    made = [torch.randn(TOKENS // context, context, HEADS, width).transpose(1, 2).requires_grad_() for _ in range(3)]
    given = torch.randn(TOKENS // context, context, HEADS, width)
    module = SimpleNamespace(is_causal=True, num_key_value_groups=1, training=True)

    def forward(kernel: str) -> torch.Tensor:
        return AttentionInterface()[kernel](module, *made, None, scaling=width**-0.5, dropout=0.0)[0]

    def alone(kernel: str) -> None:
        with torch.no_grad():
            forward(kernel)

    return {
        "forward": {kernel: lambda kernel=kernel: alone(kernel) for kernel in KERNELS},
        "forward and backward": {kernel: lambda kernel=kernel: forward(kernel).backward(given) for kernel in KERNELS},
    }


def in_turn(kernels: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each, round by round, after one that is not timed."""
    took: dict[str, list[float]] = {kernel: [] for kernel in kernels}
    for number in range(rounds + 1):
        for kernel, run in kernels.items():
            began = time.perf_counter()
            run()
            if number:
                took[kernel].append(round(1000 * (time.perf_counter() - began), 3))
    return took


def main() -> None:
    parser = recording.parser(__doc__)
    recording.add_records(parser)
    parser.add_argument("--widths", type=int, nargs="+", default=list(narrow_attention.HEAD_DIMS), help="of a head")
    parser.add_argument("--contexts", type=int, nargs="+", default=[128, 512, 2048])
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    if options.smoke:
        options.contexts, options.rounds = [32], 1
    if narrow_attention.library() is None:
        raise SystemExit("the kernel needs a C compiler, and there is none")
    torch.set_num_threads(options.threads)
    with recording.recording("kernels", options) as found:
        cells = found.record.setdefault("kernels", {})
        for width in options.widths:
            for context in options.contexts:
                for what, kernels in calls(width, context).items():
                    name = f"head width {width}, context {context}, {what}"
                    if name not in cells or options.again:
                        cells[name] = in_turn(kernels, options.rounds)
                        found.save()


if __name__ == "__main__":
    main()
