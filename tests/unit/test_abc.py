"""Interleaving, also of ABC as people write it, and the way back to MusicXML."""

import itertools
import time

import pytest

from clamp3.errors import FormatError
from clamp3.formats.abc.dialect import is_interleaved
from clamp3.formats.abc.interleave import interleave
from clamp3.formats.abc.lengths import bar_length, bar_lengths
from clamp3.formats.abc.to_musicxml import abc_to_musicxml
from clamp3.formats.musicxml import musicxml_to_abc

HEADER = "X:1\nT:A title\nC:A name\nZ:rights\n%%score 1 2\nL:1/8\nM:4/4\nK:C\n"
VOICES = 'V:1 treble nm="Flute"\nV:2 bass nm="Bass"\n'
KEPT = "%%score 1 2\nL:1/8\nM:4/4\nK:C\n"


def two(first, second):
    return f"{HEADER}{VOICES}V:1\n{first} %1\nV:2\n{second} %1\n\n"


def test_bars_of_all_voices_stand_on_one_line():
    made = interleave(two(" C8 | D8 |]", " C,8 | D,8 |]"))
    assert made.text == f"{KEPT}{VOICES}[V:1]C8|[V:2]C,8|\n[V:1]D8|][V:2]D,8|]\n"
    assert made.notes == ()


def test_words_lyrics_and_escaped_quotes_go():
    made = interleave(two(' "^say \\"hi\\""C8 | "^a|b"D8 |]\nw: la la |', " C,8 | D,8 |]"))
    assert made.text == f'{KEPT}{VOICES}[V:1]"^say hi"C8|[V:2]C,8|\n[V:1]D8|][V:2]D,8|]\n'


def test_bars_empty_in_every_voice_go_at_both_ends_only():
    made = interleave(two(" z8 | z8 | C8 | z8 | D8 | z8 |]", " z8 | C,8 | z8 | z8 | z8 | x8 |]"))
    assert made.text.count("\n[V:1]") == 4
    assert made.text.endswith("[V:1]z8|[V:2]C,8|\n[V:1]C8|[V:2]z8|\n[V:1]z8|[V:2]z8|\n[V:1]D8|][V:2]z8|]\n")


def test_endings_stay_at_their_bar_line():
    made = interleave(two("|: C8 |1 D8 :|2 E8 |]", "|: C,8 |1 D,8 :|2 E,8 |]"))
    assert made.text.endswith("[V:1]|:C8|1[V:2]|:C,8|1\n[V:1]D8:|2[V:2]D,8:|2\n[V:1]E8|][V:2]E,8|]\n")


def test_a_voice_with_fewer_bars_is_filled_and_named():
    made = interleave(two(" C8 | D8 | E4 |]", " C,8 |"))
    assert made.text.endswith("[V:1]C8|[V:2]C,8|\n[V:1]D8|[V:2]x8|\n[V:1]E4|][V:2]x4|]\n")
    assert made.notes == ("V:2 has 1 bars of 3: filled with invisible rests",)


def test_voices_of_unequal_length_are_named():
    made = interleave(two(" C8 | D8 | E8 |]", " C,8 | D,7 | E,8 |]"))
    assert made.notes == ("voices last unequally long in 1 of 3 bars, first in bar 2",)


@pytest.mark.parametrize(
    ("bar", "length"),
    [
        ("C", 1), ("C2 D/ E/2 F//", 3.25), ("[CEG]3", 3), ("[C2E2]2", 4), ("(3CDE", 2), ("(3:2:4CDEF", 8 / 3),
        ("C>D E<F", 4), ('"Am"C "^x|y"D !trill!E', 3), ("{gab}C", 1), ("[K:Bb]c8", 8), ("(5:4:5CDEFG z4", 8),
        ("(CD) C-D", 4), ("z8", 8), ("", 0), ("(3:2:5(3:2:3CDEFG", 8 / 3), ("_B,,3/2=c'3/4", 2.25),
    ],
)  # fmt: skip
def test_bar_length(bar, length):
    assert bar_length(bar) == pytest.approx(length)
    assert bar_lengths(["z4", bar]) == [4, bar_length(bar)]


JIG = "X:1\nT:Jig\nM:6/8\nR:jig\nK:G\n|:GAG GAB|ABA ABd|\nedd gdB|1 AGF G2D:|2 AGF G2d|]\n"
JIG_BARS = "[V:1]|:GAG GAB|\n[V:1]ABA ABd|\n[V:1]edd gdB|1\n[V:1]AGF G2D:|2\n[V:1]AGF G2d|]\n"


