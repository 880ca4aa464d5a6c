"""Findings of tags and sets of classes as lines of the report."""

import numpy as np
from datasets import Dataset

from hf_noisy.data.decided_lists import NOT
from hf_noisy.data.flat_labels import flat_tags
from hf_noisy.data.row_digest import row_digests
from hf_noisy.data.texts import shown_texts
from hf_noisy.detection.list_audit import ListAudit
from hf_noisy.reports.html import MARK_BEGIN, MARK_END, SuspiciousRow

MAX_FINDINGS = 1000
_AROUND = 12  # words shown on each side of a span


def list_rows(rows: Dataset, audit: ListAudit) -> tuple[list[SuspiciousRow], list[str]]:
    """The findings, the most suspicious first, and the names of what they were given and would become."""
    return _spans(rows, audit) if audit.unit == "token" else _cells(rows, audit)


def _spans(rows: Dataset, audit: ListAudit) -> tuple[list[SuspiciousRow], list[str]]:
    """Neighbouring tokens under suspicion are one finding; its number is that of its first token."""
    flat, issues, names = flat_tags(rows), audit.issues, audit.class_names
    wrong = np.flatnonzero(issues.is_wrong & ~audit.is_checked)
    if not len(wrong):
        return [], []
    new = np.concatenate([[True], (np.diff(wrong) > 1) | (np.diff(flat.rows[wrong]) > 0)])
    runs = np.split(wrong, np.flatnonzero(new)[1:])
    runs = sorted(runs, key=lambda run: float(issues.quality[run].mean()))[:MAX_FINDINGS]
    digests, words = row_digests(rows), rows.with_format(None)["tokens"][:]
    texts = [
        (" ".join(names[tag] for tag in audit.given[run]), " ".join(names[tag] for tag in issues.suggested[run]))
        for run in runs
    ]
    known = {text: number for number, text in enumerate(sorted({text for pair in texts for text in pair}))}
    found = []
    for run, (given, suggested) in zip(runs, texts, strict=True):
        row = int(flat.rows[run[0]])
        start, stop = int(run[0] - flat.offsets[row]), int(run[-1] - flat.offsets[row]) + 1
        own = float(audit.probabilities[run, audit.given[run]].mean())
        other = float(audit.probabilities[run, issues.suggested[run]].mean())
        scores = {"quality": float(issues.quality[run].mean()), "given p": own, "suggested p": other}
        text, digest = _marked(words[row], start, stop), f"{digests[row]}:{start}-{stop}"
        found.append(SuspiciousRow(int(run[0]), known[given], known[suggested], scores, text, digest=digest))
    return found, list(known)


def _marked(words: list[str], start: int, stop: int) -> str:
    left, right = max(start - _AROUND, 0), min(stop + _AROUND, len(words))
    parts = ["… " if left else "", " ".join(words[left:start]), f" {MARK_BEGIN}", " ".join(words[start:stop])]
    return "".join([*parts, f"{MARK_END} ", " ".join(words[stop:right]), " …" if right < len(words) else ""]).strip()


def _cells(rows: Dataset, audit: ListAudit) -> tuple[list[SuspiciousRow], list[str]]:
    """A finding is a class of a row; its number is that of the cell."""
    issues, classes = audit.issues, len(audit.class_names)
    wrong = issues.is_wrong & ~audit.is_checked
    quality = np.where(wrong, issues.quality, 1.0)
    worst = np.argsort(quality, axis=None, kind="stable")[: min(MAX_FINDINGS, int(wrong.sum()))]
    chosen = np.unique(worst // classes)
    shown = rows.select(chosen)
    digests = dict(zip(chosen.tolist(), row_digests(shown), strict=True))
    texts = dict(zip(chosen.tolist(), shown_texts(shown) or [""] * len(chosen), strict=True))
    found = []
    for cell in worst.tolist():
        row, label = divmod(cell, classes)
        has = int(audit.given[row, label])
        own = [audit.class_names[one] for one in np.flatnonzero(audit.given[row])]
        text = f"{texts[row]} — {', '.join(own) or 'no class'}"
        scores = {"quality": float(issues.quality[row, label]), "p": float(audit.probabilities[row, label])}
        given, suggested = (label, classes + label) if has else (classes + label, label)
        found.append(SuspiciousRow(cell, given, suggested, scores, text, digest=f"{digests[row]}:{label}"))
    return found, [*audit.class_names, *(f"{NOT}{name}" for name in audit.class_names)]
