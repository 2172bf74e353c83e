"""Calls back in an asyncio loop while a descriptor is readable."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import threading
from typing import Callable, Optional


class Watcher:
    """Watches a descriptor, which it owns: with `add_reader`, or with a thread where the loop has none.

    Made, paused, resumed and closed in the loop's thread.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, fd: int, on_readable: Callable[[], None]) -> None:
        self._loop = loop
        self._fd = fd
        self._on_readable = on_readable
        self._is_watching = False
        self._thread: Optional[_Thread] = None
        try:
            loop.add_reader(fd, on_readable)
            self._is_watching = True
        except NotImplementedError:
            self._thread = _Thread(loop, fd, on_readable)
            self._thread.arm()
        except BaseException:
            os.close(fd)
            raise

    def resume(self) -> None:
        """Calls back (again) while the descriptor is readable. A thread calls once for each `resume`."""
        if self._fd < 0:
            return
        if self._thread is not None:
            self._thread.arm()
        elif not self._is_watching:
            self._loop.add_reader(self._fd, self._on_readable)
            self._is_watching = True

    def pause(self) -> None:
        """Does not call back until `resume`."""
        if self._is_watching:
            self._loop.remove_reader(self._fd)
            self._is_watching = False

    def close(self) -> None:
        """Ends it and closes the descriptor; may be called again."""
        if self._fd < 0:
            return
        fd, self._fd = self._fd, -1
        if self._thread is not None:
            self._thread.close()
            return
        if self._is_watching and not self._loop.is_closed():
            self._loop.remove_reader(fd)
        os.close(fd)

    def abandon(self) -> None:
        """Closes it from any thread, also when the loop is gone: for the garbage collector."""
        try:
            self._loop.call_soon_threadsafe(self.close)
        except RuntimeError:  # the loop is closed, nothing watches any more
            self.close()


class _Thread:
    """A thread that waits for the descriptor. It takes nothing from it, it only says when to look."""

    def __init__(self, loop: asyncio.AbstractEventLoop, fd: int, on_readable: Callable[[], None]) -> None:
        self._loop = loop
        self._fd = fd
        self._on_readable = on_readable
        self._armed = threading.Event()
        self._is_closed = False
        self._wake_reader, self._wake_writer = os.pipe()
        thread = threading.Thread(target=self._run, name="shardwright-watch", daemon=True)
        thread.start()

    def arm(self) -> None:
        self._armed.set()

    def close(self) -> None:
        """The thread ends by itself and closes the descriptors: the loop does not wait for it."""
        self._is_closed = True
        os.write(self._wake_writer, b"x")
        self._armed.set()

    def _run(self) -> None:
        poller = select.poll()
        poller.register(self._fd, select.POLLIN)
        poller.register(self._wake_reader, select.POLLIN)
        while not self._is_closed:
            self._armed.wait()
            self._armed.clear()
            poller.poll()
            if not self._is_closed:
                # A loop that was closed without us has nobody left to call.
                with contextlib.suppress(RuntimeError):
                    self._loop.call_soon_threadsafe(self._on_readable)
        for fd in (self._fd, self._wake_reader, self._wake_writer):
            os.close(fd)
