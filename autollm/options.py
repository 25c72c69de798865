"""Options that several commands share, and what they make."""

from __future__ import annotations

import argparse
import codecs
import functools
import unicodedata
from collections.abc import Iterable
from typing import Any

from autollm import cli
from autollm.errors import InputError
from autollm.learning.alphabet import Alphabet
from autollm.learning.experiment import Corpus, Judgement, Learned
from autollm.learning.sampling import Wanted
from autollm.learning.words import BUILT_IN, Words, read_words
from autollm.remarks import Remarks

DEFAULT = " (default: %(default)s)"


def add_words(parser: argparse.ArgumentParser, default: str) -> Any:
    """The list of words to learn from."""
    group = parser.add_argument_group("words")
    group.add_argument(
        "--data",
        default=default,
        metavar="FILE",
        help=f"one word a line; - reads standard input; built in: {', '.join(BUILT_IN)}" + DEFAULT,
    )
    group.add_argument("--column", type=cli.whole(1, 10**6), metavar="N", help="of columns, read the Nth")
    group.add_argument(
        "--encoding", type=_encoding, metavar="NAME", help="of the text (default: UTF-8, or as its mark says)"
    )
    group.add_argument("--skip-bad-lines", action="store_true", help="leave out what cannot be read")
    return group


def _encoding(name: str) -> str:
    try:
        known = codecs.lookup(name)
        if known._is_text_encoding:
            return known.name
    except (LookupError, ValueError):
        pass
    raise argparse.ArgumentTypeError(f"there is no encoding {name[:40]!r}")


def words_of(options: argparse.Namespace, tell: Remarks) -> Words:
    """The words, with one remark on what was noticed in them."""
    words = read_words(
        options.data,
        encoding=options.encoding,
        column=options.column,
        skip_bad_lines=options.skip_bad_lines,
    )
    if words.remarks:
        tell(f"{options.data}: {'; '.join(words.remarks)}")
    return words


def tell_of_words(tell: Remarks, words: Words, corpus: Corpus) -> None:
    """What there is to learn from."""
    tell(
        f"{len(words.distinct):,} words, {words.repeated:,} repetitions left out, "
        f"{len(corpus.held_out):,} held out"
    )


def tell_of_estimates(tell: Remarks, learned: Learned, judgement: Judgement) -> None:
    """A remark if the losses are those of some examples."""
    if judgement.judged < len(learned.examples):
        tell(f"the losses are estimated on {judgement.judged:,} of {len(learned.examples):,} examples")


def add_budget(group: Any) -> None:
    """How long to train."""
    budget = group.add_mutually_exclusive_group()
    budget.add_argument(
        "--seconds", type=cli.positive_float, default=1.0, metavar="S", help="train so long" + DEFAULT
    )
    budget.add_argument("--steps", type=cli.whole(1, 10**12), metavar="N", help="or for so many steps")


def add_seed(group: Any, same: str) -> None:
    """What decides everything that is random."""
    group.add_argument("--seed", type=cli.whole(0, 2**63), default=0, metavar="N", help=same + DEFAULT)


def add_dreaming(group: Any) -> None:
    """What dreamed words are like."""
    group.add_argument(
        "--prefix",
        type=functools.partial(unicodedata.normalize, "NFC"),  # as words are read
        default="",
        metavar="TEXT",
        help="how every word begins",
    )
    group.add_argument(
        "--temperature",
        type=cli.positive_float,
        default=1.0,
        metavar="T",
        help="below 1: likelier words; above: stranger" + DEFAULT,
    )
    letters = cli.whole(1, 10**6)
    group.add_argument("--shortest", type=letters, default=1, metavar="N", help="letters at least" + DEFAULT)
    group.add_argument("--longest", type=letters, metavar="N", help="letters at most (default: any number)")


def wanted_of(options: argparse.Namespace, alphabet: Alphabet, not_in: Iterable[str] | None) -> Wanted:
    """Which dreamed words are wanted; with `not_in`, none of these and none twice. Raises InputError."""
    if options.longest and options.longest < max(options.shortest, alphabet.letters(options.prefix)):
        raise InputError(
            f"--longest {options.longest}: words of --shortest {options.shortest} letters that begin with "
            f"{options.prefix!r} are longer"
        )
    return Wanted(
        options.shortest, options.longest, None if not_in is None else frozenset(not_in), alphabet.letters
    )


def tell_of_few(tell: Remarks, words: list[str], asked_for: int) -> None:
    """A remark if fewer words were dreamed than asked for."""
    if len(words) < asked_for:
        tell(f"only {len(words)} of {asked_for} words: the model dreams too few of those that are wanted")
