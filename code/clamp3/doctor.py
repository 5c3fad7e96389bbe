"""What a computer has for this package, finding by finding: versions, device, weights, decoders, disk, cache.

Every check returns what it found and, where that is not well, what to do. A check that fails in a way nobody foresaw is
a finding too.
"""

from __future__ import annotations

import io
import os
import platform
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from clamp3 import __version__
from clamp3.errors import Clamp3Error, describe, printable

if TYPE_CHECKING:
    from packaging.requirements import Requirement

    from clamp3.embedding.clamp3 import Clamp3

USES = {  # of the extras that people install, as pyproject.toml names them
    "eval": "probes, Fréchet distances, maps, groups",
    "index": "large indexes, tags of recordings",
    "server": "clamp3 serve",
    "postgres": "indexes in PostgreSQL",
    "onnx": "towers for use elsewhere",
    "text": "texts about music by language models",
    "lora": "training of adapters",
    "preferences": "Parquet, listening logs",
    "completion": "completion in the shell",
}
# What sentences about different music have to differ by: a text tower whose vectors are all alike finds nothing.
SENTENCES = (
    "an Irish jig",
    "a slow movement for string quartet",
    "eine Fuge von Bach",
    "a loud techno track",
    "春の歌",
)
MOST_ALIKE = 0.98
_RATE, _TONE_HZ = 48_000, 440.0  # Opus has no 44.1 kHz
_SOUNDFILE = {  # the container, and what is in it
    "wav": ("WAV", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "aiff": ("AIFF", "PCM_16"),
    "au": ("AU", "PCM_16"),
}
_AV = {"m4a": ("ipod", "aac"), "aac": ("adts", "aac"), "mp4": ("mp4", "aac"), "wma": ("asf", "wmav2")}
_LEAST_FREE_GIB = 5.0


@dataclass(frozen=True)
class Finding:
    """What a check found; ``advice`` is what to do, where ``state`` is not ``ok``."""

    check: str
    state: Literal["ok", "warning", "error"]
    found: str
    advice: str = ""


def examine(model: str = "mini") -> Iterator[Finding]:
    """Yield the findings of all checks, in a fixed order.

    Parameters
    ----------
    model : str
        Name or path of the weights that are looked at.
    """
    opened: list[Clamp3] = []
    checks: dict[str, Callable[[], Iterator[Finding]]] = {
        "versions": _versions,
        "device": _device,
        "weights": partial(_weights, model, opened),
        "tokenizer": partial(_tokenizer, opened),
        "text vectors": partial(_spread, opened),
        "score": partial(_score, opened),
        "decoders": _decoders,
        "disk": _disk,
        "cache": _cache,
    }
    for name, check in checks.items():
        try:
            yield from check()
        except Clamp3Error as error:
            yield Finding(name, "error", str(error), "see the message")
        except Exception as error:  # a package that is broken, in whatever way
            yield Finding(name, "error", describe(error), "install the package again: pip install --force-reinstall")


def _versions() -> Iterator[Finding]:
    yield Finding("python", "ok", f"{platform.python_version()}, {platform.platform()}")
    yield Finding("version of clamp3", "ok", f"{__version__}, {printable(Path(__file__).parent)}")
    needed = _needed()
    for requirement in needed.pop("", []):
        lacks = _lacks(requirement)
        found = _version_of(requirement.name) or "absent"
        advice = f"pip install '{requirement.name}{requirement.specifier}'" if lacks else ""
        yield Finding(f"version of {requirement.name}", "error" if lacks else "ok", found, advice)
    absent = {extra: names for extra, all_of in needed.items() if (names := [r.name for r in all_of if _lacks(r)])}
    for extra, names in absent.items():
        advice = f"if you want it: pip install 'clamp3[{extra}]'"
        yield Finding(f"optional {extra}", "ok", f"{USES[extra]}: without {', '.join(names)}", advice)
    if complete := [extra for extra, all_of in needed.items() if all_of and extra not in absent]:
        yield Finding("optional packages", "ok", f"complete: {', '.join(complete)}")


def _needed() -> dict[str, list[Requirement]]:
    """Return what this package requires, by extra; what it always needs under an empty name."""
    from packaging.requirements import Requirement

    found: dict[str, list[Requirement]] = {"": [], **{extra: [] for extra in USES}}
    for line in requires("clamp3") or ():
        requirement = Requirement(line)
        for extra, listed in found.items():
            without = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
            wanted = requirement.marker is None or requirement.marker.evaluate({"extra": extra})
            if wanted and (not extra or not without) and requirement.name != "clamp3":
                listed.append(requirement)
    return found


def _version_of(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _lacks(requirement: Requirement) -> bool:
    found = _version_of(requirement.name)
    return not found or not requirement.specifier.contains(found, prereleases=True)


def _device() -> Iterator[Finding]:
    import torch

    from clamp3.models.device import pick_device
    from clamp3.models.packed import can_pack

    device = pick_device(None)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    unused = device.type == "cpu" and bool(shutil.which("nvidia-smi"))
    advice = "torch finds no GPU, yet there is a driver: install a build of torch for CUDA (pytorch.org)"
    found = f"{device}, {name}, {torch.get_num_threads()} threads"
    yield Finding("device", "warning" if unused else "ok", found, advice if unused else "")
    packed = [name for name in ("float32", "bfloat16") if can_pack(getattr(torch, name))]
    capability = torch.backends.cpu.get_cpu_capability()
    slow = capability in ("DEFAULT", "NO AVX") and platform.machine() in ("x86_64", "AMD64")
    advice = "torch finds neither AVX2 nor AVX-512: unset ATEN_CPU_CAPABILITY if it is set" if slow else ""
    found = f"{capability}, packed products in {' and '.join(packed) or 'no type'}"
    yield Finding("instruction set", "warning" if slow else "ok", found, advice)


def _weights(model: str, opened: list[Clamp3]) -> Iterator[Finding]:
    from clamp3.embedding.clamp3 import Clamp3

    clamp3 = Clamp3.from_pretrained(model)
    for tower in clamp3.config.towers:
        clamp3.load(tower)  # every tensor is there and of its shape, or it raises
    opened.append(clamp3)
    yield Finding("weights", "ok", f"{clamp3.identity}, towers {', '.join(clamp3.config.towers)}, complete")


def _tokenizer(opened: list[Clamp3]) -> Iterator[Finding]:
    for clamp3 in opened:
        tokenizer = clamp3.tokenizer()
        rows = {tuple(tokenizer.encode(sentence)) for sentence in SENTENCES}
        within = all(0 <= token < tokenizer.n_tokens for row in rows for token in row)
        good = within and len(rows) == len(SENTENCES) and min(map(len, rows)) > 2
        advice = "" if good else "the tokenizer is not that of the weights: give its folder with --text_model"
        yield Finding("tokenizer", "ok" if good else "error", f"{tokenizer.n_tokens} tokens", advice)


def _spread(opened: list[Clamp3]) -> Iterator[Finding]:
    from clamp3.index.ranking import unit_rows

    for clamp3 in opened:
        unit = unit_rows(clamp3.encode(SENTENCES).vectors)
        highest = float((unit @ unit.T)[np.triu_indices(len(unit), 1)].max())
        good = highest < MOST_ALIKE
        advice = "" if good else "sentences are hardly distinguished: other weights, or another tokenizer, are needed"
        found = f"{len(unit)} sentences have cosines of at most {highest:.3f} to each other"
        yield Finding("spread of text vectors", "ok" if good else "warning", found, advice)


def _score(opened: list[Clamp3]) -> Iterator[Finding]:
    for clamp3 in opened:
        encoded = clamp3.encode("X:1\nT:Scale\nM:4/4\nL:1/4\nK:C\nCDEF|GABc|\n")
        error = encoded.errors[0]
        yield Finding("a tune in ABC", "error" if error else "ok", error or f"a vector of {clamp3.width} numbers")


def _decoders() -> Iterator[Finding]:
    tone = 0.3 * np.sin(2 * np.pi * _TONE_HZ * np.arange(2 * _RATE) / _RATE)
    for suffix in (*_SOUNDFILE, *_AV):
        try:
            content = _written(tone.astype(np.float32), suffix)
        except Exception as error:  # codecs are compiled in or not, and each library says so in its own way
            yield Finding(f"decoder of .{suffix}", "warning", f"no test tone can be made ({describe(error)})")
            continue
        read_hz = _pitch(content, suffix)
        good = abs(read_hz - _TONE_HZ) < 5
        advice = "" if good else "pip install --force-reinstall soundfile av"
        found = f"a tone of {_TONE_HZ:.0f} Hz is read as {read_hz:.0f} Hz"
        yield Finding(f"decoder of .{suffix}", "ok" if good else "error", found, advice)


def _written(samples: np.ndarray, suffix: str) -> bytes:
    """Return a recording in the format of a suffix."""
    out = io.BytesIO()
    if suffix in _SOUNDFILE:
        import soundfile

        container, codec = _SOUNDFILE[suffix]
        soundfile.write(out, samples, _RATE, format=container, subtype=codec)
        return out.getvalue()
    import av

    container, codec = _AV[suffix]
    with av.open(out, "w", format=container) as file:
        stream = file.add_stream(codec, rate=_RATE, layout="mono")
        assert isinstance(stream, av.AudioStream)
        stream.bit_rate = 128_000  # wmav2 has no default
        frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
        frame.sample_rate = _RATE
        file.mux([*stream.encode(frame), *stream.encode(None)])
    return out.getvalue()


def _pitch(content: bytes, suffix: str) -> float:
    """Return the loudest frequency of a recording, in hertz."""
    from clamp3.formats.audio import RATE_HZ, Sound

    samples = Sound(content, f"tone.{suffix}").read()
    return float(np.abs(np.fft.rfft(samples)).argmax() * RATE_HZ / len(samples))


def _disk() -> Iterator[Finding]:
    from clamp3.jobs.cache import default_cache_dir

    place = next(path for path in (default_cache_dir(), *default_cache_dir().parents) if path.exists())
    free = shutil.disk_usage(place).free / 2**30
    writable = os.access(place, os.W_OK)
    advice = "" if writable else "set CLAMP3_CACHE to a folder that can be written to"
    advice = advice or ("" if free >= _LEAST_FREE_GIB else "make room, or set CLAMP3_CACHE to another disk")
    found = f"{free:.1f} GiB free at {printable(place)}{'' if writable else ', not writable'}"
    yield Finding("disk", "warning" if advice else "ok", found, advice)


def _cache() -> Iterator[Finding]:
    from clamp3.jobs.cache import default_cache_dir
    from clamp3.jobs.cached import cached

    there = cached()
    if not any(kept.files for kept in there.values()):
        yield Finding("cache", "ok", f"none yet at {printable(default_cache_dir())}")
        return
    size = sum(kept.n_bytes for kept in there.values()) / 2**20
    found = f"{there['vectors'].vectors} vectors, {size:.1f} MiB in all at {printable(default_cache_dir())}"
    damaged = len(there["damaged"].files)
    advice = "clamp3 cache clear --kind damaged" if damaged else ""
    state: Literal["ok", "warning"] = "warning" if damaged else "ok"
    yield Finding("cache", state, f"{found}, {damaged} damaged files" if damaged else found, advice)
