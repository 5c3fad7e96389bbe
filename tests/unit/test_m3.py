"""The patch decoder against transformers' GPT-2, and the pre-training loss."""

import pytest
import torch
import torch.nn.functional as F

from clamp3.errors import ConfigError
from clamp3.models import m3
from clamp3.models.config import DecoderConfig, M3Config, TowerConfig
from clamp3.models.gpt2 import Gpt2

pytestmark = pytest.mark.kernels

DECODER = DecoderConfig(width=32, n_layers=2, n_heads=4, feed_forward=48, max_length=20, dropout=0.0)
CONFIG = M3Config(
    encoder=TowerConfig(width=32, n_layers=2, n_heads=4, feed_forward=48, max_length=12, dropout=0.0),
    decoder=DECODER,
    patch_size=20,
    patch_length=12,
)


def perturbed(model, seed=0):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model


def patches_of(lengths, size=20, seed=1):
    """Return (N, size) patches with begin code, characters and end code, padded behind ``length`` codes."""
    codes = torch.randint(4, 128, (len(lengths), size), generator=torch.Generator().manual_seed(seed))
    codes[:, 0] = 1
    for row, length in zip(codes, lengths, strict=True):
        row[length - 1] = 2
        row[length:] = 0
    return codes.to(torch.uint8)


@pytest.fixture
def model():
    return perturbed(m3.M3Model(CONFIG, generator=torch.Generator().manual_seed(2)))


def plain_loss(decoder, features, patches):
    """The published computation: every patch at full length in one batch."""
    patches = patches.long()
    embeds = torch.cat((features[:, None], decoder.base.transformer.wte(patches[:, 1:])), 1)
    logits = decoder.base(embeds)[:, :-1].flatten(0, 1)
    return F.cross_entropy(logits, patches[:, 1:].flatten(), ignore_index=0)


def test_equals_transformers_gpt2():
    from transformers import GPT2Config, GPT2LMHeadModel

    ours = perturbed(Gpt2(DECODER))
    theirs = GPT2LMHeadModel(
        GPT2Config(vocab_size=128, n_positions=20, n_embd=32, n_layer=2, n_head=4, n_inner=48)
    ).eval()
    state = {name: tensor for name, tensor in ours.state_dict().items()}
    missing = theirs.load_state_dict(state, strict=False)
    assert not missing.unexpected_keys
    assert all(name.endswith((".attn.bias", ".masked_bias")) for name in missing.missing_keys)
    embeds = torch.randn(3, 20, 32, generator=torch.Generator().manual_seed(4))
    torch.testing.assert_close(ours(embeds), theirs(inputs_embeds=embeds).logits, atol=1e-5, rtol=0)


@pytest.mark.parametrize("bucket", [1, 3, 8, 64])
def test_grouping_by_length_changes_neither_loss_nor_gradient(model, monkeypatch, bucket):
    lengths = [20, 2, 3, 8, 9, 16, 17]
    patches = patches_of(lengths)
    features = torch.randn(len(lengths), 32, generator=torch.Generator().manual_seed(5), requires_grad=True)
    expected = plain_loss(model.decoder, features, patches)
    (wanted,) = torch.autograd.grad(expected, features)
    monkeypatch.setattr(m3, "_BUCKET", bucket)
    loss = model.decoder(features, patches)
    (gradient,) = torch.autograd.grad(loss, features)
    torch.testing.assert_close(loss, expected, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(gradient, wanted, atol=1e-6, rtol=0)


def test_a_pad_between_characters_is_left_out_of_the_loss_only(model):
    patches = patches_of([10, 6])
    patches[0, 4] = 0
    features = torch.randn(2, 32, generator=torch.Generator().manual_seed(6))
    torch.testing.assert_close(model.decoder(features, patches), plain_loss(model.decoder, features, patches))


def pieces():
    patches = torch.stack([patches_of([20, 5, 9, 4, 20], seed=7), patches_of([20, 3, 20, 2, 2], seed=8)])
    patches[1, 3:] = 0
    mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    selected = torch.tensor([[False, True, False, True, False], [False, True, True, False, False]])
    corrupted = patches.clone()
    corrupted[selected] = 3
    return patches, mask, selected, corrupted


def test_padding_does_not_change_the_loss(model):
    patches, mask, selected, corrupted = pieces()
    together = model(patches, mask, selected, corrupted)
    n_characters = [(patches[row, selected[row]][:, 1:] != 0).sum() for row in (0, 1)]
    apart = [
        model(patches[row : row + 1, :n], None, selected[row : row + 1, :n], corrupted[row : row + 1, :n])
        for row, n in ((0, 5), (1, 3))
    ]
    mean = sum(loss * n for loss, n in zip(apart, n_characters, strict=True)) / sum(n_characters)
    torch.testing.assert_close(together, mean, atol=2e-6, rtol=0)


def test_the_loss_reads_the_original_and_the_encoder_the_corrupted(model):
    patches, mask, selected, corrupted = pieces()
    base = model(patches, mask, selected, corrupted)
    other = patches.clone()
    other[~selected] = 99
    assert torch.equal(base, model(other, mask, selected, corrupted))
    assert not torch.equal(base, model(patches, mask, selected, patches))


def test_training_learns_to_spell(model):
    patches, mask, selected, corrupted = pieces()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(25):
        loss = model(patches, mask, selected, corrupted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    assert all(
        parameter.grad is not None
        for name, parameter in model.named_parameters()
        if "pooler" not in name and "word_embeddings" not in name
    )


def test_nothing_selected_is_a_loss_of_zero_with_gradient(model):
    patches, mask, selected, corrupted = pieces()
    loss = model(patches, mask, torch.zeros_like(selected), corrupted)
    loss.backward()
    assert loss.item() == 0.0


def test_the_output_layer_is_tied():
    model = m3.M3Model(CONFIG)
    assert model.decoder.base.lm_head.weight is model.decoder.base.transformer.wte.weight
    assert "decoder.base.lm_head.weight" in model.state_dict()


def test_dropout_acts_in_training_only():
    import dataclasses

    config = dataclasses.replace(CONFIG, decoder=dataclasses.replace(DECODER, dropout=0.3))
    model = m3.M3Model(config)
    patches, features = patches_of([9, 4]), torch.randn(2, 32)
    assert model.decoder(features, patches) != model.decoder(features, patches)
    model.eval()
    assert model.decoder(features, patches) == model.decoder(features, patches)


def test_weights_come_from_the_generator():
    def draw(seed):
        torch.manual_seed(seed)
        return m3.M3Model(CONFIG, generator=torch.Generator().manual_seed(3)).state_dict()

    first, second = draw(1), draw(2)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_sizes_that_do_not_fit_together_are_refused():
    with pytest.raises(ConfigError, match="one width"):
        M3Config(encoder=TowerConfig(width=48, n_heads=4), decoder=DECODER)
    with pytest.raises(ConfigError, match="longer than the position tables"):
        M3Config.from_dict({**CONFIG.to_dict(), "patch_size": 21})
    assert M3Config.from_dict(CONFIG.to_dict()) == CONFIG
    assert M3Config.released().decoder == DecoderConfig(768, 3, 12, 3072, 64, 128, 0.1, 1e-5)
