"""What each ingredient of the proposals gives: the optimizer without it against the whole one, on the same problems, seeds and noise.

    ablation.py HARNESS [--seeds 6] [--seed0 100] [--budget 50] [--problems a,b] [--without name,…] [--out FOLDER]

HARNESS is bench.py's; build/tests/plan_stdio must be built (SWEEPD_BUILD names another build folder). The ingredients are taken out of copies of
coordinator/opt's files, which are compiled and linked before the library's own; it ends when the text that it changes is not there. In process,
one trial in flight. With --out, runs that are there are not made again: of the same program, which nothing checks.

Prints the mean difference of the logarithm of the normalised regret (bench.py's) to the whole one after 20 and 50 trials, over problems, with its
standard error between problems; positive: the ingredient helps.
"""
import argparse
import collections
import json
import math
import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import tempfile

import bench

WHOLE = "whole"
# name: (what it is in the table, [(file, text, what takes its place), …])
INGREDIENTS = {
    "trust": ("trust region: search anywhere", [("bayes.c", "return radius < 0.5 ? radius : 0;", "return 0 * radius;")]),
    "warp": ("half-rank output warp: standardised values", [("warp.c", "if (i < n_bad)", "if (0 && i < n_bad)")]),
    "trend": ("second part of the kernel (single parameters' lines, parabolas, levels)",
              [("bayes.c", "evidence->has_trend = true;", "evidence->has_trend = false;"),
               ("gp_fit.c", "(data->has_trend ? -0.5 : M_SQRT2)", "(-0.5)"),
               ("gp_fit.c", "return data->has_trend && !data->is_categorical[k];", "return !data->is_categorical[k];")]),
    "alike": ("length scales expected to be alike: each for itself",
              [("gp_fit.c", "return data->has_trend && !data->is_categorical[k];", "return data->n == SIZE_MAX && k;")]),
    "lengths": ("short expected length scales: the published √2 + ½ ln d", [("gp_fit.c", "(data->has_trend ? -0.5 : M_SQRT2)", "(M_SQRT2)")]),
    "augmented": ("augmented expected improvement under noise: plain", [("bayes.c", "fmax(0, gp_noise(gp) - LITTLE_NOISE)", "0")]),
    "middle": ("the middle first: Sobol's first point", [("bayes.c", "if (history->n == (guidance->gp ? 1 : 0)) {", "if (0) {")]),
    "sobol": ("Sobol's points at the start: independent ones",
              [("bayes.c", "opt_sobol(space, seed, index, x);\n        if", "opt_random(space, seed, index, x);\n        if")]),
    "inner": ("first points away from the bounds: anywhere", [("bayes.c", "#define INNER 0.8 ", "#define INNER 1.0 ")]),
    "local": ("local search from the best candidates: the best candidate",
              [("acquire.c", "r = climb(&local, max_evaluations);",
                "r = 0; if (max_evaluations < 0) r = climb(&local, max_evaluations);")]),
    "noise": ("learned noise: none but a floor of e⁻¹⁰", [("gp_fit.c", "high[d + 1] = 1;", "high[d + 1] = -9.99;")]),
    "posterior": ("improvement on the best posterior mean: on the best value seen",
                  [("bayes.c", "*ret_incumbent = mean[best];", "{ *ret_incumbent = -INFINITY; for (size_t i = 0; i < evidence->n_ended; i++) "
                    "*ret_incumbent = fmax(*ret_incumbent, evidence->y[i]); }")]),
}


def change(text, old, new, where):
    if text.count(old) != 1:
        sys.exit(f"{where}: {old!r} is there {text.count(old)} times and not once: say anew how this ingredient is taken out")
    return text.replace(old, new)


def build_without(edits, build, folder):
    """plan_stdio with other versions of some files of coordinator/opt."""
    texts, objects = {}, []
    for name, old, new in edits:
        text = texts.get(name) or (bench.ROOT / "coordinator/opt" / name).read_text()
        texts[name] = change(text, old, new, name)
    commands = {pathlib.Path(one["file"]).name: one["command"] for one in json.loads((build / "compile_commands.json").read_text())
                if "coordinator/opt/" in one["file"]}
    for name, text in texts.items():
        source, target = folder / name, folder / (name + ".o")
        source.write_text(text)
        words = [word for word in shlex.split(commands[name]) if word != "-Werror"]
        for flag, value in (("-o", target), ("-c", source), ("-MF", folder / "depend"), ("-MQ", target)):
            words[words.index(flag) + 1] = str(value)
        subprocess.run(words, cwd=build, check=True)
        objects.append(str(target))
    link = subprocess.run(["ninja", "-t", "commands", "-s", "tests/plan_stdio"], cwd=build, check=True, capture_output=True, text=True).stdout
    words = shlex.split(link)
    words[words.index("-o") + 1] = str(folder / "plan_stdio")
    first = next(i for i, word in enumerate(words) if word.endswith("plan_stdio.c.o"))
    subprocess.run(words[:first] + objects + words[first:], cwd=build, check=True)
    return folder / "plan_stdio"