def test_a_tune_without_voices():
    assert interleave(JIG).text == "L:1/8\nM:6/8\nK:G\nV:1 treble\n" + JIG_BARS


def test_line_endings_comments_and_a_byte_order_make_no_difference():
    commented = JIG.replace("\n", " % a remark | with a bar\n", 1).replace("GAB|", "GAB| % bar 1\n")
    assert interleave(JIG.replace("\n", "\r\n")).text == interleave(JIG).text
    assert interleave(JIG.replace("\n", "\r")).text == interleave(JIG).text
    assert interleave(commented).text == interleave(JIG).text


def test_of_several_tunes_the_first_is_taken():
    made = interleave(JIG + "\nX:2\nT:Other\nK:D\nD8|]\n")
    assert made.text == interleave(JIG).text
    assert made.notes == ("first of 2 tunes taken",)


def test_lengths_are_rewritten_for_eighths():
    made = interleave('X:1\nL:1/4\nM:4/4\nK:C\n"Am"C D/ E/ F3/4 G/4 [CE] | (3C/D/E/ z [K:G] {c}d2 !f!e |]\n')
    assert made.text.endswith('[V:1]"Am"C2 D E F3/2 G/ [CE]2|\n[V:1](3CDE z2 [K:G] {c}d4 !f!e2|]\n')
    assert made.notes == ("lengths rewritten from L:1/4 to L:1/8",)
    assert "L:1/8\n" in made.text
    sixteenths = interleave("X:1\nM:2/4\nK:C\nC2 D4 E F |]\n")
    assert sixteenths.text.endswith("[V:1]C D2 E/ F/|]\n")
    kept = interleave("X:1\nL:1/4\nK:C\nC D | [L:1/8] C D |]\n")
    assert "[V:1]C D|\n" in kept.text
    assert "unit length changes" in kept.notes[0]


def test_many_chord_symbols_take_no_longer_than_a_few():
    chords = '"Am"A2B2 ' * 40
    started = time.perf_counter()
    made = interleave(f'X:1\nL:1/8\nM:4/4\nK:Am\n{chords}|"^50%"A8 % half|\n')
    assert made.text.endswith(f'[V:1]{chords.strip()}|\n[V:1]"^50%"A8|\n')
    assert not is_interleaved("[V:1]" + "A" * 500_000 + "|B")
    assert time.perf_counter() - started < 5


def test_text_around_a_tune_is_no_music():
    tune = "X:1\nT:x\nM:6/8\nL:1/4\nK:G\nG2A B2c|d3 G3|\n"
    plain = interleave(tune)
    around = interleave(f"Transcribed by A. Beagle, Dec. 1997\n\n{tune}\nSource: a book| by Bade and Gage.\n")
    assert around.text == plain.text
    assert around.notes == ("text before the tune left out", "text after the tune left out: 1 lines", *plain.notes)
    gap = interleave(tune.replace("|d3", "|\n\nd3"))  # against the standard, but music all the same
    assert gap == plain


def test_a_first_tune_without_a_number_is_the_first_tune():
    alone = interleave("M:4/4\nL:1/8\nK:C\nCDEF|GABc|\n")
    made = interleave("M:4/4\nL:1/8\nK:C\nCDEF|GABc|\n\nX:2\nM:3/4\nK:G\nGAB|\n")
    assert made.text == alone.text and made.notes == ("first of 2 tunes taken",)


def test_music_after_a_blank_line_may_have_letters_of_its_own():
    made = interleave("X:1\nU:t=!trill!\nM:4/4\nL:1/8\nK:C\nCDEF|\n\ntGABc|kC4|\n")
    assert made.text.endswith("[V:1]CDEF|\n[V:1]tGABc|\n[V:1]kC4|\n") and made.notes == ()


def test_a_comment_behind_a_quote_that_stays_open_is_cut():
    made = interleave('X:1\nM:4/4\nL:1/8\nK:C\nCDEF "Am G4 | % second verse\nCDEF|\n')
    assert made.text.endswith('[V:1]CDEF "Am G4|\n[V:1]CDEF|\n')


def test_lengths_are_rewritten_in_the_shape_of_xml2abc_too():
    made = interleave("X:1\nT:x\nL:1/16\nM:4/4\nK:G\nV:1 treble\nV:1\nG4A4 B4c4|d16|\n")
    assert made.text == "L:1/8\nM:4/4\nK:G\nV:1 treble\n[V:1]G2A2 B2c2|\n[V:1]d8|\n"
    assert made.notes == ("lengths rewritten from L:1/16 to L:1/8",)


