import importlib.util
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from conftest import ROOT
from servers import binaries

needed = ("ray", "psycopg")


@pytest.mark.slow
@pytest.mark.skipif(
    binaries() is None or not all(map(importlib.util.find_spec, needed)),
    reason="PostgreSQL, psycopg or ray is not installed",
)
def test_the_demo_loses_a_node_and_no_trial() -> None:
    command = [sys.executable, str(Path(__file__).with_name("cluster_demo.py"))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "killed   a node of the cluster" in done.stdout
    assert "resumed  trial" in done.stdout
    assert "done     8 of 8 trials" in done.stdout
    left = [p.info["cmdline"] for p in psutil.process_iter(["cmdline"]) if "cluster-demo-" in str(p.info["cmdline"])]
    assert not left
