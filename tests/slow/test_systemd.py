"""The packages' units under a real systemd: started, walled in, killed, hung, stopped, reloaded, backed up, upgraded, rebooted.

    python3 -m pytest -s tests/slow/test_systemd.py         # as root, on Debian 12 with debootstrap, nsenter and the build dependencies

The machine is a clean Debian root whose systemd is the first process of namespaces of its own (machine.py): what the units ask for is
asked of the kernel, and nothing of it outlives the test. Tests build on each other and run in this order.
"""
import json
import re
import shutil
import time

import pytest
from debian_root import ROOT, run
from machine import Machine

ADMIN = ["sweepctl", "--token-file", "/root/token"]


@pytest.fixture(scope="module")
def machine(packages, root):
    for path in packages.values():
        shutil.copy(path, root.folder / "root")
    root("apt-get", "install", "-y", "--no-install-recommends", "systemd-sysv", *(f"/root/{path.name}" for path in packages.values()))
    (root.folder / "usr/sbin/policy-rc.d").unlink(missing_ok=True)
    # a watchdog that does not try the test's patience
    for unit in ("sweepd.service", "sweep-worker@.service"):
        root.write(f"/etc/systemd/system/{unit}.d/test.conf", "[Service]\nWatchdogSec=4\n")
    with Machine(root) as booted:
        yield booted
        print(booted.journal()[-10000:])


def ctl(machine, *words):
    return json.loads(machine(*ADMIN, "--json", *words))


def settled(machine, sweep):
    """Its trials by state, once none is left to run."""
    machine.wait(f"{sweep} ends", lambda: ctl(machine, "show", sweep)["state"] == "finished", 300)
    return [(trial["number"], trial["state"], trial.get("value")) for trial in ctl(machine, "trials", sweep)["items"]]


def status(machine, unit):
    """The main process as the kernel sees it: /proc's status by name."""
    lines = machine("cat", f"/proc/{machine.show(unit, 'MainPID')}/status").splitlines()
    return {name: value.strip() for name, value in (line.split(":", 1) for line in lines)}


def active(machine, unit):
    return machine.show(unit, "ActiveState") == "active"


def test_a_first_start(machine):
    assert "failed" in machine("systemctl", "enable", "--now", "sweepd", check=False)
    assert "make a token with 'sweepd token create'" in machine.journal("-u", "sweepd")
    as_sweepd = ["setpriv", "--reuid", "sweepd", "--regid", "sweepd", "--clear-groups"]
    for role, place in (("admin", "/root/token"), ("worker", "/etc/sweepd/worker-credentials/token")):
        secret = machine(*as_sweepd, "sweepd", "token", "create", "--role", role, "--name", f"the-{role}", "--database", "/var/lib/sweepd/sweepd.db")
        machine.root.write(place, secret, 0o600)
    machine("systemctl", "start", "sweepd")
    assert active(machine, "sweepd") and machine("sweepctl", "--token-file", "/root/token", "list")
    machine("systemctl", "enable", "--now", "sweep-worker@1")
    assert active(machine, "sweep-worker@1")
    workers = machine.wait("the worker registers", lambda: ctl(machine, "workers")["items"], 60)
    assert [worker["name"] for worker in workers] == [machine("uname", "-n").strip() + "-1"]
    assert machine("systemctl", "--failed", "--no-legend").strip() == ""


def test_the_walls_stand(machine):
    machine("mknod", "-m", "666", "/dev/mem", "c", "1", "1")  # what a machine has and services are not to see
    for unit, user in (("sweepd", "sweepd"), ("sweep-worker@1", "sweep-worker")):
        process = status(machine, unit)
        assert process["NoNewPrivs"] == "1" and process["Seccomp"] == "2", unit
        assert all(int(process[caps], 16) == 0 for caps in ("CapEff", "CapPrm", "CapBnd", "CapAmb")), unit
        assert machine("stat", "--format", "%U", f"/proc/{machine.show(unit, 'MainPID')}").strip() == user
        # what even root could not do where the service lives
        inside = ["nsenter", "--target", machine.show(unit, "MainPID"), "--mount", "--"]
        for place in ("/etc/x", "/usr/x", "/boot/x", "/home/x", "/root/x", "/opt/x"):
            said = machine(*inside, "touch", place, check=False)
            assert "Read-only file system" in said or "No such file" in said or "Permission denied" in said, (unit, place, said)
        assert machine(*inside, "ls", "/dev/null").strip() == "/dev/null" and "No such file" in machine(*inside, "ls", "/dev/mem", check=False)
    score = {unit: float(re.search(r"Overall exposure level for \S+: ([\d.]+)", machine("systemd-analyze", "security", "--no-pager", unit))[1])
             for unit in ("sweepd.service", "sweep-worker@1.service", "sweepd-backup.service")}
    print("\nexposure", score)
    assert score["sweepd.service"] <= 1.5 and score["sweep-worker@1.service"] <= 2.5


