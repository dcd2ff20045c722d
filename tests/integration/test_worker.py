"""sweep-worker against a coordinator that drops, delays and doubles, with trainers that do what a test says."""
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
import types

import pytest

from daemon import ROOT, SANITIZED, program

sys.path.insert(0, str(ROOT / "tests" / "support"))
from fake_coordinator import FakeCoordinator  # noqa: E402

FAKE_TRAINER = ROOT / "tests" / "support" / "fake_trainer.py"
DEV_TSV = "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t1\t2\tone thing\tthe same thing\n0\t3\t4\tone thing\tanother\n"
METRIC = {"name": "eval/accuracy", "goal": "maximize"}
SLEEP = {"sleep": 60}


def done(value):
    return {"outcome": {"state": "completed", "value": value}}


class Worker:
    """One sweep-worker process on a work folder; several may follow each other on the same folder."""

    def __init__(self, server, folder, *args, env=None):
        self.folder = pathlib.Path(folder)
        self.work = self.folder / "work"
        self.log_path = self.folder / "worker.log"
        self.command = [program("sweep-worker"), "--coordinator", server.url, "--work-dir", str(self.work), "--name", "w1",
                        "--min-free-mb", "0", *map(str, args)]
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL, stderr=log, cwd=self.folder, env={**os.environ, **(env or {})})

    def wait(self, timeout=60):
        return self.process.wait(timeout)

    def terminate(self, timeout=25):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def log(self):
        return self.log_path.read_text(errors="replace")

    def outbox(self):
        folder = self.work / "outbox"
        return sorted(folder.glob("*.json")) if folder.exists() else []

    def children(self):
        """Pids of what the worker started."""
        found = []
        for status in pathlib.Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = status.read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(fields[1]) == self.process.pid and fields[0] != "Z":
                found.append(int(status.parent.name))
        return found


@pytest.fixture
def server():
    with FakeCoordinator() as coordinator:
        yield coordinator


@pytest.fixture
def start(tmp_path):
    """start(server, *args): a worker with the fake trainer, killed when the test is over."""
    workers = []
    model, data = tmp_path / "model", tmp_path / "data"
    model.mkdir()
    data.mkdir()
    (model / "model.safetensors").write_bytes(b"weights")
    for name in ("train.tsv", "dev.tsv"):
        (data / name).write_text(DEV_TSV)

    def start_worker(coordinator, *args, bare=False, **options):
        training = () if bare else ("--model", model, "--data", data, "--trainer-program", FAKE_TRAINER)
        slots = () if "--slots" in args else ("--slots", "1")
        workers.append(Worker(coordinator, tmp_path, *training, *slots, *args, **options))
        return workers[-1]

    yield start_worker
    for worker in workers:
        if worker.process.poll() is None:
            worker.kill()


def is_alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition, timeout=20):
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "never happened"
        time.sleep(0.02)


# --- a trial's way ---------------------------------------------------------------------------------------


def test_trial_is_claimed_run_and_reported(server, start):
    trial = server.add_trial({"script": [{"metric": ["eval/accuracy", 10, 0.8]}, {"progress": 0.5}, done(0.85)]}, metric=METRIC)
    assert start(server, "--max-trials", 1).wait() == 0
    assert trial.outcome == {"state": "completed", "value": 0.85}
    assert trial.points == {("eval/accuracy", 10): 0.8}
    assert trial.reports[-1]["progress"] == 0.5
    body = server.workers["w1"]["body"]
    assert body["trainers"] == ["distilbert-mrpc"] and body["slots"] == 1
    assert body["model"]["sha256"] == __import__("hashlib").sha256(b"weights").hexdigest()
    assert len(body["data"]["sha256"]) == 64 and body["facts"]["cores"] >= 1
    assert "processor" in body["facts"] and {"kernels", "f32", "bf16", "core"} <= set(body["facts"])  # what it computes with


def test_trainer_gets_the_contracts_request(server, start, tmp_path):
    trial = server.add_trial({"echo": str(tmp_path / "echo"), "learning_rate": 3e-5}, fixed={"epochs": 2, "limit_train": 64}, metric=METRIC, seed=12345)
    assert start(server, "--max-trials", 1, "--threads", 3, env={"SECRET": "x"}).wait() == 0
    echo = json.loads((tmp_path / "echo").read_text())
    request = echo["request"]
    assert request["params"]["learning_rate"] == 3e-5 and request["fixed"] == {"epochs": 2, "limit_train": 64}
    assert request["seed"] == 12345 and request["threads"] == 3 and request["metric"] == METRIC
    assert request["model"] == str(tmp_path / "model") and request["data"] == str(tmp_path / "data")
    assert request["checkpoint_dir"].endswith(f"{trial.id}/checkpoint") and request["output_dir"].endswith(f"{trial.id}/output")
    assert "SECRET" not in echo["env"]


