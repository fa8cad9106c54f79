"""train.precision=auto: what the processor or the GPU says of itself, and what composing makes of it."""

from pathlib import Path

import pynvml
import pytest

from experiments.cli import compose as compose_module
from experiments.cli.compose import compose
from experiments.hardware import nvidia, precision
from experiments.hardware.precision import fastest_precision
from experiments.settings.schema import FULL, HALF
from sweeps.spec.read_plan import read_plan


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("flags\t\t: fpu vme avx512_bf16 avx512vl", HALF),
        ("flags\t\t: fpu amx_bf16", HALF),
        ("Features\t: fp asimd i8mm bf16 dgh", HALF),
        ("flags\t\t: fpu vme avx512f avx512_bf16x", FULL),
        ("", FULL),
    ],
)
def test_a_processor_says_what_it_has(
    line: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "_compute_capabilities", list)
    monkeypatch.setattr(precision.platform, "system", lambda: "Linux")
    file = tmp_path / "cpuinfo"
    file.write_text(f"processor\t: 0\n{line}\n")
    assert fastest_precision(file) == expected
    assert fastest_precision(tmp_path / "none") == FULL


@pytest.mark.parametrize(("majors", "expected"), [([9, 8], HALF), ([9, 7], FULL), ([8], HALF)])
def test_gpus_decide_where_there_are_any(majors: list[int], expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: None,
        "nvmlDeviceGetCount": lambda: len(majors),
        "nvmlDeviceGetHandleByIndex": lambda index: index,
        "nvmlDeviceGetCudaComputeCapability": lambda handle: (majors[handle], 0),
    }.items():
        monkeypatch.setattr(pynvml, name, value)
    monkeypatch.delenv(nvidia.CHOSEN, raising=False)
    assert fastest_precision() == expected
    monkeypatch.setenv(nvidia.CHOSEN, str(majors.index(max(majors))))
    assert fastest_precision() == HALF
    monkeypatch.setenv(nvidia.CHOSEN, "")  # then the processor decides
    assert fastest_precision(Path("/dev/null")) == FULL


@pytest.mark.parametrize("found", [FULL, HALF])
def test_what_auto_stands_for_is_recorded_and_handed_on(found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compose_module, "fastest_precision", lambda: found)
    composed = compose(["experiment=quick", "train.precision=auto"])
    assert composed.config.train.precision == found
    assert composed.overrides[-1] == f"train.precision={found}"
    assert composed.node.train.precision == found
    assert compose(["experiment=quick"]).config.train.precision == FULL
    plan = read_plan(["search=quick"])
    assert plan.config.train.precision == found
    assert f"train.precision={found}" in plan.trial_overrides({})
    assert not [each for each in plan.trial_overrides({}) if each.endswith("=auto")]
