"""Tables of what intervals and guarantees from checked rows hold."""

from typing import Any

import numpy as np

from benchmarks.reporting import load, percent, table

GOOD_ENCODER = ("noisyag_news human", "sms rules", "trec rules")
KINDS = ("exact", "with predictions")


def draws_of(result: dict[str, Any], count: int) -> int:
    """Number of draws of each set."""
    return min(found["draws"] for found in result["checked"][str(count)].values())


def intervals(result: dict[str, Any], count: int, share: str = "noise rate") -> str:
    """Coverage and width of the intervals of a share, by set."""
    sets = result["checked"][str(count)]
    rows, narrower = [], {}
    for name, found in sets.items():
        exact, powered = (found[share][kind] for kind in KINDS)
        narrower[name] = exact["width"] / powered["width"]
        figures = [exact["holds"], powered["holds"], exact["width"], powered["width"]]
        rows.append([name, percent(exact["truth"]), *map(percent, figures), f"{narrower[name]:.2f}"])
    good = [narrower[name] for name in GOOD_ENCODER if name in narrower]
    header = [f"{share}, {count} checked rows, %", "true", *(f"{kind} holds" for kind in KINDS)]
    header += [*(f"{kind}, width" for kind in KINDS), "narrower, times"]
    made = table(header, rows)
    if good:
        made += f"\n\nMean of noisyag_news, sms and trec: {np.mean(good):.2f} times narrower."
    return made


def changes(result: dict[str, Any], count: int, policy: str = "relabel") -> str:
    """Share of wrong changes, and their number beside what the truth would allow, by set."""
    rows = []
    for name, found in result["checked"][str(count)].items():
        of = found[policy]
        power = f"{100 * of['made'] / of['allowed']:.0f}" if of["allowed"] >= 1 else ""
        rows.append(
            [name, percent(of["wrong"]), f"{of['made']:.0f}", f"{of['allowed']:.0f}", power, percent(of["none"])]
        )
    header = [f"`{policy}`, {count} checked rows", "wrong, %", "changes", "the truth allows", "of these, %", "none, %"]
    return table(header, rows)


def markdown(result: dict[str, Any]) -> str:
    """All tables of the result."""
    shares = ("noise rate", "accuracy", "noise by class")
    draws = ", ".join(f"{count}: {draws_of(result, count)}" for count in map(int, result["checked"]))
    made = [f"Means of draws of checked rows among 1,000 (checked rows: draws; {draws}), seeds {result['seeds']}."]
    made += [intervals(result, count, share) for share in shares for count in map(int, result["checked"])]
    made += [changes(result, count, policy) for policy in ("relabel", "drop") for count in map(int, result["checked"])]
    return "\n\n".join(made)


def blocks() -> dict[str, str]:
    """The content between the markers of the documents, by marker."""
    result = load("checked_guarantees")
    return {
        "checked_intervals": intervals(result, 100) + f" {draws_of(result, 100)} draws.",
        "checked_changes": changes(result, 200) + f"\n\nMean of {draws_of(result, 200)} draws.",
    }
