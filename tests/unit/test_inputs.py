"""What `encode` takes in memory: tunes as strings, bytes, arrays, tensors, objects of music21 and mido; its answer."""

import io

import mido
import music21
import numpy as np
import pytest
import torch

from clamp3.embedding.clamp3 import Clamp3
from clamp3.errors import FormatError
from clamp3.formats import Kind
from clamp3.formats.content import kind_in
from clamp3.sources import is_item, sentence, source_of

TUNE = "X:1\nT:The Kesh\nM:6/8\nL:1/8\nK:G\nGAG GAB|ABA ABd|edd gdd|edB dBA|\n"
INTERLEAVED = "%%score 1\nL:1/8\nM:6/8\nK:G\nV:1 treble\n[V:1]GAG GAB|\n[V:1]ABA ABd|\n"
MTF = "ticks_per_beat 480\nset_tempo 500000 0\nnote_on 0 0 60 64\nnote_on 480 0 60 0\n"
RATE = 44_100


@pytest.fixture(scope="module")
def mini():
    return Clamp3.from_pretrained("mini")


def cosine(a, b):
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


@pytest.mark.parametrize("text", [TUNE, TUNE.replace("\n", "\r\n"), INTERLEAVED, "% a comment\n" + TUNE, MTF])
def test_a_tune_as_a_string_is_the_tune_as_a_file(mini, tmp_path, text):
    path = tmp_path / ("a.mtf" if text is MTF else "a.abc")
    path.write_text(text, newline="")
    encoded = mini.encode([text, path, sentence(text)])
    assert cosine(*encoded.vectors[:2]) == pytest.approx(1, abs=1e-6)
    assert cosine(encoded.vectors[0], encoded.vectors[2]) < 0.9
    assert encoded.names[0] == f"a string of kind {path.suffix[1:]}"
    assert mini.encode(text).vectors.shape == (1, 256)


@pytest.mark.parametrize(
    "words",
    [
        "an Irish jig\nin 6/8",
        "Title: The Kesh\nKey: G\n",
        "K: a slow air\n",
        "T: The Kesh\nsome | bars",
        "X marks the spot\nK:G\n|",
        "K:G GAG GAB|ABA|",
        "<p>\nwords</p>",
        "",
    ],
)
def test_words_stay_words(words):
    assert kind_in(words) is None and source_of(words).kind is Kind.TEXT


def test_bytes_that_show_what_they_are_need_no_kind(mini, tmp_path):
    file = mido.MidiFile()
    file.tracks.append(mido.MidiTrack([mido.Message("note_on", note=n, time=0) for n in (60, 64, 67)]))
    out = io.BytesIO()
    file.save(file=out)
    with_kind, bare, bytearray_, as_object, alone = (
        mini.encode(what).vectors[0]
        for what in ((out.getvalue(), Kind.MIDI), out.getvalue(), [bytearray(out.getvalue())], [file], file)
    )
    for vector in (bare, bytearray_, as_object, alone):
        np.testing.assert_array_equal(vector, with_kind)
    xml = music21.musicxml.m21ToXml.GeneralObjectExporter(music21.converter.parse(TUNE, format="abc")).parse()
    assert source_of(xml).kind is Kind.MUSICXML and source_of(TUNE.encode()).kind is Kind.ABC
    assert source_of((TUNE.encode(), "abc")).kind is Kind.ABC


def test_a_music21_stream_is_its_score(mini, tmp_path):
    score = music21.converter.parse(TUNE, format="abc")
    path = tmp_path / "a.musicxml"
    score.write("musicxml", path)
    encoded = mini.encode([score, path])
    assert cosine(*encoded.vectors) == pytest.approx(1, abs=1e-4)  # the exporter writes the date of the day
    assert mini.encode(score).vectors.shape == (1, 256)
    assert encoded.names[0] == "a music21 Score"


def test_tensors_are_samples_with_the_channels_first(mini):
    mono = np.random.default_rng(0).normal(0, 0.1, 2 * RATE).astype(np.float32)
    stereo = np.stack([mono, mono[::-1]], 1)
    encoded = mini.encode(
        [
            (mono, RATE),
            (torch.from_numpy(mono), RATE),
            (torch.from_numpy(mono[None]).half().float().double(), RATE),
            (stereo, RATE),
            (torch.from_numpy(stereo.T.copy()), RATE),
        ]
    )
    np.testing.assert_array_equal(encoded.vectors[0], encoded.vectors[1])
    assert cosine(encoded.vectors[0], encoded.vectors[2]) > 0.999
    np.testing.assert_array_equal(encoded.vectors[3], encoded.vectors[4])
    assert mini.encode((torch.from_numpy(mono), RATE)).vectors.shape == (1, 256)


