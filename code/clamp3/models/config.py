"""Sizes of the models as frozen values; ``Clamp3Config.released()`` are the published ones.

A configuration travels inside every checkpoint as plain JSON (``to_dict``) and is read back with ``from_dict``, which
refuses what it does not know, so that a model is always rebuilt from its own file.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_type_hints

from clamp3.errors import ConfigError, FormatError
from clamp3.formats.fields import typed

N_CODES = 128
"""Character codes a patch position can hold (7-bit characters and the four special codes)."""

MAX_SIZE = 1 << 24
"""Of a width, a table or a window; what is beyond comes from a damaged file."""

TOWERS = ("text", "symbolic", "audio")
AUDIO_FRONT_ENDS = ("mert", "mel")

_Config = TypeVar("_Config", bound="_FromDict")
_Sizes = TypeVar("_Sizes", bound="ModelConfig")


class _FromDict:
    """Reading of flat fields from a mapping with unknown names refused."""

    @classmethod
    def from_dict(cls: type[_Config], values: Mapping[str, Any]) -> _Config:
        """Build from plain JSON values; a key that is no field or a wrong value is a ConfigError."""
        known = [f.name for f in fields(cls)]  # type: ignore[arg-type]
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise ConfigError(f"{cls.__name__} has no field {', '.join(unknown)}; its fields are {', '.join(known)}.")
        hints = get_type_hints(cls)
        parts = {}
        for name, value in values.items():
            part = next((kind for kind in (hints[name], *get_args(hints[name])) if hasattr(kind, "from_dict")), None)
            parts[name] = value if part is None or not isinstance(value, Mapping) else part.from_dict(value)
        try:
            return typed(cls, parts, cls.__name__)
        except FormatError as error:
            raise ConfigError(str(error)) from None

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as values that JSON can hold."""
        return asdict(self)  # type: ignore[call-overload]


class ModelConfig(_FromDict):
    """The contract of a family's configuration, a frozen dataclass that derives from it.

    Attributes
    ----------
    towers : tuple of str
        Modalities the model has a tower for; a field or a property.
    hidden_size : int
        E, width of its vectors; a field or a property.
    """

    if TYPE_CHECKING:  # at run time a dataclass would take these for the defaults of its fields

        @property
        def towers(self) -> tuple[str, ...]: ...  # noqa: D102
        @property
        def hidden_size(self) -> int: ...  # noqa: D102

    def length(self, name: str) -> int:
        """Return the window of a tower: how many tokens, patches or vectors it takes at once."""
        raise NotImplementedError

    def pad_id(self, name: str) -> int:
        """Return what pads short sequences of a tower."""
        return 0

    def front_end_kind(self, name: str) -> str:
        """Return what comes before a tower, a name in `clamp3.embedding.front_ends.FRONT_ENDS`; "" if nothing does."""
        return {"text": "tokenizer", "symbolic": "reading"}.get(name, "")

    def n_tokens(self, name: str) -> int | None:
        """Return the size of a tower's vocabulary, None where there is none."""
        return None

    def parts(self, name: str) -> tuple[str, ...]:
        """Return the names under which the model may have children that belong to a tower."""
        return f"{name}_front", f"{name}_model", f"{name}_proj"

    def projection(self, name: str) -> str | None:
        """Return the linear layer that ends a tower, None if none does.

        It computes in float32 whatever the other layers compute in, and training can make it standardise vectors.
        """
        return None

    def restrict(self: _Sizes, towers: Collection[str]) -> _Sizes:
        """Return the sizes of a model with these towers only; an absent one is a ConfigError."""
        self._check_towers(towers)
        kept = tuple(name for name in self.towers if name in towers)
        return self if kept == self.towers else replace(self, towers=kept)  # type: ignore[type-var]

    def _check_towers(self, names: Collection[str]) -> None:
        for name in names:
            if name not in self.towers:
                raise ConfigError(f"this model has no {name} tower; it has: {', '.join(self.towers) or 'none'}.")


def _check_sizes(name: str, config: TowerConfig | DecoderConfig) -> None:
    sizes = {size: value for size, value in vars(config).items() if isinstance(value, int) and size != "pad_id"}
    for size, value in sizes.items():
        if value < 1:
            raise ConfigError(f"{name}.{size} is {value}; it must be at least 1.")
        if value > MAX_SIZE:
            raise ConfigError(f"{name}.{size} is {value}; at most {MAX_SIZE} is possible.")
    if config.width % config.n_heads:
        raise ConfigError(f"{name}.width {config.width} is not divisible by n_heads {config.n_heads}.")
    if not 0.0 <= config.dropout < 1.0:
        raise ConfigError(f"{name}.dropout is {config.dropout}; it must be at least 0 and below 1.")
    if not 0.0 <= config.layer_norm_eps < 1.0:
        raise ConfigError(f"{name}.layer_norm_eps is {config.layer_norm_eps}; it must be at least 0 and below 1.")


