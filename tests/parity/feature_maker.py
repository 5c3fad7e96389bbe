"""Folders of vectors as the golden's generator makes them.

numpy's Philox(21): 240 references of width 32 in three sub-folders; queries are references with noise of twice their
size, one each, but two (named ``.0`` and ``.1``) of every fourth.
"""

import numpy as np


def make_features(root):
    rng = np.random.Generator(np.random.Philox(21))
    for i in range(240):
        language = ["en", "zh", "fr"][i % 3]
        reference = rng.standard_normal((1, 32), dtype=np.float32)
        several = i % 4 == 0
        for kind in ("ref", "query"):
            (root / kind / language).mkdir(parents=True, exist_ok=True)
        np.save(root / "ref" / language / f"song{i:03d}.npy", reference)
        for j in range(1 + several):
            query = reference + 2.0 * rng.standard_normal((1, 32), dtype=np.float32)
            np.save(root / "query" / language / (f"song{i:03d}" + (f".{j}" if several else "") + ".npy"), query)
    assert len(list((root / "query").rglob("*.npy"))) == 300
    return root
