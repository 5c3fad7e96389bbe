"""Words to token ids: the tokenizer of the text tower, without importing the transformers library where possible."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clamp3.errors import FormatError, WeightsError, sentence_of
from clamp3.formats.tables import read_json
from clamp3.models.families import RELEASED_TEXT_MODEL
from clamp3.models.registry import digest, folder_or_hub, hub_file

if TYPE_CHECKING:
    from sentencepiece import SentencePieceProcessor
    from tokenizers import Tokenizer

FILES = ("tokenizer.json", "sentencepiece.bpe.model")
"""Files that make a folder a tokenizer, in order of preference."""
SETTINGS = ("special_tokens_map.json", "tokenizer_config.json")
"""Files beside them that name special tokens."""


@dataclass(frozen=True)
class TextTokenizer:
    """Token ids of lines of text.

    Attributes
    ----------
    sep : str
        The separator token, put between lines.
    pad_id : int
        Id that fills short rows of a batch.
    n_tokens : int
        Size of the vocabulary, special tokens included.
    unknown_id : int or None
        Id of what no token stands for.
    """

    sep: str
    pad_id: int
    n_tokens: int
    _encode: Callable[[str], list[int]]
    unknown_id: int | None = None

    def unknown_words(self, text: str) -> list[str]:
        """Return the words of a text, between blanks, of which the tokenizer knows some part not at all; each once."""
        return [word for word in dict.fromkeys(text.split()) if self.unknown_id in self.encode(word)]

    def encode_lines(self, lines: Sequence[str]) -> list[int]:
        """Return the ids of lines joined by the separator token, with begin and end tokens; not cropped.

        Duplicates and empty lines are the caller's matter (`clamp3.sources`).
        """
        return self.encode(self.sep.join(lines))

    def encode(self, text: str) -> list[int]:
        """Return the ids of one text, with begin and end tokens; half a surrogate pair, as JSON may hold, is a ?."""
        return self._encode(text.encode("utf-8", "replace").decode())


def load_tokenizer(dir_or_name: str | os.PathLike[str] | None) -> TextTokenizer:
    """Load a tokenizer.

    Parameters
    ----------
    dir_or_name : str or path
        A folder with ``tokenizer.json`` (or only ``sentencepiece.bpe.model``), or a Hugging Face name such as
        ``FacebookAI/xlm-roberta-base``, of which the one file is downloaded.

    Raises
    ------
    WeightsError
        If there is none, it is damaged, or has no separator or padding token.
    """
    if dir_or_name is None:
        raise WeightsError("these weights come without a tokenizer; name its folder with --text_model.")
    place = folder_or_hub(dir_or_name)
    if isinstance(place, str):
        return _from_hub(place)
    for file, read in zip(FILES, (_from_json, _from_sentencepiece), strict=True):
        if place is not None and (place / file).is_file():
            return read(place / file)
    raise WeightsError(
        f"no tokenizer in {dir_or_name}: neither {' nor '.join(FILES)} is there; name its folder with --text_model."
    )


def tokenizer_mark(text_model: str | os.PathLike[str] | None) -> str:
    """Return what distinguishes vectors of the same weights with another tokenizer, "" for the weights' own."""
    if text_model is None or text_model == RELEASED_TEXT_MODEL:
        return ""
    folder = Path(text_model).expanduser()
    digests = [f"{name} {digest(folder / name)}" for name in (*FILES, *SETTINGS) if (folder / name).is_file()]
    return hashlib.sha256(" ".join(digests).encode()).hexdigest()[:8] if digests else str(text_model)


def copy_tokenizer(place: str | os.PathLike[str] | None, folder: Path) -> str:
    """Copy the files of a tokenizer into a folder; return its name if it is not on this computer, else "".

    Parameters
    ----------
    place : path, str or None
        As `load_tokenizer` takes it.
    folder : Path
    """
    found = None if place is None else folder_or_hub(place)
    if isinstance(found, str):
        try:
            shutil.copyfile(hub_file(found, FILES[0], download=False), folder / FILES[0])
        except WeightsError:
            return found
    elif found is not None:
        for file in (*FILES, *SETTINGS):
            if (found / file).is_file():
                shutil.copyfile(found / file, folder / file)
    return ""


