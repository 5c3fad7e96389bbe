"""What the released converters get wrong silently: released bytes and a note by default, the right music on demand."""

import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import mido
import numpy as np
import pytest

from clamp3.embedding.clamp3 import Clamp3
from clamp3.formats import Kind
from clamp3.formats.abc.interleave import interleave
from clamp3.formats.abc.to_musicxml import abc_to_musicxml
from clamp3.formats.musicxml import musicxml_to_abc
from clamp3.formats.symbolic import register, to_symbolic

KEY = "<attributes><key><fifths>{}</fifths></key></attributes>"
BACK = "<backup><duration>8</duration></backup>"
REPEAT = '<barline location="right"><repeat direction="backward"/></barline>'
END = '<barline location="right"><bar-style>light-heavy</bar-style></barline>'
MOVED = "key change inside a bar moved to its beginning (bar 1)"


def note(step, duration=2, *, alter="", sign="", voice=1, octave=4, tie="", grace=False, inside="", unseen=False):
    """Return a note in eighths; ``sign`` is its accidental."""
    start = "<grace/>" if grace else ""
    alter = f"<alter>{alter}</alter>" if alter != "" else ""
    length = "" if grace else f"<duration>{duration}</duration>"
    tie = "".join(f'<tie type="{one}"/>' for one in tie.split())
    sign = f"<accidental>{sign}</accidental>" if sign else ""
    pitch = f"<pitch><step>{step}</step>{alter}<octave>{octave}</octave></pitch>"
    seen = ' print-object="no"' if unseen else ""
    return f"<note{seen}>{start}{inside}{pitch}{length}{tie}<voice>{voice}</voice>{sign}</note>"


def rest(duration=8):
    return f"<note><rest/><duration>{duration}</duration><voice>1</voice></note>"


def score(*parts, keys=()):
    listed = "".join(f'<score-part id="P{n}"><part-name>P</part-name></score-part>' for n in range(len(parts)))
    music = ""
    for n, bars in enumerate(parts):
        key = (keys[n] if keys else KEY.format(0)).replace("attributes>", "x>").replace("<x>", "").replace("</x>", "")
        start = f"<attributes><divisions>2</divisions>{key}<time><beats>4</beats><beat-type>4</beat-type></time>"
        start += "<clef><sign>G</sign><line>2</line></clef></attributes>"
        bars = "".join(f'<measure number="{m}">{start * (m == 1)}{bar}</measure>' for m, bar in enumerate(bars, 1))
        music += f'<part id="P{n}">{bars}</part>'
    return f"<score-partwise><part-list>{listed}</part-list>{music}</score-partwise>".encode()


