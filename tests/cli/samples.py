"""Tiny good files, and broken ones, for the tests of the scripts."""

from __future__ import annotations

import io
import random
import struct
import zipfile

import mido

CONTAINER = b'<?xml version="1.0"?><container><rootfiles><rootfile full-path="score.xml"/></rootfiles></container>'


def musicxml(title: str = "Scale", *, encoding: str = "UTF-8", doctype: str = "") -> bytes:
    notes = "".join(
        f"<note><pitch><step>{step}</step><octave>4</octave></pitch><duration>1</duration><type>quarter</type></note>"
        for step in "CDEF"
    )
    return (
        f'<?xml version="1.0" encoding="{encoding}"?>{doctype}<score-partwise version="3.1">'
        f"<work><work-title>{title}</work-title></work>"
        '<part-list><score-part id="P1"><part-name>Flute</part-name></score-part></part-list><part id="P1">'
        '<measure number="1"><attributes><divisions>1</divisions><key><fifths>0</fifths></key><time><beats>4</beats>'
        f"<beat-type>4</beat-type></time><clef><sign>G</sign><line>2</line></clef></attributes>{notes}</measure>"
        "</part></score-partwise>"
    ).encode("latin-1" if encoding.lower() == "iso-8859-1" else "utf-8")


def mxl(score: bytes | None = None) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("META-INF/container.xml", CONTAINER)
        archive.writestr("score.xml", musicxml() if score is None else score)
    return stream.getvalue()


def zip_bomb(unpacked_mib: int) -> bytes:
    stream = io.BytesIO()
    block = b" " * 2**20
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("META-INF/container.xml", CONTAINER)
        with archive.open("score.xml", "w") as member:
            for _ in range(unpacked_mib):
                member.write(block)
    return stream.getvalue()


def lying_zip_bomb(unpacked_mib: int) -> bytes:
    """Return a bomb whose directory says that it unpacks to 100 bytes."""
    bomb = zip_bomb(unpacked_mib)
    return bomb.replace(struct.pack("<I", unpacked_mib * 2**20), struct.pack("<I", 100))


def laughs() -> str:
    entities = "".join(f'<!ENTITY l{i + 1} "{f"&l{i};" * 10}">' for i in range(9))
    return f'<!DOCTYPE score-partwise [<!ENTITY l0 "ha">{entities}]>'


def midi(n_notes: int = 8, *, program: int = 0) -> bytes:
    track = mido.MidiTrack()
    track.append(mido.MetaMessage("track_name", name="Scale", time=0))
    track.append(mido.Message("program_change", program=program, time=0))
    for i in range(n_notes):
        track.append(mido.Message("note_on", note=60 + i % 12, velocity=80, time=0))
        track.append(mido.Message("note_off", note=60 + i % 12, velocity=0, time=120))
    stream = io.BytesIO()
    mido.MidiFile(tracks=[track], ticks_per_beat=480).save(file=stream)
    return stream.getvalue()


def midi_header(n_tracks: int = 1) -> bytes:
    return b"MThd" + struct.pack(">IHHH", 6, 1, n_tracks, 480)


def midi_claim(claimed: int = 200 * 2**20) -> bytes:
    """Return a kilobyte whose track says that it is 200 MB long."""
    return midi_header() + b"MTrk" + struct.pack(">I", claimed) + b"\x00\x90\x3c\x50\x78\x80\x3c\x00" * 125


def midi_long_event() -> bytes:
    """Return a track with a text of 200 MB, of which a few bytes are there."""
    event = b"\x00\xff\x01" + bytes([0x80 | 0x64, 0x80, 0x80, 0x00]) + b"la" * 100
    return midi_header() + b"MTrk" + struct.pack(">I", len(event)) + event


def garbage(seed: int = 1, n_bytes: int = 4000) -> bytes:
    return random.Random(seed).randbytes(n_bytes)
