"""Folder conversion: mirrored tree, names, re-runs, and nothing lost or spoiled."""

from __future__ import annotations

import argparse
import errno
import json
import os
import sys
from functools import partial
from hashlib import sha256
from pathlib import Path, PurePosixPath

import pytest

from clamp3.errors import Clamp3Error, ConfigError, DataError, FormatError
from clamp3.formats import Converted, Kind
from clamp3.jobs.batch import add_batch_flags, convert_folder, run_batch
from clamp3.jobs.ledger import Ledger
from clamp3.jobs.naming import output_names, shared_stems
from clamp3.jobs.summary import Summary, report

XML = {Kind.MUSICXML}


def shout(data: bytes, name: str) -> Converted:
    if data.startswith(b"bad"):
        raise FormatError(f"{name} is bad.")
    if data.startswith(b"die"):
        os._exit(5)
    if data.startswith(b"nothing"):
        return Converted("")
    if data.startswith(b"odd"):
        return Converted("\udc80")
    notes = ("a note",) if data.startswith(b"note") else ()
    return Converted(data.decode().upper(), notes)


def count(data: bytes, name: str, *, log: str) -> bytes:
    with open(log, "a") as stream:
        stream.write(f"{name}\n")
    return data + b"!"


def full_disk(data: bytes, name: str) -> Converted:
    def write(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if data.startswith(b"big"):
        os.replace = write  # in this worker only
    return shout(data, name)


def make(root: Path, **files: str) -> Path:
    for name, content in files.items():
        write(root / name.replace("__", "/").replace("_", "."), content)
    return root


def write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def tree(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "ledger.jsonl"
    }


def go(source: Path, target: Path, convert=shout, **options):
    options = {"kinds": XML, "suffix": ".abc", "task": "t", "n_workers": 1, "desc": ""} | options
    return convert_folder(convert, source, target, **options)


@pytest.fixture
def dirs(tmp_path: Path) -> tuple[Path, Path]:
    (tmp_path / "in").mkdir()
    return tmp_path / "in", tmp_path / "out"


def test_the_tree_is_mirrored_and_the_ledger_tells(dirs):
    make(dirs[0], a_xml="one", sub__deep__b_MXL="note", c_jpg="", d_xml="bad")
    summary = go(*dirs)
    assert tree(dirs[1]) == {"a.abc": "ONE", "sub/deep/b.abc": "NOTE"}
    assert (summary.ok, summary.skipped, summary.failed) == (2, 0, [("d.xml", "d.xml is bad.")])
    assert (summary.ignored, summary.notes) == (["c.jpg"], [("sub/deep/b.MXL", "a note")])
    ledger = Ledger(dirs[1] / "ledger.jsonl")
    row = ledger.last("sub/deep/b.MXL")
    assert (row.status, row.output, row.task, row.notes) == ("ok", "sub/deep/b.abc", "t", ("a note",))
    assert (row.sha256, row.output_sha256) == (sha256(b"note").hexdigest(), sha256(b"NOTE").hexdigest())
    assert (ledger.last("d.xml").status, ledger.last("d.xml").reason) == ("failed", "d.xml is bad.")


def test_a_second_run_does_only_what_is_missing(dirs, tmp_path):
    convert = partial(count, log=str(tmp_path / "log"))
    make(dirs[0], a_xml="one", b_xml="two", c_xml="three", d_xml="four")
    go(*dirs, convert)
    (dirs[1] / "b.abc").unlink()  # lost
    (dirs[1] / "c.abc").write_text("thr")  # torn by a power cut
    write(dirs[0] / "d.xml", "fou5")  # edited, same length
    (tmp_path / "log").unlink()
    summary = go(*dirs, convert)
    assert sorted((tmp_path / "log").read_text().split()) == ["b.xml", "c.xml", "d.xml"]
    assert (summary.ok, summary.skipped) == (3, 1)
    assert tree(dirs[1]) == {"a.abc": "one!", "b.abc": "two!", "c.abc": "three!", "d.abc": "fou5!"}
    before = (dirs[1] / "ledger.jsonl").read_bytes()
    assert go(*dirs, convert).skipped == 4
    assert (dirs[1] / "ledger.jsonl").read_bytes() == before


def test_another_task_and_force_do_everything_again(dirs):
    make(dirs[0], a_xml="one")
    go(*dirs)
    assert go(*dirs, task="t2").ok == 1
    assert go(*dirs, task="t2").skipped == 1
    assert go(*dirs, task="t2", force=True).ok == 1


def test_a_failure_is_not_final_and_takes_the_old_output_with_it(dirs):
    make(dirs[0], a_xml="one")
    go(*dirs)
    write(dirs[0] / "a.xml", "bad now")
    assert go(*dirs).failed == [("a.xml", "a.xml is bad.")]
    assert tree(dirs[1]) == {}
    assert len(go(*dirs).failed) == 1
    write(dirs[0] / "a.xml", "better")
    assert go(*dirs).ok == 1
    assert tree(dirs[1]) == {"a.abc": "BETTER"}


@pytest.mark.parametrize("content", ["", "die"])
def test_new_content_without_a_hash_takes_the_old_output_with_it(dirs, content):
    make(dirs[0], a_xml="one")
    go(*dirs)
    write(dirs[0] / "a.xml", content)
    assert len(go(*dirs).failed) == 1
    assert tree(dirs[1]) == {}


def broken(data: bytes, name: str) -> bytes:
    raise FormatError("not with these options")


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file that cannot be read")
def test_a_failure_of_the_same_content_or_of_reading_keeps_the_output(dirs):
    make(dirs[0], a_xml="one")
    go(*dirs)
    assert len(go(*dirs, broken, task="t2").failed) == 1
    assert tree(dirs[1]) == {"a.abc": "ONE"}
    (dirs[0] / "a.xml").unlink()
    (dirs[0] / "a.xml").symlink_to("/proc/self/mem")  # opens, and gives an input/output error when it is read
    assert "Input/output error" in go(*dirs).failed[0][1]
    assert tree(dirs[1]) == {"a.abc": "ONE"}
    (dirs[0] / "a.xml").unlink()
    write(dirs[0] / "a.xml", "two")
    assert go(*dirs).ok == 1


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "is empty"),
        ("die", "exit code 5"),
        ("nothing", "the conversion gave nothing"),
        ("odd", "UnicodeEncodeError"),
    ],
)
def test_bad_ends_are_named_and_leave_nothing(dirs, content, reason):
    make(dirs[0], a_xml=content, b_xml="fine", sub__c_xml=content)
    summary = go(*dirs)
    assert [name for name, _ in summary.failed] == ["a.xml", "sub/c.xml"]
    assert all(reason in why for _, why in summary.failed)
    assert tree(dirs[1]) == {"b.abc": "FINE"}
    assert not (dirs[1] / "sub").exists()


