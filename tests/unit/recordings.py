"""Recordings made for tests: a tune with two voices, in every format there is an encoder for."""

import io

import numpy as np


def tune(seconds=3.0, rate=44_100, channels=2, seed=0):
    """Return (N, channels) float32: notes of a scale, a little different in each channel."""
    rng = np.random.default_rng(seed)
    length = round(0.25 * rate)
    time = np.arange(length) / rate
    fade = np.exp(-6 * time) * np.minimum(1, 200 * time) * np.minimum(1, 200 * time[::-1])
    out = np.zeros((round(seconds * rate), channels), np.float32)
    for channel in range(channels):
        for start in range(0, len(out), length):
            note = 0.4 * fade * np.sin(2 * np.pi * 220 * 2 ** (rng.integers(0, 24) / 12) * time)
            out[start : start + length, channel] = note[: len(out) - start]
    return out


def by_soundfile(samples, rate, format, subtype=None, **kwargs):
    """Return the bytes of a file that libsndfile writes."""
    import soundfile

    out = io.BytesIO()
    soundfile.write(out, samples, rate, format=format, subtype=subtype, **kwargs)
    return out.getvalue()


def by_av(samples, rate, container, codec):
    """Return the bytes of a file that FFmpeg's encoders write."""
    import av

    out = io.BytesIO()
    layout = {1: "mono", 2: "stereo"}[samples.shape[1]]
    with av.open(out, "w", format=container) as file:
        stream = file.add_stream(codec, rate=rate)
        stream.layout, stream.bit_rate = layout, 192_000
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples.T), format="fltp", layout=layout)
        frame.sample_rate = rate
        size = stream.codec_context.frame_size or 1024
        cut = av.AudioResampler(format=stream.format.name, layout=layout, rate=rate, frame_size=size)
        for piece in [*cut.resample(frame), *cut.resample(None)]:
            file.mux(stream.encode(piece))
        file.mux(stream.encode(None))
    return out.getvalue()
