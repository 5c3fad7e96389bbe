"""The vector cache: content keys, several processes, damage."""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from clamp3.formats import Kind
from clamp3.jobs.cache import VectorCache, content_key, default_cache_dir


def vector(seed: int, width: int = 8) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=width).astype(np.float32)


def test_vectors_come_back_bit_for_bit(tmp_path):
    stored = {
        "a": vector(1),
        "b": vector(2, 768),
        "c": np.array([], dtype=np.float32),
        "d": np.array([np.nan, 1, -0.0]),
    }
    with VectorCache(tmp_path / "c.sqlite") as cache:
        cache.put_many(stored)
    with VectorCache(tmp_path / "c.sqlite") as cache:
        found = cache.get_many(["d", "a", "absent", "b", "c", "a"])
        assert len(cache) == 4
    assert set(found) == set(stored)
    for key, value in stored.items():
        assert found[key].dtype == np.float32
        assert found[key].tobytes() == value.astype(np.float32).tobytes()
    found["a"][0] = 1.0  # a copy of ours, writable


def test_many_keys_and_replacement(tmp_path):
    cache = VectorCache(tmp_path / "c")
    cache.put_many({str(i): np.array([i], dtype=np.float32) for i in range(2500)})
    cache.put_many({"7": np.array([-1.0])})
    found = cache.get_many(str(i) for i in range(2500))
    assert [int(found[str(i)][0]) for i in range(2500)] == [*range(7), -1, *range(8, 2500)]


def test_nothing_asked_makes_no_file(tmp_path):
    cache = VectorCache(tmp_path / "c")
    assert cache.get_many([]) == {}
    cache.put_many({})
    assert list(tmp_path.iterdir()) == []


def test_only_one_dimension(tmp_path):
    with pytest.raises(ValueError, match=r"shape \(1, 8\)"):
        VectorCache(tmp_path / "c").put_many({"a": vector(1)[None]})


def test_default_place(tmp_path, monkeypatch):
    monkeypatch.setenv("CLAMP3_CACHE", str(tmp_path / "named"))
    assert default_cache_dir() == tmp_path / "named"
    with VectorCache() as cache:
        cache.put_many({"a": vector(1)})
    assert (tmp_path / "named" / "vectors.sqlite").exists()
    assert VectorCache(tmp_path / "named").path == tmp_path / "named" / "vectors.sqlite"
    monkeypatch.delenv("CLAMP3_CACHE")
    assert default_cache_dir() == Path.home() / ".cache" / "clamp3"


def test_content_key_depends_on_everything_and_on_nothing_else():
    base = (b"data", Kind.MIDI, "mini@1", "v1")
    key = content_key(*base)
    assert len(key) == 64 and int(key, 16) >= 0
    assert key == content_key(b"data", "midi", "mini@1", "v1")
    others = [
        (b"datb", Kind.MIDI, "mini@1", "v1"),
        (b"data", Kind.MTF, "mini@1", "v1"),
        (b"data", Kind.MIDI, "mini@2", "v1"),
        (b"data", Kind.MIDI, "mini@1", "v2"),
        (b"data", Kind.MIDI, "mini@1v", "1"),
        (b"1data", Kind.MIDI, "mini@1", "v"),
    ]
    assert len({key, *(content_key(*other) for other in others)}) == 7


@pytest.mark.parametrize("damage", ["garbage", "torn", "hole"])
def test_a_damaged_file_is_moved_aside_and_begun_anew(tmp_path, caplog, damage):
    path = tmp_path / "c.sqlite"
    with VectorCache(path) as cache:
        cache.put_many({str(i): vector(i, 768) for i in range(200)})
    data = path.read_bytes()
    if damage == "garbage":
        path.write_bytes(b"no database at all" * 100)
    elif damage == "torn":
        path.write_bytes(data[: len(data) // 2])
    else:
        path.write_bytes(data[:4096] + b"\xa5" * (len(data) - 4096))
    with caplog.at_level(logging.WARNING), VectorCache(path) as cache:
        assert cache.get_many(["1", "150"]) == {}
        cache.put_many({"new": vector(5)})
        assert np.array_equal(cache.get_many(["new"])["new"], vector(5))
    assert "moved to" in caplog.text
    aside = [entry.name for entry in tmp_path.iterdir() if ".damaged-" in entry.name]
    assert len([name for name in aside if not name.endswith(("-wal", "-shm"))]) == 1


def test_a_damaged_row_counts_as_absent(tmp_path):
    with VectorCache(tmp_path / "c") as cache:
        cache.put_many({"a": vector(1), "b": vector(2), "c": vector(3)})
    with sqlite3.connect(tmp_path / "c") as other:
        other.execute("UPDATE vectors SET value = ? WHERE key = 'a'", (vector(9).tobytes(),))
        other.execute("UPDATE vectors SET value = 'text' WHERE key = 'c'")
    other.close()
    assert list(VectorCache(tmp_path / "c").get_many(["a", "b", "c"])) == ["b"]


def test_where_nothing_can_be_stored_work_goes_on(tmp_path, caplog):
    (tmp_path / "file").write_text("x")
    cache = VectorCache(tmp_path / "file" / "sub" / "c")
    with caplog.at_level(logging.WARNING):
        cache.put_many({"a": vector(1)})
        assert cache.get_many(["a"]) == {}
        assert len(cache) == 0
    assert caplog.text.count("going on without it") == 1


def test_a_full_disk_does_not_stop_work(tmp_path, caplog):
    cache = VectorCache(tmp_path / "c")
    cache.put_many({"a": vector(1)})
    pages = cache._open().execute("PRAGMA page_count").fetchone()[0]
    cache._open().execute(f"PRAGMA max_page_count={pages}")  # SQLite then says that the disk is full
    cache.put_many({str(i): vector(i, 768) for i in range(50)})
    assert "full" in caplog.text
    assert list(cache.get_many(["a", "1"])) == ["a"]


def put_range(path: str, start: int, cache: VectorCache | None) -> None:
    cache = cache or VectorCache(Path(path))
    for i in range(start, start + 40):
        cache.put_many({str(i): np.array([i], dtype=np.float32)})


@pytest.mark.parametrize("method", [m for m in ("fork", "spawn") if m in multiprocessing.get_all_start_methods()])
def test_several_processes_write_at_once(tmp_path, method):
    path = tmp_path / "c"
    cache = VectorCache(path)
    cache.put_many({"x": vector(1)})  # open before the others start, and handed to one of them
    context = multiprocessing.get_context(method)
    workers = [
        context.Process(target=put_range, args=(str(path), 100 * k, cache if k == 0 else None)) for k in range(3)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert len(cache) == 121
    assert np.array_equal(cache.get_many(["x"])["x"], vector(1))
    assert int(cache.get_many(["239"])["239"][0]) == 239


def test_another_process_repaired_it_meanwhile(tmp_path, monkeypatch):
    cache = VectorCache(tmp_path / "c")
    cache.put_many({"a": vector(1)})
    attempts = []

    def read(connection):
        attempts.append(1)
        if len(attempts) == 1:
            raise sqlite3.DatabaseError("database disk image is malformed")

    cache._try(read)
    assert len(attempts) == 2
    assert list(cache.get_many(["a"])) == ["a"]  # not moved aside: a look at the file found it sound
    assert not [name for name in os.listdir(tmp_path) if "damaged" in name]


def test_a_cache_is_pickled_as_its_path(tmp_path):
    cache = VectorCache(tmp_path / "c")
    cache.put_many({"a": vector(1)})
    assert list(pickle.loads(pickle.dumps(cache)).get_many(["a"])) == ["a"]
