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


def intervals_in_short(result: dict[str, Any], count: int) -> str:
    """How often the intervals of the noise rate hold, and how wide they are, over all sets."""
    sets = [found["noise rate"] for found in result["checked"][str(count)].values()]
    words = []
    for kind in KINDS:
        holds, width = ([found[kind][key] for found in sets] for key in ("holds", "width"))
        held = f"{percent(min(holds))} to {percent(max(holds))} % of the draws hold the true rate"
        words.append(f"{kind}: {held}, mean width {percent(float(np.mean(width)))} points")
    return (
        f"{count} checked rows of 1,000, {len(sets)} sets, {draws_of(result, count)} draws of each. Intervals, "
        f"{'; '.join(words)}."
    )


def changes_in_short(result: dict[str, Any], count: int, policy: str = "relabel") -> str:
    """The share of wrong changes and how many changes could be made, over all sets."""
    sets = [found[policy] for found in result["checked"][str(count)].values()]
    wrong = [found["wrong"] for found in sets]
    made, allowed = (sum(found[key] for found in sets) for key in ("made", "allowed"))
    most = sum(found["none"] > 0.5 for found in sets)
    return (
        f"{count} checked rows of 1,000, at most 10 % wrong asked, {len(sets)} sets, mean of "
        f"{draws_of(result, count)} draws: {percent(min(wrong))} to {percent(max(wrong))} % of the changes were "
        f"wrong, and {100 * made / allowed:.0f} % of the changes were made that the true labels would allow. On "
        f"{most} sets most draws allowed no change."
    )


def blocks() -> dict[str, str]:
    """The content between the markers of the documents, by marker."""
    result = load("checked_guarantees")
    return {
        "checked_intervals": intervals(result, 100) + f" {draws_of(result, 100)} draws.",
        "checked_changes": changes(result, 200) + f"\n\nMean of {draws_of(result, 200)} draws.",
        "checked_intervals_short": intervals_in_short(result, 100),
        "checked_changes_short": changes_in_short(result, 200),
    }
