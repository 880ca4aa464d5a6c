"""The metrics as modules of `evaluate`, loaded from the package: no network, no script on the Hub."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from hf_noisy.metrics.calibration import calibration_scores
from hf_noisy.metrics.detection import detection_scores
from hf_noisy.metrics.label_accuracy import accuracy_by_noise, relabelling_scores

# For `evaluate.load`, with the name of a metric as its configuration.
SCRIPT = str(Path(__file__).with_name("noisy_labels.py"))
_CITATION = "Guo et al., On Calibration of Modern Neural Networks, ICML 2017; Brier, Monthly Weather Review 78, 1950"


@dataclass(frozen=True)
class _Spec:
    compute: Callable[..., dict[str, float]]
    inputs: dict[str, str]  # name -> type of a row; a list is a row of probabilities
    settings: tuple[str, ...]
    description: str
    citation: str = ""


_LABELS = {"predictions": "int64", "references": "int64", "given_labels": "int64"}
_SPECS = {
    "accuracy_by_noise": _Spec(
        lambda predictions, references, given: accuracy_by_noise(predictions, given, references),
        _LABELS,
        (),
        "Accuracy on rows whose given label is right and where it is wrong. predictions: class ids; references: true "
        "labels; given_labels: the noisy ones.",
    ),
    "calibration": _Spec(
        lambda predictions, references, **settings: calibration_scores(references, predictions, **settings),
        {"predictions": "list", "references": "int64"},
        ("num_bins", "binning"),
        "ECE, MCE and Brier score. predictions: probabilities, a list per row; references: class ids.",
        _CITATION,
    ),
    "detection": _Spec(
        lambda predictions, references, **settings: detection_scores(predictions, references != 0, **settings),
        {"predictions": "float64", "references": "int64"},
        ("k", "threshold"),
        "AUROC, AUPRC, precision at k and F1 of a score for wrong labels. predictions: scores, the higher the more "
        "suspicious; references: 1 where the given label is wrong, else 0.",
    ),
    "label_quality": _Spec(
        lambda predictions, references, given: relabelling_scores(predictions, given, references),
        _LABELS,
        (),
        "Label accuracy before and after, labels corrected and broken. predictions: the new labels; references: true "
        "labels; given_labels: the labels before.",
    ),
}
# Metric -> names of its settings.
SETTINGS = {name: spec.settings for name, spec in _SPECS.items()}


def load(name: str, **settings: Any) -> Any:
    """A metric as an `evaluate.Metric`, with `add_batch`, `compute`, and a place in `evaluate.combine`.

    Args:
        name: `"accuracy_by_noise"`, `"calibration"`, `"detection"` or `"label_quality"`; their `inputs_description`
            lists the inputs.
        settings: Settings of the metric (`num_bins`, `binning`, `k`, `threshold`), which `compute` may override, and
            of `evaluate.Metric` (`keep_in_memory`, `num_process`, `process_id`, `experiment_id`, `cache_dir`).

    Returns:
        The metric.

    Raises:
        ValueError: If `name` is not known, or a setting is not one of the metric's.

    Example:
        ```python
        calibration = hf_noisy.metrics.load("calibration", num_bins=10)
        calibration.compute(predictions=[[0.9, 0.1], [0.2, 0.8]], references=[0, 0])
        ```
    """
    return metric_class()(name, **settings)


@cache
def metric_class() -> type[Any]:
    """The class of all metrics, created on the first call, since `evaluate` takes seconds to import."""
    import datasets
    import evaluate

    class NoisyLabels(evaluate.Metric):  # type: ignore[misc]  # evaluate has no types
        def __init__(self, config_name: str | None = None, **settings: Any) -> None:
            spec = _spec(config_name)
            self._settings = {key: settings.pop(key) for key in spec.settings if key in settings}
            if wrong := settings.keys() & {key for other in _SPECS.values() for key in other.settings}:
                raise ValueError(f"{config_name} has no setting {min(wrong)!r}; {_settings_of(spec)}")
            super().__init__(config_name, **settings)
            # `evaluate.combine` uses it as prefix if two modules share a name.
            self.info.module_name = config_name

        def _info(self) -> Any:
            spec = _spec(self.config_name)
            kinds = {kind: datasets.Value(kind) for kind in ("int64", "float64")}
            kinds["list"] = datasets.List(datasets.Value("float64"))
            return evaluate.MetricInfo(
                description=spec.description,
                citation=spec.citation,
                inputs_description=spec.description,
                features=datasets.Features({name: kinds[kind] for name, kind in spec.inputs.items()}),
            )

        def _compute(self, **inputs: Any) -> dict[str, float]:
            spec = _spec(self.config_name)
            columns = {name: _column(name, inputs.pop(name), kind) for name, kind in spec.inputs.items()}
            if wrong := inputs.keys() - set(spec.settings):
                raise ValueError(f"{self.config_name} has no setting {min(wrong)!r}; {_settings_of(spec)}")
            return spec.compute(*columns.values(), **{**self._settings, **inputs})

    return NoisyLabels


def _spec(name: str | None) -> _Spec:
    if name not in _SPECS:
        raise ValueError(f"metric must be one of {', '.join(_SPECS)}, got {name!r}")
    return _SPECS[name]


def _settings_of(spec: _Spec) -> str:
    return f"it takes {', '.join(spec.settings)}" if spec.settings else "it takes none"


def _column(name: str, values: Any, kind: str) -> Shaped[np.ndarray, "..."]:
    if kind == "list" and len({len(row) for row in values}) > 1:
        raise ValueError(f"{name} must have the same number of classes in each row, got rows of different lengths")
    try:
        return np.asarray(values, dtype=np.int64 if kind == "int64" else np.float64)
    except TypeError:
        raise ValueError(f"{name} must have a value in each row, got None; leave those rows out") from None
