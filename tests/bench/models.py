#!/usr/bin/env python3
"""A model of DistilBERT's size on its way to the coordinator, and what heartbeats feel of it.

    python3 tests/bench/models.py [--mb 268] [--seconds 8]

One client reports (a heartbeat that is committed) again and again; its times are taken while nothing else happens, and while another sends a model of so
many MB in pieces of 1 MiB, over one connection on loopback, and fetches it. Prints one JSON object. SWEEPD_PREFIX chooses the programs.
"""
import argparse
import copy
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time

import requests

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration"))
from daemon import Daemon, program  # noqa: E402

MIB = 1 << 20


def heartbeats(server, trial, stop):
    times, seq = [], 0
    while not stop.is_set():
        seq += 1
        begun = time.perf_counter()
        server.report(trial, heartbeats.seq + seq)
        times.append(time.perf_counter() - begun)
        time.sleep(0.01)
    heartbeats.seq += seq
    return times


heartbeats.seq = 0


def during(server, trial, what):
    """Times of heartbeats while what() runs, and how long that took."""
    stop, times = threading.Event(), []
    thread = threading.Thread(target=lambda: times.extend(heartbeats(server, trial, stop)))
    thread.start()
    begun = time.perf_counter()
    what()
    seconds = time.perf_counter() - begun
    stop.set()
    thread.join()
    times.sort()
    return seconds, {"n": len(times), "p50_ms": round(times[len(times) // 2] * 1e3, 2), "p99_ms": round(times[int(len(times) * 0.99)] * 1e3, 2),
                     "max_ms": round(times[-1] * 1e3, 2)}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--mb", type=int, default=268)
    parser.add_argument("--seconds", type=float, default=8)
    options = parser.parse_args()
    data = os.urandom(options.mb * 1_000_000)
    with tempfile.TemporaryDirectory() as place:
        folder = pathlib.Path(place)
        with Daemon(folder, "--models-dir", folder / "kept") as server:
            sender = copy.copy(server)
            sender.session = requests.Session()  # a connection of its own
            sender.session.trust_env = False
            sweep = server.create_sweep(run_cap=None)["id"]
            worker = server.register("w")["id"]
            beating, ended = (server.claim(worker, f"c{i}", sweep=sweep)[0] for i in range(2))
            server.report(ended, 1, outcome={"state": "completed", "value": 0.5})
            offer = {"lease": ended["lease"], "files": [{"name": "weights", "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}]}
            path = f"/v1/trials/{ended['id']}/model"
            synced = []

            def send():
                sender.post(path, offer)
                for offset in range(0, len(data), MIB):
                    sender.request("PUT", f"{path}/file?name=weights&offset={offset}", data=data[offset:offset + MIB], expect=200,
                                   headers={"Content-Type": "application/octet-stream", "Lease": ended["lease"]})
                synced.append(time.perf_counter())
                while sender.post(path, offer)["state"] != "kept":
                    time.sleep(0.05)
                synced.append(time.perf_counter())

            def fetch():
                subprocess.run([program("sweepctl"), "--server", server.url, "fetch-model", sweep, folder / "model"], check=True, stdout=subprocess.DEVNULL)

            _, idle = during(server, beating, lambda: time.sleep(options.seconds))
            send_s, sending = during(server, beating, send)
            fetch_s, fetching = during(server, beating, fetch)
            print(json.dumps({"mb": options.mb, "send_mb_s": round(options.mb / send_s, 1), "of_which_sync_s": round(synced[1] - synced[0], 2),
                              "fetch_mb_s": round(options.mb / fetch_s, 1), "heartbeat_idle": idle, "heartbeat_while_sent": sending,
                              "heartbeat_while_fetched": fetching}))


if __name__ == "__main__":
    main()
