"""Exports that stream: beside everything else, whole or visibly cut off."""
import json
import socket

import pytest

from daemon import Daemon

pytestmark = pytest.mark.coordinator
LONG = "x" * 4000  # each trial is so long that a few thousand do not fit into the sockets between


def fill(server, n):
    """A sweep with n imported trials of some kilobytes each; its id."""
    sweep = server.create_sweep(run_cap=None, parameters={"x": {"min": 0.0, "max": 1.0}, "text": {"values": [LONG, "y"]}})["id"]
    for first in range(0, n, 250):
        server.post(f"/v1/sweeps/{sweep}/trials", {"trials": [{"params": {"x": i / n, "text": LONG}, "value": i} for i in range(first, first + 250)]},
                    expect=201)
    return sweep


def begin(server, sweep, form):
    """A connection that has asked for an export and reads nothing yet."""
    host, port = server.url.split("//")[1].rsplit(":", 1)
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    sock.connect((host, int(port)))
    sock.settimeout(60)
    sock.sendall(f"GET /v1/sweeps/{sweep}/export?format={form} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    return sock, sock.recv(20, socket.MSG_PEEK)


def rest(sock):
    """Body without its chunks, and whether it came to its end."""
    data = b""
    while not data.endswith(b"\r\n0\r\n\r\n"):
        piece = sock.recv(1 << 20)
        if not piece:
            break
        data += piece
    body, at = b"", data.index(b"\r\n\r\n") + 4
    while at < len(data):
        end = data.find(b"\r\n", at)
        size = int(data[at:end], 16) if end >= 0 else 0
        if size == 0:
            return body, end >= 0
        body += data[end + 2:end + 2 + size]
        at = end + 2 + size + 2
    return body, False


def test_an_export_holds_what_was_there_when_it_began(tmp_path):
    with Daemon(tmp_path) as server:
        sweep = fill(server, 3000)
        sock, _ = begin(server, sweep, "jsonl")
        worker = server.register()["id"]
        claimed = server.claim(worker, "c1", sweep=sweep)[0]  # nobody waits for the export, and it does not tell of this one
        server.report(claimed, 1, outcome={"state": "completed", "value": 1.0})
        body, is_whole = rest(sock)
        assert is_whole
        assert [json.loads(line)["number"] for line in body.splitlines()] == list(range(1, 3001))
        whole = server.get(f"/v1/sweeps/{sweep}/export")
        assert [trial["number"] for trial in whole["items"]] == list(range(1, 3002))
        assert whole["items"][-1]["value"] == 1.0 and whole["sweep"]["id"] == sweep
        lines = server.request("GET", f"/v1/sweeps/{sweep}/export?format=csv", expect=200).text.split("\r\n")
        assert lines[0].endswith("finished,params.x,params.text") and len(lines) == 3003
        sock.close()


def test_an_export_of_a_sweep_that_is_deleted_is_cut_off(tmp_path):
    with Daemon(tmp_path) as server:
        sweep = fill(server, 3000)
        sock, _ = begin(server, sweep, "json")
        server.patch(f"/v1/sweeps/{sweep}", {"state": "cancelled"})
        server.request("DELETE", f"/v1/sweeps/{sweep}", expect=204)
        _, is_whole = rest(sock)
        assert not is_whole
        sock.close()


def test_more_exports_than_are_read_at_once_are_refused_until_one_ends(tmp_path):
    with Daemon(tmp_path) as server:
        sweep = fill(server, 3000)
        waiting = [begin(server, sweep, "jsonl") for _ in range(32)]
        assert all(first.startswith(b"HTTP/1.1 200") for _, first in waiting)
        refused = server.request("GET", f"/v1/sweeps/{sweep}/export", expect=503)
        assert int(refused.headers["Retry-After"]) >= 1
        assert "sweepd_exports 32" in server.request("GET", "/metrics", expect=200).text
        _, is_whole = rest(waiting[0][0])
        assert is_whole
        waiting[0][0].close()
        server.wait_until("/v1/sweeps", lambda ignored: "sweepd_exports 31" in server.request("GET", "/metrics").text)
        server.request("GET", f"/v1/sweeps/{sweep}/export?format=jsonl", expect=200)
        for sock, _ in waiting[1:]:
            sock.close()
