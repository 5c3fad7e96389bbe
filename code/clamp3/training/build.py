"""The model of a run: its family and sizes, the weights it starts from, and what of it is frozen."""

from __future__ import annotations

import copy
import logging
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor, nn

from clamp3.data.views import towers_of
from clamp3.errors import ConfigError, WeightsError
from clamp3.models.clamp3 import Clamp3Model
from clamp3.models.config import TOWERS, Clamp3Config, DecoderConfig, FrontEndConfig, M3Config, TowerConfig
from clamp3.models.m3 import M3Model
from clamp3.models.registry import WEIGHT_FILES
from clamp3.models.weights import RELEASED_TEXT_MODEL
from clamp3.training.config import Clamp3Training, M3Training, SymbolicTraining
from clamp3.training.lora import add_adapters
from clamp3.training.presets import starts_of, text_model_of

if TYPE_CHECKING:
    from clamp3.models.tokenizer import TextTokenizer
    from clamp3.models.towers import TowerModel
    from clamp3.models.weights import Described

logger = logging.getLogger(__name__)


def _tower_of(config: SymbolicTraining) -> TowerConfig:
    return TowerConfig(
        width=config.width,
        n_layers=config.n_layers,
        n_heads=config.heads,
        feed_forward=config.inner_width,
        max_length=config.max_patches,
        dropout=config.dropout,
    )


def m3_model(config: M3Training) -> M3Model:
    """Build the M3 model of a run, at random or from ``--init`` (whose sizes then count).

    Raises
    ------
    ConfigError
        If ``--init`` names several files or a crop is longer than the encoder's positions.
    WeightsError
        If the file is absent, damaged or no M3.
    """
    if not config.init:
        decoder = DecoderConfig(
            width=config.width,
            n_layers=config.decoder_layers,
            n_heads=config.heads,
            feed_forward=4 * config.width,
            dropout=config.dropout,
        )
        logger.info("M3 starts at random; --init starts it from weights")
        model = M3Model(M3Config(encoder=_tower_of(config), decoder=decoder, patch_length=config.max_patches))
        set_attention_dropout(model, config.attention_dropout)
        return model
    if len(config.init) > 1:
        raise ConfigError(f"--init of M3 takes one file, got {len(config.init)}.")
    from clamp3.models.weights import load_m3

    loaded = load_m3(config.init[0])
    sizes: M3Config = loaded.config
    _check_crop(config, sizes.encoder)
    encoder = replace(sizes.encoder, dropout=config.dropout)
    model = M3Model(replace(sizes, encoder=encoder, decoder=replace(sizes.decoder, dropout=config.dropout)))
    model.load_state_dict(loaded.model.state_dict())
    set_attention_dropout(model, config.attention_dropout)
    logger.info("starting from %s", loaded.identity)
    return model


def set_attention_dropout(model: nn.Module, probability: float) -> None:
    """Give the attention weights of every encoder a dropout of their own; what decodes characters keeps its own.

    Parameters
    ----------
    model : Module
    probability : float
    """
    from clamp3.models.bert import Bert

    for encoder in model.modules():
        if isinstance(encoder, Bert):
            for name, part in encoder.named_modules():
                if name.endswith("attention.self"):
                    part.dropout = probability


def _check_crop(config: SymbolicTraining, encoder: TowerConfig) -> None:
    """Refuse more than the encoder has, if it was asked for; the default stands for whatever it has."""
    name = "patch_length" if config.patch_length else "max_patches"
    length = getattr(config, name)
    if length > encoder.max_length and length != SymbolicTraining.max_patches:
        raise ConfigError(f"--{name} is {length}, but the encoder has only {encoder.max_length} positions.")


