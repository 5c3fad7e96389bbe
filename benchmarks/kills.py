"""Kill jobs at random moments, let jobs race for one folder, and count what is lost, doubled, wrong or left over.

    python benchmarks/kills.py             # 200 kills and 100 races
    python benchmarks/kills.py --quick     # a few of each; part of the tests

Each job is run once undisturbed. Then copies of it are killed with ``kill -9`` one to three times, at moments drawn
over its whole time, its first process only or all of them, and the same command is given again at once; what it ends
with is compared with the undisturbed job's: file by file, row by row, tensor by tensor. In a race two processes begin
the same command together. Jobs are the scripts' own ``main`` in forked processes, which saves the imports.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import random
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from machine import RESULTS, write_result

from clamp3.cli import EXIT_OK, EXIT_SOME_FAILED, parser_for, run
from clamp3.errors import EXIT_USAGE

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests" / "unit"), str(ROOT / "code")]
Made = dict[str, str]  # what a job makes: names and digests of contents
CRIMES = ("lost", "doubled", "wrong", "left over")
LONGEST_SEC = 120.0
TINY = {"width": 32, "n_layers": 1, "n_heads": 2, "max_patches": 8, "hidden_size": 16, "text_length": 16,
        "batch_size": 6, "epochs": 3, "learning_rate": 1e-3, "warmup_steps": 2, "eval_split": 0.2, "dropout": 0.2,
        "log_every": 1, "save_every": 2, "keep_last": 2}  # fmt: skip
TINY_FLAGS = ["--text_from_scratch", *(part for name, value in TINY.items() for part in (f"--{name}", str(value)))]


@dataclass
class Job:
    """A command that can be killed and given again.

    Attributes
    ----------
    start : callable
        Begins it in a folder; returns its processes.
    made : callable
        What it has made there, and what is doubled or left over.
    """

    name: str
    start: Callable[[Path], list[int]]
    made: Callable[[Path], tuple[Made, list[str]]]
    n_kills: int = 0
    n_races: int = 0
    codes: tuple[int, ...] = (EXIT_OK,)


@dataclass
class Figures:
    """What happened to one job."""

    kills: int = 0
    in_work: int = 0  # kills that met it alive
    races: int = 0
    refused: int = 0
    seconds: float = 0.0
    crimes: list[str] = field(default_factory=list)


def forked(main: Callable[[], int], log: Path, environment: dict[str, str] | None = None) -> int:
    """Run a script's ``main`` in a process of its own group; return its number."""
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        os.setsid()
        handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        os.environ.update(environment or {})
        code = run(main)
        sys.stdout.flush()
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def script(path: str, *arguments: object) -> Callable[[], int]:
    """Return a call of a script's ``main``; the script is imported now."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return partial(module.main, [str(argument) for argument in arguments])


def ended(pids: list[int]) -> list[int]:
    """Wait for processes; return their exit codes. Those that take too long are killed, code -9."""
    deadline = time.monotonic() + LONGEST_SEC
    codes: dict[int, int] = {}
    while len(codes) < len(pids):
        for pid in pids:
            if pid not in codes:
                found, status = os.waitpid(pid, os.WNOHANG)
                if found:
                    codes[pid] = os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            kill(pids, whole=True)
        time.sleep(0.002)
    return [codes[pid] for pid in pids]


def kill(pids: list[int], *, whole: bool) -> None:
    """End processes as nothing can prevent, with or without those they started."""
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL) if whole else os.kill(pid, signal.SIGKILL)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def files(folder: Path) -> Made:
    """Return the files of a folder but ledgers; unfinished ones included."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_file() and "ledger.jsonl" not in path.name)
    return {path.relative_to(folder).as_posix(): digest(path.read_bytes()) for path in found}


