"""`--json` on every command of sweepctl: what is printed parses, and is what the server answers."""
import json
import os
import re
import subprocess

import pytest
import yaml

from daemon import PATIENCE_S, Daemon, program
from study import Study
from test_models import Hand

pytestmark = pytest.mark.coordinator

SPEC = {"name": "json", "method": "random", "trainer": "external", "run_cap": 5, "seed": 3, "metric": {"name": "loss"}, "parameters": {"x": {"min": 0.0, "max": 1.0}}}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("json")
    with Daemon(folder, "--models-dir", folder / "kept") as daemon:
        yield daemon


def run(server, *args, expect=0, env=None, cwd=None):
    done = subprocess.run([program("sweepctl"), *map(str, args), "--json"], capture_output=True, text=True, timeout=60 + PATIENCE_S, cwd=cwd,
                          env={**os.environ, "SWEEPD_URL": server.url, **(env or {})})
    assert done.returncode == expect, (args, done.stdout, done.stderr)
    return done


def ended(server, **members):
    """A sweep with two ended trials, one of them with a curve."""
    study = Study(server, **{**SPEC, **members})
    first, second = study.claim(), study.claim()
    study.report(first, 1, metrics=[{"name": "loss", "step": step, "value": 1 / step} for step in (1, 2)])
    study.end(first)
    study.end(second, value=0.75)
    return study


def with_model(server):
    hand, files = Hand(server), {"config.json": b"{}"}
    trial = hand.end(0.5)
    hand.offer(trial, files)
    hand.send(trial, files)
    return hand.sweep


# command → what it is asked, of a sweep that has trials, and what its answer must show
def asked(server, study, folder):
    (folder / "spec.yaml").write_text(yaml.safe_dump(SPEC))
    (folder / "more.json").write_text(json.dumps([{"params": {"x": 0.5}}, {"params": {"x": 0.25}, "value": 0.5}]))
    (folder / "rows.csv").write_text("x,loss\n" + "".join(f"{i / 2000},{i}\n" for i in range(1500)))
    (folder / "patch.json").write_text(json.dumps({"parameters": {"x": {"max": 0.5}}}))
    other = server.register("other")["id"]
    of_sweep = {"id": study.id}
    trial = study.trials()[0]["id"]
    finished = ended(server, run_cap=2).id
    return {
        "create": (["spec.yaml"], {"name": "json", "state": "running"}),
        "check": (["spec.yaml"], {"spec": SPEC}),
        "list": ([], {"next": None}),
        "show": ([study.id], of_sweep),
        "trials": ([study.id], {"next": None}),
        "trial": ([trial], {"id": trial}),
        "best": ([study.id], {}),
        "watch": ([finished], {"id": finished, "state": "finished"}),
        "pause": ([study.id], {**of_sweep, "state": "paused"}),
        "resume": ([study.id], {**of_sweep, "state": "running"}),
        "extend": ([study.id, "--run-cap", 9], {**of_sweep, "run_cap": 9}),
        "edit": ([study.id, "patch.json"], {**of_sweep, "spec_version": 2}),
        "history": ([study.id], {}),
        "enqueue": ([study.id, "more.json"], {}),
        "import": ([study.id, "rows.csv"], {}),
        "export": ([study.id], {}),
        "fetch-model": ([with_model(server), folder / "model"], {"value": 0.5}),
        "report": ([study.id], {"format": "md"}),
        "workers": ([], {"next": None}),
        "drain": ([other], {"id": other, "state": "draining"}),
        "undrain": ([other], {"id": other, "state": "active"}),
        "importance": ([study.id], {}),
        "reproduce": ([trial], {"model": None}),
        "retry": ([trial], {"id": trial, "state": "queued"}),
        "cancel": ([study.id], {**of_sweep, "state": "cancelled"}),
        "delete": ([study.id], {**of_sweep, "deleted": True}),
    }


def commands_of_help():
    text = subprocess.run([program("sweepctl"), "--help"], capture_output=True, text=True, check=True).stdout
    return re.findall(r"^  ([a-z-]+) ", text.split("commands:")[1].split("\n\n")[0], re.M)


def test_every_command_answers_in_json(server, tmp_path):
    study = ended(server)
    cases = asked(server, study, tmp_path)
    assert set(cases) | {"completion", "forget"} == set(commands_of_help())
    for command, (args, expected) in cases.items():
        done = run(server, command, *args, cwd=tmp_path)
        answer = json.loads(done.stdout)
        assert isinstance(answer, dict) and done.stdout.count("\n") == 1, command
        assert {key: answer.get(key) for key in expected} == expected, command
        if command in ("list", "trials", "history", "enqueue", "import", "export", "workers"):
            assert len(answer["items"]) == {"enqueue": 2, "import": 1500}.get(command, len(answer["items"])) > 0, command


def test_reports_and_empty_imports_are_json_too(server, tmp_path):
    study = ended(server)
    answer = json.loads(run(server, "report", study.id).stdout)
    assert "# json" in answer["report"] and set(answer) == {"format", "report"}
    assert json.loads(run(server, "report", study.id, "-o", "study.html", cwd=tmp_path).stdout) == {"format": "html", "output": "study.html"}
    assert (tmp_path / "study.html").read_text().startswith("<!doctype html>")
    (tmp_path / "none.csv").write_text("x,loss\n")
    assert json.loads(run(server, "import", study.id, "none.csv", cwd=tmp_path).stdout) == {"items": []}


def test_an_edit_that_changes_nothing_shows_the_sweep(server):
    study = ended(server)
    done = run(server, "edit", study.id, "--set", "parameters.x.max=1.0")
    assert json.loads(done.stdout)["spec_version"] == 1 and "nothing is different" in done.stderr


def test_a_forgotten_worker_is_told(tmp_path):
    with Daemon(tmp_path, "--lease-s", 1) as server:
        worker = server.register("away")["id"]
        server.wait_until("/v1/workers", lambda page: page["items"][0]["state"] == "gone")
        assert json.loads(run(server, "forget", "away").stdout) == {"id": worker, "forgotten": True}


def test_what_prints_no_answer_refuses_the_option(server):
    assert "--json is no option of 'completion'" in run(server, "completion", "bash", expect=2).stderr


@pytest.mark.parametrize("args", [["show", "unknown"], ["trial", "unknown"], ["best", "unknown"], ["watch", "unknown"], ["pause", "unknown"], ["history", "unknown"], ["importance", "unknown"],
                                  ["export", "unknown"], ["report", "unknown"], ["trials", "unknown"], ["fetch-model", "unknown", "there"], ["reproduce", "unknown"]])
def test_a_refusal_is_a_problem_object(server, args, tmp_path):
    done = run(server, *args, expect=1, cwd=tmp_path)
    assert json.loads(done.stdout)["status"] == 404 and "unknown" in done.stderr


def test_a_faulty_spec_is_a_problem_object_or_a_list_of_faults(server, tmp_path):
    (tmp_path / "bad.yaml").write_text("method: random\ntrainer: external\nparameters: {x: {min: 1, max: 0}}\n")
    faults = json.loads(run(server, "check", "bad.yaml", expect=1, cwd=tmp_path).stdout)
    problem = json.loads(run(server, "create", "bad.yaml", expect=1, cwd=tmp_path).stdout)
    assert problem["status"] == 422 and any(fault["pointer"].startswith("/parameters/x") for fault in problem["errors"]) and "/parameters/x" in json.dumps(faults)
