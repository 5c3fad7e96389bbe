"""Text of a piece (interleaved ABC or MTF) to patches of 64 character codes, and back.

A patch is what one position of the symbolic encoder reads: a bar, a header line or a few MIDI messages, written as
begin code, characters, end code and pads.

Conventions: codes 0 to 3 are pad, begin, end and mask; characters have their ASCII code. A sequence starts with a
patch of begin codes only and ends with a begin code followed by end codes. Two losses of the published system are kept
because the published weights were trained with them: text after the last bar sign of a line is dropped, and a patch is
cut at 64 codes; `lost_characters` counts both.

References
----------
CLaMP 2 (arXiv 2410.13267) for the patches, CLaMP 3 (arXiv 2502.10362) for their use.
"""

from __future__ import annotations

import re

import numpy as np

from clamp3.errors import FormatError

__all__ = [
    "BOS",
    "EOS",
    "MASK",
    "PAD",
    "PATCH_LENGTH",
    "PATCH_SIZE",
    "decode",
    "encode",
    "lost_characters",
    "split_text",
]

PATCH_SIZE = 64  # P: codes per patch
PATCH_LENGTH = 512  # L: patches per window, wrapping ones included
PAD, BOS, EOS, MASK = 0, 1, 2, 3

_MAX_CHARACTERS = PATCH_SIZE - 1  # the begin code takes one place; the end code may fall off
_MAX_MERGED = PATCH_SIZE - 2  # merged MTF lines leave room for both

_BAR_SIGNS = ("|:", "::", ":|", "[|", "||", "|]", "|")  # the order in which they are tried
_BAR_SIGN = re.compile("(" + "|".join(map(re.escape, _BAR_SIGNS)) + ")")
_UNIT_LENGTH = "L:1/8\n"
_MTF_HEAD = "ticks_per_beat "

# Published weights learned from Unidecode 1.3.6. These are all the characters that a release from 1.3.4 to 1.4.0 writes
# otherwise, in its words: only with them does the text not depend on what is installed.
_RELEASED_ASCII = str.maketrans(
    {
        **dict.fromkeys("℃℉℟℣⅍♔♕♖♗♘♙♚♛♜♝♞♟♠♡♢♣♤♥♦♧゠・ー🅪🅫🅬", ""),
        **{"Ŋ": "ng", "ŋ": "NG", "ẞ": "Ss", "𝛕": "tai", "🆜": "[2nc-Scr]", "🆩": "[Loss-less]"},
        **{"¼": " 1/4", "½": " 1/2", "¾": " 3/4"},
    }
)

_FIRST = chr(BOS) * PATCH_SIZE
_LAST = chr(BOS) + chr(EOS) * (PATCH_SIZE - 1)


def split_text(text: str) -> list[str]:
    r"""Cut a text into the strings that become patches, without the two wrapping patches.

    Parameters
    ----------
    text : str
        Interleaved ABC, or MTF (known by its first word ``ticks_per_beat``). Letters beyond ASCII are
        transliterated first; any line ending is read as a newline.

    Returns
    -------
    list of str
        One string of ASCII characters per patch, not yet cut at the patch size.

    Raises
    ------
    FormatError
        If nothing in the text can become a patch.

    Examples
    --------
    >>> split_text("K:G\nGAG GAB|ABA ABd|\n")
    ['K:G\n', 'GAG GAB|', 'ABA ABd|\n']
    >>> split_text("ticks_per_beat 480\nnote_on 0 0 0 60 90\nnote_on 240 0 0 60 0\n")
    ['ticks_per_beat 480\n', 'note_on 0 0 0 60 90\t240 0 0 60 0\n']
    """
    text = _normalise(text)
    strings = _split_mtf(text) if text.startswith(_MTF_HEAD) else _split_abc(text)
    if not strings:
        raise FormatError("The text holds no header line and no bar sign, so there is no music to encode.")
    return strings


def encode(text: str) -> np.ndarray:
    r"""Encode a text as patches, wrapped and not cropped.

    Parameters
    ----------
    text : str
        As for `split_text`.

    Returns
    -------
    np.ndarray
        Codes below 128, uint8, shape (L, 64), C order, writable.

    Raises
    ------
    FormatError
        If nothing in the text can become a patch.

    Examples
    --------
    >>> patches = encode("K:G\nGAG|\n")
    >>> patches.shape
    (4, 64)
    >>> patches[:, :6].tolist()
    [[1, 1, 1, 1, 1, 1], [1, 75, 58, 71, 10, 2], [1, 71, 65, 71, 124, 10], [1, 2, 2, 2, 2, 2]]
    """
    begin, end, pad = chr(BOS), chr(EOS), chr(PAD)
    rows = [(begin + string[:_MAX_CHARACTERS] + end).ljust(PATCH_SIZE, pad)[:PATCH_SIZE] for string in split_text(text)]
    codes = bytearray("".join((_FIRST, *rows, _LAST)), "ascii")
    return np.frombuffer(codes, dtype=np.uint8).reshape(-1, PATCH_SIZE)  # (L, P)


