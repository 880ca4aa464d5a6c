"""Noise-robust distillation by an averaged teacher that sees another view."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import nn

from hf_noisy.data.views import View, check_view
from hf_noisy.losses.jensen_shannon import check_mixture_weights, jensen_shannon, jensen_shannon_scale
from hf_noisy.losses.loss import at_least_float32
from hf_noisy.methods.method import Batch, Method, Step
from hf_noisy.models.ema import EMA, check_can_be_averaged, check_decay, refuse_sharded_weights

if TYPE_CHECKING:
    from accelerate import Accelerator


class NRD(Method):
    r"""Jensen-Shannon divergence of label, student and an averaged teacher that sees another view of the row.

    $$L = \pi_1 \mathrm{KL}(e_y \,\|\, m) + \pi_2 \mathrm{KL}(p_s \,\|\, m) + \pi_3 \mathrm{KL}(p_t \,\|\, m), \qquad
      m = \pi_1 e_y + \pi_2 p_s + \pi_3 p_t$$

    No gradient reaches the teacher; after each optimiser step $\bar\theta \leftarrow \beta \bar\theta + (1 - \beta)
    \theta$. The student is drawn to the mean of label and teacher. A large `pi_2` makes that pull like
    cross-entropy, a small one like the mean absolute error, which trusts labels less.

    Args:
        weights: `pi`, of label, student and teacher: at least 0, summing to 1, the student's in `(0, 1)`.
        decay: `beta`, in `[0, 1)`.
        scale: Whether to divide by `Z = -(1 - pi_1) ln(1 - pi_1)`, as GJS does; the paper's formula does not.
        teacher_view: View of a row that the teacher sees: a [`View`], `"auto"` for one that fits the data (or one
            that is in the data), or `None` for what the student sees.
        evaluate: Network whose metrics have no prefix, `"student"` or `"teacher"`; the other's begin with its name.

    Attributes:
        teacher: The teacher from the first training step on, `None` before.

    Raises:
        ValueError: If an argument is out of range, the model trains weights in half precision, or weights are sharded
            over processes (FSDP, DeepSpeed ZeRO-3).

    Example:
        ```python
        trainer = NoisyTrainer(model, args, train_dataset=dataset, processing_class=tokenizer, method=NRD())
        trainer.train()
        trainer.method.teacher.save_pretrained("teacher")
        ```

    Source: Shon et al. (2024), Eq. 19 to 27 and Algorithm 1; weights of Table 5.
    """

    citation: ClassVar[str] = (
        "Shon, H., Koh, S., Jeon, Y., Kim, J. (2024). Neural Vicinal Risk Minimization: Noise-robust Distillation for "
        "Noisy Labels. AISafety 2024."
    )
    needs_rows: ClassVar[bool] = True  # views are drawn per row

    def __init__(
        self,
        weights: Sequence[float] = (0.2, 0.6, 0.2),
        decay: float = 0.99,
        scale: bool = False,
        teacher_view: View | Literal["auto"] | None = "auto",
        evaluate: Literal["student", "teacher"] = "student",
    ) -> None:
        super().__init__()
        check_mixture_weights(weights, 3)
        if not 0.0 < weights[1] < 1.0:
            raise ValueError(f"weights must give the student a weight in (0, 1), got {weights[1]}")
        check_decay(decay)
        check_view("teacher_view", teacher_view)
        if evaluate not in ("student", "teacher"):
            raise ValueError(f"evaluate must be 'student' or 'teacher', got {evaluate!r}")
        self.weights, self.decay = tuple(weights), decay
        self.divisor = jensen_shannon_scale(weights[0]) if scale else 1.0
        self.second_view, self.evaluate = teacher_view, evaluate
        self.needs_rows = teacher_view is not None  # type: ignore[misc]
        self.ema: EMA | None = None
        self._autocast: Callable[[], AbstractContextManager[Any]] = nullcontext

    @property
    def teacher(self) -> nn.Module | None:
        """The averaged network, `None` before training."""
        return None if self.ema is None else self.ema.model

    def setup(self, model: nn.Module, accelerator: "Accelerator | None", num_rows: int | None = None) -> None:
        check_can_be_averaged(model)
        if accelerator is None:
            return
        refuse_sharded_weights(accelerator, "nrd", instead="gjs")
        self.ema = EMA(model, self.decay)
        # Only the student's forward is wrapped by the accelerator.
        self._autocast = accelerator.autocast

    def forward(self, model: nn.Module, batch: Batch) -> Step:
        if self.ema is None:
            raise RuntimeError(
                "method 'nrd' has no teacher yet; call setup(model, accelerator) before the first batch"
            )
        outputs = model(**batch.inputs)
        rows = batch.rows(outputs)
        student = at_least_float32(rows.logits)
        with self._autocast():
            teacher_outputs = self.ema(**self._teacher_inputs(batch))
        teacher = at_least_float32(batch.rows(teacher_outputs).logits)
        losses = jensen_shannon(torch.stack([student, teacher]), rows.labels, self.weights) / self.divisor
        teacher_class = teacher.argmax(-1)
        metrics = {
            "teacher_keeps_label": (teacher_class == rows.labels).float(),
            "teacher_agrees_with_student": (teacher_class == student.argmax(-1)).float(),
        }
        return Step(losses, outputs, metrics)

    def _teacher_inputs(self, batch: Batch) -> dict[str, Any]:
        if self.second_view is None:
            return batch.inputs
        if batch.second_view is None:
            raise ValueError(
                f"the batch has no second view for teacher_view={self.second_view!r}; train with NoisyTrainer, or set "
                "teacher_view=None"
            )
        return batch.second_view

    def after_step(self, model: nn.Module) -> None:
        if self.ema is not None:
            self.ema.update(model)

    def evaluated(self, model: nn.Module) -> dict[str, nn.Module]:
        if self.ema is None:
            return {}
        if self.evaluate == "teacher":
            return {"": self.ema.model, "student": model}
        return {"teacher": self.ema.model}
