"""The wire contract as an independent client reads it: claims, reports, endings, values, counting, workers."""
import json
import time

import pytest
from daemon import PATIENCE_S, SANITIZED, Daemon
from study import Study, Waiting, faults, fresh, problem

pytestmark = pytest.mark.coordinator
AT_ONCE_S = 15 if SANITIZED else 2  # under load; a long poll that is not woken takes far longer
REQUEUED = ["lease_lost", "crashed", "out_of_memory", "io", "timeout", "bad_checkpoint"]
FINAL = ["diverged", "bad_config", "bad_model", "bad_data", "no_metric"]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with Daemon(tmp_path_factory.mktemp("trials")) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def hasty(tmp_path_factory):
    """A daemon whose leases last a second."""
    with Daemon(tmp_path_factory.mktemp("hasty"), "--lease-s", 1) as daemon:
        yield daemon


def send(server, trial, body):
    return server.request("POST", f"/v1/trials/{trial['id']}/report", body)


def wait_for(server, trial, *states):
    return server.wait_until(f"/v1/trials/{trial['id']}", lambda shown: shown["state"] in states)


# --- claims -------------------------------------------------------------------------------------------

def test_a_retried_claim_gets_the_same_trials_and_leases(server):
    study, claim_id = Study(server), fresh("claim")
    body = {"worker": study.worker, "claim_id": claim_id, "slots": 3, "wait_s": 0, "sweep": study.id}
    first = server.request("POST", "/v1/claims", body, expect=200)
    assert len({trial["lease"] for trial in first.json()["trials"]}) == 3
    assert server.request("POST", "/v1/claims", body, expect=200).json() == first.json()
    assert study.counts() == {"running": 3}
    for trial in first.json()["trials"]:
        study.end(trial, value=1)
        assert study.trial(trial)["attempt"] == 1
    assert server.request("POST", "/v1/claims", body, expect=200).json() == first.json(), "kept for at least 24 h"
    assert study.counts() == {"completed": 3}


def test_a_claim_id_belongs_to_its_worker(server):
    study, claim_id = Study(server), fresh("claim")
    other = server.register(fresh("other"))["id"]
    one, two = (server.claim(worker, claim_id, sweep=study.id)[0] for worker in (study.worker, other))
    assert one["id"] != two["id"]


def test_a_204_is_not_remembered(server):
    study, claim_id = Study(server), fresh("claim")
    study.change(state="paused")
    assert server.claim(study.worker, claim_id, sweep=study.id) == []
    study.change(state="running")
    assert len(server.claim(study.worker, claim_id, sweep=study.id)) == 1


def test_slots_ask_for_several_trials_and_get_what_there_is(server):
    study = Study(server, run_cap=5)
    trials = study.claim_many(3)
    assert len(trials) == len({trial["id"] for trial in trials}) == 3
    assert len(study.claim_many(3)) == 2
    assert study.claim() is None


def test_a_claim_without_slots_gets_one(server):
    study = Study(server)
    assert len(server.claim(study.worker, fresh(), sweep=study.id)) == 1


def test_slots_of_a_registration_limit_nothing(server):
    study = Study(server)
    worker = server.register(fresh("narrow"), slots=1)["id"]
    assert all(study.claim(worker) for _ in range(5))


@pytest.mark.parametrize("members, pointer", [({"wait_s": -1}, "/wait_s"), ({"wait_s": 61}, "/wait_s"), ({"wait_s": "1"}, "/wait_s"), ({"slots": 0}, "/slots"),
                                              ({"slots": 1.5}, "/slots"), ({"claim_id": ""}, "/claim_id"), ({"claim_id": None}, "/claim_id"),
                                              ({"sweep": 3}, "/sweep")])
def test_claims_out_of_range_are_422(server, members, pointer):
    study = Study(server)
    body = {"worker": study.worker, "claim_id": fresh(), "wait_s": 0, "sweep": study.id, **members}
    assert pointer in faults(server.request("POST", "/v1/claims", body))
    assert study.counts() == {}


def test_a_claim_of_a_worker_or_sweep_that_nobody_knows_is_refused(server):
    study = Study(server)
    assert server.request("POST", "/v1/claims", {"worker": "nobody", "claim_id": "c", "wait_s": 0}).status_code in (404, 409, 422)
    assert server.request("POST", "/v1/claims", {"worker": study.worker, "claim_id": "c", "wait_s": 0, "sweep": "none"}).status_code in (404, 422)