def text_tokenizer(config: Clamp3Training, model: TowerModel, *, needed: bool) -> tuple[str, TextTokenizer | None]:
    """Return the run's tokenizer: that of ``--text_model``, or if that is left as it is, the one ``--init`` names.

    Parameters
    ----------
    config : Clamp3Training
    model : TowerModel
        Whose text tower has to know its tokens.
    needed : bool
        Whether the run compares texts; else only the name is looked for.

    Returns
    -------
    name : str
        What names it from anywhere: a folder as an absolute path, a Hugging Face name as it is.
    tokenizer : TextTokenizer or None

    Raises
    ------
    WeightsError
        If it is absent or has more tokens than the tower.
    """
    from clamp3.models.tokenizer import load_tokenizer

    own, name = _named_by_init(config), config.text_model
    if own and name == RELEASED_TEXT_MODEL:
        name = own
    if Path(name).expanduser().is_dir():
        name = str(Path(name).expanduser().absolute())
    if not needed:
        return name, None
    tokenizer = load_tokenizer(name)
    tower: TowerConfig | None = getattr(model.config, "text", None)  # not every family says how many tokens it knows
    if tower is None:
        return name, tokenizer
    if tokenizer.n_tokens > tower.vocab_size:
        raise WeightsError(
            f"the tokenizer of {name} has {tokenizer.n_tokens} tokens, but the text tower knows {tower.vocab_size}; "
            "name the tokenizer it was trained with by --text_model."
        )
    if tower.pad_id is not None and tokenizer.pad_id != tower.pad_id:
        logger.warning("%s pads with token %d, the text tower with %d", name, tokenizer.pad_id, tower.pad_id)
    if own and _differ(name, own):
        logger.warning("the tokenizer of %s is not that of --init, %s: its text tower knows other tokens", name, own)
    return name, tokenizer


def _named_by_init(config: Clamp3Training) -> str | None:
    """Return what names the tokenizer of the text tower that ``--init`` brings; None if nothing does."""
    from clamp3.models.weights import describe

    named: str | None = None
    for name in config.init:
        if "text" in (described := describe(name)).config.towers:
            named = None if described.tokenizer_dir is None else str(described.tokenizer_dir)
    return named


def _differ(one: str, other: str) -> bool:
    """Return whether two tokenizers are known to be different: two names, or folders with unlike files."""
    from clamp3.models.tokenizer import FILES

    folders = [Path(name).expanduser() for name in (one, other)]
    if not any(folder.is_dir() for folder in folders):
        return one != other
    pairs = [[folder / file for folder in folders] for file in FILES]
    both = next((pair for pair in pairs if all(path.is_file() for path in pair)), None)
    return both is not None and both[0].read_bytes() != both[1].read_bytes()


def text_tower(name: str, *, from_scratch: bool) -> tuple[TowerConfig, dict[str, Tensor] | None]:
    """Return sizes and weights of ``--text_model``; None as weights where it starts at random on request.

    Parameters
    ----------
    name : str
        Folder or Hugging Face name.
    from_scratch : bool
        Allow a folder without weights.

    Raises
    ------
    WeightsError
        If sizes or weights are absent and ``--text_from_scratch`` does not excuse it.
    """
    from clamp3.models.sizes import text_tower_of
    from clamp3.models.weights import init_text_tower

    folder = Path(name)
    if not folder.is_dir() or any((folder / file).is_file() for file in WEIGHT_FILES):
        return init_text_tower(name)
    sizes = text_tower_of(folder)
    if sizes is None:
        raise WeightsError(f"{folder} has no config.json with the sizes of the text tower.")
    if not from_scratch:
        raise WeightsError(
            f"{folder} has no {' or '.join(WEIGHT_FILES)}; --text_from_scratch starts the text tower at random."
        )
    return sizes, None


def crop_lengths(config: Clamp3Training, model: TowerModel) -> dict[str, int]:
    """Return what sequences of the towers that a run compares are cropped to.

    Parameters
    ----------
    config : Clamp3Training
    model : TowerModel
    """
    asked = {"text": config.text_length, "symbolic": config.crop_length}
    lengths = {tower: model.config.length(tower) for tower in towers_of(config.compared)}
    return {tower: min(length, asked.get(tower, length)) for tower, length in lengths.items()}


def alignment_model(config: Clamp3Training) -> tuple[TowerModel, tuple[str, ...]]:
    """Build the model of an alignment run with its starting weights.

    The files of ``--init`` decide its family; without them, and from an M3 alone, it is a CLaMP 3.

    Returns
    -------
    model : TowerModel
    frozen : tuple of str
        Towers that are not trained.

    Raises
    ------
    ConfigError
        If a crop is longer than the positions of its tower, or is not that of an audio tower of ``--init``, or the
        pairs need a tower that the model has not.
    WeightsError
        If weights are absent or do not fit, or the text tower would start at random unasked.
    """
    starts = starts_of(config)
    if all(isinstance(start.config, Clamp3Config) for start in starts if start.family.joint):
        model: TowerModel = _clamp3_model(config, starts)
    elif len(starts) == 1:
        model = _model_of(starts[0], towers_of(config.compared))
    else:
        raise ConfigError(f"--init takes one file of a model that is no CLaMP, got {len(starts)}.")
    set_attention_dropout(model, config.attention_dropout)
    if config.lora_towers:
        add_adapters(model, config.lora_towers, rank=config.lora_rank, alpha=config.lora_alpha)
    return model, tuple(name for name in model.config.towers if name in config.frozen)


