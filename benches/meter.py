"""What a client in Python needed for the events of a recording, measured by itself: processor time of the whole
process and time on the wall, from the first event to the last, and the peak of its memory."""

from __future__ import annotations

import json
import os
import resource
import time


def cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def peak_kib() -> int:
    """Not from getrusage: there it begins with the memory of whoever started the process."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))


class Meter:
    """Counts events, and ends the process with a line of JSON at the last."""

    def __init__(self, client: str) -> None:
        self.client = client
        self.events = self.left = int(os.environ["BENCH_EVENTS"])
        self.cpu = self.wall = 0.0

    def event(self) -> None:
        """To be called for every numbered event."""
        self.batch(1)

    def batch(self, count: int) -> None:
        """To be called for so many of them."""
        if self.left == self.events:
            self.cpu, self.wall = cpu_s(), time.monotonic()
        self.left -= count
        if self.left <= 0:
            cpu, wall = cpu_s() - self.cpu, time.monotonic() - self.wall
            figures = {"client": self.client, "events": self.events - self.left, "cpu_s": cpu, "wall_s": wall}
            print(json.dumps({**figures, "peak_kib": peak_kib()}), flush=True)
            # Saying goodbye is not what is measured, and some take their time over it.
            os._exit(0)
