"""The examples that are installed for users do what they say."""
import json
import os
import shutil
import subprocess

import pytest

from daemon import PATIENCE_S, ROOT, Daemon, program

EXAMPLES = ROOT / "deploy" / "examples"
SPEC = {"method": "random", "seed": 1, "run_cap": 3, "metric": {"name": "loss"}, "parameters": {"x": {"min": 0.0, "max": 1.0}}}


@pytest.fixture
def server(tmp_path):
    with Daemon(tmp_path) as daemon:
        yield daemon


def finished(server, sweep):
    assert server.get(f"/v1/sweeps/{sweep}")["state"] == "finished"
    trials = server.get(f"/v1/sweeps/{sweep}/trials")["items"]
    assert len(trials) == 3 and all(trial["state"] == "completed" for trial in trials)
    return trials


@pytest.mark.parametrize("name, needs", [("external_client.py", []), ("external_client.sh", ["curl", "jq"])])
def test_an_external_client_runs_a_sweep_to_its_end(server, name, needs):
    for tool in needs:
        if not shutil.which(tool):
            pytest.skip(f"{tool} is not installed")
    sweep = server.post("/v1/sweeps", {**SPEC, "trainer": "external"}, expect=201)["id"]
    done = subprocess.run([EXAMPLES / name, server.url, sweep], capture_output=True, text=True, timeout=30 + PATIENCE_S)
    assert done.returncode == 0, done.stderr
    for trial in finished(server, sweep):
        assert trial["value"] == pytest.approx((trial["params"]["x"] - 0.3) ** 2 + (0.2 if name.endswith(".py") else 0))
    if name.endswith(".py"):
        assert len(server.get(f"/v1/trials/{trial['id']}/metrics?name=loss")["items"]) == 5


@pytest.mark.parametrize("name, most", [("external_client.py", 40), ("external_client.sh", 20)])
def test_an_external_client_is_short(name, most):
    assert len((EXAMPLES / name).read_text().splitlines()) <= most


def test_the_python_client_obeys_a_stopping_rule_and_a_token(tmp_path):
    (tmp_path / "tokens").write_text("admin boss a-token-of-this-test\n")
    (tmp_path / "tokens").chmod(0o600)
    with Daemon(tmp_path, "--token-file", tmp_path / "tokens", auth=True, token="a-token-of-this-test") as server:
        spec = {**SPEC, "trainer": "external", "run_cap": 8, "early_terminate": {"type": "median", "min_trials": 2}}
        sweep = server.post("/v1/sweeps", spec, expect=201)["id"]
        done = subprocess.run([EXAMPLES / "external_client.py", server.url, sweep], capture_output=True, text=True, timeout=30 + PATIENCE_S,
                              env={**os.environ, "SWEEPD_TOKEN": "a-token-of-this-test"})
        assert done.returncode == 0, done.stderr
        trials = server.get(f"/v1/sweeps/{sweep}/trials")["items"]
        assert {trial["state"] for trial in trials} == {"completed", "stopped"} and len(trials) == 8
        assert all(trial["value"] is not None for trial in trials)


@pytest.mark.parametrize("name", ["trainer.py", "trainer.sh", "trainer.c"])
def test_a_command_trainer_runs_a_sweep_to_its_end(server, name, tmp_path):
    path = EXAMPLES / name
    if name.endswith(".c"):
        path = tmp_path / "trainer"
        subprocess.run(["cc", "-O2", "-Wall", "-Werror", "-o", path, EXAMPLES / name], check=True)
    sweep = server.post("/v1/sweeps", {**SPEC, "trainer": "command", "program": "demo"}, expect=201)["id"]
    command = [program("sweep-worker"), "--coordinator", server.url, "--name", "w", "--slots", "1", "--threads", "1", "--trainer", "command",
               "--allow-command", f"demo={path}", "--work-dir", str(tmp_path / "work"), "--max-trials", "3"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60 + PATIENCE_S)
    assert done.returncode == 0, done.stderr
    for trial in finished(server, sweep):
        assert trial["value"] == pytest.approx((trial["params"]["x"] - 0.3) ** 2 + 1 / 3, abs=1e-5)
        assert len(server.get(f"/v1/trials/{trial['id']}/metrics?name=loss")["items"]) == 3


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion_scripts_are_read_by_their_shell(shell, tmp_path):
    script = subprocess.run([program("sweepctl"), "completion", shell], capture_output=True, text=True, check=True).stdout
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    (tmp_path / "script").write_text(script)
    subprocess.run([shell, "-n", tmp_path / "script"], check=True)
    if shell == "bash":
        ask = f'. {tmp_path}/script; COMP_WORDS=(sweepctl "$1" "$2"); COMP_CWORD=$3; _sweepctl; echo "${{COMPREPLY[@]}}"'

        def complete(*words):
            return subprocess.run(["bash", "-c", ask, "-", *words], capture_output=True, text=True, check=True).stdout.split()

        assert complete("wa", "", "1") == ["watch"]
        assert complete("export", "--fo", "2") == ["--format"]
