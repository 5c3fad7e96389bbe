"""Questions of several parts: weights, axes, stretches, diversity; the same of an index and of folders."""

import importlib.util
import shutil
from dataclasses import replace

import numpy as np
import pytest

from clamp3 import Clamp3
from clamp3.embedding.passages import PassagePlan
from clamp3.errors import Clamp3Error, ConfigError
from clamp3.index.duplicates import duplicates
from clamp3.index.fusion import fuse
from clamp3.index.hubs import PROBES
from clamp3.index.indexing import bring_up_to_date
from clamp3.index.library import Library
from clamp3.index.playlist import playlist
from clamp3.index.prompts import class_vectors, prompts_for
from clamp3.index.query import best_hits, find
from clamp3.index.question import Part, Question, part_of, resolve
from clamp3.index.ranking import diversified, unit_rows
from clamp3.index.search import ask
from clamp3.index.store import FACTS, VECTOR, WORDS
from clamp3.sources import sentence

HAS_LANCE = importlib.util.find_spec("lancedb") is not None


@pytest.fixture
def model(tiny_weights):
    return Clamp3.from_pretrained(tiny_weights)


@pytest.fixture
def library(music, model):
    with Library.create(music / ".clamp3_index", model, store="sqlite", passages=PassagePlan(4, 2, 4, 2)) as library:
        bring_up_to_date(library, model, [music])
        yield library


def unit(vector):
    return unit_rows(np.asarray(vector)[None])[0]


def test_parts_are_added_with_their_weights_and_are_no_results(library, model, music):
    sad, [tune, long] = (
        model.encode(["sad waltz"]).vectors[0],
        model.encode([music / "sub/tune.ABC", music / "long.abc"]).vectors,
    )
    question = Question((Part(text="sad waltz"), Part(0.5, path=music / "sub/tune.ABC"), Part(-2, piece="0/long.abc")))
    expected = unit(sad) + 0.5 * unit(tune) - 2 * unit(long)
    np.testing.assert_allclose(resolve(question, model, library).vector, expected, atol=1e-5)
    assert {hit.name for hit in find(library, model, question)} == {"audio.npy", "play.mtf"}


def test_copies_of_a_piece_that_is_asked_about_are_no_results(library, model, music):
    shutil.copy(music / "long.abc", music / "again.abc")
    bring_up_to_date(library, model)
    for passages in (False, True):
        found = find(library, model, Question((Part(piece="0/long.abc"),), passages=passages))
        assert {hit.name for hit in found} == {"audio.npy", "play.mtf", "sub/tune.ABC"}


def test_words_alone_are_asked_without_what_all_sentences_share(library, model, music):
    question = Question.of("sad waltz", top_k=4)
    asked = resolve(question, model, library)
    hits = best_hits(library, asked, replace(question, words=False))
    rows = {
        row["id"]: unit(row[VECTOR]) for row in library.pieces.rows(["id", VECTOR]) if row["id"] in {h.id for h in hits}
    }
    probes = [unit(vector) for vector in model.encode([sentence(probe) for probe in PROBES]).vectors]
    said = unit(model.encode(["sad waltz"]).vectors[0])
    order = sorted(
        rows, key=lambda each: -(rows[each] @ said - 0.5 * np.mean([rows[each] @ probe for probe in probes]))
    )
    assert [hit.id for hit in hits] == order and len(hits) == 4
    np.testing.assert_allclose([hit.score for hit in hits], [rows[each] @ said for each in order], atol=1e-5)
    encode = model.encode
    try:
        model.encode = lambda items: encode(items) if len(items) == 1 else pytest.fail("the probes were encoded again")
        assert resolve(question, model, library).ranking is not None
    finally:
        del model.encode
    tune = Part(path=music / "long.abc")
    for other in (
        replace(question, words=False),
        replace(question, passages=True),
        Question((tune,)),
        Question((*question.parts, tune)),
        replace(question, axis=("sad", "happy")),
    ):
        assert resolve(other, model, library).ranking is None


def test_who_names_a_composer_gets_those_pieces_in_the_order_of_the_vectors():
    rows = [{"id": f"{n}", "title": f"Piece {n}", "composer": "", "name": f"{n}.mid"} for n in range(40)]
    chopin = [{"id": f"c{n}", "title": "Mazurka", "composer": "Fr. Chopin", "name": f"c{n}.krn"} for n in (2, 1)]
    chopin.append({"id": "w", "title": "Waltz", "composer": "Fr. Chopin", "name": "w.krn"})
    order = fuse("a sad waltz by Chopin", rows, chopin)  # none of them among what is closest to the words' vector
    assert order[:3] == ["w", "c2", "c1"]
    # But what describes is no person, though one is called alike.
    other = [{"id": "h", "title": "", "composer": who, "name": "h.mid"} for who in ("Frederic Hymen", "traditional")]
    for row, query in zip(other, ("a solemn hymn", "a sad traditional waltz"), strict=True):
        assert fuse(query, rows, [row])[0] == "0"