def test_a_full_disk_is_named_and_leaves_nothing(dirs):
    make(dirs[0], a_xml="one", b_xml="big")
    summary = go(*dirs, full_disk)
    assert summary.failed == [("b.xml", "the output cannot be written: No space left on device (ENOSPC)")]
    assert sorted(os.listdir(dirs[1])) == ["a.abc", "ledger.jsonl"]


def test_a_ledger_that_cannot_be_written_stops_with_one_sentence(dirs, monkeypatch):
    make(dirs[0], a_xml="one", b_xml="two")
    opened = os.open

    def refuse(path, flags, *rest, **options):
        if str(path).endswith("ledger.jsonl") and flags & os.O_WRONLY:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return opened(path, flags, *rest, **options)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(Clamp3Error, match=r"the ledger .* cannot be written: Read-only file system"):
        go(*dirs)


def test_unreadable_folders_are_failures(dirs, monkeypatch):
    make(dirs[0], a_xml="one", locked__b_xml="two")
    listed = os.scandir

    def scandir(path):
        if Path(path).name == "locked":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    summary = go(*dirs)
    assert summary.ok == 1
    assert summary.failed == [("locked", "the folder cannot be listed: Permission denied")]
    assert Ledger(dirs[1] / "ledger.jsonl").last("locked").status == "failed"


def test_two_inputs_with_one_stem_are_both_kept(dirs, capsys):
    make(dirs[0], a_xml="one", a_mxl="two", b_xml="three")
    summary = go(*dirs)
    assert tree(dirs[1]) == {"a.xml.abc": "ONE", "a.mxl.abc": "TWO", "b.abc": "THREE"}
    assert summary.renamed == [("a.mxl", "a.xml")]
    assert report(summary) == 0
    assert "distinct names: a.mxl, a.xml" in capsys.readouterr().out
    assert go(*dirs).skipped == 3


def test_a_late_twin_renames_the_first_output(dirs):
    make(dirs[0], a_xml="one")
    go(*dirs)
    make(dirs[0], a_mxl="two")
    summary = go(*dirs)
    assert tree(dirs[1]) == {"a.xml.abc": "ONE", "a.mxl.abc": "TWO"}
    assert summary.ok == 2


