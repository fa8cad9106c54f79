"""What `import gan` offers, and what it costs."""

import ast
import subprocess
import sys

import pytest
from conftest import ROOT

import gan


def test_each_name_is_there_and_declared_for_type_checkers() -> None:
    tree = ast.parse((ROOT / "gan" / "__init__.py").read_text())
    (block,) = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    declared = [alias.name for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert sorted(declared) == sorted(gan.__all__) == sorted(gan._MODULES)
    assert set(gan.__all__) <= set(dir(gan))  # as a notebook completes
    for name in gan.__all__:
        assert getattr(gan, name).__name__ == name
    with pytest.raises(AttributeError, match="'gan' has no attribute 'Updat'"):
        _ = gan.Updat


def test_importing_the_package_leaves_tensorflow_alone() -> None:
    code = "import gan, sys; assert not {'tensorflow', 'keras'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
