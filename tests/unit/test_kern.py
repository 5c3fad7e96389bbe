"""Our own kern reader: spines that split and join, bars, endings, words; every note is kept and counted."""

import pytest

from clamp3.errors import FormatError
from clamp3.formats import Kind, note_counts
from clamp3.formats.kern import read_kern
from clamp3.formats.notation import read_notation
from clamp3.formats.symbolic import score_to_abc


def kern(*lines):
    return "\n".join(line.replace(" ", "\t") for line in lines).replace("~", " ") + "\n"


def music(*lines):
    """Return header and bars of each voice."""
    made = score_to_abc(kern(*lines).encode(), Kind.SCORE, name="a.krn")
    text = made.text[made.text.index("V:1\n") :]
    bars = [" ".join(line.split(" %")[0].split()) for line in text.split("\n") if line and line[:2] not in ("V:", "w:")]
    return bars, made


ONE = ("**kern", "*clefG2", "*M4/4", "=1")


def test_a_split_spine_that_splits_again_keeps_all_notes_in_their_bars():
    bars, _ = music(
        "**kern **kern", "*clefF4 *clefG2", "*M4/4 *M4/4", "=1 =1", "* *^", "4C 4c 4d", "4E 4e 4f", "* *v *v", "=2 =2",
        "* *^", "* * *^", "4F 4g 4a 4b", "4G 4g 4a 4b", "* * *v *v", "* *v *v", "=3 =3", "4A 4cc", "== ==", "*- *-",
    )  # fmt: skip
    assert bars == [
        "C2 E2 | G2 G2 | c2 |]", "D2 F2 | A2 A2 | x2 |]", "x4 | B2 B2 | x2 |]", "C,2 E,2 | F,2 G,2 | A,2 |]",
    ]  # fmt: skip


@pytest.mark.parametrize("join", ["* *v *v", "*v *v * *"])
def test_joins_with_missing_fields_or_of_the_wrong_spines_are_moved(join):
    lines = ["**kern **kern", "=1 =1", "* *^", "* * *^", "4C 4c 4d 4e", join, "* *v *v"]
    bars, _ = music(*lines, "4D 4d", "*- *-")
    assert sorted(bars) == sorted(["C2 D2 |", "D2 x2 |", "E2 x2 |", "C,2 D,2 |"])


def test_labels_of_sections_are_endings():
    bars, _ = music(
        *ONE[:3], "*>[A,A1,A,A2]", "*>A", "=1", "1c", "*>A1", "=2", "1d", "=:|!", "*>A2", "1e", "==", "*-"
    )  # fmt: skip
    assert bars == ["C8 |1 D8 :|2 E8 |]"]
    assert music(*ONE[:3], "*>S1", "=1", "1c", "*>S2", "=2", "1d", "==", "*-")[0] == ["C8 | D8 |]"]


def test_repeats_and_lines():
    bars, _ = music(*ONE, "1c", "=!|:", "1d", "=:|!|:", "1e", "=:|!", "1f", "=||", "1g", "==", "*-")
    assert bars == ["C8 |: D8 :: E8 :| F8 || G8 |]"]


def test_notes_that_sound_over_a_bar_line_are_divided_and_tied():
    bars, made = music(
        "**kern **kern", "*M4/4 *M4/4", "=1 =1", "1C 2c", ". 4d", "=!|: =!|:", ". 4e", "== ==", "*- *-"
    )  # fmt: skip
    assert bars == ["C4 D2 |: E2 |]", "C,6- |: C,2 |]"]
    assert made.notes == ()


def test_keys_metres_breves_tuplets_and_grace_notes():
    bars, made = music(
        "**kern", "*k[f#c#]", "*D:", "*M4/2", "=1", "0c#", "=2", "6d", "6e", "6f#", "8qg", "1a", "2r", "=3", "*M3/4",
        "*k[]", "*a:", "4c", "8.dL", "16eJ", "4f#", "==", "*-",
    )  # fmt: skip
    assert "K:D\n" in made.text and "M:4/2\n" in made.text
    assert bars == ["C16 | (3D2 E2 F2{/G} A8 z4 |[K:Amin][M:3/4] C2 D>E ^F2 |]"]


def test_a_key_inside_a_bar_waits_for_the_next_one_and_the_notes_stay():
    bars, _ = music(*ONE[:3], "*k[]", "=1", "2f", "*k[f#]", "2f#", "=2", "1f#", "==", "*-")
    assert bars == ["F4 ^F4 |[K:G] F8 |]"]


def test_words_dynamics_and_names():
    bars, made = music(
        "!!!OTL:~A~song", "!!!COM:~Fauré",
        "**kern **text **dynam **harm", '*I"Voice * * *', "*M2/4 * * *", "=1 =1 =1 =1",
        "4c A- p I", "4d -men . .", "== == == ==", "*- *- *- *-",
    )  # fmt: skip
    assert "T:A song\nC:Fauré\n" in made.text and 'nm="Voice"' in made.text
    assert bars == ["!p! C2 D2 |]"]
    assert "w: A- men|" in made.text
    assert made.notes == ("spine **harm left out",)


def test_staves_of_one_part_are_one_instrument_and_the_top_one_comes_first():
    score, _ = read_kern(
        kern("**kern **kern **kern", "*part2 *part2 *part1", "*staff3 *staff2 *staff1", "4C 4c 4cc", "*- *- *-")
    )
    assert [part.staves for part in score.parts] == [[2], [1, 0]]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("**text\na\n*-\n", "no \\*\\*kern spine"),
        ("**kern\t**kern\n4c\n*-\t*-\n", "line 2 of the kern file has 1 fields where there are 2 spines"),
        ("**kern\n4r\n*-\n", "no notes"),
    ],
)
def test_unusable_files_have_a_reason(text, reason):
    with pytest.raises(FormatError, match=reason):
        if "fields" in reason:  # music21 would read on
            read_kern(text)
        read_notation(text.encode(), suffix=".krn")


def test_the_notes_of_source_and_result_are_compared():
    assert note_counts.in_source(kern("**kern **text", "* *", "4c~4e a", "4r b", ". b", "*- *-"), ".krn") == 2
    assert note_counts.difference(100, 100, "x") == note_counts.difference(None, 7, "x") == ()
    assert note_counts.difference(100, 96, "music21") == ("96 of 100 notes by music21",)
    for n_read in (94, 106):
        with pytest.raises(FormatError, match=f"x made {n_read}"):
            note_counts.difference(100, n_read, "x")
    assert (
        note_counts.in_abc('L:1/8\nK:C\nV:1 treble nm="Cab"\n !f!"Am"[CE]2 {d}c z [K:G] A |[M:3/4] x3 | %3\nw: a b|')
        == 5
    )


def test_rests_longer_than_the_bar_are_rests_of_the_bar():
    bars, _ = music("**kern **kern", "*M3/4 *M3/4", "=1 =1", "1r 2.c", "=2 =2", "4C 4d", "== ==", "*- *-")
    assert bars == ["C6 | D2 |]", "z6 | C,2 |]"]
