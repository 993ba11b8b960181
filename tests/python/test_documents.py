"""The examples in the documents run as they are printed."""

import pathlib
import re

import opweave
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_ten_lines_of_python_capture_plan_and_draw(tmp_path, monkeypatch, capsys):
    pytest.importorskip("torch", reason="torch is not installed (requirements-torch.txt)")
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/python.md").read_text(), re.DOTALL)
    assert "time_limit=10" in code
    names = {}
    exec(code.replace("time_limit=10", "time_limit=1"), names)
    assert "makespan" in capsys.readouterr().out
    assert (tmp_path / "report.html").stat().st_size > 10_000
    assert names["plan"].check() == []
    assert names["graph"].blocks == [[f"layers.{index}" for index in range(12)]]
    assert isinstance(names["plan"], opweave.Plan)
