"""A bot on hikari that listens to messages; what it does with all other events by itself is measured, too."""

import os

import hikari
from hikari.api.shard import GatewayCompression
from hikari.impl.event_manager import EventManagerImpl
from hikari.impl.shard import GatewayShardImpl
from meter import Meter

# There is no setting for it.
GatewayShardImpl.__init__.__kwdefaults__["compression"] = {
    "none": None,
    "zlib": GatewayCompression.TRANSPORT_ZLIB_STREAM,
    "zstd": GatewayCompression.TRANSPORT_ZSTD_STREAM,
}[os.environ["BENCH_COMPRESSION"]]

bot = hikari.GatewayBot(
    os.environ["DISCORD_TOKEN"], rest_url=os.environ["SIMULATOR_API_URL"], intents=hikari.Intents.ALL, banner=None)
meter = Meter(f"hikari {hikari.__version__}")


take = EventManagerImpl.consume_raw_event


def count(manager, name, shard, payload):
    """Counts without a listener, which would have everything parsed."""
    if name not in ("READY", "GUILD_CREATE"):
        meter.event()
    take(manager, name, shard, payload)


EventManagerImpl.consume_raw_event = count


@bot.listen()
async def on_message(_: hikari.GuildMessageCreateEvent):
    pass


bot.run()