def test_a_late_twin_renames_the_first_output_after_a_failure_too(dirs):
    make(dirs[0], a_xml="one")
    go(*dirs)
    make(dirs[0], a_mxl="two")
    assert len(go(*dirs, broken).failed) == 2
    assert tree(dirs[1]) == {"a.abc": "ONE"}
    assert go(*dirs).ok == 2
    assert tree(dirs[1]) == {"a.xml.abc": "ONE", "a.mxl.abc": "TWO"}


def test_an_output_folder_inside_the_input_folder_is_not_read(dirs):
    make(dirs[0], a_xml="one")
    for _ in range(2):
        summary = go(dirs[0], dirs[0] / "out", suffix=".xml")
        assert tree(dirs[0]) == {"a.xml": "one", "out/a.xml": "ONE"}
        assert (len(summary.failed), summary.ignored) == (0, [])


def test_an_input_is_never_replaced(dirs):
    make(dirs[0], a_xml="one", sub__a_xml="two")
    with pytest.raises(ConfigError, match="would replace an input"):
        go(dirs[0], dirs[0], suffix=".xml")
    assert tree(dirs[0]) == {"a.xml": "one", "sub/a.xml": "two"}
    assert go(dirs[0], dirs[0]).ok == 2  # another type, beside its input
    assert tree(dirs[0])["sub/a.abc"] == "TWO"


def test_a_strangers_file_is_not_overwritten(dirs):
    make(dirs[0], a_xml="one", b_xml="two")
    make(dirs[1], a_abc="by hand", b_abc="TWO")  # b: finished just before a kill, not yet in the ledger
    summary = go(*dirs)
    assert tree(dirs[1]) == {"a.abc": "by hand", "b.abc": "TWO"}
    assert summary.ok == 1
    assert [name for name, _ in summary.failed] == ["a.xml"]
    assert "not in the ledger" in summary.failed[0][1]
    assert go(*dirs, force=True).ok == 2
    assert tree(dirs[1])["a.abc"] == "ONE"


def test_two_input_folders_do_not_overwrite_each_other(dirs, tmp_path):
    make(dirs[0], a_xml="one", b_xml="two")
    make(tmp_path / "in2", a_xml="other", b_xml="two", c_xml="new")
    go(*dirs)
    summary = go(tmp_path / "in2", dirs[1])
    assert tree(dirs[1]) == {"a.abc": "ONE", "b.abc": "TWO", "c.abc": "NEW"}
    assert (summary.ok, summary.skipped) == (1, 1)
    assert "its output was made from" in dict(summary.failed)["a.xml"]
    assert go(*dirs).skipped == 2


def test_a_folder_where_the_output_should_go(dirs):
    make(dirs[0], a_xml="one", b_xml="two")
    (dirs[1] / "a.abc").mkdir(parents=True)
    summary = go(*dirs)
    assert summary.ok == 1
    assert "EISDIR" in dict(summary.failed)["a.xml"] or "EACCES" in dict(summary.failed)["a.xml"]


def test_a_single_file_is_an_input(dirs):
    make(dirs[0], a_xml="one", b_xml="two")
    assert go(dirs[0] / "a.xml", dirs[1]).ok == 1
    assert tree(dirs[1]) == {"a.abc": "ONE"}
    write(dirs[0] / "a.xml", "edited")
    assert go(*dirs).ok == 2
    assert tree(dirs[1]) == {"a.abc": "EDITED", "b.abc": "TWO"}
    with pytest.raises(ConfigError, match=r"out\.abc is written like a file; give a folder"):
        go(dirs[0] / "a.xml", dirs[1].with_name("out.abc"))


def test_unusable_folders(dirs):
    with pytest.raises(ConfigError, match=r"is empty; it should hold .*\.xml, \.musicxml, \.mxl"):
        go(*dirs)
    with pytest.raises(ConfigError, match="No such file"):
        go(dirs[0] / "absent", dirs[1])
    make(dirs[0], a_jpg="", b_jpg="", c_xml="one")
    with pytest.raises(DataError, match=r"looked for \(\.mid, \.midi\); it has 3 of other types \(\.jpg, \.xml\)"):
        go(*dirs, kinds={Kind.MIDI})
    with pytest.raises(ConfigError, match="is a file"):
        go(dirs[0], dirs[0] / "a.jpg")
    assert not dirs[1].exists()


