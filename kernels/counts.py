"""Counting which letter follows which letters, and guessing by the counts.

The words stand in a text: END, a word, END, a word, ..., END. A *place* is any but the first. The letter at a
place is its target. Its context is what stands before it, `context` letters or back to the END before its
word. Contexts are the nodes of a tree: from the root, which is the empty context, the letters of a context
lead to its node, the nearest to the target first. A node where contexts end is a leaf.

Node n's children are the nodes first_child[n] to first_child[n + 1], sorted by their letters, the deepest
nodes of the tree come first, and the root is the last. Behind node n follow the letters followers[i],
counts[i] times each, for i from first_follower[n] to first_follower[n + 1].
"""

import numpy as np

from autollm.kernels.errors import IdError, ShapeError
from autollm.kernels.kernel import check_ids, helper, kernel

END = 0
LEAST = 1e-30  # the least probability: its logarithm is still a number
TWO_THIRDS = np.int32(0x3F2AAAAB)  # the bits of a float32
SERIES = np.array([2, 2 / 3, 2 / 5, 2 / 7], np.float32)  # of ln((1 + s) / (1 - s)): s, s**3, s**5, s**7


# --- counting --------------------------------------------------------------------------------------


@helper
def check_places(places, text):
    for place in places:
        if place < 1 or place >= text.shape[0]:
            raise IdError("place {} is outside 1..{}", place, text.shape[0] - 1)


@kernel("text i4 (L), places i4 (N), back i8, ends i4 (V), out i4 (N)")
def sort_places(text, places, back, ends, out):
    """out = places, sorted by the letter that is `back` letters before each; equals stay in order.

    Where the text does not go back so far, its first letter counts. ends is room for a counting sort.
    """
    check_ids(text, ends.shape[0])
    check_places(places, text)
    if back < 0:
        raise IdError("{} letters back is not back", back)
    ends[:] = 0
    for place in places:
        ends[text[max(place - back, 0)]] += 1
    for letter in range(1, ends.shape[0]):
        ends[letter] += ends[letter - 1]
    for i in range(places.shape[0] - 1, -1, -1):
        letter = text[max(places[i] - back, 0)]
        ends[letter] -= 1
        out[ends[letter]] = places[i]


@kernel("text i4 (L), places i4 (N), context i8, lengths i4 (N), shared i4 (N)")
def measure_contexts(text, places, context, lengths, shared):
    """lengths: how many letters the context of each place has. shared: how many of them, from the nearest
    on, are those of the place before it in the list."""
    check_places(places, text)
    for i in range(places.shape[0]):
        length, common, so_far = 0, 0, i > 0
        while length < min(context, places[i]):
            length += 1
            letter = text[places[i] - length]
            so_far = so_far and length <= lengths[i - 1] and text[places[i - 1] - length] == letter
            if so_far:
                common = length
            if letter == END:
                break
        lengths[i], shared[i] = length, common


@kernel(
    "text i4 (L), places i4 (N), lengths i4 (N), shared i4 (N), depth i8, "
    "deeper_first i4 (C), deeper_followers i4 (E), tally i4 (V), "
    "letters i4 (M), first_child i4 (S), first_follower i4 (S), followers i4 (F), counts i4 (F)"
)
def count_level(
    text, places, lengths, shared, depth, deeper_first, deeper_followers, tally,
    letters, first_child, first_follower, followers, counts,
):  # fmt: skip
    """The nodes of one depth, from the sorted places and the nodes one deeper; returns how many followers
    they have together, at most F.

    A leaf counts how often a letter follows; any other node, behind how many of its children it does: the
    counts of Kneser and Ney (Chen and Goodman 1999, section 2.7). There are M nodes, and
    S = M + 1; tally is room to count in.
    """
    N, M = places.shape[0], letters.shape[0]
    if first_child.shape[0] != M + 1 or deeper_first.shape[0] < 1:
        raise ShapeError("count_level: {} nodes, but {} first children", M, first_child.shape[0])
    check_ids(text, tally.shape[0])
    check_ids(deeper_followers, tally.shape[0])
    check_places(places, text)
    tally[:] = 0
    node, child, size = 0, 0, 0
    for i in range(N):
        if lengths[i] < depth:
            continue
        if node == 0 or shared[i] < depth:  # another context begins
            if node == M:
                raise ShapeError("count_level: there are more than {} nodes", M)
            if depth < 0 or depth > places[i]:
                raise IdError("there are not {} letters before place {}", depth, places[i])
            letters[node] = text[places[i] - depth]
            first_child[node], first_follower[node] = child, size
            node += 1
        start = first_follower[node - 1]
        if lengths[i] == depth:
            size = count_one(text[places[i]], tally, followers, counts, start, size)
        elif shared[i] <= depth:  # another child begins
            if child + 1 >= deeper_first.shape[0]:
                raise ShapeError("count_level: there are more than {} nodes below", child)
            first, stop = deeper_first[child], deeper_first[child + 1]
            if first < 0 or stop > deeper_followers.shape[0]:
                raise IdError("followers {}..{} are not among those below", first, stop)
            for j in range(first, stop):
                size = count_one(deeper_followers[j], tally, followers, counts, start, size)
            child += 1
    if node != M:
        raise ShapeError("count_level: there are {} nodes, not {}", node, M)
    first_child[M], first_follower[M] = child, size
    return size


