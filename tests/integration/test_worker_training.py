"""Coordinator, worker and trainer together on the demo's model: whatever is killed, the sweep ends with the same bits."""
import json
import os
import pathlib
import signal
import subprocess
import time

import pytest

from daemon import Daemon, ROOT, SANITIZED, program

PATIENCE_S = 300 if SANITIZED else 90
PARAMS = {"learning_rate": 5e-4, "epochs": 5, "checkpoint_s": 1, "logging_steps": 2, "limit_eval": 64}


def demo():
    """The demo's folder: installed, else where the build makes it."""
    places = [pathlib.Path(os.environ["SWEEPD_PREFIX"]) / "share" / "sweepd" / "demo"] if os.environ.get("SWEEPD_PREFIX") else []
    places.append(pathlib.Path(os.environ.get("SWEEPD_BUILD", ROOT / "build")) / "worker" / "demo")
    for place in places:
        if (place / "model" / "model.safetensors").exists():
            return place
    pytest.skip("the demo is not built")


class Worker:
    def __init__(self, server, folder, name="w1", *args):
        self.name, self.work = name, folder / name
        slots = () if "--slots" in args else ("--slots", "1", "--threads", "1")
        self.log_path = folder / f"{name}.log"
        command = [program("sweep-worker"), "--coordinator", server.url, "--name", name, "--work-dir", self.work, *slots, "--min-free-mb", "0", "--model", demo() / "model", "--data", demo() / "data", *args]
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(list(map(str, command)), stderr=log, stdout=subprocess.DEVNULL)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(25)

    def log(self):
        return self.log_path.read_text(errors="replace")

    def checkpoints(self):
        return [path for path in self.work.glob("trials/*/checkpoint/*") if "tmp" not in path.name]


@pytest.fixture
def server(tmp_path, request):
    """With leases of so many seconds, where a test says so."""
    folder = tmp_path / "server"
    folder.mkdir()
    with Daemon(folder, *(("--lease-s", str(request.param)) if hasattr(request, "param") else ())) as daemon:
        daemon.args += ["--listen", daemon.url.removeprefix("http://")]  # it comes back where it was
        yield daemon


@pytest.fixture
def start(server, tmp_path):
    workers = []

    def start_worker(*args):
        workers.append(Worker(server, tmp_path, *args))
        return workers[-1]

    yield start_worker
    for worker in workers:
        if worker.process.poll() is None:
            worker.kill()


def create(server, **members):
    """A sweep of one trial with the usual parameters."""
    parameters = {name: {"value": value} for name, value in {**PARAMS, **members}.items()}
    parameters["dropout"] = {"values": [0.1]}
    sweep = server.post("/v1/sweeps", {"name": "t", "method": "grid", "trainer": "distilbert-mrpc", "seed": 3, "parameters": parameters,
                                       "metric": {"name": "eval/accuracy", "goal": "maximize"}}, expect=201)
    return f"/v1/sweeps/{sweep['id']}"


def the_trial(server, sweep):
    items = server.get(f"{sweep}/trials")["items"]
    return items[0] if items else None


def wait_for(server, sweep, condition, timeout=PATIENCE_S):
    deadline = time.monotonic() + timeout
    while True:
        trial = the_trial(server, sweep)
        if trial and condition(trial):
            return trial
        assert time.monotonic() < deadline, f"never happened: {trial}"
        time.sleep(0.05)


def is_reported(server, worker, trial):
    return trial["progress"] and series(server, trial)


def has_checkpoint(server, worker, trial):
    return worker.checkpoints()


lengths = [5, 20, 80, 320]  # epochs; those that were over too soon on this machine go


def catch(server, start, condition, *args):
    """A sweep whose training is under way and not half done, with the condition met: (sweep, worker, epochs)."""
    while True:
        sweep = create(server, epochs=lengths[0])
        worker = start(f"w{lengths[0]}", *args)
        trial = wait_for(server, sweep, lambda trial: trial["state"] in ("completed", "failed") or condition(server, worker, trial))
        if trial["state"] == "running" and (trial["progress"] or 0) < 0.5:
            return sweep, worker, lengths[0]
        assert trial["state"] != "failed" and len(lengths) > 1, f"cannot be disturbed: {trial}"
        del lengths[0]
        worker.kill()
        server.patch(sweep, {"state": "cancelled"})


