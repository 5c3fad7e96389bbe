"""Prompts that come with the package: whole in every language, and taken by the script."""

import json

import numpy as np
import pytest

from clamp3.errors import ConfigError
from clamp3.probe.zero_shot import PRESETS, preset_prompts

LANGUAGES = ["en", "de", "fr", "es", "zh"]


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_whole(name):
    every = preset_prompts(name)
    assert len(every) >= 14 and list(every) == sorted(every, key=str.casefold)
    texts = [text for sentences in every.values() for text in sentences]
    assert len(set(texts)) == len(texts), "no prompt of two classes"
    assert all(text.strip() == text and "{" not in text for text in texts)
    for code in LANGUAGES:
        assert {len(sentences) for sentences in preset_prompts(name, languages=[code]).values()} <= {1, 2}
    chinese = preset_prompts(name, languages=["zh"])
    assert all(any("\u4e00" <= letter <= "\u9fff" for letter in text) for [text] in chinese.values())


def test_some_classes_and_languages():
    assert preset_prompts("region", ["Ireland", "China"], ["de"]) == {
        "Ireland": ["Musik aus Irland"],
        "China": ["Musik aus China"],
    }
    with pytest.raises(ConfigError, match="--prompts region has no class Atlantis; there are Austria"):
        preset_prompts("region", ["Atlantis"])
    with pytest.raises(ConfigError, match="has no language xx; there are en, de"):
        preset_prompts("mood", languages=["xx"])


def test_the_script_takes_a_preset(script, tmp_path, capsys):
    (tmp_path / "songs").mkdir()
    for row in range(4):
        np.save(tmp_path / "songs" / f"{row}.npy", np.random.default_rng(row).standard_normal(256).astype(np.float32))
    main = script("classification/zero_shot_cls.py").main
    arguments = [str(tmp_path / "songs"), "--model", "mini", "--prompts", "region", "--languages", "en", "zh", "--json"]
    assert main([*arguments, "--classes", "China", "Ireland"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["prompts"]["China"] == ["music from China", "a folk song from China", "来自中国的音乐"]
    assert {row["label"] for row in result["files"].values()} <= {"China", "Ireland"}
    with pytest.raises(ConfigError, match="neither a file nor one of region, genre"):
        main([str(tmp_path / "songs"), "--model", "mini", "--prompts", "regions"])
