"""Webhooks: a local receiver that answers, fails, hangs and redirects."""
import hashlib
import hmac
import http.server
import json
import os
import pathlib
import queue
import re
import sqlite3
import subprocess
import threading
import time

import pytest

from daemon import PATIENCE_S, ROOT, SANITIZED, Daemon, program
from study import Study

pytestmark = pytest.mark.coordinator

SECRET = "a-secret-of-the-tests"
WAIT_S = PATIENCE_S + 30


class Receiver:
    """Collects what it is told; `answers` gives a status, or "hang", for each request in order, then 200."""

    def __init__(self, *answers, port=0):
        self.told, self.answers, self.released, self.before = queue.Queue(), list(answers), threading.Event(), lambda: None
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.before()
                receiver.before = lambda: None
                answer = receiver.answers.pop(0) if receiver.answers else 200
                receiver.told.put((self.path, dict(self.headers), body))
                if answer == "hang":
                    receiver.released.wait(WAIT_S)
                    return
                self.send_response(answer)
                if answer == 302:
                    self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_GET = do_POST

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"

    def next(self):
        path, headers, body = self.told.get(timeout=WAIT_S)
        return path, headers, json.loads(body), body

    def __enter__(self):
        return self

    def __exit__(self, *ignored):
        self.released.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def secret(tmp_path):
    file = tmp_path / "secret"
    file.write_text(SECRET + "\n")
    file.chmod(0o600)
    return file


def finish(server, **members):
    study = Study(server, run_cap=1, **members)
    study.end(study.claim(), value=0.5)
    assert study.state() == "finished"
    return study


def notes(study):
    return [item["text"] for item in study.server.get(f"{study.path}/history")["items"] if item["what"] == "notified"]


def wait_for_note(study, n=1):
    deadline = time.monotonic() + WAIT_S
    while len(notes(study)) < n:
        assert time.monotonic() < deadline, study.server.log()
        time.sleep(0.05)
    return notes(study)


def test_the_end_of_a_sweep_is_told_signed_and_noted(tmp_path, secret):
    with Receiver() as receiver, Daemon(tmp_path, "--webhook", receiver.url, "--webhook-secret-file", secret) as server:
        study = finish(server, name="told")
        path, headers, body, raw = receiver.next()
        assert path == "/hook" and headers["X-Sweepd-Event"] == body["event"] == "finished" and headers["Content-Type"] == "application/json"
        sweep = body["sweep"]
        assert sweep["id"] == study.id and sweep["name"] == "told" and sweep["state"] == "finished" and sweep["counts"]["completed"] == 1
        assert sweep["best"]["value"] == 0.5 and "spec" not in sweep
        signed = f"{headers['X-Sweepd-Timestamp']}.".encode() + raw
        assert headers["X-Sweepd-Signature"] == "sha256=" + hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()
        assert abs(int(headers["X-Sweepd-Timestamp"]) - time.time()) < WAIT_S
        assert wait_for_note(study) == ["notified: finished: 127.0.0.1 answered 200 (attempt 1)"]
        assert receiver.told.empty()
        dump = subprocess.check_output([program("sweepd"), "dump", server.database], text=True, timeout=PATIENCE_S)
        assert '"table":"changes"' in dump and '"table":"webhooks"' not in dump  # what is told does not pile up
        assert "/hook" not in server.log()  # paths may be secrets


def test_failed_trials_and_cancelled_sweeps_are_told_and_only_what_was_asked_for(tmp_path):
    with Receiver() as receiver, Daemon(tmp_path, "--webhook", receiver.url) as server:
        study = Study(server, run_cap=2)
        trial = study.claim()
        study.end(trial, "failed", reason="diverged", detail="loss is NaN")
        body = receiver.next()[2]
        assert body["event"] == "trial_failed" and body["trial"] == {"id": trial["id"], "number": trial["number"], "reason": "diverged", "detail": "loss is NaN"}
        server.patch(study.path, {"state": "paused"})
        server.patch(study.path, {"state": "cancelled"})
        path, headers, body, _ = receiver.next()
        assert body["event"] == "cancelled" and "trial" not in body and "X-Sweepd-Signature" not in headers
    second = tmp_path / "second"
    second.mkdir()
    with Receiver() as receiver, Daemon(second, "--webhook", receiver.url, "--webhook-event", "paused") as server:
        study = Study(server, run_cap=2)
        study.end(study.claim(), "failed", reason="diverged")
        server.patch(study.path, {"state": "paused"})
        assert receiver.next()[2]["event"] == "paused"


