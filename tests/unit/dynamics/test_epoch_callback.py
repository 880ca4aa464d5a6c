import pytest
import torch

from hf_noisy.dynamics.epoch_callback import EpochCallback
from tests.contract.runs import STEPS_AN_EPOCH, run


class Counted(EpochCallback):
    """Writes a file after each epoch."""

    folder_name = "_counted"

    def __init__(self) -> None:
        self.epochs: list[int] = []

    def is_done(self, epoch):
        return (self.path / f"epoch-{epoch}.safetensors").is_file()

    def end_epoch(self, epoch, args, state, control, **kwargs):
        self.epochs.append(epoch)
        self.write(f"epoch-{epoch}", {"weight": kwargs["model"].classifier.weight})


def epochs_of(folder, **settings):
    counted = Counted()
    run(folder, trainer={"callbacks": [counted]}, **{"num_train_epochs": 3, **settings})
    return counted.epochs


@pytest.mark.parametrize(
    ("settings", "epochs"), [({}, [1, 2, 3]), ({"max_steps": STEPS_AN_EPOCH + 1}, [1, 2]), ({"max_steps": 1}, [1])]
)
def test_each_epoch_ends_once(settings, epochs, tmp_path):
    assert epochs_of(tmp_path, **settings) == epochs


# With "steps" the checkpoint of the last step of an epoch is written before the epoch ends.
@pytest.mark.parametrize("lost", [False, True])
@pytest.mark.parametrize(("step", "whole", "after"), [(2, 0, [1, 2, 3]), (3, 1, [2, 3]), (4, 1, [2, 3]), (9, 3, [])])
def test_a_resumed_run_adds_the_epochs_that_are_missing(step, whole, after, lost, tmp_path):
    settings = {"save_strategy": "steps", "save_steps": 1}
    epochs_of(tmp_path, **settings)
    last = tmp_path / "_counted" / f"epoch-{whole}.safetensors"
    if lost and whole:
        last.unlink()
    found = epochs_of(tmp_path, resume=str(tmp_path / f"checkpoint-{step}"), **settings)
    assert found == ([whole] if lost and step % STEPS_AN_EPOCH == 0 else []) + after


def test_the_folder_is_known_once_training_has_begun(tmp_path):
    counted = Counted()
    with pytest.raises(ValueError, match="nothing was recorded yet; train first"):
        _ = counted.path
    counted.output_dir = tmp_path / "elsewhere"
    run(tmp_path, trainer={"callbacks": [counted]}, max_steps=1)
    assert counted.path == tmp_path / "elsewhere" / "_counted"
    counted.write("epoch-7", {"weight": torch.ones(2)}, torch.float16)
    counted.remove("epoch-*", keep="epoch-7")
    assert {file.name for file in counted.path.iterdir()} == {"epoch-7.safetensors", "manifest.json"}
    assert (counted.has("epoch-7"), counted.has("epoch-1")) == (True, False)
