"""Our own MEI reader: what editors and exporters write is read, and what is left out is said."""

import pytest

from clamp3.errors import FormatError
from clamp3.formats import Kind
from clamp3.formats.notation import read_notation
from clamp3.formats.symbolic import score_to_abc

STAFF = 'n="1" lines="5" clef.shape="G" clef.line="2"'
PLAIN = f'<staffDef {STAFF} key.sig="0" meter.count="4" meter.unit="4"/>'


def note(name, dur=4, inside="", **attributes):
    more = "".join(f' {key.replace("_", ".")}="{value}"' for key, value in attributes.items())
    return f'<note pname="{name}" oct="4" dur="{dur}"{more}>{inside}</note>'


def notes(names, dur=4):
    return "".join(note(name, dur) for name in names)


def measure(inside, more="", marks=""):
    return f'<measure {more}><staff n="1"><layer n="1">{inside}</layer></staff>{marks}</measure>'


def ending(number, names, more):
    return f'<ending n="{number}">{measure(notes(names), more)}</ending>'


def mdiv(inside, definition=PLAIN):
    score = f"<scoreDef><staffGrp>{definition}</staffGrp></scoreDef><section>{inside}</section>"
    return f"<mdiv><score>{score}</score></mdiv>"


def document(body, head=""):
    start = '<mei xmlns="http://www.music-encoding.org/ns/mei" meiversion="5.0">'
    return f"{start}<meiHead>{head}</meiHead><music><body>{body}</body></music></mei>".encode()


def convert(body, head=""):
    return score_to_abc(document(body, head), Kind.SCORE, name="a.mei")


def bars(inside, definition=PLAIN):
    text = convert(mdiv(inside, definition)).text
    lines = [line.split(" %")[0].strip() for line in text[text.rindex("V:1\n") + 4 :].split("\n")]
    return " ".join(line for line in lines if line and line[:2] != "w:")


@pytest.mark.parametrize(
    "definition",
    [
        f'<staffDef {STAFF} key.sig="2s" meter.count="3" meter.unit="4"/>',
        f'<staffDef {STAFF} keysig="2s" meter.count="3" meter.unit="4"/>',
        f'<staffDef {STAFF}><keySig sig="2s"/><meterSig count="3" unit="4"/></staffDef>',
        '<staffDef n="1"><clef shape="G" line="2"/><keySig sig="2s"/><meterSig count="2+1" unit="4"/></staffDef>',
    ],
)
@pytest.mark.parametrize("accid", ['<accid accid.ges="s"/>', ""])
def test_keys_and_metres_of_all_versions(definition, accid):
    made = convert(mdiv(measure(note("d") + note("f", inside=accid) + note("a")), definition))
    assert "M:3/4\nK:D\n" in made.text
    assert "V:1\n D2 F2 A2 |" in made.text
    assert made.notes == ()


@pytest.mark.parametrize(
    ("inside", "expected"),
    [
        (measure("<mRest/>") + measure(notes("cdef")), "z8 | C2 D2 E2 F2 |]"),
        (
            measure(notes("cdef")) + measure("<mRpt/>") + measure(notes("gabc")),
            "C2 D2 E2 F2 | C2 D2 E2 F2 | G2 A2 B2 C2 |]",
        ),
        (
            measure(notes("cdef")) + measure('<multiRest num="3"/>') + measure(notes("gabc")),
            "C2 D2 E2 F2 | z8 | z8 | z8 | G2 A2 B2 C2 |]",
        ),
        (
            measure(notes("c", 1)) + measure(notes("d", 1)) + measure("<mRpt2/>") + measure("<mSpace/>"),
            "C8 | D8 | C8 | D8 |]",
        ),
        (measure(note("c") + "<beatRpt/>" * 3), "C2 C2 C2 C2 |]"),
        (measure(notes("cd") + "<halfmRpt/>"), "C2 D2 C2 D2 |]"),
        (measure(note("c") + f'<bTrem unitdur="16">{note("d")}</bTrem>' + notes("ef")), "C2 !//!D2 E2 F2 |]"),
        (measure(note("c", 2) + f'<fTrem unitdur="16">{notes("dg")}</fTrem>'), "C4 !//-!D2 G2 |]"),
        (measure(note("c", 2) + f'<fTrem unitdur="16">{notes("dg", 2)}</fTrem>'), "C4 !//-!D2 G2 |]"),
        (
            measure(note("c") + f"<app><lem>{note('d')}</lem><rdg>{note('a')}</rdg></app>" + notes("ef")),
            "C2 D2 E2 F2 |]",
        ),
        (
            measure(note("c") + f"<app><rdg>{note('d')}</rdg><rdg>{note('a')}</rdg></app>" + notes("ef")),
            "C2 D2 E2 F2 |]",
        ),
        (
            measure(note("c") + f"<choice><sic>{note('a')}</sic><corr>{note('d')}</corr></choice>" + notes("ef")),
            "C2 D2 E2 F2 |]",
        ),
        (
            measure(note("c") + f"<supplied>{note('d')}</supplied><del>{note('a')}</del>" + notes("ef")),
            "C2 D2 E2 F2 |]",
        ),
        (measure(notes("cdef"), 'n="1a"'), "C2 D2 E2 F2 |]"),
        (
            measure(notes("cdef"), 'left="rptstart"') + ending(1, "gggg", 'right="rptend"') + ending(2, "cccc", ""),
            "|: C2 D2 E2 F2 |1 G2 G2 G2 G2 :|2 C2 C2 C2 C2 |]",
        ),
        (
            measure(f'<tuplet num="3" numbase="2">{notes("cde", 8)}</tuplet>' + notes("fg") + "<rest dur='4'/>"),
            "(3CDE F2 G2 z2 |]",
        ),
        (
            measure(
                f'<beam>{notes("cd", 8)}</beam><chord dur="4" dots="1">{notes("eg")}</chord><space dur="8"/>'
                + note("f")
            ),
            "CD [EG]3 x F2 |]",
        ),
        (measure(note("c", grace="unacc") + note("d", 1, artic="stacc", fermata="above")), "{/C} .!fermata!D8 |]"),
    ],
)
def test_music_that_a_plain_reading_loses(inside, expected):
    assert bars(inside) == expected


