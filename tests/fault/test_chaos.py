"""One short round of tests/fault/chaos/run.py, which does it for hours."""
import json
import pathlib
import sys

import pytest

from daemon import SANITIZED

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "chaos"))
import run as chaos  # noqa: E402


@pytest.mark.skipif(SANITIZED, reason="the shim takes the sanitizer's place in front of libc")
def test_nothing_acknowledged_is_lost_or_doubled_whatever_fails(tmp_path):
    if not chaos.shim_path().exists():
        pytest.skip("the shim is not built")
    lines = []
    faults, figures = chaos.run(tmp_path, seed=7, minutes=0.25, kills=12, round_kills=12, demo=False, say=lines.append)
    assert not faults, "\n".join([*faults[:20], *map(json.dumps, lines)])
    assert figures["acknowledged"] > 100
