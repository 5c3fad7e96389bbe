import csv
import json
import random
import sqlite3
from pathlib import Path
from types import SimpleNamespace

import mido
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from clamp3.errors import DataError, FormatError
from clamp3.index.ranking import unit_rows
from recipes.mini import blend, concepts, graft, outside, performances, phrases, second, topic, wider, words
from recipes.mini.build_data import read_rows, write_rows
from recipes.mini.evaluate import Vectors
from recipes.mini.heldout import heldout_ids
from recipes.mini.scores import Note, Part, Score, to_midi

KERN = """!!!COM: Doe, Jan
!!!OTL: Mazur
!!!AGN: Secular; Mazurka
!!!AIN: 1 piano
!!!OMD: Andante
!!!CNT: Polish
!!!cenid: 18xx:511
**kern
*clefG2
*k[f#]
*e:
*M3/4
=1
4e
4g
4b
=2
4e
2f#
==
*-
"""


def fact_row(name, form="waltz", collection="sandomierz", **facts):
    plain = {"key": "A", "mode": "minor", "metre": "3/4", "density": 0.8, "tempo": 90, "voices": 1, "notes": 80}
    return {
        "id": name, "collection": collection, "form": form, "century": 19, "region": "poland", "composer": "",
        "title": "", "tags": ["scoring:piano"], "groups": [f"g:{name}"], "whole": f"w{name}", "incipit": "",
        "abc": f"{name}.abc", "mtf": f"{name}.mtf", "facts": {**plain, **facts},
    }  # fmt: skip


class Oracle:
    """A model whose vectors a function gives."""

    identity = "oracle"

    def __init__(self, direction):
        self.direction = direction

    def encode(self, items):
        return SimpleNamespace(vectors=np.stack([self.direction(one) for one in items]), errors=[None] * len(items))


def test_queries_are_many_distinct_and_ask_for_known_concepts():
    queries = outside.read_queries()
    assert len(queries) >= 150
    assert len({language for language, *_ in queries}) == 12
    assert len({text for _, text, _ in queries}) > 0.95 * len(queries)  # a word of two languages may be the same
    names = set(phrases.glossary())
    assert all(name in names for *_, facts in queries for part in facts.split() for name in part.split("|"))
    taught = {word.lower() for row in phrases.glossary().values() for ws in row.values() for word in ws}
    assert not [text for _, text, _ in queries if text.lower() in taught]


def test_precision_counts_the_first_ten_and_ties_against_the_query():
    music = np.eye(24)
    has = [["form:waltz"]] * 12 + [["form:march"]] * 12
    query = np.array([[1.0] * 6 + [0.0] * 18, [0.0] * 24, [0.0] * 24])
    found = outside.precisions(query, music, has, ["form:waltz", "form:waltz", "form:polka"])
    assert found[0].tolist() == [0.6, 0.5]  # six are right, then all others tie
    assert found[1, 0] == 0
    assert np.isnan(found[2]).all()  # nothing to find
    only = outside.prose(Vectors(Oracle(lambda item: np.ones(2))), np.ones((3, 2)), [["form:waltz"]] * 3)
    assert only == {"queries": 0}


def test_a_model_that_knows_the_concepts_is_perfect_and_a_constant_one_is_chance(tmp_path):
    kinds = {"waltz": "3/4", "march": "4/4", "jig": "6/8"}
    rows = [
        fact_row(f"p{n:02d}", list(kinds)[n % 3], mode=("major", "minor")[n % 2], metre=list(kinds.values())[n % 3])
        for n in range(36)
    ]
    write_rows(tmp_path / "pieces.jsonl", rows)
    index = {concept: at for at, concept in enumerate(sorted({c for row in rows for c in concepts.concepts_of(row)}))}
    prompts = {text: name for table in outside.CLASSES.values() for name, text in table.items()}

    def direction(item):
        vector = np.zeros(len(index) + 36)
        if isinstance(item, Path):
            vector[len(index) + int(item.stem[1:])] = 9
            for concept in concepts.concepts_of(rows[int(item.stem[1:])]):
                vector[index[concept]] = 1
        elif prompts.get(item[0].decode()) in index:
            vector[index[prompts[item[0].decode()]]] = 1
        return vector

    found = outside.measure(Oracle(direction), tmp_path)
    for name in ("dance, ABC", "metre, MIDI", "mode, ABC"):
        assert found[name]["balanced_accuracy"] == 1, name
    assert found["ABC to MIDI"]["mrr"] == found["MIDI to ABC"]["mrr"] == 1
    assert found["prose, ABC"]["queries"] > 0
    constant = outside.measure(Oracle(lambda item: np.ones(2)), tmp_path, quick=True)
    assert constant["pieces"] == 5
    assert constant["ABC to MIDI"]["mrr"] == pytest.approx(1 / 5)
    assert outside.summary(found).count("\n") >= 10

    write_rows(tmp_path / "pieces.jsonl", [fact_row("p0", collection="polish")])
    with pytest.raises(DataError, match="polish, which training may have seen"):
        outside.measure(Oracle(direction), tmp_path)
    with pytest.raises(DataError, match=r"run wider\.py"):
        outside.measure(Oracle(direction), tmp_path / "empty")


