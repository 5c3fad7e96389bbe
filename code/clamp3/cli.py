"""What every script shares: a parser that shows its module's docstring, and errors as one sentence."""

from __future__ import annotations

import argparse
import codecs
import contextlib
import io
import json
import logging
import os
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from clamp3.errors import (
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_SOME_FAILED,
    EXIT_USAGE,
    Clamp3Error,
    printable,
    sentence_of,
)
from clamp3.jobs.walk import existing

if TYPE_CHECKING:
    from clamp3.embedding.clamp3 import Clamp3
    from clamp3.jobs.cache import VectorCache

_REPLY = "TORCHELASTIC_ERROR_FILE"  # set by torchrun, torch.distributed.launch, accelerate launch


class Parser(argparse.ArgumentParser):
    """A parser whose complaint comes once, also where a launcher has started several processes."""

    def error(self, message: str) -> NoReturn:
        """Complain and end with the exit code of wrong usage."""
        if _speaks():
            self.print_usage(sys.stderr)
        complain(f"{self.prog}: error: {message}")
        raise SystemExit(EXIT_USAGE)


def parser_for(doc: str | None) -> argparse.ArgumentParser:
    """Return a parser whose ``--help`` is the script's docstring, examples included."""
    return Parser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)


def _speaks() -> bool:
    """Return whether this process prints its errors: the first of those that a launcher has started here."""
    return _REPLY not in os.environ or os.environ.get("LOCAL_RANK", "0") == "0"


def complain(line: str) -> None:
    """Print why the script ends: at once, and below ``torchrun`` and its kin also as the last line of their report.

    They report a process that has failed in forty lines of their own, of which the last is what the process left in a
    file that an environment variable names. So the processes after the first need not say the same again.
    """
    if path := os.environ.get(_REPLY):
        extra = {"py_callstack": line, "timestamp": str(int(time.time()))}
        with contextlib.suppress(OSError):
            Path(path).write_text(json.dumps({"message": {"message": line, "extraInfo": extra}}), encoding="utf-8")
    if _speaks():
        print(line, file=sys.stderr)


def add_extract_flags(parser: argparse.ArgumentParser, model: str | None, *, published: str, choices: str) -> None:
    """Add the flags that the extraction scripts share; `clamp3.embedding.extract.run_extract` takes them parsed.

    Parameters
    ----------
    parser : ArgumentParser
    model : str or None
        Weights that count without ``--model``; None lets config.py or a training name them.
    published : str
        Weights that count where neither ``--model`` nor a training names any.
    choices : str
        Values of ``--model``, for ``--help``.
    """
    parser.add_argument("input_dir", type=existing, help="folder to read, recursively, or a single file")
    parser.add_argument("output_dir", type=Path, help="folder to write the same tree to")
    parser.add_argument("--get_global", action="store_true", help="one vector per file in place of hidden states")
    default = model or f"what config.py names, else the newest training below runs/, else {published}"
    parser.add_argument("--model", default=model, help=f"{choices} (default: {default})")
    parser.add_argument("--epoch", type=int, help="checkpoint of this epoch in place of the best one")
    parser.add_argument("--as_is", action="store_true", help="encode standard ABC as written, as released")
    add_correct_flag(parser)
    parser.add_argument("--batch_size", type=int, help="most windows encoded together (default: by their length)")
    parser.add_argument("--dtype", choices=("auto", "float32", "bfloat16"), default="auto", help="auto is float32")
    parser.add_argument("--device", help="cpu, cuda, cuda:1, mps … (default: a GPU if there is one)")
    parser.add_argument("--n_workers", type=int, help="processes for conversions (default: one per usable core)")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")


def add_correct_flag(parser: argparse.ArgumentParser) -> None:
    """Add the flag that mends what the released converters of scores get wrong in silence."""
    said = "mend keys inside bars, unprinted notes, quarter-tones, open grace notes, accidentals of scores"
    parser.add_argument("--correct", action="store_true", help=said)


