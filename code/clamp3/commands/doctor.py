"""Look at what this computer has for CLaMP 3, and say what to do about what is not well.

    python code/doctor.py
    python code/doctor.py --model saas --json

Versions, device, instruction set, weights (every tensor), tokenizer, how far apart the vectors of sentences are, each
decoder with a tone, disk and cache (which clamp3 cache clears). A line per finding: ok, warning or error, and what to
do. The exit code is 1 if any is an error.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict

from clamp3.cli import EXIT_OK, EXIT_SOME_FAILED
from clamp3.formats.tables import json_text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument("--model", default="mini", help="weights to look at (default: %(default)s)")
    parser.add_argument("--clear_cache", action="store_true", help="the same as clamp3 cache clear --yes")
    parser.add_argument("--json", action="store_true", help="print a JSON array")


def main(args: argparse.Namespace) -> int:
    """Carry it out; return the exit code."""
    from clamp3.doctor import examine
    from clamp3.jobs.cached import clear

    if args.clear_cache:
        print(f"removed {clear()['vectors']} vectors")
        return EXIT_OK
    findings = []
    for finding in examine(args.model):
        findings.append(finding)
        if not args.json:
            advice = f"\n{'':9}{finding.advice}" if finding.advice else ""
            print(f"{finding.state:8} {finding.check}: {finding.found}{advice}", flush=True)
    if args.json:
        print(json_text([asdict(finding) for finding in findings], indent=2))
    return EXIT_SOME_FAILED if any(finding.state == "error" for finding in findings) else EXIT_OK
