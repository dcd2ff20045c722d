#!/usr/bin/python3
"""What the coordinator bears, with the load generator on the same machine, beside what it is built on.

    tests/bench/load.py [--seconds 8] [--connections 64] [--workers 200] [--polls 10000] [--optuna PYTHON] [--soak MINUTES]

One JSON line each, in one run: bare libmicrohttpd, and with a committed row for each request, under the load of reports and of claims;
bare SQLite, commits of one row and of a hundred; durable reports of one metric point without pause, with the ratios to these; claims of
a random sweep beside as many completions; memory with so many waiting claims; with --optuna (a Python that has it) trials a second of
Optuna on SQLite with 1 and 8 threads; with --soak so many minutes of reports with the memory in between."""
import argparse
import json
import os
import pathlib
import re
import resource
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "integration"))
from daemon import Daemon  # noqa: E402

TOOLS = pathlib.Path(os.environ.get("SWEEPD_BUILD", ROOT / "build")) / "tests"
OPTUNA = """
import sys, threading, time, optuna
optuna.logging.set_verbosity(optuna.logging.ERROR)
n_threads, seconds, path = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
study = optuna.create_study(storage="sqlite:///" + path, sampler=optuna.samplers.RandomSampler())
end, done = time.monotonic() + seconds, [0] * n_threads
def work(i):
    while time.monotonic() < end:
        trial = study.ask()
        study.tell(trial, trial.suggest_float("x", 0, 1))
        done[i] += 1
threads = [threading.Thread(target=work, args=(i,)) for i in range(n_threads)]
[t.start() for t in threads], [t.join() for t in threads]
print(sum(done) / seconds)
"""


def say(what, **figures):
    print(json.dumps({"load": what, **figures}), flush=True)
    return figures


def client(what, port, seconds, lines, folder):
    (folder / what).write_text("".join(f"{a} {b}\n" for a, b in lines))
    out = subprocess.run([TOOLS / "load_client", what, str(port), str(seconds), folder / what], stdout=subprocess.PIPE, check=True).stdout
    return json.loads(out)


def run(what, server, seconds, lines, folder, **more):
    return say(what, connections=len(lines), **client(what, server.url.rsplit(":", 1)[1], seconds, lines, folder), **more)


