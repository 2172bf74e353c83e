"""Processes that a test starts, and what they say."""

import atexit
import re
import signal
import socket
import subprocess
import sys
import threading

# Patience with one thing; only reached when something is wrong.
PATIENCE_S = 180


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Process:
    """A process, and the lines that it says. `told` gets each of them."""

    def __init__(self, command, env=None, told=None):
        self.seen = []
        self.news = threading.Condition()
        self.process = subprocess.Popen(
            [str(part) for part in command], env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, errors="replace")
        # Whatever becomes of the test.
        atexit.register(self._end)
        threading.Thread(target=self._read, args=(told or (lambda line: None),), daemon=True).start()

    def _read(self, told):
        for line in self.process.stdout:
            line = line.rstrip()
            told(line)
            with self.news:
                self.seen.append(line)
                self.news.notify_all()

    def _end(self):
        """Ends it, in peace if it can: a cluster that is killed leaves its workers behind."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                self.process.kill()

    def line(self, pattern, since=0):
        """The first line from there on that fits."""
        with self.news:
            for _ in range(PATIENCE_S):
                for line in self.seen[since:]:
                    found = re.search(pattern, line)
                    if found:
                        return found
                self.news.wait(1)
        sys.exit(f"no line like {pattern!r} came: " + "\n".join(self.seen[-20:]))

    def stop(self):
        """Has it stop in peace; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=PATIENCE_S)