@pytest.mark.parametrize("method", ["random", "sobol", "bayes"])
def test_a_claim_that_does_not_wait_still_gets_a_proposal(server, method):
    study = Study(server, method=method, run_cap=30)
    assert len(study.run(lambda params: params["x"] ** 2 + params["n"], most=14)) == 14


def test_a_claim_waits_its_time_and_then_gets_204(server):
    study = Study(server)
    study.change(state="paused")
    begin = time.monotonic()
    assert study.claim(wait_s=1) is None
    assert 0.9 <= time.monotonic() - begin <= 1 + AT_ONCE_S


def waiting(study, wait_s=60, **members):
    return Waiting(study.server, {"worker": study.worker, "claim_id": fresh(), "wait_s": wait_s, "sweep": study.id, **members})


def test_resuming_wakes_waiting_claims_at_once(server):
    study = Study(server)
    study.change(state="paused")
    claims = [waiting(study), waiting(study)]
    study.change(state="running")
    ids = [claim.answer(AT_ONCE_S).json()["trials"][0]["id"] for claim in claims]
    assert len(set(ids)) == 2


def test_enqueueing_wakes_a_waiting_claim_at_once(server):
    study = Study(server, run_cap=1)
    study.claim()  # holds the sweep open
    claim = waiting(study)
    [trial] = study.enqueue({"x": 0.5, "n": 1})
    assert claim.answer(AT_ONCE_S).json()["trials"][0]["id"] == trial["id"]


def test_a_raised_run_cap_wakes_a_waiting_claim_at_once(server):
    study = Study(server, run_cap=1)
    study.claim()
    claim = waiting(study)
    study.change(run_cap=2)
    assert claim.answer(AT_ONCE_S).status_code == 200


def test_a_requeued_trial_wakes_a_waiting_claim_at_once(server):
    study = Study(server, run_cap=1)
    trial = study.claim()
    claim = waiting(study)
    study.end(trial, "failed", reason="crashed")
    again = claim.answer(AT_ONCE_S).json()["trials"][0]
    assert (again["id"], again["attempt"]) == (trial["id"], 2)


def test_a_claim_of_any_sweep_is_woken_by_a_new_one(tmp_path):
    with Daemon(tmp_path) as server:
        claim = Waiting(server, {"worker": server.register()["id"], "claim_id": "c", "wait_s": 60})
        sweep = server.create_sweep()
        assert claim.answer(AT_ONCE_S).json()["trials"][0]["sweep"] == sweep["id"]


@pytest.mark.parametrize("state", ["finished", "cancelled"])
def test_a_claim_naming_an_ended_sweep_is_204_at_once_and_says_so(server, state):
    study = Study(server, run_cap=1)
    study.end(study.claim(), value=1) if state == "finished" else study.change(state="cancelled")
    begin = time.monotonic()
    response = server.request("POST", "/v1/claims", {"worker": study.worker, "claim_id": fresh(), "wait_s": 30, "sweep": study.id}, expect=204)
    assert time.monotonic() - begin < AT_ONCE_S
    assert response.headers["Sweep-State"] == state and not response.content


def test_a_claim_waiting_for_a_sweep_that_ends_is_answered_at_once(server):
    study = Study(server, run_cap=1)
    trial = study.claim()
    claim = waiting(study)
    study.end(trial, value=1)
    response = claim.answer(AT_ONCE_S)
    assert response.status_code == 204 and response.headers["Sweep-State"] == "finished"
    study = Study(server)
    study.change(state="paused")
    claim = waiting(study)
    study.change(state="cancelled")
    response = claim.answer(AT_ONCE_S)
    assert response.status_code == 204 and response.headers["Sweep-State"] == "cancelled"


def test_workers_get_only_what_their_trainers_can_do(server):
    study = Study(server, trainer=None, program="train.py")
    for trainers in (["external"], ["distilbert-mrpc"], ["command:other.py"]):
        assert study.claim(server.register(fresh(), trainers=trainers)["id"]) is None
    trial = study.claim(server.register(fresh(), trainers=["external", "command:train.py"])["id"])
    assert trial["trainer"].startswith("command")


def test_enqueued_trials_come_before_proposals_and_in_order(server):
    study = Study(server)
    queued = study.enqueue({"x": 0.75, "n": 3}, {"x": 0.25, "n": 4}) + study.enqueue({"x": 0.5, "n": 5})
    assert [study.claim()["id"] for _ in range(3)] == [trial["id"] for trial in queued]
    assert study.claim()["id"] not in {trial["id"] for trial in queued}