@pytest.fixture
def collections(tmp_path):
    root = tmp_path / "collections"
    for library in ("pl-sa", "pl-wtm"):
        (root / library / "kern").mkdir(parents=True)
        (root / library / "kern" / f"{library}--12--001_doe-jan--mazur.krn").write_text(KERN, encoding="utf-8")
    (root / "piano_midi_de").mkdir()
    (root / "piano_midi_de/metadata.csv").write_text(
        "composer,title,year,midi,duration\nChopin,Preludes_Opus_28_1,1838,a.mid,10\n", encoding="utf-8"
    )
    score = Score([Part(notes=[Note(n, 1, 60 + n, "C") for n in range(12)])], [(0, (3, 4))], [(0, 0)], 80, 4, False)
    (root / "piano_midi_de/a.mid").write_bytes(to_midi(score))
    (root / "openewld").mkdir()
    base = sqlite3.connect(root / "openewld/OpenEWLD.db")
    base.executescript(
        "CREATE TABLE works (id, title, first_performance_date, language, path_lyrics, path_leadsheet);"
        "CREATE TABLE work_author (id, author); CREATE TABLE work_genres (id, genre, occurrences);"
        "CREATE TABLE work_style (id, style, occurrences);"
        "INSERT INTO works VALUES (1, 'A Sad Waltz', '1921-01-01', 'English', '', 'a.mxl');"
        "INSERT INTO work_author VALUES (1, 'Jane Roe'); INSERT INTO work_genres VALUES (1, 'Jazz', 4);"
        "INSERT INTO work_style VALUES (1, 'Big Band', 2);"
    )
    base.close()
    return root


def test_collections_are_listed_with_the_facts_of_their_headers(collections):
    works = {work.collection: work for work in wider.list_wider(collections)}
    kern = works["polish"]
    assert (kern.composer, kern.form, kern.century, kern.region) == ("Jan Doe", "mazurka", 19, "poland")
    assert (kern.tonic, kern.mode) == (4, "minor")
    assert kern.tags == ["scoring:piano", "kind:secular", "marking:andante"]
    lead = works["leadsheets" if wider.is_outside("Jane Roe") else "leadsheets_training"]
    assert (lead.form, lead.century, lead.tags[-2:]) == ("waltz", 20, ["genre:jazz", "genre:big-band"])
    piano = works["piano_performed"]
    assert piano.groups[-1] == "chopin:op028"  # the group of the same opus among the first editions
    outsiders = {work.collection for work in wider.list_wider(collections, part="outside")}
    assert {"sandomierz", "piano_performed"} <= outsiders <= wider.OUTSIDE
    assert not {work.collection for work in wider.list_wider(collections, part="training")} & wider.OUTSIDE


def test_mutopia_shares_its_works_with_the_performances(tmp_path):
    folder = tmp_path / "mutopia"
    (folder / "midi").mkdir(parents=True)
    (folder / "metadata.tsv").write_text(
        "midi\tcomposer\ttitle\topus\tinstrument\tstyle\n"
        "midi/GriegE-waltz.mid\tGriegE\tWaltz\tOp. 12\tPiano\tRomantic\n",
        encoding="utf-8",
    )
    [work] = wider.list_wider(tmp_path, part="training")
    assert (work.collection, work.composer, work.form) == ("mutopia", "Edvard Grieg", "waltz")
    assert "grieg:op012" in work.groups and wider.catalogue_numbers("Opus 12 No 2") == ["op012"]


