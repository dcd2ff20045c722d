"""Several hosts: each in its own network namespace, joined by a bridge. One coordinator with TLS and tokens, workers that vanish, are cut off,
sit behind a proxy or a line that is no good, share a name, trust the wrong authority or bring a token that is not good. Needs root and the right
to make namespaces."""
import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import pytest
from daemon import PATIENCE_S, program
from test_tls import Authority

HERE = pathlib.Path(__file__).resolve().parent
N_TRIALS = 48  # so many that none of the hosts is out of work before its time, however slow the machine
COORDINATOR = "https://10.77.0.1:8484"
GATE = "10.77.0.20"  # where proxies and bad lines are
N_POINTS = 250
EVALUATE = """#!/bin/sh
read -r params
sleep 0.25
echo "$params" | jq -c '{event: "outcome", state: "completed", value: (.x * 2 + 1)}'
"""
# with a curve, so that reports are some 20 kB
EVALUATE_LONG = f"""#!/bin/sh
read -r params
sleep 0.25
echo "$params" | jq -c '.x as $x | (range({N_POINTS}) | {{event: "metric", name: "curve", step: ., value: ($x + .)}}),
        {{event: "outcome", state: "completed", value: ($x * 2 + 1)}}'
"""


def ip(*words, check=True):
    return subprocess.run(["ip", *map(str, words)], check=check, capture_output=True, text=True, timeout=30)


def wait_until(condition, what, timeout=60):
    deadline = time.monotonic() + timeout
    while not (found := condition()):
        assert time.monotonic() < deadline, what
        time.sleep(0.1)
    return found


class Host:
    """A namespace with one leg on the bridge."""

    def __init__(self, network, name, address):
        self.name, self.leg = f"{network.mark}-{name}", f"v{name}"
        ip("netns", "add", self.name)
        network.names.append(self.name)
        ip("link", "add", self.leg, "netns", network.bridge, "type", "veth", "peer", "name", "eth0", "netns", self.name)
        ip("-n", network.bridge, "link", "set", self.leg, "master", "br0", "up")
        ip("-n", self.name, "addr", "add", f"{address}/24", "dev", "eth0")
        ip("-n", self.name, "link", "set", "eth0", "up")
        ip("-n", self.name, "link", "set", "lo", "up")
        self.network = network

    def link(self, state):
        ip("-n", self.network.bridge, "link", "set", self.leg, state)

    def start(self, words, log, **environment):
        with open(log, "ab") as stream:
            process = subprocess.Popen(["ip", "netns", "exec", self.name, *map(str, words)], stdout=stream, stderr=stream, env={**os.environ, **environment})
        self.network.processes.append(process)
        return process


class Network:
    def __init__(self):
        self.mark, self.names, self.processes = f"swp{os.getpid()}", [], []
        self.bridge = f"{self.mark}-bridge"
        ip("netns", "add", self.bridge)
        self.names.append(self.bridge)
        ip("-n", self.bridge, "link", "add", "br0", "type", "bridge")
        ip("-n", self.bridge, "link", "set", "br0", "up")

    def close(self):
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()
        for name in reversed(self.names):
            ip("netns", "del", name, check=False)


def why_not():
    """What this machine lacks for networks of its own; None: nothing."""
    if not shutil.which("ip"):
        return "iproute2 is not installed"
    trial = "ip link add br0 type bridge && ip link add veth0 type veth peer name veth1 && mount -t tmpfs tmpfs /run && ip netns add trial"
    tried = subprocess.run(["unshare", "--net", "--mount", "sh", "-ec", trial], capture_output=True, text=True)
    return None if tried.returncode == 0 else f"networks of one's own cannot be made here: {tried.stderr.strip()}"


@pytest.fixture
def network():
    refused = why_not()
    if refused:
        pytest.skip(refused)
    with contextlib.ExitStack() as stack:
        network = Network()
        stack.callback(network.close)
        yield network


