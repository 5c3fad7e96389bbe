"""How good generated music is, by its vectors: does it follow prompts, sound like a reference, vary, and repeat others?

Conventions
-----------
Vectors are (N, D) arrays of one joint space. Similarities are cosines; distances are 1 - cosine.

References
----------
D. Friedman, A. B. Dieng: The Vendi Score, 2023 (exponential of the entropy of the eigenvalues of the kernel over n).
K. Kilgour et al.: Fréchet Audio Distance, 2019; M. Chong, D. Forsyth: Effectively Unbiased FID, 2020 (the
extrapolation). A. Gui et al.: Adapting Fréchet Audio Distance for Generative Music Evaluation, 2024 (single songs).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clamp3.errors import ConfigError, DataError, printable
from clamp3.index.ranking import unit_rows
from clamp3.index.vectors import Opener, VectorFolder, check_comparable, load_folder
from clamp3.retrieval.confidence import caution, mean_interval
from clamp3.retrieval.cosine import group_similarity, rank_bounds
from clamp3.retrieval.frechet import extrapolate, frechet_distance, song_distances
from clamp3.retrieval.metrics import evaluate, first_ranks
from clamp3.retrieval.pairing import Pairing, key_of, match, shared_references
from clamp3.retrieval.prompts import as_folder, is_table, prompts_in, read_prompts

Vectors = NDArray[np.floating]

ESTIMATOR = "ledoit_wolf"  # shrinks covariances, without which few files are far from everything
N_CLOSEST = 10
RARE = 0.99  # share of real pieces whose nearest training neighbour is less like them than what counts as a copy


def prompt_scores(prompts: Vectors, music: Vectors, pairing: Pairing) -> dict[str, Any]:
    """Return the CLaMP 3 score: the mean cosine of prompts and their music, beside that of random pairs.

    Parameters
    ----------
    prompts, music : float arrays, shapes (P, D) and (N, D)
    pairing : Pairing
        Prompts and their music.

    Returns
    -------
    dict
        ``score``, ``interval_95``, ``random_pairs`` (mean of all wrong pairs), ``above_random``, and how far prompts
        find their music: ``retrieval`` as `clamp3.retrieval.metrics.evaluate`.
    """
    pairs = pairing.pairs
    cosines = unit_rows(prompts) @ unit_rows(music).T  # (P, N)
    own = cosines[pairs[:, 0], pairs[:, 1]]
    n_wrong = cosines.size - len(own)
    score = float(own.mean())
    low, high = mean_interval((1 + np.clip(own, -1, 1)) / 2, pairs[:, 1])
    chance = float((cosines.sum() - own.sum()) / n_wrong) if n_wrong else None
    _, worst = rank_bounds(prompts, music, pairs)
    first = first_ranks(worst, pairs[:, 0])
    several = len(first) < len(worst)
    return {
        "n_pairs": len(own),
        "score": score,
        "interval_95": (2 * low - 1, 2 * high - 1),
        "random_pairs": chance,
        "above_random": None if chance is None else score - chance,
        "retrieval": evaluate(worst, len(music), queries=pairs[:, 0] if several else None),
        "caution": caution(len(np.unique(shared_references(pairs)))),
    }


def diversity(vectors: Vectors) -> dict[str, float]:
    """Return how varied music is: mean distance of two pieces, and the Vendi score, from 1 to the number of pieces.

    Parameters
    ----------
    vectors : float array, shape (N, D)

    Examples
    --------
    >>> round(diversity(np.eye(3))["vendi_score"], 6)
    3.0
    >>> round(diversity(np.ones((3, 2)))["vendi_score"], 6)
    1.0
    """
    unit = unit_rows(vectors)
    n = len(unit)
    total = unit.sum(axis=0)
    distance = 1 - (float(total @ total) - n) / (n * (n - 1)) if n > 1 else 0.0
    product = unit @ unit.T if n <= unit.shape[1] else unit.T @ unit  # the same eigenvalues besides zeros
    values = np.linalg.eigvalsh(product / n)
    values = values[values > 1e-12]
    return {"mean_distance": float(distance), "vendi_score": float(np.exp(-(values * np.log(values)).sum()))}


def distribution(music: Vectors, reference: Vectors, *, min_size: int, seed: int = 0) -> dict[str, Any]:
    """Return how near generated music is to real music as a whole.

    Parameters
    ----------
    music, reference : float arrays, shapes (N, D) and (R, D)
    min_size : int
        Smallest sample of the extrapolation; without more files than that there is none.
    seed : int
        Of the samples.
    """
    found: dict[str, Any] = {"group_similarity": group_similarity(music, reference), "estimator": ESTIMATOR}
    how: Any = {"estimator": ESTIMATOR, "seed": seed}
    if min(len(music), len(reference)) < 2:
        return found
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the advice says it
        found["frechet_distance"] = frechet_distance(music, reference, **how)
        if len(music) > min_size:
            found["infinite"] = asdict(extrapolate(music, reference, min_size=min_size, **how))
        halves = np.random.default_rng(seed).permutation(len(reference))
        if len(reference) >= 4:  # what real music scores against real music of half the size
            first, second = reference[halves[::2]], reference[halves[1::2]]
            found["frechet_distance_of_real_halves"] = frechet_distance(first, second, **how)
    return found


def nearest(music: Vectors, training: Vectors) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the row of the most similar training piece of every piece, and its cosine.

    Parameters
    ----------
    music, training : float arrays, shapes (N, D) and (T, D)
    """
    right = unit_rows(training)
    rows, cosines = [], []
    for start in range(0, len(music), 1024):
        found = unit_rows(music[start : start + 1024]) @ right.T
        rows.append(found.argmax(axis=1))
        cosines.append(found.max(axis=1))
    return np.concatenate(rows), np.concatenate(cosines)


