"""The page that is made of the record of `make interop`."""

from collections.abc import Iterator
from typing import Any

HEAD = """# Other programs, run on what this one exports

    make interop

Written by `scripts/interop/` from interop.json. The reference is `FraiLTForCausalLM`, looped, in transformers and
float32, without a cache. Logits must differ from it by less than 1e-3, and the likeliest token be the same wherever its
first two differ by more; greedy stories must be equal. Rows without a word are told, not required.
"""
WORDS = {True: "holds", False: "**fails**", None: ""}


def page(record: dict[str, Any]) -> str:
    """Markdown."""
    return "\n".join(_lines(record)).rstrip() + "\n"


def _lines(record: dict[str, Any]) -> Iterator[str]:
    yield HEAD
    yield f"{record['machine']['name']}.\n"
    for name, versions in record["versions"].items():
        shown = ", ".join(f"{package} {version}" for package, version in versions.items() if version)
        yield f"- {name}: {shown}"
    for name in record["not_installed"]:
        yield f"- {name}: **could not be installed**, and so was not asked"
    for model in record["models"]:
        yield f"\n## {_title(model['model'])}"
        for engine, checks in model["checks"].items():
            yield f"\n### {engine}\n"
            yield "| | | |\n|---|---|---|"
            for check in checks:
                measured = {name: value for name, value in check.items() if name not in ("what", "passed")}
                shown = ", ".join(f"{name.replace('_', ' ')} {_short(value)}" for name, value in measured.items())
                yield f"| {check['what']} | {WORDS[check['passed']]} | {shown} |"


def _title(model: dict[str, Any]) -> str:
    if not model:
        return "A checkpoint that could not be exported"
    loss = model["validation_nats_per_token"]
    return (
        f"`{model['layout']}`, width {model['hidden_size']}, {model['heads']} heads of width {model['head_width']}, "
        f"{model['key_value_heads']} of keys and values, context {model['context']}"
        + ("" if loss is None else f", {loss:.3f} nats per token")
    )


def _short(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.6g}" if abs(value) >= 1 else f"{value:.2g}"
