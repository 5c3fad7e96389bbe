"""Kern and MEI become MusicXML through music21; what it cannot read has a reason."""

import io
import zipfile

import pytest

from clamp3.errors import FormatError
from clamp3.formats import guards
from clamp3.formats.musicxml import musicxml_to_abc
from clamp3.formats.notation import score_to_musicxml

KERN = b"**kern\n*clefG2\n*k[f#]\n*M4/4\n=1-\n4g\n4a\n4b\n4cc\n==\n*-\n"
MEI = b"""<?xml version="1.0"?><mei xmlns="http://www.music-encoding.org/ns/mei"><music><body><mdiv><score>
<scoreDef meter.count="4" meter.unit="4"><staffGrp><staffDef n="1" lines="5" clef.shape="G" clef.line="2"/></staffGrp>
</scoreDef><section><measure n="1"><staff n="1"><layer n="1"><note pname="c" oct="4" dur="2"/>
<note pname="d" oct="4" dur="2"/></layer></staff></measure></section></score></mdiv></body></music></mei>"""


def abc(data, suffix):
    return musicxml_to_abc(score_to_musicxml(data, suffix=suffix, name=f"piece{suffix}")).text


def test_kern():
    text = abc(KERN, ".krn")
    assert "K:G\n" in text
    assert "M:4/4\n" in text
    assert " G2 A2 B2 c2 |" in text


def test_kern_in_latin_1():
    data = "!!!COM: Fauré\n".encode("latin-1") + KERN
    assert abc(data, ".krn") == abc("!!!COM: Fauré\n".encode() + KERN, ".krn")


def test_mei():
    assert " C4 D4 |" in abc(MEI, ".MEI")


def capella(score, **how):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", **how) as archive:
        archive.writestr("score.xml", score)
    return data.getvalue()


@pytest.mark.parametrize(
    ("score", "reason"),
    [
        (b'<!DOCTYPE m [<!ENTITY a "b">]><score>&a;</score>', "entity"),
        (b" " * 2000 + b"<score/>", "unpacks to more than the limit"),
        (b"<score/>", "cannot convert this .capx|no notes"),
    ],
)
def test_capella_archives_have_limits_too(score, reason, monkeypatch):
    monkeypatch.setattr(guards, "MAX_XML_BYTES", 1000)
    with pytest.raises(FormatError, match=reason):
        score_to_musicxml(capella(score, compression=zipfile.ZIP_DEFLATED), suffix=".capx", name="piece")
    with pytest.raises(FormatError, match=r"not a readable \.capx archive"):
        score_to_musicxml(capella(score)[:-30], suffix=".capx", name="piece")


@pytest.mark.parametrize(
    ("data", "suffix", "reason"),
    [
        (b"no kern at all", ".krn", "cannot convert this .krn|no notes"),
        (b" \n", ".krn", "empty"),
        (b"<mei/>", ".mei", "cannot convert this .mei|no notes"),
        (b'<!DOCTYPE m [<!ENTITY x SYSTEM "file:///etc/hostname">]><m>&x;</m>', ".mei", "entity"),
        (KERN.replace(b"4g\n4a\n4b\n4cc\n", b"1r\n"), ".krn", "no notes"),
        (b"\xff\xff", ".rntxt", "UTF-8"),
        (b"Time Signature: 65536/4\nm1 b1 G: I\n", ".rntxt", "four digits"),
        (b"Time Signature: 3/4\nm1 b1 G: I b65536.5 V\n", ".rntxt", "four digits"),
        (b"Time Signature: 3/4\nm1 b1 G: I\nm3-1e9 = m1-2\n", ".rntxt", "four digits"),
        (b"Time Signature: 3/4\nm12345 b1 G: I\n", ".rntxt", "four digits"),
    ],
)
def test_unusable_files_have_a_reason(data, suffix, reason):
    with pytest.raises(FormatError, match=reason):
        score_to_musicxml(data, suffix=suffix, name="piece")
