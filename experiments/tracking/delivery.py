"""Bring a run's records to MLflow, whatever of them it has already."""

import logging
from typing import TYPE_CHECKING, Any

from experiments.cli.terminal import printable
from experiments.records import journal
from experiments.records.folders import RunFolder, read_json, write_json
from experiments.records.journal import Artifact, Image, Model, Scalars, Winner
from experiments.tracking.address import links_begin, mlflow_command, public, sqlite_file, tracking_uri
from experiments.tracking.connection import (
    OWN_DATABASE,
    ROOT_TAG,
    WORKFLOW,
    RunDeleted,
    check_experiment,
    connect,
    find_experiment,
    get_run,
    insert,
    is_gone,
    own_experiments,
)
from experiments.tracking.delivered import Delivered, read_stores
from experiments.tracking.run_writer import RunWriter, batches_of, dataset_entry
from gan.errors import first_line

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

PARENT = "mlflow.parentRunId"
SCORES = ("eval/", "final/", "evaluate/", "search/")  # begin the names of scores; the journal has them exactly
REFUSALS = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")  # MLflow's codes, of a run that is gone or deleted

_log = logging.getLogger(__name__)


class Delivery:
    """Delivers what a run's journal holds beyond what MLflow has already.

    It keeps a state for each server: the run's id there, the offset in the journal up to which all is delivered, and
    the records that the server refused.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._uri = tracking_uri(folder.records)
        self._stores, damaged = read_stores(folder.delivery)
        key = public(self._uri)
        if sqlite_file(self._uri) == folder.records.database:
            if key in self._stores:  # as an earlier version has it
                self._stores.setdefault(OWN_DATABASE, self._stores.pop(key))
            key = OWN_DATABASE
        self._state = self._stores.setdefault(key, {"offset": 0, "refused": []})
        self._client: MlflowClient | None = None
        self._steps: dict[str, set[int]] = {}  # by metric, of a run that was started on another host
        # The last delivery may have broken off half-way, or the note of it is lost.
        self._retrying = damaged or "run_id" in self._state

    @property
    def run_id(self) -> str | None:
        """Return the run's id in MLflow; None as long as the run is not there."""
        return self._state.get("run_id")

    @property
    def is_behind(self) -> bool:
        """Whether the journal holds more than was delivered, as the note of deliveries has it."""
        journal_file = self._folder.journal
        return journal_file.exists() and self._state["offset"] < journal_file.stat().st_size

    @property
    def url(self) -> str | None:
        """Return the run's address in the UI, the server's or that of `make ui`; None before the run is in MLflow."""
        server = links_begin(self._folder.records)
        if self.run_id is None or server is None:
            return None
        return f"{server}/#/experiments/{self._state['experiment_id']}/runs/{self.run_id}?{WORKFLOW}"

    def is_whole(self, client: "MlflowClient", run: "Run") -> bool:
        """Return whether all of the journal is in a store, refused records among it.

        Args:
            client: of the store.
            run: there.

        Raises:
            ConfigError: for a damaged journal.
        """
        return not (self.is_behind or self._state["refused"] or self._lacks(client, run))

    def deliver(self, again: bool = True) -> list[str]:
        """Bring MLflow up to date with the journal.

        Args:
            again: whether records that were refused before are tried once more.

        Returns:
            One line for each record that MLflow refused.

        Raises:
            RunDeleted: if the run is in MLflow's trash.
            Exception: what MLflow, its database or the network raise if MLflow cannot be reached.
        """
        try:
            return self._deliver_rest(again)
        except Exception as error:  # of whatever is between here and there: what may be the run's is looked at below
            self._retrying = True
            if getattr(error, "error_code", None) not in REFUSALS:
                raise
        self._client = None  # the run may be gone since the last look
        return self._deliver_rest(again)

    def _deliver_rest(self, again: bool) -> list[str]:
        client = self._connect()
        refused = self._state["refused"]
        for line in list(refused) if again else []:
            self._deliver(client, [journal.from_json(line)])
            refused.remove(line)  # refused anew, it stands at the end as well
            self._save()
        for records, offset in batches_of(self._folder.journal, self._state["offset"]):
            self._deliver(client, records)
            self._state["offset"] = offset
            self._save()
        return [f"{_name(journal.from_json(line))}: {line['refused']}" for line in refused]

    def _deliver(self, client: "MlflowClient", records: list[journal.Record]) -> None:
        """Deliver a batch of scalars, or one other record.

        Where MLflow refuses that record alone, as one whose file is gone, it is noted and the rest is delivered.
        """
        try:
            if isinstance(records[0], Scalars):
                self._scalars(client, [record for record in records if isinstance(record, Scalars)])
            else:
                run_id, experiment_id = self._state["run_id"], self._state["experiment_id"]
                RunWriter(client, run_id, experiment_id, self._folder.path, self._retrying).write(records[0])
        except Exception as error:  # of this record, or of the server: ask it
            if not isinstance(records[0], Image | Artifact | Model | Winner):
                raise
            client.get_run(self._state["run_id"])
            self._retrying = True
            _log.warning("%s is not delivered: %s", _name(records[0]), public(str(error)))
            self._state["refused"].append({**journal.to_json(records[0]), "refused": public(first_line(error))})

    def _save(self) -> None:
        write_json(self._folder.delivery, {"stores": self._stores})

    def _connect(self) -> "MlflowClient":
        """Return a client of the store, after the run was found there or created."""
        if self._client is None or is_gone(sqlite_file(self._uri)):
            client = connect(self._folder.records, self._uri)
            facts = printable(read_json(self._folder.facts))
            run = self._find(client)
            if run is not None:
                self._check(client, run, facts)
            else:
                self._state.clear()
                self._state.update(offset=0, refused=[], experiment_id=self._experiment_id(client))
            if not self._state.get("described"):
                self._describe(client, facts)
            self._save()
            self._client = client
        return self._client

    def _find(self, client: "MlflowClient") -> "Run | None":
        """Return the run in the store, or None. A state under another address of the store becomes that of this one."""
        others = [(key, state) for key, state in self._stores.items() if state is not self._state]
        for key, state in [("", self._state), *others]:
            run = get_run(client, state["run_id"]) if "run_id" in state else None
            if run is not None and not self._is_of_another(run):
                if state is not self._state:
                    self._state.clear()
                    self._state.update(self._stores.pop(key))
                return run
        return None

    def _is_of_another(self, run: "Run") -> bool:
        """Return whether a run in the store is that of another folder, of which this one is a copy."""
        place = self._folder.records.root / run.data.tags.get("run_folder", "")
        return place != self._folder.path and run.info.run_id in RunFolder(place).mlflow_run_ids()

    def _check(self, client: "MlflowClient", run: "Run", facts: dict[str, Any]) -> None:
        """Deliver all of the journal again to a store that lacks some of it. Raises RunDeleted."""
        run_id, experiment_id = run.info.run_id, run.info.experiment_id
        if run.info.lifecycle_stage == "deleted":
            check_experiment(client.get_experiment(experiment_id), self._folder.records)
            restore = mlflow_command(self._folder.records, f"runs restore --run-id {run_id}")
            raise RunDeleted(f"MLflow's run is deleted ({restore} brings it back)")
        self._state["experiment_id"] = experiment_id
        study = self._study(client, facts)
        if study is not None and run.data.tags.get(PARENT) != study.info.run_id:
            client.set_tag(run_id, PARENT, study.info.run_id)
        if not self._state.get("restored") and self._lacks(client, run):  # a restored run was delivered elsewhere
            self._state.update(offset=0, refused=[], described=False)
            self._retrying = True

    def _lacks(self, client: "MlflowClient", run: "Run") -> bool:
        """Return whether anything that was delivered is not in the store any more."""
        offset = self._state["offset"]
        if not offset:
            return False
        if not journal.ends_at(self._folder.journal, offset):  # a copy that was made while it was written
            return True
        had = Delivered.of(self._folder.journal, offset, self._state["refused"])
        return not had.is_in(client, run)

    def _experiment_id(self, client: "MlflowClient") -> str:
        experiment = find_experiment(client, self._folder.records, self._uri)
        check_experiment(experiment, self._folder.records)
        return str(experiment.experiment_id)

    def _describe(self, client: "MlflowClient", facts: dict[str, Any]) -> None:
        """Create the run with the facts that stand from its start; all of this can be repeated."""
        from mlflow.entities import DatasetInput, InputTag, Param

        experiment_id = self._state["experiment_id"]
        if "run_id" not in self._state:
            # If a run was created but the answer, or the state of it, was lost, its tag run_folder finds it.
            records = self._folder.records
            own = {"run_folder": self._folder.path.relative_to(records.root).as_posix(), ROOT_TAG: str(records.root)}
            known = self._created_before(
                client, {own["run_folder"], str(facts["tags"]["run_folder"])}, facts["created"]
            )
            if known:
                self._retrying = True
                self._state["experiment_id"] = experiment_id = known[0].info.experiment_id
            name = facts.get("title", self._folder.name)
            tags = {**facts["tags"], **own, **self._parent(client, facts)}
            run = known[0] if known else client.create_run(
                experiment_id, start_time=facts["created"], tags=tags, run_name=name
            )  # fmt: skip
            self._state["run_id"] = run.info.run_id
            self._save()
        run_id = self._state["run_id"]
        client.log_batch(run_id, params=[Param(k, str(v)) for k, v in facts["params"].items()])
        inputs = DatasetInput(dataset_entry(facts["dataset"]), [InputTag("mlflow.data.context", "training")])
        insert(lambda: client.log_inputs(run_id, [inputs]))  # runs of the same images share the entry
        self._state["described"] = True

    def _created_before(self, client: "MlflowClient", places: set[str], created: int) -> "list[Run]":
        """Return the run of a folder, which may have been renamed, that the store has already."""
        experiments = own_experiments(client)
        filters = [f"tags.run_folder = '{place}'" for place in sorted(places) if "'" not in place]
        runs = [run for each in filters for run in client.search_runs(experiments, each)]
        return [run for run in runs if run.info.start_time == created and not self._is_of_another(run)]

    def _parent(self, client: "MlflowClient", facts: dict[str, Any]) -> dict[str, str]:
        """Return MLflow's tag for a run of a study. Raises RuntimeError as long as the study itself is not there."""
        if "parent" not in facts:
            return {}
        study = self._study(client, facts)
        if study is None:
            raise RuntimeError(f"{facts['parent']}, which the run is part of, is not in MLflow yet")
        return {PARENT: study.info.run_id}

    def _study(self, client: "MlflowClient", facts: dict[str, Any]) -> "Run | None":
        """Return the run of the study that this one is part of; None where it has none, or that is not in the store."""
        if "parent" not in facts:
            return None
        return Delivery(RunFolder(self._folder.records.root / facts["parent"]))._find(client)

    def _scalars(self, client: "MlflowClient", records: list[Scalars]) -> None:
        from mlflow.entities import Metric

        points = [
            Metric(key, in_mlflow(key, value), r.time, r.step) for r in records for key, value in r.values.items()
        ]
        if self._state.get("restored"):  # the former host may have delivered more than its snapshot has
            points = [point for point in points if point.step not in self._delivered(client, point.key)]
        client.log_batch(self.run_id, metrics=points)

    def _delivered(self, client: "MlflowClient", key: str) -> set[int]:
        """Return the steps of a metric that were there when the run came to this host."""
        if key not in self._steps:
            history = client.get_metric_history(self._state["run_id"], key)
            self._steps[key] = {point.step for point in history}
        return self._steps[key]


def in_mlflow(metric: str, value: float) -> float:
    """Return a metric's value for MLflow: scores with four digits, as its list shows all that a number has."""
    return float(f"{value:.4g}") if metric.startswith(SCORES) else value


def _name(record: journal.Record) -> str:
    """Return the name of a record that a server may refuse, for a person."""
    assert isinstance(record, Image | Artifact | Model | Winner)
    return record.name if isinstance(record, Winner) else record.file
