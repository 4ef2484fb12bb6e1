"""Texts that join others, against each decoded alone."""

import pytest
import torch

from frailt.inference.batch import Batch
from frailt.inference.decoding import Decoder
from frailt.inference.drawing import Greedy

from .conftest import make_model


@pytest.fixture(scope="module")
def decoder():
    return Decoder(make_model(259))


def test_texts_that_join_and_leave_are_those_decoded_alone(decoder):
    """The longest leaves, so that the others move to the left; a longer one joins, so that they move to the right."""
    batch, room = Batch(decoder.step), 30
    prompts = [[7], list(range(3, 43)), [5, 9], [8] * 97, [1, 2, 3]]
    told: dict[int, list[int]] = {}
    joins = {0: [0, 1], 4: [2], 11: [3], 13: [4]}
    leaves = {2: [1], 12: [0, 3], 20: [2]}
    rows: list[int] = []
    logits = torch.empty(0)
    for step in range(25):
        if step in leaves:
            kept = [place for place, row in enumerate(rows) if row not in leaves[step]]
            batch.keep(kept)
            rows, logits = [rows[place] for place in kept], logits[kept]
        if step in joins:
            new = batch.join([prompts[row] for row in joins[step]], room)
            rows, logits = rows + joins[step], torch.cat([logits, new]) if rows else new
        assert batch.rows == len(rows)
        chosen = logits.argmax(-1)
        for row, token in zip(rows, chosen.tolist(), strict=True):
            told.setdefault(row, []).append(token)
        logits = batch.advance(chosen)
    alone = [list(decoder.stream(prompt, Greedy(), stops=[], max_new_tokens=25)) for prompt in prompts]
    assert [len(told[row]) for row in range(5)] == [12, 2, 16, 1, 12]
    assert all(told[row] == alone[row][: len(told[row])] for row in range(5))


def test_logits_behind_moved_keys_are_those_of_the_whole_text(decoder):
    batch = Batch(decoder.step)
    prompts = [[7, 11, 13], [5] * 17, [2] * 40]
    batch.join(prompts[:2], 9)
    batch.advance(torch.tensor([3, 4]))
    batch.join(prompts[2:], 9)
    found = batch.advance(torch.tensor([6, 7, 8]))
    texts = [[*prompts[0], 3, 6], [*prompts[1], 4, 7], [*prompts[2], 8]]
    with torch.inference_mode():
        expected = [decoder.model(torch.tensor([text])).logits[0, -1] for text in texts]
    torch.testing.assert_close(found, torch.stack(expected), rtol=1e-4, atol=1e-4)


def test_a_batch_that_all_left_begins_anew(decoder):
    batch = Batch(decoder.step)
    first = batch.join([[7], [8, 9]], 5)
    batch.keep([])
    assert batch.rows == 0
    torch.testing.assert_close(batch.join([[7], [8, 9]], 5), first)


def test_what_padding_holds_is_never_seen(decoder, monkeypatch):
    """Memory that was never written may hold anything, NaN too."""
    empty = torch.Tensor.new_empty
    monkeypatch.setattr(torch.Tensor, "new_empty", lambda *given, **more: empty(*given, **more).fill_(float("nan")))
    batch = Batch(decoder.step)
    batch.join([[7]], 5)
    batch.join([[9] * 20, [3] * 4], 5)
    assert batch.advance(torch.tensor([1, 2, 3])).isfinite().all()
    batch.keep([0, 2])
    assert batch.advance(torch.tensor([1, 3])).isfinite().all()


def test_what_is_padding_in_all_rows_is_given_up(decoder):
    batch = Batch(decoder.step)
    batch.join([[7] * 97, [8] * 5], 3)
    batch.advance(torch.tensor([1, 2]))
    batch.keep([1])
    assert batch._texts.filled == 6


@pytest.mark.parametrize("room", [1, 6])
def test_rows_have_the_room_that_the_largest_was_promised(room, decoder):
    batch = Batch(decoder.step)
    batch.join([[7]], room)
    batch.join([[8]], 4)
    batch.keep([1, 0])
    for _ in range(max(room, 4)):
        batch.advance(torch.tensor([1, 1]))
