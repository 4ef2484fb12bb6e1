"""What `frailt serve` tells to several clients at once, against one client after another, in the same run.

    python benchmarks/serve.py [--layouts 8 2^4] [--clients 8] [--requests 6] [--rounds 5] [--threads 1] [--compile off]
                               [--out results/serve.md]

One server of a model with random weights; a text of such a model seldom ends by itself. Each client asks for one text
after another, of 50 to 250 tokens, drawn at temperature 1. In each round one client asks alone, several ask at once,
and several ask for streams; their order rotates, and their requests are the same.
"""

import argparse
import asyncio
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from statistics import median

import httpx
from report import machine

HEAD = """# Serving several clients at once

    {command}

{machine}, {threads} threads of torch, Python {python}, {versions}.

Width 64, vocabulary 512, context 512, random weights. `alone` is one client that asks for one text after another; the
others are {clients} clients who do so at the same time. Tokens per second are of all texts together; the ratio is to
`alone`, medians of {rounds} rounds with the lowest and highest. The wait is that for the whole text and, in a stream,
for its first piece, median and worst.

| layout | compiled | clients | tokens/s | ratio | wait for a text, s | for its first piece, s |
|---|---|---|---:|---:|---:|---:|
"""
PROMPT = "Once upon a time there was a little girl"


def make_checkpoint(layout: str, folder: Path) -> Path:
    """A model with random weights, and a tokenizer for it."""
    import torch

    from frailt import FraiLTConfig, FraiLTForCausalLM
    from frailt.data.builtin import stories
    from frailt.data.tokenizer import train_tokenizer
    from frailt.training.checkpoint import save_checkpoint

    torch.manual_seed(0)
    config = FraiLTConfig(layout=layout, hidden_size=64, vocab_size=512, max_position_embeddings=512)
    save_checkpoint(folder / layout, FraiLTForCausalLM(config), train_tokenizer(list(stories(2000)), 512), "")
    return folder / layout


@contextmanager
def serving(checkpoint: Path, options: argparse.Namespace):
    """A server; its URL."""
    process = subprocess.Popen(
        [sys.executable, "-m", "frailt", "serve", f"--checkpoint={checkpoint}", "--port=0",
         f"--threads={options.threads}", f"--compile={options.compile}"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env=os.environ | {"OMP_NUM_THREADS": str(options.threads), "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise RuntimeError("the server did not start: try the same `frailt serve` by hand")
        yield line.split()[-1]
    finally:
        process.terminate()
        process.communicate()


async def ask(http: httpx.AsyncClient, number: int, stream: bool) -> tuple[int, float, float]:
    """Tokens of the text, seconds until it was there, and until its first piece was."""
    body = {"prompt": PROMPT, "max_tokens": 50 + 67 * number % 201, "seed": number}
    began, first = time.perf_counter(), 0.0
    if not stream:
        answer = (await http.post("completions", json=body)).raise_for_status()
        return answer.json()["usage"]["completion_tokens"], time.perf_counter() - began, first
    body |= {"stream": True, "stream_options": {"include_usage": True}}
    tokens = 0
    async with http.stream("POST", "completions", json=body) as answer:
        async for line in answer.raise_for_status().aiter_lines():
            first = first or time.perf_counter() - began
            if '"usage":{' in line:
                tokens = int(line.partition('"completion_tokens":')[2].partition(",")[0])
    return tokens, time.perf_counter() - began, first


async def measure(url: str, clients: int, requests: int, stream: bool) -> tuple[float, list[float], list[float]]:
    """Tokens per second of all, and the waits for each text and its first piece."""
    async with httpx.AsyncClient(base_url=url, timeout=600) as http:

        async def one(client: int) -> list[tuple[int, float, float]]:
            return [await ask(http, client * requests + i, stream) for i in range(requests)]

        began = time.perf_counter()
        found = [each for client in await asyncio.gather(*map(one, range(clients))) for each in client]
        elapsed_s = time.perf_counter() - began
    return sum(tokens for tokens, _, _ in found) / elapsed_s, [s for _, s, _ in found], [s for _, _, s in found]


def rows(layout: str, options: argparse.Namespace, folder: Path) -> list[str]:
    """The table's rows of one layout."""
    kinds = [("alone", 1, False), (f"{options.clients}", options.clients, False)]
    kinds += [(f"{options.clients}, streams", options.clients, True)]
    rates: dict[str, list[float]] = {name: [] for name, _, _ in kinds}
    waits: dict[str, list[float]] = {name: [] for name, _, _ in kinds}
    firsts: dict[str, list[float]] = {name: [] for name, _, _ in kinds}
    with serving(make_checkpoint(layout, folder), options) as url:
        asyncio.run(measure(url, options.clients, 1, True))
        for number in range(options.rounds):
            for name, clients, stream in kinds[number % 3 :] + kinds[: number % 3]:
                rate, wait, first = asyncio.run(measure(url, clients, options.requests, stream))
                rates[name].append(rate)
                waits[name] += wait
                firsts[name] += first if stream else []
                print(f"  {layout} {name}: {rate:.0f} tokens/s", file=sys.stderr, flush=True)
    found = []
    for name in rates:
        ratios = [rate / alone for rate, alone in zip(rates[name], rates["alone"], strict=True)]
        found.append(
            f"| `{layout}` | {options.compile} | {name} | {median(rates[name]):,.0f} | {spread(ratios)} "
            f"| {median(waits[name]):.2f}, {max(waits[name]):.2f} "
            + (f"| {median(firsts[name]):.2f}, {max(firsts[name]):.2f} |" if firsts[name] else "| — |")
        )
    return found


def spread(values: Sequence[float]) -> str:
    """Median, lowest and highest."""
    return f"{median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layouts", nargs="+", default=["8", "2^4"])
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--requests", type=int, default=6, help="texts that each client asks for in a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--compile", default="off", choices=["on", "off"])
    parser.add_argument("--out", type=Path, help="the page; by default it is only printed")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        table = [row for layout in options.layouts for row in rows(layout, options, Path(folder))]
    head = HEAD.format(
        command=" ".join(["python", *sys.argv]),
        machine=machine("", "cpu")["name"],
        threads=options.threads,
        python=platform.python_version(),
        versions=", ".join(f"{name} {version(name)}" for name in ("torch", "starlette", "uvicorn")),
        clients=options.clients,
        rounds=options.rounds,
    )
    page = head + "\n".join(table) + "\n"
    print(page)
    if options.out:
        options.out.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