def test_enqueued_parameters_left_out_take_the_baseline(server):
    study = Study(server, baseline={"n": 7})
    [trial] = study.enqueue({"x": 0.5})
    assert trial["params"] == {"x": 0.5, "n": 7}
    response = server.request("POST", study.path + "/trials", {"trials": [{"params": {"x": 0.5}}, {"params": {"n": 3}}]})
    assert any(pointer.startswith("/trials/1/params") for pointer in faults(response))
    assert len(study.trials()) == 1, "all or nothing"


def test_a_single_configuration_needs_no_list(server):
    study = Study(server)
    [one] = server.post(study.path + "/trials", {"params": {"x": 0.5, "n": 1}}, expect=201)["items"]
    [two] = server.post(study.path + "/trials", {"params": {"x": 0.5, "n": 1}, "value": 0.85}, expect=201)["items"]
    assert (one["state"], two["state"], two["value"]) == ("queued", "completed", 0.85)
    for body in ({}, {"params": 3}, {"trials": []}, {"trials": [{}]}, {"params": {"x": 0.5, "n": 1}, "value": "high"}, {"params": {"x": "high", "n": 1}},
                 {"trials": {}}, {"params": {"x": 0.5, "n": 1}, "trials": []}):
        problem(server.request("POST", study.path + "/trials", body), 422)
    assert len(study.trials()) == 2


def test_nothing_is_enqueued_in_a_cancelled_sweep(server):
    study = Study(server)
    study.change(state="cancelled")
    problem(server.request("POST", study.path + "/trials", {"params": {"x": 0.5, "n": 1}}), 409)


def test_pausing_lets_running_trials_end(server):
    study = Study(server)
    trial = study.claim()
    study.change(state="paused")
    assert study.report(trial, 1)["command"] == "continue"
    study.end(trial, value=0.5)
    assert study.counts() == {"completed": 1} and study.state() == "paused"
    study.enqueue({"x": 0.5, "n": 1})
    assert study.claim() is None


# --- reports ------------------------------------------------------------------------------------------

def test_a_report_is_answered_with_a_command_and_the_lease(server):
    study = Study(server)
    trial = study.claim()
    answer = study.report(trial, 1, progress=0.33, metrics=[], outcome=None)
    assert answer["command"] == "continue" and answer["lease_s"] == 60


@pytest.mark.parametrize("seq", [0, -1, 1.5, "1", True, None, 2**63])
def test_seq_is_an_integer_from_one(server, seq):
    study = Study(server)
    trial = study.claim()
    response = send(server, trial, {"lease": trial["lease"], "seq": seq})
    assert response.status_code in ((400, 422) if seq == 2**63 else (422,)), response.text


def test_seq_may_leave_gaps_and_what_is_not_above_the_last_is_a_retry(server):
    study = Study(server)
    trial = study.claim()
    answer = study.report(trial, 7, metrics=[{"name": "loss", "step": 1, "value": 0.5}])
    for seq in (7, 6, 1):
        again = study.report(trial, seq, metrics=[{"name": "loss", "step": 1, "value": 9}, {"name": "loss", "step": 2, "value": 9}],
                             outcome={"state": "failed", "reason": "crashed"})
        assert again == answer
    assert study.trial(trial)["state"] == "running"
    assert [(p["step"], p["value"]) for p in server.get(f"/v1/trials/{trial['id']}/metrics")["items"]] == [(1, 0.5)]
    study.report(trial, 1000000)


@pytest.mark.parametrize("outcome", [{"state": "completed", "value": 0.5}, {"state": "failed", "reason": "diverged"}, {"state": "failed", "reason": "crashed"},
                                     {"state": "released", "resume": {"a": 1}}, {"state": "stopped", "value": 0.5}])
def test_after_the_end_a_retry_gets_the_answer_and_anything_new_409(server, outcome):
    study = Study(server)
    trial = study.claim()
    study.report(trial, 1, progress=0.1)
    answer = study.report(trial, 5, outcome=outcome)
    before = study.trial(trial)
    assert study.report(trial, 5, outcome=outcome) == answer
    assert study.report(trial, 2) == answer
    problem(send(server, trial, {"lease": trial["lease"], "seq": 6, "metrics": [{"name": "loss", "step": 1, "value": 1}]}), 409)
    assert study.trial(trial) == before and server.get(f"/v1/trials/{trial['id']}/metrics")["items"] == []
    if before["state"] == "queued":  # the next lease changes nothing about that
        again = study.claim()
        assert again["id"] == trial["id"] and again["lease"] != trial["lease"]
        assert study.report(trial, 5, outcome=outcome) == answer
        problem(send(server, trial, {"lease": trial["lease"], "seq": 6}), 409)
        assert study.report(again, 1)["command"] == "continue", "seq counts per lease"