def _from_hub(name: str) -> TextTokenizer:
    try:
        return _from_json(hub_file(name, FILES[0]))
    except WeightsError as error:
        raise WeightsError(
            f"there is no folder {name}, and the tokenizer of that name is absent: put {FILES[0]} from "
            f"https://huggingface.co/{name}/resolve/main/{FILES[0]} into a folder and name that with --text_model "
            f"({error})."
        ) from error


def _from_json(path: Path) -> TextTokenizer:
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the Rust library raises plain Exception
        raise WeightsError(f"{path} cannot be read as a tokenizer: {sentence_of(error)}.") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    sep, pad = _special_tokens(path.parent, tokenizer)
    pad_id = tokenizer.token_to_id(pad)
    if pad_id is None or tokenizer.token_to_id(sep) is None:
        raise WeightsError(f"{path} has no token {sep!r} or no token {pad!r}.")

    encode = _Json(tokenizer, path)
    encode("a piece for fiddle, \u266d \u4e2d")  # unknown words need a token as well
    unknown = tokenizer.token_to_id("<unk>")
    unknown = tokenizer.token_to_id("[UNK]") if unknown is None else unknown
    return TextTokenizer(sep, pad_id, tokenizer.get_vocab_size(with_added_tokens=True), encode, unknown)


@dataclass(frozen=True)
class _Json:
    """Encoder of a ``tokenizer.json``; a class, as is the other, so that it pickles."""

    tokenizer: Tokenizer
    path: Path

    def __call__(self, text: str) -> list[int]:
        try:
            return list(self.tokenizer.encode(text).ids)
        except Exception as error:  # the Rust library raises plain Exception
            raise WeightsError(f"{self.path} is damaged: a text has no tokens: {sentence_of(error)}.") from None


def _special_tokens(folder: Path, tokenizer: Tokenizer) -> tuple[str, str]:
    """Return separator and padding token as the folder declares them, else XLM-R's, or BERT's if it has only those."""
    declared: dict[str, Any] = {}
    for name in SETTINGS:
        try:
            values = read_json(folder / name, dict[str, Any], default={})
        except FormatError:
            continue
        for token in ("sep_token", "pad_token"):
            value = values.get(token)
            value = value.get("content") if isinstance(value, dict) else value
            if isinstance(value, str):
                declared.setdefault(token, value.encode("utf-8", "replace").decode())
    is_bert = tokenizer.token_to_id("</s>") is None and tokenizer.token_to_id("[SEP]") is not None
    sep, pad = ("[SEP]", "[PAD]") if is_bert else ("</s>", "<pad>")
    return declared.get("sep_token", sep), declared.get("pad_token", pad)


def _from_sentencepiece(path: Path) -> TextTokenizer:
    """Read XLM-R's original file; its numbering puts ``<s> <pad> </s> <unk>`` before the pieces, ``<mask>`` last."""
    from sentencepiece import SentencePieceProcessor

    try:
        pieces = SentencePieceProcessor(model_file=str(path))
    except Exception as error:  # protobuf's, among others
        raise WeightsError(f"{path} cannot be read as a SentencePiece model: {sentence_of(error)}.") from error
    encode = _Pieces(pieces)
    return TextTokenizer("</s>", encode.special["<pad>"], encode.special["<mask>"] + 1, encode, encode.special["<unk>"])


class _Pieces:
    """Encoder of XLM-R's SentencePiece model."""

    # A mask takes the blanks before it along; the other special tokens stand for themselves.
    cut = re.compile(r"(<s>|<pad>|</s>|<unk>|(?<!\s)\s*<mask>)")

    def __init__(self, pieces: SentencePieceProcessor) -> None:
        self.pieces = pieces
        self.special = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "<mask>": pieces.get_piece_size() + 1}

    def __call__(self, text: str) -> list[int]:
        special, unknown = self.special, self.pieces.unk_id()
        ids = [special["<s>"]]
        for part in self.cut.split(text):
            if part.strip() in special and self.cut.fullmatch(part):
                ids.append(special[part.strip()])
            else:
                ids += [special["<unk>"] if piece == unknown else piece + 1 for piece in self.pieces.encode(part)]
        return [*ids, special["</s>"]]
