"""What the benchmarks share: ways timed by turns, the facts of the machine, and results written as JSON with them."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results"
PACKAGES = ("clamp3", "torch", "numpy", "transformers", "music21", "mido", "abctoolkit")


def facts() -> dict[str, Any]:
    """Return processor, usable cores, memory in GiB, load, system, versions and the commit measured."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "processor": _processor(),
        "usable_cores": usable,
        "memory_gib": _memory_gib(),
        "load_at_start": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
        "commit": _commit(),
    }


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


def write_result(name: str, result: dict[str, Any], *, path: Path | None = None) -> Path:
    """Write ``result`` with the machine's facts and the time to ``benchmarks/results/<name>.json``; return the path."""
    path = path or RESULTS / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"benchmark": name, "when": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "machine": facts(), "result": result}
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


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
