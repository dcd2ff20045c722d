#!/usr/bin/python3
"""Adds up what tests/run.sh left in a folder and prints the last line: N passed, N failed, N skipped.

Reads *.testlog.json (meson: one JSON object a test program; the cmocka tests inside are counted one by one),
*.junit.xml (pytest), steps.failed and steps.skipped (one line for each step that is not a test).
Exit code 1 when anything failed or nothing passed.
"""

import json
import pathlib
import re
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter

CMOCKA_LINE = re.compile(r"^\[ +(OK|FAILED|SKIPPED|ERROR) +\] ([A-Za-z_]\w*)$", re.MULTILINE)
CMOCKA_WORD = {"OK": "passed", "SKIPPED": "skipped", "FAILED": "failed", "ERROR": "failed"}
MESON_WORD = {"OK": "passed", "EXPECTEDFAIL": "passed", "SKIP": "skipped"}


def count_meson_program(test, failures):
    """One test program: its cmocka tests where it has any, else itself."""
    text = (test.get("stdout") or "") + "\n" + (test.get("stderr") or "")
    inner = dict.fromkeys(CMOCKA_LINE.findall(text))  # the summary repeats failed names
    words = {}
    for word, name in inner:
        if words.get(name) != "failed":
            words[name] = CMOCKA_WORD[word]
    outcome = MESON_WORD.get(test["result"], "failed")
    count = Counter(words.values()) if words and outcome != "skipped" else Counter([outcome])
    failures += [f"{test['name']}: {name}" for name, word in words.items() if word == "failed"]
    if outcome == "failed" and not count["failed"]:
        count["failed"] = 1  # a crash, a leak or a time-out outside any of them
        failures.append(f"{test['name']}: {test['result']} (exit code {test.get('returncode')})")
    return count


def count_meson(path, failures):
    count = Counter()
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        if line.strip():
            count += count_meson_program(json.loads(line), failures)
    return count


def count_pytest(path, failures):
    count = Counter()
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        tags = {child.tag for child in case}
        if tags & {"failure", "error"}:
            count["failed"] += 1
            failures.append(f"{case.get('classname')}::{case.get('name')}")
        elif "skipped" in tags:
            count["skipped"] += 1
        else:
            count["passed"] += 1
    return count


def count_steps(path):
    return len(path.read_text().splitlines()) if path.exists() else 0


def main():
    folder = pathlib.Path(sys.argv[1])
    total = Counter()
    failures = []
    rows = []
    for pattern, reader in (("*.testlog.json", count_meson), ("*.junit.xml", count_pytest)):
        for path in sorted(folder.glob(pattern)):
            count = reader(path, failures)
            rows.append((path.name.split(".")[0], count))
            total += count
    total["failed"] += count_steps(folder / "steps.failed")
    total["skipped"] += count_steps(folder / "steps.skipped")
    for name, count in rows:
        print(f"{name:24} {count['passed']:5} passed {count['failed']:4} failed {count['skipped']:4} skipped")
    for failure in failures:
        print("failed:", failure)
    print(f"{total['passed']} passed, {total['failed']} failed, {total['skipped']} skipped")
    return 1 if total["failed"] or not total["passed"] else 0


if __name__ == "__main__":
    sys.exit(main())
