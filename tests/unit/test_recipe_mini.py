import collections
import io
import json
import random
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import mido
import numpy as np
import pytest

from clamp3.errors import ConfigError, DataError, FormatError
from clamp3.jobs.steps import Step
from recipes.mini import build_data, evaluate, heldout, pieces, records, render, scores, split, tokenizer, works
from recipes.mini import run as recipe
from recipes.mini.lexicon import LANGUAGES, SCENE_OF, SCORING_OF, keys, word
from recipes.mini.templates import TEMPLATES

CODE = Path(__file__).resolve().parents[2] / "code"


def score_xml(bars, *, fifths=0, beats=3, unit=4, name="Violin", transpose=None):
    """A one-part score; bars are lists of (step, alter, octave, length in quarters, extra XML)."""
    out = []
    for number, notes in enumerate(bars):
        head = ""
        if number == 0:
            shift = f"<transpose><chromatic>{transpose}</chromatic></transpose>" if transpose else ""
            head = (
                f"<attributes><divisions>4</divisions><key><fifths>{fifths}</fifths></key>"
                f"<time><beats>{beats}</beats><beat-type>{unit}</beat-type></time>{shift}</attributes>"
            )
        body = "".join(
            f"<note>{extra}<pitch><step>{step}</step><alter>{alter}</alter><octave>{octave}</octave></pitch>"
            f"<duration>{int(4 * length)}</duration></note>"
            for step, alter, octave, length, extra in notes
        )
        out.append(f"<measure number='{number}'>{head}{body}</measure>")
    return (
        "<score-partwise><work><work-title>A Tune</work-title></work><part-list><score-part id='P1'>"
        f"<part-name>{name}</part-name></score-part></part-list><part id='P1'>{''.join(out)}</part></score-partwise>"
    ).encode()


# G major in 3/4 with a pick-up D, a held G over the bar line, and a chord at the end.
WALTZ = score_xml(
    [
        [("D", 0, 4, 1, "")],
        [("G", 0, 4, 1, ""), ("B", 0, 4, 1, ""), ("D", 0, 5, 1, "")],
        [("F", 1, 4, 2, ""), ("G", 0, 4, 1, "<tie type='start'/>")],
        [("G", 0, 4, 2, "<tie type='stop'/>"), ("B", 0, 4, 0.5, ""), ("A", 0, 4, 0.5, "")],
        [("G", 0, 4, 3, ""), ("B", 0, 4, 3, "<chord/>")],
    ],
    fifths=1,
)


def row(**changes):
    made = {
        "id": "oneill-1", "collection": "oneill", "title": "The Test", "composer": "", "region": "ireland",
        "century": 19, "form": "reel", "groups": ["tune:test"], "whole": "w1", "incipit": "1 2",
        "abc": "oneill/1.abc", "mtf": "oneill/1.mtf",
        "facts": {
            "key": "D", "mode": "major", "metre": "2/2", "voices": 1, "instruments": [], "bars": 16, "low": 62,
            "high": 79, "opening": ["D", "F#", "A", "Bb"], "contour": ["up", "up", "up"], "degrees": [0, 4, 7, 8],
            "shortest": 0.5, "tempo": None, "pickup": True, "leap": 14, "steps": 60, "repeats": 5, "last": "D",
            "notes": 90, "density": 2.0,
        },
    }  # fmt: skip
    facts = changes.pop("facts", {})
    return {**made, **changes, "facts": {**made["facts"], **facts}}


def test_facts_of_a_small_waltz_by_hand():
    score = scores.read_musicxml(WALTZ)
    facts = scores.facts_of(score)
    assert (score.title, score.bars, score.pickup) == ("A Tune", 5, True)
    assert (facts["key"], facts["mode"], facts["metre"]) == ("G", "major", "3/4")
    assert (facts["low"], facts["high"]) == (62, 74)  # D4 to D5
    # The last chord sounds on top of G: the melody is its highest note.
    assert facts["opening"] == ["D", "G", "B", "D", "F#", "G", "B", "A"]
    assert facts["last"] == "B"
    assert facts["contour"] == ["up", "up", "up", "down", "up", "up"]
    assert facts["leap"] == 8  # D5 down to F sharp 4
    # moves 5 4 3 -8 1 4 -2 2: three of eight are steps
    assert facts["steps"] == round(100 * 3 / 8)
    assert facts["shortest"] == 0.5
    held = [note for note in score.parts[0].notes if note.onset == 6.0]
    assert [(note.name, note.length) for note in held] == [("G", 3.0)]


