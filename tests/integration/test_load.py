"""Many clients at once: who gets served, and that everybody is answered."""
import collections
import concurrent.futures
import time

import pytest
import requests

from daemon import Daemon, PATIENCE_S

pytestmark = pytest.mark.coordinator
N_CLIENTS = 16


def work(server, i, until):
    """Claims and completes whatever it is given; the sweeps in order of service."""
    session, served, n = requests.Session(), [], 0
    session.trust_env = False

    def post(path, body):
        response = session.post(server.url + path, json=body, timeout=60 + PATIENCE_S)
        assert response.status_code in (200, 204), response.text
        return response.json() if response.content else None

    worker = session.post(server.url + "/v1/workers", json={"name": f"w{i}", "slots": 1, "trainers": ["external"]}).json()["id"]
    while len(served) < until:
        n += 1
        claimed = post("/v1/claims", {"worker": worker, "claim_id": f"c{n}", "wait_s": 30})
        if not claimed:
            break
        trial = claimed["trials"][0]
        served.append((time.monotonic(), trial["sweep"]))
        post(f"/v1/trials/{trial['id']}/report", {"lease": trial["lease"], "seq": 1, "outcome": {"state": "completed", "value": 1.0}})
    return served


def test_sweeps_of_one_priority_are_served_evenly_under_load_and_lower_ones_wait(tmp_path):
    with Daemon(tmp_path) as server:
        low = server.create_sweep(name="low", priority=1, run_cap=None)["id"]
        high = [server.create_sweep(name=f"high {i}", priority=5, run_cap=100)["id"] for i in range(3)]
        with concurrent.futures.ThreadPoolExecutor(N_CLIENTS) as pool:
            served = sum(pool.map(lambda i: work(server, i, 24), range(N_CLIENTS)), [])
        counts = collections.Counter(sweep for _, sweep in served)
        assert [counts[sweep] for sweep in high] == [100] * 3 and counts[low] == 24 * N_CLIENTS - 300
        order = [sweep for _, sweep in sorted(served)]
        early = collections.Counter(order[:150])  # clients note the time when they have the answer: nearly in the server's order
        assert early[low] == 0 and all(abs(early[sweep] - 50) <= N_CLIENTS for sweep in high), early
