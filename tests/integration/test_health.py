"""Workers that are not in order: a broken one gets no more trials and says why, and a person lifts it."""
import subprocess
import threading

import pytest
from daemon import PATIENCE_S, Daemon, program
from worker import WorkerProcess

SOUND = """#!/bin/sh
sleep 0.1
echo '{"event":"outcome","state":"completed","value":0.5}'
"""
BROKEN = """#!/bin/sh
echo "cannot load libtorch.so.2" >&2
exit 1
"""


def command_worker(server, folder, name, script):
    """A worker whose one program is a script."""
    place = folder / name
    place.mkdir()
    path = place / "evaluate"
    path.write_text(script)
    path.chmod(0o755)
    return WorkerProcess(server.url, place, "--trainer", "command", "--allow-command", f"evaluate={path}", name=name)


def shown(server, name):
    return next((worker for worker in server.get("/v1/workers")["items"] if worker["name"] == name), None)


def test_a_broken_machine_gets_no_more_trials_and_none_is_lost(tmp_path):
    with Daemon(tmp_path) as server:
        with command_worker(server, tmp_path, "broken", BROKEN) as broken, command_worker(server, tmp_path, "sound", SOUND):
            server.wait_until("/v1/workers", lambda workers: len(workers["items"]) == 2)  # alone, the broken one would fail trials to their end
            sweep = server.create_sweep(trainer="command", program="evaluate", run_cap=30)["id"]
            done = server.wait_until(f"/v1/sweeps/{sweep}", lambda s: s["state"] == "finished")
            assert done["counts"]["completed"] == 30 and done["counts"]["failed"] == 0
            worker = shown(server, "broken")
            assert worker["state"] == "quarantined" and worker["quarantine"]["by"] == "coordinator"
            assert "failed here" in worker["quarantine"]["why"] and "libtorch" in worker["quarantine"]["why"]
            assert shown(server, "sound")["state"] == "active"
            assert 'sweepd_workers{state="quarantined"} 1' in server.request("GET", "/metrics").text
            assert "sweepd_quarantines_total 1" in server.request("GET", "/metrics").text
            assert "worker quarantined" in server.log() and "libtorch" in server.log()
            broken.stop()
            broken.start()
            broken.wait_for_log("gives this worker no trials until somebody undrains it")
            assert "failed here" in broken.log()
            server.restart(crash=True)
            assert shown(server, "broken")["state"] == "quarantined"
            assert server.post(f"/v1/workers/{worker['id']}/undrain")["quarantine"] is None


def test_nobody_lifts_what_a_process_says_of_itself(tmp_path):
    with Daemon(tmp_path) as server, command_worker(server, tmp_path, "w", SOUND) as worker:
        sweep = server.create_sweep(trainer="command", program="evaluate", run_cap=1)["id"]
        server.wait_until(f"/v1/sweeps/{sweep}", lambda s: s["state"] == "finished")
        subprocess.run([program("sweepctl"), "--server", server.url, "drain", "w"], check=True, timeout=PATIENCE_S)
        id = shown(server, "w")["id"]
        server.register("w", trainers=["command:evaluate"], instance="other", unfit="the disk is on fire")  # by somebody else who uses its name
        server.wait_until("/v1/workers", lambda w: w["items"][0]["state"] == "quarantined")
        assert "status=409" not in worker.log()
        server.post(f"/v1/workers/{id}/undrain", expect=409)


def test_nobody_is_quarantined_when_every_machine_fails(tmp_path):
    with Daemon(tmp_path) as server:
        sweep = server.create_sweep(trainer="command", program="evaluate", run_cap=8)["id"]
        with command_worker(server, tmp_path, "a", BROKEN), command_worker(server, tmp_path, "b", BROKEN):
            done = server.wait_until(f"/v1/sweeps/{sweep}", lambda s: s["state"] == "finished")
            assert done["counts"]["failed"] == 8
            assert {worker["state"] for worker in server.get("/v1/workers")["items"]} == {"active"}


def test_two_workers_with_one_name_are_both_told(tmp_path):
    told = "another process works under this worker's name"
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
    with Daemon(tmp_path) as server, command_worker(server, tmp_path / "one", "same", SOUND) as one:
        sweep = server.create_sweep(trainer="command", program="evaluate", run_cap=None)["id"]
        server.wait_until(f"/v1/sweeps/{sweep}", lambda s: s["counts"]["completed"] >= 2)
        assert told not in one.log()
        with command_worker(server, tmp_path / "two", "same", SOUND) as two:
            one.wait_for_log(told)
            two.wait_for_log(told)


@pytest.mark.coordinator
def test_workers_that_are_gone_are_forgotten_on_demand(tmp_path):
    with Daemon(tmp_path, "--lease-s", "1") as server:
        worker = server.register("old")["id"]
        server.request("DELETE", f"/v1/workers/{worker}", expect=409)
        server.wait_until("/v1/workers", lambda w: w["items"][0]["state"] == "gone")
        server.request("DELETE", f"/v1/workers/{worker}", expect=204)
        server.request("DELETE", f"/v1/workers/{worker}", expect=404)
        assert server.get("/v1/workers")["items"] == []
        server.claim(worker, "c", expect=404)
        assert server.register("old")["id"] == worker  # the same name, the same id


@pytest.mark.coordinator
def test_a_waiting_claim_of_a_worker_that_goes_into_quarantine_gets_nothing(tmp_path):
    with Daemon(tmp_path) as server:
        worker, answers = server.register("w", instance="a"), []
        waiting = threading.Thread(target=lambda: answers.append(server.request("POST", "/v1/claims", {"worker": worker["id"], "claim_id": "c", "wait_s": 2})))
        waiting.start()
        server.register("w", instance="a", unfit="self-test: wrong numbers")
        server.create_sweep()
        waiting.join(PATIENCE_S)
        assert answers[0].status_code == 204
        response = server.request("POST", "/v1/claims", {"worker": worker["id"], "claim_id": "d"}, expect=204)
        assert response.headers["Worker-State"] == "quarantined"
