"""48 other problems of the development problems' families, drawn from a number: functions bent, flipped, shifted and rotated anew, other
fine-tuning surfaces, mixed and conditional ones, and parts of the real tables, blended from two where there are several of a kind.

bench.py --drawn NUMBER takes them instead of the development problems. It copies this file into the harness, whose `functions` and `real` it
needs. Sets that somebody tuned on prove nothing: take a number that nobody has looked at.
"""
import functools
import math

import functions as F
import numpy as np
import real

HARTMANN_OPTIMUM = {3: -3.86279, 6: -3.32237}
BRANIN_OPTIMUM = 0.39788735772973816
MICHALEWICZ_OPTIMUM = {5: -4.687658, 4: -3.698857}
TABLES = (("hpobench_mlp", 6), ("fcnet", 4), ("nb201", 2))


def problem(name, parameters, true, optimum, *tags, **more):
    return F.Problem(name, parameters, true, optimum, tags=tags, **more)


# --- functions ---------------------------------------------------------------------------------------------------------------------------


def hartmann(draw, number, d):
    matrix, centres = (F.H6A, F.H6P) if d == 6 else (F.H3A, F.H3P)
    order, flipped, shift = draw.permutation(d), draw.random(d) < 0.5, draw.uniform(-0.08, 0.08, d)

    def true(config):
        u = F.vec(config, d)
        return F.hartmann(np.where(flipped, 1 - u, u)[order] + shift, matrix, centres)

    return problem(f"hartmann{d}_{number}", F.box(d, 0, 1), true, HARTMANN_OPTIMUM[d], "smooth")


def bent_branin(draw):
    """Branin on the unit square, its axes bent, flipped and swapped."""
    power, flipped, order = np.exp(draw.uniform(-0.35, 0.35, 2)), draw.random(2) < 0.5, draw.permutation(2)

    def true(config):
        u = F.vec(config, 2)
        u = (np.where(flipped, 1 - u, u) ** power)[order]
        return F.branin((15 * u[0] - 5, 15 * u[1]))

    return true


def bowls(number):
    """The lowest of a few bent and rotated bowls; its parameters, too."""
    draw = np.random.default_rng(700 + number)
    d, n = [2, 2, 3, 5][number % 4], [3, 1, 2, 2][number % 4]
    centres, heights = draw.uniform(0.1, 0.9, (n, d)), np.r_[0, draw.uniform(0.05, 0.4, n - 1)]
    rotations = [F.rotation(700 + number * 10 + j, d) for j in range(n)]
    scales = [np.exp(draw.uniform(-0.7, 0.7, d)) * 3 for _ in range(n)]

    def true(config):
        x = F.vec(config, d)
        return float(min(heights[j] + math.log1p(float(((scales[j] * (rotations[j] @ (x - centres[j]))) ** 2).sum())) for j in range(n)))

    return F.box(d, 0, 1), true


def of_bbob(kind, seed, d, number, tag):
    f, _ = F.bbob(kind, seed, d)
    return problem(f"{kind}{d}_{number}", F.box(d, -5, 5), lambda config: f(F.vec(config, d)), 0.0, tag)


def smooth(draw, number):
    found = [hartmann(draw, number, 6), hartmann(draw, number + 1, 6), hartmann(draw, number, 3)]
    for k in range(2):
        found.append(problem(f"branin_{number + k}", F.box(2, 0, 1), bent_branin(draw), BRANIN_OPTIMUM, "smooth"))
    for kind, d in (("sphere", 3), ("sphere", 4), ("sphere", 6), ("sharpridge", 4), ("sharpridge", 3), ("ellipsoid", 3)):
        found.append(of_bbob(kind, number + d, d, number, "smooth"))
    parameters, true = bowls(number + 2)
    return found + [problem(f"bowls_{number + 2}", parameters, true, 0.0, "smooth")]


def shifted(name, f, shift, low, high, number):
    d = len(shift)
    return problem(f"{name}{d}_{number}", F.box(d, low, high), lambda config: f(F.vec(config, d) - shift), 0.0, "rugged")


