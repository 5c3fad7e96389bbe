"""An index of folders: only what is new is embedded, nothing is lost or doubled, filters, stores that agree."""

import importlib.util
import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest

from clamp3 import Clamp3
from clamp3.embedding.passages import PassagePlan
from clamp3.embedding.topic import Topic, topic_of
from clamp3.errors import ConfigError, DataError, WeightsError
from clamp3.formats import Kind
from clamp3.index.folder import IndexFolder, find_index
from clamp3.index.indexing import bring_up_to_date
from clamp3.index.library import Library, piece_id
from clamp3.index.query import answer, best_hits, find
from clamp3.index.question import Question, resolve
from clamp3.index.search import ask
from clamp3.index.store import FIELDS, PIECES, VECTOR, with_vector
from clamp3.index.upkeep import export, verify
from clamp3.index.where import to_sql
from clamp3.index.words import tokens_of
from clamp3.jobs.cache import VectorCache
from clamp3.models import registry
from clamp3.models.weights import describe

HAS_LANCE = importlib.util.find_spec("lancedb") is not None
STORES = [pytest.param("lance", marks=pytest.mark.skipif(not HAS_LANCE, reason="lancedb is absent")), "sqlite"]
FILES = ["audio.npy", "long.abc", "play.mtf", "song.txt", "sub/tune.ABC"]


@pytest.fixture(params=STORES)
def store(request):
    return request.param


@pytest.fixture
def model(tiny_weights):
    return Clamp3.from_pretrained(tiny_weights)


@pytest.fixture
def library(music, model, store):
    with Library.create(music / ".clamp3_index", model, store=store, passages=PassagePlan(4, 2, 4, 2)) as library:
        bring_up_to_date(library, model, [music])
        yield library


def names(library):
    return sorted(row["name"] for row in library.pieces.rows(["name"]))


def counts(changes):
    return changes.embedded, changes.reused, changes.unchanged, changes.removed


def state(library):
    """Return all that is in an index, comparable: rows by id, vectors as lists."""
    tables = {"pieces": library.pieces, "passages": library.passages, "failures": library.failures}
    rows = [sorted(table.rows(with_vector(name)), key=lambda row: row["id"]) for name, table in tables.items()]
    return [[{k: v.tolist() if k == VECTOR else v for k, v in row.items()} for row in table] for table in rows]


def test_vectors_and_order_are_those_of_a_search_without_index(library, model, music):
    expected = {hit.name: hit.score for hit in ask(model, "sad waltz", music).hits}
    hits = find(library, model, Question.of("sad waltz", words=False))
    assert [hit.name for hit in hits] == list(expected) and "song.txt" not in expected
    assert [hit.score for hit in hits] == pytest.approx(list(expected.values()), abs=1e-6)
    assert all(os.path.samefile(hit.path, music / hit.name) for hit in hits)


def test_what_is_ranked_is_what_a_search_without_index_ranks(library, model, music):
    shutil.copy(music / "long.abc", music / "sub" / "again.abc")
    bring_up_to_date(library, model)
    for query in ("slow song", music / "long.abc", music / "song.txt"):
        for how in (
            {},
            {"kinds": ["score"]},
            {"kinds": ["all"]},
            {"exclude": ["sub", "*.npy"]},
            {"keep_duplicates": True},
        ):
            asked = Question.of(query, **how, words=False)
            expected = [(hit.rank, hit.name, hit.title, hit.also) for hit in ask(model, asked, music).hits]
            found = find(library, model, asked)
            assert [(hit.rank, hit.name, hit.title, hit.also) for hit in found] == expected, (query, how)
            assert [hit.name for hit in find(library, model, replace(asked, top_k=1))] == [expected[0][1]]
    (music / "lonely").mkdir()
    with Library.create(music / "lonely" / "i", model, store="sqlite") as texts:
        bring_up_to_date(texts, model, [music / "song.txt"])
        assert [hit.name for hit in find(texts, model, Question.of("slow song"))] == ["song.txt"]