def test_a_lease_that_was_never_given_is_409(server):
    study = Study(server)
    trial, other = study.claim(), study.claim()
    for lease in ("nonsense", other["lease"]):
        problem(send(server, trial, {"lease": lease, "seq": 1, "outcome": {"state": "completed", "value": 1}}), 409)
    assert study.counts() == {"running": 2}


def test_a_faulty_report_changes_nothing(server):
    study = Study(server)
    trial = study.claim()
    good = {"name": "loss", "step": 1, "value": 0.5}
    for members in ({"metrics": [good, {"name": "loss", "step": -1, "value": 1}]}, {"metrics": [good, {"name": "loss", "step": 1.5, "value": 1}]},
                    {"metrics": [good, {"name": "", "step": 1, "value": 1}]}, {"metrics": [good, {"name": "loss", "step": 1, "value": None}]},
                    {"metrics": [good, {"name": "loss", "step": 1, "value": 1, "time": "yesterday"}]}, {"metrics": [good], "progress": 1.5},
                    {"metrics": [good], "outcome": {"state": "running"}}, {"metrics": [good], "outcome": {"state": "completed", "value": "x"}},
                    {"metrics": [good], "outcome": {}}, {"metrics": [good], "outcome": {"state": "failed"}}, {"metrics": [good] * 1001}):
        problem(send(server, trial, {"lease": trial["lease"], "seq": 1, **members}), 422)
    assert server.get(f"/v1/trials/{trial['id']}/metrics")["items"] == []
    assert study.report(trial, 1, metrics=[good])["command"] == "continue"
    assert len(server.get(f"/v1/trials/{trial['id']}/metrics")["items"]) == 1


def test_limits_of_a_report(server):
    study = Study(server)
    trial = study.claim()
    study.report(trial, 1, metrics=[{"name": "loss", "step": step, "value": 1} for step in range(1000)])
    problem(send(server, trial, {"lease": trial["lease"], "seq": 2, "outcome": {"state": "failed", "reason": "diverged", "detail": "x" * 16385}}), 422)
    study.report(trial, 2, outcome={"state": "failed", "reason": "diverged", "detail": "x" * 16384})
    assert study.trial(trial)["detail"] == "x" * 16384
    trial = study.claim()
    problem(send(server, trial, {"lease": trial["lease"], "seq": 1, "outcome": {"state": "released", "resume": {"a": "x" * 4096}}}), 422)
    study.report(trial, 1, outcome={"state": "released", "resume": {"a": "x" * 4080}})
    assert study.claim()["resume"] == {"a": "x" * 4080}


@pytest.mark.parametrize("resume", [{"step": 41, "nested": {"a": [1, 2.5, None, "é"]}}, {}, None])
def test_resume_comes_back_as_it_was(server, resume):
    study = Study(server)
    trial = study.claim()
    study.end(trial, "released", **({"resume": resume} if resume is not None else {}))
    again = study.claim()
    assert (again["id"], again["attempt"], again["resume"], again["seed"], again["params"]) == (trial["id"], 2, resume, trial["seed"], trial["params"])


def test_a_released_trial_is_first_in_line(server):
    study = Study(server)
    study.enqueue({"x": 0.1, "n": 1}, {"x": 0.2, "n": 2})
    trial = study.claim()
    study.end(trial, "released", resume={"a": 1})
    assert study.trial(trial)["state"] == "queued"
    assert study.claim()["id"] == trial["id"]


def test_a_released_trial_is_kept_for_its_worker_for_one_lease_time(hasty):
    study = Study(hasty)
    other = hasty.register(fresh("other"))["id"]
    trial, waits_for_other = study.claim(), study.claim()
    study.end(waits_for_other, "released")
    study.end(trial, "released")
    elsewhere = study.claim(other)
    assert elsewhere is None or elsewhere["id"] not in (trial["id"], waits_for_other["id"])
    assert study.claim()["id"] in (trial["id"], waits_for_other["id"])
    got = study.claim(other, wait_s=10)  # the other one is everybody's after a lease time
    while got and got["id"] not in (trial["id"], waits_for_other["id"]):
        study.end(got, value=1)
        time.sleep(0.05)
        got = study.claim(other, wait_s=10)
    assert got and got["attempt"] == 2


