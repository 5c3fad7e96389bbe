"""Inputs to vectors: windows and weights, batches, one reason per bad input, cache, towers only when needed."""

import io
import itertools
import os
import re
import shutil

import numpy as np
import pytest
import torch

from clamp3.embedding import batching
from clamp3.embedding.batching import Budget, plan
from clamp3.embedding.clamp3 import Clamp3
from clamp3.errors import ConfigError, FormatError, WeightsError
from clamp3.formats import Kind
from clamp3.jobs.cache import VectorCache
from clamp3.modalities import patches
from clamp3.modalities.text import text_lines
from clamp3.models.weights import load_model
from clamp3.sources import Source, sentence, source_of

pytestmark = pytest.mark.kernels

TOLERANCE = 5e-6


@pytest.fixture(scope="module")
def tiny(tiny_weights):
    return Clamp3.from_pretrained(tiny_weights)


@pytest.fixture(scope="module")
def model(tiny_weights):
    return load_model(tiny_weights, ("text", "symbolic", "audio")).model


def by_hand(n, limit):
    """(start, stop, weight) written down from the published rule, not from clamp3.embedding.windows."""
    full = [(i * limit, (i + 1) * limit, limit) for i in range(n // limit)]
    if n % limit == 0:
        return full
    return [*full, (n - limit if n > limit else 0, n, n % limit)]


def oracle(model, modality, values, limit, temporal=False):
    """One window at a time, nothing padded, in the order of the input."""
    values = torch.as_tensor(values)
    if modality == "text":
        values = values.long()
    rows, weights = [], []
    with torch.inference_mode():
        for start, stop, weight in by_hand(len(values), limit):
            hidden = model.encode(modality, values[None, start:stop])
            rows.append(hidden[0, -weight:] if temporal else model.pool(modality, hidden)[0])
            weights.append(weight)
    if temporal:
        return torch.cat(rows)[None].numpy()
    return sum(w * row for w, row in zip(weights, rows, strict=True)).numpy() / sum(weights)


def features(n, seed=0):
    stream = io.BytesIO()
    np.save(stream, np.random.default_rng(seed).standard_normal((n, 32)).astype(np.float32))
    return (stream.getvalue(), Kind.FEATURES)


def abc(n_bars):
    return ("L:1/8\nM:2/4\nK:C\nV:1\n" + "".join(f"[V:1]{'CDEFG'[i % 5]}4|\n" for i in range(n_bars))).encode()


@pytest.mark.parametrize("temporal", [False, True])
@pytest.mark.parametrize("n", [1, 3, 4, 5, 9, 10, 11, 16, 22])
def test_audio_of_any_length_equals_one_window_at_a_time(tiny, model, n, temporal):
    item = features(n, seed=n)
    padded = np.pad(np.load(io.BytesIO(item[0])), ((1, 1), (0, 0)))
    encoded = tiny.encode([item, features(7), features(2)], temporal=temporal)
    got = encoded.temporal[0] if temporal else encoded.vectors[0]
    expected = oracle(model, "audio", padded, 6, temporal)
    assert got.dtype == np.float32 and got.shape == expected.shape == ((1, n + 2, 32) if temporal else (24,))
    np.testing.assert_allclose(got, expected, atol=TOLERANCE)


@pytest.mark.parametrize("temporal", [False, True])
@pytest.mark.parametrize("n_bars", [1, 6, 7, 20])
def test_scores_of_any_length_equal_one_window_at_a_time(tiny, model, n_bars, temporal):
    codes = patches.encode(abc(n_bars).decode())
    assert (len(codes) > 12) == (n_bars > 7)
    encoded = tiny.encode([(abc(n_bars), Kind.ABC), (abc(3), Kind.ABC)], temporal=temporal)
    got = encoded.temporal[0] if temporal else encoded.vectors[0]
    np.testing.assert_allclose(got, oracle(model, "symbolic", codes, 12, temporal), atol=TOLERANCE)


def test_a_long_text_is_tokenized_once_and_cut_into_windows(tiny, model):
    words = ("slow song for piano and fiddle in a " * 3).split()
    ids = tiny.tokenizer().encode_lines([" ".join(words)])
    assert len(ids) == 26 and ids[0] == 0 and ids[-1] == 2
    np.testing.assert_allclose(tiny.encode(" ".join(words)).vectors[0], oracle(model, "text", ids, 8), atol=TOLERANCE)


def test_lines_lose_repetitions_and_empty_ones_and_keep_their_order(tiny):
    assert text_lines("b\r\n\r\na\nb\n\rc") == ["b", "a", "c"]
    joined = tiny.tokenizer().encode_lines(["fast jig", "sad waltz"])
    assert joined == tiny.tokenizer().encode("fast jig</s>sad waltz")
    same = tiny.encode(["fast jig\nsad waltz\n\nfast jig", "fast jig\r\nsad waltz"]).vectors
    np.testing.assert_allclose(same[0], same[1], atol=TOLERANCE)
    assert np.abs(tiny.encode("sad waltz\nfast jig").vectors[0] - same[0]).max() > 1e-3


def test_a_tokenizer_with_more_tokens_than_the_tower_is_refused(tiny, tiny_weights, tmp_path):
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(tiny_weights.parent / "tokenizer.json"))
    tokenizer.add_tokens(["quodlibet"])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    n_tokens = tiny.tokenizer().n_tokens
    other = Clamp3.from_pretrained(tiny_weights, text_model=tmp_path)
    encoded = other.encode(["a slow song", (abc(2), Kind.ABC)])
    said = rf"has {n_tokens + 1} tokens.* knows {n_tokens}; .*--text_model"
    assert re.search(said, encoded.errors[0])  # none of its words is the new one: it would pass unnoticed
    assert encoded.errors[1] is None
    with pytest.raises(WeightsError, match=said):
        other.tokenizer()


def test_weights_that_are_replaced_meanwhile_are_not_mixed(tiny_weights, tmp_path):
    for name in (tiny_weights.name, "tokenizer.json"):
        shutil.copyfile(tiny_weights.parent / name, tmp_path / name)
    path = tmp_path / tiny_weights.name
    clamp3 = Clamp3.from_pretrained(path)
    assert clamp3.encode(["a jig"]).ok.all()
    shutil.copyfile(path, tmp_path / "new")
    os.replace(tmp_path / "new", path)
    with pytest.raises(WeightsError, match="was replaced while it was in use"):
        clamp3.encode([(abc(2), Kind.ABC)])


def test_the_tokenizer_beside_the_weights_is_part_of_the_identity(tiny_weights, tmp_path):
    for name in (tiny_weights.name, "tokenizer.json"):
        shutil.copyfile(tiny_weights.parent / name, tmp_path / name)
    before = Clamp3.from_pretrained(tmp_path / tiny_weights.name).identity
    (tmp_path / "tokenizer.json").write_bytes((tmp_path / "tokenizer.json").read_bytes() + b" ")
    assert Clamp3.from_pretrained(tmp_path / tiny_weights.name).identity != before


def test_vectors_do_not_depend_on_what_is_encoded_with_them(tiny):
    items = ["a jig", "slow song for piano " * 5, (abc(2), Kind.ABC), (abc(30), Kind.ABC), features(1), features(40)]
    together = tiny.encode(items).vectors
    assert np.isfinite(together).all()
    for other in (
        np.concatenate([tiny.encode([item]).vectors for item in items]),
        tiny.encode(items[::-1]).vectors[::-1],
        tiny.encode(items, batch_size=1).vectors,
        tiny.encode(items * 5).vectors[12:18],
    ):
        np.testing.assert_allclose(other, together, atol=TOLERANCE)


def test_one_bad_item_costs_only_itself(tiny, tmp_path):
    (tmp_path / "empty.abc").write_bytes(b"")
    (tmp_path / "blank.txt").write_bytes(b" \n ")
    (tmp_path / "cover.jpg").write_bytes(b"jpg")
    (tmp_path / "latin.txt").write_bytes("Für".encode("latin-1"))
    (tmp_path / "garbage.mid").write_bytes(bytes(range(256)))
    (tmp_path / "garbage.mxl").write_bytes(bytes(range(256)))
    pickled = io.BytesIO()
    np.save(pickled, np.array([{"a": 1}], object), allow_pickle=True)
    nan = io.BytesIO()
    np.save(nan, np.full((2, 32), np.nan, np.float32))
    narrow = io.BytesIO()
    np.save(narrow, np.ones((2, 31), np.float32))
    items = {
        "missing.abc": "does not exist",
        tmp_path / "missing": "does not exist",
        tmp_path: "is a folder",
        str(tmp_path / "cover.jpg"): "no reader exists",
        str(tmp_path / "empty.abc"): "is empty",
        str(tmp_path / "blank.txt"): "is empty",
        str(tmp_path / "latin.txt"): "at byte 1",
        str(tmp_path / "garbage.mid"): "",
        str(tmp_path / "garbage.mxl"): "",
        (pickled.getvalue(), Kind.FEATURES): "pickled content is never read",
        (nan.getvalue(), Kind.FEATURES): "NaN",
        (narrow.getvalue(), Kind.FEATURES): r"shape (2, 31)",
        (b"\xff\xff", Kind.TEXT): "not UTF-8",
        (b"no header\n", Kind.MTF): "ticks_per_beat",
        3: "not int",
        "": "is empty",
    }
    encoded = tiny.encode(["a jig", *items, "a waltz"])
    assert encoded.errors[0] is None and encoded.errors[-1] is None
    assert list(encoded.ok) == [True, *[False] * len(items), True]
    assert np.isnan(encoded.vectors[1:-1]).all() and np.isfinite(encoded.vectors[[0, -1]]).all()
    for error, (item, part) in zip(encoded.errors[1:-1], items.items(), strict=True):
        assert error and part in error, (item, error)


def test_sentences_that_no_path_can_hold(tiny):
    items = ["a jig " * 2000, "a/b: jig?", "piano.mid for fiddle", "~", ".", "slow\0song"]
    errors = tiny.encode(items).errors
    assert errors[:-1] == [None] * 5 and "NUL character" in errors[-1]


def test_a_string_is_a_path_only_if_the_file_exists(tiny, music, monkeypatch):
    monkeypatch.chdir(music)
    assert source_of("song.txt").path is not None and source_of("song").path is None
    assert source_of("sub").kind is Kind.TEXT  # a folder's name is a word
    for path in ("sang.txt", "my music/tune no 1.mid", "./sang", "../sub/tune", "~/tune"):
        with pytest.raises(FormatError, match="does not exist"):
            source_of(path)
    with pytest.raises(FormatError, match="is a folder"):
        source_of("sub/")
    assert source_of("a jig in 6/8 and/or a waltz").kind is Kind.TEXT
    assert source_of(sentence("song.txt")).data == b"song.txt"
    encoded = tiny.encode(["song.txt", "slow song\nfor piano"])
    np.testing.assert_allclose(encoded.vectors[0], encoded.vectors[1], atol=TOLERANCE)


def test_every_kind_of_file(tiny, music):
    paths = sorted(path for path in music.rglob("*") if path.is_file())
    encoded = tiny.encode(paths)
    assert len(paths) == 5 and encoded.errors == [None] * 5
    assert encoded.vectors.shape == (5, 24) and np.isfinite(encoded.vectors).all()
    assert encoded.names == [str(path) for path in paths]
    again = tiny.encode([(path.read_bytes(), source_of(path).kind) for path in paths])
    np.testing.assert_allclose(again.vectors, encoded.vectors, atol=TOLERANCE)


def test_one_input_alone_and_none(tiny):
    assert tiny.encode("a jig").vectors.shape == (1, 24)
    assert tiny.encode([]).vectors.shape == (0, 24)
    assert tiny.encode([], temporal=True).temporal == []


def test_many_conversions_go_through_processes(tiny):
    data = b"X:1\nT:x\nM:2/4\nL:1/8\nK:C\nC2D2|E4|]\n"
    items = [(data, Kind.ABC)] * 4 + [(b"\x00garbage", Kind.MIDI), (b"X:1\nK:C\n", Kind.ABC)]
    encoded = tiny.encode(items, n_workers=2)
    assert encoded.errors[:4] == [None] * 4 and encoded.errors[4] and encoded.errors[5]
    np.testing.assert_allclose(encoded.vectors[:4], np.repeat(tiny.encode(items[:1]).vectors, 4, 0), atol=TOLERANCE)


def test_towers_are_loaded_when_they_are_needed(tiny_weights, monkeypatch):
    clamp3 = Clamp3.from_pretrained(tiny_weights)
    loaded = []
    monkeypatch.setattr(clamp3, "_load", lambda modality, load=clamp3._load: loaded.append(modality) or load(modality))
    clamp3.encode(["a jig"])
    assert loaded == ["text"]
    clamp3.encode(["a waltz", features(3)])
    assert loaded == ["text", "audio"]


def test_the_cache_answers_for_moved_files_and_not_for_changed_ones(tiny_weights, music, tmp_path, monkeypatch):
    cache = VectorCache(tmp_path / "vectors.sqlite")
    paths = sorted(path for path in music.rglob("*") if path.is_file())
    first = Clamp3.from_pretrained(tiny_weights, cache=cache).encode(paths)
    moved = music.rename(tmp_path / "elsewhere")
    paths = sorted(path for path in moved.rglob("*") if path.is_file())

    second = Clamp3.from_pretrained(tiny_weights, cache=cache)
    monkeypatch.setattr(second, "_load", lambda modality: pytest.fail(f"loaded {modality}"))
    results = list(second.stream(paths))
    assert [result.cached for result in results] == [True] * 5
    np.testing.assert_array_equal(np.stack([result.value for result in results]), first.vectors)

    text = moved / "song.txt"
    text.write_text("fast dance", encoding="utf-8")
    changed = Clamp3.from_pretrained(tiny_weights, cache=cache)
    result = next(iter(changed.stream([text])))
    assert not result.cached and list(changed._towers) == ["text"]
    other = Clamp3.from_pretrained(tiny_weights, cache=cache, dtype="bfloat16")
    assert not next(iter(other.stream([text]))).cached


def test_failures_and_hidden_states_are_not_cached(tiny_weights, tmp_path):
    cache = VectorCache(tmp_path / "vectors.sqlite")
    clamp3 = Clamp3.from_pretrained(tiny_weights, cache=cache)
    clamp3.encode([(b"bad", Kind.MTF)])
    clamp3.encode(["a jig"], temporal=True)
    assert len(cache) == 0
    clamp3.encode(["a jig"])
    assert len(cache) == 1


def test_long_streams_are_read_as_they_are_needed(tiny, monkeypatch):
    monkeypatch.setattr("clamp3.embedding.rounds._ROUND_ITEMS", 10)
    taken = itertools.count()
    stream = tiny.stream(f"song {next(taken)}" for _ in range(1000))
    results = [next(stream) for _ in range(15)]
    assert next(taken) == 20
    assert sorted(result.index for result in results[:10]) == list(range(10))


def test_bfloat16_is_close(tiny_weights, tiny):
    half = Clamp3.from_pretrained(tiny_weights, dtype="bfloat16")
    items = ["slow song for piano", (abc(9), Kind.ABC), features(9)]
    a, b = half.encode(items).vectors, tiny.encode(items).vectors
    assert a.dtype == np.float32 and not np.array_equal(a, b)
    cosines = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert (cosines > 0.999).all()
    assert half.identity != tiny.identity


def test_wrong_settings_are_named(tiny_weights, tiny, tmp_path):
    with pytest.raises(ConfigError, match="dtype"):
        Clamp3.from_pretrained(tiny_weights, dtype="float8")
    with pytest.raises(ConfigError, match="batch_size is 0"):
        tiny.encode(["a"], batch_size=0)
    with pytest.raises(ConfigError, match="device"):
        Clamp3.from_pretrained(tiny_weights, device="quantum", towers=("text",))
    with pytest.raises(WeightsError):
        Clamp3.from_pretrained(tmp_path / "absent.safetensors")


def test_a_missing_tower_is_the_reason_of_its_items_only(tiny_weights, tmp_path):
    from dataclasses import replace

    from clamp3.models.weights import describe, save_safetensors

    loaded = load_model(tiny_weights, ("text", "symbolic"))
    path = tiny_weights.with_name("no_audio.safetensors")
    save_safetensors(loaded.model, replace(describe(tiny_weights).config, audio=None), path)
    encoded = Clamp3.from_pretrained(path).encode(["a jig", features(3)])
    assert encoded.errors[0] is None and "needs the audio tower" in encoded.errors[1]


def test_numbers_that_are_not_finite_are_an_error(tiny, monkeypatch):
    def broken(*_):
        return [np.full(24, np.nan, np.float32)]

    monkeypatch.setattr(batching, "_run_batch", broken)
    encoded = tiny.encode(["a jig"])
    assert "NaN" in encoded.errors[0] and np.isnan(encoded.vectors).all()


def test_bytes_of_a_named_source(tiny):
    named = Source(Kind.ABC, "tune.abc", data=abc(4))
    assert tiny.encode([named]).names == ["tune.abc"]


@pytest.mark.parametrize("batch_size", [None, 3])
def test_the_plan_covers_every_position_once_within_the_budget(batch_size):
    rng = np.random.default_rng(0)
    lengths = [int(n) for n in rng.integers(1, 70, 200)]
    batches = plan(lengths, limit=16, budget=Budget(128, 64), batch_size=batch_size)
    covered = {owner: 0 for owner in range(200)}
    for batch in batches:
        longest = max(piece.length for piece in batch)
        assert longest * len(batch) <= 128 and len(batch) <= (batch_size or 128)
        for piece in batch:
            assert 0 < piece.length <= 16 and piece.stop <= lengths[piece.owner]
            covered[piece.owner] += piece.weight
    assert covered == dict(enumerate(lengths))
    pads = sum(max(p.length for p in b) * len(b) for b in batches) / sum(p.length for b in batches for p in b)
    assert pads < 1.2
