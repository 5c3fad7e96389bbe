"""Settings of a training run: frozen, validated, one dataclass per script; `clamp3.training.flags` makes flags of them.

``code/config.py`` (plain released names) replaces the defaults, flags replace both, and the resolved
values go into every checkpoint. No torch here, so ``--help`` is quick.
"""

# ruff: noqa: RUF009 (_setting is dataclasses.field with a help text)
from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from clamp3.data.views import Pair, parse_pairs, towers_of, views
from clamp3.errors import ConfigError
from clamp3.models.config import AUDIO_FRONT_ENDS
from clamp3.training.options import AlignmentOptions, RunOptions
from clamp3.training.options import setting as _setting

SCHEDULES, PRECISIONS = ("constant", "cosine"), ("auto", "no", "bf16", "fp16")
TEXTS = ("clamp3", "clamp2")  # clamp3.data.text_sampling.SAMPLINGS
LOSSES = ("infonce", "cosine", "sigmoid")
BEST_BY = ("loss", "mrr")
PRESETS = ("none", "finetune")  # what they set: clamp3.training.presets


@dataclass(frozen=True)
class RunConfig(RunOptions):
    """What every run has. The fields' help texts are their documentation.

    A subclass says in ``task`` what makes its task, as ``module:function``; it is imported when the run starts.
    ``prefix`` is how names in ``code/config.py`` start that concern it alone, ``modality`` the music it aligns.
    """

    task: ClassVar[str]
    prefix: ClassVar[str] = ""
    modality: ClassVar[str] = ""

    out: Path = _setting(Path("runs/run"), "folder of the run: checkpoints, metrics.jsonl, best.safetensors")
    epochs: int = _setting(100, "passes over the data")
    batch_size: int = _setting(16, "pieces per process and step")
    learning_rate: float = _setting(1e-4, "rate after warm-up")
    warmup_steps: int = _setting(1000, "steps of linear warm-up; 0 acts as the released scripts did")
    schedule: str = _setting(
        "constant",
        "rate after warm-up; cosine falls to 0 at the last step, or at the end of --max_minutes",
        choices=SCHEDULES,
    )
    weight_decay: float = _setting(0.01, "AdamW's decoupled weight decay")
    max_grad_norm: float = _setting(0.0, "clip the gradient's norm; 0 = never (released)")
    max_steps: int = _setting(0, "stop after so many steps; 0 = after the epochs")
    max_minutes: float = _setting(0.0, "stop, evaluate and save after so many minutes of training; 0 = no limit")
    accumulate: int = _setting(
        1,
        "batches per step, their gradients averaged; a contrastive loss then still has only the negatives within each "
        "batch, which is not the gradient of a larger batch: --grad_cache_chunk gives that",
    )
    mixed_precision: str = _setting(
        "auto", "auto = bf16 on CUDA devices that have it, fp16 on others, no on CPU and MPS", choices=PRECISIONS
    )
    tf32: bool = _setting(False, "on CUDA: multiply float32 matrices in TensorFloat-32, faster and less exact")
    compile: bool = _setting(False, "compile every transformer layer (torch.compile); the first steps take a minute")
    seed: int = _setting(42, "of weights, order, crops, masks and dropout")
    eval_split: float = _setting(
        0.01, "share held out by hash of the id if no evaluation data are named", name="EVAL_SPLIT"
    )
    save_every: int = _setting(5, "keep the weights of every so many epochs; 0 = only last and best", name="SAVE_EVERY")
    keep_last: int = _setting(1, "checkpoints to keep: last.pt, and the ones before it as step_*.pt")
    save_minutes: float = _setting(10.0, "write last.pt at least every so many minutes; 0 = once an epoch")
    log_every: int = _setting(10, "steps between two rows of metrics.jsonl")
    max_bad: float = _setting(0.05, "stop if more than this share of the items cannot be read")
    workers: int = _setting(0, "processes that prepare batches; 0 = none")
    resume: str = _setting(
        "no", "auto = go on from OUT/last.pt if there is one; or a checkpoint file, also a .pth of the released scripts"
    )
    tensorboard: bool = _setting(False, "also log to OUT/tensorboard")
    wandb: bool = _setting(False, "also log to Weights & Biases (key only from WANDB_API_KEY)")
    init: tuple[str, ...] = _setting([], "weights to start from")
    eval_every: int = _setting(0, "evaluate, and keep the best, after every so many steps too; 0 = after epochs only")
    best_by: str = _setting(
        "loss",
        "what best.safetensors has: the lowest evaluation loss, or the highest mean of the MRRs",
        choices=BEST_BY,
    )
    eval_batch: int = _setting(
        0, "items among which evaluation computes a contrastive loss; 0 = as many as the run's first step compares"
    )
    patience: int = _setting(0, "stop after so many evaluations in a row without a better one; 0 = never")
    wait_minutes: float = _setting(
        10.0, "end the run if one of its processes keeps the others waiting for so long; indexing may take six hours"
    )
    wandb_project: str = _setting("clamp3", "project at Weights & Biases")

    def __post_init__(self) -> None:
        """Check every value once, naming the flag at fault.

        Raises
        ------
        ConfigError
            If a value is out of range or not one of the choices.
        """
        super().__post_init__()
        for name in ("epochs", "batch_size", "accumulate", "log_every", "keep_last"):
            self._need(getattr(self, name) >= 1, name, "at least 1")
        for name in ("warmup_steps", "max_steps", "max_minutes", "save_every", "save_minutes", "workers", "eval_every",
                     "eval_batch", "patience"):  # fmt: skip
            self._need(getattr(self, name) >= 0, name, "0 or more")
        for name in ("max_grad_norm", "weight_decay"):
            self._need(getattr(self, name) >= 0, name, "0 or more")
        self._need(self.learning_rate > 0, "learning_rate", "above 0")
        self._need(self.best_by in BEST_BY, "best_by", f"one of {', '.join(BEST_BY)}")
        self._need(self.wait_minutes > 0, "wait_minutes", "above 0")
        self._need(0 <= self.eval_split < 1, "eval_split", "in [0, 1)")
        self._need(0 <= self.max_bad <= 1, "max_bad", "in [0, 1]")
        self._need(self.schedule in SCHEDULES, "schedule", f"one of {', '.join(SCHEDULES)}")
        self._need(self.mixed_precision in PRECISIONS, "mixed_precision", f"one of {', '.join(PRECISIONS)}")


