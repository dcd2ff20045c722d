"""The model-based method over HTTP: what it proposes depends on the history alone."""
import itertools
import random
import time

import pytest
from daemon import Daemon
from study import Study

pytestmark = pytest.mark.coordinator
SPACE = {"lr": {"distribution": "log_uniform_values", "min": 1e-5, "max": 1e-1}, "x": {"min": 0.0, "max": 1.0},
         "n": {"min": 1, "max": 64}, "opt": {"values": ["sgd", "adam", "lion"]}}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with Daemon(tmp_path_factory.mktemp("bayes")) as daemon:
        yield daemon


def value(params):
    from math import log10
    return (log10(params["lr"]) + 3) ** 2 + (params["x"] - 0.3) ** 2 + abs(params["n"] - 20) / 30 + (params["opt"] != "adam")


def proposals(server, n, restart_every=None, flight=3, seed=None):
    """So many trials at once; every fifth fails. With a seed any of them ends next, else the oldest. Also: with how many of the modelled ones
    hyperparameters had been found before."""
    study, open_trials, params = Study(server, method="bayes", parameters=SPACE, seed=9, run_cap=None, metric={"name": "loss"}), [], []
    rng = random.Random(seed)
    for i in range(n):
        if restart_every and i % restart_every == restart_every - 1:
            server.restart(crash=True)
        trial = study.claim(wait_s=30)
        params.append(trial["params"])
        open_trials.append(trial)
        if len(open_trials) == flight:
            ended = open_trials.pop(0 if seed is None else rng.randrange(flight))
            if ended["number"] % 5 == 0:
                study.end(ended, "failed", reason="diverged")
            else:
                study.end(ended, value=value(ended["params"]))
    return params, server.get(f"/v1/sweeps/{study.id}/snapshot")["plan"]["hyperparameters"]


@pytest.mark.parametrize("flight, seed", [(3, None), (5, 1)])
def test_a_coordinator_that_was_killed_proposes_what_it_would_have(server, flight, seed):
    undisturbed, use = proposals(server, 45, flight=flight, seed=seed)
    assert proposals(server, 45, restart_every=7, flight=flight, seed=seed)[0] == undisturbed
    assert min(value(params) for params in undisturbed) < 0.5
    assert use["ready"] == use["proposals"] > 5, "found while trials ran, whichever ended next"


def test_the_number_of_threads_changes_nothing(server, tmp_path):
    with Daemon(tmp_path, env={"OMP_NUM_THREADS": "4", "OPENBLAS_NUM_THREADS": "4"}) as other:
        assert proposals(other, 40)[0] == proposals(server, 40)[0]


def after_results(server, pause_s):
    """Results come one after the other, each with something new for the model to compute; what is proposed after them."""
    study, params = Study(server, method="bayes", parameters=SPACE, seed=5, run_cap=None, metric={"name": "loss"}), []
    points = [{"lr": 10 ** -(1 + i % 5), "x": i / 60, "n": 1 + i, "opt": SPACE["opt"]["values"][i % 3]} for i in range(60)]
    server.post(f"/v1/sweeps/{study.id}/trials", {"trials": [{"params": one, "value": value(one)} for one in points]}, expect=201)
    for _ in range(4):
        trials = [study.claim(wait_s=30) for _ in range(6)]
        for trial in trials:
            study.end(trial, value=value(trial["params"]))
            time.sleep(pause_s)
        params += [trial["params"] for trial in trials]
    return params


def test_results_that_overtake_each_others_computations_change_nothing(server):
    assert after_results(server, 0) == after_results(server, 0.1)


def test_another_sweep_guides_and_a_restart_does_not_forget_that(server):
    other = Study(server, method="bayes", parameters=SPACE, seed=2, metric={"name": "loss"})
    points = [{"lr": 10 ** -(1 + i % 5), "x": i / 30, "n": 1 + 2 * i, "opt": SPACE["opt"]["values"][i % 3]} for i in range(30)]
    server.post(f"/v1/sweeps/{other.id}/trials", {"trials": [{"params": one, "value": value(one)} for one in points]}, expect=201)
    best = min(points, key=value)
    narrower = {**SPACE, "x": {"min": 0.1, "max": 0.7}}
    found = []
    stages = [{"method": "bayes", "run_cap": 9}, {"method": "confirm", "top_k": 2, "repeats": 2}]
    ways = [{"method": "bayes"}, {"method": "staged", "stages": stages}]  # of stages the history is known from the start, else it is read when a proposal needs it
    for way, is_killed in itertools.product(ways, (False, True)):
        study, params = Study(server, parameters=narrower, seed=4, metric={"name": "loss"}, warm_start={"sweep": other.id}, **way), []
        for i in range(9):
            if is_killed and i % 3 == 2:
                server.restart(crash=True)
            trial = study.claim(wait_s=30)
            proposal = server.get(f"/v1/trials/{trial['id']}")["proposal"]
            assert (i == 0) == ("the sweep that this one starts from" in proposal.get("why", "")), proposal
            params.append(trial["params"])
            study.end(trial, value=value(trial["params"]))
        found.append(params)
        assert params[0]["opt"] == best["opt"] and params[0]["n"] == best["n"]
    assert found[0] == found[1] and found[2] == found[3]