@helper
def count_one(letter, tally, followers, counts, start, size):
    """Count a letter among the followers from `start` to `size`; returns the size after that.

    tally says where its count may be: it is there if the letter is.
    """
    i = tally[letter]
    if i < start or i >= size or followers[i] != letter:
        if size == followers.shape[0]:
            raise ShapeError("count_level: there are more than {} followers", size)
        tally[letter], followers[size], counts[size] = size, letter, 0
        i, size = size, size + 1
    counts[i] += 1
    return size


@kernel("first_follower i4 (S), counts i4 (F), discounts (4), sums i4 (M, 4), weights (F)")
def weigh(first_follower, counts, discounts, sums, weights):
    """What guessing needs of M nodes of one depth, where S = M + 1.

    sums[n]: the sum of node n's counts, and how many of them are 1, are 2, are 3 or more. weights[i]: a
    count, less the discount for its size, as a part of the sum. discounts: 0, D1, D2, D3+.
    """
    M = sums.shape[0]
    if first_follower.shape[0] != M + 1 or first_follower[0] < 0 or first_follower[M] > counts.shape[0]:
        raise ShapeError(
            "weigh: {} first followers, of {}, do not agree with {} nodes",
            first_follower.shape[0], counts.shape[0], M,
        )  # fmt: skip
    sums[:] = 0
    for n in range(M):
        start, stop = max(first_follower[n], first_follower[0]), min(first_follower[n + 1], first_follower[M])
        for i in range(start, stop):
            sums[n, 0] += counts[i]
            sums[n, max(min(counts[i], 3), 1)] += 1
        for i in range(start, stop):
            weights[i] = (counts[i] - discounts[max(min(counts[i], 3), 1)]) / np.float32(sums[n, 0])


# --- guessing --------------------------------------------------------------------------------------


