"""HTTP manners of the coordinator: what it refuses and how, tokens, clients that misbehave, starting and stopping."""
import contextlib
import ctypes
import http.client
import json
import os
import pathlib
import platform
import re
import shutil
import signal
import socket
import subprocess
import threading
import time

import pytest
import requests
from daemon import PATIENCE_S, SANITIZED, Daemon, program

pytestmark = pytest.mark.coordinator
SPEC = {"method": "random", "trainer": "external", "run_cap": 3, "parameters": {"x": {"min": 0.0, "max": 1.0}}}
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with Daemon(tmp_path_factory.mktemp("http")) as daemon:
        yield daemon


def address(server):
    host, port = server.url.split("//")[1].rsplit(":", 1)
    return host, int(port)


def problem(response, status):
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    body = response.json()
    assert body["status"] == status and body["title"] and body["detail"] and body["type"] == "about:blank"
    return body


# --- bodies -------------------------------------------------------------------------------------------

@pytest.mark.parametrize("body", [
    b"{", b"nonsense", b"{\"a\":NaN}", b"{\"a\":Infinity}", b"{\"a\":1e999}", b"{\"a\":1,\"a\":2}", b"{\"a\":01}", b"{'a':1}", b"{} {}",
    b"\xef\xbb\xbf{}", b"{\"a\":\"\xff\"}", b"{\"a\":\"\\ud800\"}", b"{\"a\":123456789012345678901234567890}", b"[" * 100000, b"{\"a\":" * 100000,
], ids=lambda body: repr(body[:24]))
def test_what_is_not_json_is_400(server, body):
    problem(server.request("POST", "/v1/sweeps", data=body, headers=JSON), 400)


@pytest.mark.parametrize("body", ["[]", "3", "null", "\"text\"", "true"])
def test_what_is_no_object_is_422(server, body):
    assert server.request("POST", "/v1/sweeps", data=body, headers=JSON).status_code in (400, 422)


def test_an_empty_body_where_fields_are_needed_is_refused(server):
    assert server.request("POST", "/v1/sweeps").status_code in (400, 422)


@pytest.mark.parametrize("path, body, pointer", [
    ("/v1/sweeps", {**SPEC, "run_cap": "3"}, "/run_cap"),
    ("/v1/sweeps", {**SPEC, "colour": 1}, "/colour"),
    ("/v1/sweeps", {**SPEC, "parameters": {"x/y": {"value": 1}}}, "/parameters/x~1y"),
    ("/v1/sweeps", {**SPEC, "parameters": {"x": {"distribution": "log_uniform_values", "min": 0, "max": 1}}}, "/parameters/x/min"),
    ("/v1/sweeps", {**SPEC, "name": "a\x00b"}, "/name"),
    ("/v1/workers", {"name": "w", "slots": "2", "trainers": ["external"]}, "/slots"),
    ("/v1/workers", {"name": "w", "slots": 2, "trainers": ["external"], "cpu": 1}, "/cpu"),
    ("/v1/claims", {"worker": "w", "claim_id": "c", "wait_s": 61}, "/wait_s"),
    ("/v1/claims", {"worker": 3, "claim_id": "c"}, "/worker"),
])
def test_faults_carry_the_pointer_of_the_field(server, path, body, pointer):
    faults = problem(server.request("POST", path, body), 422)["errors"]
    assert pointer in [fault["pointer"] for fault in faults]
    assert all(fault["detail"] for fault in faults)


def test_all_faults_come_at_once(server):
    spec = {"method": "bayes", "run_cap": 0, "colour": 1, "parameters": {"a": {"min": 3, "max": 1}, "b": {"distribution": "nope"}}}
    pointers = {fault["pointer"] for fault in problem(server.request("POST", "/v1/sweeps", spec), 422)["errors"]}
    assert {"/run_cap", "/colour", "/parameters/a/min", "/parameters/b/distribution", "/metric", "/trainer"} <= pointers


