"""Give a model another text tower: that of words.py, taught to meet the model's vectors of music, which stay.

python code/recipes/mini/retext.py OUT_DIR --blend runs/mini2/blend --text runs/mini2/text --model mini

The music of blend.py's records is encoded once (kept in OUT_DIR/cache). Then the text tower learns from pairs of texts
and music, a cross-entropy over the batch in both directions, and goes on learning from the teacher of words.py, so that
words of which no record speaks keep their place. The word table does not move. Every vector of scores, MIDI and sound
stays as it was, and so do all that compare them. OUT_DIR gets mini.safetensors, tokenizer.json and retext.json.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import re
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # `recipes` and `clamp3`, without installation

from clamp3.cli import parser_for, run

SEED = 42
LENGTH = 96
SAVE_EVERY = 25
WORDS = "text_model.embeddings.word_embeddings.weight"


def build_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = parser_for(__doc__)
    parser.add_argument("out_dir", type=Path, help="folder to write to")
    parser.add_argument("--blend", type=Path, required=True, help="what blend.py wrote")
    parser.add_argument("--text", type=Path, required=True, help="what words.py wrote")
    parser.add_argument("--model", default="mini", help="model whose music towers stay (default: mini)")
    parser.add_argument("--steps", type=int, default=2000, help="of training (default: %(default)s)")
    parser.add_argument("--batch_size", type=int, default=256, help="pairs of a step (default: %(default)s)")
    parser.add_argument("--teacher_texts", type=int, default=64, help="of the teacher in a step (default: 64)")
    parser.add_argument("--learning_rate", type=float, default=6e-4, help="highest rate (default: %(default)s)")
    parser.add_argument("--logit_scale", type=float, default=20.0, help="factor on cosines (default: %(default)s)")
    parser.add_argument("--line_keep", type=float, default=0.1, help="share of a record's lines in a text")
    return parser


def music_vectors(records: Sequence[dict[str, Any]], model: Any) -> Any:
    """Return (N, 2, D) unit vectors: of every record's first and last file.

    Parameters
    ----------
    records : sequence of dict
    model : clamp3.embedding.clamp3.Clamp3
    """
    import numpy as np

    from clamp3.index.ranking import unit_rows
    from recipes.mini.evaluate import Vectors

    encode = Vectors(model)
    both = [encode([Path(record["filepaths"][at]) for record in records]) for at in (0, -1)]
    return np.stack([unit_rows(vectors) for vectors in both], axis=1).astype(np.float32)


def kept_vectors(path: Path, records: Sequence[dict[str, Any]], model: Any) -> Any:
    """Return what `music_vectors` returns, from a file if it holds these records by this model.

    Parameters
    ----------
    path : Path
        Of the file, written if it is absent or of others.
    records : sequence of dict
    model : clamp3.embedding.clamp3.Clamp3
    """
    import io

    import numpy as np

    from clamp3.jobs.atomic import write_bytes

    whose = json.dumps([model.identity, *(record["id"] for record in records)])
    if path.exists():
        with np.load(path) as stored:
            if str(stored["whose"]) == whose:
                return stored["vectors"]
    vectors, buffer = music_vectors(records, model), io.BytesIO()
    np.savez(buffer, whose=np.array(whose), vectors=vectors)
    write_bytes(path, buffer.getvalue())
    return vectors


class Student:
    """The new text tower: words of the table, layers, a projection to the joint space, the head to the teacher."""

    def __init__(self, folder: Path, width: int):
        import numpy as np
        import torch
        from torch import nn

        from clamp3.models.tokenizer import load_tokenizer
        from recipes.mini import words

        torch.manual_seed(SEED)
        self.config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        self.tokenizer = load_tokenizer(folder)
        with np.load(folder / "teacher.npz") as stored:
            self.table, self.targets = torch.from_numpy(stored["table"]), torch.from_numpy(stored["targets"])
        self.targets -= self.targets.mean(dim=0)
        self.parts = words.student(self.table.numpy(), self.config, SEED)
        _, _, *states = torch.load(folder / "layers.pt", weights_only=True)
        for part, state in zip(self.parts, states, strict=True):
            part.load_state_dict(state)
        self.projection = nn.Linear(int(self.config["hidden_size"]), width)
        self.parts[0].embeddings.word_embeddings.weight.requires_grad_(False)
        modules = (*self.parts, self.projection)
        self.weights = [weight for part in modules for weight in part.parameters() if weight.requires_grad]

    def hidden(self, ids: Sequence[Sequence[int]]) -> Any:
        """Return (N, W) means of the last hidden states."""
        import torch

        from clamp3.models.towers import masked_mean

        rows = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in ids], batch_first=True, padding_value=1)
        mask = rows != 1
        return masked_mean(self.parts[0](inputs_embeds=self.parts[1](self.table[rows]), attention_mask=mask), mask)

    def __call__(self, ids: Sequence[Sequence[int]]) -> Any:
        """Return (N, D) unit vectors of the joint space; texts of one length are encoded together."""
        import torch

        order = sorted(range(len(ids)), key=lambda at: len(ids[at]))
        parts = [self.hidden([ids[at] for at in order[start : start + 64]]) for start in range(0, len(ids), 64)]
        back = torch.tensor(order).argsort()
        return torch.nn.functional.normalize(self.projection(torch.cat(parts))[back], dim=-1)

    def teacher_loss(self, ids: Sequence[Sequence[int]], chosen: Sequence[int]) -> Any:
        """Return 1 - cosine to the teacher's vectors of some of its texts.

        Parameters
        ----------
        ids : sequence of sequences of int
            Of those texts.
        chosen : sequence of int
            Which they are.
        """
        import torch

        return (1 - torch.cosine_similarity(self.parts[2](self.hidden(ids)), self.targets[list(chosen)])).mean()

    def state(self) -> dict[str, Any]:
        """Return everything that is learned."""
        names = ("tower", "lift", "head", "projection")
        return {name: part.state_dict() for name, part in zip(names, (*self.parts, self.projection), strict=True)}

    def load(self, state: dict[str, Any]) -> None:
        """Take over what `state` returned."""
        for part, values in zip((*self.parts, self.projection), state.values(), strict=True):
            part.load_state_dict(values)


def texts_of(student: Student, records: Sequence[dict[str, Any]], rng: random.Random, keep: float) -> list[list[int]]:
    """Return token ids of a text drawn for every record.

    Parameters
    ----------
    student : Student
    records : sequence of dict
    rng : random.Random
    keep : float
        Share of a record's lines; one line where none would be left.
    """
    from clamp3.data.text_sampling import training_lines

    found = []
    for record in records:
        lines = training_lines(record, rng, keep=keep)
        if len(lines) > 8:  # none was kept, and so all: those texts would all be long
            lines = lines[:1]
        found.append(student.tokenizer.encode_lines(lines)[:LENGTH])
    return found


def learn(student: Student, records: list[dict[str, Any]], music: Any, args: argparse.Namespace) -> None:
    """Train the student; what was learned is kept in ``state.pt`` for a run that goes on.

    Parameters
    ----------
    student : Student
    records : list of dict
    music : array, shape (N, 2, D)
        As `music_vectors` returns them.
    args : argparse.Namespace
    """
    import io

    import torch

    from clamp3.jobs.atomic import write_bytes
    from clamp3.training.loss import contrastive_loss
    from recipes.mini.phrases import music_texts

    aside = len(student.targets)
    taught = music_texts(args.known_texts, SEED)[:aside]
    vectors = torch.from_numpy(music)
    optimizer = torch.optim.AdamW(student.weights, lr=args.learning_rate, weight_decay=0.01)
    kept, first = args.out_dir / "state.pt", 0
    if kept.exists():
        first, optimizer_state, state = torch.load(kept, weights_only=True)
        optimizer.load_state_dict(optimizer_state)
        student.load(state)
    for step in range(first, args.steps):
        rng = random.Random(f"{SEED} {step}")
        rate = min(1, (step + 1) / 50) * (0.5 + 0.5 * math.cos(math.pi * step / max(1, args.steps)))
        optimizer.param_groups[0]["lr"] = args.learning_rate * rate
        chosen = rng.sample(range(len(records)), min(args.batch_size, len(records)))
        texts = student(texts_of(student, [records[at] for at in chosen], rng, args.line_keep))
        which = vectors[chosen, [rng.randrange(2) for _ in chosen]]
        loss = contrastive_loss(texts, which, logit_scale=args.logit_scale)
        known = rng.sample(range(len(taught)), min(args.teacher_texts, len(taught)))
        ids = [student.tokenizer.encode(taught[at])[:LENGTH] for at in known]
        near = student.teacher_loss(ids, known)
        optimizer.zero_grad()
        (loss + near).backward()
        optimizer.step()
        if step % SAVE_EVERY == SAVE_EVERY - 1 or step == args.steps - 1:
            print(f"step {step + 1}: loss {loss.item():.3f}, teacher {near.item():.3f}", flush=True)
            buffer = io.BytesIO()
            torch.save([step + 1, optimizer.state_dict(), student.state()], buffer)
            write_bytes(kept, buffer.getvalue())


def export(student: Student, name: str, path: Path) -> None:
    """Write a model with the student as its text tower.

    Parameters
    ----------
    student : Student
    name : str
        Of the model whose other towers stay.
    path : Path
    """
    import torch

    from clamp3.models.clamp3 import Clamp3Model
    from clamp3.models.config import TowerConfig
    from clamp3.models.weights import describe, load_model, save_safetensors

    loaded = load_model(name, [tower for tower in describe(name).config.towers if tower != "text"])
    config = replace(loaded.config, text=TowerConfig.from_transformers(student.config), text_length=LENGTH)
    model = Clamp3Model(config)
    tower, lift, *_ = student.parts
    with torch.no_grad():
        state = loaded.model.state_dict() | {f"text_model.{key}": value for key, value in tower.state_dict().items()}
        state[WORDS] = lift(student.table)
        state |= {f"text_proj.{key}": value for key, value in student.projection.state_dict().items()}
        model.load_state_dict(state)
    info = {"recipe": "code/recipes/mini/retext.py", "music towers": loaded.identity, "seed": SEED}
    # The table was rounded to 8 bits when it was made; of the layers a vector changes by less than 1e-3 (cosine).
    layers = {name: value for name, value in state.items() if re.search(r"text_model\.encoder\..*weight$", name)}
    int8 = {name: (value, None) for name, value in layers.items() if value.ndim == 2}
    save_safetensors(
        model, config, path, dtype=torch.float16, info=info, int8={**int8, WORDS: (student.table, lift.weight)}
    )


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    args = build_parser().parse_args(argv)
    import torch

    from clamp3.embedding.clamp3 import Clamp3
    from clamp3.jobs.atomic import write_text
    from recipes.mini.build_data import read_rows
    from recipes.mini.evaluate import retrieval

    started = time.monotonic()
    args.out_dir.mkdir(parents=True, exist_ok=True)
    parts = {name: read_rows(args.blend / f"{name}.jsonl") for name in ("train", "valid")}
    args.known_texts = json.loads((args.text / "words.json").read_text(encoding="utf-8"))["asked_for"]
    model = Clamp3.from_pretrained(args.model, dtype="float32", cache=args.out_dir / "cache")
    music = {name: kept_vectors(args.out_dir / f"{name}.npz", records, model) for name, records in parts.items()}
    print(f"{sum(map(len, parts.values()))} pieces encoded: {time.monotonic() - started:.0f} s", flush=True)
    student = Student(args.text, model.width)
    learn(student, parts["train"], music["train"], args)
    export(student, args.model, args.out_dir / "mini.safetensors")
    shutil.copyfile(args.text / "tokenizer.json", args.out_dir / "tokenizer.json")
    with torch.no_grad():
        texts = student(texts_of(student, parts["valid"], random.Random(SEED), args.line_keep)).numpy()
    found = {"pieces": len(parts["train"]), "steps": args.steps, "valid": retrieval(texts, music["valid"][:, 0])}
    write_text(args.out_dir / "retext.json", json.dumps(found, indent=1) + "\n")
    print(found)
    return 0


if __name__ == "__main__":
    raise SystemExit(run(main))
