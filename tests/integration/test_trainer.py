"""sweep-trainer on a tiny model: what it tells, how it fails, and that no kill changes what comes out."""
import array
import hashlib
import json
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import pytest

from daemon import ROOT, SANITIZED, program

sys.path.insert(0, str(ROOT / "tests" / "support"))
import tiny_model  # noqa: E402

# float32 products come from oneDNN where the processor has AVX-512 and the build has oneDNN.
BY_ONEDNN = "avx512bw" in pathlib.Path("/proc/cpuinfo").read_text() and b"libdnnl" in pathlib.Path(program("sweep-trainer")).read_bytes()

PATIENCE_S = 300 if SANITIZED else 60
EVAL_NAMES = ["eval/loss", "eval/accuracy", "eval/f1", "eval/precision", "eval/recall"]


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    base = tmp_path_factory.mktemp("tiny")
    return tiny_model.write_model(base / "model"), tiny_model.write_data(base / "data")


def configuration(folders, **changes):
    model, data = folders
    config = {"model": str(model), "data": str(data), "metric": {"name": "eval/accuracy", "goal": "maximize"},
              "params": {"learning_rate": 2e-3}, "fixed": {"epochs": 3, "train_batch_size": 8}, "seed": 1, "threads": 1,
              "checkpoint_dir": None, "output_dir": None, "limit_train": None, "limit_eval": None}
    config.update(changes)
    return config


