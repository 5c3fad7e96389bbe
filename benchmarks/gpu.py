"""What one GPU does with all of this: parity with the CPU, training, extraction, a killed run that goes on.

    python benchmarks/gpu.py                              # under 8 minutes on one H100 with 16 cores
    python benchmarks/gpu.py --only parity training       # some of its steps
    python benchmarks/gpu.py --device cpu --quick         # every step at small sizes; a smoke test, not a measurement

Needs no network, no data and nothing outside the repository: weights of the published sizes are drawn at random, music
and words are made up. On a machine where the package is not installed, from the root of the repository:

    PYTHONPATH=code PYTHONUNBUFFERED=1 python3 benchmarks/gpu.py --results "$OUT" 2>&1 | tee "$OUT/log"

with torch, transformers, accelerate, safetensors, tokenizers, sentencepiece and tqdm there, and gcc or nvcc for
--compile. Every step runs in a process of its own under a time limit and reports each figure as soon as it has it, so
that a step that fails or takes too long costs only the rest of itself. Writes benchmarks/results/gpu.nvidia.json (on a
CPU gpu_quick.<vendor>.json); exit code 1 if a step failed or vectors of GPU and CPU differ.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from machine import RESULTS, write_result

from clamp3.cli import EXIT_OK, EXIT_SOME_FAILED, parser_for, run

# Steps in order of weight, with their limits in seconds; together more than the whole may take.
LIMITS = {"prepare": 90, "parity": 90, "training": 200, "attention": 50, "extraction": 90, "resume": 70, "workers": 60}


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of this script."""
    parser = parser_for(__doc__)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="where to compute (default: cuda)")
    parser.add_argument("--quick", action="store_true", help="small sizes")
    parser.add_argument("--only", nargs="+", choices=tuple(LIMITS)[1:], help="these steps (default: all)")
    parser.add_argument(
        "--minutes", type=float, default=8.0, help="for everything, unless --quick (default: %(default)s)"
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder to write to (default: %(default)s)")
    parser.add_argument(
        "--peak_tflops", type=float, default=989.0, help="dense bf16 peak of the GPU (default: H100, H200)"
    )
    parser.add_argument("--folder", type=Path, help="where weights and inputs are made (default: a temporary folder)")
    parser.add_argument("--step", choices=tuple(LIMITS), help=argparse.SUPPRESS)  # what a child does
    return parser


def child(args: argparse.Namespace) -> int:
    """Do one step; every figure becomes a line of its file as soon as it is known."""
    import gpu_steps

    if args.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # else the trainer takes the GPU
    bench = gpu_steps.Bench(args.device, args.quick, args.folder, args.peak_tflops)
    with (args.folder / f"{args.step}.jsonl").open("a", encoding="utf-8") as file:
        for name, value in gpu_steps.STEPS[args.step](bench):
            file.write(json.dumps({name: value}) + "\n")
            file.flush()
            print(f"{args.step:10} {name:38} {json.dumps(value)}", flush=True)
    return EXIT_OK


def step_of(args: argparse.Namespace, name: str, seconds: float) -> dict[str, Any]:
    """Run one step in a process of its own; return its figures, and in ``failed`` why there are no more."""
    command = [sys.executable, __file__, "--step", name, "--device", args.device, "--folder", str(args.folder)]
    command += ["--peak_tflops", str(args.peak_tflops), *(["--quick"] if args.quick else [])]
    started = time.monotonic()
    reason = None
    process = subprocess.Popen(command, start_new_session=True)  # a group, so that its own children end with it
    try:
        code = process.wait(seconds)
        reason = f"exit code {code}; its message is above" if code else None
    except subprocess.TimeoutExpired:
        reason = f"stopped after {seconds:.0f} s"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    kept = args.folder / f"{name}.jsonl"
    lines = kept.read_text(encoding="utf-8").splitlines() if kept.is_file() else []
    found: dict[str, Any] = {key: value for line in lines for key, value in json.loads(line).items()}
    return {"seconds": round(time.monotonic() - started, 1), **found, **({"failed": reason} if reason else {})}


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Run the steps while there is time; return their figures."""
    end = time.monotonic() + 60 * args.minutes
    result: dict[str, Any] = {"device": args.device}
    for name, limit in LIMITS.items():
        if args.only and name not in ("prepare", *args.only):
            continue
        left = (float("inf") if args.quick else end) - time.monotonic() - 5
        result[name] = (
            step_of(args, name, min(600 if args.quick else limit, left))
            if left > 10
            else {"failed": "no time was left"}
        )
        if "failed" in result[name]:
            print(f"{name:10} {result[name]['failed']}", file=sys.stderr, flush=True)
            if name == "prepare":
                break
    return result


def main(argv: list[str] | None = None) -> int:
    """Run the script; return its exit code."""
    args = build_parser().parse_args(argv)
    if args.step:
        return child(args)
    with tempfile.TemporaryDirectory() as temporary:
        args.folder = args.folder or Path(temporary)
        args.folder.mkdir(parents=True, exist_ok=True)
        for kept in args.folder.glob("*.jsonl"):
            if kept.stem in LIMITS:
                kept.unlink()
        result = measure(args)
    name = "gpu_quick" if args.quick else "gpu"
    print(f"written to {write_result(name, result, device=args.device, folder=args.results)}")
    steps = [step for step in result.values() if isinstance(step, dict)]
    figures = [(name, value) for step in steps for name, value in step.items() if isinstance(value, dict)]
    apart = [name for name, value in figures if not value.get("ok", True) or "error" in value]
    if apart:
        print(f"beyond the tolerance, or not done: {', '.join(apart)}", file=sys.stderr)
    return EXIT_SOME_FAILED if apart or any("failed" in step for step in steps) else EXIT_OK


if __name__ == "__main__":
    raise SystemExit(run(main))
