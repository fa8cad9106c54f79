"""mlruns/index.html: all runs and searches as cards, those together whose scores can be compared."""

import datetime
import html
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rich.console import Console

from experiments.cli.progress import say_words
from experiments.records.folders import Records
from experiments.records.journal import FAILURE
from experiments.records.overview import Overview, Search, in_bytes, size_of
from experiments.records.status import RunState
from experiments.reports.run_rows import Row, read_rows, settings_in_words
from experiments.tracking.address import serve_command
from experiments.tracking.delivery import Delivery
from gan.arrays import write_atomically
from gan.errors import ConfigError, explained

TEMPLATE = Path(__file__).with_name("index.html")
TITLE = "Runs and searches"
MOST_CARDS = 1000
MOST_TRIALS = 50  # of a search, those with the lowest scores
MOST_COMPARISONS = 20
WIDTH, HEIGHT = 100, 30  # of a sparkline, in its own units
POINTS = 60  # of a sparkline, at most
TITLE_WITHIN = 2000  # characters of a page


@dataclass(frozen=True)
class Group:
    """Cards of runs whose scores can be compared, the lowest first."""

    title: str
    words: str
    cards: list[dict[str, Any]]


def file_of(records: Records) -> Path:
    """Return where the page is."""
    return records.root / "index.html"


def refresh(records: Records, console: Console) -> list[Row]:
    """Write the page, and return what is on it; a line says where that is not possible, and nothing else fails because of it.

    A folder without runs/ is not one of records, and gets no page. A page of somebody else is left as it is.

    Args:
        records: of the page.
        console: for that line.
    """
    if not records.runs.is_dir():
        return []
    try:
        if file_of(records).exists() and _title(file_of(records)) != TITLE:
            say_words(console, f"index    not written: {file_of(records)} is another page")
            return []
        rows = read_rows(records)
        write_atomically(file_of(records), page(records, rows).encode())
    except (OSError, ConfigError) as error:
        words = explained(error) if isinstance(error, OSError) else str(error)
        say_words(console, f"index    not written: {words}")
        return []
    return rows


def page(records: Records, rows: Sequence[Row]) -> str:
    """Return the page. Pictures are links to files beside it, so that it stays small.

    Args:
        records: of the page.
        rows: all runs and searches, the newest first.
    """
    from experiments.reports.page import render  # slow to import, and programs begin with this module

    shown = rows[:MOST_CARDS]
    groups = _groups(records, shown)
    pages = sorted(records.comparisons.glob("*/compare.html"), reverse=True)[:MOST_COMPARISONS]
    searches = sum(row.is_search for row in rows)
    return render(
        TEMPLATE,
        title=TITLE,
        groups=groups,
        has_links=any(title == "MLflow" for group in groups for card in group.cards for title, _ in card["links"]),
        runs=len(rows) - searches,
        searches=searches,
        disk=in_bytes(size_of(records.root) - size_of(file_of(records))),
        written=_time(datetime.datetime.now().timestamp()),
        serve=serve_command(records),
        comparisons=[(file.parent.name, _title(file), _link(records, file)) for file in pages],
        left_out=len(rows) - len(shown),
    )


def _groups(records: Records, rows: Sequence[Row]) -> list[Group]:
    """Return the cards by what their scores have in common, the group of the newest run first, unscored runs last."""
    scored: dict[tuple[str, ...], list[Row]] = {}
    unscored: list[Row] = []
    for row in rows:
        has_score = row.run is not None and row.score is not None and math.isfinite(row.score)
        if row.run is not None and has_score and row.run.state != RunState.FAILED:
            scored.setdefault(row.run.alike, []).append(row)
        else:
            unscored.append(row)
    several = len({alike[0] for alike in scored}) > 1  # extractors
    groups = []
    for alike, members in scored.items():
        members.sort(key=lambda row: (row.score, -row.created))
        run = members[0].run
        assert run is not None
        images = str(run.facts.get("dataset", {}).get("description", "unknown images"))
        count = f"{run.num_images:,}" if run.num_images is not None else "an unknown number of"
        extractor = f", in the features of {alike[0]}" if several else ""
        words = f"On {images}. Lower is better{extractor}; these scores can be compared."
        groups.append(Group(f"FID proxy of {count} images", words, [_card(records, row) for row in members]))
    if unscored:
        groups.append(Group("Failed, or without a score", "", [_card(records, row) for row in unscored]))
    return groups


