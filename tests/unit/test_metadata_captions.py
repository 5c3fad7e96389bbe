"""Captions by a BLIP of random weights, made here."""

from __future__ import annotations

import json

import pytest

from clamp3.cli import run

SCRIPT = "preprocessing/text/caption_images.py"


@pytest.fixture(scope="module")
def blip(tmp_path_factory):
    """Return a folder with a BLIP of two narrow layers and a vocabulary of some words."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import (
        BertTokenizerFast,
        BlipConfig,
        BlipForConditionalGeneration,
        BlipImageProcessor,
        BlipProcessor,
    )

    folder = tmp_path_factory.mktemp("blip")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[DEC]", "[MASK]", "a", "of", "photo", "red", "blue", "green", "sea"]
    vocabulary = {word: i for i, word in enumerate(words)}
    plain = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    plain.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer = BertTokenizerFast(tokenizer_object=plain, bos_token="[DEC]")
    size = {"height": 32, "width": 32}
    BlipProcessor(BlipImageProcessor(size=size), tokenizer).save_pretrained(folder)
    layers = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    ids = {"bos_token_id": 4, "sep_token_id": 3, "eos_token_id": 3, "pad_token_id": 0}
    config = BlipConfig(
        text_config={**layers, **ids, "vocab_size": len(words), "encoder_hidden_size": 32, "projection_dim": 16},
        vision_config={**layers, "image_size": 32, "patch_size": 8, "projection_dim": 16},
        projection_dim=16,
        image_text_hidden_size=16,
    )
    torch.manual_seed(3)
    model = BlipForConditionalGeneration(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape))
        model.text_decoder.cls.predictions.bias[:6] = -9.0  # words, and no end at once
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def images(tmp_path):
    import numpy as np
    from PIL import Image

    folder = tmp_path / "images"
    (folder / "sub").mkdir(parents=True)
    rng = np.random.default_rng(5)
    for i, name in enumerate(["a.png", "b.JPG", "sub/c.webp", "sub/d.gif", "e.bmp"]):
        pixels = rng.integers(0, 256, (20 + 7 * i, 50 - 3 * i, 3)).astype(np.uint8) // (i + 1)
        Image.fromarray(pixels).save(folder / name, format={".JPG": "JPEG"}.get(name[-4:]))
    Image.fromarray(np.zeros((9, 9, 4), np.uint8)).save(folder / "clear.png")
    (folder / "broken.png").write_bytes((folder / "a.png").read_bytes()[:300])
    (folder / "notes.txt").write_text("no image")
    return folder


def caption(script, capsys, *argv):
    code = run(lambda: script(SCRIPT).main([*map(str, argv), "--json", "--device", "cpu"]))
    captured = capsys.readouterr()
    return code, json.loads(captured.out) if captured.out else captured.err


def texts(folder):
    return {path.relative_to(folder).as_posix(): path.read_text() for path in sorted(folder.rglob("*.txt"))}


def test_every_image_gets_a_caption_or_a_reason(script, blip, images, tmp_path, capsys):
    code, report = caption(script, capsys, images, tmp_path / "out", "--model", blip, "--batch_size", "2")
    assert code == 1 and report["ok"] == 6
    (failed,) = report["failed"]
    assert failed["input"] == "broken.png" and failed["reason"].startswith("not an image that can be read")
    made = texts(tmp_path / "out")
    assert sorted(made) == ["a.txt", "b.txt", "clear.txt", "e.txt", "sub/c.txt", "sub/d.txt"]
    assert all(text.endswith("\n") and text.strip() and "[" not in text for text in made.values())
    assert len(set(made.values())) > 1  # the picture matters

    # The captions do not depend on which images share a batch.
    caption(script, capsys, images, tmp_path / "other", "--model", blip, "--batch_size", "5")
    assert texts(tmp_path / "other") == made


def test_the_server_describes_a_picture_as_the_command_does(script, blip, images, tmp_path, capsys):
    pytest.importorskip("fastapi")
    from clamp3.server.pictures import Pictures

    assert caption(script, capsys, images / "a.png", tmp_path / "out", "--model", blip)[0] == 0
    described = Pictures(str(blip)).caption((images / "a.png").read_bytes(), "a.png")
    assert texts(tmp_path / "out") == {"a.txt": described + "\n"}


def test_only_what_is_missing_or_changed_is_done_again(script, blip, images, tmp_path, capsys):
    (images / "broken.png").unlink()
    flags = (images, tmp_path / "out", "--model", blip)
    assert caption(script, capsys, *flags)[1]["ok"] == 6
    (tmp_path / "out" / "a.txt").unlink()
    (images / "e.bmp").write_bytes((images / "clear.png").read_bytes())
    code, report = caption(script, capsys, *flags)
    assert (code, report["ok"], report["skipped"]) == (0, 2, 4)
    assert texts(tmp_path / "out")["e.txt"] == texts(tmp_path / "out")["clear.txt"]
    # Killed between the caption and its row.
    ledger = tmp_path / "out" / "ledger.jsonl"
    ledger.write_bytes(b"".join(ledger.read_bytes().splitlines(keepends=True)[:-1]))
    code, report = caption(script, capsys, *flags)
    assert (code, report["ok"], report["skipped"]) == (0, 1, 5)
    # Nothing to do: the model is not even looked for.
    assert caption(script, capsys, *flags)[1]["skipped"] == 6
    _, report = caption(script, capsys, *flags, "--prompt", "a photo of")
    assert report["ok"] == 6
    assert all(text.startswith("a photo of") for text in texts(tmp_path / "out").values())


def test_strangers_files_stay(script, blip, images, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.txt").write_text("mine\n")
    code, report = caption(script, capsys, images, out, "--model", blip)
    assert code == 1 and report["ok"] == 5 and (out / "a.txt").read_text() == "mine\n"


def test_two_input_folders_do_not_overwrite_each_other(script, blip, images, tmp_path, capsys):
    out, other = tmp_path / "out", tmp_path / "other"
    other.mkdir()
    (images / "broken.png").unlink()
    caption(script, capsys, images, out, "--model", blip)
    before = texts(out)
    for name, source in {"a.png": "b.JPG", "e.bmp": "e.bmp", "new.png": "a.png"}.items():
        (other / name).write_bytes((images / source).read_bytes())
    code, report = caption(script, capsys, other, out, "--model", blip)
    assert (code, report["ok"], report["skipped"]) == (1, 1, 1)
    (failed,) = report["failed"]
    assert failed["input"] == "a.png"
    assert failed["reason"] == f"its output was made from {images.resolve()}/a.png; give another output folder."
    assert texts(out) == before | {"new.txt": before["a.txt"]}
    assert caption(script, capsys, images, out, "--model", blip)[1]["skipped"] == 6


def test_a_caption_of_content_that_is_gone_goes_too(script, blip, images, tmp_path, capsys):
    flags = (images, tmp_path / "out", "--model", blip)
    caption(script, capsys, *flags)
    (images / "a.png").write_bytes((images / "broken.png").read_bytes())
    code, report = caption(script, capsys, *flags)
    assert (code, len(report["failed"]), report["skipped"]) == (1, 2, 5)
    assert "a.txt" not in texts(tmp_path / "out")


def test_without_images_or_model_it_says_so(script, images, tmp_path, capsys):
    (tmp_path / "none").mkdir()
    code, error = caption(script, capsys, tmp_path / "none", tmp_path / "out")
    assert code == 2 and "holds no image" in error
    code, error = caption(script, capsys, images, tmp_path / "out", "--model", tmp_path / "none")
    assert code == 2 and "cannot be loaded" in error


def test_too_many_pixels_are_refused(monkeypatch, images):
    from clamp3.errors import FormatError
    from clamp3.metadata import captions

    monkeypatch.setattr(captions, "MAX_PIXELS", 80)
    with pytest.raises(FormatError, match="9 x 9 pixels are above the limit"):
        captions.open_image((images / "clear.png").read_bytes())


@pytest.mark.gpu
def test_captions_on_a_gpu(blip, images):
    import torch

    from clamp3.metadata.captions import BlipOptions, load_blip, open_image

    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    pictures = [open_image((images / name).read_bytes()) for name in ("a.png", "b.JPG", "e.bmp")]
    options = BlipOptions(str(blip))
    assert load_blip(options)(pictures) == load_blip(options, "cpu")(pictures)
