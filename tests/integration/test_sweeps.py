"""Sweeps through the real server: creating, following, changing, ending and deleting them."""
import concurrent.futures
import random
import string

import pytest
from daemon import Daemon

pytestmark = pytest.mark.coordinator
ENDED = ("finished", "cancelled")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with Daemon(tmp_path_factory.mktemp("sweeps")) as daemon:
        yield daemon


@pytest.fixture
def worker(server):
    return server.register("w-" + "".join(random.choices(string.ascii_lowercase, k=12)))["id"]


def claim(server, worker, sweep, wait_s=0):
    """One trial of a sweep, or None."""
    trials = server.claim(worker, "".join(random.choices(string.ascii_lowercase, k=16)), wait_s=wait_s, sweep=sweep)
    return trials[0] if trials else None


def complete(server, trial, value):
    server.report(trial, 1, outcome={"state": "completed", "value": value})


def run_all(server, worker, sweep, objective, limit=100):
    """Evaluates until nothing is handed out; the claimed trials."""
    trials = []
    while len(trials) < limit and (trial := claim(server, worker, sweep)):
        complete(server, trial, objective(trial["params"]))
        trials.append(trial)
    return trials


def state_of(server, sweep):
    return server.get(f"/v1/sweeps/{sweep}")["state"]


def test_a_weights_and_biases_file_is_taken_as_it_is(server):
    spec = {
        "program": "train.py", "method": "bayes", "name": "theirs", "project": "p", "description": "d",
        "metric": {"name": "val_loss", "goal": "minimize"}, "command": ["${env}", "python", "${program}", "${args}"],
        "parameters": {"optimizer": {"values": ["adam", "sgd"]}, "epochs": {"value": 3}, "dropout": {"min": 0.1, "max": 0.5},
                       "lr": {"distribution": "log_uniform_values", "min": 1e-5, "max": 0.1}, "batch": {"distribution": "q_uniform", "q": 8, "min": 16, "max": 64}},
    }
    sweep = server.post("/v1/sweeps", spec, expect=201)
    assert sweep["spec"] == spec and sweep["state"] == "running" and sweep["name"] == "theirs"
    assert server.get(f"/v1/sweeps/{sweep['id']}") == sweep


def test_what_an_empty_sweep_shows(server):
    sweep = server.create_sweep(run_cap=None)
    assert sweep["counts"] == dict.fromkeys(("queued", "running", "completed", "stopped", "failed", "cancelled"), 0)
    assert sweep["best"] is None and sweep["run_cap"] is None and sweep["eta_s"] is None
    assert sweep["stage"]["index"] == 0 and sweep["stage"]["method"] == "random"
    assert sweep["created"].endswith("Z")


def test_numbers_come_back_as_they_were_sent(server):
    values = [0.85, 1e-5, 5e-324, 0.1, 3, 1.0, 2**53, -0.25]
    sweep = server.create_sweep(method="grid", run_cap=None, parameters={"a": {"values": values}})
    text = server.request("GET", f"/v1/sweeps/{sweep['id']}").text
    assert '"values":[0.85,1e-5,5e-324,0.1,3,1.0,9007199254740992,-0.25]' in text


def test_all_faults_of_a_spec_come_at_once(server):
    problem = server.post("/v1/sweeps", {"method": "grid", "trainer": "external", "nonsense": 1, "run_cap": -1,
                                         "parameters": {"a": {"min": 3, "max": 2}, "b": {"distribution": "unheard_of"}}}, expect=422)
    pointers = [error["pointer"] for error in problem["errors"]]
    assert len(pointers) >= 4 and "/nonsense" in pointers and "/run_cap" in pointers


