"""Weights by name: where they are looked for, how they are fetched, and what identifies them.

Order: a path; the ``code/`` folder, where the released scripts keep their files; the cache folder
(``$CLAMP3_CACHE/weights`` or ``~/.cache/clamp3/weights``) and the Hugging Face cache; a checked download. Absent
weights are an error that states file, address and folder; nothing else is ever used in their place. Text models, their
tokenizers and MERT are identified by a folder or a Hugging Face name (`folder_or_hub`).
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from clamp3.errors import WeightsError
from clamp3.jobs.cache import default_cache_dir

logger = logging.getLogger(__name__)

WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
"""Files of weights in a folder of the transformers library, in order of preference."""
EXPORT = "clamp3_onnx.json"
"""File that makes a folder one of towers exported to ONNX (`clamp3.models.onnx_folder`)."""
_BLOCK = 8 << 20  # part of what a digest means

_CLAMP3_FILE = (
    "weights_clamp3_{}_h_size_768_t_model_FacebookAI_xlm-roberta-base_t_length_128_a_size_768_a_layers_12"
    "_a_length_128_s_size_768_s_layers_12_p_size_64_p_length_512.pth"
)
# The second name is what the released configuration writes and looks for; the first is what was published.
_M3_FILES = (
    "weights_m3_p_size_64_p_length_512_t_layers_3_p_layers_12_h_size_768_lr_0.0001_batch_16_mask_0.45.pth",
    "weights_m3_h_size_768_t_layers_3_p_layers_12_p_size_64_p_length_512_lr_0.0001_batch_16_mask_0.45.pth",
)
# Named after the published log of its training.
_CLAMP2_FILE = (
    "weights_clamp2_h_size_768_lr_5e-05_batch_128_scale_1_t_length_128_t_model_FacebookAI_xlm-roberta-base"
    "_t_dropout_True_m3_True.pth"
)


@dataclass(frozen=True)
class Published:
    """Published weights, as their name in `PUBLISHED` selects them.

    Attributes
    ----------
    repo : str or None
        Hugging Face repository; None for weights that come with the package.
    files : tuple of str
        Accepted file names; the first one that the repository has is downloaded.
    """

    repo: str | None
    files: tuple[str, ...]

    def of_epoch(self, epoch: int | None) -> tuple[str, ...]:
        """Return the file names of one epoch's checkpoint: ``…_<epoch>.pth``, as released code writes them."""
        return self.files if epoch is None else tuple(_of_epoch(name, epoch) for name in self.files)

    def url(self, file: str) -> str | None:
        """Return the address a person can open to download a file."""
        return None if self.repo is None else f"https://huggingface.co/{self.repo}/resolve/main/{file}"


PUBLISHED: dict[str, Published] = {
    "saas": Published("sander-wood/clamp3", (_CLAMP3_FILE.format("saas"),)),
    "c2": Published("sander-wood/clamp3", (_CLAMP3_FILE.format("c2"),)),
    "clamp2": Published("sander-wood/clamp2", (_CLAMP2_FILE,)),
    "m3": Published("sander-wood/clamp2", _M3_FILES),
    # No source states its file; the names are those that the published training scripts write and read.
    "htcl": Published("Tharya/HTCL", ("audio-model-stage-2.pth", "audio-model-stage-1.pth", "model-20.pth")),
    "mini": Published(None, ("mini.safetensors",)),
}


def code_folder() -> Path:
    """Return the ``code/`` folder beside this package, where released scripts keep weights."""
    return Path(__file__).resolve().parents[2]


def resolve(name_or_path: str | os.PathLike[str], *, epoch: int | None = None, download: bool = True) -> Path:
    """Find the file of some weights, downloading published ones that are not on this computer.

    Parameters
    ----------
    name_or_path : str or path
        ``saas``, ``c2``, ``clamp2``, ``m3``, ``htcl``, ``mini``, a checkpoint file, or the folder of a training run
        (its best weights) or of ``clamp3 export``. A file that happens to have one of the names is written ``./saas``.
    epoch : int, optional
        Checkpoint of this epoch: ``<file>_<epoch>.pth`` for released weights, ``epoch_<epoch>.safetensors`` in the
        folder of a training run.
    download : bool
        False forbids the network.

    Returns
    -------
    Path
        An existing file.

    Raises
    ------
    WeightsError
        If it is absent and cannot be downloaded.
    """
    if isinstance(name_or_path, str) and name_or_path in PUBLISHED:
        return _resolve_name(name_or_path, epoch, download)
    path = Path(name_or_path).expanduser()
    candidates = _candidates(path, epoch)
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    if (path / EXPORT).is_file():
        raise WeightsError(f"{path} holds towers exported to ONNX; weights are needed here.")
    wanted = "weights" if epoch is None else f"checkpoint of epoch {epoch}"
    places = " or ".join(str(candidate) for candidate in candidates)
    kept = sorted(candidates[-1].parent.glob("epoch_*.safetensors")) if epoch is not None else []
    advice = (
        f"there are {', '.join(file.name for file in kept)}"
        if kept
        else (f"give one of {', '.join(PUBLISHED)} or the path of a checkpoint")
    )
    raise WeightsError(f"no {wanted} at {places}; {advice}.")


