"""`opweave sweep`: the same answers whatever ran them, and nothing finished is lost."""

import csv
import io
import json
import os
import pathlib
import signal
import subprocess
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
OPWEAVE = pathlib.Path(os.environ.get("OPWEAVE_BIN", ROOT / "build/default/opweave")).resolve()
MODEL = ROOT / "examples/strategies/llama3-8b.json"
# 24 points; a batch of 3 cannot be dealt out to most meshes, and a node of 8 is little for 65536 tokens.
LISTS = ("--cluster", "h100,a100", "--nodes", "1,2", "--global-batch", "3,64,128", "--sequence", "4096,65536")


def sweep(*arguments, code=0):
    done = subprocess.run(
        [OPWEAVE, "sweep", *map(str, arguments)], text=True, capture_output=True, timeout=120, check=False
    )
    assert done.returncode == code, done.stderr
    return done


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep")
    sweep("run", MODEL, *LISTS, "--journal", folder / "all.jsonl", "--csv", folder / "all.csv", "--report",
          folder / "all.html", "--workers", 1)  # fmt: skip
    return folder


def test_every_combination_is_answered_as_parallelize_does(whole):
    rows = list(csv.DictReader(io.StringIO((whole / "all.csv").read_text())))
    asked = [(row["device"], row["nodes"], row["global_batch"], row["sequence"]) for row in rows]
    expected = [
        (d, n, b, s) for d in ("H100", "A100") for n in "12" for b in ("3", "64", "128") for s in ("4096", "65536")
    ]
    assert asked == expected
    row = rows[asked.index(("H100", "2", "64", "4096"))]
    found = json.loads(
        subprocess.run([OPWEAVE, "parallelize", MODEL, "--cluster", "h100", "--nodes", "2", "--global-batch", "64",
                        "--sequence", "4096", "--json", "--top", "1"], check=True, capture_output=True).stdout
    )["strategies"][0]  # fmt: skip
    assert int(row["step_ns"]) == found["step_ns"]
    # 16 devices for tokens_per_s: device-hours of a million tokens.
    assert float(row["device_hours_per_million_tokens"]) == pytest.approx(16 * 1e6 / found["tokens_per_s"] / 3600)
    page = (whole / "all.html").read_text()
    assert len(
        json.loads(page.split('id="data">')[1].split("</script>")[0])["rows"]
    ) == 12 * 2 and "http" not in page.replace("http://www.w3.org/2000/svg", "")


def test_rows_say_which_times_no_published_step_was_fitted_for(tmp_path):
    done = sweep("run", MODEL, "--cluster", "h100,h200", "--nodes", 1, "--global-batch", 64, "--sequence", 4096,
                 "--csv", tmp_path / "all.csv", "--report", tmp_path / "all.html", "--workers", 1)  # fmt: skip
    rows = list(csv.DictReader(io.StringIO((tmp_path / "all.csv").read_text())))
    profiles = [(row["device"], row["profile"]) for row in rows]
    assert profiles == [("H100", "nemo-2504/H100/bf16"), ("H200", "uncalibrated")]
    for line, (_, profile) in zip(done.stdout.splitlines()[1:], profiles, strict=True):
        assert profile in line
    page = json.loads((tmp_path / "all.html").read_text().split('id="data">')[1].split("</script>")[0])
    assert [(row["device"], row["profile"]) for row in page["rows"]] == profiles


def test_a_sweep_of_too_many_points_is_refused():
    many = ",".join(str(i) for i in range(1, 1002))
    done = sweep("run", MODEL, "--cluster", "h100", "--nodes", many, "--global-batch", many, "--sequence", 4096, code=2)
    assert done.stderr.splitlines()[0] == "error: 1002001 points, expected at most 1000000"


def test_workers_and_shards_change_nothing(whole, tmp_path):
    sweep("run", MODEL, *LISTS, "--journal", tmp_path / "two.jsonl", "--workers", 3, "--csv", tmp_path / "two.csv")
    assert (tmp_path / "two.csv").read_text() == (whole / "all.csv").read_text()
    shards = [tmp_path / f"{i}.jsonl" for i in range(1, 5)]
    for i, shard in enumerate(shards, 1):
        sweep("run", MODEL, *LISTS, "--journal", shard, "--shard", f"{i}/4")
    done = sweep("merge", *reversed(shards), "-o", tmp_path / "all.jsonl", "--csv", tmp_path / "all.csv")
    assert (tmp_path / "all.csv").read_text() == (whole / "all.csv").read_text() and not done.stderr
    # One worker answers in order, and a merged journal is in order.
    assert (tmp_path / "all.jsonl").read_text() == (whole / "all.jsonl").read_text()
    assert "6 of 24 points are missing" in sweep("merge", *shards[1:]).stderr


def test_a_journal_goes_on_after_a_line_that_was_cut_off(whole, tmp_path):
    lines = (whole / "all.jsonl").read_text().splitlines(keepends=True)
    journal = tmp_path / "cut.jsonl"
    journal.write_text("".join(lines[:8]) + lines[8][:20])
    sweep("run", MODEL, *LISTS, "--journal", journal, "--workers", 1)
    assert journal.read_text() == (whole / "all.jsonl").read_text()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_what_is_finished_when_it_is_ended_is_kept(whole, number, tmp_path):
    journal = tmp_path / "ended.jsonl"
    command = [OPWEAVE, "sweep", "run", MODEL, *LISTS, "--journal", journal, "--workers", "1"]
    process = subprocess.Popen([*map(str, command)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and (not journal.exists() or journal.read_text().count("\n") < 4):
        time.sleep(0.001)
    process.send_signal(number)
    process.wait(30)
    kept = journal.read_text()
    assert kept.count("\n") >= 4
    sweep("run", MODEL, *LISTS, "--journal", journal, "--workers", 1)
    assert journal.read_text().startswith(kept[: kept.rindex("\n") + 1])
    assert journal.read_text() == (whole / "all.jsonl").read_text()


def test_points_without_a_strategy_are_rows_with_their_reason(tmp_path):
    model = ROOT / "examples/strategies/llama3-405b.json"
    done = sweep("run", model, "--cluster", "h100", "--nodes", "1,64", "--global-batch", 64, "--sequence", 8192)
    assert "no strategy fits in memory" in done.stdout and done.stdout.count("\n") == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--shard", "3/2"), '--shard: value is "3/2", expected I/N with I from 1 to N'),
        (("--shard", "0/2"), "--shard"),
        (("--cluster", "tpu9"), 'device type "tpu9" is unknown'),
        (("--target", "jax"), '--target: value is "jax"'),
        (("--global-batch", "64,none"), "--global-batch"),
    ],
)
def test_a_wrong_argument_gets_one_line(arguments, message):
    lists = dict(zip(LISTS[::2], LISTS[1::2], strict=True)) | dict([arguments])
    done = sweep("run", MODEL, *(word for pair in lists.items() for word in pair), code=2)
    assert message in done.stderr.splitlines()[0]


def test_a_journal_of_another_question_is_refused(whole, tmp_path):
    done = sweep("run", MODEL, *LISTS[:-1], "4096", "--journal", whole / "all.jsonl", code=2)
    assert "belongs to another question" in done.stderr
    (tmp_path / "bad.jsonl").write_text(
        '{"format": "opweave.sweep", "version": 1, "question": "x", "points": 2}\n{"point": 7}\n'
    )
    assert "bad.jsonl: line 2" in sweep("merge", tmp_path / "bad.jsonl", code=2).stderr
