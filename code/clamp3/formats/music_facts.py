"""What a file says of its music: who made it, key, metre, tempo, duration; from headers and tags, never by analysis.

A fact helps to find and to filter, so nothing here raises: what a file does not say is "" or None.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from clamp3.errors import Clamp3Error, printable
from clamp3.formats import Kind
from clamp3.formats.titles import elements, head, plain, title_of

MAX_CHARACTERS = 200  # of one fact
_SIGNS = ("set_tempo", "key_signature", "time_signature")
_MODES = {
    "": "major",
    "m": "minor",
    "maj": "major",
    "min": "minor",
    "ion": "major",
    "aeo": "minor",
    "dor": "dorian",
    "phr": "phrygian",
    "lyd": "lydian",
    "mix": "mixolydian",
    "loc": "locrian",
}


@dataclass(frozen=True)
class MusicFacts:
    """Facts about a piece.

    Attributes
    ----------
    title, composer, artist, album, genre : str
    year : int or None
    key : str
        Such as "F# minor".
    metre : str
        Such as "6/8".
    tempo : float or None
        Quarter notes per minute at the beginning.
    duration : float or None
        Seconds; of recordings and performances.
    """

    title: str = ""
    composer: str = ""
    artist: str = ""
    album: str = ""
    genre: str = ""
    year: int | None = None
    key: str = ""
    metre: str = ""
    tempo: float | None = None
    duration: float | None = None


def facts_of(content: bytes | Path, kind: Kind) -> MusicFacts:
    r"""Return what a file says of its music.

    Parameters
    ----------
    content : bytes or Path
        Of a recording, whose tags are read where they are, a path.
    kind : Kind
        What the file holds.

    Examples
    --------
    >>> facts = facts_of(b"X:1\nT:The Kesh\nC:trad.\nR:jig\nM:6/8\nQ:3/8=100\nK:Gmaj\nGAG|\n", Kind.ABC)
    >>> facts.title, facts.composer, facts.genre, facts.key, facts.metre, facts.tempo
    ('The Kesh', 'trad.', 'jig', 'G major', '6/8', 150.0)
    """
    reader = _READERS.get(kind)
    try:
        found = MusicFacts() if reader is None else reader(content)
        if isinstance(content, bytes):
            found = replace(found, title=title_of(content, kind))
    except (Clamp3Error, ValueError, LookupError, ArithmeticError, OSError):
        return MusicFacts()
    return found


def _line(text: object) -> str:
    """Return one fact as one short line that can be stored anywhere."""
    line = " ".join(printable(" ".join(str(text).split())).encode("utf-8", "replace").decode("utf-8").split())
    return line if len(line) <= MAX_CHARACTERS else line[: MAX_CHARACTERS - 1] + "…"


def _year(text: object) -> int | None:
    found = re.search(r"(?<!\d)(1\d{3}|20\d{2})(?!\d)", str(text))
    return int(found[1]) if found else None


def _number(text: str | None) -> float | None:
    try:
        value = float(text) if text else 0.0
    except ValueError:
        return None
    return value if 0 < value < 1e6 else None


def _abc_fields(text: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    for name, value in re.findall(r"^([A-Z]):[ \t]*([^%\r\n]*)", text, re.MULTILINE):
        fields.setdefault(name, value.strip())
    return fields


def _abc(data: Any) -> MusicFacts:
    fields = _abc_fields(head(data))
    tonic = re.match(r"([A-G][b#]?)\s*([A-Za-z]*)", fields.get("K", ""))
    mode = _MODES.get(tonic[2].lower()[:3] if tonic else "?")
    metre = {"C": "4/4", "C|": "2/2"}.get(fields.get("M", ""), fields.get("M", ""))
    tempo = re.search(r"(?:(\d{1,4})/(\d{1,4})\s*=\s*)?(\d{1,4}(?:\.\d{1,4})?)\s*$", fields.get("Q", "").split('"')[-1])
    beat = 4 * int(tempo[1]) / int(tempo[2]) if tempo and tempo[1] else 1.0
    return MusicFacts(
        composer=_line(fields.get("C", "")),
        album=_line(fields.get("B", "")),
        genre=_line(fields.get("R", "")),
        key=f"{tonic[1]} {mode}" if tonic and mode else "",
        metre=metre if re.fullmatch(r"\d{1,3}/\d{1,3}", metre) else "",
        tempo=_number(str(float(tempo[3]) * beat)) if tempo else None,
    )


def _by_signature(fifths: int, mode: str) -> str:
    from clamp3.formats.midi import KEY_NAMES

    name = KEY_NAMES.get((fifths, {"major": 0, "minor": 1}.get(mode or "major", -1)), "")
    return f"{name.removesuffix('m')} {mode or 'major'}" if name else ""


def _musicxml(data: Any) -> MusicFacts:
    from clamp3.formats.guards import unpack_mxl

    text = head(unpack_mxl(data) if data[:2] == b"PK" else data)
    people: dict[str, str] = dict(reversed(re.findall(r"""<creator\s+type=["'](\w+)["'][^<>]*>([^<]*)<""", text)))
    first = {tag: next(iter(elements(text, tag)), "") for tag in ("fifths", "mode", "beats", "beat-type", "rights")}
    metre = f"{first['beats'].strip()}/{first['beat-type'].strip()}"
    tempo = re.search(r"""<sound\b[^<>]*\btempo=["']([\d.]+)["']""", text)
    signature = re.fullmatch(r"\s*(-?\d)\s*", first["fifths"])
    return MusicFacts(
        composer=_line(plain(people.get("composer", ""))),
        artist=_line(plain(people.get("lyricist", people.get("poet", "")))),
        key=_by_signature(int(signature[1]), first["mode"].strip()) if signature else "",
        metre=metre if re.fullmatch(r"\d{1,3}/\d{1,3}", metre) else "",
        tempo=_number(tempo[1]) if tempo else None,
    )


def _notation(data: Any) -> MusicFacts:
    text = head(data)
    composer = re.search(r"^!!!COM[^:\n]*:(.*)$|^Composer:(.*)$", text, re.MULTILINE)
    by_role = re.search(r"""<persName\b[^<>]*\brole=["']composer["'][^<>]*>([^<]*)<""", text)
    mei = next(iter(elements(text, "composer")), by_role[1] if by_role else "")
    key = re.search(r"(?:^|\t)\*([A-Ga-g])([-#]?):", text, re.MULTILINE)
    metre = re.search(r"(?:^|\t)\*M(\d{1,3}/\d{1,3})", text, re.MULTILINE)
    tempo = re.search(r"(?:^|\t)\*MM(\d{1,4}(?:\.\d+)?)", text, re.MULTILINE)
    counted = re.search(r"""\bmeter\.count=["'](\d{1,3})["'][^<>]*\bmeter\.unit=["'](\d{1,3})["']""", text)
    named = f"{composer[1] or composer[2] or ''}" if composer else plain(mei or "")
    surname, _, rest = named.partition(",")  # Humdrum writes "Bach, Johann Sebastian"
    mode = "major" if key and key[1].isupper() else "minor"
    return MusicFacts(
        composer=_line(f"{rest} {surname}"),
        key=f"{key[1].upper()}{key[2].replace('-', 'b')} {mode}" if key else "",
        metre=metre[1] if metre else f"{counted[1]}/{counted[2]}" if counted else "",
        tempo=_number(tempo[1]) if tempo else None,
    )


def _midi(data: Any) -> MusicFacts:
    """Return the facts of a performance, its duration by all changes of tempo."""
    from clamp3.formats.midi import read_midi

    track = read_midi(data)
    division = track.ticks_per_beat
    timed = zip(track.times, (message[0].split() for message in track.messages), strict=True)
    signs = sorted((entry for entry in timed if entry[1][0] in _SIGNS), key=lambda entry: entry[0])
    seconds, last, tempo = 0.0, 0, 500_000
    for time, words in [*signs, (track.end, ["end"])]:
        if words[0] in ("set_tempo", "end"):
            seconds += (time - last) * tempo / 1e6 / (division or 480)
            last, tempo = time, int(words[1]) or tempo if words[0] == "set_tempo" else tempo
    if division < 0:  # film frames per second, and ticks per frame
        seconds = track.end / ((256 - (division >> 8 & 0xFF)) * max(1, division & 0xFF))
    facts = _signs([words for _, words in signs])
    return replace(facts, duration=round(seconds, 3) if 0 < seconds < 1e7 else None)


def _mtf(data: Any) -> MusicFacts:
    return _signs([words for line in head(data).split("\n") if (words := line.split()) and words[0] in _SIGNS])


def _signs(signs: list[list[str]]) -> MusicFacts:
    """Return the facts of the first key, metre and tempo, each a list of words."""
    first = {words[0]: words[1:] for words in reversed(signs)}
    key, metre, tempo = (first.get(name, []) for name in ("key_signature", "time_signature", "set_tempo"))
    usec = int(tempo[0]) if tempo else 0
    return MusicFacts(
        key=f"{key[0].removesuffix('m')} {'minor' if key[0].endswith('m') else 'major'}" if key else "",
        metre="/".join(metre[:2]) if len(metre) >= 2 else "",
        tempo=round(6e7 / usec, 2) if usec else None,
    )


def _recording(path: Any) -> MusicFacts:
    """Return the tags of a recording; without mutagen its duration alone."""
    if not isinstance(path, Path):
        return MusicFacts()
    try:
        import mutagen
    except ImportError:
        return _length(path)
    try:
        file = mutagen.File(path, easy=True)
    except Exception:  # whatever is damaged in its tags, the recording is indexed
        file = None
    if file is None:
        return _length(path)

    def tag(*names: str) -> str:
        for name in names:
            try:
                values = (file.tags or {}).get(name) or []
            except (KeyError, ValueError):  # a name that this kind of tag cannot have
                continue
            if text := _line(" / ".join(map(str, values if isinstance(values, (list, tuple)) else [values]))):
                return text
        return ""

    duration = float(getattr(file.info, "length", 0) or 0)
    facts = MusicFacts(
        title=tag("title", "Title"),
        composer=tag("composer", "Composer", "WM/Composer"),
        artist=tag("artist", "albumartist", "Author", "Artist"),
        album=tag("album", "WM/AlbumTitle"),
        genre=tag("genre", "WM/Genre"),
        year=_year(tag("date", "originaldate", "year", "WM/Year")),
        tempo=_number(tag("bpm", "WM/BeatsPerMinute")),
        duration=round(duration, 3) or None,
    )
    return facts if duration else replace(facts, duration=_length(path).duration)


def _length(path: Path) -> MusicFacts:
    import soundfile

    try:
        return MusicFacts(duration=round(soundfile.info(str(path)).duration, 3))
    except (RuntimeError, OSError):  # not one of its types
        return MusicFacts()


_READERS: dict[Kind, Callable[[Any], MusicFacts]] = {
    Kind.ABC: _abc,
    Kind.MUSICXML: _musicxml,
    Kind.SCORE: _notation,
    Kind.MIDI: _midi,
    Kind.MTF: _mtf,
    Kind.AUDIO: _recording,
}
