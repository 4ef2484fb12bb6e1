"""vLLM against transformers, on the exports that prepare.py made.

    .interop/vllm/bin/python scripts/interop/in_vllm.py FOLDER OUT.json WAY

WAY is `plugin`, the checkpoint as it is, looped, by this package's plugin; `hub`, the exported folder that brings its
code, without the plugin; or `llama`, the unrolled model in vLLM's own Llama. Runs in vLLM's environment.
"""

import os
import sys
from typing import Any

import numpy as np
from agreement import Checks, Reference, agreement, agrees, log_softmax, same

os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")


def main(folder: str, out: str, way: str) -> None:
    """See above."""
    if way != "plugin":
        os.environ["VLLM_PLUGINS"] = ""
    from vllm import LLM, SamplingParams

    reference = Reference(folder)
    checks = Checks("vllm-cpu", "torch", "transformers", *(["frailt"] if way == "plugin" else []))
    about = reference.model
    model = reference.checkpoint if way == "plugin" else str(reference.folder / way)
    llm = LLM(
        model=model,
        dtype="float32",
        max_model_len=about["context"],
        max_num_seqs=8,
        enforce_eager=True,
        max_logprobs=about["vocab_size"],
        trust_remote_code=way == "hub",
        seed=0,
    )
    plugged = "frailt" in sys.modules  # what a hub folder brings is imported under another name
    checks.must(f"{way}: run by", plugged == (way == "plugin"), implementation=implementation(llm), our_plugin=plugged)

    room = [about["context"] - len(story["prompt_ids"]) for story in reference.stories]
    told = llm.generate(
        [{"prompt_token_ids": story["prompt_ids"]} for story in reference.stories],
        [SamplingParams(temperature=0.0, max_tokens=most) for most in room],
        use_tqdm=False,
    )
    stops = set(reference.stops)
    found = [[token for token in each.outputs[0].token_ids if token not in stops] for each in told]
    equal = same([story["new_ids"] for story in reference.stories], found)
    checks.must(f"{way}: greedy tokens", equal["of"] == equal["equal"], **equal)

    prompt = {"prompt_token_ids": reference.stories[0]["prompt_ids"]}
    only = [SamplingParams(temperature=0.0, max_tokens=5, allowed_token_ids=[stop]) for stop in stops]
    ends = [each.outputs[0] for each in llm.generate([prompt] * len(only), only, use_tqdm=False)]
    checks.must(
        f"{way}: a story ends at EOS, and where the next one begins",
        all(end.finish_reason == "stop" and len(end.token_ids) == 1 for end in ends),
    )

    every = SamplingParams(temperature=0.0, max_tokens=1, prompt_logprobs=about["vocab_size"], detokenize=False)
    scored = llm.generate([{"prompt_token_ids": ids} for ids in reference.sequences], every, use_tqdm=False)
    found = [logprobs(each.prompt_logprobs, about["vocab_size"]) for each in scored]
    wanted = [log_softmax(logits)[:-1] for logits in reference.logits()]
    measured = agreement(wanted, found)
    checks.must(f"{way}: log-probabilities of every token at every position", agrees(measured), **measured)
    checks.write(out)


def implementation(llm: Any) -> str:
    """The class of vLLM that the model became."""
    return llm.apply_model(lambda model: type(model).__name__)[0]


def logprobs(of_prompt: list[Any], vocab_size: int) -> np.ndarray:
    """(T - 1, V): what each token but the first was expected to be."""
    found = np.full((len(of_prompt) - 1, vocab_size), -np.inf)
    for row, position in zip(found, of_prompt[1:], strict=True):
        for token, logprob in position.items():
            row[token] = logprob.logprob
    return found


if __name__ == "__main__":
    main(*sys.argv[1:])
