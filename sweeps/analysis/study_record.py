"""What a finished search leaves in its own record, for MLflow: its result, its files, and the winner's scores."""

from experiments.records import journal
from experiments.records.folders import read_json
from experiments.records.journal import Journal
from experiments.reports.statistics import mean
from experiments.tracking.experiment import NOTE
from experiments.training.description import description
from gan import metric_names
from sweeps.analysis.champion import Winner
from sweeps.analysis.comparison import Comparison
from sweeps.analysis.report import Report
from sweeps.spec.plan import Plan

SHEET = "plots/contact_sheet.png"


def record_result(
    plan: Plan, records: Journal, report: Report, comparison: Comparison | None, rescored: float | None
) -> None:
    """Record what a search came to.

    Args:
        plan: of the search.
        records: the journal of the study.
        report: its files, and the winner.
        comparison: the result of the confirmation; None without one.
        rescored: the best trial's score of fresh latents; None where it has none.
    """
    for file in (report.best, report.trials, report.importances, report.page, *report.pictures):
        if file.exists():
            records.artifact(file)
    winner = report.winner
    result = winner.words if winner is not None else "no trial was completed"
    if winner is not None and comparison is None:
        best = plan.baseline_name if winner.is_baseline else f"trial {winner.origin}"
        result = f"{best} has the best score, {winner.search_score:.4g}; {result}"
    scale = "" if "lower is better" in result else " Lower is better."
    pictures = {SHEET: "the same latents by each trial"} if (plan.folder.path / SHEET).exists() else {}
    note = description(f"**{result[0].upper()}{result[1:]}.**{scale}", read_json(plan.folder.facts), pictures)
    words = comparison.words() if comparison is not None else "not confirmed"
    better = comparison is not None and comparison.better
    records.tags({"result": words, "result.better": str(better).lower(), NOTE: note})
    if winner is not None:
        _record_scores(plan, records, winner, comparison, rescored)


def _record_scores(
    plan: Plan, records: Journal, winner: Winner, comparison: Comparison | None, rescored: float | None
) -> None:
    """Record the winner's scores as the study's own, under the names that runs have them by: a point for each result."""
    score = winner.confirmed_score if winner.confirmed_score is not None else winner.search_score
    final = comparison.winner.final if comparison is not None else [rescored]
    scores = {metric_names.FID_PROXY: [score], metric_names.FINAL_FID_PROXY: final}
    present = {key: [value for value in values if value is not None] for key, values in scores.items()}
    new = {key: mean(values) for key, values in present.items() if values}
    before = {key: curve for key, curve in journal.curves(plan.folder.journal).items() if key in new}
    if any(key not in before or before[key][1][-1] != value for key, value in new.items()):
        records.scalars(1 + max((steps[-1] for steps, _ in before.values()), default=0), new)
