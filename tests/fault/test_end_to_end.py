"""A real sweep on the demo model, with everything killed once: the same trials, the same values, nothing twice."""
import os
import pathlib
import signal
import socket
import subprocess
import time

import pytest

from daemon import Daemon, SANITIZED, program

PATIENCE_S = 600 if SANITIZED else 120
SPEC = {
    "name": "end to end", "method": "grid", "trainer": "distilbert-mrpc", "seed": 5,
    "metric": {"name": "eval/accuracy", "goal": "maximize"},
    # a few seconds on a free core: long enough to be caught in the middle
    "fixed": {"epochs": 15, "train_batch_size": 16, "limit_eval": 60, "logging_steps": 10, "checkpoint_s": 1},
    "parameters": {"learning_rate": {"values": [5e-4, 1e-3, 2e-3]}, "dropout": {"values": [0.0, 0.1]}},
}


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Worker:
    def __init__(self, url, folder, name):
        self.command = [program("sweep-worker"), "--coordinator", url, "--name", name, "--slots", "1", "--threads", "1",
                        "--work-dir", str(folder / name), "--min-free-mb", "0"]
        if not (pathlib.Path(self.command[0]).parents[1] / "share/sweepd/demo/model/model.safetensors").exists():
            pytest.skip("the demo is not installed")
        self.log = folder / f"{name}.log"
        self.start()

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.command, stderr=log, stdout=subprocess.DEVNULL, env=os.environ)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(30)


def wait_for(condition, what):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"never came to pass: {what}"
        time.sleep(0.05)


def run(tmp_path, disturb):
    """Runs SPEC with two workers; disturb(server, workers, sweep id) is called once a trial is under way."""
    port = free_port()
    server = Daemon(tmp_path, "--listen", f"127.0.0.1:{port}", "--lease-s", "5")
    workers = []
    try:
        for name in ("w1", "w2"):
            workers.append(Worker(server.url, tmp_path, name))
        sweep = server.post("/v1/sweeps", SPEC, expect=201)["id"]
        disturb(server, workers, sweep)
        wait_for(lambda: server.get(f"/v1/sweeps/{sweep}")["state"] == "finished", "the sweep's end")
        return server.get(f"/v1/sweeps/{sweep}/trials?limit=1000")["items"], server.get(f"/v1/sweeps/{sweep}")
    finally:
        for worker in workers:
            worker.stop()
        assert server.stop() == 0


def metric_points(server, sweep):
    running = server.get(f"/v1/sweeps/{sweep}/trials?state=running")["items"]
    return sum(len(server.get(f"/v1/trials/{trial['id']}/metrics")["items"]) for trial in running)


def kill_everything_once(server, workers, sweep):
    wait_for(lambda: metric_points(server, sweep) > 0, "a first metric point")
    workers[0].kill()
    server.kill()
    workers[0].start()  # finds nobody: waits with growing patience
    server.start()
    wait_for(lambda: server.get(f"/v1/sweeps/{sweep}")["counts"]["completed"] >= 2, "two completed trials")
    wait_for(lambda: metric_points(server, sweep) > 0, "another metric point")
    server.kill()
    workers[1].kill()
    server.start()
    workers[1].start()


def test_killing_everything_changes_neither_trials_nor_values(tmp_path):
    (tmp_path / "calm").mkdir()
    (tmp_path / "storm").mkdir()
    calm, _ = run(tmp_path / "calm", lambda *ignored: None)
    storm, sweep = run(tmp_path / "storm", kill_everything_once)
    assert [trial["number"] for trial in storm] == list(range(1, 7))
    assert all(trial["state"] == "completed" for trial in storm)
    assert sum(trial["attempt"] for trial in storm) > 6  # somebody did lose a lease
    assert sweep["counts"]["completed"] == 6 and sum(sweep["counts"].values()) == 6
    key = lambda trial: (trial["number"], trial["params"]["learning_rate"], trial["params"]["dropout"], trial["value"])
    assert [key(trial) for trial in storm] == [key(trial) for trial in calm]


def test_a_stopped_worker_gives_its_trial_back_and_goes_on_where_it_was(tmp_path):
    def stop_and_return(server, workers, sweep):
        wait_for(lambda: metric_points(server, sweep) > 0, "a first metric point")
        workers[1].stop()
        workers[0].stop()
        counts = server.get(f"/v1/sweeps/{sweep}")["counts"]
        assert counts["running"] == 0, "SIGTERM did not give the trials back"
        workers[0].start()

    calm_folder, folder = tmp_path / "calm", tmp_path / "returned"
    calm_folder.mkdir()
    folder.mkdir()
    trials, _ = run(folder, stop_and_return)
    calm, _ = run(calm_folder, lambda *ignored: None)
    assert [trial["value"] for trial in trials] == [trial["value"] for trial in calm]
    assert all(trial["state"] == "completed" for trial in trials)
