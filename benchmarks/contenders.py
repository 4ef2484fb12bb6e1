"""One contender of the speed benchmarks, in its own process; `interleave.py` starts it and speaks with it over pipes.

It sets itself up, warms up, and answers with a line of JSON. Then for each number on its standard input it trains so
many steps, and answers with their seconds; at the end of its input it is gone.
"""

import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import torch
from interleave import Contender
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import LlamaForCausalLM, Trainer, TrainerCallback, TrainingArguments

from frailt.data.packing import IGNORED, PackedRows, PreparedData
from frailt.model import FraiLTConfig, FraiLTForCausalLM
from frailt.model.convert import to_llama
from frailt.model.cost import cost
from frailt.planning.memory import Step, training_peak
from frailt.training.config import ModelConfig, TrainConfig
from frailt.training.hardware import choose_attention, peak_memory_bytes
from frailt.training.train import train

WITHOUT_END = 1_000_000
"""Steps: more than anybody measures, so that nothing of the end of a run is on the clock."""
LEARNING_RATE = 1e-3


class Clock:
    """Counts steps, and says how long they took.

    Each contender calls `before_step` before every optimiser step, and in there it waits for its next turn.
    """

    def __init__(self, contender: Contender, answers: TextIO, facts: Callable[[], dict[str, Any]]) -> None:
        self.contender, self.answers, self.facts = contender, answers, facts
        self.device = torch.device(contender.device)
        self.step = 0
        self.first = self.until = contender.warm_up_steps
        self.began = self.set_up = time.perf_counter()

    def before_step(self, model: nn.Module, optimizer: Any) -> None:
        if self.step == 0:
            self._start()
            self.set_up = self.began
        if self.step == 1:
            self.first_step_s = self._seconds()
        if self.step == self.until:
            self._report(model, optimizer)
            self._listen()
        if self.step == self.first:
            self._start()
        self.step += 1

    def _start(self) -> None:
        self._wait_for_device()
        self.began = time.perf_counter()

    def _seconds(self) -> float:
        self._wait_for_device()
        return time.perf_counter() - self.began

    def _wait_for_device(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def _report(self, model: nn.Module, optimizer: Any) -> None:
        said: dict[str, Any] = {"seconds": self._seconds()}
        if self.step == self.contender.warm_up_steps:
            said = {"first_step_s": round(self.first_step_s, 3), **self.facts(), **_sizes(model, optimizer)}
        self.answers.write(json.dumps(said | {"peak_memory_bytes": peak_memory_bytes(self.device)}) + "\n")
        self.answers.flush()

    def _listen(self) -> None:
        getting_going = 0
        if self.device.type == "cuda":
            torch.cuda.empty_cache()  # the others need the memory; a step off the clock takes it back
            torch.cuda.reset_peak_memory_stats()
            getting_going = 1
        line = sys.stdin.readline()
        if not line.strip():
            os._exit(0)  # without what a run does at its end
        self.first = self.step + getting_going
        self.until = self.first + int(line)


def _sizes(model: nn.Module, optimizer: Any) -> dict[str, int]:
    tensors = [t for state in optimizer.state.values() for t in state.values() if torch.is_tensor(t)]
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "weight_bytes": sum(p.numel() * p.element_size() for p in model.parameters()),
        "optimizer_bytes": sum(t.numel() * t.element_size() for t in tensors),
    }


