"""Weights that are drawn from the name of their tensor, so that goldens need no weight files."""

import hashlib
import json
from pathlib import Path

import numpy as np
import torch

GOLDEN = Path(__file__).parent / "golden" / "model"


def seeded(name, shape):
    """Return float32 weights: 0.02 × normals from a Philox generator keyed by the name, norms around 1."""
    key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    values = 0.02 * np.random.Generator(np.random.Philox(key)).standard_normal(shape, dtype=np.float32)
    if name.endswith(("LayerNorm.weight", "layer_norm.weight")):
        values = 1 + values
    return torch.from_numpy(values)


def manifest(file):
    """Return names and shapes of a golden manifest."""
    return json.loads((GOLDEN / file).read_text(encoding="utf-8"))


def seeded_state(file, prefixes=("",)):
    """Return the tensors of a golden manifest whose names have one of the prefixes."""
    return {name: seeded(name, shape) for name, shape in manifest(file).items() if name.startswith(tuple(prefixes))}