def test_metrics_are_streamed_within_two_seconds_with_rising_seq(server, start):
    script = []
    for step in range(4):
        script += [{"metric": ["train/loss", step, 1.0]}, {"sleep": 1.2}]
    trial = server.add_trial({"script": script + [done(0.5)]})
    start(server, "--max-trials", 1)
    server.wait_for(lambda: ("train/loss", 0) in trial.points and trial.state == "running")
    server.wait_for(lambda: trial.state == "completed")
    assert len(trial.reports) >= 3
    assert trial.seqs() == sorted(set(trial.seqs()))


def test_flood_of_points_is_cut_into_reports_of_a_thousand(server, start):
    trial = server.add_trial({"script": [{"flood": 4321}, done(0.5)]})
    assert start(server, "--max-trials", 1).wait() == 0
    assert len(trial.points) == 4321
    assert max(len(body["metrics"]) for body in trial.reports) == 1000


def test_silent_trial_sends_heartbeats_every_third_of_the_lease(server, start):
    trial = server.add_trial({"script": [{"sleep": 4}, done(0.5)]}, lease_s=3)
    assert start(server, "--max-trials", 1).wait() == 0
    assert 3 <= len(trial.reports) <= 6


def test_slots_run_side_by_side_and_ask_for_as_many_as_are_free(server, start):
    trials = [server.add_trial({"script": [{"sleep": 1}, done(i)]}) for i in range(4)]
    worker = start(server, "--slots", 3, "--max-trials", 4)
    server.wait_for(lambda: sum(t.state == "running" for t in trials) == 3)
    assert worker.wait() == 0
    assert [t.outcome["value"] for t in trials] == [0, 1, 2, 3]
    assert [body["slots"] for route, body in server.calls if route == "claim"][0] == 3


# --- how trainers end ------------------------------------------------------------------------------------


@pytest.mark.parametrize("script, reason, words", [
    ([{"stderr": "boom at line 3"}, {"exit": 3}], "crashed", ["status 3", "boom at line 3"]),
    ([{"kill": signal.SIGSEGV}], "crashed", ["signal 11"]),
    ([{"kill": signal.SIGKILL}], "crashed", ["signal 9"]),
    ([{"exit": 0}], "crashed", ["no outcome"]),
    ([{"outcome": {"state": "failed", "reason": "diverged", "detail": "loss is NaN"}}], "diverged", ["loss is NaN"]),
    ([{"outcome": {"state": "failed", "reason": "martian", "detail": "hm"}}], "crashed", ["hm"]),
    ([{"line": "garbage"}] * 1100 + [SLEEP], "crashed", ["malformed"]),
])
def test_bad_end_is_reported_with_reason_and_detail(server, start, script, reason, words):
    trial = server.add_trial({"script": script})
    assert start(server, "--max-trials", 1).wait() == 0
    assert trial.outcome["state"] == "failed" and trial.outcome["reason"] == reason
    for word in words:
        assert word in trial.outcome["detail"]


def test_long_stderr_keeps_its_end_and_bytes_that_are_not_text_do_no_harm(server, start, tmp_path):
    allow = write_command(tmp_path, "head -c 40000 /dev/zero | tr '\\0' x >&2; printf '\\000\\377\\303 the end' >&2; exit 9")
    trial = server.add_trial({}, trainer="command", program="prog")
    assert start(server, "--allow-command", allow, "--trainer", "command", "--max-trials", 1, bare=True).wait() == 0
    assert "x??? the end" in trial.outcome["detail"]
    assert trial.outcome["detail"].rstrip().endswith("the end") and len(trial.outcome["detail"]) <= 16384


def test_malformed_lines_are_ignored(server, start):
    lines = ["", "nonsense", "{", '{"event":"metric","name":"a","step":1.5,"value":1}', '{"event":"metric","name":"a","step":1,"value":NaN}',
             '{"event":"metric","name":"","step":1,"value":1}', '{"event":"moon"}', '{"event":"outcome","state":"odd"}', "x" * (1 << 20) + "yy"]
    trial = server.add_trial({"script": [{"line": line} for line in lines] + [{"metric": ["a", 2, 3]}, done(1)]})
    assert start(server, "--max-trials", 1).wait() == 0
    assert trial.points == {("a", 2): 3} and trial.outcome["state"] == "completed"