def _card(records: Records, row: Row) -> dict[str, Any]:
    of, run = row.of, row.run
    still, animation = _pictures(run)
    report = of.folder.path / "report.html"
    links = [("report", report)] if isinstance(of, Search) and report.is_file() else []
    links.append(("folder", of.folder.path))
    link = _link(records, links[0][1])
    url = Delivery(of.folder).url
    card = {
        "name": row.name,
        "is_search": row.is_search,
        "link": link,
        "picture": _link(records, still) if still is not None else None,
        "animation": _link(records, animation) if animation is not None else None,
        "score": row.score,
        "score_words": of.score_words if isinstance(of, Search) else "",
        "has_run": run is not None,
        "differs": ", ".join(settings_in_words(run)),
        "note": row.note,
        "state": row.state,
        "step": row.step,
        "size": in_bytes(row.size),
        "made": _time(row.created),
        "links": [(title, _link(records, path)) for title, path in links] + ([("MLflow", url)] if url else []),
        "result": of.result
        if isinstance(of, Search)
        else of.tags.get(FAILURE, "")
        if of.state == RunState.FAILED
        else "",
        "trials": [],
        **_sparkline(run),
    }
    return card | _trials(records, of) if isinstance(of, Search) else card


def _pictures(run: Overview | None) -> tuple[Path | None, Path | None]:
    """Return a run's newest samples, and the animation that ends with them; each None where there is none."""
    if run is None:
        return None, None
    samples = run.folder.sample_files
    still = samples[max(samples)] if samples else None
    animation = run.folder.path / "samples.gif"
    if not animation.is_file():
        return still, None
    if still is None:
        return animation, None
    return still, animation if animation.stat().st_mtime >= still.stat().st_mtime else None


def _sparkline(run: Overview | None) -> dict[str, str]:
    """Return the points of a run's scores over its steps, and words for those who do not see them."""
    points = sorted((run.scores if run is not None else {}).items())
    points = [(step, score) for step, score in points if math.isfinite(score)]
    if len(points) < 2:
        return {"spark": "", "spark_words": ""}
    every = -(-len(points) // POINTS)
    points = points[-1::-every][::-1]
    (first, _), (last, _) = points[0], points[-1]
    low, high = min(score for _, score in points), max(score for _, score in points)
    across, down = WIDTH / max(last - first, 1), HEIGHT / ((high - low) or 1)
    line = " ".join(f"{(step - first) * across:.1f},{(high - score) * down:.1f}" for step, score in points)
    return {"spark": line, "spark_words": f"score from {points[0][1]:.4g} to {points[-1][1]:.4g}"}


def _trials(records: Records, search: Search) -> dict[str, Any]:
    trials = sorted(search.trials, key=lambda run: (-run.step, math.inf if run.score is None else run.score))
    counts = Counter(run.state for run in trials)
    return {
        "num_trials": len(trials),
        "states": ", ".join(f"{count} {state}" for state, count in counts.items()),
        "trials": [
            {
                "number": run.name.removeprefix(f"{search.name}-trial-"),
                "link": _link(records, run.folder.path),
                "score": run.score,
                "step": run.step,
                "state": run.state,
                "differs": ", ".join(settings_in_words(run)),
            }
            for run in trials[:MOST_TRIALS]
        ],
    }


def _title(page: Path) -> str:
    """Return the title of a page; empty where it has none."""
    with open(page, encoding="utf-8", errors="replace") as stream:
        match = re.search(r"<title>(.*?)</title>", stream.read(TITLE_WITHIN), re.DOTALL)
    return html.unescape(match[1]) if match else ""


def _link(records: Records, path: Path) -> str:
    return quote(path.relative_to(records.root).as_posix()) + ("/" if path.is_dir() else "")


def _time(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="seconds")
