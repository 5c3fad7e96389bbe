"""MERT-v1-95M (Li et al., arXiv 2306.00107), the audio front end of the released CLaMP 3, as transformers' HuBERT.

No remote code is run. A recording becomes one vector per five seconds and layer, as the published features were made:
mean of the channels at 24 kHz, zero mean and unit variance over the whole file, chunks of 5 s, the mean over time of
every layer's output. The weights are under CC BY-NC 4.0 and no part of this package; text, scores and MIDI need none.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from clamp3.errors import Clamp3Error, ConfigError, DataError, FormatError, WeightsError, sentence_of
from clamp3.formats.audio import RATE_HZ, Sound
from clamp3.formats.fields import typed
from clamp3.formats.tables import read_json
from clamp3.jobs.identity import Identity
from clamp3.models.config import MAX_SIZE

if TYPE_CHECKING:
    from torch import Tensor

RELEASED = "m-a-p/MERT-v1-95M"
CHUNK_SEC = 5
CHUNK = CHUNK_SEC * RATE_HZ
SHORTEST = RATE_HZ  # a last chunk under one second is left out

# Parts of other MERTs that HuBERT has not, and the values that mean they are absent.
_WITHOUT = {"feature_extractor_cqt": (False, None), "deepnorm": (False, None), "attention_relax": (-1.0, -1, None)}
_POSITIONS = "encoder.pos_conv_embed.conv."
_KEPT_SEC = 600  # longer recordings are decoded twice instead of held in memory: half an hour is 170 MB
_BATCH = {"cpu": 4, "cuda": 64}  # chunks that run together


class Mert:
    """MERT's features of recordings; the network is loaded with the first one.

    Parameters
    ----------
    name_or_path : str or path
        Folder with ``config.json`` and ``model.safetensors`` or ``pytorch_model.bin``, or a Hugging Face name.
    dtype : {"float32", "bfloat16"}
        Arithmetic; published features are float32. bfloat16 is quicker where the processor has instructions for it.
    device : str, optional
        As torch names it; None takes the GPU if there is one.
    compile : bool
        Let torch.compile translate the network for full batches; pays for itself on a GPU after some hundred files.

    Attributes
    ----------
    identity : str
        Equal identities give comparable features.

    Raises
    ------
    WeightsError
        If the files are absent and cannot be downloaded.
    ConfigError
        If the device cannot be used.
    """

    def __init__(
        self,
        name_or_path: str | os.PathLike[str] = RELEASED,
        *,
        dtype: Literal["float32", "bfloat16"] = "float32",
        device: str | None = None,
        compile: bool = False,
    ) -> None:
        from clamp3.models.device import pick_device
        from clamp3.models.registry import WEIGHT_FILES, identity, model_files

        self._config_file, self._weights_file = model_files(
            name_or_path,
            "MERT",
            published=RELEASED,
            flag="--mert_model, or --model_path of clamp3 extract mert",
            download=WEIGHT_FILES[1],  # the published repository has no other
        )
        self.dtype, self._device, self._compile = dtype, pick_device(device), compile
        self.identity = str(Identity(f"mert-{identity(self._weights_file)}", dtype))

    def features(self, sound: Sound, *, mean: bool = True, batch_size: int | None = None) -> np.ndarray:
        """Return the features of one recording.

        Parameters
        ----------
        sound : Sound
        mean, batch_size
            As in `stream`.

        Raises
        ------
        Clamp3Error
            If it cannot be read, or lasts less than a second.
        """
        ((_, value),) = self.stream([sound], mean=mean, batch_size=batch_size)
        if isinstance(value, Clamp3Error):
            raise value
        return value

    def stream(
        self, sounds: Iterable[Sound], *, mean: bool = True, batch_size: int | None = None
    ) -> Iterator[tuple[int, np.ndarray | Clamp3Error]]:
        """Make the features of many recordings; chunks of several run together.

        Parameters
        ----------
        sounds : iterable of Sound
            Taken as they are needed.
        mean : bool
            The mean of all layers in place of each.
        batch_size : int, optional
            Chunks that run together; only whole ones do, because padding would change their vectors.

        Yields
        ------
        (int, array or Clamp3Error)
            Number of a recording, and its features, float32, shape (1, chunks, D) or (layers + 1, chunks, D), or why
            there are none.
        """
        size = batch_size or _BATCH.get(self._device.type, 8)
        if size < 1:
            raise ConfigError(f"batch_size is {batch_size}; it must be at least 1.")
        waiting: list[tuple[_Rows, np.ndarray]] = []
        unfinished: list[_Rows] = []
        for owner, sound in enumerate(sounds):
            rows = _Rows(owner)
            unfinished.append(rows)
            try:
                for chunk in chunks(sound):
                    rows.n_sent += 1
                    if len(chunk) < CHUNK:
                        rows.tail = self._run([chunk], mean)[0]
                        continue
                    waiting.append((rows, chunk))
                    if len(waiting) == size:
                        self._flush(waiting, mean)
            except FormatError as error:
                rows.error = error
                waiting = [(other, chunk) for other, chunk in waiting if other is not rows]
            rows.complete = True
            while unfinished and unfinished[0].ready:
                yield unfinished.pop(0).result()
        self._flush(waiting, mean)
        for rows in unfinished:
            yield rows.result()

    def _flush(self, waiting: list[tuple[_Rows, np.ndarray]], mean: bool) -> None:
        """Run whole chunks and empty the list."""
        if waiting:
            for (rows, _), value in zip(waiting, self._run([chunk for _, chunk in waiting], mean), strict=True):
                rows.full.append(value)
            waiting.clear()

    def _run(self, batch: list[np.ndarray], mean: bool) -> np.ndarray:
        """Return float32 (B, layers, D) or (B, 1, D) of chunks of one length."""
        import torch

        samples = torch.from_numpy(np.stack(batch))
        parts = []
        with torch.inference_mode():
            for layer in self._layers(samples.to(self._device, getattr(torch, self.dtype))):
                parts.append(layer.float().mean(1))  # (B, D)
            stacked = torch.stack(parts, 1)  # (B, layers, D)
            return (stacked.mean(1, keepdim=True) if mean else stacked).cpu().numpy()

    def _layers(self, samples: Tensor) -> tuple[Tensor, ...]:
        """Return the embedding output and every layer's output, (B, T, D) each."""
        network = self._compiled if self._compile and samples.shape[1] == CHUNK else self._network
        hidden: tuple[Tensor, ...] = network(samples, output_hidden_states=True).hidden_states
        return hidden

    @cached_property
    def _compiled(self) -> Any:
        import torch

        return torch.compile(self._network)

    @cached_property
    def _network(self) -> Any:
        import torch

        on_cpu = self._device.type == "cpu"
        network = load_network(self._config_file, self._weights_file, fast_attention=not on_cpu)
        if on_cpu:
            from clamp3.models.device import keep_heap
            from clamp3.models.mert_cpu import suit_cpu

            keep_heap()
            suit_cpu(network, getattr(torch, self.dtype))
        return network.to(self._device, getattr(torch, self.dtype))