def michalewicz(draw, d, number):
    flipped = draw.random(d) < 0.5
    return problem(f"michalewicz{d}_{number}", F.box(d, 0, math.pi),
                   lambda config: F.michalewicz(np.where(flipped, math.pi - F.vec(config, d), F.vec(config, d))), MICHALEWICZ_OPTIMUM[d], "rugged")


def rugged(draw, number):
    found = [shifted("ackley", F.ackley, F.shift_of(number + d, d, -32.768, 32.768), -32.768, 32.768, number) for d in (3, 5)]
    for kind, d in (("rastrigin", 4), ("rastrigin", 3), ("gallagher", 4), ("gallagher", 3), ("schaffer", 4)):
        found.append(of_bbob(kind, number + 10 + d, d, number, "rugged"))
    found += [shifted("levy", F.levy, draw.uniform(-5, 5, d), -10, 10, number) for d in (4, 6)]
    return found + [michalewicz(draw, d, number) for d in (5, 4)]


# --- noise -------------------------------------------------------------------------------------------------------------------------------


def with_noise(name, parameters, true, optimum, share):
    """A function with normal noise, in parts of how far the median random point is from the optimum."""
    found = problem(name, parameters, true, optimum, "noisy")
    found.noise = F.gauss(share * (F.baseline(found) - found.cost(optimum)))
    return found


def climb(true, parameters, draw):
    """The largest value that random points and steps from the best of them find."""
    best = max((F.random_config({"parameters": parameters}, draw) for _ in range(20000)), key=true)
    value, width = true(best), 0.1
    for _ in range(4000):
        tried = {name: (at if draw.random() < 0.4 else
                        F.from_unit(parameters[name], min(max(F.to_unit(parameters[name], at) + width * draw.standard_normal(), 0), 1)))
                 for name, at in best.items()}
        if true(tried) > value:
            best, value = tried, true(tried)
        width = max(width * 0.998, 0.005)
    return value


def fine_tuning(number):
    """Accuracy on some hundred pairs: a peak of the learning rate, small effects of the others, and runs that diverge."""
    draw, k = np.random.default_rng(900 + number), number % 4
    pairs, majority = [408, 277, 1043, 872][k], [0.684, 0.53, 0.69, 0.51][k]
    highest = draw.uniform(0.62, 0.7) if k == 1 else draw.uniform(0.72, 0.92)
    low, high = (1e-5, 5e-5) if number % 2 == 0 else (5e-6, 2e-4)
    peak = math.log10(low) + draw.uniform(0.25, 0.8) * (math.log10(high) - math.log10(low))
    left, right, best_warmup, best_decay = draw.uniform(0.25, 0.6), draw.uniform(0.2, 0.5), draw.uniform(0.1, 0.9), draw.uniform(0.1, 0.9)
    by_warmup, by_decay, together = draw.uniform(0.002, 0.02), draw.uniform(0.001, 0.01), draw.uniform(-0.3, 0.3)
    cliff = math.log10(high) + draw.uniform(-0.1, 0.4)
    parameters = {"learning_rate": F.log(low, high), "weight_decay": F.uni(0, 0.1), "warmup_steps": F.integer(0, 500)}
    if number % 3 == 2:
        parameters["epochs"] = F.integer(2, 6)

    def parts(config):
        rate, warmup, decay = math.log10(config["learning_rate"]), config["warmup_steps"] / 500, config["weight_decay"] / 0.1
        epochs = config.get("epochs", 4)
        apart = rate - peak - together * (warmup - 0.5) - 0.12 * (4 - epochs)
        accuracy = majority + (highest - majority) * math.exp(-0.5 * (apart / (left if apart < 0 else right)) ** 2)
        accuracy -= by_warmup * (warmup - best_warmup) ** 2 + by_decay * (decay - best_decay) ** 2 + 0.004 * abs(epochs - 4) ** 1.2
        return max(accuracy, majority), 1 / (1 + math.exp(-(rate - cliff) / 0.08))

    def true(config):
        accuracy, diverges = parts(config)
        return accuracy * (1 - diverges) + majority * diverges

    def observe(_, config, rng):
        accuracy, diverges = parts(config)
        return majority if rng.random() < diverges else rng.binomial(pairs, accuracy) / pairs

    name = f"finetuning_{number}"
    optimum = F._cached("optimum:" + name, lambda: climb(true, parameters, np.random.default_rng(5)))
    return problem(name, parameters, true, optimum, "noisy", goal="maximize", noise=observe)


