"""--slots auto and --threads auto: what is measured, chosen, remembered and told. A trainer that says its speed stands in."""
import json
import os
import signal
import sys
import time

import pytest

from daemon import ROOT

sys.path.insert(0, str(ROOT / "tests" / "support"))
from fake_coordinator import FakeCoordinator  # noqa: E402
from test_worker import DEV_TSV, Worker, is_alive, wait_until  # noqa: E402

ALLOWED = sorted(os.sched_getaffinity(0))
CORES = min(len(ALLOWED), 4)
pytestmark = pytest.mark.skipif(CORES < 2, reason="one core cannot be divided")

TRAINER = """#!/usr/bin/python3
import json, os, sys, time
if sys.argv[1:2] == ["selftest"]:
    beside = os.path.join(os.path.dirname(os.readlink(f"/proc/{os.getppid()}/exe")), "sweep-trainer")
    os.execv(beside, [beside, *sys.argv[1:]])
request = json.load(sys.stdin)
threads = request["threads"]
open("CALLS", "a").write(json.dumps(request) + "\\n")
RULE
def say(**event):
    print(json.dumps(event), flush=True)
for step in range(1, 100000):
    say(event="metric", name="perf/tokens_per_s", step=step, value=rate)
    say(event="metric", name="perf/memory_mib", step=step, value=20)
    time.sleep(0.05)
"""
MANY_SLOTS = "rate = 1000 * threads ** 0.5"
ONE_SLOT = "rate = 1000 * threads ** 1.5"


@pytest.fixture(autouse=True)
def few_cores():
    """What is started here sees four cores at most, however large the machine."""
    os.sched_setaffinity(0, ALLOWED[:CORES])
    yield
    os.sched_setaffinity(0, ALLOWED)


@pytest.fixture
def server():
    with FakeCoordinator() as coordinator:
        yield coordinator


@pytest.fixture
def start(server, tmp_path):
    """start(rule, *args): a worker whose trainer runs the rule, a piece of Python, first."""
    workers = []
    for folder in ("model", "data"):
        (tmp_path / folder).mkdir()
    (tmp_path / "model" / "model.safetensors").write_bytes(b"weights")
    for name in ("train.tsv", "dev.tsv"):
        (tmp_path / "data" / name).write_text(DEV_TSV)

    def start_worker(rule, *args):
        trainer = tmp_path / "trainer"
        trainer.write_text(TRAINER.replace("CALLS", str(tmp_path / "calls")).replace("RULE", rule))
        trainer.chmod(0o755)
        workers.append(Worker(server, tmp_path, "--model", tmp_path / "model", "--data", tmp_path / "data", "--trainer-program", trainer, *args))
        return workers[-1]

    yield start_worker
    for worker in workers:
        if worker.process.poll() is None:
            worker.kill()


def calls(tmp_path):
    path = tmp_path / "calls"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def registered(server):
    body = server.workers["w1"]["body"]
    return body["slots"], body["facts"]["threads"]


def test_the_division_that_trains_most_is_chosen_told_and_remembered(server, start, tmp_path):
    worker = start(MANY_SLOTS, "--exit-when-idle", 0)
    assert worker.wait() == 0
    assert registered(server) == (CORES, 1)
    measured = server.workers["w1"]["body"]["facts"]["measured"]
    assert {"slots": 1, "threads": CORES, "memory_mib": 20, "tokens_per_s": pytest.approx(1000 * CORES ** 0.5, abs=0.1)} in measured
    assert {"slots": CORES, "threads": 1, "memory_mib": 20, "tokens_per_s": pytest.approx(1000 * CORES, abs=0.1)} in measured
    log = worker.log()
    assert "how=measured" in log and f"slots={CORES} threads=1" in log
    seen = calls(tmp_path)
    assert len(seen) == sum(split["slots"] for split in measured)
    assert all(call["checkpoint_dir"] is None and call["output_dir"] is None and call["model"] == str(tmp_path / "model") for call in seen)
    worker = start(MANY_SLOTS, "--exit-when-idle", 0)  # the same machine, model and trainer
    assert worker.wait() == 0
    assert len(calls(tmp_path)) == len(seen) and "how=remembered" in worker.log() and registered(server) == (CORES, 1)