def test_bad_checkpoint_is_deleted_and_the_trial_starts_again(server, start, tmp_path):
    trial = server.add_trial({"script": [{"bad_checkpoint": True}, done(0.7)], "echo": str(tmp_path / "echo")})
    folder = tmp_path / "work" / "trials" / trial.id / "checkpoint"
    folder.mkdir(parents=True)
    (folder / "state").write_text("0")
    assert start(server, "--max-trials", 1).wait() == 0
    assert trial.outcome == {"state": "completed", "value": 0.7} and trial.attempt == 1
    assert json.loads((tmp_path / "echo").read_text())["had"] is False


def test_ended_trials_leave_no_folder_and_the_best_model_is_kept(server, start):
    values = [0.6, 0.9, 0.7]
    trials = [server.add_trial({"script": [{"output": f"model {v}"}, {"checkpoint": "x"}, done(v)]}, metric=METRIC) for v in values]
    worker = start(server, "--max-trials", 3)
    assert worker.wait() == 0
    assert list((worker.work / "trials").iterdir()) == []
    kept = list((worker.work / "models" / "s_fake").iterdir())
    assert [folder.name for folder in kept] == [trials[1].id]
    assert (kept[0] / "model.safetensors").read_text() == "model 0.9"
    assert json.loads((kept[0] / "trial.json").read_text())["value"] == 0.9


def test_work_folder_stays_within_bounds_however_many_sweeps_there_are(server, start):
    """Models of them all share a room; trials that nobody comes back to leave a few checkpoints."""
    model = "m" * 250_000
    trials = [server.add_trial({"script": [{"output": model}, {"checkpoint": "x"}, done(0.5) if i % 2 else {"kill": 9}]}, metric=METRIC, sweep=f"s_{i}") for i in range(24)]
    worker = start(server, "--max-trials", 24, "--models-max-mb", 1)
    assert worker.wait(120) == 0
    assert [trial.outcome["state"] for trial in trials] == ["failed", "completed"] * 12
    assert sorted(folder.name for folder in worker.work.glob("models/*/*")) == sorted(trial.id for trial in trials[-3::2])  # their notes hold the params, which are as large
    assert len(list(worker.work.glob("models/*"))) == 2 and len(list(worker.work.glob("trials/*"))) <= 5
    bytes_of = lambda folder: sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert bytes_of(worker.work / "models") <= 1 << 20 and bytes_of(worker.work) < 3 << 20
    assert worker.log().count("there is no more room for it") == 10


def test_killed_trainer_leaves_its_checkpoint_to_the_next_attempt(server, start, tmp_path):
    trial = server.add_trial({"script": [{"checkpoint": "x"}, {"kill": signal.SIGKILL}], "echo": str(tmp_path / "echo")})
    assert start(server, "--max-trials", 1).wait() == 0
    assert trial.outcome["reason"] == "crashed" and not json.loads((tmp_path / "echo").read_text())["had"]
    with server.lock:
        trial.state, trial.params["script"] = "queued", [done(0.5)]
    worker = start(server, "--max-trials", 1)
    assert worker.wait() == 0
    assert trial.outcome["state"] == "completed" and json.loads((tmp_path / "echo").read_text())["had"]
    assert list((worker.work / "trials").iterdir()) == []


def test_machine_on_which_all_fails_takes_rests(server, start):
    trials = [server.add_trial({"script": [{"exit": 1}]}) for _ in range(12)]
    worker = start(server, "--max-trials", 12)
    assert worker.wait() == 0
    assert all(t.outcome["reason"] == "crashed" for t in trials)
    assert worker.log().count("is this machine in order") == 3
    moments = [stamp for route, stamp in server.moments if route == "claim"]
    assert moments[-1] - moments[-3] > 1


# --- commands of the coordinator -------------------------------------------------------------------------


def test_stop_ends_the_trainer_and_reports_the_last_value(server, start):
    trial = server.add_trial({"script": [{"metric": ["eval/accuracy", 1, 0.9]}, {"metric": ["eval/accuracy", 2, 0.6]}, SLEEP]}, metric=METRIC, lease_s=3)
    trial_command(server, trial, "stop")
    worker = start(server, "--max-trials", 1)
    assert worker.wait() == 0
    assert trial.outcome == {"state": "stopped", "value": 0.6}
    assert list((worker.work / "trials").iterdir()) == []


