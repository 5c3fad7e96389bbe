"""What comes back from the disk: bounded, typed, finite, inside its folder; and what is shown of it, on one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from clamp3.data.seal import checksum, made_once, read_seal, write_seal
from clamp3.errors import Clamp3Error, ConfigError, DataError, FormatError, WeightsError, distinct_name, sentence_of
from clamp3.formats.arrays import read_array
from clamp3.formats.fields import typed
from clamp3.formats.tables import MAX_DEPTH, json_text, parse_json, read_json
from clamp3.index.ranking import cosine, rank, unit_rows
from clamp3.jobs.cache import VectorCache
from clamp3.jobs.locks import FolderLock


@dataclass(frozen=True)
class Piece:
    """A record."""

    name: str
    bars: int = 1
    share: float = 0.5
    tags: tuple[str, ...] = ()
    kind: str | None = None


DEEP = "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1)


@pytest.mark.parametrize("text", ["[" * 5000, '{"a":' * 3000, DEEP, "1" * 5000, "{", "\x00"])
def test_json_that_is_none_is_one_sentence(tmp_path, text):
    with pytest.raises(FormatError):
        parse_json(text.encode())
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ConfigError, match=r"a\.json is n"):
        read_json(tmp_path / "a.json", error=ConfigError)


def test_json_as_deep_as_allowed_is_read():
    depth = MAX_DEPTH - 1
    assert parse_json(b"[" * depth + b"]" * depth) is not None


def test_an_absent_file_and_a_name_that_no_file_has(tmp_path):
    assert read_json(tmp_path / "a.json", default={}) == {}
    for name in ("a.json", "a\0b", "\ud800"):
        with pytest.raises(FormatError, match="cannot be read"):
            read_json(tmp_path / name)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({}, "lacks name"), ([], "is a list, not an object"), ({"name": 1}, "name is 1, not text"),
        ({"name": "a", "bars": True}, "bars is true"), ({"name": "a", "bars": 1.5}, "bars is 1.5, not a whole number"),
        ({"name": "a", "share": float("inf")}, "share is Infinity"), ({"name": "a", "share": 10**400}, "share is 1000"),
        ({"name": "a", "tags": ["x", 3]}, r"tags\[1\] is 3"), ({"name": "a", "kind": {}}, "kind is an object"),
    ],
)  # fmt: skip
def test_fields_of_another_type_are_named(value, said):
    with pytest.raises(FormatError, match=said):
        typed(Piece, value)


def test_fields_of_a_later_version_are_left_out_and_null_is_the_default():
    assert typed(Piece, {"name": "a", "new": 1, "bars": None, "share": 1, "tags": ["x"]}) == Piece("a", 1, 1.0, ("x",))


def test_json_is_written_as_every_reader_takes_it():
    text = json_text({"a": [float("nan"), float("inf"), 1.5], "b": "\ud800", "c": "é"})
    assert json.loads(text, parse_constant=pytest.fail) == {"a": [None, None, 1.5], "b": "\ud800", "c": "é"}
    text.encode("utf-8")


def test_messages_are_one_line_and_names_differ():
    error = FormatError("music21 cannot convert it:\n  At line 24\x1b[31m for <x>:\n" + "y" * 5000 + "; do this.")
    assert len(str(error)) <= 300 and str(error).isprintable() and str(error).endswith("do this.")
    assert len(str(Clamp3Error("z" * 5000))) <= 1000
    names = ["a\nb", r"a\nb", "a\\\nb", r"a\\nb", "a\x1b[0m", "a\\x1b[0m"]
    assert len({distinct_name(name) for name in names}) == len(names)
    assert sentence_of("  a  b \r\n\r\n c ") == "a b c"


@pytest.mark.parametrize("value", [1e39, -1e300, np.inf, np.nan])
def test_values_beyond_single_precision_are_refused(value):
    import io

    stream = io.BytesIO()
    np.save(stream, np.array([1.0, value]))
    with pytest.raises(FormatError, match="NaN or infinite"):
        read_array(stream.getvalue(), "a.npy")


@pytest.mark.parametrize("scale", [1e-300, 1e-30, 1.0, 1e30, 1e37, 1e300])
def test_no_hit_is_lost_where_squares_overflow(scale):
    with np.errstate(all="raise", under="ignore"):
        rng = np.random.default_rng(0)
        vectors = rng.normal(size=(20, 8))
        expected = rank(vectors[0], vectors, 5)
        assert rank(vectors[0] * scale, vectors * scale, 5) == expected
        assert rank(vectors[0], np.concatenate([vectors[:10] * scale, vectors[10:]]), 5) == expected
        np.testing.assert_allclose(np.linalg.norm(unit_rows(vectors * scale), axis=1), 1)
    if 1e-37 < scale < 1e38:
        assert rank(vectors[0] * scale, (vectors * scale).astype(np.float32), 5)[0][0] == 0


def test_vectors_that_are_no_numbers_are_refused():
    with pytest.raises(DataError, match="NaN or infinity"):
        cosine(np.array([1.0, np.nan]), np.eye(2))


def test_alike_vectors_make_no_map():
    pytest.importorskip("sklearn")
    from clamp3.retrieval.projection import project

    for method in ("pca", "tsne"):
        with pytest.raises(DataError, match="all alike"):
            project(np.ones((50, 8)) * np.arange(1, 51)[:, None], method)


def test_the_cache_never_gives_the_vector_of_another_key(tmp_path):
    import sqlite3

    with VectorCache(tmp_path / "c") as cache:
        cache.put_many({"a": np.full(4, 1.0), "b": np.full(4, 2.0)})
    with sqlite3.connect(tmp_path / "c") as connection:
        rows = dict(connection.execute("SELECT key, value FROM vectors"))
        crcs = dict(connection.execute("SELECT key, crc FROM vectors"))
        connection.execute("UPDATE vectors SET value = ?, crc = ? WHERE key = 'a'", (rows["b"], crcs["b"]))
    with VectorCache(tmp_path / "c") as cache:
        assert list(cache.get_many(["a", "b"])) == ["b"]
        assert len(cache) == 1  # the other row is dropped


def test_a_seal_notices_what_changes(tmp_path):
    (tmp_path / "a").write_bytes(b"12345")
    write_seal(tmp_path / "done.json", ["a"], {"n": 1})
    assert read_seal(tmp_path / "done.json", dict[str, int]) == {"n": 1}
    for content in (b"1234", b"12346", b"", None):
        (tmp_path / "a").write_bytes(content) if content is not None else (tmp_path / "a").unlink()
        with pytest.raises(DataError):
            read_seal(tmp_path / "done.json", dict[str, int])
    (tmp_path / "a").write_bytes(b"12345")
    seal = (tmp_path / "done.json").read_text()
    for damaged in (seal.replace('"n": 1', '"n": 2'), seal[:-3], "[]", seal.replace('"a"', '"../a"')):
        (tmp_path / "done.json").write_text(damaged)
        with pytest.raises(DataError):
            read_seal(tmp_path / "done.json", dict[str, int])


def test_of_a_large_file_blocks_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr("clamp3.data.seal.WHOLE_BYTES", 1 << 20)
    monkeypatch.setattr("clamp3.data.seal._BLOCK", 1 << 12)
    data = bytearray(os.urandom(2 << 20))
    (tmp_path / "a").write_bytes(data)
    first = checksum(tmp_path / "a")
    data[-1] ^= 1
    (tmp_path / "a").write_bytes(data)
    assert checksum(tmp_path / "a") != first


def test_one_process_makes_what_many_need(tmp_path):
    made = []

    def load():
        return made[0] if made else None

    def work():
        made_once(tmp_path, load, lambda: made.append(1))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [1]


@pytest.mark.skipif(os.name != "posix", reason="the way of POSIX")
def test_a_lock_goes_with_its_holder_and_leaves_nothing(tmp_path):
    code = f"import sys, time; sys.path.insert(0, {str(Path(__file__).parents[2] / 'code')!r})\n"
    code += "from pathlib import Path\nfrom clamp3.jobs.locks import FolderLock\n"
    code += f"lock = FolderLock(Path({str(tmp_path)!r}))\nprint(lock.held, flush=True)\ntime.sleep(60)\n"
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "True\n"
    with pytest.raises(ConfigError, match="another process trains into"):
        FolderLock.only(tmp_path, "trains into")
    holder.kill()
    holder.wait()
    with FolderLock.only(tmp_path, "trains into") as lock:
        assert lock.held
    assert list(tmp_path.iterdir()) == []


def _saved(path, **tensors):
    import torch

    torch.save({"model": tensors}, path)
    return path


def test_checkpoints_that_claim_more_than_they_hold_are_refused(tmp_path):
    import torch

    from clamp3.models.weights import describe

    huge = torch.zeros(1).expand(1 << 20, 1 << 20)
    with pytest.raises(WeightsError, match="larger than what it holds"):
        describe(_saved(tmp_path / "a.pth", **{"symbolic_proj.weight": huge}))
    small = {"symbolic_model.base.embeddings.word_embeddings.weight": torch.zeros(1, 64),
             "symbolic_model.base.embeddings.token_type_embeddings.weight": torch.zeros(2, 64),
             "symbolic_model.base.embeddings.position_embeddings.weight": torch.zeros(4, 64),
             "symbolic_model.base.encoder.layer.0.intermediate.dense.weight": torch.zeros(8, 64),
             "symbolic_model.base.encoder.layer.9999999.output.dense.weight": torch.zeros(8, 64),
             "symbolic_proj.weight": torch.zeros(8, 64)}  # fmt: skip
    with pytest.raises(WeightsError, match="6 tensors for 10000000 layers"):
        describe(_saved(tmp_path / "b.pth", **small))
    with zipfile.ZipFile(tmp_path / "c.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", b"\0" * (64 << 20))
    with pytest.raises(WeightsError, match="its parts take"):
        describe(tmp_path / "c.pth")
    whole = _saved(tmp_path / "d.pth", **small).read_bytes()
    place = whole.rindex(b"PK\6\7") + 4  # where the number of the disk is, in what torch writes of zip64
    (tmp_path / "e.pth").write_bytes(whole[:place] + b"\1" + whole[place + 1 :])
    with pytest.raises(WeightsError, match="span multiple disks"):
        describe(tmp_path / "e.pth")


def test_musicxml_of_abc_with_control_characters_is_xml():
    from clamp3.formats.abc.to_musicxml import abc_to_musicxml
    from clamp3.formats.guards import parse_xml

    odd = "a\x1b[31m\x07\x01b\ufffe"
    made = abc_to_musicxml(f'X:1\nT:{odd}\nL:1/8\nM:4/4\nK:C\nV:1 nm="{odd}"\n"{odd}"CDEF|\nw:{odd}\n', name=odd)
    assert parse_xml(made.text.encode("utf-8")).findtext("work/work-title") == "a[31mb"
