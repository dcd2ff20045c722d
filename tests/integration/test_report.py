"""The report of a sweep: what it says about a staged study, and that nothing a user wrote becomes markup."""
import re
import subprocess
import xml.etree.ElementTree as ElementTree

import pytest

from daemon import PATIENCE_S, Daemon, program

pytestmark = pytest.mark.coordinator

STUDY = {
    "name": "three <stages> & more", "description": "see <script>alert(1)</script> | `x`", "method": "staged", "trainer": "external", "seed": 5,
    "metric": {"name": "acc", "goal": "maximize"}, "baseline": {"lr": 0.01, "drop": 0.1, "opt": "adam"},
    "parameters": {"lr": {"distribution": "log_uniform_values", "min": 1e-4, "max": 1.0}},
    "stages": [{"method": "ofat", "levels": {"drop": [0.0, 0.5], "lr": [0.001, 0.06], "opt": ["s|gd"]}},
               {"method": "grid", "select_top": 1, "values": {"lr": [0.02, 0.05], "drop": [0.2]}}, {"method": "bayes", "run_cap": 2, "warm_start": True}],
}


def accuracy(params):
    return 0.9 - 2 * abs(params["lr"] - 0.05) - 0.01 * abs(params["drop"] - 0.1) - (0.01 if params["opt"] != "adam" else 0)


@pytest.fixture
def study(tmp_path):
    """A server with the finished study; trial 5 failed."""
    with Daemon(tmp_path) as server:
        sweep = server.post("/v1/sweeps", STUDY, expect=201)["id"]
        worker = server.register(facts={"host": "<b>lab</b>"})["id"]
        for number in range(1, 50):
            trials = server.claim(worker, f"c{number}", sweep=sweep)
            if not trials:
                break
            params = trials[0]["params"]
            failed = {"state": "failed", "reason": "diverged", "detail": "loss is <NaN>"}
            server.report(trials[0], 1, outcome=failed if params["opt"] != "adam" else {"state": "completed", "value": accuracy(params)})
        assert server.get(f"/v1/sweeps/{sweep}")["state"] == "finished"
        yield server, sweep


def test_markdown_tells_each_stages_conclusion(study):
    server, sweep = study
    answer = server.request("GET", f"/v1/sweeps/{sweep}/report?format=md", expect=200)
    assert answer.headers["Content-Type"] == "text/markdown; charset=utf-8"
    text = re.sub(r"\(data:[^)]*\)", "()", answer.text)
    baseline, manual = accuracy({"lr": 0.01, "drop": 0.1, "opt": "adam"}), accuracy({"lr": 0.05, "drop": 0.1, "opt": "adam"})
    assert f"| baseline | {baseline:.6g} |" in text
    assert f"| manual best | {manual:.6g} | {manual - baseline:+.4g} |" in text
    assert "| sweep best |" in text
    assert "It varied lr:" in text and "lr matters most" in text
    assert f"That is {manual - accuracy({'lr': 0.06, 'drop': 0.1, 'opt': 'adam'}):.4g} better than anything before it" in text
    assert "| diverged | loss is &lt;NaN&gt; |" in text
    assert '"seed": 5' in text and "seed 5" in text
    assert "<script" not in text.split("### The spec")[0] and "s\\|gd" in text  # the spec is code


def test_html_is_self_contained_and_escapes_what_people_wrote(study):
    server, sweep = study
    answer = server.request("GET", f"/v1/sweeps/{sweep}/report", expect=200)
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8" and "default-src 'none'" in answer.headers["Content-Security-Policy"]
    html = answer.text
    assert "<script" not in html and "<b>lab" not in html and "three &lt;stages&gt; &amp; more" in html
    assert not re.search(r'(src|href)="', html)
    plots = re.findall(r"<svg.*?</svg>", html, re.S)
    assert len(plots) == 3
    for plot in plots:
        ElementTree.fromstring(plot)
    assert ">ofat<" in plots[0] and ">bayes<" in plots[0]  # the legend
    circles = plots[0].count('r="3"')
    assert circles == sum(trial["value"] is not None for trial in server.get(f"/v1/sweeps/{sweep}/trials?limit=1000")["items"])


def test_long_texts_are_cut_between_characters_and_the_history_is_told(tmp_path):
    with Daemon(tmp_path) as server:
        long = "x" + 60 * "ä"
        sweep = server.create_sweep(method="grid", run_cap=None, parameters={"opt": {"values": [long, "y", "z" + 39 * "ö"]}, "n": {"values": [1, 2]}})["id"]
        worker = server.register()["id"]
        for number in range(6):
            trial, = server.claim(worker, f"c{number}", sweep=sweep)
            outcome = {"state": "completed", "value": number} if number < 5 else {"state": "failed", "reason": "diverged", "detail": "x" + 300 * "é"}
            server.report(trial, 1, outcome=outcome)
        server.patch(f"/v1/sweeps/{sweep}", {"spec": {"description": "dös"}})
        for form in ("html", "md"):
            text = server.request("GET", f"/v1/sweeps/{sweep}/report?format={form}", expect=200).content.decode()  # whole characters only
            assert "x" + 99 * "é" in text and "x" + 100 * "é" not in text
            assert "edited: description: (none) → " in text and "finished" in text