def start(config, **kwargs):
    text = config if isinstance(config, bytes) else json.dumps(config).encode()
    process = subprocess.Popen([program("sweep-trainer")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **kwargs)
    process.stdin.write(text)
    process.stdin.close()
    process.stdin = None
    return process


class Result:
    def __init__(self, status, stdout, stderr):
        self.status, self.stderr = status, stderr.decode(errors="replace")
        self.events = [json.loads(line) for line in stdout.splitlines()]
        self.outcome = self.events[-1] if self.events and self.events[-1]["event"] == "outcome" else None

    def points(self, *names):
        """{(name, step): (epoch, value)}; all but perf/ when no name is given."""
        return {(e["name"], e["step"]): (e["epoch"], e["value"]) for e in self.events
                if e["event"] == "metric" and (e["name"] in names if names else not e["name"].startswith("perf/"))}

    def completed(self):
        assert self.status == 0 and self.outcome["state"] == "completed", (self.status, self.outcome, self.stderr)
        return self

    def failed(self, reason, *words):
        assert self.status == 1 and self.outcome["state"] == "failed", (self.status, self.outcome, self.stderr)
        assert self.outcome["reason"] == reason, self.outcome
        for word in words:
            assert word in self.outcome["detail"], self.outcome
        return self


def finish(process, timeout=PATIENCE_S):
    stdout, stderr = process.communicate(timeout=timeout)
    return Result(process.returncode, stdout, stderr)


def train(config, **kwargs):
    return finish(start(config, **kwargs))


def digest(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


# --- what it tells ---------------------------------------------------------------------------------------


def test_a_training_reports_every_metric_and_ends_completed(folders):
    result = train(configuration(folders)).completed()
    evals = result.points(*EVAL_NAMES)
    assert sorted({step for _, step in evals}) == [8, 16, 24]  # 64 rows, batches of 8, 3 epochs
    assert all((name, step) in evals for name in EVAL_NAMES for step in (8, 16, 24))
    trained = result.points("train/loss", "train/learning_rate", "train/grad_norm", "perf/tokens_per_s")
    assert sorted({step for _, step in trained}) == [10, 20, 24]
    assert len(trained) == 12
    assert evals["eval/accuracy", 24][0] == 3
    assert trained["train/learning_rate", 10] == (1.25, pytest.approx(2e-3 * 15 / 24))
    assert result.outcome["value"] == evals["eval/accuracy", 24][1]
    progress = [e["value"] for e in result.events if e["event"] == "progress"]
    assert progress == sorted(progress) and progress[-1] == 1


def test_a_training_tells_what_the_machine_does(folders):
    """With the first report and the last; every ten seconds in between, which this one does not last."""
    result = train(configuration(folders)).completed()
    machine = {(name, step): value for (name, step), (_, value) in
               result.points("perf/step_s", "perf/gemm_gflops", "perf/cores", "perf/memory_mib").items()}
    assert {step for _, step in machine} >= {10, 24} and len({name for name, _ in machine}) == 4
    assert all(value > 0 for (name, _), value in machine.items() if name != "perf/cores")
    assert 5 < machine["perf/memory_mib", 24] < 10000


def test_it_learns(folders):
    config = configuration(folders, params={"learning_rate": 3e-3, "dropout": 0, "attention_dropout": 0, "seq_classif_dropout": 0},
                           fixed={"epochs": 40, "train_batch_size": 8})
    losses = train(config).completed().points("train/loss")
    values = [losses[key][1] for key in sorted(losses, key=lambda k: k[1])]
    assert values[-1] < 0.5 * values[0]


def test_same_configuration_same_bits_and_another_seed_another_run(folders, tmp_path):
    results = []
    for i, seed in enumerate((1, 1, 2)):
        result = train(configuration(folders, seed=seed, output_dir=str(tmp_path / str(i)))).completed()
        results.append((result.points(), digest(tmp_path / str(i) / "model.safetensors")))
    assert results[0] == results[1]
    assert results[0][0] != results[2][0] and results[0][1] != results[2][1]


def test_patience_ends_a_training_that_does_not_improve(folders, tmp_path):
    """A rate too small to change anything: the first evaluation is the best for ever."""
    config = configuration(folders, params={"learning_rate": 1e-12}, fixed={"epochs": 9, "train_batch_size": 8, "early_stopping_patience": 2},
                           output_dir=str(tmp_path / "out"))
    result = train(config).completed()
    evaluations = [step for _, step in result.points("eval/accuracy")]
    assert evaluations == [8, 16, 24]
    assert result.outcome["value"] == result.points("eval/accuracy")["eval/accuracy", 24][1]


def test_patience_goes_on_while_a_training_improves(folders):
    fixed = {"epochs": 4, "train_batch_size": 8, "early_stopping_patience": 1, "early_stopping_threshold": 0.0}
    result = train(configuration(folders, metric={"name": "eval/loss", "goal": "minimize"}, params={"learning_rate": 1e-3}, fixed=fixed)).completed()
    losses = [value for _, value in sorted(result.points("eval/loss").values())]
    falling = [a > b for a, b in zip(losses, losses[1:])]
    assert all(falling[:-1]) and (len(losses) == 4 or not falling[-1]), losses


def test_what_the_loss_counts_changes_the_training(folders):
    """Smoothed and weighted losses differ from the plain one at the first step already; balanced weights are the counted ones."""
    def first_loss(**fixed):
        result = train(configuration(folders, fixed={"epochs": 1, "train_batch_size": 64, "logging_steps": 1, **fixed})).completed()
        return result.points("train/loss")["train/loss", 1][1]
    plain, smooth, balanced = first_loss(), first_loss(label_smoothing=0.3), first_loss(class_weights="balanced")
    assert smooth != plain
    labels = [line.split("\t")[0] for line in (pathlib.Path(folders[1]) / "train.tsv").read_text().splitlines()[1:]]
    weights = [len(labels) / 2 / labels.count(label) for label in "01"]
    assert balanced == pytest.approx(first_loss(class_weights=weights), rel=1e-6)
    assert first_loss(class_weights=[1, 1]) == pytest.approx(plain, rel=1e-12)


def test_class_weights_must_fit_the_labels(folders):
    train(configuration(folders, fixed={"class_weights": [1, 2, 3]})).failed("bad_config", "class_weights", "2 labels")


@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_frozen_weights_stay_as_they_were(folders, tmp_path, precision):
    train(configuration(folders, fixed={"epochs": 1, "train_batch_size": 8, "freeze_layers": 1, "freeze_embeddings": True, "precision": precision},
                        output_dir=str(tmp_path / "out"))).completed()
    before, after = (tiny_model.read_safetensors(folder / "model.safetensors") for folder in (folders[0], tmp_path / "out"))
    for name, values in before.items():
        frozen = "embeddings." in name or "layer.0." in name or name.endswith("layer.1.attention.k_lin.bias")  # which nothing depends on
        assert (values == after[name]) == frozen, name


def test_layerwise_decay_slows_what_lies_deeper(folders, tmp_path):
    """AdamW's first step moves a weight by its rate, however large the gradient: the rates can be read off."""
    fixed = {"epochs": 1, "train_batch_size": 8, "limit_train": 8, "layerwise_lr_decay": 0.5, "max_grad_norm": 0, "learning_rate": 0.01, "adam_epsilon": 1e-12}
    train(configuration(folders, params={}, fixed=fixed, output_dir=str(tmp_path / "out"))).completed()
    before, after = (tiny_model.read_safetensors(folder / "model.safetensors") for folder in (folders[0], tmp_path / "out"))

    def moved(name):
        values = [array.array("f", tensors[name][1]) for tensors in (before, after)]
        return max(abs(a - b) for a, b in zip(*values, strict=True))

    layer = "distilbert.transformer.layer.%d.ffn.lin1.weight"
    assert moved(layer % 1) == pytest.approx(0.005, rel=1e-3)  # the head: 0.01
    assert moved(layer % 0) == pytest.approx(0.0025, rel=1e-3)
    assert moved("distilbert.embeddings.LayerNorm.weight") == pytest.approx(0.00125, rel=1e-3)


def single_sentences(folder, kinds, header, row):
    """A task that can be learnt: the kind decides the words."""
    import random
    rng = random.Random(5)
    folder.mkdir()
    words = tiny_model.WORDS
    for name, n in (("train", 96), ("dev", 48)):
        rows = []
        for i in range(n):
            kind = i % len(kinds)
            rows.append(row(kinds[kind], " ".join(rng.choice(words[kind * 8:kind * 8 + 8]) for _ in range(rng.randint(3, 9)))))
        (folder / f"{name}.tsv").write_text("".join(line + "\n" for line in header + rows))
    return folder


def test_a_task_of_ones_own_with_three_labels_learns_and_predicts(folders, tmp_path):
    data = single_sentences(tmp_path / "data", ["news", "blog", "spam"], ["kind\tdate\ttitle"], lambda kind, text: f"{kind}\t2026\t{text}")
    fixed = {"task": "tsv", "text_a": "title", "label": "kind", "labels": ["news", "blog", "spam"], "epochs": 8, "train_batch_size": 8, "class_weights": [1, 1, 2]}
    config = configuration(folders, data=str(data), params={"learning_rate": 3e-3}, fixed=fixed, output_dir=str(tmp_path / "out"),
                           metric={"name": "eval/mcc", "goal": "maximize"})
    result = train(config).completed()
    assert result.outcome["value"] > 0.8
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert sorted(config["id2label"].values()) == ["LABEL_0", "LABEL_1", "LABEL_2"]
    answer = subprocess.run([program("sweep-trainer"), "predict", "--model", tmp_path / "out"], input=json.dumps({"a": " ".join(tiny_model.WORDS[16:22]), "b": ""}),
                            capture_output=True, text=True, check=True)
    assert json.loads(answer.stdout)["label"] == 2 and len(json.loads(answer.stdout)["logits"]) == 3


def evaluate(*args):
    return subprocess.run([program("sweep-trainer"), "evaluate", *args], capture_output=True, text=True)


def test_evaluate_gives_the_figures_of_the_trainings_last_evaluation(folders, tmp_path):
    result = train(configuration(folders, fixed={"epochs": 2, "train_batch_size": 8}, report="best", output_dir=str(tmp_path / "out"))).completed()
    points = result.points(*EVAL_NAMES)
    best = max((step for _, step in points), key=lambda step: (points["eval/accuracy", step][1], -step))
    for data in (folders[1], pathlib.Path(folders[1]) / "dev.tsv"):
        found = json.loads(evaluate("--model", tmp_path / "out", "--data", data).stdout)
        assert found["examples"] == 32
        for name in EVAL_NAMES:
            assert found[name.removeprefix("eval/")] == pytest.approx(points[name, best][1], rel=1e-5, abs=1e-7), name


def test_evaluate_refuses_what_does_not_fit(folders, tmp_path):
    for args, status, word in ((["--model", folders[0]], 2, "--data is missing"),
                               (["--model", folders[0], "--data", folders[1]], 1, "never trained"),
                               (["--model", folders[0], "--data", tmp_path / "none"], 1, "none"),
                               (["--model", folders[0], "--data", folders[1], "--settings", '{"task":"mnli"}'], 2, "task"),
                               (["--model", folders[0], "--data", folders[1], "--settings",
                                 '{"task":"tsv","text_a":"a","label":"b","labels":["x","y","z"]}'], 1, "2 labels")):
        answer = evaluate(*args)
        assert answer.returncode == status and word in answer.stderr, (args, answer.stderr)


def test_cola_reports_matthews_correlation(folders, tmp_path):
    data = single_sentences(tmp_path / "data", ["0", "1"], [], lambda kind, text: f"src\t{kind}\t\t{text}")
    config = configuration(folders, data=str(data), fixed={"task": "cola", "epochs": 1}, metric={"name": "eval/mcc", "goal": "maximize"})
    assert "eval/mcc" in {name for name, _ in train(config).completed().points()}
    train(configuration(folders, data=str(data), fixed={"task": "sst2"})).failed("bad_data", "train.tsv:1", "'label'")


def test_seed_setting_overrides_the_trials(folders):
    explicit = train(configuration(folders, seed=9, fixed={"epochs": 1, "seed": 5})).completed().points()
    trials = train(configuration(folders, seed=5, fixed={"epochs": 1})).completed().points()
    assert explicit == trials


def test_fractional_epochs_end_in_an_evaluation(folders):
    result = train(configuration(folders, fixed={"epochs": 1.5, "train_batch_size": 8})).completed()
    assert sorted(step for _, step in result.points("eval/loss")) == [8, 12]


def test_eval_steps_replaces_the_epochs_ends(folders):
    result = train(configuration(folders, fixed={"epochs": 2, "train_batch_size": 8, "eval_steps": 5})).completed()
    assert sorted(step for _, step in result.points("eval/loss")) == [5, 10, 15, 16]


def test_accumulated_micro_batches_are_one_step(folders):
    whole = {"epochs": 2, "train_batch_size": 16, "dropout": 0, "attention_dropout": 0, "seq_classif_dropout": 0}
    parts = {**whole, "train_batch_size": 4, "gradient_accumulation_steps": 4}
    one, four = (train(configuration(folders, fixed=fixed)).completed().points("train/loss", "eval/loss") for fixed in (whole, parts))
    assert one.keys() == four.keys()
    for key in one:
        assert one[key][1] == pytest.approx(four[key][1], rel=1e-4)


def test_limits_take_the_first_rows(folders):
    result = train(configuration(folders, limit_train=20, limit_eval=3, fixed={"epochs": 1, "train_batch_size": 8})).completed()
    assert sorted(step for _, step in result.points("eval/accuracy")) == [3]
    assert round(result.outcome["value"] * 3) == pytest.approx(result.outcome["value"] * 3)


def test_the_batch_size_of_an_evaluation_does_not_matter(folders):
    values = [train(configuration(folders, fixed={"epochs": 1, "eval_batch_size": size})).completed().points("eval/loss") for size in (1, 7, 32)]
    for key in values[0]:
        assert values[0][key][1] == pytest.approx(values[1][key][1], rel=1e-6)
        assert values[0][key][1] == pytest.approx(values[2][key][1], rel=1e-6)


def test_report_best_takes_the_best_evaluation(folders, tmp_path):
    config = configuration(folders, fixed={"epochs": 6, "train_batch_size": 8}, metric={"name": "eval/loss", "goal": "minimize"},
                           params={"learning_rate": 2e-2, "report": "best"}, output_dir=str(tmp_path / "out"))
    result = train(config).completed()
    losses = result.points("eval/loss")
    values = {step: value for (_, step), (_, value) in losses.items()}
    assert result.outcome["value"] == min(values.values())
    last = train({**config, "params": {"learning_rate": 2e-2}, "output_dir": None}).completed()
    assert last.outcome["value"] == values[max(values)]


def test_output_and_checkpoints_may_lie_on_two_file_systems(folders, tmp_path):
    if not os.path.isdir("/dev/shm") or os.stat("/dev/shm").st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is only one file system")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as checkpoint:
        config = configuration(folders, checkpoint_dir=checkpoint, output_dir=str(tmp_path / "output"))
        train(config).completed()
        model = digest(tmp_path / "output" / "model.safetensors")
        shutil.rmtree(tmp_path / "output")
        train(config).completed()
        assert digest(tmp_path / "output" / "model.safetensors") == model


def test_the_best_model_is_a_folder_that_predicts(folders, tmp_path):
    out = tmp_path / "out"
    train(configuration(folders, output_dir=str(out))).completed()
    tensors = tiny_model.read_safetensors(out / "model.safetensors")
    assert tensors["classifier.weight"][0] == (2, 32)
    assert (out / "vocab.txt").read_bytes() == (folders[0] / "vocab.txt").read_bytes()
    lines = [{"a": "the red cat", "b": "the red cat"}, {"a": "", "b": ""}, {"a": "x\u0000y", "b": "dog"}]
    text = "".join(json.dumps(line) + "\n" for line in lines) + "nonsense\n" + '{"a":1,"b":"x"}\n' + '{"a":"one","b":"two"}'
    done = subprocess.run([program("sweep-trainer"), "predict", "--model", str(out)], input=text.encode(), capture_output=True, timeout=PATIENCE_S)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0 and len(answers) == 6
    assert ["error" in answer for answer in answers] == [False, False, False, True, True, False]
    for answer in answers:
        if "error" not in answer:
            assert answer["label"] == max((0, 1), key=lambda i: answer["logits"][i])
            assert 0.5 <= answer["probability"] <= 1 and len(answer["logits"]) == 2


# --- how it fails ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("change, words", [
    ({"params": {"learning_rate": 0}}, ["learning_rate", "> 0"]),
    ({"params": {"learning_rte": 1e-4}}, ["learning_rte"]),
    ({"params": {"epochs": 2}}, ["epochs", "twice"]),  # also in fixed
    ({"params": {"warmup_steps": 1, "warmup_ratio": 0.1}}, ["warmup_steps", "warmup_ratio"]),
    ({"params": {"max_seq_length": 65}}, ["max_seq_length", "64"]),
    ({"params": {"freeze_layers": 3}}, ["freeze_layers", "2"]),
    ({"params": {"precision": "fp16"}}, ["precision", "f32, bf16"]),
    ({"metric": {"name": "eval/auc", "goal": "maximize"}}, ["eval/auc"]),
    ({"unknown": 1}, ["unknown"]),
    ({"model": None}, ["model"]),
    ({"threads": 0}, ["threads"]),
])
def test_bad_configuration_names_the_key(folders, change, words):
    train(configuration(folders, **change)).failed("bad_config", *words)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"data":"x"}', b"\xff\xfe"])
