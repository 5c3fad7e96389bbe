"""The model of an HTCL run: from a file, or a pre-trained text encoder and an audio encoder at random."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from clamp3.errors import ConfigError, WeightsError
from clamp3.models.bert import initialise
from clamp3.models.config import TowerConfig
from clamp3.models.htcl import HtclModel
from clamp3.models.htcl_config import HTCL_TEXT_MODEL, HtclAudioConfig, HtclConfig
from clamp3.training.build import text_tower
from clamp3.training.htcl_config import HtclTraining

if TYPE_CHECKING:
    from clamp3.models.tokenizer import TextTokenizer

logger = logging.getLogger(__name__)


def htcl_model(config: HtclTraining) -> tuple[HtclModel, str]:
    """Build the model of a run with its starting weights.

    Returns
    -------
    model : HtclModel
    text_model : str
        What names its tokenizer from anywhere.

    Raises
    ------
    ConfigError
        If stage 2 has nothing to start from.
    WeightsError
        If weights are absent or do not fit, or the text encoder would start at random unasked.
    """
    from clamp3.models.weights import describe, load_model

    text, audio, state, named = None, _audio_sizes(config), {}, None
    hidden_size, length = config.hidden_size, config.text_length
    if config.init:
        start = describe(config.init[0])
        loaded = load_model(config.init[0], start.config.towers, family="htcl")
        state = {name: tensor.clone() for name, tensor in loaded.model.state_dict().items()}
        text, audio = start.config.text, replace(start.config.audio, dropout=config.dropout)
        if start.config.heads and not _restarts(config):
            hidden_size = start.config.hidden_size
        if text is not None:
            named = None if start.tokenizer_dir is None else str(start.tokenizer_dir)
        logger.info("starting from %s", start.path)
    elif config.stage == 2:
        raise ConfigError("Name the model of stage 1: --init FILE; stage 2 goes on from it.")
    name = config.text_model or named or HTCL_TEXT_MODEL
    if text is None:
        text, weights = text_tower(name, from_scratch=config.text_from_scratch)
        state |= {f"text_model.{part}": tensor for part, tensor in (weights or {}).items()}
    text = replace(text, dropout=config.dropout)
    sizes = HtclConfig(text, audio, hidden_size, min(length, text.max_length), fusion=config.stage == 2)
    model = HtclModel(sizes)
    _take(model, state, config)
    return model, str(Path(name).expanduser().absolute()) if Path(name).expanduser().is_dir() else name


def _restarts(config: HtclTraining) -> bool:
    return config.stage == 2 and config.fresh_heads


def _take(model: HtclModel, state: dict[str, Tensor], config: HtclTraining) -> None:
    """Load what a run starts from; the rest stays at random, and which parts do is said."""
    kept = {name: tensor for name, tensor in state.items() if "_mlp." not in name or not _restarts(config)}
    random = dict.fromkeys(name.split(".")[0] for name in model.state_dict() if name not in kept)
    model.load_state_dict(kept, strict=False)  # absent are whole parts only: each was checked when it was read
    if random:
        logger.info("at random: %s", ", ".join(random))
    pooler = model.text_model.pooler
    if not pooler.dense.weight.any():  # as a text model without one is read; all texts would have one vector
        logger.warning("the text model comes without a pooler, which HTCL reads; it starts at random")
        initialise(pooler)


def _audio_sizes(config: HtclTraining) -> HtclAudioConfig:
    return HtclAudioConfig(
        width=config.audio_width,
        n_layers=config.audio_layers,
        n_heads=config.audio_heads or max(1, config.audio_width // 64),
        feed_forward=config.audio_feed_forward or 4 * config.audio_width,
        dropout=config.dropout,
        n_frames=config.n_frames,
        channels=config.audio_channels,
        rate_hz=config.rate_hz,
        low_hz=config.low_hz,
        high_hz=config.high_hz,
    )


def htcl_tokenizer(name: str, tower: TowerConfig) -> TextTokenizer:
    """Return the tokenizer of a run.

    Parameters
    ----------
    name : str
        Folder or Hugging Face name.
    tower : TowerConfig
        The encoder that has to know its tokens.

    Raises
    ------
    WeightsError
        If it is absent or has more tokens than the encoder.
    """
    from clamp3.models.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(name)
    if tokenizer.n_tokens > tower.vocab_size:
        raise WeightsError(
            f"the tokenizer of {name} has {tokenizer.n_tokens} tokens, but the text encoder knows {tower.vocab_size}; "
            "name the tokenizer it was trained with by --text_model."
        )
    return tokenizer
