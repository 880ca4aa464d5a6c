"""Which rows a person should check: a random sample for valid estimates, or the rows that help most."""

from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64

from hf_noisy.core.columns import FEATURES, column_vectors
from hf_noisy.core.files import write_atomically
from hf_noisy.core.rng import uniforms
from hf_noisy.data.checked import UNCHECKED, CheckedRows, checked_csv, checked_rows, class_names
from hf_noisy.data.labels import row_labels
from hf_noisy.data.row_digest import row_digests
from hf_noisy.detection.checked_correction import CheckedCorrection
from hf_noisy.detection.informative_rows import informative_rows


@dataclass(frozen=True)
class RowSample:
    """The rows to check that [`rows_to_check`] has drawn, and how it drew them.

    Attributes:
        index: `[count]`, positions in the dataset, in the order in which to check them.
        probability: `[count]`, the probability with which the draw included each row, given the rows checked before.
        strategy: The strategy.
        batch: Number of the draw, from 0.
        digests: The digest of each row, see [`~hf_noisy.data.row_digest.row_digests`].
        num_rows: Number of rows of the dataset.
    """

    index: Int64[np.ndarray, " count"]
    probability: Float64[np.ndarray, " count"]
    strategy: str
    batch: int
    digests: list[str]
    num_rows: int
    earlier: str = ""  # the lines of the rows checked before, so that the file holds all of them

    def __len__(self) -> int:
        return len(self.index)

    def to_csv(self, path: str | PathLike[str]) -> None:
        """Write a `checked.csv`: the rows checked before, then these, with an empty `checked_label` to fill in."""
        count = len(self)
        batch, empty = np.full(count, self.batch), np.full(count, UNCHECKED)
        rows = CheckedRows(self.index, empty, [self.strategy] * count, self.probability, batch, self.num_rows)
        header, _, lines = checked_csv(rows, self.digests, []).partition("\n")
        write_atomically(path, f"{header}\n{self.earlier}{lines}")


@dataclass(frozen=True)
class Draw:
    """What a strategy draws from."""

    dataset: Any
    unchecked: Int64[np.ndarray, " unchecked"]  # positions of the rows that nobody has checked, ascending
    count: int  # of rows to draw, at most those
    checked: CheckedRows | None
    seed: int


Drawn = tuple[Int64[np.ndarray, " count"], Float64[np.ndarray, " count"]]  # positions, inclusion probabilities


def rows_to_check(
    dataset: Any, count: int, *, strategy: str = "random", checked: Any = None, seed: int = 0
) -> RowSample:
    """Draw rows for a person to check.

    `"random"` draws without replacement, each row that nobody has checked with the same probability. Batches of
    random draws, each made with the rows checked so far, are together again a simple random sample of all rows, of
    the size of all batches: estimates from it are valid. Two conditions: when to stop must not depend on
    what the checks found, and each batch must be checked to its end, as rows that are skipped because they are hard
    bias every estimate. A batch of another strategy is no random sample; its rows are left out of such estimates, and
    the random draws made after it are random only among the remaining rows.

    `"informative"` takes the rows whose true labels improve the correction by checked rows most: doubtful ones, unlike
    the checked rows, and like many other rows. It needs some checked rows, 50 random ones for instance; the same test
    accuracy then takes fewer checked rows than with random ones on most sets. Nothing is left to chance, so the
    probability is 1.

    Args:
        dataset: A `datasets.Dataset` with a column `text`, `image` or `features`, by which its rows are found again.
            `"informative"` needs `label` and `features`, such as those of [`~hf_noisy.models.embed.embed`].
        count: Number of rows, at most those that nobody has checked.
        strategy: `"random"` or `"informative"`.
        checked: The rows checked so far, as for [`~hf_noisy.data.checked.checked_rows`]; by default the column
            `checked_label` if there is one.
        seed: The same seed draws the same rows.

    Returns:
        The sample; its method `to_csv(path)` writes the file to fill in.

    Raises:
        ValueError: If there are fewer than `count` unchecked rows, the strategy or a checked row is not known, or the
            strategy lacks features or checked rows.

    Example:
        >>> from datasets import Dataset
        >>> rows = Dataset.from_dict({"text": [f"text {number}" for number in range(50)], "label": [0, 1] * 25})
        >>> sample = rows_to_check(rows, 10)
        >>> len(sample), float(sample.probability[0]), sample.strategy, sample.batch
        (10, 0.2, 'random', 0)

    Source: `"informative"`: Yu, Bi and Tresp (2006), transductive experimental design.
    """
    if strategy not in STRATEGIES:
        raise ValueError(f"strategy must be one of {', '.join(STRATEGIES)}, got {strategy!r}")
    if count < 1:
        raise ValueError(f"count must be at least 1 row, got {count}")
    found, names = checked_rows(dataset, checked), class_names(dataset)  # which are needed once rows were checked
    unchecked = np.arange(len(dataset)) if found is None else np.flatnonzero(found.as_column() == UNCHECKED)
    if count > len(unchecked):
        raise ValueError(
            f"{count} rows to check were asked for, but only {len(unchecked)} have not been checked; ask for fewer"
        )
    index, probability = STRATEGIES[strategy](Draw(dataset, unchecked, count, found, seed))
    digests = row_digests(dataset.select(index))
    if found is None:
        return RowSample(index, probability, strategy, 0, digests, len(dataset))
    earlier = checked_csv(found, row_digests(dataset.select(found.index)), names).partition("\n")[2]
    batch = int(found.batch.max()) + 1
    return RowSample(index, probability, strategy, batch, digests, len(dataset), earlier)


def draw_randomly(draw: Draw) -> Drawn:
    """A simple random sample of the unchecked rows."""
    # The rows in the order of their random numbers: with the same seed the next batch is the next part of one
    # random order of all rows.
    order = np.argsort(uniforms(draw.seed, stream="rows_to_check", index=draw.unchecked, size=1)[:, 0], kind="stable")
    return draw.unchecked[order[: draw.count]], np.full(draw.count, draw.count / len(draw.unchecked))


def draw_informative(draw: Draw) -> Drawn:
    """The rows that make the correction by checked rows surest."""
    if draw.checked is None:
        raise ValueError(
            "strategy 'informative' needs rows that are checked already, got none; draw the first ones, such as 50, "
            "with strategy 'random'"
        )
    if FEATURES not in draw.dataset.column_names:
        raise ValueError(
            f"strategy 'informative' needs a column '{FEATURES}', got {', '.join(draw.dataset.column_names)}; add it "
            "with embed, or use strategy 'random'"
        )
    features = column_vectors(draw.dataset, FEATURES)
    correction, checked, classes = CheckedCorrection(), draw.checked, len(class_names(draw.dataset))
    evidence = correction.evidence(features, row_labels(draw.dataset), num_classes=classes, seed=draw.seed)
    corrected = correction.fit(None, None, checked.index, checked.labels, seed=draw.seed, evidence=evidence)
    return informative_rows(evidence, corrected, checked.index, draw.count), np.ones(draw.count)


STRATEGIES: dict[str, Callable[[Draw], Drawn]] = {"random": draw_randomly, "informative": draw_informative}
