"""The encoder against the transformers library, and what a batch must not change."""

import copy

import pytest
import torch

from clamp3.errors import ConfigError
from clamp3.models.bert import Bert, initialise
from clamp3.models.config import TowerConfig

pytestmark = pytest.mark.kernels

SIZES = {"width": 32, "n_layers": 3, "n_heads": 4, "feed_forward": 48, "max_length": 20}
BERT = TowerConfig(**SIZES)
XLM_R = TowerConfig(**SIZES, vocab_size=50, type_vocab_size=1, layer_norm_eps=1e-5, pad_id=1)


def perturbed(config, seed=0):
    """Return an encoder in eval mode none of whose biases and norms is at its starting value."""
    torch.manual_seed(seed)
    model = Bert(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def ragged(lengths, width=32, seed=1):
    """Return (B, T, D) vectors and the mask of rows of these lengths; padding is noise that must not matter."""
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(len(lengths), max(lengths), width, generator=generator)
    return vectors, torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]


def reference(config):
    """Return transformers' model of the same sizes, without dropout."""
    import transformers

    name = "BertModel" if config.pad_id is None else "XLMRobertaModel"
    kind = "BertConfig" if config.pad_id is None else "XLMRobertaConfig"
    settings = getattr(transformers, kind)(
        vocab_size=config.vocab_size,
        hidden_size=config.width,
        num_hidden_layers=config.n_layers,
        num_attention_heads=config.n_heads,
        intermediate_size=config.feed_forward,
        max_position_embeddings=config.max_length,
        type_vocab_size=config.type_vocab_size,
        layer_norm_eps=config.layer_norm_eps,
        pad_token_id=config.pad_id or 0,
        attn_implementation="eager",
    )
    return getattr(transformers, name)(settings).eval()


def test_equals_transformers_bert_on_padded_vectors():
    ours, theirs = perturbed(BERT), reference(BERT)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    vectors, mask = ragged([7, 3, 1])
    expected = theirs(inputs_embeds=vectors, attention_mask=mask.long()).last_hidden_state
    torch.testing.assert_close(
        ours(inputs_embeds=vectors, attention_mask=mask)[mask], expected[mask], atol=5e-6, rtol=0
    )


def test_equals_transformers_xlm_r_on_padded_tokens():
    ours, theirs = perturbed(XLM_R), reference(XLM_R)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    ids = torch.tensor([[0, 7, 9, 30, 2], [0, 49, 2, 1, 1]])
    expected = theirs(ids, attention_mask=(ids != 1).long()).last_hidden_state
    mask = ids != 1
    torch.testing.assert_close(ours(ids, attention_mask=mask)[mask], expected[mask], atol=5e-6, rtol=0)


@pytest.mark.parametrize("config", [BERT, XLM_R], ids=["bert", "xlm_r"])
def test_a_row_does_not_depend_on_its_batch(config):
    model = perturbed(config)
    vectors, mask = ragged([9, 2, 5])
    together = model(inputs_embeds=vectors, attention_mask=mask)
    for row, length in enumerate([9, 2, 5]):
        alone = model(inputs_embeds=vectors[row : row + 1, :length])
        torch.testing.assert_close(together[row, :length], alone[0], atol=3e-6, rtol=0)


def test_a_full_mask_changes_nothing():
    model = perturbed(BERT)
    vectors, mask = ragged([6, 6])
    assert torch.equal(model(inputs_embeds=vectors, attention_mask=mask), model(inputs_embeds=vectors))


def test_padding_is_not_attended_to():
    model = perturbed(BERT)
    vectors, mask = ragged([4, 2])
    before = model(inputs_embeds=vectors, attention_mask=mask)
    vectors[1, 2:] = 1e4
    after = model(inputs_embeds=vectors, attention_mask=mask)
    assert torch.equal(before[mask], after[mask])


def test_xlm_r_counts_positions_from_behind_the_padding_id():
    model = Bert(XLM_R).eval()
    with torch.no_grad():
        model.embeddings.position_embeddings.weight.copy_(torch.arange(20.0)[:, None].expand(20, 32))
    ids = torch.tensor([[0, 5, 2, 1, 1]])
    assert model.embeddings._positions(ids, torch.zeros(1, 5, 32))[0, :, 0].tolist() == [2, 3, 4, 1, 1]


