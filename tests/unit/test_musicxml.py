"""MusicXML to standard ABC: known texts, repairs of what stops xml2abc, no state between pieces."""

import sys
import threading

import pytest

from clamp3.errors import FormatError
from clamp3.formats.musicxml import musicxml_to_abc


def note(step="C", octave=4, duration=1, inside=""):
    pitch = f"<pitch><step>{step}</step><octave>{octave}</octave></pitch>"
    return f"<note>{pitch}<duration>{duration}</duration>{inside}</note>"


def score(music=None, *, attributes="", part_list=None, root="score-partwise"):
    listed = '<score-part id="P1"><part-name>Flute</part-name></score-part>' if part_list is None else part_list
    music = "".join(note(step) for step in "CDEF") if music is None else music
    start = (
        "<attributes><divisions>1</divisions><key><fifths>0</fifths></key><time><beats>4</beats><beat-type>4"
        f"</beat-type></time><clef><sign>G</sign><line>2</line></clef>{attributes}</attributes>"
    )
    part = f'<part id="P1"><measure number="1">{start}{music}</measure></part>'
    return f"<{root}><part-list>{listed}</part-list>{part}</{root}>".encode()


HEADER = 'X:1\nT:Title\nL:1/8\nM:4/4\nK:C\nV:1 treble nm="Flute"\nV:1\n'


def convert(*arguments, **options):
    return musicxml_to_abc(score(*arguments, **options))


def test_a_bar_of_quarters():
    made = convert()
    assert made.text == HEADER + " C2 D2 E2 F2 | %1\n\n"
    assert made.notes == ()


def test_stemless_notes_are_written_as_the_training_data_has_them():
    text = convert(note("C", inside="<stem>none</stem>") + note("D")).text
    assert "K:C\nU:s=!stemless!\n" in text
    assert " sC2 D2 |" in text
    assert "U:s" not in convert().text


def test_namespaces_and_timewise_scores_are_read():
    plain = convert().text
    assert musicxml_to_abc(score().replace(b"<score-partwise", b'<score-partwise xmlns="urn:x"')).text == plain
    timewise = score().replace(b"score-partwise", b"score-timewise")
    timewise = timewise.replace(b'<part id="P1"><measure number="1">', b'<measure number="1"><part id="P1">')
    assert musicxml_to_abc(timewise.replace(b"</measure></part>", b"</part></measure>")).text == plain


PEDAL = '<direction><direction-type><pedal type="{}"/></direction-type></direction>'
WEDGE = '<direction><direction-type><wedge type="{}"/></direction-type></direction>'
TEMPO = (
    "<direction><direction-type><metronome><beat-unit>quarter</beat-unit>{}</metronome></direction-type></direction>"
)


@pytest.mark.parametrize(
    ("music", "bar", "note_part"),
    [
        (
            PEDAL.format("start") + note() + PEDAL.format("change") + note("D") + PEDAL.format("stop"),
            "!ped! C2!ped-up!!ped! D2!ped-up! |",
            "pedal change written as stop and start",
        ),
        (
            WEDGE.format("crescendo") + note() + WEDGE.format("continue") + note("D") + WEDGE.format("stop"),
            "!<(! C2 D2!<)! |",
            "wedge continue left out",
        ),
        (note(inside="<accidental>natural-sharp</accidental>"), "^C2 |", "natural-sharp written as sharp"),
        (note(inside="<accidental></accidental>"), "C2 |", "accidental without a name"),
        (note(inside="<accidental>sori</accidental>"), "C2 |", "accidental sori"),
        (TEMPO.format("<beat-unit>half</beat-unit>") + note(), "C2 |", "metronome mark without a number"),
        (TEMPO.format("<per-minute>c. 80</per-minute>") + note() + PEDAL.format("x"), "C2 |", "pedal x left out"),
        (note(duration="0.5") + note("D", duration="1.5"), " C D3 |", "durations written as whole numbers"),
        (note() + note("D", duration="1e999999999"), "C2", "durations written as whole numbers"),
        (note(inside="<voice>alto</voice>"), "C2 |", "named voice numbered"),
        (note(inside='<lyric number="chorus"><text>la</text></lyric>'), "C2 |", "named verse numbered"),
        (note(inside="<chord/>") + note(inside="<accidental/>"), "C2 C2 |", "chord note without a first note"),
        (note().replace("</step>", "</step><alter>3</alter>"), "^^C2 |", "beyond a double accidental"),
        ("<backup/>" + note(), "C2 |", "backup without a duration"),
    ],
)
def test_repairs_say_what_they_did(music, bar, note_part):
    made = convert(music)
    assert bar in made.text
    assert any(note_part in note for note in made.notes), made.notes


