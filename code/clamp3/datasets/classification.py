"""The classification tasks of the published tables, by data set: examples with labels, and their parts.

Tasks whose files are missing are left out, with a sentence that names the files. Tasks without an official split are
split at random for every seed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from clamp3.datasets import emo, giantsteps, gtzan, jamendo, mtt, nsynth, pianist8, vgmidi, vocalset, wikimt, wikimtx
from clamp3.datasets.labelled import Example, TaskType
from clamp3.datasets.source import Dataset, files_by_key, open_named, stem
from clamp3.errors import ConfigError
from clamp3.sources import Source


@dataclass(frozen=True)
class ClassificationTask:
    """One task.

    Attributes
    ----------
    name : str
        As in the published tables.
    kind : {"multiclass", "multilabel", "regression"}
    examples : list of Example
        All with a source.
    classes : tuple of str
        All of the data set, or names of values; empty = those of the training examples.
    keys : bool
        The classes are musical keys.
    """

    name: str
    kind: TaskType
    examples: list[Example]
    classes: tuple[str, ...] = ()
    keys: bool = False

    @property
    def official(self) -> bool:
        """Whether the data set has a split into training, validation and test set."""
        return any(example.part for example in self.examples)


@dataclass
class Benchmark:
    """The tasks that a data set's folder allows, and what is missing in it."""

    dataset: Dataset
    tasks: list[ClassificationTask] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, where: str, task: ClassificationTask) -> None:
        """Add a task with the examples whose files exist; note how many are missing.

        Parameters
        ----------
        where : str
            Where the files belong, for the note.
        task : ClassificationTask
            Its examples may lack a source.
        """
        there = [example for example in task.examples if example.source is not None]
        lost = [example.id for example in task.examples if example.source is None]
        if lost:
            self.missing.append(
                f"{task.name}: {len(lost)} of {len(task.examples)} files are missing in {where}, first {lost[0]}."
            )
        if there:
            self.tasks.append(replace(task, examples=there))


def _wikimt(root: Path) -> Benchmark:
    benchmark = Benchmark(wikimt.WIKIMT)
    songs = wikimt.read(root)
    genres = {song.id: song.genre for song in songs}
    midi = files_by_key(root / "midi", stem, "symbolic")
    benchmark.add("wikimusictext.jsonl", _genres("abc", genres, {song.id: song.abc for song in songs}))
    benchmark.add("midi/ (rendered from the lead sheets: --render_midi)", _genres("midi", genres, midi))
    return benchmark


def _wikimtx(root: Path) -> Benchmark:
    benchmark = Benchmark(wikimtx.WIKIMTX)
    songs = wikimtx.read(root)
    genres = {song.id: song.genre for song in songs}
    benchmark.add("the table", _genres("abc", genres, {song.id: song.abc for song in songs}))
    midi = {song.id: song.midi for song in songs}
    benchmark.add("midi/ (rendered from the lead sheets: --render_midi)", _genres("midi", genres, midi))
    benchmark.add("audio/", _genres("audio", genres, {song.id: song.audio for song in songs}))
    for name in wikimtx.FIELDS:
        benchmark.add("the table", _genres(name, genres, {song.id: song.texts[name] for song in songs}))
    return benchmark


def _genres(name: str, genres: Mapping[str, str], sources: Mapping[str, Source | None]) -> ClassificationTask:
    return ClassificationTask(name, "multiclass", [Example(id, sources.get(id), genre) for id, genre in genres.items()])


def _vgmidi(root: Path) -> Benchmark:
    benchmark = Benchmark(vgmidi.VGMIDI)
    examples, left_out = vgmidi.read(root)
    benchmark.add("abc/", ClassificationTask("abc", "multiclass", vgmidi.scores(root, examples)))
    benchmark.add("labelled/", ClassificationTask("midi", "multiclass", examples))
    benchmark.notes += [f"{name}: {reason}." for name, reason in left_out]
    return benchmark


def _pianist8(root: Path) -> Benchmark:
    benchmark = Benchmark(pianist8.PIANIST8)
    examples = pianist8.read(root)
    benchmark.add("abc/", ClassificationTask("abc", "multiclass", pianist8.scores(root, examples)))
    benchmark.add("midi/", ClassificationTask("midi", "multiclass", examples))
    return benchmark


def _mtt(root: Path) -> Benchmark:
    benchmark = Benchmark(mtt.MTT)
    examples, tags = mtt.read(root)
    benchmark.add("mp3/", ClassificationTask("tags", "multilabel", examples, tags))
    return benchmark


