"""Evaluate two folders whose files belong together in pairs: load, pair, measure, and report what was left out."""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clamp3.errors import DataError, printable
from clamp3.formats.tables import json_text
from clamp3.index.vectors import Opener, VectorFolder, check_comparable, load_folder
from clamp3.jobs.atomic import write_text
from clamp3.retrieval.confidence import caution, intervals
from clamp3.retrieval.cosine import group_similarity, mean_similarity, pair_similarity, rank_bounds
from clamp3.retrieval.metrics import evaluate, first_ranks
from clamp3.retrieval.pairing import Pairing, key_of, match, shared_references
from clamp3.retrieval.prompts import as_folder, is_table, read_prompts


class NoPairsError(DataError):
    """No file of one folder has a partner in the other."""


@dataclass(frozen=True)
class Comparison:
    """Vectors of two folders, and which of them belong together."""

    queries: VectorFolder
    references: VectorFolder
    pairing: Pairing

    @property
    def failures(self) -> list[tuple[str, str]]:
        """Files without a vector in either folder."""
        return self.queries.problems + self.references.problems

    @property
    def unmatched(self) -> dict[str, list[str]]:
        """Names of queries without a reference, and of references without a query."""
        return {
            "queries": [self.queries.names[row] for row in self.pairing.lone_queries],
            "references": [self.references.names[row] for row in self.pairing.lone_references],
        }

    def facts(self, *, unmatched: bool = True) -> dict[str, Any]:
        """Return what JSON reports tell about the folders."""
        lone = {f"unmatched_{side}": names for side, names in self.unmatched.items()} if unmatched else {}
        return {
            "weights": sorted(self.queries.weights | self.references.weights),
            **lone,
            "failures": [{"name": name, "reason": reason} for name, reason in self.failures],
        }

    def remarks(self, *, unmatched: bool = True) -> list[str]:
        """Return a line for every file that is not part of the result, counts first."""
        lines = []
        for kind, names in self.unmatched.items() if unmatched else ():
            if names:
                lines.append(f"{len(names)} {kind} without a partner (same sub-folder, same name up to the first dot):")
                lines += [f"  {name}" for name in names]
        if self.failures:
            lines.append(f"{len(self.failures)} files without a vector:")
            lines += [f"  {name}: {reason}" for name, reason in self.failures]
        return lines


@dataclass(frozen=True)
class Ranking:
    """How well the queries of a comparison find their references.

    Attributes
    ----------
    metrics : dict
        As `clamp3.retrieval.metrics.evaluate`.
    intervals : dict
        95 % intervals of some of them; see `clamp3.retrieval.confidence`.
    n_tied : int
        Queries whose rank depends on how ties are resolved.
    caution : str
        Why the intervals are not to be trusted, or "".
    rows : list of dict
        One per query: its name, the best of its references, rank, and similarity.
    """

    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    n_tied: int
    caution: str
    rows: list[dict[str, Any]]


def compare(query_dir: Path, reference_dir: Path, open_model: Opener, *, paired: bool = True) -> Comparison:
    """Load two folders and pair their files; see `clamp3.index.vectors.load_folder` and `clamp3.retrieval.pairing`.

    Parameters
    ----------
    query_dir, reference_dir : Path
        Folders, or tables of texts; see `clamp3.retrieval.prompts`.
    open_model : callable
        Returns the model; called once at most, and only if a file has to be encoded.
    paired : bool
        False loads without pairing.

    Raises
    ------
    ConfigError
        If a folder does not exist.
    DataError
        If one holds no vector, they cannot be compared, or, where ``paired``, no two files belong together.
    """
    once = functools.cache(open_model)
    queries, references = (
        as_folder(read_prompts(path), once) if is_table(path) else load_folder(path, once)
        for path in (query_dir, reference_dir)
    )
    check_comparable(queries, references)
    if not paired:
        return Comparison(queries, references, match([], []))
    pairing = match([key_of(name) for name in queries.names], [key_of(name) for name in references.names])
    if not len(pairing.pairs):
        raise NoPairsError(
            f"no file of {printable(query_dir)} belongs to one of {printable(reference_dir)}: partners lie in the same "
            f"sub-folder and have the same name up to the first dot, unlike {queries.names[0]} and "
            f"{references.names[0]}."
        )
    return Comparison(queries, references, pairing)


