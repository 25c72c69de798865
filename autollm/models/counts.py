"""Counting: behind these letters, how often came which? And nets that learn what counting misses."""

from __future__ import annotations

import itertools

import numpy as np

from autollm.bricks.pointwise import add
from autollm.buffers import Array, Ids, empty
from autollm.kernels.counts import END, count_level, guess, measure_contexts, sort_places, weigh
from autollm.models.model import Initial, Model
from autollm.node import Node

NO_TARGETS = np.zeros(0, np.int32)
TABLES = "nodes", "letters", "children", "kinds", "followers", "times"
TRUST = 0.8  # in counts, to begin with, where a net is added


class Counts(Model):
    """Interpolated modified Kneser-Ney of order `context` + 1 (Chen and Goodman 1999, eqs. 24 to 27):

    p(w | h) = (c(h w) - D(c(h w))) / c(h) + gamma(h) * p(w | h without its first letter)

    c(h w) says how often w stood behind the letters h; or, where h is not a whole context, behind how many
    different letters followed by h. D takes a little off every count, and gamma gives it to the guess by one
    letter less. It learns by counting, so it has no parameters. Before that, every letter is as likely.
    """

    recipe = None

    def __init__(self, vocabulary: int, new: Initial, *, context: int = 4) -> None:
        self.vocabulary, self.context = vocabulary, context
        zero, none = np.zeros(1, np.int32), np.zeros(0, np.int32)
        self._plant((zero + 1, zero, zero, zero, none, none))

    def learn(self, text: Ids) -> None:
        """Count a text (N,), int32: END, a word, END, a word, ..., END. What was counted before is forgotten.

        Raises IndexError for a letter outside 0..V-1.
        """
        places, lengths, shared = self._sorted_places(text)
        deepest = int(lengths.max(initial=0))
        end_here = np.bincount(lengths, minlength=deepest + 1)
        tally, first, levels = np.empty(self.vocabulary, np.int32), np.zeros(1, np.int32), []
        followers = np.zeros(0, np.int32)
        for depth in range(deepest, -1, -1):
            nodes = int(np.count_nonzero((lengths >= depth) & (shared < depth))) if depth else 1
            most = len(followers) + int(end_here[depth])
            sizes = nodes, nodes + 1, nodes + 1, most, most
            letters, first_child, first_follower, room, times = (np.empty(size, np.int32) for size in sizes)
            used = count_level(
                text, places, lengths, shared, depth, first, followers, tally,
                letters, first_child, first_follower, room, times,
            )  # fmt: skip
            first, followers = first_follower, room[:used].copy()
            level = letters, np.diff(first_child), np.diff(first_follower), followers, times[:used].copy()
            levels.append(([nodes], *level))
        self._plant(tuple(np.concatenate(parts).astype(np.int32) for parts in zip(*levels, strict=True)))

    def _sorted_places(self, text: Ids) -> tuple[Ids, Ids, Ids]:
        """All places, those with one context next to each other; the lengths of their contexts; and how much
        of it each shares with the one before. The tree can be read off from that."""
        places = np.arange(1, len(text), dtype=np.int32)
        other, shared = np.empty_like(places), np.empty_like(places)
        ends = np.empty(self.vocabulary, np.int32)
        longest = int(np.diff(np.flatnonzero(text == END)).max(initial=0))  # context in this text
        for back in range(min(self.context, longest), 0, -1):
            sort_places(text, places, back, ends, other)
            places, other = other, places
        measure_contexts(text, places, self.context, other, shared)
        return places, other, shared

    @property
    def tables(self) -> dict[str, Ids]:
        """What was counted, to be saved: how many nodes the tree has of every depth, the deepest first; for
        every node its letter, how many children it has, and how many kinds of letters follow; those letters,
        and how many times each does. All int32, with one axis."""
        return dict(zip(TABLES, self._tables, strict=True))

    @tables.setter
    def tables(self, tables: dict[str, Ids]) -> None:
        """Raises ValueError for tables that are no tree, or not one of this context and alphabet."""
        nodes, letters, children, kinds, followers, times = tree = tuple(tables[name] for name in TABLES)
        if any(table.ndim != 1 or table.dtype != np.int32 for table in tree):
            raise ValueError("the tables must be int32 and have 1 axis")
        stops = np.cumsum(nodes, dtype=np.int64).tolist()
        if not (
            1 <= len(nodes) <= self.context + 1
            and nodes[-1] == 1
            and (nodes >= 0).all()
            and stops[-1] == len(letters) == len(children) == len(kinds)
            and (children >= 0).all()
            and np.cumsum(children, dtype=np.int64)[np.array(stops) - 1].tolist() == [0, *stops[:-1]]
            and (kinds >= 0).all()
            and kinds.sum(dtype=np.int64) == len(followers) == len(times)
            and ((letters >= 0) & (letters < self.vocabulary)).all()
            and ((followers >= 0) & (followers < self.vocabulary)).all()
            and (times > 0).all()
            and times.sum(dtype=np.int64) < 2**31
        ):
            raise ValueError(f"the tables are no counts of {self.vocabulary} letters behind {self.context}")
        self._plant(tree)

    def _plant(self, tree: tuple[Ids, ...]) -> None:
        """Take over the tables, and work out what guessing needs besides."""
        self._tables = tree
        nodes, self.letters, children, kinds, self.followers, self.times = tree
        self.first_child, self.first_follower = starts(children), starts(kinds)
        self.sums = np.empty((len(self.letters), 4), np.int32)
        self.weights = np.empty(len(self.followers), np.float32)
        self.discounts = np.empty((len(nodes), 4), np.float32)
        bounds = starts(nodes).tolist()
        for level, (start, stop) in enumerate(itertools.pairwise(bounds)):
            first, discounts = self.first_follower[start : stop + 1], self.discounts[-1 - level]
            discounts[:] = fitted_discounts(self.times[first[0] : first[-1]])
            weigh(first, self.times, discounts, self.sums[start:stop], self.weights)

    def __call__(self, contexts: Ids) -> Node:
        return Node(self.log_p(contexts, contexts.shape[1] - 1, NO_TARGETS))

    def log_p(self, rows: Ids, first: int, targets: Ids) -> Array:
        """log p of every letter behind the columns from `first` on of rows (B, T): (B * (T - first), V).

        With targets (B * (T - first),), each as if its own target had not been counted (leave-one-out),
        where it is not negative.
        """
        out = empty((rows.shape[0] * (rows.shape[1] - first), self.vocabulary))
        guess(
            rows, first, targets, self.letters, self.first_child, self.first_follower, self.followers,
            self.times, self.sums, self.weights, self.discounts, out,
        )  # fmt: skip
        return out


