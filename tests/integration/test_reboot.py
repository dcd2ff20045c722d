"""Hosts that are started anew: power off (every process of the host ends at once, with signal 9, and what lay in /run and /tmp is gone), then the
units' ExecStart again, as systemd would. The tests play systemd's part."""
import contextlib
import os
import pathlib
import re
import select
import shutil
import signal
import socket
import subprocess
import time

import pytest
from daemon import PATIENCE_S, Daemon, program
from test_service import Manager

WAIT_S = PATIENCE_S * 4
# Counts to 20 in its checkpoint folder, a number every 0.2 s; notes each start, and where it began.
COUNT = """#!/bin/bash
read -r params
step=$(cat "$SWEEPD_CHECKPOINT_DIR/step" 2>/dev/null || echo 0)
echo "$SWEEPD_TRIAL $step" >> "$0.runs"
while [ $step -lt 20 ]; do
        step=$((step + 1))
        echo '{"event":"metric","name":"loss","step":'$step',"value":'$step'}'
        sleep 0.2 # a metric that the worker has not read yet is gone with the power, though the checkpoint would stay
        echo $step > "$SWEEPD_CHECKPOINT_DIR/new" && mv "$SWEEPD_CHECKPOINT_DIR/new" "$SWEEPD_CHECKPOINT_DIR/step"
done
"""


def exec_start(unit):
    """The command of an installed unit, as words."""
    prefix = os.environ.get("SWEEPD_PREFIX") or pytest.skip("needs an installed copy (SWEEPD_PREFIX)")
    text = (pathlib.Path(prefix) / "lib/systemd/system" / unit).read_text()
    return re.search(r"^ExecStart=(.*)$", text, re.M)[1].split()


def tree(pid):
    """The process and all that it started."""
    parents = {}
    for status in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(status.parent.name)] = int(status.read_text().rsplit(")", 1)[1].split()[1])
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found


class Host:
    """A machine with one service: its disk stays, all else goes with the power."""

    def __init__(self, folder, unit, config, credentials):
        self.disk, self.unit, self.secrets = folder, unit, credentials
        self.state = folder / "state"
        self.state.mkdir(parents=True)
        self.config = folder / "service.conf"
        self.config.write_text(config)
        self.boots, self.process = 0, None

    def words(self):
        places = {"%H-%i": f"{self.disk.name}-1", "%i": "1", "/var/lib/sweep-worker/1": str(self.state)}
        for word in exec_start(self.unit):
            for old, new in places.items():
                word = word.replace(old, new)
            yield re.sub(r"^/etc/sweepd/.*\.conf$", str(self.config), word)

    def boot(self, listener=None):
        self.boots += 1
        self.volatile = self.disk / f"boot-{self.boots}"  # /run, /tmp and copies of credentials
        given = self.volatile / "credentials"
        given.mkdir(parents=True)
        for name, text in self.secrets.items():
            (given / name).write_text(text)
            (given / name).chmod(0o440)
        self.manager = Manager(self.volatile)
        env = {**os.environ, "NOTIFY_SOCKET": self.manager.path, "CREDENTIALS_DIRECTORY": str(given), "TMPDIR": str(self.volatile), "WATCHDOG_USEC": "60000000"}
        script = 'exec "$@"' if listener is None else f'exec 3<&{listener.fileno()}; export LISTEN_PID=$$ LISTEN_FDS=1; exec "$@"'
        with open(self.disk / "journal", "ab") as log:
            self.process = subprocess.Popen(["bash", "-c", script, "bash", *self.words()], stdout=log, stderr=log, cwd=self.state, env=env,
                                            pass_fds=[listener.fileno()] if listener else [])
        self.manager.wait_for("READY=1")

    def log(self):
        return (self.disk / "journal").read_text(errors="replace")

    def power_off(self):
        if self.process is None:
            return
        pids = tree(self.process.pid)
        for kind in (signal.SIGSTOP, signal.SIGKILL):  # none of them sees another one end
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, kind)
        self.process.wait(PATIENCE_S)
        self.manager.close()
        shutil.rmtree(self.volatile)
        self.process = None

    def stop(self):
        """systemctl stop"""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(30) == 0
        self.manager.close()
        self.process = None