def test_rests_of_several_bars_keep_the_voices_together():
    made = interleave('X:1\nM:4/4\nL:1/4\nK:C\nV:a\nC4|D4|E4|[M:3/4]F3|G3|\nV:b\nZ2|"Z9"e4|[M:3/4]X|g3|\n')
    assert made.text.splitlines()[-5:] == [
        "[V:1]C8|[V:2]z8|", "[V:1]D8|[V:2]z8|", '[V:1]E8|[V:2]"Z9"e8|', "[V:1][M:3/4]F6|[V:2][M:3/4]x6|",
        "[V:1]G6|[V:2]g6|",
    ]  # fmt: skip
    assert made.notes == ("lengths rewritten from L:1/4 to L:1/8",)


def test_bar_rests_in_the_shape_of_xml2abc_and_too_many_of_them():
    made = interleave("X:1\nM:4/4\n\nM:3/4\nL:1/8\nK:C\nV:1\nC6|D6|E6|\nV:2\nZ2|c6|\n")
    assert made.text.splitlines()[-3:] == ["[V:1]C6|[V:2]z6|", "[V:1]D6|[V:2]z6|", "[V:1]E6|[V:2]c6|"]
    with pytest.raises(FormatError, match="rests for more than"):
        interleave("X:1\nM:4/4\nK:C\nV:a\n" + "Z999|" * 11 + "\nC8|\n")


def test_voices_in_pieces_are_joined():
    pieces = (
        'X:1\nL:1/8\nM:4/4\n%%score (S B)\nK:C\nV:S clef=treble name="Soprano"\nV:B clef=bass\n'
        "[V:S] C8 | D8 |\n[V:B] C,8 | D,8 |\nw: la\n[V:S] E8 |]\n[V:B] E,8 |]\n"
    )
    made = interleave(pieces)
    assert made.text == (
        '%%score (1 2)\nL:1/8\nM:4/4\nK:C\nV:1 treble nm="Soprano"\nV:2 bass\n'
        "[V:1]C8|[V:2]C,8|\n[V:1]D8|[V:2]D,8|\n[V:1]E8|][V:2]E,8|]\n"
    )
    blocks = "X:1\nL:1/8\nM:4/4\nK:C\nV:1\nC8 |\nV:2\nC,8 |\nV:1\nD8 |]\nV:2\nD,8 |]\n"
    assert interleave(blocks).text.endswith("[V:1]C8|[V:2]C,8|\n[V:1]D8|][V:2]D,8|]\n")


def test_bar_lines_in_a_row_are_joined_and_the_last_bar_is_closed():
    made = interleave("X:1\nL:1/8\nK:C\n|: C8 :|\n|: D8 ||\n| E8 | [M:3/4] F6 :||: G6\n")
    assert made.text.endswith("[V:1]|:C8::\n[V:1]D8||\n[V:1]E8|\n[V:1][M:3/4] F6::\n[V:1]G6|\n")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no ABC"),
        ("some words\n", "no ABC"),
        ("X:1\nT:x\nK:C\n", "no music"),
        ("X:1\nK:C\nz8 | z8 |]\n", "no voice holds a note"),
        (two(" z8 |]", " z8 |]"), "no voice holds a note"),
    ],
)
def test_text_without_music_has_a_reason(text, reason):
    with pytest.raises(FormatError, match=reason):
        interleave(text)


def test_interleaved_text_is_told_by_its_content_and_left_alone():
    woven = interleave(two(" C8 |1 D8 :|2 E8 |]", " C,8 |1 D,8 :|2 E,8 |]")).text
    assert is_interleaved(woven)
    assert interleave(woven).text == woven
    assert is_interleaved(interleave(JIG).text)
    assert not is_interleaved(JIG)
    assert not is_interleaved(two(" C8 |]", " C,8 |]"))
    assert not is_interleaved("K:C\n[V:1] C8 | D8 |\n[V:2] C,8 | D,8 |\n")
    assert not is_interleaved("K:C\n[V:1] C8 |\n[V:2] C,8 |\n")


def test_nothing_is_printed(capfd):
    interleave(two(" C8 | D8 |]", " C,7 |"))
    abc_to_musicxml(JIG)
    assert capfd.readouterr() == ("", "")


def bars(abc):
    return [line for line in abc.splitlines() if line.startswith("[V:")]


@pytest.mark.parametrize("text", [JIG, two(" C8 | D8 |]", " C,8 | D,8 |]"), interleave(JIG).text])
def test_musicxml_and_back_gives_the_same_bars(text):
    made = abc_to_musicxml(text, name="Piece")
    back = interleave(musicxml_to_abc(made.text.encode()).text).text
    assert len(bars(back)) == len(bars(interleave(text).text)) > 0
    for ours, theirs in itertools.zip_longest(bars(back), bars(interleave(text).text)):
        assert ours.replace(" ", "") == theirs.replace(" ", "")


