"""Statistics of labelling rules: coverage, overlap, conflict and accuracy."""

from typing import Any

import numpy as np
from jaxtyping import Bool, Integer

from hf_noisy.core.checks import check_integers
from hf_noisy.data.weak.votes import check_classes_or_abstain, check_votes, count_votes

_COLUMNS = ("rule", "classes", "votes", "coverage", "overlap", "conflict", "accuracy")


class RuleTable(list[dict[str, object]]):
    """The result of [`rule_table`]: one dictionary per rule, printed as a Markdown table.

    Keys: `rule` (name or position), `classes` (with a vote), `votes` (their number), `coverage`, `overlap` and
    `conflict` (shares of all rows), and `accuracy` (share of its votes that agree with the reference; `None` without a
    reference for any of its rows).
    """

    def __str__(self) -> str:
        lines = [_COLUMNS, tuple("---" for _ in _COLUMNS)]
        lines += [tuple(_cell(row[column]) for column in _COLUMNS) for row in self]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def rule_table(
    votes: Integer[np.ndarray, "rows rules"],
    num_classes: int,
    reference: Integer[np.ndarray, " labels"] | None = None,
    *,
    names: list[str] | None = None,
    abstain: int = -1,
) -> RuleTable:
    """Coverage, overlap, conflict and accuracy of each rule.

    Args:
        votes: Class id voted by each rule, `[rows, rules]`; `abstain` where a rule is silent.
        num_classes: Number of classes.
        reference: Labels to compare the votes with, `[rows]`, such as true labels or the majority vote; `abstain` on
            rows without one.
        names: Name of each rule; its position by default.
        abstain: The value that means silence.

    Returns:
        A [`RuleTable`], in the order of the rules. `coverage` is the share of the rows on which the rule votes,
        `overlap` that on which another rule votes too, `conflict` that on which another rule votes for another class.

    Raises:
        ValueError: If votes or reference labels are no classes, or the shapes do not agree.

    Source: the summary of labelling functions of Snorkel (Ratner et al., 2017).

    Example:
        >>> import numpy as np
        >>> votes = np.array([[0, -1], [0, 1], [-1, 1], [0, 0]])
        >>> print(rule_table(votes, num_classes=2, reference=np.array([0, 1, 1, 1]), names=["who", "where"]))
        | rule | classes | votes | coverage | overlap | conflict | accuracy |
        | --- | --- | --- | --- | --- | --- | --- |
        | who | 0 | 3 | 0.750 | 0.500 | 0.250 | 0.333 |
        | where | 0 1 | 3 | 0.750 | 0.500 | 0.250 | 0.667 |
    """
    cast = check_votes(votes, num_classes, abstain)
    num_rows, num_rules = votes.shape
    known = np.zeros(num_rows, dtype=bool) if reference is None else _known(reference, num_rows, num_classes, abstain)
    if names is not None and len(names) != num_rules:
        raise ValueError(f"names must be one for each of the {num_rules} rules, got {len(names)}")
    counts = count_votes(votes, cast, num_classes)
    in_row = counts.sum(axis=1)
    table = RuleTable()
    for rule in range(num_rules):
        rows = np.flatnonzero(cast[:, rule])
        voted = votes[rows, rule]
        checked = rows[known[rows]]
        hits = np.mean(votes[checked, rule] == reference[checked]) if reference is not None and len(checked) else None
        table.append(
            {
                "rule": names[rule] if names is not None else rule,
                "classes": np.unique(voted).tolist(),
                "votes": len(rows),
                "coverage": len(rows) / max(num_rows, 1),
                "overlap": int((in_row[rows] > 1).sum()) / max(num_rows, 1),
                "conflict": int((in_row[rows] > counts[rows, voted]).sum()) / max(num_rows, 1),
                "accuracy": None if hits is None else float(hits),
            }
        )
    return table


def _known(reference: Any, num_rows: int, num_classes: int, abstain: int) -> Bool[np.ndarray, " rows"]:
    check_integers(reference, "reference")
    if reference.shape != (num_rows,):
        raise ValueError(f"reference must be one label for each of the {num_rows} rows, got shape {reference.shape}")
    return check_classes_or_abstain(reference, num_classes, abstain, "reference")


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.3f}"
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
