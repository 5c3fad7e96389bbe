"""Settings of preference training; no torch here, so that ``--help`` is quick."""

# ruff: noqa: RUF009 (_setting is dataclasses.field with a help text)
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from clamp3.training.config import Clamp3Training
from clamp3.training.htcl_config import ABOUT_MASKS, MASKS, is_mask
from clamp3.training.options import setting as _setting


@dataclass(frozen=True)
class PreferenceTraining(Clamp3Training):
    """HTCL's second stage on a model with text and music in one space: songs with songs that listeners link."""

    task: ClassVar[str] = "clamp3.training.preference_task:make_preference_task"
    prefix: ClassVar[str] = ""
    loss_of_weights: ClassVar[bool] = False

    out: Path = _setting(Path("runs/preference"), "folder of the run: checkpoints, metrics.jsonl, best.safetensors")
    train_jsonl: Path | None = _setting(None, "the songs: a record each, with an id; filepaths relative to it")
    song_pairs: Path | None = _setting(None, "JSONL or Parquet, a pair a row: the ids trigger, song")
    eval_song_pairs: Path | None = _setting(None, "pairs of the evaluation; without them, eval_split acts")
    pairs: tuple[str, ...] = _setting(
        [], "the music that is trained, with text: text-symbolic (default) text-abc text-mtf text-audio, or several"
    )
    epochs: int = _setting(10, "passes over the pairs")
    batch_size: int = _setting(32, "pairs of songs per process and step")
    learning_rate: float = _setting(1e-5, "rate of the towers after warm-up")
    scale_rate: float = _setting(1e-4, "rate of the learned scales of the loss")
    warmup_steps: int = _setting(0, "steps of linear warm-up")
    weight_decay: float = _setting(0.0, "AdamW's decoupled weight decay")
    text_dropout: bool = _setting(False, "draw fields and lines of a text; no = the evaluation text, always")
    freeze_text: bool = _setting(True, "leave the text tower as it is, so that other kinds of music stay aligned")
    text_weight: float = _setting(1.0, "of the term of music with text, which keeps the meaning of the space")
    pair_weight: float = _setting(1.0, "of the term of the songs of a pair with each other")
    fused_weight: float = _setting(1.0, "of the term of a song with the mean of the other's music and text vectors")
    start_scale: float = _setting(2.6, "logarithm of the learned scales at the start")
    mask: tuple[str, ...] = _setting([*MASKS], ABOUT_MASKS)

    @property
    def label_kinds(self) -> tuple[str, ...]:
        """Nothing: ``--mask`` is about songs here, and `clamp3.training.song_loss.FalseNegatives` knows them."""
        return ()

    def __post_init__(self) -> None:
        """Check the fields of preference training too."""
        super().__post_init__()
        for name in ("text_weight", "pair_weight", "fused_weight"):
            self._need(getattr(self, name) >= 0, name, "0 or more")
        self._need(self.scale_rate > 0, "scale_rate", "above 0")
        self._need(is_mask(self.mask), "mask", f"none, or of {', '.join(MASKS)}")
        self._need(all("text" in pair for pair in self.compared), "pairs", "text with music each")
        self._need(self.loss == "infonce" and not self.standardise, "loss", "left as it is, without --standardise")
        self._need(not self.more_jsonl, "more_jsonl", "absent: all songs are in --train_jsonl")
        self._need(not self.near, "near", "absent: batches are those of --song_pairs")
        self._need(self.eval_jsonl is None, "eval_jsonl", "absent: the songs of --eval_song_pairs are in --train_jsonl")
