"""Language models, and any function, as annotators: texts to votes with probabilities."""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from jaxtyping import Float64, Int64

from hf_noisy.core.columns import TEXT

ABSTAIN = -1
PROMPT = "{text}\n\nWhich of these classes is it: {classes}?\nAnswer:"
Annotator = Callable[[list[str]], Sequence[Any]]


@dataclass(frozen=True)
class ModelAnswers:
    """The result of [`label_with`].

    Attributes:
        labels: `[rows]`, class ids; -1 where the annotator abstained or was not asked. It is a column of votes.
        probabilities: `[rows, classes]`; NaN where the annotator gave none.
        asked: `[rows]`, whether the row was asked, now or in an earlier call with the same cache.
        calls: Rows that were asked in this call; the others were not wanted or are in the cache.
        characters: Characters of the prompts of these rows.
        tokens: Tokens that a pipeline read; 0 for a function.
    """

    labels: Int64[np.ndarray, " rows"]
    probabilities: Float64[np.ndarray, "rows classes"]
    asked: Int64[np.ndarray, " rows"]
    calls: int
    characters: int
    tokens: int

    @property
    def abstentions(self) -> int:
        """Rows that were asked and got no class."""
        return int((self.asked.astype(bool) & (self.labels == ABSTAIN)).sum())


def label_with(
    dataset: Dataset,
    annotator: Annotator | Any,
    classes: Sequence[str],
    *,
    column: str = TEXT,
    prompt: str = PROMPT,
    rows: Iterable[int] | None = None,
    batch_size: int = 8,
    cache_file: str | Path | None = None,
) -> ModelAnswers:
    """Ask a language model, or any function, for the class of each text.

    Of a `text-generation` pipeline of transformers, the probabilities of the class names as the continuation of the
    prompt are compared, so that the answer is always a class. A function gets prompts and returns for each a class
    name (perhaps within a short sentence), a class id, probabilities by class name, or None to abstain. What names no
    class, or several, is an abstention.

    Args:
        dataset: Rows with a column of texts.
        annotator: A function of a list of prompts, or a `text-generation` pipeline.
        classes: Names of the classes, by id.
        column: Column of the texts.
        prompt: Prompt with `{text}`, and `{classes}` if it should list them.
        rows: Positions of the rows to ask, such as those of `find_wrong_labels(...).is_wrong`; all by default.
        batch_size: Prompts in one call.
        cache_file: JSON lines with an answer per prompt, appended after each batch: an interrupted call resumes there.
            Use one file for each annotator.

    Returns:
        [`ModelAnswers`].

    Raises:
        ValueError: If the column or `{text}` is missing, `classes` are fewer than 2 or repeated, a row is out of
            range, or the function returns another number of answers than it got prompts.

    Example:
        >>> texts = Dataset.from_dict({"text": ["so good", "so bad", "what"]})
        >>> def keywords(prompts):
        ...     return ["positive" if "good" in p else "It is negative." if "bad" in p else None for p in prompts]
        >>> label_with(texts, keywords, ["negative", "positive"], prompt="{text}").labels.tolist()
        [1, 0, -1]
    """
    classes = list(classes)
    if len(classes) < 2 or len({name.casefold() for name in classes}) < len(classes):
        raise ValueError(f"classes must be at least 2 different names, got {', '.join(classes) or 'none'}")
    if column not in dataset.column_names:
        raise ValueError(f"column must be one of {', '.join(dataset.column_names)}, got '{column}'")
    if "{text}" not in prompt:
        raise ValueError("prompt must have a place {text} for the text")
    wanted = np.arange(len(dataset)) if rows is None else np.asarray(list(rows), dtype=np.int64)
    if len(wanted) and not 0 <= wanted.min() <= wanted.max() < len(dataset):
        raise ValueError(f"rows must be from 0 to {len(dataset) - 1}, got {wanted.min()} to {wanted.max()}")
    listed = ", ".join(classes)
    texts = dataset.select_columns([column])
    prompts = [prompt.replace("{classes}", listed).replace("{text}", texts[int(n)][column] or "") for n in wanted]
    cache = _Cache(cache_file, classes)
    missing = [one for one in dict.fromkeys(prompts) if one not in cache]
    ask = _Scorer(annotator, classes) if hasattr(annotator, "tokenizer") else _Function(annotator, classes)
    for start in range(0, len(missing), batch_size):
        batch = missing[start : start + batch_size]
        cache.add(batch, list(ask(batch)))
    found = np.array([cache[one] for one in prompts], dtype=np.float64).reshape(len(wanted), len(classes) + 1)
    labels, asked = np.full(len(dataset), ABSTAIN), np.zeros(len(dataset), dtype=np.int64)
    probabilities = np.full((len(dataset), len(classes)), np.nan)
    labels[wanted], probabilities[wanted], asked[wanted] = found[:, 0].astype(np.int64), found[:, 1:], 1
    return ModelAnswers(labels, probabilities, asked, len(missing), sum(map(len, missing)), ask.tokens)