class Site:
    """The coordinator on its host, and what workers are given."""

    def __init__(self, network, folder, evaluate=EVALUATE):
        self.folder = folder
        self.authority, self.other = Authority(folder, "good"), Authority(folder, "other")
        cert, key = self.authority.issue("coordinator", f"IP:10.77.0.1,IP:{GATE}")
        self.database = folder / "sweepd.db"
        self.tokens = {name: self.token(role, name) for role, name in (("admin", "boss"), ("worker", "fleet"), ("worker", "lost"))}
        soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3))
        self.tokens["stale"] = self.token("worker", "stale", "--expires", soon)
        self.host = Host(network, "c", "10.77.0.1")
        self.log_path = folder / "sweepd.log"
        self.process = self.host.start([program("sweepd"), "--listen", "10.77.0.1:8484", "--database", self.database, "--tls-cert", cert, "--tls-key", key,
                                        "--lease-s", "3"], self.log_path)
        self.evaluate = folder / "evaluate"
        self.evaluate.write_text(evaluate)
        self.evaluate.chmod(0o755)
        wait_until(lambda: "listening on" in self.log(), "the coordinator does not start")

    def token(self, role, name, *args):
        secret = subprocess.run([program("sweepd"), "token", "create", "--role", role, "--name", name, "--database", self.database, *args], check=True,
                                capture_output=True, text=True, timeout=PATIENCE_S).stdout.split()[0]
        path = self.folder / f"{name}.token"
        path.write_text(secret)
        path.chmod(0o600)
        return path

    def log(self):
        return self.log_path.read_text(errors="replace")

    def curl(self, path, body=None, host=None):
        """An administrator's call, from any host."""
        words = ["ip", "netns", "exec", (host or self.host).name, "curl", "-sS", "--cacert", self.authority.cert, "-H",
                 f"Authorization: Bearer {self.tokens['boss'].read_text()}", COORDINATOR + path]
        if body is not None:
            words += ["-H", "Content-Type: application/json", "-d", json.dumps(body)]
        return json.loads(subprocess.run(list(map(str, words)), check=True, capture_output=True, text=True, timeout=30).stdout)

    def worker(self, host, name, token="fleet", ca=None, folder=None, coordinator=COORDINATOR, **environment):
        work = self.folder / (folder or name)
        log = self.folder / f"{folder or name}.log"
        process = host.start([program("sweep-worker"), "--coordinator", coordinator, "--token-file", self.tokens[token], "--ca", ca or self.authority.cert,
                              "--name", name, "--slots", "1", "--threads", "1", "--trainer", "command", "--allow-command", f"evaluate={self.evaluate}",
                              "--work-dir", work, "--min-free-mb", "0"], log, **environment)
        process.log = lambda: log.read_text(errors="replace")
        return process

    def counts(self, sweep):
        return self.curl(f"/v1/sweeps/{sweep}")["counts"]

    def ends_with_every_trial_once(self, sweep, n, timeout=180):
        """Waits for the sweep's end. Nothing lost, nothing twice, every value and point what its trial's parameters make it; and the
        database is sound. Ends the coordinator. The trials."""
        done = wait_until(lambda: (s := self.curl(f"/v1/sweeps/{sweep}"))["state"] == "finished" and s, "the sweep does not end", timeout)
        assert done["counts"] == {"queued": 0, "running": 0, "completed": n, "stopped": 0, "failed": 0, "cancelled": 0}
        trials = self.curl(f"/v1/sweeps/{sweep}/trials?limit=1000")["items"]
        assert sorted(t["number"] for t in trials) == list(range(1, n + 1))
        for trial in trials:
            x = trial["params"]["x"]
            assert trial["value"] == pytest.approx(x * 2 + 1, rel=1e-12)
            if self.evaluate.read_text() == EVALUATE_LONG:
                points = self.curl(f"/v1/trials/{trial['id']}/metrics?name=curve&limit=1000")["items"]
                assert [p["step"] for p in points] == list(range(N_POINTS))
                assert [p["value"] for p in points] == pytest.approx([x + step for step in range(N_POINTS)], rel=1e-12)
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(PATIENCE_S)
        subprocess.run([program("sweepd"), "check", self.database], check=True, capture_output=True, timeout=PATIENCE_S)
        return trials

    def sweep(self, run_cap):
        return self.curl("/v1/sweeps", {"method": "random", "trainer": "command", "program": "evaluate", "seed": 1, "run_cap": run_cap, "metric": {"name": "loss"},
                                        "max_attempts": 9, "parameters": {"x": {"min": 0.0, "max": 1.0}}})["id"]


