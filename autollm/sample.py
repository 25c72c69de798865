"""Dreaming new words from a trained model: `python -m autollm.sample MODEL`."""

from __future__ import annotations

import argparse
import functools
import unicodedata

import numpy as np

from autollm import cli
from autollm.learning.sampling import dream


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that `train` and `sample` share."""
    parser.add_argument(
        "--prefix",
        type=functools.partial(unicodedata.normalize, "NFC"),  # as words are read
        default="",
        metavar="TEXT",
        help="how every word begins",
    )
    parser.add_argument(
        "--temperature",
        type=cli.positive_float,
        default=1.0,
        metavar="T",
        help="below 1: likelier words; above 1: stranger ones (default: %(default)s)",
    )


def build_parser() -> argparse.ArgumentParser:
    parser = cli.Parser(
        prog="autollm sample",
        description="Dream more words from a model that `autollm train --save MODEL` has saved.",
        epilog="example:  autollm sample names.safetensors -n 20 --prefix ma --temperature 0.8",
    )
    parser.add_argument("model", metavar="MODEL", help="a saved model")
    parser.add_argument(
        "-n", type=cli.whole(1, 10**6), default=20, metavar="N", help="how many words (default: %(default)s)"
    )
    add_options(parser)
    parser.add_argument(
        "--top-k",
        type=cli.whole(0, 10**6),
        default=0,
        metavar="K",
        help="choose among the K likeliest letters only; 0: among all (default: %(default)s)",
    )
    parser.add_argument(
        "--seed", type=cli.whole(0, 2**63), default=0, help="another seed, other words (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def main(argv: list[str] | None = None) -> int:
    from autollm.learning import checkpoint

    options = build_parser().parse_args(argv)
    saved = checkpoint.load(options.model)
    words = dream(
        saved.model,
        saved.alphabet,
        saved.config.context,
        options.n,
        np.random.Generator(np.random.PCG64(options.seed)),
        temperature=options.temperature,
        prefix=options.prefix,
        top_k=options.top_k,
        longest=saved.longest,
    )
    if options.json:
        cli.print_json({"samples": words, "config": vars(options)})
    else:
        print("\n".join(words))
    return 0


if __name__ == "__main__":
    cli.end(main)
