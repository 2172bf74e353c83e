"""A bot as it runs in production: the program of every recipe in this folder.

Where it runs is none of its business: the engine reads DISCORD_TOKEN, SHARDWRIGHT_SHARDS,
SHARDWRIGHT_BACKPLANE and SHARDWRIGHT_SESSIONS, and METRICS_ADDRESS is for probes and Prometheus. SIGTERM and
Ctrl-C end it; its sessions stay, so that the next one resumes."""

import asyncio
import os
import signal
import socket

from shardwright import Client, Event, FatalError

client = Client(
    intents=["GUILDS", "GUILD_MESSAGES", "MESSAGE_CONTENT"],
    metrics_address=os.environ.get("METRICS_ADDRESS"),
    delivery="at_least_once",
)


@client.on("MESSAGE_CREATE")
async def on_message(event: Event) -> None:
    message = event.data
    if message["content"] == "!ping":
        await client.rest.post(f"/channels/{message['channel_id']}/messages", json={"content": "Pong!"})


def tell(state: str) -> None:
    """Tells systemd (sd_notify(3)), where that is who started this."""
    address = os.environ.get("NOTIFY_SOCKET")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
            systemd.sendto(state.encode(), address.replace("@", "\0", 1) if address[0] == "@" else address)


def tell_pm2() -> None:
    """Tells PM2 that it is ready: what `process.send("ready")` does in Node.js."""
    channel = os.environ.get("NODE_CHANNEL_FD")
    if channel:
        os.write(int(channel), b'"ready"\n')


async def report() -> None:
    """Says when all shards are ready, and from then on that this event loop still turns."""
    await client.wait_ready()
    tell("READY=1")
    tell_pm2()
    patience_us = int(os.environ.get("WATCHDOG_USEC", 0))
    while patience_us:
        tell("WATCHDOG=1")
        await asyncio.sleep(patience_us / 2e6)


async def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, client.stop)
    async with client:
        reports = asyncio.create_task(report())
        try:
            await client.serve()
        finally:
            reports.cancel()
            tell("STOPPING=1")


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except FatalError as error:
        # EX_CONFIG: what Discord refuses, it refuses next time too, so nobody should start this again.
        print(f"Discord refused: {error}", flush=True)
        raise SystemExit(78) from None