def test_an_index_and_folders_answer_alike(library, model, music):
    for question in (
        Question((part_of("sad waltz"), part_of(music / "long.abc", -1.0)), words=False),
        Question(axis=("sad", "happy")),
        Question((part_of("sad waltz"),), axis=("fast", "slow"), words=False, top_k=2),
    ):
        by_index, by_folder = find(library, model, question), ask(model, question, music).hits
        assert [(hit.name, round(hit.score, 5)) for hit in by_index] == [
            (hit.name, round(hit.score, 5)) for hit in by_folder
        ]


def test_an_axis_ranks_as_the_places_of_zero_shot_do(library, model):
    from clamp3.probe.zero_shot import compare

    rows = library.pieces.rows(["name", VECTOR], "modality <> 'text'")
    places = compare(np.stack([row[VECTOR] for row in rows]), model, {}, [prompts_for(["sad", "fast"])]).places[:, 0]
    expected = [rows[n]["name"] for n in np.argsort(-places)]
    assert [hit.name for hit in find(library, model, Question(axis=("fast", "sad")))] == expected
    ends = class_vectors(model, list(prompts_for(["fast", "sad"]).values()))
    np.testing.assert_allclose(resolve(Question(axis=("fast", "sad")), model).vector, ends[1] - ends[0])


def test_a_stretch_is_encoded_as_the_passage_there(library, model, music):
    """Of a file and of a piece of the index, in seconds and bars."""
    notes = "".join(f"note_on 480 0 0 {60 + n} 90\nnote_off 480 0 0 {60 + n} 0\n" for n in range(12))
    (music / "longer.mtf").write_text(f"ticks_per_beat 480\n{notes}")
    bring_up_to_date(library, model)
    for name, pair in {"long.abc": ("first_bar", "last_bar"), "longer.mtf": ("start_sec", "end_sec")}.items():
        passages = library.passages.rows(["start_at", "end_at", VECTOR], f"piece = '0/{name}'")
        assert len(passages) > 1
        for passage in passages:
            stretch = dict(zip(pair, (passage["start_at"], passage["end_at"]), strict=True))
            for part in (Part(path=music / name, **stretch), Part(piece=f"0/{name}", **stretch)):
                asked = resolve(Question((part,)), model, library).vector
                np.testing.assert_allclose(unit(asked), unit(passage[VECTOR]), atol=1e-5)
    for part in (
        Part(path=music / "long.abc", start_sec=1, end_sec=2),
        Part(path=music / "long.abc", first_bar=9000),
        Part(path=music / "song.txt", first_bar=1),
    ):
        with pytest.raises(Clamp3Error, match=r"divided|nothing from"):
            resolve(Question((part,)), model)


def test_hits_say_what_is_known(library, model):
    [hit] = find(library, model, Question.of("sad waltz", kinds=("score",), where='key = "C major"'))
    assert (hit.id, hit.modality, hit.kind) == ("0/long.abc", "score", "abc")
    assert hit.facts["key"] == "C major" and "title" not in hit.facts and "composer" not in hit.facts
    [passage, *_] = find(library, model, Question.of("sad waltz", passages=True))
    assert passage.id in {"0/long.abc", "0/play.mtf", "0/audio.npy", "0/sub/tune.ABC"} and passage.passage is not None


def test_diverse_results_are_less_alike(library, model, music):
    for n in range(8):  # nearly the same
        (music / f"like long {n}.abc").write_text((music / "long.abc").read_text() + f"C{n + 1}|\n")
    bring_up_to_date(library, model)
    by_score = find(library, model, Question((Part(piece="0/long.abc"),), top_k=4))
    diverse = find(library, model, Question((Part(piece="0/long.abc"),), top_k=4, diversity=0.7))
    assert all(hit.name.startswith("like long") for hit in by_score) and [hit.rank for hit in diverse] == [1, 2, 3, 4]
    assert diverse[0].name == by_score[0].name
    assert sum(hit.name.startswith("like long") for hit in diverse) == 1


def test_diversity_keeps_the_order_of_the_unlike():
    rng = np.random.default_rng(0)
    vectors, scores = np.eye(6), sorted(rng.uniform(0, 1, 6), reverse=True)
    assert diversified(vectors, scores, 0.5, 10) == list(range(6))
    assert diversified(vectors[:1], [0.5], 0.9, 3) == [0] and diversified(np.empty((0, 3)), [], 0.5, 3) == []