def test_transposing_parts_sound_as_they_should():
    score = scores.read_musicxml(score_xml([[("C", 0, 5, 3, "")]], transpose=-2))
    assert score.parts[0].notes[0].pitch == 70


def test_scores_without_notes_or_sense_are_refused():
    with pytest.raises(FormatError, match="no part"):
        scores.read_musicxml(score_xml([[]]))
    with pytest.raises(FormatError, match="well-formed"):
        scores.read_musicxml(b"<score-partwise><part>")


@pytest.mark.parametrize(
    ("names", "tonic", "mode", "expected"),
    [
        ("C D E G A C", 0, None, ("C", "pentatonic")),
        ("D E F G A B C D", 2, None, ("D", "dorian")),
        ("G A B C D E F G", 7, None, ("G", "mixolydian")),
        ("A B C D E F G A", 9, "minor", ("A", "minor")),
        ("C D E F G A B C G E C", None, None, ("C", "major")),
    ],
)
def test_keys_and_modes(names, tonic, mode, expected):
    notes = [(name, 0, 4, 1, "") for name in names.split()]
    score = scores.read_musicxml(score_xml([notes], beats=len(notes)))
    assert scores.find_key(score, tonic, mode) == expected


def test_midi_holds_the_notes_of_the_score():
    data = scores.to_midi(scores.read_musicxml(WALTZ), ticks=96, velocity=70)
    read = mido.MidiFile(file=io.BytesIO(data))
    assert read.ticks_per_beat == 96
    now, starts = 0, []
    for message in read.merged_track:
        now += message.time
        if message.type == "note_on":
            starts.append((now, message.note, message.velocity))
    assert starts[:3] == [(0, 62, 70), (96, 67, 70), (192, 71, 70)]
    assert sorted(starts[-2:]) == [(96 * 10, 67, 70), (96 * 10, 71, 70)]
    assert now == 96 * 13


def test_fingerprints_know_a_transposed_copy_and_tell_variants_apart():
    tune = [("C", 0, 4, 1, ""), ("E", 0, 4, 1, ""), ("D", 0, 4, 1, "")] * 8
    up = [({"C": "D", "E": "F", "D": "E"}[s], 1 if s == "E" else 0, o, n, x) for s, _, o, n, x in tune]
    other = [*tune[:-1], ("G", 0, 4, 1, "")]
    first, same, variant = (scores.fingerprints(scores.read_musicxml(score_xml([t]))) for t in (tune, up, other))
    assert first == same
    assert variant[0] != first[0] and variant[1] == first[1] != ""


def test_kern_is_cut_at_a_bar_line():
    lines = ["**kern\t**kern", *(line for n in range(1, 90) for line in (f"={n}\t={n}", "1c\t1e")), "*-\t*-"]
    cut = pieces.cut_kern("\n".join(lines).encode()).decode().splitlines()
    assert cut[-1] == "*-\t*-"
    assert sum(line.startswith("=") for line in cut) == works.KERN_BARS
    short = b"**kern\n=1\n1c\n*-\n"
    assert pieces.cut_kern(short) == short


def test_a_tune_becomes_interleaved_abc_mtf_and_facts(tmp_path):
    tune = "X:1\nT:The Test\nR:reel\nM:4/4\nL:1/8\nK:Ador\nA2AB cBAG|A2AB c2A2:|\n"
    work = works.Source("oneill-x", "oneill", "abc", "x.abc", tune, title="The Test", region="ireland", century=19)
    work.form, (work.tonic, work.mode) = "reel", (9, "dorian")
    made = pieces.convert(work, root="", out=str(tmp_path))
    abc, mtf = ((tmp_path / "pieces" / made[kind]).read_text() for kind in ("abc", "mtf"))
    assert "[V:1]" in abc and "T:" not in abc
    assert mtf.startswith("ticks_per_beat ") and mtf.count("note_on") == 12
    assert (made["facts"]["key"], made["facts"]["mode"], made["facts"]["metre"]) == ("A", "dorian", "4/4")
    assert json.loads(json.dumps(made)) == made


