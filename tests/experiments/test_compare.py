"""Runs side by side: who may be compared, what is said of them, and that the page holds it."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import plotly
import pytest
from conftest import ROOT, RunProgram, noise_images
from rich.console import Console

from experiments.cli.arguments import parse_arguments
from experiments.compare import Comparison, _page, _samples, _table, main
from experiments.records.folders import Records, RunFolder
from experiments.records.journal import Journal
from experiments.reports.groups import (
    Compared,
    Group,
    best_trials,
    common_steps,
    differing,
    grouped,
    marks,
    read_compared,
)
from experiments.reports.result import by_in_run_score, heading, ranking, result
from experiments.settings.schema import Config, DataConfig, ModelConfig, RecordsConfig, TrainConfig
from experiments.training.start import new_run
from gan import metric_names
from gan.checkpoint import Checkpoint
from gan.errors import ConfigError

FINALS = {"a-seed-0": 12.0, "a-seed-1": 14.0, "b": 30.0}


def made_run(
    root: Path, name: str, seed: int, final: float, momentum: float = 0.8, steps: int = 40, ended: bool = True
) -> RunFolder:
    """A run with curves, samples and scores that no training was needed for. ended: whether it was scored at its end."""
    npz = root.parent / "images.npz"
    if not npz.exists():
        np.savez(npz, images=noise_images(64))
    config = Config(
        model=ModelConfig(bn_momentum=momentum),
        train=TrainConfig(steps=steps),
        data=DataConfig(source="npz", path=str(npz), class_id="all"),
        records=RecordsConfig(root=str(root)),
        seed=seed,
        name=name,
    )
    run = new_run(config, None, [], Console(quiet=True))
    journal = Journal(run.folder, run.weights.id)
    for step in range(10, steps + 1, 10):
        losses = (metric_names.D_LOSS, metric_names.G_LOSS, metric_names.D_REAL, metric_names.D_FAKE)
        journal.scalars(step, dict.fromkeys(losses, 0.5))
        if step % 20 == 0:
            journal.scalars(
                step, {f"eval/{name}": final + 100 / step for name in ("fid_proxy", "kid_proxy", "coverage")}
            )
    for step in range(0, steps + 1, 20):
        journal.image(step, metric_names.SAMPLES, np.full((138, 138, 3), step % 256, np.uint8))
    if ended:
        journal.scalars(steps, {f"final/{name}": final for name in ("fid_proxy", "kid_proxy", "density", "coverage")})
    journal.close()
    return run.folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    records = tmp_path / "records"
    for name, final in FINALS.items():
        made_run(records, name, int(name[-1]) if "seed" in name else 0, final, 0.9 if name == "b" else 0.8)
    return records


def test_runs_that_differ_in_the_seed_alone_stand_together(root: Path) -> None:
    runs = [read_compared(folder) for folder in Records(root).find_runs(["b", "a-*", "a-seed-0"])]
    assert [run.name for run in runs] == ["b", "a-seed-0", "a-seed-1"]
    groups = grouped(runs)
    assert [group.name for group in groups] == ["bn_momentum 0.9", "bn_momentum 0.8"]
    assert [group.name_of(run) for group in groups for run in group.runs] == [
        "bn_momentum 0.9",
        "bn_momentum 0.8, seed 0",
        "bn_momentum 0.8, seed 1",
    ]
    assert heading(groups) == "bn_momentum: 0.9 or 0.8"
    assert groups[1].summary(metric_names.FINAL_FID_PROXY) == "13 ± 1.4"  # sqrt 2
    assert groups[0].summary(metric_names.FINAL_FID_PROXY) == "30"
    assert groups[0].summary("final/nn_distance") == ""
    assert marks(groups, 6, 3) == [(0, 0), (1, 0), (1, 1)]
    assert marks(groups, 2, 1) == [(0, 0), (1, 0), (0, 0)]
    assert differing(runs) == {"seed": [0, 0, 1], "model.bn_momentum": [0.9, 0.8, 0.8]}
    assert common_steps(runs, 5) == [20, 40]


def test_steps_are_those_that_all_have(tmp_path: Path) -> None:
    root = tmp_path / "records"
    runs = [read_compared(made_run(root, name, 0, 9.0, steps=steps)) for name, steps in (("short", 60), ("long", 400))]
    assert common_steps(runs, 5) == [20, 40, 60]
    assert common_steps(runs[1:], 5) == [20, 120, 220, 300, 400]


def test_the_page_has_notes_where_there_are_some(root: Path, tmp_path: Path) -> None:
    place = {"out": str(tmp_path / "page"), "records": RecordsConfig(root=str(root)), "overwrite": True}
    main(Comparison(run=["a-*", "b"], **place))  # type: ignore[arg-type]
    assert "note</th>" not in (tmp_path / "page" / "compare.html").read_text()
    facts = root / "runs" / "b" / "run.json"
    facts.write_text(json.dumps({**json.loads(facts.read_text()), "note": "a slower average"}))
    main(Comparison(run=["a-*", "b"], **place))  # type: ignore[arg-type]
    page = (tmp_path / "page" / "compare.html").read_text()
    assert re.search(r"note</th>\s*<td[^>]*></td>\s*<td[^>]*></td>\s*<td[^>]*>a slower average</td>", page)


def test_the_page_holds_everything(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "page"
    assert main(Comparison(run=["a-*", "b"], out=str(out), records=RecordsConfig(root=str(root)))) == 0
    printed = capsys.readouterr().out
    assert re.search(r"bn_momentum 0.8 +13 ± 1.4 +13 ± 1.4 +2 +40", printed)
    words = "bn_momentum 0.8 has the lower score: FID proxy 13 ± 1.4 against 30 of bn_momentum 0.9 "
    words += (
        "(difference -17, one seed of bn_momentum 0.9: no interval, and seeds of equal settings may differ by as much; "
    )
    words += "lower is better)."
    assert f"result   {words}" in printed
    assert [file.name for file in out.iterdir()] == ["compare.html"]
    page = (out / "compare.html").read_text()
    assert f'<h1>bn_momentum: 0.8 or 0.9</h1>\n<p class="result none">{words}</p>' in page
    frames = page[page.index('<figure class="steps">') : page.index("<h2>")]  # before all tables
    assert frames.count('<img src="data:image/jpeg') == 2
    assert "The same latents by each, seed 0." in frames
    sheet = page[page.index("<h2>The same latents") : page.index("<h2>Scores")]
    assert [sheet.count(f"{step} updates</th>") for step in (20, 40)] == [1, 1]
    assert sheet.count('<img src="data:image/jpeg') == 2 * (3 + 1)  # steps of three runs and of real images
    charts = [
        json.loads(text)
        for text in re.findall(r'class="chart".*?<script type="application/json">(.*?)</script>', page, re.S)
    ]
    finals, *curves = charts
    assert len(curves) == 8
    assert [trace["customdata"] for trace in finals["data"] if "customdata" in trace] == [
        ["a-seed-0", "a-seed-1"],
        ["b"],
    ]
    for chart in charts:
        plotly.graph_objects.Figure(chart)  # it refuses what Plotly does not know
    fid = curves[0]["data"]
    assert [trace["y"][-1] for trace in fid] == [
        read_compared(RunFolder(root / "runs" / trace["customdata"][0])).curves["eval/fid_proxy"][1][-1]
        for trace in fid
    ]
    assert [trace["line"] for trace in fid] == [
        {"color": colour, "dash": dash, "width": 2}
        for colour, dash in (("var(--c0)", "solid"), ("var(--c0)", "dash"), ("var(--c1)", "solid"))
    ]
    assert page.count("<svg ") == len(charts)  # stills, for browsers without JavaScript
    assert not re.search(r'(src|srcset|href)="(?!data:|http://127|#)', page)  # self-contained
    assert '<th scope="col">settings of</th>' in page
    heads = re.findall(r'<th scope="col" title="[^"]*">([^<]*)</th>', page)
    assert heads == ["FID proxy", "KID proxy", "density", "coverage"]  # no empty nn_distance
    for words in (
        '<th scope="row">model<wbr>.bn<wbr>_momentum</th>',
        "64 images",
        "cifar_cnn-",
        "13 ± 1.4",
        "bn_momentum 0.9</th>",
    ):
        assert words in page
    assert "model<wbr>.generator" not in page  # it only follows


def a_run(name: str, seed: int, *finals: float) -> Compared:
    curves = {metric_names.FINAL_FID_PROXY: ([9], [*finals])} if finals else {}
    return Compared(RunFolder(Path(name)), Config(seed=seed), {"tags": {}}, curves)


def scored(*groups: tuple[float, ...]) -> list[Group]:
    """Groups of runs with a score each, the seeds 0, 1, ..."""
    return [
        Group([a_run(name, seed, score) for seed, score in enumerate(scores)], name)
        for name, scores in zip("abc", groups, strict=False)
    ]


def test_the_lowest_mean_is_shown_to_be_lower_only_beyond_chance() -> None:
    def words(*groups: tuple[float, ...]) -> str:
        return result(scored(*groups))

    assert words((12.0, 10.0, 14.0), (6.0, 8.0, 7.0)) == (  # by the t test with 4 degrees of freedom
        "b is better: FID proxy 7 ± 1 against 12 ± 2 of a (difference -5, 95% interval -8.58 to -1.42, 3 seeds each; lower is better)."
    )
    three = words((12.0, 10.0, 14.0), (6.0, 8.0, 7.0), (8.0, 9.0, 9.0))
    assert three.startswith("b has the lowest score, but is not shown to be the best (c may be as good): FID proxy 7 ")
    assert "of c, the next of 3 (" in three
    equal = words((5.0, 5.0), (5.0, 5.0))
    assert equal.startswith("a has the lower score, but is not shown to be better: ")
    assert "(difference 0, 95% interval 0 to 0, 2 seeds each; " in equal
    assert words((5.0,), (6.0,)) == (
        "a has the lower score: FID proxy 5 against 6 of b (difference -1, "
        "one seed: no interval, and seeds of equal settings may differ by as much; lower is better)."
    )
    assert "one seed of a: no interval" in words((5.0,), (6.0, 7.0), (8.0, 9.0))
    assert words((5.0, 6.0)) == "a: FID proxy 5.5 ± 0.71, 2 seeds."
    assert words(()) == ""


def test_runs_of_one_seed_are_no_independent_repetitions() -> None:
    """On a CPU they are even equal to the last bit, and their standard deviation is 0."""
    metric = metric_names.FINAL_FID_PROXY
    a = Group([a_run("a-1", 0, 8.0), a_run("a-2", 0, 8.0)], "a")
    b = Group([a_run("b-1", 0, 9.0), a_run("b-2", 0, 9.0)], "b")
    assert (a.values(metric), a.summary(metric), a.seeds_in_words(metric)) == ([8.0], "8", "1")
    words = "FID proxy 8 against 9 of b (difference -1, one seed: no interval, and seeds of equal settings "
    assert result([a, b]).startswith(f"a has the lower score: {words}")
    wide = Group([a_run("c-1", 0, 5.0), a_run("c-2", 0, 7.0), a_run("c-3", 1, 8.0)], "c")
    assert wide.values(metric) == [6.0, 8.0]
    assert "2 seeds." in result([wide])


def test_seeds_without_a_score_are_not_counted() -> None:
    metric = metric_names.FINAL_FID_PROXY
    a = Group([a_run("a-0", 0, 8.0), a_run("a-1", 1, 8.5), a_run("a-2", 2)], "a")  # the last one diverged
    b = Group([a_run(f"b-{seed}", seed, 9.0 + seed) for seed in range(3)], "b")
    assert (a.seeds_in_words(metric), b.seeds_in_words(metric)) == ("2 of 3", "3")
    assert "2 and 3 seeds; lower is better" in result([a, b])
    console = Console(width=80, record=True)
    console.print(_table([a, b]))
    assert re.search(r"a +8.25 ± 0.35 +2 of 3 ", console.export_text())


def test_the_final_score_of_a_run_that_trained_on_is_not_compared() -> None:
    curves = {
        metric_names.FID_PROXY: ([3, 6, 9, 12], [9.0, 3.0, 2.0, 1.0]),
        metric_names.FINAL_FID_PROXY: ([6], [5.0]),
        metric_names.D_LOSS: ([12], [0.5]),
    }
    run = Compared(RunFolder(Path("a")), Config(), {"tags": {}}, curves)
    assert run.value(metric_names.FINAL_FID_PROXY) is None
    assert (run.value(metric_names.FID_PROXY), run.value(metric_names.D_LOSS)) == (2.0, 0.5)


def test_groups_are_named_by_what_sets_them_apart_where_their_names_do_not() -> None:
    def names(*runs: tuple[str, int, float]) -> list[str]:
        made = [
            Compared(
                RunFolder(Path(name)), Config(model=ModelConfig(bn_momentum=momentum), seed=seed), {"tags": {}}, {}
            )
            for name, seed, momentum in runs
        ]
        return [group.name for group in grouped(made)]

    early, late = ("20261127-065147-run", 0, 0.8), ("20261127-065210-run", 1, 0.8)
    other, same = [("20261127-065212-run", 0, 0.9), ("20261127-065213-run", 1, 0.9)], ("20261127-065147-run-2", 2, 0.8)
    assert names(early, late, *other) == ["bn_momentum 0.8", "bn_momentum 0.9"]
    assert names(("first", 0, 0.8), ("slower", 0, 0.9)) == ["bn_momentum 0.8", "bn_momentum 0.9"]
    assert names(early, same) == ["20261127-065147-run"]
    assert names(early, late) == ["20261127-065147-run"]
    assert names(("x-seed-10", 10, 0.8), ("x-seed-11", 11, 0.8)) == ["x"]


def test_where_many_settings_differ_the_names_of_runs_are_shorter() -> None:
    many = Config(
        model=ModelConfig(bn_momentum=0.9, dropout=0.1, leaky_relu_alpha=0.1), train=TrainConfig(label_noise=0.2)
    )

    def groups(first: str, second: str) -> list[Group]:
        return grouped(
            [
                Compared(RunFolder(Path(first)), Config(), {"tags": {}}, {}),
                Compared(RunFolder(Path(second)), many, {"tags": {}}, {}),
            ]
        )

    assert [group.name for group in groups("first", "second")] == ["first", "second"]
    assert heading(groups("first", "second")) == "bn_momentum, leaky_relu_alpha, dropout and 1 more"
    alike = [group.name for group in groups("t-1", "t-2")]
    assert alike == ["t-1", "t-2"]


def test_scores_on_the_way_of_other_numbers_of_images_leave_the_final_ones(root: Path, tmp_path: Path) -> None:
    config = root / "runs" / "b" / "config.yaml"
    config.write_text(config.read_text().replace("num_images: 2000", "num_images: 7"))
    out = tmp_path / "page"
    assert main(Comparison(run=["a-*", "b"], out=str(out), records=RecordsConfig(root=str(root)))) == 0
    page = (out / "compare.html").read_text()
    assert "bn_momentum 0.8 has the lower score: FID proxy 13 ± 1.4" in page
    assert "Their scores on the way cannot be compared" in page
    assert "FID proxy in the run" not in page
    charts = page[page.index("<h2>Scores") :]
    assert "FID proxy (lower is better)" not in charts and "generator&#39;s loss" in charts


def test_a_page_is_written_into_a_folder(root: Path, tmp_path: Path) -> None:
    page = str(tmp_path / "page.html")
    with pytest.raises(ConfigError, match=r"out must be a folder, which gets compare\.html and its figures; got"):
        main(Comparison(run=["a-*", "b"], out=page, records=RecordsConfig(root=str(root))))


def test_a_run_that_was_scored_again_with_as_many_images_is_compared_by_that(root: Path, tmp_path: Path) -> None:
    """A winner of search=quick beside a run by itself."""
    folder = RunFolder(root / "runs" / "b")
    config = folder.config.read_text().replace("final_num_images: 5000", "final_num_images: 20")
    folder.config.write_text(config.replace("num_images: 2000", "num_images: 7"))
    wanted = Comparison(run=["a-*", "b"], out=str(tmp_path / "page"), records=RecordsConfig(root=str(root)))
    remedy = r"b, with 20' \(python experiments/evaluate.py b num_images=5000 scores it with as many\)"
    with pytest.raises(ConfigError, match=remedy):
        main(wanted)
    journal = Journal(folder)
    scorer = json.loads(folder.facts.read_text())["tags"]["fid_proxy_id"]
    for step, score in ((40, 11.0), (20, 30.0)):  # and then an earlier checkpoint
        journal.late_scalars(step, {f"evaluate/{scorer}/5000/{name}": score for name in ("fid_proxy", "kid_proxy")})
    journal.close()
    assert main(wanted) == 0
    page = (tmp_path / "page" / "compare.html").read_text()
    assert re.findall(r"<p class=\"result none\">(.*?FID proxy [\d.]+ against 13 ± 1.4)", page) == [
        "bn_momentum 0.9 has the lower score: FID proxy 11 against 13 ± 1.4"
    ]


def test_a_run_without_a_final_score_is_compared_by_that_of_its_newest_checkpoint(root: Path, tmp_path: Path) -> None:
    folder = RunFolder(root / "runs" / "b")
    folder.config.write_text(folder.config.read_text().replace("final_num_images: 5000", "final_num_images: 20"))
    kept = [line for line in folder.journal.read_text().splitlines() if "final/" not in line]
    folder.journal.write_text("\n".join(kept) + "\n")
    folder.checkpoints.save(Checkpoint(40, {}, {}))
    journal = Journal(folder)
    scorer = json.loads(folder.facts.read_text())["tags"]["fid_proxy_id"]
    journal.late_scalars(40, {f"evaluate/{scorer}/5000/{name}": 11.0 for name in ("fid_proxy", "kid_proxy")})
    journal.close()
    wanted = Comparison(run=["a-*", "b"], out=str(tmp_path / "page"), records=RecordsConfig(root=str(root)))
    assert main(wanted) == 0
    assert "FID proxy 11 against 13 ± 1.4" in (tmp_path / "page" / "compare.html").read_text()


def test_runs_of_unlike_lengths_are_said_to_be(tmp_path: Path) -> None:
    made_run(tmp_path, "short", 0, 30.0, momentum=0.9)
    made_run(tmp_path, "long", 0, 12.0, steps=80)
    groups = grouped([read_compared(RunFolder(tmp_path / "runs" / name)) for name in ("short", "long")])
    assert ", after 80 and 40 updates (" in result(groups)


def test_samples_stand_first_whatever_there_is_of_them(tmp_path: Path) -> None:
    root = tmp_path / "records"
    short, long = (
        read_compared(made_run(root, name, 0, 9.0, steps=steps)) for name, steps in (("short", 40), ("long", 60))
    )
    slider, ends, words = _samples(grouped([short, long]))
    assert slider is not None and slider.steps == [0, 20, 40]
    assert list(ends) == ["steps 40, 40 updates", "steps 60, 60 updates"]
    assert words == "The same latents by each, seed 0."
    for file in short.folder.samples.iterdir():
        file.unlink()
    slider, ends, words = _samples(grouped([read_compared(short.folder), long]))
    assert slider is None and list(ends) == ["steps 60, 60 updates"]
    assert words == "The same latents by each, seed 0; no samples of steps 40."
    for file in long.folder.samples.iterdir():
        file.unlink()
    assert _samples(grouped([read_compared(run.folder) for run in (short, long)])) == (None, {}, "No run has samples.")


def test_trials_are_ranked_by_the_score_of_their_study(tmp_path: Path) -> None:
    root = tmp_path / "records"
    runs = []
    for number, score in enumerate((20.0, 10.0)):
        folder = made_run(root, f"gan-trial-000{number}", 0, score, 0.8 + number / 10, steps=100, ended=False)
        runs.append(read_compared(folder))
    expected = [score + sum(100 / step for step in (60, 80, 100)) / 3 for score in (20.0, 10.0)]
    groups = grouped(runs)
    assert ranking(groups) == metric_names.FID_PROXY
    console = Console(width=80, record=True)
    console.print(_table(groups))
    printed = console.export_text()
    assert re.search(rf"bn_momentum 0.9 +{expected[1]:.4g} +1 +100\n", printed)
    assert "coverage" not in printed  # an empty column
    page = _page(runs, groups, marks(groups, 6, 3), dict.fromkeys(("The same latents", "Scores", "Losses"), "None."))
    assert re.findall(r'<th scope="col" title="[^"]*">([^<]*)</th>', page) == ["FID proxy in the run"]
    assert f'<th scope="row">bn_momentum 0.8</th><td>{expected[0]:.4g}</td>' in page
    assert f"bn_momentum 0.9 has the lower score: FID proxy in the run {expected[1]:.4g} against" in page
    assert "have no score of their own at the end" in page
    assert "the mean of its last 3, which a search minimises too" in page
    assert by_in_run_score(groups)
    assert not by_in_run_score(
        grouped([read_compared(made_run(root, f"u{seed}", seed, 1.0, steps=10, ended=False)) for seed in (0, 1)])
    )


def test_tables_of_a_page_scroll_in_their_box_and_keep_their_first_column() -> None:
    """At 390 pixels a name and the score beside it are in sight; a name of many words is no wider than it must be."""
    style = (ROOT / "experiments" / "reports" / "page.html").read_text()
    first = re.search(r"th:first-child, td:first-child \{ position: sticky;.*?\}", style, re.DOTALL)
    assert first is not None
    assert "white-space: normal" in first[0]
    assert re.search(r"max-width: 40rem\) \{ .names :is\(td, th\[scope=row\]\):first-child \{ min-width: 8rem", style)
    for page, score in (
        ("experiments/reports/compare.html", "row.scores"),
        ("sweeps/analysis/parts.html", "<td>{{ row.score"),
    ):
        text = (ROOT / page).read_text()
        assert text.count("<table") == text.count('<div class="wide"><table')
        row = next(part for part in re.split("<tr[ >]", text) if score in part and "<td>" in part)
        assert row.index(score) < row.index("row.ste") < row.index("</tr>")  # the score comes before what else there is


@pytest.mark.parametrize("name", ["compare", "index", "notebook"])
def test_the_cells_of_tables_have_heads_that_say_what_they_are_of(name: str) -> None:
    text = (ROOT / "experiments" / "reports" / f"{name}.html").read_text()
    heads = re.findall(r"<th\b[^>]*>", text)
    assert heads and all('scope="col"' in head or 'scope="row"' in head for head in heads)


def test_runs_of_other_lengths_do_not_stand_together(tmp_path: Path) -> None:
    root = tmp_path / "records"
    runs = [read_compared(made_run(root, name, 0, 9.0, steps=steps)) for name, steps in (("short", 40), ("long", 60))]
    assert [group.name for group in grouped(runs)] == ["steps 40", "steps 60"]
    assert differing(runs) == {"train.steps": [40, 60]}


def test_overwriting_leaves_what_is_not_of_a_comparison(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "page"
    place = {"out": str(out), "records": RecordsConfig(root=str(root)), "overwrite": True}
    main(Comparison(run=["a-*", "b"], **place))  # type: ignore[arg-type]
    (out / "notes.txt").write_text("mine")
    main(Comparison(run=["a-*"], **place))  # type: ignore[arg-type]
    assert {file.name for file in out.iterdir()} == {"notes.txt", "compare.html"}
    assert "bn_momentum 0.9" not in (out / "compare.html").read_text()  # of the one before: now there is one group


def test_real_images_that_are_gone_are_said_so(root: Path, tmp_path: Path) -> None:
    (tmp_path / "images.npz").unlink()
    out = tmp_path / "page"
    main(Comparison(run=["a-seed-0", "b"], out=str(out), records=RecordsConfig(root=str(root))))
    assert "No real images: data.path must be" in (out / "compare.html").read_text()


def test_unlike_runs_are_refused_with_every_difference(root: Path, tmp_path: Path) -> None:
    facts = json.loads((root / "runs" / "b" / "run.json").read_text())
    facts["tags"] |= {"fid_proxy_id": "other-1"}
    (root / "runs" / "b" / "run.json").write_text(json.dumps(facts))
    config = root / "runs" / "b" / "config.yaml"
    config.write_text(re.sub(r"num_images: \d+", "num_images: 7", config.read_text()))
    with pytest.raises(ConfigError) as caught:
        main(Comparison(run=["a-*", "b"], out=str(tmp_path / "x"), records=RecordsConfig(root=str(root))))
    text = str(caught.value)
    assert "extractor differ: a-seed-0, a-seed-1: cifar_cnn-" in text
    assert "; b: other-1" in text
    assert "b: 7 in the run, 7 at the end" in text
    assert ". images differ" not in text
    assert not (tmp_path / "x").exists()


def test_runs_of_which_little_is_recorded_are_compared_too(root: Path, tmp_path: Path) -> None:
    for name in FINALS:
        facts = json.loads((root / "runs" / name / "run.json").read_text())
        for tag in ("fid_proxy_id", "dataset_sha256", "fid_proxy_images"):
            del facts["tags"][tag]
        (root / "runs" / name / "run.json").write_text(json.dumps(facts))
    out = tmp_path / "page"
    assert main(Comparison(run=["a-*", "b"], out=str(out), records=RecordsConfig(root=str(root)))) == 0
    assert "in the features of an unknown extractor" in (out / "compare.html").read_text()


def test_runs_on_other_images_are_refused(root: Path, tmp_path: Path) -> None:
    facts = json.loads((root / "runs" / "b" / "run.json").read_text())
    facts["tags"]["dataset_sha256"] = "f" * 64
    (root / "runs" / "b" / "run.json").write_text(json.dumps(facts))
    with pytest.raises(ConfigError, match=r"images differ: a-seed-0, a-seed-1: .*; b: .* \(ffffffff\)"):
        main(Comparison(run=["a-*", "b"], out=str(tmp_path / "x"), records=RecordsConfig(root=str(root))))


def test_the_best_trials_of_a_search(root: Path) -> None:
    study = root / "studies" / "gan"
    study.mkdir(parents=True)
    (study / "run.json").write_text("{}")
    rows = [
        ("COMPLETE", "3.5", "b"),
        ("PRUNED", "", "x"),
        ("COMPLETE", "20", "a-seed-0"),
        ("COMPLETE", "9", "a-seed-1"),
    ]
    with open(study / "trials.csv", "w", newline="") as stream:
        csv.writer(stream).writerows([("state", "score", "run"), *rows])
    assert [run.name for run in best_trials(Records(root), "gan", 2)] == ["b", "a-seed-1"]


def test_a_table_of_trials_that_was_saved_by_another_program_is_one_line(root: Path) -> None:
    study = root / "studies" / "gan"
    study.mkdir(parents=True)
    (study / "run.json").write_text("{}")
    (study / "trials.csv").write_text("trial;state;score;run\n0;COMPLETE;9;b\n")
    with pytest.raises(ConfigError, match=r"study must be one with undamaged records; got 'gan' \(.*trials.csv is"):
        best_trials(Records(root), "gan", 2)


def test_the_last_line_names_the_records_of_the_better_run(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = made_run(tmp_path / "other", "b", 0, 5.0)
    assert main(Comparison(run=["b", str(other.path)], records=RecordsConfig(root=str(root)))) == 0
    last = capsys.readouterr().out.strip().splitlines()[-1]
    assert last == f"next     python experiments/generate.py b records.root={tmp_path / 'other'}"


def test_mistakes_are_one_line_and_leave_nothing(root: Path, tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine.txt").touch()
    for k in range(20):
        (root / "runs" / f"m-{k:02d}").mkdir()
        (root / "runs" / f"m-{k:02d}" / "config.yaml").touch()
    before = sorted(tmp_path.rglob("*"))
    for changes, message in (
        ({}, "run must be 2 to 18 different runs; got 'none'"),
        ({"run": ["b", "b"]}, "got 'b, more than once'"),
        ({"run": ["m-*"]}, "got 'm-00, m-01, m-02 and 17 more'"),
        ({"run": ["b", "nosuch"]}, "got 'nosuch'"),
        ({"run": ["z-*"]}, "run must be a pattern that some run's name matches; got 'z-*'"),
        ({"study": "gan"}, "study must be a finished search; got 'gan' (known: none)"),
        ({"study": "../runs"}, "study must be a finished search"),
        ({"run": ["a-*"], "top": 3}, "top must be absent without study=; got 3"),
        ({"run": ["a-*"], "out": str(full)}, "overwrite=true replaces it"),
        ({"run": ["a-*"], "out": str(full), "overwrite": True}, "it has no compare.html"),
    ):
        with pytest.raises(ConfigError) as caught:
            main(Comparison(records=RecordsConfig(root=str(root)), **changes))  # type: ignore[arg-type]
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)
        assert sorted(tmp_path.rglob("*")) == before


def test_a_list_grows_by_each_argument() -> None:
    assert parse_arguments(Comparison, ["run=a", "top=3", "run=b"]).run == ["a", "b"]
    assert parse_arguments(Comparison, ["study=gan"]).run == []
    assert parse_arguments(Comparison, ["first", "top=3", "run=b", "1e3", "a-*"]).run == ["first", "b", "1e3", "a-*"]


def test_the_program(root: Path, program: RunProgram) -> None:
    done = program("a-seed-0", "b", f"records.root={root}", script="experiments/compare.py")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    (page,) = root.glob("comparisons/*/compare.html")
    assert str(page) in done.stdout
    wrong = program("run=b", "run=../b", f"records.root={root}", script="experiments/compare.py")
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("error: run must be last")
