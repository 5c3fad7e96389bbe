"""Benchmarks of retrieval on miniature copies of the layouts in which the data sets are distributed."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest

from clamp3.datasets import midicaps, musiccaps, songdescriber, wikimt, wikimtx
from clamp3.datasets.published import as_text, refreshed, tables
from clamp3.datasets.retrieval import BENCHMARKS, open_benchmark
from clamp3.embedding.clamp3 import Clamp3
from clamp3.errors import ConfigError, DataError, FormatError
from clamp3.formats.tables import read_csv, read_jsonl
from clamp3.sources import sentence

ROOT = Path(__file__).resolve().parents[2]
SONGS = {
    "aaaaaaaaaa1": ("Jazz", "a slow waltz for piano", "C2E2G2|c2G2E2|C6|]"),
    "-bbbbbbbb_2": ("Folk", "a lively jig for fiddle in D major", "d2f2a2|f2d2A2|D6|]"),
    "ccccccccc_3": ("Pop", "a sad song\nof two lines", "A2c2e2|e2c2A2|A6|]"),
}


def abc(notes):
    return f'X:1\nT:Tune\nL:1/8\nM:3/4\nK:C\n"C" {notes}\n'


def write_jsonl(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def write_csv(path, rows):
    with open(path, "w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_features(path, seed):
    """Audio features of the width that the tiny model takes, two chunks and more."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, np.random.default_rng(seed).standard_normal((1, 4 + seed, 32)).astype(np.float32))


@pytest.fixture
def wikimt_dir(tmp_path):
    rows = [
        {"title": f"T{i}", "artist": "A", "genre": genre, "description": text, "music": abc(notes)}
        for i, (genre, text, notes) in enumerate(SONGS.values())
    ]
    write_jsonl(tmp_path / "wikimt" / "wikimusictext.jsonl", rows)
    return tmp_path / "wikimt"


@pytest.fixture
def wikimtx_dir(tmp_path):
    root = tmp_path / "wikimt-x"
    rows = [
        {"id": id, "genre": genre, "leadsheet": abc(notes)} | {name: f"{name}: {text}" for name in wikimtx.FIELDS}
        for id, (genre, text, notes) in SONGS.items()
    ]
    write_jsonl(root / "wikimt-x-public.jsonl", rows)
    return root


@pytest.fixture
def sdd_dir(tmp_path):
    root = tmp_path / "sdd"
    (root / "audio").mkdir(parents=True)
    captions = [(1, 1004034, "a slow song", True), (2, 1004034, "a sad piano", False), (3, 18, "a fast dance", True)]
    captions.append((4, 205, "a jig for fiddle", False))
    write_csv(
        root / "song_describer.csv",
        [
            {
                "caption_id": c,
                "track_id": t,
                "caption": text,
                "is_valid_subset": valid,
                "path": f"{t % 100:02d}/{t}.mp3",
            }
            for c, t, text, valid in captions
        ],
    )
    for seed, track in enumerate((1004034, 18, 205)):
        write_features(root / "audio" / f"{track % 100:02d}" / f"{track}.2min.npy", seed)
    return root


@pytest.fixture
def musiccaps_dir(tmp_path):
    root = tmp_path / "musiccaps"
    root.mkdir()
    rows = [
        {"ytid": id, "start_s": 30, "end_s": 40, "caption": text, "is_audioset_eval": i != 1}
        for i, (id, (_, text, _)) in enumerate(SONGS.items())
    ]
    write_csv(root / "musiccaps-public.csv", rows)
    write_csv(root / "rewritten.csv", [{"ytid": row["ytid"], "caption": f"rewritten {row['caption']}"} for row in rows])
    for seed, id in enumerate(SONGS):
        write_features(root / "clips" / f"{id}_30_40.npy", seed)
        write_features(root / "full" / f"{id}.npy", 10 + seed)
    return root