def noisy(draw, number):
    found = [fine_tuning(number + k) for k in range(3)]
    found.append(with_noise(f"noisybranin_{number}", F.box(2, 0, 1), bent_branin(draw), BRANIN_OPTIMUM, 0.12))
    return found + [with_noise(f"noisybowls_{number + k}", *bowls(number + k), 0.0, share) for k, share in ((5, 0.15), (7, 0.3))]


# --- tables ------------------------------------------------------------------------------------------------------------------------------


@functools.cache
def real_tables(kind):
    return [one._t() for one in real.npz_tables() if one.name.startswith(kind)]


def standardised(table):
    """A table's values, of losses their logarithm, as parts of the range of all but the outer hundredths."""
    values, means = table.Y.astype(float), table.M
    if table.mode == "minimize":
        values, means = (np.log(np.maximum(one, 1e-12)) for one in (values, means))
    low, high = np.percentile(means, [1, 99])
    return (values - low) / (high - low)


def blend(tables, share):
    values = standardised(tables[0])
    if len(tables) > 1:
        other = standardised(tables[1])
        seeds = min(values.shape[-1], other.shape[-1])
        values = share * values[..., :seeds] + (1 - share) * other[..., :seeds]
    return np.exp(3 * values) if tables[0].mode == "minimize" else values


def cut(draw, kind, axes):
    """Which levels of each axis stay: some are dropped at the ends, of choices one, and one axis may be held."""
    held, kept = draw.integers(len(axes)) if kind != "hpobench_mlp" else -1, []
    for i, (_, parameter, levels) in enumerate(axes):
        chosen = list(range(len(levels)))
        if i == held:
            chosen = [int(draw.integers(len(levels)))]
        elif F.kind(parameter) == "cat":
            if len(chosen) > 2:
                chosen.pop(int(draw.integers(len(chosen))))
        elif len(chosen) > 4:
            for _ in range(int(draw.integers(0, 3))):
                chosen.pop(0 if draw.random() < 0.5 else -1)
        kept.append(chosen)
    return kept


def table(kind, number):
    draw, tables = np.random.default_rng([77, number, len(kind)]), real_tables(kind)
    chosen, share = draw.choice(len(tables), 2, replace=False) if len(tables) > 1 else [0], draw.uniform(0.3, 0.7)
    values, axes, goal = blend([tables[i] for i in chosen], share), tables[0].axes, tables[0].mode
    kept = cut(draw, kind, axes)
    values = values[np.ix_(*kept, range(values.shape[-1]))]
    left = []
    for (name, parameter, levels), chosen in zip(axes, kept):
        levels = [levels[i] for i in chosen]
        if len(levels) > 1:
            is_choice = F.kind(parameter) == "cat"
            left.append((name, F.cat(*levels) if is_choice else dict(parameter, min=levels[0], max=levels[-1]), levels))
    shape = [len(levels) for _, _, levels in left]
    where = np.array(list(np.ndindex(*shape)))
    blended = real.Table(left, where, values.reshape(-1, values.shape[-1]), goal)
    return blended.problem(f"{kind}_{number}", "dev", (kind,), kind)


# --- all ---------------------------------------------------------------------------------------------------------------------------------


def problems(number):
    draw = np.random.default_rng(number)
    found = smooth(draw, number) + rugged(draw, number) + noisy(draw, number)
    found += [problem(f"mixednet_{number + k}", *F.mixed_net(number + k)[:2], 0.0, "mixed") for k in range(4)]
    found += [problem(f"conditional_{number + k}", *F.conditional_opt(number + k)[:2], 0.0, "conditional") for k in range(3)]
    return found + [table(kind, number + k) for kind, count in TABLES for k in range(count)]
