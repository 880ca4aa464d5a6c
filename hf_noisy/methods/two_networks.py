"""Base class of the methods that train two networks at once."""

from typing import TYPE_CHECKING, ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from hf_noisy.core.rows import Rows
from hf_noisy.losses.loss import at_least_float32
from hf_noisy.methods.method import Method

if TYPE_CHECKING:
    from accelerate import Accelerator


class TwoNetworks(Method):
    """A method that trains exactly two networks, the branches of a `BranchedModel`."""

    # Subclasses sum the losses of the networks (no mean), so a paper's learning rate for separate networks fits.

    num_branches: ClassVar[int] = 2
    needs_rows: ClassVar[bool] = True

    def setup(self, model: nn.Module, accelerator: "Accelerator | None", num_rows: int | None = None) -> None:
        branches = getattr(model, "num_branches", 1)
        if branches != 2:
            raise ValueError(
                f"method {type(self).__name__} trains exactly 2 networks, got {type(model).__name__} with {branches}; "
                "use BranchedModel.from_model(model, num_branches=2)"
            )


def network_logits(rows: Rows) -> Float[Tensor, "rows 2 classes"]:
    """Logits of both networks, `[rows, network, class]`, in float32 at least."""
    assert rows.branch_logits is not None  # `setup` refuses a model of one network
    return at_least_float32(rows.branch_logits)
