"""Millions of records as arrays: the index says what reading everything would say, and notices what changes."""

from __future__ import annotations

import io
import itertools
import json
import os
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest

from clamp3.data.check_data import Check
from clamp3.data.jsonl import JsonLines, read_objects
from clamp3.data.record_store import Records, Wanted, open_store
from clamp3.data.shards import Location, Resolver, index_tars
from clamp3.data.splits import hash_of
from clamp3.errors import ConfigError, DataError, FormatError

ABC = "L:1/8\nM:4/4\nK:C\nV:1\n[V:1]CDEF|]\n"
SYMBOLIC = Wanted((("text", "symbolic"),), 0, "clamp3")
AUDIO = Wanted((("text", "audio"),), 4, "clamp3")


def vectors(n):
    return np.arange(4 * n, dtype=np.float32).reshape(1, n, 4)


def npy(array):
    data = io.BytesIO()
    np.save(data, array)
    return data.getvalue()


def write_tar(path, members):
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))


@pytest.fixture
def music(tmp_path):
    """Return a JSONL of ten pieces with scores and vectors; two objects and a line are of no use."""
    rows = []
    for i in range(10):
        (tmp_path / f"{i}.abc").write_text(ABC * (i + 1))
        np.save(tmp_path / f"{i}.npy", vectors(i + 2))
        rows.append({"id": f"p{i}", "title": f"Ärger {i}\u2028", "filepaths": [f"{i}.npy", f"{i}.abc"]})
    rows[3]["filepaths"] = ["absent.abc", "absent.npy"]
    rows[5]["title"] = ""
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    lines.insert(2, "{torn")
    lines.insert(4, "")
    path = tmp_path / "train.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    return path


def test_records_are_those_of_the_file(music, tmp_path):
    store = open_store(music, tmp_path / "pack", SYMBOLIC)
    records = Records(store, np.arange(len(store)))
    assert [record.item_id for record in records] == [f"p{i}" for i in (0, 1, 2, 4, 6, 7, 8, 9)]
    assert records[2].fields["title"] == "Ärger 2\u2028"
    assert store.hashes.all().tolist() == [hash_of(record.item_id) for record in records]
    for record in records:
        ((kind, number),) = record.files
        assert kind == "abc"
        assert store.music["symbolic"].length(number) >= 3
    pack = store.music["symbolic"]
    assert pack.length(records[7].files[0][1]) > pack.length(records[0].files[0][1])
    assert (store.n_problems, len(store.problems)) == (3, 3)
    assert store.problems[0] == "train.jsonl:3: no JSON object."
    assert "absent.abc: No such file" in store.problems[1]
    assert store.problems[2] == "train.jsonl:8: no text."


def test_a_second_start_reads_no_file_again(music, tmp_path, monkeypatch):
    first = open_store(music, tmp_path / "pack", SYMBOLIC)
    monkeypatch.setattr("clamp3.data.record_store._build", lambda *_: pytest.fail("built again"))
    again = open_store(music, tmp_path / "pack", SYMBOLIC)
    assert len(again) == len(first)
    assert pickle.loads(pickle.dumps(again)).record(3) == first.record(3)  # workers may be spawned


@pytest.mark.parametrize("what", ["jsonl", "score", "gone", "other", "killed"])
def test_whatever_changes_is_indexed_anew(music, tmp_path, what):
    open_store(music, tmp_path / "pack", SYMBOLIC)
    wanted = SYMBOLIC
    expected = 8
    if what == "jsonl":
        music.write_bytes(music.read_bytes() + b'\n{"title": "new", "filepaths": "1.abc"}')
        expected = 9
    elif what == "score":
        (tmp_path / "9.abc").write_text(ABC * 30)
    elif what == "gone":
        (tmp_path / "9.abc").unlink()
        expected = 7
    elif what == "other":
        wanted = AUDIO
    else:
        next((tmp_path / "pack").glob("*/done.json")).unlink()
    store = open_store(music, tmp_path / "pack", wanted)
    assert len(store) == expected
    if what == "score":
        assert store.music["symbolic"].length(store.record(7).files[0][1]) == 2 + 30 * 3 + 30


def test_vectors_come_from_files_members_and_shards_alike(music, tmp_path):
    folder = tmp_path / "shards"
    folder.mkdir()
    members = [(f"./{i}.npy", npy(vectors(i + 2))) for i in range(10)]
    write_tar(folder / "00.tar", members[:4])
    write_tar(folder / "01.tar", [("0.json", b"{}"), *members[4:]])
    write_tar(tmp_path / "all.tar", members)
    plain = open_store(music, tmp_path / "pack", AUDIO)
    sharded = open_store(music, tmp_path / "pack", Wanted(AUDIO.pairs, 4, "clamp3", folder))
    named = tmp_path / "named.jsonl"
    named.write_text(music.read_text(encoding="utf-8-sig").replace('.npy"', '.npy"').replace('["', '["all.tar::'))
    inside = open_store(named, tmp_path / "pack", AUDIO)
    assert len(plain) == len(sharded) == len(inside) == 8
    for store in (plain, sharded, inside):
        for index in range(8):
            number = int(store.record(index).item_id[1:])
            file = store.record(index).files[0][1]
            assert store.music["audio"].length(file) == number + 4
            found = store.music["audio"].read(file, slice(0, number + 4))
            np.testing.assert_array_equal(found[1:-1], vectors(number + 2)[0])
            assert not found[[0, -1]].any()


