"""A bot on hikari. What it prints is for clients.py to check."""

import os

import hikari

bot = hikari.GatewayBot(
    os.environ["DISCORD_TOKEN"], rest_url=os.environ["SIMULATOR_API_URL"], intents=hikari.Intents.ALL, banner=None)


def tell(line):
    print(line, flush=True)


@bot.listen()
async def on_ready(event: hikari.ShardReadyEvent):
    tell(f"shard {event.shard.id}: ready")


@bot.listen()
async def on_resumed(event: hikari.ShardResumedEvent):
    tell(f"shard {event.shard.id}: resumed")


@bot.listen()
async def on_payload(event: hikari.ShardPayloadEvent):
    if number := event.payload.get("nonce"):
        tell(f"event {number}")


@bot.listen()
async def on_message(event: hikari.GuildMessageCreateEvent):
    if event.content == "!ping":
        reply = await event.message.respond("Pong!")
        tell(f"shard {event.shard.id}: sent {reply.id}")


tell(f"client hikari {hikari.__version__}")
bot.run()  # until SIGTERM
