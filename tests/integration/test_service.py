"""The daemons as systemd runs them; the tests play its part: NOTIFY_SOCKET, WATCHDOG_USEC, LISTEN_FDS, CREDENTIALS_DIRECTORY."""
import contextlib
import os
import re
import signal
import socket
import subprocess
import threading
import time

import pytest
import requests
from daemon import PATIENCE_S, SANITIZED, Daemon, program

pytestmark = pytest.mark.coordinator


class Manager:
    """What a service tells its manager."""

    def __init__(self, folder):
        self.path = str(folder / "notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.settimeout(PATIENCE_S)

    def close(self):
        self.socket.close()

    def wait_for(self, word, timeout=PATIENCE_S):
        """Messages up to and with the one that has this line."""
        got, deadline = [], time.monotonic() + timeout
        while True:
            self.socket.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                got.append(self.socket.recv(4096).decode())
            except socket.timeout:
                raise AssertionError(f"never said {word}: {got}") from None
            if any(line.startswith(word) for line in got[-1].splitlines()):
                return got


@pytest.fixture()
def manager(tmp_path):
    with contextlib.closing(Manager(tmp_path)) as manager:
        yield manager


# --- sweepd -------------------------------------------------------------------------------------------

def test_sweepd_tells_when_it_is_ready_reloads_and_stops(tmp_path, manager):
    with Daemon(tmp_path, env={"NOTIFY_SOCKET": manager.path}) as server:
        assert manager.wait_for("READY=1") == ["READY=1"]
        server.process.send_signal(signal.SIGHUP)
        assert "MONOTONIC_USEC=" in manager.wait_for("RELOADING=1")[-1]
        assert manager.wait_for("READY=1")
        assert server.stop() == 0
        assert manager.wait_for("STOPPING=1")


def test_no_thread_but_the_main_one_gets_the_signals_that_end_it(tmp_path):
    """A thread that has them unblocked would end the whole process, whenever the main one is not just waiting for them."""
    with Daemon(tmp_path, "--models-dir", tmp_path / "models") as server:
        meant = sum(1 << (number - 1) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP))
        pid, threads = server.process.pid, os.listdir(f"/proc/{server.process.pid}/task")
        assert len(threads) > 5
        for thread in set(threads) - {str(pid)}:
            with open(f"/proc/{pid}/task/{thread}/status") as status:
                text = status.read()
            assert int(re.search(r"^SigBlk:\s*(\w+)", text, re.M)[1], 16) & meant == meant, text