def worker_host(folder, url):
    folder.mkdir()
    count = folder / "count"
    count.write_text(COUNT)
    count.chmod(0o755)
    config = f"coordinator = {url}\nslots = 1\nthreads = 1\ntrainer = command\nallow-command = count={count}\nmin-free-mb = 0\n"
    host = Host(folder, "sweep-worker@.service", config, {"sweep-worker_token": "sesame-worker\n"})
    host.runs = lambda: [line.split() for line in (folder / "count.runs").read_text().splitlines()] if (folder / "count.runs").exists() else []
    return host


def tokens_file(folder):
    path = folder / "tokens"
    path.write_text("admin root sesame-admin\nworker unit sesame-worker\n")
    path.chmod(0o600)
    return path


def wait_until(condition, what, timeout=WAIT_S):
    deadline = time.monotonic() + timeout
    while not (found := condition()):
        assert time.monotonic() < deadline, what
        time.sleep(0.05)
    return found


def the_trial(server, sweep):
    return server.get(f"/v1/sweeps/{sweep}/trials")["items"][0]


def steps_of(server, trial):
    return [point["step"] for point in server.get(f"/v1/trials/{trial['id']}/metrics?name=loss&limit=1000")["items"]]


def create(server, n):
    return server.create_sweep(trainer="command", program="count", run_cap=n)["id"]


def test_a_trial_goes_on_where_it_was_after_its_workers_host_was_started_anew(tmp_path):
    """At once, though its lease would be good for ten minutes."""
    with Daemon(tmp_path, "--token-file", tokens_file(tmp_path), "--lease-s", 600, auth=True, token="sesame-admin") as server, contextlib.ExitStack() as stack:
        sweep = create(server, 2)
        host = worker_host(tmp_path / "w", server.url)
        stack.callback(host.power_off)
        host.boot()
        wait_until(lambda: len(server.get(f"/v1/sweeps/{sweep}/trials")["items"]) and len(steps_of(server, the_trial(server, sweep))) >= 4, "no trial runs")
        host.power_off()
        first = the_trial(server, sweep)
        assert first["state"] == "running"
        host.boot()
        server.wait_until(f"/v1/sweeps/{sweep}", lambda body: body["state"] == "finished", WAIT_S)
        trials = server.get(f"/v1/sweeps/{sweep}/trials")["items"]
        assert [trial["state"] for trial in trials] == ["completed"] * 2 and len(server.get("/v1/workers")["items"]) == 1
        [(_, start), (_, resumed)] = [run for run in host.runs() if run[0] == first["id"]]
        assert start == "0" and int(resumed) >= 4, "it began anew"
        assert all(steps_of(server, trial) == list(range(1, 21)) for trial in trials)
        assert not list(host.state.glob("trials/*")) and not list(host.state.glob("outbox/*"))
        host.stop()


def test_a_result_that_nobody_heard_of_survives_the_reboot_of_its_host(tmp_path):
    """The coordinator was away when the trial ended, and comes back after the host did."""
    with Daemon(tmp_path, "--token-file", tokens_file(tmp_path), auth=True, token="sesame-admin") as server, contextlib.ExitStack() as stack:
        sweep = create(server, 1)
        server.args += ["--listen", server.url.split("//")[1]]  # at the same address again
        host = worker_host(tmp_path / "w", server.url)
        stack.callback(host.power_off)
        host.boot()
        server.wait_until(f"/v1/sweeps/{sweep}", lambda body: body["counts"]["running"] == 1, WAIT_S)
        server.kill()
        wait_until(lambda: list(host.state.glob("outbox/*.json")), "the trial does not end")
        host.power_off()
        host.boot()
        server.start()
        server.wait_until(f"/v1/sweeps/{sweep}", lambda body: body["state"] == "finished", WAIT_S)
        trial = the_trial(server, sweep)
        assert trial["state"] == "completed" and trial["attempt"] == 1 and len(host.runs()) == 1
        assert steps_of(server, trial) == list(range(1, 21))
        host.stop()