def test_a_random_sweep_ends_with_its_run_cap_and_goes_on_with_more(server, worker):
    sweep = server.create_sweep(run_cap=3)["id"]
    assert len(run_all(server, worker, sweep, lambda p: p["x"])) == 3
    shown = server.get(f"/v1/sweeps/{sweep}")
    assert shown["state"] == "finished" and shown["counts"]["completed"] == 3
    assert shown["best"]["value"] == min(t["value"] for t in server.get(f"/v1/sweeps/{sweep}/trials")["items"])
    assert server.patch(f"/v1/sweeps/{sweep}", {"run_cap": 5})["state"] == "running"
    assert len(run_all(server, worker, sweep, lambda p: p["x"])) == 2
    assert state_of(server, sweep) == "finished"


def test_a_grid_has_every_combination_once(server, worker):
    sweep = server.create_sweep(method="grid", run_cap=None, parameters={"a": {"values": [1, 2, 3]}, "b": {"values": ["x", True]}, "c": {"value": 7}})["id"]
    params = [trial["params"] for trial in run_all(server, worker, sweep, lambda p: p["a"])]
    assert sorted((p["a"], str(p["b"])) for p in params) == [(a, b) for a in (1, 2, 3) for b in ("True", "x")]
    assert all(p["c"] == 7 for p in params)
    assert state_of(server, sweep) == "finished"


def test_an_idempotent_create_from_many_threads_makes_one_sweep(server):
    spec = {"method": "random", "trainer": "external", "parameters": {"x": {"min": 0.0, "max": 1.0}}}
    key = {"Idempotency-Key": "many-" + "".join(random.choices(string.ascii_lowercase, k=8))}
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: server.request("POST", "/v1/sweeps", spec, headers=key), range(8)))
    assert {answer.status_code for answer in answers} == {201} and len({answer.content for answer in answers}) == 1
    server.request("POST", "/v1/sweeps", {**spec, "run_cap": 2}, headers=key, expect=422)


def test_pause_resume_and_cancel(server, worker):
    sweep = server.create_sweep()["id"]
    trial = claim(server, worker, sweep)
    assert server.patch(f"/v1/sweeps/{sweep}", {"state": "paused"})["state"] == "paused"
    assert claim(server, worker, sweep) is None
    complete(server, trial, 1)
    assert server.patch(f"/v1/sweeps/{sweep}", {"state": "running"})["state"] == "running"
    trial = claim(server, worker, sweep)
    shown = server.patch(f"/v1/sweeps/{sweep}", {"state": "cancelled"})
    assert shown["state"] == "cancelled" and shown["counts"]["cancelled"] == 1 and shown["counts"]["completed"] == 1
    assert server.report(trial, 1)["command"] == "abort"
    server.report(trial, 2, expect=409)
    for patch in ({"state": "running"}, {"state": "paused"}, {"run_cap": 99}):
        server.patch(f"/v1/sweeps/{sweep}", patch, expect=409)


def test_delete_needs_a_sweep_at_rest(server, worker):
    sweep = server.create_sweep()["id"]
    trial = claim(server, worker, sweep)
    server.request("DELETE", f"/v1/sweeps/{sweep}", expect=409)
    server.patch(f"/v1/sweeps/{sweep}", {"state": "cancelled"})
    server.request("DELETE", f"/v1/sweeps/{sweep}", expect=204)
    for path in (f"/v1/sweeps/{sweep}", f"/v1/trials/{trial['id']}", f"/v1/sweeps/{sweep}/trials", f"/v1/sweeps/{sweep}/best"):
        server.request("GET", path, expect=404)


def test_a_target_ends_a_sweep(server, worker):
    sweep = server.create_sweep(metric={"name": "loss", "goal": "minimize", "target": 0.1})["id"]
    complete(server, claim(server, worker, sweep), 0.1)
    assert claim(server, worker, sweep) is None
    assert state_of(server, sweep) == "finished"


