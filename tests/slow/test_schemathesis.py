"""schemathesis makes up requests from /openapi.json, sound and broken ones, and judges the answers: no 5xx, no answer that the
contract does not describe, nothing accepted that it forbids, no door that opens without a token.

    SWEEPD_PREFIX=… python3 -m pytest -s tests/slow/test_schemathesis.py

Taken from the program that SWEEPD_SCHEMATHESIS names, else installed into a virtual environment in the test's folder.
SWEEPD_SCHEMATHESIS_SECONDS (default 300) is its time. One check is left out: that whatever fits the schema is accepted. A schema cannot say
what a sound sweep is.
"""
import os
import pathlib
import re
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration"))
from daemon import Daemon  # noqa: E402

SECRET = "swd-for-schemathesis"
SECONDS = os.environ.get("SWEEPD_SCHEMATHESIS_SECONDS", "300")


@pytest.fixture(scope="module")
def schemathesis(tmp_path_factory):
    if os.environ.get("SWEEPD_SCHEMATHESIS"):
        return os.environ["SWEEPD_SCHEMATHESIS"]
    folder = tmp_path_factory.mktemp("schemathesis")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    subprocess.run([folder / "bin" / "pip", "install", "-q", "schemathesis"], check=True)
    return str(folder / "bin" / "schemathesis")


def seeded(server):
    """Ids that exist, so that more is tried than 404."""
    sweep = server.create_sweep(run_cap=None)["id"]
    worker = server.register("w")["id"]
    trials = [server.claim(worker, f"c{i}", sweep=sweep)[0] for i in range(4)]
    for i, trial in enumerate(trials[:3]):
        server.report(trial, 1, metrics=[{"name": "loss", "step": 1, "value": float(i)}], outcome={"state": "completed", "value": float(i)})
    return sweep, trials[3]["id"], worker


def test_the_contract_is_kept_whatever_comes(tmp_path, schemathesis):
    tokens = tmp_path / "tokens"
    tokens.write_text(f"admin root {SECRET}\n")
    tokens.chmod(0o600)
    with Daemon(tmp_path, "--token-file", tokens, auth=True, token=SECRET) as server:
        sweep, trial, worker = seeded(server)
        config = "".join(f'[[operations]]\ninclude-path-regex = "^/v1/{kind}/"\nparameters = {{"path.id" = "{known}"}}\n\n'
                         for kind, known in (("sweeps", sweep), ("trials", trial), ("workers", worker)))
        (tmp_path / "schemathesis.toml").write_text(config)
        done = subprocess.run([schemathesis, "--config-file", str(tmp_path / "schemathesis.toml"), "run", server.url + "/openapi.json",
                               "--header", f"Authorization: Bearer {SECRET}", "--exclude-path", "/v1/events", "--exclude-method", "DELETE",
                               "--phases", "examples,coverage,fuzzing,stateful", "--seed", "1", "--checks", "all",
                               "--exclude-checks", "positive_data_acceptance", "--continue-on-failure", "--max-examples", "60", "--request-timeout", "90", "--max-response-time", "70",
                               "--max-time", SECONDS, "--suppress-health-check", "all", "--warnings", "off", "--no-color"],
                              capture_output=True, text=True, cwd=tmp_path, timeout=int(SECONDS) * 3 + 300)
        print(done.stdout[-2500:])
        assert server.get("/readyz")
        assert not re.search(r"\[5\d\d\]", done.stdout), done.stdout[-20000:]
        assert done.returncode == 0, done.stdout[-20000:] + done.stderr[-2000:]
