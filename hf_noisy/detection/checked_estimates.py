"""Noise rate, confusion and accuracy from checked rows, with intervals that are valid in finite samples.

The rows are a finite population of which some were drawn at random and checked. `"exact"` inverts the hypergeometric
distribution of the errors among them (Clopper & Pearson, 1934; for finite populations Wright, 1991).
`"prediction-powered"` also uses predictions for all rows (Angelopoulos et al., 2023): the mean prediction for the
unchecked rows, corrected by the mean error of the predictions for the checked ones, each made without the checked
label of the row (Zrnic & Candès, 2024). The predictions count by the slope that fits the checked rows best, from 0 to
1 (power tuning of PPI++, Angelopoulos et al., 2023b).

Wrong labels may be few, and then the normal interval of these papers fails: it can hold the truth in 60 % of the
draws. Ours is that of Clopper & Pearson for the number of rows that have the same variance without predictions (Korn &
Graubard, 1998), with a variance that counts one more wrongly predicted row than was drawn. Where the exact
interval is narrower, it is given. The coverage of the exact interval is certain, that of the other one is an
approximation; `benchmarks/checked_guarantees.py` measures both.

Designs. Random batches are together a simple random sample if no other rows were checked between their draws. Random
rows drawn after others were chosen are a sample of the rows that were not checked before; those are known, and are
counted as they are. So each sample is an unbiased estimate, whatever was checked before it, and the errors of
successive samples are uncorrelated. They are combined with weights by their sizes alone, as in Raj (1956); the exact
interval is that of the most precise one. The random rows of a batch must be drawn from all rows not checked
before, and when to stop must not depend on what was found.
"""

import numpy as np
from jaxtyping import Bool, Float, Float64

from hf_noisy.core.checks import given_classes
from hf_noisy.core.types import Labels
from hf_noisy.data.checked import CheckedRows
from hf_noisy.detection.share_intervals import (
    EXACT,
    Predictions,
    Share,
    exact_share,
    powered_share,
    random_samples,
)


