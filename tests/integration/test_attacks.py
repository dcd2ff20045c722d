"""What hostile clients try: smuggled requests, odd headers and URLs, connections that trickle, bombs, injections. Raw sockets,
since no honest library sends such things. Every attack ends in a refusal or a closed connection, and the server goes on."""
import json
import re
import socket
import struct
import subprocess
import time
import urllib.parse

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
    with Daemon(folder, "--token-file", path, "--models-dir", folder / "models", "--log-level", "debug", auth=True, token=SECRET) as daemon:
        yield daemon


def address(server):
    host, port = server.url.split("//")[1].rsplit(":", 1)
    return host, int(port)


def exchange(server, data, timeout=PATIENCE_S, goes_on=False):
    """Everything that the server says to these bytes until it closes or falls silent. goes_on: nothing says that they were the last ones, so that
    what needs time is not dropped."""
    answer = b""
    with socket.create_connection(address(server), timeout=timeout) as connection:
        try:
            connection.sendall(data)
            if not goes_on:
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


def ended_trial(server):
    """With a value, so that its model may be offered."""
    sweep = server.create_sweep(run_cap=1)["id"]
    trial = server.claim(server.register("hand")["id"], sweep, sweep=sweep)[0]
    server.report(trial, 1, outcome={"state": "completed", "value": 0.5})
    return trial


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


@pytest.mark.parametrize("name", ["Content-Type", "Lease", "Idempotency-Key", "Worker-Instance"])
def test_headers_of_bodies_are_given_once(server, name):
    before = n_sweeps(server)
    body = json.dumps(SPEC).encode()
    lines = [f"Content-Length: {len(body)}", f"{name}: application/json"] + ([f"{name}: text/plain"] if name != "Content-Type" else [])
    answer = exchange(server, head("POST", "/v1/sweeps", SECRET, *lines) + body)
    assert statuses(answer) == [400] and b"Connection: close" in answer and n_sweeps(server) == before


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
    "/v1/trials/..%2f..%2f..%2fetc/model/file?name=passwd", "/v1/trials/%2e%2e/model", "/v1/sweeps/../models", "/v1/sweeps/%2e%2e%2f/history",
    "/openapi.json%00.html", "/openapi.json/", "/healthz/../v1/sweeps",
])
def test_no_path_leads_anywhere_else(server, path):
    answer = exchange(server, head("GET", path), goes_on=True)
    assert statuses(answer) == [404], answer
    assert b"root:" not in answer


@pytest.mark.parametrize("name", ["../../../../../etc/passwd", "..", ".", ".hidden", "/etc/passwd", "a/b", "a\\b", "a%00b", "%2e%2e%2fmodel.json", "", "x" * 300, "a b", "a\n"])
def test_no_name_of_a_models_file_leads_anywhere_else(server, name):
    trial = ended_trial(server)
    quoted = urllib.parse.quote(name, safe="%")
    for method, lines in (("GET", ()), ("PUT", (f"Lease: {trial['lease']}", "Content-Type: application/octet-stream", "Content-Length: 1"))):
        request = "\r\n".join([f"{method} /v1/trials/{trial['id']}/model/file?name={quoted}&offset=0 HTTP/1.1", "Host: localhost", f"Authorization: Bearer {SECRET}", *lines])
        answer = exchange(server, request.encode() + b"\r\nConnection: close\r\n\r\n" + b"x" * (method == "PUT"), goes_on=True)
        assert statuses(answer) == [422] and b"root:" not in answer, answer
    offered = server.request("POST", f"/v1/trials/{trial['id']}/model", {"lease": trial["lease"], "files": [{"name": name, "bytes": 1, "sha256": "0" * 64}]})
    assert offered.status_code == 422
    assert not [path for path in (server.folder / "models").rglob("*") if path.is_file()]


