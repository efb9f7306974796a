"""Batches: every row once, similar lengths together, the same order for the same seed and epoch."""

from collections import Counter

import numpy as np
import pytest

from paddle_ernie_tiny.data.rows import EncodedRows
from paddle_ernie_tiny.training.batches import (
    LengthGroupedBatchSampler,
    Mixture,
    NumberedRows,
    collate,
    input_batches,
    rows_of_batches,
)

LENGTHS = np.random.default_rng(0).integers(3, 60, size=203)


def epoch_of(sampler, epoch=0):
    sampler.set_epoch(epoch)
    return list(sampler)


def test_every_row_once_and_as_many_batches_as_announced():
    sampler = LengthGroupedBatchSampler(LENGTHS, 8, seed=1)
    batches = epoch_of(sampler)
    assert sorted(i for batch in batches for i in batch) == list(range(203))
    assert len(batches) == len(sampler) == 26


def test_padding_is_a_fraction_of_that_of_plain_shuffling():
    def waste(batches):
        return sum(LENGTHS[b].max() * len(b) for b in batches) / LENGTHS.sum()

    shuffled = np.random.default_rng(1).permutation(203)
    plain = [shuffled[i : i + 8] for i in range(0, 203, 8)]
    assert waste(epoch_of(LengthGroupedBatchSampler(LENGTHS, 8, seed=1))) < 1.1 < 1.5 < waste(plain)


def test_order_depends_on_seed_and_epoch_alone():
    one, two = (LengthGroupedBatchSampler(LENGTHS, 8, seed=1) for _ in range(2))
    assert epoch_of(one, 3) == epoch_of(two, 3)
    assert epoch_of(one, 3) != epoch_of(one, 4)
    assert epoch_of(one, 3) != epoch_of(LengthGroupedBatchSampler(LENGTHS, 8, seed=2), 3)


def test_ranks_share_the_rows_and_make_the_same_number_of_steps():
    ranks = [epoch_of(LengthGroupedBatchSampler(LENGTHS, 8, seed=1, replicas=2, rank=r)) for r in range(2)]
    assert len(ranks[0]) == len(ranks[1]) == len(LengthGroupedBatchSampler(LENGTHS, 8, seed=1, replicas=2))
    rows = [i for rank in ranks for batch in rank for i in batch]
    assert set(rows) == set(range(203)) and len(rows) == 204  # one row comes twice, so that they divide
    assert all(len(one) == len(other) for one, other in zip(*ranks, strict=True))


def test_ranks_together_see_what_one_process_sees():
    lengths = LENGTHS[:200]
    ranks = [epoch_of(LengthGroupedBatchSampler(lengths, 8, seed=1, replicas=2, rank=r)) for r in range(2)]
    alone = epoch_of(LengthGroupedBatchSampler(lengths, 16, seed=1))
    together = [sorted(one + other) for one, other in zip(*ranks, strict=True)]
    assert together == [sorted(batch) for batch in alone]


def test_what_stays_together_is_in_one_batch():
    """Rows of one to three windows: a batch has whole rows, as many as it is large; processes share them."""
    counts = np.random.default_rng(2).integers(1, 4, size=50)
    starts = np.cumsum(counts) - counts
    of_row = np.repeat(np.arange(50), counts)
    sampler = LengthGroupedBatchSampler(LENGTHS[: len(of_row)], 8, seed=1, starts=starts)
    batches = epoch_of(sampler)
    assert len(batches) == len(sampler) == 7 and sorted(i for b in batches for i in b) == list(range(len(of_row)))
    for batch in batches:
        rows = of_row[batch]
        assert len(set(rows)) <= 8 and [len(np.flatnonzero(rows == row)) for row in set(rows)] == [
            *counts[[*set(rows)]]
        ]
        assert all((np.diff(np.flatnonzero(rows == row)) == 1).all() for row in set(rows)), "side by side"
    ranks = [epoch_of(LengthGroupedBatchSampler(LENGTHS[: len(of_row)], 4, 1, 2, r, starts)) for r in range(2)]
    assert [sorted(one + other) for one, other in zip(*ranks, strict=True)] == [sorted(batch) for batch in batches]


def test_rows_say_what_stays_together():
    ids = [[2, 3]] * 4
    apart, together = (EncodedRows(ids, ids, rows=np.array([0, 0, 1, 2]), together=t) for t in (False, True))
    assert apart.starts is None and rows_of_batches(apart) == 4
    assert together.starts.tolist() == [0, 2, 3] and rows_of_batches(NumberedRows(together)) == 3
    assert EncodedRows(ids, ids, together=True).starts is None


def test_collate_by_hand():
    batch = collate(
        [
            {"input_ids": [2, 7, 3], "token_type_ids": [0, 0, 1], "labels": 1},
            {"input_ids": [2, 3], "token_type_ids": [0, 1], "labels": 0},
        ],
        pad_id=9,
    )
    assert batch["input_ids"].tolist() == [[2, 7, 3], [2, 3, 9]]
    assert batch["token_type_ids"].tolist() == [[0, 0, 1], [0, 1, 0]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0]]
    assert batch["labels"].tolist() == [1, 0]