def _model_of(start: Described, towers: Collection[str]) -> TowerModel:
    """Return the whole model of a file, sizes and dropout as they are there, if it has these towers."""
    from clamp3.models.weights import load_model

    start.config.restrict(towers)
    loaded = load_model(start.path, start.config.towers)
    logger.info("starting from %s", start.path)
    return copy.deepcopy(loaded.model)  # its tensors lie in the file


def _clamp3_model(config: Clamp3Training, starts: Sequence[Described]) -> Clamp3Model:
    """Build a CLaMP 3.

    Sizes come from ``starts``, the ``--init`` files, where they have the tower, else from the flags and the text
    model's ``config.json``. A CLaMP file brings all its towers and projections; a later M3 file
    replaces the symbolic encoder. Towers that nothing compares stay as they are, so that the exported
    model has them; they are not built if no file brings them.
    """
    from clamp3.models.weights import init_symbolic_tower, load_model

    sizes = Clamp3Config(hidden_size=config.hidden_size, text_length=config.text_length)
    towers: dict[str, TowerConfig] = {}
    states: dict[str, dict[str, Tensor]] = {}
    for start in starts:
        if not start.family.joint:
            towers["symbolic"], states["symbolic_model"] = init_symbolic_tower(start.path)
        else:
            loaded = load_model(start.path, start.config.towers, text_model=text_model_of(config))
            front = start.config if start.config.audio else sizes
            if towers and start.config.hidden_size != sizes.hidden_size:
                width = sizes.hidden_size
                raise WeightsError(f"{start.path} has a joint space of width {start.config.hidden_size}, not {width}.")
            sizes = replace(
                start.config, text=None, symbolic=None, audio=None,
                text_length=config.text_length, audio_length=front.audio_length, front_end=front.front_end,
            )  # fmt: skip
            towers |= {tower: start.config.tower(tower) for tower in start.config.towers}
            states |= {part: module.state_dict() for part, module in loaded.model.named_children()}
        logger.info("starting from %s", start.path)
    used = towers_of(config.compared)
    if unknown := [tower for tower in used if tower not in TOWERS]:
        raise ConfigError(f"CLaMP 3 has no tower of {unknown[0]}; name weights of a model that has one by --init.")
    if "text" in used and "text" not in towers:
        towers["text"], weights = text_tower(config.text_model, from_scratch=config.text_from_scratch)
        if weights is not None:
            states["text_model"] = weights
    if "symbolic" in used:
        towers.setdefault("symbolic", _tower_of(config))
        _check_crop(config, towers["symbolic"])
    if "audio" in used and "audio" in towers:
        _check_audio_length(config, sizes.audio_length)
    elif "audio" in used:
        towers["audio"] = _audio_tower(config)
        kind = FrontEndConfig(kind=config.front_end, channels=config.audio_channels)
        sizes = replace(sizes, front_end=kind, audio_length=config.audio_length)
    for name in used:
        if f"{name}_model" not in states:
            hint = "; --init m3, or CLAMP3_LOAD_M3 = True in config.py, starts it from M3" if name == "symbolic" else ""
            logger.info("the %s tower starts at random%s", name, hint)
        if name not in config.frozen:
            towers[name] = replace(towers[name], dropout=config.dropout)
    if "symbolic" in towers:
        sizes = replace(sizes, symbolic_length=towers["symbolic"].max_length)
    text, symbolic, audio = (towers.get(name) for name in TOWERS)
    model = Clamp3Model(replace(sizes, text=text, symbolic=symbolic, audio=audio))
    for part, state in states.items():
        model.get_submodule(part).load_state_dict(state)
    return model


def _check_audio_length(config: Clamp3Training, length: int) -> None:
    """Refuse a crop that the audio tower of ``--init`` does not have; the default stands for whatever it has."""
    if config.audio_length not in (length, Clamp3Training.audio_length):
        raise ConfigError(f"--audio_length is {config.audio_length}, but the audio tower of --init takes {length}.")


def _audio_tower(config: Clamp3Training) -> TowerConfig:
    return TowerConfig(
        width=config.audio_width,
        n_layers=config.audio_layers,
        n_heads=config.audio_heads or max(1, config.audio_width // 64),
        feed_forward=config.audio_feed_forward or 4 * config.audio_width,
        max_length=config.audio_length,
        dropout=config.dropout,
    )