def test_every_word_exists_in_every_language_with_its_gender():
    for table in ("form", "pace", "mood", "mode", "country", "origin", "collection", "label", "scoring", "scene",
                  "interval", "length", "contour"):  # fmt: skip
        assert keys(table)
        for key in keys(table):
            assert all(word(table, key, language).strip() for language in LANGUAGES), (table, key)
    for form in keys("form"):
        assert all(word("form", form, language)[:2] in ("m:", "f:", "n:") for language in ("de", "fr", "es")), form
    assert set(SCENE_OF) <= set(keys("form")) and set(SCENE_OF.values()) <= set(keys("scene"))
    assert set(SCORING_OF) == set(keys("label")) == set(keys("collection"))
    assert keys("country") == keys("origin")


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_template_can_be_filled_for_every_form_region_and_mode(language):
    for form in keys("form"):
        for region, mode in zip(keys("country"), keys("mode") * 4, strict=False):
            words = records.words_of(row(form=form, region=region, facts={"mode": mode}), language, random.Random(0))
            for lines in TEMPLATES[language].values():
                for phrasings in lines:
                    for text in phrasings:
                        assert "{" not in text.format_map(words)


def test_grammar_of_typical_sentences():
    assert records.key_name("F#", "minor", "de") == "fis-Moll"
    assert records.key_name("Bb", "major", "de") == "B-Dur"
    assert records.key_name("B", "minor", "de") == "h-Moll"
    assert records.key_name("Eb", "major", "fr") == "mi bémol majeur"
    assert records.key_name("D", "minor", "es") == "re menor"
    assert records.key_name("G", "major", "zh") == "G大调"
    assert records.adjective("ruhig", "m", "de") == "ruhiger"
    assert records.adjective("vif/vive", "f", "fr") == "vive"
    assert records.article("Irish reel", "", "en") == "an"
    words = records.words_of(row(), "de", random.Random(1))
    assert words["a_origin"] + " " + words["noun"] == "ein irischer Reel"


def test_a_record_has_the_fields_training_reads_and_is_the_same_every_time():
    first, again = records.make_record(row(), folder="train"), records.make_record(row(), folder="train")
    assert first == again
    assert set(first) == {"id", "title", "artists", "region", "language", "genres", "tags", "background", "analysis",
                          "description", "scene", "translations", "filepaths"}  # fmt: skip
    assert first["filepaths"] == ["train/oneill/1.abc", "train/oneill/1.mtf"]
    assert "D F# A Bb" in first["analysis"] and "16 bars" in first["analysis"] and "D major" in first["analysis"]
    assert "pick-up" in first["analysis"]
    languages = collections.Counter(records.make_record(row(id=f"w{n}"))["language"] for n in range(400))
    assert len(languages) == 4 and min(languages.values()) > 60


def test_a_piece_without_time_signature_does_not_name_one():
    for language in LANGUAGES:
        for field in records.FIELDS:
            text = records.lines_of(row(facts={"metre": ""}), field, language)
            assert "?" not in text and "//" not in text and "{" not in text
    assert "no fixed metre" in records.lines_of(row(facts={"metre": ""}), "analysis", "en")


def test_pieces_that_share_a_group_notes_or_an_opening_are_one_work():
    rows = [
        row(id="a", groups=["g1"], whole="w1", incipit="i1"),
        row(id="b", groups=["g1", "g2"], whole="w2", incipit="i2"),
        row(id="c", groups=["g3"], whole="w3", incipit="i2"),
        row(id="d", groups=["g4"], whole="w4", incipit=""),
        row(id="e", groups=["g5"], whole="w5", incipit=""),
    ]
    assert split.works_of(rows) == {"a": "a", "b": "a", "c": "a", "d": "d", "e": "e"}
    assert [kept["id"] for kept in split.drop_copies([*rows, row(id="f", whole="w1")])] == list("abcde")