def optimizer(binary, peers, to_spec):
    class Plan(peers.Base):
        def __init__(self, space, seed):
            spec = dict(to_spec(dict(space, metric={"name": "objective", "goal": "minimize"}), seed), trainer="external")
            self.process = subprocess.Popen([binary, str(seed)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                            env={**os.environ, "OMP_NUM_THREADS": "1"})
            self._say(json.dumps(spec))

        def _say(self, line):
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()

        def ask(self):
            self._say("ask")
            asked = json.loads(self.process.stdout.readline())
            return asked["number"], asked["params"]

        def tell(self, token, config, value):
            self._say(f"tell {token} {float(value)!r}")

        def __del__(self):
            self.process.stdin.close()
            self.process.wait()
            self.process.stdout.close()

    return Plan


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("harness", type=pathlib.Path)
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--seed0", type=int, default=100)
    parser.add_argument("--budget", type=int, default=50)
    parser.add_argument("--problems", default="")
    parser.add_argument("--without", default=",".join(INGREDIENTS))
    parser.add_argument("--out", type=pathlib.Path)
    args = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("HPO_TABLES", str(args.harness.resolve() / "../../data/hpo"))
    build = pathlib.Path(os.environ.get("SWEEPD_BUILD", bench.ROOT / "build")).resolve()
    names = [WHOLE] + args.without.split(",")
    with tempfile.TemporaryDirectory(prefix="ablation-") as folder:
        harness = pathlib.Path(folder) / "harness"  # it writes a cache beside itself
        shutil.copytree(args.harness, harness)
        sys.path.insert(0, str(harness))
        import functions
        import numpy
        import peers
        from http_driver import to_spec
        problems = [one for one in functions.problems("all", real=True) if not args.problems or one.name in args.problems.split(",")]
        for name in names:
            (pathlib.Path(folder) / name).mkdir()
            edits = [] if name == WHOLE else INGREDIENTS[name][1]
            peers.OPTS[name] = optimizer(build_without(edits, build, pathlib.Path(folder) / name), peers, to_spec)
        path = (args.out or pathlib.Path(folder)) / "ablation.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        runs = bench.read_rows(path) if path.exists() else {}
        for seed in range(args.seed0, args.seed0 + args.seeds):
            for problem in problems:
                for name in names:
                    key = name, problem.name, seed, 1
                    if len(runs.get(key, {"best_true": []})["best_true"]) >= args.budget:
                        continue
                    rows = peers.run_one(problem, name, seed, args.budget, 1)
                    runs[key] = {"best_true": [row["best_true"] for row in rows]}
                    with open(path, "a") as out:
                        out.writelines(json.dumps(row) + "\n" for row in rows)
        scale = bench.scales(functions)
        for problem in problems:
            scale(problem)
    trials = [t for t in (20, 50) if t <= args.budget]
    logs = collections.defaultdict(list)  # (name, trials, problem): of the seeds
    for name in names:
        for problem in problems:
            for seed in range(args.seed0, args.seed0 + args.seeds):
                for t in trials:
                    logs[name, t, problem.name].append(bench.log_regret(problem, scale, runs[name, problem.name, seed, 1]["best_true"][t - 1]))
    whole = " / ".join(f"{math.exp(numpy.mean([numpy.mean(logs[WHOLE, t, one.name]) for one in problems])):.4f}" for t in trials)
    print(f"the whole: {whole} after {' / '.join(map(str, trials))} trials; {len(problems)} problems, {args.seeds} seeds from {args.seed0} on\n")
    print("| instead of | " + " | ".join(f"{t} trials" for t in trials) + " |\n|---|" + "---|" * len(trials))
    for name in names[1:]:
        cells = []
        for t in trials:
            means = [numpy.mean(numpy.subtract(logs[name, t, one.name], logs[WHOLE, t, one.name])) for one in problems]
            cells.append(f"{numpy.mean(means):+.2f} ({numpy.std(means, ddof=1) / math.sqrt(len(means)) if len(means) > 1 else math.nan:.2f})")
        print(f"| {INGREDIENTS[name][0]} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
