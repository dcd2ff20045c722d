"""Proposals against other optimizers on tuning problems, through the real HTTP interface; prints the table.

    bench.py HARNESS [--seeds 10] [--seed0 0] [--budget 100] [--pending 1] [--problems a,b] [--peers stored|fresh|none] [--fresh-opts random,…] [--out FOLDER]

HARNESS is the folder with functions.py, real.py, peers.py, report.py and http_driver.py; HPO_TABLES names the real tables where they are
elsewhere. A coordinator is started on a temporary database; every run is a sweep of its own with `trainer: external`, claimed and
reported as a worker would. `stored` peers are those of results/ beside this file (versions in results/README.md), `fresh` runs them here: they
must be installed for the Python that runs this.
"""
import argparse
import gzip
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
STORED = HERE / "results"


def start(folder):
    binary = next(path for path in (pathlib.Path(os.environ.get("SWEEPD_PREFIX", ROOT / "build/prefix")) / "bin/sweepd",
                                    ROOT / "build/coordinator/sweepd") if path.exists())
    process = subprocess.Popen([binary, "--no-auth", "--listen", "127.0.0.1:0", "--database", folder / "bench.db"], stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, text=True)
    line = process.stdout.readline()
    if not line.startswith("listening on "):
        sys.exit(f"the coordinator said {line!r}")
    return process, line.split()[2]


def run(harness, opts, out, args, env=None):
    command = [sys.executable, harness / "peers.py", "--real", "--opts", opts, "--out", out, "--budget", str(args.budget),
               "--seeds", str(args.seeds), "--seed0", str(args.seed0), "--pending", str(args.pending)]
    if args.problems:
        command += ["--problems", args.problems]
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1", **(env or {})}, stdout=subprocess.DEVNULL)


def unpack(out, pending):
    """The stored peers' runs as JSONL, as many as report.py can use together with ours."""
    files = []
    for path in sorted(STORED.glob("*.jsonl.gz")):
        target = out / path.stem
        with gzip.open(path, "rt") as stored, open(target, "w") as rows:
            rows.writelines(line for line in stored if json.loads(line)["pending"] == pending)
        files.append(target)
    return files


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("harness", type=pathlib.Path)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--seed0", type=int, default=0)
    parser.add_argument("--budget", type=int, default=100)
    parser.add_argument("--pending", type=int, default=1)
    parser.add_argument("--problems", default="")
    parser.add_argument("--peers", choices=["stored", "fresh", "none"], default="stored")
    parser.add_argument("--fresh-opts", default="random,optuna_tpe,optuna_tpe_mv,wandb_bayes,optuna_gp,botorch")
    parser.add_argument("--out", type=pathlib.Path)
    args = parser.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="bo-bench-"))
    out = args.out or folder
    out.mkdir(parents=True, exist_ok=True)
    harness = folder / "harness"  # it writes a cache beside itself
    shutil.copytree(args.harness, harness)
    os.environ.setdefault("HPO_TABLES", str(args.harness.resolve() / "../../data/hpo"))
    process, url = start(folder)
    try:
        run(harness, "coordinator", out / "ours.jsonl", args, {"SWEEP_URL": url})
    finally:
        process.terminate()
        process.wait()
    peers = unpack(out, args.pending) if args.peers == "stored" else []
    if args.peers == "fresh":
        run(harness, args.fresh_opts, out / "fresh.jsonl", args)
        peers = [out / "fresh.jsonl"]
    budgets = ",".join(str(t) for t in (20, 50, 100) if t <= args.budget)
    for group in [[peer] for peer in peers] or [[]]:  # a table each: they have runs of different seeds and lengths
        subprocess.run([sys.executable, harness / "report.py", out / "ours.jsonl", *group, "--focus", "coordinator", "--budgets", budgets], check=True)
    if not args.out:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
