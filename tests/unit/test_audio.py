"""Decoding: every format gives the sound of its wav, and every bad file a reason."""

import numpy as np
import pytest
from recordings import by_av, by_soundfile, tune

from clamp3.errors import FormatError
from clamp3.formats import SUFFIXES, Kind, audio
from clamp3.formats.audio import RATE_HZ, Sound
from clamp3.formats.mel import log_mel

# (suffixes, bytes of (samples, rate), rate, smallest correlation with the wav, most samples of delay at 24 kHz)
FORMATS = {
    "wav 16": (lambda x, r: by_soundfile(x, r, "WAV", "PCM_16"), 44_100, 0.99999, 0),
    "wav 24": (lambda x, r: by_soundfile(x, r, "WAV", "PCM_24"), 44_100, 0.99999, 0),
    "wav u8": (lambda x, r: by_soundfile(x, r, "WAV", "PCM_U8"), 44_100, 0.999, 0),
    "flac": (lambda x, r: by_soundfile(x, r, "FLAC"), 44_100, 0.99999, 0),
    "ogg": (lambda x, r: by_soundfile(x, r, "OGG", "VORBIS"), 44_100, 0.999, 0),
    "opus": (lambda x, r: by_soundfile(x, r, "OGG", "OPUS"), 48_000, 0.999, 0),
    "mp3": (lambda x, r: by_soundfile(x, r, "MP3"), 44_100, 0.999, 0),
    "aiff": (lambda x, r: by_soundfile(x, r, "AIFF", "PCM_16"), 44_100, 0.99999, 0),
    "au": (lambda x, r: by_soundfile(x, r, "AU", "PCM_16"), 44_100, 0.99999, 0),
    "m4a": (lambda x, r: by_av(x, r, "ipod", "aac"), 44_100, 0.995, 1200),
    "m4a alac": (lambda x, r: by_av(x, r, "ipod", "alac"), 44_100, 0.99999, 0),
    "aac": (lambda x, r: by_av(x, r, "adts", "aac"), 44_100, 0.995, 1200),
    "wma": (lambda x, r: by_av(x, r, "asf", "wmav2"), 44_100, 0.995, 1200),
    "mp4": (lambda x, r: by_av(x, r, "mp4", "aac"), 44_100, 0.995, 1200),
    "webm": (lambda x, r: by_av(x, r, "webm", "libopus"), 48_000, 0.999, 400),
    "mov u8": (lambda x, r: by_av(x, r, "mov", "pcm_u8"), 44_100, 0.999, 0),
    "mov 16": (lambda x, r: by_av(x, r, "mov", "pcm_s16le"), 44_100, 0.99999, 0),
}


def wav(samples, rate=44_100):
    return by_soundfile(samples, rate, "WAV", "FLOAT")


