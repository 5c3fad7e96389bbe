"""What pip installs: the wheel's and the sdist's content, and every command from the wheel alone, in another folder."""

import itertools
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from samples import midi, musicxml

pytest.importorskip("build")
shtab = pytest.importorskip("shtab")

ROOT = Path(__file__).resolve().parents[2]
SITES = {Path(module.__file__).resolve().parents[1] for module in (pytest, shtab)}  # torch among them
MIB = 2**20
DRIVER = """
import contextlib, io, json, sys, traceback
import clamp3, clamp3.commands
done = []
for words in json.load(sys.stdin):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = clamp3.commands.entry(words)
        except SystemExit as stop:
            code = stop.code
        except Exception:
            code = traceback.format_exc()
    done.append([code, out.getvalue(), err.getvalue()])
print("RESULTS" + json.dumps([clamp3.__file__, done]))
"""
TUNES = ("GABc dedB|dedB dedB|c2ec B2dB", "EDEF G2AB|c2ec B2GB|A2FA G2E2", "c2BA GFED|E2C2 C2EG|c4 e4")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Return a folder with the wheel and the sdist, built of a copy, so that nothing is left in the repository."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    shutil.copytree(ROOT / "code/clamp3", source / "code/clamp3", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(source)]  # wheel from sdist
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.fixture(scope="module")
def venv(built, tmp_path_factory):
    """Return a venv of nothing but the wheel; its packages are those of the tests, none downloaded again."""
    folder = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True, timeout=300)
    (wheel,) = built.glob("*.whl")
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin/python"), "install", "--quiet", "--no-deps"]
    pip += ["--no-index", "--no-compile", "--disable-pip-version-check", str(wheel)]
    subprocess.run(pip, check=True, timeout=300)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "packages_of_the_tests.pth").write_text("".join(f"{site}\n" for site in sorted(SITES)))  # after it
    return folder


def environment(tmp_path):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "CLAMP3"))}
    return kept | {"CLAMP3_CACHE": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}


