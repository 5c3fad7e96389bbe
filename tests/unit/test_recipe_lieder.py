"""Metadata of OpenScore Lieder: made-up scores by hand, some real songs where the corpus is at hand."""

from __future__ import annotations

import difflib
import json
import re
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest

from clamp3.cli import run
from clamp3.data.records import record_problems
from recipes import lieder_metadata as recipe

ROOT = Path(__file__).resolve().parents[2]
CORPUS = ROOT.parent / "shared" / "data" / "openscore_lieder"


def note(step, *lyrics):
    return f"<note><pitch><step>{step}</step><octave>4</octave></pitch><duration>1</duration>{''.join(lyrics)}</note>"


def syllable(text, syllabic="single", number=1):
    return f'<lyric number="{number}"><syllabic>{syllabic}</syllabic><text>{text}</text></lyric>'


ELISION = (
    '<lyric number="1"><syllabic>end</syllabic><text>re</text><elision>_</elision>'
    "<syllabic>begin</syllabic><text>u</text></lyric>"
)


def score(parts, creators=""):
    names = "".join(
        f'<score-part id="P{i}"><part-name>x</part-name><score-instrument id="P{i}-I1"><instrument-name>{name}'
        "</instrument-name></score-instrument></score-part>"
        for i, (name, _) in enumerate(parts)
    )
    head = "<attributes><divisions>1</divisions><key><fifths>0</fifths></key></attributes>"
    bodies = "".join(
        f'<part id="P{i}"><measure number="1">{head}{notes}</measure></part>' for i, (_, notes) in enumerate(parts)
    )
    return (
        f"<score-partwise><work><work-title>Cycle</work-title></work><movement-title>Song</movement-title>"
        f"<identification>{creators}</identification><part-list>{names}</part-list>{bodies}</score-partwise>"
    ).encode()


def test_words_are_joined_verse_by_verse():
    notes = (
        note("C", syllable("A", "begin"), syllable("2. Du", number=2))
        + note("E", syllable("bend", "end"), syllable("bist", number=2))
        + note("G", syllable("ma", "begin"), syllable("fern", number=10))
        + note("C", ELISION)
        + note("C", syllable("na.", "end"))
    )
    root = ElementTree.fromstring(score([("Voice", notes), ("Voice (2)", note("C", syllable("La")))]))
    assert recipe.lyrics_of(root) == "Abend mare una.\n2. Du bist\nfern"


def test_fields_come_from_score_and_table():
    creators = (
        '<creator type="composer">Fanny  Hensel</creator><creator type="lyricist">Unknown</creator>'
        '<creator type="poet">J. W. Goethe</creator>'
    )
    notes = "".join(note(step) for step in "CDEFGEC")
    made = recipe.metadata_of(score([("Voice (2)", notes), ("Piano", notes), ("Piano", notes)], creators), ("1805", ""))
    assert made == {
        "title": "Cycle: Song",
        "composer": "Fanny Hensel (born 1805)",
        "lyricist": "J. W. Goethe",
        "genres": ["Art song"],
        "instruments": ["Voice", "Piano"],
        "key": "C major",
    }


def test_years():
    assert recipe.with_years("A", "1805", "1847") == "A (1805–1847)"
    assert recipe.with_years("A", "", "1911") == "A (died 1911)"
    assert recipe.with_years("A", "", "") == "A"


def small_corpus(tmp_path):
    corpus = tmp_path / "corpus"
    folder = corpus / "scores" / "Hensel,_Fanny" / "Op.1" / "1_Song"
    folder.mkdir(parents=True)
    creators = '<creator type="composer">Fanny Hensel</creator>'
    (folder / "lc7.mxl").write_bytes(score([("Voice", note("C", syllable("La")))], creators))
    (folder / "lc8.mxl").write_bytes(b"no score")
    (corpus / "composers.tsv").write_text("id\tpath\tborn\tdied\n57\tHensel,_Fanny_(M)\t1805\t1847\n")
    (corpus / "sets.tsv").write_text("id\tcomposer_id\n5\t57\n")
    (corpus / "scores.tsv").write_text("id\tset_id\n7\t5\n")
    return corpus


def test_the_folder_is_mirrored_and_bad_scores_named(tmp_path, capsys):
    corpus, out = small_corpus(tmp_path), tmp_path / "out"
    assert recipe.main([str(corpus), str(out), "--suffixes", ".abc", ".mtf"]) == 1
    said = capsys.readouterr().out
    assert "songs 1" in said and "life dates 1" in said and "lc8.mxl: not well-formed XML" in said
    (path,) = out.rglob("*.json")
    made = json.loads(path.read_text())
    assert path.relative_to(out).as_posix() == "Hensel,_Fanny/Op.1/1_Song/lc7.json"
    assert made["composer"] == "Fanny Hensel (1805–1847)"
    assert made["filepaths"] == ["Hensel,_Fanny/Op.1/1_Song/lc7.abc", "Hensel,_Fanny/Op.1/1_Song/lc7.mtf"]
    assert record_problems(made) == []
    assert run(lambda: recipe.main([str(tmp_path / "none"), str(out)])) == 2
    assert "is this OpenScore Lieder?" in capsys.readouterr().err


@pytest.mark.shared
@pytest.mark.skipif(not CORPUS.exists(), reason="needs ../shared/data/openscore_lieder")
def test_real_songs_become_metadata_and_prompts(script, tmp_path, capsys):
    corpus = tmp_path / "corpus"
    chosen = ["lc5023438", "lc5098641", "lc8847705", "lc6166579"]
    for path in sorted((CORPUS / "scores").rglob("lc*.*")):
        if path.stem in chosen:
            target = corpus / path.relative_to(CORPUS)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    for name in ("composers.tsv", "sets.tsv", "scores.tsv"):
        shutil.copy(CORPUS / name, corpus / name)
    assert recipe.main([str(corpus), str(tmp_path / "out")]) == 0
    made = {path.stem: json.loads(path.read_text()) for path in (tmp_path / "out").rglob("*.json")}
    assert sorted(made) == sorted(chosen)
    assert all(record_problems(record) == [] for record in made.values())
    song = made["lc5023438"]
    assert song["title"] == "Winterreise, D.911: Irrlicht" and song["composer"] == "Franz Schubert (1797–1828)"
    assert song["lyricist"] == "Wilhelm Müller" and song["key"] == "B minor"
    assert song["instruments"] == ["Voice", "Grand Piano"]
    assert made["lc8847705"]["composer"] == "Thomas Arne"  # not in the tables
    assert "lyrics" not in made["lc6166579"]  # an introduction for piano

    def letters(text):
        return re.sub(r"\W+", "", text).casefold()

    # The corpus has the words of most songs as text too.
    for name in ("lc5023438", "lc5098641"):
        (words,) = (CORPUS / "scores").rglob(f"{name}.txt")
        assert difflib.SequenceMatcher(None, letters(made[name]["lyrics"]), letters(words.read_text())).ratio() > 0.98

    capsys.readouterr()
    summarize = script("preprocessing/text/summarize.py")
    assert summarize.main([str(tmp_path / "out"), str(tmp_path / "o.jsonl"), "--dry_run"]) == 0
    said = capsys.readouterr().out
    assert said.count("Language of summary_nen: ") == 4 and "Irrlicht" in said and "Wilhelm Müller" in said
