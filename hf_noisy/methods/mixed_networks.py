"""Base class of the methods that train two networks on mixed rows."""

from typing import TYPE_CHECKING, ClassVar

from hf_noisy.data.other_row import OtherRow
from hf_noisy.methods.mixing import Mixing
from hf_noisy.methods.two_networks import TwoNetworks

if TYPE_CHECKING:
    from transformers import Trainer


class MixedNetworks(TwoNetworks):
    """Two networks that see each row mixed with another one, of which the row itself is the larger part."""

    one_label_only: ClassVar[bool] = True

    def __init__(self, method: str, alpha: float) -> None:
        super().__init__()
        self.mixing, self.second_view = Mixing(method, alpha, keeps_larger=True), OtherRow()

    def prepare(self, trainer: "Trainer", *, resumes: bool = False) -> None:
        self.mixing.prepare(trainer)
