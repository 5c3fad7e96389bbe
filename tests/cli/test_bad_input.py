"""Bad input to the real conversion scripts: a named reason each, the others done, exit code 1, nothing half-written."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest
from samples import (
    garbage,
    laughs,
    lying_zip_bomb,
    midi,
    midi_claim,
    midi_header,
    midi_long_event,
    musicxml,
    mxl,
    zip_bomb,
)

ROOT = Path(__file__).resolve().parents[2]
XML2ABC = ROOT / "preprocessing/abc/batch_xml2abc.py"
INTERLEAVE = ROOT / "preprocessing/abc/batch_interleaved_abc.py"
ABC2XML = ROOT / "preprocessing/abc/batch_abc2xml.py"
MIDI2MTF = ROOT / "preprocessing/midi/batch_midi2mtf.py"
MTF2MIDI = ROOT / "preprocessing/midi/batch_mtf2midi.py"
SECRET = "clamp3-secret-4711"
byte_names = pytest.mark.skipif(sys.platform != "linux", reason="names are bytes on Linux only")
linux = pytest.mark.skipif(sys.platform != "linux", reason="Linux only")
ABC = b"X:1\nT:Scale\nL:1/8\nM:4/4\nK:C\nV:1\nC2 D2 E2 F2 |]\n"

BAD_XML = {
    "empty.xml": (b"", "empty"),
    "empty.mxl": (b"", "empty"),
    "blank.xml": (b" \n\n", "empty|well-formed"),
    "garbage.xml": (garbage(1), "well-formed"),
    "garbage.mxl": (garbage(2), "well-formed|archive"),
    "picture.musicxml": (b"\x89PNG\r\n\x1a\n" + garbage(3), "well-formed"),
    "truncated.xml": (musicxml()[:-40], "well-formed"),
    "truncated.mxl": (mxl()[:-60], "archive"),
    "half.mxl": (mxl()[: len(mxl()) // 2], "archive"),
    "no_score.mxl": (mxl(b""), "empty"),
    "zip_bomb.mxl": (zip_bomb(130), "more than the limit of 128 MiB"),
    "lying_zip_bomb.mxl": (lying_zip_bomb(130), "archive|limit"),
    "entity_bomb.xml": (musicxml("&l9;", doctype=laughs()), "entit"),
    "entity_bomb.mxl": (mxl(musicxml("&l9;", doctype=laughs())), "entit"),
    "external.xml": (b"", "entit"),  # filled in by the fixture, with the path of a real file
    "deep.xml": (b"<a>" * 100_000 + b"</a>" * 100_000, "nested deeper"),
    "latin1_byte.xml": (musicxml("Caf\u00e9").replace("\u00e9".encode(), b"\xe9"), "well-formed"),
    "not_music.xml": (b"<html><body>no</body></html>", "MusicXML|score"),
    "no_notes.xml": (b'<score-partwise version="3.1"><part-list/></score-partwise>', ""),
}
GOOD_XML = {
    "good.xml": musicxml(),
    "sub/deeper/good.musicxml": musicxml(),
    "UPPER.XML": musicxml(),
    "Shout.MxL": mxl(),
    "twin.xml": musicxml("First"),
    "twin.mxl": mxl(musicxml("Second")),
    "a b'c\"d;$(touch hacked)`touch hacked`&.xml": musicxml(),
    "-rf.xml": musicxml(),
    "latin1_declared.xml": musicxml("Caf\u00e9", encoding="ISO-8859-1"),
    "n" * 251 + ".xml": musicxml(),
}
GOOD_ABC = {
    "good.abc", "sub/deeper/good.abc", "UPPER.abc", "Shout.abc", "twin.xml.abc", "twin.mxl.abc",
    "a b'c\"d;$(touch hacked)`touch hacked`&.abc", "-rf.abc", "latin1_declared.abc", "n" * 251 + ".abc",
}  # fmt: skip

BAD_MIDI = {
    "empty.mid": (b"", "empty"),
    "garbage.mid": (garbage(4), ""),
    "text.mid": (b"this is no MIDI file\n" * 20, ""),
    "magic_only.mid": (b"MThd", ""),
    "header_only.mid": (midi_header(), ""),
    "truncated.mid": (midi(50)[:-70], ""),
    "claim.mid": (midi_claim(), ""),
    "long_event.mid": (midi_long_event(), ""),
    "many_tracks.mid": (midi_header(65535), ""),
    "garbage_track.midi": (midi_header() + b"MTrk\x00\x00\x0f\xa0" + garbage(5), ""),
}
GOOD_MIDI = {
    "good.mid": midi(),
    "sub/deeper/good.midi": midi(9),
    "UPPER.MID": midi(10),
    "twin.mid": midi(11),
    "twin.midi": midi(12),
    "a b'c\"d;$(touch hacked)`touch hacked`&.mid": midi(),
    "-rf.mid": midi(),
    "n" * 251 + ".mid": midi(),
}
GOOD_MTF = {
    "good.mtf", "sub/deeper/good.mtf", "UPPER.mtf", "twin.mid.mtf", "twin.midi.mtf",
    "a b'c\"d;$(touch hacked)`touch hacked`&.mtf", "-rf.mtf", "n" * 251 + ".mtf",
}  # fmt: skip
ODD_NAME = os.fsdecode(b"caf\xe9")


@dataclass
class Done:
    code: int
    out: str
    err: str
    target: Path

    @property
    def rows(self) -> dict[str, dict]:
        lines = (self.target / "ledger.jsonl").read_text("ascii").splitlines()
        return {row["input"]: row for row in map(json.loads, lines)}

    @property
    def outputs(self) -> set[str]:
        return files(self.target) - {"ledger.jsonl"}


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def put(folder: Path, contents: dict[str, bytes]) -> Path:
    for name, content in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def command(script: Path, source: Path, target: Path, *flags: str) -> list[str]:
    return [sys.executable, str(script), str(source), str(target), "--n_workers", "2", *flags]


def convert(script: Path, source: Path, target: Path, *flags: str, **options) -> Done:
    done = subprocess.run(
        command(script, source, target, *flags),
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, cwd=source.parent, **options,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return Done(done.returncode, done.stdout, done.stderr, target)


@pytest.fixture(scope="module")
def xml_run(tmp_path_factory: pytest.TempPathFactory) -> Done:
    base = tmp_path_factory.mktemp("xml")
    (base / "secret.txt").write_text(SECRET)
    put(base / "in", {name: content for name, (content, _) in BAD_XML.items()} | GOOD_XML)
    doctype = f'<!DOCTYPE score-partwise [<!ENTITY s SYSTEM "{(base / "secret.txt").as_uri()}">]>'
    put(base / "in", {"external.xml": musicxml("&s;", doctype=doctype), "cover.jpg": b"x"})
    return convert(XML2ABC, base / "in", base / "out")


@pytest.fixture(scope="module")
def midi_run(tmp_path_factory: pytest.TempPathFactory) -> Done:
    base = tmp_path_factory.mktemp("midi")
    put(base / "in", {name: content for name, (content, _) in BAD_MIDI.items()} | GOOD_MIDI)
    return convert(MIDI2MTF, base / "in", base / "out")


def check_reason(done: Done, name: str, pattern: str) -> None:
    row = done.rows[name]
    assert row["status"] == "failed"
    assert row["output"] == ""
    assert len(row["reason"]) > 8 and "\n" not in row["reason"]
    assert re.search(pattern, row["reason"], re.IGNORECASE), row["reason"]
    # Named by the formats, not stumbled over.
    assert not re.match(r"[A-Z]\w*(Error|Exception|Interrupt|Exit): ", row["reason"]), row["reason"]
    assert not re.search("worker process|time limit|out of memory", row["reason"]), row["reason"]
    assert row["seconds"] < 20


@pytest.mark.parametrize("name", sorted(BAD_XML))
def test_bad_xml_has_a_named_reason(xml_run, name):
    check_reason(xml_run, name, BAD_XML[name][1])


def test_the_good_scores_are_done(xml_run):
    assert xml_run.code == 1
    assert xml_run.outputs == GOOD_ABC
    assert {name for name, row in xml_run.rows.items() if row["status"] == "ok"} == set(GOOD_XML)
    assert f"{len(GOOD_XML)} converted, 0 already done, {len(BAD_XML)} failed, 1 of other types" in xml_run.out
    assert not list(xml_run.target.parent.glob("**/hacked"))
    assert "T:First" in (xml_run.target / "twin.xml.abc").read_text("utf-8")
    assert "T:Second" in (xml_run.target / "twin.mxl.abc").read_text("utf-8")
    assert "T:Café" in (xml_run.target / "latin1_declared.abc").read_text("utf-8")
    for output in xml_run.outputs:
        assert SECRET not in (xml_run.target / output).read_text("utf-8")
    assert SECRET not in xml_run.out + xml_run.err + (xml_run.target / "ledger.jsonl").read_text()


@pytest.mark.parametrize("name", sorted(BAD_MIDI))
def test_bad_midi_has_a_named_reason(midi_run, name):
    check_reason(midi_run, name, BAD_MIDI[name][1])


def test_the_good_midi_files_are_done(midi_run):
    assert midi_run.code == 1
    assert midi_run.outputs == GOOD_MTF
    assert "distinct names: twin.mid, twin.midi" in midi_run.out
    assert not list(midi_run.target.parent.glob("**/hacked"))
    assert (midi_run.target / "good.mtf").read_text("ascii").startswith("ticks_per_beat 480\nprogram_change 0 0 0\n")


@byte_names
@pytest.mark.parametrize(
    ("script", "suffix", "good", "made"),
    [(XML2ABC, ".xml", musicxml(), ".abc"), (MIDI2MTF, ".mid", midi(), ".mtf")],
)
def test_names_that_are_no_utf8(tmp_path, script, suffix, good, made):
    put(tmp_path / "in", {ODD_NAME + suffix: good, f"bad{ODD_NAME}{suffix}": garbage()})
    done = convert(script, tmp_path / "in", tmp_path / "out", "--json")
    assert done.code == 1
    assert done.outputs == {ODD_NAME + made}
    assert [failure["input"] for failure in json.loads(done.out)["failed"]] == [f"bad{ODD_NAME}{suffix}"]
    assert "\\udce9" in convert(script, tmp_path / "in", tmp_path / "out").out


def test_text_that_is_no_utf8(tmp_path):
    put(tmp_path / "abc", {"old.abc": ABC.replace(b"T:Scale", b"T:Caf\xe9") + b"", "good.abc": ABC})
    put(tmp_path / "abc", {"nul.abc": ABC.replace(b"T:", b"T:\0"), "binary.abc": b"\xff\xfe" + garbage(6, 2001)})
    done = convert(INTERLEAVE, tmp_path / "abc", tmp_path / "interleaved")
    assert done.code == 1
    assert done.outputs == {"old.abc", "good.abc"}
    assert any("Latin-1" in note for note in done.rows["old.abc"]["notes"])
    check_reason(done, "nul.abc", "NUL|text|UTF")
    check_reason(done, "binary.abc", "UTF|text")

    put(
        tmp_path / "mtf",
        {"latin1.mtf": b"ticks_per_beat 480\ncopyright caf\xe9 0\n", "good.mtf": b"ticks_per_beat 480"},
    )
    put(tmp_path / "mtf", {"no_mtf.mtf": b"hello\n", "bad_line.mtf": b"ticks_per_beat 480\nnote_on 0 0 999 1\n"})
    done = convert(MTF2MIDI, tmp_path / "mtf", tmp_path / "midi")
    assert done.code == 1
    assert {Path(name).stem for name in done.outputs} == {"good"}
    check_reason(done, "latin1.mtf", "UTF-8")
    check_reason(done, "no_mtf.mtf", "line|ticks_per_beat|MTF")
    check_reason(done, "bad_line.mtf", "line 2")


def test_bad_abc_has_a_named_reason(tmp_path):
    bad = {"empty.abc": b"", "garbage.abc": garbage(7), "prose.abc": b"This is no tune.\n"}
    put(tmp_path / "in", bad | {"good.abc": ABC, "sub/UPPER.ABC": ABC})
    for script, made in ((INTERLEAVE, {"good.abc", "sub/UPPER.abc"}), (ABC2XML, {"good.xml", "sub/UPPER.xml"})):
        done = convert(script, tmp_path / "in", tmp_path / script.stem)
        assert done.code == 1
        assert {
            str(Path(name).with_suffix(Path(name).suffix.replace("musicxml", "xml"))) for name in done.outputs
        } == made
        for name in bad:
            check_reason(done, name, "")


@pytest.mark.parametrize("script", [XML2ABC, INTERLEAVE, ABC2XML, MIDI2MTF, MTF2MIDI])
def test_folders_without_input(tmp_path, script):
    (tmp_path / "in").mkdir()
    done = convert(script, tmp_path / "in", tmp_path / "out")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "is empty; it should hold files of these types: ." in done.err
    put(tmp_path / "in", {"a.jpg": b"x"})
    done = convert(script, tmp_path / "in", tmp_path / "out")
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert "holds no file of the types looked for (." in done.err
    assert not (tmp_path / "out").exists()


def load(script: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(script.stem, script)
    module = importlib.util.module_from_spec(spec)
    sys.modules[script.stem] = module  # workers look their function up there
    spec.loader.exec_module(module)
    return module


@linux
def test_an_unreadable_folder_is_named(tmp_path, monkeypatch, capfd):
    """In this process, because root reads every folder and a test cannot take that away."""
    put(tmp_path / "in", {"a.mid": midi(), "locked/b.mid": midi(), "z/c.mid": midi()})
    monkeypatch.syspath_prepend(MIDI2MTF.parent)
    listed = os.scandir

    def scandir(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    code = load(MIDI2MTF).main([str(tmp_path / "in"), str(tmp_path / "out")])
    monkeypatch.undo()
    done = Done(code, capfd.readouterr().out, "", tmp_path / "out")
    assert code == 1
    assert done.outputs == {"a.mtf", "z/c.mtf"}
    assert "failed: locked: the folder cannot be listed: Permission denied" in done.out
    assert done.rows["locked"]["status"] == "failed"


@pytest.mark.skipif(os.name != "posix" or os.getuid() == 0, reason="root reads everything")
def test_no_permission_to_read_or_write(tmp_path):
    put(tmp_path / "in", {"a.mid": midi(), "locked/b.mid": midi(), "c.mid": midi(), "d/e.mid": midi()})
    (tmp_path / "in" / "c.mid").chmod(0)
    (tmp_path / "in" / "locked").chmod(0)
    (tmp_path / "out" / "d").mkdir(parents=True)
    (tmp_path / "out" / "d").chmod(0o500)
    done = convert(MIDI2MTF, tmp_path / "in", tmp_path / "out")
    for path in (tmp_path / "in" / "locked", tmp_path / "out" / "d"):
        path.chmod(0o700)
    assert done.code == 1
    assert done.outputs == {"a.mtf"}
    assert all("Permission denied" in done.rows[name]["reason"] for name in ("locked", "c.mid", "d/e.mid"))


@linux
def test_a_file_size_limit_is_named_and_leaves_nothing(tmp_path):
    import resource

    put(tmp_path / "in", {"small.mid": midi(), "big.mid": midi(4000), "sub/small.mid": midi(9)})
    done = convert(
        MIDI2MTF, tmp_path / "in", tmp_path / "out",
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)),
    )  # fmt: skip
    assert done.code == 1
    assert done.outputs == {"small.mtf", "sub/small.mtf"}
    assert done.rows["big.mid"]["reason"] == "the output cannot be written: File too large (EFBIG)"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = sys.platform == "linux" and os.getuid() == 0
    mounted = mounted and subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]).returncode == 0
    if not mounted:
        pytest.skip("a small disk cannot be mounted here")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_full_disk_is_named_and_leaves_nothing_and_a_rerun_completes(tmp_path, small_disk):
    inputs = {"big.mid": midi(4000), "small.mid": midi(), "sub/small.mid": midi(9)}
    put(tmp_path / "in", inputs)
    # One after the other: while the large one is being written, there is no space for the small ones either.
    done = convert(MIDI2MTF, tmp_path / "in", small_disk / "out", "--n_workers", "1")
    assert done.code == 1
    assert done.outputs == {"small.mtf", "sub/small.mtf"}
    assert done.rows["big.mid"]["reason"] == "the output cannot be written: No space left on device (ENOSPC)"
    subprocess.run(["mount", "-o", "remount,size=4m", str(small_disk)], check=True)
    done = convert(MIDI2MTF, tmp_path / "in", small_disk / "out", "--json")
    assert done.code == 0
    assert (json.loads(done.out)["ok"], json.loads(done.out)["skipped"]) == (1, 2)
    assert done.outputs == {"big.mtf", "small.mtf", "sub/small.mtf"}


def test_a_disk_too_full_for_the_ledger_ends_in_one_sentence(tmp_path, small_disk):
    put(tmp_path / "in", {f"{i:03}.mid": midi(20 + i) for i in range(100)})
    (small_disk / "fill").write_bytes(b"x" * (40 * 1024))
    done = convert(MIDI2MTF, tmp_path / "in", small_disk / "out")
    assert done.code == 1
    assert len(done.err.splitlines()) == 1
    assert re.match(r"error: the ledger .* cannot be written: No space left on device", done.err)
    whole = {path.name: path.read_bytes() for path in (small_disk / "out").glob("*.mtf")}
    assert done.outputs == set(whole)
    (small_disk / "fill").unlink()
    subprocess.run(["mount", "-o", "remount,size=4m", str(small_disk)], check=True)
    done = convert(MIDI2MTF, tmp_path / "in", small_disk / "out")
    assert (done.code, len(done.outputs)) == (0, 100)
    assert all((small_disk / "out" / name).read_bytes() == content for name, content in whole.items())


@linux
@pytest.mark.parametrize("delay_sec", [0.0, 0.15])
def test_kill_in_the_middle_then_again_does_only_what_is_missing(tmp_path, delay_sec):
    from clamp3.formats.mtf import midi_to_mtf

    pieces = [midi(600 + i) for i in range(20)]
    texts = [midi_to_mtf(piece).text.encode() for piece in pieces]
    inputs = {f"{i % 7}/{i:04}.mid": pieces[i % 20] for i in range(1500)}
    expected = {f"{i % 7}/{i:04}.mtf": texts[i % 20] for i in range(1500)}
    source, target = put(tmp_path / "in", inputs), tmp_path / "out"
    job = subprocess.Popen(
        command(MIDI2MTF, source, target), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    ledger = target / "ledger.jsonl"
    deadline = time.monotonic() + 60
    while not (ledger.exists() and ledger.read_bytes().count(b"\n") >= 10) and time.monotonic() < deadline:
        time.sleep(0.002)
    time.sleep(delay_sec)
    os.kill(job.pid, signal.SIGKILL)  # the parent only: its workers have to notice
    assert job.wait() == -signal.SIGKILL
    settle(target)

    written = {name for name in files(target) if name.endswith(".mtf")}
    assert len(written) >= 10
    assert all((target / name).read_bytes() == expected[name] for name in written)
    lines = [line for line in ledger.read_bytes().split(b"\n") if line.endswith(b"}")]
    known = {json.loads(line)["output"] for line in lines}
    assert known <= written
    if delay_sec == 0.0:
        assert len(known) < len(inputs)
    times = {name: (target / name).stat().st_mtime_ns for name in known}

    done = convert(MIDI2MTF, source, target, "--json")
    summary = json.loads(done.out)
    assert done.code == 0
    assert (summary["ok"], summary["skipped"]) == (len(inputs) - len(known), len(known))
    assert done.outputs == set(expected)  # whole ones only, and no unfinished file is left
    assert all((target / name).read_bytes() == content for name, content in expected.items())
    assert all((target / name).stat().st_mtime_ns == at for name, at in times.items())


@linux
def test_ctrl_c_keeps_what_is_finished(tmp_path):
    pieces = [midi(6000 + i) for i in range(20)]  # some seconds of work
    source, target = put(tmp_path / "in", {f"{i:03}.mid": pieces[i % 20] for i in range(1000)}), tmp_path / "out"
    job = subprocess.Popen(
        command(MIDI2MTF, source, target), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
        # Under nohup, or in the background of a script, Ctrl-C is ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not (target / "ledger.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.002)
    os.killpg(job.pid, signal.SIGINT)  # as a terminal does: to the workers too
    out, err = job.communicate(timeout=60)
    assert (job.returncode, out) == (130, "")
    assert err.startswith("interrupted: ") and err.count("\n") == 1
    assert convert(MIDI2MTF, source, target).code == 0
    assert len(files(target)) == 1001


def settle(folder: Path) -> None:
    """Wait until nobody writes to a folder any more."""
    before, now = None, files(folder)
    while now != before:
        time.sleep(0.5)
        before, now = now, files(folder)
