"""The readers of music: scores, performances and recordings, as encoding reads them, with the limits it has."""

from __future__ import annotations

import functools
import io
import sys
import zipfile
from pathlib import Path

from harness import reader

from clamp3.formats import Kind
from clamp3.jobs.limits import convert_within
from clamp3.modalities import SYMBOLIC

sys.path.append(str(Path(__file__).parents[1] / "unit"))

XML = b"""<?xml version="1.0"?>
<score-partwise version="3.1"><work><work-title>A</work-title></work><part-list>
<score-part id="P1"><part-name>Flute</part-name></score-part><score-part id="P2"><part-name>B</part-name></score-part>
</part-list><part id="P1"><measure number="1"><attributes><divisions>2</divisions><key><fifths>1</fifths></key>
<time><beats>2</beats><beat-type>4</beat-type></time><clef><sign>G</sign><line>2</line></clef></attributes>
<direction><direction-type><words>slow</words></direction-type><sound tempo="90"/></direction>
<note><pitch><step>F</step><alter>1</alter><octave>4</octave></pitch><duration>1</duration><type>eighth</type>
<lyric number="1"><syllabic>single</syllabic><text>la</text></lyric></note>
<note><grace/><pitch><step>G</step><octave>4</octave></pitch><type>16th</type></note>
<note><pitch><step>A</step><octave>4</octave></pitch><duration>3</duration><type>quarter</type><dot/>
<notations><tied type="start"/></notations></note><backup><duration>4</duration></backup>
<note><rest/><duration>4</duration><voice>2</voice></note>
<barline location="right"><bar-style>light-heavy</bar-style><repeat direction="backward"/></barline></measure></part>
<part id="P2"><measure number="1"><note><chord/><pitch><step>C</step><octave>3</octave></pitch><duration>4</duration>
<time-modification><actual-notes>3</actual-notes><normal-notes>2</normal-notes></time-modification></note></measure>
</part></score-partwise>
"""
MEI = b"""<?xml version="1.0"?><mei xmlns="http://www.music-encoding.org/ns/mei" meiversion="4.0.0"><meiHead><fileDesc>
<titleStmt><title>A</title></titleStmt><pubStmt/></fileDesc></meiHead><music><body><mdiv><score><scoreDef key.sig="1s"
meter.count="3" meter.unit="4"><staffGrp><staffDef n="1" lines="5" clef.shape="G" clef.line="2"/></staffGrp></scoreDef>
<section><measure n="1" right="rptend"><staff n="1"><layer n="1"><note dur="4" pname="c" oct="4" accid="s"/>
<beam><note dur="8" pname="d" oct="5"/><rest dur="8"/></beam><tuplet num="3" numbase="2"><chord dur="8"><note pname="e"
oct="4"/><note pname="g" oct="4"/></chord><note dur="8" pname="a" oct="4"/><space dur="8"/></tuplet></layer></staff>
<tie startid="#a" endid="#b"/></measure><ending n="1"><measure n="2"><staff n="1"><layer n="1"><mRest/></layer></staff>
</measure></ending></section></score></mdiv></body></music></mei>
"""
KERN = b"""!!!OTL: A
**kern\t**kern\t**text
*clefF4\t*clefG2\t*
*k[f#]\t*k[f#]\t*
*M3/4\t*M3/4\t*
=1\t=1\t=1
4C\t(8c#L\tla
.\t8dJ)\t.
*\t*^\t*
4.E 4G\t[4e\t4g\t.
*\t*v\t*v\t*
8r\t8e]\t.
=:|!\t=:|!\t=:|!
*-\t*-\t*-
"""
ROMAN = b"""Composer: J. S. Bach
Title: A
Time Signature: 3/4
Form: chorale

m1 b1 G: I b2 V6 b3 viio6/V
m2 I6 b2.5 ii65 b3 V7 ||
m3-4 = m1-2
"""
STANDARD = b"""X:1
T:A jig
C:Trad.
M:6/8
L:1/8
Q:1/4=120
K:Dmix
%%score (1 2) 3
V:1 treble nm="Flute"
V:2 bass
|: "Am"A2c {/d}e>f !trill!g | (3abc d4-|d ^F,=G _B,,2 |1 [CEG]4 z2 :|2 [K:G] x6 |]
w: a man-y words * in_ here
V:2
|: Z2 | C,6 |1 D,3/2E,/2 F,// G,4 :|2 C,6 |]
"""
WOVEN = b"""%%score 1 2
L:1/8
Q:1/4=90
M:4/4
K:C
V:1 treble nm="Violin" snm="Vln."
V:2 bass
[V:1]C2 D2 EF G2|[V:2]C,8|
[V:1]"Am"(3CDE !f![ceg]2 z4|]|[V:2]z8|]
"""
MTF = b"""ticks_per_beat 480
set_tempo 500000 0
time_signature 4 4 24 8 0
key_signature C 0
program_change 0 0 41
note_on 0 0 60 80
control_change 10 0 64 127
pitchwheel 0 0 -100
note_off 480 0 60 0
sysex 0 [1, 2, 3]
end_of_track 1
"""


