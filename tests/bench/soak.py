#!/usr/bin/python3
"""An hour of steady, mixed load, and what the coordinator's memory does meanwhile.

    tests/bench/soak.py [--minutes 60] [--workers 100] [--reporters 64] [--readers 20] [--exports]

At once, for as long: workers that claim a trial of a random sweep and complete it, once a second each; leases that report a metric
point a second each; readers of events; a person who looks at everything once a second on a new connection, makes small sweeps
(grid, bayes, staged), works on them and deletes them, and with --exports exports the big sweep once a minute. One JSON line every half minute:
resident and anonymous memory, size of the database and its log, answers so far. The last line has the least-squares slope of
the memory over the second half in MiB an hour."""
import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import time

import requests

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "integration"))
from daemon import Daemon  # noqa: E402

TOOLS = pathlib.Path(os.environ.get("SWEEPD_BUILD", ROOT / "build")) / "tests"
SMALL = (
    {"method": "grid", "parameters": {"x": {"values": [1, 2, 3]}, "y": {"values": [1, 2]}}},
    {"method": "bayes", "run_cap": 12},
    {"method": "staged", "run_cap": None, "baseline": {"x": 0.5, "n": 3},
     "stages": [{"method": "ofat", "levels": {"x": [0.1, 0.9], "n": [1, 9]}}, {"method": "random", "select_top": 1, "run_cap": 4}]},
)


class Person:
    """Looks, makes sweeps, works on them, deletes them: one round a second."""

    def __init__(self, server, big, exports):
        self.server, self.big, self.exports = server, big, exports
        self.rounds = self.trials = self.exported = 0
        self.worker = server.register("person")["id"]
        self.fault = None

    def run(self, end):
        last_export = time.monotonic()
        try:
            while time.monotonic() < end:
                begun = time.monotonic()
                self.look()
                self.work(SMALL[self.rounds % len(SMALL)])
                if self.exports and begun > last_export + 60:
                    last_export = begun
                    self.export()
                self.rounds += 1
                time.sleep(max(0.0, begun + 1 - time.monotonic()))
        except Exception as fault:  # shown with the figures
            self.fault = repr(fault)

    def look(self):
        self.server.session.close()
        for path in (f"/v1/sweeps/{self.big}", f"/v1/sweeps/{self.big}/trials?sort=-value&limit=100", f"/v1/sweeps/{self.big}/best",
                     "/v1/sweeps", "/v1/workers?limit=1000"):
            self.server.get(path)
        self.server.request("GET", "/metrics", expect=200)

    def work(self, members):
        sweep = self.server.create_sweep(**members)["id"]
        for i in range(30):
            claimed = self.server.claim(self.worker, f"r{self.rounds}-{i}", sweep=sweep)
            if not claimed:
                break
            self.server.report(claimed[0], 1, metrics=[{"name": "loss", "step": step, "value": 1 / (step + 1)} for step in range(5)])
            self.server.report(claimed[0], 2, outcome={"state": "completed", "value": claimed[0]["params"]["x"] / 2})
            self.trials += 1
        if self.server.get(f"/v1/sweeps/{sweep}")["state"] != "finished":
            self.server.patch(f"/v1/sweeps/{sweep}", {"state": "cancelled"})
        self.server.request("DELETE", f"/v1/sweeps/{sweep}", expect=204)

    def export(self):
        response = self.server.request("GET", f"/v1/sweeps/{self.big}/export?format=jsonl", expect=200, stream=True)
        self.exported += sum(len(piece) for piece in response.iter_content(1 << 16))


def read_events(url, end, counts, i):
    """Bytes heard; comes back when its stream ends."""
    while time.monotonic() < end:
        try:
            with requests.get(url + "/v1/events", stream=True, timeout=60) as response:
                for piece in response.iter_content(1 << 16):
                    counts[i] += len(piece)
                    if time.monotonic() > end:
                        break
        except requests.RequestException:
            time.sleep(1)


def client(what, server, seconds, lines, pause_ms, folder):
    (folder / what).write_text("".join(f"{a} {b}\n" for a, b in lines))
    return subprocess.Popen([TOOLS / "load_client", what, server.url.rsplit(":", 1)[1], str(seconds), folder / what, str(pause_ms)],
                            stdout=subprocess.PIPE)


def memory(server):
    text = open(f"/proc/{server.process.pid}/status").read()
    return {name: round(int(re.search(rf"{key}:\s+(\d+)", text).group(1)) / 1024, 1)
            for name, key in (("rss_mib", "VmRSS"), ("anonymous_mib", "RssAnon"), ("peak_mib", "VmHWM"))}


def slope(points):
    """MiB an hour by least squares."""
    mean_t, mean_m = sum(t for t, _ in points) / len(points), sum(m for _, m in points) / len(points)
    spread = sum((t - mean_t) ** 2 for t, _ in points)
    return round(3600 * sum((t - mean_t) * (m - mean_m) for t, m in points) / spread, 2) if spread else 0


def soak(server, folder, args):
    seconds = 60 * args.minutes
    big = server.create_sweep(run_cap=None)["id"]
    reporter = server.register("reporter", slots=args.reporters)["id"]
    held = server.claim(reporter, "first", slots=args.reporters, sweep=big)
    workers = [server.register(f"v{i}")["id"] for i in range(args.workers)]
    end = time.monotonic() + seconds
    clients = [client("claims", server, seconds, [(one, big) for one in workers], 1000, folder),
               client("reports", server, seconds, [(trial["id"], trial["lease"]) for trial in held], 1000, folder)]
    person, heard = Person(server, big, args.exports), [0] * args.readers
    threads = [threading.Thread(target=read_events, args=(server.url, end, heard, i), daemon=True) for i in range(args.readers)]
    threads.append(threading.Thread(target=person.run, args=(end,)))
    for thread in threads:
        thread.start()
    begun, points = time.monotonic(), []
    while time.monotonic() < end and all(one.poll() is None for one in clients):
        now = {"minutes": round((time.monotonic() - begun) / 60, 1), **memory(server)}
        points.append((time.monotonic() - begun, now["rss_mib"]))
        log = pathlib.Path(f"{server.database}-wal")
        print(json.dumps({**now, "database_mib": round(server.database.stat().st_size / 2**20), "log_mib": round(log.stat().st_size / 2**20),
                          "rounds": person.rounds, "small_trials": person.trials, "events_mib": round(sum(heard) / 2**20),
                          "exported_mib": round(person.exported / 2**20), "fault": person.fault}), flush=True)
        time.sleep(min(30, max(0.1, end - time.monotonic()), seconds / 10))
    figures = [json.loads(one.communicate()[0] or "null") for one in clients]
    threads[-1].join()
    return {"minutes": args.minutes, "claims": figures[0], "reports": figures[1], "person_fault": person.fault,
            "slope_of_second_half_mib_per_hour": slope(points[len(points) // 2:]), **memory(server)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--workers", type=int, default=100)
    parser.add_argument("--reporters", type=int, default=64)
    parser.add_argument("--readers", type=int, default=20)
    parser.add_argument("--exports", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, Daemon(name, "--log-level", "warning") as server:
        print(json.dumps(soak(server, pathlib.Path(name), args)), flush=True)
        server.stop(60)


if __name__ == "__main__":
    main()