def test_sweepd_feeds_its_watchdog_and_only_its_own(tmp_path, manager):
    with Daemon(tmp_path, env={"NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "600000"}):
        manager.wait_for("READY=1")
        for _ in range(3):
            manager.wait_for("WATCHDOG=1")
    (tmp_path / "other").mkdir()
    with Daemon(tmp_path / "other", env={"NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "300000", "WATCHDOG_PID": "1"}):
        while "READY=1" not in manager.wait_for("READY=1"):
            pass
        with pytest.raises(AssertionError):
            manager.wait_for("WATCHDOG=1", timeout=1)


def test_no_manager_is_no_trouble(tmp_path):
    for value in ("/nowhere/at/all", "relative", "@" + "x" * 200, ""):
        with Daemon(tmp_path, env={"NOTIFY_SOCKET": value, "WATCHDOG_USEC": "nonsense", "LISTEN_FDS": "3", "LISTEN_PID": "1"}) as server:
            assert server.get("/healthz")


def activated(listener, folder, *args, n="1", **options):
    """sweepd with the listening socket as descriptor 3."""
    script = f'exec 3<&{listener.fileno()}; export LISTEN_PID=$$ LISTEN_FDS={n}; exec "$@"'
    return subprocess.Popen(["bash", "-c", script, "bash", program("sweepd"), "--listen", "127.0.0.1:1", "--database", str(folder / "sweepd.db"), *args],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, pass_fds=[listener.fileno()], text=True, **options)


def test_a_socket_of_the_manager_outlives_the_daemon(tmp_path):
    """What connects between two daemons waits for the second one."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        answers = []

        def ask():
            with requests.Session() as session:
                session.trust_env = False
                answers.append(session.get(url + "/healthz", timeout=PATIENCE_S * 2).status_code)

        for _ in range(2):
            asking = threading.Thread(target=ask)
            asking.start()  # before anybody accepts
            process = activated(listener, tmp_path, "--no-auth")
            assert process.stdout.readline().strip() == f"listening on {url}", process.communicate()
            asking.join()
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE_S) == 0
            process.communicate()
        assert answers == [200, 200]
        with socket.create_connection(listener.getsockname(), timeout=PATIENCE_S):
            pass  # still open


@pytest.mark.parametrize("what", ["datagram", "not listening", "two", "any address without tokens"])
def test_a_socket_that_cannot_be_served_is_refused(tmp_path, what):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM if what == "datagram" else socket.SOCK_STREAM) as listener:
        listener.bind(("0.0.0.0" if "address" in what else "127.0.0.1", 0))
        if what in ("two", "any address without tokens"):
            listener.listen()
        process = activated(listener, tmp_path, "--no-auth", n="2" if what == "two" else "1")
        out, err = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 2 and err and "listening" not in out


def credentials(folder, **files):
    place = folder / "credentials"
    place.mkdir()
    for name, text in files.items():
        path = place / name.replace("__", "-")
        path.write_text(text)
        path.chmod(0o440)  # as an access list for the service's user looks
    return {"CREDENTIALS_DIRECTORY": str(place)}


@pytest.mark.parametrize("name", ["tokens", "sweepd_tokens"])
def test_sweepd_takes_its_tokens_from_the_manager(tmp_path, name):
    with Daemon(tmp_path, auth=True, token="sesame-open", env=credentials(tmp_path, **{name: "admin root sesame-open\n"})) as server:
        server.get("/v1/sweeps")
        assert "sesame" not in open(f"/proc/{server.process.pid}/cmdline").read() + open(f"/proc/{server.process.pid}/environ").read()


@pytest.mark.parametrize("mode", [0o400, 0o440])
def test_sweepctl_takes_a_token_that_the_manager_gave(tmp_path, mode):
    given = credentials(tmp_path, tokens="admin root sesame-open\n", token="sesame-open\n")
    token = tmp_path / "credentials" / "token"
    token.chmod(mode)
    with Daemon(tmp_path, auth=True, token="sesame-open", env=given) as server:
        def listing(path, env):
            return subprocess.run([program("sweepctl"), "--server", server.url, "--token-file", path, "list"], capture_output=True, text=True,
                                  timeout=PATIENCE_S, env={**os.environ, **env})
        assert listing(token, given).returncode == 0
        if mode == 0o440:
            refused = listing(token, {})
            assert refused.returncode == 1 and "chmod 600" in refused.stderr


def test_a_readable_token_file_elsewhere_is_refused_as_ever(tmp_path):
    path = tmp_path / "tokens"
    path.write_text("admin root sesame-open\n")
    path.chmod(0o440)
    done = subprocess.run([program("sweepd"), "--listen", "127.0.0.1:0", "--token-file", path, "--database", tmp_path / "d.db"], capture_output=True,
                          text=True, timeout=PATIENCE_S, env={**os.environ, **credentials(tmp_path)})
    assert done.returncode == 2 and "chmod 600" in done.stderr


def test_sweepd_takes_its_certificate_from_the_manager(tmp_path):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "3", "-subj", "/CN=localhost",
                    "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", tmp_path / "key", "-out", tmp_path / "cert"], check=True, capture_output=True)
    given = credentials(tmp_path, **{"sweepd_tls__cert": (tmp_path / "cert").read_text(), "tls__key": (tmp_path / "key").read_text()})
    with Daemon(tmp_path, env=given) as server:
        assert server.url.startswith("https://")
        server.session.verify = str(tmp_path / "cert")
        assert server.get("/healthz")


def test_log_lines_are_one_line_each_and_logfmt(tmp_path):
    with Daemon(tmp_path, "--log-level", "debug") as server:
        server.register("line\u2028break \"quoted\" = sign")
        server.create_sweep(name="näme")
    for line in server.log().rstrip("\n").split("\n"):
        assert re.fullmatch(r'time=\S+ level=\w+ msg=("(\\.|[^"\\])*"|\S+)( [a-z_]+=("(\\.|[^"\\])*"|\S*))*', line), line


# --- sweep-worker -------------------------------------------------------------------------------------

def worker(server, folder, *args, **env):
    with open(folder / "worker.log", "ab") as log:
        return subprocess.Popen([program("sweep-worker"), "--coordinator", server.url, "--name", "unit-1", "--slots", "1", "--threads", "1", "--work-dir",
                                 str(folder / "work"), "--trainer", "command", "--min-free-mb", "0", *map(str, args)], stderr=log,
                                env={**os.environ, **env})


def command(folder, text):
    path = folder / "program"
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)
    return f"--allow-command=prog={path}"


def test_a_worker_gives_back_its_trial_when_its_unit_is_stopped(tmp_path, manager):
    """Ready, fed watchdog, the token from the manager; stopped: the trial is queued again with nothing lost, and after a reboot (a new
    process of the same name on the same folder) it is this worker that goes on with it."""
    tokens = tmp_path / "tokens"
    tokens.write_text("admin root sesame-admin\nworker unit sesame-worker\n")
    tokens.chmod(0o600)
    allow = command(tmp_path, 'echo "$SWEEPD_TRIAL" >> "' + str(tmp_path) + '/runs"; [ $(wc -l < "' + str(tmp_path) + '/runs") -gt 1 ] || { trap "exit 1" TERM; sleep 300 & wait; }; '
                    "echo '{\"event\":\"metric\",\"name\":\"loss\",\"step\":1,\"value\":0.5}'")
    env = {"NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "900000", **credentials(tmp_path, **{"sweep-worker_token": "sesame-worker\n"})}
    with Daemon(tmp_path, "--token-file", tokens, auth=True, token="sesame-admin") as server:
        sweep = server.create_sweep(trainer="command", program="prog", run_cap=1)
        first = worker(server, tmp_path, allow, **env)
        try:
            manager.wait_for("READY=1")
            manager.wait_for("WATCHDOG=1")
            server.wait_until(f"/v1/sweeps/{sweep['id']}", lambda body: body["counts"]["running"] == 1 and (tmp_path / "runs").exists() and (tmp_path / "runs").read_text(),
                              PATIENCE_S * 2)
            first.send_signal(signal.SIGTERM)
            manager.wait_for("STOPPING=1")
            assert first.wait(25) == 0
        finally:
            first.kill()
            first.wait()
        trial = server.get(f"/v1/sweeps/{sweep['id']}/trials")["items"][0]
        assert trial["state"] == "queued" and trial["reason"] is None
        second = worker(server, tmp_path, allow, "--max-trials", 1, **env)
        assert second.wait(PATIENCE_S * 4) == 0
        trial = server.get(f"/v1/trials/{trial['id']}")
        assert trial["state"] == "completed" and trial["attempt"] == 2
        assert "sesame" not in (tmp_path / "worker.log").read_text() + server.log()


def test_a_worker_is_ready_though_the_coordinator_is_away(tmp_path, manager):
    class Nowhere:
        url = "http://127.0.0.1:1"

    process = worker(Nowhere, tmp_path, command(tmp_path, "true"), NOTIFY_SOCKET=manager.path)
    try:
        manager.wait_for("READY=1")
        process.send_signal(signal.SIGTERM)
        assert process.wait(25) == 0
    finally:
        process.kill()
        process.wait()
