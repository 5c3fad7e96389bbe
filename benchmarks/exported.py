"""Exported towers against torch: speed by turns in one run, closeness, and what 8 bits cost in retrieval.

    python benchmarks/exported.py                                    # about five minutes on 2 cores
    python benchmarks/exported.py --records DATA_DIR/heldout.jsonl   # MRR on all works that mini has not seen
    python benchmarks/exported.py --quick                            # a smoke test, not a measurement

Each tower of mini, and of a model of the released sizes with random weights (its word table cut to 8,192 rows, which
are only looked up), in torch float32 and bfloat16 and as ONNX in float32 and with 8 bits: seconds of a batch of full
windows and of one short input, cosines to torch float32, sizes of the files. MRR is that of texts asking for scores and
MIDI files; without --records on a selection of short held-out works (code/recipes/mini/heldout.py). Writes
benchmarks/results/exported.<vendor>.json.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from machine import by_turns, write_result

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "code"))  # `recipes`, without installation

from clamp3.cli import EXIT_OK, parser_for, run

WAYS = ("torch float32", "torch bfloat16", "onnx float32", "onnx int8")
SHAPES = {
    "mini": {"text": ((8, 96), (1, 12)), "symbolic": ((8, 128), (1, 84)), "audio": ((8, 128), (1, 60))},
    "released": {"text": ((8, 128), (1, 12)), "symbolic": ((2, 512), (1, 84)), "audio": ((8, 128), (1, 60))},
}
N_WORKS, SEED = 60, 20


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of this script."""
    parser = parser_for(__doc__)
    parser.add_argument("--records", type=Path, help="heldout.jsonl of code/recipes/mini/build_data.py")
    parser.add_argument("--quick", action="store_true", help="mini alone, few rounds")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Measure and write the result; return the exit code."""
    args = build_parser().parse_args(argv)
    from clamp3.models.registry import resolve

    rounds, started = 2 if args.quick else 5, time.monotonic()
    result: dict[str, Any] = {"rounds": rounds, "towers": {}}
    with TemporaryDirectory() as name:
        work = Path(name)
        result["towers"]["mini"] = _speeds(resolve("mini"), SHAPES["mini"], work / "mini", rounds)
        result["retrieval"] = _retrieval(work / "mini" / "int8", work, args)
        if not args.quick:
            for tower, shapes in SHAPES["released"].items():
                path = _random_weights(tower, work / f"{tower}.safetensors")
                found = _speeds(path, {tower: shapes}, work / tower, rounds)
                result["towers"].setdefault("released sizes, random weights", {}).update(found)
    result["seconds"] = round(time.monotonic() - started)
    _show(result)
    print(write_result("exported_quick" if args.quick else "exported", result))
    return EXIT_OK


def _random_weights(tower: str, path: Path) -> Path:
    import torch

    from clamp3.models.clamp3 import Clamp3Model
    from clamp3.models.config import Clamp3Config
    from clamp3.models.weights import save_safetensors

    values = Clamp3Config.released().restrict([tower]).to_dict()
    if tower == "text":
        values["text"]["vocab_size"] = 8192
    config = Clamp3Config.from_dict(values)
    save_safetensors(Clamp3Model(config, generator=torch.Generator().manual_seed(SEED)), config, path)
    return path


def _speeds(weights: Path, shapes: dict[str, Any], work: Path, rounds: int) -> dict[str, Any]:
    """Return seconds, cosines and sizes of every tower in every way."""
    import torch

    from clamp3.embedding.onnx_towers import open_towers
    from clamp3.embedding.towers import load_tower
    from clamp3.models.onnx_folder import export
    from clamp3.models.onnx_graph import Int8

    for precision, int8 in (("float32", None), ("int8", Int8())):
        export(weights, work / precision, towers=tuple(shapes), int8=int8)
    folders = [open_towers(work / precision) for precision in ("float32", "int8")]
    found: dict[str, Any] = {}
    for name, wanted in shapes.items():
        towers = [load_tower(weights, name, dtype=dtype, device="cpu") for dtype in ("float32", "bfloat16")]
        towers += [folder.load(name) for folder in folders]
        sizes = [(work / precision / f"{name}.onnx").stat().st_size for precision in ("float32", "int8")]
        found[name] = {"file_bytes": dict(zip(WAYS[2:], sizes, strict=True))}
        for batch, length in wanted:
            inputs = _inputs(name, batch, length, folders[0].exported.towers[name].shape)
            mask = torch.ones(batch, length, dtype=torch.bool)
            with torch.inference_mode():
                ways = [
                    partial(tower.features, inputs.to(tower.dtype) if inputs.is_floating_point() else inputs, mask)
                    for tower in towers
                ]
                vectors = [way().float() for way in ways]  # which also warms them up
                seconds = [statistics.median(times) for times in by_turns(ways, rounds)]
            cosines = [float(torch.cosine_similarity(vector, vectors[0]).min()) for vector in vectors]
            found[name][f"{batch}x{length}"] = {
                way: {"sec": second, "times_torch_float32": round(seconds[0] / second, 2), "least_cosine": cosine}
                for way, second, cosine in zip(WAYS, seconds, cosines, strict=True)
            }
    return found


def _inputs(tower: str, batch: int, length: int, shape: list[Any]) -> Any:
    """Return random inputs of a tower; those of mel frames are as large as real ones."""
    import torch

    generator = torch.Generator().manual_seed(SEED)
    if tower == "text":
        return torch.randint(4, 5000, (batch, length), generator=generator)
    if tower == "symbolic":
        return torch.randint(1, 128, (batch, length, shape[2]), generator=generator, dtype=torch.uint8)
    return torch.randn(batch, length, shape[2], generator=generator)


def _retrieval(folder: Path, work: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Return the mean reciprocal rank of mini and of its 8-bit towers on works that it has not seen."""
    from clamp3.export.parity import Comparison, measure
    from clamp3.formats.tables import json_text
    from recipes.mini.heldout import heldout_examples, write_examples

    records = args.records
    if records is None:
        records = work / "works" / "records.jsonl"
        made = write_examples(heldout_examples(8 if args.quick else N_WORKS), records.parent)
        records.write_text("".join(json_text(record) + "\n" for record in made), encoding="utf-8")
    report = measure(Comparison("mini", folder), records=records)
    return {"cosines": report["towers"], **report["retrieval"]}


def _show(result: dict[str, Any]) -> None:
    print(f"{'milliseconds':40}" + "".join(f"{way:>16}" for way in WAYS))
    for model, towers in result["towers"].items():
        for name, shapes in towers.items():
            for shape, ways in shapes.items():
                if shape != "file_bytes":
                    times = "".join(f"{1000 * ways[way]['sec']:16.1f}" for way in WAYS)
                    print(f"{model[:14]:15} {name:10} {shape:13}{times}")
    for name, found in result["retrieval"].items():
        if isinstance(found, dict) and "mrr" in found:
            print(
                f"{name}: MRR {found['mrr']} in torch, {found['mrr_exported']} with 8 bits, {found['queries']} queries"
            )


if __name__ == "__main__":
    raise SystemExit(run(main))
