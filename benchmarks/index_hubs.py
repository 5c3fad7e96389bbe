"""Measure what corrections for hubs and modalities do to questions by words, scores, MIDI and recordings.

    apt-get install fluidsynth fluid-soundfont-gm        (Debian; for this benchmark only)
    python benchmarks/index_hubs.py ~/music/.clamp3_index --vectors made.npz

Of an index that is there, scores of folders that mini was not trained on become MIDI (music21) and recordings of at
most half a minute (fluidsynth, with other sounds than in training); both join the index's music. Half of them are
probes, half ask for each other among everything: the reciprocal rank of the piece in the other modality is averaged.
Words ask for keys and metres, and the share of ten results that have both counts; of all lists of ten by words, the
piece that is in most of them and the modalities are counted. --vectors keeps what was made. Writes
benchmarks/results/index_hubs.<vendor>.json.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
from index_words import DESCRIPTIONS
from machine import write_result
from serve import HOW, WHAT

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "code"))  # recipes, without installation

from clamp3 import Clamp3
from clamp3.cli import EXIT_OK, parser_for, run
from clamp3.errors import Clamp3Error
from clamp3.formats import Kind
from clamp3.formats.score_to_midi import abc_to_midi
from clamp3.formats.symbolic import to_symbolic
from clamp3.formats.tables import json_text
from clamp3.index.folder import find_index
from clamp3.index.library import Library
from clamp3.index.ranking import unit_rows
from clamp3.index.store import VECTOR
from clamp3.sources import source_of
from recipes.mini.render import RATE_HZ, SOUNDFONT, arrange, play

MUSIC = ("score", "midi", "audio")
LONGEST_SEC, LARGEST_BYTES = 30.0, 25_000
NEAREST = 10  # probes that count in local scaling

Correction = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of this script."""
    parser = parser_for(__doc__)
    parser.add_argument("index", type=Path, help="an index of the mini model")
    parser.add_argument(
        "--vectors", type=Path, help="file to keep the vectors of what is made in, or to take them from"
    )
    parser.add_argument(
        "--n", type=int, default=160, help="scores that become MIDI and recordings (default: %(default)s)"
    )
    parser.add_argument("--folders", nargs="+", default=["openscore_lieder", "polish_scores"], help="of these scores")
    parser.add_argument("--name", default="index_hubs", help="of the results (default: %(default)s)")
    return parser


def made(
    library: Library, model: Clamp3, rows: list[dict[str, Any]], args: argparse.Namespace
) -> dict[str, np.ndarray]:
    """Return ids of scores, and the vectors of their MIDI and recordings, shape (n, D) each."""
    if args.vectors and args.vectors.exists():
        return dict(np.load(args.vectors))
    chosen = [row for row in rows if row["modality"] == "score" and row["name"].split("/")[0] in args.folders]
    random.Random(7).shuffle(chosen)
    ids: list[str] = []
    vectors: dict[str, list[np.ndarray]] = {"midi": [], "audio": []}
    for row in chosen:
        if len(ids) == args.n:
            break
        try:
            source = source_of(library.path_of(row["id"]))
            data = source.read()
            if len(data) > LARGEST_BYTES:
                continue
            midi = abc_to_midi(to_symbolic(data, source.kind, name=source.name).text)
            sound = play(arrange(midi, row["id"], held_out=True, longest_sec=LONGEST_SEC), SOUNDFONT)
        except (Clamp3Error, OSError):
            continue
        encoded = model.encode([(midi, Kind.MIDI), (sound, RATE_HZ)], n_workers=1)
        if any(encoded.errors):
            continue
        ids.append(row["id"])
        for name, vector in zip(vectors, encoded.vectors, strict=True):
            vectors[name].append(vector)
        print(f"\r{len(ids)} of {args.n}", end="", file=sys.stderr)
    kept: dict[str, Any] = {"ids": np.array(ids), **{name: np.stack(found) for name, found in vectors.items()}}
    if args.vectors:
        np.savez(args.vectors, **kept)
    return kept


def corrections(modality: np.ndarray) -> dict[str, Correction]:
    """Return ways to correct cosines of questions, shape (Q, N), by those of probes, (P, N), and who is a probe, (N,).

    Parameters
    ----------
    modality : ndarray of str, shape (N,)
        Of the pieces.
    """

    def centred(cosines: np.ndarray, scaled: bool = False) -> np.ndarray:
        found = cosines.copy()
        for name in np.unique(modality):
            own = cosines[:, modality == name]
            spread = own.std(1, keepdims=True) if scaled else 1.0
            found[:, modality == name] = (own - own.mean(1, keepdims=True)) / spread
        return found

    def probes(share: float) -> Correction:
        return lambda cosines, by_probes, count: cosines - share * _means(by_probes, count)

    return {
        "none": lambda cosines, by_probes, count: cosines,
        "half of a piece's mean over probes": probes(0.5),
        "a piece's mean over probes": probes(1.0),
        "half of its ten nearest probes": lambda cosines, by_probes, count: cosines - _nearest(by_probes, count) / 2,
        "mean of its modality": lambda cosines, by_probes, count: centred(cosines),
        "mean and spread of its modality": lambda cosines, by_probes, count: centred(cosines, scaled=True),
        "both means": lambda cosines, by_probes, count: centred(probes(1.0)(cosines, by_probes, count)),
    }


