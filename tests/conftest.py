"""What the tests share: small data, and the program as a user starts it."""

import contextlib
import hashlib
import logging
import os
import pickle
import random
import signal
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

if "SOAK" not in os.environ:  # `make soak` kills trainings on a GPU where there is one
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"

import numpy as np
import psutil
import pytest
from absl import logging as absl_logging

if TYPE_CHECKING:
    from servers import Postgres
    from shared_study import Shared

    from experiments.processes.process import Process
    from experiments.training.start import Run
    from gan.data.dataset import Dataset
    from gan.evaluation.scorer import Scorer

for inherited in ("MAKELEVEL", "MAKEFLAGS", "MFLAGS"):  # a test's own make is no part of `make test`
    os.environ.pop(inherited, None)

# Hydra closes all handlers, and this one the file that pytest captures with, unless it has the true standard error.
absl_logging.get_absl_handler().python_handler.stream = sys.__stderr__

TESTS = Path(__file__).resolve().parent
TRIAL_WITHOUT_TRAINING = "chaos/trial_without_training.py"  # below TESTS
ROOT = TESTS.parent
SHARED_DATA = ROOT.parent / "shared" / "data"
SOAK = "SOAK" in os.environ  # `make soak`: as many kills and combinations as docs/reliability.md counts
THOROUGH = SOAK or "THOROUGH" in os.environ  # `make test-all`: more of them than `make test` has time for

NARROW = ["model.generator.width=16", "model.discriminator.width=8"]  # networks of a program that is not to take long

SCORERS: dict[str, "Scorer"] = {}  # `small_scorer`'s

RunProgram = Callable[..., subprocess.CompletedProcess[str]]


# Tests of half a minute or more: at the end of a session one process would be at them while the others have nothing to do.
LONG = (
    "test_hosts",
    "test_optuna_search",
    "test_grid",
    "test_mlflow_ui",
    "test_search_under_fire",
    "test_xla",
    "test_session",
)


if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as of `make test &`: all that tests start would ignore Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.stem not in LONG)


@pytest.fixture(autouse=True)
def no_logs_left() -> Iterator[None]:
    """No test leaves what Hydra logs to, for a program, to the tests after it."""
    before = logging.root.handlers[:]
    yield
    for handler in [each for each in logging.root.handlers if each not in before]:
        if type(handler) in (logging.StreamHandler, logging.FileHandler):  # and not what pytest captures with
            logging.root.removeHandler(handler)
            handler.close()


@pytest.fixture(autouse=True)
def no_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test sees the user's Keras cache or tracking server."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(scope="session")
def forks(mlflow_database: Path) -> Iterator[None]:
    """Has programs forked from now on, by the tests themselves and by the programs that they start.

    `preloaded/cheaper_programs.py` says what they do not do, unlike those that are not forked.
    """
    from experiments.processes.process import fork_server

    path = os.pathsep.join([str(TESTS / "preloaded"), *filter(None, [os.environ.get("PYTHONPATH")])])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", path)
        patch.setenv("TESTS_MLFLOW_DATABASE", str(mlflow_database))
        with fork_server(["sweeps.workers.preload", "sweeps.search.start", "cheaper_programs"]):
            yield


@pytest.fixture
def program(forks: None) -> RunProgram:
    """Runs `python experiments/run.py` (or another script) in a process of its own; is_forked=False: as a user does."""
    from experiments.processes import process

    def run(
        *arguments: str,
        script: str = "experiments/run.py",
        cwd: Path = ROOT,
        is_forked: bool = True,
        **environment: str,
    ) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, **environment}
        if not is_forked:
            env.pop(process.ADDRESS, None)
        return process.run(ROOT / script, arguments, environment=env, folder=cwd, seconds=600)

    return run


def _end(process: "Process") -> None:
    """Kill a program that a failed test has left."""
    process.kill()
    process.wait()


class Started:
    """A program that runs while the test goes on, forked where the fork server runs; it leads a session of its own.

    Attributes:
        process: it.
    """

    def __init__(self, program: Path, *arguments: str, log: Path | None = None, **environment: str) -> None:
        """Start it.

        Args:
            program: its file.
            arguments: what it gets on its command line.
            log: the file that both of its streams are appended to; None to get them from `end`.
            environment: variables beside those of this process.
        """
        from experiments.processes import process

        self._out: IO[str] = open(log, "a+") if log else tempfile.TemporaryFile("w+")
        self._err: IO[str] = self._out if log else tempfile.TemporaryFile("w+")
        for file in {self._out, self._err}:
            weakref.finalize(self, file.close)
        self.process: Process = process.start(
            program,
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=self._out,
            stderr=self._err,
            environment={**os.environ, **environment},
            folder=ROOT,
            new_session=True,
        )
        weakref.finalize(self, _end, self.process)

    @property
    def returncode(self) -> int | None:
        return self.process.poll()

    def end(self, seconds: float = 120.0) -> tuple[str, str]:
        """Wait for its end and return what it wrote to its standard output and error.

        Args:
            seconds: after which it is killed.

        Raises:
            subprocess.TimeoutExpired: if it was killed.
        """
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        texts = []
        for file in (self._out, self._err):
            file.seek(0)
            texts.append(file.read())
        return texts[0], texts[1]

    def wait_for(self, condition: Callable[[], bool], seconds: float = 120.0) -> None:
        """Wait until something is so; the program must go on until then."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None or condition(), self.end()
            assert time.monotonic() < deadline, "it did not happen in time"
            time.sleep(0.02)


def processes_of(records: Path, script: str = "") -> list[psutil.Process]:
    """Workers and trials whose standard error goes to a file below these records, wherever they were forked.

    Args:
        records: a folder.
        script: a part of their command line.
    """
    found = []
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess, OSError):
            log = Path(os.readlink(f"/proc/{child.pid}/fd/2"))
            if log.is_relative_to(records) and script in " ".join(child.cmdline()):
                found.append(child)
    return found


@pytest.fixture(scope="session")
def mlflow_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database without runs, to be copied: its tables take two seconds."""
    from experiments.tracking.connection import _make_database

    file = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    _make_database(file)
    return file


