"""What a run computes on, where TensorFlow says that there are GPUs."""

import importlib.metadata
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from experiments.hardware import device
from experiments.hardware.cores import VARIABLES
from experiments.hardware.nvidia import CHOSEN
from experiments.settings.schema import TrainConfig
from gan import xla


@dataclass
class Machine:
    """What TensorFlow says and is told on a machine with GPUs of these names."""

    gpus: list[str]
    is_deterministic: bool = False
    opened: list[str] = field(default_factory=list)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    import tensorflow as tf

    machine = Machine([])
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: machine.gpus if kind == "GPU" else [])
    monkeypatch.setattr(tf.config, "set_visible_devices", lambda gpus, kind: setattr(machine, "opened", gpus))
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda gpu: {"device_name": gpu})
    monkeypatch.setattr(
        tf.config.experimental, "enable_op_determinism", lambda: setattr(machine, "is_deterministic", True)
    )
    monkeypatch.setattr(device, "visible", lambda: machine.gpus)
    for name in (*VARIABLES, xla.FLAGS, CHOSEN):
        monkeypatch.setenv(name, "")  # so that it is as before afterwards
        monkeypatch.delenv(name)
    monkeypatch.setattr(device, "DRIVER", tmp_path / "driver")
    monkeypatch.setattr(device, "available_cores", lambda: 2)
    return machine


def test_a_cpu_computes_plainly(machine: Machine, tmp_path: Path) -> None:
    used = device.use_hardware(TrainConfig(threads=2, deterministic=False), tmp_path)
    assert used == device.Hardware("CPU, 2 cores", 2, jit_compile=False, deterministic=True)
    assert used.words == "CPU, 2 cores"
    assert xla.FLAGS not in os.environ
    assert device.use_hardware(TrainConfig(threads=1), tmp_path).device == "CPU, 1 core"


def test_threads_that_share_cores_are_said(machine: Machine, tmp_path: Path) -> None:
    used = device.use_hardware(TrainConfig(threads=99), tmp_path)
    assert (used.device, used.threads) == ("CPU, 99 threads on 2 cores", 99)  # as the records have it, too
    assert used.warnings == (
        "train.threads=99 is more than the 2 cores that this process may use, which makes it slower",
    )


def test_a_gpu_computes_exactly_and_through_xla(machine: Machine, tmp_path: Path) -> None:
    machine.gpus = ["NVIDIA H100 80GB", "NVIDIA A2"]
    used = device.use_hardware(TrainConfig(), tmp_path)
    assert used.tags["device"] == "GPU 0, NVIDIA H100 80GB"
    assert machine.opened == ["NVIDIA H100 80GB"]  # the other one stays free for other processes
    assert used.gpus == 1
    assert (used.tags["jit_compile"], used.tags["deterministic"]) == ("true", "true")
    assert used.words == "GPU 0, NVIDIA H100 80GB; compiled by XLA"
    assert machine.is_deterministic
    assert str(tmp_path / "xla") in os.environ[xla.FLAGS]


def test_what_a_gpu_does_when_it_is_told(machine: Machine, tmp_path: Path) -> None:
    machine.gpus = ["NVIDIA A2", "NVIDIA T4"]
    used = device.use_hardware(TrainConfig(jit_compile=False, deterministic=False), tmp_path)
    assert (used.tags["jit_compile"], used.tags["deterministic"]) == ("false", "false")
    assert not machine.is_deterministic
    assert "equal seeds give unlike runs" in used.words
    several = device.use_hardware(TrainConfig(devices="auto"), tmp_path)
    assert several.device == "GPU 0, NVIDIA A2 and GPU 1, NVIDIA T4"
    assert len(machine.opened) == several.gpus == 2
    assert not several.jit_compile
    machine.gpus = ["NVIDIA A2"]
    assert device.use_hardware(TrainConfig(devices="auto"), tmp_path).jit_compile


def test_a_driver_without_a_gpu_is_said_with_the_cure(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def warnings() -> tuple[str, ...]:
        return device.use_hardware(TrainConfig(), tmp_path).warnings

    assert warnings() == ()
    device.DRIVER.touch()
    (warning,) = warnings()
    for cure in (".[gpu]", "LD_LIBRARY_PATH", "--gpus all"):
        assert cure in warning
    for chosen in ("", "-1"):  # the CPU is wanted
        monkeypatch.setenv(CHOSEN, chosen)
        assert warnings() == ()
    monkeypatch.setenv(CHOSEN, "7")
    (warning,) = warnings()
    assert warning.startswith("CUDA_VISIBLE_DEVICES=7 names no GPU")
    machine.gpus = ["NVIDIA A2"]
    assert warnings() == ()


def test_apples_plugin_is_warned_of(machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert device.use_hardware(TrainConfig(), tmp_path).warnings == ()
    monkeypatch.setattr(importlib.metadata, "version", lambda package: "1.2")
    (warning,) = device.use_hardware(TrainConfig(), tmp_path).warnings
    assert "pip uninstall tensorflow-metal" in warning


def test_what_out_of_memory_looks_like() -> None:
    import tensorflow as tf

    from gan.devices import is_out_of_memory

    for error in (
        MemoryError(),
        tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor"),
        tf.errors.InternalError(None, None, "cudaSetDevice() on GPU:0 failed. Status: out of memory"),
        RuntimeError("CUDA_ERROR_OUT_OF_MEMORY: out of memory"),
        tf.errors.InternalError(None, None, "CUBLAS_STATUS_ALLOC_FAILED"),
    ):
        assert is_out_of_memory(error), error
    for error in (ValueError("out of memory"), tf.errors.InternalError(None, None, "other"), KeyboardInterrupt()):
        assert not is_out_of_memory(error), error
