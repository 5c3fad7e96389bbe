"""Text, crops, masks, instruments, splits and batches: what a training step sees."""

import random
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from clamp3.data.instruments import without_instruments
from clamp3.data.splits import position, split
from clamp3.data.text_sampling import (
    clamp2_evaluation_lines,
    clamp2_training_lines,
    evaluation_lines,
    training_lines,
)
from clamp3.errors import ConfigError
from clamp3.modalities.patches import EOS, MASK, encode
from clamp3.training.batches import epoch_batches, length_parts
from clamp3.training.crop import head, random_crop
from clamp3.training.masking import corrupt, draw_treatment, select

pytestmark = pytest.mark.kernels

ITEM = {
    "id": "x1",
    "title": "Air",
    "artists": ["Ann", "Bob"],
    "language": "en",
    "genres": ["folk"],
    "analysis": "first line\nsecond line",
    "filepaths": ["a.abc"],
    "translations": {"language": "de", "analysis": "erste Zeile\nzweite Zeile", "scene": ""},
}
ORIGINAL = {"Air", "Ann", "Bob", "folk", "first line", "second line"}
TRANSLATED = {"erste Zeile", "zweite Zeile"}


def test_training_text_is_translated_half_of_the_time_and_never_mixed():
    rng = random.Random(0)
    drawn = [training_lines(ITEM, rng) for _ in range(2000)]
    translated = [set(lines) <= TRANSLATED for lines in drawn]
    assert all(set(lines) <= TRANSLATED or set(lines) <= ORIGINAL for lines in drawn)
    assert 0.45 < sum(translated) / len(drawn) < 0.55
    assert all(lines for lines in drawn)


def test_lines_are_kept_half_of_the_time_and_shuffled():
    rng = random.Random(1)
    item = {"tags": ["a", "b", "c", "d"]}
    drawn = [training_lines(item, rng) for _ in range(4000)]
    # Each line stays with 1/2; the one draw in 16 that keeps none keeps all: 1/2 + 1/16 = 0.5625.
    assert np.mean([len(lines) / 4 for lines in drawn]) == pytest.approx(0.5625, abs=0.02)
    assert {tuple(lines) for lines in drawn} >= {("a", "b"), ("b", "a")}


def test_duplicates_are_removed_and_missing_fields_tolerated():
    assert sorted(training_lines({"title": "A", "tags": ["A", "B"]}, random.Random(0), keep=1)) == ["A", "B"]
    assert training_lines({"translations": {"language": "de", "scene": "S"}}, random.Random(3), keep=1) == ["S"]
    assert training_lines({"id": "1", "filepaths": ["x"], "translations": None}, random.Random(0)) == []


def test_evaluation_text_is_the_analysis_or_the_next_best():
    assert evaluation_lines(ITEM) == ["first line\nsecond line"]
    assert evaluation_lines({"title": "T", "scene": "S"}) == ["S"]
    assert evaluation_lines({"tags": ["only", "tags"]}) == ["only", "tags"]
    assert evaluation_lines({"id": "1"}) == []


CLAMP2 = {"title": "T", "composer": "C", "tags": ["x", "y"], "filepaths": ["a.abc"]}
SUMMED = {
    "summary_en": "An English summary.\nIn two lines.",
    "summary_nen": {"language": "French", "summary": "Court."},
}


@pytest.mark.parametrize("listed", [False, True])
def test_clamp2_draws_metadata_half_of_the_time_and_each_summary_a_quarter(listed):
    """The released trainer takes lists only; the released data have a string and an object."""
    summed = {name: [value] for name, value in SUMMED.items()} if listed else SUMMED
    rng = random.Random(0)
    drawn = [clamp2_training_lines({**CLAMP2, **summed}, rng) for _ in range(4000)]
    assert sum(lines == [SUMMED["summary_en"]] for lines in drawn) / 4000 == pytest.approx(0.25, abs=0.025)
    assert sum(lines == ["Court."] for lines in drawn) / 4000 == pytest.approx(0.25, abs=0.025)
    metadata = [lines for lines in drawn if set(lines) <= {"T", "C", "x", "y"}]
    assert len(metadata) / 4000 == pytest.approx(0.5, abs=0.03)
    # each of four lines with probability one half, all four where none is left: 4 / 2 + 4 / 16
    assert sum(map(len, metadata)) / len(metadata) == pytest.approx(2.25, abs=0.1)
    assert clamp2_evaluation_lines({**CLAMP2, **summed}) == [SUMMED["summary_en"]]