def test_recordings_of_librosa_torchaudio_soundfile_and_datasets_are_taken_as_they_come(mini):
    rng = np.random.default_rng(0)
    whole = (rng.normal(0, 0.1, (2, 2 * RATE)) * 32768).astype(np.int16)  # (channels, N)
    floats = (whole / 32768).astype(np.float32)
    wide = whole.astype(np.int32) << 16
    items = [
        (floats, float(RATE)),  # librosa.load(mono=False)
        (floats.T, RATE),  # soundfile.read
        (torch.from_numpy(floats), RATE),  # torchaudio.load
        (torch.from_numpy(whole), RATE),  # torchaudio.load(normalize=False)
        (whole.T, np.int64(RATE)),  # scipy.io.wavfile.read
        (wide.T, RATE),
        (floats.astype(np.float64), RATE),
        {"array": floats, "sampling_rate": RATE, "path": None},  # datasets.Audio
    ]
    encoded = mini.encode(items)
    assert encoded.errors == [None] * len(items)
    for vector in encoded.vectors[1:]:
        np.testing.assert_array_equal(vector, encoded.vectors[0])
    assert mini.encode(items[-1]).vectors.shape == mini.encode(items[0]).vectors.shape == (1, 256)
    coarse = (floats[0] * 128 + 128).round().astype(np.uint8)
    assert cosine(*mini.encode([(coarse, RATE), (floats[0], RATE)]).vectors) > 0.99


def test_inputs_come_from_arrays_and_tables_of_strings_and_from_generators(mini):
    pandas = pytest.importorskip("pandas")
    expected = mini.encode([TUNE, "a jig"]).vectors
    for items in (np.array([TUNE, "a jig"]), pandas.Series([TUNE, "a jig"]), (item for item in (TUNE, "a jig"))):
        np.testing.assert_array_equal(mini.encode(items).vectors, expected)


@pytest.mark.parametrize(
    ("item", "said"),
    [
        (np.zeros(9), r"give \(samples, rate\)"),
        (torch.zeros(9), r"give \(samples, rate\)"),
        ((RATE, np.zeros(9, np.float32)), "samples come first"),
        ((np.zeros(9, np.int64), RATE), "not int64; .*divided by full scale"),
        ((torch.zeros(9, dtype=torch.int64), RATE), "not int64; .*divided by full scale"),
        ((np.zeros(9, bool), RATE), "not bool"),
        ((np.zeros((70, 900), np.float32), RATE), "too many channels; 64 are the limit"),
        ((np.zeros((1, 2, 900), np.float32), RATE), r"have shape \(N,\), \(N, channels\) or \(channels, N\)"),
        ({"array": np.zeros(9), "sampling_rate": None}, "None is no sampling rate"),
        ((np.zeros(9, np.float32), "44100"), "no sampling rate"),
        (b"no music at all", r"give \(bytes, kind\), the kind one of text, musicxml"),
        ((b"x", "midee"), "'midee' is no kind of file; there are text, musicxml"),
        (io.BytesIO(b"MThd"), "a music21 stream or a mido.MidiFile, not BytesIO; write it to a file"),
        (mido.Message("note_on"), "a mido Message cannot be written as midi"),
        (None, "not NoneType"),
    ],
)
def test_what_cannot_be_taken_is_refused_with_what_to_do(mini, item, said):
    assert is_item(item) is not isinstance(item, io.BytesIO)
    with pytest.raises(FormatError, match=said):
        source_of(item)
    encoded = mini.encode([item, "a jig"])
    assert encoded.ok.tolist() == [False, True] and "\n" not in encoded.names[0]


def test_errors_are_true_if_there_are_any_and_the_answer_is_short(mini):
    good, bad = mini.encode(["a jig", TUNE]), mini.encode(["a jig", "lost.mid"])
    assert not good.errors and good.errors == [None, None] and good.errors[0] is None
    assert bad.errors and bad.errors[0] is None and "lost.mid does not exist" in bad.errors[1]
    assert repr(good) == "Encoded(2 inputs, vectors (2, 256) float32)"
    assert repr(bad) == "Encoded(2 inputs, vectors (2, 256) float32, 1 without a vector (see errors))"
    assert len(repr(mini.encode(["a jig"] * 200, temporal=True))) < 100
    assert "2 passages" in repr(mini.encode([TUNE], windows_bars=2, hop_bars=2))
