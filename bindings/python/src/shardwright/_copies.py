"""Events copied out of the engine's memory, many with one call: a call of ctypes costs more than what it
copies.

The events of a batch mostly stand behind each other in one frame of the engine, so a stretch of it is copied
whole, and the events are cut out of the copy.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ctypes import string_at
from typing import TypeVar

from .events import KINDS, UNPARSED, Event

E = TypeVar("E", bound=Event)

_MAX_GAP = 512
"""Bytes between two events that are copied with them; beyond that stands an event that was filtered out."""

_MAX_NAMES = 1024
"""Names of events that are remembered, so that the same text is decoded once."""

Fields = tuple[int, ...]
"""A struct as `_ffi.EVENT_LAYOUT` reads it."""


class Names:
    """Names of events by their bytes."""

    def __init__(self) -> None:
        self.known: dict[bytes, str] = {}

    def learn(self, text: bytes) -> str:
        """One that is not known yet."""
        if len(self.known) >= _MAX_NAMES:
            self.known.clear()
        name = self.known[text] = text.decode("utf-8", "replace")
        return name


def copy_events(structs: Iterable[Fields], names: Names, kind: type[E]) -> list[E]:
    """Events of polled structs, in their order."""
    known, new, kinds = names.known, kind.__new__, KINDS
    copied: list[E] = []
    for start, end, stretch in _stretches(structs):
        text = string_at(start, end - start)
        for fields in stretch:
            name_at, name_len, data_at, data_len = fields[6:10]
            name_at -= start
            data_at -= start
            name = text[name_at : name_at + name_len]
            event = new(kind)
            event.kind = kinds.get(fields[0], fields[0])
            event.name = known.get(name) or names.learn(name)
            event.raw = text[data_at : data_at + data_len]
            event._struct = fields
            event._data = UNPARSED
            copied.append(event)
    return copied


def _stretches(structs: Iterable[Fields]) -> Iterator[tuple[int, int, list[Fields]]]:
    """Where each stretch of memory begins and ends, and the structs of the events that stand in it."""
    stretch: list[Fields] = []
    frame = start = end = 0
    for fields in structs:
        name_at, name_len, data_at, data_len, _, _, owner = fields[6:13]
        # Discord writes the name first. Where it did not, the event is a stretch of its own.
        if not (owner == frame and end <= name_at <= end + _MAX_GAP and name_at < data_at):
            if stretch:
                yield start, end, stretch
            stretch = []
            frame = owner
            start = min(name_at, data_at)
            end = name_at + name_len
        stretch.append(fields)
        end = max(end, data_at + data_len)
    if stretch:
        yield start, end, stretch