def trial_command(server, trial, command):
    """The command goes out with every answer from the first lease on."""
    claim = server.claim

    def claim_then_command(body):
        answer = claim(body)
        trial.command = command if trial.state == "running" else trial.command
        return answer
    server.claim = claim_then_command


def test_abort_kills_the_trainer_and_nothing_is_reported(server, start):
    trial = server.add_trial({"script": [{"metric": ["a", 1, 1]}, {"ignore_sigterm": True}, SLEEP]}, lease_s=3)
    trial_command(server, trial, "abort")
    worker = start(server, "--max-trials", 1)
    assert worker.wait() == 0
    assert trial.outcome is None and list((worker.work / "trials").iterdir()) == []


def test_lost_lease_kills_the_trainer_and_its_result_is_dropped(server, start):
    trial = server.add_trial({"script": [{"sleep": 2}, {"metric": ["a", 1, 1]}, SLEEP]}, lease_s=3)
    worker = start(server)
    server.wait_for(lambda: trial.state == "running" and worker.children())
    first, pid = trial.lease, worker.children()[0]
    server.take_lease(trial)
    server.wait_for(lambda: trial.lease not in (None, first))
    wait_until(lambda: not is_alive(pid))
    assert trial.attempt == 2
    assert any("the lease is lost" in line and "another one has the trial by now" in line for line in worker.log().splitlines())


# --- a network that fails --------------------------------------------------------------------------------


def test_lost_answer_to_a_claim_gives_the_same_trials(server, start):
    trials = [server.add_trial({"script": [done(i)]}) for i in range(2)]
    server.fault("claim", "drop_answer", times=2)
    assert start(server, "--slots", 2, "--max-trials", 2).wait() == 0
    claims = [body for route, body in server.calls if route == "claim"]
    assert len({body["claim_id"] for body in claims[:3]}) == 1
    assert [t.attempt for t in trials] == [1, 1] and [t.state for t in trials] == ["completed"] * 2


@pytest.mark.parametrize("kind", ["drop_request", "drop_answer", "twice"])
def test_reports_survive_a_bad_network_without_loss_or_doubling(server, start, kind):
    trial = server.add_trial({"script": [{"metric": ["a", 1, 1]}, {"sleep": 1.5}, {"metric": ["a", 2, 2]}, done(0.5)]})
    server.fault("report", kind, times=3)
    worker = start(server, "--max-trials", 1)
    assert worker.wait() == 0
    assert trial.outcome["state"] == "completed" and len(trial.points) == 2
    assert trial.seqs() == sorted(set(trial.seqs())) and worker.outbox() == []


def test_overloaded_coordinator_is_given_the_time_it_asks_for(server, start):
    server.fault("register", "status", status=503, retry_after=2)
    trial = server.add_trial({"script": [done(0.5)]})
    began = time.monotonic()
    assert start(server, "--max-trials", 1).wait() == 0
    assert time.monotonic() - began >= 2 and trial.state == "completed"


def test_forgotten_worker_registers_again(server, start):
    worker = start(server, "--max-trials", 1)
    server.wait_for(lambda: server.count("claim") == 1)
    with server.lock:
        server.workers.clear()
    server.fault("claim", "status", status=404)
    server.stop()
    server.start()
    trial = server.add_trial({"script": [done(0.5)]})
    assert worker.wait() == 0
    assert trial.state == "completed" and server.count("register") >= 2
    instances = {body["instance"] for route, body in server.calls if route == "register"}
    assert len(instances) == 1


def test_quarantine_and_its_end_are_told_in_the_log(server, start):
    worker = start(server, "--max-trials", 1)
    server.wait_for(lambda: server.count("claim") == 1)
    server.quarantine = "six trials failed here"
    wait_until(lambda: "no trials until somebody undrains it" in worker.log())
    assert "six trials failed here" in worker.log()
    server.quarantine = None
    trial = server.add_trial({"script": [{"sleep": 0.5}, done(0.5)]})
    assert worker.wait() == 0
    assert trial.state == "completed" and "gives this worker trials again" in worker.log()


def test_training_goes_on_while_the_coordinator_is_away(server, start):
    trial = server.add_trial({"script": [{"metric": ["a", 1, 1]}, {"sleep": 2}, {"metric": ["a", 2, 2]}, done(0.5)]})
    worker = start(server)
    server.wait_for(lambda: trial.points)
    server.stop()
    wait_until(lambda: worker.outbox())
    server.start()
    server.wait_for(lambda: trial.state == "completed")
    assert len(trial.points) == 2 and trial.attempt == 1
    wait_until(lambda: not worker.outbox())