def add_result_flags(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add the flags of a search's output; `clamp3.index.render.show` takes them parsed."""
    parser.add_argument("--top_k", type=int, default=10, help="how many results (default: %(default)s)")
    form = "table, tsv (name, score, position with --passages, title if any has one) or json (default: see above)"
    parser.add_argument("--format", choices=("table", "tsv", "json"), help=form)
    parser.add_argument("--json", action="store_const", const="json", dest="format", help="the same as --format json")
    parser.add_argument("--strict", action="store_true", help="exit code 1 if a file had to be left out")
    return parser


def add_model_flags(parser: argparse.ArgumentParser, default: str | None = "mini") -> argparse.ArgumentParser:
    """Add the flags that select the model for raw files; `open_model` takes them parsed.

    Parameters
    ----------
    parser : ArgumentParser
    default : str or None
        Weights that count without ``--model``; None leaves them to the index.
    """
    otherwise = f"{default}; of extraction: saas" if default else "the index's own, of a new one mini"
    model = f"mini, saas, c2, a checkpoint or exported folder (default: {otherwise})"
    parser.add_argument("--model", default=default, help=model)
    backend = "what computes (default: onnx for a folder of clamp3 export, torch for weights)"
    parser.add_argument("--backend", choices=("torch", "onnx"), help=backend)
    parser.add_argument("--text_model", help="folder or name of the text tower's tokenizer, if not the model's own")
    parser.add_argument("--mert_model", help="folder or name of MERT for recordings (default: m-a-p/MERT-v1-95M)")
    dtypes = ("auto", "float32", "bfloat16", "int8")
    parser.add_argument("--dtype", choices=dtypes, default="auto", help="auto is float32; int8 is for onnx")
    add_correct_flag(parser)
    parser.add_argument("--device", help="cpu, cuda, cuda:1, mps … (default: a GPU if there is one)")
    parser.add_argument("--no_cache", action="store_true", help="neither use nor keep vectors of earlier runs")
    return parser


def open_model(args: argparse.Namespace, cache: VectorCache | None = None) -> Clamp3:
    """Open the model that the flags of `add_model_flags` select.

    Parameters
    ----------
    args : Namespace
    cache : VectorCache, optional
        In place of that of all commands, which ``--no_cache`` leaves out.
    """
    from clamp3.embedding.clamp3 import Clamp3
    from clamp3.jobs.cache import VectorCache

    if cache is None and not args.no_cache:
        cache = VectorCache(None)
    return Clamp3.from_pretrained(
        args.model,
        text_model=args.text_model,
        mert_model=args.mert_model,
        dtype=args.dtype,
        device=args.device,
        cache=cache,
        correct=args.correct,
        backend=args.backend,
    )


def _print_anything() -> None:
    """Write characters that the encoding of the terminal or pipe lacks as JSON escapes, in place of a traceback."""

    def escaped(error: UnicodeError) -> tuple[str, int]:
        if not isinstance(error, UnicodeEncodeError):
            raise error
        return json.dumps(error.object[error.start : error.end])[1:-1], error.end

    codecs.register_error("clamp3", escaped)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # not what tests and notebooks put there
            stream.reconfigure(errors="clamp3")


def run(main: Callable[[], int]) -> int:
    """Call ``main``; print errors that a user can act on as one sentence on stderr, and return an exit code.

    Parameters
    ----------
    main : callable
        A script's ``main``; its return value is the exit code.

    Returns
    -------
    int
        0 all done, 1 some inputs failed, 2 wrong usage or missing weights, 130 interrupted.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    _print_anything()
    warnings.formatwarning = lambda message, *_, **__: f"warning: {sentence_of(message, 500)}\n"
    for chatty in ("httpx", "httpx2", "accelerate", "torch", "matplotlib"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    try:
        return main()
    except Clamp3Error as error:
        complain(f"error: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted: what was finished is kept; run the same command again to go on.", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK
    except OSError as error:
        complain(f"error: {error.strerror or error} ({printable(error.filename or 'no file named')}).")
        return EXIT_SOME_FAILED