def coordinator_host(folder):
    folder.mkdir()
    return Host(folder, "sweepd.service", f"listen = 127.0.0.1:1\ndatabase = {folder}/state/sweepd.db\n",
                {"sweepd_tokens": "admin root sesame-admin\nworker unit sesame-worker\n"})


@pytest.mark.parametrize("power", ["of the coordinator", "of all"])
def test_a_coordinators_host_is_started_anew_by_the_first_who_knocks(tmp_path, power):
    """Socket activation: after the reboot systemd listens, and starts sweepd when the worker comes. Nothing is lost, nothing is done twice."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        address = listener.getsockname()
        host, worker = coordinator_host(tmp_path / "c"), worker_host(tmp_path / "w", f"http://127.0.0.1:{address[1]}")
        for one in (host, worker):
            stack.callback(lambda one=one: one.power_off())
        host.boot(listener)
        server = Daemon(tmp_path, token="sesame-admin", start=False)  # for its requests
        stack.callback(server.session.close)
        server.url = f"http://127.0.0.1:{address[1]}"
        sweep = create(server, 3)
        worker.boot()
        wait_until(lambda: server.get(f"/v1/sweeps/{sweep}")["counts"]["completed"] == 1, "no trial ends")
        wait_until(lambda: server.get(f"/v1/sweeps/{sweep}")["counts"]["running"] == 1 and len(worker.runs()) == 2, "no trial runs")
        told = server.get(f"/v1/sweeps/{sweep}/trials")["items"]
        server.session.close()  # no connection but the worker's, so that the address is free soon
        host.power_off()
        listener.close()
        if power == "of all":
            worker.power_off()
        time.sleep(1)
        listener = stack.enter_context(wait_until(lambda: bound(address), "the address stays in use", 90))
        if power == "of all":
            worker.boot()
        listener.settimeout(WAIT_S)
        assert knocked(listener), "nobody comes"
        host.boot(listener)
        server.wait_until(f"/v1/sweeps/{sweep}", lambda body: body["state"] == "finished", WAIT_S)
        trials = server.get(f"/v1/sweeps/{sweep}/trials")["items"]
        assert [trial["state"] for trial in trials] == ["completed"] * 3
        assert all(steps_of(server, trial) == list(range(1, 21)) for trial in trials)
        assert trials[0] == told[0]
        assert [trial["attempt"] for trial in trials] == ([1, 2, 1] if power == "of all" else [1, 1, 1])
        assert len(worker.runs()) == (4 if power == "of all" else 3)
        server.session.close()
        worker.stop()
        host.stop()
        subprocess.run([program("sweepd"), "check", host.state / "sweepd.db"], check=True, capture_output=True, timeout=PATIENCE_S)
        assert "sesame" not in worker.log() + host.log()


def bound(address):
    try:
        return socket.create_server(address)
    except OSError:
        return None


def knocked(listener):
    """Does somebody wait to be accepted?"""
    return bool(select.select([listener], [], [], WAIT_S)[0])


def test_stopping_the_unit_gives_trials_back_and_another_host_goes_on(tmp_path):
    with Daemon(tmp_path, "--token-file", tokens_file(tmp_path), "--lease-s", 2, auth=True, token="sesame-admin") as server, contextlib.ExitStack() as stack:
        sweep = create(server, 1)
        hosts = [worker_host(tmp_path / name, server.url) for name in ("one", "two")]
        for host in hosts:
            stack.callback(host.power_off)
        hosts[0].boot()
        server.wait_until(f"/v1/sweeps/{sweep}", lambda body: body["counts"]["running"] == 1 and hosts[0].runs(), WAIT_S)
        hosts[0].stop()
        trial = the_trial(server, sweep)
        assert trial["state"] == "queued" and trial["reason"] is None
        hosts[1].boot()
        server.wait_until(f"/v1/sweeps/{sweep}", lambda body: body["state"] == "finished", WAIT_S)
        assert the_trial(server, sweep)["attempt"] == 2 and steps_of(server, trial) == list(range(1, 21))
        hosts[1].stop()
