"""Untrusted bytes: nothing takes time, memory or output out of proportion, and every refusal is one sentence."""

import ast
import importlib
import io
import itertools
import pkgutil
import random
import re
import time
import zipfile
from pathlib import Path

import pytest

import clamp3
import clamp3.formats
import clamp3.modalities
from clamp3 import Clamp3
from clamp3.errors import MAX_SENTENCE, Clamp3Error, FormatError, describe, sentence_of
from clamp3.formats import Kind
from clamp3.formats.abc.dialect import is_interleaved
from clamp3.formats.abc.interleave import MOST_FILLED, interleave
from clamp3.formats.symbolic import to_symbolic
from clamp3.jobs.limits import Allowance, allowance, check_output, within
from clamp3.jobs.parallel import Workers, process_map
from clamp3.modalities import SYMBOLIC

NOTE = (
    "<note><pitch><step>C</step><octave>{octave}</octave></pitch><duration>1</duration><voice>1</voice>"
    "<type>quarter</type>{more}</note>"
)
SCORE = (
    "<?xml version='1.0'?><score-partwise><part-list><score-part id='P1'><part-name>a</part-name></score-part>"
    "</part-list><part id='P1'><measure number='1'><attributes>{clef}<divisions>1</divisions></attributes>"
    "{note}</measure></part></score-partwise>"
)
ROMAN = "Composer: x\nTitle: y\nTime Signature: 4/4\n\nm1 C: I\nm2 V\nm99999999 I\n"


def score(octave=4, more="", clef=""):
    return SCORE.format(note=NOTE.format(octave=octave, more=more), clef=clef).encode()


def bomb():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("s.xml", score() + b" " * (9 << 20))
    return out.getvalue()


def unequal(n_voices, n_bars):
    voices = "".join(f"V:{number}\nc|\n" for number in range(2, n_voices + 1))
    return f"X:1\nN:[V:\nL:1/8\nM:4/4\nK:C\nV:1\n{'c|' * n_bars}\n{voices}"


HOSTILE = {
    "octave.xml": score(octave=900_000_000),
    "long_octave.xml": score(octave="9" * 5000),
    "lyric.xml": score(more="<lyric number='1000000000'><text>a</text></lyric>"),
    "clef.xml": score(
        clef="<clef><sign>G</sign><line>2</line><clef-octave-change>900000000</clef-octave-change></clef>"
    ),
    "bomb.mxl": bomb(),
    "switch.abc": ("X:1\nM:4/4\nL:1/8\nK:C\n" + "[V:" * 6000).encode(),
    "cells.abc": unequal(2000, 20_000).encode(),
    "digits.abc": b"X:1\nM:4/4\nL:1/" + b"9" * 5000 + b"\nK:C\nCDEF|\n",
    "length.abc": b"X:1\nM:4/4\nL:1/4\nK:C\nC" + b"9" * 5000 + b"|\n",
    "endless.abc": b"X:1\nL:1/8\nM:4/4\nK:C\nV:1\nc|c" + b"9" * 400 + b"|c|\nV:2\nc|\n",
    "tuplet.abc": b"X:1\nL:1/8\nM:4/4\nK:C\nV:1\n(" + b"9" * 5000 + b"c|\nV:2\nc|\n",
    "voice.abc": b"K:C\n[V:" + b"9" * 5000 + b"]c|\n",
    "rests.abc": b"X:1\nL:1/8\nM:4/4\nK:C\n" + b"".join(b"V:%d\nZ999|c|\n" % n for n in range(900)),
}


