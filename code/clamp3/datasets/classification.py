"""The classification tasks of the published tables, by data set: examples with labels, and their parts.

Tasks whose files are missing are left out, with a sentence that names the files. Tasks without an official split are
split at random for every seed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from clamp3.datasets import emo, giantsteps, gtzan, jamendo, mtt, nsynth, pianist8, vgmidi, vocalset, wikimt, wikimtx
from clamp3.datasets.clips import Cut, cut_of
from clamp3.datasets.labelled import Example, TaskType, with_files
from clamp3.datasets.source import OpenBenchmark, Readers, files_by_key, open_named, stem, without_suffix
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


@dataclass
class Benchmark(OpenBenchmark[ClassificationTask]):
    """The tasks that a data set's folder allows, and what is missing in it.

    Attributes
    ----------
    protocol : str
        One of `clamp3.datasets.clips.PROTOCOLS`.
    """

    protocol: str = "published"

    @property
    def cut(self) -> Cut | None:
        """How recordings are cut into examples; None = one is one example."""
        return cut_of(self.protocol, self.dataset.name)

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
        self.lack(task.name, lost, f"{len(task.examples)} files are missing in {where}")
        if there:
            self.tasks.append(replace(task, examples=there))


def _wikimt(benchmark: Benchmark, root: Path) -> None:
    songs = wikimt.read(root)
    genres = {song.id: song.genre for song in songs}
    midi = files_by_key(root / "midi", stem, "symbolic")
    benchmark.add(wikimt.SCORES, _genres("abc", genres, {song.id: song.abc for song in songs}))
    benchmark.add("midi/ (rendered from the lead sheets: --render_midi)", _genres("midi", genres, midi))


def _wikimtx(benchmark: Benchmark, root: Path) -> None:
    songs = wikimtx.read(root, benchmark.dataset)
    genres = {song.id: song.genre for song in songs if song.genre}
    benchmark.add("the table", _genres("abc", genres, {song.id: song.abc for song in songs}))
    midi = {song.id: song.midi for song in songs}
    benchmark.add("midi/ (rendered from the lead sheets: --render_midi)", _genres("midi", genres, midi))
    benchmark.add("audio/", _genres("audio", genres, {song.id: song.audio for song in songs}))
    for name in wikimtx.FIELDS:
        benchmark.add("the table", _genres(name, genres, {song.id: song.texts[name] for song in songs}))


def _genres(name: str, genres: Mapping[str, str], sources: Mapping[str, Source | None]) -> ClassificationTask:
    return ClassificationTask(name, "multiclass", [Example(id, sources.get(id), genre) for id, genre in genres.items()])


def _vgmidi(benchmark: Benchmark, root: Path) -> None:
    examples, left_out = vgmidi.read(root)
    benchmark.add("abc/", ClassificationTask("abc", "multiclass", with_files(examples, root / "abc", stem)))
    benchmark.add("labelled/", ClassificationTask("midi", "multiclass", examples))
    if vgmidi.PHRASES in (each.path for each in vgmidi.VGMIDI.missing(root)):
        benchmark.missing.append(
            f"midi: {vgmidi.PHRASES} is missing, the 204 labelled phrases that a clone of {vgmidi.VGMIDI.url} has; "
            f"{len(examples)} whole pieces of labelled/midi stand in for them. Once it is there, this command makes "
            "the row of the phrases."
        )
        benchmark.missing_inputs.append(f"midi: {vgmidi.PHRASES}")
    benchmark.notes += [f"{name}: {reason}." for name, reason in left_out]


def _pianist8(benchmark: Benchmark, root: Path) -> None:
    examples = pianist8.read(root)
    benchmark.add("abc/", ClassificationTask("abc", "multiclass", with_files(examples, root / "abc", without_suffix)))
    benchmark.add("midi/", ClassificationTask("midi", "multiclass", examples))


def _mtt(benchmark: Benchmark, root: Path) -> None:
    examples, tags = mtt.read(root)
    benchmark.add("mp3/", ClassificationTask("tags", "multilabel", examples, tags))


def _gs(benchmark: Benchmark, root: Path) -> None:
    examples = giantsteps.read(root)
    benchmark.add(
        "audio/ of both folders", ClassificationTask("key", "multiclass", examples, giantsteps.KEYS, keys=True)
    )
    if benchmark.cut is None:
        benchmark.notes.append("A preview is one example; with --protocol marble, clips of 30 s are.")


def _gtzan(benchmark: Benchmark, root: Path) -> None:
    benchmark.add("genres/", ClassificationTask("genre", "multiclass", gtzan.read(root), gtzan.GENRES))


def _emo(benchmark: Benchmark, root: Path) -> None:
    benchmark.add("clips_45seconds/", ClassificationTask("emotion", "regression", emo.read(root), emo.VALUES))
    if benchmark.cut is None:
        benchmark.notes.append("A clip of 45 s is one example; with --protocol marble, its first 30 s in clips of 5 s.")


def _nsynth(benchmark: Benchmark, root: Path) -> None:
    benchmark.add("nsynth-*/audio/", ClassificationTask("instrument", "multiclass", nsynth.read(root, "instrument")))
    benchmark.add(
        "nsynth-*/audio/", ClassificationTask("pitch", "multiclass", nsynth.read(root, "pitch"), nsynth.PITCHES)
    )


def _vocalset(benchmark: Benchmark, root: Path) -> None:
    read = vocalset.read if benchmark.cut is None else vocalset.read_pieces
    technique = ClassificationTask("technique", "multiclass", read(root, "technique"), vocalset.TECHNIQUES)
    benchmark.add("FULL/", technique)
    benchmark.add("FULL/", ClassificationTask("singer", "multiclass", read(root, "singer")))
    if benchmark.cut is None:
        benchmark.notes.append("A recording is one example; with --protocol marble, pieces of 3 s in its split are.")


def _jamendo(benchmark: Benchmark, root: Path) -> None:
    for subset in jamendo.SUBSETS:
        if absent := jamendo.missing_parts(root, subset):  # one category alone is a common download
            benchmark.missing.append(f"{subset}: the tables of {', '.join(absent)} are missing.")
            benchmark.missing_inputs += [f"{subset}: {part}" for part in absent]
            continue
        examples = jamendo.read(root, subset)
        benchmark.add("audio-low/ or audio/", ClassificationTask(subset, "multilabel", examples))


BENCHMARKS: Readers[Benchmark] = {
    "wikimt": (wikimt.WIKIMT, _wikimt),
    "vgmidi": (vgmidi.VGMIDI, _vgmidi),
    "pianist8": (pianist8.PIANIST8, _pianist8),
    "wikimtx": (wikimtx.WIKIMTX, _wikimtx),
    "own": (wikimtx.OWN, _wikimtx),
    "mtt": (mtt.MTT, _mtt),
    "gs": (giantsteps.GIANTSTEPS, _gs),
    "gtzan": (gtzan.GTZAN, _gtzan),
    "emo": (emo.EMO, _emo),
    "nsynth": (nsynth.NSYNTH, _nsynth),
    "vocalset": (vocalset.VOCALSET, _vocalset),
    "jamendo": (jamendo.JAMENDO, _jamendo),
}


def open_benchmark(name: str, root: Path, wanted: Sequence[str] = (), *, protocol: str = "published") -> Benchmark:
    """Return the tasks of a benchmark whose files are in a folder.

    Parameters
    ----------
    name : str
        One of `BENCHMARKS`.
    root : Path
        The data set's folder.
    wanted : sequence of str
        Names of tasks; empty = all.
    protocol : str
        One of `clamp3.datasets.clips.PROTOCOLS`.

    Raises
    ------
    ConfigError
        If a name is unknown, the protocol has no such data set, or what every task needs is missing.
    """
    if name in BENCHMARKS:
        cut_of(protocol, name)
    benchmark = open_named(partial(Benchmark, protocol=protocol), BENCHMARKS, name, root)
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
    if name not in ("wikimt", "wikimtx", "own"):
        raise ConfigError(f"--render_midi is for wikimt, wikimtx and own; {name} has no lead sheets.")
    songs = wikimt.read(root) if name == "wikimt" else wikimtx.read(root, BENCHMARKS[name][0])
    return wikimtx.render_midi({song.id: song.abc for song in songs if song.abc is not None}, root / "midi")
