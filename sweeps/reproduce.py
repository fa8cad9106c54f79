"""Train the presets against each other, and make the numbers and figures of docs/results.md anew, beside ours.

    python sweeps/reproduce.py data.path=<CIFAR-10>               (make reproduce-results)
    python sweeps/reproduce.py data.path=<CIFAR-10> dry_run=true
    python sweeps/reproduce.py quick=true data.source=embedded    (make reproduce-quick)

First the searches, then each preset on fresh seeds, on classes that no search saw, in one
long run, and in short ones that show how often it fails. What is done stands in
results/*.csv under `out` and is not done again, unless the preset has changed since; a
training that was interrupted resumes from its checkpoint.
"""

import contextlib
import hashlib
import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import psutil
import yaml
from rich.console import Console

from experiments import ROOT
from experiments.cli import entry
from experiments.cli.arguments import with_arguments
from experiments.cli.compose import compose_config
from experiments.cli.entry import stopped_by
from experiments.cli.overrides import as_text
from experiments.cli.paths import shown
from experiments.cli.progress import Output, stage
from experiments.cli.signals import handled
from experiments.processes.process import fork_server, last_words
from experiments.processes.process import run as run_program
from experiments.processes.process import start as start_program
from experiments.records import journal
from experiments.records.folders import Records, RunFolder, make_folder, read_json
from experiments.records.overview import read_best
from experiments.records.status import RunStatus
from experiments.reports import figures
from experiments.reports.groups import read_compared
from experiments.settings.renamed import FIRST_NAMES
from experiments.settings.rules import COUNT, POSITIVE, Choice, NotEmpty, describe, setting
from experiments.settings.schema import RESUME_MAY_CHANGE, Cifar10Place, Config, RecordsConfig
from experiments.training.facts import read_records, settings
from experiments.training.hardware import available_cores
from experiments.training.start import load_data
from gan import metric_names
from gan.arrays import write_atomically
from gan.errors import ConfigError, first_line, nearest
from sweeps.analysis.tables import (
    CURVES,
    RUNS,
    SCORES,
    Row,
    Rows,
    best_table,
    curves_figure,
    fill,
    importances_table,
    latents_figure,
    lead_table,
    look_table,
    mean_scores_table,
    ranks_table,
    robustness_table,
    scores_table,
    searches_table,
)
from sweeps.search import throughput
from sweeps.search.start import PRELOAD_WORKERS
from sweeps.spec.read_plan import read_plan
from sweeps.study import rungs
from sweeps.workers.early_stopping import COLLAPSED_COVERAGE

PAGES = ("results.md", "how_found.md")
PRESETS = ("tutorial", "tuned_four", "tuned")
SEEDS = tuple(range(101, 107))  # none of a search, whose trials and confirmations count from 0
CLASS_SEEDS = SEEDS[:3]  # for a class that no search saw
SHORT_SEEDS = tuple(range(201, 211))
CLASSES = ("ship", "horse", "automobile")  # the first is the one that was searched on
PRECISION = (
    "train.precision=mixed_bfloat16"  # of all: 1.4 times as fast, scores within the standard deviation over seeds
)
SCORED, LONG, SHORT = (2500, 5000), 15_000, 1000  # updates
SEARCHES = {  # by name: how each is called; two of the four settings, to see whether they agree
    "four_0": ["search.updates=100000", PRECISION],
    "four_1": ["search.updates=100000", "search.seed=1", PRECISION],
    "levers_0": ["search=levers", "search.updates=200000", PRECISION],
}
FORMER_SEARCHES = ("four", "levers")  # of earlier versions, whose tables are kept
QUICK_SEARCH = [
    "search.updates=null",
    "search.confirm.seeds=0",
    "search.trials=3",
    "search.steps=6",
    "eval.every_steps=2",
    "eval.num_images=20",
    "eval.final_num_images=20",
]