def test_instruments_of_headers_become_a_scoring():
    assert wider.scoring_of("1 alto 1 bass 1 soprn 1 tenor") == "choir"
    assert wider.scoring_of("1 alto 3 empty 1 organ 1 tenor 2 violn 1 vox") == "choir_orchestra"
    assert [wider.scoring_of(text) for text in ("2 organ", "1 piano 1 soprn", "1 viola 2 violn", "2 empty", "")] == [
        "organ", "voice_piano", "strings", "", "",
    ]  # fmt: skip


def test_a_folder_without_collections_is_an_error(tmp_path):
    with pytest.raises(DataError, match="unpack the archives"):
        wider.main([str(tmp_path), str(tmp_path / "out")])


def test_the_command_converts_scores_and_performances(collections, tmp_path):
    out = tmp_path / "out"
    argv = [str(collections), str(out), "--part", "outside"]
    (collections / "openewld/OpenEWLD.db").unlink()
    for path in (collections / "openewld", collections / "pl-wtm/kern"):
        assert path.is_dir()
    (collections / "openewld").rmdir()
    assert wider.main(argv) == 0
    rows = {row["collection"]: row for row in read_rows(out / "pieces.jsonl")}
    assert set(rows) == {"sandomierz", "piano_performed"}
    assert (out / "pieces" / rows["sandomierz"]["abc"]).read_text(encoding="utf-8").count("M:3/4") == 1
    assert "abc" not in rows["piano_performed"]
    assert (out / "pieces" / rows["piano_performed"]["mtf"]).is_file()
    found = concepts.concepts_of(rows["sandomierz"])
    assert {"form:mazurka", "metre:3/4", "mode:minor", "pace:slow", "mood:sad", "scoring:piano"} <= set(found)


def test_a_midi_file_reads_as_the_score_it_was_written_from():
    notes = [Note(0, 1, 60, "C"), Note(1, 0.5, 64, "E"), Note(1.5, 1.5, 67, "G")]
    score = Score([Part(program=73, notes=notes)], [(0, (3, 4))], [(0, 1)], 90, 1, False)
    read = performances.read_midi_score(to_midi(score))
    assert [(n.onset, n.length, n.pitch) for n in read.parts[0].notes] == [(n.onset, n.length, n.pitch) for n in notes]
    assert (read.metres, read.fifths, read.parts[0].program, read.bars) == ([(0, (3, 4))], [(0, 1)], 73, 1)
    assert read.tempo == pytest.approx(90, abs=0.01)


def test_a_midi_file_of_drums_alone_is_refused(tmp_path):
    track = mido.MidiTrack([mido.Message("note_on", channel=9, note=40), mido.Message("note_off", channel=9, note=40)])
    mido.MidiFile(tracks=[track]).save(tmp_path / "drums.mid")
    with pytest.raises(FormatError, match="no note of a pitched instrument"):
        performances.read_midi_score((tmp_path / "drums.mid").read_bytes())


def test_pace_follows_the_marking_before_the_notes():
    row = fact_row("p", density=4, tempo=120)
    assert concepts.pace_of(row) == "fast"
    assert concepts.pace_of({**row, "tags": ["marking:andante con moto"]}) == "slow"
    assert concepts.pace_of({**row, "tags": ["marking:allegro ma non troppo lento"]}) == "fast"
    assert concepts.pace_of({**row, "tags": [], "facts": {**row["facts"], "density": 0.5}}) == "slow"


