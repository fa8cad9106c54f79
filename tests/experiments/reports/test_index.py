"""mlruns/index.html: of recorded runs."""

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from recorded_runs import make_run, make_study, make_trial
from rich.console import Console

from experiments.records.folders import Records, read_json, write_json
from experiments.records.journal import Journal
from experiments.records.status import RunStatus
from experiments.reports import index
from experiments.reports.ending import end_of_run


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return Records(tmp_path / "r")


def written(records: Records) -> str:
    records.runs.mkdir(parents=True, exist_ok=True)
    index.refresh(records, Console(quiet=True))
    return index.file_of(records).read_text()


def sections(page: str) -> dict[str, list[str]]:
    """Names of cards by the heads of their groups."""
    parts = re.findall(r"<section>\s*<h2>(.*?)</h2>(.*?)</section>", page, re.DOTALL)
    return {title: re.findall(r"<h3><a [^>]*>(.*?)</a>", cards) for title, cards in parts}


def test_cards_stand_by_what_can_be_compared_the_lowest_first(records: Records) -> None:
    make_run(records, "worse", final=9.5, age=10)
    make_run(records, "better", final=8.5, age=20)
    make_run(records, "stopped", final=None, status=RunStatus.KILLED, scores=[7.0], age=30)  # of 2,000 images
    other = make_run(records, "horses", final=1.0, age=40)
    facts = read_json(other.facts)
    facts["tags"]["dataset_sha256"], facts["dataset"]["description"] = "cd" * 32, "horses"
    write_json(other.facts, facts)
    make_run(records, "began", final=None, scores=[], age=50)
    page = written(records)
    heads = re.findall(r"<h2>(.*?)</h2>\s*(?:<p class=\"small\">(.*?)</p>)?", page)
    assert [(title, words.partition(".")[0]) for title, words in heads] == [
        ("FID proxy of 5,000 images", "On some ships"), ("FID proxy of 2,000 images", "On some ships"),
        ("FID proxy of 5,000 images", "On horses"), ("Failed, or without a score", ""),
    ]  # fmt: skip
    names = re.findall(r"<h3><a [^>]*>(.*?)</a>", page)
    assert names == ["better", "worse", "stopped", "horses", "began"]


def test_a_card_says_why_a_run_failed(records: Records) -> None:
    make_run(records, "lost", final=None, status=RunStatus.FAILED)
    assert '<p class="small">d_loss is nan</p>' in written(records)


def test_a_card_has_the_note_of_its_user(records: Records) -> None:
    run = make_run(records, "wide")
    write_json(run.facts, {**read_json(run.facts), "note": "D is <wider>"})
    assert '<p class="small">D is &lt;wider&gt;</p>' in written(records)


def test_a_search_is_one_card_with_its_trials_folded(records: Records) -> None:
    study = make_study(records, "ships", "ships-trial-0001", 1)
    (study.path / "report.html").write_text("report")
    for number, scores in enumerate([[30, 20, 10], [9, 8, 7], [99, 98, 97]]):
        make_trial(records, "ships", number, "COMPLETE", rate=(number + 1) * 1e-4, scores=scores, picture=True)
    page = written(records)
    assert sections(page) == {"FID proxy of 2,000 images": ["ships"]}
    (details,) = re.findall(r"<details>(.*?)</details>", page, re.DOTALL)
    assert "3 trials: 3 finished" in details
    assert re.findall(r'href="runs/ships-trial-(\d+)/"', details) == ["0001", "0000", "0002"]
    assert '<h3><a href="studies/ships/report.html">' in page
    assert 'src="runs/ships-trial-0001/samples/samples_00000300.png"' in page  # the winner's
    assert '<span class="score">8</span>' in page and "learning_rate 2e-4" in page
    assert "Better: 8 against 10" in page


def test_a_confirmed_search_has_the_mean_of_its_seeds(records: Records) -> None:
    study = make_study(records, "ships", "ships-confirm-trial-0001-seed-2", trial=1)
    make_trial(records, "ships", 1, "COMPLETE", scores=[9, 8, 7])
    for seed, final in ((1, 70.0), (2, 40.0), (3, 46.0)):
        name = f"ships-confirm-trial-0001-seed-{seed}"
        make_run(records, name, final=final, tags={"confirms": "trial-0001"}, study="ships")
    journal = Journal(study)
    journal.scalars(1, {"final/fid_proxy": 52.0})
    journal.close()
    page = written(records)
    assert '<span class="score">52</span> <span class="small">mean of 3 seeds</span>' in page
    best = study.path / "best.yaml"
    best.write_text(f"{best.read_text()}seeds: 2\n")  # of the three that there are
    assert '<span class="score">52</span> <span class="small">mean of 2 seeds</span>' in written(records)


