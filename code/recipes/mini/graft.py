"""Give a model the text tower of words.py, to be trained from; or write a trained one as small as it ships.

python code/recipes/mini/graft.py OUT_DIR --text runs/mini2/text --model mini
python code/recipes/mini/graft.py OUT_DIR --text runs/mini2/text --trained runs/mini2/audio/best.safetensors

A graft has a projection from text drawn at random; all else is what it was. Written as it ships, the word table, which
no training step moves, has rows of 8 bits and the map that widens them, the layers' matrices 8 bits, the rest 16;
topic.json beside it tells questions about music from others (topic.py).
OUT_DIR gets mini.safetensors, tokenizer.json and config.json.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # `recipes` and `clamp3`, without installation

from clamp3.cli import parser_for, run

SEED = 42
LENGTH = 96
WORDS = "text_model.embeddings.word_embeddings.weight"
MOVED = 1e-4  # a difference of the word table by more than rounding


def build_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = parser_for(__doc__)
    parser.add_argument("out_dir", type=Path, help="folder to write to")
    parser.add_argument("--text", type=Path, required=True, help="what words.py wrote")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--model", default="mini", help="model whose other towers stay (default: mini)")
    which.add_argument("--trained", type=Path, help="checkpoint with that text tower, to be written small")
    return parser


def graft(text: Path, name: str) -> tuple[Any, Any]:
    """Return a model with another text tower, and its configuration.

    Parameters
    ----------
    text : Path
        Folder that words.py wrote.
    name : str
        Of the model whose other towers stay.
    """
    import torch
    from safetensors.torch import load_file

    from clamp3.formats.tables import read_json
    from clamp3.models.clamp3 import Clamp3Model
    from clamp3.models.config import TowerConfig
    from clamp3.models.weights import describe, load_model

    loaded = load_model(name, [tower for tower in describe(name).config.towers if tower != "text"])
    sizes = read_json(text / "config.json", dict[str, Any])
    config = replace(loaded.config, text=TowerConfig.from_transformers(sizes), text_length=LENGTH)
    torch.manual_seed(SEED)
    model = Clamp3Model(config)
    tower = {f"text_model.{key}": value for key, value in load_file(text / "model.safetensors").items()}
    drawn = {key: value for key, value in model.state_dict().items() if key.startswith("text_proj.")}
    model.load_state_dict(drawn | loaded.model.state_dict() | tower)
    return model, config


def small_matrices(text: Path, state: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return the matrices that are stored in 8 bits, each with the map that widens its rows, or None.

    Parameters
    ----------
    text : Path
        Folder that words.py wrote.
    state : dict of str to Tensor
        Of the model.

    Raises
    ------
    DataError
        If the word table is no longer that of ``text``.
    """
    from safetensors.torch import load_file

    from clamp3.errors import DataError

    factors = load_file(text / "table.safetensors")
    apart = float((factors["table"] @ factors["lift"].T - state[WORDS]).abs().max())
    if apart > MOVED:
        raise DataError(f"the word table differs from that of {text} by {apart:.1g}; train with --train_layers text=2.")
    layers = {name: value for name, value in state.items() if re.search(r"(encoder|patch_embedding).*weight$", name)}
    return {name: (value, None) for name, value in layers.items() if value.ndim == 2} | {
        WORDS: (factors["table"], factors["lift"])
    }


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    args = build_parser().parse_args(argv)
    import torch

    from clamp3.models.weights import describe, load_model, save_safetensors
    from recipes.mini.run import require_small
    from recipes.mini.topic import write_topic

    args.out_dir.mkdir(parents=True, exist_ok=True)
    info: dict[str, Any] = {"recipe": "code/recipes/mini", "seed": SEED}
    if args.trained:
        loaded = load_model(args.trained, towers=describe(args.trained).config.towers, text_model=args.text)
        model, config = loaded.model, loaded.config
        info["data"] = "music21 corpus and the collections of docs/mini.md"
    else:
        model, config = graft(args.text, args.model)
        info["other towers"] = args.model
    small = small_matrices(args.text, model.state_dict()) if args.trained else {}
    out = args.out_dir / "mini.safetensors"
    save_safetensors(model, config, out, dtype=torch.float16 if args.trained else torch.float32, info=info, int8=small)
    for name in ("tokenizer.json", "config.json"):
        shutil.copyfile(args.text / name, args.out_dir / name)
    if args.trained:
        require_small(out)
        write_topic(out)
    print(f"{out}: {out.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    raise SystemExit(run(main))
