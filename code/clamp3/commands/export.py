"""Write towers for use elsewhere: as ONNX files, or slim safetensors without optimizer state.

    clamp3 export exported/                                        # mini, ONNX, float32
    clamp3 export exported/ --quantize int8 --tower text           # a quarter of the size
    clamp3 export exported/ --model saas --inputs my_scores/       # compared on inputs of your own
    clamp3 export exported/ --push_to_hub me/my-clamp --card_only  # a model card; without --card_only also an upload
    clamp3 export slim/ --to safetensors --model saas.pth          # towers alone, every tensor compared

ONNX: one file per tower, of any batch and length (opset 20), the tokenizer, and clamp3_onnx.json with names and types
of inputs, window, padding and pooling. Afterwards the files are compared with the weights they come from: parity.json
has the least and mean cosine of every tower, and with --records what retrieval loses. An int8 export whose cosines miss
the goal is kept, and the exit code is 1. --backend onnx of other commands runs such a folder.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from clamp3.cli import EXIT_OK, EXIT_SOME_FAILED
from clamp3.jobs.walk import existing


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument("out_dir", type=Path, help="folder to write, absent or empty")
    parser.add_argument("--to", choices=("onnx", "safetensors"), default="onnx", help="form (default: %(default)s)")
    parser.add_argument("--model", default="mini", help="mini, saas, c2, m3 or a checkpoint (default: %(default)s)")
    said = "text, symbolic or audio; several with commas (default: all)"
    parser.add_argument("--tower", type=lambda names: names.split(","), default=[], metavar="NAMES", help=said)
    parser.add_argument("--quantize", choices=("int8",), help="weights of 8 bits, for --to onnx")
    parser.add_argument("--reduce_range", action="store_true", help="of 7 bits: for x86 processors without VNNI")
    parser.add_argument("--text_model", help="folder or name of the text tower's tokenizer, if not the model's own")
    parser.add_argument("--mert_model", help="folder or name of MERT, to compare audio towers that need it")
    parser.add_argument("--epoch", type=int, help="checkpoint of this epoch in place of the best one")
    parser.add_argument(
        "--inputs", type=existing, metavar="DIR", help="folder of files to compare on (default: our own)"
    )
    parser.add_argument(
        "--records", type=existing, metavar="JSONL", help="training records, to measure the loss in MRR"
    )
    parser.add_argument("--no_parity", action="store_true", help="do not compare")
    parser.add_argument("--push_to_hub", metavar="REPO", help="write a model card, and upload to owner/name")
    parser.add_argument("--card_only", action="store_true", help="write the card, upload nothing")
    parser.add_argument("--private", action="store_true", help="make a new repository private")
    parser.add_argument("--licence", help="for the card, such as mit (default: that of published weights)")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier export in the folder")


def main(args: argparse.Namespace) -> int:
    """Carry it out; return the exit code."""
    from clamp3.errors import ConfigError
    from clamp3.models.registry import is_hub_name

    if args.to == "safetensors" and (args.quantize or args.inputs or args.records):
        raise ConfigError("--quantize, --inputs and --records are for --to onnx.")
    if args.reduce_range and not args.quantize:
        raise ConfigError("--reduce_range is for --quantize int8.")
    if (args.card_only or args.private or args.licence) and not args.push_to_hub:
        raise ConfigError("--card_only, --private and --licence are for --push_to_hub REPO.")
    if args.push_to_hub and not is_hub_name(args.push_to_hub):
        raise ConfigError(f"--push_to_hub {args.push_to_hub}: name the repository as owner/name.")
    code = _slim(args) if args.to == "safetensors" else _onnx(args)
    if args.push_to_hub and code == EXIT_OK:
        from clamp3.export.card import push, write_card

        print(write_card(args.out_dir, args.push_to_hub, licence=args.licence))
        if not args.card_only:
            print(push(args.out_dir, args.push_to_hub, private=args.private))
    return code


def _slim(args: argparse.Namespace) -> int:
    from clamp3.models.slim import NAME, write_slim

    slim = write_slim(
        args.model,
        args.out_dir,
        towers=args.tower,
        text_model=args.text_model,
        epoch=args.epoch,
        overwrite=args.overwrite,
    )
    before, after = (f"{size / 1e6:,.1f} MB" for size in (slim.bytes_before, slim.bytes_after))
    print(f"{args.out_dir / NAME}: {', '.join(slim.towers)} of {slim.weights}, {before} before, {after} now")
    print(
        f"{slim.tensors} tensors, each equal to that of the checkpoint, bit for bit; --model {args.out_dir} takes them"
    )
    return EXIT_OK


def _onnx(args: argparse.Namespace) -> int:
    from clamp3.export import parity
    from clamp3.formats.tables import json_text
    from clamp3.jobs.atomic import write_text
    from clamp3.models.onnx_folder import export
    from clamp3.models.onnx_graph import Int8, require_packages

    require_packages()
    shared = {"text_model": args.text_model, "epoch": args.epoch}
    int8 = Int8(reduce_range=args.reduce_range) if args.quantize else None
    exported = export(args.model, args.out_dir, towers=args.tower, int8=int8, overwrite=args.overwrite, **shared)
    (args.out_dir / parity.NAME).unlink(missing_ok=True)  # of an earlier export
    for tower in exported.towers.values():
        size = (args.out_dir / tower.file).stat().st_size
        shape = ", ".join(map(str, tower.shape))
        print(f"{tower.file:14} {size / 1e6:9,.1f} MB  {tower.input} {tower.type} ({shape}), at most {tower.window}")
    print(f'in this library: --model {args.out_dir}, or Clamp3.from_pretrained("{args.out_dir}")')
    if args.no_parity:
        return EXIT_OK
    compared = parity.Comparison(args.model, args.out_dir, mert_model=args.mert_model, **shared)
    report = parity.measure(compared, inputs=args.inputs, records=args.records)
    write_text(args.out_dir / parity.NAME, json_text(report, indent=1) + "\n")
    print(parity.table(report))
    return EXIT_OK if all(found.get("reached", True) for found in report["towers"].values()) else EXIT_SOME_FAILED