def test_all_movements_are_read():
    text = convert(mdiv(measure(notes("cdef"))) + mdiv(measure(notes("gabc")))).text
    assert " C2 D2 E2 F2 |] G2 A2 B2 C2 |]" in text


def test_parts_are_read_side_by_side():
    part = "<part><scoreDef><staffGrp>{}</staffGrp></scoreDef><section>{}</section></part>"
    both = part.format(PLAIN, measure(notes("cdef"))) + part.format(PLAIN, measure(notes("gabc")))
    text = convert(f"<mdiv><parts>{both}</parts></mdiv>").text
    assert "V:1\n C2 D2 E2 F2 |]" in text and "V:2\n G2 A2 B2 C2 |]" in text


@pytest.mark.parametrize("span", ['startid="#n1" endid="#n3"', 'staff="1" tstamp="1" tstamp2="0m+1.667"'])
def test_tuplets_beside_the_notes(span):
    inside = "".join(f'<note xml:id="n{i}" pname="{name}" oct="4" dur="8"/>' for i, name in enumerate("cde", 1))
    made = measure(inside + notes("fga"), marks=f'<tupletSpan num="3" numbase="2" {span}/>')
    assert bars(made) == "(3CDE F2 G2 A2 |]"


def test_copies_are_written_out():
    chord = f'<chord xml:id="x" dur="2">{note("c")}{note("e")}</chord><chord copyof="#x"/>'
    made = convert(mdiv(measure(chord)))
    assert " [CE]4 [CE]4 |]" in made.text
    assert made.notes == ()


def test_accidentals_by_signature_and_bar_where_none_is_stated_as_sounding():
    definition = f'<staffDef {STAFF} key.sig="1f" meter.count="4" meter.unit="4"/>'
    inside = measure(note("b") + note("b", accid="n") + note("b") + note("f", accid="s")) + measure(notes("bf", 2))
    assert bars(inside, definition) == "B2 =B2 B2 ^F2 | B4 F4 |]"


def test_marks_by_identifier_and_by_time():
    inside = '<note xml:id="a" pname="c" oct="4" dur="2"/><note xml:id="b" pname="c" oct="4" dur="2"/>'
    marks = '<tie startid="#a" endid="#b"/><dynam tstamp="1" staff="1">p</dynam><fermata startid="#b"/>'
    marks += (
        '<slur tstamp="1" tstamp2="0m+3" staff="1"/><dir tstamp="3" staff="1">dolce</dir><fing startid="#a">1</fing>'
    )
    made = convert(mdiv(measure(inside, marks=marks)))
    assert '!p! (C4-"^dolce" !fermata!C4) |]' in made.text
    assert made.notes == ("<fing> left out",)


def test_words_and_head():
    verse = '<verse n="1"><syl wordpos="{}">{}</syl></verse>'
    inside = note("c", 2, verse.format("s", "la")) + note("d", 2, verse.format("i", "Ky"))
    title = "<titleStmt><title>Song</title><respStmt><persName role='composer'>A. B.</persName></respStmt></titleStmt>"
    text = convert(mdiv(measure(inside)), f"<fileDesc>{title}</fileDesc>").text
    assert "T:Song\nC:A. B.\n" in text
    assert "w: la Ky-|" in text


def test_two_staves_with_a_brace_are_one_instrument():
    second = 'n="1"', 'n="2"'
    staves = f'<staffGrp symbol="brace" label="Piano">{PLAIN}{PLAIN.replace(*second, 1)}</staffGrp>'
    score = mdiv('<measure><staff n="1"><layer>' + notes("cdef") + "</layer></staff></measure>", staves)
    text = convert(score).text
    assert text.count("V:1 treble") == 1 and 'nm="Piano"' in text


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("", "no notes"),
        (mdiv(measure("<mRest/>")), "no notes"),
        (mdiv("".join(measure(f'<chord xml:id="c{i}" copyof="#c{i - 1}"/>') for i in range(30))), "no notes"),
    ],
)
def test_unusable_documents_have_a_reason(body, reason):
    with pytest.raises(FormatError, match=reason):
        read_notation(document(body), suffix=".mei")