def files_of(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return {item.filename: item.file_size for item in archive.infolist()}


def test_content_and_size(built):
    (wheel,), (sdist,) = built.glob("*.whl"), built.glob("*.tar.gz")
    there = files_of(wheel)
    package = {name for name in there if not name.split("/")[0].endswith(".dist-info")}
    source = {path.relative_to(ROOT / "code").as_posix() for path in (ROOT / "code/clamp3").rglob("*")
              if path.is_file() and "__pycache__" not in path.parts}  # fmt: skip
    assert package == source  # data files are named in pyproject.toml: a new kind of them would be forgotten
    assert {name.split("/")[1] for name in there} > {"METADATA", "entry_points.txt"}
    assert any(name.endswith("licenses/LICENSE") for name in there)
    with tarfile.open(sdist) as archive:
        names = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
    assert {f"code/{name}" for name in source} | {"README.md", "LICENSE", "pyproject.toml"} <= names
    weights = there["clamp3/models/mini/mini.safetensors"]
    for archive in (wheel, sdist):
        assert archive.stat().st_size < weights + 2 * MIB
    assert sum(there.values()) - weights < 4 * MIB


def write_music(folder, other):
    """Write six jigs and six waltzes to one folder, a MIDI file and a score to another."""
    for number in range(12):
        kind, metre = ("jig", "6/8") if number < 6 else ("waltz", "3/4")
        path = folder / kind / f"{kind}_{number}.abc"
        path.parent.mkdir(parents=True, exist_ok=True)
        head = f"X:1\nT:{kind} {number}\nM:{metre}\nL:1/8\nK:{'GDCAF'[number % 5]}\n"
        path.write_text(f"{head}{TUNES[number % len(TUNES)]}|]\n", encoding="utf-8")
    other.mkdir()
    (other / "scale.mid").write_bytes(midi())
    (other / "scale.musicxml").write_bytes(musicxml())


def write_recordings(folder):
    import numpy as np
    import soundfile

    folder.mkdir()
    for number, pitch in enumerate((220, 440)):
        tone = 0.3 * np.sin(2 * np.pi * pitch * np.arange(3 * 24_000) / 24_000)
        soundfile.write(folder / f"tone{number}.wav", tone.astype(np.float32), 24_000)


def write_training(folder):
    """Write what training reads: records, pairs of songs, a listening log, a small text tower's sizes."""
    from clamp3.models.registry import resolve

    tokenizer = resolve("mini").parent / "tokenizer.json"
    shutil.copy(tokenizer, folder)
    n_tokens = len(json.loads(tokenizer.read_text(encoding="utf-8"))["model"]["vocab"])
    sizes = {"model_type": "xlm-roberta", "hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 1,
             "intermediate_size": 64, "max_position_embeddings": 34, "vocab_size": n_tokens, "type_vocab_size": 1,
             "pad_token_id": 1}  # fmt: skip
    (folder / "config.json").write_text(json.dumps(sizes))
    songs = sorted((folder / "music").rglob("*.abc"))
    rows = [{"id": path.stem, "title": path.stem, "summary_en": f"a {path.parent.name}", "analysis": path.stem,
             "filepaths": [path.relative_to(folder).as_posix()]} for path in songs]  # fmt: skip
    sounds = [{"id": f"s{i}", "title": f"tone {i}", "analysis": "a tone", "filepaths": [f"mel/tone{i}.npy"]}
              for i in (0, 1)]  # fmt: skip
    tables = {
        "songs": rows,
        "sounds": sounds,
        "htcl": [{"id": f"s{i}", "text": f"a tone {i}", "mel": f"htcl/tone{i}.npy"} for i in (0, 1)],
        "pairs": [{"trigger": one["id"], "song": other["id"]} for one, other in itertools.pairwise(rows)],
    }
    for name, table in tables.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in table), encoding="utf-8")
    chosen = [(user, (user + step) % 12, 1000 * user + step) for user in range(6) for step in range(4)]
    events = "".join(f"u{user},{rows[item]['id']},{time},5\n" for user, item, time in chosen)
    (folder / "log.csv").write_text(f"user,item,timestamp,event\n{events}", encoding="utf-8")


