"""`sweepd doctor`, `sweep-worker doctor` and `sweep-trainer doctor`: each check is broken on purpose once."""
import datetime
import http.server
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import threading

import pytest

from daemon import SANITIZED, Daemon, program

PATIENCE_S = 300 if SANITIZED else 60
DEMO = os.path.join(os.environ.get("SWEEPD_PREFIX", ""), "share/sweepd/demo")


def doctor(name, *args, expect=0, cwd=None, env=None):
    """{check: [item, …]} of the JSON answer."""
    done = subprocess.run([program(name), "doctor", *map(str, args), "--json"], capture_output=True, text=True, timeout=PATIENCE_S, cwd=cwd,
                          env={**os.environ, **(env or {})})
    assert done.returncode == expect, (args, done.returncode, done.stdout, done.stderr)
    answer = json.loads(done.stdout)
    assert answer["ok"] == (expect == 0)
    checks = {}
    for item in answer["checks"]:
        assert item["verdict"] in ("ok", "warning", "wrong") and item["detail"]
        assert ("remedy" in item) == (item["verdict"] != "ok"), item
        checks.setdefault(item["check"], []).append(item)
    return checks


def verdict(checks, name):
    order = ["ok", "warning", "wrong"]
    return max((item["verdict"] for item in checks[name]), key=order.index)


def detail(checks, name):
    return " ".join(item["detail"] for item in checks[name])


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def certificate(folder, name="127.0.0.1", days=30):
    key, cert = folder / "key.pem", folder / "cert.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key, "-out", cert,
                    "-days", str(days), "-subj", "/CN=test", "-addext", f"subjectAltName=IP:{name}"], check=True, capture_output=True)
    return cert, key


# --- sweepd ------------------------------------------------------------------------------------------------------


def server_doctor(folder, *args, **options):
    return doctor("sweepd", "--listen", f"127.0.0.1:{free_port()}", "--database", folder / "sweepd.db", *args, **options)


def test_a_sound_server_is_told_so_in_lines_and_in_json(tmp_path):
    checks = server_doctor(tmp_path, "--no-auth")
    assert {"memory", "descriptors", "disk", "database", "tls", "tokens", "clock", "listen"} <= set(checks)
    assert "not there yet" in detail(checks, "database")
    assert not list(tmp_path.iterdir())  # nothing was made
    done = subprocess.run([program("sweepd"), "doctor", "--no-auth", "--listen", "127.0.0.1:0", "--database", tmp_path / "x.db"], capture_output=True, text=True)
    assert done.returncode == 0 and all(line.startswith("ok ") for line in done.stdout.splitlines()), done.stdout


def test_beside_a_running_server_its_lock_and_address_are_no_fault(tmp_path):
    with Daemon(tmp_path) as server:
        checks = doctor("sweepd", "--no-auth", "--listen", server.url.removeprefix("http://"), "--database", server.database)
        assert "a server works on" in detail(checks, "lock") and "is taken" in detail(checks, "listen")
        server.get("/v1/sweeps")  # and the server noticed nothing


def test_a_copy_is_looked_at_and_not_changed(tmp_path):
    copy = tmp_path / "copy" / "sweepd.db"
    copy.parent.mkdir()
    with Daemon(tmp_path) as server:
        sweep = server.create_sweep()["id"]
        subprocess.run([program("sweepd"), "backup", "--database", server.database, copy], check=True, capture_output=True, timeout=PATIENCE_S)
    before = copy.read_bytes()
    server_doctor(copy.parent, "--no-auth")
    assert copy.read_bytes() == before
    with Daemon(copy.parent) as server:  # and serves in its place
        assert [item["id"] for item in server.get("/v1/sweeps")["items"]] == [sweep]
        assert copy.read_bytes()[18:20] == b"\2\2"  # with a log, as ever


def test_an_address_that_is_taken_or_not_ours(tmp_path):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        checks = doctor("sweepd", "--no-auth", "--listen", f"127.0.0.1:{s.getsockname()[1]}", "--database", tmp_path / "x.db", expect=1)
    assert verdict(checks, "listen") == "wrong" and "in use" in detail(checks, "listen")
    for address in ("192.0.2.1:80", "nonsense"):
        assert verdict(doctor("sweepd", "--listen", address, "--database", tmp_path / "x.db", expect=1), "listen") == "wrong"