def test_dropout_acts_in_training_only():
    model = perturbed(BERT)
    vectors, _ = ragged([5])
    assert torch.equal(model(inputs_embeds=vectors), model(inputs_embeds=vectors))
    model.train()
    torch.manual_seed(3)
    first, second = model(inputs_embeds=vectors), model(inputs_embeds=vectors)
    assert not torch.allclose(first, second)
    torch.manual_seed(3)
    assert torch.equal(first, model(inputs_embeds=vectors))


def test_attention_dropout_is_part_of_it():
    model = perturbed(BERT).train()
    for part in model.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
    vectors, mask = ragged([5, 3])
    assert not torch.allclose(*(model(inputs_embeds=vectors, attention_mask=mask)[mask] for _ in range(2)))


def test_gradients_reach_every_layer_but_the_pooler():
    model = perturbed(XLM_R).train()
    ids = torch.tensor([[0, 7, 2, 1], [0, 8, 9, 2]])
    model(ids, attention_mask=ids != 1).square().mean().backward()
    without = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert without == ["pooler.dense.weight", "pooler.dense.bias"]


def test_bfloat16_keeps_the_direction_of_hidden_states():
    model = perturbed(BERT)
    vectors, mask = ragged([9, 4])
    exact = model(inputs_embeds=vectors, attention_mask=mask)[mask]
    half = copy.deepcopy(model).to(torch.bfloat16)
    rounded = half(inputs_embeds=vectors.bfloat16(), attention_mask=mask)[mask].float()
    assert torch.cosine_similarity(rounded, exact).min() > 0.999


def test_a_word_table_may_be_wider_than_the_layers():
    half = perturbed(XLM_R).to(torch.bfloat16)
    mixed = copy.deepcopy(half)
    mixed.embeddings.word_embeddings.float()
    ids = torch.tensor([[0, 7, 2]])
    assert torch.equal(half(ids), mixed(ids))


def test_initial_weights_are_those_of_bert_and_reproducible():
    model = Bert(TowerConfig(width=64, n_layers=1, n_heads=1, feed_forward=256, vocab_size=200, pad_id=1))
    initialise(model, torch.Generator().manual_seed(5))
    weight = model.encoder.layer[0].intermediate.dense.weight
    assert weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert not model.encoder.layer[0].intermediate.dense.bias.any()
    assert not model.embeddings.word_embeddings.weight[1].any()
    before = weight.clone()
    initialise(model, torch.Generator().manual_seed(5))
    assert torch.equal(before, weight)


def test_needs_tokens_or_vectors_and_not_both():
    model = Bert(XLM_R)
    with pytest.raises(TypeError, match="either"):
        model()
    with pytest.raises(TypeError, match="either"):
        model(torch.zeros(1, 2, dtype=torch.long), torch.zeros(1, 2, 32))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_heads": 5}, "not divisible"),
        ({"n_layers": 0}, "n_layers is 0"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"depth": 3}, "no field depth"),
    ],
)
def test_sizes_that_make_no_encoder_are_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        TowerConfig.from_dict({**SIZES, **change})


def test_sizes_of_a_transformers_folder():
    values = {
        "model_type": "xlm-roberta",
        "hidden_size": 96,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 192,
        "max_position_embeddings": 514,
        "vocab_size": 4002,
        "type_vocab_size": 1,
        "layer_norm_eps": 1e-5,
        "pad_token_id": 1,
    }
    expected = TowerConfig(96, 3, 4, 192, 514, 4002, 1, 0.1, 1e-5, 1)
    assert TowerConfig.from_transformers(values) == expected
    assert TowerConfig.from_transformers({**values, "model_type": "bert"}).pad_id is None
    with pytest.raises(ConfigError, match="'t5'"):
        TowerConfig.from_transformers({**values, "model_type": "t5"})
    with pytest.raises(ConfigError, match="gelu"):
        TowerConfig.from_transformers({**values, "hidden_act": "relu"})
    del values["vocab_size"]
    with pytest.raises(ConfigError, match="lacks vocab_size"):
        TowerConfig.from_transformers(values)
