"""Starts the real worker for a test, with one slot and one thread.

    with WorkerProcess(server.url, folder, "--allow-command", f"prog={path}") as worker:
        ...
"""
import signal
import subprocess
import time

from daemon import PATIENCE_S, program


class WorkerProcess:
    """One sweep-worker. `folder` holds its work folder and its log; a second one there takes them over."""

    def __init__(self, url, folder, *args, name="w"):
        self.log_path = folder / "worker.log"
        self.command = [program("sweep-worker"), "--coordinator", url, "--name", name, "--slots", "1", "--threads", "1", "--work-dir",
                        str(folder / "work"), "--min-free-mb", "0", *map(str, args)]
        self.start()

    def start(self):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(self.command, stderr=log, stdout=subprocess.DEVNULL)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(PATIENCE_S)
        finally:
            self.process.kill()

    def log(self):
        return self.log_path.read_text(errors="replace")

    def wait_for_log(self, words):
        deadline = time.monotonic() + PATIENCE_S
        while words not in self.log():
            assert time.monotonic() < deadline, f"never said {words!r}: {self.log()[-4000:]}"
            time.sleep(0.02)

    def __enter__(self):
        return self

    def __exit__(self, *ignored):
        self.stop()