@pytest.mark.parametrize("content_type, status", [
    ("application/json", 201), ("application/json; charset=utf-8", 201), ("Application/JSON;charset=\"UTF-8\"", 201),
    ("application/json; charset=latin-1", 415), ("text/plain", 415), ("application/x-www-form-urlencoded", 415), ("application/jsonx", 415),
    (None, 415),
])
def test_bodies_are_json_by_their_content_type(server, content_type, status):
    headers = {"Content-Type": content_type} if content_type else {}
    response = server.request("POST", "/v1/sweeps", data=json.dumps(SPEC).encode(), headers=headers)
    assert response.status_code == status
    if status == 415:
        problem(response, 415)


def memory_mib(server):
    status = open(f"/proc/{server.process.pid}/status").read()
    return int(re.search(r"VmRSS:\s+(\d+)", status).group(1)) / 1024


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_of_100_mb_is_413_and_never_kept(server, chunked):
    before, peak = memory_mib(server), [0]

    def pieces():
        for i in range(100):
            peak[0] = max(peak[0], memory_mib(server))
            yield b" " * 1000000

    connection = http.client.HTTPConnection(*address(server), timeout=PATIENCE_S)
    headers = dict(JSON) if chunked else {**JSON, "Content-Length": "100000000"}
    connection.request("POST", "/v1/sweeps", body=pieces(), headers=headers, encode_chunked=chunked)
    response = connection.getresponse()
    assert response.status == 413 and json.load(response)["status"] == 413
    connection.close()
    if not SANITIZED:
        assert peak[0] - before < 40
    assert server.get("/healthz")


def test_a_body_just_under_the_cap_is_read(server):
    description = "x" * (8 * 1024 * 1024 - 1000)
    faults = problem(server.request("POST", "/v1/sweeps", {**SPEC, "description": description}), 422)["errors"]
    assert [fault["pointer"] for fault in faults] == ["/description"]


# --- places -------------------------------------------------------------------------------------------

@pytest.mark.parametrize("path", ["/v2/sweeps", "/v1", "/v1/sweeps/", "/v1/sweeps/a/b/c", "/v1/sweeps/a%2Fb", "/v1/sweeps/%00", "/../etc/passwd",
                                  "/v1/sweeps/" + "x" * 41, "/v1/sweeps/nobody", "/v1/trials/nobody/metrics", "/v1/sweeps/nobody/best"])
def test_unknown_places_are_404(server, path):
    problem(server.request("GET", path), 404)


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=-1", "limit=ten", "limit=", "after=foreign", "limit=1&limit=2", "colour=red",
                                   "state=sleeping"])
def test_wrong_queries_are_422(server, query):
    problem(server.request("GET", f"/v1/sweeps?{query}"), 422)


def test_wrong_methods_are_405_with_allow(server):
    response = server.request("PUT", "/v1/sweeps", {})
    problem(response, 405)
    assert {m.strip() for m in response.headers["Allow"].split(",")} == {"GET", "HEAD", "POST"}


def test_head_is_get_without_its_body(server):
    for path in ("/v1/sweeps", "/healthz", "/openapi.json", "/v1/sweeps/nobody"):
        head, get = server.request("HEAD", path), server.request("GET", path)
        assert head.status_code == get.status_code and not head.content
        assert head.headers["Content-Type"] == get.headers["Content-Type"]
        assert head.headers["Content-Length"] == get.headers["Content-Length"]


# --- retries ------------------------------------------------------------------------------------------

def test_an_idempotent_create_happens_once(server):
    headers = {"Idempotency-Key": "one-sweep"}
    first = server.request("POST", "/v1/sweeps", SPEC, headers=headers, expect=201)
    again = server.request("POST", "/v1/sweeps", SPEC, headers=headers, expect=201)
    assert first.content == again.content
    problem(server.request("POST", "/v1/sweeps", {**SPEC, "run_cap": 4}, headers=headers), 422)


def test_an_idempotency_key_has_a_sensible_length(server):
    problem(server.request("POST", "/v1/sweeps", SPEC, headers={"Idempotency-Key": "k" * 256}), 422)


