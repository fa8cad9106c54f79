"""A tracking server that is absent, dies, errs, dawdles and comes back, twenty times in one run with `make soak`."""

import random
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import SOAK, THOROUGH, chaos_seed
from flaky_server import Proxy, Server
from mlflow import MlflowClient

from experiments.records import journal
from experiments.records.folders import Records, write_json
from experiments.records.journal import Journal
from experiments.records.status import RunStatus
from experiments.tracking.delivery import Delivery
from experiments.tracking.feeder import Feeder

TIMEOUT = 5  # seconds that MLflow waits for an answer
OUTAGES = 20 if SOAK else 10 if THOROUGH else 5
FACTS = {
    "created": 1_700_000_000_000,
    "command": "python experiments/run.py",
    "params": {"model.bn_momentum": 0.8, "train.steps": 100},
    "tags": {"dataset": "npz", "run_folder": "/somewhere/run"},
    "dataset": {"name": "npz", "description": "npz x", "sha256": "ab" * 32, "shape": [64, 32, 32, 3], "dtype": "uint8"},
}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "server")
    server.start()
    yield server
    server.kill()


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    proxy = Proxy(server.port)
    yield proxy
    proxy.close()


def test_outages_lose_and_double_nothing(
    server: Server, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(chaos_seed())
    monkeypatch.setenv("MLFLOW_TRACKING_URI", proxy.uri)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", str(TIMEOUT))
    monkeypatch.setattr("experiments.tracking.feeder.INTERVAL", 0.05)
    folder = Records(tmp_path / "records").new_run("run", None)
    write_json(folder.facts, FACTS)
    (folder.path / "plots").mkdir()
    records = Journal(folder)
    proxy.mode = "refuse"  # absent at the start
    feeder = Feeder(folder)
    feeder.start()

    step = 0
    waits = []

    def train(seconds: float) -> None:
        nonlocal step
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            step += 1
            begin = time.perf_counter()
            records.scalars(step, {"train/d_loss": rng.random(), "train/g_loss": rng.random()})
            if step % 20 == 0:
                records.image(step, "samples", np.full((8, 8, 3), step % 256, np.uint8))
            if step % 50 == 0:
                plot = folder.path / "plots" / f"plot_{step}.png"
                plot.write_bytes(b"png")
                records.artifact(plot)
            waits.append(time.perf_counter() - begin)
            time.sleep(0.01)

    train(1)
    modes = ["error", "lost", "slow", "refuse", "dead"] * (OUTAGES // 5)
    rng.shuffle(modes)
    for mode in modes:
        proxy.mode = "up"
        train(rng.uniform(0.2, 1.0))
        if mode == "dead":
            server.kill()
            train(rng.uniform(0.2, 1.0))
            server.start()
        else:
            proxy.mode = mode
            train(rng.uniform(0.2, 1.5))
    proxy.mode = "up"
    records.tags({"duration": "3 s"})
    records.status(RunStatus.FINISHED)
    records.close()
    if not feeder.finish(60):
        assert Delivery(folder).deliver() == []
    assert max(waits) < TIMEOUT  # the training side never waits for the server

    client = MlflowClient(proxy.uri)
    (run_id,) = folder.mlflow_run_ids()
    run = client.get_run(run_id)
    assert len(client.search_runs([run.info.experiment_id])) == 1
    assert run.info.status == "FINISHED"
    assert run.data.params == {key: str(value) for key, value in FACTS["params"].items()}  # type: ignore[attr-defined]
    assert run.data.tags["duration"] == "3 s"
    points = 0
    for key in ("train/d_loss", "train/g_loss"):
        history = client.get_metric_history(run_id, key)
        expected = journal.curve(folder.journal, key)
        assert expected[0] == list(range(1, step + 1))
        assert [(point.step, point.value) for point in history] == list(zip(*expected, strict=True))
        points += len(history)
    samples = [Path(f.path).name for f in client.list_artifacts(run_id, "images") if f.path.endswith(".png")]
    steps = sorted(int(name.split("+")[2]) for name in samples)
    assert steps == list(range(20, step + 1, 20))
    plots = sorted(int(Path(f.path).stem.split("_")[1]) for f in client.list_artifacts(run_id, "plots"))
    assert plots == list(range(50, step + 1, 50))
    print(f"{points} points, {len(steps)} samples, {len(plots)} files, {proxy.requests} requests")
