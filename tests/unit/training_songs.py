"""A small made-up world of songs: mel frames and words that follow a theme, and pairs that follow a hidden taste."""

import numpy as np
from training_music import KEYS, write_rows, write_text_model

N_SONGS, N_FRAMES, N_BINS = 24, 40, 128


def write_songs(folder):
    """Write a text model, songs.jsonl with mel frames, and pairs.jsonl; return the folder."""
    write_text_model(folder)
    noise = np.random.default_rng(3)
    themes = noise.standard_normal((len(KEYS), N_BINS))
    rows = []
    for i in range(N_SONGS):
        frames = themes[i % len(KEYS)] + 0.3 * noise.standard_normal((1, N_FRAMES, N_BINS))
        np.save(folder / f"s{i}.npy", ((frames - frames.mean()) / frames.std()).astype(np.float16))
        rows.append({"id": f"s{i}", "text": f"Piece key {KEYS[i % len(KEYS)]} number {i}", "mel": f"s{i}.npy"})
    write_rows(folder / "songs.jsonl", rows)
    pairs = [(i, j) for i in range(N_SONGS) for j in range(N_SONGS) if i != j and i % 4 == j % 4]
    write_rows(folder / "pairs.jsonl", [{"trigger": f"s{i}", "song": f"s{j}"} for i, j in pairs])
    return folder


def flags_of(values):
    """Return the command line of some settings."""
    return [part for name, value in values.items() for part in (f"--{name}", *map(str, np.atleast_1d(value)))]


SMALL = {"audio_width": 32, "audio_layers": 1, "audio_heads": 2, "audio_feed_forward": 48, "audio_channels": 16,
         "n_frames": N_FRAMES, "hidden_size": 12, "batch_size": 6, "epochs": 2, "log_every": 1, "save_every": 0,
         "learning_rate": 1e-3, "encoder_rate": 1e-4}  # fmt: skip
