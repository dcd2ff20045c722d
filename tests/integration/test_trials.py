"""Trials through the real server: enqueueing, importing, reporting, sorting, exporting, cancelling, retrying."""
import csv
import io
import json
import random
import string

import pytest
from daemon import Daemon

pytestmark = pytest.mark.coordinator


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with Daemon(tmp_path_factory.mktemp("trials")) as daemon:
        yield daemon


@pytest.fixture
def worker(server):
    return server.register("w-" + "".join(random.choices(string.ascii_lowercase, k=12)))["id"]


@pytest.fixture
def sweep(server):
    return server.create_sweep(run_cap=None, metric={"name": "acc", "goal": "maximize"})["id"]


def claim(server, worker, sweep):
    trials = server.claim(worker, "".join(random.choices(string.ascii_lowercase, k=16)), sweep=sweep)
    return trials[0] if trials else None


def show(server, trial):
    return server.get(f"/v1/trials/{trial['id']}")


def point(step, value, name="acc", **more):
    return {"name": name, "step": step, "value": value, **more}


# --- reports ------------------------------------------------------------------------------------------

def test_the_life_of_a_trial(server, worker, sweep):
    trial = claim(server, worker, sweep)
    assert {"id", "sweep", "number", "attempt", "lease", "lease_s", "params", "trainer", "fixed", "seed", "resume"} <= set(trial)
    answer = server.report(trial, 1, metrics=[point(10, 0.5, epoch=0.5, time="2026-11-24T02:00:00Z")], progress=0.5)
    assert answer == {"command": "continue", "lease_s": trial["lease_s"]}
    shown = show(server, trial)
    assert shown["state"] == "running" and shown["progress"] == 0.5 and shown["worker"] == worker and shown["attempt"] == 1
    server.report(trial, 5, metrics=[point(20, 0.75)], outcome={"state": "completed"})
    shown = show(server, trial)
    assert shown["state"] == "completed" and shown["value"] == 0.75 and shown["finished"] >= shown["started"] >= shown["created"]
    points = server.get(f"/v1/trials/{trial['id']}/metrics")["items"]
    assert points[0] == {"name": "acc", "step": 10, "epoch": 0.5, "value": 0.5, "time": "2026-11-24T02:00:00.000Z"}


def test_a_report_is_applied_once(server, worker, sweep):
    trial = claim(server, worker, sweep)
    report = dict(metrics=[point(1, 0.25)], outcome={"state": "completed"})
    first = server.report(trial, 3, **report)
    for seq in (3, 2, 1):
        assert server.report(trial, seq, metrics=[point(1, 0.99)], outcome={"state": "failed", "reason": "diverged"}) == first
    server.report(trial, 4, expect=409)
    assert show(server, trial)["value"] == 0.25


@pytest.mark.parametrize("members", [
    {"seq": 0}, {"seq": 1.5}, {"seq": "1"}, {"colour": 1}, {"metrics": [{"name": "a", "step": 1}]}, {"metrics": [{"step": 1, "value": 2}]},
    {"metrics": [{"name": "a", "value": 2}]}, {"metrics": [{"name": "a", "step": 1, "value": "2"}]}, {"metrics": [point(i, 0) for i in range(1001)]},
    {"progress": 1.5}, {"outcome": {"state": "done"}}, {"outcome": {"state": "failed"}}, {"outcome": {"state": "failed", "reason": "tired"}},
    {"outcome": {"state": "failed", "reason": "crashed", "detail": "x" * (16 * 1024 + 1)}}, {"outcome": {"state": "released", "resume": {"a": "x" * 4096}}},
    {"outcome": {"state": "completed", "value": "1"}},
])
def test_a_faulty_report_is_refused_and_changes_nothing(server, worker, sweep, members):
    trial = claim(server, worker, sweep)
    problem = server.post(f"/v1/trials/{trial['id']}/report", {"lease": trial["lease"], "seq": 1, **members}, expect=422)
    assert problem["errors"]
    assert show(server, trial)["state"] == "running" and server.get(f"/v1/trials/{trial['id']}/metrics")["items"] == []
    server.report(trial, 1)