def memorisation(
    music: Vectors, training: Vectors, reference: Vectors | None, names: Sequence[str], training_names: Sequence[str]
) -> dict[str, Any]:
    """Return the nearest training neighbours of generated music, and how many are nearer than real music ever is.

    Parameters
    ----------
    music, training : float arrays, shapes (N, D) and (T, D)
    reference : float array, shape (R, D), optional
        Real music that was not trained on: how similar to training pieces other music is. Without it the training
        pieces' own nearest neighbours among the others say that.
    names, training_names : sequence of str
    """
    rows, cosines = nearest(music, training)
    usual: NDArray[np.float64] | None = None
    if reference is not None:
        usual = nearest(reference, training)[1]
    elif len(training) > 1:
        unit = unit_rows(training)
        usual = np.array([np.delete(unit @ one, row).max() for row, one in enumerate(unit)])
    limit = None if usual is None else float(np.quantile(usual, RARE))
    closest = np.argsort(-cosines, kind="stable")[:N_CLOSEST]
    pairs = [(names[row], training_names[rows[row]], round(float(cosines[row]), 4)) for row in closest]
    return {
        "mean_similarity": float(cosines.mean()),
        "usual_similarity": None if usual is None else float(usual.mean()),
        "limit": limit,
        "share_above_limit": None if limit is None else float((cosines > limit).mean()),
        "closest": [dict(zip(("name", "training", "similarity"), pair, strict=True)) for pair in pairs],
    }


def advice(n: int, width: int, n_reference: int | None) -> list[str]:
    """Return what the numbers of files mean for the figures.

    Parameters
    ----------
    n : int
        Generated files.
    width : int
        Of the vectors.
    n_reference : int, optional
    """
    lines = []
    if n < 30:
        lines.append(
            f"{n} generated files: compare no averages that differ by less than their intervals; 100 are better."
        )
    if n_reference is not None and min(n, n_reference) < 2 * width:
        lines.append(
            f"{min(n, n_reference)} files for vectors of width {width}: Fréchet distances are too large, the more "
            f"so the fewer files; compare equal numbers only, or use {2 * width} and more, or the extrapolation."
        )
    return lines


def songs(music: Vectors, reference: Vectors, names: Sequence[str]) -> list[dict[str, Any]]:
    """Return every piece's own distance to the reference, the most distant first.

    Parameters
    ----------
    music, reference : float arrays, shapes (N, D) and (R, D)
    names : sequence of str
    """
    if len(reference) < 2:
        raise DataError("a reference needs at least 2 files.")
    distances = song_distances(music, reference)
    order = np.argsort(-distances, kind="stable")
    return [{"name": names[row], "distance": float(distances[row])} for row in order]


