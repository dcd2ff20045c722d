"""Claims, leases and workers through the real server: waiting, losing, coming back, many at once."""
import collections
import concurrent.futures
import random
import string
import threading
import time

import pytest
from daemon import PATIENCE_S, SANITIZED, Daemon

pytestmark = pytest.mark.coordinator


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with Daemon(tmp_path_factory.mktemp("claims")) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def brisk(tmp_path_factory):
    """A server whose leases last one second."""
    with Daemon(tmp_path_factory.mktemp("brisk"), "--lease-s", 1) as daemon:
        yield daemon


def unique(prefix="c"):
    return prefix + "".join(random.choices(string.ascii_lowercase, k=12))


def claim(server, worker, sweep=None, wait_s=0, **members):
    trials = server.claim(worker, unique(), wait_s=wait_s, **({"sweep": sweep} if sweep else {}), **members)
    return trials[0] if trials else None


def state_of(server, trial):
    return server.get(f"/v1/trials/{trial['id']}")["state"]


# --- claims -------------------------------------------------------------------------------------------

def test_a_retried_claim_gets_the_same_bytes_also_after_a_crash(tmp_path):
    with Daemon(tmp_path) as server:
        body = {"worker": server.register("w")["id"], "claim_id": "one", "slots": 2}
        server.create_sweep()
        first = server.request("POST", "/v1/claims", body, expect=200)
        assert len(first.json()["trials"]) == 2
        server.restart(crash=True)
        assert server.request("POST", "/v1/claims", body, expect=200).content == first.content


def test_a_204_is_not_remembered(server):
    worker, sweep = server.register(unique())["id"], server.create_sweep()["id"]
    server.patch(f"/v1/sweeps/{sweep}", {"state": "paused"})
    body = {"worker": worker, "claim_id": "again", "sweep": sweep}
    server.request("POST", "/v1/claims", body, expect=204)
    server.patch(f"/v1/sweeps/{sweep}", {"state": "running"})
    server.request("POST", "/v1/claims", body, expect=200)


def test_a_claim_waits_as_long_as_it_said(server):
    worker, sweep = server.register(unique())["id"], server.create_sweep()["id"]
    server.patch(f"/v1/sweeps/{sweep}", {"state": "paused"})
    start = time.monotonic()
    assert claim(server, worker, sweep, wait_s=1.5) is None
    assert 1.4 <= time.monotonic() - start < 1.5 + PATIENCE_S


def in_background(function, *args, **members):
    pool = concurrent.futures.ThreadPoolExecutor(1)
    future = pool.submit(function, *args, **members)
    pool.shutdown(wait=False)
    return future


@pytest.mark.parametrize("wake", ["resume", "enqueue", "run_cap", "retry"])
def test_a_waiting_claim_is_woken_at_once(server, wake):
    worker, sweep = server.register(unique())["id"], server.create_sweep(run_cap=1, metric={"name": "m", "target": 5.0})["id"]
    trial = claim(server, worker, sweep)
    if wake == "resume":
        server.patch(f"/v1/sweeps/{sweep}", {"run_cap": 2})
        server.patch(f"/v1/sweeps/{sweep}", {"state": "paused"})
    waiting = in_background(claim, server, worker, sweep, wait_s=30)
    with pytest.raises(concurrent.futures.TimeoutError):
        waiting.result(0.3)
    start = time.monotonic()
    if wake == "resume":
        server.patch(f"/v1/sweeps/{sweep}", {"state": "running"})
    elif wake == "enqueue":
        server.post(f"/v1/sweeps/{sweep}/trials", {"params": {"x": 0.5, "n": 1}}, expect=201)
    elif wake == "run_cap":
        server.patch(f"/v1/sweeps/{sweep}", {"run_cap": 2})
    else:
        server.report(trial, 1, outcome={"state": "failed", "reason": "crashed"})
    assert waiting.result(PATIENCE_S)["sweep"] == sweep
    assert time.monotonic() - start < (10 if SANITIZED else 3)