def test_bad_input_is_a_bad_configuration(text):
    train(text).failed("bad_config")


def test_bad_models_are_named(folders, tmp_path):
    train(configuration(folders, model=str(tmp_path / "nowhere"))).failed("bad_model", "nowhere")
    for name in ("config.json", "vocab.txt", "model.safetensors"):
        folder = tmp_path / name
        shutil.copytree(folders[0], folder)
        (folder / name).unlink()
        train(configuration(folders, model=str(folder))).failed("bad_model", name)
    cut = tmp_path / "cut"
    shutil.copytree(folders[0], cut)
    os.truncate(cut / "model.safetensors", 50000)
    train(configuration(folders, model=str(cut))).failed("bad_model", "model.safetensors")
    large = tiny_model.write_model(tmp_path / "large")
    with open(large / "vocab.txt", "a") as file:
        file.write("surplus\n")
    train(configuration(folders, model=str(large))).failed("bad_model", "vocab")


def test_a_rate_that_explodes_is_divergence_at_the_step_where_it_happens(folders):
    config = configuration(folders, params={"learning_rate": 1, "max_grad_norm": 0, "adam_epsilon": 1e-30, "adam_beta2": 0},
                           fixed={"epochs": 40, "train_batch_size": 8, "logging_steps": 1, "dropout": 0, "attention_dropout": 0})
    result = train(config).failed("diverged", "at step ")
    step = int(result.outcome["detail"].rsplit(" ", 1)[1])
    assert step > 1 and max(s for _, s in result.points("train/loss")) in (step - 1, step)


