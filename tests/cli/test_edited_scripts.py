"""Conversion scripts whose input_dir was edited at the top of the file run without arguments, as the released ones."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from samples import midi, musicxml

ROOT = Path(__file__).resolve().parents[2]
ABC = "X:1\nL:1/8\nM:4/4\nK:C\nV:1\nC2 D2 E2 F2 |]\n"
MTF = "ticks_per_beat 480\nnote_on 0 0 60 80\nnote_off 480 0 60 0\nend_of_track 0"


def edited(script, folder, **values):
    """Write a copy of a script with other values of its variables; return its path."""
    text = (ROOT / "preprocessing" / script).read_text(encoding="utf-8")
    for name, value in values.items():
        text, n = re.subn(rf"(?m)^{name} = [^#\n]*", f"{name} = {value!r}  ", text)
        assert n == 1, f"{script} has no variable {name}"
    (folder / Path(script).name).write_text(text, encoding="utf-8")
    return folder / Path(script).name


def run(path, *arguments):
    command = [sys.executable, str(path), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(
    ("script", "content", "name", "made"),
    [
        ("abc/batch_xml2abc.py", musicxml(), "a.xml", "_abc/sub/a.abc"),
        ("abc/batch_interleaved_abc.py", ABC.encode(), "a.abc", "_interleaved/sub/a.abc"),
        ("abc/batch_abc2xml.py", ABC.encode(), "a.abc", "_xml/sub/a.xml"),
        ("midi/batch_midi2mtf.py", midi(), "a.mid", "_mtf/sub/a.mtf"),
        ("midi/batch_mtf2midi.py", MTF.encode(), "a.mtf", "_midi/sub/a.mid"),
    ],
)
def test_a_script_runs_without_arguments(script, content, name, made, tmp_path):
    folder = tmp_path / "music"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / name).write_bytes(content)
    path = edited(script, tmp_path, input_dir=f"{folder}/")
    done = run(path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / f"music{made}").stat().st_size > 0
    assert run(path, folder, tmp_path / "elsewhere").returncode == 0  # arguments still count
    assert (tmp_path / "elsewhere" / made.partition("/")[2]).is_file()


def test_as_shipped_arguments_are_needed():
    done = run(ROOT / "preprocessing" / "abc" / "batch_xml2abc.py")
    assert done.returncode == 2 and "input_dir" in done.stderr


def test_every_message_stays_where_the_variable_says_so(tmp_path):
    (tmp_path / "midi").mkdir()
    (tmp_path / "midi" / "a.mid").write_bytes(midi())
    path = edited("midi/batch_midi2mtf.py", tmp_path, input_dir=str(tmp_path / "midi"), m3_compatible=False)
    assert run(path).returncode == 0
    assert "track_name Scale" in (tmp_path / "midi_mtf" / "a.mtf").read_text()
