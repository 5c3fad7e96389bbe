"""ABC, plain or interleaved, to MusicXML."""

from __future__ import annotations

import re

from clamp3.errors import FormatError, sentence_of
from clamp3.formats import Converted
from clamp3.formats.abc.dialect import is_interleaved
from clamp3.formats.abc.standard import check_bar_rests, standard_form

_DOCTYPE = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE score-partwise PUBLIC '
    '"-//Recordare//DTD MusicXML 3.0 Partwise//EN" "http://www.musicxml.org/dtds/partwise.dtd">\n'
)
_NO_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # characters that no XML may hold
_VOICE = re.compile(r"\[(V:[^\[\]\s]+)\]")


def abc_to_musicxml(text: str, *, name: str = "score", correct: bool = False) -> Converted:
    """Convert the first tune of an ABC text into MusicXML.

    Parameters
    ----------
    text : str
        Standard or interleaved ABC; interleaved text without ``L:`` is read with 1/8, as patches imply.
    name : str
        Title of a tune without one.
    correct : bool
        Give notes the accidentals of tied notes before them in the bar, which abc2xml forgets.

    Returns
    -------
    Converted
        The XML text, without a date; the notes count symbols that could not be read.

    Raises
    ------
    FormatError
        If the text holds no music or the converter cannot parse it.
    """
    from xml.etree.ElementTree import tostring

    from clamp3.formats.abc.abc2xml import engine

    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text, notes = (separate(text), []) if is_interleaved(text) else standard_form(text)
    check_bar_rests(text)
    # The title is kept here only; the models never see it.
    head = "X:1\n" if re.search(r"^T:", text, re.MULTILINE) else f"X:1\nT:{' '.join(name.split())}\n"
    converter = engine()
    try:
        score = converter.convert(head + re.sub(r"^X:.*\n", "", text, flags=re.MULTILINE), correct=correct)
        xml = _NO_XML.sub("", tostring(score, encoding="unicode"))
    except MemoryError:
        raise
    except RecursionError as error:
        raise FormatError("abc2xml cannot read this text: it is nested too deeply.") from error
    except Exception as error:  # parse errors and any other failure of the converter
        raise FormatError(
            f"abc2xml cannot read this text: {type(error).__name__}: {sentence_of(error, 200)}."
        ) from error
    if score.find("part/measure/note") is None:
        raise FormatError("the ABC holds no notes.")
    misread = sum("misplaced symbol" in message for message in converter.messages)
    if misread:
        notes.append(f"misplaced signs left out ({misread})")
    if converter.wrong:
        wrong = f"{len(converter.wrong)}, first in bar" if len(converter.wrong) > 1 else "bar"
        notes.append(f"notes without the accidental of a tied note before them ({wrong} {converter.wrong[0]})")
    return Converted(_DOCTYPE + xml + "\n", tuple(notes))


def separate(text: str) -> str:
    """Return interleaved ABC as standard ABC: header, then one block per voice."""
    header: list[str] = []
    voices: dict[str, list[str]] = {}
    for line in text.split("\n"):
        pieces = _VOICE.split(line)
        if len(pieces) == 1:
            if line.strip() and not voices:
                header.append(line)
            continue
        for voice, bar in zip(pieces[1::2], pieces[2::2], strict=True):
            voices.setdefault(voice, []).append(bar)
    if not any(line.startswith("L:") for line in header):
        key = next((index for index, line in enumerate(header) if line[:2] in ("Q:", "M:", "K:")), 0)
        header.insert(key, "L:1/8")
    if not any(line.startswith("K:") for line in header):
        before_voices = next((index for index, line in enumerate(header) if line.startswith("V:")), len(header))
        header.insert(before_voices, "K:C")
    blocks = [f"{voice}\n{' '.join(bars)}" for voice, bars in voices.items()]
    return "\n".join([*header, *blocks]) + "\n"
