"""Labelled data sets in miniature copies of their layouts, read and run as benchmarks."""

import csv
import hashlib
import json
import zipfile
from collections import Counter
from dataclasses import replace
from pathlib import PurePosixPath

import numpy as np
import pytest

from clamp3.datasets import emo, giantsteps, gtzan, jamendo, mtt, nsynth, pianist8, vgmidi, vocalset
from clamp3.datasets.classification import BENCHMARKS, open_benchmark
from clamp3.datasets.published import tables
from clamp3.embedding.encoder import Result
from clamp3.errors import ConfigError, DataError, FormatError
from clamp3.probe.benchmark import MARBLE, PUBLISHED, VALIDATED, run_benchmark

WIDTH = 6


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def touch(*paths):
    """Write what stands for recordings: the stub encoder reads nothing but the first word."""
    for path in paths:
        write(path, f"sound of {path.name}")


def table(path, rows, delimiter=","):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream, delimiter=delimiter).writerows(rows)


class StubModel:
    """An encoder whose vectors are drawn by the hash of the bytes; files with "broken" in them have none."""

    identity = "stub:float32"

    def __init__(self, lacking=()):
        self.lacking, self.encoded = lacking, []

    def lacks(self, modality):
        return f"no {modality} tower." if modality in self.lacking else None

    def stream(self, sources):
        for index, source in enumerate(sources):
            self.encoded.append(source.name)
            data = source.read()
            if b"broken" in data:
                yield Result(index, source.name, error="broken on purpose.")
            else:
                seed = int.from_bytes(hashlib.sha256(data).digest()[:4], "little")
                yield Result(index, source.name, np.random.default_rng(seed).standard_normal(WIDTH).astype(np.float32))


# --- layouts ---------------------------------------------------------------------------------------------------------

ABC = "L:1/8\nM:2/4\nK:{}\nV:1 treble\n[V:1]{}2A2|\n[V:1]B4|]\n"


def make_wikimt(root):
    rows = [
        {"title": f"T{i}", "artist": "A", "genre": ("Jazz", "Folk")[i % 2], "description": f"d{i}", "music": music(i)}
        for i in range(15)
    ]
    write(root / "wikimusictext.jsonl", "\n".join(map(json.dumps, rows)))


