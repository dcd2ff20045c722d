"""What hostile clients try: smuggled requests, odd headers and URLs, connections that trickle, bombs, injections. Raw sockets,
since no honest library sends such things. Every attack ends in a refusal or a closed connection, and the server goes on."""
import json
import re
import socket
import struct
import subprocess
import time

import pytest
from daemon import PATIENCE_S, ROOT, SANITIZED, Daemon, program

pytestmark = pytest.mark.coordinator
SPEC = {"method": "random", "trainer": "external", "run_cap": 3, "parameters": {"x": {"min": 0.0, "max": 1.0}}}
SECRET = "secret-admin-token"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("attacks")
    path = folder / "tokens"
    path.write_text(f"admin root {SECRET}\nviewer eve secret-viewer\n")
    path.chmod(0o600)
    with Daemon(folder, "--token-file", path, "--log-level", "debug", auth=True, token=SECRET) as daemon:
        yield daemon


def address(server):
    host, port = server.url.split("//")[1].rsplit(":", 1)
    return host, int(port)


def exchange(server, data, timeout=3.0):
    """Everything that the server says to these bytes until it closes or falls silent."""
    answer = b""
    with socket.create_connection(address(server), timeout=timeout) as connection:
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # closed on us already
        try:
            while piece := connection.recv(65536):
                answer += piece
        except (socket.timeout, ConnectionError):
            pass
    return answer


def statuses(answer):
    return [int(status) for status in re.findall(rb"HTTP/1\.[01] (\d{3}) ", answer)]


def head(method="POST", path="/v1/sweeps", token=SECRET, *lines):
    lines += ("Connection: close",) if method != "POST" else ()
    fixed = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {token}", "Content-Type: application/json"]
    return "\r\n".join([*fixed, *lines]).encode() + b"\r\n\r\n"


def n_sweeps(server):
    return len(server.get("/v1/sweeps?limit=1000")["items"])


# --- two readings of one message --------------------------------------------------------------------------

SMUGGLED = b"DELETE /v1/sweeps/smuggled HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer secret-viewer\r\n\r\n"


@pytest.mark.parametrize("lines, body", [
    (["Content-Length: 5", "Transfer-Encoding: chunked"], b"0\r\n\r\n" + SMUGGLED),
    (["Transfer-Encoding: chunked", "Content-Length: 5"], b"0\r\n\r\n" + SMUGGLED),
    (["Content-Length: 0", f"Content-Length: {len(SMUGGLED)}"], SMUGGLED),
    (["Content-Length: 3", "Content-Length: 2"], b"{} " + SMUGGLED),
    (["Transfer-Encoding: chunked, identity"], b"0\r\n\r\n" + SMUGGLED),
    (["Transfer-Encoding: identity"], SMUGGLED),
    (["Transfer-Encoding: xchunked"], b"0\r\n\r\n" + SMUGGLED),
    (["Transfer-Encoding : chunked"], b"0\r\n\r\n" + SMUGGLED),
    (["Transfer-Encoding:\x0bchunked"], b"0\r\n\r\n" + SMUGGLED),
    (["Content-Length: +5"], b"{   }" + SMUGGLED),
    (["Content-Length: 0x5"], b"{   }" + SMUGGLED),
    (["Content-Length: 5,5"], b"{   }" + SMUGGLED),
    (["Content-Length: 18446744073709551617"], b"{" + SMUGGLED),
    (["Content-Length: -1"], SMUGGLED),
    (["Transfer-Encoding: chunked"], b"ffffffffffffffffff\r\n{}\r\n0\r\n\r\n" + SMUGGLED),
    (["Transfer-Encoding: chunked"], b"-2\r\n{}\r\n0\r\n\r\n" + SMUGGLED),
    (["Transfer-Encoding: chunked"], b"2x\r\n{}\r\n0\r\n\r\n" + SMUGGLED),
    (["Transfer-Encoding: chunked"], b"2\r\n{}xx0\r\n\r\n" + SMUGGLED),
    (["Transfer-Encoding: chunked"], b"zz\r\n{}\r\n" + SMUGGLED),
], ids=lambda value: repr(value)[:40])
def test_no_message_can_be_read_in_two_ways(server, lines, body):
    """It is refused and the connection ends: what follows is nobody's request. (When libmicrohttpd itself refuses, its answer's
    head may come twice.)"""
    before = n_sweeps(server)
    answer = exchange(server, head("POST", "/v1/sweeps", SECRET, *lines) + body)
    assert set(statuses(answer)) <= {400, 413, 501}, answer
    assert answer.count(b"Connection: close") == len(statuses(answer))
    assert b"this token" not in answer  # the answer to the request inside
    assert n_sweeps(server) == before


