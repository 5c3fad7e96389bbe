"""Sizes of HTCL models, and how they are read from released files, which do not state them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clamp3.errors import ConfigError, WeightsError
from clamp3.models.config import ModelConfig, TowerConfig, _FromDict, _tower
from clamp3.models.sizes import HEAD_WIDTH, Shapes, _n_layers, bert_sizes, text_tower_of

HTCL_TEXT_MODEL = "google-bert/bert-base-multilingual-uncased"
HTCL_AUDIO_PARTS = (
    *("cls_token", "feature_extractor.", "feature_projection.", "pos_conv_embed.", "layer_norm."),
    "transformer_encoder.",
)
"""Starts of the names of the audio encoder's tensors."""


@dataclass(frozen=True)
class HtclAudioConfig(_FromDict):
    """Sizes of the audio encoder and of the mel frames it reads; defaults as released.

    Attributes
    ----------
    n_bins, n_frames : int
        Mel bands of a frame, and frames of a piece; shorter pieces are filled up.
    channels : int
        Width of the convolutions.
    kernels, strides : tuple of int
        One convolution each, without padding.
    position_kernel, position_groups : int
        Of the convolution whose output stands for positions.
    rate_hz : int
        Of the sound that frames are made of. No source states it; 16 kHz is the only usual rate at which the stated
        window of 128 ms is a power of two (2,048 samples).
    low_hz, high_hz : float
        Range of the mel bands, which no source states; 0 as ``high_hz`` is half the rate, librosa's default.
    """

    width: int = 768
    n_layers: int = 12
    n_heads: int = 12
    feed_forward: int = 3072
    dropout: float = 0.1
    layer_norm_eps: float = 1e-5
    n_bins: int = 128
    n_frames: int = 1251
    channels: int = 512
    kernels: tuple[int, ...] = (5, 3, 3)
    strides: tuple[int, ...] = (2, 2, 2)
    position_kernel: int = 31
    position_groups: int = 16
    rate_hz: int = 16_000
    low_hz: float = 0.0
    high_hz: float = 0.0

    def __post_init__(self) -> None:
        for name in ("width", "n_layers", "n_heads", "feed_forward", "n_bins", "channels", "position_groups"):
            if getattr(self, name) < 1:
                raise ConfigError(f"HtclAudioConfig.{name} is {getattr(self, name)}; it must be at least 1.")
        for divisor in ("n_heads", "position_groups"):
            if self.width % getattr(self, divisor):
                raise ConfigError(f"HtclAudioConfig.width {self.width} is not divisible by {divisor}.")
        if len(self.kernels) != len(self.strides) or min(*self.kernels, *self.strides, self.n_positions - 1) < 1:
            raise ConfigError(f"the kernels and strides of HtclAudioConfig do not fit {self.n_frames} frames.")
        if self.position_kernel % 2 == 0:
            raise ConfigError("HtclAudioConfig.position_kernel must be odd.")
        if not 0.0 <= self.dropout < 1.0:
            raise ConfigError(f"HtclAudioConfig.dropout is {self.dropout}; it must be at least 0 and below 1.")

    @property
    def n_positions(self) -> int:
        """Hidden states of a piece: those that the convolutions leave, and the one in front."""
        length = self.n_frames
        for kernel, stride in zip(self.kernels, self.strides, strict=True):
            length = (length - kernel) // stride + 1
        return length + 1


