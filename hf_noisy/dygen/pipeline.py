"""DyGEN from trajectories to a posterior over true labels."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64
from safetensors.torch import load_file

from hf_noisy.core.checks import check_labels, check_rate
from hf_noisy.core.files import check_digest, read_sealed, replacing, write_sealed, write_tensors
from hf_noisy.core.types import Labels
from hf_noisy.data.checked import UNCHECKED
from hf_noisy.dygen.evidence_head import EvidenceHead, mixed
from hf_noisy.dygen.prior import (
    Prior,
    centroid_dynamics,
    checked_to_fit,
    evidence_prior,
    labels_to_fit,
    paper_prior,
    with_checked_labels,
)
from hf_noisy.dygen.vae import (
    SHUFFLED_ROWS,
    DirichletVAE,
    dirichlet_mode,
    fit_vae,
    prior_alpha,
    without_classes,
)
from hf_noisy.dygen.vectors import StoredVectors, TrajectoryVectors
from hf_noisy.dynamics.scores import DynamicsScore
from hf_noisy.dynamics.store import Trajectories, row_blocks

CONFIG_FILE = "dygen_config.json"
WEIGHTS_FILE = "dygen.safetensors"
_FORMAT = 5
# Steps of the VAE at least: few rows need more epochs than the published 10.
_FEWEST_STEPS = 1250
_BATCH_SIZE = 32


@dataclass
class DyGenConfig:
    """How a [`DyGen`] was fitted; saved beside its weights."""

    preset: str  # "evidence" or "paper"
    noise_rate: float
    noise_rate_estimated: bool
    num_branches: int
    num_classes: int
    dim: int  # length of a trajectory vector
    split: str  # the training split
    delta: float  # base concentration of the prior
    rho: float  # strength of the prior
    vae_epochs: int
    seed: int
    run: str  # id of the training whose trajectories were fitted
    absent: list[int]  # classes that no training row has, neither as given nor as checked label
    evidence_width: int = 0  # of the features that the posterior's evidence reads; 0 without
    shuffled_rows: int = 1  # rows shuffled together for the VAE: above 1 if read from disk
    max_references: int | None = None  # limit of the voting rows in the published prior
    with_networks: bool = False  # whether the networks' own predictions are a third of the posterior without labels


class DyGen:
    """Corrects the predictions of a classifier trained on noisy labels, by the dynamics of its training.

    Made by [`DyGen.fit`] or [`DyGen.from_pretrained`].

    Args:
        config: How it was fitted.
        vae: The trained Dirichlet VAE.
        vectors: Makes the trajectory vectors.
        prior: `[branches or 1, rows, classes]`, prior of the training rows.
        suspects: `[rows]`, training rows whose given label is probably wrong.
        trajectories: For which posteriors are computed; may be set later.
        evidence: The evidence that the posterior contains, with preset `"evidence"` and recorded features.
        checked: `[rows]`, the checked class of each training row, -1 where nobody looked; None if nobody did.

    Source: DyGEN (Zhuang et al., 2023).
    """

    def __init__(
        self,
        config: DyGenConfig,
        vae: DirichletVAE,
        vectors: TrajectoryVectors,
        prior: Float[np.ndarray, "_ rows classes"],
        suspects: Bool[np.ndarray, " rows"],
        trajectories: Trajectories | None = None,
        evidence: EvidenceHead | None = None,
        checked: Int64[np.ndarray, " rows"] | None = None,
    ) -> None:
        self.evidence, self.checked = evidence, checked
        self.config, self.vae, self.vectors = config, vae, vectors
        self.prior, self.suspects, self.trajectories = prior, suspects, trajectories
        self.fitted_prior: Prior | None = None

    @property
    def noise_rate(self) -> float:
        """Noise rate used for the prior."""
        return self.config.noise_rate

    @classmethod
    def fit(
        cls,
        trajectories: Trajectories,
        labels: Labels,
        noise_rate: float | None = None,
        *,
        split: str = "train",
        preset: Literal["evidence", "paper"] = "evidence",
        class_prior: Any = None,
        checked: Any = None,
        vae_epochs: int | None = None,
        seed: int = 0,
        show_progress: bool = True,
        max_memory: int = 1 << 30,
        max_references: int | None = None,
        suspects_by: Literal["distance", "aum", "data_map"] = "distance",
    ) -> "DyGen":
        """Fit prior and VAE on the training rows.

        Args:
            trajectories: Recorded by a `DynamicsRecorder`, with the training split.
            labels: `[rows]`, the given labels of the training rows, in their order.
            noise_rate: Share of wrong labels in `[0, 1)`, or None to have it estimated. With preset `"evidence"` it is
                only reported.
            split: Name under which the training rows were recorded.
            preset: `"evidence"` (default), or `"paper"` for the published prior, constants and trajectory vector;
                delta = 1 + 1/C and rho = 5 are those of the published code, where the paper prints 1 and 2.
            class_prior: For preset `"evidence"`, see [`~hf_noisy.detection.evidence.fit_evidence`].
            checked: Rows that a person has checked, as [`~hf_noisy.data.checked.CheckedRows`] or as classes `[rows]`
                with -1 where nobody looked. They are certain; with preset `"evidence"` they also correct the prior of
                the other rows, see [`~hf_noisy.detection.checked_correction.CheckedCorrection`].
            vae_epochs: Epochs of the VAE; None for 10, or with preset `"evidence"` more for few rows.
            seed: Seed of all random numbers.
            show_progress: Whether to show progress bars.
            max_memory: Bytes up to which trajectory vectors are kept in memory. Larger ones are read from disk in
                every epoch of the VAE, 256 MiB at a time, shuffled in runs of 64 rows and within each 256 MiB.
            max_references: Number of trusted rows that vote in the published prior, sampled by class; None for all,
                which takes quadratic time.
            suspects_by: What the published prior ranks rows by, such as the area under the margin (Figure 6).

        Returns:
            The fitted model.

        Raises:
            ValueError: If the noise rate is outside `[0, 1)`, a label is out of range, or the trajectories belong to
                another dataset.

        Example:
            ```python
            dygen = DyGen.fit(Trajectories("output/run"), np.array(train["label"]))
            predictions = dygen.posterior("test").argmax(1)
            ```

        Source: DyGEN (Zhuang et al., 2023), Algorithm 2, steps 2 and 3.
        """
        if preset not in ("evidence", "paper"):
            raise ValueError(f"preset must be 'evidence' or 'paper', got {preset!r}")
        if noise_rate is not None:
            check_rate(noise_rate)
        labels = labels_to_fit(trajectories, split, labels)
        paper = preset == "paper"
        if class_prior is not None and paper:
            raise ValueError("class_prior is for preset 'evidence'; leave it out with preset 'paper'")
        if (max_references is not None or suspects_by != "distance") and not paper:
            raise ValueError("max_references and suspects_by are for preset 'paper'; leave them out")
        looked_at = checked_to_fit(checked, len(labels), trajectories.num_classes)
        if paper:
            options: dict[str, Any] = {"max_references": max_references, "suspects_by": suspects_by, "seed": seed}
            prior = paper_prior(trajectories, labels, noise_rate, split=split, **options)
        else:
            options = {"class_prior": class_prior, "checked": looked_at, "seed": seed}
            prior = evidence_prior(trajectories, labels, noise_rate, split=split, **options)
        if looked_at is not None:
            prior = with_checked_labels(prior, labels, looked_at)
        vectors = TrajectoryVectors.fit(trajectories, split, raw=paper, with_features=prior.evidence is not None)
        w = StoredVectors(vectors, trajectories, split)
        in_memory = w.row_bytes * len(labels) <= max_memory
        # The published constants add a floor of probability to every class; a soft prior needs none.
        delta, rho = (1.0 + 1.0 / trajectories.num_classes, 5.0) if paper else (1.0, 10.0)
        if vae_epochs is None:
            steps = -(-len(labels) // _BATCH_SIZE)
            vae_epochs = 10 if paper else max(10, -(-_FEWEST_STEPS // steps))
        config = DyGenConfig(
            preset=preset,
            noise_rate=prior.noise_rate,
            noise_rate_estimated=prior.estimated,
            num_branches=trajectories.num_branches,
            num_classes=trajectories.num_classes,
            dim=vectors.dim,
            split=split,
            delta=delta,
            rho=rho,
            vae_epochs=vae_epochs,
            seed=seed,
            run=trajectories.run,
            absent=_absent_classes(labels, looked_at, trajectories.num_classes),
            evidence_width=0 if prior.evidence is None else len(prior.evidence.head.weight),
            shuffled_rows=1 if in_memory else SHUFFLED_ROWS,
            max_references=max_references,
            with_networks=trajectories.encoder_trained and prior.evidence is not None and prior.evidence.is_weak,
        )
        vae = fit_vae(
            vectors(trajectories, split) if in_memory else w,
            torch.from_numpy(labels),
            prior_alpha(torch.from_numpy(prior.probabilities).float(), delta, rho),
            epochs=vae_epochs,
            batch_size=_BATCH_SIZE,
            learning_rate=1e-4 if paper else 2e-3,
            delta=delta,
            seed=seed,
            show_progress=show_progress,
        )
        evidence = None if prior.evidence is None else EvidenceHead.of(prior.evidence)
        fitted = cls(config, vae, vectors, prior.probabilities, prior.suspects, trajectories, evidence, looked_at)
        fitted.fitted_prior = prior
        return fitted

    @torch.no_grad()
    def posterior(self, split: str, labels: Labels | None = None) -> Float64[np.ndarray, "rows classes"]:
        """Distribution of the true label of every row of a recorded split.

        Args:
            split: Any split recorded with the training.
            labels: `[rows]`, given labels, on which to condition instead of on the classifier's predictions of them.
                Pass them for training rows, whose labels the classifier has learned.

        Returns:
            `[rows, classes]`, sums to 1; 0 for classes that no training row had; with labels, one-hot for training
            rows that were checked.

        Raises:
            ValueError: If there are no trajectories, the split was not recorded, or labels are invalid.

        Source: DyGEN (Zhuang et al., 2023), Eq. 14, 15 and 21.
        """
        trajectories = self._checked_trajectories()
        num_rows, checked = trajectories.num_rows(split), None
        if labels is not None:
            if split == self.config.split:
                trajectories.check_labels(split, labels)
            name = f"labels of {split!r}"
            checked = check_labels(np.asarray(labels), self.config.num_classes, num_rows, name).astype(np.int64)
        posterior = np.empty((num_rows, self.config.num_classes))
        for rows in row_blocks(num_rows, self.config.num_branches * (self.config.dim + self.config.num_classes**2)):
            w = self.vectors(trajectories, split, rows)
            given, networks = None, None
            if checked is not None:
                given = torch.from_numpy(checked[rows])
                found = dirichlet_mode(self.vae.alpha(w, given)).mean(0)
            else:
                networks = self._predictions(split, rows)
                found = self.vae.posterior(w, networks)
            if self.evidence is not None:
                if given is not None and split == self.config.split:
                    evidence = torch.from_numpy(self.prior[0, rows]).float()  # which did not see the rows' own labels
                else:
                    evidence = self.evidence(w, given)
                found = mixed(found, evidence, networks if self.config.with_networks else None)
            posterior[rows] = without_classes(found, self.config.absent).numpy()
        if self.checked is not None and labels is not None and split == self.config.split:
            known = np.flatnonzero(self.checked != UNCHECKED)
            posterior[known] = np.eye(posterior.shape[1])[self.checked[known]]
        return posterior

    def _checked_trajectories(self) -> Trajectories:
        if self.trajectories is None:
            raise ValueError("trajectories are not set; pass them to from_pretrained")
        if self.trajectories.run != self.config.run:
            raise ValueError(
                f"trajectories at {self.trajectories.path} belong to another run than those that dygen was fitted on; "
                "pass those of the same training"
            )
        return self.trajectories

    def _predictions(self, split: str, rows: slice) -> Float[torch.Tensor, "branch rows classes"]:
        # The last epoch of the fit, even if more were recorded since.
        assert self.trajectories is not None
        logits = [
            self.trajectories.branch_logits(split, self.vectors.epochs[-1], branch, rows)
            for branch in range(self.config.num_branches)
        ]
        return torch.from_numpy(np.stack(logits)).softmax(-1)

    def prior_of(self, split: str) -> Float64[np.ndarray, "rows classes"]:
        """The prior of a split: that of the fit for the training rows, the evidence without labels for others.

        Args:
            split: Any split recorded with the training.

        Returns:
            `[rows, classes]`, sums to 1.

        Raises:
            ValueError: If this object was loaded, as the evidence is not saved.
        """
        if split == self.config.split:
            return np.asarray(self.prior.mean(0))
        if self.trajectories is None or self.fitted_prior is None:
            raise ValueError(f"the prior of {split!r} can be computed only after DyGen.fit, not after from_pretrained")
        return self.fitted_prior.of(self._checked_trajectories(), split)

    def dynamics(self, labels: Labels) -> DynamicsScore:
        """Statistics over epochs of each training row's distance to its label's centroid, averaged over branches.

        Args:
            labels: `[rows]`, the given labels of the fit.

        Returns:
            `DynamicsScore(mean, deviation, score)`, each `[rows]`; a high score is suspicious.

        Raises:
            ValueError: If there are no trajectories, or they belong to another dataset.

        Source: DyGEN (Zhuang et al., 2023), Eq. 4 and 5; the deviation is that of the paper (`ddof=0`) or, with preset
        `"paper"`, of its code (`ddof=1`).
        """
        trajectories = self._checked_trajectories()
        trajectories.check_labels(self.config.split, labels)
        return centroid_dynamics(trajectories, labels, self.config.split, ddof=int(self.config.preset == "paper"))

    def save_pretrained(self, path: str | Path) -> None:
        """Save to a folder: weights as safetensors, the rest as JSON.

        Args:
            path: Folder; created if missing.
        """
        path = Path(path)
        path.mkdir(parents=True, exist_ok=True)
        tensors = {f"vae.{name}": value for name, value in self.vae.state_dict().items()}
        tensors["vectors.means"] = torch.from_numpy(self.vectors.means)
        tensors["vectors.scales"] = torch.from_numpy(self.vectors.scales)
        if self.vectors.feature_mean is not None:
            tensors["vectors.feature_mean"] = torch.from_numpy(self.vectors.feature_mean)
        if self.evidence is not None:
            tensors |= {f"evidence.{name}": value for name, value in self.evidence.state_dict().items()}
        if self.checked is not None:
            tensors["checked"] = torch.from_numpy(self.checked)
        tensors["prior"] = torch.from_numpy(self.prior)
        tensors["suspects"] = torch.from_numpy(self.suspects)
        saved = asdict(self.config)
        saved |= {"epochs": self.vectors.epochs, "feature_scale": float(self.vectors.feature_scale)}
        # Both files are completely written before either is renamed.
        with replacing(path / WEIGHTS_FILE) as temporary:
            saved["weights"] = write_tensors(temporary, {name: value.cpu().numpy() for name, value in tensors.items()})
            write_sealed(path / CONFIG_FILE, saved, _FORMAT)

    @classmethod
    def from_pretrained(cls, path: str | Path, trajectories: Trajectories | None = None) -> "DyGen":
        """Load from a folder written by `save_pretrained`.

        Args:
            path: The folder.
            trajectories: For which posteriors are computed.

        Returns:
            The model, with the same posteriors as the saved one.

        Raises:
            FileNotFoundError: If the folder holds no DyGEN.
            ValueError: If a file is missing, damaged, of another save or of another format.
        """
        path = Path(path)
        if not (path / CONFIG_FILE).is_file():
            raise FileNotFoundError(f"path {path} holds no {CONFIG_FILE}; save one with DyGen.save_pretrained")
        saved = read_sealed(path / CONFIG_FILE, _FORMAT)
        check_digest(path / WEIGHTS_FILE, saved.pop("weights"))
        epochs, feature_scale = saved.pop("epochs"), saved.pop("feature_scale")
        config = DyGenConfig(**saved)
        tensors = load_file(path / WEIGHTS_FILE)
        vae = DirichletVAE(config.num_branches, config.dim, config.num_classes, config.delta, seed=config.seed)
        vae.load_state_dict({name[4:]: value for name, value in tensors.items() if name.startswith("vae.")})
        evidence = EvidenceHead(config.evidence_width, config.num_classes) if config.evidence_width else None
        if evidence is not None:
            evidence.load_state_dict({name[9:]: tensors[name] for name in tensors if name.startswith("evidence.")})
        mean = tensors.get("vectors.feature_mean")
        vectors = TrajectoryVectors(
            epochs,
            tensors["vectors.means"].numpy(),
            tensors["vectors.scales"].numpy(),
            None if mean is None else mean.numpy(),
            feature_scale,
        )
        prior, suspects = tensors["prior"].numpy(), tensors["suspects"].numpy()
        checked = tensors["checked"].numpy() if "checked" in tensors else None
        return cls(config, vae.eval(), vectors, prior, suspects, trajectories, evidence, checked)


def _absent_classes(labels: Labels, checked: Int64[np.ndarray, " rows"] | None, num_classes: int) -> list[int]:
    """Classes that no row has, neither as given nor as checked label."""
    known = labels if checked is None else np.append(labels, checked)
    return [label for label in range(num_classes) if label not in known]