def test_a_receiver_that_fails_is_told_again(tmp_path):
    with Receiver(500, 302) as receiver, Daemon(tmp_path, "--webhook", receiver.url) as server:
        study = finish(server)
        told = [receiver.next() for _ in range(3)]
        assert {path for path, *_ in told} == {"/hook"}  # the redirect was not followed
        assert len({headers["X-Sweepd-Delivery"] for _, headers, *_ in told}) == 1 and len({raw for *_, raw in told}) == 1
        assert wait_for_note(study) == ["notified: finished: 127.0.0.1 answered 200 (attempt 3)"]
        assert "redirects are not followed" in server.log()


def test_a_sweep_chooses_what_is_told_of_it(tmp_path):
    with Receiver() as receiver, Daemon(tmp_path, "--webhook", receiver.url, "--webhook-event", "finished") as server:
        quiet, eager = Study(server, run_cap=2, notify=[]), Study(server, run_cap=2, notify=["paused", "trial_failed"])
        for study in (quiet, eager):
            study.end(study.claim(), "failed", reason="diverged")
            server.patch(study.path, {"state": "paused"})
        told = [receiver.next()[2] for _ in range(2)]
        assert sorted(body["event"] for body in told) == ["paused", "trial_failed"] and {body["sweep"]["id"] for body in told} == {eager.id}
        for study in (quiet, eager):
            server.patch(study.path, {"state": "running"})
            study.end(study.claim(), value=0.5)
            assert study.state() == "finished"
        server.patch(quiet.path, {"spec": {"notify": ["cancelled"]}})  # edited, and in force at once
        server.patch(quiet.path, {"state": "cancelled"})
        body = receiver.next()[2]
        assert (body["event"], body["sweep"]["id"]) == ("cancelled", quiet.id)
        answer = server.request("POST", "/v1/sweeps", {"method": "random", "trainer": "external", "parameters": {"x": {"min": 0.0, "max": 1.0}}, "notify": ["birthday"]}, expect=422)
        assert answer.json()["errors"][0]["pointer"] == "/notify" and "birthday" in answer.text


def counted(server):
    """What /metrics says of webhooks: {"delivered": 1, …, "waiting": 0, "refused": 0}."""
    text = server.request("GET", "/metrics", expect=200).text
    found = dict(re.findall(r'^sweepd_webhook_attempts_total\{result="(\w+)"\} (\S+)$', text, re.M) + re.findall(r"^sweepd_webhooks_(waiting|refused)(?:_total)? (\S+)$", text, re.M))
    return {name: float(n) for name, n in found.items()}


def test_what_becomes_of_messages_is_counted(tmp_path):
    with Receiver(500) as receiver, Daemon(tmp_path, "--webhook", receiver.url) as server:
        assert counted(server) == {"delivered": 0, "put_off": 0, "given_up": 0, "waiting": 0, "refused": 0}
        study = finish(server)
        receiver.next()
        deadline = time.monotonic() + WAIT_S
        while counted(server)["put_off"] < 1:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert counted(server)["waiting"] == 1
        wait_for_note(study)
        while counted(server)["delivered"] < 1:  # counted after the commit that the note shows
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert counted(server) == {"delivered": 1, "put_off": 1, "given_up": 0, "waiting": 0, "refused": 0}


def test_what_is_given_up_or_never_kept_is_counted(tmp_path):
    with Receiver() as receiver:
        url = receiver.url
    with Daemon(tmp_path, "--webhook", url) as server:
        study = finish(server)
        deadline = time.monotonic() + WAIT_S
        while counted(server)["put_off"] < 1:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        with sqlite3.connect(server.database, timeout=WAIT_S) as database:
            database.execute("UPDATE webhooks SET attempts = 15, due_ms = 0")
        database.close()
        wait_for_note(study)
        while counted(server)["given_up"] < 1:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert "given up (attempt 16)" in notes(study)[0]
        with sqlite3.connect(server.database, timeout=WAIT_S) as database:
            database.execute("INSERT INTO webhooks (sweep, event, url, body, created_ms, due_ms) SELECT id, 'x', 'http://127.0.0.1:9/', '{}', 0, 9000000000000 FROM sweeps, "
                             "(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000) SELECT i FROM n)")
        database.close()
        finish(server)
        assert counted(server)["refused"] == 1 and counted(server)["waiting"] == 10000