def test_tars_named_by_a_relative_path(music, tmp_path, monkeypatch):
    folder = tmp_path / "shards"
    folder.mkdir()
    write_tar(folder / "0.tar", [(f"{i}.npy", npy(vectors(i + 2))) for i in range(10)])
    named = tmp_path / "named.jsonl"
    named.write_text(music.read_text(encoding="utf-8-sig").replace('["', '["shards/0.tar::'))
    monkeypatch.chdir(tmp_path.parent)
    here = Path(tmp_path.name)
    shards = Wanted(AUDIO.pairs, 4, "clamp3", here / "shards")
    for jsonl, wanted in ((music, shards), (named, AUDIO)):
        store = open_store(here / jsonl.name, here / "pack", wanted)
        assert len(store) == 8
        file = store.record(0).files[0][1]
        np.testing.assert_array_equal(store.music["audio"].read(file, slice(1, 3)), vectors(2)[0])


NAMES = {"nul": "a\0", "nul_tar": "t\0.tar::a", "half": "a\ud800", "half_tar": "t\ud800.tar::a"}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
@pytest.mark.parametrize("kind", ["abc", "npy"])
def test_names_that_no_file_can_have_are_reasons(music, tmp_path, name, kind):
    with music.open("a", encoding="utf-8") as file:
        file.write("\n" + json.dumps({"id": "odd", "title": "x", "filepaths": [f"{name}.{kind}"]}))
    for _ in range(2):
        store = open_store(music, tmp_path / "pack", SYMBOLIC if kind == "abc" else AUDIO)
        assert len(store) == 8
        assert any("null byte" in reason or "surrogates" in reason for reason in store.problems)
    assert any(
        "null byte" in reason or "surrogates" in reason for reason in Check(music, Resolver(tmp_path)).run().problems
    )


def test_files_that_change_while_they_are_indexed_are_said(music, tmp_path, monkeypatch):
    ticks = itertools.count()
    monkeypatch.setattr("clamp3.data.shards.fingerprint", lambda _: next(ticks))
    with pytest.raises(DataError, match=r"train\.jsonl change while they are indexed"):
        open_store(music, tmp_path / "pack", SYMBOLIC)


def test_an_index_of_tars(tmp_path):
    write_tar(tmp_path / "a.tar", [("x/1.txt", b"old"), ("2.txt", b"two"), ("x/1.txt", b"new!")])
    found = index_tars([str(tmp_path / "a.tar")])
    assert found.find("x/1.txt").read() == b"new!"  # as tar extracts it
    assert found.find("./2.txt").read() == b"two"
    assert found.find("3.txt") is None
    resolver = Resolver(tmp_path)
    assert resolver.locate("a.tar::2.txt").read() == b"two"
    with pytest.raises(FormatError, match="no member 3"):
        resolver.locate("a.tar::3.txt")
    data = (tmp_path / "a.tar").read_bytes()
    (tmp_path / "a.tar").write_bytes(data[: found.find("x/1.txt").offset + 2])
    with pytest.raises(FormatError, match="the shard ends before it"):
        found.find("x/1.txt").read()
    (tmp_path / "b.tar").write_bytes(b"no tar at all" * 100)
    with pytest.raises(FormatError, match="no readable, uncompressed tar"):
        Resolver(tmp_path).locate("b.tar::1")
    with pytest.raises(ConfigError, match=r"no folder with \.tar files"):
        Resolver(tmp_path, tmp_path / "absent")
    with pytest.raises(FormatError, match="No such file"):
        Location(str(tmp_path / "absent")).read()


def test_lines_longer_than_a_read_and_a_file_that_changed(tmp_path):
    path = tmp_path / "a.jsonl"
    rows = [{"title": "x" * n} for n in (3, 200_000, 3, 70_000)]
    path.write_text("\n".join(json.dumps(row) for row in rows))
    starts = np.array([start for start, _, _ in read_objects(path)])
    lines = JsonLines(path, starts)
    assert [lines[i] for i in range(4)] == rows
    assert JsonLines(path, starts[[1, 3]])[0] == rows[1]  # what follows is not the next line
    os.truncate(path, 40)
    with pytest.raises(Exception, match="has changed"):
        lines[3]