def chaos_seed() -> int:
    """Return the seed of a test that draws what it breaks: another one each time, or that of CHAOS_SEED."""
    seed = int(os.environ.get("CHAOS_SEED", random.randrange(10**6)))
    print(f"CHAOS_SEED={seed} repeats this")  # shown when the test fails
    return seed


def noise_images(count: int, seed: int = 0) -> np.ndarray:
    """(count, 32, 32, 3) uint8."""
    return np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)


def dataset(train: np.ndarray, test: np.ndarray | None = None) -> "Dataset":
    """A data set of some images."""
    from gan.data.dataset import Dataset

    return Dataset("npz", None, "all", "some images", train, train[:0] if test is None else test)


def small_scorer(train: np.ndarray, test: np.ndarray | None = None) -> "Scorer":
    """Scores against some images in the features of the random network; of the same images only once a process."""
    from gan.evaluation import scorer
    from gan.evaluation.extractors import load_extractor
    from gan.evaluation.weights import find_weights

    key = hashlib.sha256(b"%d" % len(train) + train.tobytes() + (b"" if test is None else test.tobytes())).hexdigest()
    if key not in SCORERS:
        extractor = load_extractor(find_weights("random_cnn"))
        with tempfile.TemporaryDirectory() as cache, pytest.MonkeyPatch.context() as patch:
            patch.setattr(scorer, "NOISE_IMAGES", 500)  # a tenth, as scoring them takes longest
            reference = scorer.Reference.of(extractor, dataset(train, test), Path(cache))
        SCORERS[key] = scorer.Scorer(extractor, reference)
    return SCORERS[key]


def batch(images: np.ndarray, labels: np.ndarray) -> dict[bytes, object]:
    """A CIFAR-10 batch as the public archive has it."""
    return {b"data": images.transpose(0, 3, 1, 2).reshape(len(images), -1), b"labels": [int(x) for x in labels]}


@pytest.fixture
def cifar(tmp_path: Path) -> Path:
    """A small CIFAR-10 in its standard layout: 100 images a batch, ten a class."""
    folder = tmp_path / "data" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for index, name in enumerate([*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"]):
        content = batch(noise_images(100, seed=index), np.arange(100) % 10)
        (folder / name).write_bytes(pickle.dumps(content, protocol=3))
    return folder.parent


@pytest.fixture(scope="session")
def real_cifar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real CIFAR-10 in its standard layout; `cache/` beside it keeps it decoded."""
    script = SHARED_DATA / "unpack_cifar10.py"
    if not script.exists():
        pytest.skip("the real CIFAR-10 is not beside the repository")
    folder = tmp_path_factory.mktemp("cifar")
    subprocess.run([sys.executable, str(script), str(folder)], check=True, capture_output=True)
    return folder


@pytest.fixture
def npz(tmp_path: Path) -> Path:
    file = tmp_path / "images.npz"
    np.savez(file, images=noise_images(64))
    return file


@pytest.fixture
def untrained_run(tmp_path: Path) -> "Run":
    """A run with two checkpoints that no training was needed for."""
    from rich.console import Console

    from experiments.settings.schema import Config, DataConfig, RecordsConfig
    from experiments.training.start import new_run
    from gan.checkpoint import Checkpoint
    from gan.models import build_generator
    from gan.update import variables_by_name

    npz = tmp_path / "images.npz"
    np.savez(npz, images=noise_images(64), test_images=noise_images(20, seed=1))
    data = DataConfig(source="npz", path=str(npz), class_id="all")
    config = Config(data=data, records=RecordsConfig(root=str(tmp_path / "r")), name="mine")
    run = new_run(config, None, [], Console(quiet=True))
    for step in (3, 6):
        generator = build_generator(seed=step)
        arrays = {name: v.numpy() for name, v in variables_by_name("generator", generator).items()}
        run.folder.checkpoints.save(Checkpoint(step, arrays, {}))
    return run


@pytest.fixture(scope="module")
def server() -> Iterator["Postgres"]:
    """A PostgreSQL that the tests of a module share, each with a database of its own."""
    pytest.importorskip("psycopg", reason="psycopg is not installed (extra cluster)")
    from servers import binaries, running

    if binaries() is None:
        pytest.skip("PostgreSQL's initdb is not installed")
    with running() as one:
        yield one


@pytest.fixture
def make(server: "Postgres", forks: None, tmp_path: Path) -> Iterator[Callable[..., "Shared"]]:
    """Makes studies in a database of that server; their processes end with the test."""
    from shared_study import Shared

    made: list[Shared] = []

    def one(*arguments: str) -> Shared:
        made.append(Shared(tmp_path, server.fresh(), *arguments))
        return made[-1]

    yield one
    for study in made:
        study.close()
