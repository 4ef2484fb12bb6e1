"""Decoding speed of frailt, plain and compiled, against transformers' generate on a Llama of equal depth.

    python benchmarks/generate.py [--widths 64 256 512] [--batches 1 8 44 256] [--rounds 3]
    python benchmarks/generate.py --widths 64 256 --batches 1 --layouts 8 2^4 --prompt_tokens 2000 --tokens 10

Contenders take turns in one process, some tokens each, in an order that rotates; a ratio is of the same run. All rows
have prompts of one length and none ends, which suits plain generate best: nothing is padded and nothing dropped.
Compiling goes into an empty cache, and its time is apart. A cell that the record of this machine has is passed over;
--again measures anew. At the end docs/benchmarks-generation.md is written. With --smoke everything is tiny, and the
page is only printed.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import generation_page as page
import report

TOKENS = {64: 200, 256: 100, 512: 50}
"""New tokens per row and round by width; above width 64 a quarter where there are more than 44 rows."""
PROMPT_TOKENS = page.SHORT
DEPTH = 8
FIRST_TOKENS, FIRST_TOKENS_CUDA = 3, 12
"""Of the first call, which compiles; on a GPU a graph is recorded too, after some steps."""


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--widths", type=int, nargs="+", default=list(TOKENS))
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 44, 256])
    parser.add_argument("--layouts", nargs="+", default=["8", "2^4", "1^8"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, help="new tokens per row and round, in place of those by width")
    parser.add_argument("--prompt_tokens", type=int, default=PROMPT_TOKENS, help="tokens of each prompt")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--machine", default="", help="its name, in place of the one found")
    parser.add_argument("--records", type=Path, default=page.RECORDS, help="folder of the records")
    parser.add_argument("--again", action="store_true", help="measure what is recorded already")
    parser.add_argument("--smoke", action="store_true", help="tiny, to see that it works")
    return parser


class Contenders:
    """What decodes at one width: `run(name, batch, tokens)` for each name.

    Args:
        width: hidden size.
        layouts: ours, of depth 8.
        device: where.
        prompt: tokens of each prompt.
        modes: of our step, off or on.
    """

    def __init__(
        self, width: int, layouts: list[str], device: str, prompt: int, modes: tuple[str, ...] = ("off", "on")
    ) -> None:
        import torch
        from transformers import LlamaForCausalLM

        from frailt import FraiLTConfig, FraiLTForCausalLM
        from frailt.inference.decoding import Decoder
        from frailt.model.convert import to_llama

        self.runs: dict[str, Callable[[int, int], None]] = {}
        self.about: dict[str, dict[str, Any]] = {}
        for layout in [None, *layouts]:
            torch.manual_seed(0)
            config = FraiLTConfig(
                layout=layout or str(DEPTH), hidden_size=width, num_attention_heads=8, vocab_size=512,
                max_position_embeddings=512 + prompt,
            )  # fmt: skip
            model = FraiLTForCausalLM(config).eval().to(device)
            if layout is None:
                llama = to_llama(model).eval().to(device)
                assert isinstance(llama, LlamaForCausalLM)
                self._add("generate", layout or str(DEPTH), "off", llama, by_generate(llama, prompt))
                continue
            for mode in modes:
                self._add("frailt", layout, mode, model, by_decoder(Decoder(model, mode), prompt))

    def _add(self, kind: str, layout: str, mode: str, model: Any, run: Callable[[int, int], None]) -> None:
        name = f"{kind} {layout} {mode}"
        weights = {tensor.data_ptr(): tensor.nbytes for tensor in model.parameters()}
        self.runs[name] = run
        self.about[name] = {"kind": kind, "layout": layout, "compile": mode, "weight_bytes": sum(weights.values())}


def by_generate(model: Any, prompt: int) -> Callable[[int, int], None]:
    import torch
    from transformers import GenerationConfig

    model.generation_config.eos_token_id = None

    def run(batch: int, tokens: int) -> None:
        ids = torch.full((batch, prompt), 7, device=model.device)
        settings = GenerationConfig(
            max_new_tokens=tokens, do_sample=False, eos_token_id=None, pad_token_id=0, bos_token_id=1
        )
        with torch.inference_mode():
            found = model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=settings)
        assert found.shape[1] == prompt + tokens

    return run


def by_decoder(decoder: Any, prompt: int) -> Callable[[int, int], None]:
    from frailt.inference.drawing import Greedy

    def run(batch: int, tokens: int) -> None:
        prompts = [[7] * prompt] * batch
        found = decoder.decode(prompts, Greedy(), stops=[], max_new_tokens=tokens, batch_size=batch)
        assert all(len(each.tokens) == tokens for each in found)

    return run


def measure(
    contenders: Contenders, batch: int, tokens: int, rounds: int, first_tokens: int
) -> dict[str, dict[str, Any]]:
    """Seconds to the first token, of the first call (compiling), and tokens per second, round by round."""
    found: dict[str, dict[str, Any]] = {}
    for name, run in contenders.runs.items():
        began = time.perf_counter()
        run(batch, first_tokens)
        first_s = time.perf_counter() - began
        began = time.perf_counter()
        run(batch, 1)
        entry = contenders.about[name] | {"first_call_s": first_s, "first_token_s": time.perf_counter() - began}
        found[name] = entry | {"tokens_per_s": []}
        print(f"  {name}: first call {first_s:.1f} s", flush=True)
    names = list(found)
    for number in range(rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            began = time.perf_counter()
            contenders.runs[name](batch, tokens)
            rate = batch * tokens / (time.perf_counter() - began)
            found[name]["tokens_per_s"].append(round(rate, 1))
            print(f"  {name}: {rate:,.0f} tokens/s", flush=True)
    return found


def main() -> None:
    options = parser().parse_args()
    if options.smoke:
        options.widths, options.batches, options.layouts = [16], [1, 2], ["2^4"]
        options.tokens, options.rounds = 4, 2
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder
        os.environ["OMP_NUM_THREADS"] = str(options.threads)
        import torch

        torch.set_num_threads(options.threads)
        records = Path(folder) if options.smoke else options.records
        new = {key: value for key, value in report.new_record(options.machine, options.device, options.threads).items()
               if key != "compile"}  # fmt: skip
        path = report.record_path(records, "generate", new)
        record = report.load(path) or new
        for width in options.widths:
            contenders = None
            for batch in options.batches:
                prompt = options.prompt_tokens
                name = f"width {width}, batch {batch}" + (f", prompt {prompt}" if prompt != PROMPT_TOKENS else "")
                if name in record["cells"] and not options.again:
                    print(f"{name}: recorded already")
                    continue
                print(name, flush=True)
                modes = ("off",) if options.smoke else ("off", "on")
                contenders = contenders or Contenders(width, options.layouts, options.device, prompt, modes)
                by_width = TOKENS[max((w for w in TOKENS if w <= width), default=min(TOKENS))]
                tokens = options.tokens or (by_width if batch <= 44 or width <= 64 else by_width // 4)
                cell = {"hidden_size": width, "batch": batch, "tokens": tokens, "prompt_tokens": prompt}
                first_tokens = FIRST_TOKENS_CUDA if options.device.startswith("cuda") else FIRST_TOKENS
                record["cells"][name] = cell | {
                    "contenders": measure(contenders, batch, tokens, options.rounds, first_tokens)
                }
                report.save(path, record)
        if options.smoke:
            print(page.render([record]))
        else:
            page.write_page(records=options.records)
            print(f"{path} and {page.PAGE}")


if __name__ == "__main__":
    main()