def test_released_does_not_count_as_an_attempt_used(server):
    study = Study(server, max_attempts=1)
    for _ in range(4):
        study.end(study.claim(), "released")
    trial = study.claim()
    assert trial["attempt"] == 5
    study.end(trial, "failed", reason="crashed")
    assert study.trial(trial)["state"] == "failed"


# --- leases -------------------------------------------------------------------------------------------

def test_a_lost_lease_requeues_until_max_attempts(hasty):
    study = Study(hasty, max_attempts=2)
    first = study.claim()
    wait_for(hasty, first, "queued")
    problem(send(hasty, first, {"lease": first["lease"], "seq": 1, "outcome": {"state": "completed", "value": 1}}), 409)
    second = study.claim()
    assert (second["id"], second["attempt"], second["params"], second["seed"]) == (first["id"], 2, first["params"], first["seed"])
    problem(send(hasty, first, {"lease": first["lease"], "seq": 1, "metrics": [{"name": "loss", "step": 1, "value": 1}]}), 409)
    study.change(run_cap=1)
    assert study.state() == "running"
    lost = wait_for(hasty, first, "failed")
    assert study.state() == "finished"
    assert lost["reason"] == "lease_lost" and lost["value"] is None and lost["finished"]


def test_reports_keep_a_lease(hasty):
    study = Study(hasty)
    trial = study.claim()
    for seq in range(1, 11):
        study.report(trial, seq)
        time.sleep(0.2)
    study.end(trial, value=0.5)
    assert study.trial(trial)["attempt"] == 1


def test_a_new_instance_loses_the_old_ones_leases_at_once(server):
    study = Study(server)
    name = fresh("instance")
    worker = server.register(name, instance="one")["id"]
    trial = study.claim(worker)
    assert server.register(name, instance="one")["id"] == worker
    assert study.report(trial, 1)["command"] == "continue", "the same instance is a retry"
    assert server.register(name, instance="two")["id"] == worker
    assert study.trial(trial)["state"] == "queued"
    problem(send(server, trial, {"lease": trial["lease"], "seq": 2}), 409)
    again = study.claim(worker)
    assert (again["id"], again["attempt"]) == (trial["id"], 2)


def test_leases_lost_to_new_instances_use_up_attempts(server):
    study = Study(server, max_attempts=2)
    name = fresh("instance")
    worker = server.register(name, instance="0")["id"]
    for i in range(2):
        trial = study.claim(worker)
        server.register(name, instance=str(i + 1))
    assert (study.trial(trial)["state"], study.trial(trial)["reason"]) == ("failed", "lease_lost")


# --- endings ------------------------------------------------------------------------------------------

@pytest.mark.parametrize("reason", REQUEUED)
def test_some_endings_requeue_until_max_attempts(server, reason):
    study = Study(server)
    for attempt in (1, 2, 3):
        trial = study.claim()
        assert trial["attempt"] == attempt and trial["number"] == 1
        study.end(trial, "failed", reason=reason, detail=f"attempt {attempt}")
        assert study.trial(trial)["state"] == ("failed" if attempt == 3 else "queued")
    shown = study.trial(trial)
    assert (shown["reason"], shown["detail"], shown["attempt"]) == (reason, "attempt 3", 3)
    assert study.claim()["number"] == 2


@pytest.mark.parametrize("reason", FINAL)
def test_some_endings_are_final(server, reason):
    study = Study(server)
    trial = study.claim()
    study.end(trial, "failed", reason=reason, detail="why")
    shown = study.trial(trial)
    assert (shown["state"], shown["reason"], shown["detail"], shown["value"]) == ("failed", reason, "why", None)


@pytest.mark.parametrize("reason", ["bored", "", "Crashed", None, 3, "completed"])
def test_other_reasons_are_422(server, reason):
    study = Study(server)
    trial = study.claim()
    assert "/outcome/reason" in faults(send(server, trial, {"lease": trial["lease"], "seq": 1, "outcome": {"state": "failed", "reason": reason}}))
    assert study.trial(trial)["state"] == "running"


def test_a_retry_gives_a_fresh_allowance(server):
    study = Study(server, max_attempts=2, run_cap=1)
    for _ in range(2):
        trial = study.claim()
        study.end(trial, "failed", reason="crashed")
    assert study.state() == "finished"
    retried = server.post(f"/v1/trials/{trial['id']}/retry")
    assert (retried["state"], retried["reason"], retried["value"], retried["finished"]) == ("queued", None, None, None)
    assert study.state() == "running"
    for attempt in (3, 4):
        trial = study.claim()
        assert trial["attempt"] == attempt
        study.end(trial, "failed", reason="crashed")
    assert study.trial(trial)["state"] == "failed" and study.state() == "finished"