def test_another_trainer_or_model_is_measured_anew(server, start, tmp_path):
    assert start(MANY_SLOTS, "--exit-when-idle", 0).wait() == 0
    before = len(calls(tmp_path))
    assert start(ONE_SLOT, "--exit-when-idle", 0).wait() == 0
    assert registered(server) == (1, CORES)
    then = len(calls(tmp_path))
    assert then > before
    (tmp_path / "model" / "model.safetensors").write_bytes(b"other weights")
    assert start(ONE_SLOT, "--exit-when-idle", 0).wait() == 0
    assert len(calls(tmp_path)) > then


def test_numbers_that_are_given_are_not_measured(server, start, tmp_path):
    assert start(MANY_SLOTS, "--slots", 3, "--threads", 2, "--exit-when-idle", 0).wait() == 0
    assert registered(server) == (3, 2) and not calls(tmp_path)
    assert start(ONE_SLOT, "--slots", CORES, "--exit-when-idle", 0).wait() == 0
    assert registered(server) == (CORES, 1) and not calls(tmp_path)
    worker = start(ONE_SLOT, "--threads", 1, "--exit-when-idle", 0)
    assert worker.wait() == 0
    assert registered(server) == (CORES, 1) and {call["threads"] for call in calls(tmp_path)} == {1}


def test_slots_that_do_not_fit_in_memory_are_left_out_with_the_sizes(server, start):
    rule = MANY_SLOTS + """
if threads == 1:
    print(json.dumps({"event": "outcome", "state": "failed", "reason": "out_of_memory", "detail": "needs 900 MiB, 700 MiB available"}))
    sys.exit(1)"""
    worker = start(rule, "--exit-when-idle", 0)
    assert worker.wait() == 0
    slots, threads = registered(server)
    assert threads > 1 and slots < CORES
    assert "do not fit in memory" in worker.log() and "needs 900 MiB, 700 MiB available" in worker.log()


def test_files_of_another_task_are_measured_with_its_columns(server, start, tmp_path):
    rule = MANY_SLOTS + """
if request["fixed"]["task"] != "sst2":
    print(json.dumps({"event": "outcome", "state": "failed", "reason": "bad_data", "detail": "no column"}))
    sys.exit(1)"""
    assert start(rule, "--exit-when-idle", 0).wait() == 0
    assert registered(server) == (CORES, 1) and calls(tmp_path)[-1]["fixed"]["task"] == "sst2"


@pytest.mark.parametrize("rule, words", [
    ("print(json.dumps({'event': 'outcome', 'state': 'failed', 'reason': 'bad_model', 'detail': 'no such tensor'})); sys.exit(1)", "no such tensor"),
    ("sys.stderr.write('libfoo is missing'); sys.exit(127)", "libfoo is missing"),
])
def test_what_cannot_be_measured_is_guessed_and_said(server, start, rule, words):
    worker = start(rule, "--exit-when-idle", 0)
    assert worker.wait() == 0
    slots, threads = registered(server)
    assert slots >= 1 and threads >= 1 and "measured" not in server.workers["w1"]["body"]["facts"]
    assert "how=guessed" in worker.log() and words in worker.log()


def test_sigterm_ends_the_measuring_and_what_it_started(server, start, tmp_path):
    worker = start(MANY_SLOTS + "; open(%r, 'a').write('x')" % str(tmp_path / "runs"))
    wait_until((tmp_path / "runs").exists)
    children = worker.children()
    asked = time.monotonic()
    worker.process.send_signal(signal.SIGTERM)
    assert worker.wait(20) == 0 and time.monotonic() - asked < 10
    wait_until(lambda: not any(is_alive(pid) for pid in children))
    assert "w1" not in server.workers and not (worker.work / "divisions.json").exists()
