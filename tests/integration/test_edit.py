"""Editing the spec of a sweep that is there: over HTTP, with sweepctl, and what a killed coordinator makes of it."""
import json
import os
import pathlib
import subprocess

import pytest

from daemon import PATIENCE_S, Daemon, program

pytestmark = pytest.mark.coordinator

SPEC = {"method": "bayes", "trainer": "external", "seed": 5, "metric": {"name": "acc", "goal": "maximize"}, "fixed": {"epochs": 3},
        "parameters": {"lr": {"distribution": "log_uniform_values", "min": 1e-5, "max": 1e-2}, "opt": {"values": ["sgd", "adam"]}}}
YAML_PATCH = """\
parameters:
  lr: {max: 1e-3}
  wd: {min: 0.0, max: 0.1, default: 0.01}
"""


@pytest.fixture
def server(tmp_path):
    with Daemon(tmp_path) as daemon:
        yield daemon


def ctl(server, *words, status=0, env=None):
    result = subprocess.run([program("sweepctl"), "--server", server.url, *words], capture_output=True, text=True, timeout=PATIENCE_S,
                            env={**os.environ, **(env or {})})
    assert result.returncode == status, result.stdout + result.stderr
    return result.stdout if status == 0 else result.stderr


def run(server, worker, sweep, names):
    seen = []
    for name in names:
        trial, = server.claim(worker, name, wait_s=30, sweep=sweep)
        seen.append(trial["params"])
        server.report(trial, 1, outcome={"state": "completed", "value": 1 - abs(trial["params"]["lr"] - 3e-4)})
    return seen


def test_a_killed_coordinator_goes_on_after_edits_as_an_undisturbed_one(tmp_path):
    told = []
    for name, is_killed in (("calm", False), ("killed", True)):
        folder = tmp_path / name
        folder.mkdir()
        server = Daemon(folder)
        try:
            worker = server.register()["id"]
            sweep = server.post("/v1/sweeps", SPEC, expect=201)["id"]
            params = run(server, worker, sweep, "abcdef")
            server.patch(f"/v1/sweeps/{sweep}", {"spec": {
                "parameters": {"lr": {"max": 1e-3}, "wd": {"min": 0.0, "max": 0.1, "default": 0.01}, "epochs": {"values": [3, 5], "default": 3}},
                "fixed": {"epochs": None}}})
            if is_killed:
                server.kill()
                server.start()
            params += run(server, worker, sweep, "ghij")
            server.patch(f"/v1/sweeps/{sweep}", {"spec": {"parameters": {"opt": {"values": ["adam", "lion"]}}}})
            params += run(server, worker, sweep, "kl")
            if is_killed:
                server.kill()
                server.start()
            params += run(server, worker, sweep, "mnop")
            assert all(p["lr"] <= 1e-3 and "wd" in p and p["epochs"] in (3, 5) for p in params[6:])
            assert all(p["opt"] != "sgd" for p in params[10:]) and "wd" not in params[0]
            told.append(params)
            history = server.get(f"/v1/sweeps/{sweep}/history")["items"]
            assert [(item["what"], item["trials"]) for item in history] == [("created", 0), ("edited", 6), ("edited", 10)]
            assert history[1]["changes"][1] == {"pointer": "/parameters/lr/max", "before": 1e-2, "after": 1e-3}
            assert server.get(f"/v1/sweeps/{sweep}")["spec_version"] == 3
        finally:
            server.stop()
        check = subprocess.run([program("sweepd"), "check", str(server.database)], capture_output=True, text=True, timeout=PATIENCE_S)
        assert check.returncode == 0, check.stdout
    assert told[0] == told[1]