def test_a_tenth_of_the_works_is_held_out_and_no_work_is_split():
    rows = [row(id=f"p{n}", groups=[f"g{n // 3}"], whole=f"w{n}", incipit="") for n in range(6000)]
    parts = split.assign(rows)
    counts = collections.Counter(parts.values())
    assert 450 < counts["heldout"] < 750 and 60 < counts["valid"] < 170
    for n in range(0, 6000, 3):
        assert len({parts[f"p{n + k}"] for k in range(3)}) == 1
    assert split.assign(rows[::-1]) == parts


def test_training_only_pieces_of_a_held_out_work_are_left_out():
    rows = [row(id=f"p{n}", groups=[f"g{n}"], whole=f"w{n}", incipit="") for n in range(300)]
    songs = [row(id=f"s{n}", collection="lieder", groups=[f"g{n}"], whole=f"s{n}", incipit="") for n in range(300)]
    alone = [row(id=f"t{n}", collection="lieder", groups=[f"h{n}"], whole=f"t{n}", incipit="") for n in range(300)]
    parts = split.assign(rows + songs + alone)
    assert {parts[f"s{n}"] for n in range(300) if parts[f"p{n}"] == "heldout"} == {"none"}
    assert {parts[f"s{n}"] for n in range(300) if parts[f"p{n}"] == "train"} == {"train"}
    assert {parts[f"t{n}"] for n in range(300)} == {"train"}


def test_the_corpus_is_listed_with_what_its_headers_say():
    found = {work.id: work for work in works.list_works(works.corpus_root())}
    assert len(found) > 13_000
    chorale = found["bach-bwv4-8-mxl"]
    assert (chorale.collection, chorale.form, chorale.century) == ("bach_chorale", "chorale", 18)
    tune = next(work for work in found.values() if work.title.startswith("Annie Hughes"))
    assert (tune.collection, tune.form, tune.tonic, tune.mode) == ("ryan", "jig", 10, "major")
    assert {"germany", "china", "ireland", "italy"} <= {work.region for work in found.values()}
    # Two sources of the same quartet or mass never part.
    masses = collections.Counter(work.groups[0] for work in found.values() if work.collection == "palestrina")
    assert max(masses.values()) <= works.MOVEMENTS_PER_MASS


def test_held_out_examples_are_in_the_corpus_varied_and_writable(tmp_path):
    ids = heldout.heldout_ids()
    assert len(ids) == len(set(ids)) > 1000 and ids == sorted(ids)
    found = heldout.heldout_works()
    assert len(found) == len(ids)
    chosen = heldout.heldout_examples(9)
    assert len({work.collection for work in chosen}) == 9
    assert chosen == heldout.heldout_examples(30)[:9]
    tunes = [work for work in chosen if work.kind != "kern"][:3]
    written = heldout.write_examples(tunes, tmp_path)
    assert [Path(record["filepaths"][0]).suffix for record in written][2] == ".mid"
    assert all((tmp_path / record["filepaths"][0]).stat().st_size > 100 for record in written)


def test_the_tokenizer_numbers_special_tokens_as_xlmr_and_knows_every_character():
    made = tokenizer.train_tokenizer(iter(["a lively Irish reel in D major", "ein ruhiger Choral"] * 40), 400)
    encoded = made.encode("A lively IRISH reel")
    assert encoded.tokens[0] == "<s>" and encoded.tokens[-1] == "</s>"
    assert [made.token_to_id(token) for token in ("<s>", "<pad>", "</s>", "<unk>")] == [0, 1, 2, 3]
    assert made.encode("a lively irish reel").ids == encoded.ids
    assert 3 not in made.encode("欢快的爱尔兰 Ω 🎵").ids
    lines = made.encode("reel</s>choral").tokens
    assert lines.count("</s>") == 2
    assert made.decode(made.encode("ein ruhiger choral").ids) == "ein ruhiger choral"


class Oracle:
    """Gives each piece a direction of its own, whatever it is asked in."""

    identity = "oracle"

    def __init__(self, of_item):
        self.of_item = of_item

    def encode(self, items):
        vectors = np.array([self.of_item(item) for item in items], np.float32)
        return SimpleNamespace(vectors=vectors, errors=[None] * len(vectors))

    def lacks(self, modality):
        return None


