"""The card of a model that was trained on noisy labels."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from hf_noisy.core.task import task_of_config
from hf_noisy.hub.text import BEGIN, END, REPOSITORY, TAGS, code, escape, is_path, named_values, public_name

_TEMPLATE = Path(__file__).parent / "templates" / "model_card.md"
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
_IMPORTS = {
    "branched": "import hf_noisy.models.branches  # lets transformers load a model with several branches",
    "dygen": "import hf_noisy.dygen.exact  # lets transformers load DyGEN's posterior",
}
_FIGURES = {"entity_f1": "Entity F1", "micro_f1": "Micro F1", "accuracy": "Accuracy"}  # the first that there is
_CALLS = {"tokens": ', aggregation_strategy="simple"', "multi-label": ", top_k=None"}
_UNITS = {"tokens": "tags", "multi-label": "cells (row, class)"}
_SETTINGS = ("epochs", "learning_rate", "seed", "noise_seed", "selected_by")


def model_card(results: Mapping[str, Any], config: Mapping[str, Any] | None = None, *, name: str) -> ModelCard:
    """The card of a trained model: how to load it, what was noisy, the method, figures and limits.

    Args:
        results: What `hf_noisy.cli.train.train` returns, and `results.json` holds. Any key may be missing.
        config: Configuration of the model, as `model.config.to_dict()` or `config.json`.
        name: Of the model.

    Returns:
        The card; `push_model_to_hub` publishes it.

    Example:
        >>> card = model_card({"method": "gce", "test_accuracy_last": 0.5, "test_labels": "given"}, name="Letters")
        >>> card.data.eval_results[0].metric_name
        'Accuracy against given labels'
    """
    task = task_of_config(config or {}).pipeline_tag
    method, dataset = str(results.get("method", "unknown")), public_name(str(results.get("dataset") or "unknown"))
    figures = _eval_results(results, task, dataset)
    data = ModelCardData(
        model_name=_line(public_name(name)) if figures else None,
        library_name="transformers",
        pipeline_tag=task,
        tags=[*TAGS, method],
        base_model=_hub_id(_argument(results, "model_name_or_path")),
        datasets=[dataset] if _hub_id(results.get("dataset")) else None,
        metrics=[one.metric_type for one in figures] if figures else None,
        eval_results=figures,
    )
    options = _CALLS.get(str(results.get("task")), "")
    lines = ["from transformers import pipeline", "", f'classify = pipeline("{task}", model={REPOSITORY}{options})']
    if results.get("sentence_pairs"):
        lines.append('classify({"text": "the first text", "text_pair": "the second text"})')
    if needed := _IMPORTS.get(str((config or {}).get("model_type"))):
        lines.insert(0, needed)
    card: ModelCard = ModelCard.from_template(
        data,
        template_path=str(_TEMPLATE),
        title=escape(public_name(name)),
        begin=BEGIN,
        end=END,
        lead=f"Trained with {code(method)} on {_which(results)} labels, some of them wrong.",
        code="\n".join(lines),
        noise=_noise(results, dataset),
        method=f"Method {code(method)}" + named_values(results.get("method_args") or {}) + "." + _why(results),
        citation=escape(results.get("citation") or ""),
        settings=_settings(results),
        numbers=[[code(key), f"{value:.4f}"] for key, value in results.items() if _is_figure(key, value)],
        numbers_note=f"Test figures are against {_test_labels(results)} labels.",
        limits=_limits(results),
        versions=", ".join(f"{escape(key)} {escape(value)}" for key, value in results.get("versions", {}).items()),
    )
    return card


def _eval_results(results: Mapping[str, Any], task: str, dataset: str) -> list[EvalResult] | None:
    name = next((one for one in _FIGURES if results.get(f"test_{one}_last") is not None), None)
    if name is None:
        return None
    against = f"{_FIGURES[name]} against {_test_labels(results)} labels"
    shown, kind = _line(dataset), "accuracy" if name == "accuracy" else "f1"
    data: dict[str, Any] = {"task_type": task, "dataset_type": shown, "dataset_name": shown, "dataset_split": "test"}
    value = round(float(results[f"test_{name}_last"]), 6)
    return [EvalResult(**data, metric_type=kind, metric_value=value, metric_name=against)]


def _noise(results: Mapping[str, Any], dataset: str) -> list[list[str]]:
    rate = results.get("noise_rate")
    rows: list[list[Any]] = [
        ["dataset", dataset if results.get("dataset") else None],
        ["training rows", results.get("num_train")],
        ["classes", results.get("num_classes")],
        ["rows checked by a person", results.get("checked_rows")],
        ["noise injected", (results["noise_type"] or "none in this training") if "noise_type" in results else None],
        ["requested noise rate", _percent(results.get("noise_rate_asked"))],
        ["labels", _UNITS.get(str(results.get("task")))],
        ["share of missing labels assumed", _percent(results.get("missing_rate"))],
        ["wrong training labels", "not measured" if rate is None else _percent(rate)],
        ["purifier", _purifier(results)],
        ["wrong labels after it", _percent(results.get("noise_rate_purified"))],
    ]
    return [[title, escape(value)] for title, value in rows if value is not None]


def _which(results: Mapping[str, Any]) -> str:
    return "corrected" if results.get("policy") in ("relabel", "soft") else "given"


def _purifier(results: Mapping[str, Any]) -> str | None:
    if "purifier" not in results:
        return None
    return f"{results['purifier']}, policy {results.get('policy')}: {results.get('labels_changed'):,} labels overruled"


def _settings(results: Mapping[str, Any]) -> list[list[str]]:
    base = _argument(results, "model_name_or_path")
    values = {name: results.get(name) for name in _SETTINGS} | dict(results.get("training", {}))
    values["start"] = None if base is None else public_name(base)
    return [[code(name), escape(value)] for name, value in values.items() if value is not None]


def _limits(results: Mapping[str, Any]) -> list[str]:
    limits = ["One run with one seed; the variance between seeds was not measured."]
    if "test_labels" in results and _test_labels(results) != "true":
        limits.append("The test labels may be as noisy as the training labels, so these are not the true figures.")
    if results.get("noise_type"):
        limits.append("The noise was injected; noise from annotators or rules is harder.")
    return [*limits, "The model may have memorised wrong labels, especially for classes that are often confused."]


def _is_figure(key: str, value: Any) -> bool:
    return isinstance(value, float) and (key.startswith("test_") or key.endswith("_last"))


def _why(results: Mapping[str, Any]) -> str:
    why = results.get("method_why")
    return f" Chosen before training by {code('method=auto')}: {escape(why)}." if why else ""


def _test_labels(results: Mapping[str, Any]) -> str:
    return "true" if results.get("test_labels") == "true" else "given"


def _argument(results: Mapping[str, Any], name: str) -> str | None:
    value = results.get("arguments", {}).get(name)
    return None if value is None else str(value)


def _hub_id(name: Any) -> str | None:
    return name if isinstance(name, str) and _HUB_ID.fullmatch(name) and not is_path(name) else None


def _line(text: str) -> str:
    return " ".join(text.split())


def _percent(value: float | None) -> str | None:
    return None if value is None else f"{100 * value:.2f} %"