def test_passages_are_those_of_a_search_without_index(library, model, music):
    plan = PassagePlan(4, 2, 4, 2)
    expected = [(hit.name, str(hit.passage)) for hit in ask(model, "sad waltz", music, passages=plan, top_k=8).hits]
    found = find(library, model, Question.of("sad waltz", passages=True, top_k=8))
    assert [(hit.name, str(hit.passage)) for hit in found] == expected


def test_only_what_is_new_is_embedded(library, model, music):
    assert counts(bring_up_to_date(library, model, [music])) == (0, 0, 5, 0)
    shutil.copy(music / "long.abc", music / "copy of long.abc")
    os.utime(music / "song.txt", ns=(0, 0))
    shutil.move(music / "play.mtf", music / "sub" / "moved.mtf")
    before = {row["name"]: row for row in library.pieces.rows([*FIELDS[PIECES], VECTOR])}
    assert counts(bring_up_to_date(library, model, prune=True)) == (0, 3, 3, 1)
    after = {row["name"]: row for row in library.pieces.rows([*FIELDS[PIECES], VECTOR])}
    assert sorted(after) == sorted([*FILES[:2], "copy of long.abc", "song.txt", "sub/moved.mtf", "sub/tune.ABC"])
    np.testing.assert_array_equal(after["copy of long.abc"][VECTOR], before["long.abc"][VECTOR])
    np.testing.assert_array_equal(after["sub/moved.mtf"][VECTOR], before["play.mtf"][VECTOR])
    n_passages = {name: library.passages.count(f"piece = '0/{name}'") for name in ("long.abc", "copy%20of%20long.abc")}
    assert n_passages["long.abc"] == n_passages["copy%20of%20long.abc"] > 3
    assert library.passages.count("piece = '0/play.mtf'") == 0 < library.passages.count("piece = '0/sub/moved.mtf'")
    assert verify(library, contents=True).problems == []


def test_a_changed_file_is_embedded_again_and_lends_its_old_vector_to_nobody(library, model, music):
    """What a file held may be in another file now, whose row must not get the vector of the new content."""
    old = (music / "long.abc").read_text()
    [before] = library.pieces.rows([VECTOR], "name = 'long.abc'")
    (music / "long.abc").write_text(old.replace("K:C", "K:D"))
    (music / "was long.abc").write_text(old)
    assert counts(bring_up_to_date(library, model))[:2] == (1, 1)
    [changed] = library.pieces.rows([VECTOR, "key"], "name = 'long.abc'")
    [kept] = library.pieces.rows([VECTOR, "key"], "name = 'was long.abc'")
    np.testing.assert_array_equal(kept[VECTOR], before[VECTOR])
    assert np.abs(changed[VECTOR] - before[VECTOR]).max() > 1e-3
    assert (changed["key"], kept["key"]) == ("D major", "C major")


def test_failures_are_kept_and_not_tried_again_until_asked(library, model, music, monkeypatch):
    (music / "broken.mid").write_bytes(b"MThd nonsense")
    (music / "empty.abc").write_bytes(b"")
    first = bring_up_to_date(library, model)
    assert [name for name, _ in first.failed] == ["broken.mid", "empty.abc"] and first.embedded == 0
    tried = []
    stream = model.stream
    monkeypatch.setattr(model, "stream", lambda items, **how: stream(tried.extend(items) or items, **how))
    assert bring_up_to_date(library, model).failed == first.failed and not tried
    assert bring_up_to_date(library, model, retry=True).failed == first.failed
    assert [each.name for each in tried] == ["broken.mid"]
    (music / "broken.mid").unlink()
    (music / "empty.abc").write_text("X:1\nL:1/8\nM:2/4\nK:G\nG2A2|B4|]\n")
    again = bring_up_to_date(library, model, prune=True)
    assert again.failed == [] and again.embedded == 1 and library.failures.count() == 0