def series(server, trial):
    """(name, step, value) of all that does not depend on the clock."""
    points, after = [], ""
    while True:
        page = server.get(f"/v1/trials/{trial['id']}/metrics?limit=1000{after}")
        points += [(p["name"], p["step"], p["value"]) for p in page["items"] if not p["name"].startswith("perf/")]
        if not page["next"]:
            return sorted(points)
        after = f"&after={page['next']}"


calm = {}  # by epochs, value and series of the trial to which nothing happened: the same for all tests


def expect_same_as_undisturbed(server, start, trial, epochs):
    assert trial["state"] == "completed", trial
    if epochs not in calm:
        sweep = create(server, epochs=epochs)
        assert start("calm", "--max-trials", "1").process.wait(PATIENCE_S) == 0
        other = the_trial(server, sweep)
        assert other["state"] == "completed", other
        calm[epochs] = other["value"], series(server, other)
    assert (trial["value"], series(server, trial)) == calm[epochs]


def test_killed_worker_goes_on_from_its_checkpoint_with_the_same_bits(server, start):
    sweep, worker, epochs = catch(server, start, has_checkpoint)
    worker.kill()
    assert start(worker.name, "--max-trials", "1").process.wait(PATIENCE_S) == 0
    assert "resumes=1" in worker.log()
    trial = the_trial(server, sweep)
    assert trial["attempt"] == 2
    expect_same_as_undisturbed(server, start, trial, epochs)


def test_terminated_worker_releases_and_resumes_with_the_same_bits(server, start):
    sweep, worker, epochs = catch(server, start, is_reported)
    began = time.monotonic()
    assert worker.terminate() == 0 and time.monotonic() - began < 20
    assert the_trial(server, sweep)["state"] == "queued" and worker.checkpoints()
    assert start(worker.name, "--max-trials", "1").process.wait(PATIENCE_S) == 0
    assert "resumes=1" in worker.log() and not worker.checkpoints()
    expect_same_as_undisturbed(server, start, the_trial(server, sweep), epochs)


@pytest.mark.parametrize("server", [5], indirect=True)
@pytest.mark.parametrize("end", ["kill", "terminate"])
def test_another_worker_goes_on_with_the_same_bits_where_checkpoints_are_shared(server, start, tmp_path, end):
    """Also with the points that the first one had not delivered yet."""
    shared = ("--checkpoint-dir", tmp_path / "shared")
    checkpoints = lambda *ignored: [path for path in (tmp_path / "shared").glob("trials/*/checkpoint/*") if "tmp" not in path.name]
    sweep, worker, epochs = catch(server, start, checkpoints, *shared)
    getattr(worker, end)()
    assert not worker.checkpoints() and checkpoints()
    other = start("other", "--max-trials", "1", *shared)
    assert other.process.wait(PATIENCE_S) == 0
    assert "resumes=1" in other.log() and not checkpoints()
    trial = the_trial(server, sweep)
    assert trial["attempt"] >= 2 and trial["evaluator"]["worker"] == "other"
    expect_same_as_undisturbed(server, start, trial, epochs)
    assert list(other.work.glob("models/*/*/model.safetensors"))


@pytest.mark.parametrize("server", [5], indirect=True)
def test_another_worker_that_would_give_other_bits_says_why_and_starts_over(server, start, tmp_path):
    shared = ("--checkpoint-dir", tmp_path / "shared")
    sweep, worker, _ = catch(server, start, lambda *ignored: list((tmp_path / "shared").glob("trials/*/checkpoint/checkpoint")), *shared)
    worker.terminate()
    other = start("other", "--slots", "1", "--threads", "2", "--max-trials", "1", *shared)
    assert other.process.wait(PATIENCE_S) == 0
    assert the_trial(server, sweep)["state"] == "completed"
    assert "cannot be continued exactly: threads is 2 here and 1 there" in other.log()


