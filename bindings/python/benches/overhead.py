"""What an event costs in Python: from the engine's full queue to the program, per event.

    python bindings/python/benches/overhead.py [events]

The simulator floods one shard with messages of about 1 KB until they all wait in the engine's queue;
then the clock runs while Python takes them. Socket, inflate and queue are not in the numbers.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from simulator import REPOSITORY, Simulator

from shardwright import Client, Event, EventKind, library_version

DEFAULT_EVENTS = 20_000
PER_SCRIPT = 2_000
RUNS = 3

Take = Callable[[Event], int]
Run = Callable[[Simulator, int, int, Take], float]

MESSAGE: dict[str, Any] = {
    "id": "1100000000000000003",
    "channel_id": "1100000000000000002",
    "guild_id": "1100000000000000001",
    "content": "The quick brown fox jumps over the lazy dog. " * 8,
    "timestamp": "2024-01-01T00:00:00.000000+00:00",
    "edited_timestamp": None,
    "author": {"id": "1100000000000000004", "username": "somebody", "avatar": None, "discriminator": "0"},
    "member": {"roles": ["1100000000000000005"] * 5, "joined_at": "2024-01-01T00:00:00.000000+00:00"},
    "mentions": [],
    "mention_roles": [],
    "attachments": [],
    "embeds": [],
    "type": 0,
    "flags": 0,
    "pinned": False,
    "tts": False,
}


def fill(sim: Simulator, client: Client, events: int) -> None:
    """Floods until all events wait with the engine."""
    step = {"at_ms": 0, "do": "dispatch", "t": "MESSAGE_CREATE", "d": MESSAGE}
    for start in range(0, events, PER_SCRIPT):
        sim._ask("script", {"step": [step] * min(PER_SCRIPT, events - start)})
    while client.status()["shards"][0]["events"] < events:
        time.sleep(0.01)


def take_raw(event: Event) -> int:
    return len(event.raw)


def take_parsed(event: Event) -> int:
    return len(event.data)


def blocking(sim: Simulator, events: int, batch: int, take: Take) -> float:
    """Seconds with `for event in client`."""
    with make(sim, batch) as client:
        client.wait_ready().result(30)
        fill(sim, client, events)
        began = time.perf_counter()
        left = events
        for event in client:
            if event.kind is EventKind.DISPATCH:
                take(event)
                left -= 1
                if left == 0:
                    break
        return time.perf_counter() - began


def in_asyncio(sim: Simulator, events: int, batch: int, take: Take) -> float:
    """Seconds with `async for event in client`."""

    async def main() -> float:
        async with make(sim, batch) as client:
            await client.wait_ready(30)
            # The loop does not turn meanwhile, so nothing is read yet.
            fill(sim, client, events)
            began = time.perf_counter()
            left = events
            async for event in client:
                if event.kind is EventKind.DISPATCH:
                    take(event)
                    left -= 1
                    if left == 0:
                        break
            return time.perf_counter() - began

    return asyncio.run(main())


def copied(sim: Simulator, events: int, batch: int, take: Take) -> float:
    """Seconds for the copy alone, without iterator."""
    with make(sim, batch) as client:
        client.wait_ready().result(30)
        fill(sim, client, events)
        began = time.perf_counter()
        left = events
        while left > 0:
            for event in client._core.poll(-1) or ():
                if event.kind is EventKind.DISPATCH:
                    take(event)
                    left -= 1
        return time.perf_counter() - began


def once(run: Run, events: int, batch: int, take: Take) -> float:
    # A simulator for each run: /gateway/bot may be asked only twice in 5 s.
    with Simulator(shards=1, guilds=1) as sim:
        return run(sim, events, batch, take)


def make(sim: Simulator, batch: int) -> Client:
    queue = {"max_events": 1_000_000, "max_bytes": 1 << 30}
    wanted = ["MESSAGE_CREATE"]
    return Client(sim.token, intents=33281, api_url=sim.api_url, events=wanted, queue=queue, batch=batch)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("events", nargs="?", type=int, default=DEFAULT_EVENTS, help="events of each run")
    events = parser.parse_args().events
    os.environ.setdefault("SHARDWRIGHT_LIBRARY", str(REPOSITORY / "target/release/libshardwright.so"))
    try:
        import orjson

        parser_name = f"orjson {orjson.__version__}"
    except ImportError:
        parser_name = "json"
    python = sys.version.split()[0]
    print(f"{library_version()}, Python {python}, {parser_name}, {events} events a run, best of {RUNS}")
    print("microseconds per event       batch 1   batch 256")
    for name, run, take in (
        ("copied, raw bytes", copied, take_raw),
        ("for, raw bytes", blocking, take_raw),
        ("for, parsed", blocking, take_parsed),
        ("async for, raw bytes", in_asyncio, take_raw),
        ("async for, parsed", in_asyncio, take_parsed),
    ):
        cells = []
        for batch in (1, 256):
            best = min(once(run, events, batch, take) for _ in range(RUNS))
            cells.append(f"{best / events * 1e6:10.2f}")
        print(f"{name:26}" + "  ".join(cells), flush=True)


if __name__ == "__main__":
    main()