def test_a_metre_written_as_a_sum_and_a_missing_part_list():
    sum_of_beats = b"<time><beats>3+2</beats><beat-type>8</beat-type></time>"
    made = musicxml_to_abc(score().replace(b"<time><beats>4</beats><beat-type>4</beat-type></time>", sum_of_beats))
    assert "M:5/8\n" in made.text
    assert "metre 3+2 written as its sum" in made.notes
    assert "C2 D2 E2 F2" in convert(part_list="").text


def test_the_number_in_a_metronome_mark_is_kept_by_the_repair():
    assert "Q:1/4=80\n" in convert(TEMPO.format("<per-minute>c. 80</per-minute>") + note() + PEDAL.format("x")).text


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"<html/>", "not a MusicXML score: its root element is <html>"),
        (b"<score-partwise/>", "no notes"),
        (score("<note><rest/><duration>4</duration></note>"), "no notes"),
        (score()[:-30], "not well-formed"),
        (b"", "empty"),
    ],
)
def test_unusable_files_have_a_reason(data, reason):
    with pytest.raises(FormatError, match=reason):
        musicxml_to_abc(data)


def test_one_piece_leaves_nothing_to_the_next():
    plain = convert().text
    convert(note("C", inside="<stem>none</stem>"), attributes="<transpose><chromatic>2</chromatic></transpose>")
    convert(note(inside="<accidental/>") + PEDAL.format("start"), attributes="<clef/>")
    with pytest.raises(FormatError):
        convert("<note><rest/><duration>4</duration></note>")
    assert convert().text == plain


def test_the_installed_converter_is_left_as_it_is():
    convert()
    import abctoolkit.xml2abc as installed

    assert not hasattr(installed, "abcOut")
    assert installed.info.__module__ == "abctoolkit.xml2abc"
    assert installed.Music.appendNote.__module__ == "abctoolkit.xml2abc"


def test_threads_do_not_mix_pieces():
    wanted = {step: convert(note(step)).text for step in "CDEF"}
    wrong = []

    def work(step):
        wrong.extend(step for _ in range(20) if convert(note(step)).text != wanted[step])

    switching = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=work, args=(step,)) for step in wanted]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(switching)
    assert len(set(wanted.values())) == 4
    assert wrong == []


def parts(*music):
    listed = "".join(f'<score-part id="P{i}"><part-name>x</part-name></score-part>' for i in range(len(music)))
    start = '<measure number="1"><attributes><divisions>1</divisions></attributes>'
    bodies = "".join(f'<part id="P{i}">{start}{inside}</measure></part>' for i, inside in enumerate(music))
    return f"<score-partwise><part-list>{listed}</part-list>{bodies}</score-partwise>".encode()


@pytest.mark.parametrize(
    ("opening", "closing"),
    [
        ('<pedal type="start"/>', '<pedal type="stop"/>'),
        ('<wedge type="crescendo"/>', '<wedge type="stop"/>'),
        ('<octave-shift type="up"/>', '<octave-shift type="stop"/>'),
    ],
)
def test_a_part_knows_nothing_of_the_one_before(opening, closing):
    mark = "<direction><direction-type>{}</direction-type></direction>"
    voices = (note(inside="<voice>1</voice>"), note(inside="<voice>5</voice>"))
    one = mark.format(opening) + voices[0] + mark.format('<pedal type="start"/>') + voices[0]
    other = voices[1] + mark.format(closing) + voices[1] + mark.format('<pedal type="stop"/>')
    text = musicxml_to_abc(parts(one, other)).text
    assert text.count("C2") == 4


def test_notes_without_pitch_need_no_clef():
    drum = "<unpitched><display-step>E</display-step><display-octave>4</display-octave></unpitched>"
    drum = f"<note>{drum}<duration>4</duration></note>"
    made = musicxml_to_abc(parts(note(duration=4), drum))
    assert "V:2 perc" in made.text
    assert made.text.rstrip().endswith("V:2\n E8 | %1")
    assert "clef of percussion added" in made.notes


def test_marks_in_a_part_without_notes_do_no_harm():
    mark = "<direction><direction-type><words>tacet</words></direction-type></direction>"
    made = musicxml_to_abc(parts(note(), mark))
    assert " C2 |" in made.text
    assert made.notes == ("part without notes emptied",)


def test_a_key_inside_a_bar_is_said():
    key = "<attributes><key><fifths>2</fifths></key></attributes>"
    assert convert(note("F") + key + note("F")).notes[0] == "key change inside a bar moved to its beginning (bar 1)"
    assert convert(key + note("F")).notes == ()
