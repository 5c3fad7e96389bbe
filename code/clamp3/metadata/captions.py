"""Captions of images as text files, by BLIP (Li et al. 2022), so that pictures can search music through its texts.

The output tree mirrors the input tree (``sub/a.jpg`` becomes ``sub/a.txt``), with a ledger: run again, only what is
missing or changed is captioned. What holds for every output is said in `clamp3.jobs.outputs`.
"""

from __future__ import annotations

import io
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from clamp3.errors import ConfigError, DataError, FormatError, WeightsError, printable
from clamp3.formats.guards import read_file
from clamp3.jobs.ledger import Row
from clamp3.jobs.naming import output_names
from clamp3.jobs.outputs import OutputFolder
from clamp3.jobs.progress import progress
from clamp3.jobs.summary import Summary
from clamp3.jobs.walk import Problem
from clamp3.metadata.items import files_below
from clamp3.sources import digest

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
MAX_PIXELS = 100_000_000  # unpacked, 300 MB
DEFAULT_MODEL = "Salesforce/blip-image-captioning-base"

Captioner = Callable[[list["Image"]], list[str]]


@dataclass(frozen=True)
class BlipOptions:
    """Which model, and how it writes.

    Attributes
    ----------
    model : str
        A folder, or a name on the Hugging Face hub.
    prompt : str
        What every caption begins with, such as ``"a photo of"``.
    n_beams : int
        Of the search; nothing is drawn at random.
    """

    model: str = DEFAULT_MODEL
    prompt: str = ""
    max_tokens: int = 40
    n_beams: int = 3

    @property
    def task(self) -> str:
        """Return what a caption depends on besides the image."""
        return f"caption {self.model} {self.prompt!r} {self.max_tokens} tokens {self.n_beams} beams"


def load_blip(options: BlipOptions, device: str | None = None, *, local: bool = False) -> Captioner:
    """Return a function that captions a batch of RGB images.

    Parameters
    ----------
    options : BlipOptions
    device : str, optional
        Default: a GPU if there is one.
    local : bool
        Download nothing.

    Raises
    ------
    ConfigError
        If pillow is not installed.
    WeightsError
        If the model cannot be loaded.
    """
    if find_spec("PIL") is None:
        raise ConfigError("captions need pillow: pip install 'clamp3[text]'.")
    import torch
    from transformers import AutoProcessor, BlipForConditionalGeneration

    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        processor: Any = AutoProcessor.from_pretrained(options.model, local_files_only=local)
        model: Any = BlipForConditionalGeneration.from_pretrained(
            options.model, use_safetensors=True, local_files_only=local
        )
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise WeightsError(f"the BLIP model {options.model} cannot be loaded: {reason}") from None
    model = model.eval().to(device)

    def caption(images: list[Image]) -> list[str]:
        texts = {"text": [options.prompt] * len(images)} if options.prompt else {}
        inputs = processor(images=images, return_tensors="pt", **texts).to(device)
        with torch.inference_mode():
            ids = model.generate(**inputs, max_new_tokens=options.max_tokens, num_beams=options.n_beams)
        return [" ".join(text.split()) for text in processor.batch_decode(ids, skip_special_tokens=True)]

    return caption


def open_image(data: bytes) -> Image:
    """Return an image as RGB, turned as its camera was held; the first frame of several.

    Raises
    ------
    FormatError
        If it is none, or has more than `MAX_PIXELS`.
    """
    import PIL.Image
    import PIL.ImageOps

    try:
        with PIL.Image.open(io.BytesIO(data)) as image:
            if image.width * image.height > MAX_PIXELS:
                raise FormatError(f"{image.width} x {image.height} pixels are above the limit of {MAX_PIXELS}")
            try:
                turned = PIL.ImageOps.exif_transpose(image)
            except (struct.error, ValueError, TypeError, LookupError, SyntaxError):  # broken words about the picture
                turned = image
            return turned.convert("RGB")
    except FormatError:
        raise
    except PIL.UnidentifiedImageError:  # whose words are those of an object in memory
        raise FormatError("not an image that can be read") from None
    except Exception as error:  # whatever a decoder makes of a damaged picture
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise FormatError(f"not an image that can be read: {reason}") from None


def caption_folder(
    load: Callable[[], Captioner], input_dir: Path, output_dir: Path, *, task: str, batch_size: int
) -> Summary:
    """Caption every image below a folder.

    Parameters
    ----------
    load : callable
        Returns the captioner; called if there is anything to do.
    input_dir, output_dir : Path
        The second is made if absent and holds the ledger.
    task : str
        What captions depend on besides the image: another task makes them anew.
    batch_size : int
        Images captioned together; has no influence on the captions.

    Raises
    ------
    ConfigError
        If there is no image.
    """
    started = time.monotonic()
    with OutputFolder(output_dir, input_dir, task=task) as folder:
        files, unreadable = files_below(input_dir, SUFFIXES)
        if not files:
            raise ConfigError(f"{printable(input_dir)} holds no image ({', '.join(SUFFIXES)}).")
        problems = [Problem(PurePosixPath(item.name), item.problem) for item in unreadable]
        folder.begin(output_names(files, ".txt"), problems)
        captioner = None
        with progress(len(files), "captioning") as advance:
            for batch in _batches(folder, files, batch_size, advance):
                captioner = captioner or load()
                since = time.monotonic()
                texts = captioner([image for _, image in batch])
                seconds = round((time.monotonic() - since) / len(batch), 4)
                for (row, _), text in zip(batch, texts, strict=True):
                    _write(folder, replace(row, seconds=seconds), text)
    folder.summary.sort()
    folder.summary.seconds = time.monotonic() - started
    return folder.summary


def _batches(
    folder: OutputFolder, files: list[PurePosixPath], size: int, advance: Callable[[int], object]
) -> Iterator[list[tuple[Row, Image]]]:
    """Yield (row without output, image) of what is to be done, ``size`` at a time."""
    batch = []
    for name in files:
        advance(1)
        row = folder.row(name.as_posix(), "ok")
        try:
            data = read_file(folder.base / name)
            row = replace(row, sha256=digest(data))
            if folder.is_done(row.input, row.sha256):
                folder.record(replace(row, status="skipped"))
                continue
            folder.refuse_foreign(row.input, row.sha256)
            batch.append((row, open_image(data)))
        except (DataError, FormatError, OSError) as error:
            folder.record(replace(row, status="failed", reason=str(error)))
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _write(folder: OutputFolder, row: Row, text: str) -> None:
    """Write a caption and its row."""
    try:
        if not text:
            raise DataError("the model gave no words")
        folder.record(folder.write(row, f"{text}\n".encode()))
    except DataError as error:
        folder.record(replace(row, status="failed", reason=str(error)))
