"""Twenty steps of a small training give the losses they gave before: what no other test sees, a drift, is seen here.

Data and vocabulary are made on the spot from what has golden values of its own, the built-in stories and the 256 bytes.
Another version of torch may round otherwise, so losses are kept by its version. After a change that is meant to change
them, `python tests/training/test_golden.py` writes those of the torch that is installed.
"""

import json
import sys
import tempfile
from pathlib import Path

import pytest
import torch

from frailt.data.prepare import PrepareConfig, prepare
from frailt.training.config import ModelConfig, TrainConfig
from frailt.training.train import train

GOLDEN = Path(__file__).with_name("golden.json")
TORCH = torch.__version__.split("+")[0]
# In float32 only the order of additions differs between processors, about 1e-6 a step; in bfloat16 a value that
# falls on the other side of a rounding has an error of 2^-9.
TOLERANCE_NATS = {"float32": 1e-4, "bfloat16": 2e-2}


def losses(byte_tokenizer, folder: Path, precision: str) -> list[float]:
    byte_tokenizer.save_pretrained(folder / "tokenizer")
    prepare(
        PrepareConfig(
            source="builtin",
            stories=30,
            seed=3,
            validation_share=0.1,
            tokenizer=str(folder / "tokenizer"),
            out=str(folder / "data"),
        )
    )
    model = ModelConfig(layout="1,(2)^3", hidden_size=24, num_attention_heads=2, num_key_value_heads=1)
    train(
        TrainConfig(
            data=str(folder / "data"),
            out=str(folder / "run"),
            model=model,
            context=61,
            batch_rows=4,
            steps=20,
            learning_rate=0.01,
            precision=precision,
            device="cpu",
            threads=1,
            seed=3,
            evaluations=0,
            log_every_steps=1,
        )
    )
    rows = map(json.loads, (folder / "run" / "metrics.jsonl").read_text().splitlines())
    return [row["loss_nats_per_token"] for row in rows if "loss_nats_per_token" in row]


@pytest.mark.parametrize("precision", TOLERANCE_NATS)
def test_losses_are_the_golden_ones(precision, byte_tokenizer, tmp_path):
    golden = json.loads(GOLDEN.read_text())
    if TORCH not in golden:
        pytest.skip(f"no golden losses of torch {TORCH}, only of {', '.join(golden)}; see the top of this file")
    found = losses(byte_tokenizer, tmp_path, precision)
    assert len(found) == 20
    assert found == pytest.approx(golden[TORCH][precision], abs=TOLERANCE_NATS[precision])


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from conftest import make_byte_tokenizer

    golden = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    golden[TORCH] = {}
    for precision in TOLERANCE_NATS:
        with tempfile.TemporaryDirectory() as folder:
            golden[TORCH][precision] = losses(make_byte_tokenizer(), Path(folder), precision)
    GOLDEN.write_text(json.dumps(golden, indent=1) + "\n")
