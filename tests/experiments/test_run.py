"""The program as a user starts it."""

import contextlib
import errno
import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from conftest import NARROW, ROOT, RunProgram, Started, noise_images
from mlflow import MlflowClient
from PIL import Image
from recorded_runs import make_run
from rich.console import Console

from experiments import run as training_program
from experiments.cli import entry
from experiments.cli.compose import compose_config
from experiments.records.folders import Records, RunFolder, read_json
from experiments.records.journal import curve
from experiments.records.status import RunStatus
from experiments.training.start import new_run
from experiments.training.train import Outcome

SMALL = (
    "train.batch_size=4",
    "train.log_every_steps=2",
    "train.grid_every_steps=4",
    "train.checkpoint_every_steps=3",
    "eval.every_steps=3",
    "eval.num_images=20",
    "eval.final_num_images=20",
    *NARROW,
)


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return Records(tmp_path / "records")


@pytest.fixture
def common(records: Records, npz: Path) -> list[str]:
    return [f"records.root={records.root}", "data=npz", f"data.path={npz}", *SMALL]


def only_run(records: Records) -> RunFolder:
    (folder,) = records.all_runs()
    return folder


# --- mistakes: one line, exit code 2, nothing written


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["model.bn_momentum=1.7"], "model.bn_momentum must be in [0, 1); got 1.7"),
        (["model.bn_momentun=0.8"], "did you mean 'model.bn_momentum'?"),
        (
            ["search.trials=9"],
            "search.trials must be a setting of a run; got '9' (of a search: python sweeps/optuna_search",
        ),
        (["--foo"], "an argument must be key=value, or a flag that --help lists; got '--foo'"),
        (["--info", "foo"], "--info/-i must be as --help has it"),
        (["tuned"], "an override must be key=value; got 'tuned' (did you mean experiment=tuned?)"),
        (["train.steps"], "an override must be key=value; got 'train.steps' (see --help)"),
        (["-m", "model.bn_momentum=0.7,1.7"], "model.bn_momentum must be in [0, 1); got 1.7"),
        (["seed=1", "-m", "data.class_id=ship,shipp"], "did you mean 'ship'?"),
        (["--cfg", "job", "train.steps=0"], "train.steps must be in [1, 1000000000]; got 0"),
        (["resume=nosuchrun"], "resume must be a run; got 'nosuchrun'"),
        (["resume=last", "experiment=quick"], "resume must be without experiment="),
        (["resume=last", "name=other"], "name must be absent with resume"),
        (["--config-dir", "nowhere"], "--config-dir must be a folder; got 'nowhere'"),
        (["--config-name", "other"], "--config-name must be absent"),
        (["-m", "name=a", "seed=0,1"], "name must be absent in a multirun"),
        (["data=cifar10", f"data.path={__file__}"], "data.path must be an undamaged CIFAR-10 .tar.gz"),
        (["data.path=nowhere"], "data.path must be an existing file or folder; got 'nowhere'"),
        (["data=folder", "data.path=."], "at least 40 images"),
        (["eval.extractor=cifarcnn"], "eval.extractor must be one of cifar_cnn, random_cnn, inception; got 'cifarcnn'"),
        (["data=embedded", "eval.extractor_weights=nowhere"], "eval.extractor_weights must be a file of weights"),
    ],
)
def test_mistakes(arguments: list[str], message: str, program: RunProgram, tmp_path: Path) -> None:
    root = tmp_path / "records"
    done = program(*arguments, f"records.root={root}", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert message in done.stderr
    assert not [f for f in root.rglob("*") if f.is_file() and "cache" not in f.parts]


@pytest.mark.parametrize(
    "arguments", [["model.bn_momentum=1.7"], ["--cfg", "job"], ["--help"], ["data.path=nowhere"]], ids=" ".join
)
def test_help_and_mistakes_load_neither_tensorflow_nor_mlflow(arguments: list[str], tmp_path: Path) -> None:
    code = f"""
import atexit, runpy, sys
atexit.register(lambda: print("LOADED", *({{"tensorflow", "keras", "mlflow", "matplotlib"}} & sys.modules.keys())))
sys.argv = {[str(ROOT / "experiments/run.py"), *arguments]!r}
runpy.run_path(sys.argv[0], run_name="__main__")
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1].strip() == "LOADED"


# --- what Hydra gives


def test_cfg_job_shows_every_key(program: RunProgram) -> None:
    printed = yaml.safe_load(program("--cfg", "job", "model.bn_momentum=0.9").stdout)
    assert printed["model"]["bn_momentum"] == 0.9
    assert printed["train"]["label_noise_mode"] == "fixed"
    assert printed["data"]["source"] == "auto"


def test_help_names_groups_and_keys(program: RunProgram) -> None:
    done = program("--help")
    assert done.returncode == 0
    for text in (
        "experiment: defaults, quick, tuned, tuned_four, tutorial",
        "data: auto, cifar10, embedded, folder, npz",
        "model.bn_momentum=0.8",
        "weight of the past in every batch normalisation",
        "-m model",
    ):
        assert text in done.stdout


def test_shell_completion_completes_keys_and_options(program: RunProgram) -> None:
    assert "complete" in program("-sc", "install=bash").stdout
    for typed, expected in (("model.bn_m", "model.bn_momentum="), ("experiment=tu", "experiment=tutorial")):
        line = f"python experiments/run.py {typed}"
        done = program("-sc", "query=bash", COMP_LINE=line, COMP_POINT=str(len(line)))
        assert expected in done.stdout.split()


def test_the_command_on_record_has_the_folder_of_presets(
    common: list[str], records: Records, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    (tmp_path / "conf" / "experiment" / "mine.yaml").write_text("# @package _global_\nmodel:\n  dropout: 0.1\n")
    monkeypatch.setattr(training_program, "_train", lambda *_: 0)
    options = ["--config-dir", str(tmp_path / "conf"), "experiment=mine"]
    assert training_program.main([*options, *common]) == 0
    assert read_json(only_run(records).facts)["command"] == shlex.join(
        ["python", "experiments/run.py", *options, *common]
    )


def test_a_full_disk_before_the_training_is_one_line(
    common: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "config.yaml")

    monkeypatch.setattr("experiments.training.start.write_atomically", full)
    monkeypatch.setattr(sys, "argv", ["experiments/run.py", *common])
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(SystemExit) as end:
        entry.run(training_program.main)
    signal.signal(signal.SIGINT, before)
    assert end.value.code == 1
    assert capsys.readouterr().err == "error: [Errno 28] No space left on device: 'config.yaml'\n"


# --- real runs


def test_a_run_from_another_folder_leaves_a_whole_record(
    program: RunProgram, common: list[str], records: Records, tmp_path: Path
) -> None:
    own = ["experiment=tutorial", "train.steps=6", "name=first", "seed=3"]
    done = program(*common, *own, cwd=tmp_path, is_forked=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    folder = only_run(records)
    assert folder.name == "first"

    # The terminal: score, folder, the command for the UI; nothing of TensorFlow's.
    for text in (
        "score    FID proxy",
        "two halves of the real images",
        "20 images, cifar_cnn-",
        "coverage 0",
        "records/runs/first",
        "records/runs/first/plots/training_images.png",
        f"make -C {ROOT} ui RECORDS={records.root}",
    ):
        assert text in done.stdout
    for noise in ("oneDNN", "cuda", "absl", "WARNING"):
        assert noise not in done.stdout + done.stderr
    assert "oneDNN" in (folder.path / "tensorflow.log").read_text()

    # The folder.
    config = yaml.safe_load(folder.config.read_text())
    assert config["model"]["generator"]["bn_momentum"] == [0.78, 0.78]
    assert config["seed"] == 3
    assert (folder.path / ".hydra" / "overrides.yaml").exists()
    assert [f.name for f in folder.checkpoints.files()] == ["step_00000003.npz", "step_00000006.npz"]
    assert folder.checkpoints.best_file.exists()
    assert curve(folder.journal, "train/d_loss")[0] == [2, 4, 6]
    assert curve(folder.journal, "eval/fid_proxy")[0] == [3, 6]
    for name in ("fid_proxy", "kid_proxy", "density", "coverage"):
        assert curve(folder.journal, f"eval/{name}")[0] == [3, 6]
        assert curve(folder.journal, f"final/{name}")[0] == [6]
    with Image.open(folder.path / "samples.gif") as gif:
        assert gif.n_frames == 3  # steps 0, 4, 6
    for name in ("training_images.png", "real_vs_generated.png", "losses.png"):
        assert (folder.plots / name).stat().st_size > 10_000

    # MLflow.
    client = MlflowClient(f"sqlite:///{records.database}")
    run = client.get_run(folder.mlflow_run_ids()[-1])
    assert (run.info.status, run.info.run_name) == ("FINISHED", "first")
    assert run.data.params["model.generator.bn_momentum"] == "[0.78, 0.78]"
    assert run.data.params["train.steps"] == "6"
    assert run.data.tags["dataset"] == "npz"
    assert len(run.data.tags["dataset_sha256"]) == 64
    assert run.data.tags["fid_proxy_id"].startswith("cifar_cnn-")
    for name in ("fid_proxy_floor", "fid_proxy_ceiling"):  # of noise images these are alike
        assert 0 < float(run.data.tags[name]) < 5
    note = run.data.tags["mlflow.note.content"]
    _, (score,) = curve(folder.journal, "final/fid_proxy")
    assert note.startswith(f"**FID proxy {score:.4g}** of ")
    assert " images after 6 updates; two halves of the real images get " in note.splitlines()[0]
    for picture in ("samples.gif", "plots%2Freal_vs_generated.png"):
        assert f"get-artifact?path={picture}&run_uuid={run.info.run_id}" in note
    assert "experiments/run.py" in note
    assert "steps 6" in run.data.tags["settings_group"]
    if (ROOT / ".git").exists():
        commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
        assert run.data.tags["mlflow.source.git.commit"] == commit
        assert run.data.tags["git_dirty"] in ("true", "false")
    for key in ("train/d_loss", "train/g_loss", "train/d_real", "train/d_fake", "train/steps_per_second"):
        history = client.get_metric_history(run.info.run_id, key)
        assert ([m.step for m in history], [m.value for m in history]) == curve(folder.journal, key)
    assert len([f for f in client.list_artifacts(run.info.run_id, "images") if f.path.endswith(".png")]) == 3
    top = {f.path for f in client.list_artifacts(run.info.run_id)}
    assert {"plots", "samples.gif", "config.yaml"} <= top
    plots = {f.path for f in client.list_artifacts(run.info.run_id, "plots")}
    assert plots == {f"plots/{name}.png" for name in ("training_images", "real_vs_generated", "losses")}
    (output,) = run.outputs.model_outputs

    # The model answers to latents.
    code = (
        "import sys, mlflow, numpy as np; mlflow.set_tracking_uri(sys.argv[1]);"
        "m = mlflow.pyfunc.load_model('models:/' + sys.argv[2]);"
        "x = m.predict(np.zeros((2, 100), np.float32)); assert m.metadata.signature is not None;"
        "assert m.input_example is not None; print(x.shape, x.dtype)"
    )
    uri = f"sqlite:///{records.database}"
    loaded = subprocess.run(
        [sys.executable, "-c", code, uri, output.model_id], capture_output=True, text=True, timeout=120
    )
    assert loaded.stdout.splitlines()[-1] == "(2, 32, 32, 3) float32", loaded.stderr
    model = client.get_logged_model(output.model_id)
    requirements = Path(model.artifact_location.removeprefix("file://")) / "requirements.txt"
    assert {line.partition("==")[0] for line in requirements.read_text().split()} >= {"keras", "tensorflow", "numpy"}


@pytest.mark.parametrize("reference", ["last", pytest.param("folder", marks=pytest.mark.slow)])
def test_resume_goes_on_in_the_same_mlflow_run(
    reference: str, program: RunProgram, common: list[str], records: Records, npz: Path
) -> None:
    assert program(*common, "train.steps=4", "name=mine", "model.dropout=0.3").returncode == 0
    folder = only_run(records)
    run_id = folder.mlflow_run_ids()[-1]
    value = {"last": "last", "folder": str(folder.path)}[reference]
    root = f"records.root={records.root}"

    # The folder alone says where its records are.
    done = program(f"resume={value}", "train.steps=7", *([] if reference == "folder" else [root]))
    assert done.returncode == 0, done.stderr
    assert "run      mine, resumed from step 4\n" in done.stdout
    assert folder.checkpoints.latest().step == 7
    assert only_run(records) == folder
    assert curve(folder.journal, "train/d_loss")[0] == [2, 4, 6, 7]
    client = MlflowClient(f"sqlite:///{records.database}")
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.tags["resumed_from_step"] == "4"
    assert [m.step for m in client.get_metric_history(run_id, "train/d_loss")] == [2, 4, 6, 7]
    assert yaml.safe_load(folder.config.read_text())["model"]["dropout"] == 0.3
    if reference != "last":
        return

    # What would change the result is refused, with the difference; so is another data set.
    for change, message in (
        (["model.dropout=0.5"], "model.dropout: 0.3 in the run, 0.5 now"),
        (["model={dropout:0.5}"], "model.dropout: 0.3 in the run, 0.5 now"),
        (["train.steps=5"], "train.steps must be at least 7, the step that the run has reached; got 5"),
    ):
        refused = program("resume=last", *change, root)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert message in refused.stderr
    assert "trained  all of its 7 updates already" in program("resume=last", root).stdout
    models = client.search_logged_models([run.info.experiment_id])
    assert sorted(metric.step for model in models for metric in model.metrics if "final/fid_proxy" in metric.key) == [
        4,
        7,
    ]
    np.savez(npz, images=noise_images(64, seed=9))
    refused = program("resume=last", "train.steps=9", root)
    assert refused.returncode == 2
    assert "resume must be on the run's own images" in refused.stderr


@pytest.mark.slow
def test_interrupted_and_resumed_equals_never_interrupted(
    program: RunProgram, common: list[str], records: Records
) -> None:
    assert program(*common, "train.steps=8", "name=straight").returncode == 0
    # First to step 2 only: an extended run has to train to its new end.
    assert program(*common, "train.steps=2", "name=stopped").returncode == 0
    slow = ["resume=stopped", "train.steps=8", f"records.root={records.root}"]
    run = Started(ROOT / "experiments/run.py", *slow)
    stopped = RunFolder(records.runs / "stopped")
    run.wait_for(lambda: stopped.journal.exists() and curve(stopped.journal, "train/d_loss")[0][-1] >= 4)
    run.process.send_signal(signal.SIGINT)
    out, err = run.end(60)
    assert run.returncode == 130, err
    assert "resume=stopped" in out
    at = stopped.checkpoints.latest().step
    assert 4 <= at < 8
    client = MlflowClient(f"sqlite:///{records.database}")
    assert client.get_run(stopped.mlflow_run_ids()[-1]).info.status == "KILLED"

    (printed,) = [line for line in out.splitlines() if "resume=stopped" in line]
    assert program(*shlex.split(printed)[3:]).returncode == 0  # as it was printed
    straight = RunFolder(records.runs / "straight")
    a, b = straight.checkpoints.latest(), stopped.checkpoints.latest()
    assert a.step == b.step == 8
    for name in a.arrays:
        np.testing.assert_array_equal(a.arrays[name], b.arrays[name], err_msg=name)
    for key in ("train/d_loss", "train/g_loss", "eval/fid_proxy", "final/fid_proxy"):
        one, other = (dict(zip(*curve(run.journal, key), strict=True)) for run in (straight, stopped))
        assert one.items() <= other.items()  # the other has what was recorded at its first end, too
    final = "samples_00000008.png"
    assert (straight.samples / final).read_bytes() == (stopped.samples / final).read_bytes()


def test_multirun_trains_each_in_a_process_of_its_own(program: RunProgram, common: list[str], records: Records) -> None:
    done = program("-m", *common, "train.steps=60", "model.bn_momentum=0.7", "optim.learning_rate=1e-4,1e3")
    # A learning rate of 1000 kills both networks; the other runs are not taken along.
    assert done.returncode == 1
    assert "error: 1 of 2 runs failed: " in done.stderr
    assert "optim.learning_rate=1000.0 (exit code 1)" in done.stderr
    assert done.stdout.count("next     ") == 1  # the multirun's own
    assert done.stdout.splitlines()[-1].startswith("next     ")
    runs = records.all_runs()
    assert len(runs) == 2
    configs = [yaml.safe_load(run.config.read_text()) for run in runs]
    assert [c["model"]["generator"]["bn_momentum"] for c in configs] == [[0.7] * 2] * 2
    client = MlflowClient(f"sqlite:///{records.database}")
    states = [client.get_run(run.mlflow_run_ids()[-1]).info.status for run in runs]
    assert states == ["FINISHED", "FAILED"]


def test_divergence_ends_failed_with_the_step_and_advice(
    program: RunProgram, common: list[str], records: Records
) -> None:
    done = program(*common, "train.steps=70", "optim.learning_rate=1e3", "train.batch_size=80")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "error: no gradient in 50 updates" in done.stderr
    assert "Try a lower learning rate (it was 1000)" in done.stderr
    assert "train.batch_size=80 is more than the 64 images" in " ".join(done.stdout.replace("│", "").split())
    client = MlflowClient(f"sqlite:///{records.database}")
    run = client.get_run(only_run(records).mlflow_run_ids()[-1])
    assert run.info.status == "FAILED"
    assert "no gradient" in run.data.tags["failure"]
    assert 50 <= int(run.data.tags["failed_step"]) < 70


@pytest.mark.parametrize(
    ("typed", "halved"),
    [
        ([], ["optim.learning_rate=0.0001"]),
        (["optim.learning_rate=0.01", "seed=1"], ["seed=1", "optim.learning_rate=0.005"]),
        (
            ["++optim.generator_learning_rate=0.01", "optim.discriminator_learning_rate=0.0002"],
            ["optim.learning_rate=0.0001", "optim.generator_learning_rate=0.005"],
        ),
    ],
)
def test_after_a_divergence_comes_the_command_with_half_of_every_rate(
    typed: list[str], halved: list[str], npz: Path, records: Records
) -> None:
    data = ["data=npz", f"data.path={npz}"]
    config = compose_config([*data, *typed, f"records.root={records.root}", "name=first"])
    run = new_run(config, None, [*data, *typed, "name=first"], Console(quiet=True))
    words = shlex.split(training_program._slower(run))
    assert words[2:-1] == [*data, *halved]


def test_without_the_data_set_the_built_in_drawings_serve_with_a_warning(
    program: RunProgram, records: Records, tmp_path: Path
) -> None:
    """No network here: every connection is sent to a proxy that does not exist."""
    done = program(
        "train.steps=2",
        f"records.root={records.root}",
        *SMALL,
        KERAS_HOME=str(tmp_path / "no-cache"),
        https_proxy="http://127.0.0.1:9",
    )
    assert done.returncode == 0, done.stderr
    assert "CIFAR-10 IS NOT HERE AND CANNOT BE DOWNLOADED" in " ".join(done.stdout.split())
    assert "built-in drawings" in done.stdout
    facts = read_json(only_run(records).facts)
    assert facts["tags"]["dataset"] == "embedded"
    refused = program("data=cifar10", f"records.root={records.root}", https_proxy="http://127.0.0.1:9")
    assert refused.returncode == 2
    assert "cannot be downloaded" in refused.stderr


def test_an_absent_server_does_not_stop_a_run_and_sync_delivers_later(
    program: RunProgram, common: list[str], records: Records
) -> None:
    done = program(*common, "train.steps=4", MLFLOW_TRACKING_URI="http://me:secret@127.0.0.1:9")
    assert done.returncode == 0, done.stderr
    folder = only_run(records)
    (printed,) = [line.strip() for line in done.stdout.splitlines() if "experiments/sync.py" in line]
    assert printed.startswith("python experiments/sync.py ")
    assert "secret" not in done.stdout + done.stderr + (folder.path / "run.log").read_text()
    files = [
        file for file in records.root.rglob("*") if file.is_file() and file.name != "code.diff"
    ]  # which may be of this test
    assert not [file for file in files if b"secret" in file.read_bytes()]
    root = f"records.root={records.root}"
    failed = program("all", root, script="experiments/sync.py", MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert failed.returncode == 1
    words = "nothing was delivered to http://127.0.0.1:9: [Errno 111] Connection refused at http://127.0.0.1:9"
    assert failed.stdout.split() == words.split()  # once for all runs
    synced = program(*shlex.split(printed)[2:], script="experiments/sync.py")  # as it was printed
    assert synced.returncode == 0
    assert synced.stdout.splitlines()[0] == f"{folder.name}: delivered to sqlite:///{records.database}"
    client = MlflowClient(f"sqlite:///{records.database}")
    run = client.get_run(folder.mlflow_run_ids()[-1])
    assert run.info.status == "FINISHED"
    assert [m.step for m in client.get_metric_history(run.info.run_id, "train/d_loss")] == [2, 4]


def test_a_machine_without_images_or_network_trains_on_the_drawings(program: RunProgram, tmp_path: Path) -> None:
    """As `make run` does there. Keras, which tries to download, is imported before Hydra sets up logging."""
    away = {"https_proxy": "http://127.0.0.1:9", "KERAS_HOME": str(tmp_path / "keras"), "CUDA_VISIBLE_DEVICES": "-1"}
    arguments = [f"records.root={tmp_path / 'r'}", "experiment=quick", *SMALL, "train.steps=2"]
    done = program(*arguments, is_forked=False, **away)
    assert done.returncode == 0, done.stderr
    assert "CIFAR-10 IS NOT HERE AND CANNOT BE DOWNLOADED" in done.stdout + done.stderr
    assert only_run(Records(tmp_path / "r")).checkpoints.latest().step == 2


def test_sync_wants_runs_that_are_there(program: RunProgram, tmp_path: Path) -> None:
    for arguments in ([], ["a", "b"], ["nosuchrun"], ["ships-*"]):
        done = program(*arguments, f"records.root={tmp_path}", script="experiments/sync.py")
        assert done.returncode == 2
        assert done.stderr.startswith("error: ")
        assert done.stderr.count("\n") == 1


def test_json_lines_are_plain(tmp_path: Path) -> None:
    """The journal is read by other tools too: one object a line."""
    from experiments.records.journal import Journal

    folder = Records(tmp_path).new_run("x", None)
    journal = Journal(folder)
    journal.scalars(1, {"train/d_loss": 0.5})
    journal.close()
    (line,) = folder.journal.read_text().splitlines()
    record = json.loads(line)
    assert record["step"] == 1
    assert record["scalars"] == {"train/d_loss": 0.5}
    assert os.path.getsize(folder.journal) == len(line) + 1


@pytest.mark.parametrize(("name", "resumed", "tags"), [
    ("ships-trial-0003", True, {"resumed_by_hand": "true"}), ("ships-trial-0003", False, {}), ("mine", True, {}),
])  # fmt: skip
def test_a_trial_that_a_person_resumed_says_so(
    name: str, resumed: bool, tags: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given: dict[str, str] = {}

    def trained(run: object, console: Console, *, should_stop: object, closing_tags: Any) -> Outcome:
        outcome = Outcome(RunStatus.FINISHED, 3)
        given.update(closing_tags(outcome))
        return outcome

    monkeypatch.setattr(training_program.train, "train", trained)
    monkeypatch.setattr(training_program.hydra_app, "record", lambda node, path, work, **_: work())
    folder = make_run(Records(tmp_path), name, study="ships" if "trial" in name else None)
    run = SimpleNamespace(resume_command="resume it", resumed=resumed, folder=folder)
    assert training_program._train(run, None, None, Console()) == 0  # type: ignore[arg-type]
    assert given == tags


@pytest.mark.parametrize(
    ("status", "code"),
    [(RunStatus.FINISHED, 0), (RunStatus.FAILED, 1), (RunStatus.KILLED, 128 + signal.SIGTERM)],
)
def test_the_exit_code_says_how_a_training_ended(
    status: RunStatus, code: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    @contextlib.contextmanager
    def caught(resume_command: str) -> Iterator[list[int]]:
        yield [signal.SIGTERM] if status == RunStatus.KILLED else []

    monkeypatch.setattr(training_program, "first_collected", caught)
    monkeypatch.setattr(training_program.hydra_app, "record", lambda *_, **__: Outcome(status, 3))
    folder = make_run(Records(tmp_path), "first")
    console = Console(record=True, width=200)
    run = SimpleNamespace(resume_command="resume it", resumed=False, folder=folder)
    assert training_program._train(run, None, None, console) == code  # type: ignore[arg-type]
    last = console.export_text().strip().splitlines()[-1]
    assert last.startswith("next     python experiments/generate.py first" if not code else "next     resume it")