def test_a_file_that_breaks_loses_its_old_row(library, model, music):
    (music / "play.mtf").write_text("")
    assert [name for name, _ in bring_up_to_date(library, model).failed] == ["play.mtf"]
    assert names(library) == [name for name in FILES if name != "play.mtf"]
    assert library.passages.count("piece = '0/play.mtf'") == 0


def test_equal_files_of_one_run_are_encoded_once(tmp_path, model, store, monkeypatch):
    for n in range(5):
        (tmp_path / f"{n}.txt").write_text("slow song" if n < 4 else "fast song")
    seen = []
    stream = model.stream
    monkeypatch.setattr(model, "stream", lambda items, **how: stream(seen.extend(items) or items, **how))
    with Library.create(tmp_path / "i", model, store=store) as library:
        assert counts(bring_up_to_date(library, model, [tmp_path])) == (2, 3, 0, 0)
        assert len(seen) == 2 and library.pieces.count() == 5


def test_another_model_is_refused(library, other_weights):
    other = Clamp3.from_pretrained(other_weights)
    for use in (lambda: bring_up_to_date(library, other), lambda: find(library, other, Question.of("sad waltz"))):
        with pytest.raises(ConfigError, match=r"--reindex"):
            use()


def test_an_absent_or_empty_folder_is_never_taken_for_deleted_music(library, model, music, tmp_path):
    away = music.with_name("away")
    shutil.move(music / "sub", away)
    (music / "sub").mkdir()
    with Library.create(tmp_path / "other", model, store=library.meta.store) as other:
        bring_up_to_date(other, model, [away])
        shutil.move(away, tmp_path / "unplugged")
        changes = bring_up_to_date(other, model, prune=True)
        assert other.pieces.count() == 1 and "is not there" in changes.failed[0][1]
        away.mkdir()
        with pytest.raises(ConfigError, match="is empty"):
            bring_up_to_date(other, model, prune=True)
        assert other.pieces.count() == 1
    assert bring_up_to_date(library, model, prune=True).removed == 1  # a folder in a root may well get empty


def test_folders_in_folders_are_indexed_once(music, model, store, tmp_path):
    with Library.create(tmp_path / "i", model, store=store) as library:
        bring_up_to_date(library, model, [music / "sub"])
        assert counts(bring_up_to_date(library, model, [music])) == (4, 0, 0, 0)
        assert counts(bring_up_to_date(library, model, [music / "sub", music / "song.txt"])) == (0, 0, 2, 0)
        assert len(library.meta.roots) == 2 and library.pieces.count() == 5
        assert library.remove([music / "sub"]) == 1
        assert counts(bring_up_to_date(library, model)) == (1, 0, 4, 0)  # now it is part of the folder above


def test_tunes_of_a_book_are_pieces(music, model, store, tmp_path):
    """Also: a changed tune is embedded again, the others are not; a book that is gone takes its tunes with it."""
    tunes = [f"X:{n}\nT:Tune {n}\nL:1/8\nM:2/4\nK:{key}\nG2A2|{key}4|\n\n" for n, key in enumerate("CDG", start=1)]
    book = music / "sub" / "book.abc"
    book.write_text("".join(tunes))
    with Library.create(tmp_path / "i", model, store=store) as library:
        assert counts(bring_up_to_date(library, model, [music])) == (8, 0, 0, 0)
        rows = {row["name"]: row for row in library.pieces.rows(["id", "name", "key", "title", VECTOR])}
        assert [rows[f"sub/book.abc#{n}"]["key"] for n in (1, 2, 3)] == ["C major", "D major", "G major"]
        assert len({rows[f"sub/book.abc#{n}"][VECTOR].tobytes() for n in (1, 2, 3)}) == 3
        expected = [(hit.name, hit.path) for hit in ask(model, f"{book}#2", music).hits]
        assert [(hit.name, hit.path) for hit in find(library, model, Question.of(f"{book}#2"))] == expected
        assert verify(library, contents=True).problems == []
        tunes[1] = tunes[1].replace("G2A2", "G2F2")
        book.write_text("".join(tunes))
        assert counts(bring_up_to_date(library, model, [book], prune=True)) == (1, 2, 0, 0)
        book.write_text("".join(tunes[:2]))
        assert counts(bring_up_to_date(library, model, [book], prune=True)) == (0, 2, 0, 1)
        book.unlink()
        assert counts(bring_up_to_date(library, model, prune=True)) == (0, 0, 5, 2)