def test_points_of_a_killed_worker_are_sent_when_the_trial_resumes(server, start):
    trial = server.add_trial({"script": [{"metric": ["a", 1, 1]}, {"checkpoint": "x"}, {"metric": ["a", 2, 2]}, SLEEP, done(0.5)], "resumable": True})
    server.fault("report", "drop_request", times=1000)
    worker = start(server)
    wait_until(lambda: any('"step":2' in path.read_text() for path in worker.work.glob("trials/*/points.jsonl")))
    worker.kill()
    with server.lock:
        server.faults.clear()
        trial.params["script"][3] = {"sleep": 0}
    assert not trial.points
    assert start(server, "--max-trials", 1).wait() == 0
    assert trial.points == {("a", 1): 1, ("a", 2): 2} and trial.attempt == 2


def test_result_survives_a_killed_worker_and_is_delivered_before_the_next_registers(server, start):
    trial = server.add_trial({"script": [{"metric": ["a", 1, 1]}, done(0.5)]})
    server.fault("report", "drop_request", times=1000)
    worker = start(server)
    wait_until(lambda: worker.outbox())
    worker.kill()
    with server.lock:
        server.faults.clear()
        server.calls.clear()
    worker = start(server, "--exit-when-idle", 0)
    assert worker.wait() == 0
    assert trial.outcome == {"state": "completed", "value": 0.5} and trial.attempt == 1
    routes = [route for route, _ in server.calls if route != "claim"]  # the killed one's last claim may be written down late
    assert routes[:2] == ["report", "register"]
    assert worker.outbox() == []


def test_result_of_a_lost_lease_is_dropped_at_the_next_start(server, start):
    trial = server.add_trial({"script": [done(0.5)]})
    server.fault("report", "drop_request", times=1000)
    worker = start(server)
    wait_until(lambda: worker.outbox())
    worker.kill()
    server.faults.clear()
    with server.lock:
        trial.state, trial.lease = "cancelled", None
    worker = start(server, "--exit-when-idle", 0)
    assert worker.wait() == 0
    assert worker.outbox() == [] and "too late" in worker.log()


# --- ending ----------------------------------------------------------------------------------------------


@pytest.mark.skipif(SANITIZED, reason="sanitizers come before what is preloaded")
def test_a_name_server_that_does_not_answer_holds_up_no_stop(start):
    shim = pathlib.Path(os.environ.get("SWEEPD_BUILD", ROOT / "build")) / "tests" / "slow_names.so"
    nowhere = types.SimpleNamespace(url="http://slow.test:8484")
    worker = start(nowhere, "--trainer", "command", "--allow-command", "p=/bin/true", bare=True, env={"LD_PRELOAD": str(shim)})
    wait_until(lambda: "started" in worker.log())
    time.sleep(1)  # its registration waits for the name
    assert worker.terminate(timeout=10) == 0


def test_sigterm_releases_the_trial_and_the_next_worker_resumes_it(server, start):
    trial = server.add_trial({"script": [{"metric": ["a", 1, 1]}, SLEEP, {"metric": ["a", 2, 2]}, done(0.5)], "resumable": True})
    worker = start(server)
    server.wait_for(lambda: trial.points)
    began = time.monotonic()
    assert worker.terminate() == 0
    assert time.monotonic() - began < 20
    assert trial.state == "released" and trial.resume and len(json.dumps(trial.resume)) < 4096
    with server.lock:
        trial.state, trial.points = "queued", {}
    assert start(server, "--max-trials", 1).wait() == 0
    # the first point comes again where its acknowledgement had not reached the worker when it was stopped
    assert {("a", 2): 2}.items() <= trial.points.items() <= {("a", 1): 1, ("a", 2): 2}.items()
    assert trial.attempt == 2 and trial.state == "completed"


def test_trainer_that_ignores_sigterm_is_killed_in_time(server, start):
    trial = server.add_trial({"script": [{"checkpoint": "x"}, {"ignore_sigterm": True}, {"metric": ["a", 1, 1]}, SLEEP]})
    worker = start(server)
    server.wait_for(lambda: trial.points)
    began = time.monotonic()
    assert worker.terminate() == 0
    assert time.monotonic() - began < 20 and trial.state == "released" and trial.resume


