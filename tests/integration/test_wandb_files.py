"""Weights & Biases sweep files work unchanged, or are refused by the line: the corpus of tests/data/wandb.

Each file begins with what is expected of it:
    # expect: accepted              followed by `# name: distribution` for its parameters
    # expect: LINE /pointer         the first fault; LINE is - where no line holds it
    # wandb: refuses (why)          where their own validator says otherwise; see tests/slow/test_wandb.py
"""
import json
import pathlib
import re
import subprocess

import pytest

from daemon import PATIENCE_S, ROOT, Daemon, program

CORPUS = sorted((ROOT / "tests" / "data" / "wandb").glob("*.yaml"))


def expectations(path):
    """(None, {parameter: distribution}) for a file that is accepted, else ((line, pointer), {})."""
    head = [line[2:] for line in path.read_text().splitlines() if line.startswith("# ")]
    expected = head[0].removeprefix("expect: ")
    if expected != "accepted":
        line, pointer = expected.split()
        return (None if line == "-" else int(line), pointer), {}
    pairs = (line.split(": ") for line in head[1:] if re.fullmatch(r"[\w.-]+: [a-z_]+", line))
    return None, dict(pairs)


def check(path):
    done = subprocess.run([program("sweepctl"), "check", str(path), "--json"], capture_output=True, text=True, timeout=PATIENCE_S)
    return done.returncode, json.loads(done.stdout)


def test_the_corpus_is_there():
    assert len(CORPUS) >= 30


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_a_file_means_what_its_first_lines_say(path):
    fault, distributions = expectations(path)
    code, answer = check(path)
    if fault:
        line, pointer = fault
        assert code == 1 and answer["status"] == 422
        first = answer["errors"][0]
        assert (first.get("line"), first["pointer"]) == (line, pointer) and first["detail"]
        return
    assert code == 0, answer
    meant = {parameter["name"]: parameter["distribution"] for parameter in answer["parameters"]}
    assert distributions and distributions.items() <= meant.items()


@pytest.mark.coordinator
def test_the_server_takes_the_same_files(tmp_path):
    with Daemon(tmp_path) as server:
        for path in CORPUS:
            fault, _ = expectations(path)
            done = subprocess.run([program("sweepctl"), "create", str(path), "--server", server.url], capture_output=True, text=True,
                                  timeout=60 + PATIENCE_S)
            assert done.returncode == (1 if fault else 0), (path.name, done.stderr)


def test_numbers_and_booleans_are_read_as_people_mean_them():
    folder = ROOT / "tests" / "data" / "wandb"
    _, numbers = check(folder / "23_numbers_without_a_dot.yaml")
    assert numbers["spec"]["parameters"]["decay"]["values"] == [1e-5, 1e-6, 1e-7]
    _, booleans = check(folder / "22_yaml_booleans.yaml")
    assert booleans["spec"]["parameters"]["nesterov"]["values"] == [True, False]
    _, merged = check(folder / "21_anchors_and_merges.yaml")
    assert merged["spec"]["parameters"]["classifier_dropout"] == {"distribution": "uniform", "min": 0.0, "max": 0.9}
