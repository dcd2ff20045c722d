#!/usr/bin/python3
"""Training steps and evaluations of `sweep-trainer bench` and of PyTorch, one after the other on batches of the same lengths, several rounds.

    tests/bench/trainer_speed.py --lengths lengths.txt [--peer-python V/bin/python --peer hf_speed.py] [--rounds 3] [--shapes distilbert-base,minilm-l6]
                                 [--precisions f32,bf16] [--threads 2,1] [--no-eval] [--no-step]

The peer takes --mode dyn, --threads, --steps, [--bf16], [--eval] and says "median S s" and "rss N MiB" (a script around transformers; V is a virtual environment with torch,
transformers and safetensors). The first line of the lengths warms up, the next seven are measured. Medians of the rounds' medians:
share: of the limit of the same run, which is the step's matrix products at the library's own best on those shapes + 70 ms. GEMM: products' share of the step.
OPENBLAS_CORETYPE and OPENBLAS_L2_SIZE are taken out of the environment; what OpenBLAS picked is printed."""
import argparse
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "integration"))
from daemon import program  # noqa: E402

STEPS = 7
# The peer script makes a DistilBertConfig of its defaults, which are distilbert-base's.
PEER_SHAPE = """
import runpy, sys, transformers
base = transformers.DistilBertConfig
transformers.DistilBertConfig = lambda **given: base(dim={dim}, hidden_dim={hidden}, n_heads=12, **given)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
SIZES = {"distilbert-base": (768, 3072), "minilm-l6": (384, 1536)}


def environment(threads):
    env = {k: v for k, v in os.environ.items() if k not in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")}
    return env | {"OMP_NUM_THREADS": str(threads)}


def ours(args, shape, precision, threads, evaluation):
    command = [program("sweep-trainer"), "bench", "--shape", shape, "--precision", precision, "--threads", str(threads), "--limit"]
    command += ["--eval", "--steps", "3"] if evaluation else ["--steps", str(STEPS), "--lengths", args.lengths]
    return json.loads(subprocess.run(command, env=environment(threads), check=True, stdout=subprocess.PIPE).stdout)


def peer(args, shape, precision, threads, evaluation):
    dim, hidden = SIZES[shape]
    command = [args.peer_python, "-c", PEER_SHAPE.format(dim=dim, hidden=hidden), args.peer, "--mode", "dyn", "--threads", str(threads), "--steps", str(STEPS)]
    command += ["--bf16"] * (precision == "bf16") + ["--eval"] * evaluation
    text = subprocess.run(command, env=environment(threads), check=True, stdout=subprocess.PIPE, text=True).stdout
    return float(re.search(r"median ([0-9.]+) s", text)[1]), float(re.search(r"rss ([0-9.]+) MiB", text)[1])


def measure(args, shape, precision, threads, evaluation):
    """One row of the table."""
    mine, theirs = [], []
    for _ in range(args.rounds):
        mine.append(ours(args, shape, precision, threads, evaluation))
        if args.peer:
            theirs.append(peer(args, shape, precision, threads, evaluation))
    middle = lambda values: statistics.median(values)  # noqa: E731
    row = {"shape": shape, "precision": precision, "threads": threads, "what": "408 pairs" if evaluation else "step",
           "s": middle([m["step_s"]["median"] for m in mine]), "limit_s": middle([m["limit"]["step_s"] for m in mine]),
           "share": middle([m["limit"]["share"] for m in mine]), "gemm_share": middle([m["gemm_share"] for m in mine]),
           "mib": max(m["peak_rss_mib"] for m in mine), "core": mine[0]["blas"]["core"], "products": mine[0]["products"]}
    if theirs:
        row |= {"peer_s": middle([s for s, _ in theirs]), "peer_mib": max(m for _, m in theirs)}
        row["ratio"] = middle([s / m["step_s"]["median"] for m, (s, _) in zip(mine, theirs)])
    return row


def show(row):
    against = f" | {row['peer_s']:.3f} | {row['ratio']:.2f} | {row['peer_mib']:.0f}" if "peer_s" in row else ""
    print(f"| {row['shape']} | {row['precision']} | {row['threads']} | {row['what']} | {row['s']:.3f} | {row['limit_s']:.3f} | {100 * row['share']:.0f} % | "
          f"{100 * row['gemm_share']:.0f} % | {row['mib']:.0f}{against} |", flush=True)


def show_threads(rows):
    """How much quicker two threads are than one, where both were measured."""
    times = {(r["shape"], r["precision"], r["what"], r["threads"]): r["s"] for r in rows}
    for (shape, precision, what, threads), s in times.items():
        one = times.get((shape, precision, what, 1))
        if threads > 1 and one:
            print(f"{shape} {precision} {what}: 1 → {threads} threads {one / s:.2f}×")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", required=True)
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--peer", help="script; without it only ours is measured")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--shapes", default="distilbert-base,minilm-l6")
    parser.add_argument("--precisions", default="f32,bf16")
    parser.add_argument("--threads", default="2,1")
    parser.add_argument("--no-eval", action="store_true")
    parser.add_argument("--no-step", action="store_true")
    args = parser.parse_args()
    head = "| shape | precision | threads | what | s | limit s | share | GEMM | MiB" + (" | PyTorch s | times as fast | PyTorch MiB |" if args.peer else " |")
    print(head, "|---" * (head.count("|") - 1) + "|", sep="\n", flush=True)
    rows = []
    for shape in args.shapes.split(","):
        for precision in args.precisions.split(","):
            for threads in map(int, args.threads.split(",")):
                for evaluation in [False] * (not args.no_step) + [True] * (not args.no_eval):
                    rows.append(measure(args, shape, precision, threads, evaluation))
                    show(rows[-1])
    show_threads(rows)
    print(f"OpenBLAS core {rows[0]['core']}; products: {', '.join(sorted({r['products'] for r in rows}))}")


if __name__ == "__main__":
    main()
