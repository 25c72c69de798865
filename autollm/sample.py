"""Dreaming new words from a trained model: `python -m autollm.sample MODEL`."""

from __future__ import annotations

import argparse
import functools
import json
import math
import sys
import unicodedata

import numpy as np

from autollm import cli
from autollm.buffers import Array
from autollm.dataset import END, Alphabet
from autollm.errors import InputError
from autollm.kernels.sampling import choose
from autollm.models import Model, reads_words
from autollm.primitives import Ids

AT_ONCE = 4096  # words dreamed together: more would need memory, and gain no speed


def dream(
    model: Model,
    alphabet: Alphabet,
    context: int,
    count: int,
    rng: np.random.Generator,
    *,
    temperature: float = 1.0,
    prefix: str = "",
    top_k: int = 0,
    max_letters: int = 64,
) -> list[str]:
    """Invent `count` words, many at once, one letter at a time.

    `temperature` > 0 divides the logits (small: the likeliest letters only; large: anything goes).
    `top_k` > 0 allows only the k likeliest letters. Words begin with `prefix`, have at least one
    letter, and are cut off at `max_letters`. Raises InputError for a letter not in the alphabet, a
    temperature that is none, or a model whose scores are no numbers.
    """
    if not 0 < temperature < math.inf:
        raise InputError(f"the temperature must be a finite number above 0, not {temperature}")
    if count > AT_ONCE:
        more = functools.partial(
            dream, temperature=temperature, prefix=prefix, top_k=top_k, max_letters=max_letters
        )
        parts = (min(AT_ONCE, count - done) for done in range(0, count, AT_ONCE))
        return [word for n in parts for word in more(model, alphabet, context, n, rng)]
    start = alphabet.encode(prefix)[:max_letters]
    # `context` columns of END come before a word, and one closes it.
    tokens = np.full((count, context + max_letters + 1), END, np.int32)
    words = tokens[:, context:]
    words[:, : len(start)] = start
    chosen = np.empty(count, np.int32)
    alive = np.ones(count, bool)
    for place in range(len(start), max_letters):
        logits = _scores(model, tokens[:, : context + place], context)
        if place == 0:
            logits[:, END] = -np.inf
        keep_likeliest(logits, top_k)
        if not np.isfinite(logits.max(axis=1)).all():
            raise InputError("the model's scores are NaN or infinite: its parameters are too large")
        choose(logits, rng.random(count), temperature, chosen)
        alive &= chosen != END
        if not alive.any():
            break
        words[alive, place] = chosen[alive]
    lengths = (words == END).argmax(axis=1)
    return [alphabet.decode(word[:length]) for word, length in zip(words.tolist(), lengths, strict=True)]


def keep_likeliest(logits: Array, top_k: int) -> None:
    """Put -inf in place of all but the `top_k` highest of every row (B, V), and their equals; 0: keep all."""
    if 0 < top_k < logits.shape[1]:
        least = np.partition(logits, -top_k, axis=1)[:, -top_k, None]
        logits[logits < least] = -np.inf


def _scores(model: Model, tokens: Ids, context: int) -> Array:
    """Logits (B, V) of what follows tokens (B, context + n): as many END, then n letters."""
    B, length = tokens.shape
    if not reads_words(model):
        scores: Array = model(np.ascontiguousarray(tokens[:, -context:])).v
        return scores
    read = min(length - context + 1, context)  # a word begins with one END
    logits = model(np.ascontiguousarray(tokens[:, -read:])).v
    return np.ascontiguousarray(logits.reshape(B, read, logits.shape[1])[:, -1])


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
    from autollm import checkpoint

    options = build_parser().parse_args(argv)
    model, config, alphabet = checkpoint.load(options.model)
    words = dream(
        model,
        alphabet,
        config.context,
        options.n,
        np.random.Generator(np.random.PCG64(options.seed)),
        temperature=options.temperature,
        prefix=options.prefix,
        top_k=options.top_k,
    )
    if options.json:
        print(json.dumps({**vars(options), "samples": words}, ensure_ascii=False))
    else:
        print("\n".join(words))
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
