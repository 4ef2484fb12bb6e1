"""A checkpoint as lm-eval sees it. Imports what the extra `tasks` brings."""

import sys
from typing import Any

import torch
from lm_eval.models.huggingface import HFLM
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from frailt.model import FraiLTForCausalLM

Request = tuple[Any, list[int], list[int]]


class TaskModel(HFLM):
    """lm-eval's model of transformers, with one BOS before every text, and no text cut unnoticed.

    Args:
        model: in evaluation mode, in the precision to compute in, on its device.
        tokenizer: adds BOS itself.
        context: tokens that the model is given at most.
        batch_rows: rows per forward pass.
    """

    add_bos_token: bool | None

    def __init__(
        self, model: FraiLTForCausalLM, tokenizer: PreTrainedTokenizerFast, *, context: int, batch_rows: int
    ) -> None:
        super().__init__(
            pretrained=model, backend="causal", tokenizer=tokenizer, max_length=context, batch_size=batch_rows
        )
        self.requests = 0
        self.requests_cut = 0
        """Those whose beginning the model was not given, since the whole is longer than its context."""

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
        """Log-likelihood of whole documents, in nats each.

        lm-eval puts BOS before a document itself; the tokenizer's own would be a second one, to be predicted.
        """
        self.add_bos_token = False
        try:
            return super().loglikelihood_rolling(requests, disable_tqdm or not sys.stderr.isatty())
        finally:
            self.add_bos_token = None

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        """What the model says after each prompt, up to where the task says, or the story ends.

        Raises:
            ValueError: there is no room for it in the context.
        """
        try:
            return super().generate_until(requests, disable_tqdm)
        except AssertionError as error:
            raise ValueError(f"tasks must fit into the model's context of {self.max_length} tokens: {error}") from error

    def tok_batch_encode(
        self,
        strings: list[str],
        padding_side: str = "left",
        left_truncate_len: int | None = None,
        truncation: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Token ids and mask of prompts, (B, T) each, cut on the left to `left_truncate_len`."""
        lengths = [len(self.tok_encode(string)) for string in strings]
        self.requests += len(strings)
        self.requests_cut += sum(length > (left_truncate_len or length) for length in lengths)
        return super().tok_batch_encode(strings, padding_side, left_truncate_len, truncation)

    def _loglikelihood_tokens(
        self, requests: list[Request], disable_tqdm: bool = False, override_bs: int | None = None
    ) -> list[tuple[float, bool]]:
        """As lm-eval does it, where what is asked for fits into the context.

        Raises:
            ValueError: it does not.
        """
        lengths: dict[tuple[int, ...], int] = {}
        # lm-eval 0.4.13 takes requests of the same text as one, and scores wrong tokens where one asks for less (2984).
        self.logits_cache = all(
            lengths.setdefault((*before, *asked[:-1]), len(asked)) == len(asked) for _, before, asked in requests
        )
        for _, before, asked in requests:
            if len(asked) > self.max_length:
                raise ValueError(
                    f"tasks must ask for texts of at most {self.max_length} tokens, the model's context, got one that "
                    f"this tokenizer makes {len(asked)} of"
                )
            self.requests += 1
            self.requests_cut += len(before) + len(asked) > self.max_length + 1
        is_of_rolling = override_bs is not None  # a call per batch, each of which would have a bar
        return super()._loglikelihood_tokens(
            requests, disable_tqdm or is_of_rolling or not sys.stderr.isatty(), override_bs
        )

    @torch.inference_mode()
    def _model_call(self, inps: Tensor, attn_mask: Tensor | None = None, labels: Tensor | None = None) -> Tensor:
        """Logits, (B, T) -> (B, T, V), without the cache that nothing here reads."""
        return self.model(inps, use_cache=False).logits