def test_curves_of_the_best_trials_and_what_a_grid_found(tmp_path):
    with Daemon(tmp_path) as server:
        sweep = server.create_sweep(method="staged", run_cap=None, name="curves", baseline={"x": 0.5, "n": 1}, parameters={"x": {"min": 0.0, "max": 1.0}, "n": {"min": 1, "max": 9}},
                                    stages=[{"method": "ofat", "levels": {"x": [0.25, 0.75], "n": [2]}}, {"method": "grid", "select_top": 2, "values": {"x": [0.25, 0.5], "n": [2, 3]}},
                                            {"method": "random", "run_cap": 1}])["id"]
        worker = server.register()["id"]
        for number in range(20):
            trials = server.claim(worker, f"c{number}", sweep=sweep)
            if not trials:
                break
            params = trials[0]["params"]
            points = [{"name": name, "step": step, "value": params["x"] + params["n"] + 1 / step} for name in ("loss", "train/loss") for step in range(1, 1000)]
            for first in range(0, len(points), 999):
                server.report(trials[0], 1 + first, metrics=points[first:first + 999])
            server.report(trials[0], 5000, outcome={"state": "completed", "value": params["x"] + params["n"]})
        assert server.get(f"/v1/sweeps/{sweep}")["state"] == "finished"
        html = server.request("GET", f"/v1/sweeps/{sweep}/report", expect=200).text
        for caption in ("<figcaption>loss of the best trials", "<figcaption>train/loss of the best trials"):
            assert caption in html
        curves = [plot for plot in re.findall(r"<svg.*?</svg>", html, re.S) if "curves of trials" in plot]
        assert len(curves) == 2 and len(html) < 1_000_000
        for plot in curves:
            ElementTree.fromstring(plot)
            assert plot.count("<polyline") == 5 and ">trial 2<" in plot and ">999<" in plot
            for line in re.findall(r'points="([^"]*)"', plot):  # thinned evenly, to the end
                x = [float(point.split(",")[0]) for point in line.split()]
                assert 300 < len(x) <= 401 and x[0] == 70 and x[-1] == 840 and max(b - a for a, b in zip(x, x[1:])) < 4
        text = server.request("GET", f"/v1/sweeps/{sweep}/report?format=md", expect=200).text
        assert "1 of its 4 configurations had been evaluated before." in text
        assert re.search(r"^\| x 0\.25 \| 2 \| 2\.75 \| 2\.25 \|$", text, re.M) and re.search(r"^\| n 3 \| 2 \| 3\.375 \| 3\.25 \|$", text, re.M), text


def grid_maps(server, sweep):
    html = server.request("GET", f"/v1/sweeps/{sweep}/report", expect=200).text
    maps = [plot for plot in re.findall(r"<svg.*?</svg>", html, re.S) if "heat maps of the grid" in plot]
    for plot in maps:
        ElementTree.fromstring(plot)
    return maps


def finish_all(server, sweep, value, fails=lambda params: False):
    worker = server.register()["id"]
    for number in range(200):
        trials = server.claim(worker, f"{sweep}-{number}", sweep=sweep)
        if not trials:
            break
        params = trials[0]["params"]
        failed = {"state": "failed", "reason": "diverged", "detail": ""}
        server.report(trials[0], 1, outcome=failed if fails(params) else {"state": "completed", "value": value(params)})


def test_a_grid_of_two_parameters_is_drawn_as_a_heat_map(tmp_path):
    with Daemon(tmp_path) as server:
        sweep = server.create_sweep(method="grid", run_cap=None, parameters={"a": {"values": [3.0, 1.0, 20.0]}, "b": {"values": ["x<&y", "z"]}, "c": {"value": 5}})["id"]
        server.post(f"/v1/sweeps/{sweep}/trials", {"params": {"a": 3, "b": "z", "c": 5.0}, "value": 7}, expect=201)  # 3 is 3.0's level, 5.0 what is held
        finish_all(server, sweep, lambda params: params["a"] + (0.5 if params["b"] == "z" else 0), fails=lambda params: params["a"] == 20 and params["b"] == "z")
        plot, = grid_maps(server, sweep)
        assert sorted(re.findall(r"<title>(.*?)</title>", plot)) == ["a 1, b x&lt;&amp;y: 1", "a 1, b z: 1.5", "a 20, b x&lt;&amp;y: 20", "a 3, b x&lt;&amp;y: 3", "a 3, b z: 7"]
        assert plot.count("stroke-dasharray") == 1  # the failed one
        columns = {float(x): word for x, word in re.findall(r'<text x="([\d.]+)" y="[\d.]+" text-anchor="middle" fill="#333">(1|3|20)</text>', plot)}
        assert [columns[x] for x in sorted(columns)] == ["1", "3", "20"]  # by size, not as they stand in the spec
        assert len(set(re.findall(r'fill="(#\w+)"/><title>', plot))) == 5  # each value its shade


