"""Speed of the towers on a CPU: torch's own matrix products against those with packed weights, by turns in one run.

    python benchmarks/towers.py             # about two minutes on 2 cores
    python benchmarks/towers.py --quick     # fewer rounds; a smoke test, not a measurement

Towers have the released sizes and random weights. Each is timed plain, as torch and the library before computed it, and
as `clamp3.models.bert.suit_cpu` leaves it, on full windows of its modality and on one short input. The peak is that of
packed products of the same sizes without anything around them. Writes benchmarks/results/towers.<vendor>.json.
"""

from __future__ import annotations

import argparse
import copy
import statistics
from functools import partial
from typing import Any

from machine import by_turns, write_result

from clamp3.cli import EXIT_OK, parser_for, run

WINDOWS = {"symbolic": ((2, 512), (1, 512), (1, 84)), "text": ((8, 128), (1, 12)), "audio": ((8, 128), (1, 60))}


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of this script."""
    parser = parser_for(__doc__)
    parser.add_argument("--quick", action="store_true", help="few rounds")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Measure and write the result; return the exit code."""
    args = build_parser().parse_args(argv)
    import torch

    from clamp3.models.bert import Bert, suit_cpu
    from clamp3.models.config import Clamp3Config

    rounds, sizes, found = 2 if args.quick else 7, Clamp3Config.released(), {}
    with torch.inference_mode():
        for name, windows in WINDOWS.items():
            config = sizes.tower(name)
            plain = Bert(config).eval()
            packed = copy.deepcopy(plain)
            suit_cpu(packed)
            for batch, length in windows:
                inputs = torch.randn(batch, length, config.width)
                ways = [partial(network, inputs_embeds=inputs) for network in (plain, packed)]
                difference = float((ways[0]() - ways[1]()).abs().max())
                seconds = [statistics.median(times) for times in by_turns(ways, rounds)]
                flop = batch * length * config.n_layers * (8 * config.width**2 + 4 * config.width * config.feed_forward)
                flop += 4 * batch * length**2 * config.width * config.n_layers
                found[f"{name}_{batch}x{length}"] = {
                    "plain_sec": seconds[0],
                    "packed_sec": seconds[1],
                    "times": round(seconds[0] / seconds[1], 2),
                    "packed_gflops": round(flop / seconds[1] / 1e9, 1),
                    "greatest_difference": difference,
                }
        peak = _peak_gflops(rounds)
    for figures in found.values():
        figures["share_of_peak"] = round(figures["packed_gflops"] / peak, 3)
    result: dict[str, Any] = {"rounds": rounds, "peak_of_packed_products_gflops": round(peak, 1), "towers": found}
    print(f"packed products alone: {peak:.0f} GFLOP/s")
    for name, figures in found.items():
        print(f"{name}: {figures['times']} times as fast, {100 * figures['share_of_peak']:.0f} % of the peak")
    print(write_result("towers_quick" if args.quick else "towers", result))
    return EXIT_OK


def _peak_gflops(rounds: int) -> float:
    """Return the rate of the products of one layer over 512 positions, one after the other."""
    import torch

    from clamp3.models.packed import FrozenLinear

    shapes = [(768, 768)] * 4 + [(768, 3072), (3072, 768)]
    layers = [FrozenLinear(torch.randn(n_outputs, n_inputs), torch.randn(n_outputs)) for n_inputs, n_outputs in shapes]
    inputs = [torch.randn(512, n_inputs) for n_inputs, _ in shapes]

    def products() -> None:
        for _ in range(12):
            for layer, rows in zip(layers, inputs, strict=True):
                layer(rows)

    products()
    (times,) = by_turns([products], rounds)
    return 12 * sum(2 * 512 * n_inputs * n_outputs for n_inputs, n_outputs in shapes) / statistics.median(times) / 1e9


if __name__ == "__main__":
    raise SystemExit(run(main))