def test_a_damaged_a_foreign_and_a_newer_database(tmp_path):
    with Daemon(tmp_path) as server:
        server.create_sweep()
    path = tmp_path / "sweepd.db"
    assert "sound" in detail(server_doctor(tmp_path, "--no-auth"), "database")
    with sqlite3.connect(path) as db:
        db.execute("UPDATE sweeps SET spec = 'nonsense'")
    db.close()
    checks = server_doctor(tmp_path, "--no-auth", expect=1)
    assert verdict(checks, "database") == "wrong" and "its spec is not JSON" in detail(checks, "database")
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 9999")
    db.close()
    assert verdict(server_doctor(tmp_path, "--no-auth", expect=1), "database") == "wrong"
    path.write_bytes(b"no database at all" * 100)
    assert verdict(server_doctor(tmp_path, "--no-auth", expect=1), "database") == "wrong"


def test_a_disk_without_room_and_a_folder_that_is_not_there(tmp_path):
    assert verdict(server_doctor(tmp_path, "--no-auth", "--min-free-mb", 1 << 40, expect=1), "disk") == "wrong"
    checks = server_doctor(tmp_path / "absent", "--no-auth", expect=1)
    assert verdict(checks, "disk") == "wrong" and verdict(checks, "database") == "wrong"


def test_tokens_absent_unreadable_expired_and_soon_over(tmp_path):
    assert verdict(server_doctor(tmp_path, expect=1), "tokens") == "wrong"
    file = tmp_path / "tokens"
    file.write_text("admin me secret-secret-secret\n")
    file.chmod(0o644)
    assert verdict(server_doctor(tmp_path, "--token-file", file, expect=1), "tokens") == "wrong"
    file.chmod(0o600)
    assert verdict(server_doctor(tmp_path, "--token-file", file), "tokens") == "ok"
    assert verdict(server_doctor(tmp_path, "--token-file", file, "--no-auth"), "tokens") == "warning"

    def create(name, expires):
        subprocess.run([program("sweepd"), "token", "create", "--role", "worker", "--name", name, "--expires", expires, "--database", tmp_path / "sweepd.db"],
                       check=True, capture_output=True)

    create("lasting", "90d")
    assert verdict(server_doctor(tmp_path), "tokens") == "ok"
    create("soon", "2d")
    create("gone", "30m")
    with sqlite3.connect(tmp_path / "sweepd.db") as db:
        db.execute("UPDATE tokens SET expires_ms = 1 WHERE name = 'gone'")
    db.close()
    checks = server_doctor(tmp_path)
    assert verdict(checks, "tokens") == "warning"
    assert "soon (worker)" in detail(checks, "tokens") and "1 of 3" in detail(checks, "tokens")


def test_a_clock_that_stands_before_what_the_database_saw(tmp_path):
    with Daemon(tmp_path) as server:
        server.register()
    with sqlite3.connect(tmp_path / "sweepd.db") as db:
        db.execute("UPDATE workers SET last_seen_ms = 4102444800000")
    db.close()
    assert verdict(server_doctor(tmp_path, "--no-auth", expect=1), "clock") == "wrong"


def test_certificates_that_do_not_fit_have_expired_or_are_missing(tmp_path):
    cert, key = certificate(tmp_path)
    assert verdict(server_doctor(tmp_path, "--no-auth", "--tls-cert", cert, "--tls-key", key), "tls") == "ok"
    (tmp_path / "other").mkdir()
    soon, soon_key = certificate(tmp_path / "other", days=3)
    assert verdict(server_doctor(tmp_path, "--no-auth", "--tls-cert", soon, "--tls-key", soon_key), "tls") == "warning"
    for arguments in (("--tls-cert", cert, "--tls-key", soon_key), ("--tls-cert", cert), ("--tls-cert", tmp_path / "absent", "--tls-key", key)):
        assert verdict(server_doctor(tmp_path, "--no-auth", *arguments, expect=1), "tls") == "wrong"
    file = tmp_path / "tokens"
    file.write_text("admin me secret-secret-secret\n")
    file.chmod(0o600)
    checks = doctor("sweepd", "--listen", f"0.0.0.0:{free_port()}", "--database", tmp_path / "sweepd.db", "--token-file", file)
    assert verdict(checks, "tls") == "warning"


