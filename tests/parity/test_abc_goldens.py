"""Standard ABC, interleaved ABC and patches of music21's corpus equal the released pipeline's, byte for byte.

golden/abc/music21_corpus.json holds SHA-256 sums measured on the released code (commit 9016d2b) over music21 10.5.1.
"""

import hashlib
import importlib.util
import json
from pathlib import Path

import pytest

from clamp3.formats.abc.dialect import is_interleaved
from clamp3.formats.abc.interleave import interleave
from clamp3.formats.musicxml import musicxml_to_abc
from clamp3.modalities.patches import encode

GOLDEN = json.loads((Path(__file__).parent / "golden" / "abc" / "music21_corpus.json").read_text(encoding="utf-8"))
FILES = GOLDEN["files"]
KNOWN = [golden for golden in FILES if golden["standard_sha256"]]
UNKNOWN = [golden for golden in FILES if not golden["interleaved_sha256"]]
CORPUS = Path(importlib.util.find_spec("music21").origin).parent / "corpus"


def sha256(data):
    return hashlib.sha256(data.encode() if isinstance(data, str) else data).hexdigest()


def check(golden):
    standard = musicxml_to_abc((CORPUS / golden["source"]).read_bytes(), name=golden["source"]).text
    interleaved = interleave(standard).text
    patches = encode(interleaved)
    found = [sha256(standard), sha256(interleaved), len(patches), sha256(patches.tobytes())]
    assert found == [golden[key] for key in ("standard_sha256", "interleaved_sha256", "patches", "patches_sha256")]


def test_the_goldens_are_there():
    assert (len(FILES), len(KNOWN), len(UNKNOWN)) == (328, 319, 9)
    assert all(golden["interleaved_sha256"] and golden["patches_sha256"] for golden in KNOWN)


@pytest.mark.parametrize("golden", KNOWN[::12], ids=lambda golden: golden["source"])
def test_text_and_patches_equal_the_released_ones(golden):
    check(golden)


@pytest.mark.slow
def test_all_of_the_corpus_equals_the_released_texts():
    wrong = []
    for golden in KNOWN:
        try:
            check(golden)
        except AssertionError:
            wrong.append(golden["source"])
    assert wrong == []


@pytest.mark.slow
@pytest.mark.parametrize("golden", UNKNOWN, ids=lambda golden: golden["source"])
def test_what_the_released_pipeline_cannot_convert_is_converted(golden):
    standard = musicxml_to_abc((CORPUS / golden["source"]).read_bytes(), name=golden["source"])
    interleaved = interleave(standard.text)
    assert is_interleaved(interleaved.text)
    assert len(encode(interleaved.text)) > 20