def test_bad_data_is_named_by_file_and_line(folders, tmp_path):
    train(configuration(folders, data=str(tmp_path / "nowhere"))).failed("bad_data", "nowhere")
    data = tiny_model.write_data(tmp_path / "data")
    lines = (data / "train.tsv").read_text(encoding="utf-8").splitlines()
    lines[4] = lines[4].replace("1\t", "7\t", 1) if lines[4][0] == "1" else lines[4].replace("0\t", "7\t", 1)
    (data / "train.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    train(configuration(folders, data=str(data))).failed("bad_data", "train.tsv", "5")
    (data / "train.tsv").write_text(lines[0] + "\n", encoding="utf-8")
    train(configuration(folders, data=str(data))).failed("bad_data")


def test_nan_in_the_model_is_divergence_at_the_first_step(folders, tmp_path):
    folder = tmp_path / "nan"
    shutil.copytree(folders[0], folder)
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-4:] = b"\x00\x00\xc0\x7f"
    (folder / "model.safetensors").write_bytes(data)
    train(configuration(folders, model=str(folder))).failed("diverged", "NaN", "step 1")


@pytest.mark.parametrize("name", ["dropout", "attention_dropout", "seq_classif_dropout"])
def test_a_dropout_that_rounds_to_one_is_not_divergence(folders, name):
    train(configuration(folders, params={name: 1 - 1e-10}, fixed={"epochs": 0.1})).completed()


