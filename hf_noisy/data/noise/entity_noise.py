"""Noise of named entities: missed, of the wrong type, with a wrong boundary, or invented."""

import itertools
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from datasets import Dataset
from jaxtyping import Float64

from hf_noisy.core.checks import check_rate
from hf_noisy.core.rng import uniforms
from hf_noisy.data.flat_labels import TaskName, as_arrow_lists, flat_tags, list_names
from hf_noisy.data.noise.list_noise import ListNoise
from hf_noisy.data.tags import OUTSIDE, Span, has_spans, parts_of, spans_of, tags_of_spans

# Shares of the errors of `EntityNoise.of_rate`: most errors of distant and human tags are missed entities.
_MISSED, _TYPE, _BOUNDARY, _INVENTED = 0.55, 0.15, 0.15, 0.15


@dataclass(frozen=True)
class EntityNoise(ListNoise):
    """Errors of whole entities, as lists of names, models and annotators make them.

    Each share is one of the true entities, and exact: `round(share * entities)` of them. An entity has one error at
    most. A wrong boundary moves one end by one token, over a token without an entity or within the entity. An invented
    entity lies where there is none, with the length and the type of a random true one.

    Args:
        missed: Share of the entities whose tags become `O`.
        wrong_type: Share of the entities that get another type, all with equal probability.
        wrong_boundary: Share of the entities of which one end moves by one token.
        invented: Number of invented entities, as a share of the true ones.

    Raises:
        ValueError: If a share is not in [0, 1), or the first three sum to more than 1.

    Example:
        >>> EntityNoise(missed=0.3, wrong_type=0.1).kind
        'entity'
    """

    missed: float = 0.0
    wrong_type: float = 0.0
    wrong_boundary: float = 0.0
    invented: float = 0.0
    kind: str = field(default="entity", init=False)
    task: ClassVar[TaskName] = "tokens"

    def __post_init__(self) -> None:
        for name in ("missed", "wrong_type", "wrong_boundary", "invented"):
            check_rate(getattr(self, name), name, "0.3 is 30 % of the entities")
        if (total := self.missed + self.wrong_type + self.wrong_boundary) > 1:
            raise ValueError(f"missed, wrong_type and wrong_boundary must sum to 1 at most, got {total:.3g}")

    @classmethod
    def of_rate(cls, rate: float) -> "EntityNoise":
        """The errors of a share of the entities, of all four kinds, most of them missed.

        Args:
            rate: Number of errors, as a share of the true entities, in [0, 1).

        Returns:
            The noise: 55 % of the errors are missed entities, 15 % each of the other kinds.
        """
        check_rate(rate, "rate", "0.4 is 40 % of the entities")
        return cls(_MISSED * rate, _TYPE * rate, _BOUNDARY * rate, _INVENTED * rate)

    def apply(self, dataset: Dataset, column: str, seed: int, stream: str) -> tuple[pa.Array, dict[str, Any]]:
        """Noisy tags, and the numbers of entities and errors."""
        names = list_names(dataset, column)
        if not has_spans(names):
            raise ValueError(f"column '{column}' must hold tags of entities such as B-PER and O, got {names[:5]}")
        flat = flat_tags(dataset, column)
        known = flat.labels >= 0
        tags = [names[tag] if tag >= 0 else None for tag in flat.labels.tolist()]
        starts = flat.offsets.tolist()
        rows = [tags[begin:end] for begin, end in itertools.pairwise(starts)]
        true = [(row, span) for row, sentence in enumerate(rows) for span in spans_of(sentence)]
        # The draws of an entity are those of its first token, whatever else the data holds.
        firsts = np.array([starts[row] + span.start for row, span in true], dtype=np.int64)
        draws = uniforms(seed, stream=f"entity_noise/{stream}", index=firsts, size=3)
        free = uniforms(seed, stream=f"entity_noise/invented/{stream}", index=np.arange(len(tags)), size=2)
        noisy = _Sentences(rows, true, sorted({parts[1] for name in names if (parts := parts_of(name))}))
        order = np.argsort(draws[:, 0], kind="stable")
        counts, done = {}, 0
        for name, change in (
            ("missed", noisy.miss),
            ("wrong_type", noisy.retype),
            ("wrong_boundary", noisy.move),
        ):
            wanted, changed = round(getattr(self, name) * len(true)), 0
            while changed < wanted and done < len(order):
                entity, done = order[done], done + 1
                row, span = true[entity]
                changed += change(row, span, draws[entity])
            counts[name] = changed
        counts["invented"] = noisy.invent(round(self.invented * len(true)), free, starts)
        ids = {name: number for number, name in enumerate(names)}
        found = noisy.tags(names)
        if unknown := {tag for row in found for tag in row if tag is not None} - ids.keys():
            raise ValueError(f"the noise needs the tags {', '.join(sorted(unknown))}, which the data does not name")
        given = np.array([ids.get(tag, -1) if tag else -1 for row in found for tag in row], dtype=np.int64)
        given[~known] = -1
        has_label = ~dataset.select_columns([column]).with_format("arrow")[:].column(column).is_null().to_numpy()
        return as_arrow_lists(given, flat.offsets, has_label), {"entities": len(true), **counts}