def test_the_demo_study(machine):
    sweep = ctl(machine, "create", "/usr/share/sweepd/demo/study.yaml")["id"]
    trials = settled(machine, sweep)
    assert len(trials) == 38 and {state for _, state, _ in trials} == {"completed"}
    print("\nbest", ctl(machine, "best", sweep)["trial"]["value"])
    machine(*ADMIN, "fetch-model", sweep, "/root/winner")


def long_sweep(machine, trials=6):
    """Trainings of some ten seconds on the demo's data, one after the other; its id."""
    machine.root.write("/root/long.yaml", f"""
method: random
trainer: distilbert-mrpc
run_cap: {trials}
metric: {{name: eval/accuracy, goal: maximize}}
fixed: {{epochs: 30, train_batch_size: 16}}
parameters:
  learning_rate: {{distribution: log_uniform_values, min: 0.0005, max: 0.004}}
""")
    return ctl(machine, "create", "/root/long.yaml")["id"]


def running(machine, sweep):
    return machine.wait("a trial runs", lambda: [trial for trial in ctl(machine, "trials", sweep, "--state", "running")["items"]])


def test_a_killed_coordinator_comes_back(machine):
    sweep = long_sweep(machine)
    running(machine, sweep)
    for restarts in range(1, 4):
        before = machine.show("sweepd", "MainPID")
        machine("sh", "-c", f"kill -9 {before}")
        machine.wait("sweepd is back", lambda: active(machine, "sweepd") and machine.show("sweepd", "MainPID") not in (before, "0"))
        assert int(machine.show("sweepd", "NRestarts")) >= restarts
    trials = settled(machine, sweep)
    assert len(trials) == 6 and {state for _, state, _ in trials} == {"completed"}
    assert [trial["attempt"] for trial in ctl(machine, "trials", sweep)["items"]] == [1] * 6  # the worker outlived it


def test_a_hung_daemon_is_ended_by_the_watchdog(machine):
    for unit in ("sweepd", "sweep-worker@1"):
        before = machine.show(unit, "MainPID")
        machine("sh", "-c", f"kill -STOP {before}")
        machine.wait(f"{unit} is another", lambda: active(machine, unit) and machine.show(unit, "MainPID") not in (before, "0"))
        assert "Watchdog timeout" in machine.journal("-u", unit)
    sweep = long_sweep(machine, 2)
    assert {state for _, state, _ in settled(machine, sweep)} == {"completed"}


def test_a_stopped_worker_gives_its_trial_back(machine):
    sweep = long_sweep(machine, 3)
    trial = running(machine, sweep)[0]
    time.sleep(8)  # some epochs
    machine("systemctl", "stop", "sweep-worker@1")
    assert machine.show("sweep-worker@1", "Result") == "success"
    assert ctl(machine, "trial", trial["id"])["state"] not in ("running", "completed")
    machine("systemctl", "start", "sweep-worker@1")
    trials = settled(machine, sweep)
    assert len(trials) == 3 and {state for _, state, _ in trials} == {"completed"}
    assert ctl(machine, "trial", trial["id"])["attempt"] == 2
    assert re.search(f'msg="trial started" trial={trial["id"]} .*resumes=1', machine.journal("-u", "sweep-worker@1"))


