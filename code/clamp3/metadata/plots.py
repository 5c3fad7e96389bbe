"""Plots of a text collection: its languages, its countries, the lengths of its fields."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from clamp3.errors import ConfigError
from clamp3.retrieval.map_plots import write_figures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from clamp3.metadata.check import TextStatistics

SHOWN = 40  # bars; the rest is one bar


def draw(statistics: TextStatistics, folder: Path) -> list[Path]:
    """Write ``languages.png``, ``regions.png`` and ``lengths.png``; return those for which there are data.

    Parameters
    ----------
    statistics : TextStatistics
    folder : Path
        Made if absent.

    Raises
    ------
    ConfigError
        If matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure  # noqa: F401
    except ImportError:
        raise ConfigError("plots need matplotlib: pip install 'clamp3[eval]'.") from None
    figures = {}
    if kinds := {kind: count for kind, count in statistics.languages.items() if count}:
        figures["languages"] = _bars(kinds, "language of the texts")
    if statistics.regions:
        figures["regions"] = _bars({"": statistics.regions}, "region")
    if statistics.n_bytes:
        figures["lengths"] = _histograms(statistics.n_bytes)
    return write_figures(figures, folder, bbox_inches="tight")


def _bars(counts: dict[str, Counter[str]], label: str) -> Figure:
    from matplotlib.figure import Figure

    total: Counter[str] = sum(counts.values(), Counter())
    names = [name for name, _ in sorted(total.items(), key=lambda row: (-row[1], row[0]))]
    rest = names[SHOWN:]
    rows = names[:SHOWN] + ([f"{len(rest)} others"] if rest else [])
    figure = Figure(figsize=(7, 0.22 * len(rows) + 1))
    axes = figure.add_subplot()
    height = 0.8 / len(counts)
    for at, (kind, count) in enumerate(counts.items()):
        widths = [count[name] for name in names[:SHOWN]] + ([sum(count[name] for name in rest)] if rest else [])
        axes.barh([row + at * height for row in range(len(rows))], widths, height, label=kind or None)
    axes.set_yticks([row + 0.4 - height / 2 for row in range(len(rows))], rows)
    axes.set_xscale("log")  # one language often has as many as all others together
    axes.set_xlim(left=0.7)
    axes.margins(y=0.01)
    axes.invert_yaxis()
    axes.set_xlabel("records")
    axes.set_title(label)
    if len(counts) > 1:
        axes.legend()
    return figure


def _histograms(n_bytes: dict[str, Counter[int]]) -> Figure:
    from matplotlib.figure import Figure

    n_columns = min(3, len(n_bytes))
    n_rows = -(-len(n_bytes) // n_columns)
    figure = Figure(figsize=(3.4 * n_columns, 2.1 * n_rows), layout="constrained")
    for at, (name, lengths) in enumerate(n_bytes.items(), 1):
        axes = figure.add_subplot(n_rows, n_columns, at)
        axes.hist(list(lengths), weights=list(lengths.values()), bins=40)
        axes.set_title(name, fontsize=9)
        axes.set_xlabel("bytes", fontsize=8)
        axes.tick_params(labelsize=7)
    return figure
