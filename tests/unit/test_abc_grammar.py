"""abc2xml's grammar with and without the look at the next letter: the same trees, warnings and messages."""

import random

import pytest

from clamp3.formats.abc import abc2xml
from clamp3.formats.abc.first_letters import look_ahead

TUNE = """X:1
T:a
L:1/8
M:6/8
K:D
V:1
|:(3def "Am7"[CE-]2-[CEg] {/a}c>d|1 !trill!a,,2 .b' (cd)z:|2 ~A^^B__c&x2 =f|[K:G] y Z|[1 "^rit."u^d/2 [I:staff +1]e|]
w: one two-three _ * |
V:2
(5:4:5cdefg-g A4||$[M:3/4] [P:B] <( #d ) !unknown! c3 [|] ::
"""
LETTERS = "^_=,'\"[](){}<>|:&!+.-~/012389zZxyABCabgKV: \n\\$#"


def read(converter, text):
    from xml.etree.ElementTree import tostring

    try:
        return tostring(converter.convert(text)), list(converter.messages)
    except Exception as error:
        return type(error), str(error), list(converter.messages)


@pytest.fixture(scope="module")
def converters():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(abc2xml, "look_ahead", lambda grammar: None)
        plain = abc2xml.Abc2Xml()
    return plain, abc2xml.Abc2Xml()


@pytest.fixture(params=["each tried", "results kept"])
def memory(request):
    """pyparsing's memory of results, which matplotlib switches on for the whole process."""
    import pyparsing as pp

    pp.ParserElement.disable_memoization()
    if request.param == "results kept":
        pp.ParserElement.enable_packrat()
    yield
    pp.ParserElement.disable_memoization()


def test_results_and_messages_are_the_same(converters, memory):
    plain, quick = converters
    rng = random.Random(3)
    outcomes = set()
    for n in range(120):
        text = list(TUNE)
        for _ in range(rng.randrange(6) if n else 0):
            place = rng.randrange(20, len(text))
            text[place : place + rng.randrange(3)] = rng.choices(LETTERS, k=rng.randrange(4))
        expected = read(plain, "".join(text))
        assert read(quick, "".join(text)) == expected
        outcomes.add(str(expected))
    assert len(outcomes) > 80  # most of the mutations are seen


def test_what_cannot_begin_is_not_tried():
    import pyparsing as pp

    tried = []
    digits = pp.Word("123")
    digits.parseImpl = lambda text, place, *rest, _own=digits.parseImpl: (
        tried.append(place),
        _own(text, place, *rest),
    )[1]
    grammar = pp.OneOrMore(pp.Opt(digits) + (digits | pp.Literal("a")))
    look_ahead(grammar)
    tried.clear()
    assert grammar.parse_string("aa").as_list() == ["a", "a"]
    assert set(tried) == {2}  # at the end, where there is no letter


def test_elements_are_added_without_a_copy_of_those_before():
    score = abc2xml.engine().convert("X:1\nT:a\nL:1/8\nM:4/4\nK:C\nC D|E|\n")
    assert score.find("part/measure").text == "\n      "
    assert [note.tail for note in score.iter("note")] == ["\n      ", "\n    ", "\n    "]