def _means(by_probes: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Return the mean over probes, but for a probe itself, whose cosine to itself is 1."""
    return np.asarray(np.where(count, by_probes, 0).sum(0) / count.sum(0))


def _nearest(by_probes: np.ndarray, count: np.ndarray) -> np.ndarray:
    return np.asarray(np.sort(np.where(count, by_probes, -1), axis=0)[-NEAREST:].mean(0))


def by_words(model: Clamp3, rows: list[dict[str, Any]]) -> tuple[list[str], np.ndarray]:
    """Return questions for a key and a metre, and which pieces have both, shape (Q, N)."""
    of_scores = Counter((row["key"], row["metre"]) for row in rows if row["key"] and row["metre"])
    asked = [pair for pair, n in of_scores.most_common(60) if n >= 20]
    fits = np.array([[(row["key"], row["metre"]) == pair for row in rows] for pair in asked])
    return [f"a piece in {key}, in {metre}" for key, metre in asked], fits


def measured(space: Space, text: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]) -> Iterator[dict[str, Any]]:
    """Yield what each correction does.

    Parameters
    ----------
    space : Space
    text : four arrays
        Questions, what fits them, further questions, probes.
    """
    questions, fits, further, probing = text
    everywhere = np.ones((len(probing), len(space.vectors)), bool)
    for name, correct in corrections(space.modality).items():
        figures: dict[str, Any] = {"correction": name}
        best = {}
        for what, asked in {"facts": questions, "all": np.concatenate([questions, further])}.items():
            scores = correct(asked @ space.vectors.T, probing @ space.vectors.T, everywhere)
            best[what] = np.argsort(-scores, axis=1, kind="stable")[:, :10]
        figures["words: key and metre right"] = float(np.mean(np.take_along_axis(fits, best["facts"], 1)))
        for given, wanted in permutations(MUSIC, 2):
            figures[f"{given} to {wanted}"] = space.reciprocal_rank(given, wanted, correct)
        counts = np.bincount(best["all"].ravel())
        figures["most lists of ten with one piece"] = int(counts.max())
        figures["different pieces in them"] = int((counts > 0).sum())
        shares = Counter(space.modality[best["all"]].ravel().tolist())
        figures |= {f"share of {each}": shares[each] / best["all"].size for each in MUSIC}
        yield {key: round(value, 3) if isinstance(value, float) else value for key, value in figures.items()}


class Space:
    """All music: unit vectors, modalities, and where the scores are that there are in three modalities.

    Parameters
    ----------
    rows : list of dict
        Of the index.
    new : dict
        As `made` returns it.
    """

    def __init__(self, rows: list[dict[str, Any]], new: dict[str, np.ndarray]) -> None:
        place = {row["id"]: n for n, row in enumerate(rows)}
        n = len(new["ids"])
        vectors = [np.stack([row[VECTOR] for row in rows]), new["midi"], new["audio"]]
        self.vectors = unit_rows(np.concatenate(vectors).astype(np.float64))
        self.modality = np.array([row["modality"] for row in rows] + ["midi"] * n + ["audio"] * n)
        first = len(rows)
        places = {"score": [place[each] for each in new["ids"].tolist()]}
        self.places = {**{k: np.array(v) for k, v in places.items()}, "midi": np.arange(first, first + n)}
        self.places["audio"] = np.arange(first + n, first + 2 * n)

    def reciprocal_rank(self, asked: str, wanted: str, correct: Correction) -> float:
        """Return the mean reciprocal rank of pieces in one modality, asked for by another, among everything.

        Parameters
        ----------
        asked, wanted : str
            Modalities. The piece itself and its third form are no results.
        correct : callable
        """
        half = len(self.places[asked]) // 2
        probes, queries = self.places[asked][:half], np.arange(half, len(self.places[asked]))
        count = np.ones((half, len(self.vectors)), bool)
        count[np.arange(half), probes] = False
        for each in MUSIC:  # the other forms of a probe would be known by it
            count[np.arange(half), self.places[each][:half]] = False
        scores = correct(
            self.vectors[self.places[asked][queries]] @ self.vectors.T, self.vectors[probes] @ self.vectors.T, count
        )
        total = 0.0
        for row, query in zip(scores, queries, strict=True):
            target = row[self.places[wanted][query]]
            row[[self.places[each][query] for each in MUSIC]] = -np.inf
            total += 1 / (1 + int((row > target).sum()))
        return total / len(queries)


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; return its exit code."""
    args = build_parser().parse_args(argv)
    model = Clamp3.from_pretrained("mini", device="cpu")
    with Library.open(find_index(args.index) or args.index) as library:
        rows = library.pieces.rows(["id", "name", "modality", "key", "metre", VECTOR])
        rows = sorted((row for row in rows if row["modality"] != "text"), key=lambda row: str(row["id"]))
        new = made(library, model, rows, args)
    space = Space(rows, new)
    asked, fits = by_words(model, rows)
    fits = np.pad(fits, ((0, 0), (0, len(space.vectors) - len(rows))))  # what was made has no facts
    texts = [asked, list(DESCRIPTIONS), [f"a {how} {what}" for how in HOW for what in WHAT]]
    questions, further, probing = (unit_rows(np.asarray(model.encode(each).vectors, np.float64)) for each in texts)
    result = {
        "weights": model.identity,
        "pieces": {name: int((space.modality == name).sum()) for name in MUSIC},
        "questions": {"key and metre": len(asked), "descriptions": len(DESCRIPTIONS), "pairs": len(new["ids"]) // 2},
        "probes": {"words": len(probing), "music": len(new["ids"]) // 2},
        "corrections": list(measured(space, (questions, fits, further, probing))),
    }
    print(json_text(result, indent=2))
    print(write_result(args.name, result))
    return EXIT_OK


if __name__ == "__main__":
    raise SystemExit(run(main))
