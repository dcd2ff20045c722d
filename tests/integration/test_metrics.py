"""GET /metrics: OpenMetrics text that parses, counts what happened, and has every name that the alerts and the dashboard use."""
import json
import math
import re

import pytest
import yaml
from daemon import ROOT, Daemon

pytestmark = pytest.mark.coordinator
SUFFIXES = {"counter": ["_total"], "gauge": [""], "histogram": ["_bucket", "_sum", "_count"], "info": ["_info"]}
SAMPLE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{((?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*",?)*)\})? (\S+)')


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with Daemon(tmp_path_factory.mktemp("metrics")) as daemon:
        yield daemon


def parse(text):
    """The samples of OpenMetrics text: {name: {labels: value}}; asserts what the format demands."""
    assert text.endswith("# EOF\n") and text.count("# EOF") == 1
    families, samples, current = {}, {}, None
    for line in text.splitlines()[:-1]:
        if line.startswith("# "):
            _, word, name, rest = line.split(" ", 3)
            if word == "TYPE":
                assert name not in families, f"{name} comes twice"
                families[name] = rest
                current = name
            elif word == "UNIT":
                assert name == current and name.endswith("_" + rest)
            else:
                assert word == "HELP" and name == current and rest
            continue
        match = SAMPLE.fullmatch(line)
        assert match, f"no sample: {line}"
        name, labels, value = match.groups()
        kind = families[current]
        assert name in [current + suffix for suffix in SUFFIXES[kind]], f"{name} stands under {current}"
        labels = tuple(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels or ""))
        series = samples.setdefault(name, {})
        assert labels not in series, f"twice: {line}"
        assert math.isfinite(float(value))
        if kind != "gauge":
            assert float(value) >= 0
        series[labels] = float(value)
    for family, kind in families.items():
        if kind == "histogram":
            check_histogram(family, samples)
    return samples


def check_histogram(family, samples):
    grouped = {}
    for labels, value in samples.get(family + "_bucket", {}).items():
        grouped.setdefault(labels[:-1], []).append((float(labels[-1][1]), value))
        assert labels[-1][0] == "le"
    for labels, buckets in grouped.items():
        assert buckets == sorted(buckets) and buckets[-1][0] == math.inf
        assert [n for _, n in buckets] == sorted(n for _, n in buckets)
        assert samples[family + "_count"][labels] == buckets[-1][1]


def scrape(server):
    response = server.request("GET", "/metrics", expect=200)
    assert response.headers["Content-Type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    return parse(response.text)


def test_what_happened_is_counted(server):
    before = scrape(server)
    sweep = server.create_sweep(name="counted")
    worker = server.register("counter", slots=2)
    one, two = server.claim(worker["id"], "c1", slots=2, sweep=sweep["id"])
    server.report(one, 1, metrics=[{"name": "loss", "step": step, "value": 1.0} for step in range(3)])
    server.report(one, 2, outcome={"state": "completed"})
    server.request("GET", "/v1/nowhere", expect=404)
    after = scrape(server)

    def grew(name, *labels):
        return after.get(name, {}).get(labels, 0) - before.get(name, {}).get(labels, 0)

    assert grew("sweepd_trials", ("state", "completed")) == 1 and grew("sweepd_trials", ("state", "running")) == 1
    assert grew("sweepd_sweeps", ("state", "running")) == 1 and grew("sweepd_workers", ("state", "active")) == 1
    assert grew("sweepd_trial_moves_total", ("state", "running")) == 2 and grew("sweepd_trial_moves_total", ("state", "completed")) == 1
    assert grew("sweepd_metric_points_total") == 3 and grew("sweepd_leases") == 1
    report = (("method", "POST"), ("route", "/v1/trials/{id}/report"))
    assert grew("sweepd_http_requests_total", *report, ("code", "200")) == 2 and grew("sweepd_http_request_seconds_count", *report) == 2
    assert grew("sweepd_http_requests_total", ("method", ""), ("route", ""), ("code", "404")) == 1
    assert grew("sweepd_commit_seconds_count") == grew("sweepd_turn_seconds_count") == grew("sweepd_commit_writes_count") >= 3
    assert grew("sweepd_commit_writes_sum") == 5
    assert after["sweepd_healthy"][()] == 1 and after["process_resident_memory_bytes"][()] > 1e6
    assert after["sweepd_http_connections"][()] >= 1
    server.patch(f"/v1/sweeps/{sweep['id']}", {"state": "cancelled"})


def test_lost_leases_are_counted(tmp_path):
    with Daemon(tmp_path, "--lease-s", 1) as server:
        server.create_sweep()
        server.claim(server.register("lost")["id"], "c")
        server.wait_until("/v1/workers", lambda page: page["items"][0]["state"] == "gone")
        assert scrape(server)["sweepd_lease_ends_total"][(("reason", "expired"),)] == 1


def test_proposals_of_a_model_are_timed(server):
    sweep = server.create_sweep(name="modelled", method="bayes", run_cap=20)
    worker = server.register("modeller")
    for i in range(12):
        trial = server.claim(worker["id"], f"m{i}", wait_s=20, sweep=sweep["id"])[0]
        server.report(trial, 1, outcome={"state": "completed", "value": trial["params"]["x"]})
    assert scrape(server)["sweepd_proposal_seconds_count"][()] >= 1
    server.patch(f"/v1/sweeps/{sweep['id']}", {"state": "cancelled"})


def names_in(expression):
    """The names of metrics in a PromQL expression."""
    expression = re.sub(r'"[^"]*"', "", expression)
    return set(re.findall(r"\b(?:sweepd|process)_\w+", expression))


def test_alerts_and_dashboard_use_names_that_are_there(server):
    there = set(scrape(server))
    alerts = yaml.safe_load((ROOT / "deploy/monitoring/sweepd-alerts.yml").read_text())
    rules = [rule for group in alerts["groups"] for rule in group["rules"]]
    for rule in rules:
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"} and rule["annotations"]["summary"]
        assert names_in(rule["expr"]) <= there or rule["alert"] == "SweepdDown", rule["alert"]
    assert len({rule["alert"] for rule in rules}) == len(rules) >= 10
    dashboard = json.loads((ROOT / "deploy/monitoring/sweepd-dashboard.json").read_text())
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"]) >= 10
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            assert names_in(target["expr"]) <= there and names_in(target["expr"]), f"{panel['title']}: {target['expr']}"