def test_unknown_options_are_wrong_usage():
    for name in ("sweepd", "sweep-worker", "sweep-trainer"):
        done = subprocess.run([program(name), "doctor", "--nonsense"], capture_output=True, text=True)
        assert done.returncode == 2 and "--nonsense" in done.stderr
        assert subprocess.run([program(name), "doctor", "--help"], capture_output=True).returncode == 0


# --- sweep-worker ------------------------------------------------------------------------------------------------


def worker_doctor(folder, url, *args, **options):
    return doctor("sweep-worker", "--coordinator", url, "--work-dir", folder / "work", "--slots", 1, "--threads", 1, *args, cwd=folder, **options)


@pytest.fixture
def token(tmp_path):
    """Makes a token of a role in the server's database; the file that holds it."""

    def make(role):
        done = subprocess.run([program("sweepd"), "token", "create", "--role", role, "--name", role, "--database", tmp_path / "sweepd.db"],
                              check=True, capture_output=True, text=True)
        file = tmp_path / f"{role}.token"
        file.write_text(done.stdout)
        file.chmod(0o600)
        return file

    return make


def test_a_sound_worker_and_the_trainer_that_it_would_run(tmp_path):
    with Daemon(tmp_path) as server:
        checks = worker_doctor(tmp_path, server.url)
        assert {"coordinator", "clock", "token", "disk", "slots", "blas", "threads", "model", "memory", "data"} <= set(checks)
        assert not (tmp_path / "work").exists()
        assert server.get("/v1/workers")["items"] == []  # nobody registered


def test_a_coordinator_that_is_away_no_coordinator_or_no_address(tmp_path):
    checks = worker_doctor(tmp_path, f"http://127.0.0.1:{free_port()}", expect=1)
    assert verdict(checks, "coordinator") == "wrong" and "token" not in checks
    assert verdict(worker_doctor(tmp_path, "ftp://nowhere", expect=1), "coordinator") == "wrong"


