"""How long a claim of a model-based sweep takes, through HTTP, with a history of so many trials: report, then claim at once.

    proposal_latency.py [--n 100,1000,5000] [--dims 7] [--claims 60] [--flight 1] [--trial-ms 0]

So many trials are in flight (--flight, several numbers after each other): their ends come out of order, each is reported and the next trial claimed
at once, so that every claim needs a proposal that the result before it could change. A result comes every --trial-ms in the middle, and a trial takes
between half and one and a half times that for each in flight: with 0 the next claim also waits for what a coordinator does while trials run. The first
claim after the import is the cold one and is shown by itself, those that fill the flight are not counted. Prints milliseconds, for how many of the
proposals the hyperparameters had been found before, and what memory the coordinator holds then, of it by this sweep.
"""
import argparse
import heapq
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


def create(server, n, dims, rng):
    names = [f"x{i:02d}" for i in range(dims)]
    sweep = server.post("/v1/sweeps", {"method": "bayes", "trainer": "external", "seed": 1, "metric": {"name": "loss"},
                                       "parameters": {name: {"min": 0.0, "max": 1.0} for name in names}}, expect=201)["id"]
    for first in range(0, n, 1000):
        items = [{name: rng.random() for name in names} for _ in range(min(1000, n - first))]
        server.post(f"/v1/sweeps/{sweep}/trials", {"trials": [{"params": one, "value": loss(one, rng.gauss(0, 1))} for one in items]}, expect=201)
    return sweep


def use(server, sweep):
    """Proposals with a model so far, and for how many of them the hyperparameters were there; None from a coordinator that does not tell."""
    told = server.get(f"/v1/sweeps/{sweep}/snapshot")["plan"].get("hyperparameters")
    return told and (told["proposals"], told["ready"])


def measure(server, n, dims, claims, flight, trial_s):
    before = resident_mib(server)
    rng = random.Random(n)
    sweep = create(server, n, dims, rng)
    workers = [server.register(f"w{n}-{flight}-{i}")["id"] for i in range(flight)]
    times, running, used, begun = [], [], None, time.perf_counter()
    for i in range(claims + flight):
        worker = workers[i] if i < flight else None
        now = 0.0
        if worker is None:  # one more ends
            now, _, worker, trial = heapq.heappop(running)
            if trial_s:
                time.sleep(max(0, begun + now - time.perf_counter()))
            value = loss(trial["params"], rng.gauss(0, 1))
            server.post(f"/v1/trials/{trial['id']}/report", {"lease": trial["lease"], "seq": 1, "outcome": {"state": "completed", "value": value}})
        if i == flight:
            used = use(server, sweep)
        begin = time.perf_counter()
        trial = server.post("/v1/claims", {"worker": worker, "claim_id": f"c{n}-{flight}-{i}", "wait_s": 60, "sweep": sweep})["trials"][0]
        end = time.perf_counter()
        times.append((end - begin) * 1000)
        now = end - begun if trial_s else now
        heapq.heappush(running, (now + rng.uniform(0.5, 1.5) * flight * (trial_s or 1), i, worker, trial))
    now_used = use(server, sweep)
    found = f"found before {(now_used[1] - used[1]) / (now_used[0] - used[0]):4.0%}  " if used and now_used[0] > used[0] else ""
    cold, rest = times[0], sorted(times[flight:])
    print(f"n = {n:5d}, {dims} parameters, {flight:2d} in flight: cold {cold:6.1f}  p50 {rest[len(rest) // 2]:6.1f}  p95 {rest[int(len(rest) * 0.95)]:6.1f}  "
          f"max {rest[-1]:6.1f} ms  {found}memory {resident_mib(server):.0f} MiB, {resident_mib(server) - before:.0f} of it since before", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", default="100,1000,5000")
    parser.add_argument("--dims", type=int, default=7)
    parser.add_argument("--claims", type=int, default=60)
    parser.add_argument("--flight", default="1")
    parser.add_argument("--trial-ms", type=float, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Daemon(folder) as server:
        for n in args.n.split(","):
            for flight in args.flight.split(","):
                measure(server, int(n), args.dims, args.claims, int(flight), args.trial_ms / 1000)


if __name__ == "__main__":
    main()