@pytest.fixture
def midicaps_dir(tmp_path):
    from clamp3.formats.score_to_midi import abc_to_midi

    root = tmp_path / "midicaps"
    rows = []
    for i, (_, text, notes) in enumerate(SONGS.values()):
        location = f"lmd_full/{i}/{i:032x}.mid"
        rows.append({"location": location, "caption": text, "test_set": i != 0, "tempo": 120})
        (root / location).parent.mkdir(parents=True)
        (root / location).write_bytes(abc_to_midi(abc(notes)))
    write_jsonl(root / "train.json", rows)
    return root


@pytest.fixture
def run(script, capsys, tmp_path):
    """Return a function that runs the benchmark script and returns exit code, report, stdout and stderr."""
    main = script("retrieval/benchmark.py").main

    def call(name, data, model, *args):
        path = tmp_path / "out" / "result.json"
        code = main([name, "--data", str(data), "--model", str(model), "--json", str(path), *args])
        captured = capsys.readouterr()
        return code, json.loads(path.read_text(encoding="utf-8")), captured.out, captured.err

    return call


def reciprocal_ranks(queries, references, right):
    """By sorting, one query at a time."""
    found = []
    for query, mine in zip(queries, right, strict=True):
        cosines = [query @ r / np.linalg.norm(query) / np.linalg.norm(r) for r in references]
        order = np.argsort(cosines)[::-1].tolist()
        found.append(1 / (1 + min(order.index(row) for row in mine)))
    return found


def scores(report):
    return {score["task"]: score["metrics"] for score in report["scores"]}


# Each benchmark from end to end


def test_wikimt_with_mini(wikimt_dir, run):
    code, report, out, said = run("wikimt", wikimt_dir, "mini")
    assert code == 0 and report["failures"] == report["not_run"] == [] and "descriptions" in said
    model = Clamp3.from_pretrained("mini")
    texts = model.encode([sentence(text) for _, text, _ in SONGS.values()]).vectors
    music = model.encode([song.abc for song in wikimt.read(wikimt_dir)]).vectors
    assert scores(report)["text-abc"]["mrr"] == pytest.approx(
        np.mean(reciprocal_ranks(texts, music, [[0], [1], [2]])), abs=1e-9
    )
    published = out.split("\n\n")[0].splitlines()
    assert [line.split() for line in published if line.startswith("saas ")] == [["saas", "0.3555"]]
    assert published[-1].split() == ["mini,", "here", f"{scores(report)['text-abc']['mrr']:.4f}"]
    assert report["published"][0]["rows"]["sa_c2"] == [0.4498]


ABC_BY_TITLE = {"Señorita": "C2E2G2|c2G2E2|C6|]", "Blue - Moon": "d2f2a2|f2d2A2|D6|]", "Ol' Man": "A2c2e2|e2c2A2|A6|]"}


@pytest.fixture
def wikimt_as_downloaded(tmp_path):
    """The table as distributed, which has no music."""
    rows = [
        {"title": title, "artist": f"Artist {i}", "genre": "Jazz", "description": text}
        for i, (title, (_, text, _)) in enumerate(zip(ABC_BY_TITLE, SONGS.values(), strict=True))
    ]
    write_jsonl(tmp_path / "wikimt" / "wikimusictext.jsonl", rows)
    return tmp_path / "wikimt", rows


def test_wikimt_as_downloaded_says_where_the_music_comes_from(wikimt_as_downloaded, script, capsys):
    root, _ = wikimt_as_downloaded
    for path in ("retrieval/benchmark.py", "classification/benchmark.py"):
        with pytest.raises(ConfigError) as raised:
            script(path).main(["wikimt", "--data", str(root), "--model", "mini"])
        said = str(raised.value)
        assert "3 of 3" in said and "Wikifonia/<artist> - <title>.mxl" in said and "card" in said


