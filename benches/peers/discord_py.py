"""A bot on discord.py that listens to messages; what it does with all other events by itself is measured, too."""

import asyncio
import os
import sys

COMPRESSION = os.environ["BENCH_COMPRESSION"]
if COMPRESSION == "zlib":
    sys.modules["zstandard"] = None  # it takes zstd where it finds it

import discord  # noqa: E402
import yarl  # noqa: E402
from discord.gateway import DiscordWebSocket  # noqa: E402
from discord.http import Route  # noqa: E402
from meter import Meter  # noqa: E402

# There is no setting for these.
Route.BASE = os.environ["SIMULATOR_API_URL"]
DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(os.environ["SIMULATOR_GATEWAY_URL"])
DiscordWebSocket.from_client.__func__.__kwdefaults__["compress"] = COMPRESSION != "none"


class Bot(discord.Client):
    """Does nothing about what it hears."""

    def __init__(self):
        super().__init__(intents=discord.Intents.all())
        self.meter = Meter(f"discord.py {discord.__version__}")

    def dispatch(self, event, /, *args, **kwargs):
        # A handler for this would be a task for every event, which a bot does not need.
        if event == "socket_event_type" and args[0] not in ("READY", "GUILD_CREATE"):
            self.meter.event()
        super().dispatch(event, *args, **kwargs)

    async def on_message(self, message):
        pass


async def main():
    async with Bot() as bot:
        await bot.start(os.environ["DISCORD_TOKEN"])


asyncio.run(main())