@dataclass
class _Rows:
    """What is known of one recording's features."""

    owner: int
    n_sent: int = 0
    full: list[np.ndarray] = field(default_factory=list)
    tail: np.ndarray | None = None
    error: FormatError | None = None
    complete: bool = False

    @property
    def ready(self) -> bool:
        """Whether nothing of it is waiting."""
        return self.complete and (self.error is not None or len(self.full) + (self.tail is not None) == self.n_sent)

    def result(self) -> tuple[int, np.ndarray | Clamp3Error]:
        """Return its number and its features or error."""
        if self.error is not None:
            return self.owner, self.error
        value = np.stack([*self.full, *([] if self.tail is None else [self.tail])], axis=1)  # (layers, chunks, D)
        if not np.isfinite(value).all():
            return self.owner, DataError("MERT gave NaN or infinity; use float32.")
        return self.owner, value


def chunks(sound: Sound) -> Iterator[np.ndarray]:
    """Yield a recording in chunks of five seconds, with zero mean and unit variance over all of it.

    Yields
    ------
    float32 array, shape (120000,)
        The last one may be shorter, but not under one second.

    Raises
    ------
    FormatError
        If it cannot be read, or lasts less than a second.
    """
    kept: list[np.ndarray] | None = []
    n_samples, total, squares = 0, 0.0, 0.0
    for block in sound.blocks():
        n_samples += len(block)
        total += float(block.sum(dtype=np.float64))
        squares += float(np.square(block, dtype=np.float64).sum())
        if kept is not None:
            kept.append(block)
            if n_samples > _KEPT_SEC * RATE_HZ:
                kept = None
    if n_samples < SHORTEST:
        raise FormatError(f"{sound.name} lasts {n_samples / RATE_HZ:.2f} s; at least one second is needed.")
    mean = total / n_samples
    scale = 1 / np.sqrt(max(0.0, squares / n_samples - mean * mean) + 1e-7)
    rest = np.zeros(0, np.float32)
    for block in sound.blocks() if kept is None else kept:
        rest = np.concatenate([rest, ((block - mean) * scale).astype(np.float32)])
        while len(rest) >= CHUNK:
            yield rest[:CHUNK]
            rest = rest[CHUNK:]
    if len(rest) >= SHORTEST:
        yield rest


