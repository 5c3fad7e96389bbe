"""Sizes of the models as frozen values; ``Clamp3Config.released()`` are the published ones.

A configuration travels inside every checkpoint as plain JSON (``to_dict``) and is read back with ``from_dict``, which
refuses what it does not know, so that a model is always rebuilt from its own file.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

from clamp3.errors import ConfigError

N_CODES = 128
"""Character codes a patch position can hold (7-bit characters and the four special codes)."""

TOWERS = ("text", "symbolic", "audio")
FRONT_ENDS = ("mert", "mel")

_Config = TypeVar("_Config", bound="_FromDict")
_Sizes = TypeVar("_Sizes", bound="ModelConfig")


class _FromDict:
    """Reading of flat fields from a mapping with unknown names refused."""

    @classmethod
    def from_dict(cls: type[_Config], values: Mapping[str, Any]) -> _Config:
        """Build from plain JSON values; a key that is no field or a wrong value is a ConfigError."""
        known = [f.name for f in fields(cls)]  # type: ignore[arg-type]
        if unknown := sorted(set(values) - set(known)):
            raise ConfigError(f"{cls.__name__} has no field {', '.join(unknown)}; its fields are {', '.join(known)}.")
        try:
            return cls(**{name: tuple(v) if isinstance(v, list) else v for name, v in values.items()})
        except TypeError as error:
            raise ConfigError(f"{cls.__name__} cannot be built from {dict(values)}: {error}.") from error

    def _build(self, name: str, kind: type[_FromDict]) -> None:
        """Build a field from the plain values that a file has in its place."""
        if isinstance(getattr(self, name), Mapping):
            object.__setattr__(self, name, kind.from_dict(getattr(self, name)))

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as values that JSON can hold."""
        return asdict(self)  # type: ignore[call-overload]


class ModelConfig(_FromDict):
    """What the sizes of every family's models offer; a family's own are a frozen dataclass that derives from it.

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
        """Return what fills short sequences of a tower."""
        return 0

    def front_end_kind(self, name: str) -> str:
        """Return what comes before a tower, a name in `clamp3.embedding.front_ends.FRONT_ENDS`; "" if nothing does."""
        return "tokenizer" if name == "text" else ""

    def n_tokens(self, name: str) -> int | None:
        """Return how many tokens a tower knows, None where it does not matter."""
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


class _LayerSizes(_FromDict):
    """What the sizes of an encoder and a decoder have to fulfil."""

    def __post_init__(self: Any) -> None:
        name = type(self).__name__
        for size in ("width", "n_layers", "n_heads", "feed_forward", "max_length", "vocab_size"):
            if getattr(self, size) < 1:
                raise ConfigError(f"{name}.{size} is {getattr(self, size)}; it must be at least 1.")
        if self.width % self.n_heads:
            raise ConfigError(f"{name}.width {self.width} is not divisible by n_heads {self.n_heads}.")
        if not 0.0 <= self.dropout < 1.0:
            raise ConfigError(f"{name}.dropout is {self.dropout}; it must be at least 0 and below 1.")


@dataclass(frozen=True)
class TowerConfig(_LayerSizes):
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

    @classmethod
    def from_transformers(cls, values: Mapping[str, Any]) -> TowerConfig:
        """Read the ``config.json`` of an XLM-RoBERTa or BERT folder of the transformers library."""
        kind = values.get("model_type")
        if kind not in ("xlm-roberta", "roberta", "bert"):
            raise ConfigError(f"a text tower of type {kind!r} is not supported; use an xlm-roberta or bert folder.")
        supported = {"hidden_act": "gelu", "position_embedding_type": "absolute"}
        if any(values.get(name, value) != value for name, value in supported.items()):
            raise ConfigError("only the gelu activation and absolute positions are supported for the text tower.")
        try:
            return cls(
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


@dataclass(frozen=True)
class FrontEndConfig(_FromDict):
    """How a recording becomes what the audio tower takes.

    Attributes
    ----------
    kind : {"mert", "mel"}
        mert: vectors of MERT, as wide as the tower, as released; nothing is learned before the tower and the other
        fields say nothing. mel: chunks of `clamp3.formats.mel.log_mel` through a `clamp3.models.front_end.MelFrontEnd`.
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
        if self.kind not in FRONT_ENDS:
            raise ConfigError(f"front_end is {self.kind!r}; choose from {', '.join(FRONT_ENDS)}.")
        if len(self.kernels) != len(self.strides) or not self.kernels:
            raise ConfigError("front_end.kernels and front_end.strides need one number per convolution.")
        if min(self.n_bins, self.n_frames, self.channels, *self.kernels, *self.strides) < 1:
            raise ConfigError("the sizes of front_end must be at least 1.")
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
        self._build("front_end", FrontEndConfig)
        for name in TOWERS:
            self._build(name, TowerConfig)
            tower, length = getattr(self, name), self.length(name)
            if tower is None:
                continue
            usable = tower.max_length - (0 if tower.pad_id is None else tower.pad_id + 1)
            if not 1 <= length <= usable:
                raise ConfigError(f"{name}_length {length} does not fit the {usable} positions of the {name} tower.")
        if self.hidden_size < 1 or self.patch_size < 1:
            raise ConfigError("hidden_size and patch_size must be at least 1.")

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
        return getattr(self, name)

    @property
    def feature_width(self) -> int:
        """Width of the audio vectors a file gives: the tower's own for MERT, a flattened chunk for mel frames."""
        tower = self.tower("audio")
        return tower.width if self.front_end.kind == "mert" else self.front_end.n_frames * self.front_end.n_bins

    def length(self, name: str) -> int:
        """Return the window of a tower: tokens, patches or audio vectors."""
        return int(getattr(self, f"{name}_length"))

    def pad_id(self, name: str) -> int:
        """Return what fills short sequences of a tower: the text tower's padding token, else 0."""
        return (name == "text" and self.tower(name).pad_id) or 0

    def front_end_kind(self, name: str) -> str:
        """Return what comes before a tower: a tokenizer, MERT, mel frames or nothing."""
        return self.front_end.kind if name == "audio" else super().front_end_kind(name)

    def n_tokens(self, name: str) -> int | None:
        """Return how many tokens the text tower knows."""
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
class DecoderConfig(_LayerSizes):
    """Sizes of the GPT-2 decoder that spells out one patch; defaults as released."""

    width: int = 768
    n_layers: int = 3
    n_heads: int = 12
    feed_forward: int = 3072
    max_length: int = 64
    vocab_size: int = N_CODES
    dropout: float = 0.1
    layer_norm_eps: float = 1e-5


@dataclass(frozen=True)
class M3Config(ModelConfig):
    """Sizes of an M3 pre-training model; defaults as released."""

    encoder: TowerConfig = field(default_factory=TowerConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    patch_size: int = 64
    patch_length: int = 512

    def __post_init__(self) -> None:
        self._build("encoder", TowerConfig)
        self._build("decoder", DecoderConfig)
        if self.encoder.width != self.decoder.width:
            raise ConfigError(f"M3 needs one width: encoder {self.encoder.width}, decoder {self.decoder.width}.")
        if self.patch_length > self.encoder.max_length or self.patch_size > self.decoder.max_length:
            raise ConfigError("M3's patch_length or patch_size is longer than the position tables.")

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