def decode(patches: np.ndarray) -> str:
    r"""Turn patches back into text; the inverse of `encode` wherever it lost nothing.

    Parameters
    ----------
    patches : np.ndarray
        Integer codes, shape (L, 64); wrapping patches may be present or not.

    Returns
    -------
    str
        The characters of all patches; merged MTF lines are taken apart again. The ``L:1/8`` line,
        which `encode` leaves out of every ABC text, is not put back.

    Raises
    ------
    FormatError
        If the array is not of shape (L, 64) or holds codes outside 0 to 127.

    Examples
    --------
    >>> decode(encode("K:G\nGAG|ABA|\n"))
    'K:G\nGAG|ABA|\n'
    """
    patches = np.asarray(patches)
    if patches.ndim != 2 or patches.shape[1] != PATCH_SIZE or not np.issubdtype(patches.dtype, np.integer):
        raise FormatError(f"Patches must be integers of shape (L, {PATCH_SIZE}), got {patches.dtype} {patches.shape}.")
    if patches.size and not (int(patches.min()) >= 0 and int(patches.max()) < 128):
        raise FormatError(f"Patch codes must lie in 0 to 127, got {int(patches.min())} to {int(patches.max())}.")
    strings = [row[row > MASK].astype(np.uint8).tobytes().decode("ascii") for row in patches]
    strings = [string for string in strings if string]
    if strings and strings[0].startswith(_MTF_HEAD):
        strings = [_unmerge(string) for string in strings]
    return "".join(strings)


def lost_characters(text: str) -> int:
    """Count the characters that no patch holds.

    Parameters
    ----------
    text : str
        As for `split_text`.

    Returns
    -------
    int
        Characters cut off at the patch size plus characters after the last bar sign of a line. The
        newline of a line that is dropped as a whole is not counted, nor what transliteration changes.
    """
    text = _normalise(text)
    if text.startswith(_MTF_HEAD):
        return sum(len(string[_MAX_CHARACTERS:]) for string in _split_mtf(text))
    strings = _split_abc(text)
    after_last_sign = _visible(text) - sum(map(_visible, strings))
    return after_last_sign + sum(len(string[_MAX_CHARACTERS:]) for string in strings)


def _normalise(text: str) -> str:
    """Apply what comes before cutting: universal newlines, no unit length line, ASCII only."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = text.replace(_UNIT_LENGTH, "")
    if not text.isascii():
        from unidecode import unidecode

        text = unidecode(text.translate(_RELEASED_ASCII), errors="ignore")
    return text


def _visible(text: str) -> int:
    return len(text) - text.count("\n")


def _lines(text: str) -> list[str]:
    lines = [line + "\n" for line in text.split("\n")]
    last = lines.pop()[:-1]
    return [*lines, last] if last else lines


def _split_abc(text: str) -> list[str]:
    strings: list[str] = []
    for line in _lines(text):
        if (line[1:2] == ":" and line[0].isalpha()) or line.startswith("%%"):
            strings.append(line)
            continue
        pieces = [piece for piece in _BAR_SIGN.split(line) if piece]
        if len(pieces) > 1 and pieces[0] in _BAR_SIGNS:
            pieces[:2] = [pieces[0] + pieces[1]]
        # Pairs are taken by position: where two signs meet, the second one takes the place of the text.
        bars = [text_ + sign for text_, sign in zip(pieces[::2], pieces[1::2], strict=False)]
        if bars:
            bars[-1] += "\n"
            strings += bars
    return strings


def _split_mtf(text: str) -> list[str]:
    strings: list[str] = []
    patch = ""
    for line in _lines(text):
        word, _, rest = line.partition(" ")
        if patch.startswith(word) and len(patch) + len(rest) <= _MAX_MERGED:
            patch = patch[:-1] + "\t" + rest
        else:
            if patch:
                strings.append(patch)
            patch = line
    if patch:
        strings.append(patch)
    return strings


def _unmerge(string: str) -> str:
    """Give every message of a merged MTF patch its own line again."""
    first, *others = string.split("\t")
    word = first.partition(" ")[0]
    return "\n".join([first, *(f"{word} {other}" for other in others)])