def test_wikimt_takes_music_as_lines_as_its_card_writes_it(wikimt_as_downloaded):
    root, rows = wikimt_as_downloaded
    texts = [abc(notes) for notes in ABC_BY_TITLE.values()]
    as_lines = [text.splitlines(keepends=keep) for text, keep in zip(texts[1:], (True, False), strict=True)]
    write_jsonl(
        root / "wikimusictext.jsonl", [{**row, "music": m} for row, m in zip(rows, [texts[0], *as_lines], strict=True)]
    )
    assert [song.abc.read().decode() for song in wikimt.read(root)] == texts
    write_jsonl(root / "wikimusictext.jsonl", [{**rows[0], "music": {"abc": ""}}])
    with pytest.raises(FormatError, match=r"jsonl:1 has music that is neither a text nor a list of lines"):
        wikimt.read(root)


def test_wikimt_takes_wikifonias_files_by_artist_and_title(wikimt_as_downloaded, run):
    """Accents, case and punctuation differ between archive and table; a namesake by another artist is not taken."""
    root, _ = wikimt_as_downloaded
    names = ["ARTIST 0 - Senorita", "Artist 1 - Blue - Moon", "Somebody - Ol Man"]
    folder = root / "Wikifonia"
    for name, notes in zip(names, ABC_BY_TITLE.values(), strict=True):
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.abc").write_text(abc(notes))
    (folder / "Another - Señorita.abc").write_text(abc("C6|]"))
    assert [song.abc.name for song in wikimt.read(root)] == [f"{name}.abc" for name in names]
    (folder / "Third - Ol' Man.abc").write_text(abc("C6|]"))
    assert wikimt.read(root)[2].abc is None, "two artists, neither of them the row's"
    code, report, _, said = run("wikimt", root, "mini")
    assert code == 0 and scores(report)["text-abc"]["queries"] == 2 and "1 of 3 are missing, first 0003" in said
    assert [name.rpartition(": ")[2] for name in report["missing_inputs"]] == ["0003"]


@pytest.mark.parametrize(
    "pattern",
    [
        "{}.npy",
        "[{}]-[30-40].npy",
        "{}_30_40.npy",
        "{}-30-40.npy",
        "A title [live] [{}].npy",
        "A title-{}.npy",
        "{}.f140.npy",
    ],
)
def test_recordings_named_by_downloaders_are_found(musiccaps_dir, wikimtx_dir, pattern):
    for folder, loader in ((musiccaps_dir / "clips", musiccaps), (wikimtx_dir / "audio", wikimtx)):
        for path in folder.glob("*"):
            path.unlink()
        for seed, id in enumerate(SONGS):
            write_features(folder / pattern.format(id), seed)
        write_features(folder / "A title without an id.npy", 9)
        found = loader.read(folder.parent)
        recordings = [clip.clip for clip in found] if loader is musiccaps else [song.audio for song in found]
        assert [source.name for source in recordings] == [pattern.format(id) for id in SONGS]


def test_midicaps_with_mini(midicaps_dir, run):
    code, report, _, said = run("midicaps", midicaps_dir, "mini")
    assert code == 0 and scores(report)["text-midi"]["queries"] == 2  # the test set
    assert "drawn by a hash" in said
    (midicaps_dir / "subset.txt").write_text("\n".join(sorted(f"lmd_full/{i}/{i:032x}.mid" for i in range(3))))
    code, report, _, said = run("midicaps", midicaps_dir, "mini")
    assert scores(report)["text-midi"]["queries"] == 3 and "drawn by a hash" not in said


