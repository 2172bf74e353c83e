"""Loops over events whose end of work counts: `delivery="at_least_once"`."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections import deque
from typing import TYPE_CHECKING, Optional, Union

from .events import Event, finish

if TYPE_CHECKING:
    from .client import Client

Owner = Union["asyncio.Task[object]", int]
"""Who began a loop: a task, or without asyncio the number of a thread."""


def current_owner() -> Owner:
    """Who runs this."""
    try:
        return asyncio.current_task() or threading.get_ident()
    except RuntimeError:  # no loop runs
        return threading.get_ident()


class Loops:
    """The loops over one client."""

    def __init__(self) -> None:
        self._alive: weakref.WeakSet[Loop] = weakref.WeakSet()
        # Events in hand of loops that are gone: a `break`, or an error? Their owner's next step tells.
        self._left: deque[tuple[Owner, Event]] = deque()

    def begin(self, client: Client) -> Loop:
        """A new one."""
        loop = Loop(client, self)
        self._alive.add(loop)
        return loop

    def leave(self, owner: Owner, event: Event) -> None:
        """A loop is gone with this event in hand."""
        self._left.append((owner, event))

    def went_on(self, owner: Owner) -> None:
        """The owner takes another event, so what it left is done; so is what tasks left that ended
        without being cancelled."""
        for _ in range(len(self._left)):
            try:
                other, event = self._left.popleft()
            except IndexError:  # another thread was here
                return
            if other == owner or has_ended(other):
                finish(event)
            else:
                self._left.append((other, event))

    def block_ended(self) -> None:
        """The caller leaves the client's block without an error, so whatever it has in hand is done."""
        owner = current_owner()
        for loop in list(self._alive):
            if loop.owner == owner:
                loop.finish()
        self.went_on(owner)


def has_ended(owner: Owner) -> bool:
    """Whether it is a task that went to its end."""
    return isinstance(owner, asyncio.Task) and owner.done() and not owner.cancelled()


class Loop:
    """One `for` or `async for`: an event is done when the next is asked for."""

    def __init__(self, client: Client, loops: Loops) -> None:
        self.owner = current_owner()
        self._client = client
        self._loops = loops
        self._event: Optional[Event] = None

    def finish(self) -> None:
        """What it has in hand is done."""
        event, self._event = self._event, None
        if event is not None:
            finish(event)

    def __iter__(self) -> Loop:
        return self

    def __aiter__(self) -> Loop:
        return self

    def __next__(self) -> Event:
        self.finish()
        self._loops.went_on(self.owner)
        self._event = event = self._client.__next__(self)
        return event

    async def __anext__(self) -> Event:
        self.finish()
        self._loops.went_on(self.owner)
        self._event = event = await self._client.__anext__(self)
        return event

    def __del__(self) -> None:
        if self._event is not None:
            self._loops.leave(self.owner, self._event)
