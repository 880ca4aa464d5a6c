"""Tags of named entities (BIO and its relatives) and the spans that they stand for."""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

OUTSIDE = "O"
_TAG = re.compile(r"([BIESLUM])-(.+)", re.DOTALL)
_BEGINS, _ENDS = "BSU", "ELSU"


class Span(NamedTuple):
    """An entity: its first token, the token after its last, and its type."""

    start: int
    stop: int
    kind: str


def parts_of(tag: str) -> tuple[str, str] | None:
    """The prefix and the type of a tag such as `B-PER`; None of any other."""
    found = _TAG.fullmatch(tag)
    return (found[1], found[2]) if found else None


def has_spans(names: Iterable[str]) -> bool:
    """Whether tags of these names mark spans: each is `O` or has a prefix, and some have one."""
    tags = [name for name in names if name != OUTSIDE]
    return bool(tags) and all(parts_of(name) for name in tags)


def sorted_tags(names: Iterable[str]) -> list[str]:
    """`O` first, then the tags of each type together."""
    return sorted(names, key=lambda name: (name != OUTSIDE, (parts_of(name) or ("", name))[::-1]))


def spans_of(tags: Sequence[str | None]) -> list[Span]:
    """The spans in the tags of a sentence; a tag `I-` that continues nothing begins a span, as in CoNLL-2003."""
    spans: list[Span] = []
    start, kind = 0, None  # of the span that is open
    for position, tag in enumerate([*tags, OUTSIDE]):
        prefix, now = parts_of(tag or OUTSIDE) or ("", None)
        if kind is not None and (now != kind or prefix in _BEGINS):
            spans.append(Span(start, position, kind))
            kind = None
        if now is not None and kind is None:
            start, kind = position, now
        if kind is not None and prefix in _ENDS:
            spans.append(Span(start, position + 1, kind))
            kind = None
    return spans


def strays(tags: Sequence[str | None]) -> list[int]:
    """The positions of tags that continue a span which nothing has begun, such as `I-PER` after `O`."""
    opened = {span.start for span in spans_of(tags)}
    return [place for place in sorted(opened) if (parts_of(tags[place] or OUTSIDE) or ("",))[0] in "ILEM"]


def tags_of_spans(spans: Iterable[Span], length: int, names: Sequence[str]) -> list[str]:
    """The tags of a sentence with these spans, in the scheme of the names (BIO, IO, BIOES or BILOU)."""
    prefixes = {parts[0] for name in names if (parts := parts_of(name))}
    last, single = ("L", "U") if prefixes & {"L", "U"} else ("E", "S") if prefixes & {"E", "S"} else ("I", "B")
    tags = [OUTSIDE] * length
    for start, stop, kind in spans:
        marks = [single] if stop - start == 1 else ["B", *"I" * (stop - start - 2), last]
        for place, mark in zip(range(start, stop), marks, strict=True):
            # A type that only one kind of tag is known of, as in IO, has that tag everywhere.
            written = [f"{one}-{kind}" for one in (mark, "I", "B") if f"{one}-{kind}" in names]
            tags[place] = written[0] if written else f"{mark}-{kind}"
    return tags
