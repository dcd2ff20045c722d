"""What `sweepctl export` writes loads in pandas without arguments: PYTHON_WITH_PANDAS names an interpreter that has it."""
import json
import os
import subprocess

import pytest

from daemon import Daemon, program
from study import Study

PYTHON = os.environ.get("PYTHON_WITH_PANDAS")

LOAD = """
import json, sys, pandas
csv, lines = pandas.read_csv(sys.argv[1]), pandas.read_json(sys.argv[2], lines=True)
column = next(name for name in csv.columns if name.split(".")[-1].split(":")[-1] == "x")
print(json.dumps({"csv": csv["value"].tolist(), "lines": lines["value"].tolist(), "x": csv[column].tolist(), "params": lines["params"].tolist()}))
"""


@pytest.mark.skipif(not PYTHON, reason="PYTHON_WITH_PANDAS names no interpreter")
def test_exports_load_with_equal_values(tmp_path):
    with Daemon(tmp_path) as server:
        study = Study(server, run_cap=4)
        for value in (0.1, 0.25, 1e-9, 3.0):
            study.end(study.claim(), value=value)
        for form in ("csv", "jsonl"):
            (tmp_path / form).write_text(subprocess.run([program("sweepctl"), "export", study.id, "--format", form, "--server", server.url], check=True,
                                                        capture_output=True, text=True).stdout)
        trials = study.trials()
    told = json.loads(subprocess.run([PYTHON, "-c", LOAD, tmp_path / "csv", tmp_path / "jsonl"], check=True, capture_output=True, text=True).stdout)

    def same(values):  # pandas' own quick readers of numbers miss the last bit
        return pytest.approx(values, rel=1e-14)

    values = [trial["value"] for trial in trials]
    assert told["csv"] == same(values) and told["lines"] == same(values)
    assert told["x"] == same([trial["params"]["x"] for trial in trials])
    assert told["params"] == [same(trial["params"]) for trial in trials]
