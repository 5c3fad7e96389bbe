"""The retrieval tasks of the published tables, by data set: queries, references, and which belong together.

A task is two lists of inputs with a key each; inputs with equal keys belong together. Tasks whose files are missing are
left out, with a sentence that names the files.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from clamp3.datasets import midicaps, musiccaps, songdescriber, wikimt, wikimtx
from clamp3.datasets.source import OpenBenchmark, Readers, open_named
from clamp3.sources import Source

Side = list[tuple[str, Source]]


@dataclass(frozen=True)
class RetrievalTask:
    """One retrieval task: its name in the tables, and (key, input) of every query and reference."""

    name: str
    queries: Side
    references: Side


class Benchmark(OpenBenchmark[RetrievalTask]):
    """The tasks that a data set's folder allows, and what is missing in it."""

    def side(self, what: str, inputs: Mapping[str, Source | None]) -> Side:
        """Return the inputs whose files exist; note how many are missing.

        Parameters
        ----------
        what : str
            Where the files belong, for the note.
        inputs : mapping from str to Source or None
            By key.
        """
        there = [(key, source) for key, source in inputs.items() if source is not None]
        self.lack(what, [key for key, source in inputs.items() if source is None], f"{len(inputs)} are missing")
        return there

    def add(self, name: str, queries: Side, references: Side) -> None:
        """Add a task if it has both queries and references.

        Parameters
        ----------
        name : str
            As in the published tables.
        queries, references : list of (str, Source)
            Keys and inputs.
        """
        if queries and references:
            self.tasks.append(RetrievalTask(name, queries, references))


def _wikimt(benchmark: Benchmark, root: Path) -> None:
    songs = wikimt.read(root)
    scores = benchmark.side(wikimt.SCORES, {song.id: song.abc for song in songs})
    benchmark.add("text-abc", [(song.id, song.description) for song in songs], scores)
    benchmark.notes.append("Queries are the descriptions; which field the paper used is not known.")


def _midicaps(benchmark: Benchmark, root: Path) -> None:
    pieces = midicaps.read(root)
    music = benchmark.side("lmd_full/", {piece.id: piece.midi for piece in pieces})
    benchmark.add("text-midi", [(piece.id, piece.caption) for piece in pieces], music)
    if not (root / midicaps.SUBSET).is_file():
        benchmark.notes.append(
            f"{len(pieces)} pairs of the test set drawn by a hash; the paper's 1,010 are not known "
            f"({midicaps.SUBSET} may list them)."
        )


def _wikimtx(benchmark: Benchmark, root: Path) -> None:
    songs, own = wikimtx.read(root, benchmark.dataset), benchmark.dataset is wikimtx.OWN
    music = {"abc": [(song.id, song.abc) for song in songs]}
    for name, files in (
        ("midi", {song.id: song.midi for song in songs}),
        ("audio", {song.id: song.audio for song in songs}),
    ):
        if not own or (root / name).is_dir():  # nobody is asked for what they never meant to have
            music[name] = benchmark.side(f"{name}/", files)
    texts = {name: [(song.id, song.texts[name]) for song in songs] for name in wikimtx.FIELDS}
    translations = wikimtx.read_translations(root)
    absent = [language for language in wikimtx.LANGUAGES if f"background.{language}" not in translations]
    if absent and not own:
        benchmark.missing.append(f"translations/: {' '.join(absent)} are missing.")
        benchmark.missing_inputs += [f"translations/{language}.jsonl" for language in absent]
    texts |= {name: list(found.items()) for name, found in translations.items()}
    for target, references in music.items():
        for name, queries in texts.items():
            benchmark.add(f"{name}-{target}", queries, references)
    for source, queries in music.items():
        for target, references in music.items():
            if source != target:
                benchmark.add(f"{source}-{target}", queries, references)


def _songdescriber(benchmark: Benchmark, root: Path) -> None:
    captions = songdescriber.read(root)
    audio = dict(benchmark.side("audio/", {caption.track: caption.audio for caption in captions}))
    for name, part in (("full", captions), ("valid", [caption for caption in captions if caption.valid])):
        tracks = dict.fromkeys(caption.track for caption in part)
        references = [(track, audio[track]) for track in tracks if track in audio]
        benchmark.add(name, [(caption.track, caption.text) for caption in part], references)


def _musiccaps(benchmark: Benchmark, root: Path) -> None:
    clips = musiccaps.read(root)
    texts = {
        "R": benchmark.side("rewritten.csv", {clip.id: clip.rewritten for clip in clips}),
        "O": [(clip.id, clip.original) for clip in clips],
    }
    audio = {
        "F": benchmark.side("full/", {clip.id: clip.full for clip in clips}),
        "C": benchmark.side("clips/", {clip.id: clip.clip for clip in clips}),
    }
    evaluation = {clip.id for clip in clips if clip.evaluation}
    for part, keys in (("full", {clip.id for clip in clips}), ("eval", evaluation)):
        for letter, queries in texts.items():
            for other, references in audio.items():
                benchmark.add(f"{part}-{letter}{other}", _only(queries, keys), _only(references, keys))


BENCHMARKS: Readers[Benchmark] = {
    "wikimt": (wikimt.WIKIMT, _wikimt),
    "midicaps": (midicaps.MIDICAPS, _midicaps),
    "wikimtx": (wikimtx.WIKIMTX, _wikimtx),
    "own": (wikimtx.OWN, _wikimtx),
    "songdescriber": (songdescriber.SONGDESCRIBER, _songdescriber),
    "musiccaps": (musiccaps.MUSICCAPS, _musiccaps),
}


def open_benchmark(name: str, root: Path) -> Benchmark:
    """Return the tasks of a benchmark whose files are in a folder.

    Parameters
    ----------
    name : str
        One of `BENCHMARKS`.
    root : Path
        The data set's folder.

    Raises
    ------
    ConfigError
        If the name is unknown, or what every task needs is missing.
    """
    return open_named(Benchmark, BENCHMARKS, name, root)


def _only(side: Side, keys: Collection[str]) -> Side:
    return [(key, source) for key, source in side if key in keys]