def test_hosts_vanish_are_cut_off_and_sit_behind_a_proxy_and_every_trial_counts_once(network, tmp_path):
    site = Site(network, tmp_path)
    first, second, third = (Host(network, f"w{i}", f"10.77.0.1{i}") for i in (1, 2, 3))
    # the third host reaches nothing but the proxy
    gate = Host(network, "p", GATE)
    ip("-n", network.bridge, "link", "del", third.leg)
    ip("link", "add", "inner", "netns", gate.name, "type", "veth", "peer", "name", "eth0", "netns", third.name)
    ip("-n", gate.name, "addr", "add", "10.78.0.1/24", "dev", "inner")
    ip("-n", gate.name, "link", "set", "inner", "up")
    ip("-n", third.name, "addr", "add", "10.78.0.2/24", "dev", "eth0")
    ip("-n", third.name, "link", "set", "eth0", "up")
    gate.start([sys.executable, HERE / "connect_proxy.py", "10.78.0.1", "3128"], tmp_path / "proxy.log")
    sweep = site.sweep(N_TRIALS)
    cut_off = site.worker(first, "first")
    vanishing = site.worker(second, "second")
    site.worker(third, "third", https_proxy="http://10.78.0.1:3128")
    running = lambda name: any(w["name"] == name and w["trials"] for w in site.curl("/v1/workers")["items"])
    wait_until(lambda: site.counts(sweep)["completed"] >= 3 and all(map(running, ("first", "second"))), "no trial ends")
    second.link("down")  # the power is gone
    vanishing.kill()
    wait_until(lambda: running("first"), "the first host does not go on")
    first.link("down")  # a partition, for longer than a lease
    time.sleep(7)
    first.link("up")
    wait_until(lambda: site.curl(f"/v1/sweeps/{sweep}")["state"] == "finished", "the sweep does not end", 120)
    assert len(site.curl(f"/v1/sweeps/{sweep}/trials?limit=1000", host=first)["items"]) == N_TRIALS
    wait_until(lambda: {w["name"]: w["state"] for w in site.curl("/v1/workers")["items"]} == {"first": "active", "second": "gone", "third": "active"}, "states")
    trials = site.ends_with_every_trial_once(sweep, N_TRIALS)
    assert max(t["attempt"] for t in trials) >= 2, "no lease was lost: nothing was tested"
    assert "10.77.0.1:8484" in (tmp_path / "proxy.log").read_text()
    assert "lease is over" in site.log() and cut_off.poll() is None


def bad_line(gate, folder, port, seed, **faults):
    """Where workers reach the coordinator through a line with these faults; its log is below folder."""
    log = folder / f"line-{port}.log"
    words = [f"{name}={value}" for name, value in faults.items()]
    gate.start([sys.executable, HERE / "bad_line.py", GATE, port, "10.77.0.1", "8484", seed, *words], log)
    wait_until(lambda: log.exists() and "open" in log.read_text(), "the line does not open")
    return {"coordinator": f"https://{GATE}:{port}"}, lambda what: [line.split() for line in log.read_text().splitlines() if line.startswith(what)]


def test_lines_that_are_slow_and_cut_bodies_in_the_middle_a_host_that_vanishes_and_a_partition_that_heals(network, tmp_path):
    """Each host has a line of its own, over TLS. None of them is ever mended: the sweep ends in spite of them."""
    site = Site(network, tmp_path, EVALUATE_LONG)
    gate = Host(network, "p", GATE)
    slow, cut, frozen, gone = (Host(network, f"w{i}", f"10.77.0.1{i}") for i in (1, 2, 3, 4))
    slow_line, _ = bad_line(gate, tmp_path, 8501, 1, delay=0.1, jitter=0.3)
    cut_line, cuts = bad_line(gate, tmp_path, 8502, 14, cut=1, jitter=0.05)
    frozen_line, freezes = bad_line(gate, tmp_path, 8503, 3, freeze=0.5, cut=0.3)
    sweep = site.sweep(N_TRIALS)
    staying = site.worker(slow, "slow", **slow_line)
    workers = [staying, site.worker(cut, "cut", **cut_line), site.worker(frozen, "frozen", **frozen_line)]
    vanishing = site.worker(gone, "gone", **slow_line)
    running = lambda name: any(w["name"] == name and w["trials"] for w in site.curl("/v1/workers")["items"])
    wait_until(lambda: running("gone"), "no trial runs", 120)
    gone.link("down")  # the power is gone
    vanishing.kill()
    wait_until(lambda: running("slow"), "no trial runs", 120)
    slow.link("down")  # a partition, for longer than a lease
    time.sleep(6)
    slow.link("up")
    wait_until(lambda: len(cuts("cut")) >= 4, "nothing was cut", 120)
    trials = site.ends_with_every_trial_once(sweep, N_TRIALS)
    assert any(int(n) > 4000 for _, way, n in cuts("cut") if way == "up") and any(way == "down" for _, way, _ in cuts("cut")), cuts("cut")
    assert max(t["attempt"] for t in trials) >= 2, "no lease was lost: nothing was tested"
    assert all(worker.poll() is None for worker in workers)
    print(f"{len(cuts('cut')) + len(freezes('cut'))} connections cut, {len(freezes('frozen'))} frozen, {sum(t['attempt'] for t in trials)} attempts")