@kernel(
    "rows i4 (B, T), first i8, targets i4 (R), letters i4 (M), first_child i4 (S), first_follower i4 (S), "
    "followers i4 (F), counts i4 (F), sums i4 (M, 4), weights (F), discounts (C, 4), out (O, V)"
)
def guess(
    rows, first, targets, letters, first_child, first_follower, followers, counts, sums, weights,
    discounts, out,
):  # fmt: skip
    """out[o] = log p(each letter | context), for the places behind the columns `first` to T - 1 of every row:
    O = B * (T - first), C = context + 1, S = M + 1.

    Interpolated modified Kneser-Ney (Chen and Goodman 1999, eqs. 24 and 27), from the empty context on
    to the longest that was counted:

        p(w | h) = (c(h w) - D(c(h w))) / c(h) + gamma(h) p(w | h without its first letter)
        gamma(h) = (D1 n1(h) + D2 n2(h) + D3+ n3+(h)) / c(h);  before the first, p = 1 / V

    where c(h) is the sum of a node's counts, and n1, n2, n3+ say how many of them are 1, 2, 3 or more. With
    targets, R = O of them, each place's own target is taken out of the counts first, if it is not
    negative; without, targets is empty.
    """
    (B, T), V, nodes, size = rows.shape, out.shape[1], letters.shape[0], followers.shape[0]
    context = discounts.shape[0] - 1
    # fmt: off
    if (
        first < 0 or first >= T or out.shape[0] != B * (T - first) or V < 1 or nodes < 1 or context < 0
        or (targets.shape[0] != 0 and targets.shape[0] != out.shape[0]) or first_child.shape[0] != nodes + 1
    ):
        raise ShapeError(
            "guess: rows ({}, {}), first {}, targets ({},), out ({}, {}), or the arrays of {} nodes and "
            "{} followers do not agree",
            B, T, first, targets.shape[0], out.shape[0], V, nodes, size,
        )
    # fmt: on
    check_ids(rows.reshape(-1), V)
    path, own = np.empty(context + 1, np.int64), np.empty(context + 1, np.int32)
    for o in range(out.shape[0]):
        row, column = o // (T - first), first + o % (T - first)
        depth, node = 0, nodes - 1
        path[0] = node
        while depth < context and depth <= column:
            letter = rows[row, column - depth]
            node = child_by(letter, node, letters, first_child)
            if node < 0:
                break
            depth += 1
            path[depth] = node
            if letter == END:
                break

        # A target counts at the node where its context ends. If it was the only one there, it has not
        # been counted one node nearer to the root either; and so on.
        own[: depth + 1] = 0
        if targets.shape[0] > 0 and targets[o] >= 0:
            d = depth
            own[d] = count_of(targets[o], path[d], first_follower, followers, counts)
            while d > 0 and own[d] == 1:
                d -= 1
                own[d] = count_of(targets[o], path[d], first_follower, followers, counts)

        for v in range(V):
            out[o, v] = 0
        share = np.float32(1.0)  # what the longer contexts have left
        for d in range(depth, -1, -1):
            node, c = path[d], own[d]
            total, n1, n2, n3 = sums[node, 0], sums[node, 1], sums[node, 2], sums[node, 3]
            if c > 0:
                total -= 1
            if c == 1:
                n1 -= 1
            elif c == 2:
                n1, n2 = n1 + 1, n2 - 1
            elif c == 3:
                n2, n3 = n2 + 1, n3 - 1
            if total == 0:
                continue
            part = share / np.float32(total)
            scale = part * np.float32(sums[node, 0])
            before = out[o, targets[o]] if c > 0 else np.float32(0)
            for i in range(first_follower[node], first_follower[node + 1]):
                out[o, followers[i]] += weights[i] * scale
            if c > 0:
                less = c - 1 - discounts[d, min(c - 1, 3)] if c > 1 else np.float32(0)
                out[o, targets[o]] = before + less * part
            share = (discounts[d, 1] * n1 + discounts[d, 2] * n2 + discounts[d, 3] * n3) * part
        uniform = share / np.float32(V)
        for v in range(V):
            out[o, v] += uniform
    logarithms(out.reshape(-1))


@helper
def logarithms(x):
    """Put its natural logarithm in place of every number of a flat float32 array; of LEAST, if it is less.

    x = 2**n m, with m from 2/3 to 4/3; and ln m = 2 s + 2/3 s**3 + ... for s = (m - 1) / (m + 1). The
    compiler makes vectors of this, which it cannot of calls of np.log.
    """
    for i in range(x.size):
        x[i] = max(x[i], np.float32(LEAST))
    bits = x.view(np.int32)
    for i in range(x.size):
        n = (bits[i] - TWO_THIRDS) >> 23
        bits[i] -= n << 23
        s = (x[i] - np.float32(1)) / (x[i] + np.float32(1))
        z = s * s
        series = ((SERIES[3] * z + SERIES[2]) * z + SERIES[1]) * z + SERIES[0]
        x[i] = np.float32(n) * np.float32(0.6931472) + s * series


@helper
def child_by(letter, node, letters, first_child):
    """The child of a node by a letter, or -1."""
    low, high = np.int64(first_child[node]), np.int64(first_child[node + 1])
    while low < high:
        middle = (low + high) // 2
        if letters[middle] < letter:
            low = middle + 1
        else:
            high = middle
    return low if low < first_child[node + 1] and letters[low] == letter else np.int64(-1)


@helper
def count_of(letter, node, first_follower, followers, counts):
    """How often a letter was counted at a node."""
    for i in range(first_follower[node], first_follower[node + 1]):
        if followers[i] == letter:
            return counts[i]
    return np.int32(0)
