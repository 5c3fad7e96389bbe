"""Limits hold: sizes, zip bombs, entity bombs, nesting, encodings."""

import io
import zipfile

import pytest

from clamp3.errors import FormatError
from clamp3.formats import guards

SCORE = b"<score-partwise><part-list/></score-partwise>"
CONTAINER = '<?xml version="1.0"?><container><rootfiles><rootfile full-path="{}"/></rootfiles></container>'


def archive(members, compression=zipfile.ZIP_DEFLATED):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as made:
        for name, content in members:
            made.writestr(name, content)
    return stream.getvalue()


def test_read_file_says_what_is_wrong(tmp_path):
    (tmp_path / "empty.xml").write_bytes(b"")
    (tmp_path / "big.xml").write_bytes(b"x" * 11)
    (tmp_path / "fits.xml").write_bytes(b"x" * 10)
    with pytest.raises(FormatError, match=r"empty\.xml is empty"):
        guards.read_file(tmp_path / "empty.xml", limit=10)
    with pytest.raises(FormatError, match=r"big\.xml is larger than the limit"):
        guards.read_file(tmp_path / "big.xml", limit=10)
    assert guards.read_file(tmp_path / "fits.xml", limit=10) == b"x" * 10
    with pytest.raises(FileNotFoundError):
        guards.read_file(tmp_path / "absent.xml")


@pytest.mark.parametrize("name", ["score.xml", "Song.musicxml", "deep/er/lied.mscx"])
def test_the_container_names_the_score(name):
    data = archive(
        [
            ("cover.xml", b"<no/>"),
            ("META-INF/container.xml", CONTAINER.format(name)),
            (name, SCORE),
            ("z.xml", b"<no/>"),
        ]
    )
    assert guards.is_zip(data)
    assert guards.unpack_mxl(data) == SCORE


def test_an_archive_without_container_or_with_a_wrong_one_gives_its_score():
    assert guards.unpack_mxl(archive([("__MACOSX/a.xml", b"no"), ("a.musicxml", SCORE)])) == SCORE
    wrong = archive([("META-INF/container.xml", CONTAINER.format("absent.xml")), ("a.xml", SCORE)])
    assert guards.unpack_mxl(wrong) == SCORE
    quoted = b"<container><rootfiles><rootfile full-path='I'll Be Home.xml'/></rootfiles></container>"  # Wikifonia
    assert guards.unpack_mxl(archive([("META-INF/container.xml", quoted), ("I'll Be Home.xml", SCORE)])) == SCORE


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"PK\x03\x04 and then nothing", "not a readable"),
        (archive([("readme.txt", b"hello")]), "holds no MusicXML"),
        (archive([("a.xml", SCORE * 50)])[:-60], "not a readable"),
        (archive([("a.xml", SCORE)], compression=zipfile.ZIP_LZMA), "another way than MusicXML allows"),
    ],
)
def test_broken_archives(data, reason):
    with pytest.raises(FormatError, match=reason):
        guards.unpack_mxl(data)


def test_zip_bombs_stop_at_the_limit(monkeypatch):
    monkeypatch.setattr(guards, "MAX_XML_BYTES", 1000)
    assert len(guards.unpack_mxl(archive([("a.xml", b" " * 1000)]))) == 1000
    with pytest.raises(FormatError, match=r"a\.xml unpacks to more than"):
        guards.unpack_mxl(archive([("a.xml", b" " * 1001)]))
    with pytest.raises(FormatError, match=r"container\.xml unpacks to more than"):
        guards.unpack_mxl(archive([("META-INF/container.xml", b" " * (guards.MAX_CONTAINER_BYTES + 1))]))


def test_a_plain_doctype_passes():
    doctype = b'<!DOCTYPE score-partwise PUBLIC "-//Recordare//DTD MusicXML 3.0//EN" "http://x.org/partwise.dtd">'
    assert guards.parse_xml(b"\n <?xml version='1.0'?>" + doctype + SCORE).tag == "score-partwise"
    assert guards.parse_xml("\ufeff<a>é</a>".encode()).text == "é"
    assert guards.parse_xml('<?xml version="1.0" encoding="UTF-16"?><a>é</a>'.encode("utf-16")).text == "é"


@pytest.mark.parametrize(
    ("prolog", "reason"),
    [
        ('<!DOCTYPE a [<!ENTITY l "ha"><!ENTITY m "&l;&l;">]>', "declares the entity 'l'"),
        ('<!DOCTYPE a [<!ENTITY s SYSTEM "file:///etc/passwd">]>', "declares the entity 's'"),
        ('<!DOCTYPE a [<!ENTITY % p SYSTEM "http://x.org/x"> %p;]>', "declares the entity 'p'"),
        (f'<!DOCTYPE a [<!ATTLIST b c CDATA "{"x" * 99}">]>', "attribute defaults"),
    ],
)
def test_declarations_are_refused(prolog, reason):
    for encoding in ("utf-8", "utf-16"):
        data = f"{prolog}<a><b/></a>".encode(encoding)
        with pytest.raises(FormatError, match=reason):
            guards.check_xml(data)
        with pytest.raises(FormatError, match=reason):
            guards.parse_xml(data)


@pytest.mark.parametrize(
    "data", [b"<a><b></a>", b"\x00\x01\x02", b"<a>&nbsp;</a>", b"<?xml version='1.0' encoding='x-y'?><a/>"]
)
def test_what_is_not_well_formed(data):
    with pytest.raises(FormatError, match="well-formed"):
        guards.parse_xml(data)


def test_empty_and_large_and_deep_xml(monkeypatch):
    with pytest.raises(FormatError, match="empty"):
        guards.parse_xml(b" \n ")
    deepest = guards.MAX_XML_DEPTH
    assert guards.parse_xml(b"<a>" * deepest + b"</a>" * deepest).tag == "a"
    with pytest.raises(FormatError, match="nested deeper"):
        guards.parse_xml(b"<a>" * (deepest + 1) + b"</a>" * (deepest + 1))
    monkeypatch.setattr(guards, "MAX_XML_BYTES", 3)
    with pytest.raises(FormatError, match="larger than the limit"):
        guards.check_xml(b"<a/>")


def test_text_encodings():
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        assert guards.decode_text("K:C é".encode(encoding)) == "K:C é"
    with pytest.raises(FormatError, match="0xe9 at byte 4"):
        guards.decode_text("K:C é".encode("latin-1"))
    with pytest.raises(FormatError, match="NUL"):
        guards.decode_text(b"a\0b")
    with pytest.raises(FormatError, match="UTF-16"):
        guards.decode_text(b"\xff\xfea")


def test_abc_may_be_latin_1_and_says_so():
    assert guards.decode_lenient("T:é".encode()) == ("T:é", ())
    text, notes = guards.decode_lenient("T:é".encode("latin-1"))
    assert text == "T:é"
    assert "Latin-1" in notes[0]
    with pytest.raises(FormatError, match="NUL"):
        guards.decode_lenient(b"a\0b")
