"""The notebook of the docs: a valid one without outputs, and it runs."""

import ast
import itertools
import json
import math
from pathlib import Path

import nbformat
import pytest
from conftest import ROOT
from nbclient import NotebookClient

TOUR = ROOT / "docs" / "tour.ipynb"
# What the test reads out of the notebook when it has run.
LOOK = """
import json
print(json.dumps({
    "points": len(tracker.values[metric_names.D_LOSS]),
    "finite": bool(np.isfinite(tracker.values[metric_names.D_LOSS] + tracker.values[metric_names.G_LOSS]).all()),
    "before": before[metric_names.FID],
    "after": after[metric_names.FID],
    "scored_in_training": tracker.values[metric_names.FID_PROXY],
    "samples": sorted(tracker.samples),
    "walk": walk.shape,
    "steps": list(map(int, history.index[[0, -1]])),
}))
"""


def tour() -> nbformat.NotebookNode:
    return nbformat.read(TOUR, as_version=4)


def test_the_notebook_is_valid_and_has_no_outputs() -> None:
    notebook = tour()
    nbformat.validate(notebook)
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None, cell.id


def test_words_come_before_each_piece_of_code() -> None:
    kinds = [cell.cell_type for cell in tour().cells]
    assert all(before == "markdown" for before, kind in itertools.pairwise(kinds) if kind == "code")


def test_it_uses_the_library_and_the_door_for_notebooks_alone() -> None:
    tree = ast.parse("\n".join(cell.source for cell in tour().cells if cell.cell_type == "code"))
    modules = [a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names]
    modules += [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert {name.partition(".")[0] for name in modules} == {
        "collections", "experiments", "gan", "matplotlib", "numpy", "pathlib", "subprocess", "sys", "tempfile"
    }  # fmt: skip
    assert {name for name in modules if name.startswith("experiments")} == {"experiments.notebook"}


def test_it_runs_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TMPDIR", "IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "MPLCONFIGDIR"):  # nothing of the user's
        monkeypatch.setenv(name, str(tmp_path))
    notebook = tour()
    notebook.cells.append(nbformat.v4.new_code_cell(LOOK))
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    result = json.loads(notebook.cells[-1].outputs[0].text)
    assert result["points"] == 200 and result["finite"]
    assert math.isfinite(result["after"]) and result["after"] < result["before"]
    assert result["scored_in_training"] == [result["after"]]  # equal latents, equal score
    assert result["samples"] == [0, 100, 200]
    assert result["walk"] == [10, 32, 32, 3]
    images = [out for cell in notebook.cells for out in cell.get("outputs", []) if "image/png" in out.get("data", {})]
    assert len(images) == 6  # the last one drawn by a run of the program
    assert result["steps"][-1] == 40
    (page,) = [
        out.data["text/html"] for cell in notebook.cells for out in cell.get("outputs", []) if "first" in str(out)
    ]
    assert page.startswith('<iframe title="first" srcdoc="')
