"""Every command of the released readmes, typed as it stands there in a copy of this repository, on tiny data.

The readmes are those of CLaMP 3 (its first and its present one) and of CLaMP 2. Their placeholders are filled in, and
config.py is edited as they ask; weights are small ones of random numbers under the released names, beside the scripts
or in the cache of the hub. What comes out is looked at: files, shapes, labels, ranks.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from samples import midi, musicxml

from clamp3.models.registry import PUBLISHED

ROOT = Path(__file__).resolve().parents[2]
WIDTH = 64  # one head: released files do not state how many there are
WORDS = ["a", "slow", "fast", "song", "dance", "in", "the", "key", "of", *"CDEFGAB"]
SIZES = {"M3_HIDDEN_SIZE": WIDTH, "PATCH_NUM_LAYERS": 1, "TOKEN_NUM_LAYERS": 1, "PATCH_LENGTH": 32,
         "AUDIO_HIDDEN_SIZE": WIDTH, "AUDIO_NUM_LAYERS": 1, "MAX_AUDIO_LENGTH": 16, "MAX_TEXT_LENGTH": 16,
         "CLAMP3_HIDDEN_SIZE": WIDTH, "EVAL_SPLIT": 0.3, "SAVE_EVERY": 1}  # fmt: skip
N_PIECES = 6


def write_weights(code, hub):
    """Put weights of all published names beside the scripts, and the models they build on into the hub's cache."""
    import torch
    from safetensors.torch import save_file
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    from clamp3.models.bert import Bert
    from clamp3.models.clamp3 import Clamp3Model
    from clamp3.models.config import Clamp3Config, DecoderConfig, M3Config, TowerConfig
    from clamp3.models.m3 import M3Model

    def cached(name):
        folder = hub / f"models--{name.replace('/', '--')}"
        (folder / "refs").mkdir(parents=True)
        (folder / "refs" / "main").write_text("0" * 40)
        (folder / "snapshots" / ("0" * 40)).mkdir(parents=True)
        return folder / "snapshots" / ("0" * 40)

    torch.manual_seed(0)
    vocabulary = ["<s>", "<pad>", "</s>", "<unk>", *WORDS]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(vocabulary[:4])
    pieces = {"single": "<s> $A </s>", "special_tokens": [("<s>", 0), ("</s>", 2)]}
    tokenizer.post_processor = processors.TemplateProcessing(**pieces)
    sizes = {"model_type": "xlm-roberta", "hidden_size": WIDTH, "num_hidden_layers": 1, "num_attention_heads": 1,
             "intermediate_size": 128, "max_position_embeddings": 34, "vocab_size": len(vocabulary),
             "type_vocab_size": 1, "pad_token_id": 1}  # fmt: skip
    text, roberta = TowerConfig.from_transformers(sizes), cached("FacebookAI/xlm-roberta-base")
    tokenizer.save(str(roberta / "tokenizer.json"))
    (roberta / "config.json").write_text(json.dumps(sizes))
    save_file(Bert(text).state_dict(), str(roberta / "model.safetensors"))
    spec = importlib.util.spec_from_file_location("makers", ROOT / "tests/conftest.py")
    makers = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(makers)
    makers.write_mert(cached("m-a-p/MERT-v1-95M"), WIDTH)

    tower = {"width": WIDTH, "n_layers": 1, "n_heads": 1, "feed_forward": 128}
    patches, vectors = TowerConfig(**tower, max_length=32), TowerConfig(**tower, max_length=16)
    for name in ("saas", "c2", "clamp2"):
        audio = None if name == "clamp2" else vectors
        model = Clamp3Model(Clamp3Config(text=text, symbolic=patches, audio=audio, hidden_size=WIDTH, text_length=32,
                                         symbolic_length=32, audio_length=16))  # fmt: skip
        state = model.state_dict()
        if name == "clamp2":
            state = {key.replace("symbolic_", "music_"): tensor for key, tensor in state.items()}
        torch.save({"model": state, "epoch": 7, "min_eval_loss": 1.0}, code / PUBLISHED[name].files[0])
    m3 = M3Config(patches, DecoderConfig(**tower), patch_length=32)
    torch.save({"model": M3Model(m3).state_dict(), "epoch": 7}, code / PUBLISHED["m3"].files[0])


