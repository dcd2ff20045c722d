"""Stopping rules over the wire, and with the real worker and trainer."""
import pytest
from daemon import Daemon
from study import Study, fresh
from test_worker_training import Worker, series

RULES = [{"type": "hyperband", "min_iter": 1}, {"type": "hyperband", "max_iter": 9, "s": 2}, {"type": "hyperband", "min_iter": 1, "strict": False},
         {"type": "asha"}, {"type": "median", "min_trials": 2}, {"type": "curve", "min_trials": 2}]


@pytest.fixture
def server(tmp_path):
    with Daemon(tmp_path) as daemon:
        yield daemon


def point(step, value):
    return {"metrics": [{"name": "loss", "step": step, "value": value}]}


def say(study, trial, step, value):
    return study.report(trial, step, **point(step, value))["command"]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: "-".join(map(str, rule.values())))
def test_each_rule_stops_the_worst_and_lets_the_best_go_on(server, rule):
    study = Study(server, early_terminate=rule)
    good = [study.claim() for _ in range(3)]
    for i, trial in enumerate(good):
        for step in range(1, 4):
            assert say(study, trial, step, 0.3 - 0.1 * i - 0.01 * step) == "continue"
        study.end(trial)
    bad = study.claim()
    assert "stop" in [say(study, bad, step, 5.0) for step in range(1, 4)]
    study.end(bad, "stopped")
    assert study.trial(bad)["state"] == "stopped" and study.trial(bad)["value"] == 5.0
    best = study.claim()
    assert [say(study, best, step, 0.01) for step in range(1, 4)] == ["continue"] * 3
    assert study.counts() == {"completed": 3, "stopped": 1, "running": 1}


@pytest.mark.parametrize("is_restarted", [False, True])
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: "-".join(map(str, rule.values())))
def test_series_of_trials_that_were_finished_elsewhere_are_what_others_are_held_to(server, rule, is_restarted):
    study = Study(server, early_terminate=rule)
    items = [{"params": {"x": i / 10, "n": 1}, "value": 0.2 - 0.05 * i, "state": "stopped" if i == 3 else "completed",
              "metrics": [point(step, 0.3 - 0.05 * i - 0.01 * step)["metrics"][0] for step in (3, 1, 2)]} for i in range(4)]
    imported = server.post(f"{study.path}/trials", {"trials": items}, expect=201)["items"]
    assert study.counts() == {"completed": 3, "stopped": 1}
    assert [p["step"] for p in server.get(f"/v1/trials/{imported[0]['id']}/metrics")["items"]] == [1, 2, 3]
    if is_restarted:
        server.restart(crash=True)
    bad = study.claim()
    assert "stop" in [say(study, bad, step, 5.0) for step in range(1, 4)]
    best = study.claim()
    assert [say(study, best, step, 0.01) for step in range(1, 4)] == ["continue"] * 3


def test_a_command_to_stop_survives_a_crash_of_the_coordinator(server):
    study = Study(server, early_terminate={"type": "hyperband", "min_iter": 1}, metric={"name": "loss"})
    good, bad = study.claim(), study.claim()
    assert say(study, good, 1, 0.1) == "continue"
    assert say(study, bad, 1, 0.9) == "stop"
    server.restart(crash=True)
    assert say(study, bad, 1, 0.0) == "stop"  # a retry: its points change nothing
    assert study.report(bad, 2)["command"] == "stop"
    assert study.report(good, 2)["command"] == "continue"
    assert study.trial(bad)["state"] == "running"
    study.report(bad, 3, outcome={"state": "stopped", "value": 0.85})
    assert (study.trial(bad)["state"], study.trial(bad)["value"]) == ("stopped", 0.85)


def test_a_trial_told_to_stop_whose_lease_expires_is_stopped(tmp_path):
    with Daemon(tmp_path, "--lease-s", 1) as hasty:
        study = Study(hasty, early_terminate={"type": "hyperband", "min_iter": 1})
        good, bad = study.claim(), study.claim()
        say(study, good, 1, 0.1)
        assert say(study, bad, 1, 0.9) == "stop"
        shown = hasty.wait_until(f"/v1/trials/{bad['id']}", lambda trial: trial["state"] != "running")
        assert (shown["state"], shown["value"], shown["reason"]) == ("stopped", 0.9, None)


def test_trainer_obeys_a_stopping_rule(server, tmp_path):
    """A trial evaluated by hand shines in every epoch: the real one is stopped by its first report."""
    parameters = {name: {"value": value} for name, value in {"learning_rate": 1e-6, "epochs": 400, "limit_eval": 64}.items()}
    sweep = server.post("/v1/sweeps", {
        "name": "t", "method": "grid", "trainer": "distilbert-mrpc", "seed": 3, "metric": {"name": "eval/accuracy", "goal": "maximize"},
        "parameters": {**parameters, "dropout": {"values": [0.1, 0.2]}}, "early_terminate": {"type": "hyperband", "min_iter": 1}}, expect=201)
    hand = server.register(fresh("hand"), trainers=["distilbert-mrpc"])["id"]
    trial = server.claim(hand, fresh("claim"), sweep=sweep["id"])[0]
    server.report(trial, 1, metrics=[{"name": "eval/accuracy", "step": step, "value": 1.0} for step in range(1, 401)])
    worker = Worker(server, tmp_path, "w1", "--max-trials", "1")
    try:
        assert worker.process.wait(90) == 0
    finally:
        if worker.process.poll() is None:
            worker.kill()
    stopped = server.get(f"/v1/sweeps/{sweep['id']}/trials?state=stopped")["items"]
    assert len(stopped) == 1, worker.log()
    points = [value for name, _, value in series(server, stopped[0]) if name == "eval/accuracy"]
    assert 1 <= len(points) < 400 and stopped[0]["value"] == max(points)
    assert "a stopping rule ends the trial" in worker.log()
    assert list((worker.work / "trials").iterdir()) == []