def music(i):
    return ABC.format("CDEFGAB"[i % 7], "cdefgab"[i // 2 % 7])


def make_wikimtx(root):
    texts = {field: f"{field} of a song" for field in ("background", "analysis", "description", "scene")}
    rows = [
        {"id": f"id-{i:02d}", "genre": ("Jazz", "Pop")[i % 2], **{k: f"{v} {i}" for k, v in texts.items()}}
        | {"leadsheet": music(i)}
        for i in range(15)
    ]
    write(root / "wikimt-x-public.jsonl", "\n".join(map(json.dumps, rows)))
    touch(*(root / "audio" / f"id-{i:02d}.mp3" for i in range(15)))


def make_vgmidi(root):
    """Twelve pieces; the last two are phrases of one piece with different signs, and one file has no row."""
    signs = [("1", "1"), ("-1", "1"), ("-1", "-1"), ("1", "-1")]
    rows = [(f"labelled/phrases/Game_NES_Piece {i}_0.mid", *signs[i % 4]) for i in range(12)]
    rows += [("labelled/phrases/Game_NES_Two_0.mid", "1", "1"), ("labelled/phrases/Game_NES_Two_1.mid", "-1", "1")]
    header = ("id", "series", "console", "game", "piece", "midi", "valence", "arousal")
    table(root / "vgmidi_labelled.csv", [header, *((1, "s", "c", "g", "p", *row) for row in rows)])
    for i, name in enumerate([*(f"Game_NES_Piece {i}.mid" for i in range(12)), "Game_NES_Two.mid", "Other.mid"]):
        path = root / "labelled" / "midi" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(midi_file(60 + i))


def midi_file(pitch):
    """Return a MIDI file of four notes."""
    import io

    import mido

    file = mido.MidiFile(ticks_per_beat=480)
    track = mido.MidiTrack()
    file.tracks.append(track)
    for step in range(4):
        track.append(mido.Message("note_on", note=pitch + step, velocity=80, time=0))
        track.append(mido.Message("note_off", note=pitch + step, velocity=0, time=240))
    stream = io.BytesIO()
    file.save(file=stream)
    return stream.getvalue()


def make_pianist8(root):
    for place, composer in enumerate(("Bethel", "Yiruma")):
        for i in range(8):
            path = root / "midi" / composer / f"{composer}_{i}.mid"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(midi_file(40 + 10 * place + i))


def make_mtt(root):
    """Fifty-two tags; the first is never used and the last but one rarely, so they are not among the fifty."""
    tags = [f"tag{i:02d}" for i in range(52)]
    rows = [["clip_id", *tags, "mp3_path"]]
    for number, folder in enumerate("0bcdef" * 4):
        marks = [int(0 < i < 51 and (i + number) % 3 != 0) for i in range(52)]
        marks[50] = int(number == 0)
        marks[51] = number % 2
        rows.append([number, *marks, f"{folder}/clip-{number}.mp3"])
        if number != 23:
            touch(root / "mp3" / folder / f"clip-{number}.mp3")
    rows.append([99, *[0] * 52, "b/untagged.mp3"])
    touch(root / "mp3" / "b" / "untagged.mp3")
    table(root / "annotations_final.csv", rows, "\t")


def make_gs(root):
    train, test = root / "giantsteps-mtg-key-dataset-fd7b8c5", root / "giantsteps-key-dataset"
    keys = ["D# minor", "C major", "A minor / C major", "-", "F minor", "C major", "D# minor", "C major"]
    confidence = ["2", "2", "2", "0", "1", "2", "2", "2"]
    table(
        train / "annotations" / "annotations.txt",
        [("ID", "MANUAL KEY", "C"), *((i, keys[i], confidence[i]) for i in range(8))],
        "\t",
    )
    artists = ["Ann", "Ann", "Bob", "Bob", "Bob", "Cy, Dee", "Dee, Eve", "Fay"]
    table(
        train / "annotations" / "beatport_metadata.txt",
        [("ID", "ARTIST", "SONG TITLE"), *((i, artists[i], "x") for i in range(8))],
        "\t",
    )
    touch(*(train / "audio" / f"{i}.LOFI.mp3" for i in range(8)))
    for i, key in enumerate(("E minor", "Gb major", "C# minor")):
        write(test / "annotations" / "key" / f"10{i}.LOFI.key", f"{key}\n")
        touch(test / "audio" / f"10{i}.LOFI.mp3")


def make_gtzan(root):
    lists = {"train": [], "valid": [], "test": []}
    for genre in ("blues", "jazz"):
        for i in range(8):
            name = f"{genre}/{genre}.000{i:02d}"
            lists["train" if i < 4 else "valid" if i < 6 else "test"].append(f"{name}.wav")
            touch(root / "genres_original" / f"{name}.wav")
    lists["train"].append("jazz/jazz.00054.wav")
    for part, lines in lists.items():
        write(root / f"{part}_filtered.txt", "\n".join(lines) + "\n")


def make_emo(root):
    artists = ["The Who?", "ABBA", "Queen", "Béla", "X1", "Y2", "Z", "Muse", "Air", "Can", "Yes", "Low"]
    table(
        root / "annotations" / "songs_info.csv",
        [
            ("song_id", "Artist", "Song title", "Mediaeval 2013 set"),
            *((i + 2, artist, "x", "evaluation" if i < 4 else "development") for i, artist in enumerate(artists)),
        ],
    )
    table(
        root / "annotations" / "static_annotations.csv",
        [("song_id", "mean_arousal", "mean_valence"), *((i + 2, 1 + i * 0.5, 9 - i * 0.3) for i in range(12))],
    )
    touch(*(root / "clips_45seconds" / f"{i + 2}.mp3" for i in range(12)))


def make_nsynth(root):
    for part, n in (("train", 8), ("valid", 4), ("test", 4)):
        facts = {
            f"bass_{part}_{i}": {"pitch": 9 + 37 * (i % 4), "instrument_family_str": ("bass", "flute")[i % 2]}
            for i in range(n)
        }
        write(root / f"nsynth-{part}" / "examples.json", json.dumps(facts))
        touch(*(root / f"nsynth-{part}" / "audio" / f"{name}.wav" for name in facts))


def make_vocalset(root):
    for singer in ("female1", "female2", "male1", "male3"):
        for technique in ("belt", "vibrato", "forte"):
            for vowel in "aeio":
                touch(root / "FULL" / singer / "scales" / technique / f"{singer}_{technique}_{vowel}.wav")
    touch(root / "FULL" / "readme.wav")


def make_jamendo(root):
    columns = ["TRACK_ID", "ARTIST_ID", "ALBUM_ID", "PATH", "DURATION", "TAGS"]
    for part in ("train", "validation", "test"):
        for subset, tags in (("genre", ("rock", "pop", "jazz")), ("moodtheme", ("happy", "sad", "epic"))):
            rows = [columns]
            for i in range(6):
                number = {"train": 100, "validation": 200, "test": 300}[part] + i
                path = f"{number % 100:02d}/{number}.mp3"
                kept = [f"{subset}---{tag}" for place, tag in enumerate(tags) if (i + place) % 2 == 0]
                rows.append([f"track_{number}", "a", "b", path, "10", *kept])
                touch(root / "audio-low" / path.replace(".mp3", ".low.mp3"))
            table(root / "data" / "splits" / "split-0" / f"autotagging_{subset}-{part}.tsv", rows, "\t")


MAKERS = {
    "wikimt": make_wikimt,
    "vgmidi": make_vgmidi,
    "pianist8": make_pianist8,
    "wikimtx": make_wikimtx,
    "mtt": make_mtt,
    "gs": make_gs,
    "gtzan": make_gtzan,
    "emo": make_emo,
    "nsynth": make_nsynth,
    "vocalset": make_vocalset,
    "jamendo": make_jamendo,
}
TASKS = {
    "wikimt": {"abc"},
    "vgmidi": {"midi"},
    "pianist8": {"midi"},
    "wikimtx": {"abc", "audio", "background", "analysis", "description", "scene"},
    "mtt": {"tags"},
    "gs": {"key"},
    "gtzan": {"genre"},
    "emo": {"emotion"},
    "nsynth": {"instrument", "pitch"},
    "vocalset": {"singer", "technique"},
    "jamendo": {"genre", "mood"},
}
ALL = pytest.mark.parametrize("name", sorted(MAKERS))  # of a benchmark of one's own: test_own_benchmark.py


@pytest.fixture
def layout(tmp_path):
    def make(name):
        MAKERS[name](tmp_path / "data")
        return tmp_path / "data"

    return make


def by_id(examples):
    return {example.id: example for example in examples}


# --- loaders ---------------------------------------------------------------------------------------------------------


def test_vgmidi_takes_pieces_with_one_label_and_says_which_have_none(layout):
    root = layout("vgmidi")
    examples, left_out = vgmidi.read(root)
    labels = {example.id: example.label for example in examples}
    assert len(labels) == 12
    assert [labels[f"Game_NES_Piece {i}"] for i in range(4)] == ["happy", "angry", "sad", "calm"]
    assert left_out == [
        ("Game_NES_Two.mid", "its phrases are angry and happy: no one label"),
        ("Other.mid", "no row of the table has its name"),
    ]
    for path in (root / "labelled" / "midi").iterdir():
        touch(root / "labelled" / "phrases" / path.name.replace(".mid", "_0.mid"))
    touch(root / "labelled" / "phrases" / "Game_NES_Two_1.mid")
    phrases = by_id(vgmidi.read(root)[0])
    assert len(phrases) == 14
    assert (phrases["Game_NES_Two_0"].label, phrases["Game_NES_Two_1"].label) == ("happy", "angry")


@pytest.mark.parametrize("unpacked", [False, True])
def test_a_clone_of_vgmidi_has_204_phrases(tmp_path, unpacked):
    """The table's counts, and the names of the archive as downloaded: phrases/<name>_<n>.mid, with macOS's copies."""
    counts = {("1", "1"): 76, ("1", "-1"): 62, ("-1", "1"): 39, ("-1", "-1"): 27}
    signs = [pair for pair, n in counts.items() for _ in range(n)]
    names = [f"Series_N64_Game {i // 2}_Piece: a.b {i // 2}_{i % 2}" for i in range(204)]
    rows = [(f"labelled/phrases/{name}.mid", *pair) for name, pair in zip(names, signs, strict=True)]
    table(tmp_path / "vgmidi_labelled.csv", [("midi", "valence", "arousal"), *rows])
    write(tmp_path / "labelled" / "midi" / "Whole.mid", "a whole piece")
    with zipfile.ZipFile(tmp_path / "labelled" / "phrases.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for i, name in enumerate(names):
            archive.writestr(f"phrases/{name}.mid", midi_file(20 + i % 60))
            archive.writestr(f"__MACOSX/phrases/._{name}.mid", b"\0")
    if unpacked:
        for i, name in enumerate(names):
            (tmp_path / "labelled" / "phrases").mkdir(exist_ok=True)
            (tmp_path / "labelled" / "phrases" / f"{name}.mid").write_bytes(midi_file(20 + i % 60))
    examples, left_out = vgmidi.read(tmp_path)
    assert left_out == [] and all(example.source is not None for example in examples)
    assert Counter(example.label for example in examples) == {"happy": 76, "calm": 62, "angry": 39, "sad": 27}
    assert [example.id for example in examples] == sorted(names)
    assert examples[3].source.read() == midi_file(20 + names.index(examples[3].id) % 60)
    [task] = open_benchmark("vgmidi", tmp_path).tasks
    assert (task.name, len(task.examples)) == ("midi", 204)


def test_a_damaged_archive_of_phrases_is_one_sentence(layout):
    root = layout("vgmidi")
    (root / "labelled" / "phrases.zip").write_bytes(b"PK\3\4 and nothing more")
    with pytest.raises(FormatError, match=r"not a readable phrases\.zip archive"):
        vgmidi.read(root)


def test_scores_of_the_midi_sets_are_taken_where_they_are(layout):
    root = layout("vgmidi")
    write(root / "abc" / "Game_NES_Piece 3.abc", music(3))
    benchmark = open_benchmark("vgmidi", root)
    assert {task.name: len(task.examples) for task in benchmark.tasks} == {"abc": 1, "midi": 12}
    pieces, phrases = benchmark.missing
    assert pieces == "abc: 11 of 12 files are missing in abc/, first Game_NES_Piece 0."
    assert phrases.startswith(
        "midi: labelled/phrases.zip is missing, the 204 labelled phrases that a clone of https://"
    )
    assert "; 12 whole pieces of labelled/midi stand in for them." in phrases and "\n" not in phrases
    assert benchmark.missing_inputs[2] == "abc: Game_NES_Piece 10" and len(benchmark.missing_inputs) == 12
    (root / "labelled" / "phrases").mkdir()
    (root / "labelled" / "phrases" / "Game_NES_Two_0.mid").write_bytes(midi_file(60))
    assert not any("phrases.zip" in sentence for sentence in open_benchmark("vgmidi", root).missing)


def test_pianist8_has_composers_as_folders(layout):
    examples = by_id(pianist8.read(layout("pianist8")))
    assert len(examples) == 16
    assert examples["Yiruma/Yiruma_3"].label == "Yiruma"


def test_mtt_tells_the_fifty_most_frequent_tags_and_keeps_untagged_clips(layout):
    examples, tags = mtt.read(layout("mtt"))
    assert len(tags) == 50
    assert not {"tag00", "tag50"} & set(tags)
    parts = {example.id: example.part for example in examples}
    assert [parts[f"{folder}/clip-{i}"] for i, folder in enumerate("0bcdef")] == [
        "train",
        "train",
        "valid",
        "test",
        "test",
        "test",
    ]
    untagged = by_id(examples)["b/untagged"]
    assert (untagged.label, untagged.part) == ((), "train")
    assert by_id(examples)["f/clip-23"].source is None


def test_giantsteps_takes_sure_single_keys_and_keeps_artists_together(layout):
    examples = by_id(giantsteps.read(layout("gs")))
    assert {id for id in examples if id.startswith("train/")} == {f"train/{i}.LOFI" for i in (0, 1, 5, 6, 7)}
    assert [examples[f"train/{i}.LOFI"].label for i in (0, 1, 5)] == ["Eb minor", "C major", "C major"]
    assert [examples[f"test/10{i}.LOFI"].label for i in range(3)] == ["E minor", "Gb major", "Db minor"]

    def sha_part(artist):
        return "train" if int(hashlib.sha1(artist.lower().encode()).hexdigest(), 16) % 116 < 100 else "valid"

    assert examples["train/0.LOFI"].part == examples["train/1.LOFI"].part == sha_part("Ann")
    team = {sha_part(name) for name in ("Cy", "Dee", "Eve")}
    assert {examples["train/5.LOFI"].part, examples["train/6.LOFI"].part} == (
        {"valid"} if "valid" in team else {"train"}
    )
    assert len(giantsteps.KEYS) == 24


def test_collaborators_of_validation_artists_follow_them():
    names = [f"artist {i}" for i in range(200)]
    parts = giantsteps._artist_parts([[name] for name in names])
    outsider = next(name for name in names if parts[name] == "valid")
    insider, friend, far = [name for name in names if parts[name] == "train"][:3]
    joined = giantsteps._artist_parts([[outsider, insider], [insider, friend], [far]])
    assert joined == {outsider: "valid", insider: "valid", friend: "valid", far: "train"}


def test_gtzan_has_the_three_lists_without_the_broken_file(layout):
    examples = by_id(gtzan.read(layout("gtzan")))
    assert len(examples) == 16
    assert "jazz/jazz.00054" not in examples
    assert (examples["jazz/jazz.00006"].label, examples["jazz/jazz.00006"].part) == ("jazz", "test")


def test_emo_has_arousal_first_and_splits_artists_by_their_names_letters(layout):
    examples = by_id(emo.read(layout("emo")))
    assert len(examples) == 12
    assert examples["2"].label == (1.0, 9.0)
    assert {examples[str(i)].part for i in (2, 3, 4, 5)} == {"test"}
    number = int(hashlib.sha1(b"muse").hexdigest(), 16)
    assert examples["9"].part == ("train" if number % 10 < 8 else "valid")
    assert emo._part("The   Who?") == emo._part("the who") and emo._part("Béla") == emo._part("bla")


def test_emo_passes_over_empty_rows_and_takes_short_ones(layout):
    root = layout("emo")
    for name in ("static_annotations", "songs_info"):
        path = root / "annotations" / f"{name}.csv"
        path.write_text(path.read_text(encoding="utf-8") + ",, ,\n" + "99,Short\n" * (name == "songs_info"), "utf-8")
    assert len(emo.read(root)) == 12


def test_nsynth_pitches_are_128_classes(layout):
    root = layout("nsynth")
    pitches, families = by_id(nsynth.read(root, "pitch")), by_id(nsynth.read(root, "instrument"))
    example = pitches["nsynth-valid/audio/bass_valid_1"]
    assert (example.label, example.part) == ("046", "valid")
    assert families["nsynth-valid/audio/bass_valid_1"].label == "flute"
    assert (len(nsynth.PITCHES), nsynth.PITCHES[0], nsynth.PITCHES[-1]) == (128, "001", "128")


def test_vocalset_has_ten_techniques_and_singers_apart(layout):
    root = layout("vocalset")
    techniques = vocalset.read(root, "technique")
    assert {example.label for example in techniques} == {"belt", "vibrato"}
    for example in techniques:
        assert (example.part == "test") == (example.id.split("/")[0] in ("female2", "male3"))
    singers = vocalset.read(root, "singer")
    assert len(singers) == 48
    assert sorted({example.part for example in singers}) == ["test", "train", "valid"]
    assert [sum(e.part == part for e in singers) for part in ("test", "valid", "train")] == [10, 15, 23]
    assert vocalset.read(root, "singer") == singers


def test_jamendo_reads_all_tags_of_a_row_and_the_small_recordings(layout):
    root = layout("jamendo")
    examples = by_id(jamendo.read(root, "genre"))
    assert examples["00/100"].label == ("genre---rock", "genre---jazz")
    assert examples["01/201"].part == "valid"
    assert str(examples["00/100"].source.path).endswith("audio-low/00/100.low.mp3")


def test_features_stand_for_recordings_under_the_same_name(layout):
    root = layout("gtzan")
    wav = root / "genres_original" / "jazz" / "jazz.00001.wav"
    wav.unlink()
    np.save(wav.with_suffix(".npy"), np.zeros((1, 4, 768), np.float32))
    assert by_id(gtzan.read(root))["jazz/jazz.00001"].source.kind.value == "features"


@pytest.mark.parametrize(
    ("name", "path", "text", "message"),
    [
        ("vgmidi", "vgmidi_labelled.csv", "midi,valence,arousal\na_0.mid,2,1\n", ":2 has the signs"),
        ("mtt", "annotations_final.csv", "clip_id\ttag\tmp3_path\n1\t1\tx/a.mp3\n", ":2 has the path"),
        ("gtzan", "train_filtered.txt", "polka/polka.00001.wav\n", ":1 starts with 'polka'"),
        ("gs", "giantsteps-key-dataset/annotations/key/100.LOFI.key", "H major", "no key such as"),
        ("nsynth", "nsynth-train/examples.json", '{"a": {}}', "a has no pitch"),
        ("nsynth", "nsynth-train/examples.json", "[", "not JSON"),
        (
            "emo",
            "annotations/static_annotations.csv",
            "song_id,mean_arousal,mean_valence\n2,1,2\n3,,2\n",
            ":3 lacks a number: .*mean_arousal ''",
        ),
        (
            "emo",
            "annotations/static_annotations.csv",
            "song_id,mean_arousal,mean_valence\nx,1,2\n",
            ":2 lacks a number: song_id 'x'",
        ),
        (
            "emo",
            "annotations/static_annotations.csv",
            "song_id,mean_arousal,mean_valence\n2,1,nan\n",
            ":2 lacks a number",
        ),
        ("emo", "annotations/songs_info.csv", "song_id,Artist\n?,Air\n", ":2 lacks a number: song_id"),
    ],
)
def test_broken_tables_are_named(layout, name, path, text, message):
    root = layout(name)
    write(root / path, text)
    with pytest.raises(FormatError, match=message):
        open_benchmark(name, root)


# --- benchmarks ------------------------------------------------------------------------------------------------------


@ALL
def test_an_empty_folder_says_what_is_missing_and_where_to_get_it(name, tmp_path):
    with pytest.raises(ConfigError, match=r"(?s)missing.*Get .* from https://.*licence") as caught:
        open_benchmark(name, tmp_path)
    assert str(tmp_path) in str(caught.value)


@ALL
def test_every_benchmark_runs_from_its_layout(name, layout):
    benchmark = open_benchmark(name, layout(name))
    assert {task.name for task in benchmark.tasks} == TASKS[name]
    model = StubModel()
    report = run_benchmark(benchmark, lambda: model, name="stub", n_seeds=2, num_epochs=2)
    assert report.not_run == benchmark.missing
    assert not report.failures
    assert len(model.encoded) == len(set(model.encoded)), "something was encoded twice"
    protocols = {score.protocol for score in report.scores}
    assert protocols == ({PUBLISHED, VALIDATED} if name in ("wikimt", "vgmidi", "pianist8", "wikimtx") else {MARBLE})
    assert {score.task for score in report.scores} == TASKS[name]
    for score in report.scores:
        assert [run["seed"] for run in score.runs] == [score.config["seed"], score.config["seed"] + 1]
        assert all(np.isfinite(value["mean"]) for value in score.summary.values())
    # Every published column of this data set that can be run has a number in our row.
    text = report.as_text()
    assert "stub" in text and "±" in text
    ours = {f"{score.task} {name}" for score in report.scores for name in score.summary}
    for published in tables("classification", name):
        wanted = {column.task for column in published.columns if column.task.split()[0] in TASKS[name]}
        assert wanted and wanted <= ours
    json.dumps(report.as_dict())


def test_a_lacking_tower_leaves_its_tasks_out_and_broken_files_are_reported(layout):
    root = layout("wikimtx")
    write(root / "audio" / "id-03.mp3", "broken")
    benchmark = open_benchmark("wikimtx", root)
    report = run_benchmark(benchmark, lambda: StubModel(("text",)), name="stub", n_seeds=1, num_epochs=1)
    assert {score.task for score in report.scores} == {"abc", "audio"}
    assert "background: no text tower." in report.not_run
    assert report.failures == [("id-03.mp3", "broken on purpose.")]
    with pytest.raises(DataError, match="no task of WikiMT-X can be run"):
        everything = ("text", "symbolic", "audio")
        run_benchmark(benchmark, lambda: StubModel(everything), name="stub", n_seeds=1, num_epochs=1)


def test_missing_recordings_are_counted_and_the_rest_is_run(layout):
    root = layout("mtt")
    benchmark = open_benchmark("mtt", root)
    assert benchmark.missing == ["tags: 1 of 25 files are missing in mp3/, first f/clip-23."]


def test_stored_vectors_are_found_by_id(layout, tmp_path):
    root = layout("gtzan")
    benchmark = open_benchmark("gtzan", root)
    rng = np.random.default_rng(0)
    for example in benchmark.tasks[0].examples[1:]:
        path = (tmp_path / "features" / example.id).with_name(PurePosixPath(example.id).name + ".npy")
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, rng.standard_normal((1, 9)).astype(np.float32))

    def no_model():
        raise AssertionError("no model is needed")

    report = run_benchmark(benchmark, no_model, name="x", features=tmp_path / "features", n_seeds=1, num_epochs=1)
    assert report.scores[0].runs[0]["n_train"] == 7
    assert "has no vector of 1 examples, first blues/blues.00000.npy" in report.not_run[0]


def test_a_task_without_validation_vectors_says_so(layout):
    root = layout("gtzan")
    for line in (root / "valid_filtered.txt").read_text(encoding="utf-8").split():
        (root / "genres_original" / line).unlink()
    options = {"name": "stub", "n_seeds": 1, "num_epochs": 2, "grid": True}
    report = run_benchmark(open_benchmark("gtzan", root), StubModel, **options)
    assert report.notes == ["genre: no example for validation has a vector; the last epoch is judged."]
    assert "note: genre: no example for validation" in "\n".join(report.remarks())


def test_a_task_without_test_vectors_does_not_stop_the_others(layout):
    root = layout("nsynth")
    benchmark = open_benchmark("nsynth", root)
    first, *others = benchmark.tasks
    kept = replace(first, examples=tuple(e for e in first.examples if e.part != "test"))
    report = run_benchmark(replace(benchmark, tasks=(kept, *others)), StubModel, name="stub", n_seeds=1, num_epochs=1)
    assert f"{first.name}: no example of the part test has a vector." in report.not_run
    assert [score.task for score in report.scores] == [task.name for task in others]


def test_the_grid_keeps_the_rate_that_is_best_by_validation(layout):
    benchmark = open_benchmark("gtzan", layout("gtzan"))
    report = run_benchmark(benchmark, StubModel, name="stub", n_seeds=1, num_epochs=2, grid=True)
    assert report.scores[0].runs[0]["scores"]


def test_no_seeds_are_wrong_before_anything_is_encoded(layout):
    with pytest.raises(ConfigError, match="0 seeds; at least 1"):
        run_benchmark(open_benchmark("gtzan", layout("gtzan")), pytest.fail, name="stub", n_seeds=0)


def test_unknown_names_and_tasks_are_refused(layout):
    with pytest.raises(ConfigError, match="no benchmark 'x'; choose one of"):
        open_benchmark("x", layout("gtzan"))
    with pytest.raises(ConfigError, match="no task mood of gtzan can be run here; there is genre"):
        open_benchmark("gtzan", layout("gtzan"), ["mood"])


def test_mini_runs_the_symbolic_sets_end_to_end(tmp_path):
    from clamp3 import Clamp3

    mini = Clamp3.from_pretrained("mini")
    for name in ("wikimt", "vgmidi", "pianist8", "wikimtx"):
        MAKERS[name](tmp_path / name)
        benchmark = open_benchmark(name, tmp_path / name, ["midi"] if name in ("vgmidi", "pianist8") else ["abc"])
        report = run_benchmark(benchmark, lambda: mini, name="mini", n_seeds=1, num_epochs=3)
        assert not report.failures
        assert {score.protocol for score in report.scores} == {PUBLISHED, VALIDATED}


def test_pieces_in_another_key_are_told_apart_by_mini(tmp_path):
    """A check that vectors and labels belong together: low and high pieces are two composers."""
    from clamp3 import Clamp3

    make_pianist8(tmp_path)
    benchmark = open_benchmark("pianist8", tmp_path)
    options = {"name": "mini", "n_seeds": 1, "num_epochs": 300}
    report = run_benchmark(benchmark, lambda: Clamp3.from_pretrained("mini"), **options)
    assert report.scores[0].summary["accuracy"]["mean"] >= 0.75


def test_our_rows_go_into_a_page_between_their_marks(layout, tmp_path):
    report = run_benchmark(open_benchmark("gtzan", layout("gtzan")), StubModel, name="stub", n_seeds=2, num_epochs=1)
    page = tmp_path / "page.md"
    page.write_text("# Title\n\n<!-- here: gtzan -->\nold\n<!-- end -->\nrest\n", encoding="utf-8")
    report.write(tmp_path / "r.json")
    report.write_page(page)
    text = page.read_text(encoding="utf-8")
    mean = report.scores[0].summary["accuracy"]["mean"]
    assert text.startswith(
        "# Title\n\n<!-- here: gtzan -->\n| model | protocol | seeds | genre accuracy | genre macro-F1 |"
    )
    assert f"| stub | MARBLE's protocol | 2 | {mean:.4f} ± " in text
    assert text.endswith("<!-- end -->\nrest\n") and "old" not in text
    assert report.into_page(text) == text
    assert json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))["benchmark"] == "gtzan"
    with pytest.raises(ConfigError, match="no lines <!-- here: gtzan -->"):
        report.into_page("# Title\n")


