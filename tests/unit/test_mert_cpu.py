"""MERT's convolutions as a CPU computes them: the library's own numbers."""

import copy

import pytest
import torch
from transformers import HubertConfig, HubertModel

from clamp3.models.mert_cpu import ConvolutionsAsProducts, PositionsByFourier, StridedProduct, suit_cpu

pytestmark = pytest.mark.kernels

SIZES = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 48}
SIZES |= {"conv_dim": [16] * 7, "num_conv_pos_embeddings": 128, "num_conv_pos_embedding_groups": 4, "conv_bias": False}


@pytest.fixture(scope="module")
def networks():
    torch.manual_seed(5)
    plain = HubertModel(HubertConfig(**SIZES)).eval()
    with torch.no_grad():  # a scale and a shift that would be missed
        plain.feature_extractor.conv_layers[0].layer_norm.weight.uniform_(0.5, 2)
        plain.feature_extractor.conv_layers[0].layer_norm.bias.uniform_(-1, 1)
    suited = copy.deepcopy(plain)
    suit_cpu(suited)
    assert isinstance(suited.feature_extractor, ConvolutionsAsProducts)
    assert isinstance(suited.encoder.pos_conv_embed, PositionsByFourier)
    return plain, suited


@pytest.mark.parametrize("n_samples", [24_000, 24_001, 31_337, 120_000])
@torch.inference_mode()
def test_the_same_hidden_states_as_the_library(networks, n_samples):
    plain, suited = networks
    samples = torch.randn(3, n_samples, generator=torch.Generator().manual_seed(n_samples)) + 0.1
    expected = plain(samples, output_hidden_states=True).hidden_states
    for one, other in zip(suited(samples, output_hidden_states=True).hidden_states, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


@torch.inference_mode()
def test_a_constant_recording_is_normalised_like_the_library_does(networks):
    plain, suited = networks
    samples = torch.zeros(1, 24_000)
    torch.testing.assert_close(suited(samples)[0], plain(samples)[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize(("taps", "stride"), [(2, 2), (3, 2), (4, 2), (10, 5)])
def test_strided_products_are_convolutions(taps, stride):
    torch.manual_seed(0)
    rows, weight = torch.randn(57, 6), torch.randn(taps, 6, 4)
    expected = torch.nn.functional.conv1d(rows.T[None], weight.permute(2, 1, 0), stride=stride)[0].T
    torch.testing.assert_close(StridedProduct(weight.permute(2, 1, 0), stride)(rows), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("other", [{"conv_bias": True}, {"feat_extract_norm": "layer"}, {"conv_kernel": [11] * 7}])
def test_other_layers_are_left_alone(other):
    network = HubertModel(HubertConfig(**SIZES | other)).eval()
    suit_cpu(network)
    assert not isinstance(network.feature_extractor, ConvolutionsAsProducts)
