"""What a method remembers of every training row, the same on all processes."""

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

if TYPE_CHECKING:
    from accelerate import Accelerator


class RowMemory(nn.Module):
    """A table with one entry for each training row.

    What one process writes, all processes hold: the sampler hands a row to another process in every epoch, and the
    first process saves the table for all. It is a buffer, so that a checkpoint has it.

    Args:
        num_rows: Rows of the training set.
        shape: Shape of one entry.
        accelerator: The trainer's.
        fill: What an entry is before it is written.

    Raises:
        ValueError: If the number of rows is not known.

    Example:
        >>> from accelerate import Accelerator
        >>> memory = RowMemory(4, (2,), Accelerator(cpu=True))
        >>> memory.write(torch.tensor([3, 1]), torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
        >>> memory.read(torch.tensor([1, 0]))
        tensor([[3., 4.],
                [0., 0.]])
    """

    values: Tensor

    def __init__(
        self, num_rows: int | None, shape: tuple[int, ...], accelerator: "Accelerator", fill: float = 0.0
    ) -> None:
        super().__init__()
        if num_rows is None:
            raise ValueError("num_rows is None, but each row is remembered by its number; use a dataset with a length")
        self._accelerator = accelerator
        self.register_buffer("values", torch.full((num_rows, *shape), fill, device=accelerator.device))

    def read(self, index: Int[Tensor, " batch"]) -> Float[Tensor, "batch ..."]:
        """Entries of rows.

        Args:
            index: `[batch]`, rows in the training set.

        Returns:
            `[batch, *shape]`, float32.
        """
        return self.values[index]

    @torch.no_grad()
    def write(self, index: Int[Tensor, " batch"], values: Float[Tensor, "batch ..."]) -> None:
        """Replace the entries of rows, on all processes; every process has to call it at the same time.

        Args:
            index: `[batch]`, rows in the training set. Of a row that stands here twice the last one counts.
            values: `[batch, *shape]`, any float type.
        """
        if self._accelerator.num_processes > 1:
            index, values = self._gather(index, values)
        # Which of two writes to one place wins is not defined on a GPU, and has to be the same everywhere.
        ordered, order = index.sort(stable=True)
        last = order[torch.searchsorted(ordered, index, right=True) - 1]
        self.values[index] = values[last].to(self.values.dtype)

    def _gather(
        self, index: Int[Tensor, " batch"], values: Float[Tensor, "batch ..."]
    ) -> tuple[Int[Tensor, " all"], Float[Tensor, "all ..."]]:
        # The last batch may have fewer rows on one process than on another.
        padded = [self._accelerator.pad_across_processes(part, pad_index=-1) for part in (index, values.contiguous())]
        index, values = (self._accelerator.gather(part) for part in padded)
        is_row = index >= 0
        return index[is_row], values[is_row]