def test_worker_that_goes_does_not_wait_longer_for_a_stopped_trial(server, start):
    trial = server.add_trial({"script": [{"ignore_sigterm": True}, {"metric": ["a", 1, 1]}, SLEEP]}, lease_s=3)
    trial_command(server, trial, "stop")
    worker = start(server)
    wait_until(lambda: "a stopping rule" in worker.log())
    began = time.monotonic()
    assert worker.terminate() == 0
    assert time.monotonic() - began < 20 and trial.state == "stopped"


def test_second_sigterm_ends_at_once_and_the_release_is_delivered_later(server, start):
    trial = server.add_trial({"script": [{"ignore_sigterm": True}, {"metric": ["a", 1, 1]}, SLEEP]})
    worker = start(server)
    server.wait_for(lambda: trial.points)
    pids = worker.children()
    worker.process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    worker.process.send_signal(signal.SIGTERM)
    worker.wait(3)
    wait_until(lambda: not any(map(is_alive, pids)))
    assert trial.state == "running"
    assert start(server, "--exit-when-idle", 0).wait() == 0
    assert trial.state == "released"


def test_idle_worker_ends_at_once_on_sigterm(server, start):
    worker = start(server)
    server.wait_for(lambda: server.count("claim") == 1)
    began = time.monotonic()
    assert worker.terminate() == 0
    assert time.monotonic() - began < (10 if SANITIZED else 2)


def test_killed_worker_takes_its_trainers_along(server, start):
    trial = server.add_trial({"script": [{"metric": ["a", 1, 1]}, {"ignore_sigterm": True}, SLEEP]})
    worker = start(server)
    server.wait_for(lambda: trial.points)
    pids = worker.children()
    assert pids
    worker.kill()
    wait_until(lambda: not any(map(is_alive, pids)))


def test_idle_worker_asks_at_least_once_before_it_ends(server, start):
    trial = server.add_trial({"script": [done(0.5)]})
    assert start(server, "--exit-when-idle", 0).wait() == 0
    assert trial.state == "completed"


def test_idle_time_ends_the_worker(server, start):
    trial = server.add_trial({"script": [{"sleep": 1.5}, done(0.5)]})
    began = time.monotonic()
    assert start(server, "--exit-when-idle", 1).wait() == 0
    assert trial.state == "completed" and 2.4 <= time.monotonic() - began < 20


# --- commands --------------------------------------------------------------------------------------------


def write_command(tmp_path, text):
    path = tmp_path / "command"
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)
    return f"prog={path}"


def test_command_gets_its_parameters_as_arguments_and_as_json(server, start, tmp_path):
    allow = write_command(tmp_path, f'for a in "$@"; do echo "$a"; done > {tmp_path}/args; cat > {tmp_path}/stdin; '
                          'echo chatter; echo \'{"event":"metric","name":"loss","step":1,"value":0.25}\'')
    params = {"lr": 0.85, "n": 3, "on": True, "off": False, "name": "a b; $(rm -rf x)", "opt": {"beta": {"one": 1e-5}}}
    trial = server.add_trial(params, trainer="command", program="prog")
    assert start(server, "--allow-command", allow, "--trainer", "command", "--max-trials", 1, bare=True).wait() == 0
    assert (tmp_path / "args").read_text().splitlines() == [
        "--lr=0.85", "--n=3", "--on=true", "--off=false", "--name=a b; $(rm -rf x)", "--opt.beta.one=1e-5"]
    assert json.loads((tmp_path / "stdin").read_text()) == params
    assert trial.outcome == {"state": "completed"} and trial.points == {("loss", 1): 0.25}
    assert server.workers["w1"]["body"]["trainers"] == ["command:prog"]


def test_command_that_fails_is_crashed_with_its_last_words(server, start, tmp_path):
    allow = write_command(tmp_path, "echo out of cheese >&2; exit 4")
    trial = server.add_trial({}, trainer="command:prog")
    assert start(server, "--allow-command", allow, "--trainer", "command", "--max-trials", 1, bare=True).wait() == 0
    assert trial.outcome["reason"] == "crashed" and "out of cheese" in trial.outcome["detail"]


def test_command_may_open_its_outputs_by_name(server, start, tmp_path):
    allow = write_command(tmp_path, "echo '{\"event\":\"metric\",\"name\":\"a\",\"step\":1,\"value\":2}' > /dev/stdout && echo last words > /dev/stderr; exit 5")
    trial = server.add_trial({}, trainer="command", program="prog")
    assert start(server, "--allow-command", allow, "--trainer", "command", "--max-trials", 1, bare=True).wait() == 0
    assert trial.points == {("a", 1): 2} and trial.outcome["detail"].rstrip().endswith("last words")