@pytest.mark.parametrize(
    "make",
    [
        lambda: Part(),
        lambda: Part(text="a", piece="0/a"),
        lambda: Part(0, text="a"),
        lambda: Part(float("nan"), text="a"),
        lambda: Part(text=" "),
        lambda: Part(text="a" * 10_001),
        lambda: Part(text="a", start_sec=1),
        lambda: Part(piece="a", start_sec=2, end_sec=1),
        lambda: Part(piece="a", start_sec=-1),
        lambda: Part(piece="a", first_bar=0),
        lambda: Part(piece="a", first_bar=1, end_sec=3),
        lambda: Part(piece="a", start_sec=float("nan")),
        lambda: Question(),
        lambda: Question((Part(text="a"),) * 17),
        lambda: Question((Part(text="a"),), top_k=0),
        lambda: Question((Part(text="a"),), diversity=1),
        lambda: Question((Part(text="a"),), diversity=float("nan")),
        lambda: Question((Part(text="a"),), kinds=("ukulele",)),
        lambda: Question((Part(text="a"),), axis=("sad", " ")),
        lambda: resolve(Question((Part(vector=np.zeros(3)),)), None),
        lambda: resolve(Question((Part(vector=np.ones(3)), Part(vector=np.ones(2)))), None),
        lambda: resolve(Question((Part(vector=np.ones(3)), Part(-1, vector=np.ones(3)))), None),
        lambda: resolve(Question((Part(piece="0/a"),)), None),
    ],
)
def test_impossible_questions_are_one_sentence(make):
    with pytest.raises(ConfigError) as refused:
        make()
    assert "\n" not in str(refused.value)


def test_a_piece_that_is_not_there_and_too_many_results_are_refused(library, model):
    with pytest.raises(ConfigError, match="no piece 0/never"):
        find(library, model, Question((Part(piece="0/never"),)))
    with pytest.raises(ConfigError, match="at most 1000"):
        find(library, model, Question.of("sad waltz", top_k=1001))


def _piece(number, vector, artist=""):
    facts = {name: "" if kind is str else None for name, kind in FACTS.items()}
    own = {"id": f"0/{number}.mid", "name": f"{number}.mid", "artist": artist, "modality": "midi", "kind": "midi"}
    state = {"content": str(number), "size": 1, "mtime_ns": 1, "made_by": "test", WORDS: ""}
    return {**facts, **own, **state, VECTOR: np.asarray(vector, np.float32)}


@pytest.fixture
def circle(model, tmp_path):
    """Pieces on a quarter of a circle: angles 0, 10, ... 90 degrees, artists taking turns."""
    with Library.create(tmp_path / "circle", model, store="sqlite") as library:
        library.folder.add_root(tmp_path)
        angles = np.radians(np.arange(0, 91, 10))
        rows = np.zeros((10, model.width))
        rows[:, 0], rows[:, 1] = np.cos(angles), np.sin(angles)
        library.pieces.upsert([_piece(n, row, "AB"[n % 2]) for n, row in enumerate(rows)])
        yield library


def test_duplicates_are_reported_in_groups_without_chains(circle):
    """Eleven degrees apart at most: each group is around its first piece by name, though all ten form a chain."""
    circle.pieces.upsert(
        [{**_piece(n, [0] * 5 + [1] + [0] * (circle.meta.width - 6)), "content": "x"} for n in (20, 21)]
    )
    equal, *near = duplicates(circle, least=np.cos(np.radians(11)))
    assert equal.equal and [piece["name"] for piece in equal.pieces] == ["20.mid", "21.mid"]
    groups = [[int(piece["name"][:-4]) for piece in group.pieces] for group in near]
    assert groups == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]
    assert near[0].cosines == (1.0, round(float(np.cos(np.radians(10))), 6))
    assert circle.pieces.count() == 12 and len(duplicates(circle, least=1.0)) == 1
    with pytest.raises(ConfigError, match="at most 1"):
        duplicates(circle, least=1.5)


def test_a_playlist_is_a_path_between_two_pieces(circle, model):
    path = playlist(circle, model, [Part(piece="0/0.mid")], 4, end=Part(piece="0/9.mid"))
    assert [hit.name for hit in path] == ["2.mid", "4.mid", "5.mid", "7.mid"]  # 18, 36, 54 and 72 degrees
    assert [hit.rank for hit in path] == [1, 2, 3, 4]
    everything = playlist(circle, model, [Part(piece="0/0.mid")], 30, end=Part(piece="0/9.mid"))
    assert sorted(hit.name for hit in everything) == [f"{n}.mid" for n in range(1, 9)]  # each once


def test_seeds_bring_other_artists_before_the_same_again(circle, model):
    found = playlist(circle, model, [Part(piece="0/0.mid"), Part(piece="0/2.mid")], 4)
    assert [hit.name for hit in found] == ["1.mid", "4.mid", "3.mid", "6.mid"]
    assert [hit.facts["artist"] for hit in found] == ["B", "A", "B", "A"]
    for wrong in ({"n": 0}, {"n": 201}, {"seeds": []}, {"seeds": [Part(text="a")] * 2, "end": Part(text="b")}):
        with pytest.raises(ConfigError):
            playlist(circle, model, **{"seeds": [Part(text="a")], **wrong})
