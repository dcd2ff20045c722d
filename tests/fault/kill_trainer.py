#!/usr/bin/python3
"""Kills trainings with signal 9 at drawn instants and goes on: every one must end with the bits of an undisturbed one.

    tests/fault/kill_trainer.py [--kills 100] [--seed 1] [--jobs 2]

A quarter of the kills each: anywhere; while a checkpoint is written; during an evaluation; while the best model is written.
Prints one line a training and a table of where the kills fell; exit 1 when any training ended otherwise. The program is
found as the tests find it (tests/integration/daemon.py). test_kill_trainer.py runs a few of these in the test suite."""
import argparse
import collections
import concurrent.futures
import hashlib
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
sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT / "tests" / "integration")]
import tiny_model  # noqa: E402
from daemon import SANITIZED, program  # noqa: E402

PATIENCE_S = 600 if SANITIZED else 120
AIMS = ("anywhere", "checkpoint", "evaluation", "best")
KILLS_A_TRAINING = 3


class Training:
    """One training in its own folder, run in parts."""

    def __init__(self, model, data, folder):
        self.checkpoint, self.out = folder / "checkpoint", folder / "out"
        self.text = json.dumps({
            "model": str(model), "data": str(data), "metric": {"name": "eval/loss", "goal": "minimize"}, "params": {"learning_rate": 1e-3},
            "fixed": {"epochs": 6, "train_batch_size": 8, "eval_batch_size": 1, "logging_steps": 2, "eval_steps": 6, "gradient_accumulation_steps": 3,
                      "checkpoint_s": 1},
            "seed": 3, "threads": 1, "checkpoint_dir": str(self.checkpoint), "output_dir": str(self.out)}).encode()
        self.points, self.outcome = {}, None

    def start(self):
        self.started, self.is_whole = time.monotonic(), not self.points
        self.process = subprocess.Popen([program("sweep-trainer")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.process.stdin.write(self.text)
        self.process.stdin.close()
        self.newest_trained = self.newest_evaluated = 0
        self.fault, self.outcome = None, None
        self.reader = threading.Thread(target=self.read)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            if not line.endswith(b"\n"):
                break  # cut off by the kill
            event = json.loads(line)
            if event["event"] == "outcome":
                self.outcome = event
            if event["event"] != "metric" or event["name"].startswith("perf/"):
                continue
            if event["name"] == "train/loss":
                self.newest_trained = event["step"]
            if event["name"] == "eval/recall":
                self.newest_evaluated = event["step"]
            key = event["name"], event["step"]
            if self.points.setdefault(key, (event["epoch"], event["value"])) != (event["epoch"], event["value"]):
                self.fault = f"{key} is {event['value']}, and was {self.points[key]}"

    def finish(self):
        self.process.wait(PATIENCE_S)
        self.reader.join()
        errors = self.process.stderr.read().decode(errors="replace")
        self.process.stdout.close()
        self.process.stderr.close()
        return errors

    def writes_checkpoint(self):
        return any(entry.startswith("checkpoint.tmp") for entry in list_folder(self.checkpoint))

    def writes_best(self):
        return any(".safetensors.tmp" in entry for entry in list_folder(self.out) + list_folder(self.checkpoint))

    def evaluates(self):
        return self.newest_trained > self.newest_evaluated and self.newest_trained % 6 == 0

    def kill(self, aim, draw, pace):
        """Kills once the aim is reached and a little longer. Where it fell, or None when the training ended before: one that went
        from its beginning to its end tells how quick trainings are now."""
        is_there = {"checkpoint": self.writes_checkpoint, "best": self.writes_best, "evaluation": self.evaluates, "anywhere": lambda: True}[aim]
        try:
            self.process.wait(draw.uniform(0, 0.9 * pace["duration_s"]))
            if self.is_whole:
                pace["duration_s"] = min(pace["duration_s"], time.monotonic() - self.started)
        except subprocess.TimeoutExpired:
            pass
        while not is_there() and self.process.poll() is None:
            time.sleep(0.0002)
        time.sleep(draw.uniform(0, 0.02) * draw.random())
        self.process.kill()
        self.finish()
        if self.outcome:
            return None
        return "checkpoint" if self.writes_checkpoint() else "best" if self.writes_best() else "evaluation" if self.evaluates() else "elsewhere"

    def digest(self):
        return hashlib.sha256((self.out / "model.safetensors").read_bytes()).hexdigest()


def list_folder(path):
    try:
        return os.listdir(path)
    except FileNotFoundError:
        return []


def disturb(training, expected, kills, draw, pace, tally):
    """Up to `kills` kills, then to the end. A complaint, or None."""
    fell = []
    for _ in range(kills):
        training.start()
        where = training.kill(draw.choice(AIMS), draw, pace)
        fell.append(where or "at the end")
        if training.fault:
            return f"{fell}: {training.fault}"
        if where is None:
            break
    tally.update(fell)
    if training.outcome is None:
        training.start()
        errors = training.finish()
        if training.process.returncode != 0:
            return f"{fell}: {training.outcome} {errors}"
    points, outcome, digest = expected
    if training.fault or training.points != points:
        return f"{fell}: {training.fault or 'other points'}"
    if training.outcome != outcome or training.digest() != digest:
        return f"{fell}: another {'outcome' if training.outcome != outcome else 'model'}"
    return None


def run(folder, kills, seed, jobs, say=print):
    """Complaints, and where the kills fell."""
    model = tiny_model.write_model(folder / "model", dim=192, hidden=768, layers=4)
    data = tiny_model.write_data(folder / "data")
    (folder / "calm").mkdir()
    calm = Training(model, data, folder / "calm")
    calm.start()
    errors = calm.finish()
    if calm.process.returncode != 0:
        return [f"undisturbed: {errors}"], {}
    pace = {"duration_s": time.monotonic() - calm.started}  # of a training from its beginning to its end
    expected = calm.points, calm.outcome, calm.digest()
    tally, complaints = collections.Counter(), []

    def one(number):
        place = folder / f"{number}"
        place.mkdir()
        complaint = disturb(Training(model, data, place), expected, KILLS_A_TRAINING, random.Random(f"{seed} {number}"), pace, tally)
        say(f"training {number}: {complaint or 'the same bits'}")
        if complaint:
            complaints.append(f"training {number}: {complaint}")
        else:
            subprocess.run(["rm", "-r", str(place)], check=True)

    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        number = 0
        while sum(tally.values()) - tally["at the end"] < kills and not complaints:
            list(pool.map(one, range(number, number + jobs)))
            number += jobs
    return complaints, tally


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        complaints, tally = run(pathlib.Path(folder), options.kills, options.seed, options.jobs)
    print(json.dumps({"seed": options.seed, "kills": sum(tally.values()) - tally["at the end"], "fell": tally, "wrong": len(complaints)}))
    sys.exit(1 if complaints else 0)


if __name__ == "__main__":
    main()