def test_wikimtx_with_mini_renders_midi_and_says_what_is_missing(wikimtx_dir, run):
    code, report, out, said = run("wikimtx", wikimtx_dir, "mini")
    assert code == 0 and set(scores(report)) == {f"{field}-abc" for field in wikimtx.FIELDS}
    assert "midi/: 3 of 3 are missing" in said and "audio/: 3 of 3 are missing, first aaaaaaaaaa1" in said
    assert "huggingface.co/datasets/sander-wood/wikimt-x (licence: CC BY-NC 4.0)" in said
    rows = [{"id": id, "background": f"chanson: {text}"} for id, (_, text, _) in SONGS.items()]
    write_jsonl(wikimtx_dir / "translations" / "fr.jsonl", rows)
    code, report, out, said = run("wikimtx", wikimtx_dir, "mini", "--render_midi", "--both")
    assert code == 0 and sorted(path.name for path in (wikimtx_dir / "midi").iterdir()) == sorted(
        f"{i}.mid" for i in SONGS
    )
    texts = [*wikimtx.FIELDS, "background.fr"]
    forth = {f"{text}-{target}" for text in texts for target in ("abc", "midi")} | {"abc-midi", "midi-abc"}
    assert set(scores(report)) == forth | {f"{name} (back)" for name in forth}
    assert scores(report)["abc-midi"]["mrr"] == scores(report)["midi-abc (back)"]["mrr"]
    assert "translations/: ru es ar" in said and "midi/" not in said.split("Get WikiMT-X")[0]
    heads = [part.splitlines()[0] for part in out.split("\n\n")]
    assert [head.split(":")[0] for head in heads[:-1]] == [
        "English text to music",
        "Translated backgrounds of WikiMT-X to ABC",
        "Translated backgrounds of WikiMT-X to MIDI",
        "Translated backgrounds of WikiMT-X to audio",
        "Music to music on WikiMT-X, n = 1,000",
    ]


def test_wikimtx_with_audio_has_all_directions(wikimtx_dir, run, tiny_weights):
    for seed, id in enumerate(SONGS):
        write_features(wikimtx_dir / "audio" / f"{id}.npy", seed)
        (wikimtx_dir / "midi").mkdir(exist_ok=True)
        (wikimtx_dir / "midi" / f"{id}.mtf").write_text(
            f"ticks_per_beat 480\nnote_on 0 0 {60 + seed} 80\nnote_off 9 0 {60 + seed} 0\nend_of_track 1\n"
        )
    for language in wikimtx.LANGUAGES:
        rows = [{"id": id, "background": text} for id, (_, text, _) in SONGS.items()]
        write_jsonl(wikimtx_dir / "translations" / f"{language}.jsonl", rows)
    code, report, _, said = run("wikimtx", wikimtx_dir, tiny_weights)
    assert code == 0 and report["not_run"] == [] and "Get WikiMT-X" not in said
    published = {c["task"] for table in report["published"] for c in table["columns"]}
    assert published < set(scores(report))  # every published figure has its counterpart
    assert len(scores(report)) == (4 + 10) * 3 + 6


def test_song_describer_shares_references(sdd_dir, run, tiny_weights):
    code, report, out, _ = run("songdescriber", sdd_dir, tiny_weights, "--both")
    assert code == 0
    full, valid = scores(report)["full"], scores(report)["valid"]
    assert (full["queries"], full["references"], valid["queries"], valid["references"]) == (4, 3, 2, 2)
    model = Clamp3.from_pretrained(tiny_weights)
    texts = model.encode(
        [sentence(t) for t in ("a slow song", "a sad piano", "a fast dance", "a jig for fiddle")]
    ).vectors
    files = [sdd_dir / "audio" / f"{t % 100:02d}" / f"{t}.2min.npy" for t in (1004034, 18, 205)]
    music = model.encode(files).vectors
    assert full["mrr"] == pytest.approx(np.mean(reciprocal_ranks(texts, music, [[0], [0], [1], [2]])))
    back = scores(report)["full (back)"]
    assert back["mrr"] == pytest.approx(np.mean(reciprocal_ranks(music, texts, [[0, 1], [2], [3]]))) and "map" in back
    assert "Song Describer" in out and "0.1985" in out


