"""The comparison of groups as an image, and as a page that needs no network."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from clamp3.errors import ConfigError
from clamp3.retrieval.map_plots import literal


def as_png(result: dict[str, Any]) -> bytes:
    """Return an image: a dendrogram (average linkage of 1 - similarity) above the matrix in its order, and words.

    Raises
    ------
    ConfigError
        If matplotlib or scipy is absent.
    """
    try:
        from matplotlib.figure import Figure
        from scipy.cluster.hierarchy import dendrogram, linkage
        from scipy.spatial.distance import squareform
    except ImportError:
        raise ConfigError("a picture of groups needs matplotlib and scipy: pip install 'clamp3[eval]'.") from None
    similar = np.array(result["similarity"])
    apart = 1 - (similar + similar.T) / 2
    np.fill_diagonal(apart, 0)
    names = [literal(name) for name in result["groups"]]
    words = [row for row in result.get("words", []) if row["p"] <= 0.05][:20]
    figure = Figure(figsize=(12 if words else 6.5, 7), layout="constrained")
    parts = figure.subplots(2, 2 if words else 1, height_ratios=(1, 3), squeeze=False)
    tree = dendrogram(linkage(squareform(apart, checks=False), "average"), ax=parts[0, 0], no_labels=True)
    heights = np.array(tree["dcoord"])[:, 1]
    parts[0, 0].set(ylabel="1 - similarity", ylim=(heights.min() - 0.3 * (np.ptp(heights) or 1), None))
    order = tree["leaves"]
    heat = parts[1, 0]
    heat.imshow(similar[np.ix_(order, order)], cmap="viridis")
    shown = [names[place] for place in order]
    heat.set_xticks(range(len(order)), shown, rotation=90)
    heat.set_yticks(range(len(order)), shown)
    middle = (similar.max() + similar.min()) / 2
    for row, first in enumerate(order):
        for column, second in enumerate(order):
            value = similar[first, second]
            colour = "black" if value > middle else "white"
            heat.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=7, color=colour)
    if words:
        parts[0, 1].set_axis_off()
        table = np.array([[row["d"][result["groups"][place]] for place in order] for row in words])
        limit = float(np.abs(table).max())
        image = parts[1, 1].imshow(table, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto")
        parts[1, 1].set_xticks(range(len(order)), shown, rotation=90)
        parts[1, 1].set_yticks(range(len(words)), [literal(row["word"]) for row in words])
        figure.colorbar(image, ax=parts[1, 1], label="standard deviations above the others")
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=80)
    return stream.getvalue()


def as_html(result: dict[str, Any], picture: bytes, title: str) -> str:
    """Return a page with the picture, the tests, the nearest pairs across groups, and the words.

    Parameters
    ----------
    result : dict
        Of ``retrieval/groups.py``.
    picture : bytes
        From `as_png`.
    title : str
    """
    test, near = result["test"], result["neighbours"]
    pairs = [[*row["groups"], f"{row['statistic']:.4f}", f"{row['p_holm']:.3f}"] for row in test["pairs"]]
    across = [[*row["names"], " – ".join(row["groups"]), f"{row['similarity']:.3f}"] for row in near["across"]]
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        f'<img alt="similarity of groups" src="data:image/png;base64,{base64.b64encode(picture).decode()}">',
        f"<p>All groups: {test['statistic']:.4f}, p = {test['p']:.4f} ({test['n_permutations']} permutations). Nearest "
        f"neighbour of the same group: {near['own_group']:.1%}, by chance {near['chance']:.1%}.</p>",
        "<h2>Two by two</h2>",
        _table(["group", "group", "within less between", "p (Holm)"], pairs),
        "<h2>Nearest pieces across groups</h2>",
        _table(["piece", "piece", "groups", "similarity"], across),
    ]
    if words := result.get("words"):
        names = result["groups"]
        rows = [
            [row["word"], f"{row['eta_squared']:.3f}", f"{row['p']:.3f}", *(f"{row['d'][name]:+.2f}" for name in names)]
            for row in words
        ]
        parts += ["<h2>Words</h2>", _table(["word", "eta²", "p", *names], rows)]
    style = "body{font:15px sans-serif;margin:2em}td,th{padding:.2em .7em;text-align:left}img{max-width:100%}"
    head = f'<!doctype html><meta charset="utf-8"><title>{html.escape(title)}</title><style>{style}</style>'
    return head + "\n".join(parts) + "\n"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["".join(f"<th>{html.escape(cell)}</th>" for cell in head)]
    lines += ["".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows]
    return "<table>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"