def as_lines(result: dict[str, Any]) -> list[str]:
    """Return the figures of `evaluate_generation.py` as lines for people."""
    lines = [f"{result['n_generated']} generated files"]
    if score := result.get("prompts"):
        between = "{:.4f} to {:.4f}".format(*score["interval_95"])
        lines.append(f"  CLaMP 3 score               {score['score']:8.4f}   95 %: {between}")
        if score["random_pairs"] is not None:
            lines.append(f"  random pairs                {score['random_pairs']:8.4f}")
        found = score["retrieval"]
        lines.append(f"  prompt finds its music, MRR {found['mrr']:8.4f}   chance: {found['chance_mrr']:.4f}")
    if near := result.get("reference"):
        lines.append(f"  group similarity            {near['group_similarity']:8.4f}")
        for name, label in (
            ("frechet_distance", "Fréchet distance"),
            ("frechet_distance_of_real_halves", "  of halves of the reference"),
        ):
            if name in near:
                lines.append(f"  {label:27} {near[name]:8.4f}")
        if "infinite" in near:
            lines.append(
                "  of infinitely many files    {distance:8.4f}   (R² of the line {r2:.3f})".format(**near["infinite"])
            )
    for owner, found in result["diversity"].items():
        lines.append(f"  diversity of {owner:15}{found['mean_distance']:8.4f}   Vendi score {found['vendi_score']:.1f}")
    if copies := result.get("training"):
        lines.append(f"  nearest training piece      {copies['mean_similarity']:8.4f}   (mean cosine)")
        if copies["limit"] is not None:
            lines.append(f"  usual among real pieces     {copies['usual_similarity']:8.4f}")
            share = (
                f"{copies['share_above_limit']:8.1%}   nearer than {RARE:.0%} of real pieces ({copies['limit']:.4f})"
            )
            lines.append(f"  possible copies             {share}")
        lines += [f"    {row['name']}  ~  {row['training']}  {row['similarity']:.4f}" for row in copies["closest"][:5]]
    return [*lines, *(f"note: {line}" for line in result["notes"])]


def evaluate_folder(
    generated: Path,
    prompts: str | None,
    folders: Mapping[str, Path | None],
    open_model: Opener,
    *,
    min_size: int,
    seed: int = 0,
) -> tuple[dict[str, Any], dict[str, VectorFolder]]:
    """Return all figures of a folder of generated music, and the vectors they come from.

    Parameters
    ----------
    generated : Path
    prompts : str, optional
        A table, a folder, or ``names``; see `clamp3.retrieval.prompts`.
    folders : mapping
        ``reference`` and ``training``, each a folder or None.
    open_model : callable
        Returns the model, each time the same.
    min_size, seed
        As in `distribution`.

    Raises
    ------
    ConfigError
        If there is nothing to compare with, or prompts are neither a table nor a folder.
    DataError
        If no prompt belongs to a file, or vectors come from different models.
    """
    given = {name: folder for name, folder in folders.items() if folder is not None}
    if prompts is None and not given:
        raise ConfigError("nothing to compare with: give --prompts, --reference or --training.")
    loaded = {name: load_folder(folder, open_model) for name, folder in {"generated": generated, **given}.items()}
    music = loaded["generated"]
    if prompts is not None:
        loaded["prompts"] = _prompts(prompts, music.names, open_model)
    for other in loaded.values():
        check_comparable(music, other)
    reference, training = loaded.get("reference"), loaded.get("training")
    varied = {name: diversity(loaded[name].vectors) for name in ("generated", "reference") if name in loaded}
    notes = advice(len(music), music.vectors.shape[1], None if reference is None else len(reference))
    result: dict[str, Any] = {"n_generated": len(music), "weights": sorted(music.weights), "diversity": varied}
    if prompts is not None:
        asked = loaded["prompts"]
        pairing = match([key_of(name) for name in asked.names], [key_of(name) for name in music.names])
        if not len(pairing.pairs):
            raise DataError(f"no prompt belongs to a generated file: {asked.names[0]} is unlike {music.names[0]}.")
        result["prompts"] = prompt_scores(asked.vectors, music.vectors, pairing)
        notes += [result["prompts"]["caution"]] if result["prompts"]["caution"] else []
        lone = len(pairing.lone_references), len(pairing.lone_queries)
        notes += [f"{lone[0]} files without a prompt, {lone[1]} prompts without a file."] if any(lone) else []
    if reference is not None:
        result["reference"] = distribution(music.vectors, reference.vectors, min_size=min_size, seed=seed)
    if training is not None:
        real = None if reference is None else reference.vectors
        result["training"] = memorisation(music.vectors, training.vectors, real, music.names, training.names)
    failures = [problem for folder in loaded.values() for problem in folder.problems]
    return {**result, "notes": notes, "failures": failures}, loaded


def _prompts(prompts: str, names: Sequence[str], open_model: Opener) -> VectorFolder:
    path = Path(prompts)
    if prompts == "names" and not path.exists():
        if not (found := prompts_in(names)):
            raise DataError(f"no prompt is in names such as {names[0]}.")
        return as_folder(found, open_model)
    if not path.exists():
        raise ConfigError(f"--prompts {printable(prompts)}: there is no such table or folder.")
    return as_folder(read_prompts(path), open_model) if is_table(path) else load_folder(path, open_model)
