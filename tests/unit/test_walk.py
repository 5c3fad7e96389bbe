"""The walker: order, case, links, hidden files, odd names, unreadable places."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from clamp3.errors import ConfigError, printable
from clamp3.formats import Kind
from clamp3.jobs.walk import walk


def make(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return root


def names(found) -> list[str]:
    return [file.relative.as_posix() for file in found.files]


def test_files_are_sorted_by_relative_path_and_typed_in_any_case(tmp_path):
    make(tmp_path, "b.MID", "a/z.mxl", "a/B.Xml", "c.txt", "a.abc", "notes.doc", "ledger.jsonl", "a/features.json")
    found = walk(tmp_path)
    assert names(found) == ["a.abc", "a/B.Xml", "a/z.mxl", "b.MID", "c.txt"]
    assert [file.kind for file in found.files] == [Kind.ABC, Kind.MUSICXML, Kind.MUSICXML, Kind.MIDI, Kind.TEXT]
    assert found.files[1].path == tmp_path / "a" / "B.Xml"
    assert found.ignored == ["notes.doc"]


def test_kinds_limit_the_files_and_the_rest_is_counted(tmp_path):
    make(tmp_path, "a.mid", "b.abc", "sub/c.midi")
    found = walk(tmp_path, {Kind.MIDI})
    assert names(found) == ["a.mid", "sub/c.midi"]
    assert found.ignored == ["b.abc"]


def test_the_order_does_not_depend_on_the_listing(tmp_path, monkeypatch):
    make(tmp_path, *(f"d{i % 3}/f{i}.mid" for i in range(12)))
    expected = names(walk(tmp_path))
    listed = os.scandir

    class Backwards:
        def __init__(self, path):
            self.entries = sorted(listed(path), key=lambda entry: entry.name, reverse=True)

        def __enter__(self):
            return iter(self.entries)

        def __exit__(self, *_):
            pass

        def close(self):
            pass

    monkeypatch.setattr(os, "scandir", Backwards)
    assert names(walk(tmp_path)) == expected == sorted(expected)
    assert len(expected) == 12


def test_a_single_file_is_a_root(tmp_path):
    make(tmp_path, "sub/a.MIDI")
    found = walk(tmp_path / "sub" / "a.MIDI")
    assert names(found) == ["a.MIDI"]
    assert walk(tmp_path / "sub" / "a.MIDI", {Kind.ABC}).ignored == ["a.MIDI"]


def test_a_missing_root_is_wrong_usage(tmp_path):
    with pytest.raises(ConfigError, match="No such file"):
        walk(tmp_path / "absent")


def test_link_loops_end_and_no_folder_is_read_twice(tmp_path):
    make(tmp_path, "real/deep/a.mid", "b.mid")
    (tmp_path / "real" / "deep" / "up").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "again").symlink_to(tmp_path / "real", target_is_directory=True)
    found = walk(tmp_path)
    assert names(found) == ["b.mid", "real/deep/a.mid"]  # the real place, though "again" sorts before "real"
    assert found.ignored == ["again/", "real/deep/up/"]


def test_links_outside_are_followed_once(tmp_path):
    make(tmp_path / "store", "a.mid")
    make(tmp_path / "in", "b.mid")
    (tmp_path / "in" / "more").symlink_to(tmp_path / "store", target_is_directory=True)
    (tmp_path / "in" / "most").symlink_to(tmp_path / "store", target_is_directory=True)
    (tmp_path / "in" / "c.mid").symlink_to(tmp_path / "store" / "a.mid")
    found = walk(tmp_path / "in")
    assert names(found) == ["b.mid", "c.mid", "more/a.mid"]
    assert found.ignored == ["most/"]


def test_a_broken_link_is_a_problem(tmp_path):
    make(tmp_path, "a.mid")
    (tmp_path / "b.mid").symlink_to(tmp_path / "gone.mid")
    found = walk(tmp_path)
    assert names(found) == ["a.mid"]
    assert [(str(problem.relative), problem.reason) for problem in found.problems] == [
        ("b.mid", "the link leads nowhere")
    ]


def test_hidden_entries_and_special_files_are_ignored(tmp_path):
    make(tmp_path, "a.mid", "._a.mid", ".git/b.mid", ".clamp3-00000000-1-0.part")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.mid")
    found = walk(tmp_path)
    assert names(found) == ["a.mid"]
    assert {"._a.mid", ".git/", ".clamp3-00000000-1-0.part"} <= set(found.ignored)
    assert "pipe.mid" in found.ignored or not hasattr(os, "mkfifo")


def test_what_our_own_jobs_leave_is_not_counted(tmp_path):
    make(tmp_path, "a.mid", ".clamp3_index/index.json", "features.json", "sub/ledger.jsonl")
    found = walk(tmp_path)
    assert names(found) == ["a.mid"] and found.ignored == []


def test_excluded_folders_are_not_entered(tmp_path):
    make(tmp_path, "a.mid", "out/b.mid")
    assert names(walk(tmp_path, exclude=[tmp_path / "out", tmp_path / "absent"])) == ["a.mid"]


def test_an_unreadable_folder_is_a_problem_and_the_rest_is_found(tmp_path, monkeypatch):
    make(tmp_path, "a.mid", "locked/b.mid", "z/c.mid")
    listed = os.scandir

    def scandir(path):
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    found = walk(tmp_path)
    assert names(found) == ["a.mid", "z/c.mid"]
    assert [str(problem.relative) for problem in found.problems] == ["locked"]
    assert "Permission denied" in found.problems[0].reason


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() == 0, reason="root reads every folder")
def test_a_folder_without_permission_is_a_problem(tmp_path):
    make(tmp_path, "a.mid", "locked/b.mid")
    (tmp_path / "locked").chmod(0)
    try:
        found = walk(tmp_path)
    finally:
        (tmp_path / "locked").chmod(0o700)
    assert names(found) == ["a.mid"]
    assert [str(problem.relative) for problem in found.problems] == ["locked"]


def test_an_unreadable_root_is_wrong_usage(tmp_path, monkeypatch):
    def scandir(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(ConfigError, match="cannot be listed: Permission denied"):
        walk(tmp_path)


@pytest.mark.skipif(os.name != "posix" or os.uname().sysname == "Darwin", reason="needs byte names")
def test_names_that_are_no_utf8_are_kept_and_printable(tmp_path):
    path = os.fsencode(tmp_path) + b"/caf\xe9 $(x);'.mid"
    with open(path, "wb") as stream:
        stream.write(b"x")
    found = walk(tmp_path)
    assert len(found.files) == 1
    assert os.fsencode(found.files[0].path) == path
    assert printable(found.files[0].relative) == "caf\\udce9 $(x);'.mid"


def test_printable_is_one_line_without_control_characters():
    assert printable("a\n\x1b[31mb") == "a\\n\\x1b[31mb"
    assert printable("Für Elise 月") == "Für Elise 月"
    assert printable("月", "ascii") == "\\u6708"
