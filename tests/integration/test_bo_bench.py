"""The bench of proposals: what its tables say, and what it stores."""
import gzip
import json
import pathlib
import sys
import types

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "bench/bo"))
import ablation
import bench


@pytest.mark.parametrize("difference, share, n_runs, level, ahead", [
    ((-1, -2, -0.1), (1, 1, 1), 5, 0.95, "–"),  # one in sixteen times by chance
    ((-1, -2, -0.1), (1, 1, 1), 6, 0.95, "ours"),
    ((-1, -2, -0.1), (1, 1, 1), 7, 0.99, "–"),
    ((-1, -2, -0.1), (1, 1, 1), 8, 0.99, "ours"),
    ((1, 0.1, 2), (0.2, 0.1, 0.4), 20, 0.99, "the peer"),
    ((-1, -2, 0.1), (0.8, 0.6, 0.9), 20, 0.99, "–"),
    ((-1, -2, -0.1), (0.6, 0.5, 0.7), 20, 0.99, "–"),
])
def test_who_is_ahead_is_not_said_of_few_runs(difference, share, n_runs, level, ahead):
    assert bench.verdict(difference, share, n_runs, level) == ahead


def stored(folder):
    with gzip.open(folder / "slow.jsonl.gz", "rt") as lines:
        return {(row["opt"], row["seed"]): row["best_true"] for row in map(json.loads, lines)}


def test_stored_runs_are_added_to_and_the_longer_run_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "STORED", tmp_path)
    def run(*values):
        return {"best_true": list(values), "ask_ms": [1.0] * len(values)}
    bench.store("slow", {("hebo", "branin", 10, 1): run(3, 2), ("hebo", "branin", 11, 1): run(5, 4)})
    bench.store("slow", {("hebo", "branin", 10, 1): run(3, 2, 1), ("hebo", "branin", 11, 1): run(9), ("botorch", "branin", 10, 1): run(7)})
    assert stored(tmp_path) == {("hebo", 10): [3, 2, 1], ("hebo", 11): [5, 4], ("botorch", 10): [7]}
    before = (tmp_path / "slow.jsonl.gz").read_bytes()
    bench.store("slow", {("hebo", "branin", 11, 1): run(9)})
    assert (tmp_path / "slow.jsonl.gz").read_bytes() == before
    assert bench.read_stored()["hebo", "branin", 10, 1]["best_true"] == [3, 2, 1]


@pytest.mark.parametrize("name", ablation.INGREDIENTS)
def test_an_ingredient_that_is_taken_out_is_in_the_source_once(name):
    for file, old, new in ablation.INGREDIENTS[name][1]:
        text = (bench.ROOT / "coordinator/opt" / file).read_text()
        assert ablation.change(text, old, new, file) != text


def test_drawn_problems_take_the_place_of_the_harness(tmp_path, monkeypatch):
    (tmp_path / "functions.py").write_text("def problems(split='all', real=False):\n    return ['of the harness']\n")
    bench.take_drawn(tmp_path, 7)
    assert (tmp_path / "drawn.py").read_bytes() == (bench.HERE / "drawn.py").read_bytes()
    monkeypatch.setitem(sys.modules, "drawn", types.SimpleNamespace(problems=lambda number: [f"drawn from {number}"]))
    functions = {}
    exec((tmp_path / "functions.py").read_text(), functions)
    assert functions["problems"]("all", real=True) == ["drawn from 7"]