@pytest.mark.parametrize("state", ["finished", "cancelled"])
def test_the_end_of_a_sweep_lets_its_claims_go(server, state):
    worker, sweep = server.register(unique())["id"], server.create_sweep(run_cap=1)["id"]
    trial = claim(server, worker, sweep)
    body = {"worker": worker, "claim_id": unique(), "wait_s": 30, "sweep": sweep}
    waiting = in_background(server.request, "POST", "/v1/claims", body)
    with pytest.raises(concurrent.futures.TimeoutError):
        waiting.result(0.3)
    if state == "finished":
        server.report(trial, 1, outcome={"state": "completed", "value": 1})
    else:
        server.patch(f"/v1/sweeps/{sweep}", {"state": "cancelled"})
    for answer in (waiting.result(PATIENCE_S), server.request("POST", "/v1/claims", {**body, "claim_id": unique()})):
        assert answer.status_code == 204 and answer.headers["Sweep-State"] == state


@pytest.mark.parametrize("members,status", [
    ({"worker": "nobody"}, 404), ({"sweep": "nothing"}, 404), ({"wait_s": -1}, 422), ({"wait_s": 61}, 422), ({"slots": 0}, 422), ({"claim_id": ""}, 422),
    ({"claim_id": None}, 422), ({"worker": None}, 422), ({"colour": 1}, 422),
])
def test_faulty_claims(server, members, status):
    body = {"worker": server.register("faulty")["id"], "claim_id": unique(), **members}
    server.post("/v1/claims", {key: value for key, value in body.items() if value is not None}, expect=status)


def test_a_program_is_only_given_to_workers_that_allow_it(server):
    sweep = server.create_sweep(trainer="command", program="train")["id"]
    other, right = server.register(unique(), trainers=["command:eval", "external"]), server.register(unique(), trainers=["command:train"])
    assert claim(server, other["id"], sweep) is None
    why = {item["sweep"]: item["why"] for w in server.get("/v1/workers?limit=1000")["items"] if w["id"] == other["id"] for item in w["excluded"]}
    assert "command:train" in why[sweep]
    assert claim(server, right["id"], sweep)["trainer"] == "command"


def test_a_sweep_keeps_to_one_model(server):
    sweep = server.create_sweep(model_sha256="m1")["id"]
    wrong, right = server.register(unique(), model={"sha256": "m2"}), server.register(unique(), model={"sha256": "m1"}, data={"sha256": "d1"})
    assert claim(server, wrong["id"], sweep) is None
    assert claim(server, right["id"], sweep) is not None
    assert claim(server, server.register(unique(), model={"sha256": "m1"}, data={"sha256": "d2"})["id"], sweep) is None


# --- leases -------------------------------------------------------------------------------------------

def test_a_silent_worker_loses_its_trial_to_another(brisk):
    first, second = brisk.register(unique())["id"], brisk.register(unique())["id"]
    sweep = brisk.create_sweep(run_cap=1)["id"]
    lost = claim(brisk, first, sweep)
    again = claim(brisk, second, sweep, wait_s=20)
    assert again["id"] == lost["id"] and again["attempt"] == 2 and again["lease"] != lost["lease"]
    brisk.report(lost, 1, expect=409, outcome={"state": "completed", "value": 5})
    brisk.report(again, 1, outcome={"state": "completed", "value": 1})
    assert brisk.get(f"/v1/trials/{lost['id']}")["value"] == 1


def test_a_trial_that_is_lost_too_often_fails(brisk):
    worker, sweep = brisk.register(unique())["id"], brisk.create_sweep(run_cap=1, max_attempts=2)["id"]
    assert claim(brisk, worker, sweep) and claim(brisk, worker, sweep, wait_s=20)
    trial = brisk.wait_until(f"/v1/sweeps/{sweep}", lambda s: s["state"] == "finished") and brisk.get(f"/v1/sweeps/{sweep}/trials")["items"][0]
    assert trial["state"] == "failed" and trial["reason"] == "lease_lost" and trial["attempt"] == 2


