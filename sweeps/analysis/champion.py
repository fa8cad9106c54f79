"""The winner of a search: it is scored once more, and registered in MLflow."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from optuna.trial import FrozenTrial

from experiments import ROOT
from experiments.cli.overrides import as_text
from experiments.processes.process import last_words
from experiments.processes.process import run as run_program
from experiments.records import journal
from experiments.records.folders import RunFolder, read_json
from experiments.records.journal import Journal, Model
from experiments.records.status import RunStatus
from experiments.tracking.models import CANDIDATE, CHAMPION
from gan import metric_names
from gan.errors import ConfigError
from sweeps.analysis.comparison import Comparison
from sweeps.analysis.confirm import best_run
from sweeps.spec.plan import Plan
from sweeps.spec.space import Value
from sweeps.study import attempts

FRESH_LATENTS = 1  # seed of the bank that the best trial is scored with once more; 0 is the search's
EXPERIMENTS = ROOT / "experiments"


@dataclass(frozen=True)
class Winner:
    """The settings that a search recommends: a trial's, or the baseline's if no trial has a lower score."""

    origin: int | None  # of the trial; None for a baseline without one
    is_baseline: bool
    params: Mapping[str, Value]  # of the space; none for the baseline
    shown: Mapping[str, Value]  # the same for tables; of the baseline what is in effect
    run: RunFolder  # whose generator it is
    search_score: float | None
    confirmed_score: float | None  # mean over fresh seeds
    seeds: int  # how many these are, 0 without a confirmation
    better: bool  # shown to be better than the baseline, on fresh seeds
    words: str  # a sentence that says so, or why not

    @property
    def alias(self) -> str:
        """Alias of the registered model: a champion is shown to be better."""
        return CHAMPION if self.better else CANDIDATE


def find_winner(plan: Plan, trials: Sequence[FrozenTrial], comparison: Comparison | None) -> Winner | None:
    """Find the winner of a study.

    Of a confirmation it is the comparison's, and its run that of the seed with the best final score. Without one
    it is the best trial, the baseline's among them.

    Args:
        plan: of the search.
        trials: of the study.
        comparison: the result of the confirmation; None without one.

    Returns:
        The winner, None where no trial was completed.
    """
    done = attempts.finished(trials)
    if comparison is None:
        return _unconfirmed(plan, done) if done else None
    chosen = comparison.winner
    if not chosen.scores:  # nothing could be trained on a fresh seed
        return replace(_unconfirmed(plan, done), words=comparison.words())
    return Winner(
        origin=chosen.origin,
        is_baseline=chosen is comparison.baseline,
        params=chosen.params,
        shown=plan.baseline_for_tables if chosen is comparison.baseline else chosen.params,
        run=best_run(plan, chosen),
        search_score=chosen.search_score,
        confirmed_score=chosen.mean,
        seeds=len(chosen.scores),
        better=comparison.better,
        words=comparison.words(),
    )


def _unconfirmed(plan: Plan, done: Sequence[FrozenTrial]) -> Winner:
    """Return the best trial as the winner. done: completed trials, best first."""
    best = done[0]
    is_baseline = attempts.is_baseline(plan, best)
    words = "not confirmed on fresh seeds: the best score of a search is partly luck"
    if is_baseline:
        others = [trial for trial in done if not attempts.is_baseline(plan, trial)]
        scores = (
            f"{best.value:.4g} against {others[0].value:.4g} for the best trial" if others else "no other trial ended"
        )
        words = f"Keep {plan.baseline_name}: {scores} (one seed each, not confirmed on fresh seeds)"
    return Winner(
        origin=attempts.origin(best),
        is_baseline=is_baseline,
        params={} if is_baseline else attempts.shown_params(plan, best),
        shown=attempts.shown_params(plan, best),
        run=attempts.run_of(plan, best),
        search_score=best.value,
        confirmed_score=None,
        seeds=0,
        better=False,
        words=words,
    )


def rescore(run: RunFolder, num_images: int, say: Callable[[str], None]) -> float | None:
    """Score a run once more, from latents that the search did not see.

    Args:
        run: of the best trial.
        num_images: as many as at the end of a run.
        say: called with a sentence where it cannot be scored.

    Returns:
        The FID proxy, None where it cannot be scored.
    """
    if journal.last_status(run.journal) != RunStatus.FINISHED:
        reason = "was trained on a host that keeps its own records" if run.path.exists() else "was removed"
        say(f"best     not scored again: {run.name} {reason}")
        return None
    extractor = read_json(run.facts)["tags"].get("fid_proxy_id")
    key = f"evaluate/{extractor}/{num_images}/seed_{FRESH_LATENTS}/{metric_names.FID}"

    def recorded() -> list[float]:
        return journal.curve(run.journal, key)[1][-1:]

    if not recorded():
        problem = _program("evaluate.py", run, [f"num_images={num_images}", f"seed={FRESH_LATENTS}"])
        if not recorded():
            say(f"best     not scored again: {problem}")
    return recorded()[-1] if recorded() else None


def register(winner: Winner, study: str, say: Callable[[str], None]) -> RunFolder | None:
    """Let the records of the winner's run say that its generator is a study's winner.

    A trial has no saved generator: it is made from the last checkpoint.

    Args:
        winner: of the study.
        study: its name, under which the model is registered.
        say: called with a sentence where the generator cannot be registered.

    Returns:
        The winner's run, None where its generator cannot be registered.
    """
    run = winner.run
    if journal.last_status(run.journal) != RunStatus.FINISHED:
        say(f"model    the winner's generator is not registered: {run.name} is on the host that trained it")
        return None
    has_model = any(isinstance(record, Model) for record, _ in journal.read(run.journal, 0))
    if not has_model:
        problem = _program("generate.py", run, [f"out={run.generator}", "overwrite=true"])
        if not run.generator.exists():
            say(f"model    the winner's generator could not be saved: {problem}")
            return None
    try:
        with run.owned():
            written = Journal(run)
            if not has_model:
                written.model(run.generator)
            written.winner(study, winner.alias, winner.words)  # again, too: another run may have been it meanwhile
            written.close()
    except ConfigError as error:
        say(f"model    the winner's generator is not registered: {error}")
        return None
    return run


def _program(name: str, run: RunFolder, arguments: Sequence[str]) -> str:
    """Run one of the smaller programs on a run, and return its last words."""
    quoted = [as_text(f"run={run.name}"), *arguments, as_text(f"records.root={run.records.root}")]
    return last_words(run_program(EXPERIMENTS / name, quoted, new_session=True))
