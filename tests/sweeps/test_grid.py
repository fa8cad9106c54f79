"""sweeps/grid.py: a map of two settings."""

import csv
import shlex
from pathlib import Path

import numpy as np
import pytest
from conftest import NARROW, RunProgram
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial
from PIL import Image

from experiments.records.folders import RunFolder
from experiments.reports import figures
from experiments.reports.stills import with_still
from gan.errors import ConfigError
from sweeps.analysis.plots import _draw_map, _draw_sample_map, map_chart, sample_map, save_pictures
from sweeps.grid import main
from sweeps.spec.plan import resume_command
from sweeps.spec.read_plan import read_plan
from sweeps.study import attempts, identity

TWO = ["model.dropout=0.1,0.2,0.3", "optim.learning_rate=1e-4,4e-4"]

MANY = [
    *("model.bn_momentum", "model.leaky_relu_alpha", "model.dropout", "optim.generator_learning_rate"),
    *("optim.discriminator_learning_rate", "optim.beta_1", "optim.beta_2", "train.label_noise", "train.label_flip"),
]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "a map must be of two settings, each with a choice(...) or range(...); got 'none' (for instance"),
        (TWO[:1], "a map must be of two settings, each with a choice(...) or range(...); got 'model.dropout'"),
        ([*TWO, "seed=1,2"], "seed"),
        (["model.dropout=interval(0,0.5)", TWO[1]], "range(...) or choice(...)"),
        ([*TWO, "search.sampler=tpe"], "search.sampler must be absent for a map; got 'tpe'"),
        ([*TWO, "search.trials=3"], "search.trials must be absent for a map; got '3'"),
        ([*TWO, "search.role=worker"], "search.role must be absent for a map; got 'worker'"),
        ([f"{key}=0.1,0.2" for key in MANY], "a map must be of two settings"),  # too many for a study's name
        ([*TWO, "search=quick"], "search must be absent for a map"),
        (["model.dropout=range(0,0.9,0.01)", "model.leaky_relu_alpha=range(0,0.9,0.01)"], "at most 400 combinations"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        main([*arguments, f"records.root={tmp_path / 'r'}"])
    assert message in str(caught.value)
    assert not (tmp_path / "r").exists()


def test_help_names_the_settings_of_a_map(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for key in (
        "search.keep_checkpoints=all",
        "search.confirm.seeds=0",
        "search.steps=5000",
        "search.study=grid-SETTING",
    ):
        assert key in text
    for key in ("search.trials=", "search.sampler=", "search.eta=", "search.space="):
        assert key not in text


@pytest.mark.parametrize("more", [[], ["search.trials=3"]])
def test_the_next_command_takes_what_it_says(more: list[str]) -> None:
    """grid.py would refuse the number of trials that optuna_search.py search=grid takes."""
    given = ["search=grid", *TWO, *more, "search.study=grid-dropout-learning_rate"]
    words = shlex.split(resume_command(read_plan([*given, "search.dry_run=true"])))
    assert words == ["python", "sweeps/optuna_search.py", *given]


def test_scores_stand_where_their_settings_say(tmp_path: Path) -> None:
    """Each cell has the colour of its score, and none where a combination failed; samples are placed alike."""
    plan = read_plan(["search=grid", *TWO, f"records.root={tmp_path}"])
    assert plan.budget == 6
    distributions = {dimension.key: dimension.distribution for dimension in plan.space}
    trials = []
    for number, (rate, dropout) in enumerate((r, d) for r in (1e-4, 4e-4) for d in (0.1, 0.2, 0.3)):
        failed = number == 4
        trial = create_trial(
            state=TrialState.FAIL if failed else TrialState.COMPLETE,
            value=None if failed else 10.0 + number,
            params={"model.dropout": dropout, "optim.learning_rate": rate},
            distributions=distributions,
            user_attrs={attempts.ORIGIN: number},
        )
        trials.append(trial)
        samples = RunFolder(plan.records.runs / attempts.run_name("grid", number)).samples
        samples.mkdir(parents=True)
        Image.new("RGB", (60, 60), (40 * number, 0, 0)).save(samples / "samples_00000006.png")
    # One is suggested a second time, as the tutorial's is, and answered without a training.
    again = {"params": trials[1].params, "value": trials[1].value, "distributions": distributions}
    trials.append(create_trial(**again, user_attrs={attempts.ORIGIN: 6}))
    # And trials of before the space was extended: with one setting, and with a value between two of the map.
    for params in ({"model.dropout": 0.1}, {"model.dropout": 0.15, "optim.learning_rate": 1e-4}):
        theirs = {key: FloatDistribution(0, 1) for key in params}
        beside = create_trial(value=5.0, params=params, distributions=theirs, user_attrs={attempts.ORIGIN: 7})
        trials.append(beside)
    plan.folder.path.mkdir(parents=True)
    done = attempts.finished(trials)
    placed = sample_map(plan, done)
    assert placed is not None
    assert (placed.columns, [name for name, _ in placed.rows]) == (["0.1", "0.2", "0.3"], ["1e-4", "4e-4"])
    assert [[cell and cell.origin for cell in cells] for _, cells in placed.rows] == [[0, 1, 2], [3, None, 5]]
    heat_map, none = map_chart(plan, done).figure["data"]
    assert heat_map["z"] == [[10, 11, 12], [13, None, 15]]
    assert heat_map["text"][1] == ["13", "", "15"]
    assert (none["x"], none["y"], none["text"]) == ([heat_map["x"][1]], [heat_map["y"][1]], ["none"])
    assert ">none</" in str(with_still(map_chart(plan, done)).still)

    cells = _draw_map(plan, done).axes[0].images[0].get_array()
    assert np.ma.filled(cells, np.nan).tolist()[0] == [10, 11, 12]
    assert np.ma.filled(cells, np.nan)[1].tolist() == pytest.approx([13, np.nan, 15], nan_ok=True)
    places = np.reshape(_draw_sample_map(plan, done).axes, (2, 3))
    for number, axis in enumerate(places.ravel()):
        reds = [int(image.get_array()[0, 0, 0]) for image in axis.images]
        assert (axis.get_title(), reds) == (("", []) if number == 4 else (str(10 + number), [40 * number]))
    assert [axis.get_xlabel() for axis in places[1]] == ["0.1", "0.2", "0.3"]
    assert [axis.get_ylabel() for axis in places[:, 0]] == ["1e-4", "4e-4"]

    map_file, samples_file, sheet_file = save_pictures(plan, trials)
    assert [each.name for each in (map_file, samples_file, sheet_file)] == [
        "map.png", "map_of_samples.png", "contact_sheet.png"
    ]  # fmt: skip
    drawn = np.asarray(Image.open(samples_file).convert("RGB"))
    reds = [drawn[(np.abs(drawn.astype(int) - (40 * k, 0, 0)) <= 1).all(axis=-1)].size > 3000 for k in range(6)]
    assert reds[1:] == [True, True, True, False, True]  # 0 is the ink's black
    heat = np.asarray(Image.open(map_file).convert("RGB"))
    ground = tuple(int(figures.GROUND["light"][k : k + 2], 16) for k in (1, 3, 5))
    colours = {tuple(colour) for colour in heat[:, : heat.shape[1] * 3 // 4].reshape(-1, 3)[::7]}
    assert ground in colours
    assert (253, 231, 36) in colours or (253, 231, 37) in colours  # viridis' brightest: the best score
    for colour, ink in (((253, 231, 37), 0), ((68, 1, 84), 255)):  # black on yellow, white on violet
        where = np.argwhere(np.abs(heat[:, : heat.shape[1] * 3 // 4].astype(int) - colour).max(axis=-1) <= 1)
        cell = heat[where[:, 0].min() + 2 : where[:, 0].max() - 1, where[:, 1].min() + 2 : where[:, 1].max() - 1]
        assert (cell == ink).all(axis=-1).any()
        assert not (cell == 255 - ink).all(axis=-1).any()


def test_a_map_is_not_widened(tmp_path: Path) -> None:
    """The sampler would take the points of the old one for its own."""
    command = ["search=grid", f"records.root={tmp_path}"]
    plan = read_plan([*command, *TWO])
    wider = read_plan([*command, TWO[0].replace("0.3", "0.3,0.4"), TWO[1], "search.extend=true"])
    with pytest.raises(
        ConfigError, match=r"search\.study must be one made with the same settings \(search\.study=<new>"
    ) as caught:
        identity.check_identity("grid", plan.identity(), wider.identity(), wider)
    assert "extend" not in str(caught.value)


def test_a_map_from_beginning_to_end(program: RunProgram, npz: Path, tmp_path: Path) -> None:
    arguments = [
        "data=npz", f"data.path={npz}", *NARROW, "model.dropout=0.1,0.25", "optim.learning_rate=2e-4,4e-4", "search.steps=6",
        "eval.every_steps=2", "eval.num_images=20", "eval.final_num_images=20", "search.workers=2", f"records.root={tmp_path}",
    ]  # fmt: skip
    result = program(*arguments, script="sweeps/grid.py")
    assert result.returncode == 0, result.stdout + result.stderr
    folder = tmp_path / "studies" / "grid-dropout-learning_rate"
    with open(folder / "trials.csv") as stream:
        rows = list(csv.DictReader(stream))
    done = {(row["model.dropout"], row["optim.learning_rate"]) for row in rows if row["state"] == "COMPLETE"}
    assert done == {(d, r) for d in ("0.1", "0.25") for r in ("0.0002", "0.0004")}
    trained = [row for row in rows if (tmp_path / "runs" / row["run"] / "metrics.jsonl").exists()]
    assert len(trained) == 4  # each combination once
    assert (folder / "plots" / "map.png").exists()
    page = (folder / "report.html").read_text()
    assert "Pruning saved" not in page  # a map prunes nothing
    assert page.index("<h2>Map</h2>") < page.index("<h2>Map of samples</h2>")
    assert f"map      {folder / 'plots' / 'map.png'}" in result.stdout