def test_nothing_is_lost_over_a_reboot(machine):
    sweep = long_sweep(machine)
    running(machine, sweep)
    machine.wait("a trial is done", lambda: ctl(machine, "trials", sweep, "--state", "completed")["items"])
    time.sleep(8)  # into the next ones
    done = {trial["id"]: trial["value"] for trial in ctl(machine, "trials", sweep, "--state", "completed")["items"]}
    machine.reboot()
    machine.wait("both are up", lambda: active(machine, "sweepd") and active(machine, "sweep-worker@1"))
    trials = settled(machine, sweep)
    assert len(trials) == 6 and {state for _, state, _ in trials} == {"completed"}
    after = {trial["id"]: trial["value"] for trial in ctl(machine, "trials", sweep)["items"]}
    assert all(after[trial] == value for trial, value in done.items())
    assert "resumes=1" in machine.journal("-u", "sweep-worker@1", "-b")
    machine("sweepd", "check", "/var/lib/sweepd/sweepd.db")


def test_a_program_that_eats_the_memory_is_ended_alone(machine):
    if "memory" not in machine.older and "memory" not in (machine.cgroup / "cgroup.controllers").read_text():
        pytest.skip("no controller of memory for this machine")
    machine.root.write("/usr/local/bin/glutton", "#!/bin/sh\nexec tail /dev/zero\n", 0o755)
    conf = (machine.root.folder / "etc/sweepd/sweep-worker.conf").read_text()
    machine.root.write("/etc/sweepd/sweep-worker.conf", conf + "\ntrainer = distilbert-mrpc\ntrainer = command\nallow-command = glutton=/usr/local/bin/glutton\n")
    machine.root.write("/etc/systemd/system/sweep-worker@.service.d/memory.conf", "[Service]\nMemoryMax=300M\nMemorySwapMax=0\n")
    machine("systemctl", "daemon-reload")
    machine("systemctl", "restart", "sweep-worker@1")
    worker, coordinator = machine.show("sweep-worker@1", "MainPID"), machine.show("sweepd", "MainPID")
    machine.root.write("/root/glutton.yaml", "method: random\ntrainer: command\nprogram: glutton\nrun_cap: 1\nmetric: {name: loss}\nparameters: {x: {min: 0.0, max: 1.0}}\n")
    sweep = ctl(machine, "create", "/root/glutton.yaml")["id"]
    machine.wait("the trial has failed", lambda: ctl(machine, "trials", sweep, "--state", "failed")["items"], 300)
    trial = ctl(machine, "trials", sweep)["items"][0]
    print("\n", trial["reason"], trial["detail"])
    assert trial["reason"] == "out_of_memory" and "signal 9" in trial["detail"]
    assert (machine.show("sweep-worker@1", "MainPID"), machine.show("sweepd", "MainPID")) == (worker, coordinator)
    (machine.root.folder / "etc/systemd/system/sweep-worker@.service.d/memory.conf").unlink()
    machine.root.write("/etc/sweepd/sweep-worker.conf", conf)
    machine("systemctl", "daemon-reload")
    machine("systemctl", "restart", "sweep-worker@1")


def test_a_backup_by_its_unit(machine):
    machine("systemctl", "start", "sweepd-backup.service")
    assert machine.show("sweepd-backup", "Result") == "success"
    copies = machine("find", "/var/lib/sweepd/backups", "-name", "*.db").split()
    assert len(copies) == 1
    machine("sweepd", "check", copies[0])
    machine("systemctl", "enable", "--now", "sweepd-backup.timer")
    assert "sweepd-backup.timer" in machine("systemctl", "list-timers", "--no-pager")


def test_https_by_credentials(machine, tmp_path):
    run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=localhost",
        "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", tmp_path / "key.pem", "-out", tmp_path / "cert.pem")
    for name, place in (("key.pem", "/etc/sweepd/credentials/tls-key"), ("cert.pem", "/etc/sweepd/credentials/tls-cert"),
                        ("cert.pem", "/etc/sweepd/worker-credentials/ca"), ("cert.pem", "/root/ca")):
        machine.root.write(place, (tmp_path / name).read_text(), 0o600)
    conf = (machine.root.folder / "etc/sweepd/sweep-worker.conf").read_text()
    machine.root.write("/etc/sweepd/sweep-worker.conf", conf.replace("coordinator = ", "# ") + "\ncoordinator = https://localhost:8484\n")
    try:
        since = machine("date", "+%F %T").strip()
        machine("systemctl", "restart", "sweepd", "sweep-worker@1")
        secure = [*ADMIN, "--server", "https://localhost:8484", "--ca", "/root/ca"]
        assert machine(*secure, "list")
        machine.wait("the worker is attached", lambda: "msg=registered" in machine.journal("-u", "sweep-worker@1", "--since", since))
    finally:
        for name in ("tls-key", "tls-cert"):
            (machine.root.folder / "etc/sweepd/credentials" / name).unlink()
        (machine.root.folder / "etc/sweepd/worker-credentials/ca").unlink()
        machine.root.write("/etc/sweepd/sweep-worker.conf", conf)
        machine("systemctl", "restart", "sweepd", "sweep-worker@1")


