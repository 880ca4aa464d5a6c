"""How many checks the choice of the rows saves."""

from typing import Any

import numpy as np
from sklearn.isotonic import IsotonicRegression

from benchmarks.reporting import load, table
from benchmarks.reporting.checked_worth import TWELVE

MEASURED = (100, 150, 200)
ENOUGH = 0.2  # share of the checks saved that counts as a saving


def curve(settings: list[dict[str, Any]], strategy: str) -> dict[int, float]:
    """Mean accuracy of a setting by the number of checked rows."""
    counts = settings[0]["accuracy"][strategy]
    return {int(count): float(np.mean([one["accuracy"][strategy][count] for one in settings])) for count in counts}


def saved(random: dict[int, float], chosen: dict[int, float]) -> list[float]:
    """For each number of chosen rows, the share of checks saved: 1 - it / number of random rows that is as good.

    That number is read off the monotone fit of the random curve, and is at most the largest that was measured.
    """
    counts = np.array(list(random))
    risen = IsotonicRegression().fit_transform(np.log(counts), list(random.values()))
    fine = np.arange(counts[0], counts[-1] + 1)
    accuracy = np.interp(np.log(fine), np.log(counts), risen)
    found = []
    for count in MEASURED:
        enough = fine[accuracy >= chosen[count]]
        found.append(1 - count / (enough[0] if len(enough) else counts[-1]))
    return found


def by_setting(result: dict[str, Any]) -> dict[str, tuple[dict[int, float], dict[int, float], float]]:
    """Both curves of each setting, and the mean share of checks saved."""
    found = {}
    for name in dict.fromkeys(one["setting"] for one in result["settings"]):
        of = [one for one in result["settings"] if one["setting"] == name]
        random, chosen = (curve(of, strategy) for strategy in ("random", "informative"))
        found[name] = (random, chosen, float(np.mean(saved(random, chosen))))
    return found


def line(name: str, random: dict[int, float], chosen: dict[int, float], share: float) -> list[str]:
    both = (f"{random[count]:.1f} / {chosen[count]:.1f}" for count in MEASURED)
    return [name, f"{random[50]:.1f}", *both, f"{100 * share:.0f}"]


def blocks() -> dict[str, str]:
    """The content between the markers of the documents, by marker."""
    result = load("next_rows")
    found = by_setting(result)
    rows = [line(name, random, chosen, share) for name, (random, chosen, share) in found.items()]
    randoms, chosens, shares = zip(*found.values(), strict=True)
    means = [
        {count: float(np.mean([of[count] for of in group])) for count in group[0]} for group in (randoms, chosens)
    ]
    rows.append(line("mean", *means, float(np.mean(shares))))
    worst = min(chosen[count] - random[count] for random, chosen, _ in found.values() for count in MEASURED)
    enough = [name for name, (*_, share) in found.items() if share >= ENOUGH]
    names = [one["setting"] for one in result["settings"] for _ in range(one["draws"])]
    runs = " or ".join(map(str, sorted({names.count(name) for name in found})))
    header = ["test accuracy, %", "50 random", *(f"{count}: random / informative" for count in MEASURED)]
    text = (
        f"It is at least {100 * ENOUGH:.0f} % on {len(set(enough) & set(TWELVE))} of the twelve text settings and on "
        f"{len(enough)} of all {len(found)}; the largest loss against random rows is {max(-worst, 0):.1f} points "
        f"(means of {runs} draws of the first 50 rows, which are random; then batches of 50). "
        "`python -m benchmarks.next_rows`"
    )
    saves = f"On average informative rows save {100 * float(np.mean(shares)):.0f} % of the checks. "
    return {"next_rows": table([*header, "checks saved, %"], rows), "next_rows_short": saves + text}