def test_musiccaps_has_all_eight_columns(musiccaps_dir, run, tiny_weights):
    code, report, _, _ = run("musiccaps", musiccaps_dir, tiny_weights)
    assert code == 0
    table = next(table for table in report["published"] if table["id"] == "musiccaps")
    assert [column["task"] for column in table["columns"]] == list(scores(report))
    counts = {name: metrics["queries"] for name, metrics in scores(report).items()}
    assert counts == {f"{p}-{t}{a}": n for p, n in (("full", 3), ("eval", 2)) for t in "RO" for a in "FC"}
    model = Clamp3.from_pretrained(tiny_weights)
    texts = model.encode([sentence(f"rewritten {text}") for _, text, _ in SONGS.values()]).vectors
    music = model.encode([musiccaps_dir / "clips" / f"{id}_30_40.npy" for id in SONGS]).vectors
    expected = np.mean(reciprocal_ranks(texts, music, [[0], [1], [2]]))
    assert scores(report)["full-RC"]["mrr"] == pytest.approx(expected)


def test_without_rewritten_captions_and_whole_recordings_the_rest_runs(musiccaps_dir, run, tiny_weights):
    (musiccaps_dir / "rewritten.csv").unlink()
    for path in (musiccaps_dir / "full").iterdir():
        path.unlink()
    (musiccaps_dir / "clips" / "aaaaaaaaaa1_30_40.npy").unlink()
    code, report, _, said = run("musiccaps", musiccaps_dir, tiny_weights)
    assert code == 0 and list(scores(report)) == ["full-OC", "eval-OC"]
    assert scores(report)["full-OC"]["queries"] == 2 and report["scores"][0]["n_left_out"] == 1
    assert "rewritten.csv: 3 of 3 are missing" in said and "clips/: 1 of 3 are missing, first aaaaaaaaaa1" in said


def test_inputs_that_fail_are_named_and_counted(sdd_dir, run, tiny_weights):
    (sdd_dir / "audio" / "18" / "18.2min.npy").write_bytes(b"no array")
    code, report, _, said = run("songdescriber", sdd_dir, tiny_weights)
    assert code == 1 and [name for name, _ in report["failures"]] == ["18/18.2min.npy"] and "left out: 18/18" in said
    full = report["scores"][0]
    assert (full["metrics"]["queries"], full["metrics"]["references"], full["n_left_out"]) == (3, 2, 1)


def test_a_second_run_encodes_nothing(wikimt_dir, run, monkeypatch):
    first = run("wikimt", wikimt_dir, "mini")[1]
    monkeypatch.setattr(Clamp3, "load", lambda *_: pytest.fail("a tower was loaded"))
    assert run("wikimt", wikimt_dir, "mini")[1]["scores"] == first["scores"]


def test_a_model_without_the_tower_runs_what_it_can(wikimtx_dir, run, tiny_weights, monkeypatch):
    for seed, id in enumerate(SONGS):
        write_features(wikimtx_dir / "audio" / f"{id}.npy", seed)
    lacks = Clamp3.lacks
    monkeypatch.setattr(Clamp3, "lacks", lambda self, kind: "it needs ears." if kind == "audio" else lacks(self, kind))
    code, report, _, said = run("wikimtx", wikimtx_dir, tiny_weights)
    assert code == 0 and set(scores(report)) == {f"{field}-abc" for field in wikimtx.FIELDS}
    assert "not there: background-audio: it needs ears." in said
    monkeypatch.setattr(Clamp3, "lacks", lambda *_: "it is empty.")
    with pytest.raises(DataError, match="no task of WikiMT-X can be run"):
        run("wikimtx", wikimtx_dir, tiny_weights)


# Loaders


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_missing_file_is_said_with_address_and_licence(name, tmp_path):
    where = r"preprocessing/text/make_benchmark\.py \(docs/\w+\.md\)" if name == "own" else r"https://\S+"
    with pytest.raises(ConfigError, match=rf"is missing\. The folder lacks .+\. Get .* from {where} \(licence: "):
        open_benchmark(name, tmp_path)


