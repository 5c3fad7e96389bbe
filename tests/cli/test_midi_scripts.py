"""The two MIDI scripts on a folder of good, broken and oddly named files."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "parity" / "golden" / "mtf"


def run_script(name, *arguments):
    command = [sys.executable, str(ROOT / "preprocessing" / "midi" / name), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def to_mtf(*arguments):
    return run_script("batch_midi2mtf.py", *arguments)


def to_midi(*arguments):
    return run_script("batch_mtf2midi.py", *arguments)


@pytest.fixture
def folder(tmp_path):
    source = tmp_path / "in put"
    (source / "sub").mkdir(parents=True)
    data = (GOLDEN / "every_message.mid").read_bytes()
    (source / "UPPER.MID").write_bytes(data)
    (source / "sub" / "it's; $(touch pwned).midi").write_bytes(data)
    (source / "cut.mid").write_bytes(data[: len(data) // 2])
    (source / "empty.mid").write_bytes(b"")
    (source / "picture.mid").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)))
    return source


def test_good_files_are_converted_and_bad_ones_named(folder, tmp_path):
    output = tmp_path / "out"
    assert to_mtf(folder, output).returncode == 1
    expected = (GOLDEN / "every_message.m3.mtf").read_bytes()
    assert (output / "UPPER.mtf").read_bytes() == expected
    assert (output / "sub" / "it's; $(touch pwned).mtf").read_bytes() == expected
    assert len(list(output.rglob("*.mtf"))) == 2
    rows = map(json.loads, (output / "ledger.jsonl").read_text(encoding="utf-8").splitlines())
    reasons = {row["input"]: row["reason"] for row in rows if row["status"] == "failed"}
    assert set(reasons) == {"cut.mid", "empty.mid", "picture.mid"}
    assert "cut short" in reasons["cut.mid"]
    assert "empty" in reasons["empty.mid"]
    assert "not a MIDI file" in reasons["picture.mid"]


def test_all_messages_come_back(folder, tmp_path):
    for name in ("cut.mid", "empty.mid", "picture.mid"):
        (folder / name).unlink()
    forth, back, again = tmp_path / "forth", tmp_path / "back", tmp_path / "again"
    assert to_mtf(folder, forth, "--all_messages").returncode == 0
    assert to_midi(forth, back).returncode == 0
    assert to_mtf(back, again, "--all_messages").returncode == 0
    expected = (GOLDEN / "every_message.all.mtf").read_bytes()
    assert (forth / "UPPER.mtf").read_bytes() == (again / "UPPER.mtf").read_bytes() == expected


def test_another_choice_of_messages_is_another_task(folder, tmp_path):
    to_mtf(folder, tmp_path / "out")
    first = (tmp_path / "out" / "UPPER.mtf").read_bytes()
    to_mtf(folder, tmp_path / "out", "--keep_timing")
    assert (tmp_path / "out" / "UPPER.mtf").read_bytes() != first


def test_contradicting_flags_are_wrong_usage():
    ended = to_mtf("a", "b", "--m3_compatible", "--all_messages")
    assert ended.returncode == 2
    assert "not allowed with" in ended.stderr


def test_the_default_is_said(folder, tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "a.mid").write_bytes((folder / "UPPER.MID").read_bytes())
    said = "text-like messages were left out, as the weights expect"
    assert said in to_mtf(tmp_path / "one", tmp_path / "out").stderr
    for flag in ("--m3_compatible", "--all_messages", "--clamp2"):
        assert said not in to_mtf(tmp_path / "one", tmp_path / flag, flag).stderr
    full = (GOLDEN / "every_message.m3.mtf").read_text().split("\n")
    assert (tmp_path / "--m3_compatible" / "a.mtf").read_text() == "\n".join(full)
    without = [line for line in full if not line.startswith(("sysex ", "sequencer_specific "))]
    assert (tmp_path / "--clamp2" / "a.mtf").read_text() == "\n".join(without)
