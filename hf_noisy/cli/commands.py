"""The commands: read rows, call the library, and write a folder with data, card, figures and report."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, DatasetDict
from huggingface_hub import DatasetCard

from hf_noisy.cli import list_commands
from hf_noisy.cli.checked_figures import NOT_RANDOM, interval_fact, noise_figures
from hf_noisy.cli.early_checks import NOISES
from hf_noisy.cli.findings import FINDING_TITLES, finding_counts, write_findings
from hf_noisy.cli.outputs import FINDINGS, REPORT, OutputFolder, complete_if_not_pushed, write_output
from hf_noisy.cli.page import make_report, random_rows_page
from hf_noisy.cli.purifier_name import purifier_name
from hf_noisy.cli.reading_options import ReadingOptions
from hf_noisy.cli.source import Features, add_features
from hf_noisy.cli.votes_of_rows import vote_figures, votes_of_rows, with_disagreement
from hf_noisy.core.columns import (
    CLEAN_LABEL,
    FEATURES,
    LABEL,
    LABEL_CONFIDENCE,
    LABEL_DISAGREEMENT,
    LABEL_GIVEN,
    LABEL_POSTERIOR,
    LABEL_QUALITY,
    LABEL_SUGGESTED,
    LABEL_SUSPECTED,
    column_array,
    column_vectors,
    stored_column,
)
from hf_noisy.core.file_names import STANDARD_INPUT
from hf_noisy.core.files import clear_os_errors
from hf_noisy.core.phases import phase
from hf_noisy.data.checked import CheckedRows, checked_rows
from hf_noisy.data.decision_lines import read_decisions
from hf_noisy.data.flat_labels import HELD, task_of_labels
from hf_noisy.data.labelled_rows import LabelledRows, labelled_rows, true_noise
from hf_noisy.data.load import load_noisy_dataset, make_noise
from hf_noisy.data.noise import inject_noise
from hf_noisy.data.reading.image_columns import with_image_bytes
from hf_noisy.data.records import noise_record, rows_left_out
from hf_noisy.data.replace_column import with_column
from hf_noisy.data.tables import without_table_features
from hf_noisy.data.texts import count_empty
from hf_noisy.detection.audit import Audit, check_auditable
from hf_noisy.detection.audit import audit as run_audit
from hf_noisy.detection.evidence import UNINFORMED
from hf_noisy.hub.dataset_card import audit_card, injected_card, purified_card
from hf_noisy.hub.publish import push_dataset_to_hub
from hf_noisy.purification import PURIFIERS, summarise
from hf_noisy.purification import purify as run_purify
from hf_noisy.purification.decisions import apply_decisions
from hf_noisy.purification.dmlp.dmlp import ridge_posterior
from hf_noisy.purification.label_missing import with_predicted_labels
from hf_noisy.purification.policies import check_purifiable
from hf_noisy.purification.restore import DROPPED
from hf_noisy.purification.unchanged_rows import numbered, put_back, same_columns
from hf_noisy.reports.html import Report, write_report

# In the report of `purify`.
_DECIDED = (
    "Apply decisions to the file that was purified, not to the output; rows without a decision keep their given label."
)
_OF_VOTES = {LABEL_CONFIDENCE: "votes_confidence", LABEL_POSTERIOR: "votes_posterior"}
_PACKAGES = ("hf-noisy", "datasets", "scikit-learn", "torch", "transformers")


@dataclass(frozen=True)
class Job:
    """The common options of the commands."""

    source: str
    output: OutputFolder
    reading: ReadingOptions
    push_to_hub: str | None = None
    private: bool = False
    split: str = "train"
    trust_remote_code: bool = False

    @property
    def name(self) -> str:
        """The name of the dataset for a card, without local folders."""
        if self.source == STANDARD_INPUT:
            return "standard input"
        return Path(self.source).name.split(".")[0] if Path(self.source).exists() else self.source

    @phase("reading")
    def load(self) -> DatasetDict:
        """All splits of the source, with the column names of the package."""
        if self.private and self.push_to_hub is None:
            raise ValueError("--private is about --push-to-hub; pass both, or leave it out")
        splits = load_noisy_dataset(self.source, **self.reading.given())
        if self.split not in splits:
            raise ValueError(f"--split must be one of {', '.join(splits)}, got '{self.split}'")
        return splits

    def labelled(self, splits: DatasetDict) -> LabelledRows:
        """The rows of the split that have a label; the others are counted."""
        found = labelled_rows(splits[self.split])
        if not len(found.index):
            raise ValueError(f"no row of split '{self.split}' has a label; name the column with --label-column")
        if len(found.missing):
            print(f"{len(found.missing):,} of {len(found.whole):,} rows have no label")
        return found

    def finish(
        self,
        splits: DatasetDict,
        card: DatasetCard,
        summary: dict[str, Any],
        page: Report | None = None,
        findings: Callable[[Path], None] | None = None,
    ) -> None:
        """Write the folder, then push it: if the connection breaks, only the push must be repeated."""
        if left_out := rows_left_out(splits[self.split]):
            summary["unreadable_rows_left_out"] = left_out
        splits = DatasetDict({split: without_table_features(rows) for split, rows in splits.items()})
        if empty := count_empty(splits[self.split]):
            summary = {**summary, "empty_texts": empty}
        with tempfile.TemporaryDirectory() as scratch:
            splits = with_image_bytes(splits, Path(scratch))
            with self.output.new() as folder, clear_os_errors(self.output.path):
                versions = {name: version(name) for name in _PACKAGES}
                with phase("report"):
                    if page is not None:
                        write_report(page, folder / REPORT)
                    if findings is not None:
                        findings(folder / FINDINGS)
                write_output(folder, splits, card, {**summary, "versions": versions})
            if self.push_to_hub is not None:
                with complete_if_not_pushed(self.output, self.push_to_hub, self.private):
                    push_dataset_to_hub(splits, self.push_to_hub, card, private=self.private or None)


def inject(job: Job, noise_type: str, noise_rate: float, noise_seed: int) -> None:
    """`hf-noisy inject`: noise in one split, its record in `summary.json`."""
    splits, split = job.load(), job.split
    labelled = job.labelled(splits)
    if noise_type not in (fitting := NOISES[task := task_of_labels(labelled.rows)]):
        raise ValueError(f"--noise-type must be {' or '.join(fitting)} for {HELD[task]}, got '{noise_type}'")
    noise = make_noise(noise_type, noise_rate, job.source)
    noisy = inject_noise(labelled.rows, noise, seed=noise_seed, stream=split, allow_empty_classes=True)
    record = noise_record(noisy) or {}
    splits[split] = put_back(noisy, labelled)
    for name, rows in splits.items():
        if CLEAN_LABEL not in rows.column_names:  # labels without injected noise count as true
            splits[name] = with_column(rows, CLEAN_LABEL, stored_column(rows, LABEL), rows.features[LABEL])
    splits = same_columns(splits, split)
    summary = {"command": "inject", "split": split, "rows": len(noisy), "noise": record}
    job.finish(splits, injected_card(splits, split, name=job.name), summary)
    print(f"{record['rate_measured']:.1%} of {list_commands.counted(noisy)} are wrong now; written to {job.output}")


def audit(job: Job, checked: Path | None, votes: Path | None, model: str | None, dtype: str, seed: int) -> None:
    """`hf-noisy audit`: the unchanged rows with a quality and suggestion per label, the findings and the report."""
    splits, split = job.load(), job.split
    if list_commands.has_lists(splits[split]):
        if votes is not None:
            raise ValueError("--votes are for rows with one label each; leave them out")
        return list_commands.audit(job, splits, checked, model, dtype, seed)
    added = (LABEL_QUALITY, LABEL_SUSPECTED, LABEL_SUGGESTED, LABEL_DISAGREEMENT)
    if taken := [name for name in added if name in splits[split].column_names]:
        raise ValueError(f"the data already has a column '{taken[0]}', which an audit adds; rename or remove it")
    labelled = job.labelled(splits)
    check_auditable(labelled.rows, labelled.index)  # before anything is embedded
    looked_at, answers = checked_rows(splits[split], checked), votes_of_rows(votes, labelled)
    made = add_features(labelled.rows, model, job.trust_remote_code, dtype)
    rows = made.rows
    found = run_audit(rows, seed=seed, checked=labelled.among(looked_at), votes=answers)
    issues = found.issues
    summary = {
        "command": "audit",
        "split": split,
        "rows": len(rows),
        "rows_without_label": len(labelled.missing),
        **made.to_dict(),
        "seed": seed,
        **noise_figures(found),
        "suspected_rows": int(issues.is_wrong.sum()),
        "findings": finding_counts(found),
        **vote_figures(answers),
    }
    if (true_rate := true_noise(rows, found.labels)) is not None:
        summary["true_noise_rate"] = true_rate
    notes = [
        _how(made),
        "The classes are counted from predictions, so rows that are hard to predict are among the confused ones.",
        "Suspicion is no proof: look before you change a label.",
    ]
    lead = "How noisy the given labels are."
    check = random_rows_page(job.name, labelled, looked_at, seed=seed)
    page = make_report(job.name, labelled, found, lead=lead, facts={}, notes=notes, check=check, votes=answers)
    audited = with_column(labelled.rows, LABEL_QUALITY, issues.quality.astype(np.float32))
    audited = with_column(audited, LABEL_SUSPECTED, issues.is_wrong)
    audited = with_column(audited, LABEL_SUGGESTED, issues.suggested, rows.features[LABEL])
    audited = with_disagreement(audited, found)
    splits[split] = put_back(audited, labelled)
    splits = same_columns(splits, split)
    write = partial(write_findings, found, labelled.index)
    job.finish(splits, audit_card(splits, split, found, name=job.name), summary, page, write)
    print(_how_noisy(found))
    if answers is not None:
        votes_of = summary["votes"]
        print(
            "{answers:,} answers of {annotators} annotators; {rows_without_vote:,} rows have none".format(**votes_of)
        )
    counts = {"suspected labels": summary["suspected_rows"]}
    counts |= {title: summary["findings"][key] for key, title in FINDING_TITLES.items()}
    print(", ".join(f"{title}: {count:,}" for title, count in counts.items()))
    print(f"look at {job.output.path / REPORT}")


def purify(
    job: Job,
    purifier: str | None,
    policy: str,
    min_confidence: float | None,
    max_wrong: float | None,
    checked: Path | None,
    model: str | None,
    dtype: str,
    seed: int,
    label_missing: bool,
) -> None:
    """`hf-noisy purify`: corrected labels with their provenance, and the report."""
    if purifier is not None:
        purifier_name(purifier)  # refuses an unknown one before the rows are read
    splits, split = job.load(), job.split
    if list_commands.has_lists(splits[split]):
        unused = {"max_wrong": max_wrong, "label_missing": label_missing, "checked": checked}
        return list_commands.purify(job, splits, purifier, policy, min_confidence, model, dtype, seed, **unused)
    _check_dropped(splits, policy == "drop")
    labelled = job.labelled(splits)
    check_auditable(labelled.rows, labelled.index)  # before anything is embedded
    every_checked = checked_rows(splits[split], checked)
    looked_at = labelled.among(every_checked)
    purifier = purifier or ("evidence" if looked_at is None else "checked")
    chosen = purifier_name(purifier, has_checked=looked_at is not None)
    check_purifiable(labelled.rows, chosen, policy, looked_at, min_confidence, max_wrong)
    made = add_features(labelled.whole if label_missing else labelled.rows, model, job.trust_remote_code, dtype)
    embedded = made.rows
    rows = embedded.select(labelled.index) if label_missing else embedded
    found = run_audit(rows, seed=seed, checked=looked_at)
    if min_confidence is None and max_wrong is None:
        min_confidence = PURIFIERS[chosen].min_confidence
    options: dict[str, Any] = {}
    baseline = {"ridge_baseline": _ridge(rows, looked_at)} if chosen.startswith("dmlp") else {}
    if chosen == "confident_learning":  # the audit has made its predictions anyway
        options = {"probabilities": found.probabilities}
    elif chosen in ("evidence", "checked"):
        options = {"seed": seed}
    options |= {"min_confidence": min_confidence, "max_wrong": max_wrong, "checked": looked_at}
    purified: Any = run_purify(rows, chosen, policy, **options)  # type: ignore[call-overload]
    parts = _parts(purified, split, labelled)
    if label_missing and len(labelled.missing):
        others = embedded.select(labelled.missing)
        parts[split] = with_predicted_labels(parts, split, others, labelled.missing, every_checked)
    # Computed vectors would be larger than all other columns.
    made_here = [name for name in rows.column_names if name not in splits[split].column_names]
    parts = {name: part.remove_columns(made_here) for name, part in parts.items()}
    summary = summarise(DatasetDict(parts))
    facts = {"labels changed": f"{summary.changed:,}", "labels kept": f"{summary.rows - summary.changed:,}"}
    if summary.estimated_noise_before is not None:
        facts["noise by the posterior, before"] = _percent(summary.estimated_noise_before)
        facts["noise by the posterior, after"] = _percent(summary.estimated_noise_after)
    if summary.true_noise_before is not None:
        true_noise = (summary.true_noise_before, summary.true_noise_after)
        facts["true noise, before and after"] = ", ".join(map(_percent, true_noise))
    if looked_at is not None:
        facts["rows checked"] = f"{len(looked_at):,}"
    if baseline:
        facts["ridge regression alone would change"] = f"{baseline['ridge_baseline']['changed']:,}"
    lead = f"The given labels as corrected by '{purifier}', policy '{policy}'."
    page = make_report(
        job.name, labelled, found, lead=lead, facts=facts, notes=[_how(made), _DECIDED, *filter(None, [summary.note])]
    )
    result = same_columns(DatasetDict({**splits, **parts}), split)
    figures: dict[str, Any] = {"command": "purify", "split": split, "policy": policy, "min_confidence": min_confidence}
    figures |= {"max_wrong": max_wrong, **made.to_dict(), "seed": seed, "summary": summary.to_dict(), **baseline}
    figures["findings"] = finding_counts(found)
    job.finish(result, purified_card(result, split, summary, name=job.name), figures, page)
    print(f"{summary}\n\nbefore: {_how_noisy(found)}\nwritten to {job.output}")


def _how_noisy(found: Audit) -> str:
    """How many given labels are wrong, in one sentence."""
    rate, rows = found.issues.noise_rate, len(found.labels)
    if not found.rate_is_known:
        return f"how many of {rows:,} labels are wrong is unknown: {UNINFORMED}"
    about = f"about {rate.rate:.1%} of {rows:,} labels are wrong"
    if found.estimates is not None:
        return f"{about} ({': '.join(interval_fact(found))})"
    assumed = f"{about} if errors are random, and {rate.low:.1%} to {rate.high:.1%} if they may follow rules"
    if found.checked is not None:
        return f"{assumed}. {NOT_RANDOM}"
    return f"{assumed}, which only rows checked at random show (hf-noisy check)"


def apply(job: Job, decisions: Path) -> None:
    """`hf-noisy apply`: the decisions made in the report."""
    decided = read_decisions(decisions)
    splits, split = job.load(), job.split
    if list_commands.has_lists(splits[split]):
        return list_commands.apply(job, splits, decisions)
    if LABEL_GIVEN in splits[split].column_names:
        raise ValueError(f"the data was purified already (column '{LABEL_GIVEN}'); pass the data before that")
    _check_dropped(splits, any(one.decision == "drop" for one in decided))
    splits[split] = _of_votes_renamed(splits[split])
    labelled = job.labelled(splits)
    parts = _parts(apply_decisions(labelled.rows, decided, labelled.index), split, labelled)
    summary = summarise(DatasetDict(parts))
    result = same_columns(DatasetDict({**splits, **parts}), split)
    counts = {kind: sum(one.decision == kind for one in decided) for kind in ("relabel", "drop", "keep")}
    figures = {"command": "apply", "split": split, "decisions": counts, "summary": summary.to_dict()}
    job.finish(result, purified_card(result, split, summary, name=job.name), figures)
    print(f"{summary.changed} rows relabelled, {counts['drop']} dropped, {counts['keep']} kept")
    print(f"written to {job.output}")


def _of_votes_renamed(rows: Dataset) -> Dataset:
    """The output of `aggregate`, where columns of its own would be taken for those of a purification."""
    columns = set(rows.column_names)
    if not columns >= _OF_VOTES.keys() or columns & set(_OF_VOTES.values()):
        return rows
    print("of the votes: " + ", ".join(f"column '{name}' is now '{new}'" for name, new in _OF_VOTES.items()))
    return rows.rename_columns(_OF_VOTES)


def _check_dropped(splits: DatasetDict, drops: bool) -> None:
    if drops and DROPPED in splits:
        raise ValueError(f"the data already has a split '{DROPPED}', which dropped rows would replace; rename it")


def _parts(purified: Dataset | DatasetDict, split: str, labelled: LabelledRows) -> dict[str, Dataset]:
    """The purified rows, with those without a label, under the split name of the source, and the dropped ones."""
    if isinstance(purified, Dataset):
        return {split: put_back(purified, labelled)}
    parts = dict(purified)
    dropped = {} if (rows := parts.pop(DROPPED, None)) is None else {DROPPED: numbered(rows, labelled)}
    (kept,) = parts.values()
    return {split: put_back(kept, labelled), **dropped}


def _ridge(rows: Dataset, checked: CheckedRows | None) -> dict[str, Any]:
    """The result of a ridge regression on the clean rows, to compare DMLP with."""
    features, given = column_vectors(rows, FEATURES), column_array(rows, LABEL)
    num_classes = rows.features[LABEL].num_classes
    clean = {"clean": "trusted"} if checked is None else {"checked": checked}
    best = ridge_posterior(features, given, num_classes=num_classes, **clean).argmax(1)
    found: dict[str, Any] = {"changed": int((best != given).sum())}
    if (noise := true_noise(rows, best)) is not None:
        found["true_noise_after"] = noise
    return found


def _how(made: Features) -> str:
    computed = "" if made.dtype is None else f", computed in {made.dtype}"
    return (
        f"Features: {made.made_from}{computed}. Class means, logistic regressions and a ridge regression predict each "
        "row without its own label; a linear layer was trained for the data map. None of them read a true label."
    )


def _percent(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.1%}"
