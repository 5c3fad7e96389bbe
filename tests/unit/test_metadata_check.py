"""Merging single files into a JSONL, and what the checker says of its texts."""

from __future__ import annotations

import json
import os

import pytest
from fake_llm import ENGLISH, TEXTS

from clamp3.cli import run
from clamp3.metadata.check import check_texts
from clamp3.metadata.items import line_of, list_items, parse
from clamp3.metadata.languages import CLAMP2, language_name, spoken
from clamp3.metadata.merge import merge

LONG = ("background", "analysis", "description", "scene")
ABC = "L:1/8\nM:2/4\nK:G\nV:1 treble\n[V:1]G2A2|\n[V:1]B4|]\n"


def record(**changed):
    right = {
        **{"id": "a", "title": "Abendlied", "artists": ["Ines Müller", "X"], "region": "Germany"},
        **{"language": "German", "genres": ["Lied"], "tags": [], **dict.fromkeys(LONG, TEXTS["de"])},
        "translations": {"language": "Swahili", **dict.fromkeys(LONG, TEXTS["sw"])},
        "filepaths": ["abc/a.abc"],
    }
    return {**right, **changed}


def write(path, *records):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(line_of(one) for one in records))
    return path


def put(path, text="x"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


# --- merge ---------------------------------------------------------------------------------------------------------


def test_paths_become_relative_to_the_jsonl(script, tmp_path, capsys):
    data = tmp_path / "data"
    for name in ("abc/s/b.abc", "mtf/s/b.mtf", "beside/a.abc"):
        put(data / name)
    put(data / "beside" / "a.json", json.dumps({"title": "A", "filepaths": ["a.abc"]}))
    put(tmp_path / "meta" / "s" / "b.json", json.dumps({"title": "B", "filepaths": ["s/b.abc", "s/b.mtf"]}))
    put(tmp_path / "meta" / "c.json", json.dumps({"title": "C", "filepaths": str(data / "abc/s/b.abc")}))
    main = script("preprocessing/text/merge.py").main
    out = data / "train.jsonl"
    assert main([str(data / "beside"), str(out)]) == 0
    assert json.loads(out.read_text())["filepaths"] == ["beside/a.abc"]
    assert main([str(tmp_path / "meta"), str(out), "--music", str(data / "abc"), str(data / "mtf")]) == 0
    assert [json.loads(line)["filepaths"] for line in out.read_text().splitlines()] == [
        ["abc/s/b.abc"],
        ["abc/s/b.abc", "mtf/s/b.mtf"],
    ]
    assert "2 written" in capsys.readouterr().out


def test_what_cannot_be_merged_is_named_and_the_rest_written(script, tmp_path, capsys):
    put(tmp_path / "elsewhere.abc")
    put(tmp_path / "data" / "ok.abc")
    folder = tmp_path / "data" / "meta"
    for name, text in {
        "a": json.dumps({"filepaths": ["../ok.abc"]}),
        "b": json.dumps({"filepaths": ["no.abc"]}),
        "c": json.dumps({"filepaths": ["../../elsewhere.abc"]}),
        "d": "[]",
        "e": json.dumps({"title": "E"}),
        "f": '{"title": NaN, "filepaths": ["../ok.abc"]}',
        "g": '{"title": ',
    }.items():
        put(folder / f"{name}.json", text)
    out = tmp_path / "data" / "train.jsonl"
    assert script("preprocessing/text/merge.py").main([str(folder), str(out)]) == 1
    said = capsys.readouterr().out
    assert "1 written" in said and "6 failed" in said
    assert "b.json: no.abc is not below" in said
    assert "c.json: " in said and "lies outside" in said
    assert "d.json: a JSON list; an object is wanted" in said
    assert "e.json: filepaths must name files, got None" in said
    assert "f.json: NaN is not JSON" in said and "g.json: not JSON" in said
    assert json.loads(out.read_text())["filepaths"] == ["ok.abc"]
    assert len(merge(folder, out, allow_missing=True).failed) == 5


def test_nothing_to_write_leaves_what_was_there(script, tmp_path, capsys):
    put(tmp_path / "meta" / "a.json", "[]")
    put(tmp_path / "train.jsonl", "old")
    merge_main = script("preprocessing/text/merge.py").main
    assert run(lambda: merge_main([str(tmp_path / "meta"), str(tmp_path / "train.jsonl")])) == 1
    assert "the first of 1: a.json: a JSON list" in capsys.readouterr().err
    assert (tmp_path / "train.jsonl").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["meta", "train.jsonl"]


def test_shard_members_keep_their_names(tmp_path):
    put(tmp_path / "shards" / "0.tar")
    source = write(tmp_path / "in.jsonl", {"filepaths": ["shards/0.tar::x/a.npy"]})
    merge(source, tmp_path / "out.jsonl")
    assert json.loads((tmp_path / "out.jsonl").read_text())["filepaths"] == ["shards/0.tar::x/a.npy"]


# --- items ---------------------------------------------------------------------------------------------------------


def test_a_line_is_one_line_to_every_reader():
    text = "a\nb\u2028c\u2029d\x85e\x0bf\ud800"
    line = line_of({"text": text})
    assert line.count(b"\n") == 1 and len(line.decode().splitlines()) == 1
    assert parse(line)["text"] == text
    plain = line_of({"text": "é\u2028"})
    assert "é" in plain.decode() and len(plain.decode().splitlines()) == 1 and parse(plain)["text"] == "é\u2028"


def test_items_are_named_by_file_id_paths_or_content(tmp_path):
    source = tmp_path / "in.jsonl"
    source.write_text(
        '\ufeff{"id": "a"}\n\n{"filepaths": ["x.abc", "x.mtf"]}\n{"title": "t"}\n{"id": "a", "title": "u"}\nnonsense\n',
        encoding="utf-8",
    )
    items = list_items(source)
    assert [item.name for item in items][:2] == ["a", "x.abc x.mtf"]
    assert items[2].name == items[2].sha256[:16] and items[3].name == "a#2" and items[4].name == "line 6"
    assert items[4].problem.startswith("not JSON") and items[2].load() == {"title": "t"}
    source.write_text('{"id": "a"}\n{"id": "a"}\n{"id": "a#2"}\n')
    assert [item.name for item in list_items(source)] == ["a", "a#3", "a#2"]
    put(tmp_path / "f" / "s" / "b.JSON", "{}")
    put(tmp_path / "f" / "a.json", "{}")
    put(tmp_path / "f" / ".hidden.json", "{}")
    put(tmp_path / "f" / "music.abc", "x")
    assert [item.name for item in list_items(tmp_path / "f")] == ["a.json", "s/b.JSON"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file_is_an_item_with_a_reason(tmp_path):
    put(tmp_path / "a.json", "{}").chmod(0)
    (item,) = list_items(tmp_path)
    assert item.problem.startswith("cannot be read")


# --- check ---------------------------------------------------------------------------------------------------------


def test_statistics_count_bytes_languages_and_regions(tmp_path):
    put(tmp_path / "abc" / "a.abc", ABC)
    path = write(
        tmp_path / "r.jsonl",
        record(),
        record(id="b", region="Japan", title="夕べ", language="Japanese", **dict.fromkeys(LONG, TEXTS["ja"])),
    )
    check, found = check_texts(path)
    assert check.n_problems == 0, check.problems
    table = {name: (n, mean) for name, n, mean in found.table()}
    assert table["title"] == (2, (9 + 6) / 2)
    assert table["artists"] == (2, len("Ines Müller, X".encode()))
    assert "tags" not in table and table["translations.language"] == (2, 7)
    assert table["scene"] == (2, (len(TEXTS["de"].encode()) + len(TEXTS["ja"].encode())) / 2)
    assert found.languages == {"original": {"German": 1, "Japanese": 1}, "translated": {"Swahili": 2}}
    assert found.regions == {"Germany": 1, "Japan": 1}
    assert (found.n_checked, found.n_unchecked) == (16, 0)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"analysis": ENGLISH}, "r.jsonl:1: analysis: asked for German, reads as English"),
        (
            {"translations": {"language": "Swahili", "scene": TEXTS["de"]}},
            "r.jsonl:1: translations.scene: asked for Swahili, reads as German",
        ),
        ({"region": "Bohemia"}, "r.jsonl:1: region: 'Bohemia' is no English name of ISO 3166"),
        ({"language": "Deutsch"}, "r.jsonl:1: language: 'Deutsch' is no English name of ISO 639"),
        ({"summary_nen": {"language": "French", "summary": ENGLISH}}, "r.jsonl:1: summary_nen.summary: asked for Fren"),
        ({"summary_en": TEXTS["fi"]}, "r.jsonl:1: summary_en: asked for"),
        ({"mood": "sad"}, "r.jsonl:1: unknown field 'mood'"),
        ({"filepaths": ["abc/none.abc"]}, "r.jsonl:1: "),
    ],
)
def test_each_problem_is_named(tmp_path, changed, said):
    put(tmp_path / "abc" / "a.abc", ABC)
    check, _ = check_texts(write(tmp_path / "r.jsonl", record(**changed)))
    assert check.n_problems == 1 and check.problems[0].startswith(said), check.problems


