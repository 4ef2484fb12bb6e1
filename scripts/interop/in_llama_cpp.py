"""llama.cpp against transformers, on the exports that prepare.py made.

    .interop/llama_cpp/bin/python scripts/interop/in_llama_cpp.py FOLDER OUT.json

Runs in llama.cpp's environment, which has this package too, for `frailt generate --engine llama.cpp`.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager

import llama_cpp
import numpy as np
from agreement import Checks, Reference, agreement, agrees, same

from frailt.inference.config import GenerateConfig
from frailt.inference.drawing import Sampling
from frailt.inference.llama_cpp import Teller

F32, F16 = llama_cpp.GGML_TYPE_F32, llama_cpp.GGML_TYPE_F16
DRAWS = 2000


def main(folder: str, out: str) -> None:
    """See above."""
    reference = Reference(folder)
    checks = Checks("llama-cpp-python", "numpy")
    wanted = reference.logits()

    with opened(reference, "float32", F32) as llama:
        found = agreement(wanted, [logits(llama, ids) for ids in reference.sequences])
        checks.must("float32, keys and values in float32: logits", agrees(found), **found)
        ids = [llama.tokenize(each["text"].encode()) for each in reference.texts]
        found = same([each["ids"] for each in reference.texts], ids)
        checks.must("token ids of texts", found["of"] == found["equal"], **found)
        found = same(
            [each["text"] for each in reference.stories], [greedy(llama, reference, s) for s in reference.stories]
        )
        checks.must("float32, keys and values in float32: greedy stories", found["of"] == found["equal"], **found)
        ends = [ending(llama, stop) for stop in reference.stops]
        checks.must("a story ends at EOS, and where the next one begins", all(end == ("", "stop") for end in ends))
    with opened(reference, "float32", F16) as llama:
        report(checks, "float32, as llama.cpp is by default (keys and values in float16)", llama, reference, wanted)
    for dtype in ("float16", "q8_0"):
        with opened(reference, dtype, F32) as llama:
            report(checks, f"{dtype}, keys and values in float32", llama, reference, wanted)
    if (reference.folder / "more.gguf").is_file():
        with opened(reference, "more", F32) as llama:
            found = agreement(reference.logits("more"), [logits(llama, ids) for ids in reference.sequences])
            checks.must("exported at one iteration more: logits", agrees(found), **found)
    command(checks, reference)
    drawn(checks, reference, wanted)
    checks.write(out)


@contextmanager
def opened(reference: Reference, name: str, cache: int) -> Iterator[llama_cpp.Llama]:
    """A file, with keys and values in these numbers, and logits of all positions.

    Room for one token more than the model's context, since BOS counts twice where nothing comes before a story.
    """
    options = {"n_threads": 1, "n_threads_batch": 1, "type_k": cache, "type_v": cache, "verbose": False}
    path = str(reference.folder / f"{name}.gguf")
    llama = llama_cpp.Llama(path, n_ctx=reference.model["context"] + 1, logits_all=True, **options)
    with closing(llama):
        yield llama


def logits(llama: llama_cpp.Llama, ids: list[int]) -> np.ndarray:
    """(T, V), read in one batch."""
    llama.reset()
    llama.eval(ids)
    return np.array(llama.scores[: len(ids)])


def greedy(llama: llama_cpp.Llama, reference: Reference, story: dict) -> str:
    """By llama-cpp-python's own loop, from text to text, up to the context at most."""
    room = reference.model["context"] - len(story["prompt_ids"])
    room += not story["prompt"]  # where there is none, BOS counts as the first of them
    llama.reset()
    done = llama.create_completion(story["prompt"], max_tokens=room, temperature=0.0, repeat_penalty=1.0)
    text = done["choices"][0]["text"]
    return story["prompt"] + (text if story["prompt"] else text.removeprefix(" "))


def ending(llama: llama_cpp.Llama, stop: int) -> tuple[str, str]:
    """What is told, and why it ends, where one id is made the likeliest."""
    llama.reset()
    done = llama.create_completion("One day", max_tokens=5, temperature=0.0, logit_bias={stop: 1e4})
    return done["choices"][0]["text"], done["choices"][0]["finish_reason"]


def report(checks: Checks, name: str, llama: llama_cpp.Llama, reference: Reference, wanted: list[np.ndarray]) -> None:
    """What narrower numbers do."""
    checks.told(f"{name}: logits", **agreement(wanted, [logits(llama, ids) for ids in reference.sequences]))
    texts = [greedy(llama, reference, story) for story in reference.stories]
    checks.told(f"{name}: greedy stories", **same([each["text"] for each in reference.stories], texts))


def command(checks: Checks, reference: Reference) -> None:
    """`frailt generate --engine llama.cpp` against `frailt generate`, as commands."""
    gguf = reference.folder / "float32.gguf"
    story = next(each for each in reference.stories if each["prompt"])
    greedy = ["--greedy", "true", "--prompt", story["prompt"]]
    told = frailt("--checkpoint", gguf, "--engine", "llama.cpp", "--stream", "true", *greedy)
    checks.must("frailt generate --engine llama.cpp: the greedy story of a file", told == story["text"] + "\n")
    if (reference.folder / "more.gguf").is_file():
        more = ["--checkpoint", reference.checkpoint, "--iterations", 5, *greedy]
        own, told = frailt(*more, "--threads", 1), frailt(*more, "--engine", "llama.cpp")
        checks.must("that of a checkpoint run 5 times, exported on the way", told == own)


def frailt(*arguments: object) -> str:
    """What `frailt generate` prints."""
    done = subprocess.run(
        [sys.executable, "-m", "frailt", "generate", *map(str, arguments)], capture_output=True, text=True
    )
    return done.stdout if done.returncode == 0 else f"exit code {done.returncode}: {done.stderr}"


def drawn(checks: Checks, reference: Reference, wanted: list[np.ndarray]) -> None:
    """What `frailt generate --engine llama.cpp` draws: by the seed, and from the probabilities that torch has."""
    import torch

    story = next(number for number, each in enumerate(reference.stories) if each["prompt"])
    ids = reference.stories[story]["prompt_ids"]
    settings = {"temperature": 1.3, "top_p": 0.9, "top_k": 40}
    warped = Sampling(**settings).warpers()(None, torch.from_numpy(wanted[story][len(ids) - 1][None]))
    probabilities = warped[0].double().softmax(-1).numpy()
    config = GenerateConfig(checkpoint="", max_new_tokens=1, **settings)
    longer = [GenerateConfig(checkpoint="", max_new_tokens=50, seed=seed, **settings) for seed in (1, 1, 2)]
    counts = np.zeros(len(probabilities))
    with closing(Teller(reference.folder / "float32.gguf", 1)) as teller:
        one, again, other = (["".join(teller.stream(ids, seeded, n)) for n in range(3)] for seeded in longer)
        checks.must("a seed fixes what is drawn", one == again and len({*one, *other}) == 6)
        for number in range(DRAWS):
            for token in teller.tokens(ids, config, number):
                counts[token] += 1
    ended = DRAWS - counts.sum()  # stops are not among the tokens: leave them out on both sides
    stops = reference.stops
    probabilities[stops] = 0
    probabilities /= probabilities.sum()
    distance = float(np.abs(counts / counts.sum() - probabilities).sum() / 2)
    outside = int(counts[probabilities == 0].sum())
    checks.must(
        "drawn tokens are of our own distribution (temperature, top-k, top-p)",
        outside == 0 and distance < 0.1,
        draws=DRAWS,
        among=int((probabilities > 0).sum()),
        outside=outside,
        ended=int(ended),
        total_variation=distance,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
