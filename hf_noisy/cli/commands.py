"""What the commands do: read rows, call the library, leave a folder with data, card, figures and report."""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args

import numpy as np
from datasets import Dataset, DatasetDict
from huggingface_hub import DatasetCard

from hf_noisy.cli.outputs import REPORT, SUMMARY, check_output, new_folder, write_output
from hf_noisy.cli.page import make_report
from hf_noisy.cli.source import Columns, add_features, load_rows, modality
from hf_noisy.cli.train import ImageArguments, TextArguments, parse
from hf_noisy.cli.train import train as run_training
from hf_noisy.core.columns import (
    CLEAN_LABEL,
    FEATURES,
    IMAGE,
    LABEL,
    LABEL_QUALITY,
    LABEL_SUGGESTED,
    LABEL_SUSPECTED,
    TEXT,
)
from hf_noisy.core.files import clear_os_errors
from hf_noisy.data.load import make_noise
from hf_noisy.data.noise import inject_noise
from hf_noisy.data.records import noise_record
from hf_noisy.detection.audit import audit as run_audit
from hf_noisy.hub.dataset_card import audit_card, injected_card, purified_card
from hf_noisy.hub.model_card import model_card
from hf_noisy.hub.publish import push_dataset_to_hub, push_model_to_hub
from hf_noisy.purify import PURIFIERS, summarise
from hf_noisy.purify import purify as run_purify
from hf_noisy.purify.decisions import apply_decisions, read_decisions
from hf_noisy.purify.dmlp.dmlp import ridge_posterior
from hf_noisy.purify.policies import Policy
from hf_noisy.purify.restore import DROPPED
from hf_noisy.reports.html import write_report

_PACKAGES = ("hf-noisy", "datasets", "scikit-learn", "torch", "transformers")


def inject(
    source: str, output: Path, noise_type: str, noise_rate: float, noise_seed: int, *, columns: Columns, split: str,
    overwrite: bool, push_to_hub: str | None,
) -> None:  # fmt: skip
    """`hf-noisy inject`: noise in one split, its record in `summary.json`."""
    check_output(output, overwrite)
    splits = load_rows(source, columns, split)
    noise = make_noise(noise_type, noise_rate)
    splits[split] = inject_noise(splits[split], noise, seed=noise_seed, stream=split)
    record = noise_record(splits[split]) or {}
    summary = {"command": "inject", "split": split, "rows": len(splits[split]), "noise": record, **_versions()}
    _finish(splits, injected_card(splits, split, name=_name(source)), summary, output, overwrite, push_to_hub)
    print(f"{record['rate_measured']:.1%} of {len(splits[split]):,} labels are wrong now; written to {output}")


def audit(
    source: str, output: Path, model: str | None, *, columns: Columns, split: str, seed: int, overwrite: bool,
    push_to_hub: str | None,
) -> None:  # fmt: skip
    """`hf-noisy audit`: the rows as they are, with what speaks against each label, and the report."""
    check_output(output, overwrite)
    splits = load_rows(source, columns, split)
    findings = (LABEL_QUALITY, LABEL_SUSPECTED, LABEL_SUGGESTED)
    if taken := [name for name in findings if name in splits[split].column_names]:
        raise ValueError(f"the data already has a column '{taken[0]}', which an audit adds; rename or remove it")
    rows, encoder = add_features(splits[split], model)
    found = run_audit(rows, seed=seed)
    rate = found.issues.noise_rate
    summary = {
        "command": "audit", "split": split, "rows": len(rows), "encoder": encoder, "seed": seed,
        "noise_rate": {"estimate": rate.rate, "low": rate.low, "high": rate.high},
        "suspected_rows": int(found.issues.is_wrong.sum()), **_true_rate(rows), **_versions(),
    }  # fmt: skip
    notes = [_how(encoder), "Suspicion is no proof: look before you change a label."]
    page = make_report(_name(source), splits[split], found, lead="How noisy the given labels are.", facts={},
                       notes=notes)  # fmt: skip
    splits[split] = _with_findings(splits[split], found)
    card = audit_card(splits, split, found, name=_name(source))
    _finish(splits, card, summary, output, overwrite, push_to_hub, page)
    print(f"about {rate.rate:.1%} of {len(rows):,} labels are wrong ({rate.low:.1%} to {rate.high:.1%}); "
          f"look at {output / 'report.html'}")  # fmt: skip