@dataclass(frozen=True)
class HtclConfig(ModelConfig):
    """Sizes of an HTCL model; a tower that is None is absent.

    Attributes
    ----------
    hidden_size : int
        E, width of the joint space; of a model without heads, the width of its encoders.
    heads : bool
        Whether perceptrons project into a joint space; files of the audio encoder alone have none.
    fusion : bool
        Whether one more makes a vector of a piece's audio and text vectors; only with both towers.
    """

    text: TowerConfig | None = None
    audio: HtclAudioConfig | None = None
    hidden_size: int = 100
    text_length: int = 512
    heads: bool = True
    fusion: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", _tower(self.text))
        if isinstance(self.audio, Mapping):
            object.__setattr__(self, "audio", HtclAudioConfig.from_dict(self.audio))
        if self.text is not None and not 1 <= self.text_length <= self.text.max_length:
            raise ConfigError(f"text_length {self.text_length} does not fit the {self.text.max_length} positions.")
        if self.hidden_size < 1 or (self.fusion and len(self.towers) < 2):
            raise ConfigError("hidden_size must be at least 1, and fusion needs both towers.")

    @classmethod
    def released(cls) -> HtclConfig:
        """Return the sizes of the published model after stage 2."""
        text = TowerConfig(max_length=512, vocab_size=105_879)
        return cls(text=text, audio=HtclAudioConfig(), fusion=True)

    @property
    def towers(self) -> tuple[str, ...]:
        """Names of the towers that are there, in the order text, audio."""
        return tuple(name for name in ("text", "audio") if getattr(self, name) is not None)

    @property
    def feature_width(self) -> int:
        """Numbers of a mel frame."""
        return 0 if self.audio is None else self.audio.n_bins

    def length(self, name: str) -> int:
        """Return the window of a tower: tokens; or the frames of a piece between two zero vectors."""
        self._check_towers([name])
        return self.text_length if self.audio is None or name == "text" else self.audio.n_frames + 2

    def front_end_kind(self, name: str) -> str:
        """Return what comes before a tower: a tokenizer, or mel frames of whole pieces."""
        return "htcl_mel" if name == "audio" else super().front_end_kind(name)

    def n_tokens(self, name: str) -> int | None:
        """Return how many tokens the text tower knows."""
        return self.text.vocab_size if name == "text" and self.text is not None else None

    def parts(self, name: str) -> tuple[str, ...]:
        """Return the encoder and the head of a tower; what fuses both counts as the audio tower's."""
        found = (f"{name}_model", f"{name}_mlp") if self.heads else (f"{name}_model",)
        return (*found, "fusion_mlp") if self.fusion and name == "audio" else found

    def projection(self, name: str) -> str | None:
        """Return the last layer of a tower's head."""
        return f"{name}_mlp.6" if self.heads else None

    def restrict(self, towers: Any) -> HtclConfig:
        """Return the sizes of a model with these towers only; an absent one is a ConfigError."""
        self._check_towers(towers)
        text, audio = (getattr(self, name) if name in towers else None for name in ("text", "audio"))
        fusion = self.fusion and text is not None and audio is not None
        return HtclConfig(text, audio, self.hidden_size, self.text_length, self.heads, fusion)


def htcl_sizes(shapes: Shapes, text_folder: Path | None) -> HtclConfig:
    """Return the sizes of a released file: a whole model after either stage, or the audio encoder alone.

    Parameters
    ----------
    shapes : mapping of str to tuple of int
        Shape of every tensor, the audio encoder's with ``audio_model.`` in front.
    text_folder : Path or None
        Folder that may hold the text model's ``config.json``.
    """
    heads = "audio_mlp.0.weight" in shapes
    text = None
    if "text_model.embeddings.word_embeddings.weight" in shapes:
        like = text_tower_of(text_folder) if text_folder is not None else None
        text = bert_sizes(shapes, "text_model.", like=like)
    audio = _audio_sizes(shapes)
    if text is None and not heads:
        return HtclConfig(audio=audio, hidden_size=audio.width, heads=False)
    hidden_size = shapes["audio_mlp.6.weight"][0] if "audio_mlp.6.weight" in shapes else 0
    length = min(512, text.max_length) if text is not None else 512
    return HtclConfig(text, audio, hidden_size, length, fusion=text is not None and "fusion_mlp.0.weight" in shapes)


def _audio_sizes(shapes: Shapes) -> HtclAudioConfig:
    prefix = "audio_model."
    names = {name.removeprefix(prefix): shape for name, shape in shapes.items() if name.startswith(prefix)}
    try:
        kernels = tuple(names[f"feature_extractor.layers.{i}.1.weight"][2] for i in range(3))
        channels, n_bins, _ = names["feature_extractor.layers.0.1.weight"]
        width = names["cls_token"][2]
        feed_forward = names["transformer_encoder.layers.0.linear1.weight"][0]
        _, per_group, position_kernel = names["pos_conv_embed.conv.parametrizations.weight.original1"]
    except (KeyError, ValueError, IndexError):
        raise WeightsError("the file is no HTCL model: tensors of its audio encoder are absent.") from None
    if width % HEAD_WIDTH:
        raise WeightsError(f"the file does not say how many heads its audio encoder of width {width} has.")
    return HtclAudioConfig(
        width=width,
        n_layers=_n_layers(names, "transformer_encoder.layers."),
        n_heads=width // HEAD_WIDTH,
        feed_forward=feed_forward,
        n_bins=n_bins,
        channels=channels,
        kernels=kernels,
        position_kernel=position_kernel,
        position_groups=width // per_group,
    )
