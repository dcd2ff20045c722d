"""Before it takes trials a worker has its trainer compute numbers that are known. Broken machines are played by a wrapper around the real trainer."""
import json
import os
import re
import signal
import subprocess
import time

import pytest
from daemon import PATIENCE_S, ROOT, Daemon, program
from worker import WorkerProcess

WRAPPER = """#!/usr/bin/python3
import json, os, subprocess, sys
if sys.argv[1:2] != ["selftest"]:
    os.execv("TRAINER", ["TRAINER", *sys.argv[1:]])
told = json.loads(subprocess.run(["TRAINER", *sys.argv[1:]], stdout=subprocess.PIPE, check=True).stdout)
BREAK
print(json.dumps(told))
"""


def real_worker(server, folder, rule=None, *args):
    """A worker that serves the demo, with the trainer as the rule (Python that may change `told`) breaks it."""
    options = []
    if rule:
        wrapper = folder / "trainer"
        wrapper.write_text(WRAPPER.replace("TRAINER", program("sweep-trainer")).replace("BREAK", rule))
        wrapper.chmod(0o755)
        options = ["--trainer-program", wrapper]
    return WorkerProcess(server.url, folder, *options, *args)


def wait_for_worker(server, state):
    return server.wait_until("/v1/workers", lambda w: w["items"] and w["items"][0]["state"] == state)["items"][0]


def numbers(**env):
    result = subprocess.run([program("sweep-trainer"), "selftest"], capture_output=True, text=True, check=True, timeout=PATIENCE_S, env={**os.environ, **env})
    return json.loads(result.stdout)


def expected():
    """What a worker expects: the table in its source, so that the tests see how far from its limits a sound machine is."""
    source = (ROOT / "worker/agent/selftest.c").read_text()
    return {name: float(value) for name, value in re.findall(r'\{"(\w+ [a-z ]+\d)", (-?[0-9.]+)\}', source)}


@pytest.mark.parametrize("kernels", ["avx512", "avx2", "generic"])
@pytest.mark.parametrize("f32, bf16", [("onednn", "onednn"), ("blas", "rounded")])
@pytest.mark.parametrize("core", ["", "Haswell", "Prescott"])
def test_all_kernels_compute_the_same_numbers(kernels, f32, bf16, core):
    mine = numbers(SWEEPD_KERNELS=kernels, SWEEPD_F32=f32, SWEEPD_BF16=bf16, **{"OPENBLAS_CORETYPE": core} if core else {})
    assert mine["repeats"] is True and mine["numbers"].keys() == expected().keys() and len(expected()) == 28
    for name, value in expected().items():  # half of what is tolerated
        assert mine["numbers"][name] == pytest.approx(value, rel=0, abs=(0.025 if name.startswith("bf16") else 5e-6) * max(abs(value), 0.5)), name


def test_a_sound_machine_passes_and_takes_trials(tmp_path):
    with Daemon(tmp_path) as server, real_worker(server, tmp_path) as worker:
        assert wait_for_worker(server, "active")["quarantine"] is None
        assert "self-test passed" in worker.log()


@pytest.mark.parametrize("rule, words", [
    ("told['numbers']['f32 loss 3'] += 1e-4", "f32 loss 3 is 0.41301"),
    ("told['numbers']['bf16 logit 2'] = -told['numbers']['bf16 logit 2']", "bf16 logit 2 is 1.1"),
    ("told['numbers']['f32 loss 1'] = float('nan')", "told no numbers"),
    ("told['repeats'] = False", "other bits the second time"),
    ("del told['numbers']['f32 gradient norm 4']", "of another build"),
    ("sys.exit('Illegal instruction')", "Illegal instruction"),
])
def test_a_machine_that_computes_something_else_gets_no_trials_and_says_why(tmp_path, rule, words):
    with Daemon(tmp_path, "--lease-s", "1") as server:
        sweep = server.create_sweep(trainer="distilbert-mrpc", parameters={"learning_rate": {"min": 1e-5, "max": 1e-4}})["id"]
        with real_worker(server, tmp_path, rule) as worker:
            shown = wait_for_worker(server, "quarantined")
            assert shown["quarantine"]["by"] == "worker" and words in shown["quarantine"]["why"] and shown["quarantine"]["why"].startswith("self-test: ")
            assert words in worker.log() and words in server.log()
            server.post(f"/v1/workers/{shown['id']}/undrain", expect=409)
            assert server.get(f"/v1/sweeps/{sweep}")["counts"]["running"] == 0
            assert wait_for_worker(server, "quarantined")["trials"] == []


def test_it_stays_there_to_be_seen_and_is_well_again_after_a_repair(tmp_path):
    with Daemon(tmp_path, "--lease-s", "1") as server:
        with real_worker(server, tmp_path, "told['repeats'] = False"):
            first = wait_for_worker(server, "quarantined")["last_seen"]
            server.wait_until("/v1/workers", lambda w: w["items"][0]["last_seen"] > first and w["items"][0]["state"] == "quarantined")
        with real_worker(server, tmp_path):
            assert wait_for_worker(server, "active")["quarantine"] is None


def test_a_worker_that_was_to_end_when_idle_fails_with_the_reason(tmp_path):
    with Daemon(tmp_path) as server:
        worker = real_worker(server, tmp_path, "told['repeats'] = False", "--exit-when-idle", "0")
        assert worker.process.wait(PATIENCE_S) == 1
        assert "sweep-worker: this machine must not train: self-test: the same step gave other bits" in worker.log()


def test_a_self_test_that_was_killed_is_repeated_and_judges_nobody(tmp_path):
    once = f"""
if not os.path.exists({str(tmp_path / 'killed')!r}):
    open({str(tmp_path / 'killed')!r}, 'w').close()
    os.kill(os.getpid(), 9)
"""
    with Daemon(tmp_path) as server, real_worker(server, tmp_path, once) as worker:
        assert wait_for_worker(server, "active")["quarantine"] is None
        assert "the self-test was killed with signal 9" in worker.log() and "must not train" not in worker.log() + server.log()


def test_sigterm_does_not_wait_for_the_self_test(tmp_path):
    with Daemon(tmp_path) as server:
        worker = real_worker(server, tmp_path, f"open({str(tmp_path / 'begun')!r}, 'w'); import time; time.sleep(600)")
        deadline = time.monotonic() + PATIENCE_S
        while not (tmp_path / "begun").exists():
            assert time.monotonic() < deadline
        worker.process.send_signal(signal.SIGTERM)
        assert worker.process.wait(20) == 0
