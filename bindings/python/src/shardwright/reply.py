"""What a command comes to: something to await, or to wait for."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
import threading
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, Callable, Generic, Optional, TypeVar

from . import _ffi
from .errors import ClosedError, ConflictError, QueueFullError, ShardTimeoutError, StateError, error_from
from .events import Event

if TYPE_CHECKING:
    from ._core import Core
    from ._stream import Stream

T = TypeVar("T")

_log = logging.getLogger("shardwright")


def closed_error() -> ClosedError:
    """For what the end of the client cuts off."""
    return ClosedError(_ffi.SHARD_E_CLOSED, "SHARD_E_CLOSED", "the client has stopped")


def behind_error(what: str) -> QueueFullError:
    """For what cannot be read because nobody takes the events before it."""
    text = (
        f"{what}: the reply is behind more events than are kept; take events while you wait for "
        "replies, or ask for fewer with `events=[…]`"
    )
    return QueueFullError(_ffi.SHARD_E_QUEUE_FULL, "SHARD_E_QUEUE_FULL", text)


def wait_for_future(future: concurrent.futures.Future[Any], timeout: Optional[float]) -> bool:
    """Waits until a future that another thread ends is done; false when that takes longer."""
    try:
        future.exception(timeout)
    except concurrent.futures.TimeoutError:
        return False
    except concurrent.futures.CancelledError:
        pass
    return True


class Reply(Generic[T]):
    """The result of a command that is on its way: it was sent when the method was called.

    `await` it in asyncio, or take `result()` without. One that fails and is looked at by nobody is
    logged. Cancelling the task that awaits it cancels the command; what was sent stays sent.
    """

    def __init__(self, stream: Stream, what: str, timeout: Optional[float] = None) -> None:
        self._stream = stream
        self._what = what
        self._timeout = timeout
        self._is_seen = False
        self._future: concurrent.futures.Future[T] = concurrent.futures.Future()

    def done(self) -> bool:
        """Whether the result is there (or the error, or it was cancelled)."""
        return self._future.done()

    def cancel(self) -> bool:
        """Cancels the command; false when it is done already."""
        self._is_seen = True
        is_cancelled = self._future.cancel()
        self._stream.notify()
        return is_cancelled

    def result(self, timeout: Optional[float] = None) -> T:
        """Waits for the result, without asyncio; `timeout` is in seconds.

        Events that come meanwhile are kept for the iterator. `ShardTimeoutError` when it takes longer;
        the command goes on then.
        """
        self._is_seen = True
        limits = [limit for limit in (timeout, self._timeout) if limit is not None]
        limit = min(limits, default=None)
        if not self._wait_here(limit):
            if limit == self._timeout:
                self.cancel()
            raise self._late(limit or 0)
        return self._future.result()

    def _wait_here(self, timeout: Optional[float]) -> bool:
        return self._stream.wait_for(self._future, timeout)

    def __await__(self) -> Generator[Any, None, T]:
        self._is_seen = True
        if not self._future.done() and self._stream.is_blocking:
            raise StateError(
                _ffi.SHARD_E_STATE,
                "SHARD_E_STATE",
                "this client was started without asyncio: take .result(), or use `async with`",
            )
        return self._wait().__await__()

    async def _wait(self) -> T:
        future = asyncio.wrap_future(self._future)
        if self._timeout is None:
            return await future
        try:
            return await asyncio.wait_for(future, self._timeout)
        except asyncio.TimeoutError:
            raise self._late(self._timeout) from None

    def _late(self, seconds: float) -> ShardTimeoutError:
        text = f"{self._what}: no reply within {seconds:g} s"
        return ShardTimeoutError(_ffi.SHARD_E_TIMEOUT, "SHARD_E_TIMEOUT", text)

    def _finish(self, result: T) -> None:
        # It may be cancelled, or failed by another thread that closes the client.
        with contextlib.suppress(concurrent.futures.InvalidStateError):
            self._future.set_result(result)

    def _fail(self, error: BaseException) -> None:
        with contextlib.suppress(concurrent.futures.InvalidStateError):
            self._future.set_exception(error)

    def __del__(self) -> None:
        future = getattr(self, "_future", None)
        if future is None or self._is_seen or not future.done() or future.cancelled():
            return
        error = future.exception()
        # What a stop cuts off is no news.
        if error is not None and not isinstance(error, ClosedError):
            _log.warning("%s failed, and nobody looked at the reply: %s", self._what, error)

    def __repr__(self) -> str:
        return f"<Reply to {self._what}, {'done' if self.done() else 'on its way'}>"


class CommandReply(Reply[T]):
    """The reply to one command of the library."""

    def __init__(
        self, stream: Stream, what: str, convert: Callable[[Event], T], timeout: Optional[float] = None
    ) -> None:
        super().__init__(stream, what, timeout)
        self._convert = convert

    def _settle(self, event: Event) -> None:
        """Takes the REPLY event."""
        try:
            if event.status < 0:
                data = event.data
                error = error_from(event.status, f"{self._what}: {data['error']}")
                raise ConflictError(error, data["version"]) if "version" in data else error
            result = self._convert(event)
        except Exception as error:
            # Its traceback would hold this frame, and with it the reply, until the next collection.
            self._fail(error.with_traceback(None))
        else:
            self._finish(result)


class Replies:
    """The commands whose reply has not come."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._lock = threading.Lock()
        self._open: dict[int, CommandReply[Any]] = {}
        self._is_closed = False

    def __len__(self) -> int:
        return len(self._open)

    def send(self, command: bytes, reply: CommandReply[Any]) -> None:
        """Sends a command whose reply goes to `reply`."""
        # Under the lock, for another thread may read the reply before this one has its id.
        with self._lock:
            if self._is_closed:
                raise closed_error()
            command_id = self._core.send(command)
            self._open[command_id] = reply

        def when_done(future: concurrent.futures.Future[Any]) -> None:
            if future.cancelled() and self._forget(command_id):
                self._core.cancel(command_id)

        reply._future.add_done_callback(when_done)

    def settle(self, event: Event) -> None:
        """Takes a REPLY event."""
        reply = self._forget(event.command_id)
        if reply is not None and not reply.done():
            reply._settle(event)

    def close(self) -> None:
        """Ends all of them, and sends no more: nobody will read their replies."""
        with self._lock:
            self._is_closed = True
            open_replies, self._open = self._open, {}
        for reply in open_replies.values():
            reply._fail(closed_error())

    def give_up(self) -> None:
        """Ends all of them because their replies are behind events that nobody takes."""
        with self._lock:
            open_replies, self._open = self._open, {}
        for command_id, reply in open_replies.items():
            self._core.cancel(command_id)
            reply._fail(behind_error(reply._what))

    def _forget(self, command_id: int) -> Optional[CommandReply[Any]]:
        with self._lock:
            return self._open.pop(command_id, None)
