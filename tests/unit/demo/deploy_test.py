#!/usr/bin/python3
"""What deploy/ holds fits the programs.

    deploy_test.py units FILE…                  systemd finds nothing to say about the units
    deploy_test.py exposure FILE…               systemd finds them as closed as we promise
    deploy_test.py config SAMPLE PROGRAM        the sample names every key of the program and no other, and is accepted
    deploy_test.py scripts FILE…                the shell reads them
"""

import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

SKIPPED = 77
NOT_FOR_FILES = {"config", "dump-config", "check-config", "help", "version"}


def check_units(paths):
    """The programs need not be installed: their place is taken by /bin/true. Warnings count, as systemd goes on after them."""
    if not shutil.which("systemd-analyze"):
        print("skipped: systemd-analyze is not installed")
        return SKIPPED
    with tempfile.TemporaryDirectory() as folder:
        for path in map(pathlib.Path, paths):
            unit = pathlib.Path(folder) / path.name
            text = path.read_text()
            if path.suffix == ".service":
                assert re.search(r"^ExecStart=.*/\S+/(sweepd|sweep-worker) ", text, re.MULTILINE), f"{path}: no program with its whole path"
                assert "Restart=" not in text or "RestartPreventExitStatus=2" in text, f"{path}: a wrong option would be tried for ever"
            unit.write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", text, flags=re.MULTILINE))
        for path in map(pathlib.Path, paths):
            unit = pathlib.Path(folder) / path.name
            done = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True)
            said = [line for line in done.stderr.splitlines() if folder in line or path.stem in line]
            assert done.returncode == 0 and not said, f"{path.name}: {done.stderr}"
    return 0


EXPOSURE_MAX = {"sweepd.service": 1.5, "sweep-worker@.service": 2.5, "sweepd-backup.service": 1.5}


def check_exposure(paths):
    if not shutil.which("systemd-analyze"):
        print("skipped: systemd-analyze is not installed")
        return SKIPPED
    for path in map(pathlib.Path, paths):
        done = subprocess.run(["systemd-analyze", "security", "--offline=true", "--no-pager", path], capture_output=True, text=True)
        found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
        assert found, done.stdout + done.stderr
        print(f"{path.name}: {found.group(1)}")
        assert float(found.group(1)) <= EXPOSURE_MAX[path.name], done.stdout
    return 0


def check_config(sample, program):
    sample_text = pathlib.Path(sample).read_text()
    named = re.findall(r"^(?:# )?([a-z][a-z-]*) = ", sample_text, re.MULTILINE)
    help_text = subprocess.run([program, "--help"], capture_output=True, text=True, check=True).stdout
    known = set(re.findall(r"^ *--([a-z][a-z-]*)", help_text, re.MULTILINE)) - NOT_FOR_FILES
    assert known, "no options in --help"
    assert known == set(named), f"not in the sample: {sorted(known - set(named))}, not in the program: {sorted(set(named) - known)}"
    assert len(named) == len(set(named)), "a key is there twice"
    for text in (sample_text, re.sub(r"^# ([a-z][a-z-]* = )", r"\1", sample_text, flags=re.MULTILINE)):
        with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
            file.write(text)
            file.flush()
            done = subprocess.run([program, "--config", file.name, "--dump-config"], capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
    return 0


def check_scripts(paths):
    for path in paths:
        shell = pathlib.Path(path).read_text().split("\n", 1)[0].removeprefix("#!")
        done = subprocess.run([shell, "-n", path], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    return 0


def main():
    what, arguments = sys.argv[1], sys.argv[2:]
    if what == "config":
        return check_config(*arguments)
    return {"units": check_units, "exposure": check_exposure, "scripts": check_scripts}[what](arguments)


if __name__ == "__main__":
    sys.exit(main())