def test_a_trial_without_progress_fails(brisk):
    worker, sweep = brisk.register(unique())["id"], brisk.create_sweep(run_cap=1, max_attempts=1, no_progress_timeout_s=1.5)["id"]
    trial = claim(brisk, worker, sweep)
    deadline, seq, status = time.monotonic() + PATIENCE_S, 1, 200
    while status == 200 and time.monotonic() < deadline:
        status = brisk.request("POST", f"/v1/trials/{trial['id']}/report", {"lease": trial["lease"], "seq": seq, "progress": 0.5}).status_code
        seq += 1
        time.sleep(0.1)
    assert status == 409 and brisk.get(f"/v1/trials/{trial['id']}")["reason"] == "timeout"


def test_leases_outlive_the_coordinators_absence(tmp_path):
    with Daemon(tmp_path, "--lease-s", 3) as server:
        worker, sweep = server.register("w")["id"], server.create_sweep(run_cap=1)["id"]
        trial = claim(server, worker, sweep)
        server.kill()
        time.sleep(3.5)
        server.start()
        server.report(trial, 1, outcome={"state": "completed", "value": 1})
        assert state_of(server, trial) == "completed"


def test_another_process_of_a_worker_loses_the_old_leases(server):
    name = unique()
    worker, sweep = server.register(name, instance="one")["id"], server.create_sweep()["id"]
    trial = claim(server, worker, sweep)
    assert server.register(name, instance="one")["id"] == worker and state_of(server, trial) == "running"
    assert server.register(name, instance="two")["id"] == worker and state_of(server, trial) == "queued"
    server.report(trial, 1, expect=409)
    assert claim(server, worker, sweep)["id"] == trial["id"]


def test_a_released_trial_comes_first_with_its_resume(server):
    mine, other, sweep = server.register(unique())["id"], server.register(unique())["id"], server.create_sweep()["id"]
    trial = claim(server, mine, sweep)
    server.post(f"/v1/sweeps/{sweep}/trials", {"params": {"x": 0.5, "n": 1}}, expect=201)
    server.report(trial, 1, outcome={"state": "released", "resume": {"step": 40, "path": "a/b"}})
    assert claim(server, other, sweep)["id"] != trial["id"]
    again = claim(server, mine, sweep)
    assert again["id"] == trial["id"] and again["resume"] == {"step": 40, "path": "a/b"} and again["attempt"] == 2


# --- workers ------------------------------------------------------------------------------------------

def test_workers_are_listed_with_what_they_do(brisk):
    worker = brisk.register(unique(), slots=3)
    assert worker["state"] == "active" and worker["lease_s"] == 1 and worker["slots"] == 3 and worker["trials"] == []
    find = lambda workers: next(w for w in workers["items"] if w["id"] == worker["id"])
    trial = claim(brisk, worker["id"], brisk.create_sweep(run_cap=1)["id"])
    assert find(brisk.get("/v1/workers?limit=1000"))["trials"] == [trial["id"]]
    assert find(brisk.wait_until("/v1/workers?limit=1000", lambda w: find(w)["state"] == "gone"))["last_seen"].endswith("Z")
    brisk.register(worker["name"], slots=3)
    assert find(brisk.get("/v1/workers?limit=1000"))["state"] == "active"


def test_a_draining_worker_gets_nothing_more(server):
    worker, sweep = server.register(unique(), instance="a"), server.create_sweep()["id"]
    trial = claim(server, worker["id"], sweep)
    assert server.post(f"/v1/workers/{worker['id']}/drain")["state"] == "draining"
    assert claim(server, worker["id"], sweep) is None
    server.report(trial, 1, outcome={"state": "completed", "value": 1})
    server.post("/v1/workers/wnobody/drain", expect=404)


# --- many at once -------------------------------------------------------------------------------------