def _candidates(path: Path, epoch: int | None) -> list[Path]:
    folder = path if path.is_dir() else path.parent
    if epoch is None:
        best = [folder / f"{name}.safetensors" for name in ("best", "mini", "model")]
        return best if path.is_dir() else [path]
    ours = [folder / f"epoch_{epoch:04d}.safetensors", folder / f"epoch_{epoch}.safetensors"]
    return ours if path.is_dir() else [path.with_name(_of_epoch(path.name, epoch)), *ours]


def _of_epoch(file: str, epoch: int) -> str:
    stem, dot, suffix = file.rpartition(".")
    return f"{stem}_{epoch}{dot}{suffix}" if dot else f"{file}_{epoch}"


def _resolve_name(name: str, epoch: int | None, download: bool) -> Path:
    published = PUBLISHED[name]
    files = published.of_epoch(epoch)
    folders = [code_folder(), default_cache_dir() / "weights"]
    if published.repo is None:
        folders = [Path(__file__).resolve().parent / name, *folders]
    for folder in folders:
        for file in files:
            if (folder / file).is_file():
                return folder / file
    if published.repo is None:
        hint = "it has no checkpoints of single epochs" if epoch is not None else "code/recipes/mini trains it"
        raise WeightsError(f"the weights {name!r} are absent: no {files[0]} in {folders[0]}; {hint}.")
    if epoch is not None:
        raise WeightsError(
            f"there is no checkpoint of epoch {epoch} of {name!r}: no {files[0]} in {folders[0]} or {folders[1]}, and "
            "of published weights there is one checkpoint only; --model names the folder of a run, whose epochs are "
            "kept."
        )
    failures = []
    for file in files:
        try:
            return hub_file(published.repo, file, download=download)
        except WeightsError as error:
            failures.append(error)
    offline = " Without them, --model mini is in the package." if published.repo == "sander-wood/clamp3" else ""
    raise WeightsError(
        f"the weights {name!r} are absent: put {files[0]} from {published.url(files[0])} into {folders[0]} or "
        f"{folders[1]} ({failures[0]}).{offline}"
    ) from failures[0]


def is_hub_name(value: str | os.PathLike[str]) -> bool:
    """Return whether a value reads as ``owner/name`` on Hugging Face and not as a path."""
    parts = str(value).split("/")
    return isinstance(value, str) and len(parts) == 2 and all(parts) and parts[0] not in (".", "..", "~")


def folder_or_hub(value: str | os.PathLike[str]) -> Path | str | None:
    """Return the existing folder that a value names, else itself if it reads as a Hugging Face name, else None."""
    folder = Path(value).expanduser()
    if folder.is_dir():
        return folder
    return str(value) if is_hub_name(value) and not folder.exists() else None


def model_files(
    name_or_path: str | os.PathLike[str], what: str, *, published: str, flag: str, download: str = WEIGHT_FILES[0]
) -> tuple[Path, Path]:
    """Find the files of a model as the transformers library lays them out, downloading those of a Hugging Face name.

    Parameters
    ----------
    name_or_path : str or path
        Folder or Hugging Face name.
    what : str
        How messages call the model.
    published : str
        Hugging Face name that messages recommend.
    flag : str
        How the user names a folder, in words.
    download : str
        File of weights that is downloaded for a Hugging Face name.

    Returns
    -------
    config, weights : Path
        ``config.json``, which a folder may lack, and an existing file of weights.

    Raises
    ------
    WeightsError
        If there are no weights, or they cannot be downloaded.
    """
    place = folder_or_hub(name_or_path)
    if place is None:
        raise WeightsError(f"{what} {name_or_path} is neither a folder nor a Hugging Face name.")
    if isinstance(place, Path):
        for file in WEIGHT_FILES:
            if (place / file).is_file():
                return place / "config.json", place / file
        lacking = f"{place} holds no {' and no '.join(WEIGHT_FILES)}"
        raise WeightsError(f"{lacking}; put the files of https://huggingface.co/{published} there.")
    try:
        return hub_file(place, "config.json"), hub_file(place, download)
    except WeightsError as error:
        raise WeightsError(
            f"{what} {place} is absent: put config.json and {download} of https://huggingface.co/{place} into a folder "
            f"and name it by {flag} ({error})."
        ) from error


