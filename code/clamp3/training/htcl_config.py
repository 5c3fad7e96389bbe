"""Settings of HTCL's training; no torch here, so that ``--help`` is quick."""

# ruff: noqa: RUF009 (_setting is dataclasses.field with a help text)
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from clamp3.training.config import RunConfig
from clamp3.training.options import NO_MASK
from clamp3.training.options import setting as _setting

MASKS = ("song", "pair", "artist")
"""Which songs of a batch are no negatives: the same one again, one a training pair links, one of the same artist."""
ABOUT_MASKS = (
    "songs of a batch that are no negatives: song = the same one again, pair = one that a training pair links, "
    "artist = one of the same artist (not between audio and text); none = all others are, as published"
)


def is_mask(mask: tuple[str, ...]) -> bool:
    """Return whether ``--mask`` is ``none``, or names of `MASKS`."""
    return mask == NO_MASK or {*mask} <= {*MASKS}


@dataclass(frozen=True)
class HtclTraining(RunConfig):
    """HTCL (arXiv 2505.23298): stage 1 aligns audio and text, stage 2 also songs that listeners link."""

    task: ClassVar[str] = "clamp3.training.htcl_task:make_htcl_task"

    stage: int = _setting(1, "1: audio with text; 2: also pairs of songs, from the model of stage 1 (--init)")
    out: Path = _setting(Path("runs/htcl"), "folder of the run: checkpoints, metrics.jsonl, best.safetensors")
    songs: Path | None = _setting(None, "JSONL or Parquet, a song a row: id, text, mel (or a record of CLaMP 3)")
    eval_songs: Path | None = _setting(None, "evaluation songs of stage 1; without them, eval_split acts")
    pairs: Path | None = _setting(None, "stage 2: JSONL or Parquet, a pair a row: trigger, song")
    eval_pairs: Path | None = _setting(None, "evaluation pairs of stage 2; without them, eval_split acts")
    epochs: int = _setting(20, "passes over the data")
    batch_size: int = _setting(32, "songs, or pairs, per process and step")
    learning_rate: float = _setting(1e-4, "rate of heads and scales, in stage 1 also of the audio encoder")
    encoder_rate: float = _setting(1e-5, "rate of the text encoder, in stage 2 of both encoders")
    warmup_steps: int = _setting(0, "steps of linear warm-up")
    weight_decay: float = _setting(0.0, "AdamW's decoupled weight decay; 0 makes it the published Adam")
    seed: int = _setting(3407, "of weights, order and dropout")
    eval_split: float = _setting(0.1, "share held out by hash of the ids if no evaluation data are named")
    save_every: int = _setting(1, "keep the weights of every so many epochs; 0 = only last and best")
    init: tuple[str, ...] = _setting([], "weights to start from: an HTCL name or file; without one, random audio")
    fresh_heads: bool = _setting(False, "stage 2 starts the heads at random, as published, not with those of --init")
    detach_negatives: bool = _setting(
        False, "no gradient through the songs of other ranks, as published: W ranks then learn 1/W of the gradient"
    )
    mask: tuple[str, ...] = _setting([*MASKS], ABOUT_MASKS)
    text_model: str = _setting(
        "",
        "name or folder: tokenizer, config.json, weights; empty = as --init says, else bert-base-multilingual-uncased",
    )
    text_from_scratch: bool = _setting(False, "allow a text encoder without weights: start it at random")
    text_length: int = _setting(512, "tokens a text is cropped to")
    start_scale: float = _setting(2.6, "logarithm of the learned scales at the start")
    dropout: float = _setting(0.1, "of both encoders while training")
    hidden_size: int = _setting(100, "width of the joint space")
    audio_width: int = _setting(768, "width of a new audio encoder")
    audio_layers: int = _setting(12, "its layers")
    audio_heads: int = _setting(0, "its attention heads; 0 = width / 64")
    audio_feed_forward: int = _setting(0, "its feed-forward width; 0 = 4 x width")
    audio_channels: int = _setting(512, "width of its convolutions")
    n_frames: int = _setting(1251, "mel frames of a song that a new audio encoder reads")
    rate_hz: int = _setting(16_000, "with a new audio encoder: as given to extract_mel.py; kept in the model's file")
    low_hz: float = _setting(0.0, "likewise")
    high_hz: float = _setting(0.0, "likewise")

    def __post_init__(self) -> None:
        """Check the fields of HTCL too."""
        super().__post_init__()
        self._need(self.stage in (1, 2), "stage", "1 or 2")
        self._need(self.encoder_rate > 0, "encoder_rate", "above 0")
        self._need(0 <= self.dropout < 1, "dropout", "in [0, 1)")
        for name in ("hidden_size", "text_length", "audio_width", "audio_layers", "audio_channels", "n_frames"):
            self._need(getattr(self, name) >= 1, name, "at least 1")
        self._need(is_mask(self.mask), "mask", f"none, or of {', '.join(MASKS)}")
        self._need(len(self.init) <= 1, "init", "one name or file")