def test_musicxml_names_the_piece_and_no_day():
    made = abc_to_musicxml("K:C\nC8|]\n", name="My  piece\n")
    assert "<work-title>My piece</work-title>" in made.text
    assert "encoding-date" not in made.text


def test_patches_text_without_a_unit_length_is_read_as_eighths():
    made = abc_to_musicxml("M:2/4\nK:C\nV:1 treble\n[V:1]C2 D2|]\n")
    assert " C2 D2 |]" in musicxml_to_abc(made.text.encode()).text


def test_include_directives_are_not_followed(tmp_path):
    (tmp_path / "secret").write_text("T:secret\n")
    made = abc_to_musicxml(f"X:1\n%%abc-include {tmp_path}/secret\nK:C\nC8|]\n")
    assert "secret" not in made.text


@pytest.mark.parametrize("text", ["", "words", "X:1\nK:C\n"])
def test_musicxml_of_nothing_has_a_reason(text):
    with pytest.raises(FormatError):
        abc_to_musicxml(text)


HEAD = "X:1\nT:a\nM:4/4\nL:1/8\nK:C\n"


@pytest.mark.parametrize(
    ("text", "header", "bars_found"),
    [
        (HEAD + "CDEF GABc |\n%%begintext\nSlowly first.\n%%endtext\ncBAG |]\n", "M:4/4", ["CDEF GABc|", "cBAG|]"]),
        ("X:1\n%%begintext\nDanced as a reel.\n%%endtext\nM:3/4\nL:1/8\nK:D\nD2F2A2 |]\n", "M:3/4", ["D2F2A2|]"]),
        ("X:1\n%%begintext\nnever closed\nM:3/4\nL:1/8\nK:D\nD2F2A2 |]\n", "M:3/4", ["D2F2A2|]"]),
        ("X:1\nH:Made by a man\nwho lived at the head of the glen.\nM:3/4\nL:1/8\nK:D\nD6 |]\n", "M:3/4", ["D6|]"]),
        (HEAD + "CDEF |\nw:Sa-ys my\n+:Will ye come to\ncBAG |]\n", "M:4/4", ["CDEF|", "cBAG|]"]),
        ("X:1\nN:A tune\n+:sung at fairs\nM:3/4\nL:1/8\nK:D\nD6 |]\n", "M:3/4", ["D6|]"]),
        ("X:1\nM:4/4\nL:1\nK:C\nC | E/2F/2 | [C2E]/ |]\n", "L:1/8", ["C8|", "E4F4|", "[C16E8]/|]"]),
        ("X:1\nM:(2+3)/8\nK:C\nC2D2 E2F2G2 |]\n", "M:(2+3)/8", ["CD EFG|]"]),
        ("X:1\nM:2+2+3/16\nK:C\nC4D4E6 |]\n", "M:2+2+3/16", ["C2D2E3|]"]),
        (HEAD + "|: CDEF | cBAG :|$\n|: c4 | C4 :|$\n", "M:4/4", ["|:CDEF|", "cBAG::", "c4|", "C4:|"]),
        (HEAD + "CDEF [|] G``ABc | c8 |]\n", "M:4/4", ["CDEF|", "GABc|", "c8|]"]),
        (HEAD.replace("K:C", "K:D\nM:6/8\nQ:1/4=100") + "A3 B3 |]\n", "M:6/8", ["A3 B3|]"]),
        (HEAD + "V:1\nCDEF |\nN:danced badly\nR:reel\nc8 |]\n", "M:4/4", ["CDEF|", "c8|]"]),
        (HEAD + "V:1\nCDEF |\n% GABc |\nc8 | d8\n", "M:4/4", ["CDEF|", "c8|", "d8|"]),
        ("X:1\nM:2/4\nK:C\nV:1\nC2D2 E2F2 |]\n", "M:2/4", ["CD EF|]"]),
    ],
)  # fmt: skip
def test_what_people_write_around_the_music(text, header, bars_found):
    made = interleave(text).text
    assert f"{header}\n" in made
    assert [bar.removeprefix("[V:1]") for bar in bars(made)] == bars_found


def test_fields_between_the_key_and_the_first_voice_are_for_all_voices():
    made = interleave("X:1\nL:1/8\nK:D\nM:6/8\nV:T\nA3 B3 | d6 |]\nV:B\nD6 | D6 |]\n").text
    assert made.startswith("L:1/8\nM:6/8\nK:D\n") and made.endswith("[V:1]d6|][V:2]D6|]\n")
