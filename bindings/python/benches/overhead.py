"""What an event costs in Python, as benches/overhead.py at the top of the repository asks for it.

Arguments: events of a round, and rounds."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable

from shardwright import Client, Event, EventKind

Take = Callable[[Event], int]


def take_bytes(event: Event) -> int:
    return len(event.raw)


def take_parsed(event: Event) -> int:
    return len(event.data)


def wait_until_full(client: Client, events: int) -> None:
    """Says that the queue is empty, and waits until it is full; meanwhile nothing is read."""
    print("fill", flush=True)
    sys.stdin.readline()
    while client.status()["queue"]["events"] < events:
        time.sleep(0.01)


def took(name: str, batch: int, events: int, began: float) -> None:
    print("took", name, batch, (time.thread_time() - began) / events * 1e6, sep="\t")


def make(batch: int) -> Client:
    queue = {"max_events": 1_000_000, "max_bytes": 1 << 30}
    return Client(intents=33281, events=["MESSAGE_CREATE"], queue=queue, batch=batch, log={"to": "none"})


def blocking(batch: int, events: int, rounds: int, take: Take, name: str) -> None:
    with make(batch) as client:
        client.wait_ready().result(30)
        for _ in range(rounds):
            wait_until_full(client, events)
            began = time.thread_time()
            left = events
            for event in client:
                if event.kind is EventKind.DISPATCH:
                    take(event)
                    left -= 1
                    if left == 0:
                        break
            took(f"for, {name}", batch, events, began)
        client.close(resumable=False)


def in_asyncio(batch: int, events: int, rounds: int, take: Take, name: str) -> None:
    async def main() -> None:
        async with make(batch) as client:
            await client.wait_ready(30)
            for _ in range(rounds):
                wait_until_full(client, events)
                began = time.thread_time()
                left = events
                async for event in client:
                    if event.kind is EventKind.DISPATCH:
                        take(event)
                        left -= 1
                        if left == 0:
                            break
                took(f"async for, {name}", batch, events, began)
            client.close(resumable=False)

    asyncio.run(main())


def main() -> None:
    events, rounds = int(sys.argv[1]), int(sys.argv[2])
    try:
        import orjson

        parser = f"orjson {orjson.__version__}"
    except ImportError:
        parser = "json"
    print("host", f"Python {sys.version.split()[0]} with {parser}", sep="\t")
    for measure in (blocking, in_asyncio):
        for name, take in (("bytes", take_bytes), ("parsed", take_parsed)):
            for batch in (1, 256):
                measure(batch, events, rounds, take, name)


if __name__ == "__main__":
    main()
