"""Weights & Biases' own validator over our corpus: it accepts what we accept, with the same distribution of every parameter.

Needs its packages `sweeps` and `wandb`: taken from the Python that SWEEPD_WANDB_PYTHON names, else installed into a virtual environment in the
test's folder. Our reading of the YAML is given to it, as PyYAML reads `1e-5` as text.
"""
import json
import os
import pathlib
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration"))
from daemon import program  # noqa: E402
from test_wandb_files import CORPUS, expectations  # noqa: E402

# Their schema's name of a distribution, where it is not the written one.
NAMES = {"loguniform_v2": "log_uniform_values", "inv_loguniform_v2": "inv_log_uniform_values", "qloguniform_v2": "q_log_uniform_values",
         "loguniform": "log_uniform", "inv_loguniform": "inv_log_uniform", "qloguniform": "q_log_uniform", "lognormal": "log_normal",
         "qlognormal": "q_log_normal", "qnormal": "q_normal", "quniform": "q_uniform", "qbeta": "q_beta",
         "categorical_w_probabilities": "categorical", "single_value": "constant"}

VALIDATE = """
import json, sys, warnings
warnings.simplefilter("ignore")
from sweeps.config import schema_violations_from_proposed_config
from sweeps.config.schema import fill_parameter
answers = []
for spec in json.load(sys.stdin):
    violations = schema_violations_from_proposed_config(spec)
    distributions = {}
    for name, parameter in spec.get("parameters", {}).items() if not violations else []:
        try:
            filled = fill_parameter(name, parameter)
            distributions[name] = filled[0].removeprefix("param_") if filled else None
        except Exception:
            distributions[name] = None  # nested
    answers.append([[str(v) for v in violations], distributions])
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def wandb_python(tmp_path_factory):
    if os.environ.get("SWEEPD_WANDB_PYTHON"):
        return os.environ["SWEEPD_WANDB_PYTHON"]
    folder = tmp_path_factory.mktemp("wandb")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    subprocess.run([folder / "bin" / "pip", "install", "-q", "sweeps", "wandb"], check=True)
    return folder / "bin" / "python"


def as_json(path):
    """The file as sweepctl reads it; for one that it refuses, as PyYAML does."""
    done = subprocess.run([program("sweepctl"), "check", str(path), "--json"], capture_output=True, text=True)
    if done.returncode == 0:
        return json.loads(done.stdout)["spec"]
    import yaml
    return yaml.safe_load(path.read_text())


def test_their_validator_agrees(wandb_python):
    specs = json.dumps([as_json(path) for path in CORPUS])
    done = subprocess.run([wandb_python, "-c", VALIDATE], input=specs, capture_output=True, text=True, check=True)
    disagreements = []
    for path, (violations, distributions) in zip(CORPUS, json.loads(done.stdout)):
        fault, ours = expectations(path)
        expected = "# wandb: accepts" in path.read_text() or not fault and "# wandb: refuses" not in path.read_text()
        if expected == bool(violations):
            disagreements.append((path.name, violations))
        for name, distribution in distributions.items():
            if name in ours and NAMES.get(distribution, distribution) not in (ours[name], None):
                disagreements.append((path.name, name, ours[name], distribution))
    assert not disagreements
