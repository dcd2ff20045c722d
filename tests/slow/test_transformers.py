"""What a training leaves is a folder that Hugging Face's transformers loads, and there it says the same.

Not part of tests/run.sh, as it fetches PyTorch and transformers into a virtual environment of its own (gigabytes; PIP_EXTRA_INDEX_URL may
name an index with PyTorch's smaller CPU build):

    SWEEPD_PREFIX=… /usr/bin/python3 -m pytest tests/slow

SWEEPD_PYTHON=/path/to/venv/bin/python takes an environment that has both, instead. Making one needs the package python3-venv."""
import json
import os
import pathlib
import subprocess
import sys

import pytest

import tiny_model
from daemon import program

SCRIPT = """
import json, sys
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer
folder = sys.argv[1]
model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
tokenizer = AutoTokenizer.from_pretrained(folder)
for line in sys.stdin:
    pair = json.loads(line)
    tokens = tokenizer(pair["a"], pair["b"] or None, truncation=True, max_length=model.config.max_position_embeddings, return_tensors="pt")
    tokens.pop("token_type_ids", None)
    with torch.no_grad():
        logits = model(**tokens).logits[0].double().tolist()
    print(json.dumps({"input_ids": tokens["input_ids"][0].tolist(), "logits": logits}))
"""


@pytest.fixture(scope="session")
def python(tmp_path_factory):
    given = os.environ.get("SWEEPD_PYTHON")
    if given:
        return given
    folder = tmp_path_factory.mktemp("venv")
    made = subprocess.run([sys.executable, "-m", "venv", folder], capture_output=True, text=True)
    if made.returncode != 0:
        pytest.skip(f"no virtual environment (package python3-venv): {made.stdout}{made.stderr}")
    subprocess.run([folder / "bin" / "pip", "install", "-q", "torch", "transformers"], check=True)
    return folder / "bin" / "python"


def train(folder, **changes):
    """The folder of the best model of a short training."""
    fixed = {"epochs": 3, "train_batch_size": 8, "learning_rate": 2e-3, **changes.pop("fixed", {})}
    config = {"model": str(changes.pop("model")), "data": str(changes.pop("data")), "params": {}, "fixed": fixed, "seed": 1, "threads": 1,
              "metric": {"name": "eval/loss", "goal": "minimize"}, "checkpoint_dir": None, "output_dir": str(folder / "out")}
    done = subprocess.run([program("sweep-trainer")], input=json.dumps(config), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "out"


def ours(folder, pairs):
    text = "".join(json.dumps(pair) + "\n" for pair in pairs)
    done = subprocess.run([program("sweep-trainer"), "predict", "--model", folder], input=text, capture_output=True, text=True, timeout=300, check=True)
    tokens = subprocess.run([program("sweep-trainer"), "tokenize", "--vocab", folder / "vocab.txt", "--max-length", "64"], input=text, capture_output=True,
                            text=True, timeout=300, check=True)
    return [{**json.loads(a), **json.loads(b)} for a, b in zip(done.stdout.splitlines(), tokens.stdout.splitlines(), strict=True)]


def theirs(python, folder, pairs):
    text = "".join(json.dumps(pair) + "\n" for pair in pairs)
    done = subprocess.run([python, "-c", SCRIPT, folder], input=text, capture_output=True, text=True, timeout=600, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def expect_the_same(python, folder, pairs):
    for pair, a, b in zip(pairs, ours(folder, pairs), theirs(python, folder, pairs), strict=True):
        assert a["input_ids"] == b["input_ids"], pair
        assert a["logits"] == pytest.approx(b["logits"], abs=1e-5), pair


PAIRS = [{"a": "The red cat sees a small dog .", "b": "A small dog sees the red cat ."}, {"a": "one", "b": "Two, three"}, {"a": "river", "b": "stone"},
         {"a": "the cat " * 40, "b": "again and again " * 30}, {"a": "Ünïcode 漢字 word", "b": "unknown!?"}]


@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_a_finished_model_gives_the_same_logits_in_transformers(python, tmp_path, precision):
    model, data = tiny_model.write_model(tmp_path / "model"), tiny_model.write_data(tmp_path / "data")
    expect_the_same(python, train(tmp_path, model=model, data=data, fixed={"precision": precision}), PAIRS)


def test_so_does_one_of_single_sentences_with_three_labels(python, tmp_path):
    model, data = tiny_model.write_model(tmp_path / "model"), tmp_path / "data"
    data.mkdir()
    for name in ("train", "dev"):
        rows = [f"{sentence} {sentence}\t{label}" for label, sentence in (("low", "the old river"), ("mid", "a warm stone"), ("high", "quick birds")) for _ in range(8)]
        (data / f"{name}.tsv").write_text("text\tgrade\n" + "\n".join(rows) + "\n")
    fixed = {"task": "tsv", "text_a": "text", "label": "grade", "labels": ["low", "mid", "high"]}
    expect_the_same(python, train(tmp_path, model=model, data=data, fixed=fixed), [{"a": text, "b": ""} for text in ("the old river", "birds , again .", "stone " * 70)])


@pytest.mark.skipif("SWEEPD_SLOW_MODEL" not in os.environ, reason="SWEEPD_SLOW_MODEL and SWEEPD_SLOW_DATA name no real model and data")
def test_so_does_a_real_model(python, tmp_path):
    folder = train(tmp_path, model=pathlib.Path(os.environ["SWEEPD_SLOW_MODEL"]), data=pathlib.Path(os.environ["SWEEPD_SLOW_DATA"]),
                   fixed={"epochs": 1, "limit_train": 64, "limit_eval": 32, "learning_rate": 5e-5, "train_batch_size": 16})
    expect_the_same(python, folder, PAIRS[:3] + [{"a": "PCCW's chief operating officer, Mike Butcher, will report directly to Mr So.", "b": "Current Chief Operating Officer Mike Butcher will report to So."}])