def test_a_foreign_lease_is_409_and_a_foreign_trial_404(server, worker, sweep):
    trial = claim(server, worker, sweep)
    server.post(f"/v1/trials/{trial['id']}/report", {"lease": "guess", "seq": 1}, expect=409)
    server.post("/v1/trials/tnobody/report", {"lease": trial["lease"], "seq": 1}, expect=404)


@pytest.mark.parametrize("goal,summary,value", [("minimize", None, 0.1), ("maximize", None, 0.9), ("minimize", "last", 0.5)])
def test_the_value_comes_from_the_series(server, worker, goal, summary, value):
    metric = {"name": "m", "goal": goal, **({"summary": summary} if summary else {})}
    trial = claim(server, worker, server.create_sweep(metric=metric)["id"])
    server.report(trial, 1, metrics=[point(1, 0.9, "m"), point(2, 0.1, "m"), point(3, 0.5, "m"), point(4, 7, "other")], outcome={"state": "completed"})
    assert show(server, trial)["value"] == value


def test_a_stopped_trial_has_a_value_and_one_without_points_failed(server, worker, sweep):
    stopped, empty = claim(server, worker, sweep), claim(server, worker, sweep)
    server.report(stopped, 1, outcome={"state": "stopped", "value": 0.81})
    server.report(empty, 1, outcome={"state": "completed"})
    assert (show(server, stopped)["state"], show(server, stopped)["value"]) == ("stopped", 0.81)
    assert (show(server, empty)["state"], show(server, empty)["reason"], show(server, empty)["value"]) == ("failed", "no_metric", None)


def test_retryable_ends_requeue_and_final_ones_do_not(server, worker):
    sweep = server.create_sweep(run_cap=1, max_attempts=2)["id"]
    for attempt, state in ((1, "queued"), (2, "failed")):
        trial = claim(server, worker, sweep)
        assert trial["attempt"] == attempt
        server.report(trial, 1, outcome={"state": "failed", "reason": "out_of_memory", "detail": "no room"})
        assert show(server, trial)["state"] == state
    assert show(server, trial)["reason"] == "out_of_memory" and show(server, trial)["detail"] == "no room"
    trial = claim(server, worker, server.create_sweep(run_cap=1)["id"])
    server.report(trial, 1, outcome={"state": "failed", "reason": "diverged"})
    assert show(server, trial)["state"] == "failed"


# --- enqueue and import -------------------------------------------------------------------------------

def test_enqueued_trials_run_first_and_imports_are_evidence(server, worker, sweep):
    answer = server.post(f"/v1/sweeps/{sweep}/trials", {"trials": [{"params": {"x": 0.5, "n": 3}}, {"params": {"x": 0.1, "n": 1}, "value": 0.85}]}, expect=201)
    queued, imported = answer["items"]
    assert queued["state"] == "queued" and queued["value"] is None and queued["attempt"] == 0
    assert imported["state"] == "completed" and imported["value"] == 0.85 and imported["worker"] is None
    assert server.get(f"/v1/sweeps/{sweep}/best")["trial"]["id"] == imported["id"]
    assert claim(server, worker, sweep)["id"] == queued["id"]


def test_one_may_be_enqueued_without_a_list(server, sweep):
    assert len(server.post(f"/v1/sweeps/{sweep}/trials", {"params": {"x": 0.5, "n": 3}}, expect=201)["items"]) == 1


@pytest.mark.parametrize("body,pointer", [
    ({"params": {"x": 2.0, "n": 1}}, "/params/x"), ({"params": {"x": 0.5}}, "/params/n"), ({"params": {"x": 0.5, "n": 1, "z": 0}}, "/params/z"),
    ({"trials": [{"params": {"x": 0.5, "n": 1}}, {"params": {"x": 0.5, "n": 1.5}}]}, "/trials/1/params/n"), ({"trials": []}, "/trials"), ({}, "/params"),
    ({"params": {"x": 0.5, "n": 1}, "values": 1}, "/values"), ({"params": {"x": 0.5, "n": 1}, "state": "stopped"}, "/state"),
    ({"params": {"x": 0.5, "n": 1}, "value": 1, "state": "running"}, "/state"), ({"params": {"x": 0.5, "n": 1}, "metrics": []}, "/metrics"),
    ({"trials": [{"params": {"x": 0.5, "n": 1}, "value": 1, "metrics": [{"name": "loss", "step": -1, "value": 1}]}]}, "/trials/0/metrics/0/step"),
    ({"trials": [{"params": {"x": 0.5, "n": 1}, "value": 1, "metrics": [{"name": "l", "step": step, "value": 1} for step in range(991)]} for _ in range(101)]}, "/trials"),
])
def test_faulty_configurations_are_named(server, sweep, body, pointer):
    problem = server.post(f"/v1/sweeps/{sweep}/trials", body, expect=422)
    assert pointer in [error["pointer"] for error in problem["errors"]]
    assert server.get(f"/v1/sweeps/{sweep}/trials")["items"] == []


