"""Workers that are not in order: a broken one gets no more trials and says why, and a person lifts it."""
import os
import signal
import subprocess
import threading

import pytest
from daemon import PATIENCE_S, Daemon, program

SOUND = """#!/bin/sh
sleep 0.1
echo '{"event":"outcome","state":"completed","value":0.5}'
"""
BROKEN = """#!/bin/sh
echo "cannot load libtorch.so.2" >&2
exit 1
"""


class CommandWorker:
    """A sweep-worker whose one program is a script."""

    def __init__(self, server, folder, name, script):
        self.folder = folder / name
        self.folder.mkdir()
        path = self.folder / "evaluate"
        path.write_text(script)
        path.chmod(0o755)
        self.log_path = self.folder / "log"
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                [program("sweep-worker"), "--coordinator", server.url, "--name", name, "--slots", "1", "--threads", "1", "--trainer", "command",
                 "--allow-command", f"evaluate={path}", "--work-dir", str(self.folder / "work"), "--min-free-mb", "0"], stderr=log, env=os.environ)

    def log(self):
        return self.log_path.read_text(errors="replace")

    def __enter__(self):
        return self

    def __exit__(self, *ignored):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(PATIENCE_S)


def shown(server, name):
    return next((worker for worker in server.get("/v1/workers")["items"] if worker["name"] == name), None)


def test_a_broken_machine_gets_no_more_trials_and_none_is_lost(tmp_path):
    with Daemon(tmp_path) as server:
        sweep = server.create_sweep(trainer="command", program="evaluate", run_cap=30)["id"]
        with CommandWorker(server, tmp_path, "broken", BROKEN) as broken, CommandWorker(server, tmp_path, "sound", SOUND):
            done = server.wait_until(f"/v1/sweeps/{sweep}", lambda s: s["state"] == "finished")
            assert done["counts"]["completed"] == 30 and done["counts"]["failed"] == 0
            worker = shown(server, "broken")
            assert worker["state"] == "quarantined" and worker["quarantine"]["by"] == "coordinator"
            assert "failed here" in worker["quarantine"]["why"] and "libtorch" in worker["quarantine"]["why"]
            assert shown(server, "sound")["state"] == "active"
            assert 'sweepd_workers{state="quarantined"} 1' in server.request("GET", "/metrics").text
            assert "sweepd_quarantines_total 1" in server.request("GET", "/metrics").text
            assert "worker quarantined" in server.log() and "libtorch" in server.log()
            server.restart(crash=True)
            assert shown(server, "broken")["state"] == "quarantined"
            (broken.folder / "evaluate").write_text(SOUND)
            assert server.post(f"/v1/workers/{worker['id']}/undrain")["quarantine"] is None


def test_a_quarantined_worker_says_so_in_its_own_log(tmp_path):
    with Daemon(tmp_path) as server, CommandWorker(server, tmp_path, "w", SOUND) as worker:
        sweep = server.create_sweep(trainer="command", program="evaluate", run_cap=1)["id"]
        server.wait_until(f"/v1/sweeps/{sweep}", lambda s: s["state"] == "finished")
        subprocess.run([program("sweepctl"), "--server", server.url, "drain", "w"], check=True, timeout=PATIENCE_S)
        id = shown(server, "w")["id"]
        server.register("w", trainers=["command:evaluate"], instance="other", unfit="the disk is on fire")  # by somebody else who uses its name
        server.wait_until("/v1/workers", lambda w: w["items"][0]["state"] == "quarantined")
        assert "answered 409" not in worker.log() and "status=409" not in worker.log()
        server.post(f"/v1/workers/{id}/undrain", expect=409)


def test_nobody_is_quarantined_when_every_machine_fails(tmp_path):
    with Daemon(tmp_path) as server:
        sweep = server.create_sweep(trainer="command", program="evaluate", run_cap=8, max_attempts=2)["id"]
        with CommandWorker(server, tmp_path, "a", BROKEN), CommandWorker(server, tmp_path, "b", BROKEN):
            done = server.wait_until(f"/v1/sweeps/{sweep}", lambda s: s["state"] == "finished")
            assert done["counts"]["failed"] == 8
            assert {worker["state"] for worker in server.get("/v1/workers")["items"]} == {"active"}


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
        assert answers[0].status_code in (200, 204)
        response = server.request("POST", "/v1/claims", {"worker": worker["id"], "claim_id": "d"}, expect=204)
        assert response.headers["Worker-State"] == "quarantined"
