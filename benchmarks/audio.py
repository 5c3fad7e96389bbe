"""Speed and memory of recordings: MERT against the chunk-by-chunk way, decoding by format, a file of three hours.

    python benchmarks/audio.py                  # some fifteen minutes on 2 cores
    python benchmarks/audio.py --device cuda    # MERT on a GPU, also through torch.compile
    python benchmarks/audio.py --quick          # fewer chunks; a smoke test, not a measurement

MERT has its published size and random weights, made once in runs/bench. The chunk-by-chunk way is the published one:
transformers' HuBERT as it comes, float32, one chunk of 5 s at a time, all hidden states kept, then their means. Every
figure is of a fresh process, so that none warms another's memory. Writes benchmarks/results/audio.<vendor>.json, or
with --only a file of that part.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from machine import write_result

from clamp3.cli import EXIT_OK, parser_for, run

ROOT = Path(__file__).resolve().parents[1]
RATE_HZ = 24_000
HOURS = 3
FORMATS = ("wav", "mp3", "flac", "ogg", "opus", "aiff", "m4a", "aac", "wma", "webm")
SIZES: dict[str, Any] = {"conv_bias": False, "feat_extract_norm": "group", "num_conv_pos_embeddings": 128}


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of this script."""
    parser = parser_for(__doc__)
    parser.add_argument("--quick", action="store_true", help="few chunks, short files")
    parser.add_argument("--device", default="cpu", help="where MERT runs (default: %(default)s)")
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "bench", help="where weights and inputs lie")
    parser.add_argument("--repeats", type=int, default=3, help="runs per figure; the median counts (default: 3)")
    parser.add_argument("--only", choices=("mert", "decode", "memory"), help="one part")
    parser.add_argument("--step", help=argparse.SUPPRESS)  # what a fresh process measures
    return parser


# ---- inputs ------------------------------------------------------------------------------------------------------


def make_mert(folder: Path) -> Path:
    """Write a MERT of the published size with random weights unless it is there; return its folder."""
    import torch
    from transformers import HubertConfig, HubertModel

    path = folder / "mert_size"
    if not (path / "pytorch_model.bin").is_file():
        path.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(1)
        torch.save(HubertModel(HubertConfig(**SIZES)).state_dict(), path / "pytorch_model.bin")
        config = {**HubertConfig(**SIZES).to_dict(), "model_type": "mert_model", "sample_rate": RATE_HZ}
        (path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return path


def music(seconds: float, rate: int) -> np.ndarray:
    """Return (N, 2) float32 chords that change every half second, with a little noise."""
    rng = np.random.default_rng(0)
    time_sec = np.arange(rate // 2) / rate
    blocks = []
    for _ in range(round(2 * seconds)):
        pitches = 110 * 2 ** (rng.integers(0, 36, 4) / 12)
        chord = sum(np.sin(2 * np.pi * pitch * time_sec) for pitch in pitches) * np.exp(-2 * time_sec) / 8
        blocks.append(np.stack([chord, 0.7 * chord], axis=1) + 0.003 * rng.standard_normal((len(time_sec), 2)))
    return np.concatenate(blocks).astype(np.float32)


def make_recording(folder: Path, suffix: str, seconds: float) -> Path:
    """Write a stereo recording unless it is there; 48 kHz where the codec wants it, else 44.1 kHz."""
    import soundfile

    path = folder / f"{round(seconds)}s.{suffix}"
    if path.is_file():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    rate = 48_000 if suffix in ("opus", "webm") else 44_100
    by_soundfile = {"wav": ("WAV", "PCM_16"), "mp3": ("MP3", None), "flac": ("FLAC", "PCM_16"), "aiff": ("AIFF", None)}
    by_soundfile |= {"ogg": ("OGG", "VORBIS"), "opus": ("OGG", "OPUS")}
    block = music(min(seconds, 60), rate)
    n_blocks = max(1, round(seconds / 60))
    partial = path.with_suffix(".part")
    if suffix in by_soundfile:
        kind, subtype = by_soundfile[suffix]
        with soundfile.SoundFile(partial, "w", rate, 2, subtype=subtype, format=kind) as file:
            for _ in range(n_blocks):
                for start in range(0, len(block), rate):  # libvorbis wants small pieces
                    file.write(block[start : start + rate])
    else:
        partial.write_bytes(by_av(np.concatenate([block] * n_blocks), rate, suffix))
    return partial.replace(path)


def by_av(samples: np.ndarray, rate: int, suffix: str) -> bytes:
    """Return a file that FFmpeg's encoders write."""
    import av

    container, codec = {
        "m4a": ("ipod", "aac"),
        "aac": ("adts", "aac"),
        "wma": ("asf", "wmav2"),
        "webm": ("webm", "libopus"),
    }[suffix]
    out = io.BytesIO()
    with av.open(out, "w", format=container) as file:
        stream = file.add_stream(codec, rate=rate)
        assert isinstance(stream, av.AudioStream)
        stream.layout, stream.bit_rate = "stereo", 192_000
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples.T), format="fltp", layout="stereo")
        frame.sample_rate = rate
        size = stream.codec_context.frame_size or 1024
        cut = av.AudioResampler(format=stream.format.name, layout="stereo", rate=rate, frame_size=size)
        for piece in [*cut.resample(frame), *cut.resample(None)]:
            file.mux(stream.encode(piece))
        file.mux(stream.encode(None))
    return out.getvalue()