def test_an_idempotent_enqueue_happens_once(server, sweep):
    for _ in range(3):
        server.request("POST", f"/v1/sweeps/{sweep}/trials", {"params": {"x": 0.5, "n": 3}}, headers={"Idempotency-Key": "e1"}, expect=201)
    assert server.get(f"/v1/sweeps/{sweep}")["counts"]["queued"] == 1


# --- lists --------------------------------------------------------------------------------------------

def fill(server, sweep, values):
    server.post(f"/v1/sweeps/{sweep}/trials", {"trials": [{"params": {"x": 0.5, "n": 1}, **({} if v is None else {"value": v})} for v in values]}, expect=201)


def walk(server, path, between=lambda: None, **params):
    items, cursor = [], None
    while True:
        page = server.get(path, params={**params, **({"after": cursor} if cursor else {})})
        items += page["items"]
        cursor = page["next"]
        if cursor is None:
            return items
        between()


def test_values_sort_both_ways_with_nulls_last(server, sweep):
    fill(server, sweep, [0.5, None, 0.9, None, 0.1, 0.5])
    path = f"/v1/sweeps/{sweep}/trials"
    assert [t["number"] for t in walk(server, path, sort="value", limit=1)] == [5, 1, 6, 3, 2, 4]
    assert [t["number"] for t in walk(server, path, sort="-value", limit=4)] == [3, 1, 6, 5, 2, 4]
    assert [t["number"] for t in walk(server, path, limit=5)] == [1, 2, 3, 4, 5, 6]
    assert [t["number"] for t in walk(server, path, state="queued", limit=1)] == [2, 4]


def test_pages_by_value_neither_skip_nor_repeat_while_trials_end(server, worker, sweep):
    fill(server, sweep, [None] * 6 + [1, 2, 3])
    there = {t["id"] for t in server.get(f"/v1/sweeps/{sweep}/trials")["items"]}
    values = iter([100, 0, 2, 50, 1.5, -1])

    def end_one():
        trial = claim(server, worker, sweep)
        value = next(values, None)
        if value is not None:
            server.report(trial, 1, outcome={"state": "completed", "value": value})

    seen = [t["id"] for t in walk(server, f"/v1/sweeps/{sweep}/trials", between=end_one, sort="-value", limit=2)]
    assert there <= set(seen) and len(seen) == len(set(seen))


@pytest.mark.parametrize("query", [{"limit": 0}, {"limit": 1001}, {"limit": "x"}, {"after": "x"}, {"sort": "name"}, {"state": "asleep"}, {"page": 2}])
def test_wrong_queries_are_422(server, sweep, query):
    server.get(f"/v1/sweeps/{sweep}/trials", params=query, expect=422)


def test_metrics_are_paged_in_step_order_and_filtered(server, worker, sweep):
    trial = claim(server, worker, sweep)
    steps = list(range(300))
    random.Random(1).shuffle(steps)
    server.report(trial, 1, metrics=[point(s, s / 2, name) for s in steps for name in ("acc", "train/loss")])
    path = f"/v1/trials/{trial['id']}/metrics"
    assert [(p["step"], p["name"]) for p in walk(server, path, limit=7)] == [(s, n) for s in range(300) for n in ("acc", "train/loss")]
    assert [p["step"] for p in walk(server, path, name="train/loss", limit=100)] == list(range(300))
    assert walk(server, path, name="none") == []


