"""The web page at many trials, end to end in a real browser: from the navigation to the first plot, and what comes over the wire.

    tests/bench/page.py [--trials 10000] [--rounds 7]

Each round is a new browser profile (nothing cached) on a running server with a stored sweep of so many completed trials, seven parameters.
Prints one JSON object. first_plot_ms is read in the page: from the start of its navigation until its parallel coordinates were painted. Needs
chromium, chromium-driver and python3-selenium, and SWEEPD_PREFIX or ./build."""
import argparse
import gzip
import json
import pathlib
import re
import statistics
import sys
import tempfile
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration"))
from daemon import Daemon  # noqa: E402
from test_web import chromium, names  # noqa: E402

PARAMETERS = {"lr": {"distribution": "log_uniform_values", "min": 1e-5, "max": 1e-2}, "decay": {"min": 0.0, "max": 0.1}, "dropout": {"min": 0.0, "max": 0.5},
              "warmup": {"min": 0, "max": 500}, "layers": {"min": 1, "max": 12}, "optimizer": {"values": ["adam", "sgd", "lion"]}, "clip": {"values": [0.5, 1.0, 2.0]}}
SCRIPT = """
const wait = () => { const first = document.querySelector('main > div')?.dataset.firstPlotAt; if (first) arguments[0]([Number(first), performance.getEntriesByType('resource').reduce((sum, one) => sum + one.encodedBodySize, 0)]); else setTimeout(wait, 5); };
wait();
"""


def trial(k):
    def part(prime):
        return (k * prime % 9973) / 9973
    return {"params": {"lr": 10 ** (-5 + 3 * part(7919)), "decay": 0.1 * part(104729), "dropout": 0.5 * part(1299709), "warmup": k * 31 % 501, "layers": 1 + k % 12,
                       "optimizer": ["adam", "sgd", "lion"][k % 3], "clip": [0.5, 1.0, 2.0][k // 3 % 3]}, "value": 1 + part(15485863)}


def weight(server):
    """Compressed bytes of the page's own files."""
    total = 0
    for path in ["/"] + [f"/assets/{name}" for name in names(server)]:
        request = urllib.request.Request(server.url + path, headers={"Accept-Encoding": "gzip"})
        with urllib.request.urlopen(request) as answer:
            raw = answer.read()
            gzip.decompress(raw)
            total += len(raw)
    return total


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=10000)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Daemon(pathlib.Path(folder)) as server:
        sweep = server.create_sweep(name="large", run_cap=None, parameters=PARAMETERS)["id"]
        for first in range(0, args.trials, 1000):
            server.post(f"/v1/sweeps/{sweep}/trials", {"trials": [trial(k) for k in range(first, min(first + 1000, args.trials))]}, expect=201)
        plots, sizes = [], []
        for _ in range(args.rounds):
            with chromium() as browser:
                version = re.search(r"[\d.]+", browser.driver.capabilities["browserVersion"])[0]
                browser.open(server, f"/sweep/{sweep}")
                first, size = browser.driver.execute_async_script(SCRIPT)
                plots.append(first)
                sizes.append(size)
        print(json.dumps({"trials": args.trials, "rounds": args.rounds, "browser": f"chromium {version}", "page_kb": round(weight(server) / 1000),
                          "first_plot_ms": {"median": statistics.median(plots), "min": min(plots), "max": max(plots)},
                          "received_until_then_kb": round(statistics.median(sizes) / 1000)}))


if __name__ == "__main__":
    main()
