"""The released inference path, rebuilt from its description, as the yardstick of `extract.py`.

One input at a time; every window padded to its full length (512 patches, 128 tokens); patches as one-hot vectors of
8,192 numbers through a dense layer; transformers' BERT and XLM-R with eager attention; all towers built with random
weights and then overwritten from the checkpoint. Start-up to the first vector, to be timed from outside:

    python benchmarks/released_way.py WEIGHTS TEXT_MODEL
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from clamp3.cli import parser_for, run

PATCHES, CODES, PATCH_SIZE, TOKENS = 512, 128, 64, 128


class ReleasedWay:
    """All towers of a checkpoint with the released names, and both encodings that are compared.

    Parameters
    ----------
    weights, text_model : Path
        The checkpoint, and the folder of the text model's tokenizer and sizes.
    device : str
        As torch names it.
    """

    def __init__(self, weights: Path, text_model: Path, *, device: str = "cpu") -> None:
        import torch
        from transformers import AutoConfig, AutoTokenizer, BertModel, XLMRobertaModel

        self.torch = torch
        self.tokenizer = AutoTokenizer.from_pretrained(str(text_model))
        state = torch.load(weights, map_location="cpu", weights_only=True)["model"]
        symbolic = _sizes(state, "symbolic_model.base.", PATCHES)
        audio = _sizes(state, "audio_model.", 128)
        text = AutoConfig.from_pretrained(str(text_model))
        for config in (symbolic, audio, text):
            config._attn_implementation = "eager"
        self.symbolic, self.audio, self.text = BertModel(symbolic), BertModel(audio), XLMRobertaModel(text)
        self.patch_embedding = torch.nn.Linear(PATCH_SIZE * CODES, symbolic.hidden_size)
        joint = len(state["text_proj.bias"])
        self.symbolic_proj = torch.nn.Linear(symbolic.hidden_size, joint)
        self.text_proj, self.device = torch.nn.Linear(text.hidden_size, joint), device
        for prefix, module in (
            ("symbolic_model.base.", self.symbolic),
            ("symbolic_model.patch_embedding.", self.patch_embedding),
            ("symbolic_proj.", self.symbolic_proj),
            ("audio_model.", self.audio),
            ("text_model.", self.text),
            ("text_proj.", self.text_proj),
        ):
            module.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
            module.eval().to(device)

    def music(self, text: str) -> np.ndarray:
        """Return the (768,) vector of interleaved ABC or MTF text."""
        from clamp3.modalities import patches

        return self._weighted(patches.encode(text), PATCHES, self._music_window)

    def words(self, text: str) -> np.ndarray:
        """Return the (768,) vector of a sentence."""
        ids = np.asarray(self.tokenizer(text)["input_ids"], np.int64)
        return self._weighted(ids, TOKENS, self._text_window)

    def _weighted(self, values: np.ndarray, limit: int, encode: Any) -> np.ndarray:
        parts = [values[start : start + limit] for start in range(0, len(values), limit)]
        weights = np.array([len(part) for part in parts], np.float32)
        if len(parts) > 1:
            parts[-1] = values[-limit:]
        with self.torch.no_grad():
            vectors = np.stack([encode(part).cpu().numpy() for part in parts])
        return np.asarray((vectors * weights[:, None]).sum(0) / weights.sum())

    def _music_window(self, codes: np.ndarray) -> Any:
        torch = self.torch
        padded = np.zeros((PATCHES, PATCH_SIZE), np.int64)
        padded[: len(codes)] = codes
        mask = torch.zeros(1, PATCHES, device=self.device)
        mask[0, : len(codes)] = 1
        codes_there = torch.from_numpy(padded)[None].to(self.device)
        one_hot = torch.nn.functional.one_hot(codes_there, CODES).float().flatten(2)  # (1, L, 8192)
        hidden = self.symbolic(inputs_embeds=self.patch_embedding(one_hot), attention_mask=mask)["last_hidden_state"]
        return self.symbolic_proj(_mean(hidden, mask))[0]

    def _text_window(self, ids: np.ndarray) -> Any:
        torch = self.torch
        padded = np.full(TOKENS, self.tokenizer.pad_token_id, np.int64)
        padded[: len(ids)] = ids
        mask = torch.zeros(1, TOKENS, device=self.device)
        mask[0, : len(ids)] = 1
        tokens = torch.from_numpy(padded)[None].to(self.device)
        hidden = self.text(tokens, attention_mask=mask)["last_hidden_state"]
        return self.text_proj(_mean(hidden, mask))[0]


def _sizes(state: dict[str, Any], prefix: str, positions: int) -> Any:
    """Return the sizes of a tower by the shapes of its weights; its heads are 64 wide, as the published ones."""
    from transformers import BertConfig

    width = len(state[f"{prefix}embeddings.LayerNorm.bias"])
    layers = {name.removeprefix(prefix).split(".")[2] for name in state if name.startswith(f"{prefix}encoder.layer.")}
    return BertConfig(
        vocab_size=1,
        hidden_size=width,
        num_hidden_layers=len(layers),
        num_attention_heads=width // 64,
        intermediate_size=len(state[f"{prefix}encoder.layer.0.intermediate.dense.bias"]),
        max_position_embeddings=positions,
    )


def _mean(hidden: Any, mask: Any) -> Any:
    weight = mask.unsqueeze(-1)
    return (hidden * weight).sum(1) / weight.sum(1)


def main(argv: list[str] | None = None) -> int:
    parser = parser_for(__doc__)
    parser.add_argument("weights", type=Path, help="checkpoint with the released names")
    parser.add_argument("text_model", type=Path, help="folder of the text model")
    args = parser.parse_args(argv)
    ReleasedWay(args.weights, args.text_model).words("a lively jig")
    return 0


if __name__ == "__main__":
    raise SystemExit(run(main))