def test_killed_coordinator_is_not_noticed_by_the_training(server, start):
    sweep, worker, epochs = catch(server, start, is_reported, "--max-trials", "1")
    server.kill()
    time.sleep(1.5)
    server.start()
    assert worker.process.wait(PATIENCE_S) == 0
    trial = the_trial(server, sweep)
    assert trial["attempt"] == 1
    expect_same_as_undisturbed(server, start, trial, epochs)


def test_result_that_ends_while_the_coordinator_is_dead_is_not_lost(server, start):
    sweep = create(server, epochs=1)
    worker = start("w1", "--max-trials", "1")
    wait_for(server, sweep, lambda trial: trial["state"] == "running")
    server.kill()
    deadline = time.monotonic() + PATIENCE_S
    while not list(worker.work.glob("outbox/*.json")):
        assert time.monotonic() < deadline and worker.process.poll() is None, worker.log()
        time.sleep(0.05)
    worker.kill()
    server.start()
    assert start("w1", "--exit-when-idle", "0").process.wait(PATIENCE_S) == 0
    trial = the_trial(server, sweep)
    assert trial["state"] == "completed" and trial["attempt"] == 1 and series(server, trial)


def test_cancelled_trial_stops_training(server, start):
    sweep = create(server, epochs=200)
    worker = start("w1", "--max-trials", "1")
    trial = wait_for(server, sweep, lambda trial: trial["state"] == "running" and series(server, trial))
    server.post(f"/v1/trials/{trial['id']}/cancel")
    assert worker.process.wait(60) == 0
    assert list(worker.work.glob("trials/*")) == []


def test_bad_configuration_fails_with_the_name_of_the_key(server, start):
    sweep = create(server, learning_rate=-1)
    assert start("w1", "--max-trials", "1").process.wait(PATIENCE_S) == 0
    trial = the_trial(server, sweep)
    assert trial["state"] == "failed" and trial["reason"] == "bad_config" and "learning_rate" in trial["detail"]


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core cannot be divided")
def test_slots_are_measured_with_the_real_trainer(server, start):
    worker = start("w1", "--slots", "auto", "--threads", "auto", "--exit-when-idle", "0")
    assert worker.process.wait(PATIENCE_S) == 0
    [found] = server.get("/v1/workers")["items"]
    measured = found["facts"]["measured"]
    assert len(measured) >= 2 and all(split["tokens_per_s"] > 0 and split["memory_mib"] > 5 for split in measured)
    assert (found["slots"], found["facts"]["threads"]) in {(split["slots"], split["threads"]) for split in measured}


def test_winning_model_is_kept_and_predicts(server, start):
    sweep = create(server, epochs=1)
    worker = start("w1", "--max-trials", "1")
    assert worker.process.wait(PATIENCE_S) == 0
    kept = list(worker.work.glob("models/*/*"))
    assert len(kept) == 1 and json.loads((kept[0] / "trial.json").read_text())["value"] == the_trial(server, sweep)["value"]
    answer = subprocess.run([program("sweep-trainer"), "predict", "--model", kept[0]], input='{"a":"one","b":"two"}\n', capture_output=True, text=True, timeout=60)
    assert json.loads(answer.stdout)["label"] in (0, 1)


def test_command_is_run_for_a_sweep_of_its_name_and_for_no_other(server, start, tmp_path):
    program_path = tmp_path / "prog"
    program_path.write_text("#!/bin/sh\ncat >/dev/null; x=${1#--x=}\n"
                            'echo "{\\"event\\":\\"metric\\",\\"name\\":\\"loss\\",\\"step\\":1,\\"value\\":$x}"\n')
    program_path.chmod(0o755)
    sweeps = [server.post("/v1/sweeps", {"name": name, "method": "grid", "program": name, "metric": {"name": "loss"}, "parameters": {"x": {"values": [3, 0.5]}}},
                          expect=201) for name in ("prog", "other")]
    worker = start("w1", "--trainer", "command", "--allow-command", f"prog={program_path}", "--exit-when-idle", "1")
    assert worker.process.wait(PATIENCE_S) == 0
    assert sorted(t["value"] for t in server.get(f"/v1/sweeps/{sweeps[0]['id']}/trials")["items"]) == [0.5, 3]
    assert not [t for t in server.get(f"/v1/sweeps/{sweeps[1]['id']}/trials")["items"] if t["state"] != "queued"]
