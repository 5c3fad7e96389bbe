r"""Make the mini model from pip packages: data, tokenizer, pre-training, alignment with scores, sound, pairs.

About 90 minutes on two cores (sound needs Debian's fluidsynth and fluid-soundfont-gm):
    python code/recipes/mini/run.py --work_dir runs/mini
Without an audio tower, and without fluidsynth:
    python code/recipes/mini/run.py --work_dir runs/mini --audio_steps 0
With OpenScore Lieder as further training data; the result also goes into the package:
    python code/recipes/mini/run.py --work_dir runs/mini --lieder DIR --install
A quick trial:
    python code/recipes/mini/run.py --work_dir runs/try --limit 400 --m3_steps 20 --clamp3_steps 40 \
        --restart_steps 10 --audio_steps 20 --pair_steps 10

A finished step is not done again; an interrupted one goes on where it was. WORK_DIR/run.json holds the time of each
step, WORK_DIR/export/ the result, WORK_DIR/evaluation.json its numbers.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # `recipes` and `clamp3`, without installation

from clamp3.cli import parser_for, run

if TYPE_CHECKING:
    from clamp3.jobs.steps import Step

CODE = Path(__file__).resolve().parents[2]
SEED = 42
LARGEST_BYTES = 20_000_000
_NO_MIXING = ("work_dir", "install")  # flags that may differ when a run goes on
COMMON = ("--schedule", "cosine", "--max_grad_norm", "1", "--dropout", "0", "--attention_dropout", "0",
           "--save_every", "0", "--seed", str(SEED), "--resume", "auto")  # fmt: skip


def build_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = parser_for(__doc__)
    parser.add_argument("--work_dir", type=Path, default=Path("runs/mini"), help="everything goes here")
    parser.add_argument("--lieder", type=Path, help="OpenScore Lieder, as further training pieces")
    parser.add_argument("--limit", type=int, help="take only about so many pieces, for a trial")
    parser.add_argument("--m3_steps", type=int, default=1200, help="of M3 pre-training (default: %(default)s)")
    parser.add_argument("--clamp3_steps", type=int, default=450, help="of text with scores (default: %(default)s)")
    parser.add_argument("--restart_steps", type=int, default=260, help="of more of it (default: %(default)s)")
    parser.add_argument("--audio_steps", type=int, default=450, help="of text with sound (default: %(default)s)")
    parser.add_argument("--pair_steps", type=int, default=160, help="of all pairs of music (default: %(default)s)")
    parser.add_argument("--install", action="store_true", help="copy the result to code/clamp3/models/mini")
    return parser


def m3_flags(work: Path, steps: int) -> list[str]:
    """Return the flags of pre-training; the sizes keep the exported file under `LARGEST_BYTES`.

    A higher rate or a shorter run leaves an encoder of one or two directions (see ``eval_dimensions``).
    """
    return [
        "--data", str(work / "data/train"), "--eval_data", str(work / "data/valid"), "--out", str(work / "m3"),
        "--width", "256", "--n_layers", "4", "--n_heads", "4", "--decoder_layers", "2", "--max_patches", "128",
        "--batch_size", "32", "--decode_limit", "4", "--learning_rate", "3e-4", "--warmup_steps", "200",
        "--max_steps", f"{steps}", "--mixed_precision", precision(), "--epochs", "20", *COMMON,
    ]  # fmt: skip


def precision() -> str:
    """Return bf16 where the processor multiplies it, else no: emulated it takes three times as long."""
    import torch

    can = torch.cpu.get_capabilities()
    return "bf16" if torch.cuda.is_available() or can.get("avx512_bf16") or can.get("amx_bf16") else "no"


def clamp3_flags(work: Path, steps: int) -> list[str]:
    """Return the flags of alignment."""
    return [
        *_alignment(work, "clamp3"), "--init", str(work / "m3/best.safetensors"), "--max_patches", "128",
        "--text_from_scratch", "--hidden_size", "256", "--learning_rate", "6e-4", "--warmup_steps", "30",
        "--epochs", "20", "--max_steps", f"{steps}", "--mixed_precision", precision(), *COMMON,
    ]  # fmt: skip


def restart_flags(work: Path, steps: int) -> list[str]:
    """Return the flags of more alignment: a warm restart of the schedule (arXiv 1608.03983)."""
    return [
        *_alignment(work, "restart"), "--init", str(work / "clamp3/best.safetensors"), "--max_patches", "128",
        "--pack", str(work / "clamp3/pack"), "--hidden_size", "256", "--learning_rate", "4e-4", "--warmup_steps", "15",
        "--epochs", "20", "--max_steps", f"{steps}", "--mixed_precision", precision(), *COMMON,
        "--seed", f"{SEED + 1}",
    ]  # fmt: skip


def _alignment(work: Path, name: str) -> list[str]:
    """Return the flags all alignments have in common."""
    return [
        "--train_jsonl", str(work / "data/train.jsonl"), "--eval_jsonl", str(work / "data/valid.jsonl"),
        "--out", str(work / name), "--text_model", str(work / "text"), "--text_length", "96",
        "--batch_size", "128", "--standardise", "--logit_scale", "14", "--line_keep", "0.4",
    ]  # fmt: skip


def audio_flags(work: Path, steps: int) -> list[str]:
    """Return the flags of the stage that adds the audio tower; text and scores stay as they are."""
    return [
        *_alignment(work, "audio"), "--init", str(work / "restart/best.safetensors"), "--freeze_text",
        "--front_end", "mel", "--audio_width", "192", "--audio_layers", "2", "--audio_heads", "3",
        "--audio_feed_forward", "512", "--audio_channels", "192",
        "--learning_rate", "1e-3", "--warmup_steps", "30", "--epochs", "60", "--max_steps", f"{steps}",
        "--mixed_precision", "no", *COMMON,
    ]  # fmt: skip


def pair_flags(work: Path, steps: int) -> list[str]:
    """Return the flags of the last stage, which also compares scores with MIDI and with sound, all towers training."""
    return [
        *_alignment(work, "pairs"), "--init", str(work / "audio/best.safetensors"), "--no-freeze_text",
        "--pairs", "text-symbolic", "text-audio", "abc-mtf", "symbolic-audio", "--pack", str(work / "clamp3/pack"),
        "--hidden_size", "256", "--max_patches", "128", "--front_end", "mel",
        "--learning_rate", "4e-4", "--warmup_steps", "20", "--epochs", "20", "--max_steps", f"{steps}",
        "--mixed_precision", "no", *COMMON,
    ]  # fmt: skip


def script(name: str, *flags: str) -> None:
    """Run one of our scripts to its end; signals that end this process are passed to it."""
    from clamp3.jobs.steps import call

    call([sys.executable, str(CODE / name), *flags], name)


def export(work: Path) -> None:
    """Write the best checkpoint in half precision, with its tokenizer, to ``work/export``.

    Raises
    ------
    DataError
        If the file would be larger than `LARGEST_BYTES`.
    """
    import shutil

    import torch

    from clamp3.models.weights import describe, load_model, save_safetensors
    from recipes.mini.topic import write_topic

    last = "pairs" if (work / "pairs").exists() else "restart"
    best = work / last / "best.safetensors"
    loaded = load_model(best, towers=describe(best).config.towers, text_model=work / "text")
    out = work / "export"
    out.mkdir(parents=True, exist_ok=True)
    info = {"recipe": "code/recipes/mini", "data": "music21 corpus", "seed": SEED}
    save_safetensors(loaded.model, loaded.config, out / "mini.safetensors", dtype=torch.float16, info=info)
    shutil.copyfile(work / "text/tokenizer.json", out / "tokenizer.json")
    require_small(out / "mini.safetensors")
    write_topic(out / "mini.safetensors")


def require_small(path: Path) -> None:
    """Raise a `DataError` if a model is larger than `LARGEST_BYTES`."""
    from clamp3.errors import DataError

    size = path.stat().st_size
    if size > LARGEST_BYTES:
        raise DataError(f"{path.name} has {size} bytes, more than {LARGEST_BYTES}; make the towers smaller.")


def install(work: Path) -> None:
    """Copy the result and its numbers to where the package reads them, and a list of held-out pieces to the recipe."""
    import shutil

    target = CODE / "clamp3/models/mini"
    target.mkdir(parents=True, exist_ok=True)
    for name in ("mini.safetensors", "tokenizer.json"):
        shutil.copyfile(work / "export" / name, target / name)
    for path in (work / "export/topic.json", work / "evaluation.json", work / "outside.json"):
        if path.is_file():
            shutil.copyfile(path, target / path.name)
        else:  # what is there is of other weights
            (target / path.name).unlink(missing_ok=True)
    if (work / "data/heldout.txt").is_file():
        shutil.copyfile(work / "data/heldout.txt", CODE / "recipes/mini/heldout.txt")


def steps(args: argparse.Namespace) -> list[Step]:
    """Return what is to be done, in order."""
    from clamp3.jobs.steps import Step

    work = args.work_dir
    data = [str(work / "data")]
    build = data + (["--lieder", str(args.lieder)] if args.lieder else [])
    build += ["--limit", str(args.limit)] if args.limit else []
    found: dict[str, Callable[[], None]] = {
        "data": lambda: script("recipes/mini/build_data.py", *build),
        "tokenizer": lambda: script("recipes/mini/tokenizer.py", *data, str(work / "text")),
        "m3": lambda: script("train_m3.py", *m3_flags(work, args.m3_steps)),
        "clamp3": lambda: script("train_clamp3_symbolic.py", *clamp3_flags(work, args.clamp3_steps)),
        "restart": lambda: script("train_clamp3_symbolic.py", *restart_flags(work, args.restart_steps)),
        "sound": lambda: script("recipes/mini/render.py", *data),
        "audio": lambda: script("train_clamp3_audio.py", *audio_flags(work, args.audio_steps)),
        "pairs": lambda: script("train_clamp3_audio.py", *pair_flags(work, args.pair_steps)),
        "export": lambda: export(work),
        "evaluation": lambda: script(
            "recipes/mini/evaluate.py", *data, "--model", str(work / "export/mini.safetensors"),
            "--json", str(work / "evaluation.json"),
        ),
    }  # fmt: skip
    if not args.audio_steps:
        del found["sound"], found["audio"], found["pairs"]
    if args.install:
        found["install"] = lambda: install(work)
    settings = {key: str(value) for key, value in vars(args).items() if value is not None and key not in _NO_MIXING}
    return [Step(name, settings, run) for name, run in found.items()]


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    from clamp3.jobs.steps import run_steps

    args = build_parser().parse_args(argv)
    args.work_dir.mkdir(parents=True, exist_ok=True)
    minutes = 0.0
    for name, _, seconds in run_steps(args.work_dir / "run.json", steps(args)):
        print(f"{name}: {seconds:.0f} s", flush=True)
        minutes += seconds / 60
    print(f"all steps: {minutes:.1f} minutes")
    return 0


if __name__ == "__main__":
    raise SystemExit(run(main))
