import pytest
import torch
from accelerate import Accelerator

from hf_noisy.methods.row_memory import RowMemory


def memory(rows: int = 5, shape: tuple[int, ...] = (2,), fill: float = 0.0) -> RowMemory:
    return RowMemory(rows, shape, Accelerator(cpu=True), fill)


def test_rows_are_read_as_they_were_written():
    table = memory(fill=float("nan"))
    table.write(torch.tensor([4, 0]), torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    assert table.read(torch.tensor([0, 4, 0])).tolist() == [[3.0, 4.0], [1.0, 2.0], [3.0, 4.0]]
    assert table.read(torch.tensor([1, 2, 3])).isnan().all()
    table.write(torch.tensor([4]), torch.tensor([[5.0, 6.0]]))
    assert table.read(torch.tensor([4])).tolist() == [[5.0, 6.0]]


def test_of_a_row_that_stands_twice_the_last_counts():
    generator = torch.Generator().manual_seed(0)
    table = memory(50, ())
    index, values = torch.randint(0, 50, (4000,), generator=generator), torch.rand(4000, generator=generator)
    table.write(index, values)
    last = dict(zip(index.tolist(), values.tolist(), strict=True))
    assert table.values.tolist() == [last[row] for row in range(50)]


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_entries_are_float32_without_a_gradient(dtype):
    table = memory(3, (1,))
    values = torch.tensor([[1.5]], dtype=dtype, requires_grad=True)
    table.write(torch.tensor([2]), values * 2)
    assert table.values.dtype == torch.float32
    assert table.values.tolist() == [[0.0], [0.0], [3.0]]
    assert not table.values.requires_grad


def test_what_was_read_does_not_change_with_the_table():
    table = memory(3, ())
    before = table.read(torch.tensor([1]))
    table.write(torch.tensor([1]), torch.tensor([7.0]))
    assert before.tolist() == [0.0]


def test_table_is_in_the_state():
    table, other = memory(), memory()
    table.write(torch.tensor([3]), torch.tensor([[0.1, 0.2]]))
    other.load_state_dict(table.state_dict())
    assert torch.equal(other.values, table.values)


def test_unknown_number_of_rows_is_refused():
    with pytest.raises(ValueError, match="num_rows is None, but the method keeps state per row"):
        RowMemory(None, (1,), Accelerator(cpu=True))
