"""What every script shares: a parser that shows its module's docstring, and errors as one sentence."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable

from clamp3.errors import Clamp3Error

EXIT_OK, EXIT_SOME_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 0, 1, 2, 130


def parser_for(doc: str | None) -> argparse.ArgumentParser:
    """Return a parser whose ``--help`` is the script's docstring, examples included."""
    return argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)


def run(main: Callable[[], int]) -> int:
    """Call ``main`` and turn what a user can act on into one sentence on stderr and an exit code.

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
    for chatty in ("httpx", "accelerate", "torch"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    try:
        return main()
    except Clamp3Error as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted: what was finished is kept; run the same command again to go on.", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK
    except OSError as error:
        print(f"error: {error.strerror or error} ({error.filename or 'no file named'}).", file=sys.stderr)
        return EXIT_SOME_FAILED
