#!/usr/bin/python3
"""How long a training of DistilBERT-base takes from SIGTERM to its end, asked at bad moments, on one thread.

    tests/bench/release_latency.py [--rounds 1] [--threads 1]

Prints one JSON line a release, and the longest; exit 1 when one took 5 s or more, or left no checkpoint to go on from."""
import argparse
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT / "tests" / "integration")]
import tiny_model  # noqa: E402
from daemon import program  # noqa: E402


def write_folders(folder):
    model = folder / "model"
    model.mkdir()
    words = tiny_model.vocabulary()
    words += [f"[unused{i}]" for i in range(30522 - len(words))]
    (model / "vocab.txt").write_text("\n".join(words) + "\n")
    build = pathlib.Path(os.environ.get("SWEEPD_BUILD", ROOT / "build"))
    subprocess.run([build / "tests" / "fullsize_weights", model], check=True)
    tiny_model.sentence = lambda rng: [rng.choice(tiny_model.WORDS) for _ in range(rng.randint(15, 35))]  # as long as MRPC's
    return model, tiny_model.write_data(folder / "data", train=640, dev=408)


def temporary(folder, pattern):
    return any(pattern in name for place in ("checkpoint", "out") if (folder / place).exists() for name in os.listdir(folder / place))


def steps_trained(seen):
    return max((e["step"] for e in seen if e.get("name") == "train/loss"), default=0)


# What to wait for, by name; eval_steps 3 makes the first evaluation the best so far.
MOMENTS = {
    "start": lambda folder, seen: True,
    "step": lambda folder, seen: steps_trained(seen) == 1,
    "evaluation": lambda folder, seen: steps_trained(seen) == 3,
    "best model": lambda folder, seen: temporary(folder, "safetensors.tmp"),
    "checkpoint": lambda folder, seen: temporary(folder, "checkpoint.tmp"),
    "checkpoint's sync": lambda folder, seen: any(e.get("name") == "train/loss" and e["step"] == 4 for e in seen),
}


def release(model, data, folder, moment, threads, draw):
    folder.mkdir()
    config = {"model": str(model), "data": str(data), "metric": {"name": "eval/loss", "goal": "minimize"}, "params": {},
              "fixed": {"epochs": 3, "logging_steps": 1, "eval_steps": 3, "checkpoint_s": 1, "limit_eval": 64}, "seed": 1, "threads": threads,
              "checkpoint_dir": str(folder / "checkpoint"), "output_dir": str(folder / "out")}
    process = subprocess.Popen([program("sweep-trainer")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    process.stdin.write(json.dumps(config).encode())
    process.stdin.close()
    os.set_blocking(process.stdout.fileno(), False)
    seen, rest = [], b""

    def read():
        nonlocal rest
        rest += process.stdout.read() or b""
        *lines, rest = rest.split(b"\n")
        seen.extend(json.loads(line) for line in lines)

    while not MOMENTS[moment](folder, seen) and process.poll() is None:
        time.sleep(0.005)
        read()
    time.sleep(draw.uniform(0, 0.5))
    asked = time.monotonic()
    process.send_signal(signal.SIGTERM)
    process.wait(120)
    took_s = time.monotonic() - asked
    read()
    kept = (folder / "checkpoint" / "checkpoint").exists()
    released = process.returncode == 0 and seen[-1].get("state") == "released"
    subprocess.run(["rm", "-r", folder], check=True)
    return {"moment": moment, "took_s": round(took_s, 2), "released": released, "steps": steps_trained(seen), "checkpoint": kept}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    draw, worst, sound = random.Random(1), 0, True
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        model, data = write_folders(folder)
        for i in range(options.rounds):
            for moment in MOMENTS:
                result = release(model, data, folder / f"{i}", moment, options.threads, draw)
                print(json.dumps(result), flush=True)
                worst = max(worst, result["took_s"])
                sound = sound and result["released"] and (result["checkpoint"] or result["steps"] == 0)
    print(json.dumps({"worst_s": worst}))
    sys.exit(0 if sound and worst < 5 else 1)


if __name__ == "__main__":
    main()
