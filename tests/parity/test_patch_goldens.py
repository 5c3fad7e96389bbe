"""Patch arrays equal those of the released code, byte for byte (golden/patches/index.json says how they were made)."""

import hashlib
import json
from pathlib import Path

import pytest

from clamp3.modalities.patches import decode, encode, lost_characters

GOLDEN = Path(__file__).parent / "golden" / "patches"
FILES = json.loads((GOLDEN / "index.json").read_text(encoding="utf-8"))["files"]


def test_the_goldens_are_there():
    assert len(FILES) == len(list(GOLDEN.glob("*.abc"))) == 7


@pytest.mark.parametrize("golden", FILES, ids=lambda golden: golden["text"])
def test_patches_equal_the_released_ones(golden):
    text = (GOLDEN / golden["text"]).read_text(encoding="utf-8")
    patches = encode(text)
    assert len(patches) == golden["patches"]
    assert hashlib.sha256(patches.tobytes()).hexdigest() == golden["patches_sha256"]


@pytest.mark.parametrize("golden", FILES, ids=lambda golden: golden["text"])
def test_text_comes_back_exactly_where_no_character_is_lost(golden):
    text = (GOLDEN / golden["text"]).read_text(encoding="utf-8")
    restored = decode(encode(text)) == text.replace("L:1/8\n", "")
    assert restored is (lost_characters(text) == 0)


def test_losses_are_among_the_goldens():
    losses = {
        golden["text"]: lost_characters((GOLDEN / golden["text"]).read_text(encoding="utf-8")) for golden in FILES
    }
    assert losses["monteverdi_madrigal.3.15.abc"] == 135
    assert losses["bach_bwv376.abc"] == 0