def purify(
    source: str, output: Path, purifier: str, policy: str, min_confidence: float, clean_column: str | None,
    model: str | None, *, columns: Columns, split: str, seed: int, overwrite: bool, push_to_hub: str | None,
) -> None:  # fmt: skip
    """`hf-noisy purify`: corrected labels with their provenance, and the report."""
    check_output(output, overwrite)
    choices = [name for name, one in PURIFIERS.items() if one.needs_features]
    if purifier not in choices:
        raise ValueError(f"--purifier must be one of {', '.join(choices)}, got '{purifier}'")
    if policy not in get_args(Policy):
        raise ValueError(f"--policy must be one of {', '.join(get_args(Policy))}, got '{policy}'")
    if clean_column is not None and purifier != "dmlp":
        raise ValueError(f"--clean-column is for --purifier dmlp, and '{purifier}' would not read it; leave one out")
    splits = load_rows(source, columns, split)
    _check_dropped(splits, policy == "drop")
    rows, encoder = add_features(splits[split], model)
    found = run_audit(rows, seed=seed)
    chosen, options = _clean_rows(purifier, rows, clean_column)
    if PURIFIERS[chosen].of_predictions is not None:  # the audit has made predictions anyway
        options["probabilities"] = found.probabilities
    purified: Any = run_purify(rows, chosen, policy, min_confidence=min_confidence, **options)  # type: ignore[call-overload]
    summary = summarise(purified)
    facts = {"labels changed": f"{summary.changed:,}", "labels kept": f"{summary.rows - summary.changed:,}",
             "noise before, estimated": _percent(summary.estimated_noise_before),
             "noise after, estimated": _percent(summary.estimated_noise_after)}  # fmt: skip
    if summary.true_noise_before is not None:
        facts["true noise, before and after"] = (
            f"{_percent(summary.true_noise_before)}, {_percent(summary.true_noise_after)}"
        )
    baseline = {}
    if chosen.startswith("dmlp"):
        baseline["ridge_baseline"] = _ridge(rows, options or {"clean": "trusted"})
        facts["ridge regression alone would change"] = f"{baseline['ridge_baseline']['changed']:,}"
    lead = f"What '{purifier}' made of the given labels, policy '{policy}'."
    page = make_report(_name(source), splits[split], found, lead=lead, facts=facts, notes=[_how(encoder)])
    # Vectors that the command made are of no use to the reader of the file, and larger than all the rest.
    made_here = [name for name in rows.column_names if name not in splits[split].column_names]
    parts = {name: part.remove_columns(made_here) for name, part in _parts(purified, split).items()}
    result = DatasetDict({**splits, **parts})
    figures = {"command": "purify", "split": split, "policy": policy, "min_confidence": min_confidence,
               "encoder": encoder, "seed": seed, "summary": summary.to_dict(), **baseline, **_versions()}  # fmt: skip
    card = purified_card(result, split, summary, name=_name(source))
    _finish(result, card, figures, output, overwrite, push_to_hub, page)
    print(f"{summary}\nwritten to {output}")


def apply(
    decisions: Path, source: str, output: Path, *, columns: Columns, split: str, overwrite: bool,
    push_to_hub: str | None,
) -> None:  # fmt: skip
    """`hf-noisy apply`: what a person decided in the report."""
    check_output(output, overwrite)
    decided = read_decisions(decisions)
    splits = load_rows(source, columns, split)
    _check_dropped(splits, any(one.decision == "drop" for one in decided))
    applied = apply_decisions(splits[split], decided)
    summary = summarise(applied)
    result = DatasetDict({**splits, **_parts(applied, split)})
    counts = {kind: sum(one.decision == kind for one in decided) for kind in ("relabel", "drop", "keep")}
    figures = {"command": "apply", "split": split, "decisions": counts, "summary": summary.to_dict(), **_versions()}
    _finish(result, purified_card(result, split, summary, name=_name(source)), figures, output, overwrite, push_to_hub)
    print(f"{summary.changed} rows relabelled, {counts['drop']} dropped, {counts['keep']} kept; written to {output}")


