"""A sweep of a million stored trials: what its first answers cost, and what the coordinator needs to hold it.

    tests/bench/million.py [--trials N] [--method random|sobol|grid|bayes] [--state running|paused] [--folder DIR [--prepare]] [--export]

With --folder the database is kept, and used again when it is there; --prepare only makes it.

Trials are written straight into a database of the newest version (as completed imports; their history beside them), except for a
last part that goes through POST /v1/sweeps/{id}/trials, which is timed. Prints one JSON object. Needs SWEEPD_PREFIX or ./build."""
import argparse
import http.client
import json
import os
import pathlib
import random
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration"))
from daemon import Daemon, program  # noqa: E402

SPEC = {
    "name": "a million", "trainer": "external", "seed": 1, "metric": {"name": "loss", "goal": "minimize"},
    "parameters": {"x": {"min": 0.0, "max": 1.0}, "lr": {"distribution": "log_uniform_values", "min": 1e-6, "max": 1e-1},
                   "layers": {"min": 1, "max": 24}},
}


def spec_of(method, n):
    spec = {**SPEC, "method": method}
    if method == "grid":
        spec["parameters"] = {"x": {"values": [i / 2000 for i in range(2000)]}, "layers": {"values": list(range(2 * n // 2000))}}
    return spec


def fill(path, sweep, n, method):
    """n completed trials and their history."""
    rng = random.Random(1)
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA synchronous = OFF")
    database.execute("BEGIN")
    row, = database.execute("SELECT id FROM sweeps WHERE public_id = ?", (sweep,)).fetchone()
    now = int(time.time() * 1000)

    def trials():
        for i in range(1, n + 1):
            params = (f'{{"x":{(i - 1) % 2000 / 2000},"layers":{(i - 1) // 2000}}}' if method == "grid" else
                      f'{{"x":{rng.random():.6f},"lr":{10 ** rng.uniform(-6, -1):.3e},"layers":{rng.randint(1, 24)}}}')
            yield (i, f"t{i:016d}", row, i, params, rng.gauss(1, 0.1), now - n + i, now - n + i)

    database.executemany(
        "INSERT INTO trials (id, public_id, sweep, number, state, origin, stage, params, proposal, value, created_ms, finished_ms) "
        "VALUES (?, ?, ?, ?, 'completed', 'imported', 0, ?, '{\"source\":\"import\"}', ?, ?, ?)", trials())
    database.execute("INSERT INTO history (sweep, trial, added, state, value) SELECT sweep, id, 1, state, value FROM trials ORDER BY id")
    database.execute("UPDATE sweeps SET next_number = ? WHERE id = ?", (n + 1, row))
    database.execute("COMMIT")
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()


class Client:
    """One kept connection, without a library between."""

    def __init__(self, url):
        self.connection = http.client.HTTPConnection(url.split("//")[1], timeout=600)

    def ask(self, method, path, body=None, expect=200):
        text = json.dumps(body) if body is not None else None
        begin = time.perf_counter()
        self.connection.request(method, path, text, {"Content-Type": "application/json"} if text else {})
        response = self.connection.getresponse()
        data = response.read()
        took = time.perf_counter() - begin
        if response.status != expect:
            raise SystemExit(f"{method} {path}: {response.status}: {data[:500]}")
        return took, data


def milliseconds(client, method, path, times=21, **options):
    taken = [client.ask(method, path, **options)[0] * 1000 for _ in range(times)]
    return {"median_ms": round(statistics.median(taken), 2), "max_ms": round(max(taken), 2)}


def memory_mib(process):
    status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    return {key: round(int(line.split()[1]) / 1024) for key, line in
            ((line.split(":")[0], line) for line in status.splitlines() if line.startswith(("VmRSS", "VmHWM")))}


def import_some(client, sweep, n, batch):
    rng = random.Random(2)
    begin = time.perf_counter()
    for _ in range(n // batch):
        body = {"trials": [{"params": {"x": rng.random(), "lr": 10 ** rng.uniform(-6, -1), "layers": rng.randint(1, 24)},
                            "value": rng.gauss(1, 0.1)} for _ in range(batch)]}
        client.ask("POST", f"/v1/sweeps/{sweep}/trials", body, expect=201)
    return round(n / (time.perf_counter() - begin))


def claims(client, sweep, n):
    worker = json.loads(client.ask("POST", "/v1/workers", {"name": "w", "slots": 1, "trainers": ["external"]}, expect=201)[1])["id"]
    taken = []
    for i in range(n):
        taken.append(client.ask("POST", "/v1/claims", {"worker": worker, "claim_id": f"c{i}", "sweep": sweep, "wait_s": 60})[0] * 1000)
    return {"first_ms": round(taken[0], 2), "median_ms": round(statistics.median(taken), 2), "max_ms": round(max(taken[1:]), 2)}


def prepare(folder, options):
    """The sweep's id; the database is filled when it is not there."""
    server = Daemon(folder, "--log-level", "warning", start=False)
    if server.database.exists():
        database = sqlite3.connect(server.database)
        sweep, = database.execute("SELECT public_id FROM sweeps").fetchone()
        database.close()
        return sweep
    server.start()
    sweep = server.create_sweep(**spec_of(options.method, options.trials), run_cap=None)["id"]
    if options.state == "paused":
        server.patch(f"/v1/sweeps/{sweep}", {"state": "paused"})
    server.stop()
    fill(server.database, sweep, options.trials, options.method)
    return sweep


def measure(folder, options):
    figures = {"trials": options.trials, "method": options.method, "state": options.state}
    sweep = prepare(folder, options)
    if options.prepare:
        return figures
    server = Daemon(folder, "--log-level", "warning", start=False)
    figures["database_mib"] = round(server.database.stat().st_size / 2**20)
    begin = time.perf_counter()
    server.start()
    figures["start_ms"] = round((time.perf_counter() - begin) * 1000, 1)
    figures["memory_at_start_mib"] = memory_mib(server.process)
    client = Client(server.url)
    path = f"/v1/sweeps/{sweep}"
    figures["first_get_ms"] = round(client.ask("GET", path)[0] * 1000, 2)
    for name, tail in (("sweep_with_counts_and_best", ""), ("best", "/best"), ("first_page", "/trials"), ("by_value", "/trials?sort=value"),
                       ("by_value_descending", "/trials?sort=-value"), ("completed", "/trials?state=completed"),
                       ("running", "/trials?state=running"), ("failed", "/trials?state=failed&sort=value")):
        figures[name] = milliseconds(client, "GET", path + tail)
    figures["all_sweeps"] = milliseconds(client, "GET", "/v1/sweeps")
    if options.state == "running":
        figures["claim"] = claims(client, sweep, 50)
        figures["by_value_while_running"] = milliseconds(client, "GET", path + "/trials?sort=value")
    if options.method != "grid":
        figures["imported_per_s"] = import_some(client, sweep, 20000, 500)
    figures["memory_mib"] = memory_mib(server.process)
    if options.export:
        begin = time.perf_counter()
        client.connection.request("GET", path + "/export?format=jsonl")
        response = client.connection.getresponse()
        first = response.read(1)
        figures["export_first_byte_s"] = round(time.perf_counter() - begin, 2)
        size = len(first)
        while piece := response.read(1 << 20):
            size += len(piece)
        figures["export_s"] = round(time.perf_counter() - begin, 2)
        figures["export_mib"] = round(size / 2**20)
        figures["memory_after_export_mib"] = memory_mib(server.process)
    server.stop()
    begin = time.perf_counter()
    subprocess.run([program("sweepd"), "check", str(server.database)], check=True, stdout=subprocess.DEVNULL)
    figures["check_s"] = round(time.perf_counter() - begin, 1)
    begin = time.perf_counter()
    subprocess.run([program("sweepd"), "backup", "--database", str(server.database), str(folder / "copy.db")], check=True, stdout=subprocess.DEVNULL)
    figures["backup_s"] = round(time.perf_counter() - begin, 1)
    return figures


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1_000_000)
    parser.add_argument("--method", default="random")
    parser.add_argument("--state", default="running", choices=["running", "paused"])
    parser.add_argument("--export", action="store_true")
    parser.add_argument("--prepare", action="store_true")
    parser.add_argument("--folder", help="kept; else a temporary one")
    options = parser.parse_args()
    folder = pathlib.Path(options.folder or tempfile.mkdtemp(prefix="million-"))
    folder.mkdir(exist_ok=True)
    try:
        print(json.dumps(measure(folder, options), indent=1))
    finally:
        if not options.folder:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
