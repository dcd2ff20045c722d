"""GET /v1/events: what happens, told to many as it happens."""
import json
import re
import resource
import select
import socket
import time

import pytest
from daemon import PATIENCE_S, SANITIZED, Daemon

pytestmark = pytest.mark.coordinator
TOKENS = {"admin": "secret-admin", "worker": "secret-worker", "viewer": "secret-viewer"}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with Daemon(tmp_path_factory.mktemp("events")) as daemon:
        yield daemon


def dial(server, query="", last=None, token=None, receive_bytes=None):
    """A socket whose request for events is sent."""
    host, port = server.url.split("//")[1].rsplit(":", 1)
    sock = socket.socket()
    if receive_bytes:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    sock.settimeout(PATIENCE_S)
    sock.connect((host, int(port)))
    headers = "".join([f"Last-Event-ID: {last}\r\n" if last is not None else "", f"Authorization: Bearer {token}\r\n" if token else ""])
    sock.sendall(f"GET /v1/events{query} HTTP/1.1\r\nHost: {host}:{port}\r\n{headers}\r\n".encode())
    return sock


class Reader:
    """Reads a stream of events as EventSource does."""

    def __init__(self, server, query="", last=None, token=None):
        self.sock = dial(server, query, last, token)
        self.raw, self.text, self.last, self.ended, self.head = b"", "", None, False, (None, None)
        while b"\r\n\r\n" not in self.raw:
            self._receive()
        head, self.raw = self.raw.split(b"\r\n\r\n", 1)
        self.status = int(head.split()[1])
        self.headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
        if self.status == 200:
            self.head = self._block()  # it follows from here on; a reset comes with it

    def _receive(self):
        piece = self.sock.recv(65536)
        if not piece:
            self.ended = True
            raise EOFError("the stream was cut")
        self.raw += piece

    def _chunk(self):
        """Takes one chunk of the chunked encoding into text."""
        while b"\r\n" not in self.raw:
            self._receive()
        size, rest = self.raw.split(b"\r\n", 1)
        n = int(size, 16)
        while len(rest) < n + 2:
            self._receive()
            rest = self.raw.split(b"\r\n", 1)[1]
        self.text += rest[:n].decode("utf-8", "surrogateescape")
        self.raw = rest[n + 2:]
        if n == 0:
            self.ended = True
            raise EOFError("the stream has ended")

    def _block(self):
        """The next block between blank lines: (name, data), data None when there is none."""
        while "\n\n" not in self.text:
            self._chunk()
        block, self.text = self.text.split("\n\n", 1)
        name, data = "message", None
        for line in block.split("\n"):
            field, _, value = line.partition(": ")
            if field == "id":
                assert self.last is None or int(value) >= self.last
                self.last = int(value)
            elif field == "event":
                name = value
            elif field == "data":
                data = json.loads(value)
        return name, data

    def next(self):
        while True:
            (name, data), self.head = self.head if self.head[1] is not None else self._block(), (None, None)
            if data is not None:
                return name, data

    def until(self, condition):
        """Events up to the first for which condition(name, data) holds, that one included."""
        seen = []
        while not seen or not condition(*seen[-1]):
            seen.append(self.next())
        return seen

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *ignored):
        self.close()


def is_trial(trial, state):
    return lambda name, data: name == "trial" and data["id"] == trial and data["state"] == state


def test_a_trial_is_told_from_its_claim_to_its_end(server):
    with Reader(server) as reader:
        assert reader.headers["Content-Type"] == "text/event-stream" and reader.headers["Cache-Control"] == "no-store"
        sweep = server.create_sweep(name="told")
        worker = server.register("teller")
        trial = server.claim(worker["id"], "c1", sweep=sweep["id"])[0]
        seen = reader.until(is_trial(trial["id"], "running"))
        assert ("sweep", sweep["id"]) in [(name, data.get("id")) for name, data in seen]
        assert ("worker", worker["id"]) in [(name, data.get("id")) for name, data in seen]
        server.report(trial, 1, metrics=[{"name": "loss", "step": 1, "value": 0.5}], progress=0.25)
        seen = reader.until(is_trial(trial["id"], "running"))
        point = next(data for name, data in seen if name == "metric")
        assert set(point) == {"sweep", "trial", "name", "step", "epoch", "value", "time"}
        assert (point["sweep"], point["trial"], point["name"], point["step"], point["epoch"], point["value"]) == \
            (sweep["id"], trial["id"], "loss", 1, None, 0.5)
        assert seen[-1][1]["progress"] == 0.25
        server.report(trial, 2, outcome={"state": "completed"})
        told = reader.until(is_trial(trial["id"], "completed"))[-1][1]
        shown = server.get(f"/v1/trials/{trial['id']}")
        shown.pop("attempts")
        assert told == shown
        best = reader.until(lambda name, data: name == "sweep" and data["counts"]["completed"] == 1)[-1][1]
        assert best["best"]["id"] == trial["id"]
        server.patch(f"/v1/sweeps/{sweep['id']}", {"state": "cancelled"})
        reader.until(lambda name, data: name == "sweep" and data["state"] == "cancelled")
        server.request("DELETE", f"/v1/sweeps/{sweep['id']}", expect=204)
        assert reader.until(lambda name, data: name == "deleted")[-1][1] == {"sweep": sweep["id"]}