@pytest.mark.parametrize("outcome", [{"state": "completed", "value": 0.5}, {"state": "stopped", "value": 0.5}, {"state": "failed", "reason": "diverged"}])
def test_every_ended_trial_can_be_retried(server, outcome):
    study = Study(server, run_cap=1)
    trial = study.claim()
    study.report(trial, 1, outcome=outcome)
    server.post(f"/v1/trials/{trial['id']}/retry")
    before = study.trial(trial)
    assert server.post(f"/v1/trials/{trial['id']}/retry")["state"] == "queued"
    assert study.trial(trial) == before and study.show()["best"] is None
    again = study.claim()
    assert again["id"] == trial["id"] and again["seed"] == trial["seed"]
    assert study.claim() is None, "a retry is not a new trial"


def test_a_running_trial_cannot_be_retried(server):
    study = Study(server)
    problem(server.request("POST", f"/v1/trials/{study.claim()['id']}/retry"), 409)


def test_a_cancelled_trial_tells_its_worker_to_abort(server):
    study = Study(server)
    trial = study.claim()
    assert server.post(f"/v1/trials/{trial['id']}/cancel")["state"] == "cancelled"
    metrics = [{"name": "loss", "step": 1, "value": 0.5}]
    answer = study.report(trial, 1, metrics=metrics)
    assert answer["command"] == "abort"
    assert study.report(trial, 1, metrics=metrics) == answer
    problem(send(server, trial, {"lease": trial["lease"], "seq": 2}), 409)
    assert study.trial(trial)["state"] == "cancelled" and study.trial(trial)["value"] is None


def test_an_ending_that_comes_after_the_cancel_changes_nothing(server):
    study = Study(server)
    trial = study.claim()
    server.post(f"/v1/trials/{trial['id']}/cancel")
    response = send(server, trial, {"lease": trial["lease"], "seq": 1, "outcome": {"state": "completed", "value": 0.5}})
    assert response.status_code == 409 or response.json()["command"] == "abort"
    assert (study.trial(trial)["state"], study.trial(trial)["value"]) == ("cancelled", None)


def test_cancelling_a_sweep_cancels_its_trials_at_once(server):
    study = Study(server)
    study.enqueue({"x": 0.1, "n": 1}, {"x": 0.2, "n": 1}, {"x": 0.3, "n": 1})
    study.end(study.claim(), value=0.5)
    running = study.claim()
    assert study.change(state="cancelled")["counts"]["cancelled"] == 2
    assert study.counts() == {"completed": 1, "cancelled": 2}
    assert study.report(running, 1)["command"] == "abort"
    problem(send(server, running, {"lease": running["lease"], "seq": 2}), 409)
    assert study.claim() is None


def test_an_ended_trial_cannot_be_cancelled(server):
    study = Study(server)
    trial = study.claim()
    study.end(trial, value=0.5)
    problem(server.request("POST", f"/v1/trials/{trial['id']}/cancel"), 409)
    assert study.trial(trial)["state"] == "completed"


def test_a_trial_has_its_time(hasty):
    study = Study(hasty, trial_timeout_s=1, max_attempts=1)
    trial = study.claim()
    for seq in range(1, 40):
        if send(hasty, trial, {"lease": trial["lease"], "seq": seq, "progress": seq / 100}).status_code == 409:
            break
        time.sleep(0.1)
    shown = wait_for(hasty, trial, "failed")
    assert shown["reason"] == "timeout"


def test_a_trial_without_progress_has_less_time(hasty):
    study = Study(hasty, no_progress_timeout_s=1, max_attempts=1)
    idle, busy = study.claim(), study.claim()
    deadline = time.monotonic() + PATIENCE_S
    seq = 0
    while study.trial(idle)["state"] == "running" and time.monotonic() < deadline:
        seq += 1
        send(hasty, idle, {"lease": idle["lease"], "seq": seq})
        study.report(busy, seq, metrics=[{"name": "loss", "step": seq, "value": 0.5}], progress=seq / 1000)
        time.sleep(0.1)
    assert (study.trial(idle)["state"], study.trial(idle)["reason"]) == ("failed", "timeout")
    assert study.trial(busy)["state"] == "running"


# --- values -------------------------------------------------------------------------------------------