def has_netem(host):
    return subprocess.run(["ip", "netns", "exec", host.name, "tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms"], capture_output=True).returncode == 0


def test_delay_loss_and_reordering_on_the_wire(network, tmp_path):
    site = Site(network, tmp_path, EVALUATE_LONG)
    hosts = [Host(network, f"w{i}", f"10.77.0.1{i}") for i in (1, 2, 3)]
    if not shutil.which("tc") or not has_netem(hosts[0]):
        pytest.skip("this kernel has no netem")
    for host in hosts:
        subprocess.run(["ip", "netns", "exec", host.name, "tc", "qdisc", "add", "dev", "eth0", "root", "netem", "delay", "80ms", "40ms", "25%", "loss", "5%",
                        "duplicate", "2%", "reorder", "10%"], check=True, capture_output=True)
        site.worker(host, host.leg)
    site.ends_with_every_trial_once(site.sweep(N_TRIALS), N_TRIALS)


def test_wrong_authorities_and_tokens_that_are_not_good_are_refused_in_words(network, tmp_path):
    site = Site(network, tmp_path)
    host = Host(network, "w1", "10.77.0.11")
    subprocess.run([program("sweepd"), "token", "revoke", "lost", "--database", site.database], check=True, capture_output=True, timeout=PATIENCE_S)
    time.sleep(3)  # the other one has expired
    for token in ("lost", "stale"):
        worker = site.worker(host, f"with-{token}", token=token)
        assert worker.wait(PATIENCE_S) == 1 and "refuses this worker (401)" in worker.log()
    stranger = site.worker(host, "stranger", ca=site.other.cert)
    wait_until(lambda: "certificate" in stranger.log(), "nothing is said about the certificate")
    assert site.curl("/v1/workers")["items"] == []


def test_two_hosts_with_one_name_are_both_told_and_lose_nothing(network, tmp_path):
    site = Site(network, tmp_path)
    first, second = Host(network, "w1", "10.77.0.11"), Host(network, "w2", "10.77.0.12")
    sweep = site.sweep(30)
    one = site.worker(first, "same", folder="one")
    wait_until(lambda: site.counts(sweep)["completed"] >= 2, "no trial ends")
    two = site.worker(second, "same", folder="two")
    told = "another process works under this worker's name"
    wait_until(lambda: told in one.log() and told in two.log(), "the hosts are not told", 60)
    assert site.curl("/v1/workers")["items"][0]["name_shared_since"]
    wait_until(lambda: site.curl(f"/v1/sweeps/{sweep}")["state"] == "finished", "the sweep does not end", 180)
    assert site.counts(sweep)["completed"] == 30 and len(site.curl("/v1/workers")["items"]) == 1
    assert all(t["value"] == pytest.approx(t["params"]["x"] * 2 + 1, rel=1e-12) for t in site.curl(f"/v1/sweeps/{sweep}/trials")["items"])
    assert "another process took over this worker's name" in site.log() and "two processes work under one worker's name" in site.log()
    two.send_signal(signal.SIGTERM)
    two.wait(PATIENCE_S * 2)
    one.send_signal(signal.SIGTERM)
    one.wait(PATIENCE_S * 2)
    site.worker(first, "same", folder="one")
    wait_until(lambda: not site.curl("/v1/workers")["items"][0]["name_shared_since"], "it never has its name to itself")
