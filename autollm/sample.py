"""Dreaming new words from a trained model: `python -m autollm.sample MODEL`."""

from __future__ import annotations

import argparse

import numpy as np

from autollm import cli, options
from autollm.interrupts import interrupts
from autollm.learning import checkpoint
from autollm.learning.sampling import dream, dream_wanted
from autollm.learning.words import read_words
from autollm.remarks import Remarks


def build_parser() -> argparse.ArgumentParser:
    parser = cli.Parser(
        prog="autollm sample",
        description="Dream more words from a model that `autollm train --save MODEL` has saved.",
        epilog="example:  autollm sample names.safetensors -n 20 --prefix ma --temperature 0.8",
    )
    option = parser.add_argument
    option("model", metavar="MODEL", help="a saved model")
    option("-n", type=cli.whole(1, 10**6), default=20, metavar="N", help="how many words" + options.DEFAULT)
    options.add_dreaming(parser)
    option("--not-in", metavar="FILE", help="none of the words in this list, and none twice")
    option(
        "--top-k",
        type=cli.whole(0, 10**6),
        default=0,
        metavar="K",
        help="choose among the K likeliest letters only; 0: among all" + options.DEFAULT,
    )
    options.add_seed(parser, "another seed, other words")
    option("--json", action="store_true", help="print one JSON object")
    return parser


def main(argv: list[str] | None = None) -> int:
    given = build_parser().parse_args(argv)
    tell = Remarks(quiet=False)
    saved = checkpoint.load(given.model)
    old = None if given.not_in is None else read_words(given.not_in, skip_bad_lines=True).distinct
    wanted = options.wanted_of(given, saved.alphabet, old)
    random = np.random.Generator(np.random.PCG64(given.seed))

    def dream_some(count: int) -> list[str]:
        return dream(
            saved.model,
            saved.alphabet,
            saved.config.context,
            count,
            random,
            temperature=given.temperature,
            prefix=given.prefix,
            top_k=given.top_k,
            longest=saved.longest,
        )

    words = dream_wanted(dream_some, given.n, wanted)
    if given.json:
        cli.print_json({"samples": words, "config": vars(given)})
    elif words:
        print("\n".join(words))
    options.tell_of_few(tell, words, given.n)
    return interrupts.status


if __name__ == "__main__":
    cli.end(main)