SERIES = [{"name": "loss", "step": 30, "value": 0.75}, {"name": "loss", "step": 10, "value": 0.5}, {"name": "loss", "step": 20, "value": 0.875},
          {"name": "noise", "step": 40, "value": -7}]


@pytest.mark.parametrize("metric, value", [
    ({"name": "loss"}, 0.5), ({"name": "loss", "goal": "minimize"}, 0.5), ({"name": "loss", "goal": "maximize"}, 0.875),
    ({"name": "loss", "summary": "last"}, 0.75), ({"name": "loss", "goal": "maximize", "summary": "last"}, 0.75),
])
@pytest.mark.parametrize("state", ["completed", "stopped"])
def test_the_value_comes_from_the_series(server, metric, value, state):
    study = Study(server, metric=metric)
    trial = study.claim()
    study.report(trial, 1, metrics=SERIES[:2])
    study.report(trial, 2, metrics=SERIES[2:], outcome={"state": state})
    assert (study.trial(trial)["state"], study.trial(trial)["value"]) == (state, value)


def test_a_given_value_is_the_value(server):
    study = Study(server)
    trial = study.claim()
    study.report(trial, 1, metrics=SERIES, outcome={"state": "completed", "value": 42})
    assert study.trial(trial)["value"] == 42


@pytest.mark.parametrize("metrics", [[], [{"name": "noise", "step": 1, "value": 1}]])
def test_no_point_at_all_is_no_metric(server, metrics):
    study = Study(server)
    trial = study.claim()
    study.report(trial, 1, metrics=metrics, outcome={"state": "completed"})
    shown = study.trial(trial)
    assert (shown["state"], shown["reason"], shown["value"]) == ("failed", "no_metric", None)


def test_a_failed_trial_has_no_value(server):
    study = Study(server)
    trial = study.claim()
    study.report(trial, 1, metrics=SERIES, outcome={"state": "failed", "reason": "diverged"})
    assert study.trial(trial)["value"] is None and study.show()["best"] is None


@pytest.mark.parametrize("goal, reached, missed", [("minimize", 0.25, 0.26), ("maximize", 0.25, 0.24)])
def test_a_reached_target_ends_the_proposals(server, goal, reached, missed):
    study = Study(server, run_cap=None, metric={"name": "loss", "goal": goal, "target": 0.25})
    running = study.claim()
    study.end(study.claim(), value=missed)
    study.end(study.claim(), value=reached)
    assert study.claim() is None and study.state() == "running"
    assert study.report(running, 1)["command"] == "continue"
    study.end(running, value=missed)
    assert study.state() == "finished" and study.counts() == {"completed": 3}


# --- counting -----------------------------------------------------------------------------------------

def test_run_cap_counts_proposed_and_enqueued_trials_only(server):
    study = Study(server, run_cap=3)
    server.post(study.path + "/trials", {"trials": [{"params": {"x": 0.5, "n": 1}, "value": 0.9}] * 4}, expect=201)
    study.enqueue({"x": 0.5, "n": 1})
    trials = [study.claim() for _ in range(3)]
    assert all(trials) and study.claim() is None
    study.end(trials[0], "failed", reason="crashed")  # attempts are not trials
    trials[0] = study.claim()
    for trial in trials:
        study.end(trial, value=0.5)
    assert study.counts() == {"completed": 7} and study.state() == "finished"
    assert study.show()["run_cap"] == 3


def test_a_finished_sweep_runs_again(server):
    study = Study(server, run_cap=1)
    study.end(study.claim(), value=0.5)
    assert study.state() == "finished"
    assert study.change(run_cap=2)["state"] == "running"
    study.end(study.claim(), value=0.5)
    assert study.state() == "finished"
    study.enqueue({"x": 0.5, "n": 1})
    assert study.state() == "running"
    study.end(study.claim(), value=0.5)
    assert study.state() == "finished"
    server.post(f"/v1/trials/{study.trials()[0]['id']}/retry")
    assert study.state() == "running"
    study.end(study.claim(), value=0.5)
    assert study.state() == "finished" and study.counts() == {"completed": 3}


def test_a_lowered_run_cap_ends_a_sweep(server):
    study = Study(server, run_cap=5)
    study.end(study.claim(), value=0.5)
    running = study.claim()
    assert study.change(run_cap=1)["state"] == "running" and study.claim() is None
    study.end(running, value=0.5)
    assert study.state() == "finished"
    study.change(run_cap=4)
    study.end(study.claim(), value=0.5)
    assert study.state() == "running" and study.change(run_cap=3)["state"] == "finished"


