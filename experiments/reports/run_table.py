"""The list of runs on a terminal of any width."""

from collections.abc import Iterator, Mapping, Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from experiments.records.differences import run_name
from experiments.records.overview import Overview, in_bytes
from experiments.records.status import RunState
from experiments.reports.run_rows import Row, images_in_words

STYLES = {
    RunState.RUNNING: "cyan", RunState.FINISHED: "green", RunState.PAUSED: "blue", RunState.STOPPED: "yellow",
    RunState.INTERRUPTED: "yellow", RunState.PRUNED: "yellow", RunState.FAILED: "red", RunState.DAMAGED: "red",
}  # fmt: skip
LEFT = ("name", "state", "of", "differs", "study", "note")  # columns of words
DROPPED = ("note", "study", "differs", "step", "images")  # in this order, as the terminal narrows
GAP = 2  # characters between two columns
LEAST_NAME = 20  # columns; a longer name has a line of its own, as it may be copied


def lines(rows: Sequence[Row], console: Console) -> Iterator[Text]:
    """Yield the list for a console, the titles first.

    Where there is no room for the column of what differs, that is a line below a run whose name does not say it; so is
    its note. What is no terminal gets a line a run, with all columns.

    Args:
        rows: of the list.
        console: that it is for.
    """
    images = images_in_words(rows)
    cells = [_cells(row, images) for row in rows]
    titles = [title for title in cells[0] if title not in ("study", "of", "note") or any(c[title] for c in cells)]
    widths = {title: max(cell_len(text) for text in (title, *(c[title] for c in cells))) for title in titles}
    width = console.width if console.is_terminal else sum(widths.values()) + GAP * len(widths)
    for title in DROPPED:
        name = min(widths["name"], LEAST_NAME) if "differs" not in titles else widths["name"]
        if name + sum(widths[each] + GAP for each in titles if each != "name") > width and title in titles:
            titles.remove(title)
    rest = sum(widths[each] + GAP for each in titles if each != "name")
    widths["name"] = min(widths["name"], max(width - rest, LEAST_NAME))
    yield _line({title: title for title in titles}, titles, widths, dict.fromkeys(titles, "bold"))
    for row, texts in zip(rows, cells, strict=True):
        styles = {"name": "bold" if row.is_search else "", "state": STYLES.get(row.state, "")}
        if cell_len(row.name) > widths["name"]:
            yield Text(row.name, styles["name"], no_wrap=True, overflow="fold")
            texts = {**texts, "name": ""}
        yield _line(texts, titles, widths, styles)
        below = [row.differs] if "differs" not in titles and not _says_it(row) else []
        below += [row.note] if "note" not in titles else []
        for words in filter(None, below):
            line = Text(f"{' ' * GAP}{words}", "dim")
            line.truncate(width, overflow="ellipsis")
            yield line


def _line(texts: dict[str, str], titles: Sequence[str], widths: dict[str, int], styles: dict[str, str]) -> Text:
    line = Text()
    for title in titles:
        pad = " " * (widths[title] - cell_len(texts[title]))
        line.append(" " * GAP if line.plain else "")
        line.append(texts[title] + pad if title in LEFT else pad + texts[title], styles.get(title, ""))
    line.rstrip()
    return line


def _says_it(row: Row) -> bool:
    """Return whether a run's name was made of what differs."""
    said = run_name(row.of.preset or None, row.of.changed) if isinstance(row.of, Overview) else ""
    return bool(said) and row.name.startswith(said) and not said.endswith("more")


def _cells(row: Row, images: Mapping[str, str]) -> dict[str, str]:
    return {
        "name": row.name,
        "state": row.state,
        "FID proxy": f"{row.score:.4g}" if row.score is not None else "",
        "of": images.get(str(row.run.facts.get("dataset", {}).get("sha256")), "") if row.run is not None else "",
        "images": f"{row.num_images:,}" if row.num_images is not None else "",
        "step": f"{row.step:,}" if row.step else "",
        "size": in_bytes(row.size),
        "age": row.age,
        "differs": row.differs,
        "study": "a search" if row.is_search else row.study,
        "note": row.note,
    }