def test_a_receiver_that_hangs_holds_up_nobody_and_a_stop_cuts_it_off(tmp_path):
    with Receiver("hang", "hang") as receiver:
        with Daemon(tmp_path, "--webhook", receiver.url) as server:
            study = finish(server)
            receiver.next()
            began = time.monotonic()
            for _ in range(20):
                server.create_sweep()
            assert time.monotonic() - began < PATIENCE_S
            began = time.monotonic()
            assert server.stop() == 0 and time.monotonic() - began < (PATIENCE_S if SANITIZED else 8)  # a receiver has ten seconds
            receiver.answers.clear()
            server.start()  # the next process tells it, and nothing counts as tried
            assert receiver.next()[2]["event"] == "finished"
            assert wait_for_note(study) == ["notified: finished: 127.0.0.1 answered 200 (attempt 1)"]


@pytest.mark.skipif(SANITIZED, reason="sanitizers come before what is preloaded")
def test_a_name_server_that_does_not_answer_holds_up_no_stop(tmp_path):
    shim = pathlib.Path(os.environ.get("SWEEPD_BUILD", ROOT / "build")) / "tests" / "slow_names.so"
    with Daemon(tmp_path, "--webhook", "http://slow.test/hook", env={"LD_PRELOAD": str(shim)}) as server:
        finish(server)
        time.sleep(2)  # the notifier looks once a second
        assert server.stop(timeout=10) == 0
        assert "webhook not told" not in server.log()  # it was on its way


def test_a_database_that_cannot_be_written_meanwhile_tells_nobody_twice(tmp_path):
    with Receiver() as receiver, Daemon(tmp_path, "--webhook", receiver.url) as server:
        database = sqlite3.connect(server.database, isolation_level=None, timeout=WAIT_S, check_same_thread=False)
        receiver.before = lambda: database.execute("BEGIN IMMEDIATE")
        study = finish(server)
        receiver.next()
        deadline = time.monotonic() + WAIT_S
        while "cannot write what webhooks were told" not in server.log():
            assert time.monotonic() < deadline
            time.sleep(0.1)
        time.sleep(7)  # until it is tried again
        database.execute("ROLLBACK")
        database.close()
        assert len(wait_for_note(study)) == 1 and receiver.told.empty()


def test_what_was_not_told_survives_a_kill_and_a_receiver_that_is_away(tmp_path):
    with Receiver() as receiver:
        url, port = receiver.url, receiver.server.server_port
    with Daemon(tmp_path, "--webhook", url) as server:
        study = finish(server)
        server.kill()
        with Receiver() as receiver:
            server.args = ["--webhook", receiver.url]
            server.start()  # what waits keeps its address, and another sweep takes the new one
            server.get("/v1/sweeps")
            other = finish(server)
            assert receiver.next()[2]["sweep"]["id"] == other.id
            wait_for_note(other)
            assert notes(study) == []
            with Receiver(port=port) as back:
                assert back.next()[2]["sweep"]["id"] == study.id
                wait_for_note(study)


def test_two_receivers_are_both_told(tmp_path):
    with Receiver() as one, Receiver() as two, Daemon(tmp_path, "--webhook", one.url, "--webhook", two.url) as server:
        study = finish(server)
        assert one.next()[2] == two.next()[2]
        assert len(wait_for_note(study, 2)) == 2


@pytest.mark.parametrize("arguments, text", [
    (["--webhook", "ftp://example.org/x"], "http or https"), (["--webhook", "nonsense"], "http or https"),
    (["--webhook", b"http://caf\xe9.test/"], "printable ASCII"), (["--webhook", "http://a/b c"], "printable ASCII"),
    (["--webhook", "https://me:secret@example.org/"], "password"), (["--webhook-event", "birthday"], "birthday"),
    (["--webhook-secret-file", "absent"], "absent"), (["--webhook-secret-file", "short"], "at least 16"), (["--webhook-secret-file", "open"], "chmod 600")])
def test_options_that_make_no_sense_are_refused(tmp_path, arguments, text):
    for name, content, mode in (("short", "abc", 0o600), ("open", "x" * 32, 0o644)):
        (tmp_path / name).write_text(content)
        (tmp_path / name).chmod(mode)
    done = subprocess.run([program("sweepd"), "--no-auth", "--listen", "127.0.0.1:0", *arguments], capture_output=True, text=True, cwd=tmp_path, timeout=PATIENCE_S)
    assert done.returncode == 2 and text in done.stderr
    looked = subprocess.run([program("sweepd"), "doctor", "--no-auth", "--listen", "127.0.0.1:0", *arguments], capture_output=True, text=True, cwd=tmp_path)
    assert looked.returncode == 1 and "webhooks" in looked.stdout
