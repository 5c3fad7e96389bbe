"""Captions of images as text files, by BLIP (Li et al. 2022), so that pictures can search music through its texts.

The output tree mirrors the input tree (``sub/a.jpg`` becomes ``sub/a.txt``), with a ledger: run again, only what is
missing or changed is captioned.
"""

from __future__ import annotations

import hashlib
import io
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from clamp3.errors import ConfigError, FormatError, WeightsError
from clamp3.formats.guards import read_file
from clamp3.jobs.atomic import sweep, write_text
from clamp3.jobs.batch import LEDGER_NAME, Summary
from clamp3.jobs.ledger import Ledger, Row
from clamp3.jobs.naming import output_names, shared_stems
from clamp3.jobs.progress import progress
from clamp3.jobs.walk import printable
from clamp3.metadata.items import files_below

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


def load_blip(options: BlipOptions, device: str | None = None) -> Captioner:
    """Return a function that captions a batch of RGB images.

    Parameters
    ----------
    options : BlipOptions
    device : str, optional
        Default: a GPU if there is one.

    Raises
    ------
    ConfigError
        If pillow is not installed.
    WeightsError
        If the model cannot be loaded.
    """
    from importlib.util import find_spec

    if find_spec("PIL") is None:
        raise ConfigError("captions need pillow: pip install 'clamp3[text]'.")
    import torch
    from transformers import AutoProcessor, BlipForConditionalGeneration

    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        processor: Any = AutoProcessor.from_pretrained(options.model)
        model: Any = BlipForConditionalGeneration.from_pretrained(options.model, use_safetensors=True)
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
    files, unreadable = files_below(input_dir, SUFFIXES)
    if not files:
        raise ConfigError(f"{printable(input_dir)} holds no image ({', '.join(SUFFIXES)}).")
    outputs = output_names(files, ".txt")
    summary = Summary(ledger=str(output_dir / LEDGER_NAME), renamed=shared_stems(outputs))
    summary.failed = [(item.name, item.problem) for item in unreadable]
    base = input_dir if input_dir.is_dir() else input_dir.parent
    with Ledger(output_dir / LEDGER_NAME) as ledger, progress(len(files), "captioning") as advance:
        job = _Job(base, output_dir, outputs, ledger, summary, task, str(base.resolve()))
        sweep({(output_dir / output).parent for output in outputs.values()})
        captioner = None
        for batch in job.batches(files, batch_size, advance):
            captioner = captioner or load()
            since = time.monotonic()
            texts = captioner([image for _, _, image in batch])
            seconds = (time.monotonic() - since) / len(batch)
            for (name, sha256, _), text in zip(batch, texts, strict=True):
                job.write(name, sha256, text, seconds)
    summary.failed.sort()
    summary.seconds = time.monotonic() - started
    return summary


@dataclass
class _Job:
    base: Path
    output_dir: Path
    outputs: dict[PurePosixPath, PurePosixPath]
    ledger: Ledger
    summary: Summary
    task: str
    root: str

    def batches(
        self, files: list[PurePosixPath], size: int, advance: Callable[[int], object]
    ) -> Iterator[list[tuple[PurePosixPath, str, Image]]]:
        """Yield (name, SHA-256, image) of what is to be done, ``size`` at a time."""
        batch = []
        for name in files:
            advance(1)
            sha256 = ""
            try:
                data = read_file(self.base / name)
                sha256 = hashlib.sha256(data).hexdigest()
                if self._is_done(name, sha256):
                    self.summary.skipped += 1
                    continue
                self._refuse_strangers(name)
                batch.append((name, sha256, open_image(data)))
            except (FormatError, OSError) as error:
                self._fail(name, sha256, str(error))
            if len(batch) == size:
                yield batch
                batch = []
        if batch:
            yield batch

    def write(self, name: PurePosixPath, sha256: str, text: str, seconds: float) -> None:
        """Write a caption and its row."""
        if not text:
            self._fail(name, sha256, "the model gave no words")
            return
        output = self.outputs[name]
        made = hashlib.sha256(f"{text}\n".encode()).hexdigest()
        row = Row(
            name.as_posix(), "begun", "", output.as_posix(), round(seconds, 4), sha256, made, self.task, self.root
        )
        self.ledger.append(row)  # a process killed between file and row leaves no file of unknown origin
        write_text(self.output_dir / output, text + "\n", durable=False)
        self.ledger.append(replace(row, status="ok"))
        self.summary.ok += 1

    def _fail(self, name: PurePosixPath, sha256: str, reason: str) -> None:
        self.ledger.append(
            Row(name.as_posix(), "failed", reason, sha256=sha256, task=self.task, root=self.root),
        )
        self.summary.failed.append((name.as_posix(), reason))

    def _present(self, name: PurePosixPath) -> str:
        try:
            return hashlib.sha256((self.output_dir / self.outputs[name]).read_bytes()).hexdigest()
        except OSError:
            return ""

    def _is_done(self, name: PurePosixPath, sha256: str) -> bool:
        made = self.ledger.maker(self.outputs[name].as_posix())
        if made is None or (made.input, made.task, made.sha256) != (name.as_posix(), self.task, sha256):
            return False
        return made.output_sha256 == self._present(name)

    def _refuse_strangers(self, name: PurePosixPath) -> None:
        output, present = self.outputs[name].as_posix(), self._present(name)
        if present and self.ledger.owner(output, present) is None:
            raise FormatError("its output exists and is not in the ledger; move it away")
