"""The tokenizer from either file, and what is said where there is none."""

import json
import pickle
import shutil
from pathlib import Path

import pytest

from clamp3.errors import WeightsError
from clamp3.models.registry import is_hub_name
from clamp3.models.tokenizer import load_tokenizer

TINY = Path(__file__).parents[1] / "parity" / "golden" / "model" / "tiny_xlmr"

TEXTS = [
    "",
    "   ",
    "A slow air in D minor.",
    "  two   blanks\tand a tab\n",
    "one</s>two </s> three</s></s>",
    "mind the   <mask> gap<mask>",
    "<s> <pad> <unk>",
    "Ünïcödé ½ ﬁ ① ﾃｽﾄ",
    "中文 音乐，搜索。",
    "кириллица и ноты ♭♯ 😀😀",
    "non\u00a0breaking\u200bzero",
]


@pytest.fixture
def from_json():
    return load_tokenizer(TINY)


@pytest.fixture
def from_pieces(tmp_path):
    shutil.copy(TINY / "sentencepiece.bpe.model", tmp_path)
    return load_tokenizer(tmp_path)


@pytest.mark.parametrize("text", TEXTS)
def test_both_files_give_the_same_ids(from_json, from_pieces, text):
    assert from_json.encode(text) == from_pieces.encode(text)


def test_both_files_agree_on_the_special_tokens(from_json, from_pieces):
    for tokenizer in (from_json, from_pieces):
        assert (tokenizer.sep, tokenizer.pad_id, tokenizer.n_tokens) == ("</s>", 1, 4002)


def test_lines_are_joined_by_the_separator_and_tokenized_once(from_json):
    lines = ["A slow air", "in D minor"]
    ids = from_json.encode_lines(lines)
    assert ids == from_json.encode("A slow air</s>in D minor")
    assert ids[0] == 0
    assert ids[-1] == 2
    assert ids.count(2) == 2
    assert ids == [*from_json.encode(lines[0]), *from_json.encode(lines[1])[1:]]


def test_no_lines_are_the_two_wrapping_tokens(from_json, from_pieces):
    assert from_json.encode_lines([]) == from_pieces.encode_lines([]) == [0, 2]


def test_half_a_character_is_a_question_mark(from_json, from_pieces):
    """JSON may hold one ("\\ud83d"); Rust and SentencePiece take none."""
    for tokenizer in (from_json, from_pieces):
        assert tokenizer.encode("a slow \ud83d air") == tokenizer.encode("a slow ? air")
        assert tokenizer.encode_lines(["\ude00", "air"]) == tokenizer.encode_lines(["?", "air"])


def test_other_processes_get_the_same_one(from_json, from_pieces):
    for tokenizer in (from_json, from_pieces):
        assert pickle.loads(pickle.dumps(tokenizer)).encode(TEXTS[5]) == tokenizer.encode(TEXTS[5])


def test_long_text_is_not_cropped(from_json, tmp_path):
    content = json.loads((TINY / "tokenizer.json").read_text(encoding="utf-8"))
    content["truncation"] = {"direction": "Right", "max_length": 8, "strategy": "LongestFirst", "stride": 0}
    content["padding"] = {
        "strategy": {"Fixed": 16},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 1,
        "pad_type_id": 0,
        "pad_token": "<pad>",
    }
    (tmp_path / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    text = "a slow air in D minor " * 20
    assert len(from_json.encode(text)) > 100
    assert load_tokenizer(tmp_path).encode(text) == from_json.encode(text)


def test_other_names_of_the_special_tokens_are_read(tmp_path):
    content = (TINY / "tokenizer.json").read_text(encoding="utf-8")
    (tmp_path / "tokenizer.json").write_text(content, encoding="utf-8")
    declared = {"sep_token": "<unk>", "pad_token": {"content": "<mask>"}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(declared), encoding="utf-8")
    tokenizer = load_tokenizer(tmp_path)
    assert (tokenizer.sep, tokenizer.pad_id) == ("<unk>", 4001)


@pytest.mark.parametrize(
    ("file", "content"), [("tokenizer.json", b"{"), ("tokenizer.json", b""), ("sentencepiece.bpe.model", b"\x00\xff")]
)
def test_a_damaged_file_is_named(tmp_path, file, content):
    (tmp_path / file).write_bytes(content)
    with pytest.raises(WeightsError, match=f"{file} cannot be read"):
        load_tokenizer(tmp_path)


def test_a_tokenizer_without_separator_is_refused(tmp_path):
    from tokenizers import Tokenizer, models

    Tokenizer(models.WordLevel({"a": 0, "<pad>": 1}, unk_token="a")).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(WeightsError, match="no token '</s>'"):
        load_tokenizer(tmp_path)


def test_an_empty_folder_is_named_and_no_network_is_asked(tmp_path):
    with pytest.raises(WeightsError, match=r"neither tokenizer.json nor sentencepiece.bpe.model is there"):
        load_tokenizer(tmp_path)
    with pytest.raises(WeightsError, match="no tokenizer in"):
        load_tokenizer(tmp_path / "absent" / "folder")


def test_no_tokenizer_at_all_says_which_flag_names_one():
    with pytest.raises(WeightsError, match="--text_model"):
        load_tokenizer(None)


def test_an_absent_hub_tokenizer_names_file_and_address(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError) as error:
        load_tokenizer("nobody/no-such-tokenizer")
    assert "https://huggingface.co/nobody/no-such-tokenizer/resolve/main/tokenizer.json" in str(error.value)


def test_what_reads_as_a_hub_name():
    assert is_hub_name("FacebookAI/xlm-roberta-base")
    for path in ("./model", "../model", "/a/b", "a/b/c", "model", "~/model", Path("a/b")):
        assert not is_hub_name(path)