def test_every_language_has_words_for_every_concept_and_texts_are_reproducible():
    with Path(phrases.__file__).with_name("glossary.tsv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE))
    assert len({row["concept"] for row in rows}) == len(rows)
    assert all(word.strip() == word and word for row in rows for cell in row.values() for word in cell.split("; "))
    record = phrases.record_of(fact_row("p1"))
    assert record == phrases.record_of(fact_row("p1")) != phrases.record_of(fact_row("p2"))
    lines = record["translations"]["description"].split("\n")
    assert len(lines) == 11 * (phrases.LINES // 8)
    waltzes = [w for words in phrases.glossary()["form:waltz"].values() for w in words]
    assert any(waltz in text for text in (*lines, *record["description"].split("\n")) for waltz in waltzes)
    assert phrases.phrase(["mood:sad", "form:waltz"], "de", random.Random(1))
    texts = phrases.music_texts(50, 1)
    assert len(set(texts)) == len(texts) > 1500


def test_works_of_which_a_part_is_held_out_are_not_trained_on(tmp_path):
    held = heldout_ids()[0]
    rows = [
        {**fact_row("a", collection="polish"), "groups": ["chopin:op028"]},
        fact_row("b", collection="polish"),
        {**fact_row("c", collection="polish"), "whole": "wb"},  # a copy of b
        {**fact_row(held, collection="polish"), "groups": ["tune:x"]},
        {**fact_row("d", collection="polish"), "groups": ["tune:x"]},
    ]
    out = [{**fact_row("o"), "groups": ["chopin:op028"]}]
    assert [row["id"] for row in blend.trainable(rows, out, {held})] == ["b"]
    many = [fact_row(f"m{n}", collection=f"c{n % 2}") for n in range(40)]
    write_rows(tmp_path / "part/pieces.jsonl", many)
    assert blend.main([str(tmp_path / "out"), "--parts", str(tmp_path / "part"), "--most", "5"]) == 0
    train, valid = (read_rows(tmp_path / f"out/{name}.jsonl") for name in ("train", "valid"))
    assert len(train) == 10
    assert not {row["id"] for row in train} & {row["id"] for row in valid}
    assert Path(train[0]["filepaths"][0]).is_absolute()
    with pytest.raises(DataError, match=r"no pieces\.jsonl"):
        blend.main([str(tmp_path / "out"), "--parts", str(tmp_path / "elsewhere")])


def test_the_table_explains_the_texts_and_leaves_unseen_pieces_as_they_were():
    rng = np.random.default_rng(0)
    prior = rng.normal(size=(30, 16)).astype(np.float32)
    prior[0] = 0
    texts = [rng.integers(1, 20, size=4).tolist() for _ in range(12)]
    targets = rng.normal(size=(12, 16)).astype(np.float32)
    table = words.fit_table(prior, texts, targets, width=16, ridge=1e-6)
    mean = targets.mean(axis=0)
    _, basis = np.linalg.eigh((targets - mean).T @ (targets - mean))
    basis = basis[:, ::-1]
    found = np.stack([table[text].mean(axis=0) for text in texts])
    np.testing.assert_allclose(found, (targets - mean) @ basis, atol=1e-3)
    np.testing.assert_allclose(table[20:], (prior[20:] - mean) @ basis, atol=1e-5)
    assert not table[0].any()


def test_the_vocabulary_keeps_what_our_texts_use_and_the_tokenizer_lower_cases():
    names = ["<unk>", "<s>", "</s>", "▁a", "▁Waltz", "▁waltz", "z", "曲"]
    pieces = SimpleNamespace(
        get_piece_size=lambda: len(names), id_to_piece=names.__getitem__, get_score=lambda at: -float(at),
        is_control=lambda at: at in (1, 2), unk_id=lambda: 0, encode=lambda text: [7] if "曲" in text else [5],
    )  # fmt: skip
    entries = words.vocabulary(pieces, ["waltz", "曲"], 6)
    assert [name for name, _ in entries] == ["<s>", "<pad>", "</s>", "<unk>", "▁waltz", "曲"]
    encoded = words.tokenizer_of([*entries, ("▁", -1.0)]).encode("Waltz 曲")
    assert encoded.tokens == ["<s>", "▁waltz", "▁", "曲", "</s>"]


class FakeTeacher:
    """What words.py asks: pieces that are characters, and random vectors that depend on the text only."""

    names = ("<unk>", "<s>", "</s>", "▁", *"abcdefghijklmnopqrstuvwxyz0123456789/,:-")
    pieces = SimpleNamespace(
        get_piece_size=lambda: len(FakeTeacher.names), id_to_piece=lambda at: FakeTeacher.names[at],
        get_score=lambda at: -float(at), is_control=lambda at: at in (1, 2), unk_id=lambda: 0,
        encode=lambda text: [FakeTeacher.names.index(one) for one in text if one in FakeTeacher.names],
    )  # fmt: skip

    def __call__(self, texts):
        return np.stack([np.random.default_rng(list(text.encode())).normal(size=512) for text in texts]).astype("f4")


def test_another_text_tower_leaves_the_vectors_of_music_as_they_were(tmp_path, monkeypatch):
    from clamp3.embedding.clamp3 import Clamp3

    monkeypatch.setattr(words, "Teacher", FakeTeacher)
    monkeypatch.setattr(words, "KERNEL", 200)
    monkeypatch.setattr(words, "ASIDE", 100)
    text, work = tmp_path / "text", tmp_path / "work"
    argv = [str(text), "--texts", "40", "--steps", "2", "--batch_size", "8"]
    assert words.main(argv) == 0
    facts = json.loads((text / "words.json").read_text(encoding="utf-8"))
    assert facts["pieces"] == len(FakeTeacher.names) + 1  # the specials are four, not three
    assert facts["texts"] > 1500
    stamp = (text / "teacher.npz").stat().st_mtime_ns
    assert words.main([*argv[:-3], "3", *argv[-2:]]) == 0  # goes on: the teacher is not asked again
    assert (text / "teacher.npz").stat().st_mtime_ns == stamp

    assert graft.main([str(work / "graft"), "--text", str(text)]) == 0
    new, old = (Clamp3.from_pretrained(name) for name in (work / "graft/mini.safetensors", "mini"))
    tune = b"L:1/8\nM:2/4\nK:C\nV:1 treble\n[V:1]CDEF|\n[V:1]G4|]\n"
    np.testing.assert_allclose(new.encode([tune]).vectors, old.encode([tune]).vectors, atol=1e-6)
    words_now = ["a sad waltz", "a mazurka"]
    assert not np.allclose(new.encode(words_now).vectors, old.encode(words_now).vectors)
    assert new.identity != old.identity

    trained = work / "graft/mini.safetensors"
    assert graft.main([str(work / "export"), "--text", str(text), "--trained", str(trained)]) == 0
    small = Clamp3.from_pretrained(work / "export/mini.safetensors")
    for items in (words_now, [tune]):
        a, b = (unit_rows(model.encode(items).vectors) for model in (small, new))
        assert (a * b).sum(axis=1).min() > 0.999  # matrices have 8 bits a number
    assert (work / "export/mini.safetensors").stat().st_size < trained.stat().st_size / 2


def test_a_word_table_that_moved_is_not_written_as_the_old_one(tmp_path):
    table = {"table": torch.ones(4, 2), "lift": torch.ones(3, 2)}
    save_file(table, tmp_path / "table.safetensors")
    with pytest.raises(DataError, match="train_layers text=2"):
        graft.small_matrices(tmp_path, {graft.WORDS: torch.zeros(4, 3)})
    assert graft.WORDS in graft.small_matrices(tmp_path, {graft.WORDS: torch.full((4, 3), 2.0)})


def test_the_second_recipe_uses_flags_the_scripts_have(tmp_path):
    import train_clamp3_audio
    import train_clamp3_symbolic

    args = second.build_parser().parse_args(["--work_dir", str(tmp_path), "--collections", "x", "--steps", "90"])
    align = train_clamp3_symbolic.build_parser().parse_args(second.align_flags(args))
    assert (align.train_layers, align.seed, align.warmup_steps, align.max_steps) == (["text=2"], 42, 20, 90)
    again = train_clamp3_symbolic.build_parser().parse_args(second.align_flags(args, again=True))
    assert (again.init, again.mix, again.max_steps) == ([str(tmp_path / "align/best.safetensors")], [1.0, 2.0], 1250)
    audio = train_clamp3_audio.build_parser().parse_args(second.audio_flags(args))
    assert (audio.freeze_text, audio.freeze_symbolic) == (True, True)
    assert audio.init == [str(tmp_path / "again/best.safetensors")]
    names = [step.name for step in second.steps(args)]
    assert names == ["words", "wider", "outside", "blend", "graft", "align", "again", "sound", "audio", "export",
                     "outside numbers", "evaluation"]  # fmt: skip
    args.audio_steps = 0
    assert "audio" not in [step.name for step in second.steps(args)]


def test_what_tells_topics_apart_is_kept_only_if_it_does():
    rng = np.random.default_rng(0)
    music = {text for part in ("learn", "test") for text in topic.texts_of(part, "music")}

    def encode(texts, apart=4.0):
        return unit_rows(rng.standard_normal((len(texts), 32)) + [[apart * (text in music)] * 32 for text in texts])

    found = topic.learned(encode)
    assert found["found"] == 1 and found["false_alarms"] <= topic.MOST_ALARMS
    assert len(found["direction"]) == 32 and json.loads(json.dumps(found)) == found
    assert topic.learned(lambda texts: encode(texts, apart=0.0)) == {}
