"""Results of a training: lines for people, JSON for programs, plots."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clamp3.errors import ConfigError
from clamp3.formats.tables import without_nan
from clamp3.probe import metrics
from clamp3.probe.metrics import need_eval
from clamp3.probe.train import Run, summary
from clamp3.retrieval.map_plots import literal

SHOWN = {
    "accuracy": "accuracy",
    "macro_f1": "macro-F1",
    "roc_auc": "ROC-AUC",
    "average_precision": "average precision",
    "r2": "R²",
    "key_score": "key score",
}


def as_plain(runs: Sequence[Run]) -> dict[str, Any]:
    """Return the result of a training as JSON-ready values."""
    rows = []
    for run in runs:
        history = [[epoch.loss, epoch.score, epoch.rate] for epoch in run.history]
        row = {"seed": run.seed, **run.probe.info, "history": history}
        if run.probe.config.task == "multiclass":
            row |= metrics.table(run.targets, run.outputs, run.probe.classes)
        rows.append(row)
    first = runs[0].probe
    facts = {"config": first.config.to_plain(), "classes": list(first.classes), "weights": list(first.weights)}
    plain: dict[str, Any] = without_nan({**facts, "summary": summary(runs), "runs": rows})
    return plain


def log_to_wandb(runs: Sequence[Run], name: str) -> None:
    """Log loss, score and rate of every epoch of every run to the project "linear" of Weights & Biases.

    Parameters
    ----------
    runs : sequence of Run
        What `clamp3.probe.train.train` returns.
    name : str
        What the runs are called there.

    Raises
    ------
    ConfigError
        If its package is absent.
    """
    try:
        import wandb
    except ImportError as error:
        raise ConfigError("--wandb_log needs the wandb package: pip install 'clamp3[logs]'.") from error
    for run in runs:
        with wandb.init(project="linear", name=name, config=run.probe.config.to_plain(), reinit=True) as log:
            for number, epoch in enumerate(run.history, 1):
                log.log({"loss": epoch.loss, "score": epoch.score, "rate": epoch.rate}, step=number)


def as_text(runs: Sequence[Run]) -> str:
    """Return the scores over all runs, and a row for each class."""
    n_train, n_valid, n_judged = (
        " or ".join(map(str, sorted({run.probe.info[part] for run in runs})))
        for part in ("n_train", "n_valid", "n_judged")
    )  # parts of folds differ by a file or so
    parts = f"{n_train} to train on, {n_valid} to choose the epoch by, {n_judged} judged"
    several = f"; mean and deviation of {len(runs)} runs" if len(runs) > 1 else ""
    lines = [parts + several]
    if unseen := sum(run.probe.info["n_of_untrained_classes"] for run in runs):
        where = " (all runs together)" if len(runs) > 1 else ""
        lines.append(f"{unseen} of the judged files are of classes that were not trained: they count as wrong{where}")
    lines += dict.fromkeys(note for run in runs if (note := run.probe.info.get("note")))
    for name, value in summary(runs).items():
        spread = f" ± {value['deviation']:.4f}" if len(runs) > 1 else ""
        lines.append(f"  {SHOWN.get(name, name):20} {value['mean']:.4f}{spread}")
    lines.append(f"  {'best epoch':20} {', '.join(str(run.probe.info['best_epoch']) for run in runs)}")
    if left_out := sorted({tag for run in runs for tag in run.scores.get("tags_left_out", ())}):
        lines.append(
            f"tags without a score (not trained, or in none or all of the judged files): {', '.join(left_out)}"
        )
    if runs[0].probe.config.task == "multiclass":
        lines += ["", *_class_rows(runs)]
    return "\n".join(lines)


def pooled(runs: Sequence[Run]) -> dict[str, Any]:
    """Return confusion matrix and scores per class over all runs, for all classes that one of them was trained on."""
    classes = sorted({name for run in runs for name in run.probe.classes})
    n_rows = sum(len(run.targets) for run in runs)
    targets, outputs = np.zeros((n_rows, len(classes))), np.full((n_rows, len(classes)), -np.inf)
    start = 0
    for run in runs:
        places = np.ix_(range(start, start + len(run.targets)), [classes.index(name) for name in run.probe.classes])
        targets[places], outputs[places] = run.targets, run.outputs
        start += len(run.targets)
    return metrics.table(targets, outputs, classes)


def _class_rows(runs: Sequence[Run]) -> list[str]:
    rows = pooled(runs)["per_class"]
    width = max(5, *(len(row["class"]) for row in rows))
    lines = [f"  {'class':{width}}  precision  recall      F1     n"]
    for row in rows:
        figures = f"{row['precision']:9.4f}  {row['recall']:6.4f}  {row['f1']:6.4f}  {row['n']:4.0f}"
        lines.append(f"  {row['class']:{width}}  {figures}")
    return lines


def draw(runs: Sequence[Run], folder: Path) -> list[Path]:
    """Write ``history.png`` and, for classes, ``confusion.png``, over all runs; return the paths.

    Parameters
    ----------
    runs : sequence of Run
    folder : Path
        Created if absent.

    Raises
    ------
    ConfigError
        If matplotlib is not installed.
    """
    need_eval("matplotlib", "plots")
    folder.mkdir(parents=True, exist_ok=True)
    written = [_draw_history(runs, folder / "history.png")]
    if runs[0].probe.config.task == "multiclass":
        written.append(_draw_confusion(runs, folder / "confusion.png"))
    return written


def _draw_history(runs: Sequence[Run], path: Path) -> Path:
    from matplotlib.figure import Figure  # without pyplot: no window system, no global state

    figure = Figure(figsize=(8, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for number, run in enumerate(runs, start=1):
        epochs = range(1, len(run.history) + 1)
        left.plot(epochs, [epoch.loss for epoch in run.history], label=f"run {number}, seed {run.seed}")
        scores = [epoch.score for epoch in run.history]
        if None not in scores:
            right.plot(epochs, scores)
            right.axvline(run.probe.info["best_epoch"], color="grey", linewidth=0.5)
    left.set(xlabel="epoch", ylabel="training loss")
    right.set(xlabel="epoch", ylabel=f"{SHOWN[runs[0].probe.config.score]} (choosing)")
    if 1 < len(runs) <= 10:
        left.legend()
    return _write(figure, path)


def _draw_confusion(runs: Sequence[Run], path: Path) -> Path:
    from matplotlib.figure import Figure

    found = pooled(runs)
    classes, matrix = [literal(row["class"]) for row in found["per_class"]], found["confusion"]
    size = min(16.0, 2.5 + 0.45 * len(classes))
    figure = Figure(figsize=(size, size), layout="constrained")
    axes = figure.subplots()
    axes.imshow(matrix, cmap="Blues")
    axes.set_xticks(range(len(classes)), classes, rotation=90)
    axes.set_yticks(range(len(matrix)), [*classes, "not trained"][: len(matrix)])
    axes.set(xlabel="predicted", ylabel="true")
    darkest = max(max(row) for row in matrix)
    if len(classes) <= 40:
        for row, counts in enumerate(matrix):
            for column, count in enumerate(counts):
                if count:
                    colour = "white" if count > darkest / 2 else "black"
                    axes.text(column, row, str(count), ha="center", va="center", color=colour)
    return _write(figure, path)


def _write(figure: Any, path: Path) -> Path:
    from clamp3.jobs.atomic import replacing

    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
    return path
