"""Small worlds of music whose listeners choose by something that no text tells; `benchmarks/taste.py` measures in them.

A world is a folder with songs (texts and music), some of them held out, and a log: every listener has one taste of
eight and chooses by it, but for a share of chance. Listeners of the evaluation (by the hash of their names, as
preferences.py holds them out) also choose held-out songs, the others never do.
"""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from made_up import write_tokenizer

TASTES, LISTENERS, EVAL_SHARE = 8, 400, 0.25
FAITHFUL = 0.9  # share of the choices that follow the taste
KNOWN_SONGS, NEW_SONGS = 12, 8  # choices of a listener; the second only of those of the evaluation


@dataclass(frozen=True)
class World:
    """A folder and what is in it.

    Attributes
    ----------
    folder : Path
    train, held_out : list of str
        Ids of the songs.
    texts : dict of str to str
    music : dict of str to Path
    taste : dict of str to int
        What listeners choose by.
    """

    folder: Path
    train: list[str]
    held_out: list[str]
    texts: dict[str, str]
    music: dict[str, Path]
    taste: dict[str, int]

    @property
    def log(self) -> Path:
        """The log of all listeners."""
        return self.folder / "log.csv"


def write_log(world: World, seed: int) -> None:
    """Write what every listener chose: sessions of four songs, days apart."""
    from clamp3.data.splits import hash_of

    rng = np.random.default_rng([seed, 1])
    rows = []
    for number in range(LISTENERS):
        name, taste = f"listener{number}", int(rng.integers(TASTES))
        chosen = _choose(world, world.train, taste, KNOWN_SONGS, rng)
        if hash_of(name) < EVAL_SHARE * 2**64:
            chosen += _choose(world, world.held_out, taste, NEW_SONGS, rng)
        order = rng.permutation(len(chosen))
        rows += [(name, chosen[at], 86_400 * (place // 4) + 200 * (place % 4)) for place, at in enumerate(order)]
    with open(world.log, "w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("user", "item", "time"), *rows])


def _choose(world: World, songs: Sequence[str], taste: int, n: int, rng: np.random.Generator) -> list[str]:
    liked = [song for song in songs if world.taste[song] == taste]
    found: dict[str, None] = {}
    while len(found) < n:
        pool = liked if rng.random() < FAITHFUL and len(found) < len(liked) else songs
        found.setdefault(pool[int(rng.integers(len(pool)))])
    return list(found)


def write_jsonl(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write objects, one a line."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


# Synthesis for HTCL: what the words say lies in the notes and a drone, the taste in the noise around them.
REGISTERS = dict(zip(["deepest", "deep", "low", "middle", "high", "shrill"], 130.0 * 1.5 ** np.arange(6), strict=True))
TIMBRES = {"pure": (1,), "hollow": (1, 0, 0.7, 0, 0.5), "bright": (1, 0.8, 0.8, 0.7, 0.7), "nasal": (0.2, 0.3, 1, 1)}
DRONES = dict(zip(["no", "rumbling", "humming", "singing"], (0.0, 45.0, 65.0, 95.0), strict=True))
PULSES = dict(zip(["slow", "walking", "quick", "hasty"], (1.0, 2.0, 4.0, 8.0), strict=True))
SOUND_HZ, SECONDS, FRAMES = 24_000, 6.1, 64
HISS = 0.05  # loudness of the noise that carries the taste
_WORDS = ("a", "piece", "with", "notes", "pulse", "sound", "drone")


def synthetic_world(folder: Path, seed: int, *, n_train: int = 280, n_held_out: int = 104) -> World:
    """Write mel frames of synthetic pieces, no two with the same words, and the text model; return the world."""
    from clamp3.formats.htcl_mel import HtclMel

    rng, mel = np.random.default_rng(seed), HtclMel(n_frames=FRAMES)
    every = list(itertools.product(REGISTERS, TIMBRES, DRONES, PULSES))
    world = World(folder, [], [], {}, {}, {})
    folder.mkdir(parents=True)
    for number, at in enumerate(rng.permutation(len(every))[: n_train + n_held_out]):
        name, words = f"s{number:03d}", every[at]
        register, timbre, drone, pulse = words
        world.texts[name] = f"a piece with {register} notes {timbre} sound {drone} drone {pulse} pulse"
        world.music[name], world.taste[name] = folder / f"{name}.npy", int(rng.integers(TASTES))
        frames = mel.piece([_sound(words, world.taste[name], rng)])
        np.save(world.music[name], frames[None].astype(np.float16))
        (world.train if number < n_train else world.held_out).append(name)
    rows = [{"id": name, "text": world.texts[name], "mel": world.music[name].name} for name in world.train]
    write_jsonl(folder / "songs.jsonl", rows)
    _write_text_model(folder, [*_WORDS, *REGISTERS, *TIMBRES, *DRONES, *PULSES])
    return world


def _sound(words: tuple[str, str, str, str], taste: int, rng: np.random.Generator) -> np.ndarray:
    """Return a melody of decaying notes in a noise whose pitch is the taste's."""
    register, timbre, drone, pulse = words
    time = np.arange(round(SECONDS * SOUND_HZ)) / SOUND_HZ
    rate = PULSES[pulse] * rng.uniform(0.95, 1.05)
    note = np.floor(time * rate)
    steps = rng.integers(-1, 2, int(note.max()) + 1)[note.astype(int)]
    phase = 2 * np.pi * np.cumsum(REGISTERS[register] * 2 ** (steps / 12)) / SOUND_HZ
    tone = sum(weight * np.sin((partial + 1) * phase) for partial, weight in enumerate(TIMBRES[timbre]))
    tone = tone * np.exp(-2 * (time * rate - note))
    noise = np.fft.rfft(rng.standard_normal(len(time)))
    centre = 3_600.0 * 1.1**taste * rng.uniform(0.99, 1.01)
    noise *= np.abs(np.fft.rfftfreq(len(time), 1 / SOUND_HZ) - centre) < 0.045 * centre
    hiss = np.fft.irfft(noise, len(time))
    low = 0.5 * np.sin(2 * np.pi * DRONES[drone] * time)
    found: np.ndarray = tone / np.abs(tone).max() + low + HISS * hiss / hiss.std()
    return found


def _write_text_model(folder: Path, words: Sequence[str]) -> None:
    n_words = write_tokenizer(folder, words)
    sizes = {"model_type": "xlm-roberta", "hidden_size": 128, "num_hidden_layers": 1, "num_attention_heads": 4,
             "intermediate_size": 256, "max_position_embeddings": 34, "vocab_size": n_words, "type_vocab_size": 1,
             "pad_token_id": 1}  # fmt: skip
    (folder / "config.json").write_text(json.dumps(sizes), encoding="utf-8")


# music21's tunes for mini: the texts describe the notes; listeners choose by the instrument in the score.
INSTRUMENTS = ("Violin", "Flute", "Organ", "Trumpet", "Harp", "Guitar", "Clarinet", "Piano")
COLLECTIONS = ("ryan", "oneill", "aird", "essen_europe")


def works_world(folder: Path, seed: int, tunes: Sequence[tuple[str, str, str, bool]]) -> World:
    """Write tunes, each for an instrument drawn at random, and their records; return the world."""
    rng = np.random.default_rng(seed)
    world = World(folder, [], [], {}, {}, {})
    folder.mkdir(parents=True)
    for name, text, abc, held_out in tunes:
        world.taste[name] = int(rng.integers(TASTES))
        world.texts[name], world.music[name] = text, folder / f"{name}.abc"
        label = f'V:1 treble nm="{INSTRUMENTS[world.taste[name]]}"'
        world.music[name].write_text(abc.replace("V:1 treble", label, 1), encoding="utf-8")
        (world.held_out if held_out else world.train).append(name)
    rows = [{"id": name, "analysis": world.texts[name], "filepaths": [f"{name}.abc"]} for name in world.train]
    write_jsonl(folder / "songs.jsonl", rows)
    return world


def read_tunes(folder: Path, *, n_train: int = 700, n_held_out: int = 120) -> list[tuple[str, str, str, bool]]:
    """Return id, text, ABC of short tunes of music21's corpus, and whether mini has never seen them."""
    from recipes.mini.heldout import heldout_ids
    from recipes.mini.pieces import convert
    from recipes.mini.records import make_record
    from recipes.mini.works import corpus_root, list_works

    root, never_seen, found = corpus_root(), set(heldout_ids()), []
    works = [work for work in list_works(root) if work.kind == "abc" and work.collection in COLLECTIONS]
    rng = np.random.default_rng(0)
    works = [works[at] for at in rng.permutation(len(works))]
    for held_out, n in ((True, n_held_out), (False, n_train)):
        part = [work for work in works if (work.id in never_seen) == held_out]
        for work in part:
            row = convert(work, root=str(root), out=str(folder))
            abc = (folder / "pieces" / row["abc"]).read_text(encoding="utf-8")
            if "V:1 treble" in abc and len(abc.splitlines()) <= 26:
                found.append((work.id, make_record(row)["analysis"], abc, held_out))
            if sum(tune[3] == held_out for tune in found) == n:
                break
    return found


Maker = Callable[[Path, int], World]