@pytest.mark.parametrize("name, value", [("Host", "localhost"), ("Authorization", f"Bearer {SECRET}")])
def test_headers_that_decide_are_given_once(server, name, value):
    answer = exchange(server, head("GET", "/v1/sweeps", SECRET, f"{name}: {value}"))
    assert statuses(answer) == [400] and b"Connection: close" in answer


@pytest.mark.parametrize("data", [
    b"GET /healthz HTTP/1.1\nHost: localhost\n\n", b"GET  /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", b"GET\t/healthz\tHTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"GET /healthz HTTP/1.1\r\n\r\n", b"GET /healthz HTTP/1.1\r\nHost: x\r\n folded: y\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nno colon here\r\n\r\n", b"GET /healthz HTTP/1.1\r\n: empty\r\n\r\n", b"GET /healthz HTTP/1.1\r\nX\x00Y: z\r\n\r\n",
    b"GET /healthz HTTP/2.0\r\nHost: x\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"CONNECT localhost:22 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", b"TRACE / HTTP/1.1\r\nHost: x\r\n\r\n", b"GET http://elsewhere/healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\r\n\r\n\r\nGET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", b"G" * 70000, b"\x00" * 5000, bytes(range(256)) * 20,
    b"GET /healthz HTTP/1.1\r\n" + b"X: y\r\n" * 20000 + b"\r\n", b"GET /?" + b"a&" * 40000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
], ids=lambda data: repr(data[:40]))
def test_odd_heads_harm_nothing(server, data):
    codes = statuses(exchange(server, data, timeout=1.5))
    assert all(code < 500 or code in (501, 505) for code in codes)
    assert server.get("/healthz") == {"status": "ok"}


# --- places -----------------------------------------------------------------------------------------------

@pytest.mark.parametrize("path", [
    "/../../etc/passwd", "/..%2f..%2fetc%2fpasswd", "/%2e%2e/%2e%2e/etc/passwd", "//etc/passwd", "/v1/sweeps/../workers", "/v1/sweeps/..%2Fworkers",
    "/v1/sweeps/%00", "/v1//sweeps", "/v1/sweeps;a=b", "/v1/sweeps%20", "/V1/sweeps", "/v1/sweeps/s1/trials/", "/file:///etc/passwd",
    "/v1/sweeps/%c0%ae%c0%ae", "/v1/sweeps/' OR 1=1 --".replace(" ", "%20"), "/v1/trials/1%3BDROP%20TABLE%20trials", "/v1/sweeps/%F0%9F%92%A9",
    "/openapi.json%00.html", "/openapi.json/", "/healthz/../v1/sweeps",
])
def test_no_path_leads_anywhere_else(server, path):
    answer = exchange(server, head("GET", path))
    assert statuses(answer) == [404], answer
    assert b"root:" not in answer


# --- injection --------------------------------------------------------------------------------------------

HOSTILE = ["'; DROP TABLE trials; --", "\" OR \"\"=\"", "%s%n%p", "$(id)", "`id`", "../../etc/passwd", "<script>alert(1)</script>", "{{7*7}}",
           "\u202eevil", "a\\", "x" * 120]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_are_only_texts(server, text):
    sweep = server.create_sweep(name=text, tags=[text], parameters={"x": {"values": [text]}})
    assert server.get(f"/v1/sweeps/{sweep['id']}")["name"] == text
    worker = server.register(text)["id"]
    assert text in [item["name"] for item in server.get("/v1/workers?limit=1000")["items"]]
    trial = server.claim(worker, text, sweep=sweep["id"])[0]
    assert trial["params"]["x"] == text
    server.report(trial, 1, metrics=[{"name": text, "step": 1, "value": 1.0}], outcome={"state": "completed", "value": 1.0})
    points = server.request("GET", f"/v1/trials/{trial['id']}/metrics", params={"name": text}, expect=200).json()["items"]
    assert [point["name"] for point in points] == [text]
    export = server.request("GET", f"/v1/sweeps/{sweep['id']}/export", params={"format": "csv"}, expect=200)
    assert "script" not in export.headers["Content-Type"] and export.headers["X-Content-Type-Options"] == "nosniff"
    server.patch(f"/v1/sweeps/{sweep['id']}", {"state": "cancelled"})