@dataclass
class Images(Cifar10Place):
    """CIFAR-10, or the drawings that come with the program."""

    source: str = setting("cifar10", "where images come from", Choice(("cifar10", "embedded")))


@dataclass
class Reproduction:
    out: str | None = setting(
        None,
        "folder of results.md, results/ and images/; by default one in the records, out=docs continues ours",
        NotEmpty(),
    )
    presets: list[str] = setting(list(PRESETS), "of conf/experiment/, those to train")
    quick: bool = setting(False, "a few updates of everything, to see that it works")
    searches: bool = setting(True, "make the searches, too")
    workers: int | None = setting(None, "trainings at a time, which share the cores; by default one a core", COUNT)
    hours: float | None = setting(None, "after which no more searches and trainings are begun", POSITIVE)
    dry_run: bool = setting(False, "say what is left to do and how long it would take; train nothing")
    data: Images = field(default_factory=Images)
    records: RecordsConfig = field(default_factory=RecordsConfig)


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


def main(args: Reproduction) -> int:
    if unknown := sorted(set(args.presets) - set(PRESETS)):
        raise ConfigError("presets", f"some of {', '.join(PRESETS)}", ", ".join(unknown), nearest(unknown[0], PRESETS))
    console = Output(highlight=False, soft_wrap=True, markup=False)
    usual = Records.at(args.records.root).root / ("reproduce-quick" if args.quick else "reproduce")
    out = usual if args.out is None else Path(args.out).expanduser()
    every = trainings(args.quick)
    digests = _digests(every, args)
    runs, curves = Rows(out / "results" / "runs.csv", RUNS), Rows(out / "results" / "curves.csv", CURVES)
    _check(runs, digests, args, console)
    runs.keep(lambda row: row["settings"] == digests.get(row["run"]))
    done = {row["run"] for row in runs.all}
    curves.keep(lambda row: row["run"] in done)
    left = [each for each in every if each.name not in done and each.preset in args.presets]
    console.print(f"trainings {len(left)} of {len(every)} are left, {sum(each.steps for each in left):,} updates")
    searches = [name for name in list(SEARCHES)[: 1 if args.quick else None] if args.searches]
    searches = [name for name in searches if not _is_made(name, args, out)]
    if searches:
        console.print(f"searches  {', '.join(searches)} are left")
    workers = args.workers or available_cores()
    if not args.quick:
        _estimate(args, workers, left, searches, console)
    if args.dry_run:
        return 0
    for folder in (out / "results", out / "images"):
        make_folder(folder, "out")
    begin = time.monotonic()
    with fork_server([PRELOAD_WORKERS]), _handed_on() as caught:

        def may_begin() -> bool:
            return not caught and (args.hours is None or time.monotonic() - begin < 3600 * args.hours)

        for name in searches:
            if may_begin() and (code := _search(name, args, out)):
                return stopped_by(caught[0]) if caught else code
        failed = _train(left, digests, runs, curves, args, workers, may_begin, console)
        if caught:
            console.print("stopped   the same command resumes")
            return stopped_by(caught[0])
        with stage(console, "drawing"):
            _draw(out, runs.all, curves.all, every)
            _same_latents(out, every, args, console)
    console.print(f"page      {shown(out / PAGES[0])}\nnumbers   {shown(runs.file)}, {shown(curves.file)}")
    return 1 if failed else 0


def _check(runs: Rows, digests: dict[str, str], args: Reproduction, console: Console) -> None:
    """Raise ConfigError for missing images, or numbers of other images or trainings at `out`."""
    if others := [row["run"] for row in runs.all if row["run"] not in digests]:
        raise ConfigError("out", "a folder of these trainings alone", str(runs.file.parent.parent), f"has {others[0]}")
    for of in dict.fromkeys([CLASSES[0], *(row["class"] for row in runs.all)]):
        config = compose_config([f"data.class_id={of}", *_data(args)])
        images = load_data(config, Records.at(args.records.root), console)
        if unlike := [r["run"] for r in runs.all if r["class"] == of and r["dataset"] != images.sha256[:8]]:
            raise ConfigError("data", "the images of the numbers at out", images.description, f"{unlike[0]} had others")


