"""One training run, from a prepared corpus to checkpoints and a record; and going on with one that was stopped."""

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, set_seed

from frailt.data.packing import PackedRows, PreparedData, TokenStream
from frailt.data.streaming import StreamedRows
from frailt.data.whole_files import tidy
from frailt.model import FraiLTForCausalLM

from .build import build_model, model_record
from .checkpoint import load_checkpoint, quiet_transformers
from .choices import Choices, check_devices, check_same_device, check_trackers, choose
from .config import MAY_CHANGE, TrainConfig
from .depth import check_counts, costs_by_count, mean_training_flops
from .fit import Fit, TrainResult
from .hardware import choose_device, describe
from .iteration_counts import CountSchedule
from .keeper import Keeper
from .processes import Processes, shard
from .resume import FOLDER, last_good, read_state, remove_all
from .rows import Order, ShuffledRows
from .run_folder import RunFolder, now, versions
from .stopping import ProcessLost, Stopped, StopRequest
from .validation import Loss

_LOST_PROCESS = re.compile(r"closed by peer|connection reset|broken pipe|timed? ?out|aborted", re.IGNORECASE)


def train(config: TrainConfig, callbacks: Sequence[TrainerCallback] = ()) -> TrainResult:
    """Train as told, and leave a run folder; or go on with the run that is in it.

    Args:
        config: what to train.
        callbacks: for transformers' Trainer, beside ours.

    Raises:
        ValueError, FileNotFoundError, FileExistsError: configuration, data or checkpoint cannot be used; nothing is
            left behind.
        FloatingPointError: the loss became infinite or no number.
        Stopped: SIGTERM or SIGUSR1 came; a checkpoint is there.
        ProcessLost: another process of the run died or hung.
    """
    device = choose_device(config.device)
    check_devices(config.device, device)
    check_trackers(config.report_to)
    quiet_transformers()
    processes = Processes(device)
    config.rows_per_pass(processes.count)
    run = RunFolder(config.out)
    with _lost_processes(processes, run), StopRequest() as stop, ExitStack() as stack:
        stack.callback(run.end)
        run.record = processes.told_by_first(run.record)
        checkpoint = None
        if going_on := bool(run.record):
            usual = _settings(TrainConfig(data="", out=""))
            processes.first_does(lambda: run.check_unchanged(_settings(config), MAY_CHANGE, usual))
            if run.record["status"] == "finished":
                return _finished_before(run, processes)
            check_same_device(run.record, config.device, device)
            processes.first_does(run.begin)
            checkpoint = _checkpoint_to_go_on_from(run, processes)
        data = _data(config, run.record, processes)
        tokenizer = data.tokenizer()
        set_seed(config.seed)
        model = load_checkpoint(checkpoint)[0] if checkpoint else build_model(config, data, tokenizer)
        check_counts(config, model.config)
        train_rows, validation_rows = (
            data.split("train").rows(config.context),
            data.split("validation").rows(config.context),
        )
        steps = config.steps_for(None if isinstance(train_rows, StreamedRows) else len(train_rows))
        schedule = CountSchedule(config.iteration_counts, seed=config.seed, steps=steps)
        chosen = choose(config, run.record, model, steps, processes)
        _tell(processes, f"{describe(device)}, {chosen}")
        model.set_attn_implementation(chosen.attention)
        if not going_on:
            processes.first_does(run.begin)
        processes.first_does(lambda: _record_start(run, config, chosen, model, data, device, schedule, checkpoint))
        if chosen.parallel == "fsdp":
            shard(model, processes)
        keeper = Keeper(
            run,
            model,
            tokenizer,
            _settings(config),
            tokens_per_step=config.tokens_per_step,
            save_total_limit=config.save_total_limit,
            processes=processes,
        )
        order = _order(config, train_rows, steps)
        try:
            fit = Fit(config, run, keeper, processes, chosen, train_rows, order, validation_rows, schedule, steps)
            if any(processes.raised_anywhere(bool(stop))):
                raise Stopped(f"stopped by {stop} before the first step: the same command begins anew or goes on")
            result = fit.run(model, callbacks, checkpoint, stop)
        except BaseException as error:
            if processes.first:
                run.give_up("stopped", error)
            if isinstance(error, Stopped):
                processes.part()
            raise
        processes.first_does(lambda: _record_end(run, result, data))
        keeper.drop_checkpoints()
        processes.part()
        return result


@contextmanager
def _lost_processes(processes: Processes, run: RunFolder) -> Iterator[None]:
    """Turn what a collective says when a process is gone into one line."""
    try:
        yield
    except RuntimeError as error:
        if processes.count == 1 or not _LOST_PROCESS.search(str(error)):
            raise
        raise ProcessLost(
            f"another process of the run died or hung: run the same command again, and it goes on from the last "
            f"checkpoint in {run.path} ({' '.join(str(error).split())[:120]})"
        ) from error


def _order(config: TrainConfig, rows: PackedRows | StreamedRows, steps: int) -> Order:
    """The rows of all steps: of a prepared corpus shuffled, of a streamed one as they come."""
    wanted = steps * config.batch_rows
    return Order(wanted) if isinstance(rows, StreamedRows) else ShuffledRows(len(rows), wanted, config.seed)


