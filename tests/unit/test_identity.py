"""What arrays come from: one text form, the one that folders and caches have had from the start."""

import pytest

from clamp3.jobs.identity import NO_FRONT_END, Identity

SAAS, MERT, HEX = "saas-0123456789ab", "mert-pytorch_model-ba9876543210:float32", "89abcdef"


@pytest.mark.parametrize(
    ("text", "identity"),
    [
        ("saas-0123456789ab:float32", Identity(SAAS, "float32")),
        ("saas-0123456789ab+89abcdef:bfloat16", Identity(SAAS, "bfloat16", HEX)),
        ("saas-0123456789ab+some/model:float32", Identity(SAAS, "float32", "some/model")),
        (f"{SAAS}:float32+{MERT}+audio1", Identity(SAAS, "float32", "", MERT, "audio1")),
        (f"{SAAS}+{HEX}:float32+mel+audio1", Identity(SAAS, "float32", HEX, "mel", "audio1")),
        (f"{SAAS}:float32+no MERT+audio1", Identity(SAAS, "float32", "", NO_FRONT_END, "audio1")),
        (f"{MERT}+audio1", Identity("mert-pytorch_model-ba9876543210", "float32", preprocessing="audio1")),
        ("mel:float32", Identity("mel", "float32")),
        ("a+b: c-0123456789ab:float32", Identity("a+b: c-0123456789ab", "float32")),
        ("without arithmetic", Identity("without arithmetic", "")),
    ],
)
def test_a_text_and_its_identity(text, identity):
    assert Identity.parse(text) == identity and str(identity) == text


def test_vectors_of_one_space_may_differ_in_arithmetic():
    texts = [f"{SAAS}+{HEX}:float32", f"{SAAS}+{HEX}:bfloat16", f"{SAAS}+{HEX}:float32+{MERT}+audio1"]
    assert {Identity.parse(text).space for text in texts} == {f"{SAAS}+{HEX}"}
    assert Identity.parse(f"{SAAS}:float32").space == SAAS


def test_what_an_encoder_says_is_the_text_of_an_identity(tiny_weights):
    from clamp3.embedding.clamp3 import Clamp3
    from clamp3.formats import Kind

    clamp3 = Clamp3.from_pretrained(tiny_weights)
    for text in (clamp3.identity, clamp3.identity_of(Kind.ABC), clamp3.identity_of(Kind.AUDIO)):
        identity = Identity.parse(text)
        assert str(identity) == text and identity.dtype == "float32" and identity.weights.startswith("tiny-")
    assert identity.space == Identity.parse(clamp3.identity).space and identity.preprocessing.startswith("audio")