def patterns():
    """Yield (place, pattern, method) of the library: those of a name by its uses, others by the call they stand in."""
    for package in (clamp3.formats, clamp3.modalities):  # some are put together of others
        for info in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            module = importlib.import_module(info.name)
            for name, value in vars(module).items():
                values = value.values() if isinstance(value, dict) else value if isinstance(value, tuple) else [value]
                for one in (one for one in values if isinstance(one, re.Pattern)):
                    yield from ((f"{info.name}.{name}", one, method) for method in methods(module.__file__, name))
    root = Path(clamp3.__path__[0])
    for path in sorted(root.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = {
            id(node.value): ast.unparse(node.targets[0]) for node in ast.walk(tree) if isinstance(node, ast.Assign)
        }
        for node in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            if ast.unparse(node.func) in CALLS and isinstance(node.args[0], ast.Constant):
                written = [*node.args[1:], *(word.value for word in node.keywords if word.arg == "flags")]
                flags = [eval(ast.unparse(one), {"re": re}) for one in written if ast.unparse(one).startswith("re.")]
                pattern, method = re.compile(node.args[0].value, *flags[:1]), ast.unparse(node.func)[3:]
                for one in methods(path, names.get(id(node), "")) if method == "compile" else [method]:
                    yield f"{path.relative_to(root)}:{node.lineno}", pattern, one


def methods(path, name):
    """Return how a module uses a pattern; as `sub` if it is not seen."""
    used = set(re.findall(rf"\b{re.escape(name)}\.(\w+)", Path(path).read_text(encoding="utf-8"))) if name else set()
    return sorted(used & {call[3:] for call in CALLS}) or ["sub"]


def seconds(pattern, method, text):
    """Return the least processor time of three."""
    taken = []
    for _ in range(3):
        started = time.process_time()
        found = pattern.sub("", text) if method == "sub" else getattr(pattern, method)(text)
        if method == "finditer":
            list(found)
        taken.append(time.process_time() - started)
        if taken[-1] < 1e-3:
            break
    return min(taken)


CALLS = [
    f"re.{name}" for name in ["compile", "match", "fullmatch", "search", "sub", "subn", "split", "findall", "finditer"]
]
PIECES = [
    "[V:", "[V: ", "[K:", "[a", "[", "]", "{", "{a", "!", "!a", "+a", '"', '"a', "(1", "(1:", "(1:1:", "1+", "(1+", "%",
    "\\", "a'", "_", "a", "A ", " ", "\t", "1", "9/", "/", "1:", "1,", "-", ":", "|", "|:", "<a ", "<a", "X:", "T: ",
    "$", "`", "\n", "verse", "unnamed ", "Title:", "track ", "%%begin", "!!!", "(3:", "[V:1", "[V:1]",
]  # fmt: skip


def test_no_pattern_takes_more_than_linear_time():
    found, slow = list(patterns()), []
    assert len(found) > 100
    for name, pattern, method in found:
        if isinstance(pattern.pattern, bytes):
            continue
        for piece, end in itertools.product(PIECES, ("", "\x00")):
            text = piece * (5_000 // len(piece))
            short = seconds(pattern, method, text + end)
            # A millisecond or less if linear; then a text four times as long takes four times as long, not sixteen.
            if short > 2e-3 and seconds(pattern, method, text * 4 + end) > 8 * short:
                slow.append((name, method, pattern.pattern, piece))
                break
    assert not slow


@pytest.mark.parametrize(
    "piece",
    ["[V:", "[a", "{", '"a|1" c ', "(9", "(3", "c\n", "c|", "[V:1]c|\n", "V:1\nc|\n", '"', "!", "c9", "c/", "::",
     "|:", "[K:C", "Z9|", "%%begintext\n", "X:1\nK:C\nc|\n", "c$", "V:a", "\xe9", "[|]", "(c", "<", ">"],
)  # fmt: skip
def test_abc_takes_linear_time_in_this_process(piece):
    head = "X:1\nL:1/16\nM:4/4\nK:C\nV:1\nV:2\nc|"
    data = (head + piece * ((1 << 18) // len(piece) - 40)).encode("utf-8")[: 1 << 18]
    assert SYMBOLIC.conversion((data, Kind.ABC, "x.abc")) is None
    started = time.process_time()
    try:
        SYMBOLIC.prepare((data, Kind.ABC, "x.abc"), marked=True)
    except FormatError as error:
        assert len(str(error)) < 200
    assert time.process_time() - started < 8  # about one on a quiet machine; quadratic would be minutes


def test_midi_and_mtf_take_linear_time_in_this_process():
    events = b"\x00\x90\x40\x40" + b"\x01\x40\x40" * 80_000
    track = b"MTrk" + len(events).to_bytes(4, "big") + events
    midi = b"MThd\x00\x00\x00\x06\x00\x00\x00\x01\x01\xe0" + track
    for data, kind in ((midi, Kind.MIDI), (b"ticks_per_beat 480\n" + b"note_on 1 2 3 4 5\n" * 14_000, Kind.MTF)):
        assert SYMBOLIC.conversion((data, kind, "x")) is None
        started = time.process_time()
        SYMBOLIC.prepare((data, kind, "x"), marked=True)
        assert time.process_time() - started < 8


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_end_at_once_in_the_library(name):
    kind = Kind.ABC if name.endswith(".abc") else Kind.MUSICXML
    started = time.process_time()
    try:
        made = to_symbolic(HOSTILE[name], kind, name=name).text
    except FormatError as error:
        assert len(str(error)) <= MAX_SENTENCE and str(error).isprintable()
    else:
        assert len(made) < 100 * len(HOSTILE[name])
    assert time.process_time() - started < 5


def test_a_folder_with_hostile_files_costs_its_neighbours_nothing():
    good = [(f"X:1\nL:1/8\nM:4/4\nK:C\nCDEF GAB{note}|\n".encode(), Kind.ABC) for note in "cdefga"] * 2
    bad = [(data, Kind.ABC if name.endswith("abc") else Kind.MUSICXML) for name, data in HOSTILE.items()]
    encoder = Clamp3.from_pretrained("mini")
    started = time.monotonic()
    results = list(encoder.stream([*good, *bad, (score(), Kind.MUSICXML)], n_workers=2))
    assert time.monotonic() - started < 60
    assert sum(result.value is not None for result in results) >= len(good) + 1
    for result in results:
        assert (result.value is None) != (result.error is None)
        assert result.error is None or len(result.error) <= MAX_SENTENCE


def spin(_):
    return within(Allowance(0.3, 400), lambda: [None for _ in itertools.count() if False])


def spin_where_exceptions_are_swallowed(_):
    def swallow():
        while True:
            try:
                sum(range(1000))
            except Exception:
                pass

    return within(Allowance(0.3, 400), swallow)


def spin_in_c(_):
    return within(Allowance(0.3, 400), lambda: re.match("(a*)*b", "a" * 40))


def fill(_):
    return within(Allowance(20, 100), lambda: [bytearray(1 << 20) for _ in range(1000)])


def fine(number):
    return within(Allowance(20, 100), lambda: number)


@pytest.mark.parametrize(
    ("call", "reason"),
    [(spin, "processor time"), (spin_where_exceptions_are_swallowed, "processor time"), (spin_in_c, "processor time"),
     (fill, "MB of memory")],
)  # fmt: skip
def test_one_conversion_is_stopped(call, reason):
    started = time.monotonic()
    (outcome,) = process_map(call, [1])
    assert outcome.value is None and reason in outcome.error and time.monotonic() - started < 30


def test_what_comes_next_is_not_bound_by_the_last_allowance():
    assert sorted(outcome.value for outcome in process_map(fine, range(20), n_workers=1)) == list(range(20))


def test_workers_stay_between_calls_and_survive_a_bad_one():
    workers = Workers(spin_if_negative)
    for number in (1, 2, -1, 3):
        (outcome,) = workers.map([number])
        assert outcome.value == (number if number > 0 else None)
    assert sorted(outcome.value for outcome in workers.map(range(1, 9), n_workers=2)) == list(range(1, 9))


def spin_if_negative(number):
    return spin(number) if number < 0 else number


def test_allowances_follow_the_unpacked_size():
    packed = bomb()
    assert allowance(packed, Kind.MUSICXML) == allowance(score() + b" " * (9 << 20), Kind.MUSICXML)
    assert allowance(b"x" * 1000, Kind.SCORE).seconds < 4 and allowance(b"x" * 10**6, Kind.SCORE).seconds > 100


def test_an_output_over_a_hundred_times_its_input_is_refused():
    check_output(16 << 20, 1)
    check_output(1 << 30, 1 << 24)
    with pytest.raises(FormatError, match="100 times"):
        check_output((16 << 20) + 1, 1000)


def test_roman_numerals_that_stall_music21_cost_seconds():
    started = time.monotonic()
    (result,) = Clamp3.from_pretrained("mini").stream([(ROMAN.encode(), Kind.SCORE)])
    assert result.value is None and len(result.error) <= MAX_SENTENCE
    assert time.monotonic() - started < 60


def test_messages_are_one_short_line_without_bytes():
    foreign = ValueError("bad header b'\\xeb\\xb2\\x1dt' \x1b[31m in\n  line 3" + " and so on" * 100)
    assert "\\xeb" not in describe(foreign) and describe(foreign).isprintable()
    assert len(describe(foreign)) <= MAX_SENTENCE and len(describe(Clamp3Error("x" * 5000))) == MAX_SENTENCE
    assert sentence_of("it failed: Traceback (most recent call last):\n File …") == "it failed:"


TUNE = (
    "X:1\n%%score (1 2)\nL:1/16\nM:4/4\nK:G\nV:1 treble\nV:2 bass\nV:1\n|: G4A4 \"Am\"B4c4 |1 d16 :|2 [CE]8 z8 |]\n"
    "V:2\n|: G,8 z8 |1 !f!D,16 :|2 (3C,4D,4E,4 [K:C] x8 |]\n"
)  # fmt: skip


def test_interleaving_twice_is_interleaving_once_or_refused():
    rng, kept = random.Random(5), 0
    signs = [
        "[V:1]",
        "[V:2]",
        "V:1\n",
        "|",
        ":|",
        "||",
        '"',
        "[",
        "]",
        "\n",
        "%",
        "!",
        "K:D\n",
        "[M:3/4]",
        "\\\n",
        "C",
        " ",
    ]
    for _ in range(1500):
        text = rng.choice([TUNE, interleave(TUNE).text])
        for _ in range(rng.randint(1, 4)):
            place = rng.randrange(len(text))
            text = text[:place] + rng.choice([*signs, ""]) + text[place + rng.choice([0, 0, 1, 9]) :]
        try:
            woven = interleave(text).text
        except FormatError:
            continue
        assert is_interleaved(woven) and interleave(woven).text == woven, text
        kept += 1
    assert kept > 500


def test_voices_in_the_order_of_a_part_list_are_recognised():
    text = "X:1\nL:1/8\nM:4/4\nK:C\nV:1 treble\nV:3 bass\nV:2 treble\nV:1\nc4|d4|\nV:3\nC4|D4|\nV:2\ne4|f4|\n"
    woven = interleave(text).text
    assert "[V:1]c4|[V:3]C4|[V:2]e4|\n" in woven and interleave(woven).text == woven
    with pytest.raises(FormatError, match=str(MOST_FILLED)):
        interleave(unequal(2000, 20_000))


def test_ticks_of_a_performance_that_are_none():
    for head in ("ticks_per_beat 1/24", "ticks_per_beat " + "9" * 5000, "ticks_per_beat 1024ticks_per_beat"):
        text = f"{head}\nset_tempo {'9' * 400} 0\nnote_on {'9' * 400} 0 0 60 64\n"
        assert SYMBOLIC.prepare((text.encode(), Kind.MTF, "x"), marked=True).marks is not None


def test_names_in_an_archive_that_zipfile_cannot_read():
    data = bytearray(bomb()[:200])
    for place in range(4, 60):
        data[place] ^= 0xFF
        with pytest.raises(FormatError):
            to_symbolic(bytes(data), Kind.MUSICXML, name=str(Path("x.mxl")))
