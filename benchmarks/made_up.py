"""What benchmarks make up in common."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


def write_tokenizer(folder: Path, words: Iterable[str]) -> int:
    """Write a tokenizer of whole words as XLM-R's has its special tokens; return the number of its entries.

    Parameters
    ----------
    folder : Path
        It becomes ``tokenizer.json`` there.
    words : iterable of str
        Those it knows; a word that occurs again counts once.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    known = ["<s>", "<pad>", "</s>", "<unk>", *dict.fromkeys(words)]
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(known)}, unk_token="<unk>"))  # noqa: S106
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    return len(known)
