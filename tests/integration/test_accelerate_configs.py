import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from accelerate.commands.config import load_config_from_file
from accelerate.commands.launch import launch_command_parser

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "examples" / "accelerate"
SHOW_PROCESS = """
from transformers import TrainingArguments
args = TrainingArguments(output_dir="unused", report_to="none")
print(f"process {args.process_index} of {args.world_size} on {args.device.type}", flush=True)
"""
EXPECTED = {
    "cpu_2proc": ("MULTI_GPU", 1, 2, "no"),
    "deepspeed_zero2": ("DEEPSPEED", 1, 8, "bf16"),
    "fsdp2": ("FSDP", 1, 8, "bf16"),
    "gpu_1node_ddp_bf16": ("MULTI_GPU", 1, 8, "bf16"),
    "multi_node": ("MULTI_GPU", 2, 16, "bf16"),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_configuration_is_read(name):
    config = load_config_from_file(str(CONFIGS / f"{name}.yaml"))
    found = (config.distributed_type.value, config.num_machines, config.num_processes, config.mixed_precision)
    assert found == EXPECTED[name]


def test_every_configuration_is_tested():
    assert sorted(file.stem for file in CONFIGS.iterdir()) == sorted(EXPECTED)


@pytest.mark.parametrize("name", ["fsdp2", "deepspeed_zero2"])
def test_every_setting_of_a_plugin_is_one_that_the_launcher_knows(name):
    settings = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
    known = vars(launch_command_parser().parse_args(["script.py"])).keys()
    assert (settings.get("fsdp_config") or settings["deepspeed_config"]).keys() <= known


def launch(config: str, *arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(CONFIGS / f"{config}.yaml")]
    variables = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([*command, *arguments], env=variables, stdout=subprocess.PIPE, text=True)


def lines(*launched: "subprocess.Popen[str]") -> list[str]:
    shown = [process.communicate(timeout=280)[0] for process in launched]
    assert [process.returncode for process in launched] == [0] * len(launched)
    # Processes write at once: a line break of one may come before the text of the other.
    return sorted(line for text in shown for line in text.splitlines() if line)


@pytest.mark.slow
def test_two_cpu_processes_start(tmp_path):
    script = tmp_path / "show.py"
    script.write_text(SHOW_PROCESS)
    shown = lines(launch("cpu_2proc", "--main_process_port", "0", str(script)))
    assert shown == ["process 0 of 2 on cpu", "process 1 of 2 on cpu"]


@pytest.mark.slow
def test_two_machines_start(tmp_path):
    """Two launches on one machine, that know of each other by address and port alone."""
    script = tmp_path / "show.py"
    script.write_text(SHOW_PROCESS)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    where = ["--main_process_ip", "127.0.0.1", "--main_process_port", port, "--num_processes", "2"]
    machines = [
        launch("multi_node", *where, "--mixed_precision", "no", "--machine_rank", rank, str(script)) for rank in "01"
    ]
    assert lines(*machines) == ["process 0 of 2 on cpu", "process 1 of 2 on cpu"]