def _data(config: TrainConfig, record: dict[str, Any], processes: Processes) -> PreparedData:
    """The corpus, if its files are what its manifest says, and what the run began with."""
    data = PreparedData.open(config.data)
    processes.first_of_each_node_does(data.verify)
    (differs,) = processes.raised_anywhere(processes.told_by_first(data.data_hash) != data.data_hash)
    if differs:
        raise ValueError(
            f"data must be the same on all nodes, got other contents in {data.folder} on one: prepare once, then copy"
        )
    if record and record["data"]["data_hash"] != data.data_hash:
        raise ValueError(
            f"data must be what the run began with, got other contents in {data.folder}: "
            "give that folder's new place, or choose another out"
        )
    return data


def _checkpoint_to_go_on_from(run: RunFolder, processes: Processes) -> Path | None:
    found: list[Path | None] = [None]

    def look() -> None:
        for folder in (run.path, run.path / FOLDER):
            tidy(folder)
        found[0], complaints = last_good(run.path)
        for complaint in complaints:
            _tell(processes, complaint)
        run.cut_metrics(read_state(found[0])["metrics_bytes"] if found[0] is not None else 0)
        if run.record:
            _tell(processes, f"going on with {run.path} from {found[0].name if found[0] else 'the beginning'}")

    processes.first_does(look)
    return processes.told_by_first(found[0])


def _record_start(
    run: RunFolder,
    config: TrainConfig,
    chosen: Choices,
    model: FraiLTForCausalLM,
    data: PreparedData,
    device: torch.device,
    schedule: CountSchedule,
    checkpoint: Path | None,
) -> None:
    run.write_config(_settings(config))
    if run.record:
        from_step = 0 if checkpoint is None else read_state(checkpoint)["step"]
        went_on = {"time": now(), "from_step": from_step, "versions": versions(), "device": describe(device)}
        run.update(status="running", **asdict(chosen), went_on=[*run.record.get("went_on", []), went_on])
        return
    _tell_of_long_documents(data, config.context)
    ran = schedule.ran(1, schedule.steps)  # all of them are known before the first
    run.update(
        status="running",
        started=now(),
        versions=versions(),
        device=describe(device),
        device_type=device.type,
        **asdict(chosen),
        data={"source": _without_folder(data.manifest.source), "data_hash": data.data_hash},
        model=model_record(model, config.context, mean_training_flops(costs_by_count(config, model.config), ran)),
        **({} if None in ran else {"steps_at_iterations": {str(count): ran[count] for count in schedule.counts}}),
        steps=schedule.steps,
        seed=config.seed,
    )


def _record_end(run: RunFolder, result: TrainResult, data: PreparedData) -> None:
    run.record.pop("error", None)
    at_iterations = {str(n): _recorded(loss, data) for n, loss in result.validation_at_iterations.items()}
    run.update(
        validation=_recorded(result.validation, data),
        **({"validation_at_iterations": at_iterations} if at_iterations else {}),
        best_share_nats_per_token=result.best_share_nats_per_token,
        tokens=result.tokens,
        tokens_per_s=result.tokens_per_s,
        training_s=result.training_s,
        ended=now(),
        status="finished",
    )


def _recorded(loss: Loss, data: PreparedData) -> dict[str, Any]:
    """A loss as `run.json` has it."""
    return {name: value for name, value in asdict(loss).items() if value is not None} | {
        "perplexity": loss.perplexity,
        "bits_per_byte": loss.bits_per_byte(data.split("validation").manifest.utf8_bytes),
    }


def _finished_before(run: RunFolder, processes: Processes) -> TrainResult:
    """What was recorded; and the checkpoints go, where a kill came between the end of the run and that."""
    _tell(processes, f"{run.path} is finished; nothing to do")
    if processes.first and run.config().get("save_total_limit") is not None:
        remove_all(run.path)
    record = run.record
    return TrainResult(
        folder=run.path,
        validation=Loss.from_record(record["validation"]),
        validation_at_iterations={
            int(count): Loss.from_record(loss) for count, loss in record.get("validation_at_iterations", {}).items()
        },
        **{n: record[n] for n in ("best_share_nats_per_token", "tokens", "tokens_per_s", "training_s")},
    )


def _settings(config: TrainConfig) -> dict[str, Any]:
    """The resolved configuration, which reads back as an equal one; a checkpoint's model is described in its folder."""
    settings = asdict(config)
    if config.from_checkpoint is not None:
        del settings["model"]
    return settings


def _tell(processes: Processes, line: str) -> None:
    if processes.first:
        print(f"frailt train: {line}", file=sys.stderr)


def _tell_of_long_documents(data: PreparedData, context: int) -> None:
    stream = data.split("train")
    if not isinstance(stream, TokenStream):
        return
    if stream.manifest.longest_document_tokens > context:  # else there is no need to read the stream
        print(
            f"frailt train: {stream.documents_longer_than(context):,} of {stream.manifest.documents:,} documents are "
            f"longer than the context of {context} tokens; they continue in the next row",
            file=sys.stderr,
        )


def _without_folder(source: str) -> str:
    """A source as records name it: the id of a dataset, or a file or folder without where it lay."""
    return source if re.fullmatch(r"[\w.-]+/[\w.-]+", source) and not Path(source).exists() else Path(source).name