def test_no_benchmark_of_that_name(tmp_path):
    with pytest.raises(ConfigError, match="choose one of wikimt, midicaps"):
        open_benchmark("wikimt-y", tmp_path)


def test_no_task_is_left(sdd_dir, musiccaps_dir):
    for path in sdd_dir.rglob("*.npy"):
        path.unlink()
    with pytest.raises(ConfigError, match=r"3 of 3 are missing(.|\n)*No task is left\. .*Get the Song Describer"):
        open_benchmark("songdescriber", sdd_dir)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"title": "T"}\n', r"jsonl:1 lacks artist, genre, description; it has title"),
        ("[1]", r"jsonl:1 is no record"),
        ('\n{"title": \n', r"jsonl:2 is not JSON"),
        ("", "holds no rows"),
        (b"\xff\xfe\x00", "not UTF-8"),
    ],
)
def test_a_malformed_table_is_named_with_its_line(tmp_path, content, message):
    path = tmp_path / "wikimusictext.jsonl"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises((FormatError, DataError), match=message):
        wikimt.read(tmp_path)


def test_tables_in_other_forms(tmp_path):
    (tmp_path / "rows.json").write_text('[{"a": 1}, {"a": 2}]', encoding="utf-8-sig")
    assert read_jsonl(tmp_path / "rows.json", "a") == [{"a": 1}, {"a": 2}]
    (tmp_path / "rows.tsv").write_text('a\tb\n1\t"x\ny"\n')
    assert read_csv(tmp_path / "rows.tsv", "a", delimiter="\t") == [{"a": "1", "b": "x\ny"}]
    (tmp_path / "short.csv").write_text("a,b\n1\n")
    with pytest.raises(FormatError, match=r"short\.csv:2 lacks b"):
        read_csv(tmp_path / "short.csv", "a", "b")
    with pytest.raises(FormatError, match="cannot be read"):
        read_csv(tmp_path / "absent.csv")


def test_wikimtx_ids_are_no_paths_and_differ(wikimtx_dir):
    path = wikimtx_dir / "wikimt-x-public.jsonl"
    text = path.read_text()
    path.write_text(text.replace("aaaaaaaaaa1", "../../a"))
    with pytest.raises(FormatError, match="no YouTube id"):
        wikimtx.read(wikimtx_dir)
    path.write_text(text.replace("aaaaaaaaaa1", "-bbbbbbbb_2"))
    with pytest.raises(FormatError, match="second time"):
        wikimtx.read(wikimtx_dir)
    path.write_text(text.replace('"id"', '"number"'))
    with pytest.raises(FormatError, match=r"has no id \(id or youtube_id"):
        wikimtx.read(wikimtx_dir)


def test_a_lead_sheet_that_cannot_be_played_is_named(wikimtx_dir, run):
    path = wikimtx_dir / "wikimt-x-public.jsonl"
    path.write_text(path.read_text().replace("C2E2G2|c2G2E2|C6|]", ""))
    code, report, _, _ = run("wikimtx", wikimtx_dir, "mini", "--render_midi")
    assert code == 1 and "aaaaaaaaaa1" in dict(report["failures"])
    assert scores(report)["background-midi"]["queries"] == 2


def test_a_location_outside_the_folder_is_not_read(midicaps_dir):
    outside = midicaps_dir.parent / "outside.mid"
    outside.write_bytes(b"MThd")
    write_jsonl(midicaps_dir / "train.json", [{"location": "../outside.mid", "caption": "x"}])
    assert [piece.midi for piece in midicaps.read(midicaps_dir)] == [None]


