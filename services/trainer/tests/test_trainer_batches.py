"""The order of a run is laid down by its seed, and wastes little on padding."""

import random

from jeeves_trainer.batches import plan_batches

LENGTHS = [random.Random(1).randint(50, 700) for _ in range(530)]


def test_each_sample_once_an_epoch():
    plan = plan_batches(LENGTHS, 8, 2, seed=17)
    counts = [row for batch in plan for row in batch]
    assert sorted(counts) == sorted(list(range(530)) * 2)
    assert max(map(len, plan)) == 8


def test_the_seed_decides_the_order():
    assert plan_batches(LENGTHS, 8, 1, seed=1) == plan_batches(LENGTHS, 8, 1, seed=1)
    assert plan_batches(LENGTHS, 8, 1, seed=1) != plan_batches(LENGTHS, 8, 1, seed=2)


def test_similar_lengths_go_together():
    plan = plan_batches(LENGTHS, 8, 1, seed=17)
    padded = sum(len(batch) * max(LENGTHS[row] for row in batch) for batch in plan)
    assert padded < 1.12 * sum(LENGTHS)


def test_batches_do_not_come_by_length():
    # transformers' LengthGroupedSampler goes from long to short: late steps would see short samples only.
    means = [sum(LENGTHS[row] for row in batch) / len(batch) for batch in plan_batches(LENGTHS, 8, 1, seed=17)]
    half = len(means) // 2
    assert abs(sum(means[:half]) / half - sum(means[half:]) / (len(means) - half)) < 100


def test_part_of_an_epoch():
    assert len(plan_batches(LENGTHS, 10, 0.5, seed=17)) == 26 or len(plan_batches(LENGTHS, 10, 0.5, seed=17)) == 27
    assert len(plan_batches([5], 8, 0.1, seed=17)) == 1