# --- clients that misbehave ---------------------------------------------------------------------------

def raw(server, data, until=b"\r\n\r\n", timeout=PATIENCE_S):
    """Sends bytes and reads until the text appears or the server closes."""
    with socket.create_connection(address(server), timeout=timeout) as connection:
        connection.sendall(data)
        answer = b""
        while until not in answer:
            piece = connection.recv(65536)
            if not piece:
                break
            answer += piece
        return answer


def test_pipelined_requests_are_answered_in_order(server):
    requests_ = b"".join(b"GET /v1/sweeps/pipelined-%d HTTP/1.1\r\nHost: localhost\r\n\r\n" % i if i % 2 else
                         b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" for i in range(20))
    answer = raw(server, requests_ + b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", until=b"never")
    assert re.findall(rb"HTTP/1.1 (\d+)", answer) == [b"404" if i % 2 else b"200" for i in range(20)] + [b"200"]


def test_a_connection_is_used_again(server):
    connection = http.client.HTTPConnection(*address(server))
    for _ in range(3):
        connection.request("GET", "/healthz")
        local = connection.sock.getsockname()
        assert connection.getresponse().read() and connection.sock.getsockname() == local
    connection.close()


@pytest.mark.parametrize("data", [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET\r\n\r\n", b"nonsense\r\n\r\n", b"GET /healthz HTTP/9.9\r\n\r\n",
    b"POST /v1/sweeps HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n", b"POST /v1/sweeps HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5x\r\n\r\n",
    b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 100000 + b"\r\n\r\n",
], ids=lambda data: repr(data[:30]))
def test_garbage_hurts_nobody(server, data):
    try:
        answer = raw(server, data, timeout=2)
    except (socket.timeout, ConnectionError):
        answer = b""
    assert not answer.startswith(b"HTTP/1.1 2") and not answer.startswith(b"HTTP/1.1 500")
    assert server.get("/healthz") == {"status": "ok"}


def test_slow_clients_hold_nobody_up(server):
    slow = []
    try:
        for _ in range(50):
            connection = socket.create_connection(address(server))
            connection.sendall(b"POST /v1/sweeps HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{")
            slow.append(connection)
        before = time.monotonic()
        for _ in range(20):
            server.get("/v1/sweeps")
        assert time.monotonic() - before < (20 if SANITIZED else 2)
    finally:
        for connection in slow:
            connection.close()


def test_clients_that_leave_early_hurt_nobody(server):
    worker = server.register("leaver")
    body = json.dumps({"worker": worker["id"], "claim_id": "gone", "wait_s": 60}).encode()
    for i in range(20):
        with socket.create_connection(address(server)) as connection:
            connection.sendall(b"POST /v1/claims HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                               b"Content-Length: %d\r\n\r\n%s" % (len(body), body[:len(body) // (1 + i % 2)]))
    assert server.get("/healthz")


def test_many_requests_at_once_are_all_answered(server):
    codes = []

    def client():
        with requests.Session() as session:
            session.trust_env = False
            for _ in range(20):
                codes.append(session.get(server.url + "/v1/sweeps?limit=1", timeout=60).status_code)

    threads = [threading.Thread(target=client) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [200] * 320


# --- tokens -------------------------------------------------------------------------------------------

@pytest.fixture()
def token_file(tmp_path):
    path = tmp_path / "tokens"
    path.write_text("# name them well\nadmin alice secret-admin\nworker w1 secret-worker\nviewer eve secret-viewer\n")
    path.chmod(0o600)
    return path


def test_tokens_open_and_close_doors(tmp_path, token_file):
    with Daemon(tmp_path, "--token-file", token_file, auth=True) as server:
        def status(token, method, path, body=None):
            return server.request(method, path, body, headers={"Authorization": token} if token else {}).status_code

        assert status(None, "GET", "/v1/sweeps") == 401
        assert status("Bearer wrong", "GET", "/v1/sweeps") == 401
        assert status("Basic c2VjcmV0LWFkbWlu", "GET", "/v1/sweeps") == 401
        assert status("bearer secret-admin", "POST", "/v1/sweeps", SPEC) == 201
        assert status("Bearer secret-viewer", "GET", "/v1/sweeps") == 200
        assert status("Bearer secret-viewer", "POST", "/v1/sweeps", SPEC) == 403
        assert status("Bearer secret-worker", "GET", "/v1/sweeps") == 403
        assert status("Bearer secret-worker", "POST", "/v1/workers", {"name": "w", "slots": 1, "trainers": ["external"]}) in (200, 201)
        assert status(None, "GET", "/healthz") == 200
        response = server.request("GET", "/v1/sweeps")
        assert response.headers["WWW-Authenticate"].startswith("Bearer")
        assert server.stop() == 0
        assert "secret" not in server.log()


def test_idempotency_keys_of_two_tokens_are_two(tmp_path, token_file):
    with token_file.open("a") as file:
        file.write("admin bob secret-bob\n")
    with Daemon(tmp_path, "--token-file", token_file, auth=True) as server:
        def create(token, **members):
            headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": "k"}
            return server.request("POST", "/v1/sweeps", {**SPEC, **members}, headers=headers, expect=201).json()["id"]

        assert create("secret-admin") == create("secret-admin") != create("secret-bob", run_cap=9)


def run(*args, **options):
    return subprocess.run([program("sweepd"), *map(str, args)], capture_output=True, text=True, timeout=PATIENCE_S, **options)


def test_a_token_file_that_others_read_is_refused(tmp_path, token_file):
    token_file.chmod(0o644)
    result = run("--token-file", token_file, "--listen", "127.0.0.1:0", "--database", tmp_path / "d.db")
    assert result.returncode != 0 and "tokens" in result.stderr and "secret" not in result.stderr


@pytest.mark.parametrize("args", [["--listen", "0.0.0.0:0"], ["--listen", "0.0.0.0:0", "--no-auth"], ["--listen", "[::]:0", "--no-auth"],
                                  ["--listen", "127.0.0.1:0"]])
def test_a_server_that_nobody_guards_does_not_start(tmp_path, args):
    result = run(*args, "--database", tmp_path / "d.db")
    assert result.returncode != 0 and "listening" not in result.stdout


def test_without_tokens_web_pages_of_others_are_refused(server):
    problem(server.request("GET", "/v1/sweeps", headers={"Origin": "http://elsewhere.example"}), 403)
    problem(server.request("POST", "/v1/trials/t/cancel", headers={"Origin": "null"}), 403)
    problem(server.request("GET", "/v1/sweeps", headers={"Host": "rebound.example"}), 403)


# --- command line, start and stop ---------------------------------------------------------------------

@pytest.mark.parametrize("args", [["--nonsense"], ["--listen"], ["--listen", "nowhere"], ["--no-auth", "extra"], ["--lease-s", "x", "--no-auth"],
                                  ["--config", "/nonexistent"]])
def test_wrong_usage_is_exit_2(args):
    result = run(*args)
    assert result.returncode == 2 and result.stderr


def test_help_and_version():
    assert run("--help").returncode == 0 and "--token-file" in run("--help").stdout
    assert run("--version").stdout.startswith("sweepd ")


def test_the_configuration_file_is_read_and_dumped(tmp_path):
    config = tmp_path / "sweepd.conf"
    config.write_text("# a comment\nlisten = 127.0.0.1:0\nno-auth = true\nlease-s = 5\n")
    dump = run("--config", config, "--lease-s", "7", "--dump-config")
    assert dump.returncode == 0 and "lease-s = 7" in dump.stdout and "no-auth = true" in dump.stdout
    assert run("--config", config, "--check-config").returncode == 0
    config.write_text("colour = red\n")
    unknown = run("--config", config, "--check-config")
    assert unknown.returncode == 2 and "colour" in unknown.stderr


def test_the_address_file_holds_the_url(tmp_path):
    with Daemon(tmp_path, "--address-file", tmp_path / "url") as server:
        assert (tmp_path / "url").read_text().strip() == server.url
        assert server.get("/readyz") == {"status": "ready"}


def test_a_second_server_on_one_database_is_refused(tmp_path):
    with Daemon(tmp_path) as server:
        result = run("--listen", "127.0.0.1:0", "--no-auth", "--database", server.database)
        assert result.returncode == 1 and str(server.database.name) in result.stderr
        assert server.get("/healthz")


def test_a_taken_port_is_exit_1(tmp_path, server):
    host, port = address(server)
    result = run("--listen", f"{host}:{port}", "--no-auth", "--database", tmp_path / "d.db")
    assert result.returncode == 1 and str(port) in result.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_answers_waiting_claims_and_ends_in_time(tmp_path, number):
    with Daemon(tmp_path) as server:
        worker, answers = server.register(), []

        def wait():
            with requests.Session() as session:
                session.trust_env = False
                answers.append(session.post(server.url + "/v1/claims", json={"worker": worker["id"], "claim_id": "c", "wait_s": 60}, timeout=60))

        thread = threading.Thread(target=wait)
        thread.start()
        time.sleep(0.5)
        before = time.monotonic()
        server.process.send_signal(number)
        assert server.process.wait(30) == 0
        assert time.monotonic() - before < (20 if SANITIZED else 5)
        thread.join()
        assert answers[0].status_code == 503 and "Retry-After" in answers[0].headers


def test_what_was_answered_survives_a_kill(tmp_path):
    with Daemon(tmp_path) as server:
        ids = [server.post("/v1/sweeps", SPEC, expect=201)["id"] for _ in range(5)]
        server.restart(crash=True)
        assert [sweep["id"] for sweep in server.get("/v1/sweeps")["items"]] == ids


def test_the_service_manager_is_told(tmp_path):
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(PATIENCE_S)
        with Daemon(tmp_path, env={"NOTIFY_SOCKET": str(path)}) as server:
            assert manager.recv(100) == b"READY=1"
            server.stop()
            assert manager.recv(100) == b"STOPPING=1"


def test_https_is_served_with_a_certificate(tmp_path):
    if not shutil.which("openssl"):
        pytest.skip("no openssl to make a certificate with")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                    "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost", "-keyout", key, "-out", cert], check=True, capture_output=True)
    with Daemon(tmp_path, "--tls-cert", cert, "--tls-key", key) as server:
        assert server.url.startswith("https://")
        server.session.verify = str(cert)
        assert server.post("/v1/sweeps", SPEC, expect=201)["state"] == "running"
    result = run("--tls-cert", cert, "--no-auth", "--listen", "127.0.0.1:0", "--database", tmp_path / "d.db")
    assert result.returncode == 2 and "tls-key" in result.stderr


def test_threads_that_somebody_waits_for_have_short_turns(tmp_path):
    """The HTTP thread and the core thread, not those that compute; where the kernel knows slices of single threads (Linux 6.12)."""
    libc = ctypes.CDLL(None, use_errno=True)

    def slice_ns(thread):
        attributes = (ctypes.c_uint32 * 14)()
        assert libc.syscall(315, thread, ctypes.byref(attributes), ctypes.sizeof(attributes), 0) == 0  # sched_getattr
        return attributes[6] | attributes[7] << 32

    if platform.machine() != "x86_64" or slice_ns(0) == 0:
        pytest.skip("this kernel tells no slices")
    with Daemon(tmp_path) as server:
        def short_ones():
            slices = []
            for thread in pathlib.Path(f"/proc/{server.process.pid}/task").iterdir():
                with contextlib.suppress(AssertionError):  # one that has just ended
                    slices.append(slice_ns(int(thread.name)))
            return slices.count(100_000)

        deadline = time.monotonic() + PATIENCE_S  # a thread asks for it when it gets to run first
        while short_ones() != 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert short_ones() == 2 and slice_ns(server.process.pid) == slice_ns(0) > 100_000