def test_an_index_moves_with_its_folder(library, model, music, tmp_path):
    meta = library.meta
    library.close()
    moved = tmp_path / "elsewhere" / "renamed"
    moved.parent.mkdir()
    shutil.move(music, moved)
    with Library.open(find_index(moved)) as again:
        assert again.meta == meta and counts(bring_up_to_date(again, model, prune=True)) == (0, 0, 5, 0)
        assert {hit.path for hit in find(again, model, Question.of("sad waltz"))} == {
            str(moved / name) for name in FILES if name != "song.txt"
        }


def test_strange_names_are_found_again(tmp_path, model, store):
    folder = tmp_path / "m"
    folder.mkdir()
    for name in (b'it\'s "1".txt', "Für Élise 月光.txt".encode(), b"bad\xff.txt", b"100%#?.txt", b"back\\slash.txt"):
        (folder / os.fsdecode(name)).write_text(f"slow song {len(name)}")
    with Library.create(tmp_path / "i", model, store=store) as library:
        bring_up_to_date(library, model, [folder])
        rows = library.pieces.rows(["id", "name"])
        assert len(rows) == 5 and all(library.path_of(row["id"]).is_file() for row in rows)
        assert counts(bring_up_to_date(library, model, prune=True)) == (0, 0, 5, 0)
        assert library.remove([folder / 'it\'s "1".txt']) == 1 and library.pieces.count() == 4


def test_filters_mean_the_same_in_every_store(library, model):
    def found(where):
        return sorted(hit.name for hit in find(library, model, Question.of("sad waltz", where=where, kinds=("all",))))

    assert found('modality = "SCORE"') == ["long.abc", "sub/tune.ABC"]
    assert found("modality in ('score', 'midi') and key = 'c MAJOR'") == ["long.abc"]
    assert found("metre = '2/4' and not \"sub\" in name") == ["long.abc"]
    assert found("key = null") == found("'' = key") == ["audio.npy", "play.mtf", "song.txt"]
    assert found("year = null or duration > 1") == FILES
    assert found("year > 0") == found("title = \"x' OR '1'='1\"") == []
    assert found("name <> 'song.txt' and kind != 'mtf'") == ["audio.npy", "long.abc", "sub/tune.ABC"]
    assert all(
        each.name == "long.abc"
        for each in find(library, model, Question.of("sad", passages=True, where="key = 'C major'"))
    )


@pytest.mark.parametrize(
    "where",
    [
        "",
        " ",
        "name",
        "name = composer",
        "1 = 1",
        "vector = 1",
        "name = 'a'; drop table pieces",
        "name = 'a' -- b",
        "__import__('os').system('true') = 1",
        "name = f'{name}'",
        "(lambda: 1)() = 1",
        "year = 'x'",
        "title = 3",
        "year < null",
        "year = True",
        "year = 1e999",
        "year in title",
        "name = '\0'",
        "not " * 800 + "year = 1",
        "(" * 900 + "year = 1" + ")" * 900,
        "year = 1 or " * 200 + "year = 1",
        "name = 'unclosed",
        "select 1",
    ],
)
def test_what_is_no_filter_is_refused_in_one_sentence(where):
    with pytest.raises(ConfigError) as refused:
        to_sql(where, {"name": str, "title": str, "composer": str, "year": int})
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 1000


def test_full_text_forgives(library):
    def found(words, n=1, where=None):
        return [row["name"] for row in library.pieces.matching(tokens_of([words]), n, where)]

    assert found("LONG") == found("lonng") == ["long.abc"]
    assert found("tuen sub") == ["sub/tune.ABC"]
    assert found("LONG slow", 3, "name = 'song.txt'") == ["song.txt"]
    assert library.pieces.matching([], 3) == []