def fake(status, date):
    """A server that answers everything with a status and a date."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response_only(status if self.command == "GET" else 422)
            self.send_header("Date", date)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_POST = do_GET

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


@pytest.mark.parametrize("off_s, expected", [(0, "ok"), (60, "warning"), (-60, "warning"), (4000, "wrong")])
def test_a_clock_that_goes_wrong(tmp_path, off_s, expected):
    date = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=off_s)
    server = fake(200, date.strftime("%a, %d %b %Y %H:%M:%S GMT"))
    try:
        checks = worker_doctor(tmp_path, f"http://127.0.0.1:{server.server_port}", expect=int(expected == "wrong"))
        assert verdict(checks, "clock") == expected, checks["clock"]
    finally:
        server.shutdown()
        server.server_close()


def test_something_else_that_speaks_http(tmp_path):
    server = fake(404, "Thu, 01 Jan 2026 00:00:00 GMT")
    try:
        checks = worker_doctor(tmp_path, f"http://127.0.0.1:{server.server_port}", expect=1)
        assert verdict(checks, "coordinator") == "wrong" and "404" in detail(checks, "coordinator")
    finally:
        server.shutdown()
        server.server_close()


def test_tokens_of_every_kind(tmp_path, token):
    worker, viewer = token("worker"), token("viewer")
    wrong = tmp_path / "wrong.token"
    wrong.write_text("swd_nobody-knows-this-one\n")
    wrong.chmod(0o600)
    readable = tmp_path / "readable.token"
    readable.write_text(worker.read_text())
    readable.chmod(0o644)
    with Daemon(tmp_path, auth=True) as server:
        assert verdict(worker_doctor(tmp_path, server.url, "--token-file", worker), "token") == "ok"
        for file, text in ((viewer, "not a worker's"), (wrong, "does not know it"), (readable, "chmod 600")):
            checks = worker_doctor(tmp_path, server.url, "--token-file", file, expect=1)
            assert verdict(checks, "token") == "wrong" and text in detail(checks, "token")
        assert "wants one" in detail(worker_doctor(tmp_path, server.url, expect=1), "token")


def test_a_certificate_that_is_not_trusted(tmp_path):
    cert, key = certificate(tmp_path)
    with Daemon(tmp_path, "--tls-cert", cert, "--tls-key", key) as server:
        checks = worker_doctor(tmp_path, server.url, expect=1)
        assert verdict(checks, "coordinator") == "wrong" and any("--ca" in item["remedy"] for item in checks["coordinator"])
        assert "certificate is good" in detail(worker_doctor(tmp_path, server.url, "--ca", cert), "coordinator")
        assert verdict(worker_doctor(tmp_path, server.url, "--ca", tmp_path / "absent", expect=1), "tls") == "wrong"


def test_disks_and_cores(tmp_path):
    with Daemon(tmp_path) as server:
        assert verdict(worker_doctor(tmp_path, server.url, "--min-free-mb", 1 << 40, expect=1), "disk") == "wrong"
        file = tmp_path / "file"
        file.write_text("")
        assert verdict(worker_doctor(tmp_path, server.url, "--checkpoint-dir", file / "below", expect=1), "disk") == "wrong"
        checks = doctor("sweep-worker", "--coordinator", server.url, "--work-dir", tmp_path / "work", "--slots", 512, "--threads", os.cpu_count() + 1)
        assert verdict(checks, "slots") == "warning" and verdict(checks, "threads") == "warning"


def test_models_and_data_that_cannot_be_trained_with(tmp_path):
    with Daemon(tmp_path) as server:
        def look(model, data, expect=1):
            return worker_doctor(tmp_path, server.url, "--model", model, "--data", data, expect=expect)

        model, data = tmp_path / "model", tmp_path / "data"
        shutil.copytree(f"{DEMO}/model", model)
        shutil.copytree(f"{DEMO}/data", data)
        assert verdict(look(model, data, expect=0), "model") == "ok"
        weights = (model / "model.safetensors").read_bytes()
        (model / "model.safetensors").write_bytes(weights[:1000])
        assert verdict(look(model, data), "model") == "wrong"
        (model / "model.safetensors").write_bytes(weights)
        (model / "vocab.txt").unlink()
        assert verdict(look(model, data), "model") == "wrong"
        (data / "dev.tsv").unlink()
        assert verdict(look(f"{DEMO}/model", data), "data") == "wrong"
        assert "cannot find" in detail(look(tmp_path / "absent", data), "trainer")


@pytest.mark.parametrize("ends_with", [0, 1, 3])
def test_a_program_that_is_no_trainer(tmp_path, ends_with):
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\necho hello\nexit {ends_with}\n")
    program.chmod(0o755)
    with Daemon(tmp_path) as server:
        checks = worker_doctor(tmp_path, server.url, "--trainer-program", program, expect=1)
    assert f"status {ends_with} and told nothing" in detail(checks, "trainer")


def test_programs_that_may_be_run_are_named(tmp_path):
    with Daemon(tmp_path) as server:
        checks = worker_doctor(tmp_path, server.url, "--allow-command", "yes=/bin/true")
        assert "yes runs" in detail(checks, "command")


@pytest.mark.skipif(bool(SANITIZED), reason="the sanitizers need address space without limit")
def test_memory_counts_what_the_libraries_take():
    def look(threads, expect):
        done = subprocess.run(["sh", "-c", 'ulimit -v 1000000; exec "$@"', "sh", program("sweep-trainer"), "doctor", "--json", "--model", f"{DEMO}/model", "--threads",
                               str(threads)], capture_output=True, text=True, timeout=PATIENCE_S, env={**os.environ, "OPENBLAS_NUM_THREADS": "1"})
        assert done.returncode == expect, done.stdout
        return next(item for item in json.loads(done.stdout)["checks"] if item["check"] == "memory")

    assert look(1, 0)["verdict"] == "ok"
    assert "of address space" in look(8, 1)["detail"]


def test_an_old_core_and_a_small_thread_limit_slow_a_trainer_down():
    checks = doctor("sweep-trainer", "--threads", 2, env={"OPENBLAS_CORETYPE": "Prescott", "OMP_THREAD_LIMIT": "1"})
    assert verdict(checks, "threads") == "warning" and "OMP_THREAD_LIMIT" in detail(checks, "threads")
    if "avx" in detail(checks, "blas"):
        assert verdict(checks, "blas") == "warning"
    others = doctor("sweep-trainer", "--threads", 2, env={"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"})
    assert "OMP" not in detail(others, "threads")  # a training sets these itself