def data_folder(folder, rows):
    for name in ("abc", "mtf"):
        for piece in rows:
            path = folder / "heldout" / piece[name]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{piece['id']}")
    build_data.write_rows(folder / "pieces.jsonl", rows)
    build_data.write_rows(folder / "heldout.jsonl", [records.make_record(piece, folder="heldout") for piece in rows])


def test_evaluation_gives_a_perfect_model_one_and_a_constant_model_nothing(tmp_path):
    names = ("oneill", "bach_chorale", "essen_china", "palestrina")
    rows = [
        row(id=f"p{n}", collection=names[n % 4], abc=f"p{n}.abc", mtf=f"p{n}.mtf", facts={"bars": 100 + n})
        for n in range(20)
    ]
    data_folder(tmp_path, rows)
    where = {record["analysis"]: n for n, record in enumerate(evaluate.held_out(tmp_path))}

    def direction(item):
        vector = np.zeros(24)
        if isinstance(item, Path):
            n = int(item.stem[1:])
            vector[n], vector[20 + n % 4] = 1, 0.5
            return vector
        text = item[0].decode()
        prompt = [index for index, name in enumerate(names) if text == evaluate.prompt_of(name, "en")]
        if prompt:
            vector[20 + prompt[0]] = 1
        elif text in where:
            vector[where[text]] = 1
        return vector

    found = evaluate.measure(Oracle(direction), tmp_path)
    assert found["analysis (en) to ABC"]["mrr"] == found["ABC to MTF"]["mrr"] == 1
    assert found["zero-shot collection (en), ABC"]["accuracy"] == 1
    assert found["analysis (de) to ABC"]["mrr"] == pytest.approx(1 / 20)  # zero vectors: all tied, worst rank
    constant = evaluate.measure(Oracle(lambda item: np.ones(3)), tmp_path)
    assert constant["ABC to MTF"]["mrr"] == pytest.approx(1 / 20)
    assert constant["zero-shot collection (en), ABC"]["balanced_accuracy"] == pytest.approx(1 / 4)
    assert "ABC to MTF" in evaluate.summary(found)
    assert "audio to ABC" not in found  # there is no sound

    with_sound = build_data.read_rows(tmp_path / "heldout.jsonl")
    for record in with_sound:
        record["filepaths"].append(f"audio/heldout/{record['id']}.npy")
    build_data.write_rows(tmp_path / "heldout.jsonl", with_sound)
    found = evaluate.measure(Oracle(direction), tmp_path)
    assert found["analysis (en) to audio"]["mrr"] == found["audio to ABC"]["mrr"] == found["MTF to audio"]["mrr"] == 1
    assert found["zero-shot collection (en), audio"]["accuracy"] == 1
    del with_sound[0]["filepaths"][-1]
    build_data.write_rows(tmp_path / "heldout.jsonl", with_sound)
    with pytest.raises(DataError, match="19 of 20 held-out pieces"):
        evaluate.measure(Oracle(direction), tmp_path)


def test_evaluation_stops_over_inputs_that_fail(tmp_path):
    data_folder(tmp_path, [row(id="p0", abc="p0.abc", mtf="p0.mtf")])
    broken = SimpleNamespace(
        identity="x",
        lacks=lambda modality: "no such tower",
        encode=lambda items: SimpleNamespace(vectors=None, errors=["unreadable"] * len(items)),
    )
    with pytest.raises(DataError, match="unreadable"):
        evaluate.measure(broken, tmp_path)
    with pytest.raises(DataError, match="run build_data"):
        evaluate.held_out(tmp_path / "elsewhere")


def test_a_finished_step_is_not_done_again_and_settings_are_not_mixed(tmp_path, monkeypatch):
    done = []

    def fake_steps(args):
        def step(name, fail):
            def act():
                if fail and not (tmp_path / "mended").exists():
                    raise DataError("broken")
                done.append(name)

            return act

        names = {"data": False, "m3": True, "export": False}
        return [Step(name, args.limit, step(name, fail)) for name, fail in names.items()]

    monkeypatch.setattr(recipe, "steps", fake_steps)
    with pytest.raises(DataError):
        recipe.main(["--work_dir", str(tmp_path)])
    (tmp_path / "mended").touch()
    assert recipe.main(["--work_dir", str(tmp_path)]) == 0
    assert done == ["data", "m3", "export"]
    with pytest.raises(ConfigError, match="with other settings"):
        recipe.main(["--work_dir", str(tmp_path), "--limit", "5"])


