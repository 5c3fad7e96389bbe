"""An index with damaged files: one sentence from every use, and what can be mended is."""

import importlib.util
import json
import shutil

import pytest

from clamp3 import Clamp3
from clamp3.errors import Clamp3Error, DataError
from clamp3.index.folder import find_index
from clamp3.index.indexing import bring_up_to_date
from clamp3.index.library import Library
from clamp3.index.query import find
from clamp3.index.question import Question
from clamp3.index.upkeep import export, verify

HAS_LANCE = importlib.util.find_spec("lancedb") is not None
STORES = [pytest.param("lance", marks=pytest.mark.skipif(not HAS_LANCE, reason="lancedb is absent")), "sqlite"]


@pytest.fixture(params=STORES)
def place(request, music, tiny_weights):
    """Return the folder of an index of four pieces."""
    model = Clamp3.from_pretrained(tiny_weights)
    with Library.create(music / ".clamp3_index", model, store=request.param) as library:
        bring_up_to_date(library, model, [music])
    return music / ".clamp3_index"


@pytest.fixture
def model(tiny_weights):
    return Clamp3.from_pretrained(tiny_weights)


def change_meta(place, **changes):
    path = place / "data-1" / "meta.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def use(place, model, out):
    """Use an index in every way, and return how often it could be."""
    worked = 0
    library = Library.open(find_index(place) or place)
    with library:
        for action in (
            lambda: find(library, model, Question.of("sad waltz")),
            lambda: library.info(),
            lambda: verify(library, contents=True),
            lambda: export(library, out),
            lambda: library.remove([place.parent / "song.txt"]),
            lambda: bring_up_to_date(library, model, prune=True),
        ):
            try:
                action()
                worked += 1
            except Clamp3Error as error:
                assert "\n" not in str(error)
    return worked


def test_pieces_of_a_folder_that_is_not_listed_are_named_and_come_back(place, model, music):
    change_meta(place, roots=[])
    with Library.open(place) as library:
        with pytest.raises(DataError, match=r"folder that it does not list .number 0"):
            find(library, model, Question.of("sad waltz"))
        problems = verify(library).problems
        assert len(problems) == 5 and all("does not list" in reason for _, reason in problems)
        assert bring_up_to_date(library, model, prune=True).removed == 0
        changes = bring_up_to_date(library, model, [music])
        assert (changes.embedded, changes.unchanged) == (0, 5) and verify(library).problems == []
        assert find(library, model, Question.of("sad waltz"))


def test_an_update_ends_a_removal_that_was_interrupted(place, model, music, monkeypatch):
    with Library.open(place) as library:
        monkeypatch.setattr(library, "forget", lambda pieces: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            library.remove([music])
        monkeypatch.undo()
        assert library.pieces.count() == 5 and library.meta.roots == ("",)
        assert bring_up_to_date(library, model, prune=True).removed == 5 and library.pieces.count() == 0


@pytest.mark.parametrize("changes", [{"width": 3}, {"passages": {"years": 1}}, {"roots": ["."]}, {"weights": ""}])
def test_wrong_values_in_the_meta_are_one_sentence(place, model, tmp_path, changes):
    change_meta(place, **changes)
    try:
        use(place, model, tmp_path / "out")
    except Clamp3Error as error:
        assert "\n" not in str(error)


def test_a_damaged_file_of_any_name_is_one_sentence(place, model, tmp_path):
    files = [path.relative_to(place) for path in sorted(place.rglob("*")) if path.is_file()]
    refused = 0
    for name in files:
        copy = tmp_path / "copy" / ".clamp3_index"
        shutil.rmtree(copy.parent, ignore_errors=True)
        shutil.copytree(place, copy)
        (copy / name).write_bytes(b"")
        try:
            refused += use(copy, model, tmp_path / "out") < 6
        except Clamp3Error as error:
            refused += 1
            assert "\n" not in str(error)
    assert 2 <= refused <= len(files)