def test_a_reader_of_one_sweep_hears_of_that_one(server):
    one, other = server.create_sweep(name="one"), server.create_sweep(name="other")
    with Reader(server, f"?sweep={one['id']}") as reader:
        server.post(f"/v1/sweeps/{other['id']}/trials", {"params": {"x": 0.1, "n": 1}}, expect=201)
        mine = server.post(f"/v1/sweeps/{one['id']}/trials", {"params": {"x": 0.2, "n": 2}}, expect=201)["items"][0]
        server.patch(f"/v1/sweeps/{one['id']}", {"state": "paused"})
        seen = reader.until(lambda name, data: name == "sweep" and data["state"] == "paused")
    assert mine["id"] in [data["id"] for name, data in seen if name == "trial"]
    assert {data["sweep"] if name == "trial" else data["id"] for name, data in seen if name in ("trial", "sweep")} == {one["id"]}
    for sweep in (one, other):
        server.patch(f"/v1/sweeps/{sweep['id']}", {"state": "cancelled"})


def test_unknown_sweeps_and_queries_are_refused(server):
    assert server.request("GET", "/v1/events?sweep=nobody").status_code == 404
    assert server.request("GET", "/v1/events?sweep=").status_code in (404, 422)
    assert server.request("GET", "/v1/events?colour=red").status_code == 422
    head = server.request("HEAD", "/v1/events")
    assert head.status_code == 200 and head.headers["Content-Type"] == "text/event-stream" and not head.content


def test_a_reader_goes_on_where_it_was_cut(server):
    sweep = server.create_sweep(name="cut", run_cap=None)

    def enqueue(i):
        return server.post(f"/v1/sweeps/{sweep['id']}/trials", {"params": {"x": i / 100, "n": 1}}, expect=201)["items"][0]["id"]

    with Reader(server) as reader:
        first = enqueue(1)
        reader.until(is_trial(first, "queued"))
        last = reader.last
    missed = [enqueue(i) for i in range(2, 22)]
    with Reader(server, last=last) as reader:
        seen = reader.until(is_trial(missed[-1], "queued"))
        assert [data["id"] for name, data in seen if name == "trial"] == missed
        assert "reset" not in [name for name, _ in seen]
    server.patch(f"/v1/sweeps/{sweep['id']}", {"state": "cancelled"})


@pytest.mark.parametrize("last", ["1", "0", "99999999999999999999", "9007199254740991", "-1", "nonsense", "12x"])
def test_what_is_not_in_the_journal_is_a_reset(server, last):
    with Reader(server, last=last) as reader:
        assert reader.next() == ("reset", {})
        worker = server.register("after-reset")
        reader.until(lambda name, data: name == "worker" and data["id"] == worker["id"])


def test_ids_of_a_process_before_are_a_reset(tmp_path):
    with Daemon(tmp_path) as server:
        with Reader(server) as reader:
            server.register("w")
            reader.until(lambda name, data: name == "worker")
            last = reader.last
        server.restart()
        with Reader(server, last=last) as reader:
            assert reader.next() == ("reset", {})
            assert reader.last > last


def test_streams_end_when_the_server_stops(tmp_path):
    with Daemon(tmp_path) as server:
        readers = [Reader(server) for _ in range(20)]
        begun = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - begun < PATIENCE_S
        for reader in readers:
            with pytest.raises((EOFError, ConnectionError)):
                reader.until(lambda name, data: False)
            reader.close()


def test_viewers_may_watch_and_workers_may_not(tmp_path):
    token_file = tmp_path / "tokens"
    token_file.write_text("".join(f"{role} {role} {token}\n" for role, token in TOKENS.items()))
    token_file.chmod(0o600)
    with Daemon(tmp_path, "--token-file", token_file, auth=True, token=TOKENS["admin"]) as server:
        for token, status in ((TOKENS["viewer"], 200), (TOKENS["admin"], 200), (TOKENS["worker"], 403), ("wrong", 401), (None, 401)):
            with Reader(server, token=token) as reader:
                assert reader.status == status


