"""Reading in an asyncio loop: batches whenever the engine's descriptor is readable."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import threading
import weakref
from typing import Any, Callable, Optional

from . import _ffi
from ._core import Core
from ._stream import Stream
from ._watch import Watcher
from .errors import StateError
from .reply import wait_for_future

MAX_EVENTS_PER_TURN = 1024
"""Events read in one turn of the loop; then other things have theirs."""


class AsyncStream(Stream):
    """Belongs to the loop that was running when it was made. Reads whether or not somebody takes."""

    def __init__(self, core: Core) -> None:
        super().__init__(core)
        self.loop = asyncio.get_running_loop()
        self._thread_id = threading.get_ident()
        self._waiting: set[asyncio.Future[None]] = set()
        self.is_paused = False
        """Whether it reads no further until more was taken."""
        self._watcher = Watcher(self.loop, core.event_fd(), _weakly(self))
        # The loop must not keep a client alive that the program has lost.
        self._finalizer = weakref.finalize(self, _abandon, self._watcher, core)

    def wait_for(self, future: concurrent.futures.Future[Any], timeout: Optional[float]) -> bool:
        if threading.get_ident() == self._thread_id and not future.done():
            text = "this is the thread of the asyncio loop that brings the result: await it instead"
            raise StateError(_ffi.SHARD_E_STATE, "SHARD_E_STATE", text)
        return wait_for_future(future, timeout)

    async def changed(self) -> None:
        """Waits until there are events, or the end, or whatever else `notify` tells of."""
        waiting = self.loop.create_future()
        self._waiting.add(waiting)
        try:
            await waiting
        finally:
            self._waiting.discard(waiting)

    def notify(self) -> None:
        if threading.get_ident() == self._thread_id:
            self._notify_here()
        else:
            # A closed loop has nobody left who waits.
            with contextlib.suppress(RuntimeError):
                self.loop.call_soon_threadsafe(self._notify_here)

    def _notify_here(self) -> None:
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)
        if self.is_ended:
            self.release()
        elif self.is_paused and (self.has_room() or not self.is_full()):
            self.is_paused = False
            self._watcher.resume()

    def resume(self) -> None:
        """Goes on reading if it had paused: there is room, or a reply to wait for. From any thread."""
        if threading.get_ident() != self._thread_id:
            with contextlib.suppress(RuntimeError):
                self.loop.call_soon_threadsafe(self.resume)
        elif self.is_paused:
            self._notify_here()

    def on_readable(self) -> None:
        """Reads what there is, as much as one turn of the loop may take."""
        count = 0
        while count < MAX_EVENTS_PER_TURN and not self.is_ended and not self.is_full():
            taken = self.read(0)
            if taken == 0:
                break
            count += taken
        if self.is_ended:
            self._notify_here()
            return
        if self.is_full():
            self.is_paused = True
            self._watcher.pause()
        else:
            self._watcher.resume()
        if count:
            self._notify_here()

    def release(self) -> None:
        """Stops watching. A forked child leaves it alone: the loop's epoll set is its parent's too."""
        if self.core.is_forked:
            self._finalizer.detach()
        elif threading.get_ident() == self._thread_id:
            self._finalizer.detach()
            self._watcher.close()
        else:
            self._finalizer()


class LendingAsyncStream(AsyncStream):
    """One whose events are taken in `_loops`, which tell when they are done."""


def _weakly(stream: AsyncStream) -> Callable[[], None]:
    reference = weakref.ref(stream)

    def on_readable() -> None:
        alive = reference()
        if alive is not None:
            alive.on_readable()

    return on_readable


def _abandon(watcher: Watcher, core: Core) -> None:
    if not core.is_forked:
        watcher.abandon()