@dataclass(frozen=True)
class TowerConfig(_FromDict):
    """Sizes of one BERT encoder; the defaults are those of the released symbolic tower.

    Attributes
    ----------
    width : int
        D, width of the hidden states.
    max_length : int
        Rows of the position table (XLM-R keeps ``pad_id + 1`` of them unused).
    vocab_size : int
        Rows of the word table; 1 for towers that are fed with vectors.
    dropout : float
        Probability on embeddings, attention weights and sub-layer outputs while training.
    pad_id : int or None
        None counts positions 0, 1, 2, … (BERT). A number counts them from ``pad_id + 1`` over the tokens that are not
        padding (XLM-R).
    """

    width: int = 768
    n_layers: int = 12
    n_heads: int = 12
    feed_forward: int = 3072
    max_length: int = 512
    vocab_size: int = 1
    type_vocab_size: int = 2
    dropout: float = 0.1
    layer_norm_eps: float = 1e-12
    pad_id: int | None = None

    def __post_init__(self) -> None:
        _check_sizes("TowerConfig", self)
        if self.pad_id is not None and not 0 <= self.pad_id < MAX_SIZE:
            raise ConfigError(f"TowerConfig.pad_id is {self.pad_id}; it must be a token.")

    @classmethod
    def from_transformers(cls, values: Mapping[str, Any]) -> TowerConfig:
        """Read the ``config.json`` of an XLM-RoBERTa or BERT folder of the transformers library."""
        kind = values.get("model_type")
        if kind not in ("xlm-roberta", "roberta", "bert"):
            raise ConfigError(f"a text tower of type {kind!r} is not supported; use an xlm-roberta or bert folder.")
        if (
            values.get("hidden_act", "gelu") != "gelu"
            or values.get("position_embedding_type", "absolute") != "absolute"
        ):
            raise ConfigError("only the gelu activation and absolute positions are supported for the text tower.")
        try:
            found = dict(
                width=values["hidden_size"],
                n_layers=values["num_hidden_layers"],
                n_heads=values["num_attention_heads"],
                feed_forward=values["intermediate_size"],
                max_length=values["max_position_embeddings"],
                vocab_size=values["vocab_size"],
                type_vocab_size=values.get("type_vocab_size", 1),
                dropout=values.get("hidden_dropout_prob", 0.1),
                layer_norm_eps=values.get("layer_norm_eps", 1e-12),
                pad_id=None if kind == "bert" else values.get("pad_token_id", 1),
            )
        except KeyError as error:
            raise ConfigError(f"the text model's config.json lacks {error.args[0]}.") from error
        return cls.from_dict(found)


def _tower(value: TowerConfig | Mapping[str, Any] | None) -> TowerConfig | None:
    return value if value is None or isinstance(value, TowerConfig) else TowerConfig.from_dict(value)


@dataclass(frozen=True)
class FrontEndConfig(_FromDict):
    """How a recording becomes what the audio tower takes.

    Attributes
    ----------
    kind : {"mert", "mel"}
        mert: vectors of MERT, as wide as the tower, as released; nothing is learned before the tower and the other
        fields are ignored. mel: chunks of `clamp3.formats.mel.log_mel` through a `clamp3.models.front_end.MelFrontEnd`.
    n_bins, n_frames : int
        Mel bands of a frame and frames of a chunk.
    channels : int
        Width of the convolutions.
    kernels, strides : tuple of int
        One convolution each.
    """

    kind: str = "mert"
    n_bins: int = 128
    n_frames: int = 52
    channels: int = 192
    kernels: tuple[int, ...] = (5, 3)
    strides: tuple[int, ...] = (2, 2)

    def __post_init__(self) -> None:
        if self.kind not in AUDIO_FRONT_ENDS:
            raise ConfigError(f"front_end is {self.kind!r}; choose from {', '.join(AUDIO_FRONT_ENDS)}.")
        if len(self.kernels) != len(self.strides) or not self.kernels:
            raise ConfigError("front_end.kernels and front_end.strides need one number per convolution.")
        sizes = (self.n_bins, self.n_frames, self.channels, *self.kernels, *self.strides)
        if min(sizes) < 1 or max(sizes) > MAX_SIZE:
            raise ConfigError(f"the sizes of front_end must be at least 1 and at most {MAX_SIZE}.")
        if any(kernel % 2 == 0 for kernel in self.kernels):
            raise ConfigError("front_end.kernels must be odd.")


