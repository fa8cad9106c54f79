"""The trainings of docs/results.md: which there are, how they are made, and their rows of the tables."""

import hashlib
import json
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from rich.console import Console

from experiments import ROOT
from experiments.cli.compose import compose_config
from experiments.cli.paths import shown
from experiments.hardware.cores import available_cores
from experiments.processes.process import last_words, run
from experiments.records import journal
from experiments.records.folders import Records, RunFolder
from experiments.records.status import RunStatus
from experiments.settings.renamed import FIRST_NAMES
from experiments.settings.rules import describe
from experiments.settings.schema import RESUME_MAY_CHANGE, Config
from experiments.training.facts import read_records, settings
from gan import metric_names
from sweeps.reproduction.rows import SCORES, Row, Rows
from sweeps.reproduction.settings import PRECISION, PRESETS, Reproduction, data_arguments, place_arguments
from sweeps.workers.early_stopping import COLLAPSED_COVERAGE

SEEDS = tuple(range(101, 107))  # none of a search, whose trials and confirmations count from 0
CLASS_SEEDS = SEEDS[:3]  # for a class that no search saw
SHORT_SEEDS = tuple(range(201, 211))
CLASSES = ("ship", "horse", "automobile")  # the first is the one that was searched on
SCORED, LONG, SHORT = (2500, 5000), 15_000, 1000  # updates


@dataclass(frozen=True)
class Training:
    """One run of a preset, and the steps at which it is scored with as many images as at the end."""

    preset: str
    of: str  # class
    seed: int
    steps: int
    scored: tuple[int, ...]

    @property
    def name(self) -> str:
        return f"results-{self.preset}-{self.of}-{self.steps}-seed-{self.seed}"

    @property
    def overrides(self) -> list[str]:
        every = self.scored[0]
        return [
            f"experiment={self.preset}", f"data.class_id={self.of}", f"seed={self.seed}", f"train.steps={self.steps}",
            f"train.checkpoint_every_steps={every}", f"train.keep_checkpoints={self.steps // every + 1}", PRECISION,
        ]  # fmt: skip


def trainings(quick: bool) -> list[Training]:
    """Return all trainings; those of one seed stand together, so that half of the work can be compared, too."""
    if quick:
        return [Training(preset, "ship", SEEDS[0], 4, (2, 4)) for preset in PRESETS]
    found = [Training(p, "ship", s, SCORED[-1], SCORED) for s in SEEDS for p in PRESETS]
    found += [Training(p, "ship", SEEDS[0], LONG, (LONG,)) for p in PRESETS]
    found += [Training(p, "ship", s, SHORT, (SHORT,)) for s in SHORT_SEEDS for p in PRESETS]
    found += [Training(p, c, s, SCORED[-1], SCORED) for c in CLASSES[1:] for s in CLASS_SEEDS for p in PRESETS]
    return found


def digest(config: Config) -> str:
    """Return a hash of all settings that a result depends on: it changes with the preset.

    Those with their defaults are left out: a setting that is new in the program changes no digest, nor does a new name.
    """
    free, specs = (*RESUME_MAY_CHANGE, "seed"), describe(Config)
    own = {
        FIRST_NAMES.get(key, key): value
        for key, value in settings(config).items()
        if key not in free and not key.startswith("data.") and value != specs[key]["default"]
    }
    return hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()[:8]


def digests(every: Sequence[Training], args: Reproduction) -> dict[str, str]:
    """Return the digest of each training, by name. A preset's trainings have one, so that one is composed for all."""
    one_each = {each.preset: each for each in every}
    known = {preset: digest(compose_config(overrides(one, args))) for preset, one in one_each.items()}
    return {each.name: known[each.preset] for each in every}


def overrides(each: Training, args: Reproduction) -> list[str]:
    """Return the arguments of run.py for a new training."""
    small = ["eval.num_images=100", "eval.final_num_images=100", "eval.every_steps=2"] if args.quick else []
    return [*each.overrides, *data_arguments(args), *small]


def folder_of(each: Training, args: Reproduction) -> RunFolder:
    return RunFolder(Records.at(args.records.root).runs / each.name)