def _gs(root: Path) -> Benchmark:
    benchmark = Benchmark(giantsteps.GIANTSTEPS)
    examples = giantsteps.read(root)
    benchmark.add(
        "audio/ of both folders", ClassificationTask("key", "multiclass", examples, giantsteps.KEYS, keys=True)
    )
    benchmark.notes.append("A preview is one example; MARBLE aggregates the predictions for clips of 30 s.")
    return benchmark


def _gtzan(root: Path) -> Benchmark:
    benchmark = Benchmark(gtzan.GTZAN)
    benchmark.add("genres/", ClassificationTask("genre", "multiclass", gtzan.read(root), gtzan.GENRES))
    return benchmark


def _emo(root: Path) -> Benchmark:
    benchmark = Benchmark(emo.EMO)
    benchmark.add("clips_45seconds/", ClassificationTask("emotion", "regression", emo.read(root), emo.VALUES))
    benchmark.notes.append("A clip of 45 s is one example; MARBLE takes its first 30 s in windows of 5 s.")
    return benchmark


def _nsynth(root: Path) -> Benchmark:
    benchmark = Benchmark(nsynth.NSYNTH)
    benchmark.add("nsynth-*/audio/", ClassificationTask("instrument", "multiclass", nsynth.read(root, "instrument")))
    benchmark.add(
        "nsynth-*/audio/", ClassificationTask("pitch", "multiclass", nsynth.read(root, "pitch"), nsynth.PITCHES)
    )
    return benchmark


def _vocalset(root: Path) -> Benchmark:
    benchmark = Benchmark(vocalset.VOCALSET)
    technique = ClassificationTask("technique", "multiclass", vocalset.read(root, "technique"), vocalset.TECHNIQUES)
    benchmark.add("FULL/", technique)
    benchmark.add("FULL/", ClassificationTask("singer", "multiclass", vocalset.read(root, "singer")))
    benchmark.notes.append("A recording is one example; MARBLE tests pieces of 3 s, and its split is another.")
    return benchmark


def _jamendo(root: Path) -> Benchmark:
    benchmark = Benchmark(jamendo.JAMENDO)
    for subset in jamendo.SUBSETS:
        try:
            examples = jamendo.read(root, subset)
        except ConfigError as error:  # one category alone is a common download
            benchmark.missing.append(f"{subset}: {str(error).split('. ')[0]}.")
            continue
        benchmark.add("audio-low/ or audio/", ClassificationTask(subset, "multilabel", examples))
    return benchmark


BENCHMARKS: dict[str, Callable[[Path], Benchmark]] = {
    "wikimt": _wikimt,
    "vgmidi": _vgmidi,
    "pianist8": _pianist8,
    "wikimtx": _wikimtx,
    "mtt": _mtt,
    "gs": _gs,
    "gtzan": _gtzan,
    "emo": _emo,
    "nsynth": _nsynth,
    "vocalset": _vocalset,
    "jamendo": _jamendo,
}


def open_benchmark(name: str, root: Path, wanted: Sequence[str] = ()) -> Benchmark:
    """Return the tasks of a benchmark whose files are in a folder.

    Parameters
    ----------
    name : str
        One of `BENCHMARKS`.
    root : Path
        The data set's folder.
    wanted : sequence of str
        Names of tasks; empty = all.

    Raises
    ------
    ConfigError
        If a name is unknown, or what every task needs is missing.
    """
    benchmark = open_named(BENCHMARKS, name, root)
    if wanted:
        there = [task.name for task in benchmark.tasks]
        if unknown := [task for task in wanted if task not in there]:
            raise ConfigError(f"no task {', '.join(unknown)} of {name} can be run here; there is {', '.join(there)}.")
        benchmark.tasks = [task for task in benchmark.tasks if task.name in wanted]
    return benchmark


def render_midi(name: str, root: Path) -> list[tuple[str, str]]:
    """Write the ``midi`` folder of WikiMT or WikiMT-X from its lead sheets; return (id, reason) of those that fail.

    Parameters
    ----------
    name : str
        Of the benchmark.
    root : Path
        The data set's folder.

    Raises
    ------
    ConfigError
        If the data set has no lead sheets.
    """
    if name == "wikimtx":
        return wikimtx.render_midi(wikimtx.read(root), root / "midi")
    if name != "wikimt":
        raise ConfigError(f"--render_midi is for wikimt and wikimtx; {name} has no lead sheets.")
    files = files_by_key(root / "midi", stem, "symbolic")
    songs = [wikimtx.Song(s.id, s.genre, {}, s.abc, files.get(s.id), None) for s in wikimt.read(root)]
    return wikimtx.render_midi(songs, root / "midi")