@dataclass(frozen=True)
class Clamp3Config(ModelConfig):
    """Sizes of a CLaMP 3 model; a tower that is None is absent.

    Attributes
    ----------
    hidden_size : int
        Width of the joint space every tower projects into.
    text_length, symbolic_length, audio_length : int
        Window of each tower in tokens, patches and audio vectors.
    front_end : FrontEndConfig
        What comes before the audio tower; MERT where a file does not state it.
    """

    text: TowerConfig | None = None
    symbolic: TowerConfig | None = None
    audio: TowerConfig | None = None
    hidden_size: int = 768
    patch_size: int = 64
    text_length: int = 128
    symbolic_length: int = 512
    audio_length: int = 128
    front_end: FrontEndConfig = field(default_factory=FrontEndConfig)

    def __post_init__(self) -> None:
        if not isinstance(self.front_end, FrontEndConfig):
            object.__setattr__(self, "front_end", FrontEndConfig.from_dict(self.front_end))
        for name in TOWERS:
            object.__setattr__(self, name, _tower(getattr(self, name)))
            tower, length = getattr(self, name), self.length(name)
            if tower is None:
                continue
            usable = tower.max_length - (0 if tower.pad_id is None else tower.pad_id + 1)
            if not 1 <= length <= usable:
                raise ConfigError(f"{name}_length {length} does not fit the {usable} positions of the {name} tower.")
        if not (1 <= self.hidden_size <= MAX_SIZE and 1 <= self.patch_size <= MAX_SIZE):
            raise ConfigError(f"hidden_size and patch_size must be at least 1 and at most {MAX_SIZE}.")

    @classmethod
    def released(cls) -> Clamp3Config:
        """Return the sizes of the published CLaMP 3 checkpoints (457,896,960 numbers)."""
        return cls(
            text=TowerConfig(max_length=514, vocab_size=250_002, type_vocab_size=1, layer_norm_eps=1e-5, pad_id=1),
            symbolic=TowerConfig(max_length=512),
            audio=TowerConfig(max_length=128),
        )

    @property
    def towers(self) -> tuple[str, ...]:
        """Names of the towers that are there, in the order text, symbolic, audio."""
        return tuple(name for name in TOWERS if getattr(self, name) is not None)

    def tower(self, name: str) -> TowerConfig:
        """Return the sizes of one tower; an absent one is a ConfigError."""
        self._check_towers([name])
        tower: TowerConfig = getattr(self, name)
        return tower

    @property
    def feature_width(self) -> int:
        """Width of the audio vectors a file gives: the tower's own for MERT, a flattened chunk for mel frames."""
        tower = self.tower("audio")
        return tower.width if self.front_end.kind == "mert" else self.front_end.n_frames * self.front_end.n_bins

    def length(self, name: str) -> int:
        """Return the window of a tower: tokens, patches or audio vectors."""
        return int(getattr(self, f"{name}_length"))

    def pad_id(self, name: str) -> int:
        """Return what pads short sequences of a tower: the text tower's padding token, else 0."""
        return (name == "text" and self.tower(name).pad_id) or 0

    def front_end_kind(self, name: str) -> str:
        """Return what comes before a tower: MERT or mel frames before the audio tower."""
        return self.front_end.kind if name == "audio" else super().front_end_kind(name)

    def n_tokens(self, name: str) -> int | None:
        """Return the size of the text tower's vocabulary, None for the other towers."""
        return self.tower(name).vocab_size if name == "text" else None

    def projection(self, name: str) -> str:
        """Return the linear layer that ends a tower."""
        return f"{name}_proj"

    def restrict(self, towers: Collection[str]) -> Clamp3Config:
        """Return the sizes of a model with these towers only; an absent one is a ConfigError."""
        self._check_towers(towers)
        absent: dict[str, Any] = {name: None for name in TOWERS if name not in towers}
        return replace(self, **absent)


@dataclass(frozen=True)
class DecoderConfig(_FromDict):
    """Sizes of the GPT-2 decoder that predicts the characters of one patch; defaults as released."""

    width: int = 768
    n_layers: int = 3
    n_heads: int = 12
    feed_forward: int = 3072
    max_length: int = 64
    vocab_size: int = N_CODES
    dropout: float = 0.1
    layer_norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        _check_sizes("DecoderConfig", self)


@dataclass(frozen=True)
class M3Config(ModelConfig):
    """Sizes of an M3 pre-training model; defaults as released."""

    encoder: TowerConfig = field(default_factory=TowerConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    patch_size: int = 64
    patch_length: int = 512

    def __post_init__(self) -> None:
        if not isinstance(self.encoder, TowerConfig):
            object.__setattr__(self, "encoder", TowerConfig.from_dict(self.encoder))
        if not isinstance(self.decoder, DecoderConfig):
            object.__setattr__(self, "decoder", DecoderConfig.from_dict(self.decoder))
        if self.encoder.width != self.decoder.width:
            raise ConfigError(f"M3 needs one width: encoder {self.encoder.width}, decoder {self.decoder.width}.")
        if self.patch_length > self.encoder.max_length or self.patch_size > self.decoder.max_length:
            raise ConfigError("M3's patch_length or patch_size is longer than the position tables.")
        if self.patch_length < 1 or self.patch_size < 1:
            raise ConfigError("M3's patch_length and patch_size must be at least 1.")

    @classmethod
    def released(cls) -> M3Config:
        """Return the sizes of the published M3 checkpoint."""
        return cls()

    @property
    def towers(self) -> tuple[str, ...]:
        """The one tower there is."""
        return ("symbolic",)

    @property
    def hidden_size(self) -> int:
        """Width of its vectors: that of the hidden states."""
        return self.encoder.width

    def length(self, name: str) -> int:
        """Return the window of the tower in patches."""
        return self.patch_length

    def parts(self, name: str) -> tuple[str, ...]:
        """Return the names of the model's children: the tower and what trains it."""
        return "encoder", "decoder"
