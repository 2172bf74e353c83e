"""A bot on discord.py. What it prints is for clients.py to check."""

import asyncio
import json
import os
import signal

import discord
from discord.http import Route

# There is no setting for it.
Route.BASE = os.environ["SIMULATOR_API_URL"]


def tell(line):
    print(line, flush=True)


class Bot(discord.AutoShardedClient):
    """Answers `!ping`, and tells of every event as it came from the socket."""

    async def on_shard_ready(self, shard_id):
        tell(f"shard {shard_id}: ready")

    async def on_shard_resumed(self, shard_id):
        tell(f"shard {shard_id}: resumed")

    async def on_socket_raw_receive(self, text):
        payload = json.loads(text)
        if payload["op"] == 0 and (number := payload["d"].get("nonce")):
            tell(f"event {number}")

    async def on_message(self, message):
        if message.content == "!ping":
            reply = await message.channel.send("Pong!")
            tell(f"shard {message.guild.shard_id}: sent {reply.id}")


async def main():
    tell(f"client discord.py {discord.__version__}")
    bot = Bot(intents=discord.Intents.all(), enable_debug_events=True)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with bot:
        running = asyncio.create_task(bot.start(os.environ["DISCORD_TOKEN"]))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait([running, stopping], return_when=asyncio.FIRST_COMPLETED)
        await bot.close()
        await running


discord.utils.setup_logging()
asyncio.run(main())