class _Cache(dict[str, list[float]]):
    """The label and the probabilities of each prompt, kept in a file."""

    def __init__(self, path: str | Path | None, classes: list[str]) -> None:
        super().__init__()
        self._path, self._classes = None if path is None else Path(path), classes
        self._stored: dict[str, list[float]] = {}
        self._torn = False  # the last line was cut when a call was interrupted
        if self._path is not None and self._path.is_file():
            text = self._path.read_text(encoding="utf-8")
            self._torn = bool(text) and not text.endswith("\n")
            for line in text.splitlines():
                try:
                    entry = json.loads(line)
                    values = [entry["label"], *(float("nan") if p is None else p for p in entry["probabilities"])]
                    self._stored[entry["digest"]] = values
                except (ValueError, TypeError, KeyError):  # a line that was cut, or that is none of ours
                    continue

    def __contains__(self, prompt: object) -> bool:
        digest = self._digest(str(prompt))
        if digest in self._stored:
            self[str(prompt)] = self._stored[digest]
        return super().__contains__(prompt)

    def add(self, prompts: list[str], answers: list[list[float]]) -> None:
        """Keep the answers to a batch."""
        self.update(zip(prompts, answers, strict=True))
        if self._path is None:
            return
        lines = [
            {
                "digest": self._digest(prompt),
                "label": int(answer[0]),
                "probabilities": [None if value != value else value for value in answer[1:]],
            }
            for prompt, answer in zip(prompts, answers, strict=True)
        ]
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            if self._torn:
                file.write("\n")
                self._torn = False
            file.writelines(json.dumps(line) + "\n" for line in lines)

    def _digest(self, prompt: str) -> str:
        return hashlib.sha256("\0".join([*self._classes, prompt]).encode()).hexdigest()


class _Function:
    """Answers of a function."""

    tokens = 0

    def __init__(self, annotator: Annotator, classes: list[str]) -> None:
        self._annotator, self._classes = annotator, classes

    def __call__(self, prompts: list[str]) -> Iterator[list[float]]:
        answers = list(self._annotator(prompts))
        if len(answers) != len(prompts):
            raise ValueError(f"annotator must return an answer for each of {len(prompts)} prompts, got {len(answers)}")
        return (self._read(answer) for answer in answers)

    def _read(self, answer: Any) -> list[float]:
        nothing = [float("nan")] * len(self._classes)
        if isinstance(answer, Mapping):
            values = np.array([float(answer.get(name, 0.0)) for name in self._classes])
            if not np.isfinite(values).all() or values.min() < 0 or values.sum() <= 0:
                raise ValueError(f"annotator returned probabilities that are none: {dict(answer)}")
            return [float(values.argmax()), *(values / values.sum())]
        if isinstance(answer, int | np.integer):
            if not ABSTAIN <= answer < len(self._classes):
                raise ValueError(f"annotator returned class {answer}, but there are {len(self._classes)} classes")
            return [float(answer), *nothing]
        return [float(named_class(answer or "", self._classes)), *nothing]


def named_class(answer: str, classes: Sequence[str]) -> int:
    """The only class that an answer names, as a word; -1 if it names none or several."""
    text = " ".join(re.findall(r"\w+", answer.casefold()))
    names = [" ".join(re.findall(r"\w+", name.casefold())) for name in classes]
    if text in names:
        return names.index(text)
    named = [name for name in names if re.search(rf"\b{re.escape(name)}\b", text)]
    # "not toxic" names "toxic" only as a part of it.
    longest = [name for name in named if not any(name != other and name in other for other in named)]
    return names.index(longest[0]) if len(longest) == 1 else ABSTAIN


class _Scorer:
    """Probabilities of the class names as the continuation of prompts, by a causal language model."""

    def __init__(self, pipeline: Any, classes: list[str]) -> None:
        self._model, self._tokenizer, self.tokens = pipeline.model, pipeline.tokenizer, 0
        self._names = [self._tokenizer(f" {name}", add_special_tokens=False)["input_ids"] for name in classes]
        limit = getattr(self._model.config, "max_position_embeddings", None) or 1 << 30
        self._limit = min(limit, self._tokenizer.model_max_length) - max(map(len, self._names))

    @torch.no_grad()
    def __call__(self, prompts: list[str]) -> Iterator[list[float]]:
        starts = [self._tokenizer(prompt)["input_ids"][-self._limit :] for prompt in prompts]
        # Names of one token are all scored by one pass over the prompt.
        before = list(dict.fromkeys(tuple(name[:-1]) for name in self._names))
        sequences = [[*start, *tokens] for start in starts for tokens in before]
        self.tokens += sum(map(len, sequences))
        ids = torch.zeros(len(sequences), max(map(len, sequences)), dtype=torch.long)
        mask = torch.zeros_like(ids)
        for number, sequence in enumerate(sequences):
            ids[number, : len(sequence)] = torch.tensor(sequence)
            mask[number, : len(sequence)] = 1
        self._model.eval()
        device = self._model.device
        logits = self._model(input_ids=ids.to(device), attention_mask=mask.to(device)).logits.float().cpu()
        logs = logits.log_softmax(dim=-1).unflatten(0, (len(prompts), len(before)))
        scores = torch.stack(
            [
                _of_name(of_prompt[before.index(tuple(name[:-1]))], len(start), name)
                for of_prompt, start in zip(logs, starts, strict=True)
                for name in self._names
            ]
        )
        shares = scores.view(len(prompts), -1).double().softmax(dim=1)
        return ([float(row.argmax()), *row.tolist()] for row in shares)


def _of_name(logs: torch.Tensor, start: int, name: list[int]) -> torch.Tensor:
    """Log-probability of the tokens of a name after a prompt of `start` tokens."""
    places = torch.arange(start - 1, start + len(name) - 1)
    return logs[places, torch.tensor(name)].sum()
