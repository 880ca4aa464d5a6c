"""What the capital letters and signs around a word say about its tag: many encoders read lower case only."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, Float64, Int64

from hf_noisy.core.types import Labels

_KINDS = 7  # of words, and beyond the ends of a sentence
_BEYOND = 6
_LONGEST = 5  # words of an entity whose occurrences are counted
_FACTOR = np.uint64(0x9E3779B97F4A7C15)  # of the keys of strings; an odd number spreads them over all 64 bits
_PRIOR = (1.0, 5.0)  # tokens that the frequencies of all tags, and of those of the word's own kind, count for


def context_probabilities(
    words: Sequence[str], rows: Int64[np.ndarray, " tokens"], labels: Labels, num_classes: int
) -> Float32[np.ndarray, "tokens classes"]:
    """The frequency of each tag among words of the same kind between neighbours of the same kinds, in other rows.

    Words themselves are no evidence: lists of names and annotators make the same error wherever the word stands.
    """
    known: dict[str, int] = {}
    kinds = np.fromiter(
        (known.get(word) or known.setdefault(word, _kind(word)) for word in words), np.int64, len(words)
    )
    same_row = rows[1:] == rows[:-1]
    before, after = np.full(len(kinds), _BEYOND), np.full(len(kinds), _BEYOND)
    before[1:][same_row] = kinds[:-1][same_row]
    after[:-1][same_row] = kinds[1:][same_row]
    frequencies = np.bincount(labels, minlength=num_classes)[None] / max(len(labels), 1)
    own = _elsewhere(kinds, rows, labels, frequencies, _PRIOR[0])
    return _elsewhere((before * _KINDS + kinds) * _KINDS + after, rows, labels, own, _PRIOR[1])


def _elsewhere(
    keys: Int64[np.ndarray, " tokens"],
    rows: Int64[np.ndarray, " tokens"],
    labels: Labels,
    prior: np.ndarray,
    weight: float,
) -> Float32[np.ndarray, "tokens classes"]:
    """The frequencies of the labels of tokens with the same key in other rows, towards a prior."""
    classes = prior.shape[1]
    totals = np.bincount(keys * classes + labels, minlength=(keys.max(initial=0) + 1) * classes).reshape(-1, classes)
    _, here = np.unique(rows * (keys.max(initial=0) + 1) + keys, return_inverse=True)
    in_row = np.bincount(here * classes + labels, minlength=(here.max(initial=-1) + 1) * classes).reshape(-1, classes)
    counts = (totals[keys] - in_row[here]).astype(np.float32)
    counts += np.float32(weight) * prior.astype(np.float32)
    counts /= np.einsum("tc->t", counts)[:, None]
    return np.asarray(counts)


def _kind(word: str) -> int:
    """Of all capitals 1, a first capital 2, with digits 3, without letters and digits 4, other 5."""
    if not any(one.isalnum() for one in word):
        return 4
    if word.isupper() and len(word) > 1:
        return 1
    if word[0].isupper():
        return 2
    return 3 if any(one.isdigit() for one in word) else 5


def tagged_share(
    words: Sequence[str], rows: Int64[np.ndarray, " tokens"], spans: Int64[np.ndarray, " tokens"]
) -> Float64[np.ndarray, " tokens"]:
    """For each token of an entity, the share of the tagged ones among these and its string in another case; else 1.

    A list of names that holds a common word tags the word where it begins with a capital letter, and not elsewhere.
    """
    ids, any_case = (
        np.unique(np.array(some, dtype=str), return_inverse=True)[1].astype(np.uint64) + np.uint64(1)
        for some in (list(words), [word.lower() for word in words])
    )
    inside = spans >= 0
    first = inside & np.append(True, spans[1:] != spans[:-1])
    begins = np.flatnonzero(first)
    lengths = np.bincount(spans[inside], minlength=int(spans.max(initial=-1)) + 1)[spans[begins]]
    share, same, keys = np.ones(len(ids)), np.zeros(len(ids), np.uint64), np.zeros(len(ids), np.uint64)
    for length in range(1, min(int(lengths.max(initial=0)), _LONGEST) + 1):
        last = len(ids) - length + 1
        same, keys = (one[:last] * _FACTOR + new[length - 1 :] for one, new in ((same, ids), (keys, any_case)))
        own = begins[lengths == length]
        if len(own):
            complete = rows[:last] == rows[length - 1 :]
            tagged = _counts(keys[own], keys[own])
            in_any_case, in_this_case = (_counts(one[complete], one[own]) for one in (keys, same))
            share[own] = tagged / (tagged + in_any_case - in_this_case)
    return np.where(inside, share[begins][np.cumsum(first) - 1] if len(begins) else 1.0, 1.0)


def _counts(values: np.ndarray, wanted: np.ndarray) -> Int64[np.ndarray, " wanted"]:
    """How often each wanted value occurs."""
    keys, number = np.unique(wanted, return_inverse=True)
    place = np.searchsorted(keys, values).clip(max=len(keys) - 1)
    return np.asarray(np.bincount(place[keys[place] == values], minlength=len(keys))[number])
