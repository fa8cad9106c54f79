"""A run's state as one MLflow artifact, so that a host without its folder can resume it.

What a resume needs: settings, facts, journal, the note of what was delivered, and the
newest checkpoint.
"""

import contextlib
import io
import tempfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

from experiments.cli.config_file import from_yaml, to_yaml
from experiments.records.folders import RunFolder
from experiments.tracking.delivered import mark_restored
from experiments.tracking.transfer import send_file
from gan.arrays import write_atomically

ARTIFACT = "state/state.zip"


def pack(run: RunFolder) -> bytes:
    """Return the state of a run as a zip archive.

    Raises:
        OSError: if there is no checkpoint, or the newest was replaced meanwhile.
    """
    checkpoints = run.checkpoints.files()
    if not checkpoints:
        raise FileNotFoundError("no checkpoint yet")
    # In this order: a journal holds all that goes before a checkpoint, and all that was delivered.
    files = [checkpoints[-1], run.delivery, run.config, run.facts, run.journal]
    text = io.BytesIO()
    with zipfile.ZipFile(text, "w") as archive:  # checkpoints do not compress
        for file in files:
            archive.writestr(file.relative_to(run.path).as_posix(), file.read_bytes())
    return text.getvalue()


def checkpoint_in(content: bytes) -> str:
    """Return the name of the checkpoint in a snapshot; empty for one that is damaged. Names sort by their steps."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return max((Path(name).name for name in archive.namelist() if name.endswith(".npz")), default="")
    except (zipfile.BadZipFile, EOFError):
        return ""


def unpack(content: bytes, run: RunFolder, data: tuple[str, str | None], extractor_weights: str | None) -> None:
    """Make a run's folder of a snapshot. The settings are written last, as they make the folder a run.

    Args:
        content: the zip archive that `pack` made.
        run: the folder on this host.
        data: source and path of the images on this host.
        extractor_weights: the extractor's file on this host; None for the default one.

    Raises:
        ValueError: if the archive is damaged.
        KeyError: if it has no settings.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            parts = {name: archive.read(name) for name in archive.namelist()}
    except (zipfile.BadZipFile, EOFError) as error:
        raise ValueError(f"the uploaded state is damaged: {error}") from error
    files = {file.name: file for file in (run.delivery, run.facts, run.journal)}
    config = from_yaml(parts.pop(run.config.name).decode())
    if not files.keys() < {Path(name).name for name in parts}:  # these, and a checkpoint
        raise ValueError("the uploaded state is damaged: it lacks a file")
    config.data.source, config.data.path = data
    config.eval.extractor_weights = extractor_weights
    for name, part in parts.items():
        base = Path(name).name  # whatever the archive says, it stays in the folder
        file = files.get(base, run.checkpoints.folder / base)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, part)
    mark_restored(run)
    write_atomically(run.config, to_yaml(config).encode())


def upload(run: RunFolder) -> bool:
    """Upload the state of a run to MLflow, and return whether that worked; if not, the last snapshot stays there."""
    with contextlib.suppress(OSError), tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / Path(ARTIFACT).name
        file.write_bytes(pack(run))
        return send_file(run, file, Path(ARTIFACT).parent.as_posix())
    return False


@contextlib.contextmanager
def uploading(run: RunFolder, minutes: float | None) -> Iterator[None]:
    """Upload a run's state periodically while the context is entered.

    Args:
        run: the run's folder.
        minutes: between two uploads; None for no uploads.
    """
    if minutes is None:
        yield
        return
    done = threading.Event()

    def repeat() -> None:
        while not done.wait(60 * minutes):
            upload(run)

    thread = threading.Thread(target=repeat, name="uploader", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