CASES = {
    "key": (
        score([note("F", 4) + note("F") + KEY.format(2) + note("F", 1, alter=1) + note("F", 1, sign="natural")]),
        ("[K:D] F4 F2 F =F |", "F4 F2[K:D] F =F |"),
        (MOVED, "notes that read as another pitch (2, first in bar 1)"),
    ),
    "key in another voice": (
        score(
            [
                note("F", 4)
                + note("F", 4, alter=1)
                + BACK
                + note("A", 4, voice=2)
                + KEY.format(1)
                + note("F", 4, alter=1, voice=2)
            ]
        ),
        ("V:1\n[K:G] F4 ^F4 | %1\nV:2\n[K:G] A4 F4 |", "V:1\n F4[K:G] F4 | %1\nV:2\n A4[K:G] F4 |"),
        (MOVED, "notes that read as another pitch (bar 1)"),
    ),
    "unseen": (
        score([note("C", 4) + note("E", 4, unseen=True), note("G", 8)]),
        ("C4 x4 | G8 |", "C4 E4 | G8 |"),
        ("notes that are not printed written as rests (bar 1)",),
    ),
    "quarter-tones": (
        score([note("F", 4, alter=0.5) + note("G", alter=-0.5) + note("A", alter=-1.5)]),
        (" F4 G2 _A2 |", " ^/F4 _/G2 _3/2A2 |"),
        ("quarter-tones written as semitones (3, first in bar 1)",),
    ),
    "grace at the end": (
        score([note("C", 8) + note("D", grace=True) + note("E", grace=True)], [note("C", 8)]),
        ("C8{DE | %1\nV:2", "C8{DE} | %1\nV:2"),
        ("grace notes left open at the end of a voice or bar (bar 1)",),
    ),
    "grace in two voices": (
        score([note("C", 8) + note("D", grace=True) + BACK + note("E", voice=2, grace=True) + note("C", 8, voice=2)]),
        ("C8{D | %1\nV:2\nE} C8 |", "C8{D} | %1\nV:2\n{E} C8 |"),
        ("grace notes left open at the end of a voice or bar (bar 1)",),
    ),
    "grace over a bar line": (
        score([note("C", 8) + note("D", grace=True), note("E", grace=True) + note("F", 8)]),
        ("C8{D |E} F8 |", "C8{D} |{E} F8 |"),
        ("grace notes left open at the end of a voice or bar (bar 1)",),
    ),
    "tie to nothing": (
        score([note("C", 8, alter=1, sign="sharp", tie="start"), note("C", 8)]),
        ("^C8- | C8 |", "^C8 | C8 |"),
        ("notes that read as another pitch (bar 2)",),
    ),
    "sign against pitch": (
        score([note("C", 4, alter=0, sign="sharp") + note("D", 4)]),
        ("^C4 D4 |", "=C4 D4 |"),
        ("notes that read as another pitch (bar 1)",),
    ),
    "key of one part alone": (
        score([note("F", 8)], [note("F", 8, alter=1)], keys=["", KEY.format(2)]),
        (
            'K:D\nV:1 treble nm="P"\nV:2 treble nm="P"\nV:1\n F8 | %1\nV:2\n F8 |',
            'K:none\nV:1 treble nm="P"\nV:2 treble nm="P"\nV:1\n F8 | %1\nV:2\n[K:D] F8 |',
        ),
        (),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_bytes_stay_and_are_noted_unless_corrected(case):
    data, (released, right), notes = CASES[case]
    made, corrected = musicxml_to_abc(data), musicxml_to_abc(data, correct=True)
    assert released in made.text and right in corrected.text
    assert made.notes == notes
    assert corrected.notes == ()


def pitches(xml):
    """Return pitches and lengths of all notes as music21 reads MusicXML."""
    import music21

    found = music21.converter.parse(xml, format="musicxml").recurse().notes
    return Counter((pitch.ps, float(one.quarterLength)) for one in found for pitch in one.pitches)


@pytest.mark.parametrize("case", [case for case in CASES if case != "quarter-tones"])  # abc2xml has no sign for them
def test_another_reader_finds_the_music_of_the_score(case):
    data, _, _ = CASES[case]
    read = [pitches(abc_to_musicxml(musicxml_to_abc(data, correct=correct).text).text) for correct in (True, False)]
    assert read[0] == pitches(data.decode())
    if not case.startswith("grace"):  # an open brace sounds the same to abc2xml
        assert read[1] != read[0]


@pytest.mark.skipif(shutil.which("abc2midi") is None, reason="needs abc2midi, Debian's abcmidi")
@pytest.mark.parametrize("case", [case for case in CASES if not case.startswith("grace")])
def test_abc2midi_hears_the_music_of_the_score(case, tmp_path):
    data, _, _ = CASES[case]
    (tmp_path / "a.abc").write_text(musicxml_to_abc(data, correct=True).text)
    subprocess.run(["abc2midi", "a.abc", "-o", "a.mid"], cwd=tmp_path, check=True, capture_output=True)
    heard, bend = Counter(), {}
    for track in mido.MidiFile(tmp_path / "a.mid").tracks:
        for message in track:
            if message.type == "pitchwheel":
                bend[message.channel] = message.pitch / 4096
            elif message.type == "note_on" and message.velocity:
                heard[message.note + bend.get(message.channel, 0.0)] += 1
    assert heard == Counter(
        {
            pitch: sum(n for (p, _), n in pitches(data.decode()).items() if p == pitch)
            for pitch, _ in pitches(data.decode())
        }
    )


def test_scores_without_these_faults_are_the_same_bytes():
    data = score(
        [
            KEY.format(3) + note("C", alter=1) + note("C", sign="natural") + note("C") + note("C", alter=1),
            note("F", 4, alter=1, tie="start") + note("F", 4, alter=1, tie="stop"),
            note("B", 8, alter=-1, sign="flat", tie="start"),
            note("B", 4, alter=-1, tie="stop") + note("B", 4, alter=-1) + note("D", grace=True),
            note("E", 8),
        ]
    )
    made = musicxml_to_abc(data)
    assert made.notes == ()
    assert musicxml_to_abc(data, correct=True) == made


@pytest.mark.parametrize("last", [rest(), rest() + END])
def test_a_repeat_before_empty_bars_stays(last):
    text = musicxml_to_abc(score([note("C", 8), note("D", 8) + REPEAT, last])).text
    made, corrected = interleave(text), interleave(text, correct=True)
    assert ":|" not in made.text
    assert "repeat sign before empty bars at the end left out" in made.notes
    assert corrected.text.endswith("[V:1]D8:|\n")
    assert corrected.notes == ()
    assert interleave(text.replace(":|", "|"), correct=True) == interleave(text.replace(":|", "|"))


TIED = "X:1\nT:a\nL:1/8\nM:4/4\nK:C\n^G8-|^G2 G2 [GB]4|G8|F4-F4&D8|\n"


def test_an_accidental_before_a_tied_note_counts_for_its_bar():
    made, corrected = abc_to_musicxml(TIED), abc_to_musicxml(TIED, correct=True)
    assert made.notes == ("notes without the accidental of a tied note before them (2, first in bar 2)",)
    assert made.text.count("<alter>1</alter>") == 2
    assert corrected.text.count("<alter>1</alter>") == 4
    assert corrected.notes == ()
    assert corrected.text.replace("\n          <alter>1</alter>", "") == made.text.replace(
        "\n          <alter>1</alter>", ""
    )


def test_a_tie_of_one_overlay_is_none_of_another():
    text = "X:1\nT:a\nL:1/8\nM:4/4\nK:G\nF8-&D8|D8&F8|F8|\n"
    made, corrected = abc_to_musicxml(text), abc_to_musicxml(text, correct=True)
    assert corrected.text.count("<alter>1</alter>") == 3
    assert made.notes or made.text == corrected.text


def by_name_only(data, name):
    return musicxml_to_abc(data, name=name)


def test_converters_of_others_are_not_asked_to_correct():
    from clamp3.formats import register_kind

    kind = register_kind("mended", [".mended"])
    register(kind, by_name_only)
    assert to_symbolic(score([note("C")]), kind, name="a.mended", correct=True).text.endswith("C2 | %1\n\n")


def test_folders_with_and_without_never_mix(tmp_path):
    (tmp_path / "in").mkdir()
    data, (released, right), notes = CASES["key"]
    (tmp_path / "in" / "a.musicxml").write_bytes(data)
    script = Path(__file__).parents[2] / "preprocessing/abc/batch_xml2abc.py"
    for flags, expected in (([], released), (["--correct"], right), ([], released)):
        done = subprocess.run(
            [sys.executable, script, tmp_path / "in", tmp_path / "out", *flags], capture_output=True, text=True
        )
        assert done.returncode == 0 and "1 converted" in done.stdout, done
        assert expected in (tmp_path / "out" / "a.abc").read_text()
    rows = [json.loads(line) for line in (tmp_path / "out" / "ledger.jsonl").read_text().splitlines()]
    made = [row for row in rows if row.get("status") == "ok"]
    assert [row["task"].endswith(" correct") for row in made] == [False, True, False]
    assert made[0]["notes"] == list(notes) and not made[1].get("notes")


def test_cached_vectors_with_and_without_never_mix(tiny_weights, tmp_path):
    readers = [Clamp3.from_pretrained(tiny_weights, cache=tmp_path / "v.sqlite", correct=on) for on in (False, True)]
    item = (CASES["key"][0], Kind.MUSICXML)
    first = [reader.encode([item]).vectors[0] for reader in readers]
    assert not np.allclose(*first)
    for reader, expected in zip(readers, first, strict=True):
        (again,) = reader.stream([item])
        assert again.cached
        np.testing.assert_array_equal(again.value, expected)
    assert readers[1].preprocessing.endswith("+correct")
