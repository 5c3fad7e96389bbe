"""MARBLE's protocols: recordings cut into clips with a vector each, its split of VocalSet, answers put together."""

import csv
import re
from collections import Counter

import numpy as np
import pytest
from recordings import by_soundfile
from sklearn.model_selection import GroupShuffleSplit

from clamp3.datasets import vocalset
from clamp3.datasets.classification import open_benchmark
from clamp3.datasets.clips import CUTS, PROTOCOLS, Cut, clips, cut_of
from clamp3.embedding.clamp3 import Clamp3
from clamp3.embedding.encoder import Result
from clamp3.errors import ConfigError, FormatError
from clamp3.formats import Kind
from clamp3.formats.audio import RATE_HZ, Sound
from clamp3.probe import ensembles, metrics, recipes
from clamp3.probe.benchmark import CLAMP3_CLIPS, CLIPS, MARBLE, run_benchmark
from clamp3.probe.config import ProbeConfig
from clamp3.probe.labels import as_targets
from clamp3.probe.splits import Split
from clamp3.probe.train import Labelled, train_and_test
from clamp3.sources import Source, samples_source

RATE = 8000  # of the recordings here


def tone(seconds, pitch_hz=220.0, silent_sec=0.0):
    time = np.arange(round(seconds * RATE)) / RATE
    sound = 0.3 * np.sin(2 * np.pi * pitch_hz * time).astype(np.float32)
    return np.concatenate([np.zeros(round(silent_sec * RATE), np.float32), sound])


def record(path, seconds, pitch_hz=220.0):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(by_soundfile(tone(seconds, pitch_hz), RATE, "WAV", "PCM_16"))


def write_table(path, rows, delimiter=","):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream, delimiter=delimiter).writerows(rows)


def heard(source):
    return Sound(source.recording, source.name).read()


# --- cutting ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("protocol", "name", "seconds", "lengths"),
    [
        ("marble", "gs", 119, [30, 30, 30]),
        ("marble", "gs", 120, [30] * 4),
        ("marble", "emo", 45, [5] * 6),
        ("marble", "emo", 12, [5, 5, 2]),
        ("marble", "emo", 10.5, [5, 5]),
        ("marble", "jamendo", 62, [30, 30, 2]),
        ("marble", "jamendo", 60.5, [30, 30]),
        ("marble", "vocalset", 10.2, [3, 3, 3]),
        ("marble-clamp3", "jamendo", 84, [30] * 3),
        ("marble-clamp3", "jamendo", 83, [30] * 2),
        ("marble-clamp3", "mtt", 29.1, [30]),
        ("marble-clamp3", "gtzan", 30.013, [30]),
    ],
)
def test_recordings_are_cut_as_marble_does(protocol, name, seconds, lengths):
    parts = clips(samples_source(tone(seconds), RATE, "x.wav"), cut_of(protocol, name))
    assert [len(heard(part)) / RATE_HZ for part in parts] == pytest.approx(lengths, abs=0.01)
    assert len({part.name for part in parts}) == len(parts)


def test_clips_in_a_row_are_the_recording():
    source = samples_source(tone(70), RATE, "x.wav")
    parts = clips(source, Cut(30, shortest=1))
    assert np.array_equal(np.concatenate([heard(part) for part in parts]), heard(source))
    padded = clips(source, Cut(30, shortest=9, padded=True))[-1]
    assert not heard(padded)[-round(19 * RATE_HZ) :].any() and heard(padded)[: RATE_HZ * 9].any()