def test_a_failed_or_refused_write_tells_nothing(server):
    sweep = server.create_sweep(name="refused")
    with Reader(server) as reader:
        server.request("POST", f"/v1/sweeps/{sweep['id']}/trials", {"params": {"x": 7}}, expect=422)
        server.request("PATCH", "/v1/sweeps/nobody", {"priority": 1}, expect=404)
        marker = server.register("marker")
        seen = reader.until(lambda name, data: name == "worker" and data["id"] == marker["id"])
        assert "trial" not in [name for name, _ in seen]
    server.patch(f"/v1/sweeps/{sweep['id']}", {"state": "cancelled"})


def test_many_changes_at_once_are_a_reset_to_all(server):
    sweep = server.create_sweep(name="many", run_cap=None)
    with Reader(server) as reader:
        server.post(f"/v1/sweeps/{sweep['id']}/trials", {"trials": [{"params": {"x": i / 5000, "n": 1}} for i in range(3000)]}, expect=201)
        reader.until(lambda name, data: name == "reset")
    server.patch(f"/v1/sweeps/{sweep['id']}", {"state": "cancelled"})


def test_a_lost_worker_is_told_without_any_request(tmp_path):
    with Daemon(tmp_path, "--lease-s", 1) as server:
        with Reader(server) as reader:
            worker = server.register("lost")
            reader.until(lambda name, data: name == "worker" and data["id"] == worker["id"] and data["state"] == "active")
            reader.until(lambda name, data: name == "worker" and data["id"] == worker["id"] and data["state"] == "gone")


def rss_mib(server):
    return int(re.search(r"VmRSS:\s+(\d+)", open(f"/proc/{server.process.pid}/status").read()).group(1)) / 1024


def test_a_slow_reader_is_dropped_and_memory_stays(tmp_path):
    """It asks and never reads; the journal (8 MiB) passes it."""
    with Daemon(tmp_path) as server:
        sweep = server.create_sweep(run_cap=None)
        worker = server.register("chatty")
        trial = server.claim(worker["id"], "c", sweep=sweep["id"])[0]
        slow = dial(server, receive_bytes=4096)
        brisk = Reader(server)
        before = rss_mib(server)
        step = 0
        for seq in range(1, 221):  # about 40 MB of events
            points = [{"name": "some/metric/with/a/name", "step": step + i, "value": 1 / (step + i + 1)} for i in range(1000)]
            step += 1000
            server.report(trial, seq, metrics=points)
            while select.select([brisk.sock], [], [], 0)[0]:
                try:
                    brisk.sock.recv(1 << 20)
                except OSError:
                    break
        if not SANITIZED:
            assert rss_mib(server) - before < 120
        received = 0
        slow.settimeout(PATIENCE_S)
        try:
            while piece := slow.recv(1 << 20):
                received += len(piece)
        except ConnectionError:
            pass
        assert received < 30e6, "it was cut long before the end"
        slow.close()
        brisk.close()
        with Reader(server) as reader:  # others are served as ever
            server.register("after")
            reader.until(lambda name, data: name == "worker")


def test_a_thousand_readers_at_once(tmp_path):
    n = 100 if SANITIZED else 1000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192) if hard > 0 else 8192, hard))
    try:
        with Daemon(tmp_path) as server:
            before = rss_mib(server)
            socks = [dial(server) for _ in range(n)]
            sweep = server.create_sweep(name="crowd", run_cap=None)
            trials = server.post(f"/v1/sweeps/{sweep['id']}/trials", {"trials": [{"params": {"x": i / 50, "n": 1}} for i in range(50)]}, expect=201)
            last = trials["items"][-1]["id"].encode()
            waiting, tails, deadline = dict.fromkeys(socks, b""), {}, time.monotonic() + 4 * PATIENCE_S
            while waiting and time.monotonic() < deadline:
                poller = select.poll()
                by_fd = {sock.fileno(): sock for sock in waiting}
                for fd in by_fd:
                    poller.register(fd, select.POLLIN)
                for fd, _ in poller.poll(1000):
                    sock = by_fd[fd]
                    piece = sock.recv(1 << 16)
                    assert piece, "cut"
                    waiting[sock] = (waiting[sock] + piece)[-70000:]
                    if last in waiting[sock]:
                        del waiting[sock]
            assert not waiting, f"{len(waiting)} of {n} readers did not hear of the last trial"
            if not SANITIZED:
                assert rss_mib(server) - before < 100
            for sock in socks:
                sock.close()
            server.register("still-there")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