def test_many_workers_never_share_a_trial(tmp_path):
    n_workers, n_trials = (4, 40) if SANITIZED else (12, 240)
    with Daemon(tmp_path) as server:
        sweep = server.create_sweep(run_cap=n_trials, max_attempts=3)["id"]
        done, lock, session = collections.Counter(), threading.Lock(), server.session

        def work(i):
            worker = server.register(f"w{i}")["id"]
            while True:
                trials = server.claim(worker, unique(), wait_s=20, sweep=sweep)
                if not trials:
                    return
                for trial in trials:
                    server.report(trial, 1, metrics=[{"name": "loss", "step": 1, "value": trial["params"]["x"]}])
                    server.report(trial, 2, outcome={"state": "completed"})
                    with lock:
                        done[trial["number"]] += 1

        with concurrent.futures.ThreadPoolExecutor(n_workers) as pool:
            list(pool.map(work, range(n_workers)))
        assert session and done == collections.Counter(range(1, n_trials + 1))
        assert server.get(f"/v1/sweeps/{sweep}")["counts"]["completed"] == n_trials


def test_nothing_is_lost_or_done_twice_when_the_coordinator_is_killed(tmp_path):
    n_trials, n_kills = (12, 3) if SANITIZED else (40, 8)
    with Daemon(tmp_path) as server:
        sweep, worker = server.create_sweep(run_cap=n_trials)["id"], server.register("w")["id"]
        accepted = {}
        chance = random.Random(5)
        for i in range(n_trials):
            trials = server.claim(worker, f"k{i}", wait_s=5)
            if i % (n_trials // n_kills) == 0:
                server.restart(crash=True)
                assert server.claim(worker, f"k{i}", wait_s=5) == trials
            value = chance.random()
            server.report(trials[0], 1, outcome={"state": "completed", "value": value})
            accepted[trials[0]["id"]] = value
        server.restart(crash=True)
        shown = {t["id"]: t["value"] for t in server.get(f"/v1/sweeps/{sweep}/trials")["items"]}
        assert shown == accepted and server.get(f"/v1/sweeps/{sweep}")["state"] == "finished"


# --- one name, two processes ----------------------------------------------------------------------------

def test_two_processes_with_one_name_are_both_told_and_the_first_learns_why_its_lease_is_over(server):
    name = unique("shared")
    shown = lambda: next(worker for worker in server.get("/v1/workers?limit=1000")["items"] if worker["name"] == name)
    sweep = server.create_sweep(run_cap=None)["id"]
    worker = server.register(name, instance="first")["id"]
    ask = lambda instance, claim=None: server.request("POST", "/v1/claims", {"worker": worker, "claim_id": claim or unique(), "sweep": sweep}, expect=200,
                                                      headers={"Worker-Instance": instance})
    answer = ask("first")
    assert "Name-Shared" not in answer.headers
    trial = answer.json()["trials"][0]
    assert server.register(name, instance="second")["name_shared_since"] is None
    over = server.report(trial, 1, expect=409)
    assert "another process registered under the worker's name" in over["detail"]
    [attempt] = server.get(f"/v1/trials/{trial['id']}")["attempts"]
    assert attempt["state"] == "lost" and "another process" in attempt["detail"]

    assert "Name-Shared" not in ask("first").headers  # may have been long on its way
    time.sleep(1.1)
    assert "Name-Shared" not in ask("second").headers and shown()["name_shared_since"] is None
    assert ask("first").headers["Name-Shared"] == "true"
    claim = unique()
    answers = [ask("second", claim), ask("second", claim)]  # a repeated claim is answered from the store
    assert answers[0].json() == answers[1].json() and all(answer.headers["Name-Shared"] == "true" for answer in answers) and shown()["name_shared_since"]
    over = server.create_sweep(run_cap=None)["id"]
    server.patch(f"/v1/sweeps/{over}", {"state": "cancelled"})
    assert server.request("POST", "/v1/claims", {"worker": worker, "claim_id": unique(), "sweep": over}, expect=204).headers["Name-Shared"] == "true"
    assert server.log().count(f"two processes work under one worker's name") >= 1 and name in server.log()
    server.claim(worker, unique(), sweep=sweep)  # one that does not tell its instance changes nothing
    assert server.register(name, instance="second")["name_shared_since"]
    assert server.register(name, instance="third")["name_shared_since"] is None
    assert "Name-Shared" not in ask("third").headers and shown()["name_shared_since"] is None
    assert "Worker-Instance" in server.request("POST", "/v1/claims", {"worker": worker, "claim_id": unique()}, expect=422, headers={"Worker-Instance": "i" * 129}).text