# ---- what a fresh process measures ---------------------------------------------------------------------------------


def chunked(args: argparse.Namespace, n_chunks: int) -> np.ndarray:
    """Return (n_chunks, 120000) standardised samples."""
    samples = music(5 * n_chunks, RATE_HZ).mean(axis=1)
    return ((samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)).reshape(n_chunks, -1)


def step_released(args: argparse.Namespace, n_chunks: int) -> dict[str, Any]:
    """One chunk at a time through the library's network as it comes."""
    import torch
    from transformers import HubertModel

    network = HubertModel.from_pretrained(make_mert(args.folder), attn_implementation="eager").eval().to(args.device)
    chunks = torch.from_numpy(chunked(args, n_chunks))
    results: list[np.ndarray] = []

    def once() -> None:
        results.clear()
        for chunk in chunks:
            with torch.no_grad():
                hidden = network(chunk[None].to(args.device), output_hidden_states=True).hidden_states
            results.append(torch.stack(hidden).mean(dim=2)[:, 0].mean(dim=0).cpu().numpy())

    return {"seconds": timed(once, args.repeats), "features": np.stack(results)}


def step_ours(args: argparse.Namespace, n_chunks: int, dtype: str = "float32", compile: bool = False) -> dict[str, Any]:
    """The same chunks through `clamp3.models.mert.Mert`, in its default batches."""
    from clamp3.models.mert import Mert

    class Known:
        """A recording whose chunks are known, so that decoding is not measured here."""

        name = "known"

    mert = Mert(make_mert(args.folder), dtype=dtype, device=args.device, compile=compile)  # type: ignore[arg-type]
    chunks = chunked(args, n_chunks)
    results: list[np.ndarray] = []

    def once() -> None:
        from unittest.mock import patch

        with patch("clamp3.models.mert.chunks", lambda sound: iter(chunks)):
            results[:] = [mert.features(Known())[0]]  # type: ignore[arg-type]

    return {"seconds": timed(once, args.repeats), "features": results[0]}


def timed(work: Callable[[], None], repeats: int) -> float:
    """Return the median seconds of ``work`` after one run that touches the memory."""
    work()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def step_decode(args: argparse.Namespace, suffix: str, seconds: float) -> dict[str, Any]:
    """Decode and resample a file."""
    from clamp3.formats.audio import Sound

    path = make_recording(args.folder, suffix, seconds)

    def once() -> None:
        Sound(path, suffix).read()

    return {"seconds": timed(once, args.repeats)}


def step_memory(args: argparse.Namespace, what: str, hours: float) -> dict[str, Any]:
    """Take a long file through everything; MERT's network runs on every fiftieth chunk, to save an hour."""
    from clamp3.formats import Kind
    from clamp3.formats.audio import Sound
    from clamp3.modalities.audio import AUDIO, MelFrames

    path = make_recording(args.folder, "flac", hours * 3600)
    started = time.perf_counter()
    if what == "mel":
        n_vectors = len(AUDIO.prepare((path, Kind.AUDIO, "long"), MelFrames(), marked=True))
    else:
        from clamp3.models.mert import Mert

        mert = Mert(make_mert(args.folder), device=args.device)
        real, n_calls = mert._run, [0]

        def sparse(batch: list[np.ndarray], mean: bool) -> np.ndarray:
            n_calls[0] += 1
            return real(batch, mean) if n_calls[0] % 50 == 1 else np.zeros((len(batch), 1, 768), np.float32)

        mert._run = sparse  # type: ignore[method-assign]
        n_vectors = mert.features(Sound(path, "long")).shape[1]
    return {"vectors": n_vectors, "seconds": time.perf_counter() - started, "peak_mib": peak_mib()}


