import pytest

from frailt.judge.judged import mean_of
from frailt.judge.prompt import CATEGORIES
from frailt.report.cells import Variant
from frailt.report.checkpoints import Checkpoint, Grading, Story
from frailt.report.comparisons import EQUAL_PARAMETERS, Pair
from frailt.report.gradings import gradings
from frailt.report.scores import AVERAGE, KINDS, Scores
from frailt.report.statistics import estimate

PAIR = Pair(EQUAL_PARAMETERS, Variant.of("2^4"), Variant.of("2"))


def graded(*categories):
    return Grading(dict(zip(CATEGORIES, categories, strict=True)), "Words.")


UNSCORED = Grading(None, "a refusal")


def checkpoint(stories, layout="2^4", width=64, seed=0, nats=1.5):
    """Stories by beginning: for each a list of its samples, each a list of gradings; a number is four equal grades."""
    told = [
        Story(
            prompt_id,
            sample,
            "Once",
            "ran.",
            gradings=tuple(graded(*[each] * 4) if isinstance(each, int) else each for each in repeats),
        )
        for prompt_id, samples in enumerate(stories)
        for sample, repeats in enumerate(samples)
    ]
    return Checkpoint(
        name="c", variant=Variant.of(layout), width=width, seed=seed, nats=nats, sha256=f"{layout} {seed}", telling={},
        stories=tuple(told),
    )  # fmt: skip


def test_every_beginning_weighs_the_same_and_so_does_every_story_of_it():
    # repeats 2 and 4 are one story of 3; its beginning has another of 5, so 4; the second beginning has 8
    mean = Scores.of([checkpoint([[[2, 4], [5]], [[8]]])]).mean(PAIR.model, 64, "plot")
    assert mean.found == estimate([4.0, 8.0])
    assert mean.over == "2 beginnings of 1 seed"


def test_means_are_those_of_the_judge():
    stories = [[[2, 4], [UNSCORED, 5]], [[8, 9], [UNSCORED, UNSCORED]], [[UNSCORED, UNSCORED], [UNSCORED, UNSCORED]]]
    lines = [
        {"prompt_id": p, "sample": s, "grades": {"plot": each} if isinstance(each, int) else None}
        for p, samples in enumerate(stories)
        for s, repeats in enumerate(samples)
        for each in repeats
    ]
    theirs = mean_of(lines, "plot")
    ours = Scores.of([checkpoint(stories)]).mean(PAIR.model, 64, "plot")
    assert (ours.found.mean, ours.found.half_width) == pytest.approx((theirs.value, theirs.half_width))
    assert ours.over.startswith("2 beginnings")


def test_the_average_is_of_the_four_categories():
    scores = Scores.of([checkpoint([[[graded(1, 2, 3, 8)]]])])
    means = {kind: scores.mean(PAIR.model, 64, kind).found.mean for kind in KINDS}
    assert means == {"grammar": 1, "creativity": 2, "consistency": 3, "plot": 8, AVERAGE: 3.5}


def test_one_beginning_of_one_seed_has_no_interval():
    mean = Scores.of([checkpoint([[[5], [7]]])]).mean(PAIR.model, 64, "plot")
    assert mean.found == estimate([6.0])
    assert mean.found.half_width is None


def test_with_several_seeds_the_interval_is_over_seeds():
    seeds = [checkpoint([[[grade]], [[grade + 2]]], seed=seed) for seed, grade in enumerate((3, 4, 7))]
    mean = Scores.of(seeds).mean(PAIR.model, 64, "grammar")
    assert mean.found == estimate([4.0, 5.0, 8.0])
    assert mean.over == "3 seeds"


def test_seeds_that_happen_to_have_the_same_mean_do_not_make_an_interval_of_no_length():
    mean = Scores.of([checkpoint([[[3]], [[5]]]), checkpoint([[[4]], [[4]]], seed=1)]).mean(PAIR.model, 64, "plot")
    assert mean.found == estimate([3.5, 4.5])
    assert mean.over == "2 beginnings of 2 seeds"


def test_unscored_stories_are_counted_and_enter_no_mean():
    scores = Scores.of([checkpoint([[[4], [UNSCORED]], [[UNSCORED]]])])
    assert scores.mean(PAIR.model, 64, "plot").found.mean == 4
    assert scores.unscored(PAIR.model, 64) == (2, 3)
    none = Scores.of([checkpoint([[[UNSCORED]]])])
    assert none.mean(PAIR.model, 64, "plot") is None
    assert none.unscored(PAIR.model, 64) == (1, 1)
    assert none.unscored(PAIR.baseline, 64) is None


def test_the_loss_of_a_model_is_that_of_its_graded_seeds():
    scores = Scores.of([checkpoint([[[4]]], nats=1.0), checkpoint([[[4]]], seed=1, nats=2.0)])
    assert scores.nats(PAIR.model, 64) == 1.5
    unknown = Scores.of([checkpoint([[[4]]], nats=1.0), checkpoint([[[4]]], seed=1, nats=None)])
    assert unknown.nats(PAIR.model, 64) is None


# Differences


def lead(model, baseline, kind="plot"):
    return Scores.of([*model, *baseline]).lead(PAIR, 64, kind)


