"""Train the mini model's own tokenizer and write the configuration of its text tower.

python code/recipes/mini/tokenizer.py DATA_DIR OUT_DIR
python code/recipes/mini/tokenizer.py DATA_DIR OUT_DIR --vocab_size 2000      a trial

OUT_DIR gets tokenizer.json (for the `tokenizers` library) and config.json (sizes of the text tower).
A SentencePiece unigram model of the training texts and of the templates in all languages, with XLM-R's
special ids and bytes for characters it has not seen. Text is lower-cased: people type queries either way.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # `recipes` and `clamp3`, without installation

from clamp3.cli import parser_for, run

SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")  # ids 0 to 3, as in XLM-R
MAX_POSITIONS = 130  # 128 tokens, and XLM-R counts positions from 2
MULTILINGUAL_PIECES = 3000


def build_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = parser_for(__doc__)
    parser.add_argument("data_dir", type=Path, help="what build_data.py wrote")
    parser.add_argument("out_dir", type=Path, help="folder of the text tower")
    parser.add_argument("--vocab_size", type=int, default=6000, help="pieces (default: 6000)")
    return parser


def training_text(data_dir: Path) -> Iterator[str]:
    """Yield the training records' lines, and the sentences of some pieces in every language."""
    from recipes.mini.build_data import read_rows
    from recipes.mini.lexicon import LANGUAGES
    from recipes.mini.records import FIELDS, lines_of

    records = read_rows(data_dir / "train.jsonl")
    for record in records:
        yield record["title"]
        yield from record["artists"] + record["genres"] + record["tags"]
        for texts in (record, record["translations"]):
            for field in FIELDS:
                yield from texts[field].split("\n")
    wanted = {record["id"] for record in records}
    rows = [row for row in read_rows(data_dir / "pieces.jsonl") if row["id"] in wanted]
    rows.sort(key=lambda row: row["id"])
    for row in random.Random(0).sample(rows, min(MULTILINGUAL_PIECES, len(rows))):
        for language in LANGUAGES:
            for field in FIELDS:
                yield from lines_of(row, field, language).split("\n")


def train_tokenizer(lines: Iterator[str], vocab_size: int) -> Any:
    """Train a SentencePiece unigram model and return it as a `tokenizers.Tokenizer`.

    Parameters
    ----------
    lines : iterator of str
        The text; normalised here as the tokenizer will normalise queries.
    vocab_size : int
        Pieces, bytes and special tokens included; fewer if the text does not give so many.

    Returns
    -------
    tokenizers.Tokenizer
    """
    import sentencepiece

    normalizer = normalizer_of_queries()
    buffer = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=(normalizer.normalize_str(line) for line in lines), model_writer=buffer, model_type="unigram",
        vocab_size=vocab_size, hard_vocab_limit=False, character_coverage=0.9998, byte_fallback=True,
        normalization_rule_name="identity", bos_id=0, pad_id=1, eos_id=2, unk_id=3, bos_piece=SPECIAL[0],
        pad_piece=SPECIAL[1], eos_piece=SPECIAL[2], unk_piece=SPECIAL[3], max_sentencepiece_length=12,
        num_threads=1, minloglevel=2,
    )  # fmt: skip
    pieces = sentencepiece.SentencePieceProcessor(model_proto=buffer.getvalue())
    vocabulary = [(pieces.id_to_piece(index), pieces.get_score(index)) for index in range(pieces.get_piece_size())]
    return tokenizer_of(vocabulary, bytes_too=True)


def normalizer_of_queries() -> Any:
    """Return what makes texts alike before they are cut into pieces; people type capitals or not."""
    from tokenizers import Regex, normalizers

    return normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Lowercase(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]
    )


def tokenizer_of(entries: list[tuple[str, float]], *, bytes_too: bool = False) -> Any:
    """Return a `tokenizers.Tokenizer` of unigram pieces that lower-cases.

    Parameters
    ----------
    entries : list of (str, float)
        Piece and score, `SPECIAL` first.
    bytes_too : bool
        Whether there are pieces of single bytes, for characters without one.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    tokenizer = Tokenizer(models.Unigram(entries, unk_id=SPECIAL.index("<unk>"), byte_fallback=bytes_too))
    tokenizer.normalizer = normalizer_of_queries()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    words = decoders.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), words]) if bytes_too else words
    tokenizer.add_special_tokens(list(SPECIAL))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return tokenizer


def text_config(vocab_size: int) -> dict[str, Any]:
    """Return the text tower's configuration, in the fields of XLM-R's ``config.json``."""
    return {
        "model_type": "xlm-roberta",
        "vocab_size": vocab_size,
        "hidden_size": 256,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 1024,
        "max_position_embeddings": MAX_POSITIONS,
        "type_vocab_size": 1,
        "layer_norm_eps": 1e-05,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "bos_token_id": 0,
        "pad_token_id": 1,
        "eos_token_id": 2,
    }


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    from clamp3.jobs.atomic import write_text

    args = build_parser().parse_args(argv)
    tokenizer = train_tokenizer(training_text(args.data_dir), args.vocab_size)
    args.out_dir.mkdir(parents=True, exist_ok=True)
    config = text_config(tokenizer.get_vocab_size())
    write_text(args.out_dir / "tokenizer.json", tokenizer.to_str(pretty=False) + "\n")
    write_text(args.out_dir / "config.json", json.dumps(config, indent=2) + "\n")
    for text in ("a lively Irish reel in D major", "ein ruhiger Choral in g-Moll", "欢快的爱尔兰吉格舞曲，G大调", "Ω"):
        print(f"{text} -> {' '.join(tokenizer.encode(text).tokens)}")
    print(f"{tokenizer.get_vocab_size()} pieces in {args.out_dir}")
    return 0


if __name__ == "__main__":
    raise SystemExit(run(main))
