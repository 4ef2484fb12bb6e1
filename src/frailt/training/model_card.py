"""The model card of a checkpoint: what the model is, how it was trained, what it is good for."""

from typing import Any

import yaml

from frailt.model import FraiLTForCausalLM

_TEMPLATE = """---
library_name: transformers
pipeline_tag: text-generation
tags: [frailt, looped-transformer]
---

# FraiLT `{layout}`, width {width}

{kind} Trained by frailt {frailt} on `{source}`.

| | |
|---|---|
| layout | `{layout}`: {unique_blocks} blocks with weights of their own, {depth} block applications a token |
| unique parameters | {parameters:,} |
| forward FLOPs per token | {flops:,} at a context of {context} tokens |
| vocabulary, context | {vocab}, {context} tokens |
| trained on | {tokens:,} tokens, {step:,} steps |
| validation loss | {loss} |
| data hash | `{data_hash}` |
| versions | torch {torch}, transformers {transformers}, commit {commit} |

```python
import frailt  # the Auto classes know FraiLT from here on
from transformers import pipeline

print(pipeline("text-generation", model="PATH")("Once upon a time", max_new_tokens=200)[0]["generated_text"])
```

It continues text of the kind that it was trained on. It is no assistant: small, without knowledge of the world, and
free to repeat or contradict itself.

## Configuration

```yaml
{config}```
"""


def model_card(
    model: FraiLTForCausalLM,
    record: dict[str, Any],
    config: dict[str, Any],
    nats: float | None,
    step: int,
    tokens: int,
    what: str,
) -> str:
    """Markdown with front matter for the hub.

    Args:
        model: the model.
        record: the run's `run.json`.
        config: the run's resolved configuration.
        nats: validation loss in nats per token; None where it was not measured.
        step: optimiser steps done.
        tokens: tokens trained on.
        what: the text that the loss was measured on.
    """
    looped = "A looped language model: some of its blocks run several times."
    plain = "A standard Llama-2-style language model, the baseline of a comparison."
    layout, made_with = record["model"]["layout"], record["versions"]
    return _TEMPLATE.format(
        kind=looped if "^" in layout else plain,
        layout=layout,
        width=model.config.hidden_size,
        unique_blocks=sum(shape.blocks for shape in model.config.groups),
        depth=record["model"]["depth"],
        parameters=record["model"]["parameters"]["total"],
        flops=record["model"]["forward_flops_per_token"],
        context=record["model"]["context"],
        vocab=model.config.vocab_size,
        source=record["data"]["source"],
        data_hash=record["data"]["data_hash"],
        loss=f"{nats:.4f} nats per token, on {what}" if nats is not None else "not measured at this step",
        step=step,
        tokens=tokens,
        config=yaml.safe_dump(
            {name: value for name, value in config.items() if name not in ("data", "out")}, sort_keys=False
        ),
        **{name: made_with[name] for name in ("frailt", "torch", "transformers", "commit")},
    )