def test_the_recipe_uses_flags_the_training_scripts_have(tmp_path):
    import train_clamp3_audio
    import train_clamp3_symbolic
    import train_m3

    m3 = train_m3.build_parser().parse_args(recipe.m3_flags(tmp_path, 5))
    clamp3 = train_clamp3_symbolic.build_parser().parse_args(recipe.clamp3_flags(tmp_path, 5))
    assert clamp3.init == [str(m3.out / "best.safetensors")]
    assert clamp3.max_patches == m3.max_patches  # later positions would never be trained
    assert m3.seed == clamp3.seed == recipe.SEED
    restart = train_clamp3_symbolic.build_parser().parse_args(recipe.restart_flags(tmp_path, 5))
    assert restart.init == [str(clamp3.out / "best.safetensors")]
    audio = train_clamp3_audio.build_parser().parse_args(recipe.audio_flags(tmp_path, 5))
    assert audio.init == [str(restart.out / "best.safetensors")] and audio.freeze_text and audio.front_end == "mel"
    pairs = train_clamp3_audio.build_parser().parse_args(recipe.pair_flags(tmp_path, 5))
    assert pairs.init == [str(audio.out / "best.safetensors")] and pairs.freeze_text is False
    assert "abc-mtf" in pairs.pairs and pairs.max_patches == clamp3.max_patches


@pytest.mark.parametrize("optional", [0, 1])
def test_the_steps_in_order(tmp_path, optional):
    args = recipe.build_parser().parse_args(["--work_dir", str(tmp_path), "--audio_steps", f"{optional}", "--install"])
    sound = ["sound", "audio", "pairs"] if optional else []
    expected = ["data", "tokenizer", "m3", "clamp3", "restart", *sound, "export", "evaluation", "install"]
    assert [step.name for step in recipe.steps(args)] == expected


def test_held_out_pieces_sound_through_other_presets_and_at_other_tempi():
    assert not set(render.TRAINING_SOUNDS) & set(render.HELD_OUT_SOUNDS)
    assert not set(render.TRAINING_TEMPI) & set(render.HELD_OUT_TEMPI)
    track = mido.MidiTrack([mido.Message("program_change", program=99)])
    for _ in range(200):  # half a second each, at MIDI's default tempo
        track += [mido.Message("note_on", note=60, velocity=64), mido.Message("note_off", note=60, time=480)]
    stream = io.BytesIO()
    mido.MidiFile(ticks_per_beat=480, tracks=[track]).save(file=stream)
    for held_out, sounds, tempi in (
        (True, render.HELD_OUT_SOUNDS, render.HELD_OUT_TEMPI),
        (False, render.TRAINING_SOUNDS, render.TRAINING_TEMPI),
    ):
        found = mido.MidiFile(
            file=io.BytesIO(render.arrange(stream.getvalue(), "a", held_out=held_out, longest_sec=10))
        )
        programs = {message.program for message in found.tracks[0] if message.type == "program_change"}
        assert programs and programs <= set(sounds)
        tempo = next(message.tempo for message in found.tracks[0] if message.type == "set_tempo")
        assert tempo in [round(500_000 / factor) for factor in tempi]
        assert 9 < found.length <= 10  # cut
        notes = [message.type for message in found.tracks[0] if message.type.startswith("note")]
        assert notes.count("note_on") == notes.count("note_off") > 15  # what sounds at the cut is ended
    assert render.feature_path("heldout/aird/x.mtf", "heldout") == "audio/heldout/aird/x.npy"


@pytest.mark.parametrize("script", ["build_data", "tokenizer", "render", "clips", "evaluate", "run"])
def test_help_is_quick(script):
    command = [sys.executable, "-X", "importtime", str(CODE / f"recipes/mini/{script}.py"), "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "python code/recipes/mini/" in shown.stdout
    imported = {line.rpartition("|")[2].strip() for line in shown.stderr.splitlines()}
    assert "clamp3.cli" in imported and not imported & {"torch", "transformers", "music21"}