def test_folders_that_cannot_be_written_are_io(folders, tmp_path):
    (tmp_path / "file").write_text("")
    train(configuration(folders, output_dir=str(tmp_path / "file"))).failed("io", "output_dir")
    train(configuration(folders, checkpoint_dir=str(tmp_path / "file" / "x"))).failed("io", "checkpoint_dir")


def test_a_full_disk_is_io(folders, tmp_path):
    def limit():  # files end at 100 kB, as if the disk were full
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    train(configuration(folders, checkpoint_dir=str(tmp_path / "checkpoint")), preexec_fn=limit).failed("io", "checkpoint")


@pytest.mark.skipif(SANITIZED, reason="sanitizers reserve address space of their own")
def test_too_little_memory_is_out_of_memory(folders, tmp_path):
    model = tiny_model.write_model(tmp_path / "model", seed=None, dim=512, hidden=2048, layers=6)

    def limit():  # OpenBLAS alone wants more than half of it
        resource.setrlimit(resource.RLIMIT_AS, (400 << 20, 400 << 20))

    result = train(configuration(folders, model=str(model), fixed={"train_batch_size": 64, "epochs": 1}), preexec_fn=limit)
    result.failed("out_of_memory", "needs", "MiB available", "tokens a batch")
    assert not result.points(), "it began all the same"


