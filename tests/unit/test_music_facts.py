"""What files say of their music: headers of scores, messages of MIDI, tags of recordings; damage gives no facts."""

import io

import mido
import mutagen
import pytest
from recordings import by_soundfile, tune

from clamp3.formats import Kind
from clamp3.formats.music_facts import MusicFacts, facts_of

MUSICXML = b"""<?xml version="1.0"?><score-partwise version="4.0"><work><work-title>Lied &amp; Tanz</work-title></work>
<identification><creator type="composer">Clara &lt;W.&gt; Schumann</creator><creator type="lyricist">H. Heine</creator>
</identification><part-list><score-part id="P1"><part-name>Piano</part-name></score-part></part-list><part id="P1">
<measure number="1"><attributes><divisions>1</divisions><key><fifths>-3</fifths><mode>minor</mode></key>
<time><beats>6</beats><beat-type>8</beat-type></time></attributes><sound tempo="72.5"/>
</measure></part></score-partwise>"""
KERN = b"!!!COM: Chopin, Fryderyk\n!!!OTL: Mazurka\n**kern\n*M3/4\n*MM120\n*b-:\n4c\n*-\n"
MEI = b"""<mei xmlns="http://www.music-encoding.org/ns/mei"><meiHead><fileDesc><titleStmt><title>Air</title>
<respStmt><persName role="composer">Holst, Gustav</persName></respStmt></titleStmt></fileDesc></meiHead><music><body>
<mdiv><score><scoreDef meter.count="2" meter.unit="2"/></score></mdiv></body></music></mei>"""


@pytest.mark.parametrize(
    "head, expected",
    [
        (
            "C:J.S. Bach\nM:C|\nQ:1/2=60\nK:Bbm",
            {"composer": "J.S. Bach", "metre": "2/2", "tempo": 120.0, "key": "Bb minor"},
        ),
        (
            "R:reel\nB:O'Neill\nM:C\nQ:100\nK:Ador",
            {"genre": "reel", "album": "O'Neill", "metre": "4/4", "key": "A dorian"},
        ),
        ('Q:"Allegro" 1/4=132\nK:F# mixolydian', {"tempo": 132.0, "key": "F# mixolydian"}),
        ("M:none\nQ:Allegro\nK:HP", {"metre": "", "tempo": None, "key": ""}),
    ],
)
def test_headers_of_abc(head, expected):
    found = facts_of(f"X:1\nT:Tune\n{head}\nCDEF|\n".encode(), Kind.ABC)
    assert found.title == "Tune" and {name: getattr(found, name) for name in expected} == expected


def test_headers_of_scores():
    assert facts_of(MUSICXML, Kind.MUSICXML) == MusicFacts(
        title="Lied & Tanz", composer="Clara <W.> Schumann", artist="H. Heine", key="C minor", metre="6/8", tempo=72.5
    )
    assert facts_of(KERN, Kind.SCORE) == MusicFacts(
        title="Mazurka", composer="Fryderyk Chopin", key="Bb minor", metre="3/4", tempo=120.0
    )
    found = facts_of(MEI, Kind.SCORE)
    assert (found.title, found.composer, found.metre) == ("Air", "Gustav Holst", "2/2")


def midi_bytes(*messages, ticks_per_beat=480):
    file = mido.MidiFile(ticks_per_beat=ticks_per_beat)
    file.tracks.append(mido.MidiTrack(messages))
    out = io.BytesIO()
    file.save(file=out)
    return out.getvalue()


def test_messages_of_midi_and_its_duration_by_all_tempos():
    data = midi_bytes(
        mido.MetaMessage("key_signature", key="F#m"),
        mido.MetaMessage("time_signature", numerator=3, denominator=4),
        mido.MetaMessage("set_tempo", tempo=500_000),
        mido.Message("note_on", note=60, velocity=80),
        mido.MetaMessage("set_tempo", tempo=1_000_000, time=960),  # two beats of half a second before it
        mido.Message("note_off", note=60, time=480),  # and one of a second
    )
    found = facts_of(data, Kind.MIDI)
    assert (found.key, found.metre, found.tempo, found.duration) == ("F# minor", "3/4", 120.0, 2.0)
    assert facts_of(midi_bytes(mido.Message("note_on", note=60, velocity=80)), Kind.MIDI).tempo is None


def test_messages_of_mtf():
    text = b"ticks_per_beat 480\nset_tempo 400000 0\ntime_signature 6 8 24 8 0\nkey_signature Bb 0\nnote_on 0 0 60 80\n"
    found = facts_of(text, Kind.MTF)
    assert (found.tempo, found.metre, found.key) == (150.0, "6/8", "Bb major")


@pytest.mark.parametrize("suffix, form", [(".flac", "FLAC"), (".ogg", "OGG"), (".mp3", "MP3")])
def test_tags_of_recordings(tmp_path, suffix, form):
    path = tmp_path / f"take{suffix}"
    path.write_bytes(by_soundfile(tune(1.0), 44_100, form))
    assert facts_of(path, Kind.AUDIO).duration == pytest.approx(1.0, abs=0.1)
    tags = mutagen.File(path, easy=True)
    if tags.tags is None:
        tags.add_tags()
    said = {
        "title": "Für Élise",
        "artist": "Ann\nBo",
        "album": "X" * 300,
        "date": "1998-03",
        "bpm": "93",
        "genre": "salon",
    }
    for name, value in said.items():
        tags[name] = value
    tags.save()
    found = facts_of(path, Kind.AUDIO)
    assert (found.title, found.artist, found.year, found.tempo, found.genre) == (
        "Für Élise",
        "Ann Bo",
        1998,
        93.0,
        "salon",
    )
    assert len(found.album) == 200 and found.album.endswith("…") and found.composer == ""


@pytest.mark.parametrize("kind", [Kind.ABC, Kind.MUSICXML, Kind.SCORE, Kind.MIDI, Kind.MTF, Kind.TEXT])
@pytest.mark.parametrize("data", [b"", b"\xff\xfe\x00", b"MThd\0\0\0\x06\0\x01", b"PK\3\4junk", b"X:1\nQ:1/0=1\nK:C\n"])
def test_damage_gives_no_facts_and_no_error(kind, data):
    found = facts_of(data, kind)
    assert found.duration is None and found.tempo is None and found.composer == ""


def test_a_damaged_recording_gives_no_facts(tmp_path):
    path = tmp_path / "take.flac"
    path.write_bytes(b"fLaC" + bytes(100))
    assert facts_of(path, Kind.AUDIO) == MusicFacts()
    assert facts_of(tmp_path / "absent.mp3", Kind.AUDIO) == MusicFacts()