class _Sentences:
    """The spans of all sentences, while they are changed."""

    def __init__(self, rows: list[list[str | None]], true: list[tuple[int, Span]], kinds: list[str]) -> None:
        self.rows, self.kinds = rows, kinds
        self.spans: list[set[Span]] = [set() for _ in rows]
        for row, span in true:
            self.spans[row].add(span)
        self.true = [span for _, span in true]
        # Tokens that no changed or invented entity may take: those of entities, missed ones too, and without a tag.
        self.taken = [[tag != OUTSIDE for tag in tags] for tags in rows]

    def miss(self, row: int, span: Span, draws: Float64[np.ndarray, " 3"]) -> bool:
        self.spans[row].remove(span)
        return True

    def retype(self, row: int, span: Span, draws: Float64[np.ndarray, " 3"]) -> bool:
        others = [kind for kind in self.kinds if kind != span.kind]
        if not others:
            raise ValueError("wrong_type needs at least two types of entities; leave it at 0")
        return self._replace(row, span, span._replace(kind=others[int(draws[1] * len(others))]))

    def move(self, row: int, span: Span, draws: Float64[np.ndarray, " 3"]) -> bool:
        """Whether an end could be moved by a token."""
        taken, ways = self.taken[row], []
        if span.start > 0 and not taken[span.start - 1]:
            ways.append(span._replace(start=span.start - 1))
        if span.stop < len(taken) and not taken[span.stop]:
            ways.append(span._replace(stop=span.stop + 1))
        if span.stop - span.start > 1:
            ways += [span._replace(start=span.start + 1), span._replace(stop=span.stop - 1)]
        return bool(ways) and self._replace(row, span, ways[int(draws[1] * len(ways))])

    def invent(self, count: int, draws: Float64[np.ndarray, "tokens 2"], starts: list[int]) -> int:
        """The number of invented entities, `count` unless there is no room."""
        found = 0
        for token in np.argsort(draws[:, 0], kind="stable"):
            if found == count:
                break
            row = int(np.searchsorted(starts, token, side="right")) - 1
            start, taken = int(token) - starts[row], self.taken[row]
            like = self.true[int(draws[token, 1] * len(self.true))]
            stop = start + like.stop - like.start
            if stop <= len(taken) and not any(taken[start:stop]):
                self._put(row, Span(start, stop, like.kind))
                found += 1
        return found

    def tags(self, names: list[str]) -> list[list[str | None]]:
        """The tags of all sentences; those of entities that stay are not written anew."""
        found = []
        for tags, spans in zip(self.rows, self.spans, strict=True):
            before = {*spans_of(tags)}
            if before == spans:
                found.append(tags)
                continue
            written: list[str | None] = list(tags_of_spans(sorted(spans), len(tags), names))
            kept = written.copy()
            for start, stop, _ in before & spans:
                kept[start:stop] = tags[start:stop]
            # Without B-, an entity could become one with a new neighbour.
            written = kept if {*spans_of(kept)} == spans else written
            found.append([None if tag is None else new for tag, new in zip(tags, written, strict=True)])
        return found

    def _replace(self, row: int, span: Span, other: Span) -> bool:
        self.spans[row].remove(span)
        self._put(row, other)
        return True

    def _put(self, row: int, span: Span) -> None:
        self.spans[row].add(span)
        self.taken[row][span.start : span.stop] = [True] * (span.stop - span.start)
