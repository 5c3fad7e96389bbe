"""Compare this code with outputs measured on the released system, all of them, and say where they differ.

    python benchmarks/parity.py --golden path/to/golden
    python benchmarks/parity.py --golden path/to/golden --data path/to/data   # also: do all real scores convert?

Prints one line per check and writes benchmarks/results/parity.json; exit code 1 if anything differs.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from machine import write_result

from clamp3.cli import parser_for, run
from clamp3.formats import Kind


def sha256(data: bytes | str) -> str:
    return hashlib.sha256(data.encode("utf-8") if isinstance(data, str) else data).hexdigest()


def corpus_root() -> Path:
    spec = importlib.util.find_spec("music21")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent / "corpus"


# ---- sheet music and performances: byte for byte ----------------------------------------------------------------


def abc_one(item: dict[str, Any]) -> dict[str, bool]:
    from clamp3 import patches
    from clamp3.formats.abc import interleave
    from clamp3.formats.musicxml import musicxml_to_abc

    path = corpus_root() / item["source"]
    standard = musicxml_to_abc(path.read_bytes(), name=path.stem).text
    text = interleave(standard).text
    same = {
        "standard": sha256(standard) == item["standard_sha256"],
        "interleaved": sha256(text) == item["interleaved_sha256"],
    }
    if "patches_sha256" in item:
        same["patches"] = sha256(patches.encode(text).tobytes()) == item["patches_sha256"]
    return same


def mtf_one(item: dict[str, Any], root: Path) -> dict[str, bool]:
    from clamp3 import patches
    from clamp3.formats.mtf import midi_to_mtf, mtf_to_midi

    data = (root / item["source"]).read_bytes()
    text = midi_to_mtf(data).text
    full = midi_to_mtf(data, m3_compatible=False).text
    return {
        "mtf": sha256(text) == item["mtf_sha256"],
        "patches": sha256(patches.encode(text).tobytes()) == item["patches_sha256"],
        "mtf_midi_mtf": midi_to_mtf(mtf_to_midi(text)).text == text,
        "midi_mtf_midi": midi_to_mtf(mtf_to_midi(full), m3_compatible=False).text == full,
    }


def converts(path: Path) -> str:
    """Return "ok", or why a real score does not convert."""
    from clamp3.errors import FormatError
    from clamp3.formats.symbolic import to_symbolic

    try:
        converted = to_symbolic(path.read_bytes(), Kind.MUSICXML, name=path.stem)
    except FormatError as error:
        return f"{path.name}: {error}"
    return "ok" if converted.text.strip() else f"{path.name}: empty text"


def tally(name: str, rows: list[dict[str, bool]]) -> dict[str, Any]:
    equal = Counter(key for row in rows for key, same in row.items() if same)
    total = Counter(key for row in rows for key in row)
    return {f"{name}: {key}": {"equal": equal[key], "of": total[key], "ok": equal[key] == total[key]} for key in total}


# ---- models: 1e-4 ------------------------------------------------------------------------------------------------


def seeded_state(golden: Path, manifest: dict[str, list[int]], gpt2_norms: bool = False) -> dict[str, Any]:
    """Make golden weights from their names, as golden/seeded_weights.py does."""
    import torch

    spec = importlib.util.spec_from_file_location("seeded_weights", golden / "seeded_weights.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    state = {name: torch.from_numpy(module.seeded(name, tuple(shape))) for name, shape in manifest.items()}
    if gpt2_norms:  # GPT-2's layer norms are called ln_*: 1 + seeded
        for name in state:
            if ".ln_" in name and name.endswith(".weight"):
                state[name] = 1 + state[name]
    return state


def compare(ours: np.ndarray, theirs: np.ndarray) -> dict[str, Any]:
    a, b = ours.ravel().astype(np.float64), theirs.ravel().astype(np.float64)
    cosine = float(a @ b / np.sqrt((a @ a) * (b @ b)))
    worst = float(np.abs(a - b).max())
    return {"cosine": cosine, "max_abs": worst, "ok": cosine >= 0.999999 and worst <= 1e-4}


def embeddings(golden: Path) -> dict[str, Any]:
    import torch

    from clamp3.embed import Clamp3

    model_dir = golden / "model"
    state = seeded_state(golden, json.loads((model_dir / "manifest.json").read_text()))
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "golden.pth"
        torch.save({"model": state, "epoch": 0}, weights)
        del state
        clamp3 = Clamp3.from_pretrained(
            weights, text_model=model_dir / "tiny_xlmr", dtype="float32", towers=("text", "symbolic", "audio")
        )
        paths = sorted((model_dir / "inputs").iterdir())
        encoded = clamp3.encode(paths)
        for path, vector, error in zip(paths, encoded.vectors, encoded.errors, strict=True):
            if error:
                results[f"global {path.stem}"] = {"error": error, "ok": False}
                continue
            results[f"global {path.stem}"] = compare(vector, np.load(model_dir / "global" / f"{path.stem}.npy"))
        temporal = clamp3.encode(paths, temporal=True)
        for path, hidden in zip(paths, temporal.temporal, strict=True):
            with np.load(model_dir / "temporal" / f"{path.stem}.npz") as their:
                want = {key: their[key] for key in their.files}
            results[f"temporal {path.stem}"] = temporal_row(np.asarray(hidden), want)
    return results


def temporal_row(hidden: np.ndarray, want: dict[str, np.ndarray]) -> dict[str, Any]:
    flat = hidden.reshape(-1, hidden.shape[-1])
    shape = tuple(int(n) for n in want["shape"])
    parts = {"first": flat[:2], "last": flat[-2:], "mean": flat.mean(0)}
    rows = [compare(parts[key], np.asarray(want[key])) for key in parts]
    return {
        "cosine": min(row["cosine"] for row in rows),
        "max_abs": max(row["max_abs"] for row in rows),
        "ok": shape == (1, *flat.shape) and all(row["ok"] for row in rows),
    }
