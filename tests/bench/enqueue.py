#!/usr/bin/python3
"""How long others wait while somebody adds many trials: 10 000 enqueued and 10 000 imported by sweepctl, and by one request each.

    tests/bench/enqueue.py [--trials 10000]

One JSON line each: the seconds that it took, and the latency of durable reports (median, 99 %, longest; ms) that another client sends
meanwhile, one after the other."""
import argparse
import csv
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "integration"))
from daemon import Daemon, program  # noqa: E402

SPEC = {"name": "many", "method": "random", "trainer": "external", "metric": {"name": "loss"},
        "parameters": {**{f"p{i}": {"min": 0.0, "max": 1.0} for i in range(6)}, "kind": {"values": ["a", "b", "c"]}}}


class Other(threading.Thread):
    """Reports of a running trial, without pause."""

    def __init__(self, server):
        super().__init__()
        self.server, self.waits, self.over = server, [], threading.Event()
        sweep = server.post("/v1/sweeps", SPEC, expect=201)
        worker = server.post("/v1/workers", {"name": sweep["id"], "slots": 1, "trainers": ["external"]}, expect=201)
        self.trial = server.post("/v1/claims", {"worker": worker["id"], "claim_id": "1", "sweep": sweep["id"], "wait_s": 10}, expect=200)["trials"][0]

    def run(self):
        seq = 0
        while not self.over.is_set():
            seq += 1
            start = time.monotonic()
            self.server.post(f"/v1/trials/{self.trial['id']}/report", {
                "lease": self.trial["lease"], "seq": seq, "metrics": [{"name": "loss", "step": seq, "value": 1.0}]}, expect=200)
            self.waits.append(1000 * (time.monotonic() - start))
            time.sleep(0.002)


def beside(what, server, action):
    other = Other(server)
    other.start()
    time.sleep(0.5)
    del other.waits[:]
    start = time.monotonic()
    action()
    took = time.monotonic() - start
    other.over.set()
    other.join()
    waits = sorted(other.waits)
    print(json.dumps({"what": what, "seconds": round(took, 2), "reports": len(waits), "median_ms": round(waits[len(waits) // 2], 1),
                      "p99_ms": round(waits[len(waits) * 99 // 100], 1), "longest_ms": round(waits[-1], 1)}), flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=10000)
    args = parser.parse_args()
    draw = random.Random(1)
    configs = [{**{f"p{i}": draw.random() for i in range(6)}, "kind": draw.choice("abc")} for _ in range(args.trials)]
    values = [draw.random() for _ in configs]
    with tempfile.TemporaryDirectory() as name, Daemon(name) as server:
        folder = pathlib.Path(name)
        (folder / "trials.json").write_text(json.dumps([{"params": params} for params in configs]))
        with open(folder / "trials.csv", "w", newline="") as out:
            rows = csv.writer(out)
            rows.writerow([*configs[0], "loss"])
            rows.writerows([*params.values(), value] for params, value in zip(configs, values))

        def ctl(command, file):
            subprocess.run([program("sweepctl"), "--server", server.url, command, server.post("/v1/sweeps", SPEC, expect=201)["id"], folder / file],
                           check=True, stdout=subprocess.DEVNULL)

        def request(trials):
            body = json.dumps({"trials": trials})
            sweep = server.post("/v1/sweeps", SPEC, expect=201)["id"]
            subprocess.run(["curl", "-sSf", "-o", "/dev/null", "-H", "content-type: application/json", "--data-binary", "@-",
                            f"{server.url}/v1/sweeps/{sweep}/trials"], input=body, text=True, check=True)

        beside("nothing", server, lambda: time.sleep(3))
        beside("sweepctl enqueue", server, lambda: ctl("enqueue", "trials.json"))
        beside("sweepctl import", server, lambda: ctl("import", "trials.csv"))
        beside("one request, enqueued", server, lambda: request([{"params": params} for params in configs]))
        beside("one request, imported", server, lambda: request([{"params": params, "value": value} for params, value in zip(configs, values)]))


if __name__ == "__main__":
    main()