def bare(what, load, n, args, folder):
    """Of libmicrohttpd alone, or with a commit of one row for each request: the floor under what the coordinator does."""
    database = [folder / f"{what}-{load}.db"] if what == "durable" else []
    process = subprocess.Popen([TOOLS / "bare", what, *database], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    port = int(process.stdout.readline())
    figures = client(load, port, args.seconds / 2, [("t", "l")] * n, folder)
    process.communicate(b"\n")
    name = "bare libmicrohttpd" + (", a row committed for each request" if database else "")
    return say(name, as_in=load, connections=n, **figures)["requests_s"]


def bare_sqlite(args, folder, group):
    out = subprocess.run([TOOLS / "bare", "sqlite", folder / f"bare{group}.db", str(args.seconds / 2), str(group)], stdout=subprocess.PIPE, check=True)
    return say("bare SQLite, synchronous=FULL", rows_per_commit=group, rows_s=int(out.stdout))["rows_s"]


def memory_mib(server):
    return int(re.search(r"VmRSS:\s+(\d+)", open(f"/proc/{server.process.pid}/status").read()).group(1)) / 1024


def polls(args, folder):
    (folder / "polls").mkdir()
    with Daemon(folder / "polls", "--max-connections", args.polls + 100) as server:
        sweep, worker = server.create_sweep(run_cap=1)["id"], server.register("w")["id"]
        trial = server.claim(worker, "first", sweep=sweep)[0]
        host, port = server.url.split("//")[1].rsplit(":", 1)
        before, socks, begun = memory_mib(server), [], time.monotonic()
        for i in range(args.polls):
            body = json.dumps({"worker": worker, "claim_id": f"p{i}", "wait_s": 60, "sweep": sweep}).encode()
            sock = socket.create_connection((host, int(port)))
            sock.sendall(b"POST /v1/claims HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                         b"Content-Length: %d\r\n\r\n" % len(body) + body)
            socks.append(sock)
        while server.get("/v1/debug/state")["parked_total"] < args.polls and time.monotonic() < begun + 50:
            time.sleep(0.2)
        parked, memory = server.get("/v1/debug/state")["parked_total"], memory_mib(server)
        begun = time.monotonic()
        server.report(trial, 1, outcome={"state": "completed"})
        for sock in socks:
            assert sock.recv(4096).startswith(b"HTTP/1.1 204")
            sock.close()
        say("waiting claims", n=parked, memory_mib=round(memory, 1), before_mib=round(before, 1), all_answered_s=round(time.monotonic() - begun, 2))


def optuna(args, folder, n_threads):
    out = subprocess.run([args.optuna, "-c", OPTUNA, str(n_threads), str(args.seconds / 2), folder / f"optuna{n_threads}.db"], stdout=subprocess.PIPE,
                         check=True)
    say("Optuna on SQLite", threads=n_threads, trials_s=round(float(out.stdout), 1))


def soak(args, server, lines, folder):
    (folder / "soaked").write_text("".join(f"{a} {b}\n" for a, b in lines))
    port, seconds = server.url.rsplit(":", 1)[1], 60 * args.soak
    process = subprocess.Popen([TOOLS / "load_client", "reports", port, str(seconds), folder / "soaked"], stdout=subprocess.PIPE)
    while process.poll() is None:
        time.sleep(min(10, seconds / 5))
        log = pathlib.Path(f"{server.database}-wal")
        say("soak", memory_mib=round(memory_mib(server), 1), database_mib=round(server.database.stat().st_size / 2**20),
            log_mib=round(log.stat().st_size / 2**20))
    say("soak", minutes=args.soak, **json.loads(process.stdout.read()))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--workers", type=int, default=200)
    parser.add_argument("--polls", type=int, default=10000)
    parser.add_argument("--optuna", metavar="PYTHON")
    parser.add_argument("--soak", type=float, metavar="MINUTES", default=0)
    args = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        http = bare("http", "reports", args.connections, args, folder)
        single, grouped = bare_sqlite(args, folder, 1), bare_sqlite(args, folder, 100)
        bare("durable", "reports", args.connections, args, folder)
        bare("http", "claims", args.workers, args, folder)
        bare("durable", "claims", args.workers, args, folder)
        with Daemon(folder) as server:
            sweep = server.create_sweep(run_cap=None)["id"]
            worker = server.register("w0", slots=args.connections)["id"]
            trials = server.claim(worker, "first", slots=args.connections, sweep=sweep)
            lines = [(trial["id"], trial["lease"]) for trial in trials]
            reports = run("reports", server, args.seconds, lines, folder)["requests_s"]
            say("reports, ratios", of_bare_libmicrohttpd=round(reports / http, 2), of_sqlite_commits_of_one=round(reports / single, 2),
                of_sqlite_commits_of_a_hundred=round(reports / grouped, 3))
            workers = [server.register(f"v{i}", slots=4)["id"] for i in range(args.workers)]
            for one in workers:
                server.claim(one, "held", slots=3, sweep=sweep)
            run("claims", server, args.seconds, [(one, sweep) for one in workers], folder)
        if args.polls:
            polls(args, folder)
        for n_threads in (1, 8) if args.optuna else ():
            optuna(args, folder, n_threads)
        if args.soak:
            (folder / "soak").mkdir()
            with Daemon(folder / "soak") as server:
                sweep = server.create_sweep(run_cap=None)["id"]
                worker = server.register("w0", slots=args.connections)["id"]
                trials = server.claim(worker, "first", slots=args.connections, sweep=sweep)
                soak(args, server, [(trial["id"], trial["lease"]) for trial in trials], folder)


main()