def aligned(sound, reference, most):
    """Return both without the delay that an encoder puts before its sound."""
    middle = slice(len(reference) // 3, 2 * len(reference) // 3)
    lags = range(-most, most + 1)
    scores = [float(sound[middle.start + lag : middle.stop + lag] @ reference[middle]) for lag in lags]
    lag = lags[int(np.argmax(scores))]
    sound, reference = sound[max(0, lag) :], reference[max(0, -lag) :]
    shared = min(len(sound), len(reference))
    return sound[:shared], reference[:shared]


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_is_the_sound_of_its_wav(format):
    make, rate, correlation, delay = FORMATS[format]
    samples = tune(2, rate=rate)
    reference = Sound(wav(samples, rate), "a.wav").read()
    sound = Sound(make(samples, rate), f"a.{format}")
    decoded = sound.read()
    assert sound.notes == [] and decoded.dtype == np.float32
    assert abs(len(decoded) - 2 * RATE_HZ) <= delay + 1000 * (delay > 0)
    decoded, reference = aligned(decoded, reference, delay)
    assert np.corrcoef(decoded, reference)[0, 1] > correlation
    assert np.abs(decoded).max() == pytest.approx(np.abs(reference).max(), rel=0.05)
    mels = [log_mel(x)[0] for x in (decoded, reference)]
    assert np.corrcoef(*mels)[0, 1] > (0.7 if "u8" in format else 0.95)  # eight bits are 48 dB, the floor is at 80


def test_every_suffix_has_a_format_above():
    tested = {name.split()[0] for name in FORMATS} | {"oga", "aif"}  # second names of ogg and aiff
    assert {suffix[1:] for suffix, kind in SUFFIXES.items() if kind is Kind.AUDIO} == tested - {"mov"}


def test_path_and_bytes_are_the_same_and_the_suffix_may_lie(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(by_soundfile(tune(), 44_100, "FLAC"))
    np.testing.assert_array_equal(Sound(path, "a").read(), Sound(path.read_bytes(), "a").read())
    path.write_bytes(by_av(tune(), 44_100, "ipod", "alac"))
    np.testing.assert_allclose(Sound(path, "a").read(), Sound(wav(tune()), "a").read(), atol=1e-4)


@pytest.mark.parametrize(("rate", "channels"), [(8_000, 1), (24_000, 2), (44_100, 8), (192_000, 2), (44_101, 1)])
def test_any_rate_and_number_of_channels(rate, channels):
    samples = tune(rate=rate, channels=channels)
    decoded = Sound(wav(samples, rate), "a").read()
    assert decoded.shape == (3 * RATE_HZ,)
    assert decoded.std() == pytest.approx(samples.mean(axis=1).std(), rel=0.02)


def test_channels_are_averaged():
    left = tune(channels=1)
    silent = Sound(wav(np.hstack([left, -left])), "a").read()
    assert np.abs(silent).max() < 1e-6
    half = Sound(wav(np.hstack([left, 0 * left])), "a").read()
    np.testing.assert_allclose(half, 0.5 * Sound(wav(left), "a").read(), atol=1e-6)


@pytest.mark.parametrize("format", ["FLAC", "ipod"])
def test_blocks_are_bounded_and_reading_may_stop_early(format):
    samples = tune(18)
    content = by_soundfile(samples, 44_100, "FLAC") if format == "FLAC" else by_av(samples, 44_100, "ipod", "alac")
    blocks = list(Sound(content, "a").blocks())
    assert len(blocks) > 2 and max(map(len, blocks)) < 8 * RATE_HZ
    start = Sound(content, "a").read(longest_sec=7.5)
    assert len(start) == 7.5 * RATE_HZ
    np.testing.assert_array_equal(start, np.concatenate(blocks)[: len(start)])


def test_a_stream_without_frames_holds_no_sound():
    whole = by_soundfile(tune(1), 44_100, "FLAC")
    frames = next(place for place in range(8, len(whole)) if whole[place : place + 2] == b"\xff\xf8")
    with pytest.raises(FormatError, match=r"no sound|no recording|damaged"):
        Sound(whole[:frames], "x.flac").read()


def test_silence_is_a_sound():
    assert not Sound(wav(np.zeros((44_100, 2), np.float32)), "a").read().any()


def damaged(content):
    content = bytearray(content)
    content[len(content) // 2 : len(content) // 2 + 3000] = np.random.default_rng(0).bytes(3000)
    return bytes(content)


@pytest.mark.parametrize("format", ["wav 16", "wav 24", "aiff", "au", "opus"])
def test_a_recording_cut_in_two_is_said(format):
    make, rate, *_ = FORMATS[format]
    whole = make(tune(5, rate=rate), rate)
    sound = Sound(whole[: len(whole) // 2], "a")
    seconds = len(sound.read()) / RATE_HZ
    assert sound.notes == [f"cut off after {seconds:.1f} s"]


def test_a_wav_from_a_pipe_does_not_know_its_length():
    whole = bytearray(by_soundfile(tune(5), 44_100, "WAV", "PCM_16"))
    place = whole.index(b"data") + 4
    whole[4:8] = whole[place : place + 4] = b"\xff" * 4
    sound = Sound(bytes(whole), "a")
    assert len(sound.read()) == 5 * RATE_HZ and sound.notes == []


@pytest.mark.parametrize("format", ["flac", "ogg", "mp3", "m4a", "aac", "wma", "webm"])
@pytest.mark.parametrize("harm", ["cut", "damaged"])
def test_what_is_left_of_a_file_is_used_with_a_note_or_its_reason_told(format, harm):
    make, rate, _, delay = FORMATS[format]
    whole = make(tune(5, rate=rate), rate)
    content = whole[: len(whole) // 2] if harm == "cut" else damaged(whole)
    sound = Sound(content, "a")
    try:
        decoded = sound.read()
    except FormatError as error:
        assert format == "m4a" and harm == "cut", error  # its table of contents is at the end
        return
    assert 0.7 * RATE_HZ < len(decoded) < 5.1 * RATE_HZ
    good = Sound(wav(tune(5, rate=rate), rate), "a").read()
    start = round(0.7 * RATE_HZ)
    decoded, good = aligned(decoded[:start], good[:start], delay)
    assert np.corrcoef(decoded, good)[0, 1] > 0.99
    if format in ("flac", "mp3", "aac") or harm == "cut":
        assert sound.notes


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "is empty"),
        (b"RIFF\x00\x00\x00\x00WAVE", "no recording"),
        (wav(tune())[:44], "no recording|no sound"),
        (wav(np.zeros((0, 1), np.float32)), "no sound"),
        (b"hello world " * 1000, "no recording"),
        (bytes(100_000), "no recording"),
        (np.random.default_rng(1).bytes(100_000), "no recording"),
        (b"\x89PNG\r\n\x1a\n" + bytes(1000), "type that is not read"),
        (b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n/etc/passwd\n#EXT-X-ENDLIST\n", "no recording"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", "type that is not read"),
        (wav(np.full((44_100, 1), np.nan, np.float32)), "NaN or infinite"),
        (wav(np.array([[0.0], [np.inf], [0.0]], np.float32)), "NaN or infinite"),
        (wav(np.zeros((100, 65), np.float32)), "65 channels; 64 are the limit"),
        (wav(np.zeros((100, 1), np.float32), rate=500), "500 samples per second"),
    ],
)
def test_what_is_no_recording_has_a_reason(content, match):
    with pytest.raises(FormatError, match=match):
        Sound(content, "a.wav").read()


def test_limits_of_size_and_length(monkeypatch, tmp_path):
    content = wav(tune(3))
    monkeypatch.setattr(audio, "MAX_SEC", 2.0)
    with pytest.raises(FormatError, match="longer than the limit"):
        Sound(content, "a").read()
    assert len(Sound(content, "a").read(longest_sec=1.0)) == RATE_HZ
    monkeypatch.setattr(audio, "MAX_BYTES", 1000)
    with pytest.raises(FormatError, match="larger than the limit"):
        Sound(content, "a").read()
    with pytest.raises(FormatError, match="cannot be read"):
        Sound(tmp_path / "absent.wav", "a").read()


def mp3_frames(data):
    """Return the frames of an MPEG 1 layer III stream."""
    kbits = [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320]
    frames, at = [], 0
    while at + 4 < len(data):
        size = 144_000 * kbits[data[at + 2] >> 4] // 44_100 + (data[at + 2] >> 1 & 1)
        frames.append(data[at : at + size])
        at += size
    return frames


def likeness(sound, other):
    n = min(len(sound), len(other))
    return float(np.corrcoef(sound[:n], other[:n])[0, 1])


def quiet_then_loud():
    """Return sound whose first seconds need few bits, so that an estimate from the first frame is far off."""
    samples = tune(4)
    samples[: 44_100 // 2] *= 1e-4
    return samples


def test_mp3_without_a_header_is_read_to_its_end_and_not_called_cut_off():
    whole = by_soundfile(quiet_then_loud(), 44_100, "MP3", "MPEG_LAYER_III")
    bare = b"".join(mp3_frames(whole)[1:])
    picture = b"ID3\x03\0\0" + bytes([0, 2, 0, 0]) + bytes(2 << 14)
    for data in (bare, bare + b"TAG" + bytes(125), picture + bare):
        sound = Sound(data, "a.mp3")
        assert likeness(sound.read()[1105 * 240 // 441 :], Sound(whole, "b.mp3").read()) > 0.99
        assert sound.seconds == pytest.approx(4, abs=0.1)
        assert not sound.notes


@pytest.mark.parametrize(
    ("format", "subtype", "rate"),
    [("MP3", "MPEG_LAYER_III", 44_100), ("OGG", "VORBIS", 44_100), ("OGG", "OPUS", 48_000)],
)
def test_streams_in_a_row_are_all_read(format, subtype, rate):
    parts = [by_soundfile(tune(3, rate, seed=seed), rate, format, subtype) for seed in (1, 2)]
    first, second = (Sound(part, "part").read() for part in parts)
    for longest_sec in (None, 4.0):
        sound = Sound(b"".join(parts), "both")
        both = sound.read(longest_sec)
        assert likeness(both, first) > 0.99
        gap = len(both) - len(first) - len(second)  # encoders' delay and padding
        assert longest_sec or 0 <= gap < 0.1 * RATE_HZ
        assert max(likeness(both[len(first) + lag :], second) for lag in range(0, 2400)) > 0.9
        assert not sound.notes


def test_streams_in_a_row_may_differ_in_rate_and_channels():
    data = by_soundfile(tune(2), 44_100, "MP3") + by_soundfile(tune(2, 48_000, 1), 48_000, "MP3")
    sound = Sound(data, "both.mp3")
    sound.read()
    assert sound.seconds == pytest.approx(4, abs=0.1)


def test_lengths_that_are_not_stated_are_no_damage():
    samples = tune(2)
    flac = bytearray(by_soundfile(samples, 44_100, "FLAC"))
    flac[21] &= 0xF0
    flac[22:26] = bytes(4)
    wav = by_soundfile(samples, 44_100, "WAV")
    at = wav.index(b"data") + 4
    for data in (bytes(flac), wav[:4] + bytes(4) + wav[8:at] + bytes(4) + wav[at + 4 :]):
        sound = Sound(data, "piped")
        np.testing.assert_allclose(sound.read(), Sound(wav, "whole").read(), atol=1e-4)
        assert not sound.notes