@pytest.mark.parametrize("sizes", [[2**63 - 1], [2**62, 2**62, 2**62, 2**62], [2**53] * 64, [10**15, 2**64 - 10**15]], ids=["largest", "overflow", "many", "wrap"])
def test_no_offer_of_a_model_counts_past_its_room(server, sizes):
    trial = ended_trial(server)
    files = [{"name": f"f{i}", "bytes": size, "sha256": "0" * 64} for i, size in enumerate(sizes)]
    answer = server.request("POST", f"/v1/trials/{trial['id']}/model", {"lease": trial["lease"], "files": files})
    assert answer.status_code in (400, 422) or answer.json()["state"] == "declined", answer.text


@pytest.mark.parametrize("lines, body", [
    (["Content-Length: 5", "Transfer-Encoding: chunked"], b"0\r\n\r\n"), (["Content-Length: 0", "Content-Length: 5"], b"bytes"), (["Transfer-Encoding: identity"], b"bytes"),
    (["Transfer-Encoding: chunked"], b"-5\r\nbytes\r\n0\r\n\r\n"), (["Transfer-Encoding: chunked"], b"5;" + b"x" * 100000 + b"\r\nbytes\r\n0\r\n\r\n")],
    ids=["both", "two lengths", "identity", "negative chunk", "long extension"])
def test_a_piece_of_a_model_cannot_be_read_in_two_ways(server, lines, body):
    trial = ended_trial(server)
    server.post(f"/v1/trials/{trial['id']}/model", {"lease": trial["lease"], "files": [{"name": "a", "bytes": 5, "sha256": "0" * 64}]})
    fixed = [f"PUT /v1/trials/{trial['id']}/model/file?name=a&offset=0 HTTP/1.1", "Host: localhost", f"Authorization: Bearer {SECRET}", f"Lease: {trial['lease']}",
             "Content-Type: application/octet-stream"]
    answer = exchange(server, "\r\n".join([*fixed, *lines]).encode() + b"\r\n\r\n" + body + SMUGGLED)
    # 500: libmicrohttpd's own answer to an extension of a chunk that is longer than its buffer
    assert set(statuses(answer)) <= {400, 413, 500, 501} and b"this token" not in answer, answer
    [file] = server.post(f"/v1/trials/{trial['id']}/model", {"lease": trial["lease"], "files": [{"name": "a", "bytes": 5, "sha256": "0" * 64}]})["files"]
    assert file["received"] == 0


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


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_in_edits_are_only_texts(server, text):
    """In the history, where they stand in sentences, too, and in the report."""
    sweep = server.create_sweep(name="before")["id"]
    server.patch(f"/v1/sweeps/{sweep}", {"spec": {"name": text, "description": text, "tags": [text]}})
    edited = server.get(f"/v1/sweeps/{sweep}/history")["items"][1]
    assert {"pointer": "/name", "before": "before", "after": text} in edited["changes"] and text in [c.get("after") for c in edited["changes"]]
    assert not re.search(r"[\x00-\x1f\x7f]", edited["text"])
    report = server.request("GET", f"/v1/sweeps/{sweep}/report?format=html", expect=200).text
    assert "<script>alert" not in report
    server.patch(f"/v1/sweeps/{sweep}", {"state": "cancelled"})


@pytest.mark.parametrize("text", [*HOSTILE, "\x1b[2J\x1b]0;owned\x07", "a\r\nlevel=error msg=forged"])
def test_what_a_machine_says_of_itself_moves_no_terminal_and_forges_no_line(server, text):
    """The reason of a quarantine goes into logs, tables and the page."""
    name = f"unfit {abs(hash(text))}"
    answer = server.request("POST", "/v1/workers", {"name": name, "slots": 1, "trainers": ["external"], "unfit": text})
    assert answer.status_code in (200, 201, 422)
    token = server.folder / "token"
    token.write_text(SECRET)
    token.chmod(0o600)
    shown = subprocess.run([program("sweepctl"), "--server", server.url, "--token-file", token, "workers"], capture_output=True, text=True, timeout=PATIENCE_S, check=True).stdout
    assert name in shown or answer.status_code == 422
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", shown)
    for line in server.log().splitlines():
        assert re.match(r"time=\S+ level=(debug|info|warning|error) msg=", line), line


