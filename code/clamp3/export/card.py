"""The model card of an exported folder, and its upload to the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clamp3 import __version__
from clamp3.errors import ConfigError, FormatError, WeightsError, sentence_of
from clamp3.export import parity
from clamp3.formats.tables import read_json
from clamp3.jobs.atomic import write_text
from clamp3.models import slim
from clamp3.models.onnx_folder import Exported, read_export
from clamp3.models.registry import EXPORT, PUBLISHED
from clamp3.models.tokenizer import FILES, SETTINGS
from clamp3.models.weights import describe

NAME = "README.md"
OURS = "<!-- clamp3 export -->"  # a card that somebody has written is not replaced
_LICENCE = "mit"  # of every name in `PUBLISHED`
_USE = {
    "onnx": "clamp3 = Clamp3.from_pretrained(\"model\")  # pip install 'clamp3[onnx]'",
    "safetensors": 'clamp3 = Clamp3.from_pretrained("model")  # pip install clamp3',
}


def write_card(folder: Path, repo: str, *, licence: str | None = None) -> Path:
    """Write the card of a folder that ``clamp3 export`` has written; return its path.

    Parameters
    ----------
    folder : Path
    repo : str
        ``owner/name`` on the hub.
    licence : str, optional
        As the hub spells it, such as "mit"; None is that of published weights, and none for others.

    Raises
    ------
    ConfigError
        If the folder has a card that is not of this command, or the licence is unknown.
    WeightsError
        If the folder holds no export.
    """
    path = folder / NAME
    if path.is_file() and OURS not in path.read_text(encoding="utf-8", errors="replace"):
        raise ConfigError(f"{path} was not written by clamp3 export and is left alone; move it away first.")
    facts = _onnx_facts(folder) if (folder / EXPORT).is_file() else _slim_facts(folder)
    licence = licence or (_LICENCE if facts["weights"].rpartition("-")[0] in PUBLISHED else None)
    if licence is None:
        raise ConfigError(f"the licence of {facts['weights']} is not known; state it by --licence, such as mit.")
    write_text(path, _text(facts, repo, licence))
    return path


def push(folder: Path, repo: str, *, private: bool = False) -> str:
    """Upload what an export has written, and its card; return the address.

    Parameters
    ----------
    folder : Path
    repo : str
        It is made if it does not exist.
    private : bool
        Of a new one.

    Raises
    ------
    ConfigError
        If the hub refuses, or cannot be reached.
    """
    from huggingface_hub import HfApi

    files = [NAME, EXPORT, parity.NAME, slim.NAME, *FILES, *SETTINGS]
    if (folder / EXPORT).is_file():
        files += [Path(tower.file).name for tower in read_export(folder).towers.values()]
    try:
        api = HfApi(library_name="clamp3", library_version=__version__)
        api.create_repo(repo, private=private, exist_ok=True)
        message = f"clamp3 export, clamp3 {__version__}"
        api.upload_folder(repo_id=repo, folder_path=folder, allow_patterns=files, commit_message=message)
    except Exception as error:  # the hub and the HTTP library under it have dozens of classes, changing by version
        reason = sentence_of((str(error).strip().splitlines() or [type(error).__name__])[0]).rstrip(".")
        advice = "log in by hf auth login, or set HF_TOKEN, with a token that may write"
        raise ConfigError(f"{repo} was not uploaded ({reason}); {advice}.") from error
    return f"https://huggingface.co/{repo}"


def _onnx_facts(folder: Path) -> dict[str, Any]:
    exported: Exported = read_export(folder)
    rows = [
        (name, f"`{Path(tower.file).name}`", _size(folder / Path(tower.file).name), f"`{tower.input}` {tower.type}")
        for name, tower in exported.towers.items()
    ]
    try:
        report = read_json(folder / parity.NAME, dict[str, Any])
        numbers = parity.table(report)
    except (FormatError, KeyError, TypeError, AttributeError):
        numbers = ""
    return {
        "form": "onnx",
        "weights": exported.weights,
        "family": exported.family,
        "rows": rows,
        "width": exported.width,
        "precision": exported.precision,
        "numbers": numbers,
        "about": f"ONNX opset {exported.opset}, {exported.precision}; `{EXPORT}` states inputs, windows and pooling.",
    }


def _slim_facts(folder: Path) -> dict[str, Any]:
    path = folder / slim.NAME
    if not path.is_file():
        raise WeightsError(f"{folder} holds neither {EXPORT} nor {slim.NAME}; export into it first.")
    described = describe(path)
    return {
        "form": "safetensors",
        "weights": str(described.info.get("from", described.identity)),
        "family": described.family.kind,
        "rows": [(" and ".join(described.config.towers), f"`{slim.NAME}`", _size(path), "tensors alone")],
        "width": described.config.hidden_size,
        "precision": "as in the checkpoint",
        "numbers": "",
        "about": f"Every tensor equals that of the checkpoint; the identity of the file is `{described.identity}`.",
    }


def _size(path: Path) -> str:
    return f"{path.stat().st_size / 1e6:,.1f} MB"


def _text(facts: Mapping[str, Any], repo: str, licence: str) -> str:
    rows = "\n".join(f"| {' | '.join(row)} |" for row in facts["rows"])
    measured = f"\n## Compared with the weights\n\n```text\n{facts['numbers']}\n```\n" if facts["numbers"] else ""
    return f"""---
license: {licence}
library_name: clamp3
pipeline_tag: feature-extraction
tags: [music, symbolic-music, music-retrieval, {facts["family"]}, {facts["form"]}]
---
{OURS}
# {repo.partition("/")[2]}

Towers of `{facts["weights"]}` ({facts["family"]}), which encode text, scores, MIDI or recordings of music into
vectors of {facts["width"]} numbers whose cosines tell how well they match. {facts["about"]}

| tower | file | size | input |
|---|---|---:|---|
{rows}
{measured}
## Use

```python
# hf download {repo} --local-dir model
from clamp3 import Clamp3

{_USE[facts["form"]]}
clamp3.encode(["a lively jig for fiddle"]).vectors
```

Identity of the weights: `{facts["weights"]}`. Precision: {facts["precision"]}. Licence: {licence}.
Written by clamp3 {__version__}.

Model: Wu et al., CLaMP 3: Universal Music Information Retrieval Across Unaligned Modalities and Unseen Languages,
Findings of ACL 2025 (arXiv 2502.10362).
"""