@pytest.mark.parametrize("claimed", [True, False])
def test_the_last_trial_cancelled_ends_a_sweep(server, claimed):
    study = Study(server, run_cap=1)
    [trial] = study.enqueue({"x": 0.5, "n": 1})
    if claimed:
        study.claim()
    server.post(f"/v1/trials/{trial['id']}/cancel")
    assert study.state() == "finished" and study.counts() == {"cancelled": 1}


def test_a_paused_sweep_stays_paused_when_its_last_trial_ends(server):
    study = Study(server, run_cap=1)
    trial = study.claim()
    study.change(state="paused")
    study.end(trial, value=0.5)
    assert study.state() == "paused"
    study.change(state="running")
    assert study.state() == "finished"


def test_no_new_trial_after_max_hours(server):
    study = Study(server, max_hours=0.0001)
    trial = study.claim()
    time.sleep(0.5)
    assert study.claim() is None
    study.end(trial, value=0.5)
    assert study.counts() == {"completed": 1}


def test_imports_do_not_wake_a_finished_sweep(server):
    study = Study(server, run_cap=1)
    study.end(study.claim(), value=0.5)
    server.post(study.path + "/trials", {"params": {"x": 0.5, "n": 1}, "value": 0.25}, expect=201)
    assert study.state() == "finished" and study.show()["best"]["value"] == 0.25


def test_a_sweep_is_not_finished_while_a_trial_runs(server):
    study = Study(server, run_cap=2)
    one, two = study.claim(), study.claim()
    study.end(one, value=1)
    assert study.state() == "running"
    study.end(two, "released")
    assert study.state() == "running"
    study.end(study.claim(), "failed", reason="diverged")
    assert study.state() == "finished"


@pytest.mark.parametrize("method", ["random", "sobol"])
def test_without_a_run_cap_there_is_no_end(server, method):
    study = Study(server, method=method, run_cap=None)
    assert len(study.run(lambda params: params["x"], most=40)) == 40
    assert study.state() == "running" and study.show()["run_cap"] is None


# --- workers ------------------------------------------------------------------------------------------

def shown_worker(server, id):
    return next(worker for worker in server.get("/v1/workers?limit=1000")["items"] if worker["id"] == id)


def test_a_draining_worker_gets_nothing_new_and_may_end_what_it_has(server):
    study = Study(server)
    trial = study.claim()
    assert server.post(f"/v1/workers/{study.worker}/drain")["state"] == "draining"
    assert study.claim() is None
    assert study.report(trial, 1)["command"] == "continue"
    study.end(trial, value=0.5)
    assert study.counts() == {"completed": 1} and shown_worker(server, study.worker)["state"] == "draining"
    assert study.claim(server.register(fresh())["id"])


def test_a_worker_shows_its_trials(server):
    study = Study(server)
    trials = study.claim_many(2)
    assert {trial["id"] for trial in trials} <= set(str(shown_worker(server, study.worker)["trials"]).replace("'", '"').split('"'))
    for trial in trials:
        study.end(trial, value=1)
    assert shown_worker(server, study.worker)["trials"] == []


def machine(server, model, data="d" * 64):
    return server.register(fresh("machine"), instance=fresh(), model={"name": "tiny", "sha256": model}, data={"name": "pairs", "sha256": data})["id"]


@pytest.mark.parametrize("key, right, wrong", [("model_sha256", {"model": "a" * 64}, {"model": "b" * 64}),
                                               ("data_sha256", {"model": "a" * 64, "data": "c" * 64}, {"model": "a" * 64, "data": "e" * 64})])
def test_a_spec_may_fix_model_and_data(server, key, right, wrong):
    study = Study(server, **{key: right["model" if key == "model_sha256" else "data"]})
    other = machine(server, **wrong)
    assert study.claim(other) is None
    assert study.id in json.dumps(shown_worker(server, other)), "GET /v1/workers says why"
    assert study.claim(machine(server, **right))


def test_the_first_claim_fixes_model_and_data(server):
    study = Study(server)
    assert study.claim(), "a worker without fingerprints fixes nothing"
    first = machine(server, "a" * 64)
    trial = study.claim(first)
    for other in (machine(server, "b" * 64), machine(server, "a" * 64, "e" * 64)):
        assert study.claim(other) is None
        assert study.id in json.dumps(shown_worker(server, other))
    assert study.claim(machine(server, "a" * 64)) and study.claim(first)
    assert study.id not in json.dumps(shown_worker(server, first).get("excluded", []))
    assert "a" * 64 in json.dumps(study.trial(trial)), "every trial records what evaluated it"
