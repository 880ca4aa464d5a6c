"""State per training row, shared by all processes."""

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

if TYPE_CHECKING:
    from accelerate import Accelerator


class RowMemory(nn.Module):
    """A table with one entry per training row, the same on all processes, saved with the method."""

    # In sync because the sampler moves rows between processes in every epoch, and only the main process saves.

    values: Tensor

    def __init__(
        self, num_rows: int | None, shape: tuple[int, ...], accelerator: "Accelerator", fill: float = 0.0
    ) -> None:
        super().__init__()
        if num_rows is None:
            raise ValueError("num_rows is None, but the method keeps state per row; use a dataset with a length")
        self._accelerator = accelerator
        self.register_buffer("values", torch.full((num_rows, *shape), fill, device=accelerator.device))

    def read(self, index: Int[Tensor, " rows"]) -> Float[Tensor, "rows ..."]:
        """Entries of the given rows, float32."""
        return self.values[index]

    @torch.no_grad()
    def write(self, index: Int[Tensor, " rows"], values: Float[Tensor, "rows ..."]) -> None:
        """Replace entries on all processes, which must call this together; of duplicate rows the last one counts."""
        if self._accelerator.num_processes > 1:
            index, values = self._gather(index, values)
        # Which of two writes to the same entry wins is undefined on a GPU, but must be the same on all processes.
        ordered, order = index.sort(stable=True)
        last = order[torch.searchsorted(ordered, index, right=True) - 1]
        self.values[index] = values[last].to(self.values.dtype)

    def _gather(
        self, index: Int[Tensor, " rows"], values: Float[Tensor, "rows ..."]
    ) -> tuple[Int[Tensor, " all"], Float[Tensor, "all ..."]]:
        # The last batch may have fewer rows on one process than on another.
        padded = [self._accelerator.pad_across_processes(part, pad_index=-1) for part in (index, values.contiguous())]
        index, values = (self._accelerator.gather(part) for part in padded)
        is_row = index >= 0
        return index[is_row], values[is_row]
