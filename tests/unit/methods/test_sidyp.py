import numpy as np
import pytest

from hf_noisy.methods import SiDyP
from hf_noisy.training.trainer import NoisyTrainer
from tests.contract.runs import CLASSES, make_args, make_model, make_rows


def test_posteriors_of_all_recorded_rows_and_one_network_trained_on_them(tmp_path):
    rows, others = make_rows(), make_rows(count=13, seed=4)
    checked = np.full(len(rows), -1)
    checked[:4] = (np.array(rows["label"])[:4] + 1) % CLASSES
    method = SiDyP(diffusion_epochs=1, record={"test": others})
    args = make_args(tmp_path, num_train_epochs=1)
    trainer = NoisyTrainer(make_model("plain"), args, train_dataset=rows, method=method, checked=checked)
    trainer.train()
    assert {name: found.shape for name, found in method.posteriors.items()} == {
        "train": (len(rows), CLASSES),
        "test": (13, CLASSES),
    }
    np.testing.assert_array_equal(method.posteriors["train"][:4], np.eye(CLASSES)[checked[:4]])
    trainer.save_model(tmp_path / "saved")
    assert (tmp_path / "saved" / "branches").is_dir()
    assert (tmp_path / "_sidyp" / "_trajectories").is_dir()


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match="diffusion_epochs must be an integer of at least 1, got 0"):
        SiDyP(diffusion_epochs=0)
    with pytest.raises(ValueError, match=r"noise_rate must be a number in \[0, 1\), got 1.2"):
        SiDyP(noise_rate=1.2)