@pytest.mark.skipif(sys.platform != "linux", reason="byte names")
def test_odd_names(dirs, capsys):
    names = [
        "a b.xml",
        "q'u\"o.xml",
        ";$(touch x)|&.xml",
        "-rf.xml",
        "new\nline.xml",
        "ü月.xml",
        os.fsdecode(b"caf\xe9.xml"),
    ]
    names.append("n" * 251 + ".xml")
    for name in names:
        write(dirs[0] / name, "one")
    write(dirs[0] / os.fsdecode(b"bad\xe9.xml"), "bad")
    summary = go(*dirs)
    assert summary.ok == len(names)
    assert sorted(tree(dirs[1])) == sorted(name[:-4] + ".abc" for name in names)
    assert go(*dirs).skipped == len(names)
    assert report(summary) == 1
    assert "failed: bad\\udce9.xml" in capsys.readouterr().out
    assert report(summary, as_json=True) == 1
    assert json.loads(capsys.readouterr().out)["failed"][0]["input"] == os.fsdecode(b"bad\xe9.xml")


def paths(*names: str) -> list[PurePosixPath]:
    return [PurePosixPath(name) for name in names]


def named(*names: str) -> list[str]:
    outputs = output_names(paths(*names), ".abc")
    assert len(set(outputs.values())) == len(names)
    return [outputs[path].as_posix() for path in paths(*names)]


def test_output_names():
    assert named("a.xml", "s/a.xml", "b.c.xml") == ["a.abc", "s/a.abc", "b.c.abc"]
    assert named("a.xml", "a.mxl") == ["a.xml.abc", "a.mxl.abc"]
    assert named("Op.27 No.1.xml", "Op.27 No.2.xml") == ["Op.27 No.1.abc", "Op.27 No.2.abc"]


def test_output_names_that_differ_only_in_case_or_composition_stay_apart():
    first, second = named("a.xml", "A.xml")
    assert first.casefold() != second.casefold()
    first, second = named("u\u0308.xml", "\u00fc.xml")
    assert first != second and first.endswith(".abc")


def test_output_names_when_the_longer_name_is_taken_too():
    names = named("a.xml", "a.mxl", "a.xml.xml", "a.xml.mxl")
    assert names[1] == "a.mxl.abc"
    assert len({name.casefold() for name in names}) == 4


def test_output_names_fit_in_255_bytes():
    long = ["月" * 83 + ".xml", "月" * 83 + ".mxl", "x" * 252 + ".xm", "x" * 251 + "z.xm"]
    names = named(*long)
    assert all(len(name.encode()) <= 255 and name.endswith(".abc") for name in names)


def test_output_names_do_not_depend_on_order():
    names = ["a.xml", "a.mxl", "A.xml", "a.xml.xml", "b.xml"]
    assert output_names(paths(*names), ".abc") == output_names(paths(*reversed(names)), ".abc")


def test_shared_stems():
    outputs = output_names(paths("a.xml", "a.mxl", "s/a.xml", "b.xml"), ".abc")
    assert shared_stems(outputs) == [("a.mxl", "a.xml")]


def test_report_lists_failures_and_counts(capsys):
    summary = Summary("l.jsonl", ok=3, skipped=2, ignored=["x"], seconds=1.25)
    assert report(summary) == 0
    assert capsys.readouterr().out.startswith(
        "3 converted, 2 already done, 0 failed, 1 of other types ignored, in 1.2 s"
    )
    summary.failed = [(f"f{i}.xml", "why") for i in range(25)]
    assert report(summary) == 1
    out = capsys.readouterr().out
    assert out.count("  failed: ") == 20
    assert "5 more, see the ledger" in out


def parse(*args: str) -> argparse.Namespace:
    return add_batch_flags(argparse.ArgumentParser()).parse_args(args)


def test_run_batch_takes_the_flags(dirs, capsys):
    make(dirs[0], a_xml="one")
    args = parse(str(dirs[0]), str(dirs[1]), "--n_workers", "1", "--timeout_sec", "5.5", "--json")
    assert run_batch(shout, args, kinds=XML, suffix=".abc", task="t") == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["ok"], facts["skipped"], facts["failed"]) == (1, 0, [])
    assert facts["ledger"] == str(dirs[1] / "ledger.jsonl")


@pytest.mark.parametrize(
    "flags", [["--n_workers", "0"], ["--timeout_sec", "-1"], ["--timeout_sec", "nan"], ["--n_workers", "x"]]
)
def test_senseless_flags_are_wrong_usage(flags, capsys):
    with pytest.raises(SystemExit, match="2"):
        parse("in", "out", *flags)
    assert flags[0] in capsys.readouterr().err