def test_a_search_that_has_no_run_yet_is_no_preset(records: Records) -> None:
    make_study(records, "ships", state=RunStatus.RUNNING)
    assert "the preset as it is" not in written(records)


def test_every_link_leads_somewhere(records: Records) -> None:
    run = make_run(records, "first", picture=True)
    (run.path / "samples.gif").write_bytes(b"GIF89a")
    make_study(records, "empty", state=RunStatus.RUNNING)
    for name, text in (("1", "page"), ("2", "<title>dropout: &lt;b&gt; or 0.2</title>")):
        (records.comparisons / name).mkdir(parents=True)
        (records.comparisons / name / "compare.html").write_text(text)
    page = written(records)
    compared = re.findall(r'<li><a href="comparisons/(\d)/compare.html">([^<]*)</a>', page)
    assert compared == [("2", "dropout: &lt;b&gt; or 0.2"), ("1", "1")]  # without a title its folder names it
    links = re.findall(r'(?:href|src)="([^"#]*)"', page)
    assert '<img src="runs/first/samples/samples_00000300.png"' in page  # the animation would begin with noise
    assert '<img class="moving" src="runs/first/samples.gif"' in page
    assert {"runs/first/samples.gif", "runs/first/samples/samples_00000300.png", "studies/empty/"} <= {*links}
    assert [link for link in links if not (records.root / link).exists()] == []
    (line,) = re.findall(r'<polyline points="([^"]*)"', page)
    assert line == "0.0,0.0 50.0,15.0 100.0,30.0"  # scores 30, 20, 10: down is lower


def test_an_empty_index_says_how_to_begin(records: Records) -> None:
    page = written(records)
    assert "There are no runs yet." in page
    assert "python experiments/run.py experiment=quick" in page


def test_markup_is_text(records: Records) -> None:
    evil = "<script>alert(1)</script>"
    run = make_run(records, "first", ["experiment=quick", f"train.augment={evil}"])
    facts = read_json(run.facts)
    facts["dataset"]["description"] = evil
    write_json(run.facts, facts)
    strange = records.runs / "a&b \"c'<b>"
    run.path.rename(strange)
    page = written(records)
    assert evil not in page and "<b>" not in page
    assert "augment &lt;script&gt;" in page
    (link,) = set(re.findall(r'<h3><a href="([^"]*)"', page))
    assert link == "runs/a%26b%20%22c%27%3Cb%3E/"
    cards = re.findall(r"<article.*?</article>", page, re.DOTALL)
    ElementTree.fromstring(re.sub(r"<img ([^>]*)>|<source ([^>]*)>", "", cards[0]))  # every tag is closed


def test_damaged_records_are_a_card(records: Records) -> None:
    run = make_run(records, "first")
    run.facts.write_text("[")
    study = make_study(records, "ships", "gone")
    (study.path / "best.yaml").write_text("- [")
    page = written(records)
    assert sections(page) == {"Failed, or without a score": ["first", "ships"]}
    assert ">damaged<" in page


def test_a_disk_that_is_full_ends_no_program(records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    make_run(records, "first")

    def full(file: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(index, "write_atomically", full)
    console = Console(record=True, width=100)
    assert index.refresh(records, console) == []
    assert "index    not written: [Errno 28] No space left on device" in console.export_text()


def test_a_folder_without_runs_gets_no_index(tmp_path: Path) -> None:
    assert index.refresh(Records(tmp_path), Console(quiet=True)) == []
    assert not list(tmp_path.iterdir())


def test_the_page_of_somebody_else_is_left_alone(records: Records) -> None:
    make_run(records, "first")
    index.file_of(records).write_text("<title>My site</title>")
    console = Console(record=True, width=200)
    assert index.refresh(records, console) == []
    assert "index.html is another page" in console.export_text()
    assert index.file_of(records).read_text() == "<title>My site</title>"
    index.file_of(records).unlink()
    assert written(records) == written(records)  # its own is written anew


def test_a_run_ends_with_the_command_that_makes_sense(records: Records) -> None:
    def last_line(name: str) -> str:
        console = Console(record=True, width=200)
        end_of_run(records, console, name)
        return console.export_text().strip().splitlines()[-1]

    root = f"records.root={records.root}"
    make_run(records, "first", age=20)
    assert last_line("first") == f"next     python experiments/generate.py first {root}"
    make_run(records, "second")
    assert last_line("second") == f"next     python experiments/compare.py second first {root}"
    make_run(records, "alone", tags={"fid_proxy_id": "another"})  # its score cannot be compared with the others'
    assert last_line("alone") == f"next     python experiments/generate.py alone {root}"