def test_command_may_print_what_only_looks_like_json(server, start, tmp_path):
    allow = write_command(tmp_path, "yes \"{'loss': 0.5}\" | head -n 3000")
    trial = server.add_trial({}, trainer="command", program="prog")
    assert start(server, "--allow-command", allow, "--trainer", "command", "--max-trials", 1, bare=True).wait() == 0
    assert trial.outcome == {"state": "completed"}


def test_command_that_only_gives_trials_back_takes_rests(server, start, tmp_path):
    allow = write_command(tmp_path, "echo '{\"event\":\"outcome\",\"state\":\"released\"}'")
    for _ in range(10):
        server.add_trial({}, trainer="command", program="prog")
    worker = start(server, "--allow-command", allow, "--trainer", "command", bare=True)
    wait_until(lambda: "is this machine in order" in worker.log())


def test_only_allowed_commands_are_run(server, start, tmp_path):
    allow = write_command(tmp_path, f"touch {tmp_path}/ran")
    trial = server.add_trial({}, trainer="command", program="/bin/true")
    assert start(server, "--allow-command", allow, "--trainer", "command", "--max-trials", 1, bare=True).wait() == 0
    assert trial.outcome["state"] == "failed" and not (tmp_path / "ran").exists()


def test_a_command_has_a_clean_environment_and_no_privileges_to_gain(server, start, tmp_path):
    allow = write_command(tmp_path, f"env > {tmp_path}/env; grep -E 'NoNewPrivs|SigIgn' /proc/self/status > {tmp_path}/status; ulimit -c > {tmp_path}/core; "
                          f"ls /proc/self/fd > {tmp_path}/fds; echo '{{\"event\":\"metric\",\"name\":\"a\",\"step\":1,\"value\":2}}'")
    trial = server.add_trial({"LD_PRELOAD": "/tmp/evil.so", "PATH": "/tmp"}, trainer="command", program="prog")
    worker = start(server, "--allow-command", allow, "--trainer", "command", "--max-trials", 1, bare=True,
                   env={"AWS_SECRET_ACCESS_KEY": "s3cr3t", "NOTIFY_SOCKET": "/nowhere", "CREDENTIALS_DIRECTORY": "/nowhere", "SWEEP_WORKER_NAME": "w1"})
    assert worker.wait() == 0 and trial.outcome["state"] == "completed"
    names = {line.split("=")[0] for line in (tmp_path / "env").read_text().splitlines() if "=" in line}
    assert not names & {"AWS_SECRET_ACCESS_KEY", "NOTIFY_SOCKET", "CREDENTIALS_DIRECTORY", "SWEEP_WORKER_NAME", "LD_PRELOAD", "PYTEST_CURRENT_TEST"}
    assert os.environ["PATH"].split(":")[0] in (tmp_path / "env").read_text() and "PATH=/tmp\n" not in (tmp_path / "env").read_text()
    assert "NoNewPrivs:\t1" in (tmp_path / "status").read_text() and (tmp_path / "core").read_text() == "0\n"
    assert set((tmp_path / "fds").read_text().split()) <= {"0", "1", "2", "3"}  # 3: ls itself


@pytest.mark.skipif(SANITIZED, reason="a sanitizer's launcher needs more memory than the limit")
def test_a_command_gets_no_more_than_its_limits(server, start, tmp_path):
    allow = write_command(tmp_path, f"head -c 3000000 /dev/zero > {tmp_path}/file; {sys.executable} -c 'x = bytearray(300 << 20)' 2> {tmp_path}/memory; exit 0")
    server.add_trial({}, trainer="command", program="prog")
    args = ["--allow-command", allow, "--trainer", "command", "--max-trials", 1]
    assert start(server, *args, "--command-memory-mb", 200, "--command-file-mb", 1, bare=True).wait() == 0
    assert (tmp_path / "file").stat().st_size == 1 << 20
    assert "MemoryError" in (tmp_path / "memory").read_text()