def _draw(out: Path, runs: Sequence[Row], curves: Sequence[Row], every: Sequence[Training]) -> None:
    """Write the tables of the pages and draw the curves; words are left as they are."""
    steps = sorted({each.steps for each in every})
    usual = SCORED[-1] if SCORED[-1] in steps else steps[-1]
    tables = {f"{of} {count}": scores_table(runs, of, count) for of in CLASSES for count in steps}
    tables[f"way {usual}"] = mean_scores_table(curves, CLASSES[0], usual)
    tables["lead"] = lead_table(runs, PRESETS[0])
    tables["robustness"] = robustness_table(runs, steps[0])
    tables["searches"] = searches_table(_results(out))
    for name in (*FORMER_SEARCHES, *SEARCHES):
        if (trials := out / "results" / f"search_{name}.csv").exists():
            tables |= {f"search {name}": best_table(trials), f"ranks {name}": ranks_table(trials)}
        if (importances := out / "results" / f"importances_{name}.csv").exists():
            tables[f"importances {name}"] = importances_table(importances)
    tables |= {file.stem: look_table(file) for file in sorted((out / "results").glob("*_look.csv"))}
    pages = [out / name for name in PAGES if (out / name).exists()]
    for page in pages:
        write_atomically(page, fill(page.read_text(encoding="utf-8"), tables).encode())
    if not pages:
        text = "".join(f"## {name}\n\n<!-- {name} -->\n{table}<!-- end -->\n\n" for name, table in tables.items())
        write_atomically(out / PAGES[0], f"# Results\n\n{text}".encode())
    if curves:
        figures.save_png(lambda: curves_figure(curves, "ship", usual), out / "images" / "results_curves.png")


def _same_latents(out: Path, every: Sequence[Training], args: Reproduction, console: Console) -> None:
    """Draw one seed of each preset side by side, where their runs are on this machine."""
    shown_steps = SCORED[-1] if not args.quick else every[0].steps
    chosen = [e for e in every if (e.of, e.seed, e.steps) == (CLASSES[0], SEEDS[0], shown_steps)]
    if not all(_folder(args, each).config.is_file() for each in chosen):
        console.print("figures   as they were: the runs are not among the records here")
        return
    runs = {each.preset: read_compared(_folder(args, each)) for each in chosen}
    config = compose_config([f"data.class_id={CLASSES[0]}", *_data(args)])
    real = load_data(config, Records.at(args.records.root), Console(quiet=True)).train
    figures.save_png(lambda: latents_figure(runs, real), out / "images" / "results_latents.png")


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


def _digests(every: Sequence[Training], args: Reproduction) -> dict[str, str]:
    """Return the digest of each training, by name. A preset's trainings have one, so that one is composed for all."""
    one_each = {each.preset: each for each in every}
    known = {preset: digest(compose_config(_overrides(one, args))) for preset, one in one_each.items()}
    return {each.name: known[each.preset] for each in every}


def _data(args: Reproduction) -> list[str]:
    return [f"data={args.data.source}", *_places(args)]


def _places(args: Reproduction) -> list[str]:
    """Return where images and records are, as arguments of the other programs."""
    places = {"data.path": args.data.path, "records.root": args.records.root}
    return [as_text(f"{key}={place}") for key, place in places.items() if place is not None]


def _overrides(each: Training, args: Reproduction) -> list[str]:
    small = ["eval.num_images=100", "eval.final_num_images=100", "eval.every_steps=2"] if args.quick else []
    return [*each.overrides, *_data(args), *small]


