"""What the model makes of a sweep, over HTTP: best, importance, slice."""
import random

import pytest
from daemon import Daemon
from schema import Validator
from study import Study, faults

pytestmark = pytest.mark.coordinator
SPACE = {"lr": {"distribution": "log_uniform_values", "min": 1e-5, "max": 1e-1}, "wd": {"min": 0.0, "max": 0.1}, "opt": {"values": ["sgd", "adam"]}}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with Daemon(tmp_path_factory.mktemp("explain")) as daemon:
        yield daemon


def imported(server, values, method="random", **members):
    """A sweep whose evidence is given: (params, value)."""
    study = Study(server, method=method, parameters=SPACE, metric={"name": "acc", "goal": "maximize"}, seed=3, **members)
    items = [{"params": params, "value": value} for params, value in values]
    server.post(study.path + "/trials", {"trials": items}, expect=201)
    return study


def noise(i):
    return (i * 2654435761 % 1000) / 1000 - 0.5


def points(n, f):
    from math import log10
    for i in range(n):
        params = {"lr": 10 ** (-5 + 4 * ((i * 0.618034) % 1)), "wd": 0.1 * ((i * 0.754878) % 1), "opt": ["sgd", "adam"][i * 7 // 3 % 2]}
        yield params, f(log10(params["lr"]), params["opt"], i)


def check(server, path, template):
    contract = server.get("/openapi.json")
    body = server.get(path)
    schema = contract["paths"][template]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    Validator(contract).assert_valid(body, schema)
    return body


def test_importance_best_and_slice_of_a_clear_effect(server):
    study = imported(server, points(36, lambda lr, opt, i: 0.9 - 0.05 * (lr + 3) ** 2 - (0.1 if opt == "sgd" else 0) + 0.002 * noise(i)))
    body = check(server, study.path + "/importance", "/v1/sweeps/{id}/importance")
    matters = [one["parameter"] for one in body["parameters"] if one["distinguishable"]]
    assert set(matters) == {"lr", "opt"} and body["parameters"][-1]["parameter"] == "wd"
    assert body["parameters"][-1]["verdict"] == "not distinguishable from noise"
    assert all(one["low"] <= one["share"] <= one["high"] for one in body["parameters"])
    best = check(server, study.path + "/best", "/v1/sweeps/{id}/best")
    assert best["recommended"]["params"]["opt"] == "adam" and best["posterior"]["low"] < 0.9 < best["posterior"]["high"] + 0.01
    line = check(server, study.path + "/slice?parameter=lr", "/v1/sweeps/{id}/slice")
    top = max(line["points"], key=lambda point: point["mean"])
    assert len(line["points"]) == 51 and 2e-4 < top["params"]["lr"] < 5e-3 and line["at"] == best["recommended"]["params"]
    face = check(server, study.path + "/slice?parameter=opt&parameter2=wd", "/v1/sweeps/{id}/slice")
    assert {point["params"]["opt"] for point in face["points"]} == {"sgd", "adam"}


def test_pure_noise_is_called_noise(server):
    study = imported(server, points(30, lambda lr, opt, i: noise(i * 7919 + 13)))
    body = server.get(study.path + "/importance")
    assert not any(one["distinguishable"] for one in body["parameters"]) and body["pairs"] == []
    assert "noise" in body["detail"] and body["noise"]["sd"] > 0.1
    assert server.get(study.path + "/best")["within_noise"] > 10


def test_a_stage_of_single_factors_shows_its_effects(server):
    study = Study(server, method="ofat", parameters=None, levels={"lr": [1e-4, 1e-3], "wd": [0.1]}, baseline={"lr": 1e-5, "wd": 0.0},
                  metric={"name": "acc", "goal": "maximize"})
    values = {(1e-5, 0.0): 0.5, (1e-4, 0.0): 0.6, (1e-3, 0.0): 0.9, (1e-5, 0.1): 0.55}
    for _ in values:
        trial = study.claim()
        study.end(trial, value=values[trial["params"]["lr"], trial["params"]["wd"]])
    body = check(server, study.path + "/importance", "/v1/sweeps/{id}/importance")
    assert [(one["parameter"], one["impact"]) for one in body["ofat"]] == [("lr", 0.4), ("wd", 0.05)]
    assert body["ofat"][0]["levels"] == [{"value": 1e-5, "metric": 0.5}, {"value": 1e-4, "metric": 0.6}, {"value": 1e-3, "metric": 0.9}]


def test_a_slice_beside_diverged_trials_can_be_read(server):
    study = Study(server, method="random", parameters=SPACE, metric={"name": "loss"}, seed=3)
    values = points(60, lambda lr, opt, i: 2 + 0.1 * (lr + 3.5) ** 2 + 0.01 * noise(i) if lr < -2 else 1000 * 10 ** (lr + 3))
    server.post(study.path + "/trials", {"trials": [{"params": params, "value": value} for params, value in values]}, expect=201)
    line = check(server, study.path + "/slice?parameter=lr", "/v1/sweeps/{id}/slice")["points"]
    good = [point for point in line if 5e-5 < point["params"]["lr"] < 3e-3]
    assert len(good) > 10 and all(1.9 < point["low"] <= point["mean"] <= 3 and 0 < point["sd"] < 0.5 for point in good)
    assert all(point["low"] <= point["mean"] <= point["high"] for point in line) and line[-1]["mean"] > 100


def test_imported_trials_of_one_configuration_are_evidence_of_noise(server):
    """Each of 12 configurations came in five times, with values that differ by chance alone: what repeats tell of noise is believed."""
    def repeated(deviation):
        draw = random.Random(7)
        values = [(params, value + deviation * draw.gauss(0, 1)) for params, value in points(12, lambda lr, opt, i: 0.01 * lr) for _ in range(5)]
        study = imported(server, values)
        trials = server.get(study.path + "/trials?limit=1000")["items"]
        assert len(trials) == 60 and {trial["state"] for trial in trials} == {"completed"}
        return server.get(study.path + "/importance"), server.get(study.path + "/best")

    importance, best = repeated(0.1)
    assert importance["n"] == 60 and 0.05 < importance["noise"]["sd"] < 0.2
    assert best["within_noise"] >= 3
    assert repeated(0.0005)[0]["noise"]["sd"] < 0.01


def test_slices_name_parameters_that_the_sweep_varies(server):
    study = imported(server, points(4, lambda lr, opt, i: i / 10))
    assert set(faults(server.request("GET", study.path + "/slice"))) == {"/parameter"}
    assert set(faults(server.request("GET", study.path + "/slice?parameter=nobody"))) == {"/parameter"}
    assert set(faults(server.request("GET", study.path + "/slice?parameter=lr&parameter2=lr"))) == {"/parameter2"}


def test_answers_are_the_same_after_a_restart(server):
    study = imported(server, points(20, lambda lr, opt, i: -lr + noise(i)))
    before = [server.get(study.path + path) for path in ("/best", "/importance", "/slice?parameter=wd")]
    server.restart(crash=True)
    assert [server.get(study.path + path) for path in ("/best", "/importance", "/slice?parameter=wd")] == before