class Repository:
    """A copy of the scripts, as a user has them, and a shell in it."""

    def __init__(self, folder):
        self.root = folder / "clamp3"
        for room in ("code", "preprocessing", "retrieval", "inference", "classification"):
            others = shutil.ignore_patterns("__pycache__", "*.egg-info", "recipes", "runs", "mini.safetensors", "*.pth")
            shutil.copytree(ROOT / room, self.root / room, ignore=others)
        for script in ROOT.glob("*.py"):
            shutil.copy(script, self.root)
        self.hub = folder / "hf" / "hub"
        write_weights(self.root / "code", self.hub)
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("HF_", "WANDB"))},
            **{"PYTHONPATH": str(self.root / "code"), "HF_HOME": str(folder / "hf"), "HF_HUB_OFFLINE": "1"},
            **{"CLAMP3_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        }

    def type(self, line, room=".", code=0):
        """Type a command in a folder of the repository; return all that is on the screen."""
        words = shlex.split(line)
        tools = {"python": [], "accelerate": ["-m", "accelerate.commands.accelerate_cli"]}
        with socket.socket() as free:  # the launcher's port is always the same, and tests run side by side
            free.bind(("127.0.0.1", 0))
            port = {"PET_MASTER_PORT": str(free.getsockname()[1])}
        done = subprocess.run(
            [sys.executable, *tools[words[0]], *words[1:]],
            cwd=self.root / room,
            env={**self.environment, **port},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
        )
        assert done.returncode == code, f"{line}\n{done.stdout[-3000:]}"
        return done.stdout

    def edit(self, path, **values):
        """Give variables at the top level of a file other values, as the readmes ask."""
        file = self.root / path
        text = file.read_text(encoding="utf-8")
        for name, value in values.items():
            text, n = re.subn(rf"(?m)^{name}(: [^=]*)? = [^#\n]*", f"{name} = {value!r}  ", text)
            assert n == 1, f"{path} has no {name}"
        file.write_text(text, encoding="utf-8")


@pytest.fixture
def repository(tmp_path):
    return Repository(tmp_path)


def arrays(folder):
    return {path.relative_to(folder).as_posix(): np.load(path) for path in sorted(folder.rglob("*.npy"))}


def write_pieces(folder):
    """Write scores, MIDI files, recordings and texts of a few pieces; return the folder."""
    rng = np.random.default_rng(0)
    for kind in ("xml", "mid", "wav", "txt"):
        (folder / kind / "en").mkdir(parents=True)
    for i in range(N_PIECES):
        (folder / f"xml/en/p{i}.xml").write_bytes(musicxml(f"Piece {i}"))
        (folder / f"mid/en/p{i}.mid").write_bytes(midi(4 + i))
        sound = 0.1 * rng.standard_normal(24_000 * 2).astype(np.float32)
        soundfile.write(folder / f"wav/en/p{i}.wav", sound, 24_000)
        (folder / f"txt/en/p{i}.txt").write_text(f"a slow song in the key of {'CDEFGAB'[i]}\nfast dance")
    return folder


def test_preprocessing_with_folders_edited_into_the_scripts(repository, tmp_path):
    """CLaMP 3's first readme, and CLaMP 2's: every converter has its folder at the top of the file."""
    music = write_pieces(tmp_path / "music")
    repository.edit("preprocessing/abc/batch_xml2abc.py", input_dir=str(music / "xml"))
    repository.type("python batch_xml2abc.py", "preprocessing/abc")
    repository.edit("preprocessing/abc/batch_interleaved_abc.py", input_dir=str(music / "xml_abc"))
    repository.type("python batch_interleaved_abc.py", "preprocessing/abc")
    assert "[V:1]" in (music / "xml_abc_interleaved/en/p0.abc").read_text()
    repository.edit("preprocessing/abc/batch_abc2xml.py", input_dir=str(music / "xml_abc_interleaved"))
    repository.type("python batch_abc2xml.py", "preprocessing/abc")
    assert "<score-partwise" in (music / "xml_abc_interleaved_xml/en/p0.xml").read_text()
    repository.edit("preprocessing/midi/batch_midi2mtf.py", input_dir=str(music / "mid"))
    repository.type("python batch_midi2mtf.py", "preprocessing/midi")
    mtf = (music / "mid_mtf/en/p0.mtf").read_text()
    assert mtf.startswith("ticks_per_beat 480\n") and "track_name" not in mtf
    repository.edit("preprocessing/midi/batch_mtf2midi.py", input_dir=str(music / "mid_mtf"))
    repository.type("python batch_mtf2midi.py", "preprocessing/midi")
    assert (music / "mid_mtf_midi/en/p0.mid").read_bytes().startswith(b"MThd")
    mert = next((repository.hub / "models--m-a-p--MERT-v1-95M/snapshots").iterdir())
    shutil.copytree(mert, repository.root / "preprocessing/audio/musichubert_hf/MERT-v1-95M")
    repository.type(
        f"python extract_mert.py --input_path {music}/wav --output_path {music}/mert "
        "--model_path musichubert_hf/MERT-v1-95M --mean_features",
        "preprocessing/audio",
    )
    assert arrays(music / "mert")["en/p0.npy"].shape == (1, 1, WIDTH)


def prepared(repository, folder):
    """Convert pieces with the commands of the present readme; return their folder."""
    music = write_pieces(folder)
    abc, midi_room, audio = (f"preprocessing/{room}" for room in ("abc", "midi", "audio"))
    repository.type(f"python batch_xml2abc.py {music}/xml {music}/std", abc)
    repository.type(f"python batch_interleaved_abc.py {music}/std {music}/abc", abc)
    repository.type(f"python batch_midi2mtf.py {music}/mid {music}/mtf --m3_compatible", midi_room)
    repository.type(
        f"python extract_mert.py --input_path {music}/wav --output_path {music}/mert "
        "--model_path m-a-p/MERT-v1-95M --mean_features",
        audio,
    )
    return music


def write_jsonl(music):
    """Write one object per piece as the readmes lay them out; return the path."""
    rows = []
    for i in range(N_PIECES):
        key = "CDEFGAB"[i]
        texts = {"background": "", "analysis": f"a song in {key}", "description": "slow", "scene": "the dance"}
        rows.append({
            **texts, "id": f"p{i}", "title": f"song {key}", "artists": ["A"], "region": "", "language": "English",
            "genres": ["dance"], "tags": ["slow"], "translations": {"language": "French", **texts},
            "summary_en": f"a slow song in {key}", "summary_nen": {"language": "French", "summary": "slow"},
            "filepaths": [f"abc/en/p{i}.abc", f"mtf/en/p{i}.mtf", f"mert/en/p{i}.npy"],
        })  # fmt: skip
    (music / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return music / "train.jsonl"


LAUNCH = "python -m torch.distributed.launch --nproc_per_node={} --use_env {}"


@pytest.mark.slow
def test_training_then_extraction(repository, tmp_path):
    """The code rooms of CLaMP 3 and CLaMP 2: config.py is edited, then everything runs without a flag of ours."""
    music = prepared(repository, tmp_path / "music")
    train = str(write_jsonl(music))
    for kind in ("abc", "mtf", "mert", "txt"):
        shutil.copytree(music / kind, tmp_path / "inputs" / kind, ignore=shutil.ignore_patterns("*.json*"))
    epochs = {f"{prefix}_NUM_EPOCH": 2 for prefix in ("M3", "CLAMP2", "CLAMP3")}
    batches = {f"{prefix}_BATCH_SIZE": 2 for prefix in ("M3", "CLAMP2", "CLAMP3", "CLAMP3_AUDIO")}
    data = {"M3_TRAIN_FOLDERS": [str(music / "abc"), str(music / "mtf")], "CLAMP3_TRAIN_JSONL": train}
    repository.edit("code/config.py", **SIZES, **epochs, **batches, **data, CLAMP2_TRAIN_JSONL=train)

    assert "finished after" in repository.type(LAUNCH.format(2, "train_m3.py"), "code").splitlines()[-1]
    symbolic = repository.type(LAUNCH.format(1, "train_clamp3_symbolic.py"), "code")
    assert "the symbolic tower starts at random" in symbolic
    for line in (LAUNCH.format(2, "train_m3.py"), "accelerate launch train_m3.py", "python train_m3.py"):
        again = repository.type(line, "code")  # the same command goes on, and here there is nothing left to do
        assert "resumed runs/m3/last.pt at step" in again
        assert again.splitlines()[-1].startswith("finished after")  # nothing of the launcher's comes behind
    repository.type(LAUNCH.format(1, "train_clamp3_audio.py"), "code")
    repository.edit("code/config.py", CLAMP2_LOAD_M3=True)  # "set to True …, the script will load the M3 weights"
    assert "starting from" in repository.type(LAUNCH.format(1, "train_clamp2.py"), "code")

    inputs, out = tmp_path / "inputs", tmp_path / "features"
    said = repository.type(f"accelerate launch extract_clamp3.py --epoch 2 {inputs} {out} --get_global", "code", code=1)
    assert "runs/clamp3_audio/epoch_0002.safetensors" in said  # the newest training here: it knows no scores
    made = arrays(out)
    assert sorted(made) == [f"{kind}/en/p{i}.npy" for kind in ("mert", "txt") for i in range(N_PIECES)]
    assert all(array.shape == (1, WIDTH) for array in made.values())
    repository.edit("code/config.py", CLAMP3_WEIGHTS_PATH="runs/clamp3_symbolic")
    repository.type(f"accelerate launch extract_clamp3.py --epoch 1 {inputs}/abc {tmp_path}/scores", "code")
    assert arrays(tmp_path / "scores")["en/p0.npy"].shape[2] == WIDTH
    repository.type(f"accelerate launch extract_m3.py {inputs}/mtf {tmp_path}/m3", "code")
    assert len(arrays(tmp_path / "m3")) == N_PIECES
    for flag, shape in (("--normalize", (1, WIDTH)), ("", None)):
        target = tmp_path / f"clamp2{flag}"
        repository.type(f"python extract_clamp2.py {inputs}/abc {target} {flag}", "code")
        array = arrays(target)["en/p0.npy"]
        assert array.shape == shape if shape else array.ndim == 3


@pytest.mark.slow
def test_published_weights_without_a_training(repository, tmp_path):
    """Line 66 of config.py chooses between saas and c2; without an edit it is saas."""
    music = prepared(repository, tmp_path / "music")
    for number, variant in enumerate(("saas", "c2")):
        if variant == "c2":
            repository.edit("code/config.py", CLAMP3_WEIGHTS_PATH=PUBLISHED["c2"].files[0])
        out = tmp_path / f"{variant}"
        repository.type(f"accelerate launch extract_clamp3.py {music}/abc {out} --get_global", "code")
        assert json.loads((out / "features.json").read_text())["weights"].startswith(f"{variant}-"), number
    repository.type(f"accelerate launch extract_m3.py {music}/abc {tmp_path}/m3", "code")
    repository.type(f"python extract_m3.py {music}/mtf {tmp_path}/m3_mtf", "code")
    repository.type(f"python extract_clamp2.py {music}/txt {tmp_path}/clamp2 --normalize", "code")
    for name in ("m3", "clamp2"):
        assert json.loads((tmp_path / name / "features.json").read_text())["weights"].startswith(f"{name}-")
    assert arrays(tmp_path / "m3")["en/p0.npy"].ndim == 3


@pytest.mark.slow
def test_the_later_interface(repository, tmp_path):
    """The root of CLaMP 3's present readme: any files against any others, with saas."""
    music = write_pieces(tmp_path / "music")
    found = repository.type(f"python clamp3_search.py {music}/txt/en/p0.txt {music}/xml --top_k 3")
    assert found.count("p") and len(re.findall(r"en/p\d\.xml", found)) == 3
    for query, references in (("txt", "mid"), ("wav", "txt")):
        scores = repository.type(f"python clamp3_score.py {music}/{query} {music}/{references}")
        assert f"{N_PIECES} queries, {N_PIECES} references, {N_PIECES} pairs" in scores
    group = repository.type(f"python clamp3_score.py {music}/mid {music}/xml --group")
    assert "group similarity" in group and "pairs" not in group.splitlines()[0]
    assert "MRR" in repository.type(f"python clamp3_eval.py {music}/txt {music}/wav")
    repository.type(f"python clamp3_embd.py {music}/mid {tmp_path}/features --get_global")
    assert {array.shape for array in arrays(tmp_path / "features").values()} == {(1, WIDTH)}
    assert json.loads((tmp_path / "features/features.json").read_text())["weights"].startswith("saas-")
    repository.type(f"python clamp3_embd.py {music}/txt {tmp_path}/states")
    assert {array.ndim for array in arrays(tmp_path / "states").values()} == {3}
    (repository.root / "code" / PUBLISHED["saas"].files[0]).unlink()
    for line in ("clamp3_search.py {0}/txt/en/p0.txt {0}/xml", "clamp3_embd.py {0}/txt {0}/out"):
        said = repository.type(f"python {line.format(music)}", code=2)
        assert "the weights 'saas' are absent" in said and "--model mini is in the package" in said


def write_features(folder, n=12, shift=0.0):
    """Write vectors of two classes, named as the readme has it; return the folder."""
    rng = np.random.default_rng(1)
    (folder / "sub").mkdir(parents=True)
    for i in range(n):
        vector = rng.standard_normal((1, WIDTH)) + 3 * (i % 2) + shift
        np.save(folder / "sub" / f"{('jazz', 'pop')[i % 2]}_{i}.npy", vector.astype(np.float32))
    return folder


def test_classification(repository, tmp_path):
    train, held = write_features(tmp_path / "data" / "train"), write_features(tmp_path / "data" / "eval")
    repository.type(f"python train_cls.py --train_folder {train}", "classification")
    flags = "--eval_split 0.2 --num_epochs 3 --learning_rate 0.01 --balanced_training"
    command = f"python train_cls.py --train_folder {train} --eval_folder {held} {flags}"
    assert "weights-train.pth exists" in repository.type(command, "classification", code=2)
    (repository.root / "classification/weights-train.pth").rename(repository.root / "classification/weights-old.pth")
    repository.type(command, "classification")
    repository.type(f"python inference_cls.py weights-train.pth {held} output.json", "classification")
    labels = json.loads((repository.root / "classification/output.json").read_text())
    assert {answer["label"] for answer in labels.values()} <= {"jazz", "pop"} and len(labels) == 12
    # CLaMP 2: the probe of the configuration, here the only one
    assert "which probe?" in repository.type(f"python inference_cls.py {held} labels.json", "classification", code=2)
    (repository.root / "classification/weights-old.pth").unlink()
    repository.type(f"python inference_cls.py {held} labels.json", "classification")
    assert len(json.loads((repository.root / "classification/labels.json").read_text())) == 12
    assert "--train_folder" in repository.type("python train_cls.py", "classification", code=2)


def test_retrieval(repository, tmp_path):
    queries, references = write_features(tmp_path / "queries"), write_features(tmp_path / "references", shift=0.1)
    query = queries / "sub" / "jazz_0.npy"
    for room, search, evaluate in (("retrieval", "semantic_search.py", "eval_mrr.py"),
                                   ("retrieval", "semantic_search.py", "semantic_search_metrics.py"),
                                   ("inference", "clamp3_search.py", "clamp3_eval.py")):  # fmt: skip
        found = repository.type(f"python {search} {query} {references} --top_k 3", room)
        assert found.split()[1:3] == ["1.0000", "sub/jazz_0"] or "sub/jazz_0" in found.splitlines()[0]
        measured = repository.type(f"python {evaluate} {queries} {references}", room)
        assert re.search(r"MRR\D+[01]\.\d+", measured) and "Hit@100" in measured
    pairs = repository.type(f"python clamp3_score.py {queries} {references}", "inference")
    assert "12 pairs" in pairs
    for room, script in (("inference", "clamp3_score.py"), ("retrieval", "clamp3_score.py")):
        said = repository.type(f"python {script} {queries} {references} --group", room)
        assert "group similarity             0.9999" in said
    for path in references.rglob("*.npy"):  # the first readme's folders need not have anything in common
        path.rename(path.with_name(f"other-{path.name}"))
    said = repository.type(f"python clamp3_score.py {references} {queries}", "retrieval", code=1)
    assert "--group compares the folders as wholes" in said
    assert "group similarity" in repository.type(f"python clamp2_score.py {references} {queries}", "retrieval")


def test_captions_name_the_model_they_lack(repository, tmp_path):
    from PIL import Image

    (tmp_path / "photos").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "photos" / "a.png")
    said = repository.type(f"python image_captioning.py {tmp_path}/photos {tmp_path}/out", "inference", code=2)
    assert "Salesforce/blip-image-captioning-base" in said and "Traceback" not in said
