"""The steps of `gpu.py`; each yields its figures, a name and JSON values, as soon as they are known."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from unittest.mock import patch

import numpy as np
import torch
from audio import RATE_HZ, SIZES, make_mert, music
from training_speed import FULL, Ours, flops, write_data

from clamp3.formats import Kind

if TYPE_CHECKING:
    from clamp3.embedding.batching import Tower
    from clamp3.embedding.clamp3 import Clamp3
    from clamp3.models.mert import Mert

Figures = Iterator[tuple[str, Any]]
Dtype = Literal["float32", "bfloat16"]
ROOT = Path(__file__).resolve().parents[1]
TINY = {"text": (64, 1, 6000), "symbolic": (64, 2, 0), "audio": (64, 2, 0)}  # width, layers, words
TOLERANCE = 1e-4  # of float32 vectors, the CPU's beside them
COSINE = 0.9999  # of bfloat16 vectors, the CPU's float32 ones beside them


@dataclass(frozen=True)
class Bench:
    """What every step works with."""

    device: str
    quick: bool
    folder: Path
    peak_tflops: float

    @property
    def on_gpu(self) -> bool:
        """Whether there is a GPU to wait for and to ask."""
        return self.device != "cpu"

    @property
    def weights(self) -> Path:
        """A checkpoint with three towers."""
        return self.folder / "weights.pth"

    @property
    def data(self) -> Path:
        """Pieces to train on, their tokenizer, and the sizes of the text tower."""
        return self.folder / "data"

    @property
    def small_data(self) -> Path:
        """The same for a small model, which is written to disk in no time."""
        return self.folder / "small"

    @property
    def sizes(self) -> dict[str, tuple[int, int, int]]:
        """Width, layers and words of the towers."""
        return TINY if self.quick else FULL

    @property
    def batch_size(self) -> int:
        """Pieces of a training step."""
        return 12 if self.quick else 256

    def settle(self) -> None:
        """Wait until the device has done what it was asked for."""
        if self.on_gpu:
            torch.cuda.synchronize()

    def seconds(self, work: Callable[[], object], repeats: int = 3) -> float:
        """Return the median seconds of some work, after a first time that does not count."""
        found = []
        for _ in range(1 + repeats):
            self.settle()
            started = time.perf_counter()
            work()
            self.settle()
            found.append(time.perf_counter() - started)
        return statistics.median(found[1:])

    def clear(self) -> None:
        """Give back the device's memory and count the largest amount from here on."""
        import gc

        gc.collect()
        if self.on_gpu:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def memory_gb(self) -> float | None:
        """Return the largest amount of the device's memory in use since `clear`."""
        return round(torch.cuda.max_memory_allocated() / 1e9, 2) if self.on_gpu else None

    def open(self, dtype: Dtype, device: str | None = None) -> Clamp3:
        """Return the model."""
        from clamp3.embedding.clamp3 import Clamp3

        return Clamp3.from_pretrained(self.weights, text_model=self.data, dtype=dtype, device=device or self.device)

    def open_mert(self, dtype: Dtype, device: str | None = None, compile: bool = False) -> Mert:
        """Return MERT."""
        from clamp3.models.mert import Mert

        return Mert(self.folder / "mert_size", dtype=dtype, device=device or self.device, compile=compile)

    # ---- inputs ----------------------------------------------------------------------------------------------------

    def texts(self, n: int) -> list[str]:
        """Return descriptions of 36 words."""
        rng = random.Random(1)
        return [" ".join(f"w{rng.randrange(5000)}" for _ in range(36)) for _ in range(n)]

    def scores(self, bars: Sequence[int]) -> list[tuple[bytes, Kind]]:
        """Return interleaved ABC of two voices, two patches a bar."""
        rng = random.Random(2)
        head = "%%score 1 2\nL:1/8\nM:4/4\nK:C\nV:1 treble\nV:2 bass\n"

        def bar() -> str:
            upper, lower = ("".join(rng.choice("CDEFGABcdefgab") for _ in range(n)) for n in (8, 4))
            return f"[V:1]{upper}|[V:2]{lower}2|\n"

        return [((head + "".join(bar() for _ in range(n))).encode(), Kind.ABC) for n in bars]

    def performances(self, notes: Sequence[int]) -> list[tuple[bytes, Kind]]:
        """Return MTF of so many notes, two patches each."""
        rng = random.Random(3)

        def note() -> str:
            pitch = rng.randrange(40, 90)
            return f"note_on {rng.randrange(400)} 0 {pitch} {rng.randrange(40, 120)}\nnote_off 240 0 {pitch} 0\n"

        texts = ["ticks_per_beat 480\n" + "".join(note() for _ in range(n)) + "end_of_track 1\n" for n in notes]
        return [(text.encode(), Kind.MTF) for text in texts]

    def features(self, lengths: Sequence[int]) -> list[tuple[bytes, Kind]]:
        """Return audio features as .npy files hold them."""
        import io

        rng, found = np.random.default_rng(4), []
        for length in lengths:
            out = io.BytesIO()
            np.save(out, rng.standard_normal((1, length, self.sizes["audio"][0])).astype(np.float32))
            found.append((out.getvalue(), Kind.FEATURES))
        return found

    @cached_property
    def chunks(self) -> np.ndarray:
        """Standardised samples in chunks of five seconds, as MERT takes them."""
        samples = music(5 * (4 if self.quick else 128), RATE_HZ).mean(axis=1)
        return ((samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)).reshape(-1, 5 * RATE_HZ).astype(np.float32)


