"""GPUs as NVIDIA's library describes them, which is a stub here."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pynvml
import pytest

from experiments.hardware import gpus
from gan import metric_names
from gan.tracker import NullTracker
from sweeps.analysis import confirm
from sweeps.search import throughput
from sweeps.spec.read_plan import read_plan
from sweeps.study.published import merged
from sweeps.workers import launchers
from sweeps.workers.protocol import Task
from sweeps.workers.supervisor import Supervisor

GIGABYTE = 2**30


@dataclass
class Memory:
    total: int
    used: int = 3 * GIGABYTE


@dataclass
class Load:
    gpu: int = 42


@dataclass
class Library:
    """Stands in for pynvml: a handle is an index."""

    gigabytes: list[int]
    opened: int = 0
    is_there: bool = True
    uuids: list[str] = field(default_factory=lambda: ["GPU-aa11", "GPU-bb22", "GPU-cc33"])
    exclusive: bool = False  # one process at a time may use a GPU
    says_memory: bool = True
    used: int = 3 * GIGABYTE

    def nvmlInit(self) -> None:  # noqa: N802
        if not self.is_there:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)
        self.opened += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.opened -= 1

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return len(self.gigabytes)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        if index >= len(self.gigabytes):
            raise pynvml.NVMLError(pynvml.NVML_ERROR_INVALID_ARGUMENT)
        return index

    def nvmlDeviceGetUUID(self, handle: int) -> str:  # noqa: N802
        return self.uuids[handle]

    def nvmlDeviceGetHandleByUUID(self, name: str) -> int:  # noqa: N802
        if name != "MIG-dd44":
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return 1

    def nvmlDeviceGetComputeMode(self, handle: int) -> int:  # noqa: N802
        return pynvml.NVML_COMPUTEMODE_EXCLUSIVE_PROCESS if self.exclusive else pynvml.NVML_COMPUTEMODE_DEFAULT

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Memory:  # noqa: N802
        if not self.says_memory:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return Memory(self.gigabytes[handle] * GIGABYTE, self.used)

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> Load:  # noqa: N802
        return Load()


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    """Two GPUs, of 80 and of 1 GB, of which this process may use all."""
    library = Library([80, 1])
    for name in dir(library):
        if name.startswith("nvml"):
            monkeypatch.setattr(pynvml, name, getattr(library, name))
    monkeypatch.delenv(gpus.CHOSEN, raising=False)
    return library


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        (None, ["0", "1"]),
        ("", []),
        ("-1", []),
        ("1", ["1"]),
        ("7", []),
        ("1,0", ["1", "0"]),
        ("0,7,1", ["0"]),  # CUDA ignores what follows a wrong one
        ("GPU-bb", ["GPU-bb"]),
        ("MIG-dd44", ["MIG-dd44"]),  # a slice
        ("MIG-dd44,MIG-no", ["MIG-dd44"]),
    ],
)
def test_which_gpus_a_process_may_use(
    chosen: str | None, expected: list[str], library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    if chosen is not None:
        monkeypatch.setenv(gpus.CHOSEN, chosen)
    assert gpus.visible() == expected
    assert library.opened == 0


def test_without_the_library_there_are_none(library: Library) -> None:
    library.is_there = False
    assert gpus.visible() == []
    assert gpus.places(1) == 0
    assert gpus.share_of(0, 1) == {}
    assert gpus.sample(["0"]) == {}


def test_places_follow_the_memory_and_each_gpu_has_one(library: Library) -> None:
    assert gpus.places(1) == 40 + 1
    assert gpus.places(2) == gpus.places("auto") == 1  # as many as the smaller has room for


def test_a_gpu_that_says_little_or_is_of_one_process_has_one_place(library: Library) -> None:
    library.says_memory = False  # as of a system whose processor has the same memory
    assert gpus.places(1) == 2
    assert gpus.sample(["0"]) == {}
    library.says_memory, library.exclusive = True, True
    assert gpus.places(1) == 2


def test_a_library_that_cannot_begin_on_a_full_gpu_lacks_memory(library: Library) -> None:
    words = "DNN library initialization failed. Look at the errors above for more details."
    assert gpus.is_refused_by_full_gpu(RuntimeError(words))  # the second GPU has 1 GB, the first one is free
    library.gigabytes, library.used = [80], 3 * GIGABYTE
    assert not gpus.is_refused_by_full_gpu(RuntimeError(words))  # then it is broken
    library.used = 79.5 * GIGABYTE
    assert gpus.is_refused_by_full_gpu(RuntimeError(words))
    assert not gpus.is_refused_by_full_gpu(RuntimeError("other"))
    library.is_there = False
    assert not gpus.is_refused_by_full_gpu(RuntimeError(words))


def test_workers_take_turns_at_gpus(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [gpus.share_of(number, 1) for number in range(3)] == [{gpus.CHOSEN: gpu} for gpu in ("0", "1", "0")]
    assert gpus.share_of(0, "auto") == {}  # a trial on all of them
    monkeypatch.setattr(gpus, "visible", lambda: ["0", "1", "2", "3", "4"])
    assert [gpus.share_of(number, 2)[gpus.CHOSEN] for number in range(3)] == ["0,1", "2,3", "0,1"]
    assert gpus.share_of(7, 9)[gpus.CHOSEN] == "0,1,2,3,4"  # too few: the training says so


def test_load_and_memory_are_recorded_beside_the_losses(library: Library) -> None:
    seen: list[tuple[int, Mapping[str, float]]] = []

    class Recorder(NullTracker):
        def scalars(self, step: int, values: Mapping[str, float]) -> None:
            seen.append((step, values))

    tracker = gpus.GpuMetrics(Recorder(), 2)
    tracker.scalars(5, {metric_names.FID_PROXY: 1.0})
    assert seen == []
    tracker.scalars(10, {metric_names.D_LOSS: 1.0})
    ((step, values),) = seen
    assert step == 10
    assert values["system/gpu_0_utilization_percentage"] == 42
    assert values["system/gpu_0_memory_usage_megabytes"] == pytest.approx(3 * GIGABYTE / 1e6)
    assert values["system/gpu_0_memory_usage_percentage"] == pytest.approx(100 * 3 / 80)
    assert len(values) == 6
    gpus.GpuMetrics(Recorder(), 1).scalars(20, {metric_names.D_LOSS: 1.0})
    assert sorted(seen[-1][1]) == sorted(name for name in values if "gpu_0" in name)
    gpus.GpuMetrics(Recorder(), 0).scalars(30, {metric_names.D_LOSS: 1.0})  # a run on the CPU
    assert seen[-1][0] == 20


@pytest.mark.parametrize(("gigabytes", "workers"), [([80], 2), ([1], 1), ([3, 3], 2), ([], 2)])
def test_a_search_has_as_many_workers_as_cores_and_memory_allow(
    gigabytes: list[int], workers: int, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.gigabytes = gigabytes
    monkeypatch.setattr("sweeps.spec.plan.available_cores", lambda: 2)
    assert read_plan(["search=custom", "model.dropout=0.1,0.2"]).workers == workers


def test_a_worker_that_sees_one_gpu_divides_the_cores_as_its_search_does(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.gigabytes = [3, 3]
    monkeypatch.setattr("sweeps.spec.plan.available_cores", lambda: 8)
    plan = read_plan(["search=custom", "model.dropout=0.1,0.2", f"records.root={tmp_path}"])
    assert (plan.workers, plan.threads) == (2, 4)
    task = Supervisor(plan, SimpleNamespace(user_attrs={}), None)._task(1)  # type: ignore[arg-type]
    monkeypatch.setenv(gpus.CHOSEN, "1")
    there = read_plan(merged(plan.command, task.arguments))
    assert (there.workers, there.threads) == (2, 4)


def test_a_confirmations_trainings_take_turns_at_gpus(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[str] = []

    class Killed:
        def __init__(self, job: object, log: Path, environment: Mapping[str, str]) -> None:
            given.append(environment[gpus.CHOSEN])

        def messages(self) -> list[object]:
            return []

        def ending(self) -> str:
            return "killed"

    monkeypatch.setattr(confirm, "TrialProcess", Killed)
    plan = read_plan(
        [
            "search=custom",
            "model.dropout=0.1,0.2",
            "search.confirm.seeds=2",
            "search.retries=0",
            f"records.root={tmp_path}",
        ]
    )
    candidates = [confirm.Candidate(f"trial-{number}", {}, 0.0) for number in range(4)]
    confirm.confirm(plan, candidates, lambda event: None, lambda: False)
    # Of the first seed, side by side and then alone: nobody is left for the second.
    assert (sorted(given[:4]), given[4:]) == (["0", "0", "1", "1"], ["0", "1", "0", "1"])


def test_local_workers_and_the_dry_run_are_given_their_gpus(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[str] = []
    monkeypatch.setattr(launchers, "WorkerProcess", lambda task, log, own: given.append(own[gpus.CHOSEN]))
    plan = read_plan(["search=custom", "model.dropout=0.1,0.2", "search.workers=3"])
    launchers.make_launcher(plan, tmp_path).start([Task([], number, "") for number in range(3)])
    assert given == ["0", "1", "0"]

    class Done:
        returncode, stdout = 0, "1.5 0.25"

    def run(program: Path, arguments: list[str], environment: dict[str, str]) -> Done:
        given.append(environment[gpus.CHOSEN])
        return Done()

    monkeypatch.setattr(throughput, "run", run)
    monkeypatch.setattr(throughput, "fork_server", lambda modules: contextlib.nullcontext())
    assert throughput.measure(plan) == throughput.TrialTiming(1.5, 0.25)
    assert sorted(given[3:]) == ["0", "0", "1"]
