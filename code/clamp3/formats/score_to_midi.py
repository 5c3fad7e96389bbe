"""ABC to MIDI, through MusicXML and music21: a mechanical rendering of a score."""

from __future__ import annotations

import warnings

from clamp3.errors import FormatError
from clamp3.formats.abc.to_musicxml import abc_to_musicxml


def abc_to_midi(text: str, *, name: str = "score") -> bytes:
    """Render the first tune of an ABC text as a MIDI file.

    Parameters
    ----------
    text : str
        Standard or interleaved ABC.
    name : str
        Used in messages.

    Returns
    -------
    bytes
        A standard MIDI file, repeats played; the same for one version of music21.

    Raises
    ------
    FormatError
        If the text holds no music, or music21 cannot play it.
    """
    xml = abc_to_musicxml(text, name=name).text
    from music21 import converter
    from music21.midi.translate import music21ObjectToMidiFile

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            score = converter.parseData(xml, format="musicxml")
            return bytes(music21ObjectToMidiFile(score).writestr())
        except Exception as error:  # of any type
            reason = str(error).strip().splitlines()
            raise FormatError(
                f"music21 cannot play {name} ({reason[0] if reason else type(error).__name__})."
            ) from None
