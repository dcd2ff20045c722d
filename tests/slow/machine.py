"""A Debian root booted as a machine: systemd is its first process, in namespaces of its own (files, processes, network, cgroups).

    with Machine(root) as machine:
        machine("systemctl", "start", "sweepd")

The root is debian_root's, with systemd installed in it. Nothing but loopback is reachable from inside.
"""
import os
import pathlib
import re
import subprocess
import time

import pytest
from debian_root import ENV, run

BOOT = r"""
ip link set lo up
cd "$1"
mount -t proc proc proc
mount -t sysfs sysfs sys
if [ -z "$2" ]; then
        mount -t cgroup2 cgroup2 sys/fs/cgroup
else    # the older hierarchies hold the controllers
        mount -t tmpfs -o mode=755 tmpfs sys/fs/cgroup
        for name in unified systemd $2; do mkdir sys/fs/cgroup/$name; done
        mount -t cgroup2 cgroup2 sys/fs/cgroup/unified
        mount -t cgroup -o none,name=systemd cgroup sys/fs/cgroup/systemd
        for name in $2; do mount -t cgroup -o $name cgroup sys/fs/cgroup/$name; done
fi
mount -t tmpfs -o mode=755 tmpfs dev
for device in null:3 zero:5 full:7 random:8 urandom:9; do mknod -m 666 dev/${device%:*} c 1 ${device#*:}; done
mknod -m 666 dev/tty c 5 0
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
mount -t tmpfs -o mode=1777 tmpfs dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mkdir -p mnt/host
pivot_root . mnt/host
cd /
umount -l /mnt/host
mount --make-rshared /   # credentials are mounted beside and must arrive
exec env -i container=sweepd-test PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --system
"""


CONTROLLERS = ("memory", "pids")  # that the units have limits for


def hierarchies():
    """Where cgroups are mounted here: the unified hierarchy, and by name those of the controllers that have one of their own, and systemd's."""
    mounts = re.findall(r"^\S+ (\S+) (cgroup2?) (\S+) ", pathlib.Path("/proc/mounts").read_text(), re.M)
    unified = [pathlib.Path(place) for place, kind, _ in mounts if kind == "cgroup2"]
    older = {name: pathlib.Path(place) for place, kind, options in mounts if kind == "cgroup"
             for name in (*CONTROLLERS, "systemd") if name in re.split("[,=]", options)}
    return (unified[0], older) if unified else pytest.skip("no unified hierarchy of cgroups is mounted here")


class Machine:
    """`with` boots it; commands run in it as root. `reboot` ends all its processes as its own systemd does, and boots it again on the same files."""

    def __init__(self, root):
        self.root = root
        self.init = None  # the first process, as it is numbered outside
        unified, older = hierarchies()
        self.cgroup = unified / f"sweepd-machine-{os.getpid()}"
        self.older = {name: place / self.cgroup.name for name, place in older.items()} if "systemd" in older else {}

    def __enter__(self):
        for cgroup in self.cgroups():
            cgroup.mkdir()
        return self.boot()

    def __exit__(self, *_):
        if self.init:
            self.off("poweroff")
        self.clear()
        for cgroup in self.cgroups():
            for folder, _, _ in os.walk(cgroup, topdown=False):
                os.rmdir(folder)

    def cgroups(self):
        return [self.cgroup, *self.older.values()]

    def boot(self):
        enter_and_boot = 'for cgroup in $1; do echo $$ > "$cgroup/cgroup.procs"; done; shift; exec "$@"'
        own = " ".join(name for name in self.older if name in CONTROLLERS)
        self.shell = subprocess.Popen(["sh", "-ec", enter_and_boot, "sh", " ".join(map(str, self.cgroups())), "unshare", "--mount", "--pid", "--cgroup", "--uts", "--ipc", "--net",
                                       "--fork", "--kill-child", "sh", "-ec", BOOT, "sh", self.root.folder, own], env=ENV, stdout=subprocess.DEVNULL)
        for _ in range(600):
            children = subprocess.run(["pgrep", "-P", str(self.shell.pid), "-x", "systemd"], capture_output=True, text=True).stdout.split()
            self.init = int(children[0]) if children else None
            if self.init and self("systemctl", "is-system-running", check=False).strip() in ("running", "degraded"):
                return self
            if self.shell.poll() is not None:
                break
            time.sleep(0.2)
        self.clear()
        pytest.skip("systemd as the first process of namespaces does not come up here")

    def clear(self):
        """Nothing of it runs any more."""
        (self.cgroup / "cgroup.kill").write_text("1")
        self.shell.wait()
        self.init = None
        for _ in range(100):
            if "populated 0" in (self.cgroup / "cgroup.events").read_text():
                return
            time.sleep(0.1)

    def off(self, how):
        self("systemctl", "--no-block", how, check=False)
        try:
            self.shell.wait(timeout=120)
        except subprocess.TimeoutExpired:
            print(f"{how} took more than 120 s")
        self.clear()

    def reboot(self):
        self.off("reboot")
        return self.boot()

    def __call__(self, *command, check=True, timeout=600):
        enter = ["nsenter", "--target", str(self.init), "--mount", "--pid", "--cgroup", "--uts", "--ipc", "--net", "--root", "--wd", "--"]
        if check:
            return run(*enter, *command, timeout=timeout)
        done = subprocess.run([*enter, *map(str, command)], capture_output=True, text=True, env=ENV, timeout=timeout)
        return done.stdout + done.stderr

    def show(self, unit, name):
        """One of the properties that systemd keeps about a unit."""
        return self("systemctl", "show", "--property", name, "--value", unit).strip()

    def wait(self, what, condition, seconds=90):
        """Until condition() holds; returns what it gave."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = condition()
            if found:
                return found
            time.sleep(0.2)
        raise AssertionError(f"{what}: not within {seconds} s\n{self.journal()[-6000:]}")

    def journal(self, *args):
        return self("journalctl", "--no-pager", "--output", "cat", *args)
