"""What a user's shell, home and folders may hold."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import NARROW, ROOT, RunProgram
from rich.console import Console

import gan
from experiments.cli import environment
from gan.downloads import USER_HOME, keras_homes
from gan.errors import explained


def said() -> str:
    stream = io.StringIO()
    environment.say_what_is_set_aside(Console(file=stream))
    return stream.getvalue().strip()


@pytest.fixture
def ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process of our own; what it sets is taken back."""
    monkeypatch.setattr(environment, "is_ours", lambda: True)
    monkeypatch.setattr("logging.raiseExceptions", True)  # is taken back
    for name in (USER_HOME, environment.LEGACY_KERAS, "MPLCONFIGDIR", *environment.UNWANTED):
        monkeypatch.setenv(name, "")  # so that it is taken back
        monkeypatch.delenv(name)


@pytest.mark.usefixtures("ours")
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, ""),
        ("{}", ""),
        ((environment.KERAS_HOME / "keras.json").read_text(), ""),
        ('{"backend": "jax"}', 'keras    set aside for this program: backend "jax" of {file}'),
        (
            '{"floatx": "bfloat16", "epsilon": 1, "image_data_format": "channels_first", "nnx_enabled": true}',
            'keras    set aside for this program: floatx "bfloat16" and epsilon 1 and image_data_format '
            '"channels_first" of {file}',
        ),
        ("[]", "keras    set aside for this program: {file}, which cannot be read (no JSON object)"),
        ("{broken", "keras    set aside for this program: {file}, which cannot be read (no JSON object)"),
    ],
)
def test_a_users_keras_json_is_set_aside_and_named_once(content: str | None, words: str) -> None:
    file = Path(os.environ["KERAS_HOME"]) / "keras.json"
    if content is not None:
        file.parent.mkdir()
        file.write_text(content)
    for expected in (words.format(file=file), ""):  # the second time stands for a process that this one starts
        environment.prepare()
        assert said() == expected
    assert os.environ["KERAS_HOME"] == str(ROOT / "experiments" / "cli" / "keras_home")
    assert keras_homes() == [file.parent]  # downloads stay where the user has them


@pytest.mark.usefixtures("ours")
def test_variables_of_other_projects_are_set_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gan, "USER_BACKEND", "torch")
    monkeypatch.setenv("KERAS_MAX_EPOCHS", "none")
    environment.prepare()
    assert said() == "keras    set aside for this program: KERAS_BACKEND=torch, KERAS_MAX_EPOCHS=none"
    assert "KERAS_MAX_EPOCHS" not in os.environ


