"""How long a claim of a model-based sweep takes, through HTTP, with a history of so many trials: report, then claim at once.

    proposal_latency.py [--n 100,1000,5000] [--dims 7] [--claims 60] [--trial-ms 0]

One trial in flight: every claim needs a proposal that the result before it could change. Trials take --trial-ms: with 0 the next claim also waits
for what a coordinator does while a trial runs. The first claim after the import is the cold one and is shown by itself. Prints milliseconds, and
what memory the coordinator holds then, of it by this sweep.
"""
import argparse
import pathlib
import random
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration"))
from daemon import Daemon  # noqa: E402


def loss(params, noise):
    return sum((value - 0.3 - 0.02 * i) ** 2 for i, value in enumerate(params.values())) + 0.01 * noise


def resident_mib(server):
    with open(f"/proc/{server.process.pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024


def measure(server, n, dims, claims, trial_s):
    before = resident_mib(server)
    rng = random.Random(n)
    names = [f"x{i:02d}" for i in range(dims)]
    sweep = server.post("/v1/sweeps", {"method": "bayes", "trainer": "external", "seed": 1, "metric": {"name": "loss"},
                                       "parameters": {name: {"min": 0.0, "max": 1.0} for name in names}}, expect=201)["id"]
    for first in range(0, n, 1000):
        items = [{name: rng.random() for name in names} for _ in range(min(1000, n - first))]
        server.post(f"/v1/sweeps/{sweep}/trials", {"trials": [{"params": one, "value": loss(one, rng.gauss(0, 1))} for one in items]}, expect=201)
    worker = server.register(f"w{n}")["id"]
    times = []
    for i in range(claims + 1):
        begin = time.perf_counter()
        trial = server.post("/v1/claims", {"worker": worker, "claim_id": f"c{n}-{i}", "wait_s": 60, "sweep": sweep})["trials"][0]
        times.append((time.perf_counter() - begin) * 1000)
        value = loss(trial["params"], rng.gauss(0, 1))
        time.sleep(trial_s)
        server.post(f"/v1/trials/{trial['id']}/report", {"lease": trial["lease"], "seq": 1, "outcome": {"state": "completed", "value": value}})
    cold, rest = times[0], sorted(times[1:])
    print(f"n = {n:5d}, {dims} parameters: cold {cold:6.1f}  p50 {rest[len(rest) // 2]:6.1f}  p95 {rest[int(len(rest) * 0.95)]:6.1f}  "
          f"max {rest[-1]:6.1f} ms  memory {resident_mib(server):.0f} MiB, {resident_mib(server) - before:.0f} of it since before", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", default="100,1000,5000")
    parser.add_argument("--dims", type=int, default=7)
    parser.add_argument("--claims", type=int, default=60)
    parser.add_argument("--trial-ms", type=float, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Daemon(folder) as server:
        for n in args.n.split(","):
            measure(server, int(n), args.dims, args.claims, args.trial_ms / 1000)


if __name__ == "__main__":
    main()