def test_batches_of_similar_length_cover_every_row_once():
    rows = EncodedRows([[1] * n for n in LENGTHS], [[0] * n for n in LENGTHS])
    assert sorted(np.concatenate([indices for indices, _ in input_batches(rows, 0, 16)])) == list(range(203))


def test_masking_hides_the_given_share_and_keeps_the_targets():
    from paddle_ernie_tiny.training.tasks import Masking

    class Vocabulary:
        pad_id, mask_id, cls_id, sep_id, vocab_size = 0, 4, 2, 3, 100

    rng = np.random.RandomState(0)
    rows = [{"input_ids": [2, *rng.randint(5, 100, size=40).tolist(), 3]} for _ in range(50)]
    original = collate(rows, 0)["input_ids"].reshape(-1)
    batch = Masking(Vocabulary, 0.15, whole_words=False)(rows, rng)
    positions = batch["positions"]
    assert len(positions) / 2000 == pytest.approx(0.15, abs=0.03)
    np.testing.assert_array_equal(batch["targets"], original[positions])
    after = batch["input_ids"].reshape(-1)
    assert (after[positions] == 4).mean() == pytest.approx(0.8, abs=0.06)
    untouched = np.setdiff1d(np.arange(len(original)), positions)
    np.testing.assert_array_equal(after[untouched], original[untouched])
    assert not np.isin(original[positions], [0, 2, 3]).any()


def test_whole_word_masking_masks_all_pieces_of_a_word_or_none():
    from paddle_ernie_tiny.training.tasks import Masking

    class Vocabulary:
        pad_id, mask_id, cls_id, sep_id, vocab_size = 0, 4, 2, 3, 100

    rng = np.random.RandomState(1)
    rows = [{"input_ids": [2, 10, 11, 12, 13, 14, 3], "word_starts": [1, 1, 0, 1, 0, 0, 1]} for _ in range(200)]
    batch = Masking(Vocabulary, 0.3, whole_words=True)(rows, rng)
    chosen = np.zeros(200 * 7, dtype=bool)
    chosen[batch["positions"]] = True
    chosen = chosen.reshape(200, 7)
    assert chosen.any()
    assert (chosen[:, 1] == chosen[:, 2]).all()
    assert (chosen[:, 3] == chosen[:, 4]).all() and (chosen[:, 4] == chosen[:, 5]).all()
    assert not chosen[:, [0, 6]].any()


def mixed(replicas=1, rank=0, ratio=0.5, batch_size=8, epoch=0, count=200, pool=150):
    sampler = LengthGroupedBatchSampler(
        LENGTHS[:count],
        batch_size,
        seed=3,
        replicas=replicas,
        rank=rank,
        mixture=Mixture(np.arange(count) >= pool, ratio),
    )
    sampler.set_epoch(epoch)
    return sampler


@pytest.mark.parametrize(("ratio", "share"), [(0.5, 4), (0.25, 2), (0.01, 1), (0.99, 7)])
def test_every_batch_holds_the_share_of_unlabelled_rows_that_is_asked_for(ratio, share):
    sampler = mixed(ratio=ratio)
    batches = list(sampler)
    assert len(batches) == len(sampler) == 25
    assert {sum(row >= 150 for row in batch) for batch in batches} == {share}
    assert {len(batch) for batch in batches} == {8}


def test_a_sort_of_rows_goes_on_in_the_next_epoch_where_it_stopped():
    """25 batches of 4 are 100 of 150 labelled rows, so three epochs are two passes over them."""
    seen = Counter(row for epoch in range(3) for batch in mixed(epoch=epoch) for row in batch)
    assert {seen[row] for row in range(150)} == {2}
    assert {seen[row] for row in range(150, 200)} == {6}


def test_a_mixture_depends_on_seed_and_epoch_alone_and_processes_see_together_what_one_sees():
    assert list(mixed()) == list(mixed()) != list(mixed(epoch=1))
    one = [sorted(batch) for batch in mixed(batch_size=8)]
    parts = [list(mixed(2, rank, batch_size=4)) for rank in range(2)]
    assert [sorted(first + second) for first, second in zip(*parts, strict=True)] == one
    assert all(sum(row >= 150 for row in batch) == 2 for part in parts for batch in part)


def test_a_mixture_of_rows_that_stay_whole_is_of_rows_not_of_windows():
    """Six rows of three windows each, of which the last two are the pool; a batch has two rows of each sort."""
    starts = np.arange(0, 18, 3)
    mixture = Mixture(np.arange(6) >= 4, 0.5)
    for batch in LengthGroupedBatchSampler(LENGTHS[:18], 4, seed=1, starts=starts, mixture=mixture):
        rows = Counter(place // 3 for place in batch)
        assert sum(count for row, count in rows.items() if row >= 4) == 6 and len(batch) == 12