def hub_file(repo: str, file: str, *, download: bool = True) -> Path:
    """Return a file of a Hugging Face repository from its cache, or download it there (atomic, size and hash checked).

    ``HF_HUB_OFFLINE=1`` and ``HF_HOME`` are respected.

    Parameters
    ----------
    repo : str
        Hugging Face name.
    file : str
        Path in the repository.
    download : bool
        False forbids the network.

    Raises
    ------
    WeightsError
        If it is not in the cache and cannot be downloaded, or arrives damaged.
    """
    import huggingface_hub as hub

    cached = hub.try_to_load_from_cache(repo, file)
    if isinstance(cached, str) and Path(cached).is_file():
        return Path(cached)
    if not download:
        raise WeightsError("it is not in the Hugging Face cache")
    logger.info("downloading %s from huggingface.co/%s", file, repo)
    try:
        stated = hub.get_hf_file_metadata(hub.hf_hub_url(repo, file))
        path = Path(hub.hf_hub_download(repo, file))
        _check_download(stated, path)
    except WeightsError:
        raise
    except Exception as error:  # the hub and the HTTP library under it have dozens of classes, changing by version
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise WeightsError(f"the download failed: {reason.split(': ')[-1].rstrip('.')}") from error
    return path


def _check_download(metadata: object, path: Path) -> None:
    """Remove a downloaded file that has not the size or, for large files, the SHA-256 that the hub states."""
    from clamp3.sources import digest_of

    size, etag = getattr(metadata, "size", None), str(getattr(metadata, "etag", "") or "")
    wrong = size is not None and path.stat().st_size != size
    if not wrong and re.fullmatch(r"[0-9a-f]{64}", etag):
        with path.open("rb") as file:
            wrong = digest_of(file) != etag
    if wrong:
        path.resolve().unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        raise WeightsError(f"{path.name} arrived damaged and was removed; run the command again")


def digest(path: Path, *, anew: bool = False) -> str:
    """Return a hash of a file's content, remembered in the cache folder by path, inode, size and times of change.

    Parameters
    ----------
    path : Path
    anew : bool
        Read the file whatever is remembered.

    Returns
    -------
    str
        64 hexadecimal digits: BLAKE2b of the size and of the BLAKE2b digests of blocks of 8 MiB, which are hashed on
        all cores. SHA-256 of a released file takes longer than loading a tower of it.
    """
    status = path.stat()
    # The time of change of the inode cannot be set by whoever keeps the file's own time, as cp -p and rsync do.
    facts = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    key = f"blake2b|{path.resolve()}|{'|'.join(map(str, facts))}"
    memo = default_cache_dir() / "digests" / hashlib.sha256(key.encode()).hexdigest()
    try:
        known = memo.read_text(encoding="ascii")
        if re.fullmatch(r"[0-9a-f]{64}", known) and not anew:
            return known
    except (OSError, UnicodeDecodeError):
        pass

    def of_block(start: int) -> bytes:
        with path.open("rb") as file:
            file.seek(start)
            return hashlib.blake2b(file.read(_BLOCK)).digest()

    value = hashlib.blake2b(status.st_size.to_bytes(8, "little"), digest_size=32)
    with ThreadPoolExecutor() as pool:
        for block in pool.map(of_block, range(0, status.st_size, _BLOCK)):
            value.update(block)
    try:
        from clamp3.jobs.atomic import write_text

        write_text(memo, value.hexdigest(), durable=False)
    except OSError as error:
        logger.debug("the digest of %s is not remembered: %s", path, error)
    return value.hexdigest()


def identity(path: Path, *, anew: bool = False) -> str:
    """Return what names these weights in outputs and cache keys: a short name and 12 digits of the content's hash.

    Parameters
    ----------
    path, anew
        As of `digest`.
    """
    hashed = digest(path, anew=anew)[:12]
    for name, published in PUBLISHED.items():
        if path.name in published.files:
            return f"{name}-{hashed}"
    return f"{path.stem[:40]}-{hashed}"