class OnCounts(Model):
    """logits = (TRUST + t) log p(counts) + net(letters): what counting knows, and what a net adds to it.

    p(counts) is a constant. Much of what it says the net finds too; twice in full, that would be too sure, so
    how far to trust the counts is learned, by t. While the net learns, it is given the targets, and each of
    them is guessed as if it had not been counted: else the counts would know all the answers.
    """

    def __init__(self, net: Model, context: int, counts: Counts, new: Initial) -> None:
        self.net, self.context, self.counts, self.sequence = net, context, counts, net.sequence
        self.t = new.constant(0.0)

    def __call__(self, letters: Ids, targets: Ids = NO_TARGETS) -> Node:
        known = self.counts.log_p(letters, 0 if self.sequence else letters.shape[1] - 1, targets)
        if not self.sequence and letters.shape[1] > self.context:
            letters = np.ascontiguousarray(letters[:, -self.context :])
        return add(self.net(letters), self._trusted(known))

    def _trusted(self, known: Array) -> Node:
        """(TRUST + t) * known (B, V)"""
        trusted = np.multiply(known, TRUST + self.t.v, out=empty(known.shape))
        return Node(trusted, lambda g: self.t.back(np.vdot(g, known)))


def counts_of(model: Model) -> Counts | None:
    """The counts that a model is or has."""
    return model if isinstance(model, Counts) else getattr(model, "counts", None)


def fitted_discounts(counts: Ids) -> list[float]:
    """What is taken off a count of 0, of 1, of 2, and of 3 or more: Chen and Goodman 1999, eq. 26.

    It needs counts of 1, 2, 3 and 4. A short list may not have them, or give discounts that are below 0
    or above the count; then half of the count, 1.5 at most, is taken off.
    """
    n = np.bincount(np.minimum(counts, 5), minlength=6).tolist()
    Y = n[1] / (n[1] + 2 * n[2]) if n[1] else 0.0
    found = [0.0]
    for size in (1, 2, 3):
        discount = size - (size + 1) * Y * n[size + 1] / n[size] if n[size] and n[size + 1] else 0.0
        found.append(discount if 0 < discount <= size else size / 2)
    return found


def starts(sizes: Ids) -> Ids:
    """Where parts of these sizes start when they stand one after the other, and where the last one stops."""
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
