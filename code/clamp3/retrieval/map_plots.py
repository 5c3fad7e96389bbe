"""A map as an image, and as an HTML page that shows names under the pointer and needs no network."""

from __future__ import annotations

import html
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clamp3.errors import ConfigError
from clamp3.jobs.atomic import write_bytes

Points = Mapping[str, NDArray[np.float64]]

MAX_CLASSES = 20
_MANY = 5000
_MIN_SCALE = 12  # with so many distinct numbers a colour scale is clearer than a legend
# Okabe and Ito's colours, which colour-blind people can distinguish; with the markers they suffice for all classes.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#999999", "#000000")
_MARKS = (("o", "circle"), ("^", "triangle-up"), ("s", "square"))
_NAMES = {"pca": "PCA", "tsne": "t-SNE", "umap": "UMAP"}


def numbers(labels: Sequence[str]) -> NDArray[np.float64] | None:
    """Return labels as numbers if all are finite numbers and many differ, else None."""
    try:
        values = np.array([float(label) for label in labels])
    except ValueError:
        return None
    return values if np.isfinite(values).all() and len(np.unique(values)) >= _MIN_SCALE else None


def classes(labels: Sequence[str]) -> dict[str, list[int]]:
    """Return the rows of every class, in the order of names; the rarest beyond `MAX_CLASSES` become "other"."""
    counts = Counter(labels)
    common = sorted(counts, key=lambda label: (-counts[label], label))
    kept = set(common if len(common) <= MAX_CLASSES else common[: MAX_CLASSES - 1])
    found: dict[str, list[int]] = {label: [] for label in sorted(kept)}
    for row, label in enumerate(labels):
        found.setdefault(label if label in kept else f"other ({len(counts) - len(kept)} kinds)", []).append(row)
    return found


def literal(text: str) -> str:
    """Return a text escaped for matplotlib, which takes what is between two ``$`` for a formula."""
    return text.replace("$", r"\$")


def as_png(points: Points, labels: Sequence[str], *, title: str) -> bytes:
    """Return a PNG image with a panel per method.

    Parameters
    ----------
    points : mapping from method to float array, shape (N, 2)
    labels : sequence of str, length N
        What colours the points.
    title : str
        What the labels are.

    Raises
    ------
    ConfigError
        If matplotlib is absent.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ConfigError("a picture needs matplotlib: pip install 'clamp3[eval]'.") from None
    figure = Figure(figsize=(6 * len(points) + 2, 6), layout="constrained")
    panels = figure.subplots(1, len(points), squeeze=False)[0]
    scale = numbers(labels)
    size = float(np.clip(4000 / len(labels), 4, 36))
    for panel, (method, places) in zip(panels, points.items(), strict=True):
        panel.set(title=_NAMES.get(method, method), xticks=[], yticks=[])
        if scale is not None:
            drawn = panel.scatter(*places.T, c=scale, s=size, cmap="viridis")
            continue
        for place, (label, rows) in enumerate(classes(labels).items()):
            colour, (mark, _) = _style(place)
            name = literal(f"{label} ({len(rows)})")
            panel.scatter(*places[rows].T, c=colour, marker=mark, s=size, label=name, alpha=0.8)
    if scale is not None:
        figure.colorbar(drawn, ax=panels, label=literal(title))
    else:
        handles, names = panels[0].get_legend_handles_labels()
        figure.legend(handles, names, title=literal(title), loc="outside right upper")
    return _png(figure, dpi=150, metadata={"Software": None})


def write_figures(figures: Mapping[str, Any], folder: Path, **options: Any) -> list[Path]:
    """Write ``<name>.png`` for every figure; return the paths.

    Parameters
    ----------
    figures : mapping from str to Figure
        By name.
    folder : Path
        Made if absent.
    **options
        As matplotlib's ``savefig`` takes them.
    """
    for name, figure in figures.items():
        write_bytes(folder / f"{name}.png", _png(figure, dpi=120, **options), durable=False)
    return [folder / f"{name}.png" for name in figures]


def _png(figure: Any, **options: Any) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", **options)
    return stream.getvalue()


def as_html(points: Points, labels: Sequence[str], names: Sequence[str], *, title: str) -> str:
    """Return a self-contained HTML page: zoom, a legend to click on, names on hover, a button per method.

    Parameters
    ----------
    points, labels, title
        As in `as_png`.
    names : sequence of str, length N
        Shown under the pointer.

    Raises
    ------
    ConfigError
        If plotly is absent.
    """
    try:
        from plotly import graph_objects
    except ImportError:
        raise ConfigError("a page needs plotly: pip install 'clamp3[eval]'.") from None
    scale = numbers(labels)
    groups = {title: list(range(len(labels)))} if scale is not None else classes(labels)
    figure = graph_objects.Figure()
    draw = figure.add_scatter if len(labels) <= _MANY else figure.add_scattergl  # drawn by the graphics card
    for at, places in enumerate(points.values()):
        for place, (label, rows) in enumerate(groups.items()):
            colour, (_, mark) = _style(place)
            marker: dict[str, Any] = {"color": colour, "symbol": mark, "size": 7, "opacity": 0.8}
            if scale is not None:
                marker |= {"color": scale, "colorscale": "Viridis", "showscale": True, "symbol": "circle"}
            draw(
                x=places[rows, 0],
                y=places[rows, 1],
                mode="markers",
                marker=marker,
                name=_escaped(f"{label} ({len(rows)})"),
                text=[f"{_escaped(names[row])}<br>{_escaped(title)}: {_escaped(labels[row])}" for row in rows],
                hoverinfo="text",
                visible=at == 0,
                showlegend=scale is None,
            )
    buttons = [
        {
            "label": _NAMES.get(method, method),
            "method": "update",
            "args": [{"visible": [at == shown for at in range(len(points)) for _ in groups]}],
        }
        for shown, method in enumerate(points)
    ]
    menu = {"type": "buttons", "direction": "right", "x": 0, "y": 1.08, "xanchor": "left", "buttons": buttons}
    plain = {"showticklabels": False, "zeroline": False}
    figure.update_layout(
        legend_title_text=_escaped(title),
        template="plotly_white",
        xaxis=plain,
        yaxis=plain | {"scaleanchor": "x"},
        updatemenus=[menu],
    )
    return str(figure.to_html(include_plotlyjs=True, full_html=True, div_id="map", default_height="95vh"))


def _escaped(text: str) -> str:
    """Return a text for plotly, which reads tags and a few entities; quotation marks are not among these."""
    return html.escape(text, quote=False)


def _style(place: int) -> tuple[str, tuple[str, str]]:
    return _COLOURS[place % len(_COLOURS)], _MARKS[place // len(_COLOURS) % len(_MARKS)]