@dataclass(frozen=True)
class SymbolicTraining(RunConfig):
    """What runs with a symbolic tower have besides: its sizes."""

    width: int = _setting(768, "width of the symbolic encoder", name="M3_HIDDEN_SIZE")
    n_layers: int = _setting(12, "its layers", name="PATCH_NUM_LAYERS")
    n_heads: int = _setting(0, "its attention heads; 0 = width / 64")
    feed_forward: int = _setting(0, "its feed-forward width; 0 = 4 x width")
    dropout: float = _setting(0.1, "of all towers while training")
    attention_dropout: float = _setting(
        0.1, "of the attention weights; 0 lets torch take its fused kernels: a third less time on a CPU"
    )
    max_patches: int = _setting(
        512, "positions of a new symbolic encoder; one of --init has its own", name="PATCH_LENGTH"
    )
    patch_length: int = _setting(0, "crop of training and evaluation in patches; 0 = max_patches")

    def __post_init__(self) -> None:
        """Check the sizes too."""
        super().__post_init__()
        for name in ("width", "n_layers", "max_patches"):
            self._need(getattr(self, name) >= 1, name, "at least 1")
        for name in ("n_heads", "feed_forward", "patch_length"):
            self._need(getattr(self, name) >= 0, name, "0 or more")
        self._need(0 <= self.dropout < 1, "dropout", "in [0, 1)")
        self._need(0 <= self.attention_dropout < 1, "attention_dropout", "in [0, 1)")
        self._need(self.width % self.heads == 0, "n_heads", f"a divisor of width {self.width}")
        self._need(
            3 <= self.crop_length <= self.max_patches, "patch_length", f"from 3 to max_patches {self.max_patches}"
        )

    @property
    def heads(self) -> int:
        """Attention heads of the symbolic encoder."""
        return self.n_heads or max(1, self.width // 64)

    @property
    def inner_width(self) -> int:
        """Feed-forward width of the symbolic encoder."""
        return self.feed_forward or 4 * self.width

    @property
    def crop_length(self) -> int:
        """Patches a piece is cropped to."""
        return self.patch_length or self.max_patches


@dataclass(frozen=True)
class M3Training(SymbolicTraining):
    """M3 pre-training: rebuild hidden patches (arXiv 2410.13267)."""

    task: ClassVar[str] = "clamp3.training.m3_task:make_m3_task"
    prefix: ClassVar[str] = "M3"

    out: Path = _setting(Path("runs/m3"), "folder of the run: checkpoints, metrics.jsonl, best.safetensors")
    data: tuple[Path, ...] = _setting(
        [], "folders or files of interleaved .abc and .mtf", name="M3_TRAIN_FOLDERS TRAIN_FOLDERS"
    )
    eval_data: tuple[Path, ...] = _setting(
        [], "evaluation folders; without any, eval_split acts", name="M3_EVAL_FOLDERS EVAL_FOLDERS"
    )
    pack: Path | None = _setting(None, "folder for the packed patches, reused by later runs (default: OUT/pack)")
    epochs: int = _setting(100, "passes over the data", name="M3_NUM_EPOCH")
    learning_rate: float = _setting(1e-4, "rate after warm-up", name="M3_LEARNING_RATE")
    batch_size: int = _setting(16, "pieces per process and step", name="M3_BATCH_SIZE")
    mask_ratio: float = _setting(0.45, "share of the patches that is selected", name="M3_MASK_RATIO")
    decoder_layers: int = _setting(3, "layers of the character decoder", name="TOKEN_NUM_LAYERS")
    decode_limit: int = _setting(
        0, "decode at most so many of a piece's selected patches, drawn anew each step; 0 = all"
    )
    init: tuple[str, ...] = _setting([], "weights to start from: an M3 name or file")

    def __post_init__(self) -> None:
        """Check the fields of M3 too."""
        super().__post_init__()
        self._need(self.best_by == "loss", "best_by", "loss, as M3 is not ranked")
        self._need(0 < self.mask_ratio <= 1, "mask_ratio", "in (0, 1]")
        self._need(self.decoder_layers >= 1, "decoder_layers", "at least 1")
        self._need(self.decode_limit >= 0, "decode_limit", "0 or more")


@dataclass(frozen=True)
class Clamp3Training(AlignmentOptions, SymbolicTraining):
    """Alignment of text and music (arXiv 2502.10362); by default music is scores and performances.

    The files of ``init`` decide the family of the model; CLaMP 3 without them.
    """

    task: ClassVar[str] = "clamp3.training.alignment:make_alignment_task"
    prefix: ClassVar[str] = "CLAMP3"
    modality: ClassVar[str] = "symbolic"
    loss_of_weights: ClassVar[bool] = True  # a file of --init brings the loss its vectors were compared by

    out: Path = _setting(
        Path("runs/clamp3_symbolic"), "folder of the run: checkpoints, metrics.jsonl, best.safetensors"
    )
    train_jsonl: Path | None = _setting(
        None, "one object per piece; filepaths relative to it", name="CLAMP3_TRAIN_JSONL TRAIN_JSONL"
    )
    eval_jsonl: Path | None = _setting(
        None, "evaluation pieces; without it, eval_split acts", name="CLAMP3_EVAL_JSONL EVAL_JSONL"
    )
    pairs: tuple[str, ...] = _setting(
        [], "compare these, not just text and one kind of music: text-abc text-mtf text-audio abc-mtf symbolic-audio"
    )
    shards: Path | None = _setting(
        None, "folder of .tar files (WebDataset) that hold what filepaths name, in place of files beside the JSONL"
    )
    pack: Path | None = _setting(None, "folder for packed patches and indices, for later runs too (default: OUT/pack)")
    epochs: int = _setting(100, "passes over the data", name="CLAMP3_NUM_EPOCH")
    batch_size: int = _setting(128, "pieces per process and step", name="CLAMP3_BATCH_SIZE")
    learning_rate: float = _setting(5e-5, "rate after warm-up", name="CLAMP3_LEARNING_RATE")
    hidden_size: int = _setting(768, "width of the joint space", name="CLAMP3_HIDDEN_SIZE")
    text_model: str = _setting(
        "FacebookAI/xlm-roberta-base",
        "name or folder: tokenizer, config.json, weights; left as it is, the tokenizer that --init names counts",
        name="TEXT_MODEL_NAME",
    )
    text_length: int = _setting(128, "tokens a text is cropped to", name="MAX_TEXT_LENGTH")
    text_from_scratch: bool = _setting(False, "allow a text tower without weights: start it at random")
    texts: str = _setting(
        "clamp3", "texts of a record: fields and translations, or CLaMP 2's metadata and summaries", choices=TEXTS
    )
    text_dropout: bool = _setting(True, "draw fields and lines; no = the evaluation text, always", name="TEXT_DROPOUT")
    line_keep: float = _setting(0.5, "probability that a line of the drawn text stays")
    instrument_removal: float = _setting(0.9, "probability that a training piece loses its instruments")
    front_end: str = _setting(
        "mert",
        "of a new audio tower: MERT vectors, or log-mel chunks and a small network",
        choices=AUDIO_FRONT_ENDS,
    )
    audio_width: int = _setting(768, "width of a new audio tower", name="AUDIO_HIDDEN_SIZE")
    audio_layers: int = _setting(12, "its layers", name="AUDIO_NUM_LAYERS")
    audio_heads: int = _setting(0, "its attention heads; 0 = width / 64")
    audio_feed_forward: int = _setting(0, "its feed-forward width; 0 = 4 x width")
    audio_channels: int = _setting(192, "width of the convolutions of a mel front end")
    audio_length: int = _setting(128, "vectors a new audio tower crops a recording to", name="MAX_AUDIO_LENGTH")
    freeze_text: bool = _setting(
        False, "do not train the text tower (it also stays without dropout)", name="FREEZE_TEXT"
    )
    freeze_symbolic: bool = _setting(False, "do not train the symbolic tower")
    freeze_audio: bool = _setting(False, "do not train the audio tower")
    loss: str = _setting(
        "infonce",
        "infonce = as published, raw dot products; cosine = of length 1 with a learned scale up to 100 (CLIP, arXiv "
        "2103.00020); sigmoid = a binary loss for every combination, learned scale and bias (SigLIP, arXiv 2303.15343)",
        choices=LOSSES,
    )
    logit_scale: float = _setting(1.0, "constant factor on the dot products of infonce", name="LOGIT_SCALE")
    grad_cache_chunk: int = _setting(
        0, "embed so many pieces at a time, twice: the gradient of the whole batch in the memory of these; 0 = all"
    )
    standardise: bool = _setting(
        False, "compare vectors standardised over the batch, by cosine: for towers that start at random (no = released)"
    )
    init: tuple[str, ...] = _setting([], "weights to start from, in order: M3, CLaMP 2 and CLaMP 3 names or files")
    lora_towers: tuple[str, ...] = _setting(
        [], "towers (text symbolic audio) that train only low-rank adapters, merged into plain weights at export"
    )
    lora_rank: int = _setting(8, "rank of the adapters")
    lora_alpha: int = _setting(16, "their product is scaled by this over the rank")
    preset: str = _setting(
        "none",
        "finetune = for 50 to 5,000 pieces of your own, from --init: a small rate with a short warm-up, a share for "
        "evaluation, and an end when its MRR no longer rises; flags count before it",
        choices=PRESETS,
    )
    sub_batches: int = _setting(
        4, "length-sorted parts a batch is encoded in; the result is the same, padding is saved"
    )

    def __post_init__(self) -> None:
        """Check the fields of CLaMP 3 too."""
        super().__post_init__()
        for name in ("hidden_size", "text_length", "sub_batches", "audio_width", "audio_layers", "audio_channels"):
            self._need(getattr(self, name) >= 1, name, "at least 1")
        for name in ("audio_heads", "audio_feed_forward"):
            self._need(getattr(self, name) >= 0, name, "0 or more")
        for name in ("line_keep", "instrument_removal"):
            self._need(0 <= getattr(self, name) <= 1, name, "in [0, 1]")
        self._need(self.audio_length >= 3, "audio_length", "at least 3")
        self._need(self.texts in TEXTS, "texts", f"one of {', '.join(TEXTS)}")
        self._need(self.front_end in AUDIO_FRONT_ENDS, "front_end", f"one of {', '.join(AUDIO_FRONT_ENDS)}")
        self._need(self.logit_scale > 0, "logit_scale", "above 0")
        self._need(self.loss in LOSSES, "loss", f"one of {', '.join(LOSSES)}")
        self._need(self.preset in PRESETS, "preset", f"one of {', '.join(PRESETS)}")
        self._need(not (self.distill and self.standardise), "distill", "0 with --standardise, which moves all vectors")
        self._need(self.grad_cache_chunk >= 0, "grad_cache_chunk", "0 or more")
        for name in ("lora_rank", "lora_alpha"):
            self._need(getattr(self, name) >= 1, name, "at least 1")
        used = towers_of(self.compared)
        trained = [tower for tower in used if tower not in self.frozen]
        for name in ("lora_towers", "tower_rates", "train_layers"):
            for tower in (value.partition("=")[0] for value in getattr(self, name)):
                if tower not in trained:
                    raise ConfigError(f"--{name} {tower}: the towers that train are {', '.join(trained)}.")
        if both := {*self.lora_towers} & {*self.last_layers}:
            raise ConfigError(f"--train_layers {both.pop()}: --lora_towers trains adapters in it, and nothing else.")
        if not trained:
            raise ConfigError(f"--freeze_{used[-1]} must be off: every tower of the run would be frozen.")

    @property
    def compared(self) -> tuple[Pair, ...]:
        """The pairs of views in the loss: ``--pairs``, or text and this script's music."""
        return parse_pairs(self.pairs) or (("text", self.modality),)

    @property
    def frozen(self) -> tuple[str, ...]:
        """Towers that are not trained: by flag, or because nothing compares them."""
        used, known = towers_of(self.compared), dict.fromkeys(view.tower for view in views().values())
        return tuple(t for t in known if t not in used or getattr(self, f"freeze_{t}", False))


@dataclass(frozen=True)
class AudioTraining(Clamp3Training):
    """Alignment of text and audio features."""

    modality: ClassVar[str] = "audio"

    out: Path = _setting(Path("runs/clamp3_audio"), "folder of the run: checkpoints, metrics.jsonl, best.safetensors")
    batch_size: int = _setting(256, "pieces per process and step", name="CLAMP3_AUDIO_BATCH_SIZE CLAMP3_BATCH_SIZE")
    learning_rate: float = _setting(1e-5, "rate after warm-up", name="CLAMP3_AUDIO_LEARNING_RATE CLAMP3_LEARNING_RATE")


@dataclass(frozen=True)
class Clamp2Training(Clamp3Training):
    """CLaMP 2's alignment of text and symbolic music (arXiv 2410.13267): the same model and loss, other texts."""

    prefix: ClassVar[str] = "CLAMP2"

    out: Path = _setting(Path("runs/clamp2"), "folder of the run: checkpoints, metrics.jsonl, best.safetensors")
    train_jsonl: Path | None = _setting(
        None, "one object per piece; filepaths relative to it", name="CLAMP2_TRAIN_JSONL TRAIN_JSONL"
    )
    eval_jsonl: Path | None = _setting(
        None, "evaluation pieces; without it, eval_split acts", name="CLAMP2_EVAL_JSONL EVAL_JSONL"
    )
    epochs: int = _setting(100, "passes over the data", name="CLAMP2_NUM_EPOCH")
    batch_size: int = _setting(128, "pieces per process and step", name="CLAMP2_BATCH_SIZE")
    learning_rate: float = _setting(5e-5, "rate after warm-up", name="CLAMP2_LEARNING_RATE")
    hidden_size: int = _setting(768, "width of the joint space", name="CLAMP2_HIDDEN_SIZE CLAMP3_HIDDEN_SIZE")
    texts: str = _setting(
        "clamp2", "texts of a record: metadata and summaries, or CLaMP 3's fields and translations", choices=TEXTS
    )


def to_plain(config: RunConfig) -> dict[str, Any]:
    """Return the configuration as JSON-ready values, for checkpoints and metrics."""
    plain: dict[str, Any] = {}
    for name, value in dataclasses.asdict(config).items():
        if isinstance(value, tuple):
            plain[name] = [str(part) for part in value]
        else:
            plain[name] = str(value) if isinstance(value, Path) else value
    return plain