def test_the_socket_holds_the_door(machine):
    machine("systemctl", "stop", "sweepd")
    machine("systemctl", "start", "sweepd.socket")
    assert not active(machine, "sweepd")
    assert machine(*ADMIN, "list")  # who knocks first starts it
    assert active(machine, "sweepd")
    for _ in range(3):
        machine("systemctl", "reset-failed", "sweepd")  # starts by hand, five in ten seconds, count like a crash's
        machine("systemctl", "--no-block", "restart", "sweepd")
        assert machine(*ADMIN, "list")  # waits in the socket instead of being refused
        machine.wait("restarted", lambda: machine.show("sweepd", "Job") in ("", "0"))
    machine("systemctl", "stop", "sweepd.socket", "sweepd")
    machine("systemctl", "reset-failed", "sweepd")
    machine("systemctl", "start", "sweepd")


def test_an_upgrade_restarts_what_runs(machine, packages):
    before = {unit: machine.show(unit, "MainPID") for unit in ("sweepd", "sweep-worker@1")}
    sweep = long_sweep(machine, 3)
    running(machine, sweep)
    machine("dpkg", "--install", *(f"/root/{path.name}" for path in packages.values()))
    for unit, pid in before.items():
        machine.wait(f"{unit} is another", lambda: active(machine, unit) and machine.show(unit, "MainPID") not in (pid, "0"))
    trials = settled(machine, sweep)
    assert len(trials) == 3 and {state for _, state, _ in trials} == {"completed"}


def test_a_wrong_key_is_told_and_not_tried_for_ever(machine):
    place = "/etc/sweepd/sweepd.conf"
    conf = (machine.root.folder / place.lstrip("/")).read_text()
    machine.root.write(place, conf + "\nlisten-on = 1.2.3.4:1\n")
    assert "failed" in machine("systemctl", "restart", "sweepd", check=False)
    machine.wait("it has given up", lambda: machine.show("sweepd", "ActiveState") == "failed", 30)
    assert "listen-on" in machine.journal("-u", "sweepd")
    machine.root.write(place, conf)
    machine("systemctl", "reset-failed", "sweepd")
    machine("systemctl", "start", "sweepd")


def test_no_secret_in_the_journal(machine):
    written = machine("journalctl", "--no-pager", "--output", "export")
    environments = machine("sh", "-c", "cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n'")
    for place in ("/root/token", "/etc/sweepd/worker-credentials/token"):
        secret = machine("cat", place).strip()
        assert len(secret) > 20 and secret not in written and secret not in environments


def test_disabled_and_purged(machine):
    machine("apt-get", "purge", "-y", "sweepd", "sweep-worker", "sweepctl")
    assert "sweep" not in machine("sh", "-c", "cat /proc/[0-9]*/comm")
    assert "sweep" not in machine("systemctl", "list-unit-files", "--no-pager")


def test_installed_by_meson_as_the_readme_says(machine, tmp_path):
    run("meson", "setup", tmp_path / "build", ROOT, "--prefix=/usr/local", "-Dtests=false")
    run("meson", "install", "-C", tmp_path / "build", "--destdir", machine.root.folder)
    text = (ROOT / "README.md").read_text()
    commands = re.search(r"### As services\n\n    meson setup .*\n((?:    .*\n)+)", text)[1]
    assert "enable --now sweepd sweep-worker@1" in commands
    since = machine("date", "+%F %T").strip()
    commands = commands.replace("sudo -u sweepd", "setpriv --reuid sweepd --regid sweepd --clear-groups").replace("sudo ", "")
    machine("env", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "sh", "-ec", commands)
    assert active(machine, "sweepd") and machine.show("sweepd", "FragmentPath").startswith("/usr/local/lib/systemd")
    machine.wait("the worker is attached", lambda: "msg=registered" in machine.journal("-u", "sweep-worker@1", "--since", since), 120)
    assert active(machine, "sweep-worker@1")