def encoded(kind, suffix):
    """Return a reader that prepares files of a kind for the encoder, with the allowance a worker has."""

    def read(folder, data):
        payload = (data, kind, f"a{suffix}")
        convert = SYMBOLIC.conversion(payload)
        if convert is not None:
            payload = (convert_within((convert, *payload)), kind, f"a{suffix}")
        SYMBOLIC.prepare(payload, marked=True)

    return read


def seeded(name, function, *seeds, weight=1.0):
    function.__name__ = name
    reader(*seeds, weight=weight)(function)


def midi():
    from clamp3.formats.mtf import mtf_to_midi

    one = mtf_to_midi(MTF.decode())
    two = one[:8] + b"\0\1\0\2" + one[12:] + one[14:]  # type 1, its track twice
    return (
        one,
        two,
        b"RIFF" + (len(one) + 12).to_bytes(4, "little") + b"RMIDdata" + len(one).to_bytes(4, "little") + one,
    )


def mxl():
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        rootfile = "<container><rootfiles><rootfile full-path='a.xml'/></rootfiles></container>"
        archive.writestr(zipfile.ZipInfo("META-INF/container.xml"), rootfile)
        archive.writestr(zipfile.ZipInfo("a.xml"), XML)
    return stream.getvalue()


seeded("midi", encoded(Kind.MIDI, ".mid"), *midi())
seeded("mtf", encoded(Kind.MTF, ".mtf"), MTF)
seeded("abc", encoded(Kind.ABC, ".abc"), STANDARD, WOVEN)
seeded("musicxml", encoded(Kind.MUSICXML, ".musicxml"), XML)
seeded("mxl", encoded(Kind.MUSICXML, ".mxl"), mxl())
seeded("mei", encoded(Kind.SCORE, ".mei"), MEI)
seeded("kern", encoded(Kind.SCORE, ".krn"), KERN)
seeded("roman", encoded(Kind.SCORE, ".rntxt"), ROMAN, weight=0.5)


@reader(STANDARD, WOVEN)
def abc_to_musicxml(folder, data):
    from clamp3.formats.abc.to_musicxml import abc_to_musicxml
    from clamp3.formats.guards import decode_lenient, parse_xml

    def convert(content, kind, name):
        return abc_to_musicxml(decode_lenient(content)[0], name=name)

    parse_xml(convert_within((convert, data, Kind.ABC, "a.abc")).text.encode())


@reader(MTF)
def mtf_to_midi(folder, data):
    from clamp3.formats.guards import decode_text
    from clamp3.formats.mtf import mtf_to_midi

    mtf_to_midi(decode_text(data))


@reader(*midi(), MTF, STANDARD, XML, mxl(), MEI, KERN, ROMAN)
def titles(folder, data):
    from clamp3.formats.titles import title_of

    for kind in Kind.known.values():
        title = title_of(data, kind)
        assert len(title.splitlines()) <= 1 and title.encode("utf-8") is not None


@functools.cache
def recordings():
    import recordings

    samples = recordings.tune(seconds=0.3, rate=8000, channels=1)
    made = [recordings.by_soundfile(samples, 8000, form) for form in ("WAV", "FLAC", "OGG", "AIFF", "AU", "MP3")]
    return [*made, recordings.by_av(recordings.tune(0.3, 44_100, 1), 44_100, "adts", "aac")]


@reader(*recordings(), weight=0.5)
def recording(folder, data):
    import numpy as np

    from clamp3.formats.audio import Sound

    n_samples = 0
    for block in Sound(data, "a").blocks(24_000):
        assert np.isfinite(block).all()
        n_samples += len(block)
    assert n_samples < 24_000 * 600