def test_metadata_of_clamp2_claim_languages_only_for_summaries(tmp_path):
    path = write(
        tmp_path / "r.jsonl",
        {
            **{
                "title": "Irrlicht",
                "composer": "Schubert",
                "lyricist": "Müller",
                "lyrics": TEXTS["de"],
                "key": "B minor",
            },
            **{"description": TEXTS["fr"], "instruments": ["Voice"], "summary_en": ENGLISH},
            **{"summary_nen": {"language": "Sundanese", "summary": TEXTS["su"]}, "filepaths": ["a.abc"]},
        },
    )
    check, found = check_texts(path, files=False)
    assert check.problems == [] and (found.n_checked, found.n_unchecked) == (2, 1)
    assert found.languages == {"original": {"English": 1}, "translated": {"Sundanese": 1}}


@pytest.mark.parametrize("code", sorted(CLAMP2))
def test_records_of_clamp2s_script_pass(tmp_path, code):
    """The form of its README's example, whose language is Chinese (Simplified), in each name that its script draws."""
    name = language_name(code).replace("Odia", "Oriya")
    summary = "Yeh geet dheema aur udaas hai, ghar ki yaad ka." if code.endswith("-Latn") else TEXTS[spoken(code)]
    row = {
        **{"title": "Hard Times Come Again No More", "composer": "Stephen Foster", "genres": ["Folk"], "tags": []},
        **{"description": ENGLISH, "lyrics": ENGLISH, "ensembles": ["Folk Ensemble"], "instruments": ["Violin"]},
        **{"summary_en": ENGLISH, "summary_nen": {"language": name, "summary": summary}, "filepaths": ["a.abc"]},
    }
    check, found = check_texts(write(tmp_path / "r.jsonl", row), files=False)
    assert check.problems == [] and found.n_checked == 2


