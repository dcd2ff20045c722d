"""The libFuzzer targets build with clang, as RELIABILITY.md says, and run. Their corpora are replayed by `meson test --suite fuzz`
without any of that; here it counts that the build with -Dfuzz=true still configures, compiles and links under the other compiler."""
import os
import shutil
import subprocess

import pytest

from daemon import ROOT, SANITIZED

FLAGS = ["-fsanitize=address,undefined,fuzzer"]


@pytest.fixture
def clang(tmp_path):
    if SANITIZED:
        pytest.skip("the plain build's tests make the libFuzzer build, which brings its own sanitizers")
    compiler = shutil.which("clang")
    if not compiler:
        pytest.skip("clang is not installed")
    probe = tmp_path / "probe.c"
    probe.write_text("int LLVMFuzzerTestOneInput(const unsigned char *data, unsigned long size) { return data && size > 1e9; }\n")
    if subprocess.run([compiler, *FLAGS, "-o", tmp_path / "probe", probe], capture_output=True).returncode != 0:
        pytest.skip("this clang has no libFuzzer (Debian's is in libclang-rt-14-dev or libclang-common-14-dev)")
    return compiler


def run(*command, **keywords):
    done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600, **keywords)
    assert done.returncode == 0, done.stdout[-8000:]
    return done.stdout


def test_the_fuzz_targets_build_with_clang_and_run(tmp_path, clang):
    build = tmp_path / "build"
    run("meson", "setup", build, ROOT, "-Dfuzz=true", "-Dsanitize=address,undefined", "--buildtype=plain", env={**os.environ, "CC": clang})
    run("ninja", "-C", build, "fuzzers")
    names = sorted(path.stem.removeprefix("fuzz_") for path in (ROOT / "tests/fuzz").glob("fuzz_*.c"))
    assert names == sorted(path.name for path in (ROOT / "tests/fuzz/corpus").iterdir())
    for name in names:
        text = run(build / "tests/fuzz" / f"fuzz_{name}", "-runs=50", "-seed=1", "-artifact_prefix=" + str(tmp_path) + "/", cwd=tmp_path)
        assert "Done 50 runs" in text, text
