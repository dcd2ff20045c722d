"""Proposals against other optimizers on tuning problems, through the real HTTP interface; prints the tables.

    bench.py HARNESS [--seeds 20] [--seed0 10] [--budget 100] [--pending 1] [--problems a,b] [--peers stored|fresh|none|only]
                     [--opts random,…] [--drawn NUMBER] [--out FOLDER] [--store NAME]

HARNESS is the folder with functions.py, real.py, peers.py and http_driver.py; HPO_TABLES names the real tables where they are elsewhere. A
coordinator is started on a temporary database; every run is a sweep of its own with `trainer: external`, claimed and reported as a worker
would. `stored` peers are those of results/ beside this file (versions in results/README.md); `fresh` runs --opts here, `only` runs them and
nothing of ours: they must be installed for the Python that runs this. --drawn takes 48 problems that drawn.py makes from NUMBER instead of the
development problems. With --out a bench that was ended goes on where it was. --store NAME adds the peers' complete runs of FOLDER to
results/NAME.jsonl.gz.

For each peer: the geometric mean of the normalised regret over the runs that both have (problem and seed), that of ours as a part of it, the
mean difference of its logarithm and the share of runs where ours is better, with 95 % intervals; then the same by family with 99 % intervals
(a bootstrap over problems, and over seeds within each). Normalised regret: 0 is the optimum, 1 the median random point, by the true value of
the trial with the best observed value. Problems count alike, however many runs they have; who is ahead is said from 6 runs on (8 at 99 %).
"""
import argparse
import collections
import gzip
import json
import math
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
STORED = HERE / "results"
OURS = "coordinator"
SOLVED = 1e-3  # regret below it counts as this much
RUGGED = {"ackley5s", "bb_rastrigin4", "bb_gallagher4", "levy4", "michalewicz5"}


def start(folder):
    binary = next(path for path in (pathlib.Path(os.environ.get("SWEEPD_PREFIX", ROOT / "build/prefix")) / "bin/sweepd",
                                    ROOT / "build/coordinator/sweepd") if path.exists())
    process = subprocess.Popen([binary, "--no-auth", "--listen", "127.0.0.1:0", "--database", folder / "bench.db"], stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, text=True)
    line = process.stdout.readline()
    if not line.startswith("listening on "):
        sys.exit(f"the coordinator said {line!r}")
    return process, line.split()[2]


def take_drawn(harness, number):
    """The harness' problems become drawn.py's."""
    shutil.copy(HERE / "drawn.py", harness)
    with open(harness / "functions.py", "a") as out:
        out.write(f"\n\ndef problems(*_, **__):\n    import drawn\n    return drawn.problems({number})\n")


def run(harness, opts, out, args, env=None):
    """peers.py, which leaves out the runs that `out` already holds."""
    if out.exists():  # it may have been ended while it wrote
        text = out.read_bytes()
        out.write_bytes(text[:text.rfind(b"\n") + 1])
    command = [sys.executable, harness / "peers.py", "--real", "--opts", opts, "--out", out, "--budget", str(args.budget),
               "--seeds", str(args.seeds), "--seed0", str(args.seed0), "--pending", str(args.pending)]
    if args.problems:
        command += ["--problems", args.problems]
    threads = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    subprocess.run(command, check=True, env={**os.environ, **threads, **(env or {})}, stdout=subprocess.DEVNULL)


# --- runs: {(opt, problem, seed, pending): {"best_true": [...], "ask_ms": [...]}} --------------------------------------------------------


def read_rows(path):
    """What peers.py writes: one line an evaluation."""
    rows = collections.defaultdict(dict)
    with open(path) as lines:
        for row in map(json.loads, lines):
            rows[row["opt"], row["problem"], row["seed"], row["pending"]][row["i"]] = row
    return {key: {name: [by_number[i][name] for i in sorted(by_number)] for name in ("best_true", "ask_ms")} for key, by_number in rows.items()}


def read_stored():
    """One line a run."""
    runs = {}
    for path in sorted(STORED.glob("*.jsonl.gz")):
        with gzip.open(path, "rt") as lines:
            for line in map(json.loads, lines):
                runs[line["opt"], line["problem"], line["seed"], line["pending"]] = line
    return runs


def store(name, runs):
    path = STORED / f"{name}.jsonl.gz"
    lines = {}
    if path.exists():
        with gzip.open(path, "rt") as stored:
            for line in map(json.loads, stored):
                lines[line["opt"], line["problem"], line["seed"], line["pending"]] = line
    for key, values in runs.items():
        if len(values["best_true"]) > len(lines.get(key, {"best_true": []})["best_true"]):
            lines[key] = dict(zip(("opt", "problem", "seed", "pending"), key), best_true=[float(f"{one:.6g}") for one in values["best_true"]],
                              ask_ms=[round(one, 1) for one in values["ask_ms"]])
    with open(path, "wb") as raw, gzip.GzipFile("", "wb", 9, raw, 0) as packed:  # the same runs, the same bytes
        for key in sorted(lines):
            packed.write((json.dumps(lines[key], separators=(",", ":")) + "\n").encode())


# --- tables --------------------------------------------------------------------------------------------------------------------------------


def family(problem):
    tags = set(problem.tags)
    for name in ("table", "noisy", "mixed", "conditional", "rugged"):
        if name in tags:
            return name
    return "rugged" if problem.name in RUGGED else "smooth"


