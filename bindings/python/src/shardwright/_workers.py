"""Threads for handlers that are plain functions."""

from __future__ import annotations

import queue
import threading
from typing import Callable, Optional

MAX_THREADS = 32
"""Plain handlers that run at once; more wait their turn."""


class Workers:
    """A few daemon threads. Unlike those of `concurrent.futures` they do not hold up the end of the
    program: Ctrl-C must not wait for a slow handler."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Optional[Callable[[], None]]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads = 0
        self._idle = 0
        self._is_closed = False

    def run(self, job: Callable[[], None]) -> None:
        """Runs a job, which must not raise, in one of the threads."""
        with self._lock:
            if self._is_closed:
                return
            self._jobs.put(job)
            if self._idle > 0:
                self._idle -= 1
            elif self._threads < MAX_THREADS:
                self._threads += 1
                name = f"shardwright-handler-{self._threads}"
                threading.Thread(target=self._work, name=name, daemon=True).start()

    def close(self) -> None:
        """Takes no more jobs; those that run go on, those that wait are forgotten."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            for _ in range(self._threads):
                self._jobs.put(None)

    def _work(self) -> None:
        while True:
            job = self._jobs.get()
            if job is None:
                return
            if not self._is_closed:
                job()
            del job
            with self._lock:
                self._idle += 1