def test_a_grid_of_three_parameters_is_drawn_as_several_heat_maps_and_a_larger_one_not(tmp_path):
    with Daemon(tmp_path) as server:
        three = {"a": {"values": [1, 2]}, "b": {"values": [0.1, 0.2, 0.3]}, "c": {"values": [1, 2, 3]}}
        sweep = server.create_sweep(method="grid", run_cap=None, parameters=three)["id"]
        server.post(f"/v1/sweeps/{sweep}/trials", {"params": {"a": 1, "b": 0.1, "c": 1}, "value": 0.125}, expect=201)  # not run again, and drawn
        finish_all(server, sweep, lambda params: params["a"] + params["b"] + params["c"])
        plot, = grid_maps(server, sweep)
        titles = re.findall(r"<title>(.*?)</title>", plot)
        assert len(titles) == 18 and ">a 1</text>" in plot and ">a 2</text>" in plot and any(title.endswith(": 0.125") for title in titles)
        sweep = server.create_sweep(method="grid", run_cap=None, parameters={**three, "d": {"values": [1, 2]}})["id"]
        finish_all(server, sweep, lambda params: params["a"])
        assert grid_maps(server, sweep) == []
        sweep = server.create_sweep(method="grid", run_cap=None, parameters={"a": {"values": [1, 2]}, "b": {"values": list(range(40))}})["id"]
        finish_all(server, sweep, lambda params: params["b"])
        assert grid_maps(server, sweep) == []


@pytest.mark.parametrize("values", [[1e17] * 50, [1.7e308, -1.7e308] * 25, [1e308] * 50, [-5e-324, 5e-324] * 25])
def test_numbers_at_the_ends_of_what_there_is_are_drawn_and_averaged(tmp_path, values):
    with Daemon(tmp_path) as server:
        sweep = server.post("/v1/sweeps", {**STUDY, "stages": STUDY["stages"][:2], "repeats": 2}, expect=201)["id"]
        worker = server.register()["id"]
        for number, value in enumerate(values):
            trials = server.claim(worker, f"c{number}", sweep=sweep)
            if not trials:
                break
            server.report(trials[0], 1, metrics=[{"name": "acc", "step": step, "value": (-1) ** step * value if abs(value) == 1.7e308 else value} for step in range(3)],
                          outcome={"state": "completed", "value": value})
        assert server.get(f"/v1/sweeps/{sweep}")["state"] == "finished"
        for question in ("best", "importance", "slice?parameter=lr"):
            server.get(f"/v1/sweeps/{sweep}/{question}")
        plots = re.findall(r"<svg.*?</svg>", server.request("GET", f"/v1/sweeps/{sweep}/report", expect=200).text, re.S)
        assert len(plots) >= 3
        for plot in plots:
            ElementTree.fromstring(plot)
            places = re.findall(r'="([^"]*(?:nan|inf)[^"]*)"', plot)
            assert not places, places
            assert all(-100 <= float(number) <= 2000 for pair in re.findall(r'points="([^"]*)"', plot) for number in re.findall(r"[^ ,]+", pair))
        text = server.request("GET", f"/v1/sweeps/{sweep}/report?format=md", expect=200).text
        levels = re.findall(r"^\| (?:lr|drop) \S+ \| \d+ \| (\S+) \| (\S+) \|$", text, re.M)
        assert levels
        for mean, best in levels:
            assert float(best) == pytest.approx(max(values)) and (float(mean) == pytest.approx(values[0]) if values[0] == values[1] else abs(float(mean)) < abs(values[0]) + 1e-320)


def test_a_sweep_without_trials_has_a_report_and_formats_are_checked(study):
    server, _ = study
    empty = server.create_sweep()["id"]
    assert "No trial has a value yet." in server.request("GET", f"/v1/sweeps/{empty}/report", expect=200).text
    server.request("GET", f"/v1/sweeps/{empty}/report?format=pdf", expect=422)
    server.request("GET", "/v1/sweeps/none/report", expect=404)


def test_sweepctl_writes_it(study, tmp_path):
    server, sweep = study

    def ctl(*args, expect=0):
        done = subprocess.run([program("sweepctl"), "report", sweep, "--server", server.url, *map(str, args)], capture_output=True, text=True,
                              timeout=60 + PATIENCE_S)
        assert done.returncode == expect, done.stderr
        return done.stdout

    assert "## Result" in ctl()
    ctl("--output", tmp_path / "study.html")
    assert (tmp_path / "study.html").read_text().startswith("<!doctype html>")
    ctl("--output", tmp_path / "study.pdf", expect=2)
