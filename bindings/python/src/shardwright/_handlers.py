"""Handlers: functions that are called for events, at most so many at once."""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import threading
from collections.abc import Awaitable, Coroutine
from typing import Any, Callable, Optional, Union

from ._leases import Hold
from ._workers import Workers
from .errors import ClosedError
from .events import Event, EventKind

Handler = Callable[[Event], Union[Awaitable[Any], Any]]
"""Takes an event. An `async def` runs as a task, a plain function in a thread."""

ANY = "*"
"""The name of all events."""

_log = logging.getLogger("shardwright")


def is_async(handler: Handler) -> bool:
    """Whether it has to be awaited."""
    call = getattr(handler, "__call__", None)  # noqa: B004 - an object with an async __call__
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(call)


class Handlers:
    """Who is called for which event, and who is running."""

    def __init__(self, most_running: int, on_change: Callable[[], None]) -> None:
        if most_running < 1:
            raise ValueError(f"max_handlers is {most_running}; at least one handler has to run")
        self._most_running = most_running
        self._on_change = on_change
        self.by_name: dict[str, list[tuple[Handler, bool]]] = {}
        """Each with whether it has to be awaited."""
        self._workers = Workers()
        self._lock = threading.Lock()
        self._running = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def add(self, name: str, handler: Handler) -> None:
        """Calls `handler` for events of this name."""
        self.by_name.setdefault(name, []).append((handler, is_async(handler)))

    def has_async(self) -> bool:
        """Whether some of them need asyncio."""
        return any(needs_loop for found in self.by_name.values() for _, needs_loop in found)

    def is_busy(self) -> bool:
        """Whether so many run that no further event is taken."""
        return self._running >= self._most_running

    def start(self, event: Event) -> None:
        """Calls the handlers of an event and waits for none of them."""
        if not self.by_name:
            return
        kind = event.kind
        if kind is EventKind.DISPATCH:
            name = event.name
        elif isinstance(kind, EventKind):
            name = kind.name
        else:
            name = str(kind)
        for handlers in (self.by_name.get(name, ()), self.by_name.get(ANY, ())):
            for handler, needs_loop in handlers:
                with self._lock:
                    self._running += 1
                if needs_loop:
                    task = asyncio.get_running_loop().create_task(self._await(handler, event))
                    self._tasks.add(task)
                    task.add_done_callback(self._task_done)
                else:
                    self._workers.run(self._job(handler, event))

    async def _await(self, handler: Handler, event: Event) -> None:
        try:
            await handler(event)
        except Exception:
            _report(handler, event)

    def _task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._done()

    def _job(self, handler: Handler, event: Event) -> Callable[[], None]:
        return functools.partial(self._call, handler, event)

    def _call(self, handler: Handler, event: Event) -> None:
        try:
            handler(event)
        except BaseException:  # a SystemExit in a thread ends nothing either
            _report(handler, event)
        finally:
            self._done()

    def _done(self) -> None:
        with self._lock:
            was_busy = self.is_busy()
            self._running -= 1
        if was_busy:
            self._on_change()

    def cancel(self) -> list[asyncio.Task[None]]:
        """Cancels the tasks, which it returns, and takes no more work. Threads run to their end."""
        self._workers.close()
        tasks = [task for task in self._tasks if not task.get_loop().is_closed()]
        for task in tasks:
            task.cancel()
        return tasks


class LendingHandlers(Handlers):
    """Handlers that hold their events until they are done."""

    # Held from the start, not from when the task or the thread gets to it: the loop may be done before.
    def _await(self, handler: Handler, event: Event) -> Coroutine[Any, Any, None]:
        return self._await_held(handler, event, event.hold())

    def _job(self, handler: Handler, event: Event) -> Callable[[], None]:
        return functools.partial(self._call_held, handler, event, event.hold())

    async def _await_held(self, handler: Handler, event: Event, hold: Hold) -> None:
        try:
            with hold:
                await handler(event)
        except asyncio.CancelledError:
            # Not of this task, but of something that it awaited? Before Python 3.11 nobody can tell.
            cancelling = getattr(asyncio.current_task(), "cancelling", None)
            if cancelling is not None and not cancelling():
                hold.done()
            raise
        except Exception:
            _report(handler, event)

    def _call_held(self, handler: Handler, event: Event, hold: Hold) -> None:
        failed: Optional[BaseException] = None
        try:
            handler(event)
        except BaseException as error:
            failed = error
            _report(handler, event)
        finally:
            if not isinstance(failed, ClosedError):
                hold.done()
            self._done()


def _report(handler: Handler, event: Event) -> None:
    name = getattr(handler, "__qualname__", repr(handler))
    _log.exception("the handler %s failed with %r; the next event goes on as usual", name, event)