class TurnTaking(TrainerCallback):
    """A clock for transformers' Trainer."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_step_begin(self, args, state, control, model=None, optimizer=None, **kwargs):
        self.clock.before_step(model, optimizer)


# Ours: the very function behind the command


def frailt_train(contender: Contender, answers: TextIO, folder: Path) -> None:
    def chosen() -> dict[str, Any]:
        record = json.loads((folder / "run" / "run.json").read_text(encoding="utf-8"))
        named = ("precision", "compile", "attention", "matmul_flops_per_s")
        return {f"chosen_{name}": record.get(name) for name in named} | costs(contender, record["precision"])

    config = TrainConfig(
        data=contender.data,
        out=str(folder / "run"),
        model=ModelConfig(layout=contender.layout, hidden_size=contender.hidden_size),
        context=contender.context,
        batch_rows=contender.rows,
        steps=WITHOUT_END,
        learning_rate=LEARNING_RATE,
        precision=contender.precision,
        compile=contender.compile,
        device=contender.device,
        threads=contender.threads,
        evaluations=0,
        save_every_minutes=1e6,  # the time spent waiting for a turn counts too
    )
    train(config, callbacks=[TurnTaking(Clock(contender, answers, chosen))])


def architecture(contender: Contender) -> FraiLTConfig:
    return FraiLTConfig(
        layout=contender.layout,
        hidden_size=contender.hidden_size,
        vocab_size=PreparedData.open(contender.data).manifest.vocab_size,
        max_position_embeddings=contender.context,
    )


def costs(contender: Contender, precision: str) -> dict[str, int]:
    config = architecture(contender)
    step = Step(rows=contender.rows, context=contender.context, bfloat16=precision == "bfloat16")
    return {
        "training_flops_per_token": cost(config, contender.context).training_flops_per_token,
        "planned_peak_memory_bytes": training_peak(config, step).total,
    }


# The peers, on transformers' own Llama


def llama(contender: Contender) -> LlamaForCausalLM:
    return to_llama(FraiLTForCausalLM(architecture(contender)))


class WholeRows(Dataset):
    """Rows as a straightforward script has them: inputs, and the same as labels, which the model shifts."""

    def __init__(self, rows: PackedRows) -> None:
        some = range(min(len(rows) - 1, 20_000))  # the last row may be shorter
        self.tokens = torch.from_numpy(rows.batch(some)[0])

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"input_ids": self.tokens[index], "labels": self.tokens[index]}


def trainer(contender: Contender, answers: TextIO, folder: Path) -> None:
    rows = PreparedData.open(contender.data).split("train").rows(contender.context)
    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=contender.rows,
        max_steps=WITHOUT_END,
        learning_rate=LEARNING_RATE,
        lr_scheduler_type="cosine",
        bf16=contender.precision == "bfloat16",
        use_cpu=contender.device == "cpu",
        save_strategy="no",
        report_to="none",
    )
    clock = Clock(contender, answers, lambda: costs(contender, contender.precision))
    Trainer(
        model=llama(contender), args=arguments, train_dataset=WholeRows(rows), callbacks=[TurnTaking(clock)]
    ).train()


def loop(contender: Contender, answers: TextIO, folder: Path) -> None:
    """As fast as a minimal loop on the same model gets: compiled whole, fused optimiser, nothing read back."""
    device = torch.device(contender.device)
    model = llama(contender).to(device).train()
    model.set_attn_implementation(choose_attention(device, architecture(contender)))
    parameters = list(model.parameters())
    matrices = [p for p in parameters if p.ndim >= 2]
    norms = [p for p in parameters if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": norms, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE, betas=(0.9, 0.95), fused=True)

    def loss_of(tokens: Tensor, targets: Tensor) -> Tensor:
        logits = model(input_ids=tokens, use_cache=False).logits
        return nn.functional.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), ignore_index=IGNORED)

    compiled = torch.compile(loss_of, mode=contender.compile)
    clock = Clock(contender, answers, lambda: costs(contender, contender.precision))
    batches = _batches(contender, device)
    for step in range(WITHOUT_END):
        tokens, targets = next(batches)
        clock.before_step(model, optimizer)
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * (1 + math.cos(math.pi * step / WITHOUT_END)) / 2
        with torch.autocast(device.type, torch.bfloat16, enabled=contender.precision == "bfloat16"):
            loss = compiled(tokens, targets)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0, foreach=True)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def _batches(contender: Contender, device: torch.device) -> Iterator[list[Tensor]]:
    rows = PreparedData.open(contender.data).split("train").rows(contender.context)
    order = np.random.default_rng(0)
    while True:
        arrays = rows.batch(order.integers(len(rows), size=contender.rows).tolist())
        tensors = [torch.from_numpy(array) for array in arrays]
        if device.type == "cuda":
            tensors = [tensor.pin_memory().to(device, non_blocking=True) for tensor in tensors]
        yield tensors


def main() -> None:
    contender = Contender(**json.loads(sys.argv[1]))
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print is no answer
    torch.set_num_threads(contender.threads)
    torch.manual_seed(0)
    run = {"frailt": frailt_train, "trainer": trainer, "loop": loop}[contender.kind]
    run(contender, answers, Path(sys.argv[2]))


if __name__ == "__main__":
    main()
