#!/usr/bin/python3
"""Chaos: real programs, real signals, a network, a disk, a clock and a memory that fail, and a book of everything acknowledged.

    tests/fault/chaos/run.py [--minutes 3] [--seed 1] [--kills N] [--round-kills 25] [--demo] [--keep DIR]

Rounds of a few seconds, each on a new database: five clients that retry until they are answered and a real sweep-worker work on eight
sweeps (grid, random, sobol, enqueued trials, bayes, staged, a command; --demo: real trainings, too) through a proxy that delays, loses,
repeats, reorders and cuts (proxy.py), while coordinator, worker and trainers are killed with signal 9 at drawn instants and before, in
and after writes, syncs and sends (shim.c), stalled for longer than a lease, and the disk is full or broken, the database locked, the
clock put forward or back, memory refused. Then all calms down, and: every sweep ends; every acknowledged lease, point, end and enqueued
trial is there exactly once; no trial is counted in two attempts; counters equal the table (sweepd check); the proposals and values are
those of an undisturbed run. One JSON line a round and one for all; exit 1 when anything was wrong, with the folder of that round kept.

A seed draws the same faults; threads and processes meet them at instants of their own, so a failing round need not fail again."""
import argparse
import collections
import json
import os
import pathlib
import shutil
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import storm  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[3]


def shim_path():
    return pathlib.Path(os.environ.get("SWEEPD_BUILD", ROOT / "build")) / "tests" / "chaos_shim.so"


def run(folder, seed, minutes, kills, round_kills, demo, say):
    """Sentences about what was wrong, and figures."""
    begun, tally, total, faults, n = time.monotonic(), collections.Counter(), collections.Counter(), [], 0
    while not faults and total["kills"] < kills and time.monotonic() - begun < 60 * minutes:
        place = folder / f"round{n}"
        place.mkdir()
        left = min(round_kills, kills - total["kills"])
        book, figures = storm.storm_round(place, shim_path(), 1000 * seed + n, left, 60 * minutes, demo, tally)
        faults += book.faults
        total.update({name: figure for name, figure in figures.items() if isinstance(figure, int)})
        say({"round": n, "seconds": round(time.monotonic() - begun), **figures, "wrong": book.faults[:10]})
        n += 1
        if not book.faults:
            shutil.rmtree(place)
    return faults, {"seed": seed, "rounds": n, "seconds": round(time.monotonic() - begun), **total, "faults": dict(sorted(tally.items()))}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=10**9)
    parser.add_argument("--round-kills", type=int, default=25)
    parser.add_argument("--demo", action="store_true")
    parser.add_argument("--keep", help="folder for the rounds; else a temporary one, kept when something was wrong")
    options = parser.parse_args()
    folder = pathlib.Path(options.keep or tempfile.mkdtemp(prefix="chaos-"))
    faults, figures = run(folder, options.seed, options.minutes, options.kills, options.round_kills, options.demo,
                          lambda line: print(json.dumps(line), flush=True))
    print(json.dumps({**figures, "wrong": len(faults)}, indent=1))
    if faults:
        print(f"see {folder}", file=sys.stderr)
        sys.exit(1)
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
