"""Groups of pieces compared: regions, centuries, composers. How alike are they, which words tell them apart?

Conventions
-----------
- Similarity of two groups: the mean cosine of a piece of one and a piece of the other; within a group, of two different
  pieces. Vectors are centred first (the mean of the groups' means is subtracted), since all music of a model lies in
  one direction of its space; without that, all similarities are near one another.
- Tests are by permutation of labels, seeded: the share of permutations, the observed one among them, with at least the
  observed statistic. Pairs of groups are adjusted by Holm's method, words by the largest statistic over all words.
- The statistic of two groups is the mean similarity within them less that between them (Clarke's R without ranks); of
  a word it is eta squared, the share of the spread of its similarities that groups explain.

References
----------
K. R. Clarke: Non-parametric multivariate analyses of changes in community structure, 1993.
S. Holm: A Simple Sequentially Rejective Multiple Test Procedure, 1979.
P. H. Westfall, S. S. Young: Resampling-Based Multiple Testing, 1993 (largest statistic).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clamp3.errors import ConfigError, DataError, printable
from clamp3.formats.tables import reading
from clamp3.index.ranking import unit_rows
from clamp3.index.vectors import Opener, check_comparable, load_folder
from clamp3.retrieval.projection import labels_of, read_metadata
from clamp3.retrieval.prompts import as_folder

Floats = NDArray[np.float64]

N_PERMUTATIONS = 999
N_SHOWN = 5
MIN_SIZE = 2


@dataclass(frozen=True)
class Groups:
    """Pieces and the group of each: ``vectors`` (N, D) as they are, ``unit`` (N, D) centred, of length 1.

    Attributes
    ----------
    names : list of str
        Of the pieces.
    groups : list of str
        Of the groups, sorted.
    of : array of int, shape (N,)
        Each piece's group.
    """

    names: list[str]
    groups: list[str]
    of: NDArray[np.int64]
    vectors: Floats
    unit: Floats = field(repr=False)

    @property
    def members(self) -> Floats:
        """Indicator matrix, shape (N, G)."""
        return np.eye(len(self.groups))[self.of]


def group(names: Sequence[str], vectors: NDArray[np.floating], labels: Sequence[str | None]) -> Groups:
    """Return pieces by group; those without a label are left out.

    Parameters
    ----------
    names : sequence of str
    vectors : float array, shape (N, D)
    labels : sequence of str or None

    Raises
    ------
    DataError
        If fewer than two groups have `MIN_SIZE` pieces or more.
    """
    counts = {label: sum(other == label for other in labels) for label in sorted({x for x in labels if x})}
    kept = [label for label, n in counts.items() if n >= MIN_SIZE]
    if len(kept) < 2:
        found = ", ".join(f"{n} in {printable(label)}" for label, n in list(counts.items())[:5]) or "no labels"
        raise DataError(f"two groups of at least {MIN_SIZE} pieces are needed; there are {found}.")
    rows = [row for row, label in enumerate(labels) if label in kept]
    of = np.array([kept.index(str(labels[row])) for row in rows])
    values = np.asarray(vectors, np.float64)[rows]
    unit = unit_rows(values)
    means = np.stack([unit[of == number].mean(axis=0) for number in range(len(kept))])
    return Groups([names[row] for row in rows], kept, of, values, unit_rows(unit - means.mean(axis=0)))


def similarities(found: Groups) -> Floats:
    """Return the mean similarity of every two groups, shape (G, G)."""
    return _means(found.unit @ found.unit.T, found.members)


def _means(cosines: Floats, members: Floats) -> Floats:
    sizes = members.sum(axis=0)
    sums = members.T @ (cosines @ members)
    pairs = np.outer(sizes, sizes)
    own = members.T @ np.diag(cosines)
    sums[np.diag_indices_from(sums)] -= own
    pairs[np.diag_indices_from(pairs)] -= sizes
    return sums / pairs


def permutation_tests(found: Groups, *, n_permutations: int = N_PERMUTATIONS, seed: int = 0) -> dict[str, Any]:
    """Return whether groups differ, all together and two by two.

    Parameters
    ----------
    found : Groups
    n_permutations : int
    seed : int

    Returns
    -------
    dict
        ``statistic`` and ``p`` of all groups, and ``pairs``: a row per two groups, with ``p`` and ``p_holm``.
    """
    rng = np.random.default_rng(seed)
    cosines = found.unit @ found.unit.T
    observed, p = _test(cosines, found.members, n_permutations, rng)
    rows: list[dict[str, Any]] = []
    for first in range(len(found.groups)):
        for second in range(first + 1, len(found.groups)):
            at = np.flatnonzero((found.of == first) | (found.of == second))
            part, single = _test(cosines[np.ix_(at, at)], found.members[at][:, [first, second]], n_permutations, rng)
            rows.append({"groups": [found.groups[first], found.groups[second]], "statistic": part, "p": single})
    for row, adjusted in zip(rows, _holm([row["p"] for row in rows]), strict=True):
        row["p_holm"] = adjusted
    return {"statistic": observed, "p": p, "n_permutations": n_permutations, "pairs": rows}


def _test(cosines: Floats, members: Floats, n_permutations: int, rng: np.random.Generator) -> tuple[float, float]:
    observed = _apartness(cosines, members)
    n_as_large = sum(_apartness(cosines, rng.permutation(members)) >= observed - 1e-12 for _ in range(n_permutations))
    return observed, (1 + n_as_large) / (1 + n_permutations)


def _apartness(cosines: Floats, members: Floats) -> float:
    means = _means(cosines, members)
    between = means[~np.eye(len(means), dtype=bool)]
    return float(np.diag(means).mean() - between.mean())


def _holm(p: Sequence[float]) -> list[float]:
    """Return p-values adjusted for their number.

    >>> [round(value, 3) for value in _holm([0.04, 0.01, 0.03])]
    [0.06, 0.03, 0.06]
    """
    adjusted, largest = [0.0] * len(p), 0.0
    for place, row in enumerate(sorted(range(len(p)), key=lambda row: p[row])):
        largest = max(largest, min(1.0, (len(p) - place) * p[row]))
        adjusted[row] = largest
    return adjusted


def neighbours(found: Groups) -> dict[str, Any]:
    """Return how often a piece's nearest neighbour is of its group, and the nearest pairs across groups.

    Returns
    -------
    dict
        ``own_group`` and ``chance`` (shares), ``table`` (group of the piece, of its neighbour: counts), ``across``.
    """
    cosines = found.unit @ found.unit.T
    np.fill_diagonal(cosines, -np.inf)
    nearest = cosines.argmax(axis=1)
    table = np.zeros((len(found.groups),) * 2, int)
    np.add.at(table, (found.of, found.of[nearest]), 1)
    sizes = table.sum(axis=1)
    other = np.where(found.of[:, None] != found.of[None, :], cosines, -np.inf)
    partner, best = other.argmax(axis=1), other.max(axis=1)
    pairs = {tuple(sorted((row, int(partner[row])))): float(best[row]) for row in range(len(best))}
    closest = sorted(pairs.items(), key=lambda pair: (-pair[1], pair[0]))[: 4 * N_SHOWN]
    across = [
        {
            "names": [found.names[row] for row in pair],
            "groups": [found.groups[found.of[row]] for row in pair],
            "similarity": round(similarity, 4),
        }
        for pair, similarity in closest
    ]
    chance = float((sizes * (sizes - 1)).sum() / (sizes.sum() * (sizes.sum() - 1)))
    return {
        "own_group": float(np.trace(table) / sizes.sum()),
        "chance": chance,
        "table": table.tolist(),
        "across": across,
    }


def distinctive_words(
    found: Groups, words: Sequence[str], vectors: Floats, *, n_permutations: int = N_PERMUTATIONS, seed: int = 0
) -> list[dict[str, Any]]:
    """Return how well each word tells the groups apart, the best first.

    Parameters
    ----------
    found : Groups
    words : sequence of str
        Prompts.
    vectors : float array, shape (W, D)
        Of the words.
    n_permutations : int
    seed : int

    Returns
    -------
    list of dict
        ``word``, ``eta_squared``, ``p`` (adjusted for the number of words), and ``d``: for each group, by how many
        standard deviations its pieces are more similar to the word than the others are.
    """
    similar = unit_rows(found.vectors) @ unit_rows(vectors).T  # (N, W)
    # What all words have in common with a piece says nothing about one of them.
    similar -= similar.mean(axis=1, keepdims=True)
    observed = _eta(similar, found.members)
    rng = np.random.default_rng(seed)
    largest = np.array([_eta(similar, rng.permutation(found.members)).max() for _ in range(n_permutations)])
    apart = []
    for number in range(len(found.groups)):
        own, rest = similar[found.of == number], similar[found.of != number]
        pooled = np.sqrt((own.var(axis=0) * len(own) + rest.var(axis=0) * len(rest)) / len(similar))
        apart.append((own.mean(axis=0) - rest.mean(axis=0)) / np.maximum(pooled, 1e-12))
    rows = [
        {
            "word": word,
            "eta_squared": float(observed[at]),
            "p": float((1 + (largest >= observed[at] - 1e-12).sum()) / (1 + n_permutations)),
            "d": {name: round(float(d[at]), 3) for name, d in zip(found.groups, apart, strict=True)},
        }
        for at, word in enumerate(words)
    ]
    return sorted(rows, key=lambda row: (-row["eta_squared"], row["word"]))


def _eta(values: Floats, members: Floats) -> Floats:
    """Return the share of the variance of each column between groups."""
    centred = values - values.mean(axis=0)
    sums = members.T @ centred
    between = (sums**2 / members.sum(axis=0)[:, None]).sum(axis=0)
    return between / np.maximum((centred**2).sum(axis=0), 1e-300)


def as_lines(result: dict[str, Any]) -> list[str]:
    """Return the figures of ``retrieval/groups.py`` as lines for people."""
    names, matrix = result["groups"], result["similarity"]
    width = max(map(len, names))
    lines = [" " * width + "".join(f"{name[:9]:>10}" for name in names)]
    lines += [
        f"{name:{width}}" + "".join(f"{value:10.3f}" for value in row) for name, row in zip(names, matrix, strict=True)
    ]
    test, near = result["test"], result["neighbours"]
    lines.append(f"groups differ: {test['statistic']:.4f}, p = {test['p']:.4f} ({test['n_permutations']} permutations)")
    alike = [" and ".join(row["groups"]) for row in test["pairs"] if row["p_holm"] > 0.05]
    lines.append(f"not distinguished (p > .05 after Holm): {'; '.join(alike) or 'none'}")
    lines.append(f"nearest neighbour of the same group: {near['own_group']:.1%}, by chance {near['chance']:.1%}")
    for name in names if result.get("words") else ():
        best = sorted((row for row in result["words"] if row["p"] <= 0.05), key=lambda row: -row["d"][name])[:N_SHOWN]
        said = ", ".join(f"{row['word']} ({row['d'][name]:+.2f})" for row in best if row["d"][name] > 0)
        lines.append(f"{name:{width}}  {said or 'no word'}")
    return lines


def compare_groups(
    folder: Path, by: str, labels: Path | None, words: Path | None, open_model: Opener, **how: int
) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Return the comparison of the groups of a folder, and the files that are left out with the reason.

    Parameters
    ----------
    folder : Path
        Raw files or vectors.
    by : str
        A column of the table, or what `clamp3.retrieval.projection.labels_of` takes.
    labels, words : Path, optional
        The table, and a file with a prompt per line.
    open_model : callable
    **how
        ``n_permutations`` and ``seed`` of the tests.

    Raises
    ------
    ConfigError
        If the table has no such column, or ``words`` no prompt.
    DataError
        If there are fewer than two groups.
    """
    loaded = load_folder(folder, open_model)
    given = labels_of(loaded.names, by, read_metadata(labels) if labels else None)
    found = group(loaded.names, loaded.vectors, [label if label not in ("unknown", "") else None for label in given])
    result: dict[str, Any] = {
        "by": by,
        "groups": found.groups,
        "sizes": found.members.sum(axis=0).astype(int).tolist(),
        "similarity": similarities(found).tolist(),
        "test": permutation_tests(found, **how),
        "neighbours": neighbours(found),
        "weights": sorted(loaded.weights),
    }
    if words is not None:
        with reading(words):
            lines = words.read_text(encoding="utf-8-sig").splitlines()
        prompts = list(dict.fromkeys(filter(None, map(str.strip, lines))))
        if not prompts:
            raise ConfigError(f"{printable(words)} holds no prompt; write one per line.")
        texts = as_folder([(prompt, prompt) for prompt in prompts], open_model)
        check_comparable(loaded, texts)
        result["words"] = distinctive_words(found, texts.names, texts.vectors.astype(np.float64), **how)
        loaded.problems.extend(texts.problems)
    kept = set(found.names)
    alone = [(name, f"it has no group of {MIN_SIZE} pieces or more.") for name in loaded.names if name not in kept]
    return result, loaded.problems + alone