SMALL = "--width 64 --n_layers 1 --max_patches 32 --text_model . --text_from_scratch --hidden_size 16 --text_length 16"
RUN = "--max_steps 1 --batch_size 2 --eval_split 0.3 --out"
AUDIO = "--text_model . --text_from_scratch --audio_width 64 --audio_layers 1 --audio_heads 1 --audio_channels 96"
COMMANDS = f"""
search 'a lively jig' music other --top_k 3 | jig_
embed music vectors --get_global | 12
nearest vectors/jig/jig_0.npy vectors --top_k 2 | jig_0
score vectors music --group | 12 queries
evaluate mrr vectors vectors | MRR
evaluate frechet vectors music --estimator shrinkage | Fréchet
evaluate generation vectors --reference music | generated
evaluate benchmark wikimt --data absent ! WikiMT
classify zero_shot music --classes jig waltz | jig
classify train --train_folder vectors --num_epochs 2 --output probe.pth | accuracy
classify predict probe.pth vectors answers.json | 12 files
classify benchmark gtzan --data absent ! GTZAN
map vectors --method pca --out map | 12 points
groups vectors --by folder --permutations 9 | jig
recommend vectors --liked jig/jig_0 | jig
convert xml2abc other abc | 1 converted
convert interleave abc interleaved | 1 converted
convert abc2xml abc xml | 1 converted
convert midi2mtf other mtf | 1 converted
convert mtf2midi mtf midi | 1 converted
extract mel --input_path audio --output_path mel | 2 converted
extract mel --form htcl --input_path audio --output_path htcl | 2 converted
extract mert --input_path audio --output_path mert --model_path MERT --mean_features | 2 converted
index add music other --index library --store sqlite | 14
index search 'a slow waltz' --index library --top_k 2 | .abc
index info --index library | 14
text summarize songs.jsonl summaries.jsonl --dry_run | jig_0
text records songs.jsonl records.jsonl --results absent --dry_run ! absent
text merge songs.jsonl merged.jsonl | 12 written
text check songs.jsonl | 12 records
text leaks sounds.jsonl songs.jsonl | 0 records
text benchmark music own --dry_run | an estimate
text rewrite captions.csv rewritten.csv ! captions.csv
train check songs.jsonl | 12 records
train pairs log.csv --output_path pairs --min_value 4 --min_users 1 --min_items 1 --min_support 1 | pairs
train symbolic --train_jsonl songs.jsonl --init mini {RUN} runs/symbolic | runs/symbolic
train audio --train_jsonl sounds.jsonl --init mini --front_end mel {RUN} runs/audio | runs/audio
train preference --train_jsonl songs.jsonl --song_pairs pairs.jsonl --init mini {RUN} runs/preference | runs/preference
train clamp2 --train_jsonl songs.jsonl {SMALL} {RUN} runs/clamp2 | runs/clamp2
train m3 --data interleaved mtf music --width 64 --n_layers 1 --decoder_layers 1 {RUN} runs/m3 | runs/m3
train htcl --stage 1 --songs htcl.jsonl {AUDIO} {RUN} runs/htcl | runs/htcl
extract clamp2 music clamp2 --model runs/clamp2 | 12
extract m3 music m3 --model runs/m3 | 12
search 'a jig' music --model runs/symbolic --top_k 1 | _
caption photos captions ! photos
export slim --to safetensors --tower text,symbolic | bit for bit
doctor --json | decoder of .mp3
cache info | vectors
cache clear --yes | removed
completion bash | complete
"""


def cases():
    import shlex

    for line in COMMANDS.strip().splitlines():
        expected, mark = (0, " | ") if " | " in line else (2, " ! ")
        command, _, said = line.rpartition(mark)
        yield shlex.split(command), expected, said


def test_every_command_works_from_the_wheel(venv, tmp_path, tiny_mert):
    from clamp3.commands import COMMANDS as NAMES

    write_music(tmp_path / "music", tmp_path / "other")
    write_recordings(tmp_path / "audio")
    write_training(tmp_path)
    (tmp_path / "MERT").symlink_to(tiny_mert)
    expected = list(cases())
    asked = {name for name in NAMES for words, _, _ in expected if " ".join(words).startswith(name)}
    assert set(NAMES) - asked == {"serve"}, "commands without a line here"
    done = subprocess.run(
        [str(venv / "bin/python"), "-c", DRIVER], cwd=tmp_path, input=json.dumps([words for words, _, _ in expected]),
        env=environment(tmp_path), capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    where, results = json.loads(done.stdout.rpartition("RESULTS")[2])
    assert Path(where).is_relative_to(venv)
    wrong = [(" ".join(words), *result) for (words, code, said), result in zip(expected, results, strict=True)
             if result[0] != code or said.lower() not in (result[1] + result[2]).lower()]  # fmt: skip
    assert not wrong, "\n\n".join("\n".join(map(str, part)) for part in wrong)


def test_the_entry_point_is_a_process_of_its_own(venv, tmp_path):
    """Help, and a sentence where there is no index; tests/cli/test_container.py serves one."""
    command = str(venv / "bin/clamp3")
    options = {"cwd": tmp_path, "env": environment(tmp_path), "text": True, "capture_output": True, "timeout": 300}
    for start in ([command], [str(venv / "bin/python"), "-m", "clamp3"]):
        shown = subprocess.run([*start, "--help"], **options)
        assert shown.returncode == 0 and shown.stdout.startswith("usage: clamp3 [-h]")
    absent = subprocess.run([command, "serve"], **options)
    assert (absent.returncode, absent.stderr.count("\n")) == (2, 1) and "clamp3 index add" in absent.stderr