@pytest.mark.parametrize("query", ["after=%27%20OR%201%3D1", "state=running%27--", "limit=1%3BDROP", "sort=value%3B%20DROP", "limit=1e3", "limit=%2B5",
                                   "after=" + "a" * 5000])
def test_hostile_queries_are_422(server, query):
    assert server.request("GET", f"/v1/sweeps?{query}").status_code == 422


def test_no_client_can_forge_a_log_line(server):
    forged = 'x" level=error msg="forged by'
    for name in (f"a\nlevel=error msg=forged {forged}", forged, "a\r\ntime=2001 level=error"):
        server.request("POST", "/v1/workers", {"name": name, "slots": 1, "trainers": ["external"]})
        exchange(server, head("GET", "/v1/" + name.replace(" ", "%20").replace("\n", "%0a").replace("\r", "%0d")))
    server.get("/healthz")
    for line in server.log().splitlines():
        assert re.match(r"time=\S+ level=(debug|info|warning|error) msg=", line), line
        assert not re.search(r"^time=\S+ level=error msg=forged", line)


def test_no_answer_carries_a_header_that_a_client_wrote(server):
    answer = exchange(server, head("GET", "/v1/sweeps/x%0d%0aSet-Cookie:%20a=b"))
    assert b"Set-Cookie: a=b\r\n" not in answer.split(b"\r\n\r\n")[0]
    answer = exchange(server, head("PUT", "/v1/sweeps/x%0d%0aX-Evil:%20a"))
    assert b"X-Evil" not in answer.split(b"\r\n\r\n")[0]


def test_secrets_stay_out_of_logs_and_answers(server):
    for token in (SECRET, "guessed-token"):
        for path in ("/v1/sweeps", "/nowhere", f"/v1/sweeps/{token}x"):
            answer = exchange(server, head("GET", path, token))
            assert f"Bearer {token}".encode() not in answer
    assert f"Bearer" not in server.log() and f"{SECRET}\"" not in server.log() and f"token={SECRET}" not in server.log()


# --- bombs ------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("body", [
    b"[" * 1000000, b'{"a":' * 300000, b'{"parameters":' + b'{"a":{"parameters":' * 3000, b"\"" + b"\\u0000" * 500000 + b"\"", b"1" * 2000000,
    b"{" + b",".join(b'"k%d":1' % i for i in range(200000)) + b"}", b"[" + b"{}," * 1000000 + b"{}]",
], ids=["arrays", "objects", "nested parameters", "NULs", "digits", "keys", "many objects"])
def test_json_bombs_are_refused_quickly(server, body):
    before = time.monotonic()
    response = server.request("POST", "/v1/sweeps", data=body, headers={"Content-Type": "application/json"})
    assert response.status_code in (400, 413, 422)
    assert time.monotonic() - before < (60 if SANITIZED else 10)
    assert len(response.content) < 100000
    assert server.get("/healthz")


def test_a_spec_cannot_ask_for_a_huge_grid(server):
    spec = {**SPEC, "method": "grid", "parameters": {f"p{i}": {"values": list(range(1000))} for i in range(20)}}
    before = time.monotonic()
    response = server.request("POST", "/v1/sweeps", spec)
    assert response.status_code in (201, 422)
    if response.status_code == 201:
        trial = server.claim(server.register("grid")["id"], "g", sweep=response.json()["id"])
        assert len(trial) == 1
        server.patch(f"/v1/sweeps/{response.json()['id']}", {"state": "cancelled"})
    assert time.monotonic() - before < (60 if SANITIZED else 10)