def load_network(config_file: Path, weights_file: Path, *, fast_attention: bool = False) -> Any:
    """Return a HuBERT in eval mode with MERT's weights, weight norm of its positions multiplied out.

    Parameters
    ----------
    config_file, weights_file : Path
        As the transformers library writes them.
    fast_attention : bool
        Use torch's fused attention.

    Raises
    ------
    WeightsError
        If a file is damaged or unsafe, or its tensors are not exactly the network's.
    ConfigError
        If the folder holds another kind of model.
    """
    import torch
    from transformers import HubertConfig, HubertModel

    from clamp3.models.checkpoint import open_checkpoint
    from clamp3.models.weights import check_tensors

    architecture, checkpoint = _architecture(config_file), open_checkpoint(weights_file)
    if architecture.get("num_hidden_layers", 0) > len(checkpoint.shapes):
        raise WeightsError(f"{weights_file} has fewer tensors than {config_file} has layers.")
    try:
        config = HubertConfig(**architecture, mask_time_prob=0.0, mask_feature_prob=0.0)
        config._attn_implementation = "sdpa" if fast_attention else "eager"
        with torch.device("meta"):
            network = HubertModel(config)
            torch.nn.utils.parametrize.remove_parametrizations(network.encoder.pos_conv_embed.conv, "weight")
    except Exception as error:  # each layer refuses other sizes in its own way
        raise ConfigError(f"{config_file} describes no network: {sentence_of(error)}.") from None
    state = {name: checkpoint.tensor(name).float() for name in checkpoint.shapes if name != "masked_spec_embed"}
    for old, new in (
        ("weight_g", "weight_v"),
        ("parametrizations.weight.original0", "parametrizations.weight.original1"),
    ):
        if _POSITIONS + old in state and _POSITIONS + new in state:
            length, direction = state.pop(_POSITIONS + old), state.pop(_POSITIONS + new)
            state[_POSITIONS + "weight"] = direction * (length / direction.norm(dim=(0, 1), keepdim=True))
    check_tensors(
        {name: tensor.shape for name, tensor in state.items()},
        {name: tensor.shape for name, tensor in network.state_dict().items()},
        weights_file,
    )
    network.load_state_dict(state, strict=True, assign=True)
    return network.eval()


def _architecture(path: Path) -> dict[str, Any]:
    """Return the fields of ``config.json`` that the network is built from."""
    values = read_json(path, dict[str, Any], error=WeightsError)
    kind = values.get("model_type")
    if kind not in ("mert_model", "hubert"):
        raise ConfigError(f"{path} describes a model of type {kind!r}; MERT's says mert_model.")
    for name, absent in _WITHOUT.items():
        if values.get(name) not in absent:
            raise ConfigError(f"{path} has {name}: {values[name]}, which is not supported; use {RELEASED}.")
    if values.get("sample_rate", RATE_HZ) != RATE_HZ:
        raise ConfigError(f"{path} asks for {values['sample_rate']} samples per second; {RATE_HZ} are supported.")
    try:
        known = typed(_Architecture, values, str(path))
    except FormatError as error:
        raise ConfigError(str(error)) from None
    sizes = (known.hidden_size, known.num_hidden_layers, known.num_attention_heads, known.intermediate_size)
    rows = (known.conv_dim, known.conv_stride, known.conv_kernel)
    positions = (known.num_conv_pos_embeddings, known.num_conv_pos_embedding_groups)
    if not all(1 <= size <= MAX_SIZE for size in (*sizes, *positions, *itertools.chain(*rows))):
        raise ConfigError(f"{path} has sizes that are not from 1 to {MAX_SIZE}.")
    if len({len(row) for row in rows}) != 1 or not rows[0]:
        raise ConfigError(f"{path} has conv_dim, conv_stride and conv_kernel of different lengths.")
    return {field.name: getattr(known, field.name) for field in fields(known) if field.name in values}


@dataclass(frozen=True)
class _Architecture:
    """The fields that say how the network is built, as the transformers library names and fills them."""

    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-5
    feat_extract_norm: Literal["group", "layer"] = "group"
    feat_extract_activation: str = "gelu"
    feat_proj_layer_norm: bool = True
    conv_dim: tuple[int, ...] = (512,) * 7
    conv_stride: tuple[int, ...] = (5, 2, 2, 2, 2, 2, 2)
    conv_kernel: tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2)
    conv_bias: bool = False
    num_conv_pos_embeddings: int = 128
    num_conv_pos_embedding_groups: int = 16
    do_stable_layer_norm: bool = False
