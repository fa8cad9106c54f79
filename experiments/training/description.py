"""The description of a run or a search in MLflow: its result first, then samples, settings and command, in Markdown."""

import shlex
from collections.abc import Mapping
from typing import Any

from experiments.records import journal
from experiments.records.differences import differences
from experiments.records.folders import RunFolder
from experiments.records.status import RunStatus
from experiments.settings.schema import Config
from experiments.tracking.run_writer import artifact_link
from gan import metric_names

REAL_BASELINE, NOISE_BASELINE = "fid_proxy_floor", "fid_proxy_ceiling"  # tags: the scores of real images and of noise
FIGURES = {"samples.gif": "samples over the updates", "plots/real_vs_generated.png": "real images, generated images"}
COMMAND_WIDTH = 80  # characters
METRICS = f"The score is `{metric_names.FID_PROXY}`, and `{metric_names.FINAL_FID_PROXY}` of more images at the end."


def description(headline: str, facts: Mapping[str, Any], figures: Mapping[str, str] | None = None) -> str:
    """Return MLflow's description of a run or a study.

    Args:
        headline: its result in a sentence; a list of runs shows no more.
        facts: of the run, as run.json has them.
        figures: the artifacts that are shown, by path, each with what it is; None for no artifact.
    """
    images = [f"![{words}]({artifact_link(path)})" for path, words in (figures or {}).items()]
    place = f"Folder: `{facts['tags']['run_folder']}` of the records."
    parts = [
        headline,
        facts.get("note") or "",
        " ".join(images),
        _changed(facts["command"], facts.get("preset")),
        f"    {_wrapped(facts['command'])}",
        f"Trained on {facts['dataset']['description']}. {METRICS} {place}",
    ]
    return "\n\n".join(filter(None, parts))


def headline(folder: RunFolder, config: Config, status: RunStatus) -> str:
    """Return how a run ended: its score and the scale of it, of how many images, after how many updates.

    Args:
        folder: of the run, whose journal has all but the end.
        config: its settings.
        status: that it ended in.
    """
    curves, tags = journal.curves(folder.journal), journal.all_tags(folder.journal)
    done = max((steps[-1] for steps, _ in curves.values()), default=0)
    score = ""
    if status == RunStatus.FINISHED and metric_names.FINAL_FID_PROXY in curves:
        value = curves[metric_names.FINAL_FID_PROXY][1][-1]
        score = f"**FID proxy {value:.4g}** of {config.eval.final_num_images:,} images"
    elif metric_names.FID_PROXY in curves:
        value = metric_names.in_run_score(curves[metric_names.FID_PROXY][1])
        score = f"**FID proxy {value:.4g}** of {config.eval.num_images:,} images in the run"
    if score and {REAL_BASELINE, NOISE_BASELINE} <= tags.keys():
        scale = (
            f"; two halves of the real images get {tags[REAL_BASELINE]}, noise {tags[NOISE_BASELINE]}, lower is better."
        )
    else:
        scale = "."
    if status == RunStatus.FINISHED:
        return f"{score or 'No score'} after {done:,} updates{scale}"
    words = f"{'Failed' if status == RunStatus.FAILED else 'Stopped'} after {done:,} of {config.train.steps:,} updates"
    reason = (
        f" {' '.join(tags[journal.FAILURE].split())}." if status == RunStatus.FAILED and journal.FAILURE in tags else ""
    )
    return f"{words}. {score or 'No score'}{scale}{reason}"


def _changed(command: str, preset: str | None) -> str:
    """Return what a command line changes of its preset, as code. preset: of a search, which has one unnamed."""
    words = shlex.split(command)
    presets = [preset] if preset else [word.partition("=")[2] for word in words if word.startswith("experiment=")]
    settings = [f"`{key}={value}`".replace("\n", " ") for key, value in differences(words).items()]
    begin = f"Preset `{presets[-1]}`" if presets else "No preset"
    return f"{begin}, and {', '.join(settings)}." if settings else f"{begin}."


def _wrapped(command: str) -> str:
    """Break a command into lines as a shell takes them: MLflow's page grows as wide as its longest line."""
    lines: list[str] = []
    for word in map(shlex.quote, shlex.split(command)):
        if lines and len(lines[-1]) + len(word) < COMMAND_WIDTH:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return " \\\n        ".join(lines)