def jsonl(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def outputs(folder: Path) -> tuple[Made, list[str]]:
    """Return what an output folder holds, and inputs with several rows."""
    rows = jsonl(folder / "out/ledger.jsonl")
    done = Counter(row["input"] for row in rows if row["status"] == "ok")
    status = {f"row {row['input']}": row["status"] for row in rows}
    return {**files(folder / "out"), **status}, [f"{name}: {n} rows" for name, n in done.items() if n > 1]


def summaries(folder: Path) -> tuple[Made, list[str]]:
    """Return what summaries hold: rows by their id."""
    rows: Made = {}
    twice: list[str] = []
    for name in ("s.jsonl", "s.provenance.jsonl"):
        found = jsonl(folder / "out" / name)
        keys = [row.get("id", row.get("input")) for row in found]
        twice += [f"{name} {key}" for key, n in Counter(keys).items() if n > 1]
        # Of a provenance its times and counts of tries differ.
        kept = ("summary_en", "summary_nen", "title", "model", "prompts")
        rows |= {
            f"{name} {key}": digest(json.dumps({k: row.get(k) for k in kept}).encode())
            for key, row in zip(keys, found, strict=True)
        }
    listed = {name: "" for name in files(folder / "out")}
    return {**rows, **listed}, twice


def training(out: Path) -> tuple[Made, list[str]]:
    """Return the tensors of a run's checkpoints, its rows, and the names of its files."""
    import torch

    made = {name: "" for name in files(out)}
    for name in [name for name in made if name.endswith(".pt")]:
        state = torch.load(out / name, weights_only=True)
        for part in ("model", "optimizer", "rng"):
            made |= {f"{name} {part}{key}": value for key, value in tensors(state[part])}
    kept = ("step", "epoch", "loss", "lr", "grad_norm", "eval_loss", "train_loss")
    rows = jsonl(out / "metrics.jsonl")
    keys = [f"{row['kind']} {row['step']}" for row in rows]
    made |= {key: json.dumps({k: row.get(k) for k in kept}) for key, row in zip(keys, rows, strict=True)}
    return made, [key for key, n in Counter(keys).items() if n > 1]


def tensors(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield the names and digests of the tensors in nested containers."""
    if hasattr(value, "numpy"):
        yield name, digest(value.contiguous().view(-1).numpy().tobytes())
    elif isinstance(value, (dict, list, tuple)):
        for key, one in value.items() if isinstance(value, dict) else enumerate(value):
            yield from tensors(one, f"{name}.{key}")
    else:
        yield name, repr(value)


def hits(folder: Path) -> tuple[Made, list[str]]:
    """Return what a search found, and the files of its cache."""
    text = (folder / "log").read_text(encoding="utf-8")
    answer = json.loads(text[text.rindex('{\n  "query"') :])
    names = [hit["name"] for hit in answer["results"]]
    made = {hit["name"]: f"{hit['score']:.5f}" for hit in answer["results"]}
    cache = {name: "" for name in files(folder / "cache")}
    return {**made, **cache}, [name for name, n in Counter(names).items() if n > 1]


def indexed(folder: Path) -> tuple[Made, list[str]]:
    """Return the pieces of an index with a sum of their vectors, and what is unfinished in its folder."""
    import numpy as np

    export = script("retrieval/index.py", "export", "--index", folder / "index", folder / "export")
    if ended([forked(export, folder / "log")]) != [EXIT_OK]:
        raise OSError("the index cannot be exported")
    rows, vectors = jsonl(folder / "export/pieces.jsonl"), np.load(folder / "export/vectors.npy")
    sums = vectors.reshape(len(rows), -1) @ np.linspace(0, 1, vectors.size // len(rows))
    made = {row["id"]: f"{row['content']} {total:.2f}" for row, total in zip(rows, sums, strict=True)}
    made |= {name: "" for name in files(folder / "index") if name.endswith((".part", "-wal", "-journal", "-shm"))}
    return made, [name for name, n in Counter(row["id"] for row in rows).items() if n > 1]


def crimes(job: Job, folder: Path, expected: Made) -> list[str]:
    """Compare what a job has made with what it makes undisturbed."""
    try:
        made, twice = job.made(folder)
    except (OSError, ValueError, KeyError) as error:
        return [f"lost: {job.name}: {error!r}"]
    found = [f"lost: {name}" for name in expected if name not in made]
    found += [f"doubled: {name}" for name in twice]
    found += [f"wrong: {name}" for name, what in made.items() if name in expected and what != expected[name]]
    found += [f"left over: {name}" for name in made if name not in expected]
    return [f"{crime} ({job.name})" for crime in found]


def undisturbed(job: Job, folder: Path) -> tuple[Made, float]:
    """Run a job once, and again to see that nothing is left to do; return what it makes, and its seconds."""
    started = time.monotonic()
    codes = ended(job.start(folder))
    seconds = time.monotonic() - started
    if not set(codes) <= set(job.codes):
        raise SystemExit(f"{job.name} fails by itself:\n{(folder / 'log').read_text(encoding='utf-8')[-2000:]}")
    return job.made(folder)[0], seconds


def killed(job: Job, folder: Path, expected: Made, seconds: float, n_kills: int, rng: random.Random) -> Figures:
    """Kill a job some times, let it end, and compare."""
    figures = Figures()
    for _ in range(n_kills):
        pids, whole = job.start(folder), rng.random() < 0.5
        time.sleep(rng.uniform(0, seconds))
        kill(pids, whole=whole)
        figures.kills += 1
        figures.in_work += -signal.SIGKILL in ended(pids)
    codes = ended(job.start(folder))
    if not set(codes) <= set(job.codes):
        said = (folder / "log").read_text(encoding="utf-8", errors="replace")[-500:]
        figures.crimes.append(f"lost: exit codes {codes} ({job.name}): {said}")
    time.sleep(0.05)
    figures.crimes += crimes(job, folder, expected)
    return figures


def raced(job: Job, folder: Path, expected: Made, rng: random.Random) -> Figures:
    """Give the same command twice at once: one may be refused, none may harm."""
    figures = Figures(races=1)
    first = job.start(folder)
    time.sleep(rng.choice((0.0, 0.0, rng.uniform(0, 0.1))))
    codes = ended([*first, *job.start(folder)])
    figures.refused += codes.count(EXIT_USAGE)
    if EXIT_OK not in codes or not set(codes) <= {EXIT_OK, EXIT_USAGE}:
        said = (folder / "log").read_text(encoding="utf-8", errors="replace")[-500:]
        figures.crimes.append(f"wrong: exit codes {codes} ({job.name}): {said}")
    figures.crimes += crimes(job, folder, expected)
    return figures


def disturb(job: Job, home: Path, rng: random.Random) -> Figures:
    """Do to one job all that is asked for."""
    total, started = Figures(), time.monotonic()
    (home / "plain").mkdir(parents=True)
    expected, seconds = undisturbed(job, home / "plain")
    number = 0
    while total.kills < job.n_kills or total.races < job.n_races:
        folder = home / str(number)
        folder.mkdir()
        if total.kills < job.n_kills:
            n_kills = min(rng.randint(1, 3), job.n_kills - total.kills)
            found = killed(job, folder, expected, 1.1 * seconds, n_kills, rng)
        else:
            found = raced(job, folder, expected, rng)
        total.kills, total.races = total.kills + found.kills, total.races + found.races
        total.in_work, total.refused = total.in_work + found.in_work, total.refused + found.refused
        total.crimes += found.crimes
        if not found.crimes:
            shutil.rmtree(folder)
        number += 1
    total.seconds = round(time.monotonic() - started, 1)
    return total


@contextmanager
def language_model() -> Iterator[str]:
    """Yield the address of a made-up language model, in a process of its own."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        pid = os.fork()
        if not pid:
            try:
                import uvicorn
                from fake_llm import FakeLLM, Reply, summary

                model = FakeLLM(lambda messages, count: Reply(summary(messages), wait_sec=0.01))
                config = uvicorn.Config(model.app(), log_level="critical", lifespan="off")
                uvicorn.Server(config).run(sockets=[held])
            finally:
                os._exit(0)
        try:
            while True:
                with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    break
                time.sleep(0.05)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            kill([pid], whole=False)
            os.waitpid(pid, 0)


def caption(input_dir: Path, output_dir: Path) -> int:
    """Caption images by a model that names their colour."""
    from clamp3.jobs.summary import report
    from clamp3.metadata.captions import caption_folder

    def named(images: list[Any]) -> list[str]:
        time.sleep(0.02)
        return [f"a field of colour {image.getpixel((0, 0))}" for image in images]

    return report(caption_folder(lambda: named, input_dir, output_dir, task="t", batch_size=2))


def ranks(call: Callable[[], int], log: Path, n: int) -> list[int]:
    """Start a script on several ranks."""
    if n == 1:
        return [forked(call, log)]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    shared = {"WORLD_SIZE": str(n), "LOCAL_WORLD_SIZE": str(n), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return [forked(call, log, {**shared, "RANK": str(r), "LOCAL_RANK": str(r)}) for r in range(n)]


def light_jobs(data: Path, url: str) -> Iterator[Job]:
    """Yield the jobs that do without torch."""
    from PIL import Image

    from clamp3.formats.mtf import mtf_to_midi

    for name in ("midi", "images"):
        (data / name).mkdir()
    for n in range(60):
        notes = "".join(f"note_on {k % 9} 0 {30 + (n * k) % 60} 80\n" for k in range(200 + 20 * n))
        (data / f"midi/{n}.mid").write_bytes(mtf_to_midi(f"ticks_per_beat 480\n{notes}end_of_track 1\n"))
        Image.new("RGB", (4, 4), (n, 2 * n, 0)).save(data / f"images/{n}.png")
    songs = [{"id": f"s{n}", "title": f"Song {n}", "composer": "Foster", "filepaths": [f"{n}.abc"]} for n in range(60)]
    (data / "songs.jsonl").write_text("".join(json.dumps(song) + "\n" for song in songs), encoding="utf-8")

    def conversion(folder: Path) -> list[int]:
        call = script("preprocessing/midi/batch_midi2mtf.py", data / "midi", folder / "out", "--n_workers", 2)
        return [forked(call, folder / "log")]

    def captions(folder: Path) -> list[int]:
        return [forked(partial(caption, data / "images", folder / "out"), folder / "log")]

    def metadata(folder: Path) -> list[int]:
        flags = ["--model", "tiny", "--concurrency", 4, "--base_url", url, "--languages", "Swahili"]
        call = script("preprocessing/text/summarize.py", data / "songs.jsonl", folder / "out/s.jsonl", *flags)
        return [forked(call, folder / "log", {"OPENAI_API_KEY": "none", "NO_PROXY": "127.0.0.1"})]

    yield Job("conversion", conversion, outputs, n_kills=40)
    yield Job("captions", captions, outputs, n_kills=20)
    yield Job("metadata", metadata, summaries, n_kills=20)


def torch_jobs(data: Path) -> Iterator[Job]:
    """Yield the jobs that need torch, which is imported here."""
    import torch
    import transformers  # noqa: F401 - imported once, before the forks
    from training_music import write_music, write_text_model

    torch.set_num_threads(1)
    (data / "texts").mkdir()
    for n in range(40):
        (data / f"texts/{n:02}.txt").write_text(f"a {'slow ' * (n % 7)}song number {n}", encoding="utf-8")
    tunes = (f"X:{n}\nT:Tune {n}\nM:4/4\nL:1/8\nK:C\n{'CDEF GABc|' * n}\n\n" for n in range(1, 13))
    (data / "texts/book.abc").write_text("".join(tunes), encoding="utf-8")
    (data / "music").mkdir()
    write_text_model(data / "music")
    write_music(data / "music")

    def extraction(folder: Path, n: int) -> list[int]:
        flags = ["--get_global", "--model", "mini", "--batch_size", 1, "--dtype", "float32"]
        call = script("code/extract_clamp3.py", data / "texts", folder / "out", *flags)
        return ranks(call, folder / "log", n)

    def search(folder: Path) -> list[int]:
        (folder / "cache").mkdir(exist_ok=True)
        flags = ["--json", "--top_k", 1000, "--kind", "all"]
        call = script("retrieval/clamp3_search.py", "a slow song", data / "texts", *flags)
        return [forked(call, folder / "log", {"CLAMP3_CACHE": str(folder / "cache")})]

    def index(folder: Path) -> list[int]:
        flags = ["--index", folder / "index", "--model", "mini", "--no_cache", "--store", "sqlite"]
        return [forked(script("retrieval/index.py", "add", data / "texts", *flags), folder / "log")]

    def train(folder: Path, n: int, *flags: object) -> list[int]:
        common = [*TINY_FLAGS, "--train_jsonl", data / "music/train.jsonl", "--text_model", data / "music"]
        call = script("code/train_clamp3_symbolic.py", *common, "--out", folder / "out", *flags)
        return ranks(call, folder / "log", n)

    def with_pack(folder: Path) -> list[int]:
        """Train into the next free folder, with a pack that all share."""
        out = next(out for out in (folder / "a", folder / "b", folder / "c") if not out.exists())
        out.mkdir()
        common = [*TINY_FLAGS, "--train_jsonl", data / "music/train.jsonl", "--text_model", data / "music"]
        shared = ["--out", out, "--pack", folder / "pack", "--max_steps", 2]
        call = script("code/train_clamp3_symbolic.py", *common, *shared)
        return [forked(call, folder / "log")]

    def packed(folder: Path) -> tuple[Made, list[str]]:
        """Return what the runs of a race share and made; they must be the same."""
        runs = [training(out)[0] for out in (folder / "a", folder / "b") if out.exists()]
        differing = [name for run in runs for name in run if run[name] != runs[0].get(name)]
        return {**runs[0], **files(folder / "pack"), **{f"differs {name}": "" for name in differing}}, []

    yield Job("extraction", partial(extraction, n=1), outputs, n_kills=30, n_races=25)
    yield Job("extraction on 2 processes", partial(extraction, n=2), outputs, n_kills=20)
    yield Job("search with its cache", search, hits, n_kills=20, n_races=15)
    yield Job("index", index, indexed, n_kills=10, n_races=10)
    yield Job("training", partial(train, n=1), lambda folder: training(folder / "out"), n_kills=25, n_races=25)
    yield Job("training on 2 processes", partial(train, n=2), lambda folder: training(folder / "out"), n_kills=15)
    yield Job("packs of training", with_pack, packed, n_races=25)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of this script."""
    parser = parser_for(__doc__)
    parser.add_argument("--quick", action="store_true", help="two kills and a race of each; part of the tests")
    parser.add_argument("--jobs", nargs="+", metavar="NAME", help="only jobs whose name begins so")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default: %(default)s)")
    parser.add_argument("--work_dir", type=Path, help="keep what went wrong in this folder (default: nothing is kept)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the report (default: %(default)s)")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the script; return its exit code."""
    args = build_parser().parse_args(argv)
    signal.signal(signal.SIGTERM, _leave)
    report: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as temporary:
        home = args.work_dir or Path(temporary)
        (home / "data").mkdir(parents=True)

        def all_jobs() -> Iterator[Job]:
            with language_model() as url:
                yield from light_jobs(home / "data", url)
            yield from torch_jobs(home / "data")

        for job in all_jobs():
            if args.jobs and not job.name.startswith(tuple(args.jobs)):
                continue
            if args.quick:
                job.n_kills, job.n_races = min(2, job.n_kills), min(1, job.n_races)
            place = home / job.name.replace(" ", "_")
            found = disturb(job, place, random.Random(f"{args.seed} {job.name}"))
            report[job.name] = {**vars(found), "crimes": found.crimes[:100]}
            met, refused = f"{found.in_work} in work", f"{found.refused} refused"
            print(f"{job.name}: {found.kills} kills ({met}), {found.races} races ({refused}), ", end="")
            print(f"{len(found.crimes)} faults, {found.seconds:.0f} s", flush=True)
            for crime in found.crimes[:20]:
                print(f"    {crime}")
    every = [crime for facts in report.values() for crime in facts["crimes"]]
    counts = {kind: sum(crime.startswith(kind) for crime in every) for kind in CRIMES}
    totals = {name: sum(facts[name] for facts in report.values()) for name in ("kills", "races")}
    print(
        f"{totals['races']} races, {totals['kills']} kills: " + ", ".join(f"{n} {kind}" for kind, n in counts.items())
    )
    path = write_result(
        "kills_quick" if args.quick else "kills", {**totals, **counts, "jobs": report}, folder=args.results
    )
    print(f"see {path}")
    return EXIT_SOME_FAILED if every else EXIT_OK


def _leave(_signal: int, _frame: FrameType | None) -> None:
    raise SystemExit(143)


if __name__ == "__main__":
    sys.exit(run(main))