def test_clamp2_draws_from_what_there_is():
    rng = random.Random(0)
    assert {len(clamp2_training_lines(CLAMP2, rng, keep=1)) for _ in range(50)} == {4}
    only = {"summary_en": None, "summary_nen": [{"language": "Thai", "summary": "S"}, {"language": "Urdu"}]}
    assert {tuple(clamp2_training_lines(only, rng)) for _ in range(50)} == {("S",)}
    assert clamp2_evaluation_lines(only) == ["S"]
    assert clamp2_evaluation_lines(CLAMP2) == ["T"]
    assert clamp2_training_lines({"filepaths": ["a.abc"], "summary_en": []}, rng) == []
    assert clamp2_evaluation_lines({"filepaths": ["a.abc"]}) == []


def test_crops_are_head_tail_and_middle_a_third_each():
    rng = random.Random(0)
    starts = Counter(random_crop(100, 10, rng).start for _ in range(6000))
    assert starts[0] / 6000 == pytest.approx(1 / 3, abs=0.03)
    assert starts[90] / 6000 == pytest.approx(1 / 3 + 1 / 270, abs=0.03)  # a middle may start at the tail
    assert all(0 <= start <= 90 for start in starts)
    assert len(starts) > 80
    state = rng.getstate()
    assert random_crop(10, 10, rng) == slice(0, 10)
    assert rng.getstate() == state
    assert head(100, 10) == slice(0, 10)


def test_selection_is_rounded_up():
    rng = random.Random(0)
    assert [int(select(n, 0.45, rng).sum()) for n in (1, 2, 10, 100)] == [1, 1, 5, 45]


def test_treatments_come_80_10_10():
    rng = random.Random(0)
    counts = Counter(draw_treatment(rng) for _ in range(5000))
    assert counts["mask"] / 5000 == pytest.approx(0.8, abs=0.02)
    assert counts["shuffle"] / 5000 == pytest.approx(0.1, abs=0.02)


def test_corruption_touches_selected_patches_only():
    patches = encode("X:1\nK:C\nCDEF|GABc|\n")
    selected = np.zeros(len(patches), dtype=bool)
    selected[[1, 2]] = True
    original = patches.copy()
    masked = corrupt(patches, selected, "mask", random.Random(0))
    assert (masked[selected] == MASK).all()
    assert (masked[~selected] == patches[~selected]).all()
    shuffled = corrupt(patches, selected, "shuffle", random.Random(0))
    assert (shuffled[~selected] == patches[~selected]).all()
    for row, before in zip(shuffled[selected], patches[selected], strict=True):
        end = int(np.flatnonzero(before == EOS)[0])
        assert row[0] == before[0]
        assert (row[end:] == before[end:]).all()
        assert sorted(row[:end]) == sorted(before[:end])
    assert (shuffled != patches).any()
    assert (corrupt(patches, selected, "keep", random.Random(0)) == patches).all()
    assert (patches == original).all()


def test_instruments_are_removed_from_voices_and_programs_only():
    abc = 'L:1/8\nV:1 treble nm="Flute" snm="Fl."\nV:2 bass snm="B."\nV:3 alto\n[V:1]C nm=|\n'
    assert without_instruments(abc) == "L:1/8\nV:1 treble\nV:2 bass\nV:3 alto\n[V:1]C nm=|\n"
    mtf = "ticks_per_beat 480\nprogram_change 0 3 73\nnote_on 0 3 60 80\n"
    assert without_instruments(mtf) == "ticks_per_beat 480\nprogram_change 0 3 0\nnote_on 0 3 60 80\n"
    assert without_instruments("") == ""


