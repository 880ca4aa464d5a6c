"""What checked rows say about the noise: figures of `summary.json`, and facts and a table of the report."""

import math
from typing import Any

import numpy as np

from hf_noisy.data.checked import RANDOM
from hf_noisy.detection.audit import Audit
from hf_noisy.detection.evidence import UNINFORMED
from hf_noisy.detection.share_intervals import EXACT, Share
from hf_noisy.reports.html import Table

_HOW = {EXACT: "from the checked rows alone", "prediction-powered": "from the checked rows and the predictions"}
_CLASSES_SHOWN = 8  # of a confusion matrix in the report
NOT_RANDOM = (
    "None of the checked rows is known to be drawn at random, so the interval of the noise rate is no guarantee; "
    "check rows that hf-noisy check or the page draws."
)


def noise_figures(audit: Audit) -> dict[str, Any]:
    """The noise rate, and with rows checked at random its method and the noise of each class."""
    rate = audit.issues.noise_rate
    figures: dict[str, Any] = {"noise_rate": {"estimate": rate.rate, "low": rate.low, "high": rate.high}}
    if not audit.rate_is_known:
        figures["noise_rate"]["estimate"] = None
    if audit.checked is not None:
        figures["checked_rows"] = len(audit.checked)
    if audit.estimates is not None:
        shares = audit.estimates.class_noise()
        figures["noise_rate"] = _figures(audit.estimates.noise_rate())
        figures["class_noise"] = dict(zip(audit.class_names, map(_figures, shares), strict=True))
        figures["confusion"] = {
            true: dict(zip(audit.class_names, map(_figures, cells), strict=True))
            for true, cells in zip(audit.class_names, audit.estimates.confusion(), strict=True)
        }
    return figures


def rate_facts(audit: Audit) -> dict[str, str]:
    """The noise rate and its interval; without checked rows, the rate is that of errors at random."""
    name, interval = interval_fact(audit)
    shown = f"{audit.issues.noise_rate.rate:.1%}{' if errors are random' if audit.estimates is None else ''}"
    return {"estimated noise rate": shown if audit.rate_is_known else "unknown", name: interval}


def interval_fact(audit: Audit) -> tuple[str, str]:
    """The interval of the noise rate with its name, which says whether it is valid."""
    rate = audit.issues.noise_rate
    interval = f"{rate.low:.1%} to {rate.high:.1%}"
    if audit.estimates is None:
        return "if errors may follow rules", interval
    return "interval (95 %, valid)", f"{interval}, {_HOW[audit.estimates.noise_rate().method]}"


def checked_tables(audit: Audit) -> list[Table]:
    """The noise of each given class and the confusion matrix, where rows were checked at random."""
    if audit.estimates is None:
        return []
    counts = np.bincount(audit.labels, minlength=len(audit.class_names))
    lines = [
        [name, f"{count:,}", f"{share.checked:,}", _rate(share), f"{share.low:.1%} to {share.high:.1%}"]
        for name, count, share in zip(audit.class_names, counts, audit.estimates.class_noise(), strict=True)
    ]
    caption = "Share of the rows of each given class that belong to another one; each interval is valid at 95 %."
    columns = ["given class", "rows", "checked", "wrong", "interval"]
    tables = [Table("Noise of each given class", caption, columns, lines)]
    if len(audit.class_names) <= _CLASSES_SHOWN:
        cells = [
            [name, *(f"{_rate(share)} ({share.low:.1%} to {share.high:.1%})" for share in of_class)]
            for name, of_class in zip(audit.class_names, audit.estimates.confusion(), strict=True)
        ]
        caption = "Share of all rows with each true and given class; each interval is valid at 95 %."
        tables.append(Table("Confusion matrix", caption, ["true", *audit.class_names], cells))
    return tables


def checked_notes(audit: Audit) -> list[str]:
    """What the report says about the features and the checked rows."""
    known = [] if audit.informed else [f"{UNINFORMED[0].upper()}{UNINFORMED[1:]}."]
    if audit.checked is None:
        return known
    drawn = sum(one == RANDOM for one in audit.checked.strategy)
    text = f"A person has checked {len(audit.checked):,} rows, of which {drawn:,} were drawn at random"
    if audit.estimates is None:
        return [*known, f"{text}.", NOT_RANDOM]
    return [
        *known,
        f"{text}: the noise rate and its interval come from these, and hold for all rows with 95 % probability.",
    ]


def _figures(share: Share) -> dict[str, Any]:
    """The share as JSON, with null for what no row tells."""
    estimate = None if math.isnan(share.rate) else share.rate
    return {"estimate": estimate, "low": share.low, "high": share.high, "method": share.method, "rows": share.checked}


def _rate(share: Share) -> str:
    return "unknown" if math.isnan(share.rate) else f"{share.rate:.1%}"