def test_wrong_usage_exits_2():
    for args in (["--nonsense"], ["nonsense"], ["predict"], ["predict", "--nonsense"], ["tokenize"], ["bench", "--nonsense"]):
        done = subprocess.run([program("sweep-trainer"), *args], stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE_S)
        assert done.returncode == 2 and done.stdout == b"" and done.stderr, args
    for args in (["--help"], ["--version"], ["predict", "--help"], ["tokenize", "--help"], ["bench", "--help"]):
        done = subprocess.run([program("sweep-trainer"), *args], stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE_S)
        assert done.returncode == 0 and done.stdout, args


# --- survival --------------------------------------------------------------------------------------------


def long_configuration(folders, folder, **changes):
    """Some hundred steps: an accumulation that does not divide an epoch, warmup, the best model written."""
    changes.setdefault(
        "fixed", {"epochs": 40, "train_batch_size": 4, "gradient_accumulation_steps": 3, "warmup_steps": 5, "logging_steps": 3})
    return configuration(folders, checkpoint_dir=str(folder / "checkpoint"), output_dir=str(folder / "out"), **changes)


@pytest.fixture(scope="session")
def undisturbed(folders, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    started = time.monotonic()
    result = train(long_configuration(folders, folder)).completed()
    return result, digest(folder / "out" / "model.safetensors"), time.monotonic() - started


def compare(undisturbed, parts, folder):
    """Parts of one training, in order: together they say what an undisturbed one says, in the same bits."""
    expected, weights, _ = undisturbed
    seen = {}
    for part in parts:
        for key, value in part.points().items():
            assert seen.get(key, value) == value, key
            seen[key] = value
    wanted = expected.points()
    assert {key: value for key, value in seen.items()} == wanted
    assert parts[-1].outcome == expected.outcome
    assert digest(folder / "out" / "model.safetensors") == weights


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.4, 0.55, 0.7, 0.85])
def test_killed_and_started_again_it_says_the_same_bits(folders, undisturbed, tmp_path, fraction):
    config = long_configuration(folders, tmp_path)
    process = start(config)
    time.sleep(undisturbed[2] * fraction)
    process.kill()
    first = finish(process)
    compare(undisturbed, [first, train(config).completed()], tmp_path)


