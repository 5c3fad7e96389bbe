"""The protocol of an output folder, by itself; jobs test it from outside."""

import json
import pickle
from hashlib import sha256
from pathlib import PurePosixPath

import pytest

from clamp3.errors import ConfigError, DataError
from clamp3.jobs.outputs import OutputFolder


def digest(data):
    return sha256(data).hexdigest()


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.x").write_bytes(b"one")
    return folder


def opened(out, source, *, task="t", force=None):
    folder = OutputFolder(out, source, task=task, force=force, shared=True)  # several at a time
    folder.begin({PurePosixPath("a.x"): PurePosixPath("a.y")})
    return folder


def made(folder, content=b"ONE", data=b"one"):
    with folder:
        row = folder.row("a.x", "ok", sha256=digest(data))
        folder.record(folder.write(row, content))


def test_a_row_says_what_is_about_to_be_written(tmp_path, source):
    out = tmp_path / "out"
    made(opened(out, source))
    begun, done = map(json.loads, (out / "ledger.jsonl").read_text().splitlines())
    assert (begun["status"], done["status"]) == ("begun", "ok")
    assert begun["output_sha256"] == done["output_sha256"] == digest(b"ONE")
    assert (begun["output"], done["root"], done["task"]) == ("a.y", str(source.resolve()), "t")


def test_only_hashes_make_an_output_done(tmp_path, source):
    out = tmp_path / "out"
    made(opened(out, source))
    assert opened(out, source).is_done("a.x", digest(b"one"))
    assert not opened(out, source).is_done("a.x", digest(b"edited"))
    assert not opened(out, source, task="another").is_done("a.x", digest(b"one"))
    assert not opened(out, source, force=True).is_done("a.x", digest(b"one"))
    (out / "a.y").write_bytes(b"ON")
    assert not opened(out, source).is_done("a.x", digest(b"one"))
    (out / "a.y").unlink()
    (out / "a.y").mkdir()
    assert not opened(out, source).is_done("a.x", digest(b"one"))


def test_outputs_of_another_folder_and_unknown_files_are_refused(tmp_path, source):
    out = tmp_path / "out"
    made(opened(out, source))
    other = opened(out, tmp_path)
    for refused in (
        lambda: other.refuse_foreign("a.x", digest(b"two")),
        lambda: made(other, b"TWO", b"two"),
    ):
        with pytest.raises(DataError, match=r"its output was made from .*/in/a\.x; give another output folder\.$"):
            refused()
    assert (out / "a.y").read_bytes() == b"ONE"
    made(opened(out, tmp_path, force=True), b"TWO", b"two")
    assert (out / "a.y").read_bytes() == b"TWO"

    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "a.y").write_bytes(b"mine")
    with pytest.raises(DataError, match="not in the ledger; move it away, or --force"):
        made(opened(tmp_path / "new", source, force=False))
    (tmp_path / "new" / "a.y").write_bytes(b"ONE")  # what a worker wrote whose job was killed
    made(opened(tmp_path / "new", source))
    assert opened(tmp_path / "new", source).is_done("a.x", digest(b"one"))


def test_what_another_folder_s_killed_job_wrote_is_refused_too(tmp_path, source):
    out = tmp_path / "out"
    made(opened(out, source))
    rows = (out / "ledger.jsonl").read_text().splitlines(keepends=True)
    (out / "ledger.jsonl").write_text(rows[0])
    with pytest.raises(DataError, match=r"/in/a\.x"):
        opened(out, tmp_path).refuse_foreign("a.x", digest(b"two"))
    opened(out, source).refuse_foreign("a.x", digest(b"two"))


def test_a_plan_goes_to_a_worker(tmp_path, source):
    plan = pickle.loads(pickle.dumps(opened(tmp_path / "out", source).plan("a.x")))
    assert plan.write(digest(b"one"), b"ONE") == digest(b"ONE")
    assert (tmp_path / "out" / "a.y").read_bytes() == b"ONE"


def test_a_file_is_no_output_folder(tmp_path, source):
    with pytest.raises(ConfigError, match="is a file; give a folder"):
        OutputFolder(source / "a.x", source, task="t")


def test_a_folder_has_one_writer(tmp_path, source):
    out = tmp_path / "out"
    first = OutputFolder(out, source, task="t")
    assert not out.exists()
    first.begin({PurePosixPath("a.x"): PurePosixPath("a.y")})
    with pytest.raises(ConfigError, match=r"another process writes to .*out; let it end first"):
        OutputFolder(out, source, task="t")
    made(first)
    assert sorted(path.name for path in out.iterdir()) == ["a.y", "ledger.jsonl"]
    with OutputFolder(out, source, task="t") as again:
        again.begin({PurePosixPath("a.x"): PurePosixPath("a.y")})
        assert again.is_done("a.x", digest(b"one"))


def test_a_folder_made_for_nothing_goes(tmp_path, source):
    with OutputFolder(tmp_path / "out", source, task="t") as folder:
        folder.begin({PurePosixPath("a.x"): PurePosixPath("a.y")})
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["../other/x", "/etc/x", "sub/../../x", "link/x", "a\0", "\ud800", 7, ["a"], None])
def test_a_ledger_never_names_what_lies_outside(tmp_path, source, name):
    out, other = tmp_path / "out", tmp_path / "other"
    made(opened(out, source))
    other.mkdir()
    (out / "link").symlink_to(other)
    (other / "x").write_bytes(b"ONE")
    place = str(other / "x") if name == "/etc/x" else name
    row = {"input": "a.x", "status": "ok", "task": "t", "sha256": digest(b"one"), "output_sha256": digest(b"ONE")}
    with (out / "ledger.jsonl").open("a") as stream:
        stream.write(json.dumps({**row, "root": str(source.resolve()), "output": place}) + "\n")
    with OutputFolder(out, source, task="t") as folder:
        folder.begin({PurePosixPath("a.x"): PurePosixPath("b.y")})
        made(folder)
    assert (other / "x").read_bytes() == (out / "b.y").read_bytes() == b"ONE"