def peak_mib() -> float:
    """Return the largest resident memory of this process so far."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM"):
            return round(int(line.split()[1]) / 1024, 1)
    raise OSError("this system does not say how much memory a process used.")


STEPS: dict[str, Callable[..., dict[str, Any]]] = {
    "released": step_released,
    "ours": step_ours,
    "decode": step_decode,
    "memory": step_memory,
}


# ---- the parent ----------------------------------------------------------------------------------------------------


def fresh(args: argparse.Namespace, step: str, *values: Any, repeats: int | None = None) -> dict[str, Any]:
    """Run one step in a process of its own."""
    command = [sys.executable, __file__, "--folder", str(args.folder), "--device", args.device]
    command += ["--repeats", str(repeats or args.repeats), "--step", json.dumps([step, *values])]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
    if done.returncode:
        raise SystemExit(f"{step} {values} failed:\n{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def measure_mert(args: argparse.Namespace) -> dict[str, Any]:
    """Compare the ways through MERT."""
    n_chunks = (4 if args.quick else 12) if args.device == "cpu" else (16 if args.quick else 128)
    ways: dict[str, tuple[Any, ...]] = {"chunk by chunk": ("released", n_chunks)}
    ways |= {"float32": ("ours", n_chunks), "bfloat16": ("ours", n_chunks, "bfloat16")}
    if args.device != "cpu":
        ways |= {f"{dtype}, compiled": ("ours", n_chunks, dtype, True) for dtype in ("float32", "bfloat16")}
    # Turn by turn, so that a machine that slows down for a while slows every way down.
    rounds = [{name: fresh(args, *step, repeats=1) for name, step in ways.items()} for _ in range(args.repeats)]
    seconds = {name: statistics.median(turn[name]["seconds"] for turn in rounds) for name in ways}
    result: dict[str, Any] = {"chunks": n_chunks, "rounds": args.repeats}
    result["chunk_by_chunk_sec_per_chunk"] = seconds.pop("chunk by chunk") / n_chunks
    for name, one in seconds.items():
        result[name] = {
            "sec_per_chunk": one / n_chunks,
            "times_faster": statistics.median(
                turn["chunk by chunk"]["seconds"] / turn[name]["seconds"] for turn in rounds
            ),
            "least_cosine": least_cosine(rounds[0]["chunk by chunk"]["features"], rounds[0][name]["features"]),
        }
        print(f"MERT {name}: {json.dumps(result[name])}", flush=True)
    return result


def least_cosine(one: list[list[float]], other: list[list[float]]) -> float:
    """Return the smallest cosine between rows."""
    a, b = np.array(one, np.float64), np.array(other, np.float64)
    return float(((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)).min())


def main(argv: list[str] | None = None) -> int:
    """Measure, print and write the result; return the exit code."""
    args = build_parser().parse_args(argv)
    if args.step:
        step, *values = json.loads(args.step)
        result = STEPS[step](args, *values)
        print(json.dumps({k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in result.items()}))
        return EXIT_OK
    make_mert(args.folder)
    parts: dict[str, Any] = {"device": args.device}
    if args.only in (None, "mert"):
        parts["mert"] = measure_mert(args)
    if args.only in (None, "decode"):
        seconds = 20 if args.quick else 240
        parts["decode"] = {"recording_sec": seconds}
        for suffix in FORMATS:
            parts["decode"][suffix] = fresh(args, "decode", suffix, seconds)["seconds"]
            print(f"decoding {seconds} s of {suffix}: {parts['decode'][suffix]:.2f} s", flush=True)
    if args.only in (None, "memory"):
        hours = 0.1 if args.quick else HOURS
        parts["memory"] = {"hours": hours} | {what: fresh(args, "memory", what, hours) for what in ("mel", "mert")}
        print(f"memory: {json.dumps(parts['memory'])}", flush=True)
    if not args.quick:
        names = ["audio", args.only]
        print(write_result("_".join(name for name in names if name), parts, device=args.device))
    return EXIT_OK


if __name__ == "__main__":
    raise SystemExit(run(main))