def test_killed_again_and_again_it_says_the_same_bits(folders, undisturbed, tmp_path):
    config = long_configuration(folders, tmp_path)
    parts = []
    for attempt in range(60):
        process = start(config)
        time.sleep(undisturbed[2] * (0.25 + 0.05 * (attempt % 7)))
        process.kill()
        parts.append(finish(process))
        if parts[-1].outcome:
            break
    if not parts[-1].outcome:
        parts.append(train(config).completed())
    assert parts[-1].outcome["state"] == "completed"  # the last kill may have come between the outcome and the end of the process
    compare(undisturbed, parts, tmp_path)


@pytest.mark.parametrize("lines", [1, 20, 60])
def test_sigterm_releases_with_a_checkpoint_and_goes_on_exactly(folders, undisturbed, tmp_path, lines):
    config = long_configuration(folders, tmp_path)
    process = start(config)
    head = b"".join(process.stdout.readline() for _ in range(lines))
    process.send_signal(signal.SIGTERM)
    asked = time.monotonic()
    rest, stderr = process.communicate(timeout=PATIENCE_S)
    first = Result(process.returncode, head + rest, stderr)
    assert first.status == 0 and first.outcome == {"event": "outcome", "state": "released"}
    assert time.monotonic() - asked < 5
    second = train(config).completed()
    compare(undisturbed, [first, second], tmp_path)
    assert "resumed from checkpoint" in second.stderr


def test_a_finished_training_started_again_says_its_outcome(folders, undisturbed, tmp_path):
    config = long_configuration(folders, tmp_path)
    first = train(config).completed()
    second = train(config).completed()
    assert second.outcome == first.outcome
    assert len(second.points()) < len(first.points())


def test_a_lost_output_folder_is_made_again(folders, undisturbed, tmp_path):
    config = long_configuration(folders, tmp_path)
    train(config).completed()
    shutil.rmtree(tmp_path / "out")
    train(config).completed()
    assert digest(tmp_path / "out" / "model.safetensors") == undisturbed[1]


