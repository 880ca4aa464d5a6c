import os
import subprocess
import sys
from pathlib import Path

import pytest
from accelerate.commands.config import load_config_from_file

CONFIGS = Path(__file__).parents[2] / "examples" / "accelerate"
SHOW_PROCESS = """
from transformers import TrainingArguments
args = TrainingArguments(output_dir="unused", report_to="none")
print(f"process {args.process_index} of {args.world_size} on {args.device.type}", flush=True)
"""


@pytest.mark.parametrize(
    ("name", "num_processes", "mixed_precision"), [("cpu_2proc", 2, "no"), ("gpu_1node_ddp_bf16", 8, "bf16")]
)
def test_configuration_is_read(name, num_processes, mixed_precision):
    config = load_config_from_file(str(CONFIGS / f"{name}.yaml"))
    assert (config.num_processes, config.mixed_precision) == (num_processes, mixed_precision)


def test_every_configuration_is_tested():
    assert sorted(file.stem for file in CONFIGS.iterdir()) == ["cpu_2proc", "gpu_1node_ddp_bf16"]


@pytest.mark.slow
def test_two_cpu_processes_start(tmp_path):
    script = tmp_path / "show.py"
    script.write_text(SHOW_PROCESS)
    config = ["--config_file", str(CONFIGS / "cpu_2proc.yaml"), "--main_process_port", "0"]
    result = subprocess.run(
        [sys.executable, "-m", "accelerate.commands.launch", *config, str(script)],
        env={**os.environ, "ACCELERATE_USE_CPU": "true"},
        capture_output=True,
        text=True,
        check=True,
    )
    # The two write at once: a line break of one may come before the text of the other.
    shown = sorted(line for line in result.stdout.splitlines() if line)
    assert shown == ["process 0 of 2 on cpu", "process 1 of 2 on cpu"]