def _estimate(
    args: Reproduction, workers: int, left: Sequence[Training], searches: Sequence[str], console: Console
) -> None:
    hours = 0.0
    for preset in PRESETS:
        updates = sum(each.steps for each in left if each.preset == preset)
        if preset == "tutorial":  # where searches begin; trials that are pruned make it less
            updates += sum(rungs.expected_updates(plan) for plan in (read_plan(SEARCHES[name]) for name in searches))
        if updates:
            with stage(console, f"measuring the throughput of {preset}, {workers} side by side"):
                plan = read_plan([f"experiment={preset}", PRECISION, *_data(args), f"search.workers={workers}"])
                hours += throughput.OVERHEAD_FACTOR * updates * throughput.measure(plan).update_seconds / workers / 3600
    if hours:
        console.print(f"time      at most about {hours:.1f} h, {workers} trainings at a time")


def _search_arguments(name: str, args: Reproduction) -> list[str]:
    return [*SEARCHES[name], *(QUICK_SEARCH if args.quick else [])]


def _results(out: Path) -> dict[str, dict[str, Any]]:
    """Return what is kept of the result of each search, by name. Raises ConfigError for a damaged file."""
    files = {name: out / "results" / f"search_{name}.yaml" for name in SEARCHES}
    results = {}
    for name, file in files.items():
        with contextlib.suppress(FileNotFoundError):
            try:
                results[name] = yaml.safe_load(file.read_text(encoding="utf-8"))
            except (ValueError, yaml.YAMLError):
                results[name] = None
            if not isinstance(results[name], dict):
                raise ConfigError("out", f"a folder whose {file.name} this program wrote", str(file), "remove it")
    return results


def _is_made(name: str, args: Reproduction, out: Path) -> bool:
    """Return whether a search was made to its end, with these arguments."""
    return _results(out).get(name, {}).get("arguments") == _search_arguments(name, args)


def _search(name: str, args: Reproduction, out: Path) -> int:
    """Run or resume one search, keep its result and the table of its trials, and return its exit code."""
    study = f"results-quick-{name}" if args.quick else f"results-{name}"
    arguments = [*_data(args), *_search_arguments(name, args), f"search.study={study}"]
    code = start_program(ROOT / "sweeps/optuna_search.py", arguments).wait()
    folder = RunFolder(Records.at(args.records.root).studies / study)
    if code == 0:
        shutil.copy(folder.path / "trials.csv", out / "results" / f"search_{name}.csv")
        shutil.copy(folder.path / "importances.csv", out / "results" / f"importances_{name}.csv")
        result = {"arguments": _search_arguments(name, args), **_result(folder)}
        text = yaml.safe_dump(result, sort_keys=False, width=120)
        # Last, as it says that the search is made.
        write_atomically(out / "results" / f"search_{name}.yaml", text.encode())
    return code


def _result(study: RunFolder) -> dict[str, Any]:
    """Return the result of a finished search, without what is of this machine alone."""
    best = read_best(study)
    settings_found = [
        each for each in best.get("overrides", []) if not each.startswith(("data.path=", "records.root="))
    ]
    commit = read_json(study.facts)["tags"].get("mlflow.source.git.commit", "")[:7]
    scores = {key: best.get(key) for key in ("trial", "better", "search_score", "confirmed_score")}
    result = journal.all_tags(study.journal)["result"]
    return {"result": result, **scores, "settings": settings_found, "commit": commit}


@contextlib.contextmanager
def _handed_on() -> Iterator[list[int]]:
    """Collect signals, and let the programs below this one save their state and end, as Ctrl-C in a terminal does."""
    caught: list[int] = []

    def hand_on(number: int, frame: FrameType | None) -> None:
        caught.append(number)
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
                if os.getsid(process.pid) == os.getsid(0):  # those of other sessions are told by their searches
                    process.send_signal(signal.SIGINT)

    with handled(hand_on):
        yield caught


def _folder(args: Reproduction, training: Training) -> RunFolder:
    return RunFolder(Records.at(args.records.root).runs / training.name)


