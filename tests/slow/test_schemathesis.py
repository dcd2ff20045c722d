"""schemathesis makes up requests from /openapi.json, sound and broken ones, and judges the answers: no 5xx, no answer that the
contract does not describe, nothing accepted that it forbids, no door that opens without a token.

    SWEEPD_PREFIX=… python3 -m pytest -s tests/slow/test_schemathesis.py

Taken from the program that SWEEPD_SCHEMATHESIS names, else installed into a virtual environment in the test's folder.
SWEEPD_SCHEMATHESIS_SECONDS (default 300) is its time. One check is left out: that whatever fits the schema is accepted. A schema cannot say
what a sound sweep is.
"""
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration"))
from daemon import Daemon  # noqa: E402

SECRET = "swd-for-schemathesis"
SECONDS = int(os.environ.get("SWEEPD_SCHEMATHESIS_SECONDS", "300"))


@pytest.fixture(scope="module")
def schemathesis(tmp_path_factory):
    if os.environ.get("SWEEPD_SCHEMATHESIS"):
        return os.environ["SWEEPD_SCHEMATHESIS"]
    folder = tmp_path_factory.mktemp("schemathesis")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    subprocess.run([folder / "bin" / "pip", "install", "-q", "schemathesis"], check=True)
    return str(folder / "bin" / "schemathesis")


def seeded(server):
    """Ids that exist, so that more is tried than 404: a sweep that was edited, a running trial, one whose model is kept, a worker."""
    sweep = server.create_sweep(run_cap=None)["id"]
    server.patch(f"/v1/sweeps/{sweep}", {"spec": {"tags": ["edited"]}})
    worker = server.register("w", instance="one")["id"]
    trials = [server.claim(worker, f"c{i}", sweep=sweep)[0] for i in range(4)]
    for i, trial in enumerate(trials[:3]):
        server.report(trial, 1, metrics=[{"name": "loss", "step": 1, "value": float(i)}], outcome={"state": "completed", "value": float(i)})
    files = [{"name": "model.safetensors", "bytes": 5, "sha256": hashlib.sha256(b"bytes").hexdigest()}]
    offer = {"lease": trials[0]["lease"], "files": files}
    server.post(f"/v1/trials/{trials[0]['id']}/model", offer)
    server.session.put(f"{server.url}/v1/trials/{trials[0]['id']}/model/file?name=model.safetensors&offset=0", data=b"bytes",
                       headers={"Content-Type": "application/octet-stream", "Lease": trials[0]["lease"]}, timeout=60).raise_for_status()
    while server.post(f"/v1/trials/{trials[0]['id']}/model", offer)["state"] != "kept":
        time.sleep(0.05)
    return sweep, trials[3]["id"], trials[0]["id"], worker


def attack(schemathesis, folder, server, seconds, *words):
    """Runs it; what it found, which must be nothing."""
    sweep, trial, kept, worker = seeded(server)
    places = (("/v1/sweeps/", sweep), ("/v1/trials/(?!.*/model)", trial), ("/v1/trials/.*/model", kept), ("/v1/workers/", worker))
    config = "".join(f"[[operations]]\ninclude-path-regex = '^{place}'\nparameters = {{'path.id' = '{known}'}}\n\n" for place, known in places)
    (folder / "schemathesis.toml").write_text(config)
    contract = server.get("/openapi.json")
    if not server.auth:  # nobody is asked for a token: the contract without its locks
        del contract["security"], contract["components"]["securitySchemes"]
        for operation in (operation for path in contract["paths"].values() for operation in path.values() if isinstance(operation, dict)):
            operation.pop("security", None)
    (folder / "openapi.json").write_text(json.dumps(contract))
    done = subprocess.run([schemathesis, "--config-file", str(folder / "schemathesis.toml"), "run", str(folder / "openapi.json"), "--url", server.url,
                           "--exclude-path", "/v1/events", "--phases", "examples,coverage,fuzzing,stateful", "--seed", "1", "--checks", "all",
                           "--exclude-checks", "positive_data_acceptance", "--continue-on-failure", "--max-examples", "60", "--request-timeout", "90", "--max-response-time", "70",
                           "--max-time", str(seconds), "--suppress-health-check", "all", "--warnings", "off", "--no-color", *words],
                          capture_output=True, text=True, cwd=folder, timeout=seconds * 3 + 300)
    print(done.stdout[-2500:])
    assert server.get("/readyz")
    assert "No test cases were generated" not in done.stdout, "too little time"
    assert not re.search(r"\[5\d\d\]", done.stdout), done.stdout[-20000:]
    assert done.returncode == 0, done.stdout[-20000:] + done.stderr[-2000:]


def options(folder):
    """Everything that opens a route, or changes what one does."""
    secret = folder / "secret"
    secret.write_text("hook-secret-of-some-length")
    secret.chmod(0o600)
    return ["--models-dir", folder / "models", "--webhook", "http://127.0.0.1:9/nobody", "--webhook-secret-file", secret]


@pytest.mark.parametrize("methods", [("--exclude-method", "DELETE"), ("--include-method", "DELETE")], ids=["all but DELETE", "DELETE"])
@pytest.mark.parametrize("doors", ["token", "open"])
def test_the_contract_is_kept_whatever_comes(tmp_path, schemathesis, doors, methods):
    """DELETE by itself: what it deletes, nothing else could be tried with."""
    tokens = tmp_path / "tokens"
    tokens.write_text(f"admin root {SECRET}\n")
    tokens.chmod(0o600)
    seconds = SECONDS if "--exclude-method" in methods else max(60, SECONDS // 5)
    if doors == "token":
        with Daemon(tmp_path, "--token-file", tokens, *options(tmp_path), auth=True, token=SECRET) as server:
            attack(schemathesis, tmp_path, server, seconds, "--header", f"Authorization: Bearer {SECRET}", *methods)
    else:
        with Daemon(tmp_path, *options(tmp_path)) as server:
            attack(schemathesis, tmp_path, server, seconds, *methods)