# --- connections ------------------------------------------------------------------------------------------

def test_trickling_clients_keep_nobody_out(server):
    slow = []
    try:
        for i in range(200):
            connection = socket.create_connection(address(server))
            connection.sendall(b"GET /v1/sweeps HTTP/1.1\r\nHost: local" if i % 2 else head("POST", "/v1/sweeps", SECRET, "Content-Length: 1000"))
            slow.append(connection)
        for _ in range(3):
            for connection in slow:
                connection.sendall(b"X")
            before = time.monotonic()
            server.get("/v1/sweeps")
            assert time.monotonic() - before < (20 if SANITIZED else 3)
    finally:
        for connection in slow:
            connection.close()


def test_more_connections_than_allowed_leave_the_allowed_ones_alone(tmp_path):
    with Daemon(tmp_path, "--max-connections", "20") as server:
        server.get("/healthz")  # this one is in
        crowd = []
        try:
            for _ in range(60):
                try:
                    crowd.append(socket.create_connection(address(server), timeout=PATIENCE_S))
                except OSError:
                    break
            assert server.get("/healthz") == {"status": "ok"}
        finally:
            for connection in crowd:
                connection.close()
        server.session.close()
        server.wait_until("/healthz", lambda body: body["status"] == "ok")


# --- files of others --------------------------------------------------------------------------------------

def safetensors(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


@pytest.mark.parametrize("content", [
    b"", b"\xff" * 8, struct.pack("<Q", 1 << 62) + b"{}", safetensors(b"{" * 5000), safetensors(b"[]"), safetensors({"a": 3}),
    safetensors({"a": {"dtype": "F32", "shape": [1 << 40, 1 << 40], "data_offsets": [0, 0]}}),
    safetensors({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 1 << 60]}}, b"\0" * 8),
    safetensors({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, b"\0" * 4),
    safetensors({"a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}, "b": {"dtype": "U8", "shape": [4], "data_offsets": [2, 6]}}, b"\0" * 6),
    safetensors({f"t{i}": {"dtype": "F32", "shape": [], "data_offsets": [0, 0]} for i in range(20000)}),
], ids=["empty", "ones", "length", "braces", "array", "number", "product", "beyond", "negative", "overlap", "many"])
def test_a_hostile_model_is_refused_in_words(tmp_path, content):
    (tmp_path / "model.safetensors").write_bytes(content)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "distilbert", "dim": 8, "hidden_dim": 16, "n_heads": 2, "n_layers": 1,
                                                      "max_position_embeddings": 16, "vocab_size": 20, "activation": "gelu", "pad_token_id": 0}))
    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmno"]) + "\n")
    done = subprocess.run([program("sweep-trainer"), "predict", "--model", str(tmp_path)], input='{"a":"a","b":"b"}\n', capture_output=True, text=True,
                          timeout=PATIENCE_S * 2)
    assert done.returncode in (1, 2) and done.stderr and "Sanitizer" not in done.stderr


YAML_BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(12))


@pytest.mark.parametrize("text", [YAML_BOMB, "a: &a [*a]\n", "[" * 100000, "{a: " * 50000, "a: !!python/object/apply:os.system ['touch pwned']\n", "\x00", "%YAML 9.9\n---\na: 1\n",
                                  "a: &x {<<: *x}\n", "? [a, b]\n: c\n", "- " * 100000],
                         ids=["aliases", "itself", "brackets", "braces", "object", "NUL", "version", "merge", "key", "dashes"])
def test_hostile_yaml_is_refused_in_words(tmp_path, text):
    path = tmp_path / "sweep.yaml"
    path.write_text(text)
    before = time.monotonic()
    done = subprocess.run([program("sweepctl"), "check", str(path)], capture_output=True, text=True, timeout=PATIENCE_S * 2, cwd=tmp_path,
                          env={"SWEEPD_URL": "http://127.0.0.1:1", "PATH": "/usr/bin:/bin"})
    assert done.returncode == 1 and done.stdout + done.stderr and "Sanitizer" not in done.stderr
    assert len(done.stderr) < 100000 and time.monotonic() - before < (60 if SANITIZED else 20)
    assert not (tmp_path / "pwned").exists()