STAGED = {
    "name": "stages", "method": "staged", "trainer": "external", "seed": 3, "metric": {"name": "score", "goal": "maximize"},
    "baseline": {"a": 1.0, "b": 1.0, "c": 1.0},
    "parameters": {"a": {"min": 0.0, "max": 4.0}, "b": {"min": 0.0, "max": 4.0}, "c": {"min": 0.0, "max": 4.0}},
    "stages": [{"method": "ofat", "levels": {"a": [2.0], "b": [2.0, 3.0], "c": [2.0]}},
               {"method": "grid", "select_top": 2, "values": {"a": [1.5, 2.5], "b": [1.5], "c": [1.5, 2.5]}},
               {"method": "bayes", "select_top": 2, "run_cap": 3, "warm_start": True}],
}


def score(params):
    return 3 * params["a"] + params["b"] / 10 - 2 * params["c"]


def test_three_stages_run_one_after_the_other(server, worker):
    sweep = server.post("/v1/sweeps", STAGED, expect=201)["id"]
    trials = run_all(server, worker, sweep, score)
    assert [trial["params"] for trial in trials[:5]] == [
        {"a": 1.0, "b": 1.0, "c": 1.0}, {"a": 2.0, "b": 1.0, "c": 1.0}, {"a": 1.0, "b": 2.0, "c": 1.0}, {"a": 1.0, "b": 3.0, "c": 1.0},
        {"a": 1.0, "b": 1.0, "c": 2.0}]
    assert all(trial["params"]["b"] == 1.0 for trial in trials[5:]), "b has the least impact and stays at the baseline"
    assert len(trials) == 5 + 4 + 3
    shown = server.get(f"/v1/sweeps/{sweep}")
    assert shown["state"] == "finished" and shown["stage"]["index"] == 2
    stages = [trial["stage"] for trial in server.get(f"/v1/sweeps/{sweep}/trials")["items"]]
    assert stages == [0] * 5 + [1] * 4 + [2] * 3


def test_a_stage_waits_for_the_trials_of_the_one_before(server, worker):
    sweep = server.post("/v1/sweeps", STAGED, expect=201)["id"]
    open_trials = [claim(server, worker, sweep) for _ in range(5)]
    assert claim(server, worker, sweep) is None
    for trial in open_trials[:-1]:
        complete(server, trial, score(trial["params"]))
    assert claim(server, worker, sweep) is None
    complete(server, open_trials[-1], 0)
    assert claim(server, worker, sweep) is not None


def test_the_same_seed_and_history_propose_the_same_also_across_crashes(server, tmp_path):
    spec = dict(method="bayes", seed=11, run_cap=8, name="again")
    worker = server.register("calm")["id"]
    calm = [t["params"] for t in run_all(server, worker, server.create_sweep(**spec)["id"], lambda p: abs(p["x"] - 0.3) + p["n"] / 10)]
    with Daemon(tmp_path) as other:
        worker = other.register("shaken")["id"]
        sweep = other.create_sweep(**spec)["id"]
        shaken = []
        while trial := claim(other, worker, sweep):
            other.restart(crash=True)
            complete(other, trial, abs(trial["params"]["x"] - 0.3) + trial["params"]["n"] / 10)
            shaken.append(trial["params"])
    assert len(calm) == 8 and calm == shaken


def test_lists_are_paged_without_gaps_while_sweeps_come(server):
    mine = [server.create_sweep(name=f"page {i}")["id"] for i in range(7)]
    seen, cursor = [], None
    while True:
        page = server.get("/v1/sweeps", params={"limit": 2, **({"after": cursor} if cursor else {})})
        seen += [sweep["id"] for sweep in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
        if len(seen) < 10:
            server.create_sweep(name="late")
    assert [sweep for sweep in seen if sweep in mine] == mine and len(seen) == len(set(seen))


def test_priority_decides_between_sweeps(tmp_path):
    with Daemon(tmp_path) as server:
        worker = server.register("w")["id"]
        low, high = server.create_sweep(priority=1)["id"], server.create_sweep(priority=2)["id"]
        assert server.claim(worker, "c1")[0]["sweep"] == high
        server.patch(f"/v1/sweeps/{low}", {"priority": 3})
        assert server.claim(worker, "c2")[0]["sweep"] == low