def test_split_depends_on_ids_alone():
    ids = [f"piece{i}" for i in range(2000)]
    train, held_out = split(ids, 0.1)
    assert len(held_out) == pytest.approx(200, abs=45)
    assert sorted(train + held_out) == list(range(2000))
    order = list(range(2000))
    random.Random(0).shuffle(order)
    assert {ids[order[i]] for i in split([ids[i] for i in order], 0.1)[1]} == {ids[i] for i in held_out}
    # Two renderings of a piece stay together.
    twice = ids + ids
    held_twice = {twice[i] for i in split(twice, 0.1)[1]}
    assert held_twice.isdisjoint(twice[i] for i in split(twice, 0.1)[0])


def test_split_is_the_same_in_another_process():
    code = "from clamp3.data.splits import split; print(split([str(i) for i in range(300)], .1)[1])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "7"}
    )
    assert done.stdout.strip() == str(split([str(i) for i in range(300)], 0.1)[1])


def test_small_sets_still_have_both_sides():
    for ids in (["a", "b"], ["a", "b", "c"]):
        train, held_out = split(ids, 0.001)
        assert train
        assert len(held_out) == 1
        train, held_out = split(ids, 0.999)
        assert train
        assert held_out
    assert split(["a"], 0.5)[0] + split(["a"], 0.5)[1] == [0]
    assert 0 <= position("") < 1
    with pytest.raises(ConfigError, match="evaluation share"):
        split(["a"], 1.0)


@pytest.mark.parametrize("bucket", [False, True])
def test_ranks_share_every_global_batch(bucket):
    lengths = [i % 7 for i in range(103)]
    whole = epoch_batches(lengths, 8, epoch=3, seed=1, bucket=bucket)
    halves = [epoch_batches(lengths, 4, epoch=3, seed=1, rank=r, world_size=2, bucket=bucket) for r in (0, 1)]
    assert len(halves[0]) == len(halves[1])
    merged = [[*a.tolist(), *b.tolist()] for a, b in zip(*halves, strict=True)]
    full = [batch for batch in merged if len(batch) == 8]
    assert [batch.tolist() for batch in whole if len(batch) == 8] == full
    seen = np.concatenate(whole).tolist()
    assert len(set(seen)) == len(seen) == (103 if bucket else 96)
    again, other = (np.concatenate(epoch_batches(lengths, 8, epoch=e, seed=1, bucket=bucket)) for e in (3, 4))
    assert again.tolist() == seen != other.tolist()
    if bucket:
        spread = [max(lengths[i] for i in batch) - min(lengths[i] for i in batch) for batch in whole]
        assert max(spread) <= 1  # 103 items of seven lengths, eight to a batch


def test_fewer_items_than_a_batch_make_one_batch():
    assert [len(b) for b in epoch_batches([1] * 5, 64, epoch=0, seed=0)] == [5]
    assert [len(b) for b in epoch_batches([1] * 5, 64, epoch=0, seed=0, rank=1, world_size=2)] == [2]
    assert epoch_batches([1], 64, epoch=0, seed=0, rank=1, world_size=2) == []


def test_length_parts_cover_all_and_save_padding():
    lengths = [5, 200, 7, 190, 6, 90, 100]
    parts = length_parts(lengths, 3)
    assert sorted(i for part in parts for i in part) == list(range(7))
    cells = sum(len(part) * max(lengths[i] for i in part) for part in parts)
    # By hand: {5, 6, 7} x 7, {90, 100} x 100, {190, 200} x 200.
    assert cells == 3 * 7 + 2 * 100 + 2 * 200
    assert length_parts([4, 4], 5) == [[0, 1]]
    assert length_parts([], 3) == []