def test_a_difference_is_paired_by_beginning():
    found = lead([checkpoint([[[4]], [[9]], [[3]]])], [checkpoint([[[2]], [[8]], [[2]]], "2")])
    assert found.found == estimate([2.0, 1.0, 1.0])
    assert found.over == "3 beginnings of 1 seed"


def test_only_beginnings_that_both_have_count():
    found = lead([checkpoint([[[4]], [[9]], [[UNSCORED]]])], [checkpoint([[[2]], [[UNSCORED]], [[2]]], "2")])
    assert found.found == estimate([2.0])


def test_with_several_seeds_in_common_a_difference_is_paired_by_seed():
    model = [checkpoint([[[grade]], [[grade + 1]]], seed=seed) for seed, grade in ((0, 5), (1, 7), (2, 9))]
    baseline = [checkpoint([[[grade]], [[grade + 3]]], "2", seed=seed) for seed, grade in ((0, 3), (1, 4), (3, 1))]
    found = lead(model, baseline)
    assert found.found == estimate([5.5 - 4.5, 7.5 - 5.5])
    assert found.over == "2 seeds"


def test_seeds_with_the_same_difference_leave_it_to_beginnings():
    model = [checkpoint([[[5]], [[7]]], seed=0), checkpoint([[[4]], [[8]]], seed=1)]
    baseline = [checkpoint([[[4]], [[4]]], "2", seed=seed) for seed in (0, 1)]
    found = lead(model, baseline)
    assert found.found == estimate([0.5, 3.5])
    assert (found.basis, found.over, found.agrees) == ("2 seeds", "2 beginnings of 2 seeds", True)


def test_models_without_a_seed_in_common_have_no_difference():
    assert lead([checkpoint([[[4]]], seed=0)], [checkpoint([[[4]]], "2", seed=1)]) is None


def test_pairing_takes_out_what_beginnings_do_to_both():
    stories = [[[grade]] for grade in (1, 4, 9, 2, 6)]
    higher = [[[grade]] for grade in (2, 5, 10, 3, 8)]
    found = lead([checkpoint(higher)], [checkpoint(stories, "2")]).found
    assert found == estimate([1.0, 1.0, 1.0, 1.0, 2.0])
    assert found.sign == 1


def test_a_difference_that_is_the_same_everywhere_has_no_interval_and_decides_nothing():
    model, baseline = ([checkpoint([[[grade]], [[grade]]], layout)] for grade, layout in ((5, "2^4"), (4, "2")))
    found = lead(model, baseline)
    assert (found.found.mean, found.found.half_width, found.found.sign) == (1, None, 0)


# Sentences


def sentence(model, baseline):
    (found,) = gradings(Scores.of([*model, *baseline]))
    return found.sentence()


def stories_of(*by_beginning):
    return [[[graded(*each)]] for each in by_beginning]


def test_a_sentence_names_what_is_decided_with_its_interval_and_what_is_not():
    model = stories_of((5, 4, 3, 6), (6, 2, 3, 7), (5, 6, 1, 6))
    baseline = stories_of((3, 4, 5, 2), (3, 3, 4, 2), (3, 5, 3, 3))
    leads = {kind: lead([checkpoint(model)], [checkpoint(baseline, "2")], kind).found for kind in KINDS}

    def shown(kind):
        found = leads[kind]
        return f"[{abs(found.mean) - found.half_width:.2f}, {abs(found.mean) + found.half_width:.2f}]"

    assert [leads[kind].sign for kind in KINDS] == [1, 0, -1, 1, 1]
    assert sentence([checkpoint(model)], [checkpoint(baseline, "2")]) == (
        f"`2^4` is graded above `2` by 2.33 for grammar {shown('grammar')}, 4.00 for plot {shown('plot')} and 1.17 on "
        f"average {shown('average')}, below it by 1.67 for consistency {shown('consistency')} at width 64; *undecided* "
        "for creativity (0.00 [−2.48, 2.48]); 3 beginnings of 1 seed."
    )


def test_where_nothing_is_decided_the_sentence_says_so():
    one = stories_of((5, 5, 5, 5))
    assert sentence([checkpoint(one)], [checkpoint(stories_of((4, 5, 5, 5)), "2")]) == (
        "Whether `2^4` is graded above `2` at width 64 is *undecided* for grammar (+1.00), for creativity "
        "(0.00), for consistency (0.00), for plot (0.00) and on average (+0.25); 1 beginning of 1 seed."
    )


def test_without_a_seed_in_common_the_sentence_says_so():
    assert sentence([checkpoint([[[4]]], seed=0)], [checkpoint([[[4]]], "2", seed=1)]) == (
        "`2^4` and `2` at width 64 share no seed: *undecided*."
    )


def test_the_papers_difference_stands_beside_ours():
    (found,) = gradings(Scores.of([checkpoint([[[4]]], width=512), checkpoint([[[4]]], "2", width=512)]))
    assert found.printed["grammar"] == pytest.approx(5.55 - 4.90)
    (found,) = gradings(Scores.of([checkpoint([[[4]]], width=96), checkpoint([[[4]]], "2", width=96)]))
    assert found.printed["grammar"] is None