def train(
    source: str, output: Path, method: str, model: str | None, words: list[str], *, columns: Columns,
    overwrite: bool, push_to_hub: str | None,
) -> None:  # fmt: skip
    """`hf-noisy train`: leaves the model, its card and what it reached."""
    check_output(output, overwrite)
    text_column, image_column, label_column = columns
    kind = modality(load_rows(source, columns, "train")["train"])
    arguments_of = {TEXT: TextArguments, IMAGE: ImageArguments}[kind]
    named = {"dataset": source, "method": method, "model_name_or_path": model, "label_column": label_column,
             "text_column": text_column, "image_column": image_column, "save_model": "true"}  # fmt: skip
    options = [word for name, value in named.items() if value is not None for word in (f"--{name}", value)]
    with new_folder(output, overwrite) as folder:
        arguments, training = parse(
            arguments_of, [*options, *words, "--output_dir", str(folder)], prog="hf-noisy train"
        )
        results = run_training(arguments, training)
        config = json.loads((folder / "config.json").read_text("utf-8"))
        card = model_card(results, config, name=f"{_name(source)}-{method}")
        card.save(folder / "README.md")
        (folder / SUMMARY).write_text(json.dumps({"command": "train", **results}, indent=2), encoding="utf-8")
    if push_to_hub is not None:
        push_model_to_hub(output, push_to_hub, card)
    print(f"written to {output}")


def _check_dropped(splits: DatasetDict, drops: bool) -> None:
    if drops and DROPPED in splits:
        raise ValueError(f"the data already has a split '{DROPPED}', which dropped rows would replace; rename it")


def _parts(purified: Dataset | DatasetDict, split: str) -> dict[str, Dataset]:
    """The purified rows under the name that the source has for them, which the rows themselves may not know."""
    if isinstance(purified, Dataset):
        return {split: purified}
    return {DROPPED if name == DROPPED else split: part for name, part in purified.items()}


def _clean_rows(name: str, rows: Dataset, clean_column: str | None) -> tuple[str, dict[str, Any]]:
    """The purifier to run, and the rows that a person has checked."""
    if name != "dmlp":
        return name, {}
    if clean_column is None:
        return "dmlp_trusted", {}
    if clean_column not in rows.column_names:
        raise ValueError(f"--clean-column must be one of {', '.join(rows.column_names)}, got '{clean_column}'")
    return name, {"checked": np.asarray(rows[clean_column])}


def _ridge(rows: Dataset, clean: dict[str, Any]) -> dict[str, Any]:
    """What the simplest use of the clean rows gives, to compare DMLP with."""
    arrays = rows.with_format("numpy", columns=[FEATURES, LABEL])[:]
    classes = rows.features[LABEL].num_classes
    best = ridge_posterior(arrays[FEATURES], arrays[LABEL], num_classes=classes, **clean).argmax(1)
    found = {"changed": int((best != np.asarray(rows[LABEL])).sum())}
    if CLEAN_LABEL not in rows.column_names:
        return found
    return {**found, "true_noise_after": float((best != np.asarray(rows[CLEAN_LABEL])).mean())}


def _with_findings(rows: Dataset, found: Any) -> Dataset:
    issues = found.issues
    for name, values in ((LABEL_QUALITY, issues.quality.astype(np.float32)), (LABEL_SUSPECTED, issues.is_wrong)):
        rows = rows.add_column(name, values)
    return rows.add_column(LABEL_SUGGESTED, issues.suggested, feature=rows.features[LABEL])


def _finish(
    splits: DatasetDict, card: DatasetCard, summary: dict[str, Any], output: Path, overwrite: bool,
    push_to_hub: str | None, page: Any = None,
) -> None:  # fmt: skip
    with new_folder(output, overwrite) as folder, clear_os_errors(output):
        write_output(folder, splits, card, summary)
        if page is not None:
            write_report(page, folder / REPORT)
    # The folder is whole by now: a broken connection costs a rerun of the push and nothing else.
    if push_to_hub is not None:
        push_dataset_to_hub(splits, push_to_hub, card)


def _true_rate(rows: Dataset) -> dict[str, float]:
    if CLEAN_LABEL not in rows.column_names:
        return {}
    return {"true_noise_rate": float(np.mean(np.asarray(rows[CLEAN_LABEL]) != np.asarray(rows[LABEL])))}


def _name(source: str) -> str:
    # The last part only: the folders of a machine are nobody's business.
    return source if not Path(source).exists() else Path(source).name.split(".")[0]


def _how(encoder: str) -> str:
    return (
        f"Features: {encoder}. A logistic regression on them was cross-validated for the predictions, and a linear "
        "layer was trained for the data map. Neither read a true label."
    )


def _percent(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.1%}"


def _versions() -> dict[str, dict[str, str]]:
    return {"versions": {name: version(name) for name in _PACKAGES}}
