"""What goes to MLflow and comes from it beside a run's journal: files for other hosts, and the end of a run of theirs."""

import logging
import tempfile
from pathlib import Path

from experiments.records.folders import Records, RunFolder
from experiments.records.status import TRIAL_STATE, RunStatus
from experiments.tracking.address import public, tracking_uri
from experiments.tracking.connection import connect
from experiments.tracking.delivery import Delivery
from gan.errors import first_line

_log = logging.getLogger(__name__)


def send_file(run: RunFolder, file: Path, place: str) -> bool:
    """Upload a file to the artifacts of a run, over an earlier one of its name.

    Args:
        run: the run's folder.
        file: the file.
        place: its folder among the artifacts.

    Returns:
        Whether MLflow has it. A failure is logged and not raised.
    """
    run_id = Delivery(run).run_id
    if run_id is None:
        return False
    try:
        connect(run.records, tracking_uri(run.records)).log_artifact(run_id, file, place)
    except Exception as error:  # whatever MLflow, its database or the network raise: training goes on
        _log.warning("%s is not uploaded: %s", file.name, public(first_line(error)))
        return False
    return True


def fetch_file(records: Records, run_id: str, artifact: str) -> bytes | None:
    """Download an artifact of a run.

    Args:
        records: whose MLflow is asked.
        run_id: of MLflow.
        artifact: path of the file among the run's artifacts.

    Returns:
        The file's content; None if it is not there or MLflow cannot be reached, which is logged and not raised.
    """
    try:
        client = connect(records, tracking_uri(records))
        with tempfile.TemporaryDirectory() as folder:
            return Path(client.download_artifacts(run_id, artifact, folder)).read_bytes()
    except Exception as error:  # whatever MLflow, its database or the network raise: it is done without
        _log.warning("%s is not fetched: %s", artifact, public(first_line(error)))
        return None


def give_up_run(records: Records, run_id: str, note: str) -> None:
    """End a run in MLflow as failed, as its host will not: its trial is requeued and gets another run.

    A failure is logged and not raised.

    Args:
        records: whose MLflow has it.
        run_id: of MLflow.
        note: where the trial is resumed from; the tag `taken_up` gets it.
    """
    try:
        client = connect(records, tracking_uri(records))
        client.set_tag(run_id, TRIAL_STATE, "FAIL")
        client.set_tag(run_id, "taken_up", note)
        client.set_terminated(run_id, RunStatus.FAILED.value)
    except Exception as error:  # whatever MLflow, its database or the network raise: the study has it
        _log.warning("run %s is left as it is: %s", run_id, public(first_line(error)))