def test_the_script_prints_a_table_and_draws(script, tmp_path, capsys):
    path = write(tmp_path / "r.jsonl", *[record(id=str(i), region="Bohemia") for i in range(30)])
    check = script("preprocessing/text/check.py")
    code = run(lambda: check.main([str(path), "--no_files", "--plots", str(tmp_path / "plots"), "--show", "2"]))
    said = capsys.readouterr().out
    assert code == 1
    assert "title                            30        9.00" in said
    assert "original (1): German 30" in said and "region (1): Bohemia 30" in said
    assert "30 records, 30 problems, 2 of them listed" in said and said.count("r.jsonl:") == 2
    images = sorted((tmp_path / "plots").iterdir())
    assert [image.name for image in images] == ["languages.png", "lengths.png", "regions.png"]
    assert all(image.read_bytes().startswith(b"\x89PNG") and image.stat().st_size > 5000 for image in images)
    code = run(lambda: check.main([str(path), "--no_files", "--no_languages", "--json"]))
    facts = json.loads(capsys.readouterr().out)
    assert facts["fields"]["title"] == {"records": 30, "mean_bytes": 9.0} and facts["texts_checked"] == 0
    assert facts["n_problems"] == 30


def test_many_languages_share_one_bar(tmp_path):
    from collections import Counter

    from clamp3.metadata.plots import SHOWN, _bars

    figure = _bars({"a": Counter({str(i): i for i in range(1, SHOWN + 4)}), "b": Counter({"1": 7})}, "x")
    axes = figure.axes[0]
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert len(labels) == SHOWN + 1 and labels[-1] == "3 others"
    assert sum(bar.get_width() for bar in axes.patches) == sum(range(1, SHOWN + 4)) + 7
