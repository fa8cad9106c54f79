"""make demo: the search that comes with the program, and how it got here."""

import re
import shlex
import sqlite3
import webbrowser
from pathlib import Path

import pytest
from conftest import ROOT

from experiments.cli.compose import compose_config
from experiments.records.folders import Records
from experiments.settings.schema import RecordsConfig
from gan.errors import ConfigError
from sweeps import demo

PLACE = re.compile(r"(?<![\w.:])/(?:home|root|work|tmp|usr|opt|mnt|var|Users)/")  # of a machine
SHIPPED = ROOT / "docs" / "demo"


def test_what_ships_is_small_and_names_no_machine() -> None:
    files = [file for file in SHIPPED.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < 2_000_000
    for file in files:
        if file.suffix in (".json", ".jsonl", ".yaml"):
            assert not PLACE.search(file.read_text()), file
    with sqlite3.connect(f"file:{SHIPPED / 'studies.db'}?mode=ro", uri=True) as database:
        tables = ("study_user_attributes", "trial_user_attributes", "trial_system_attributes")
        values = [v for table in tables for (v,) in database.execute(f"SELECT value_json FROM {table}")]
    assert values
    assert not [value for value in values if PLACE.search(value)]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    addresses: list[str] = []
    monkeypatch.setattr(webbrowser, "open", addresses.append)
    return addresses


def test_the_report_and_the_index_are_there_without_training(
    tmp_path: Path, opened: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DISPLAY", ":0")
    args = demo.Demo(records=RecordsConfig(root=str(tmp_path)))
    for _ in range(2):  # it can be looked at again
        assert demo.main(args) == 0
    records = Records(tmp_path / "demo")
    report = records.studies / demo.STUDY / "report.html"
    assert opened == [report.as_uri()] * 2
    text = report.read_text()
    assert "for the tutorial&#39;s settings" in text  # the result
    assert "Contact sheet" in text and 'class="chart"' in text
    (command,) = re.findall(r"<pre>(python experiments/run.py .*?)</pre>", text)
    assert "data" not in command and "records.root" not in command  # it is for the images and records of this machine
    assert compose_config(shlex.split(command)[2:]).train.steps == 15_000
    index = (records.root / "index.html").read_text()
    assert "quick" in index
    (result,) = re.findall(r'<p class="result better">(.*?)</p>', text)
    assert result in index  # which has the recorded one: to be recorded anew when the race changes
    out = capsys.readouterr().out
    assert (
        "report.html" in out and "index.html" in out and "next     python sweeps/optuna_search.py search=quick" in out
    )
    assert not list(SHIPPED.rglob("report.html"))  # what ships stays as it is


def test_records_of_ones_own_are_not_replaced(tmp_path: Path) -> None:
    args = demo.Demo(open=False, records=RecordsConfig(root=str(tmp_path)))
    (tmp_path / "demo").mkdir()
    mine = tmp_path / "demo" / "notes.txt"
    mine.write_text("mine")
    with pytest.raises(ConfigError, match=r"records.root must be a folder in which demo/ is new or of an earlier demo"):
        demo.main(args)
    assert mine.read_text() == "mine"
    mine.unlink()
    mine.parent.rmdir()
    assert demo.main(args) == 0
    run = tmp_path / "demo" / "runs" / "mine"
    run.mkdir()
    (run / "config.yaml").touch()
    with pytest.raises(ConfigError, match="holds something else"):
        demo.main(args)
    assert run.is_dir()


def test_no_browser_without_a_screen(tmp_path: Path, opened: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    assert not demo.has_screen()
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    assert demo.has_screen()
