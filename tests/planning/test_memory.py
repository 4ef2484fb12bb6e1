"""The closed-form memory of a training step against torch's own count: what autograd keeps, peaks of whole steps."""

from itertools import accumulate

import pytest
import torch
from benchmarks import memory as benchmark

from frailt import FraiLTConfig, FraiLTForCausalLM
from frailt.model.narrow_attention import library
from frailt.planning.memory import Step, moments, saved_per_application, training_peak

TOLERANCE = 0.15
LEFT_TO_THE_BENCHMARK = {1, 3, 14}  # they are slow, and others cover them
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


def config(layout: str, **changes) -> FraiLTConfig:
    sizes = {
        "vocab_size": 37,
        "hidden_size": 24,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 53,
        "max_position_embeddings": 11,
    }
    return FraiLTConfig(layout=layout, **(sizes | changes))


def kept_by_autograd(layout: str, step: Step, **changes) -> int:
    """Bytes of the distinct tensors that the forward pass leaves for the backward pass, parameters and their copies
    aside."""
    model = FraiLTForCausalLM(config(layout, **changes)).train()
    model.set_attn_implementation(step.kernel)
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        copy = tensor.grad_fn is not None and tensor.grad_fn.name() == "TBackward0"  # a weight, for a product
        if storage.data_ptr() not in weights and not copy:
            kept[storage.data_ptr()] = (storage.nbytes(), tensor)  # the tensor is held so that its place is not reused
        return tensor

    tokens = torch.randint(37, (step.rows, step.context))
    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=step.bfloat16),
    ):
        loss = model(tokens, labels=tokens, shift_labels=tokens, use_cache=False).loss
    assert loss.requires_grad
    return sum(size for size, _ in kept.values())


@pytest.mark.parametrize("bfloat16", [False, True])
@pytest.mark.parametrize("kernel", ["eager", "sdpa", "sdpa_padded"])
def test_a_block_application_keeps_as_many_bytes_as_counted(kernel, bfloat16):
    step = Step(rows=3, context=11, bfloat16=bfloat16, kernel=kernel)
    one, three = kept_by_autograd("1^2", step), kept_by_autograd("1^4", step)
    assert three - one == 2 * saved_per_application(config("1^2"), step).total


@pytest.mark.skipif(library() is None, reason="no C compiler")
@pytest.mark.parametrize("groups", [4, 2])
def test_a_block_application_keeps_as_many_bytes_as_counted_with_the_kernel_for_narrow_heads(groups):
    sizes = {"hidden_size": 32, "num_key_value_heads": groups}
    step = Step(rows=3, context=11, kernel="narrow")
    one, three = kept_by_autograd("1^2", step, **sizes), kept_by_autograd("1^4", step, **sizes)
    assert three - one == 2 * saved_per_application(config("1^2", **sizes), step).total


@pytest.mark.parametrize(
    "cell", [cell for i, cell in enumerate(benchmark.CELLS) if i not in LEFT_TO_THE_BENCHMARK], ids=str
)
def test_the_planned_peak_is_the_tracked_peak(cell):
    model, step = benchmark.cell(*cell)
    assert training_peak(model, step).total == pytest.approx(benchmark.measured_peak(model, step), rel=TOLERANCE)


def test_the_tracker_sees_what_the_allocator_gives():
    model_config, step = benchmark.cell("2^4", 64, 8, 512, 128, {"rows": 2})
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profiler:
        model, tokens = benchmark._training(model_config, step, "cpu")
        optimizer = torch.optim.AdamW(model.parameters(), fused=True)
        for _ in range(2):
            benchmark._take_step(model, optimizer, tokens, step)
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    sizes = [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]
    assert max(accumulate(sizes)) == pytest.approx(benchmark.measured_peak(model_config, step), rel=0.01)


@pytest.mark.parametrize("cell", benchmark.SHARED_CELLS[:3], ids=["DDP", "FSDP", "FSDP accumulating"])
def test_the_planned_peak_is_that_of_one_of_several_processes(cell):
    model, step = benchmark.cell(*cell)
    with benchmark.process_group(step):
        measured = benchmark.shared_peak(model, step)
    assert training_peak(model, step).total == pytest.approx(measured, rel=TOLERANCE)


@needs_gpu
@pytest.mark.parametrize("layout", ["8", "2^4", "1,(2)^3,1"])
@pytest.mark.parametrize("bfloat16", [False, True])
@pytest.mark.parametrize("gradient_checkpointing", [False, True])
def test_the_planned_peak_is_the_allocated_peak_on_a_gpu(layout, bfloat16, gradient_checkpointing):
    if bfloat16 and not torch.cuda.is_bf16_supported(including_emulation=False):
        pytest.skip("this GPU does not compute in bfloat16")
    model = FraiLTConfig(layout=layout, hidden_size=512, vocab_size=8192)
    step = Step(rows=8, context=512, bfloat16=bfloat16, gradient_checkpointing=gradient_checkpointing)
    measured = benchmark.measured_peak(model, step, "cuda")
    assert training_peak(model, step).total == pytest.approx(measured, rel=TOLERANCE)


def at_the_loss(layout: str, **how):
    step = Step(rows=4, context=11, **how)
    return next(moment for moment in moments(config(layout), step) if moment.name == "backward of the loss")


def test_activations_grow_with_applications_and_parameters_with_blocks():
    looped, equal_parameters, equal_depth = at_the_loss("2^4"), at_the_loss("2"), at_the_loss("8")
    encodings = 4 * 2 * 4 * 24  # bytes of two blocks' four vectors
    assert looped.activations == equal_depth.activations
    assert looped.parameters - encodings == equal_parameters.parameters
    assert looped.optimizer_state == 2 * looped.parameters


def test_checkpointing_keeps_one_residual_stream_per_application():
    deep, shallow = (at_the_loss(layout, gradient_checkpointing=True) for layout in ("9", "8"))
    assert deep.activations - shallow.activations == 4 * 11 * 24 * 4  # rows, context, width, bytes


def test_logits_are_the_peak_where_the_vocabulary_is_large():
    assert training_peak(config("2^4", vocab_size=9973), Step(rows=8, context=11)).name == "backward of the loss"
    assert training_peak(config("2^4"), Step(rows=8, context=11, kernel="eager")).name.startswith("backward of the")


def test_accumulation_holds_all_gradients_throughout():
    assert at_the_loss("2^4").gradients == 0
    assert at_the_loss("2^4", accumulates=True).gradients == at_the_loss("2^4").parameters


def test_several_processes_hold_buckets_or_shares():
    alone, both, shares = at_the_loss("8"), at_the_loss("8", processes=4), at_the_loss("8", processes=4, sharded=True)
    assert both.shared == alone.parameters
    assert both.total == alone.total + alone.parameters
    assert shares.parameters == alone.parameters // 4
    assert shares.optimizer_state == alone.optimizer_state // 4


@pytest.mark.parametrize("field", ["rows", "context", "processes"])
def test_a_step_needs_one_of_each(field):
    with pytest.raises(ValueError, match=f"{field} must be 1 or more, got 0"):
        Step(**({"rows": 1, "context": 1} | {field: 0}))
