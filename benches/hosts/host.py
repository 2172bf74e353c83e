"""A bot in Python that takes every event, as benches/bench.py asks for it: its bytes, in batches or one by one, or
parsed with orjson."""

from __future__ import annotations

import os
import sys

import orjson
from meter import Meter
from shardwright import Client, EventKind, __version__

EVENTS = ["MESSAGE_CREATE", "PRESENCE_UPDATE", "TYPING_START", "GUILD_MEMBER_UPDATE", "MESSAGE_REACTION_ADD"]


def main() -> None:
    way = os.environ["BENCH_WAY"]
    python = sys.version.split()[0]
    parser = f", orjson {orjson.__version__}" if way == "parsed" else ""
    meter = Meter(f"shardwright {__version__}, Python {python}{parser}")
    total = 0  # of what the events say, so that they are looked at
    with Client(
        intents=131071, events=EVENTS, compression=os.environ["BENCH_COMPRESSION"], log={"to": "none"}
    ) as client:
        if way == "batches":
            for batch in client.batches():
                dispatches = [event.raw for event in batch if event.kind is EventKind.DISPATCH]
                total += sum(map(len, dispatches))
                meter.batch(len(dispatches))
        for event in client:
            if event.kind is EventKind.DISPATCH:
                total += len(event.data) if way == "parsed" else len(event.raw)
                meter.event()


if __name__ == "__main__":
    main()