@pytest.mark.parametrize("program_name", ["prog/../../bin/true", "prog;touch x", "PROG", "prog ", "/bin/true", "exec-trainer", "../command", "limits=0,0"])
def test_nothing_that_a_sweep_says_changes_what_program_runs(server, start, tmp_path, program_name):
    allow = write_command(tmp_path, f"touch {tmp_path}/ran")
    trial = server.add_trial({}, trainer="command", program=program_name)
    assert start(server, "--allow-command", allow, "--trainer", "command", "--max-trials", 1, bare=True).wait() == 0
    assert trial.outcome["state"] == "failed" and not (tmp_path / "ran").exists() and not (tmp_path / "x").exists()


def test_what_a_command_leaves_behind_is_killed(server, start, tmp_path):
    allow = write_command(tmp_path, f"sleep 60 & echo $! > {tmp_path}/pid; exit 0")
    trial = server.add_trial({}, trainer="command", program="prog")
    assert start(server, "--allow-command", allow, "--trainer", "command", "--max-trials", 1, bare=True).wait() == 0
    assert trial.outcome == {"state": "completed"}
    pid = int((tmp_path / "pid").read_text())
    wait_until(lambda: not is_alive(pid))


# --- how it is called ------------------------------------------------------------------------------------


def call(*args, **options):
    return subprocess.run([program("sweep-worker"), *map(str, args)], capture_output=True, text=True, timeout=30, **options)


def test_wrong_usage_is_two_and_names_what_is_wrong(tmp_path):
    (tmp_path / "conf").write_text("slots = 2\nspeed = 9\n")
    for args, word in ((["--nonsense"], "--nonsense"), (["fly"], "fly"), (["--slots", "none"], "slots"), (["--config", tmp_path / "conf"], "speed"),
                       (["--trainer", "magic"], "magic"), (["--allow-command", "prog"], "allow-command")):
        result = call(*args)
        assert result.returncode == 2 and word in result.stderr and not result.stdout


def test_help_and_version_are_answered():
    assert call("--version").stdout.startswith("sweep-worker ")
    text = call("--help").stdout
    for option in ("coordinator", "token-file", "ca", "name", "slots", "threads", "work-dir", "model", "data", "trainer", "allow-command",
                   "max-trials", "exit-when-idle", "config"):
        assert f"--{option}" in text


def test_token_comes_from_a_private_file(tmp_path, start):
    token = tmp_path / "token"
    token.write_text("sesame\n")
    token.chmod(0o644)
    with FakeCoordinator(token="sesame") as server:
        worker = start(server, "--token-file", token, "--max-trials", 1)
        assert worker.wait() == 1 and "chmod" in worker.log()
        token.chmod(0o600)
        trial = server.add_trial({"script": [done(1)]})
        assert start(server, "--token-file", token, "--max-trials", 1).wait() == 0
        assert trial.state == "completed"
        token.write_text("wrong")
        worker = start(server, "--token-file", token)
        assert worker.wait() == 1 and "token" in worker.log() and "sesame" not in worker.log()


def test_https_needs_a_certificate_that_is_trusted(tmp_path, start):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1", "-subj", "/CN=localhost",
                    "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", tmp_path / "key", "-out", tmp_path / "cert"], check=True, capture_output=True)
    with FakeCoordinator(certificate=(tmp_path / "cert", tmp_path / "key")) as server:
        trial = server.add_trial({"script": [done(1)]})
        worker = start(server)
        wait_until(lambda: "certificate" in worker.log())
        worker.kill()
        assert trial.state == "queued"
        assert start(server, "--ca", tmp_path / "cert", "--max-trials", 1).wait() == 0
        assert trial.state == "completed"


def test_proxy_of_the_environment_is_not_used_for_loopback(server, start):
    trial = server.add_trial({"script": [done(1)]})
    assert start(server, "--max-trials", 1, env={"http_proxy": "http://127.0.0.1:9", "all_proxy": "http://127.0.0.1:9"}).wait() == 0
    assert trial.state == "completed"


def test_work_folder_is_used_by_one_worker_at_a_time(server, start):
    start(server)
    server.wait_for(lambda: server.count("claim") == 1)
    second = start(server)
    assert second.wait() == 1 and "another worker" in second.log()


def test_short_disk_takes_no_trials(server, start):
    trial = server.add_trial({"script": [done(1)]})
    worker = start(server, "--min-free-mb", 1 << 40)
    wait_until(lambda: "disk is short" in worker.log())
    assert trial.state == "queued" and server.count("claim") == 0


def test_worker_that_cannot_take_trials_is_idle(server, start):
    server.add_trial({"script": [done(1)]})
    assert start(server, "--min-free-mb", 1 << 40, "--exit-when-idle", 1).wait() == 0
    assert server.count("claim") == 0
