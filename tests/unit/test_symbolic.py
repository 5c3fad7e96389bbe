"""Every symbolic kind becomes text that patches take."""

import io
import sys

import pytest

from clamp3.errors import FormatError
from clamp3.formats import Kind
from clamp3.formats.abc.dialect import is_interleaved
from clamp3.formats.abc.interleave import interleave
from clamp3.formats.symbolic import to_symbolic

ABC = "X:1\nT:Words\nL:1/8\nM:4/4\nK:C\nV:1\nC2 D2 E2 F2 |]\n"
INTERLEAVED = "L:1/8\nM:4/4\nK:C\nV:1 treble\n[V:1]C2 D2 E2 F2|]\n"
MTF = "ticks_per_beat 480\nnote_on 0 0 60 80\nnote_off 480 0 60 0\nend_of_track 0\n"
KERN = b"**kern\n*M4/4\n=1-\n4c\n4d\n4e\n4f\n==\n*-\n"


def test_abc_and_mtf():
    assert to_symbolic(ABC.encode(), Kind.ABC, name="a.abc").text == interleave(ABC).text
    assert to_symbolic(INTERLEAVED.encode(), Kind.ABC, name="a.abc").text == INTERLEAVED
    assert to_symbolic(MTF.encode(), Kind.MTF, name="a.mtf").text == MTF
    latin = to_symbolic(ABC.replace("Words", "Füße").encode("latin-1"), Kind.ABC, name="a.abc")
    assert latin.text == interleave(ABC).text
    assert "Latin-1" in latin.notes[0]


def test_midi():
    import mido

    stream = io.BytesIO()
    track = mido.MidiTrack([mido.Message("note_on", note=60, time=0), mido.Message("note_off", note=60, time=480)])
    mido.MidiFile(tracks=[track], ticks_per_beat=480).save(file=stream)
    assert to_symbolic(stream.getvalue(), Kind.MIDI, name="a.mid").text.startswith("ticks_per_beat 480\nnote_on 0 0 60")


def test_kern_is_read_without_music21():
    made = to_symbolic(KERN, Kind.SCORE, name="a.krn")
    assert is_interleaved(made.text)
    assert "[V:1]C2 D2 E2 F2|" in made.text
    assert made.notes == ()


@pytest.mark.parametrize(
    ("data", "kind", "reason"),
    [
        (b"", Kind.MIDI, "empty"),
        (b" \n", Kind.ABC, "empty"),
        (b"\0\1\2", Kind.MUSICXML, "well-formed"),
        (b"prose, not music", Kind.ABC, "no ABC"),
        (b"X:1\nK:C\n", Kind.ABC, "no music"),
        (b"note_on 0 0 60 80\n", Kind.MTF, "no MTF"),
        (b"hello", Kind.TEXT, "not a score"),
    ],
)
def test_unusable_files_have_a_reason(data, kind, reason):
    with pytest.raises(FormatError, match=reason):
        to_symbolic(data, kind, name="piece")


def test_text_kinds_need_no_music21():
    assert "clamp3.formats.symbolic" in sys.modules
    code = (
        "import sys; from clamp3.formats import Kind; from clamp3.formats.symbolic import to_symbolic; "
        f"to_symbolic({ABC.encode()!r}, Kind.ABC, name='a'); "
        "print([m for m in ('music21', 'torch', 'mido') if m in sys.modules])"
    )
    import subprocess

    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert made.stdout.strip() == "[]"
