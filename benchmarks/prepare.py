"""How fast and in how much memory a corpus is prepared, against sentencepiece's own encoder on the same text.

    python benchmarks/prepare.py [--megabytes 10 80] [--repeats 3]

For each size the stories of the builtin source are written to a file; `frailt prepare`, which trains a tokenizer on it,
runs in a process of its own. Printed are medians: seconds, MB/s, peak memory, and the ratio of the whole preparation
to sentencepiece's `encode` alone with as many threads, in the same run. Memory should not grow with the corpus.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from frailt.data.builtin import stories

CHILD = """
import resource, sys, time
from frailt.data.prepare import PrepareConfig, prepare
began = time.perf_counter()
prepare(PrepareConfig(source=sys.argv[1], out=sys.argv[2], overwrite=True))
print(time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def write_corpus(path: Path, megabytes: int) -> None:
    with path.open("w", encoding="ascii") as file:
        for story in stories(megabytes * 1300):
            file.write(story + "\n<|endoftext|>\n")
            if file.tell() >= megabytes * 10**6:
                return


def measure(corpus: Path, out: Path) -> tuple[float, float]:
    """Seconds and peak MB of one preparation."""
    command = [sys.executable, "-c", CHILD, str(corpus), str(out)]
    seconds, kilobytes = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return float(seconds), float(kilobytes) / 1000


def encode_alone(corpus: Path, model: Path) -> float:
    import sentencepiece

    texts = [text.strip() for text in corpus.read_text(encoding="ascii").split("<|endoftext|>")]
    processor = sentencepiece.SentencePieceProcessor(model_file=str(model))
    began = time.perf_counter()
    processor.encode(texts, num_threads=os.cpu_count() or 1)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, nargs="+", default=[10, 80])
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    print("| MB | prepare, s | MB/s | peak MB | sentencepiece encode alone, s | ratio |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        corpus, out = Path(folder, "corpus.txt"), Path(folder, "prepared")
        for megabytes in options.megabytes:
            write_corpus(corpus, megabytes)
            ours, peaks, theirs = [], [], []
            for _ in range(options.repeats):
                seconds, peak = measure(corpus, out)
                ours.append(seconds)
                peaks.append(peak)
                theirs.append(encode_alone(corpus, out / "tokenizer" / "tokenizer.model"))
            s, p, t = median(ours), median(peaks), median(theirs)
            print(f"| {megabytes} | {s:.1f} | {megabytes / s:.1f} | {p:.0f} | {t:.1f} | {s / t:.2f} |", flush=True)


if __name__ == "__main__":
    main()
