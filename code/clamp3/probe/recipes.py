"""Settings of the probes behind the published tables.

The symbolic tables (8 and 11) used the released probe; those on recordings (9 and 10) MARBLE's first version: a hidden
layer of 512, Adam, batches of 64, the rate halved on plateaus, early stopping. Sources: classification/train_cls.py of
the released code (lines 20-101 and 202-230), the base configurations of MARBLE at d9300e3.
"""

from __future__ import annotations

from dataclasses import replace

from clamp3.probe.config import ProbeConfig

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
# MARBLE tries these rates, and layers of the encoder; the best on the validation set is tested.
RATES = (1e-3, 5e-3, 5e-4, 1e-2, 1e-4, 5e-5)


def marble(benchmark: str, task: str) -> ProbeConfig | None:
    """Return MARBLE's settings for a task, None for a task that is not in MARBLE.

    Parameters
    ----------
    benchmark, task : str
        Names.
    """
    return _MARBLE_TASKS.get(f"{benchmark} {task}") or _MARBLE_TASKS.get(benchmark)
