"""Variants of a piece in the recipe of mini: the same music, as other programs and players write it."""

import random
import re

import pytest

from clamp3.formats.abc.interleave import interleave
from clamp3.formats.mtf import midi_to_mtf, mtf_to_midi
from recipes.mini.blend import copies_of
from recipes.mini.mutopia import header_of
from recipes.mini.variants import chords, performed, read_events, rewritten_abc, variant, with_symbols, write_events

ABC = """L:1/8
M:3/4
K:G
V:1 treble nm="Fiddle"
[V:1]D2|
[V:1]!trill!G2 (AB) {c}d2|
[V:1](3cBA F2 D2|
[V:1]G6|]
"""
NOTES = [
    (1, 62),
    (1, 67),
    (0.5, 69),
    (0.5, 71),
    (1, 74),
    (1 / 3, 72),
    (1 / 3, 71),
    (1 / 3, 69),
    (1, 66),
    (1, 62),
    (3, 67),
]
FACTS = {"voices": 1, "key": "G", "mode": "major", "metre": "3/4", "density": 1.0, "tempo": 120}


def mtf():
    lines = ["ticks_per_beat 480", "set_tempo 400000 0", "time_signature 3 4 24 8 0", "key_signature G 0",
             "program_change 0 0 0"]  # fmt: skip
    for length, pitch in NOTES:
        lines += [f"note_on 0 0 {pitch} 90", f"note_off {round(480 * length)} 0 {pitch} 0"]
    return "\n".join([*lines, "end_of_track 0"])


def pitches(text):
    """The pitches of a performance as they begin."""
    events = [event for event in read_events(text)[1] if event.kind == "note_on"]
    return [int(event.values[1]) for event in sorted(events, key=lambda event: event.tick)]


def stands_in(wanted, found):
    """Whether a list is what is left of another one after some of its items are taken away."""
    rest = iter(found)
    return all(item in rest for item in wanted)


def test_events_are_read_and_written_alike():
    assert write_events(*read_events(mtf())) == mtf()
    head, rest = mtf().split("\n", 1)
    for message in ("sysex 3 1 2 3", "clock 3", "pitchwheel 3 0 100"):  # those whose time comes first
        longer = "\n".join([head, message, rest])
        assert write_events(*read_events(longer)) == longer


def test_every_bar_has_a_chord_of_the_key_where_it_begins():
    assert chords(ABC, mtf(), "G", "major") == [(0.0, 1.0, "G"), (1.0, 3.0, "G"), (4.0, 3.0, "D7"), (7.0, 3.0, "G")]


def test_chord_symbols_change_no_note():
    marked = with_symbols(ABC, chords(ABC, mtf(), "G", "major"))
    assert re.sub(r'"[A-G][^"]*"(?=[!(A-G])', "", marked) == ABC
    assert interleave(marked).text == marked.rstrip("\n") or interleave(marked).text == marked


@pytest.mark.parametrize("seed", range(12))
def test_a_variant_has_the_notes_of_the_piece_and_can_be_read(seed):
    abc, performance = variant(ABC, mtf(), FACTS, random.Random(seed))
    assert stands_in([pitch for _, pitch in NOTES], pitches(performance))
    assert midi_to_mtf(mtf_to_midi(performance)).text == performance
    music = re.sub(r'"[^"]*"|\{[^}]*\}|![^!]*!|\[V:1\]', "", abc[abc.index("[V:1]") :])
    notes = re.findall(r"[A-Ga-g]\d*", music)
    assert notes == ["D2", "G2", "A", "B", "d2", "c", "B", "A", "F2", "D2", "G6"]


def test_variants_depend_on_the_generator_alone():
    assert variant(ABC, mtf(), FACTS, random.Random(3)) == variant(ABC, mtf(), FACTS, random.Random(3))
    assert len({variant(ABC, mtf(), FACTS, random.Random(seed)) for seed in range(8)}) == 8


def test_a_performance_keeps_its_tempo_to_a_third():
    for seed in range(8):
        resolution, events = read_events(mtf())
        played = performed(resolution, events, random.Random(seed))
        last = max(event.tick for event in played if event.kind == "note_off") / resolution * 0.5
        assert 10 * 0.4 / 1.5 < last < 10 * 0.4 * 1.5  # seconds; ten quarters of 0.4 s


def test_several_voices_get_no_chords():
    assert '"G"' not in rewritten_abc(ABC, [], random.Random(1))


def test_blending_writes_a_piece_and_its_variants_with_other_texts(tmp_path):
    folder = tmp_path / "part"
    (folder / "pieces/x").mkdir(parents=True)
    (folder / "pieces/x/a.abc").write_text(ABC, encoding="utf-8")
    (folder / "pieces/x/a.mtf").write_text(mtf(), encoding="utf-8")
    row = {"id": "a", "collection": "x", "folder": str(folder), "abc": "x/a.abc", "mtf": "x/a.mtf", "facts": FACTS,
           "form": "waltz", "century": 19, "region": "", "title": ""}  # fmt: skip
    records = copies_of(row, str(tmp_path / "out"), 2)
    assert [record["id"] for record in records] == ["a~0", "a~1", "a~2"]
    assert len({record["description"] for record in records}) == 3
    files = [tmp_path / "out" / name for record in records for name in record["filepaths"]]
    assert files[0].read_text(encoding="utf-8") == ABC
    assert len(files) == 6 and all(file.is_file() for file in files)


def test_the_header_of_mutopia_counts_before_that_of_the_score():
    assert header_of('title = "A" mutopiatitle = "B" opus = "Op. 1"') == {"title": "B", "opus": "Op. 1"}