class Trainer:
    """Makes trainings, and keeps their results.

    Args:
        args: of the program.
        known: the digest of each training, by name.
        runs: the table of results, which they are added to.
        curves: the table of scores on the way, likewise.
        console: where the end of each is said.
    """

    def __init__(
        self, args: Reproduction, known: Mapping[str, str], runs: Rows, curves: Rows, console: Console
    ) -> None:
        self._args, self._known, self._runs, self._curves, self._console = args, known, runs, curves, console
        self._lock = threading.Lock()
        self._failed: list[Training] = []

    def train(self, left: Sequence[Training], workers: int, may_begin: Callable[[], bool]) -> list[Training]:
        """Make trainings, a few at a time, and return those that failed for another reason than their settings.

        Args:
            left: the trainings.
            workers: how many train at a time.
            may_begin: whether another one may be begun; one that is begun is finished.
        """
        threads = max(available_cores() // workers, 1)

        def one(each: Training) -> None:
            if may_begin():
                self._keep(each, self._make(each, threads))

        with ThreadPoolExecutor(workers) as pool:
            for future in [pool.submit(one, each) for each in left]:
                future.result()
        return self._failed

    def _keep(self, each: Training, problem: str) -> None:
        with self._lock:
            if problem:
                self._failed.append(each)
                self._console.print(f"failed    {each.name}: {problem}")
                return
            made = self._rows(each)
            self._curves.add(self._curve(each))
            self._runs.add(made)  # last: it says that the training is done
            score = made[-1].get(metric_names.FID, "none")
            self._console.print(f"done      {each.name}: {made[-1]['outcome']}, FID proxy {score}")

    def _make(self, each: Training, threads: int) -> str:
        """Train and score, or resume that; return the problem if it was not finished."""
        folder = folder_of(each, self._args)
        root = [place for place in place_arguments(self._args) if place.startswith("records.root")]
        if folder.config.is_file():
            if digest(read_records(folder, "run")[0]) != self._known[each.name]:
                return f"there is one of other settings already; delete or rename {shown(folder.path)}"
            arguments = [f"resume={each.name}", *root]
        else:
            arguments = [*overrides(each, self._args), f"name={each.name}"]
        arguments.append(f"train.threads={threads}")
        if not journal.has_ended(folder.journal):
            problem = run_program("run.py", arguments)
            if not journal.has_ended(folder.journal):
                return problem or "it was not finished"
        if journal.last_status(folder.journal) == RunStatus.FINISHED:
            for step in each.scored[:-1]:
                if problem := run_program("evaluate.py", [f"run={each.name}", f"step={step}", *root]):
                    return problem
        return ""

    def _curve(self, each: Training) -> list[Row]:
        """Return the in-run scores of a training as rows."""
        steps, values = journal.curve(folder_of(each, self._args).journal, metric_names.FID_PROXY)
        return [
            {**_common(each), "step": str(s), metric_names.FID: f"{v:.5g}"} for s, v in zip(steps, values, strict=True)
        ]

    def _rows(self, each: Training) -> list[Row]:
        """Return the results of a training, one row for each scored step; one without scores if it diverged."""
        folder = folder_of(each, self._args)
        config, facts = read_records(folder, "run")
        curves = journal.curves(folder.journal)
        tags = journal.all_tags(folder.journal)
        speeds = curves.get(metric_names.STEPS_PER_SECOND, ([], []))[1]
        common = {
            **_common(each),
            "steps_per_second": f"{sorted(speeds)[len(speeds) // 2]:.3g}" if speeds else "",
            "seconds": str(tags.get("duration", "")).removesuffix(" s"),
            "settings": self._known[each.name], "fid_proxy_id": facts["tags"]["fid_proxy_id"],
            "dataset": facts["tags"]["dataset_sha256"][:8], "commit": facts["tags"].get("mlflow.source.git.commit", "")[:7],
        }  # fmt: skip
        if journal.last_status(folder.journal) == RunStatus.FAILED:
            return [{**common, "step": str(tags["failed_step"]), "outcome": "diverged"}]
        rows = []
        for step in each.scored:
            scores = {}
            for name in SCORES:
                late = f"evaluate/{common['fid_proxy_id']}/{config.eval.final_num_images}/{name}"
                key = f"final/{name}" if step == each.steps else late
                scores[name] = f"{dict(zip(*curves[key], strict=True))[step]:.5g}"
            lost = float(scores[metric_names.COVERAGE]) < COLLAPSED_COVERAGE
            rows.append({**common, "step": str(step), "outcome": "collapsed" if lost else "finished", **scores})
        return rows


def run_program(name: str, arguments: Sequence[str]) -> str:
    """Run one of the programs of experiments/, and return its last line if it failed."""
    done = run(ROOT / "experiments" / name, arguments)
    if done.returncode - 128 in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        return "it was stopped"
    return last_words(done) if done.returncode else ""


def _common(each: Training) -> Row:
    own = {"run": each.name, "preset": each.preset, "class": each.of}
    return {**own, "seed": str(each.seed), "steps": str(each.steps)}
