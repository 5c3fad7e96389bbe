"""Epochs per second of a linear probe with the published protocol, beside a plain loop of torch on the same numbers.

    python benchmarks/probe.py
    python benchmarks/probe.py --quick

Synthetic features: 800 for training and 200 for evaluation, 768 wide, 8 classes; batch 1, AdamW 1e-5, softmax twice,
the accuracy on the evaluation set after every epoch. Both start from the same weights and see the same order; their
losses are compared. Writes benchmarks/results/probe.<vendor>.json.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
from machine import write_result

from clamp3.cli import EXIT_OK, EXIT_SOME_FAILED, parser_for, run

WIDTH, N_CLASSES, N_EVAL = 768, 8, 200
TOLERANCE = 1e-5  # of an epoch's mean loss


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of this script."""
    parser = parser_for(__doc__)
    parser.add_argument("--quick", action="store_true", help="100 files; a smoke test, not a measurement")
    parser.add_argument("--epochs", type=int, default=20, help="timed epochs (default: %(default)s)")
    parser.add_argument("--reference_epochs", type=int, default=3, help="of the plain loop (default: %(default)s)")
    return parser


def synthetic(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return features (n + 200, 768) and one-hot targets; classes are Gaussian clouds that overlap."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, N_CLASSES, n + N_EVAL)
    centres = rng.standard_normal((N_CLASSES, WIDTH))
    features = (0.2 * centres[labels] + rng.standard_normal((n + N_EVAL, WIDTH))).astype(np.float32)
    return features, np.eye(N_CLASSES, dtype=np.float32)[labels]


def ours(x: np.ndarray, y: np.ndarray, n: int, epochs: int) -> tuple[list[float], list[float]]:
    """Return the losses of our epochs and the seconds of the whole call per epoch, evaluation included."""
    from clamp3.probe.config import ProbeConfig
    from clamp3.probe.fit import fit

    labels = y[n:].argmax(axis=1)
    ends = [time.perf_counter()]

    def score(outputs: np.ndarray) -> float:
        ends.append(time.perf_counter())
        return float((outputs.argmax(axis=1) == labels).mean())

    config = ProbeConfig(num_epochs=epochs, double_softmax=True)
    fitted = fit(x[:n], y[:n], config, valid=x[n:], score=score)
    return [epoch.loss for epoch in fitted.history], np.diff(ends).tolist()


def reference(x: np.ndarray, y: np.ndarray, n: int, epochs: int) -> tuple[list[float], list[float]]:
    """Return losses and seconds of a loop of torch modules, autograd and ``torch.optim.AdamW``, nothing clever."""
    import torch

    from clamp3.probe.config import ProbeConfig
    from clamp3.probe.fit import epoch_order
    from clamp3.probe.heads import make_head

    config = ProbeConfig(double_softmax=True)
    layer = torch.nn.Linear(WIDTH, N_CLASSES)
    start = make_head(WIDTH, N_CLASSES, config).state()
    layer.load_state_dict({name.removeprefix("fc."): torch.from_numpy(value) for name, value in start.items()})
    optimizer = torch.optim.AdamW(layer.parameters(), lr=config.learning_rate)
    criterion = torch.nn.CrossEntropyLoss()
    features, labels = torch.from_numpy(x), torch.from_numpy(y.argmax(axis=1))
    rng = np.random.default_rng([config.seed, 1])
    losses, seconds = [], []
    for _ in range(epochs):
        started, total = time.perf_counter(), 0.0
        for row in epoch_order(rng, y[:n], config).tolist():
            optimizer.zero_grad()
            loss = criterion(torch.softmax(layer(features[row : row + 1]), dim=1), labels[row : row + 1])
            loss.backward()
            optimizer.step()
            total += loss.item()
        with torch.no_grad():
            (layer(features[n:]).argmax(dim=1) == labels[n:]).float().mean().item()
        losses.append(total / n)
        seconds.append(time.perf_counter() - started)
    return losses, seconds


def main(argv: list[str] | None = None) -> int:
    """Run the script; return 1 if the losses differ."""
    args = build_parser().parse_args(argv)
    import torch

    torch.set_num_threads(1)  # one core each; the arrays are too small for more
    n = 100 if args.quick else 800
    x, y = synthetic(n)
    theirs, their_seconds = reference(x, y, n, args.reference_epochs)
    our_losses, our_seconds = ours(x, y, n, max(args.epochs, args.reference_epochs))
    difference = max(abs(a - b) / b for a, b in zip(our_losses, theirs, strict=False))
    result: dict[str, Any] = {
        "n_files": n,
        "epochs_per_sec": round(1 / float(np.median(our_seconds)), 2),
        "epochs_per_sec_plain_torch": round(1 / float(np.median(their_seconds)), 2),
        "largest_relative_difference_of_losses": float(f"{difference:.2g}"),
        "losses": [round(loss, 7) for loss in our_losses[: len(theirs)]],
        "losses_plain_torch": [round(loss, 7) for loss in theirs],
    }
    for name, value in result.items():
        print(f"{name:40} {value}")
    print(f"written to {write_result('probe_quick' if args.quick else 'probe', result)}")
    return EXIT_OK if difference <= TOLERANCE else EXIT_SOME_FAILED


if __name__ == "__main__":
    raise SystemExit(run(main))
