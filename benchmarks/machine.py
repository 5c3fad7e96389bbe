"""What the benchmarks share: ways timed by turns, the facts of the machine, and results written as JSON with them.

A result lies in ``benchmarks/results/<name>.<vendor>.json``, so that figures of several processors stand side by side;
`benchmarks/table.py` prints them as one table.

    python benchmarks/machine.py        # the facts that go into every result
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import time
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from clamp3.cli import EXIT_OK, parser_for, run

RESULTS = Path(__file__).resolve().parent / "results"
PACKAGES = ("clamp3", "torch", "numpy", "transformers", "music21", "mido", "abctoolkit", "onnx", "onnxruntime")
# What decides which kernels run, of the hundred flags in /proc/cpuinfo.
INSTRUCTIONS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_bf16", "asimd", "sve", "bf16")
# Before the benchmark itself keeps the cores busy: figures of a machine that others use are not worth keeping.
LOAD_AT_START = round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
VARIABLES = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


def facts(device: str = "cpu") -> dict[str, Any]:
    """Return what the figures depend on: processor, its instructions, the libraries' kernels, versions, the commit.

    Parameters
    ----------
    device : str
        Where the work was done, as torch names it; a GPU is described too.
    """
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "processor": _cpuinfo("model name") or platform.processor() or platform.machine(),
        "vendor": vendor_of(_cpuinfo("vendor_id") or platform.processor() or platform.machine()),
        "instructions": [name for name in INSTRUCTIONS if name in _cpuinfo("flags|Features").split()],
        "usable_cores": usable,
        "memory_gib": _memory_gib(),
        "load_at_start": LOAD_AT_START,
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
        "kernels": kernels(),
        **({} if device == "cpu" else {"gpu": gpu()}),
        "commit": _commit(),
    }


def kernels() -> dict[str, Any]:
    """Return which library computes on the CPU here, and how: threads, instruction set, packed products."""
    import torch

    from clamp3.models.packed import can_pack

    built = torch.__config__.show()
    found = {
        "mkl": re.search(r"Math Kernel Library Version (\S+?)-", built),
        "onednn": re.search(r"MKL-DNN v(\S+)", built),
    }
    return {
        "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        **{name: match[1] if match else None for name, match in found.items()},
        "packed_products": [name for name in ("float32", "bfloat16") if can_pack(getattr(torch, name))],
        "environment": {name: os.environ[name] for name in VARIABLES if name in os.environ},
    }


def gpu() -> dict[str, Any]:
    """Return what the first GPU is, and the libraries that compute on it."""
    import torch

    properties = torch.cuda.get_device_properties(0)
    return {
        "name": properties.name,
        "memory_gib": round(properties.total_memory / 2**30, 1),
        "multiprocessors": properties.multi_processor_count,
        "capability": f"{properties.major}.{properties.minor}",
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
    }


def vendor_of(text: str) -> str:
    """Return the vendor that a processor's name or ``vendor_id`` tells, as results are named after it."""
    low = text.lower()
    return next((vendor for vendor in ("amd", "intel", "apple") if vendor in low), "other")


def by_turns(
    ways: Sequence[Callable[[], Any]], rounds: int, *, settle: Callable[[], Any] = lambda: None
) -> list[list[float]]:
    """Return the seconds of every way in every round.

    The ways run one after the other in every round, so that a machine that slows down for a while slows all of them
    down. ``settle`` is called before a clock is read, for devices that compute behind the program's back.
    """
    seconds: list[list[float]] = [[] for _ in ways]
    for _ in range(rounds):
        for way, found in zip(ways, seconds, strict=True):
            settle()
            started = time.perf_counter()
            way()
            settle()
            found.append(time.perf_counter() - started)
    return seconds


def write_result(name: str, result: dict[str, Any], *, device: str = "cpu", folder: Path = RESULTS) -> Path:
    """Write figures with the machine's facts and the time; return the path.

    Parameters
    ----------
    name : str
        Of the benchmark.
    result : dict
        Its figures, JSON values.
    device : str
        Where the work was done, as torch names it.
    folder : Path
        The file is ``<name>.<vendor>.json`` in it.
    """
    machine = facts(device)
    path = folder / f"{name}.{machine['vendor'] if device == 'cpu' else 'nvidia'}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"benchmark": name, "when": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "machine": machine, "result": result}
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def _cpuinfo(field: str) -> str:
    """Return the first value of a field of /proc/cpuinfo, "" where there is none."""
    try:
        found = re.search(rf"^(?:{field})\s*: (.*)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        return ""
    return found[1].strip() if found else ""


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, OSError, ValueError):
        return None


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    try:
        asked = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"],  # noqa: S607  whichever git the person uses
            cwd=RESULTS.parent,
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except OSError:
        return None
    return asked.stdout.strip() or None


def main(argv: list[str] | None = None) -> int:
    """Print the facts of this machine."""
    parser_for(__doc__).parse_args(argv)
    print(json.dumps(facts(), indent=1))
    return EXIT_OK


if __name__ == "__main__":
    raise SystemExit(run(main))
