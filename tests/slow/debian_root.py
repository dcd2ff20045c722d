"""A clean Debian 12 root to install our packages in: made by debootstrap, entered in namespaces of its own. Needs root's privileges.

Packages are built by deploy/build-packages.sh, or taken from SWEEPD_PACKAGES; the root comes from the first Debian archive that this machine's
apt knows, or from SWEEPD_TEST_MIRROR, or is a folder that was made so before, SWEEPD_TEST_ROOT. Takes minutes and 1 GB below pytest's folder.
"""
import os
import pathlib
import shutil
import subprocess
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PACKAGES = ("sweepd", "sweep-worker", "sweepctl")
ENV = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive", "HOME": "/root",
       **{name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")}}


def run(*command, **options):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env={**ENV, **options.pop("env", {})}, **options)
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def mirror():
    if os.environ.get("SWEEPD_TEST_MIRROR"):
        return os.environ["SWEEPD_TEST_MIRROR"]
    listed = run("apt-get", "indextargets", "--format", "$(REPO_URI) $(CODENAME)", "Created-By: Packages").split("\n")
    urls = [line.split()[0] for line in listed if line.endswith(" bookworm")]
    return urls[0] if urls else pytest.skip("apt knows no archive of bookworm: set SWEEPD_TEST_MIRROR")


@pytest.fixture(scope="session")
def packages(tmp_path_factory):
    if os.environ.get("SWEEPD_PACKAGES"):
        folder = pathlib.Path(os.environ["SWEEPD_PACKAGES"])
    else:
        if not shutil.which("dpkg-buildpackage"):
            pytest.skip("dpkg-buildpackage is not installed")
        folder = tmp_path_factory.mktemp("packages")
        begun = time.monotonic()
        run(ROOT / "deploy" / "build-packages.sh", folder)
        print(f"\nbuilt in {time.monotonic() - begun:.0f} s")
    found = {name: next(folder.glob(f"{name}_*.deb")) for name in PACKAGES}
    for name, path in found.items():
        print(f"{name}: {path.stat().st_size / 1e6:.2f} MB")
    return found


class Root:
    """A Debian root; commands run in it."""

    def __init__(self, folder):
        self.folder = folder

    def __call__(self, *command, network=True, timeout=1800):
        """In namespaces of its own, so that nothing that it starts outlives it; without a network but loopback, if told so."""
        inner = 'mount -t proc proc "$1/proc"; [ "$2" = yes ] || ip link set lo up; root=$1; shift 2; exec chroot "$root" "$@"'
        return run("unshare", "--mount", "--pid", "--fork", "--kill-child", *([] if network else ["--net"]), "sh", "-ec", inner, "sh", self.folder,
                   "yes" if network else "no", *command, timeout=timeout)

    def write(self, path, text, mode=0o644):
        place = self.folder / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        place.chmod(mode)


@pytest.fixture(scope="session")
def bookworm(tmp_path_factory):
    """The folder of a root with nothing but what debootstrap's minbase has; nobody writes to it."""
    for tool in ("debootstrap", "unshare", "nsenter", "chroot", "ip"):
        if not shutil.which(tool, path=ENV["PATH"]):
            pytest.skip(f"{tool} is not installed")
    if os.geteuid() != 0 or subprocess.run(["unshare", "--mount", "--pid", "--net", "--fork", "true"], capture_output=True).returncode != 0:
        pytest.skip("a clean root needs root's privileges")
    if os.environ.get("SWEEPD_TEST_ROOT"):
        yield pathlib.Path(os.environ["SWEEPD_TEST_ROOT"])
        return
    source = mirror()
    folder = tmp_path_factory.mktemp("bookworm") / "root"
    run("debootstrap", "--variant=minbase", "bookworm", folder, source, timeout=1800)
    (folder / "etc/apt/sources.list").write_text(f"deb {source} bookworm main\n")
    (folder / "usr/sbin/policy-rc.d").write_text("#!/bin/sh\nexit 101\n")  # Debian's way to say: start nothing here
    (folder / "usr/sbin/policy-rc.d").chmod(0o755)
    Root(folder)("apt-get", "update")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def root(bookworm, tmp_path_factory):
    """A root of the module's own: a layer over the clean one."""
    place = tmp_path_factory.mktemp("layer")
    for name in ("upper", "work", "root"):
        (place / name).mkdir()
    run("mount", "-t", "overlay", "overlay", "-o", f"lowerdir={bookworm},upperdir={place}/upper,workdir={place}/work", place / "root")
    yield Root(place / "root")
    run("umount", "--lazy", place / "root")
    shutil.rmtree(place, ignore_errors=True)