def rank_queries(
    found: Comparison, *, ties: str = "worst", distractors: bool = False, reverse: bool = False
) -> Ranking:
    """Rank the references for every query that has one.

    Parameters
    ----------
    found : Comparison
    ties : {"worst", "best"}
        As in `clamp3.retrieval.metrics`.
    distractors : bool
        Rank references without a query too; the released evaluation leaves them out.
    reverse : bool
        Rank the queries for every reference instead.
    """
    pairs, asking, asked = found.pairing.pairs, found.queries, found.references
    if reverse:
        pairs, asking, asked = pairs[:, ::-1], asked, asking
    kept = np.arange(len(asked)) if distractors else np.unique(pairs[:, 1])
    placed = np.stack([pairs[:, 0], np.searchsorted(kept, pairs[:, 1])], axis=1)
    best, worst = rank_bounds(asking.vectors, asked.vectors[kept], placed)
    rank = worst if ties == "worst" else best
    first = first_ranks(rank, placed[:, 0])
    similarity = pair_similarity(asking.vectors, asked.vectors, pairs)
    order = np.lexsort((rank, pairs[:, 0]))
    leading = order[np.flatnonzero(np.diff(pairs[order, 0], prepend=-1))]  # the best pair of each query
    rows = [
        {
            "query": asking.names[pairs[pair, 0]],
            "reference": asked.names[pairs[pair, 1]],
            "rank": int(rank[pair]),
            "similarity": round(float(similarity[pair]), 6),
        }
        for pair in leading
    ]
    several = len(first) < len(pairs)
    measured = evaluate(rank, len(kept), queries=pairs[:, 0] if several else None)
    tied = first_ranks(best, pairs[:, 0]) != first_ranks(worst, pairs[:, 0])
    groups = shared_references(placed)
    few = caution(len(np.unique(groups)))
    return Ranking(measured, intervals(first, groups=groups), int(np.count_nonzero(tied)), few, rows)


def pair_scores(found: Comparison) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Return the mean cosine of the pairs (what the released score prints), and a row for every pair."""
    pairs = found.pairing.pairs
    cosines = pair_similarity(found.queries.vectors, found.references.vectors, pairs)
    queries, references = found.queries.names, found.references.names
    rows = [
        {"query": queries[query], "reference": references[reference], "similarity": round(float(cosine), 6)}
        for (query, reference), cosine in zip(pairs, cosines, strict=True)
    ]
    return {"pairwise_similarity": float(cosines.mean())}, rows


def group_scores(found: Comparison) -> dict[str, float]:
    """Return both similarities of the folders as wholes; the first is the released ``--group``."""
    queries, references = found.queries.vectors, found.references.vectors
    return {
        "group_similarity": group_similarity(queries, references),
        "mean_similarity_of_all_pairs": mean_similarity(queries, references),
    }


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write a JSON Lines file.

    Parameters
    ----------
    path : Path
    rows : sequence of dict
        One object per line.
    """
    write_text(path, "".join(json_text(row) + "\n" for row in rows))


def as_report(ranking: Ranking, title: str) -> str:
    """Return the metrics of a ranking as lines for people.

    Parameters
    ----------
    ranking : Ranking
    title : str
        Of the first line.
    """
    found = dict(ranking.metrics)
    lines = [f"{title}: {found.pop('queries'):.0f} queries, {found.pop('references'):.0f} references"]
    chance, times = found.pop("chance_mrr"), found.pop("times_chance")
    for name, value in found.items():
        digits = 1 if name == "median_rank" else 4
        shown = {"mrr": "MRR", "map": "mAP", "median_rank": "Median rank"}.get(name, name.capitalize())
        between = " to ".join(f"{end:.{digits}f}" for end in ranking.intervals.get(name, ()))
        lines.append(f"  {shown:12} {value:7.{digits}f}" + (f"   95 %: {between}" if between else ""))
    lines.append(f"  {'Chance MRR':12} {chance:7.4f}   {times:.1f} times")
    lines.append(f"  {'Ties':12} {ranking.n_tied:7}   queries whose rank they touch")
    if ranking.caution:
        lines.append(f"  {ranking.caution}")
    return "\n".join(lines)


def print_remarks(lines: Sequence[str]) -> None:
    """Print lines on stderr."""
    for line in lines:
        print(line, file=sys.stderr)
