"""How fast and in how much memory a corpus is prepared and streamed, against sentencepiece's own encoder on its text.

    python benchmarks/prepare.py [--megabytes 10 80 200] [--repeats 3] [--threads 2] [--out results/prepare.md]

For each size the stories of the builtin source are written to parquet shards of 8 MB. `frailt prepare`, which trains a
tokenizer on at most 50 MB of them, and one pass over the same shards streamed, with that tokenizer, run in processes of
their own. Sentencepiece's `encode` alone, with as many threads, runs in the same round. Memory should not grow with the
corpus.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from statistics import median

import pyarrow
import sentencepiece
from pyarrow import parquet
from report import machine

from frailt.data.builtin import stories

SHARD_BYTES = 8_000_000
CHILD = """
import resource, sys, time
from frailt.data.packing import PreparedData
from frailt.data.prepare import PrepareConfig, prepare
what, source, out, streamed = sys.argv[1:]
began = time.perf_counter()
if what == "prepare":
    prepare(PrepareConfig(source=source, out=out, overwrite=True))
elif what == "prepare --stream":
    prepare(PrepareConfig(source=source, out=streamed, tokenizer=out + "/tokenizer", stream=True, overwrite=True))
else:
    rows = PreparedData.open(streamed).split("train").rows(512)
    for row in range((len(PreparedData.open(out).split("train").tokens) - 1) // 512):
        rows.batch([row])
print(time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
HEAD = """# Preparing and streaming a corpus

    {command}

{machine}, {threads} threads, Python {python}, {versions}.

Preparing trains a tokenizer on at most 50 MB, reads parquet shards of 8 MB, splits, tokenizes, checks, hashes and
writes; streaming is one pass of `StreamedRows` over the same shards. The ratio is the seconds of the whole preparation
to those of sentencepiece's encoder alone on the same text. Medians of {repeats}, with the fastest and slowest; the
largest peaks.

| MB | shards | prepare, s | MB/s | peak MB | stream, s | MB/s | peak MB | sentencepiece encode alone, s | ratio |
|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|
"""


def write_corpus(folder: Path, megabytes: int) -> int:
    """Write the shards, and return how many."""
    shard: list[str] = []
    size = count = total = 0

    def write() -> None:
        nonlocal shard, size, count
        parquet.write_table(pyarrow.table({"text": shard}), folder / f"part-{count:05d}.parquet", row_group_size=1000)
        shard, size, count = [], 0, count + 1

    for story in stories(megabytes * 1500):
        shard.append(story)
        size += len(story)
        total += len(story)
        if total >= megabytes * 10**6:
            break
        if size >= SHARD_BYTES:
            write()
    write()
    return count


def measure(what: str, folder: Path, environment: dict[str, str]) -> tuple[float, float]:
    """Seconds and peak MB of one preparation, or of one pass over the corpus streamed."""
    paths = [str(folder / name) for name in ("corpus", "prepared", "streamed")]
    child = subprocess.run(
        [sys.executable, "-c", CHILD, what, *paths],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    )
    seconds, kilobytes = child.stdout.split()
    return float(seconds), float(kilobytes) / 1000


def encode_alone(folder: Path, threads: int) -> float:
    """Seconds of sentencepiece's encoder, reading not counted."""
    model = folder / "prepared" / "tokenizer" / "tokenizer.model"
    processor = sentencepiece.SentencePieceProcessor(model_file=str(model))
    seconds = 0.0
    for path in sorted((folder / "corpus").iterdir()):
        texts = parquet.read_table(path).column("text").to_pylist()
        began = time.perf_counter()
        processor.encode(texts, num_threads=threads)
        seconds += time.perf_counter() - began
    return seconds


def spread(values: list[float], digits: int) -> str:
    """Median, and in brackets the lowest and highest of several."""
    shown = f"{median(values):.{digits}f}"
    return f"{shown} ({min(values):.{digits}f} to {max(values):.{digits}f})" if len(values) > 1 else shown


def table_rows(sizes: list[int], repeats: int, threads: int) -> Iterator[str]:
    """Measure one size after another."""
    environment = {"RAYON_NUM_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}
    for megabytes in sizes:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "corpus").mkdir()
            shards = write_corpus(folder / "corpus", megabytes)
            rounds = []
            for _ in range(repeats):
                prepared = measure("prepare", folder, environment)
                measure("prepare --stream", folder, environment)
                rounds.append((*prepared, *measure("stream", folder, environment), encode_alone(folder, threads)))
        prepared_s, prepared_mb, streamed_s, streamed_mb, alone_s = map(list, zip(*rounds, strict=True))
        cells = [
            str(megabytes),
            str(shards),
            spread(prepared_s, 1),
            f"{megabytes / median(prepared_s):.1f}",
            f"{max(prepared_mb):.0f}",
            spread(streamed_s, 1),
            f"{megabytes / median(streamed_s):.1f}",
            f"{max(streamed_mb):.0f}",
            spread(alone_s, 1),
            spread([whole / alone for whole, alone in zip(prepared_s, alone_s, strict=True)], 2),
        ]
        yield f"| {' | '.join(cells)} |\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, nargs="+", default=[10, 80, 200])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--machine", default="", help="its name, in place of the one found")
    parser.add_argument("--out", type=Path, help="write the table there too, when all is measured")
    options = parser.parse_args()
    libraries = ("frailt", "sentencepiece", "tokenizers", "pyarrow", "numpy")
    page = HEAD.format(
        command=f"python benchmarks/prepare.py {' '.join(sys.argv[1:])}".strip(),
        machine=machine(options.machine, "cpu")["name"],
        threads=options.threads,
        python=platform.python_version(),
        versions=", ".join(f"{library} {version(library)}" for library in libraries),
        repeats=f"{options.repeats} rounds" if options.repeats > 1 else "one round",
    )
    print(page, end="", flush=True)
    for row in table_rows(options.megabytes, options.repeats, options.threads):
        print(row, end="", flush=True)
        page += row
    if options.out is not None:
        partial = options.out.with_name(options.out.name + ".partial")
        partial.write_text(page, encoding="utf-8")
        partial.replace(options.out)


if __name__ == "__main__":
    main()
