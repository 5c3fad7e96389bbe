"""Settings of the probes behind the published tables.

The symbolic tables (8 and 11) used the released probe; those on recordings (9 and 10) MARBLE's first version: a hidden
layer of 512, Adam, batches of 64, the rate halved on plateaus, early stopping. MARBLE's second version has settings of
its own for CLaMP 3. Sources: classification/train_cls.py of the released code (lines 20-101 and 202-230), the base
configurations of MARBLE at d9300e3, ``configs/probe.CLaMP3.*.yaml`` at 938c03a.
"""

from __future__ import annotations

from dataclasses import replace

from clamp3.probe.config import ProbeConfig
from clamp3.probe.ensembles import WAYS

RELEASED = ProbeConfig(double_softmax=True)
# The same head and steps, without the second softmax; the epoch is chosen by a validation set.
VALIDATED = ProbeConfig()

_MARBLE = ProbeConfig(
    head="mlp",
    num_epochs=100,
    learning_rate=1e-3,
    batch_size=64,
    weight_decay=0.0,
    lr_patience=3,
    patience=10,
    seed=1234,
)
_MARBLE_TASKS = {
    "mtt": replace(_MARBLE, task="multilabel"),
    "gs": replace(_MARBLE, lr_patience=5, patience=20, selected_by="key_score"),
    "gtzan": replace(_MARBLE, learning_rate=5e-3, lr_patience=6, patience=20),
    "emo": replace(_MARBLE, task="regression", lr_patience=5, patience=20),
    "nsynth": replace(_MARBLE, num_epochs=50),
    "vocalset singer": replace(_MARBLE, lr_patience=5, patience=20),
    "vocalset technique": replace(_MARBLE, lr_patience=5, patience=10),
    "jamendo": replace(_MARBLE, task="multilabel"),
}
_CLAMP3 = replace(_MARBLE, task="multilabel", batch_size=128)  # 32 on each of four GPUs
_CLAMP3_TASKS = {
    "mtt": replace(_CLAMP3, num_epochs=50),
    "gtzan": replace(_MARBLE, num_epochs=50, learning_rate=5e-3, lr_patience=6, patience=20),
    "jamendo": replace(_CLAMP3, num_epochs=20),
}
# How the answers for clips become that for a recording (`clamp3.probe.ensembles`); of several, the best by validation.
_WAYS: dict[str, dict[str, tuple[str, ...]]] = {
    "marble": {"gs": tuple(WAYS), "emo": ("mean_logit",), "jamendo": ("mean_logit",)},
    "marble-clamp3": {"mtt": ("mean_logit",), "gtzan": ("mean_probability",), "jamendo": ("mean_logit",)},
}
# MARBLE tries these rates, and layers of the encoder; the best on the validation set is tested.
RATES = (1e-3, 5e-3, 5e-4, 1e-2, 1e-4, 5e-5)


def marble(benchmark: str, task: str, protocol: str = "published") -> ProbeConfig | None:
    """Return MARBLE's settings for a task, None for a task that is not in MARBLE.

    Parameters
    ----------
    benchmark, task : str
        Names.
    protocol : str
        One of `clamp3.datasets.clips.PROTOCOLS`; only the last has other settings.
    """
    known = _CLAMP3_TASKS if protocol == "marble-clamp3" else _MARBLE_TASKS
    return known.get(f"{benchmark} {task}") or known.get(benchmark)


def ways(benchmark: str, protocol: str) -> tuple[str, ...]:
    """Return the ways of `clamp3.probe.ensembles` in which a recording is answered; none where each example is tested.

    Parameters
    ----------
    benchmark, protocol : str
        Names.
    """
    return _WAYS.get(protocol, {}).get(benchmark, ())
