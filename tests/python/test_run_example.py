"""The example of measuring, planning and running does what it says."""

import os
import re
import subprocess
import sys

import pytest
from conftest import PACKAGE, ROOT

pytest.importorskip("torch", reason="torch is not installed")


def test_example_prints_prediction_and_gradients_of_one_process(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE)}
    command = [sys.executable, ROOT / "examples/run-plan/train.py"]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240)
    assert result.returncode == 0, result.stderr
    difference = re.search(r"largest difference of a gradient from one process: (\S+)", result.stdout)
    assert float(difference[1]) < 1e-5
    assert re.search(r"measured step [0-9.]+ ms, predicted [0-9.]+ ms", result.stdout)
    assert (tmp_path / "out/run-plan/trace.json").stat().st_size > 10000