def test_export_in_all_formats(server):
    sweep = server.create_sweep(run_cap=None, parameters={"o": {"parameters": {"lr": {"min": 0.0, "max": 1.0}}}, "t": {"values": ["a,b", "c\"d\ne", "ü"]}})["id"]
    trials = [{"params": {"o": {"lr": 0.5}, "t": "a,b"}, "value": 0.85}, {"params": {"o": {"lr": 1e-5}, "t": "c\"d\ne"}}, {"params": {"o": {"lr": 0.1}, "t": "ü"}, "value": 1}]
    server.post(f"/v1/sweeps/{sweep}/trials", {"trials": trials}, expect=201)
    items = server.get(f"/v1/sweeps/{sweep}/export")["items"]
    assert [item["params"] for item in items] == [trial["params"] for trial in trials]
    lines = server.request("GET", f"/v1/sweeps/{sweep}/export?format=jsonl", expect=200).content.decode().splitlines()
    assert [json.loads(line) for line in lines] == items
    answer = server.request("GET", f"/v1/sweeps/{sweep}/export?format=csv", expect=200)
    assert answer.headers["Content-Type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(answer.content.decode(), newline="")))
    assert [row["params.o.lr"] for row in rows] == ["0.5", "1e-5", "0.1"] and [row["params.t"] for row in rows] == ["a,b", "c\"d\ne", "ü"]
    assert [row["value"] for row in rows] == ["0.85", "", "1.0"]
    server.get(f"/v1/sweeps/{sweep}/export", params={"format": "xls"}, expect=422)


# --- cancel and retry ---------------------------------------------------------------------------------

def test_cancelling_tells_the_worker_to_abort(server, worker, sweep):
    trial = claim(server, worker, sweep)
    for _ in range(2):
        assert server.post(f"/v1/trials/{trial['id']}/cancel")["state"] == "cancelled"
    assert server.report(trial, 1, outcome={"state": "completed", "value": 1})["command"] == "abort"
    server.report(trial, 2, expect=409)
    assert show(server, trial)["state"] == "cancelled" and show(server, trial)["value"] is None


def test_a_retry_runs_an_ended_trial_again(server, worker):
    sweep = server.create_sweep(run_cap=1)["id"]
    trial = claim(server, worker, sweep)
    server.post(f"/v1/trials/{trial['id']}/retry", expect=409)
    server.report(trial, 1, outcome={"state": "failed", "reason": "diverged"})
    assert server.get(f"/v1/sweeps/{sweep}")["state"] == "finished"
    for _ in range(2):
        shown = server.post(f"/v1/trials/{trial['id']}/retry")
        assert (shown["state"], shown["reason"], shown["finished"]) == ("queued", None, None)
    again = claim(server, worker, sweep)
    assert again["id"] == trial["id"] and again["attempt"] == 2 and again["seed"] == trial["seed"] and again["params"] == trial["params"]
    server.report(trial, 2, expect=409)
    server.report(again, 1, outcome={"state": "completed", "value": 1})
    assert server.get(f"/v1/sweeps/{sweep}")["state"] == "finished"


def test_every_trial_says_what_evaluated_it(server, sweep):
    facts = {"blas": "openblas", "threads": 2}
    worker = server.register("facts", model={"name": "m", "sha256": "aa"}, data={"sha256": "bb"}, facts=facts)["id"]
    trial = claim(server, worker, sweep)
    server.report(trial, 1, outcome={"state": "completed", "value": 1})
    evaluator = show(server, trial)["evaluator"]
    assert evaluator["worker"] == "facts" and evaluator["model"]["sha256"] == "aa" and evaluator["data"]["sha256"] == "bb" and evaluator["facts"] == facts


def test_a_lease_ends_at_an_admins_word(tmp_path):
    with Daemon(tmp_path) as server:
        server.create_sweep()
        worker = server.register("slow")
        trial = server.claim(worker["id"], "c1")[0]
        shown = server.post(f"/v1/trials/{trial['id']}/expire")
        assert shown["state"] == "queued"
        server.report(trial, 1, expect=409)
        attempt = server.get(f"/v1/trials/{trial['id']}")["attempts"][0]
        assert (attempt["state"], attempt["reason"]) == ("lost", "lease_lost")
        server.request("POST", f"/v1/trials/{trial['id']}/expire", expect=409)
        server.request("POST", "/v1/trials/nobody/expire", expect=404)
        again = server.claim(worker["id"], "c2", wait_s=5)[0]
        assert again["id"] == trial["id"] and again["attempt"] == 2