def test_what_trials_and_people_say_moves_no_terminal(server):
    """Names, details, reasons and faults, in tables, sentences and errors; the report is for a terminal only then (test_ctl_terminal.py)."""
    text = "a\x9b2J\u202eb\x7f"
    sweep = server.create_sweep(name=text[:-1], run_cap=1, max_attempts=1)["id"]
    worker = server.register("says odd things")["id"]
    [trial] = server.claim(worker, "odd", sweep=sweep)
    server.report(trial, 1, outcome={"state": "failed", "reason": "crashed", "detail": text})
    token = server.folder / "token"
    token.write_text(SECRET)
    token.chmod(0o600)
    bad = server.folder / "bad.json"
    bad.write_text(json.dumps({**SPEC, "name": text, text: 1}))
    for command in (["list"], ["show", sweep], ["watch", sweep], ["trials", sweep], ["trial", trial["id"]], ["history", sweep], ["workers"], ["create", bad]):
        done = subprocess.run([program("sweepctl"), "--server", server.url, "--token-file", token, *command], capture_output=True, text=True, timeout=PATIENCE_S)
        shown = done.stdout + done.stderr
        assert shown and not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", shown), (command, shown)
    assert "2J" in subprocess.run([program("sweepctl"), "--server", server.url, "--token-file", token, "show", sweep], capture_output=True, text=True).stdout


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
    assert time.monotonic() - before < (60 if SANITIZED else 30)
    assert len(response.content) < 100000
    assert server.get("/healthz")


@pytest.mark.parametrize("spec", [
    b'{"spec":' + b'{"a":' * 300000, b'{"spec":{"description":' + b"[" * 1000000, b'{"spec":{"fixed":' + b'{"a":' * 400 + b"1" + b"}" * 400 + b"}}",
    b'{"spec":{"parameters":{' + b",".join(b'"k%d":{"min":0.0,"max":1.0,"default":0.5}' % i for i in range(60000)) + b"}}}",
    b'{"spec":{"tags":[' + b",".join([b'"t"'] * 500000) + b"]}}"], ids=["objects", "arrays", "nested", "parameters", "tags"])
def test_bombs_in_edits_are_refused_quickly_and_change_nothing(server, spec):
    sweep = server.create_sweep()["id"]
    before = time.monotonic()
    response = server.request("PATCH", f"/v1/sweeps/{sweep}", data=spec, headers={"Content-Type": "application/json"})
    assert response.status_code in (200, 400, 413, 422) and len(response.content) < 9 << 20
    assert time.monotonic() - before < (60 if SANITIZED else 30)
    shown = server.request("GET", f"/v1/sweeps/{sweep}", expect=200).text  # too deep for Python's reader, perhaps
    assert f'"spec_version":{2 if response.status_code == 200 else 1}' in shown
    assert len(server.request("GET", f"/v1/sweeps/{sweep}/history", expect=200).content) < 1 << 20
    server.patch(f"/v1/sweeps/{sweep}", {"state": "cancelled"})


def test_a_spec_cannot_ask_for_a_huge_grid(server):
    spec = {**SPEC, "method": "grid", "parameters": {f"p{i}": {"values": list(range(1000))} for i in range(20)}}
    before = time.monotonic()
    response = server.request("POST", "/v1/sweeps", spec)
    assert response.status_code in (201, 422)
    if response.status_code == 201:
        trial = server.claim(server.register("grid")["id"], "g", sweep=response.json()["id"])
        assert len(trial) == 1
        server.patch(f"/v1/sweeps/{response.json()['id']}", {"state": "cancelled"})
    assert time.monotonic() - before < (60 if SANITIZED else 30)


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