class CheckedEstimates:
    """Shares of all rows of a dataset, from checked rows of which some were drawn at random.

    Args:
        given: `[rows]`, given labels.
        checked: The checked rows and how they were drawn.
        num_classes: Number of classes; by default the largest label plus one.
        posterior: `[rows, classes]`, probabilities of the true label given the row's given label too, such as
            `model_posterior` of `CorrectedLabels`; None for exact intervals only.
        held_out: `[checked, classes]`, the same for the checked rows, in their order, each without its own checked
            label; None if `posterior` used no checked label.
        confidence: Probability with which an interval holds the truth, in (0, 1).

    Raises:
        ValueError: If the arrays do not fit, or no checked row was drawn at random, so that no interval is valid.

    Example:
        >>> import numpy as np
        >>> given = np.arange(1000) % 2
        >>> index = np.arange(0, 1000, 10)
        >>> truth = np.where(index < 200, 1 - given[index], given[index])
        >>> rows = CheckedRows(index, truth, ["random"] * 100, np.full(100, 0.1), np.zeros(100, int), 1000)
        >>> CheckedEstimates(given, rows).noise_rate()
        Share(rate=0.2, low=0.13, high=0.287, method='exact', checked=100)

    Source: see [`hf_noisy.detection.checked_estimates`][].
    """

    def __init__(
        self,
        given: Labels,
        checked: CheckedRows,
        num_classes: int | None = None,
        *,
        posterior: Float[np.ndarray, "rows classes"] | None = None,
        held_out: Float[np.ndarray, "checked classes"] | None = None,
        confidence: float = 0.95,
    ) -> None:
        if not 0 < confidence < 1:
            raise ValueError(f"confidence must be above 0 and below 1, got {confidence}")
        if len(given) != checked.num_rows:
            raise ValueError(f"given must have the {checked.num_rows} rows of the checked ones, got {len(given)}")
        self._given, classes = given_classes(given, num_classes, "given")
        self.num_classes = max(classes, int(checked.labels.max(initial=-1)) + 1) if num_classes is None else classes
        self._counts = np.bincount(self._given, minlength=self.num_classes)
        self._rows, self._given_checked = checked.index, self._given[checked.index]
        self._truth = given_classes(checked.labels, self.num_classes, "checked labels")[0]
        self._alpha = round(1 - confidence, 12)
        self._samples = random_samples(checked)
        self._posterior, shape = posterior, (len(given), self.num_classes)
        if posterior is not None:
            if posterior.shape != shape:
                raise ValueError(f"posterior must have the shape {shape}, got {posterior.shape}")
            self._held_out = posterior[self._rows] if held_out is None else held_out

    def noise_rate(self) -> Share:
        """Share of the rows whose given label is wrong."""
        return self._share_wrong(self._given)

    def class_noise(self) -> list[Share]:
        """For each class, the share of the rows with this given label that have another true label.

        Returns:
            One share per class; those of few checked rows are wide.
        """
        wrong = self._wrong(self._given)
        totals = np.zeros(self.num_classes) if wrong is None else np.bincount(self._given, wrong, self.num_classes)
        outcome, shares = self._truth != self._given_checked, []
        for label, total in enumerate(totals):
            predictions = None if wrong is None else Predictions(wrong[self._rows], float(total))
            shares.append(self._share(outcome, predictions, label))
        return shares

    def accuracy(self, predicted: Labels) -> Share:
        """Share of the rows whose true label a model predicts.

        Args:
            predicted: `[rows]`, labels by a model that was not trained on the checked labels.

        Returns:
            The share.

        Raises:
            ValueError: If there is not one class for each row.
        """
        if len(predicted) != len(self._given):
            raise ValueError(f"predicted must have {len(self._given)} rows, got {len(predicted)}")
        wrong = self._share_wrong(given_classes(predicted, self.num_classes, "predicted")[0])
        return Share(1 - wrong.rate, 1 - wrong.high, 1 - wrong.low, wrong.method, wrong.checked)

    def confusion(self) -> list[list[Share]]:
        """The share of all rows with a true label (outer list) and a given label (inner list).

        Returns:
            `[true][given]`; the rate is NaN if no row of this given label was drawn.
        """
        shares: list[list[Share]] = [[] for _ in range(self.num_classes)]
        for given in range(self.num_classes):
            among, part = self._given == given, float((self._given == given).mean())
            totals = np.zeros(self.num_classes)
            if self._posterior is not None:
                inside = self._given_checked == given
                totals = self._posterior[among].sum(0, dtype=np.float64)
                totals += (self._held_out - self._posterior[self._rows])[inside].sum(0)
            for true in range(self.num_classes):
                predictions = None
                if self._posterior is not None:
                    predictions = Predictions(self._held_out[:, true].astype(np.float64), float(totals[true]))
                found = self._share(self._truth == true, predictions, given)
                rate = found.rate * part if part else 0.0
                shares[true].append(Share(rate, found.low * part, found.high * part, found.method, found.checked))
        return shares

    def transition(self) -> list[list[Share]]:
        """The share of each given label (inner list) among the rows of a true label (outer list), always exact.

        Returns:
            `[true][given]`.

        Raises:
            ValueError: If the first random rows were drawn after others were chosen: they tell nothing of those.
        """
        first = self._samples[0]
        if len(first.known):
            raise ValueError(
                "no valid interval for the transition matrix: other rows were chosen before the first random ones; "
                "use confusion()"
            )
        counts = np.zeros((self.num_classes, self.num_classes), dtype=np.int64)
        np.add.at(counts, (self._truth[first.drawn], self._given[self._rows[first.drawn]]), 1)
        return [[self._binomial(int(count), int(row.sum())) for count in row] for row in counts]

    def _binomial(self, found: int, drawn: int) -> Share:
        """Of rows whose number in the data is not known; the interval without that number is the wider one."""
        from scipy.stats import binomtest

        if not drawn:
            return Share(np.nan, 0.0, 1.0, EXACT, 0)
        interval = binomtest(found, drawn).proportion_ci(1 - self._alpha, "exact")
        return Share(found / drawn, float(interval.low), float(interval.high), EXACT, drawn)

    def _wrong(self, labels: Labels) -> Float64[np.ndarray, " rows"] | None:
        """The predicted probability that each label is wrong."""
        if self._posterior is None:
            return None
        wrong = 1 - self._posterior[np.arange(len(labels)), labels].astype(np.float64)
        wrong[self._rows] = 1 - self._held_out[np.arange(len(self._rows)), labels[self._rows]]
        return np.asarray(wrong)

    def _share_wrong(self, labels: Labels) -> Share:
        wrong = self._wrong(labels)
        predictions = None if wrong is None else Predictions(wrong[self._rows], float(wrong.sum()))
        return self._share(self._truth != labels[self._rows], predictions)

    def _share(
        self, outcome: Bool[np.ndarray, " checked"], predictions: Predictions | None, given: int | None = None
    ) -> Share:
        """Share of the rows with an outcome, among all or those with a given label."""
        total, inside = len(self._given), np.ones(len(self._rows), dtype=bool)
        if given is not None:
            total, inside = int(self._counts[given]), self._given_checked == given
        if not total:
            return Share(np.nan, 0.0, 1.0, EXACT, 0)
        # What was checked is known, whether or not it was drawn at random.
        least = int(outcome[inside].sum()) / total
        most = 1 - int((~outcome[inside]).sum()) / total
        samples = [part for part in (sample.among(inside, total) for sample in self._samples) if len(part.drawn)]
        if not samples:
            return Share(least if least == most else np.nan, least, most, EXACT, 0)
        found = exact_share(max(samples, key=lambda sample: sample.precision), outcome, total, self._alpha)
        if predictions is not None and found.low < found.high:
            powered = powered_share(samples, outcome, predictions, total, self._alpha)
            if powered is not None and powered.high - powered.low < found.high - found.low:
                found = powered
        rate, low, high = (float(np.clip(value, least, most)) for value in (found.rate, found.low, found.high))
        return Share(rate, low, high, found.method, found.checked)
