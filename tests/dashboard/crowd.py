"""50 browsers on one dashboard, OPEN of the environment, of which one never reads: what they get meanwhile."""

import asyncio
import os
import time

import websockets

URL = os.environ["OPEN"].replace("http", "ws", 1) + "/api/v1/stream"
BROWSERS, SECONDS = 50, 30


async def reads(seconds):
    """Messages, and bytes after the snapshot."""
    async with websockets.connect(URL, max_size=None, compression=None) as stream:
        snapshot, messages, size, end = len(await stream.recv()), 0, 0, time.monotonic() + seconds
        while time.monotonic() < end:
            size += len(await asyncio.wait_for(stream.recv(), 60))
            messages += 1
        return snapshot, messages, size


async def never_reads(stopped):
    """Opens a stream, and takes nothing of what comes."""
    address = URL.removeprefix("ws://").split("/")[0]
    host, port = address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1)
    reader._transport.pause_reading()
    writer.write(f"GET /api/v1/stream HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                 "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode())
    await stopped.wait()
    writer.transport.abort()


async def main():
    stopped = asyncio.Event()
    sleeper = asyncio.create_task(never_reads(stopped))
    got = await asyncio.gather(*(reads(SECONDS) for _ in range(BROWSERS - 1)))
    stopped.set()
    await sleeper
    fewest = min(messages for _, messages, _ in got)
    mean = sum(size for _, _, size in got) / len(got) / SECONDS
    print(f"   each of {len(got)} browsers: a snapshot of {got[0][0] / 1024:.0f} KiB, then {mean / 1024:.1f} KiB/s; "
          f"at least {fewest} messages in {SECONDS} s")
    assert fewest > SECONDS / 5, "one that does not read holds up the others"


asyncio.run(main())
