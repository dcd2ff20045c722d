#!/usr/bin/python3
"""What the coordinator bears, with the load generator on the same machine.

    tests/bench/load.py [--seconds 10] [--connections 64] [--workers 200]

One JSON line each: durable reports of one metric point without pause; claims of a random sweep beside as many completions."""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "integration"))
from daemon import Daemon  # noqa: E402

CLIENT = pathlib.Path(os.environ.get("SWEEPD_BUILD", ROOT / "build")) / "tests" / "load_client"


def run(what, server, seconds, lines, folder):
    (folder / what).write_text("".join(f"{a} {b}\n" for a, b in lines))
    out = subprocess.run([CLIENT, what, server.url.rsplit(":", 1)[1], str(seconds), folder / what], stdout=subprocess.PIPE, check=True).stdout
    print(json.dumps({"load": what, "connections": len(lines), **json.loads(out)}), flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--workers", type=int, default=200)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        with Daemon(folder) as server:
            sweep = server.create_sweep(run_cap=None)["id"]
            worker = server.register("w0")["id"]
            trials = server.claim(worker, "first", slots=args.connections, sweep=sweep)
            run("reports", server, args.seconds, [(trial["id"], trial["lease"]) for trial in trials], folder)
            workers = [server.register(f"v{i}", slots=4)["id"] for i in range(args.workers)]
            for one in workers:
                server.claim(one, "held", slots=3, sweep=sweep)
            run("claims", server, args.seconds, [(one, sweep) for one in workers], folder)


main()
