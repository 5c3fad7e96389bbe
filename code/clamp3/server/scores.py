"""Scores and performances to look at and to play: engraved bars, and notes in seconds; made by worker processes.

Verovio and our converters read files that may come from anywhere. They do so below the limits of `clamp3.jobs.limits`.
"""

from __future__ import annotations

import re
from base64 import b64decode
from dataclasses import dataclass
from functools import partial
from typing import Any

from clamp3.errors import Clamp3Error, FormatError, sentence_of
from clamp3.formats import Kind, suffix_of
from clamp3.jobs.limits import allowance, within
from clamp3.jobs.parallel import Workers

MAX_SVG = 4 * 2**20
_ACTIVE = re.compile(r"<\s*(?:script|foreignObject|iframe|image|a)\b|\son\w+\s*=|javascript:", re.IGNORECASE)
_LOOK = {
    "adjustPageHeight": True,
    "adjustPageWidth": True,
    "breaks": "auto",
    "footer": "none",
    "header": "none",
    "pageWidth": 2000,
    "scale": 40,
    "svgViewBox": True,
    "svgRemoveXlink": True,
    "xmlIdSeed": 1,
}


@dataclass(frozen=True)
class _Job:
    data: bytes
    kind: Kind
    name: str
    bars: int  # 0 asks for notes


class Scores:
    """Engraves and reads scores with a worker process that stays."""

    def __init__(self) -> None:
        self._workers: Workers[_Job, Any] = Workers(_work, timeout_sec=30.0, memory_limit_mb=1024)

    def engraved(self, data: bytes, kind: Kind, name: str, bars: int) -> str:
        """Return the first bars of a score as SVG.

        Parameters
        ----------
        data : bytes
        kind : Kind
        name : str
            Its suffix names the notation.
        bars : int
            How many.
        """
        return str(self._do(_Job(data, kind, name, bars)))

    def notes(self, data: bytes, kind: Kind, name: str) -> tuple[list[tuple[float, ...]], list[float]]:
        """Return the notes, and of a score the second at which each bar begins; arguments as of `Scores.engraved`."""
        found: tuple[list[tuple[float, ...]], list[float]] = self._do(_Job(data, kind, name, 0))
        return found

    def _do(self, job: _Job) -> Any:
        [outcome] = self._workers.map([job], n_workers=1)
        if outcome.error is not None:
            raise Clamp3Error(outcome.error)
        return outcome.value


def _work(job: _Job) -> Any:
    """Engrave or read within what a file of this size may take; runs in a worker."""
    make = partial(_engraved, job) if job.bars else partial(_notes, job)
    return within(allowance(job.data, job.kind), make)


def _engraved(job: _Job) -> str:
    toolkit = _loaded(job)
    toolkit.select({"measureRange": f"start-{job.bars}"})
    toolkit.redoLayout()
    drawn: str = toolkit.renderToSVG(1)
    if len(drawn) > MAX_SVG:
        raise FormatError(f"the engraving has {len(drawn)} bytes, over {MAX_SVG}.")
    if "<svg" not in drawn or _ACTIVE.search(drawn):
        raise FormatError("the score cannot be engraved.")
    return drawn


def _notes(job: _Job) -> tuple[list[tuple[float, ...]], list[float]]:
    from clamp3.formats.guards import decode_text
    from clamp3.formats.midi import read_midi
    from clamp3.formats.midi_notes import notes_in
    from clamp3.formats.mtf import mtf_to_midi

    bars: list[float] = []
    if job.kind == Kind.MIDI:
        played = job.data
    elif job.kind == Kind.MTF:
        played = mtf_to_midi(decode_text(job.data))
    else:
        toolkit = _loaded(job)
        played = b64decode(toolkit.renderToMIDI())
        moments = toolkit.renderToTimemap({"includeMeasures": True})
        bars = [moment["tstamp"] / 1000 for moment in moments if "measureOn" in moment]
    return [tuple(note) for note in notes_in(read_midi(played))], bars


def _loaded(job: _Job) -> Any:
    """Return verovio's toolkit with a score in it."""
    try:
        import verovio
    except ImportError:
        raise FormatError("scores are engraved by verovio, which is not installed here: clamp3[server].") from None
    verovio.enableLog(verovio.LOG_OFF)
    toolkit = verovio.toolkit()
    toolkit.setOptions(_LOOK)
    xml = _musicxml(job)
    if not toolkit.loadData(xml) or not toolkit.getPageCount():
        raise FormatError("verovio cannot read this score.")
    return toolkit


def _musicxml(job: _Job) -> str:
    """Return a score of any notation as MusicXML, checked as everything is that our readers take."""
    from clamp3.formats.abc.to_musicxml import abc_to_musicxml
    from clamp3.formats.guards import check_xml, decode_lenient, decode_text, is_zip, unpack_mxl
    from clamp3.formats.notation import score_to_musicxml

    if job.kind == Kind.ABC:
        return abc_to_musicxml(decode_lenient(job.data)[0], name=sentence_of(job.name, 100)).text
    if job.kind == Kind.SCORE:
        return score_to_musicxml(job.data, suffix=suffix_of(job.name), name=job.name).decode()
    data = unpack_mxl(job.data) if is_zip(job.data) else job.data
    check_xml(data)
    return decode_text(data)