class _Known:
    """A recording whose chunks are known, so that decoding is not part of it."""

    name = "known"


def through_mert(mert: Mert, chunks: np.ndarray) -> np.ndarray:
    """Return (chunks, D) features."""
    with patch("clamp3.models.mert.chunks", lambda sound: iter(chunks)):
        return mert.features(_Known())[0]  # type: ignore[arg-type]


def prepare(bench: Bench) -> Figures:
    """Draw weights, write pieces, and measure what the device can do at best."""
    from clamp3.models.clamp3 import Clamp3Model
    from clamp3.models.config import Clamp3Config, TowerConfig

    sizes = bench.sizes
    write_pieces(bench.data, 4 * bench.batch_size, sizes)
    write_pieces(bench.small_data, 24, TINY)
    config = Clamp3Config.released()
    if bench.quick:
        small = {
            name: {"width": width, "n_layers": layers, "n_heads": width // 64, "feed_forward": 4 * width}
            for name, (width, layers, _) in sizes.items()
        }
        config = replace(
            config,
            text=replace(config.tower("text"), **small["text"], vocab_size=sizes["text"][2]),
            symbolic=TowerConfig(**small["symbolic"], max_length=512),
            audio=TowerConfig(**small["audio"], max_length=128),
        )
    model = Clamp3Model(config, generator=torch.Generator().manual_seed(1))
    torch.save({"model": model.state_dict(), "epoch": 0, "best_epoch": 0, "min_eval_loss": 0.0}, bench.weights)
    yield "parameters", sum(parameter.numel() for parameter in model.parameters())
    if bench.quick:
        SIZES.update(num_hidden_layers=2, hidden_size=128, num_attention_heads=2, intermediate_size=256)
    make_mert(bench.folder)
    n = 512 if bench.quick else 8192
    dtype = torch.bfloat16 if bench.on_gpu else torch.float32
    a, b = (torch.randn(n, n, dtype=dtype, device=bench.device) for _ in range(2))
    yield "matrix_tflops", round(2 * n**3 / bench.seconds(lambda: a @ b, 10) / 1e12, 3)
    source = torch.empty(2**22 if bench.quick else 2**31, dtype=torch.uint8, device=bench.device)
    yield "copied_gb_per_sec", round(2 * source.numel() / bench.seconds(source.clone, 5) / 1e9, 1)


def write_pieces(folder: Path, n_pieces: int, sizes: dict[str, tuple[int, int, int]]) -> None:
    """Write pieces to train on, their tokenizer and the sizes of the text tower."""
    folder.mkdir(exist_ok=True)
    width, layers, words = sizes["text"]
    write_data(folder, n_pieces, sizes["audio"][0], words)
    config = json.loads((folder / "config.json").read_text())
    config |= {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": width // 64}
    (folder / "config.json").write_text(json.dumps(config | {"intermediate_size": 4 * width}))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>"}
    settings |= {"sep_token": "</s>", "cls_token": "<s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


# ---- parity ----------------------------------------------------------------------------------------------------------


def parity(bench: Bench) -> Figures:
    """Compare vectors of the CPU with those of the device."""
    inputs: dict[str, list[Any]] = {
        "text": bench.texts(12),
        "abc": bench.scores([1, 3, 20, 60, 300]),
        "mtf": bench.performances([2, 100, 700]),
        "audio": bench.features([1, 20, 128, 300]),
    }
    chunks = bench.chunks[:4]

    def vectors(device: str, dtype: Dtype) -> dict[str, np.ndarray]:
        model = bench.open(dtype, device)
        found = {name: model.encode(items) for name, items in inputs.items()}
        errors = [error for encoded in found.values() for error in encoded.errors if error]
        if errors:
            raise RuntimeError(errors[0])
        return {name: encoded.vectors for name, encoded in found.items()} | {
            "mert": through_mert(bench.open_mert(dtype, device), chunks)
        }

    with torch.backends.mkldnn.flags(enabled=False):
        plain = vectors("cpu", "float32")
    cpu = vectors("cpu", "float32")
    yield from compared("packed on the CPU", plain, cpu, TOLERANCE, 0)
    yield from compared("float32", cpu, vectors(bench.device, "float32"), TOLERANCE, 0)
    yield from compared("bfloat16", cpu, vectors(bench.device, "bfloat16"), float("inf"), COSINE)


def compared(
    name: str, reference: dict[str, np.ndarray], found: dict[str, np.ndarray], most: float, least: float
) -> Figures:
    """Yield how far vectors are from the CPU's, and whether that is close enough."""
    for kind, expected in reference.items():
        a, b = expected.astype(np.float64), found[kind].astype(np.float64)
        cosine = float(((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)).min())
        apart = float(np.abs(a - b).max())
        yield f"{kind}, {name}", {"max_abs": apart, "min_cosine": cosine, "ok": apart <= most and cosine >= least}


# ---- attention -------------------------------------------------------------------------------------------------------


def attention(bench: Bench) -> Figures:
    """Which kernel computes attention with our masks, what each would take, and what a new shape costs."""
    from clamp3.models.bert import Bert, key_mask
    from clamp3.models.config import TowerConfig
    from clamp3.training.build import set_attention_dropout

    width = bench.sizes["symbolic"][0]
    heads = width // 64
    rows, longest = (4, 64) if bench.quick else (64, 512)
    dtype = torch.bfloat16 if bench.on_gpu else torch.float32
    config = TowerConfig(width=width, n_layers=2, n_heads=heads, feed_forward=4 * width, max_length=longest)
    tower = Bert(config).to(bench.device, dtype)
    inputs = torch.randn(rows, longest, width, device=bench.device, dtype=dtype)
    ragged = torch.arange(longest) < torch.linspace(longest // 4, longest, rows)[:, None]
    mask = ragged.to(bench.device)

    def run(masked: bool, training: bool) -> None:
        tower.train(training)
        with contextlib.nullcontext() if training else torch.inference_mode():
            hidden = tower(inputs_embeds=inputs, attention_mask=mask if masked else None)
            if training:
                hidden.float().sum().backward()

    for dropout in (0.1, 0.0):
        set_attention_dropout(tower, dropout)
        for training in (False, True):
            for masked in (True, False):
                what = f"{'training' if training else 'inference'}, {'mask' if masked else 'no mask'}"
                if training or dropout == 0:
                    name = f"{what}, dropout {dropout}" if training else what
                    yield name, attention_operators(partial(run, masked, training))
    shape = (rows, heads, longest, 64)
    given = [torch.randn(shape, device=bench.device, dtype=dtype, requires_grad=True) for _ in range(3)]
    for masked in (True, False):
        for dropout in (0.1, 0.0):
            way = f"{'mask' if masked else 'no mask'}, dropout {dropout}"
            yield f"ms of {way}", backends(bench, given, key_mask(mask) if masked else None, dropout)
    yield from new_shapes(bench, heads, dtype)


def attention_operators(work: Callable[[], None]) -> dict[str, int]:
    """Return how often torch called each of its attention operators."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU]) as found:
        work()
    names = Counter(event.name for event in found.events())
    return {name: n for name, n in names.items() if "attention" in name and "backward" not in name}


def backends(bench: Bench, given: list[torch.Tensor], mask: torch.Tensor | None, dropout: float) -> dict[str, Any]:
    """Return milliseconds forward and back of every kernel by itself, or why it refuses."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    chosen = {"flash": SDPBackend.FLASH_ATTENTION, "efficient": SDPBackend.EFFICIENT_ATTENTION,
              "cudnn": SDPBackend.CUDNN_ATTENTION, "math": SDPBackend.MATH}  # fmt: skip
    sdpa: Any = torch.nn.functional.scaled_dot_product_attention
    found: dict[str, Any] = {}
    for name, backend in chosen.items():
        try:
            with sdpa_kernel([backend]), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                seconds = bench.seconds(
                    lambda: sdpa(*given, attn_mask=mask, dropout_p=dropout).float().sum().backward(), 5
                )
            found[name] = round(1000 * seconds, 3)
        except RuntimeError as error:
            found[name] = str(error).splitlines()[0][:120]
    return found


def new_shapes(bench: Bench, heads: int, dtype: torch.dtype) -> Figures:
    """Return milliseconds of attention of lengths never seen before and of the same again, by what torch may take."""
    rows, n_shapes = (2, 4) if bench.quick else (64, 40)
    lengths = random.Random(5).sample(range(65, 513), n_shapes)
    rounded = [-(-length // 64) * 64 for length in lengths]
    sdpa: Any = torch.nn.functional.scaled_dot_product_attention

    def run(longest: int) -> None:
        given = [
            torch.randn(rows, heads, longest, 64, device=bench.device, dtype=dtype, requires_grad=True)
            for _ in range(3)
        ]
        mask = torch.ones(rows, 1, 1, longest, dtype=torch.bool, device=bench.device)
        sdpa(*given, attn_mask=mask).float().sum().backward()

    def milliseconds(lengths: list[int]) -> float:
        bench.settle()
        started = time.perf_counter()
        for longest in lengths:
            run(longest)
        bench.settle()
        return round(1000 * (time.perf_counter() - started), 1)

    run(64)
    for name, allowed, those in (
        ("with cuDNN", True, lengths),
        ("without cuDNN", False, [length + 1 for length in lengths]),
        ("with cuDNN, rounded up to 64", True, rounded),
    ):
        torch.backends.cuda.enable_cudnn_sdp(allowed)
        yield f"{n_shapes} shapes {name}", {"first_ms": milliseconds(those), "again_ms": milliseconds(those)}
    torch.backends.cuda.enable_cudnn_sdp(True)


# ---- training --------------------------------------------------------------------------------------------------------

WITH_CUDNN = "with cuDNN's attention"
PAIRS = {"symbolic": ("text-symbolic",), "audio": ("text-audio",)}
VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    WITH_CUDNN: {},
    "compile": {"compile": True},
    "cache": {"grad_cache_chunk": 64},
    "no attention dropout": {"attention_dropout": 0.0},
    "one sub-batch": {"sub_batches": 1},
    "compile, no attention dropout": {"compile": True, "attention_dropout": 0.0},
    "compile, cache": {"compile": True, "grad_cache_chunk": 64},
}
OF_AUDIO = ("default", "no attention dropout", "cache", "compile")


def settings_of(bench: Bench, kind: str, **changes: Any) -> Any:
    """Return the settings of a run over the made-up pieces."""
    from clamp3.training.config import Clamp3Training

    width, layers, _ = bench.sizes["symbolic"]
    common: dict[str, Any] = {
        "train_jsonl": bench.data / "train.jsonl", "text_model": str(bench.data), "text_from_scratch": True,
        "eval_split": 0.0, "width": width, "n_layers": layers, "hidden_size": width,
        "audio_width": bench.sizes["audio"][0], "audio_layers": bench.sizes["audio"][1],
        "batch_size": bench.batch_size, "epochs": 1000, "save_every": 0, "log_every": 10**6,
        "pack": bench.folder / f"pack_{kind}", "pairs": PAIRS[kind], "out": bench.folder / "run",
    }  # fmt: skip
    if changes.get("grad_cache_chunk"):
        changes["grad_cache_chunk"] = bench.batch_size // 4
    return Clamp3Training(**{**common, **changes})


def training(bench: Bench) -> Figures:
    """Steps per second, memory, waits for the device and compilations of every way to train."""
    for kind in PAIRS:
        batches: list[dict[str, torch.Tensor]] = []
        for name, changes in VARIANTS.items():
            if kind == "audio" and name not in OF_AUDIO:
                continue
            bench.clear()
            torch._dynamo.reset()
            try:
                yield (
                    f"{kind}, {name}",
                    trained(bench, settings_of(bench, kind, **changes), batches, name == WITH_CUDNN),
                )
            except torch.cuda.OutOfMemoryError:
                yield f"{kind}, {name}", "out of memory"
            except Exception as error:  # what one way cannot do must not hide the others
                yield f"{kind}, {name}", {"error": f"{type(error).__name__}: {error}"[:500]}
            if name == "no attention dropout" and batches:
                yield f"{kind}, kernels", top_kernels(bench, settings_of(bench, kind), batches)


def trained(bench: Bench, config: Any, batches: list[dict[str, torch.Tensor]], cudnn: bool = False) -> dict[str, Any]:
    """Measure one way; ``batches`` are drawn by the first and shared by all."""
    from clamp3.training.loading import on_device

    ours = Ours(config)
    torch.backends.cuda.enable_cudnn_sdp(cudnn)
    if not batches:
        batches += [next(ours.batches) for _ in range(4)]
    steps = 2 if bench.quick else 8
    compiled: list[int] = []

    def step(at: int, known: bool = True) -> None:
        batch = on_device(batches[at % len(batches)], bench.device)
        # Without lengths that are known before, the step has to ask the device for them.
        ours.trainer.step([{name: part for name, part in batch.items() if known or not name.endswith("_lengths")}])

    started = time.perf_counter()
    for at in range(len(batches)):
        step(at)
        compiled.append(graphs())
    bench.settle()
    warm_up = time.perf_counter() - started
    started = time.perf_counter()
    for at in range(steps):
        step(at)
    bench.settle()
    seconds = (time.perf_counter() - started) / steps
    model: Any = ours.task.module.model.config
    lengths = {view: [n for at in range(steps) for n in batches[at % len(batches)][f"{view}_mask"].sum(1).tolist()]
               for view in ours.task.train_data.views}  # fmt: skip
    spent: float = sum(flops(model.tower(view), found) for view, found in lengths.items()) / steps
    before, _ = synchronisations(bench, partial(step, 0, known=False))
    waits, places = synchronisations(bench, partial(step, 0))
    loss, _ = ours.trainer.step([on_device(batches[0], bench.device)])
    return {
        "steps_per_sec": round(1 / seconds, 3),
        "pieces_per_sec": round(config.batch_size / seconds, 1),
        "tflops": round(spent / seconds / 1e12, 3),
        "share_of_peak": round(spent / seconds / 1e12 / bench.peak_tflops, 4),
        "memory_gb": bench.memory_gb(),
        "warm_up_sec": round(warm_up, 2),
        "graphs_after_each_first_step": compiled,
        "graphs_at_end": graphs(),
        "synchronisations_with_unknown_lengths": before,
        "synchronisations_per_step": waits,
        "synchronised_at": places,
        "loss": round(float(loss), 4),
    }


def graphs() -> int:
    """Return how many graphs torch.compile has made in this process."""
    return int(torch._dynamo.utils.counters["stats"]["unique_graphs"])


def synchronisations(bench: Bench, work: Callable[[], None]) -> tuple[int, dict[str, int]]:
    """Return how often the program waited for the GPU, and where."""
    if not bench.on_gpu:
        work()
        return 0, {}
    bench.settle()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        work()
        torch.cuda.set_sync_debug_mode("default")
    found = [warning for warning in caught if "synchronizing" in str(warning.message)]
    places = Counter(f"{Path(warning.filename).name}:{warning.lineno}" for warning in found)
    return len(found), dict(places.most_common(12))


def top_kernels(bench: Bench, config: Any, batches: list[dict[str, torch.Tensor]]) -> dict[str, float]:
    """Return the share of the device's time in a step that its largest kernels take."""
    from torch.profiler import ProfilerActivity, profile

    ours = Ours(config)
    batch = {name: value.to(bench.device) for name, value in batches[0].items()}
    ours.trainer.step([batch])
    bench.settle()
    kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if bench.on_gpu else [])]
    with profile(activities=kinds) as found:
        ours.trainer.step([batch])
        bench.settle()
    name = "self_device_time_total" if bench.on_gpu else "self_cpu_time_total"
    # On a GPU the time of a kernel is also that of the operator that started it.
    place = torch.autograd.DeviceType.CUDA if bench.on_gpu else torch.autograd.DeviceType.CPU
    kernels = [event for event in found.key_averages() if event.device_type == place]
    kernels.sort(key=lambda event: -getattr(event, name))
    total = sum(getattr(event, name) for event in kernels) or 1.0
    return {event.key[:90]: round(getattr(event, name) / total, 4) for event in kernels[:14]}


def workers(bench: Bench) -> Figures:
    """The share of its time that training waits for batches, by processes that prepare them."""
    from clamp3.training.loading import make_loader, on_device

    for kind in PAIRS:
        ours = Ours(settings_of(bench, kind, attention_dropout=0.0))
        for n_workers in (2,) if bench.quick else (2, 8, 16):
            plan = [batch for epoch in range(4) for batch in ours.task.batches(epoch, 0, 1)]
            steps = 3 if bench.quick else 12
            loader = make_loader(ours.task, plan[: steps + 2], 0, workers=n_workers, pin=bench.on_gpu)
            waited, begun = 0.0, 0.0
            source = iter(loader)
            for at in range(steps + 2):
                if at == 2:  # by now the processes have started and the memory is there
                    bench.settle()
                    begun, waited = time.perf_counter(), 0.0
                asked = time.perf_counter()
                batch = next(source)
                waited += time.perf_counter() - asked
                ours.trainer.step([on_device(batch, bench.device)])
                bench.settle()  # the wait for the next batch is the loader's, not the device's
            seconds = time.perf_counter() - begun
            found = {"steps_per_sec": round(steps / seconds, 3), "share_waiting": round(waited / seconds, 4)}
            yield f"{kind}, {n_workers} workers", found
            del source, loader


# ---- extraction ------------------------------------------------------------------------------------------------------


def extraction(bench: Bench) -> Figures:
    """Inputs per second, ours and one at a time as the released code goes about it, both on the device."""
    from released_way import ReleasedWay

    n_scores, n_midi, n_texts = (6, 2, 8) if bench.quick else (2048, 64, 4096)
    notes = 100 if bench.quick else 1400
    work: dict[str, list[Any]] = {
        "scores": bench.scores([random.Random(at).randint(20, 60) for at in range(n_scores)]),
        "midi": bench.performances([notes] * n_midi),
        "texts": bench.texts(n_texts),
    }
    released = ReleasedWay(bench.weights, bench.data, device=bench.device)
    for name, items in work.items():
        few = items[: max(2, len(items) // 32)]
        one = partial(one_by_one, released, name, few)
        yield f"{name}, one at a time", {"per_sec": round(len(few) / bench.seconds(one, 2), 2)}
    del released
    bench.clear()
    for dtype in ("float32", "bfloat16"):
        model = bench.open(dtype)
        for name, items in work.items():
            bench.clear()
            found = {"per_sec": round(len(items) / bench.seconds(partial(model.encode, items), 2), 2)}
            yield f"{name}, {dtype}", found | {"memory_gb": bench.memory_gb()}
            modality = "text" if name == "texts" else "symbolic"
            yield from towers_alone(bench, f"{name}, {dtype}", model, modality, items)
        del model
    yield from mert_rates(bench)


def one_by_one(released: Any, name: str, items: list[Any]) -> None:
    """Encode inputs as the released code does."""
    for item in items:
        _ = released.words(item) if name == "texts" else released.music(item[0].decode())


def towers_alone(bench: Bench, name: str, model: Clamp3, modality: str, items: list[Any]) -> Figures:
    """Return the rate of the network alone, on sequences that are ready, by how many positions run together."""
    from clamp3.embedding.batching import Budget, run
    from clamp3.modalities import MODALITIES
    from clamp3.sources import source_of

    tower: Tower = model.load(modality)
    front_end = model.front_end(modality)
    sources = [source_of(item) for item in items]
    sequences = [
        MODALITIES[modality].prepare((source.open()[0], source.kind, source.name), front_end).values
        for source in sources
    ]
    positions = sum(map(len, sequences))
    rates = {}
    for most in (1024,) if bench.quick else (8192, 32768, 65536, 262144):
        try:
            bench.clear()
            together = partial(run, sequences, tower, budget=Budget(most, min(most, 8192)))
            seconds = bench.seconds(lambda work=together: list(work()), 2)  # type: ignore[misc]
            rates[str(most)] = {"per_sec": round(len(items) / seconds, 2), "memory_gb": bench.memory_gb()}
        except torch.cuda.OutOfMemoryError:
            rates[str(most)] = {"per_sec": 0.0, "memory_gb": None}
    yield f"{name}, network by positions together", {"mean_positions": round(positions / len(items), 1), **rates}


def mert_rates(bench: Bench) -> Figures:
    """Chunks of five seconds per second."""
    from transformers import HubertModel

    chunks = bench.chunks
    network: Any = HubertModel.from_pretrained(bench.folder / "mert_size", attn_implementation="eager")
    network = network.eval().to(bench.device)
    few = torch.from_numpy(chunks[: max(2, len(chunks) // 8)])
    seconds = bench.seconds(partial(chunk_by_chunk, network, few.to(bench.device)), 2)
    yield "mert, one at a time", {"per_sec": round(len(few) / seconds, 2)}
    del network
    ways = (("float32", False), ("bfloat16", False), ("bfloat16", True))
    for dtype, compile in ways if bench.on_gpu else ways[:2]:
        mert = bench.open_mert(dtype, compile=compile)  # type: ignore[arg-type]
        bench.clear()
        try:
            seconds = bench.seconds(partial(through_mert, mert, chunks), 2)
        except Exception as error:  # without a C compiler there is nothing to compile with
            yield f"mert, {dtype}, compiled", {"error": f"{type(error).__name__}: {error}"[:500]}
            continue
        name = f"mert, {dtype}{', compiled' if compile else ''}"
        yield name, {"per_sec": round(len(chunks) / seconds, 2), "memory_gb": bench.memory_gb()}


@torch.no_grad()
def chunk_by_chunk(network: Any, chunks: torch.Tensor) -> None:
    """Encode chunks as the released code does."""
    for chunk in chunks:
        hidden = network(chunk[None], output_hidden_states=True).hidden_states
        torch.stack(hidden).mean(dim=2)[:, 0].mean(dim=0).cpu()


# ---- a killed run ----------------------------------------------------------------------------------------------------


def resume(bench: Bench) -> Figures:
    """Kill a run in the middle, go on, and compare its losses with those of a run that was left alone."""
    script = ROOT / "code" / "train_clamp3_symbolic.py"
    command = [sys.executable, str(script), "--train_jsonl", str(bench.small_data / "train.jsonl")]
    command += ["--text_model", str(bench.small_data), "--text_from_scratch", "--eval_split", "0", "--batch_size", "8"]
    command += ["--width", "64", "--n_layers", "2", "--hidden_size", "64", "--warmup_steps", "0", "--log_every", "1"]
    command += ["--max_steps", "12", "--epochs", "1000", "--save_minutes", "0.0001", "--save_every", "0"]
    command += ["--pack", str(bench.folder / "pack_small")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "code"), os.environ.get("PYTHONPATH", "")])}

    def losses(out: Path) -> dict[int, float]:
        rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
        return {row["step"]: row["loss"] for row in rows if row["kind"] == "train"}

    def whole(out: Path, *more: str) -> None:
        done = subprocess.run(
            [*command, "--out", str(out), *more], env=environment, check=False, capture_output=True, text=True
        )
        if done.returncode:
            raise RuntimeError(done.stderr[-1000:])

    alone, broken = bench.folder / "run_alone", bench.folder / "run_broken"
    whole(alone)
    process = subprocess.Popen([*command, "--out", str(broken)], env=environment, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(OSError, ValueError):
                if max(losses(broken), default=0) >= 5 and (broken / "last.pt").is_file():
                    break
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    killed = max(losses(broken))
    whole(broken, "--resume", "auto")
    expected, found = losses(alone), losses(broken)
    apart = max(abs(found[step] - value) for step, value in expected.items())
    yield "killed_after_step", killed
    # Atomic sums on a GPU may end in another order, hence no bit equality.
    yield "losses", {"steps": len(found), "max_abs": apart, "ok": len(found) == len(expected) and apart <= 1e-3}


STEPS: dict[str, Callable[[Bench], Figures]] = {
    "prepare": prepare,
    "parity": parity,
    "training": training,
    "attention": attention,
    "extraction": extraction,
    "resume": resume,
    "workers": workers,
}
