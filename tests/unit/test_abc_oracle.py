"""Cutting and interleaving agree with abctoolkit, the package of the models' authors, on random music."""

import random

import pytest
from abctoolkit import rotate, utils

from clamp3.errors import FormatError
from clamp3.formats.abc.interleave import interleave

SIGNS = ["|"] * 12 + ["||", ":|", "|:", "::", ":||:", "|]", "[|", "||:", "|1", ":|2", "| |", "|1,3"]
BARS = ["C2 D2", "z4", "x4", "[K:G] c4", "[M:3/4]", '"Am"z4', '"^dolce"z4', "!f!z4", "!f!E4-", "[CEG]4", "(3CDE F2"]
OPENINGS = ["", "", "|:", "[|", "[K:D]|:", "[M:2/4]|", "|"]


def voice(rng, n_bars):
    music = rng.choice(OPENINGS)
    for index in range(n_bars):
        music += f" {rng.choice(BARS)} " + ("|]" if index == n_bars - 1 else rng.choice(SIGNS))
        if rng.random() < 0.2:
            music += "\n"
    return music + "\n"


def released(text):
    """Return what the package makes of a tune, or None where it gives up."""
    lines = text.splitlines(keepends=True)
    try:
        stripped, _ = utils.strip_empty_bars(lines)
        return "".join(rotate.rotate_abc(stripped)) if stripped is not None else None
    except (IndexError, KeyError, Exception):
        return None


def test_random_tunes_come_out_as_the_package_has_them(capfd):
    compared = 0
    for seed in range(600):
        rng = random.Random(seed)
        n_bars = rng.randint(1, 8)
        body = "".join(f"V:{number}\n{voice(rng, n_bars)}" for number in range(1, rng.randint(2, 4)))
        text = f"L:1/8\nK:C\nV:1 treble\nV:2 bass\n{body}"
        wanted = released(text)
        if wanted is None:
            continue
        try:
            found = interleave(text).text
        except FormatError as error:
            found = str(error)
        assert found == wanted, f"seed {seed}:\n{text}"
        compared += 1
    assert compared > 200


def test_signs_in_a_row_lose_no_music():
    text = "L:1/8\nK:C\nV:1\n C8 :|\n |: D8 | || E8 |]\n"
    assert interleave(text).text == "L:1/8\nK:C\n[V:1]C8::\n[V:1]D8||\n[V:1]E8|]\n"
    assert released(text) == "L:1/8\nK:C\n[V:1]C8:|\n[V:1]|:  D8  \n[V:1]|||\n[V:1]E8|]\n"


@pytest.mark.parametrize("bar", ["[M:3/4]", "[K:G]", "z8"])
def test_a_voice_that_opens_with_a_field_only(bar):
    text = f"L:1/8\nK:C\nV:1\n {bar} | C8 | D8 |]\n"
    assert interleave(text).text == released(text)