def test_what_is_called_so_comes_first(tmp_path, model, store):
    """In any script and misspelt; a description is left to the vectors, whatever word a name shares with it."""
    titles = [
        "Maple Leaf Rag",
        "月光奏鸣曲",
        "Танец рыцарей",
        "Für Elise",
        "Song in B flat major",
        "Slow Movement",
        "Long ago",
    ]
    for n, title in enumerate(titles):
        music = f"X:1\nT:{title}\nC:Composer {n}\nL:1/8\nM:2/4\nK:{'CDEFGAB'[n]}\n{'CDEFGAB'[n]}4|{'GFE'[n % 3]}4|]\n"
        (tmp_path / f"{n}.abc").write_text(music, encoding="utf-8")
    with Library.create(tmp_path / "i", model, store=store) as library:
        bring_up_to_date(library, model, [tmp_path])
        for query, title in {
            "maple leef rag": 0,
            "月光": 1,
            "танец рыцарей": 2,
            "fur elise": 3,
            "composer 3": 3,
            "Elsie": 3,
        }.items():
            assert find(library, model, Question.of(query, top_k=1))[0].title == titles[title], query
        for description in ("sad piano waltz in a slow style", "a fast dance for fiddle in B flat"):
            by_words = find(library, model, Question.of(description))
            asked = resolve(Question.of(description), model, library)
            by_vectors = best_hits(library, asked, Question.of(description, words=False))
            assert [hit.name for hit in by_words] == [hit.name for hit in by_vectors]