def test_the_floor_is_a_row_of_random_weights(layout, monkeypatch):
    from clamp3.models.config import Clamp3Config, TowerConfig
    from clamp3.probe.benchmark import run_floor

    tower = TowerConfig(width=16, n_layers=1, n_heads=2, feed_forward=32, max_length=12)
    small = Clamp3Config(symbolic=tower, audio=tower, hidden_size=8, symbolic_length=12, audio_length=12)
    monkeypatch.setattr(Clamp3Config, "released", classmethod(lambda cls: small))
    benchmark = open_benchmark("vgmidi", layout("vgmidi"))
    options = {"n_seeds": 1, "num_epochs": 1}
    report = run_benchmark(benchmark, StubModel, name="stub", **options)
    report.add(run_floor(benchmark, cached=False, **options))
    assert [score.model for score in report.scores] == ["stub", "stub", "random weights", "random weights"]
    again = run_floor(benchmark, cached=False, **options)
    assert again.scores == report.scores[2:], "the weights are drawn with a fixed seed"
    assert len(report.not_run) == len(set(report.not_run))


# --- published numbers -----------------------------------------------------------------------------------------------


def test_published_rows_are_shares_with_a_source():
    found = tables("classification")
    assert [table.paper for table in found] == ["Table 8", "Table 9", "Table 10", "Table 11"]
    for table in found:
        assert "arXiv 2502.10362" in table.provenance
        assert {column.benchmark for column in table.columns} <= set(BENCHMARKS)
        for values in table.rows.values():
            assert len(values) == len(table.columns)
            assert all(value is None or 0 < value < 1 for value in values)


def test_some_published_numbers():
    """Spot checks against the paper's tables as the protocols list them."""
    by_paper = {table.paper: table for table in tables("classification")}

    def value(paper, model, benchmark, task):
        columns = [(column.benchmark, column.task) for column in by_paper[paper].columns]
        return by_paper[paper].rows[model][columns.index((benchmark, task))]

    assert value("Table 8", "saas", "vgmidi", "midi macro_f1") == 0.5723
    assert value("Table 8", "saas", "vgmidi", "midi accuracy") == 0.6341
    assert value("Table 8", "CLaMP", "pianist8", "midi accuracy") is None
    assert value("Table 9", "saas", "gs", "key key_score") == 0.5377
    assert value("Table 9", "MERT_mean", "emo", "emotion r2 valence") == 0.5185
    assert value("Table 9", "MERT_mean", "emo", "emotion r2 arousal") == 0.7501
    assert value("Table 9", "saas", "vocalset", "singer accuracy") == 0.8441
    assert value("Table 10", "TTMR++", "jamendo", "genre average_precision") == 0.2030
    assert value("Table 11", "saas", "wikimtx", "scene macro_f1") == 0.4742
    assert value("Table 11", "CLAP", "wikimtx", "audio accuracy") == 0.6450