def test_the_sample_of_midicaps_depends_on_locations_alone(midicaps_dir):
    rows = [{"location": f"lmd_full/{i}.mid", "caption": str(i), "test_set": i % 2 == 0} for i in range(60)]
    write_jsonl(midicaps_dir / "train.json", rows)
    drawn = [piece.id for piece in midicaps.read(midicaps_dir, n_pieces=10)]
    write_jsonl(midicaps_dir / "train.json", rows[::-1])
    assert [piece.id for piece in midicaps.read(midicaps_dir, n_pieces=10)] == drawn
    assert len(set(drawn)) == 10 and all(int(name[9:-4]) % 2 == 0 for name in drawn)
    assert drawn != [f"lmd_full/{i}.mid" for i in range(0, 20, 2)]
    (midicaps_dir / "subset.txt").write_text("lmd_full/1.mid\nlmd_full/nowhere.mid\n")
    with pytest.raises(DataError, match=r"subset\.txt: 1 locations have no caption, first lmd_full/nowhere"):
        midicaps.read(midicaps_dir)


def test_what_the_readers_return(sdd_dir, musiccaps_dir):
    captions = songdescriber.read(sdd_dir)
    assert [(c.id, c.track, c.valid) for c in captions] == [
        ("1", "1004034", True),
        ("2", "1004034", False),
        ("3", "18", True),
        ("4", "205", False),
    ]
    clips = musiccaps.read(musiccaps_dir)
    assert [clip.evaluation for clip in clips] == [True, False, True]
    assert [clip.clip.name for clip in clips] == [f"{id}_30_40.npy" for id in SONGS]


# Published rows


@pytest.mark.parametrize("table", tables("retrieval"), ids=lambda table: table.id)
def test_published_tables_are_whole(table):
    assert table.provenance and table.rows and table.columns
    for values in table.rows.values():
        assert len(values) == len(table.columns)
        assert all(value is None or 0 < value < 1 for value in values) and any(values)
    assert {column.benchmark for column in table.columns} <= set(BENCHMARKS)


def test_some_published_values_as_the_paper_has_them():
    known = {table.id: table for table in tables("retrieval")}

    def value(table, model, task):
        columns = [column.task for column in known[table].columns]
        return known[table].rows[model][columns.index(task)]

    assert value("english", "saas", "full") == 0.1985
    assert value("english", "CLaMP 2", "scene-abc") == 0.0838
    assert value("multilingual-abc", "sa_c2", "background.am-abc") == 0.1871
    assert value("multilingual-audio", "saas", "background.ru-audio") == 0.1788
    assert value("music", "saas_c2", "midi-abc") == 0.4375
    assert value("music", "CLaMP 2", "abc-audio") is None
    assert value("musiccaps", "TTMR++", "full-OC") == 0.3155


def test_a_table_gets_our_row_and_dashes():
    table = tables("retrieval", "midicaps")[0].with_row("ours", {("midicaps", "text-midi"): 0.5})
    assert [column.label for column in table.columns] == ["MidiCaps"] and "CLAP" not in table.rows
    assert as_text(table).splitlines()[-1].split() == ["ours", "0.5000"]
    assert as_text(table.with_row("none", {})).splitlines()[-1].split() == ["none", "–"]


def test_blocks_of_a_page_are_written_anew():
    known = {table.id: table for table in tables("retrieval")}
    page = "above\n<!-- published: musiccaps -->\nold\n<!-- end -->\nbelow\n"
    fresh = refreshed(page, known)
    assert fresh.startswith("above\n<!-- published: musiccaps -->\n**MusicCaps")
    assert fresh.endswith("<!-- end -->\nbelow\n")
    assert "old" not in fresh and "| TTMR++ | 0.1410 | 0.2315 |" in fresh and refreshed(fresh, known) == fresh


def test_pages_have_the_rows_of_the_data_file():
    known = {table.id: table for table in tables("retrieval")}
    shown = set()
    for page in sorted((ROOT / "docs" / "tables").glob("*.md")):
        text = page.read_text(encoding="utf-8")
        ids = set(re.findall(r"^<!-- published: (\S+) -->$", text, re.MULTILINE)) & set(known)
        if ids:
            assert refreshed(text, known) == text, f"{page.name} is out of date; run docs/tables/update.py"
            shown |= ids
    assert shown == set(known)