def test_verify_names_what_is_wrong(library, music):
    (music / "song.txt").unlink()
    (music / "long.abc").write_text("X:1\nK:C\nC|")
    stat = (music / "play.mtf").stat()
    (music / "play.mtf").write_bytes(b"#" * stat.st_size)
    os.utime(music / "play.mtf", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    problems = dict(verify(library, contents=True).problems)
    assert list(problems) == ["long.abc", "play.mtf", "song.txt"]
    assert (
        "changed" in problems["long.abc"]
        and "another content" in problems["play.mtf"]
        and "no longer" in problems["song.txt"]
    )


def test_export_has_vectors_and_facts_in_one_order(library, tmp_path):
    from clamp3.formats.tables import read_jsonl

    assert export(library, tmp_path / "out", "modality = 'score'") == 2
    rows, vectors = read_jsonl(tmp_path / "out" / "pieces.jsonl"), np.load(tmp_path / "out" / "vectors.npy")
    assert [row["name"] for row in rows] == ["long.abc", "sub/tune.ABC"] and rows[0]["key"] == "C major"
    [own] = library.pieces.rows([VECTOR], ids=[rows[1]["id"]])
    np.testing.assert_array_equal(vectors[1], own[VECTOR])
    with pytest.raises(DataError, match="no such piece"):
        export(library, tmp_path / "none", "year = 1")


def test_one_writer_at_a_time(library):
    with library.lock(), pytest.raises(ConfigError, match="another process"):
        library.lock()


def test_no_index_is_made_where_something_else_is(tmp_path, model):
    (tmp_path / "thesis.txt").write_text("x")
    with pytest.raises(ConfigError, match="no index and not empty"):
        Library.create(tmp_path, model)
    with pytest.raises(ConfigError, match="there is no index"):
        Library.open(tmp_path / "absent")


@pytest.mark.parametrize("text", ["[]", '{"data": "../x"}', '{"data": "data-1", "version": 99}', "{", '{"data": 3}'])
def test_a_damaged_pointer_is_one_sentence(library, text):
    (library.folder.path / "index.json").write_text(text)
    with pytest.raises(ConfigError) as refused:
        IndexFolder(library.folder.path)
    assert "\n" not in str(refused.value)


@pytest.mark.skipif(not HAS_LANCE, reason="lancedb is absent")
def test_stores_hold_the_same(music, model, tmp_path):
    found = []
    for store in ("lance", "sqlite"):
        with Library.create(tmp_path / store, model, store=store, passages=PassagePlan(4, 2, 4, 2)) as library:
            bring_up_to_date(library, model, [music])
            bring_up_to_date(library, model, prune=True)
            found.append(
                (state(library), [row["name"] for row in library.pieces.matching(tokens_of(["tune song"]), 3)])
            )
    assert found[0] == found[1]


def test_ids_are_ascii_and_lead_back():
    from pathlib import PurePosixPath

    assert piece_id(3, PurePosixPath("a/ü'\".abc")) == "3/a/%C3%BC%27%22.abc"


def test_with_a_cache_an_index_built_anew_encodes_nothing(music, tiny_weights, tmp_path, store, monkeypatch):
    model = Clamp3.from_pretrained(tiny_weights, cache=VectorCache(tmp_path / "cache.sqlite"))
    for n in range(2):
        with Library.create(tmp_path / f"i{n}", model, store=store) as library:
            bring_up_to_date(library, model, [music])
            assert names(library) == FILES
        monkeypatch.setattr(Clamp3, "load", None)  # no tower is needed any more


def test_words_that_a_small_tokenizer_lacks_are_named(library, model, music):
    known = ask(model, "sad waltz", music)
    lacking = ask(model, "a \u10d5\u10d0\u10da\u10e1\u10d8 waltz", music)  # Georgian
    assert known.unknown_words == [] and known.notes == known.remarks
    assert lacking.unknown_words == ["\u10d5\u10d0\u10da\u10e1\u10d8"]
    assert "does not know '\u10d5\u10d0\u10da\u10e1\u10d8'" in lacking.notes[-1]
    assert answer(library, model, Question.of("a \u10d5\u10d0\u10da\u10e1\u10d8 waltz")).notes == lacking.notes[-1:]


def test_a_question_about_something_else_is_reported_where_the_weights_can_tell(library, model, music, monkeypatch):
    def notes(query):
        return [note for note in ask(model, query, music).notes if "about music" in note]

    vector = model.encode([(b"milk, eggs, bread", Kind.TEXT)]).vectors[0]
    title = ask(model, "milk", music).hits[0].name.partition(".")[0]
    assert not notes("milk, eggs, bread")  # these weights cannot tell
    topic = Topic(str(model.identity), tuple((-vector / np.linalg.norm(vector)).tolist()), -0.99, 0.0, 1.0)
    monkeypatch.setitem(model.__dict__, "_topic", topic)
    assert len(notes("milk, eggs, bread")) == 1
    assert answer(library, model, Question.of("milk, eggs, bread")).off_topic
    with monkeypatch.context() as patched:  # the question's own vector says it
        patched.setattr(model, "encode", lambda items: pytest.fail("the question was encoded again"))
        assert answer(library, model, Question.of("milk, eggs, bread")).off_topic
    assert not notes("a sad waltz")
    monkeypatch.setitem(model.__dict__, "_topic", replace(topic, least=2.0))
    assert notes("milk") and not notes(f"milk {title}") and not notes(music / FILES[0])


def test_what_tells_topics_apart_is_of_its_weights_alone(tmp_path):
    topic = {"weights": "a-1", "direction": [0.6, 0.8], "least": 0.1, "false_alarms": 0.0, "found": 1.0}
    (tmp_path / "topic.json").write_text(json.dumps(topic))
    found = topic_of(tmp_path / "a.safetensors", "a-1")
    assert found.excludes(np.array([0.8, -0.6])) and not found.excludes(np.array([5, 5]))
    assert topic_of(tmp_path / "a.safetensors", "a-2") is None
    (tmp_path / "topic.json").write_text("{}")
    with pytest.raises(WeightsError, match=r"topic\.json"):
        topic_of(tmp_path / "a.safetensors", "a-1")


def test_mini_has_what_tells_topics_apart():
    weights = registry.resolve("mini")
    found = topic_of(weights, describe(weights).identity)
    assert found is not None, "python code/recipes/mini/topic.py code/clamp3/models/mini/mini.safetensors"
    assert found.found >= 0.8 and found.false_alarms <= 0.1