def _train(
    left: Sequence[Training],
    digests: dict[str, str],
    runs: Rows,
    curves: Rows,
    args: Reproduction,
    workers: int,
    may_begin: Callable[[], bool],
    console: Console,
) -> list[Training]:
    """Train what is left, a few at a time.

    Args:
        left: the trainings.
        digests: of their settings, by name.
        runs: the table of results, to which they are added.
        curves: the table of scores on the way, likewise.
        args: of the program.
        workers: how many train at a time.
        may_begin: whether another one may be begun; one that is begun is finished.
        console: where the end of each is said.

    Returns:
        Those that failed for another reason than their settings.
    """
    lock = threading.Lock()
    failed: list[Training] = []

    def one(each: Training) -> None:
        if not may_begin():
            return
        problem = _run(each, digests[each.name], args, max(available_cores() // workers, 1))
        with lock:
            if problem:
                failed.append(each)
                console.print(f"failed    {each.name}: {problem}")
            else:
                made = _rows(each, digests[each.name], args)
                curves.add(_curve(each, args))
                runs.add(made)  # last: it says that the training is done
                console.print(
                    f"done      {each.name}: {made[-1]['outcome']}, FID proxy {made[-1].get(metric_names.FID, 'none')}"
                )

    with ThreadPoolExecutor(workers) as pool:
        for future in [pool.submit(one, each) for each in left]:
            future.result()
    return failed


def _run(each: Training, known: str, args: Reproduction, threads: int) -> str:
    """Train and score, or resume that; return the problem if it was not finished."""
    folder = _folder(args, each)
    root = [place for place in _places(args) if place.startswith("records.root")]
    if folder.config.is_file():
        if digest(read_records(folder, "run")[0]) != known:
            return f"there is one of other settings already; delete or rename {shown(folder.path)}"
        arguments = [f"resume={each.name}", *root]
    else:
        arguments = [*_overrides(each, args), f"name={each.name}"]
    arguments.append(f"train.threads={threads}")
    if not journal.has_ended(folder.journal):
        problem = _program("run.py", arguments)
        if not journal.has_ended(folder.journal):
            return problem or "it was not finished"
    if journal.last_status(folder.journal) == RunStatus.FINISHED:
        for step in each.scored[:-1]:
            if problem := _program("evaluate.py", [f"run={each.name}", f"step={step}", *root]):
                return problem
    return ""


def _program(name: str, arguments: Sequence[str]) -> str:
    """Run one of the programs, and return its last line if it failed."""
    done = run_program(ROOT / "experiments" / name, arguments)
    if done.returncode - 128 in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        return "it was stopped"
    return last_words(done) if done.returncode else ""


def _common(each: Training) -> Row:
    own = {"run": each.name, "preset": each.preset, "class": each.of}
    return {**own, "seed": str(each.seed), "steps": str(each.steps)}


def _curve(each: Training, args: Reproduction) -> list[Row]:
    """Return the in-run scores of a training as rows."""
    steps, values = journal.curve(_folder(args, each).journal, metric_names.FID_PROXY)
    return [{**_common(each), "step": str(s), metric_names.FID: f"{v:.5g}"} for s, v in zip(steps, values, strict=True)]


def _rows(each: Training, known: str, args: Reproduction) -> list[Row]:
    """Return the results of a training, one row for each scored step; one without scores if it diverged."""
    folder = _folder(args, each)
    config, facts = read_records(folder, "run")
    curves = journal.curves(folder.journal)
    tags = journal.all_tags(folder.journal)
    speeds = curves.get(metric_names.STEPS_PER_SECOND, ([], []))[1]
    common = {
        **_common(each),
        "steps_per_second": f"{sorted(speeds)[len(speeds) // 2]:.3g}" if speeds else "",
        "seconds": str(tags.get("duration", "")).removesuffix(" s"),
        "settings": known, "fid_proxy_id": facts["tags"]["fid_proxy_id"],
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


if __name__ == "__main__":
    entry.run(with_arguments(Reproduction, main, __doc__), failures={throughput.CannotMeasure: first_line})