def interval(per_problem, level, numpy):
    """Mean of the problems' means, and its interval."""
    draw, n_draws, n = numpy.random.default_rng(0), 10000, len(per_problem)
    means = numpy.zeros(n_draws)
    for _ in range(n):
        chosen = draw.integers(n, size=n_draws)
        for i, values in enumerate(per_problem):
            here = chosen == i
            means[here] += draw.choice(values, (here.sum(), len(values))).mean(1) / n
    low, high = numpy.percentile(means, [50 - 50 * level, 50 + 50 * level])
    return float(numpy.mean([numpy.mean(one) for one in per_problem])), float(low), float(high)


def scales(functions):
    """A problem's optimum and its distance to the median random point, both as costs."""
    known = {}

    def scale(problem):
        if problem.name not in known:
            optimum, sign = problem.cost(problem.fopt), 1 if problem.goal == "minimize" else -1
            known[problem.name] = optimum, sign * functions.baseline(problem) - optimum
        return known[problem.name]

    return scale


def log_regret(problem, scale, true):
    optimum, unit = scale(problem)
    return math.log(max((problem.cost(true) - optimum) / unit, SOLVED))


def verdict(difference, share, n_runs, level):
    """Who is ahead. Of so few runs that all of them may well be won by chance the bootstrap's intervals know nothing."""
    if 2 * 0.5**n_runs > 1 - level:
        return "–"
    return "ours" if difference[2] < 0 and share[1] > 0.5 else "the peer" if difference[1] > 0 and share[2] < 0.5 else "–"


def compare(problems, scale, runs, peer, pending, trials, level, numpy):
    """The cells of a row, from the runs of `problems` that ours and the peer have; None without any."""
    logs = []  # a problem each: [[ours, the peer's], …]
    for problem in problems:
        both = []
        for opt, name, seed, flying in runs:
            if opt != OURS or name != problem.name or flying != pending or (peer, name, seed, pending) not in runs:
                continue
            values = [runs[who, name, seed, pending]["best_true"] for who in (OURS, peer)]
            if min(map(len, values)) >= trials:
                both.append([log_regret(problem, scale, one[trials - 1]) for one in values])
        if both:
            logs.append(numpy.array(both))
    if not logs:
        return None
    ours, theirs = (math.exp(numpy.mean([one[:, k].mean() for one in logs])) for k in (0, 1))
    difference = interval([one[:, 0] - one[:, 1] for one in logs], level, numpy)
    share = interval([(one[:, 0] < one[:, 1]) + 0.5 * (one[:, 0] == one[:, 1]) for one in logs], level, numpy)
    return [f"{len(logs)}, {sum(map(len, logs))}", f"{ours:.4f}", f"{theirs:.4f}", f"{ours / theirs:.2f}", "{:+.2f} [{:+.2f}, {:+.2f}]".format(*difference),
            "{:.2f} [{:.2f}, {:.2f}]".format(*share), verdict(difference, share, sum(map(len, logs)), level)]


def print_tables(harness, runs, pending, budget):
    sys.path.insert(0, str(harness))
    import functions
    import numpy
    problems = functions.problems("all", real=True)
    scale = scales(functions)

    families = sorted({family(problem) for problem in problems})
    peers = sorted({opt for opt, _, _, flying in runs if opt != OURS and flying == pending})
    head = ["against", "trials", "problems, runs", "ours", "peer", "ratio", "log difference", "wins", "ahead"]
    for level, groups in ((0.95, [("", problems)]), (0.99, [(name, [one for one in problems if family(one) == name]) for name in families])):
        print(f"\n{pending} in flight, intervals of {level:.0%}\n\n| {' | '.join(head)} |\n|{'---|' * len(head)}")
        for name, group in groups:
            for peer in peers:
                for trials in (t for t in (20, 50, 100) if t <= budget):
                    row = compare(group, scale, runs, peer, pending, trials, level, numpy)
                    if row:
                        print("| " + " | ".join([f"{name} {peer}".strip(), str(trials)] + row) + " |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("harness", type=pathlib.Path)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--seed0", type=int, default=10)
    parser.add_argument("--budget", type=int, default=100)
    parser.add_argument("--pending", type=int, default=1)
    parser.add_argument("--problems", default="")
    parser.add_argument("--peers", choices=["stored", "fresh", "none", "only"], default="stored")
    parser.add_argument("--opts", default="random,optuna_tpe_mv,wandb_bayes,optuna_gp,botorch")
    parser.add_argument("--drawn", type=int, metavar="NUMBER")
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--store", metavar="NAME")
    args = parser.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="bo-bench-"))
    out = args.out or folder
    out.mkdir(parents=True, exist_ok=True)
    harness = folder / "harness"  # it writes a cache beside itself
    shutil.copytree(args.harness, harness)
    if args.drawn is not None:
        take_drawn(harness, args.drawn)
    os.environ.setdefault("HPO_TABLES", str(args.harness.resolve() / "../../data/hpo"))
    try:
        if args.peers != "only":
            process, url = start(folder)
            try:
                run(harness, OURS, out / "ours.jsonl", args, {"SWEEP_URL": url})
            finally:
                process.terminate()
                process.wait()
        if args.peers in ("fresh", "only"):
            run(harness, args.opts, out / "fresh.jsonl", args)
        fresh = read_rows(out / "fresh.jsonl") if (out / "fresh.jsonl").exists() else {}
        if args.store:
            store(args.store, fresh)
        runs = {**(read_stored() if args.peers == "stored" else {}), **fresh}
        if runs and args.peers != "only":
            print_tables(harness, {**runs, **read_rows(out / "ours.jsonl")}, args.pending, args.budget)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