@pytest.mark.parametrize("arguments", [[], ["--help"]])
def test_a_copy_without_its_checkout_says_so(arguments: list[str], tmp_path: Path) -> None:
    """As a wheel would be: it has no conf/."""
    for folder in ("experiments", "gan"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    run = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from experiments.cli import environment, entry\n"
    run += f"from pathlib import Path; environment.CONF = Path({str(tmp_path)!r}) / 'conf'; entry.run(lambda _: 0)"
    done = subprocess.run([sys.executable, "-c", run, *arguments], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2
    assert "error: the program must be run from its checkout, where `pip install -e .` installs it" in done.stderr


def test_a_terminal_of_no_columns_is_one_of_unknown_width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "0")
    environment.prepare()
    assert "COLUMNS" not in os.environ
    monkeypatch.setenv("COLUMNS", "70")
    environment.prepare()
    assert os.environ["COLUMNS"] == "70"


def test_in_a_process_of_others_their_keras_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    before = dict(os.environ)
    environment.prepare()
    assert dict(os.environ) == before


def test_a_run_under_foreign_settings_is_the_same_run(program: RunProgram, npz: Path, tmp_path: Path) -> None:
    """Before TensorFlow is imported, so in processes of their own."""
    common = [f"records.root={tmp_path / 'r'}", "data=npz", f"data.path={npz}", "train.steps=2", "train.batch_size=4"]
    common += ["eval.num_images=20", "eval.final_num_images=20", *NARROW]
    home = Path(os.environ["KERAS_HOME"])
    home.mkdir()
    settings = {"floatx": "float16", "epsilon": 0.1, "image_data_format": "channels_first", "backend": "jax"}
    (home / "keras.json").write_text(json.dumps(settings))
    foreign = program(*common, "name=foreign", KERAS_BACKEND="torch", TF_USE_LEGACY_KERAS="1", KERAS_NNX_ENABLED="1")
    assert (foreign.returncode, foreign.stderr) == (0, "")
    assert foreign.stdout.startswith("keras    set aside for this program: KERAS_BACKEND=torch, TF_USE_LEGACY_KERAS=1,")
    (home / "keras.json").unlink()
    plain = program(*common, "name=plain")
    assert plain.stdout.startswith("run      plain")
    runs = tmp_path / "r" / "runs"
    weights = [(runs / name / "checkpoints" / "step_00000002.npz").read_bytes() for name in ("foreign", "plain")]
    assert weights[0] == weights[1]
    delivered = json.loads((runs / "foreign" / "tracking.json").read_text())
    assert [state["refused"] for state in delivered["stores"].values()] == [[]]  # the model, too


# --- a container's user


@pytest.mark.usefixtures("ours")
def test_without_home_and_name_there_is_docker_s(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", lambda uid: {}[uid])
    with pytest.raises(RuntimeError):
        Path.home()
    monkeypatch.setattr(os, "access", lambda place, mode: place != Path("/"))  # root may write there
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    environment.prepare()
    assert Path.home() == Path("/")
    assert os.environ["MPLCONFIGDIR"] == str(tmp_path / f"matplotlib-{os.getuid()}")


# --- a working directory that is gone


@pytest.mark.parametrize("script", ["experiments/run.py", "experiments/sync.py"])
def test_a_deleted_working_directory_is_named(script: str, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    command = f"cd {gone} && rmdir {gone} && exec {sys.executable} {ROOT / script} last"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    words = f"error: the working directory must be a folder that is there; got '{gone}' (it was deleted: "
    assert done.stderr.startswith(words)
    assert done.stderr.count("\n") == 1


# --- files of somebody else


def test_a_refusal_names_file_owner_and_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "mlflow.db"
    file.touch(0o644)
    file.chmod(0o644)
    refusal = PermissionError(13, "Permission denied", str(file))
    assert explained(refusal).startswith(f"Permission denied: {file} (it belongs to ")
    assert explained(refusal).endswith(f"mode -rw-r--r--: chmod u+rwX {file})")
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    assert f"can open it to the group with chmod -R g+rwX {file}" in explained(refusal)
    missing = PermissionError(13, "Permission denied", str(tmp_path / "new" / "file"))
    assert f"{tmp_path} belongs to" in explained(missing)
    assert explained(OSError(28, "No space left on device")) == "[Errno 28] No space left on device"


def test_all_that_is_made_honours_the_umask(tmp_path: Path) -> None:
    """A lab's shared records: what one person makes, the group can resume."""
    from experiments.cli.stderr import native_stderr_to
    from experiments.records.folders import Records, write_json
    from experiments.tracking.connection import open_store
    from gan.cache import prepared
    from sweeps.spec.read_plan import read_plan
    from sweeps.study.storage import open_storage

    before = os.umask(0o002)
    try:
        records = Records(tmp_path / "records")
        open_store(records)
        open_storage(read_plan([f"records.root={records.root}"])).engine.dispose()
        folder = records.new_run("x", None)
        with native_stderr_to(folder.path / "tensorflow.log"), folder.owned():
            write_json(folder.facts, {})
        prepared(records.cache, "data", "key", dict)
    finally:
        os.umask(before)
    made = [*records.root.rglob("*")]
    assert {"mlflow.db", "mlflow.lock", "studies.db", "tensorflow.log", ".lock", "run.json"} <= {f.name for f in made}
    assert [file for file in made if not file.stat().st_mode & 0o020] == []
