"""Starts the real coordinator for a test: temporary database, any free port, waits for readiness, never sleeps.

    with Daemon(tmp_path) as server:
        sweep = server.post("/v1/sweeps", {...}, expect=201)

The programs are those of SWEEPD_PREFIX (an installed copy), else of SWEEPD_BUILD or ./build; a test that finds none is skipped.
"""
import os
import pathlib
import selectors
import signal
import subprocess
import time

import pytest
import requests

ROOT = pathlib.Path(os.environ.get("SWEEPD_SOURCE_ROOT", pathlib.Path(__file__).resolve().parents[2]))
SANITIZED = bool(os.environ.get("SWEEPD_SANITIZE"))
PATIENCE_S = 60 if SANITIZED else 15  # for starts and answers; a sanitized daemon is slow


def program(name):
    """Path of one of our programs, or a skip."""
    places = []
    if os.environ.get("SWEEPD_PREFIX"):
        places.append(pathlib.Path(os.environ["SWEEPD_PREFIX"]) / "bin" / name)
    build = pathlib.Path(os.environ.get("SWEEPD_BUILD", ROOT / "build"))
    places += [build / folder / name for folder in ("coordinator", "worker", "worker/trainer", "ctl")]
    for place in places:
        if place.exists():
            return str(place)
    pytest.skip(f"{name} is not built")


class Daemon:
    """One sweepd. `folder` holds its database, address file and log; a second one on the same folder takes them over."""

    def __init__(self, folder, *args, auth=False, token=None, start=True, env=None):
        self.folder = pathlib.Path(folder)
        self.args = list(map(str, args))
        self.auth = auth  # False: --no-auth
        self.env = {**os.environ, **(env or {})}
        self.session = requests.Session()
        self.session.trust_env = False
        if token:
            self.session.headers["Authorization"] = f"Bearer {token}"
        self.process = None
        self.url = None
        if start:
            self.start()

    # --- life ----------------------------------------------------------------------------------------

    @property
    def log_path(self):
        return self.folder / "sweepd.log"

    @property
    def database(self):
        return self.folder / "sweepd.db"

    def command(self):
        command = [program("sweepd"), "--listen", "127.0.0.1:0", "--database", str(self.database)]
        return command + ([] if self.auth else ["--no-auth"]) + self.args

    def start(self):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(self.command(), stdout=subprocess.PIPE, stderr=log, env=self.env, cwd=self.folder)
        self.url = self._wait_ready()
        return self

    def _wait_ready(self):
        line = self._first_line()
        prefix = "listening on "
        if not line.startswith(prefix):
            self.kill()
            raise RuntimeError(f"sweepd said {line!r}:\n{self.log()}")
        return line[len(prefix):].strip()

    def _first_line(self):
        selector = selectors.DefaultSelector()
        selector.register(self.process.stdout, selectors.EVENT_READ)
        if not selector.select(PATIENCE_S):
            return ""
        return self.process.stdout.readline().decode()

    def stop(self, timeout=PATIENCE_S):
        """SIGTERM; the exit code."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self._reap(timeout)

    def kill(self):
        """SIGKILL: no goodbye, as in a crash."""
        if self.process and self.process.poll() is None:
            self.process.kill()
        return self._reap(PATIENCE_S)

    def _reap(self, timeout):
        if not self.process:
            return None
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        self.process.stdout.close()
        return code

    def restart(self, crash=False):
        """The same database on a new port."""
        self.kill() if crash else self.stop()
        return self.start()

    def log(self):
        return self.log_path.read_text(errors="replace")

    def __enter__(self):
        return self

    def __exit__(self, failure, *ignored):
        self.session.close()
        if not self.process or self.process.poll() is not None:
            return
        if failure:
            self.kill()
        elif self.stop() != 0:  # an unclean end, or what a sanitizer found
            raise AssertionError(f"sweepd ended with code {self.process.returncode}:\n{self.log()[-4000:]}")
        elif not SANITIZED and self.database.exists():
            self.check()

    def check(self):
        """What a server leaves behind must be sound."""
        result = subprocess.run([program("sweepd"), "check", str(self.database)], capture_output=True, text=True, timeout=PATIENCE_S)
        if result.returncode != 0:
            raise AssertionError(f"sweepd check: {result.stdout}{result.stderr}")

    # --- requests ------------------------------------------------------------------------------------

    def request(self, method, path, body=None, expect=None, **options):
        """The response; its status is checked when `expect` says which."""
        if body is not None:
            options["json"] = body
        options.setdefault("timeout", 60 + PATIENCE_S)
        response = self.session.request(method, self.url + path, **options)
        if expect is not None and response.status_code != expect:
            raise AssertionError(f"{method} {path}: {response.status_code} instead of {expect}: {response.text}")
        return response

    def get(self, path, expect=200, **options):
        return self.request("GET", path, expect=expect, **options).json()

    def post(self, path, body=None, expect=200, **options):
        response = self.request("POST", path, body, expect=expect, **options)
        return response.json() if response.content else None

    def patch(self, path, body, expect=200, **options):
        return self.request("PATCH", path, body, expect=expect, **options).json()

    def wait_until(self, path, condition, timeout=PATIENCE_S):
        """Polls a resource until condition(resource) holds; what it then is."""
        deadline = time.monotonic() + timeout
        while True:
            resource = self.get(path)
            if condition(resource):
                return resource
            if time.monotonic() > deadline:
                raise AssertionError(f"{path} never became what was waited for: {resource}")
            time.sleep(0.02)

    # --- sweeps --------------------------------------------------------------------------------------

    def create_sweep(self, **members):
        """An external random sweep over x in [0, 1] and n in 1…9, or as the members say."""
        spec = {
            "name": "test", "method": "random", "trainer": "external", "seed": 1, "run_cap": 10,
            "metric": {"name": "loss", "goal": "minimize"},
            "parameters": {"x": {"min": 0.0, "max": 1.0}, "n": {"min": 1, "max": 9}},
        }
        spec.update(members)
        spec = {key: value for key, value in spec.items() if value is not None}
        return self.post("/v1/sweeps", spec, expect=201)

    def register(self, name="w", slots=1, trainers=("external",), **members):
        body = {"name": name, "slots": slots, "trainers": list(trainers), **members}
        response = self.request("POST", "/v1/workers", body)
        if response.status_code not in (200, 201):
            raise AssertionError(f"register: {response.status_code}: {response.text}")
        return response.json()

    def claim(self, worker, claim_id, wait_s=0, expect=200, **members):
        """The claimed trials; an empty list for a 204."""
        body = {"worker": worker, "claim_id": claim_id, "wait_s": wait_s, **members}
        response = self.request("POST", "/v1/claims", body)
        if response.status_code == 204:
            return []
        if response.status_code != expect:
            raise AssertionError(f"claim: {response.status_code}: {response.text}")
        return response.json().get("trials")

    def report(self, trial, seq, expect=200, **members):
        return self.post(f"/v1/trials/{trial['id']}/report", {"lease": trial["lease"], "seq": seq, **members}, expect=expect)
