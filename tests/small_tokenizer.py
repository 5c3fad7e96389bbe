"""A tokenizer for the small models of tests."""


def write_tokenizer(folder):
    """Write a word tokenizer with XLM-R's special tokens; words it does not know become ``<unk>``."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = ["a", "slow", "fast", "song", "dance", "jig", "waltz", "sad", "piano", "fiddle", "for", "and", "in"]
    vocabulary = {token: i for i, token in enumerate(["<s>", "<pad>", "</s>", "<unk>", *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    return len(vocabulary)
