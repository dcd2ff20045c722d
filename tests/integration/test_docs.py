"""Every shell block of docs/*.md runs: those of one page in order, as one script, in an empty folder. A block that cannot run here says why
in a comment before it: <!-- not run: reason -->."""
import os
import pathlib
import re
import signal
import subprocess

import pytest

from daemon import PATIENCE_S, ROOT, program

PAGES = sorted((ROOT / "docs").glob("*.md"))
BLOCK = re.compile(r"(<!-- not run: ([^\n]+) -->\n)?^```(\w*)\n(.*?)^```$", re.M | re.S)


def blocks(page):
    """[(script, reason not to run or None)]; a fence of another language is no shell."""
    found = [(text, reason) for _, reason, language, text in BLOCK.findall(page.read_text(encoding="utf-8")) if language in ("", "sh", "bash", "shell", "console")]
    assert page.read_text().count("```") == 2 * len(BLOCK.findall(page.read_text())), f"{page.name}: a fence is left open"
    return [(text, reason or None) for text, reason in found]


def test_there_are_pages_with_blocks_that_run():
    run = [block for page in PAGES for block in blocks(page) if not block[1]]
    skipped = [block for page in PAGES for block in blocks(page) if block[1]]
    assert len(PAGES) >= 3 and len(run) >= 10 and len(skipped) <= len(run) // 4


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_blocks_of_a_page_run(page, tmp_path):
    script = "\n".join(f"{text}" for text, reason in blocks(page) if not reason)
    if not script:
        pytest.skip("no blocks")
    folder = pathlib.Path(program("sweepd")).parent
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    environment.pop("SWEEPD_URL", None)
    if not (folder / "sweepctl").exists():
        pytest.skip("needs an installed copy (SWEEPD_PREFIX)")
    shell = subprocess.Popen(["bash", "-euo", "pipefail", "-c", f"trap 'code=$?; kill $(jobs -p) 2>/dev/null || true; wait; exit $code' EXIT\n{script}"], cwd=tmp_path, env=environment,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)
    try:
        output, _ = shell.communicate(timeout=8 * PATIENCE_S + 60)
    finally:
        try:
            os.killpg(shell.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    assert shell.returncode == 0, output[-4000:]
