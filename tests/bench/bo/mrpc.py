"""The configuration that is recommended after 53 trials on the simulated MRPC surface, by its true accuracy.

    mrpc.py HARNESS [--seeds 50] [--seed0 0] [--trials 53]

Ours recommends by posterior mean; random search, W&B's rule and the staged study (one factor at a time, a grid, then W&B's rule) by the best
value seen, as their users do. Prints the mean shortfall from the optimum, the share of runs within 0.003 of it, and the paired
difference to ours with its standard error. Needs build/tests/plan_stdio.
"""
import argparse
import itertools
import json
import math
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[3]


class Ours:
    def __init__(self, space, seed, method):
        spec = {"method": method, "trainer": "external", "metric": {"name": "acc", "goal": "maximize"}, "parameters": space["parameters"]}
        self.process = subprocess.Popen([ROOT / "build/tests/plan_stdio", str(seed)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._say(json.dumps(spec))

    def _say(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def _ask(self, line):
        self._say(line)
        return json.loads(self.process.stdout.readline())

    def run(self, evaluate, trials):
        params = {}
        for _ in range(trials):
            asked = self._ask("ask")
            params[asked["number"]] = asked["params"]
            self._say(f"tell {asked['number']} {evaluate(asked['params'])!r}")
        recommended = params[self._ask("best")["recommended"]]
        self.process.stdin.close()
        self.process.wait()
        return recommended


def best_seen(optimizer, evaluate, trials, first=()):
    seen = [(evaluate(config), config) for config in first]
    for _ in range(trials - len(seen)):
        token, config = optimizer.ask()
        seen.append((evaluate(config), config))
        optimizer.tell(token, config, -seen[-1][0])
    return max(seen, key=lambda one: one[0])[1]


def staged_points():
    base = {"learning_rate": 2e-5, "weight_decay": 0.0, "warmup_steps": 0}
    levels = {"learning_rate": [1e-5, 5e-5], "weight_decay": [0.01, 0.1], "warmup_steps": [50, 100]}
    points = [base] + [{**base, name: level} for name, values in levels.items() for level in values]
    for lr, wd, warmup in itertools.product([1e-5, 2e-5, 5e-5], [0.0, 0.05], [0, 50, 100, 200]):
        points.append({"learning_rate": lr, "weight_decay": wd, "warmup_steps": warmup})
    return [point for i, point in enumerate(points) if point not in points[:i]]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("harness", type=pathlib.Path)
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--seed0", type=int, default=0)
    parser.add_argument("--trials", type=int, default=53)
    args = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.path.insert(0, str(args.harness))
    import functions
    import numpy
    import peers
    problem = next(one for one in functions.build() if one.name == "mrpc_narrow")
    ways = {
        "ours": lambda seed, evaluate: Ours(problem.space, seed, "bayes").run(evaluate, args.trials),
        "random, our recommendation": lambda seed, evaluate: Ours(problem.space, seed, "random").run(evaluate, args.trials),
        "random": lambda seed, evaluate: best_seen(peers.OPTS["random"](problem.space, seed), evaluate, args.trials),
        "wandb_bayes": lambda seed, evaluate: best_seen(peers.OPTS["wandb_bayes"](problem.space, seed), evaluate, args.trials),
        "staged, then wandb_bayes": lambda seed, evaluate: best_seen(peers.OPTS["wandb_bayes"](problem.space, seed), evaluate, args.trials,
                                                                     staged_points()),
    }
    short = {name: [] for name in ways}
    for seed in range(args.seed0, args.seed0 + args.seeds):
        for name, way in ways.items():
            rng = numpy.random.default_rng(1000 + seed)
            config = way(seed, lambda config: float(problem.f(config, rng)))
            short[name].append(problem.fopt - problem.true(config))
    for name, values in short.items():
        difference = [a - b for a, b in zip(short["ours"], values)]
        mean = sum(difference) / len(difference)
        spread = math.sqrt(sum((one - mean) ** 2 for one in difference) / max(len(difference) - 1, 1) / len(difference))
        print(f"{name:28s} shortfall {sum(values) / len(values):.5f}  within 0.003: {sum(one <= 0.003 for one in values) / len(values):.0%}  "
              f"ours less it {mean:+.5f} +- {spread:.5f}")


if __name__ == "__main__":
    main()