def test_silence_at_the_beginning_is_no_piece():
    source = samples_source(tone(3.2, silent_sec=4.5), RATE, "x.wav")
    (part,) = clips(source, CUTS["marble"]["vocalset"])
    assert np.abs(heard(part)[: RATE_HZ // 10]).max() > 0.2
    assert len(clips(source, Cut(3))) == 2


def test_what_gives_no_clip_is_said(tmp_path):
    with pytest.raises(FormatError, match=r"x.wav lasts 29.5 s, too short for a clip of 30 s"):
        clips(samples_source(tone(29.5), RATE, "x.wav"), Cut(30))
    with pytest.raises(FormatError, match=r"a.npy holds features; clips are cut from recordings"):
        clips(Source(Kind.FEATURES, "a.npy", path=tmp_path / "a.npy"), Cut(30))


def test_protocols_are_named():
    assert PROTOCOLS == ("published", "marble", "marble-clamp3")
    assert all(cut_of("published", name) is None for name in ("wikimt", "gs"))
    with pytest.raises(ConfigError, match="no protocol 'x'; choose one of published, marble, marble-clamp3"):
        cut_of("x", "gs")
    for protocol, names in CUTS.items():
        assert all(recipes.marble(name, "singer", protocol) is not None for name in names)


def test_a_protocol_without_the_data_set_is_refused_before_anything_is_read(tmp_path):
    with pytest.raises(ConfigError, match="--protocol marble has no vgmidi; it has mtt, gs"):
        open_benchmark("vgmidi", tmp_path, protocol="marble")
    with pytest.raises(ConfigError, match="--protocol marble-clamp3 has no gs; it has mtt, gtzan, jamendo"):
        open_benchmark("gs", tmp_path, protocol="marble-clamp3")


def test_the_setting_of_marble_for_clamp3():
    for name, epochs, rate, batch in (("gtzan", 50, 5e-3, 64), ("mtt", 50, 1e-3, 128), ("jamendo", 20, 1e-3, 128)):
        config = recipes.marble(name, "x", "marble-clamp3")
        assert (config.head, config.hidden, config.dropout) == ("mlp", 512, 0.2)
        assert (config.num_epochs, config.learning_rate, config.batch_size) == (epochs, rate, batch)


# --- answers ---------------------------------------------------------------------------------------------------------


def test_answers_are_those_of_each_recording_alone():
    rng = np.random.default_rng(0)
    outputs, tracks = rng.standard_normal((40, 5)).astype(np.float32), rng.integers(0, 9, 40)
    by_hand = {
        "vote": lambda z: np.bincount(z.argmax(axis=1), minlength=5) / len(z),
        "max": lambda z: z.max(axis=0),
        "mean_logit": lambda z: z.mean(axis=0),
        "mean_probability": lambda z: (np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)).mean(axis=0),
    }
    assert set(by_hand) == set(ensembles.WAYS)
    for way, one in by_hand.items():
        wanted = np.stack([one(outputs[tracks == number]) for number in np.unique(tracks)])
        np.testing.assert_allclose(ensembles.answers(outputs, tracks, way), wanted, atol=1e-6)  # float32


def test_the_way_is_chosen_on_the_validation_set_and_tracks_are_judged():
    """Noisy clips of three classes; the truth is computed here from the final head."""
    rng = np.random.default_rng(3)
    tracks = np.repeat(np.arange(90), 4)
    classes = ("a", "b", "c")
    labels = [classes[track % 3] for track in tracks]
    vectors = np.eye(6, dtype=np.float32)[[track % 3 for track in tracks]] + rng.standard_normal((360, 6))
    data = Labelled([str(t) for t in tracks], vectors.astype(np.float32), labels, tracks=tracks)
    split = Split(*(np.flatnonzero((tracks >= low) & (tracks < low + 30)) for low in (0, 30, 60)))
    config = ProbeConfig(num_epochs=12, learning_rate=0.02, batch_size=16)
    run = train_and_test(data, split, config, classes=classes, ways=tuple(ensembles.WAYS))
    assert run.probe.info["n_judged"] == len(run.outputs) == len(run.targets) == 30
    assert run.probe.info["n_train"] == 120
    logits = np.log(run.probe.predict(data.vectors))  # up to a constant per clip
    truth = as_targets([classes[i % 3] for i in range(30)], "multiclass", classes).values

    def accuracy(way, rows):
        return metrics.accuracy(truth, ensembles.answers(logits[rows], tracks[rows], way))

    free_of_constants = ("vote", "mean_logit", "mean_probability")
    scores = {way: accuracy(way, split.valid) for way in free_of_constants}
    chosen = run.probe.info["ensemble"]
    assert chosen == "max" or scores[chosen] == max(scores.values())
    assert run.history[run.probe.info["best_epoch"] - 1].score >= max(scores.values()) - 1e-9
    single = train_and_test(data, split, config, classes=classes)
    assert single.probe.info["n_judged"] == 120 and "ensemble" not in single.probe.info
    assert run.scores["accuracy"] > single.scores["accuracy"], "four noisy clips know more than one"


# --- VocalSet --------------------------------------------------------------------------------------------------------

SINGERS = [*(f"female{i}" for i in range(1, 10)), *(f"male{i}" for i in range(1, 12))]


def make_vocalset(root, seconds=None):
    """Names as distributed: some without their singer, a duplicate and a recording that MARBLE leaves out."""
    for singer in SINGERS:
        short = f"{singer[0]}{re.sub('[^0-9]', '', singer)}"
        for technique in ("belt", "vibrato", "forte", "unknown"):
            for vowel in "aeiou"[: 2 + len(singer) % 3]:
                name = f"{short}_scales_{technique}_{vowel}"
                if singer == "female4" and technique == "belt":
                    name = f"scales_{technique}_{vowel}"
                path = root / "FULL" / singer / "scales" / technique / f"{name}.wav"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(b"sound")
                if seconds is not None:
                    record(path, seconds, 200 + 20 * SINGERS.index(singer))
    for singer, name in (("female2", "f2_scales_vibrato_a(1)"), ("male1", "row_vibrato")):
        (root / "FULL" / singer / "scales" / "vibrato" / f"{name}.wav").write_bytes(b"sound")


def test_vocalset_is_split_as_marble_does(tmp_path):
    """Against its steps in words: files flat by technique, numbered by name; scikit-learn seeded once."""
    make_vocalset(tmp_path)
    flat = {}
    for path in (tmp_path / "FULL").glob("*/*/*/*.wav"):
        technique, name = path.parts[-2:]
        if technique != "unknown" and name not in ("f2_scales_vibrato_a(1).wav", "row_vibrato.wav"):
            flat.setdefault(technique, []).append(f"f4_{name}" if name.startswith("scales") else name)
    rows = [
        (technique, number, name.split("_")[0], name)
        for technique in sorted(flat)
        for number, name in enumerate(sorted(flat[technique]))
    ]
    rng = np.random.RandomState(42617)
    parts = {}

    def drawn(pool, share):
        groups = [row[1] for row in pool]
        kept, taken = next(GroupShuffleSplit(1, test_size=share, random_state=rng).split(pool, groups=groups))
        return [pool[i] for i in kept], [pool[i] for i in taken]

    in_task = [row for row in rows if row[0] in ("belt", "vibrato")]
    tested = [row for row in in_task if row[2] in ("f2", "f8", "m3", "m5", "m10")]
    train, valid = drawn([row for row in in_task if row not in tested], 0.4)
    parts["technique"] = {"train": train, "valid": valid, "test": tested}
    rest, test = drawn(rows, 0.2)
    train, valid = drawn(rest, 0.4)
    parts["singer"] = {"train": train, "valid": valid, "test": test}
    for task, wanted in parts.items():
        found = {}
        for example in vocalset.read_pieces(tmp_path, task):
            technique, name = example.id.split("/")[2:]
            name = f"f4_{name}" if name.startswith("scales") else name
            found.setdefault(example.part, set()).add((technique, f"{name}.wav"))
            singer = example.id.split("/")[0]
            assert example.label == (singer if task == "singer" else technique)
        assert found == {part: {(row[0], row[3]) for row in pool} for part, pool in wanted.items()}


# --- benchmarks ------------------------------------------------------------------------------------------------------


class CountingModel:
    """An encoder whose vector is the mean square of the sound, and the place in the stream."""

    identity = "stub:float32"

    def __init__(self):
        self.encoded = []

    def lacks(self, modality):
        return None

    def stream(self, sources):
        for index, source in enumerate(sources):
            self.encoded.append(source.name)
            sound = heard(source)
            pitch = np.abs(np.fft.rfft(sound[: RATE_HZ // 2]))[20:400].reshape(10, 38).sum(axis=1)
            yield Result(index, source.name, (pitch / pitch.max()).astype(np.float32))


def run(benchmark, model, **options):
    return run_benchmark(benchmark, lambda: model, name="stub", **{"n_seeds": 1, "num_epochs": 2, **options})


def make_gs(root):
    train, test = root / "giantsteps-mtg-key-dataset-main", root / "giantsteps-key-dataset-main"
    keys = ["C major", "A minor"] * 4
    write_table(
        train / "annotations" / "annotations.txt",
        [("ID", "MANUAL KEY", "C"), *((i, keys[i], 2) for i in range(8))],
        "\t",
    )
    artists = [("ID", "ARTIST"), *((i, f"artist {i}") for i in range(8))]
    write_table(train / "annotations" / "beatport_metadata.txt", artists, "\t")
    for i in range(8):
        record(train / "audio" / f"{i}.LOFI.wav", 65, (262, 440)[i % 2])
    for i, key in enumerate(["C major", "A minor"]):
        path = test / "annotations" / "key" / f"10{i}.LOFI.key"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(key, encoding="utf-8")
        record(test / "audio" / f"10{i}.LOFI.wav", 61, (262, 440)[i])
    record(train / "audio" / "7.LOFI.wav", 20)


def test_key_detection_by_clips_with_mini(tmp_path, script, capsys):
    """From the layout as downloaded to one answer per preview, with mini's mel front end."""
    make_gs(tmp_path)
    main, report = script("classification/benchmark.py").main, tmp_path / "r.json"
    arguments = ("gs", "--data", tmp_path, "--model", "mini", "--protocol", "marble", "--seeds", "1", "--json", report)
    assert main([*map(str, arguments), "--num_epochs", "3"]) == 1, "one preview is too short for a clip"
    said = capsys.readouterr()
    assert "7.LOFI.mp3 lasts 20.0 s, too short for a clip of 30 s" in said.err
    assert "is one example" not in said.err
    import json

    (score,) = json.loads(report.read_text(encoding="utf-8"))["scores"]
    assert score["protocol"] == CLIPS
    (run_of_it,) = score["runs"]
    assert run_of_it["n_judged"] == 2 and run_of_it["ensemble"] in ensembles.WAYS
    assert run_of_it["n_train"] + run_of_it["n_valid"] == 14


def test_emotions_are_predicted_by_clips_of_five_seconds(tmp_path):
    songs = [("song_id", "Artist", "Mediaeval 2013 set")]
    songs += [(i, f"artist {i}", "evaluation" if i < 3 else "development") for i in range(12)]
    write_table(tmp_path / "annotations" / "songs_info.csv", songs)
    values = [("song_id", "mean_arousal", "mean_valence"), *((i, 1 + i / 2, 9 - i / 3) for i in range(12))]
    write_table(tmp_path / "annotations" / "static_annotations.csv", values)
    for i in range(12):
        record(tmp_path / "clips_45seconds" / f"{i}.wav", 32, 150 + 40 * i)
    model = CountingModel()
    report = run(open_benchmark("emo", tmp_path, protocol="marble"), model)
    assert len(model.encoded) == 12 * 6
    (score,) = report.scores
    assert score.protocol == CLIPS and score.runs[0]["n_judged"] == 3 and score.runs[0]["ensemble"] == "mean_logit"
    assert (score.runs[0]["n_train"] + score.runs[0]["n_valid"]) % 6 == 0


def test_pieces_of_vocalset_are_tested_one_by_one(tmp_path):
    make_vocalset(tmp_path, seconds=6.5)
    model = CountingModel()
    report = run(open_benchmark("vocalset", tmp_path, protocol="marble"), model)
    n_singer = len(vocalset.read_pieces(tmp_path, "singer"))
    assert len(model.encoded) == 2 * n_singer, "both tasks share their recordings"
    by_task = {score.task: score.runs[0] for score in report.scores}
    parts = Counter(example.part for example in vocalset.read_pieces(tmp_path, "technique"))
    assert by_task["technique"]["n_judged"] == 2 * parts["test"] and "ensemble" not in by_task["technique"]
    assert not report.failures


@pytest.mark.parametrize(("protocol", "n_clips", "name"), [("marble", 3, CLIPS), ("marble-clamp3", 2, CLAMP3_CLIPS)])
def test_tags_of_tracks_are_put_together_from_their_windows(tmp_path, protocol, n_clips, name):
    columns = ["TRACK_ID", "ARTIST_ID", "ALBUM_ID", "PATH", "DURATION", "TAGS"]
    for offset, part in enumerate(("train", "validation", "test")):
        rows = [columns]
        for i in range(4):
            number = 100 * offset + i
            path = f"{number % 100:02d}/{number}.mp3"
            tags = [f"genre---{tag}" for place, tag in enumerate(("rock", "pop")) if (i + place) % 2]
            rows.append([f"track_{number}", "a", "b", path, "70", *tags])
            record(tmp_path / "audio-low" / path.replace(".mp3", ".low.wav"), 70, 200 + 150 * (i % 2))
        write_table(tmp_path / "data" / "splits" / "split-0" / f"autotagging_genre-{part}.tsv", rows, "\t")
    model = CountingModel()
    report = run(open_benchmark("jamendo", tmp_path, protocol=protocol), model)
    assert len(model.encoded) == 12 * n_clips
    (score,) = report.scores
    facts = score.runs[0]
    assert score.protocol == name and facts["ensemble"] == "mean_logit"
    assert (facts["n_train"], facts["n_valid"], facts["n_judged"]) == (4 * n_clips, 4 * n_clips, 4)


def make_gtzan(root):
    for part, numbers in (("train", range(3)), ("valid", range(3, 5)), ("test", range(5, 7))):
        names = [f"{genre}/{genre}.0000{i}.wav" for genre in ("blues", "rock") for i in numbers]
        (root / f"{part}_filtered.txt").write_text("\n".join(names), encoding="utf-8")
        for name in names:
            record(root / "genres" / name, 31, 200 if "blues" in name else 500)


def test_clips_that_are_whole_recordings_stay_so(tmp_path):
    make_gtzan(tmp_path)
    whole, padded = CountingModel(), CountingModel()
    first = run(open_benchmark("gtzan", tmp_path, protocol="marble"), whole)
    second = run(open_benchmark("gtzan", tmp_path, protocol="marble-clamp3"), padded)
    assert len(whole.encoded) == len(padded.encoded) == 14
    assert (first.scores[0].protocol, second.scores[0].protocol) == (MARBLE, CLAMP3_CLIPS)
    assert second.scores[0].runs[0]["ensemble"] == "mean_probability"


def test_stored_vectors_of_clips_are_found_by_their_numbers(tmp_path):
    make_gtzan(tmp_path)
    benchmark = open_benchmark("gtzan", tmp_path, protocol="marble-clamp3")
    rng = np.random.default_rng(0)
    for example in benchmark.tasks[0].examples[1:]:
        for number in (0, 1, 3):  # the last is not in a row with the others
            path = tmp_path / "features" / f"{example.id}-{number}.npy"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, rng.standard_normal((1, 9)).astype(np.float32))
    report = run(benchmark, None, features=tmp_path / "features")
    facts = report.scores[0].runs[0]
    assert (facts["n_train"], facts["n_judged"]) == (10, 4)
    assert "has no vector of 1 examples, first blues/blues.00000-0.npy." in report.not_run[0]


def test_clips_have_the_vectors_of_recordings_of_their_own():
    mini = Clamp3.from_pretrained("mini")
    source = samples_source(tone(21, 330), RATE, "x.wav")
    parts = clips(source, Cut(10))
    found = [result.value for result in sorted(mini.stream(iter(parts)), key=lambda result: result.index)]
    alone = [mini.encode([(heard(part), RATE_HZ)]).vectors[0] for part in parts]
    assert len(found) == 2
    np.testing.assert_allclose(np.stack(found), np.stack(alone), atol=1e-5)  # batches of other sizes
