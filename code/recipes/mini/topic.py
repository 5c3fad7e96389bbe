"""Find what tells questions about music from others in a model's vectors of texts, and how often that is wrong.

python code/recipes/mini/topic.py runs/mini2/export/mini.safetensors

topics.tsv has short texts about music and about anything else, those to learn from and others to test with. Learned is
a direction (a linear discriminant) and the place on it below which a text is about something else. Where that is good
enough, topic.json is written beside the weights, and a search says in a line if a question is below.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # `recipes` and `clamp3`, without installation

from clamp3.cli import parser_for, run
from clamp3.formats.tables import json_text, read_csv

KINDS = ("music", "other")
FALSE_ALARMS = 0.08  # share of the texts about music to learn from that lie below the least place
WORTH_IT, MOST_ALARMS = 0.8, 0.1  # shares of the texts to test with, without which nothing is said
SHRINKAGE = 0.3  # of the covariance, in its mean variance: texts are fewer than dimensions


def build_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = parser_for(__doc__)
    parser.add_argument("weights", type=Path, help="file of the weights, its tokenizer beside it")
    return parser


def texts_of(part: str, kind: str) -> list[str]:
    """Return the texts to ``learn`` from, or to ``test`` with: those about ``music``, or ``other`` ones.

    Parameters
    ----------
    part, kind : str
    """
    rows = read_csv(Path(__file__).with_name("topics.tsv"))
    return [row["text"] for row in rows if (row["part"], row["kind"]) == (part, kind)]


def discriminant(music: Any, other: Any) -> tuple[Any, float]:
    """Return a direction, and the place on it below which `FALSE_ALARMS` of the music lie, at most midway.

    Parameters
    ----------
    music, other : arrays, shapes (N, D) and (M, D)
        Unit vectors.
    """
    import numpy as np

    spread = np.cov(np.concatenate([music - music.mean(axis=0), other - other.mean(axis=0)]).T)
    spread += SHRINKAGE * np.trace(spread) / len(spread) * np.eye(len(spread))
    direction = np.linalg.solve(spread, music.mean(axis=0) - other.mean(axis=0))
    direction /= np.linalg.norm(direction)
    middle = (music.mean(axis=0) + other.mean(axis=0)) @ direction / 2
    return direction, min(float(np.quantile(music @ direction, FALSE_ALARMS)), float(middle))


def learned(encode: Callable[[Sequence[str]], Any]) -> dict[str, Any]:
    """Return direction, least place, and what share of the texts to test with is below it; nothing if it is no good.

    Parameters
    ----------
    encode : callable
        Returns unit vectors of texts.
    """
    import numpy as np

    direction, least = discriminant(*(encode(texts_of("learn", kind)) for kind in KINDS))
    alarms, found = (float(np.mean(encode(texts_of("test", kind)) @ direction < least)) for kind in KINDS)
    print(f"texts about something else: {found:.3f} found, {alarms:.3f} of those about music taken for one")
    if found < WORTH_IT or alarms > MOST_ALARMS:
        return {}
    return {"direction": [round(float(one), 5) for one in direction], "least": round(least, 5),
            "false_alarms": round(alarms, 3), "found": round(found, 3)}  # fmt: skip


def write_topic(weights: Path) -> None:
    """Write topic.json beside weights, if they tell the topics apart, else remove what is there."""
    from clamp3.embedding.clamp3 import Clamp3
    from clamp3.embedding.topic import NAME
    from clamp3.index.ranking import unit_rows
    from clamp3.jobs.atomic import write_text
    from clamp3.models.weights import describe
    from recipes.mini.evaluate import Vectors

    vectors = Vectors(Clamp3.from_pretrained(weights))
    topic = learned(lambda texts: unit_rows(vectors.texts(texts)))
    if topic:
        write_text(weights.with_name(NAME), json_text({"weights": describe(weights).identity, **topic}) + "\n")
    else:
        weights.with_name(NAME).unlink(missing_ok=True)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    write_topic(build_parser().parse_args(argv).weights)
    return 0


if __name__ == "__main__":
    raise SystemExit(run(main))