def test_sweepctl_edits_by_file_by_settings_and_by_hand(server, tmp_path):
    sweep = server.post("/v1/sweeps", SPEC, expect=201)["id"]
    (tmp_path / "patch.yaml").write_text(YAML_PATCH)
    assert "version 2" in ctl(server, "edit", sweep, str(tmp_path / "patch.yaml"))
    ctl(server, "edit", sweep, "--set", "parameters.lr.min=1e-6", "--set", "parameters.opt.values=[\"sgd\",\"lion\"]", "--set", "run_cap=9", "--set",
        "description=wider")
    spec = server.get(f"/v1/sweeps/{sweep}")["spec"]
    assert spec["parameters"]["lr"] == {"distribution": "log_uniform_values", "min": 1e-6, "max": 1e-3}
    assert spec["parameters"]["opt"] == {"values": ["sgd", "lion"]} and spec["description"] == "wider"
    assert server.get(f"/v1/sweeps/{sweep}")["run_cap"] == 9
    ctl(server, "edit", sweep, "--set", "description=null")
    ctl(server, "edit", sweep, env={"EDITOR": "sed -i s/9/12/", "VISUAL": "sed -i s/9/12/"})
    changed = server.get(f"/v1/sweeps/{sweep}")
    assert changed["run_cap"] == 12 and "description" not in changed["spec"] and changed["spec_version"] == 5
    told = ctl(server, "history", sweep)
    assert "created" in told and "run_cap: 9 → 12" in told and "description: \"wider\" → (none)" in told
    assert len(json.loads(ctl(server, "history", sweep, "--json"))["items"]) == 5


@pytest.mark.parametrize("editor, why", [("sed -i s/7,/-1,/", "/spec/run_cap"), ("sed -i s/7,/{/", "not valid JSON")])
def test_what_was_written_by_hand_and_refused_is_kept(server, editor, why):
    sweep = server.post("/v1/sweeps", {**SPEC, "run_cap": 7, "name": "x"}, expect=201)["id"]
    told = ctl(server, "edit", sweep, env={"EDITOR": editor, "VISUAL": editor}, status=1)
    kept = pathlib.Path(told.split("what you wrote is kept in ")[1].strip())
    assert why in told and '"name": "x"' in kept.read_text()
    kept.unlink()


def test_sweepctl_tells_faults_of_an_edit_by_line_and_place(server, tmp_path):
    sweep = server.post("/v1/sweeps", SPEC, expect=201)["id"]
    worker = server.register()["id"]
    run(server, worker, sweep, "a")
    (tmp_path / "patch.yaml").write_text("seed: 9\nparameters:\n  lr:\n    max: 1e-9\n  wd: {min: 0.0, max: 0.1}\n")
    told = ctl(server, "edit", sweep, str(tmp_path / "patch.yaml"), status=1)
    assert "patch.yaml:3: /parameters/lr/min: must be less than max" in told
    (tmp_path / "patch.yaml").write_text("seed: 9\nparameters:\n  wd: {min: 0.0, max: 0.1}\n")
    told = ctl(server, "edit", sweep, str(tmp_path / "patch.yaml"), status=1)
    assert "patch.yaml:1: /seed" in told and "patch.yaml:3: /parameters/wd/default: is required" in told
    told = ctl(server, "edit", sweep, "--set", "seed=9", "--set", "parameters.wd.values=[1]", status=1)
    assert "/spec/seed" in told and "/spec/parameters/wd/default" in told
    assert "PATH=VALUE" in ctl(server, "edit", sweep, "--set", "x", status=2)
    assert "no place" in ctl(server, "edit", sweep, "--set", "method.x=1", status=1)
    ctl(server, "edit", sweep, "--set", "name=a", str(tmp_path / "patch.yaml"), status=2)
    assert server.get(f"/v1/sweeps/{sweep}")["spec_version"] == 1


def test_the_history_names_who_did_what(tmp_path):
    secret = subprocess.run([program("sweepd"), "token", "create", "--role", "admin", "--name", "ann", "--database", str(tmp_path / "sweepd.db")],
                            capture_output=True, text=True, timeout=PATIENCE_S).stdout.strip()
    with Daemon(tmp_path, auth=True, token=secret) as server:
        sweep = server.post("/v1/sweeps", {**SPEC, "method": "random", "run_cap": 1}, expect=201)["id"]
        server.patch(f"/v1/sweeps/{sweep}", {"spec": {"name": "other"}})
        run(server, server.register()["id"], sweep, "a")
        history = server.wait_until(f"/v1/sweeps/{sweep}/history", lambda page: len(page["items"]) == 3)["items"]
        assert [(item["what"], item["who"]) for item in history] == [("created", "ann"), ("edited", "ann"), ("finished", None)]