def test_damaged_newest_checkpoint_goes_on_from_the_one_before(folders, undisturbed, tmp_path):
    config = long_configuration(folders, tmp_path)
    first = train(config).completed()
    newest = tmp_path / "checkpoint" / "checkpoint"
    data = bytearray(newest.read_bytes())
    data[len(data) // 2] ^= 1
    newest.write_bytes(data)
    compare(undisturbed, [first, train(config).completed()], tmp_path)


@pytest.mark.parametrize("change, word", [
    ({"params": {"learning_rate": 1e-3}}, "learning_rate"),
    ({"seed": 2}, "seed"),
    ({"threads": 2}, "threads"),
    ({"limit_train": 60}, "limit_train"),
    ({"metric": {"name": "eval/loss", "goal": "minimize"}}, "metric"),
])
def test_a_checkpoint_of_another_configuration_is_refused(folders, tmp_path, change, word):
    fixed = {"epochs": 1}
    train(long_configuration(folders, tmp_path, fixed=fixed)).completed()
    train(long_configuration(folders, tmp_path, fixed=fixed, **change)).failed("bad_checkpoint", word)


@pytest.mark.parametrize("environment, word", [
    ({"SWEEPD_KERNELS": "generic"}, "kernels is"),
    ({"OPENBLAS_CORETYPE": "Prescott"}, "blas_core is"),
    pytest.param({"SWEEPD_F32": "blas"}, "products is", marks=pytest.mark.skipif(not BY_ONEDNN, reason="BLAS is what is best here")),
])
def test_a_checkpoint_of_another_kernel_path_is_refused_by_name(folders, tmp_path, environment, word):
    config = long_configuration(folders, tmp_path, fixed={"epochs": 1})
    train(config).completed()
    train(config, env={**os.environ, **environment}).failed("bad_checkpoint", word)


def test_a_checkpoint_of_another_precision_is_refused_by_name(folders, tmp_path):
    train(long_configuration(folders, tmp_path, fixed={"epochs": 1})).completed()
    train(long_configuration(folders, tmp_path, fixed={"epochs": 1, "precision": "bf16"})).failed("bad_checkpoint", "precision is")


def test_a_checkpoint_of_another_build_is_refused_by_name(folders, tmp_path):
    config = long_configuration(folders, tmp_path, fixed={"epochs": 1})
    train(config).completed()
    other = tmp_path / "sweep-trainer"
    other.write_bytes(pathlib.Path(program("sweep-trainer")).read_bytes() + b"\0")  # loads and runs just so
    other.chmod(0o755)
    done = subprocess.run([other], input=json.dumps(config).encode(), capture_output=True, timeout=PATIENCE_S)
    Result(done.returncode, done.stdout, done.stderr).failed("bad_checkpoint", "build is")


def test_a_checkpoint_moves_to_another_folder(folders, undisturbed, tmp_path):
    first_place, second_place = tmp_path / "a", tmp_path / "b"
    process = start(long_configuration(folders, first_place))
    head = b"".join(process.stdout.readline() for _ in range(60))
    process.kill()
    rest, stderr = process.communicate(timeout=PATIENCE_S)
    first = Result(process.returncode, head + rest[:rest.rfind(b"\n") + 1], stderr)
    second_place.mkdir()
    shutil.copytree(first_place / "checkpoint", second_place / "checkpoint")
    second = train(long_configuration(folders, second_place)).completed()
    compare(undisturbed, [first, second], second_place)
    assert "resumed from checkpoint" in second.stderr


def test_a_checkpoint_of_another_model_or_other_data_is_refused(folders, tmp_path):
    fixed = {"epochs": 1}
    train(long_configuration(folders, tmp_path, fixed=fixed)).completed()
    model = tiny_model.write_model(tmp_path / "model", seed=7)
    train(long_configuration(folders, tmp_path, fixed=fixed, model=str(model))).failed("bad_checkpoint", "model")
    data = tiny_model.write_data(tmp_path / "data", seed=7)
    train(long_configuration(folders, tmp_path, fixed=fixed, data=str(data))).failed("bad_checkpoint", "data")


def test_two_damaged_checkpoints_are_refused(folders, tmp_path):
    config = long_configuration(folders, tmp_path, fixed={"epochs": 2})
    train(config).completed()
    for name in ("checkpoint", "checkpoint.previous"):
        os.truncate(tmp_path / "checkpoint" / name, 1000)
    train(config).failed("bad_checkpoint", "damaged")


def test_a_reader_that_goes_away_ends_the_training_with_a_checkpoint(folders, undisturbed, tmp_path):
    config = long_configuration(folders, tmp_path)
    process = start(config)
    head = b"".join(process.stdout.readline() for _ in range(30))
    process.stdout.close()
    process.stdout = None
    _, stderr = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    second = train(config).completed()
    assert second.outcome == undisturbed[0].outcome
    assert digest(tmp_path / "out" / "model.safetensors") == undisturbed[1]
    assert head and "resumed from checkpoint" in second.stderr
