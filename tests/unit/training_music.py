"""A small made-up training set: scores, some performances, audio features that follow the key, and their JSONL."""

from __future__ import annotations

import json
import random
import socket

import numpy as np

KEYS = ("C", "D", "G", "Am", "F", "Bb")
N_PIECES = 24
AUDIO_WIDTH = 32


def write_music(folder):
    """Write 24 short pieces, every third also as MTF, all with audio features; return the folder."""
    rng, noise = random.Random(0), np.random.default_rng(0)
    of_key = noise.standard_normal((len(KEYS), AUDIO_WIDTH))
    rows = []
    for i in range(N_PIECES):
        key = KEYS[i % len(KEYS)]
        bars = "|".join("".join(rng.choice("CDEFGAB") for _ in range(4)) for _ in range(3 + i % 5))
        names = [f"p{i:02d}.abc"]
        (folder / names[0]).write_text(f'L:1/8\nM:4/4\nK:{key}\nV:1 nm="Flute"\n[V:1]{bars}|]\n')
        if i % 3 == 0:
            names.append(f"p{i:02d}.mtf")
            notes = "".join(f"note_on {rng.randint(0, 9)} 0 {rng.randint(50, 70)} 80\n" for _ in range(9))
            (folder / names[1]).write_text(f"ticks_per_beat 480\nprogram_change 0 0 73\n{notes}")
        names.append(f"p{i:02d}.npy")
        features = of_key[i % len(KEYS)] + 0.3 * noise.standard_normal((1, 4 + i % 7, AUDIO_WIDTH))
        np.save(folder / names[-1], features.astype(np.float32))
        rows.append({"id": f"p{i}", "title": f"Piece {i}", "analysis": f"key {key} number {i}", "filepaths": names})
    write_rows(folder / "train.jsonl", rows)
    return folder


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def read_rows(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def write_text_model(folder):
    """Write a word tokenizer and the sizes of a small text tower; return the folder."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = ["<s>", "<pad>", "</s>", "<unk>", "Piece", "key", "number", *KEYS, *map(str, range(N_PIECES))]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    sizes = {"model_type": "xlm-roberta", "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
             "intermediate_size": 64, "max_position_embeddings": 34, "vocab_size": len(words), "type_vocab_size": 1,
             "pad_token_id": 1}  # fmt: skip
    (folder / "config.json").write_text(json.dumps(sizes))
    return folder


def free_port():
    """Return a port that nothing listens on, for the rendezvous of ranks."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return str(found.getsockname()[1])
