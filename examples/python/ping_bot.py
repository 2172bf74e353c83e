"""A Discord bot: answers "!ping" with "Pong!", on as many shards as Discord recommends.

Run it with DISCORD_TOKEN set. SHARDWRIGHT_API_URL points it at another server. Ctrl-C ends it."""

from shardwright import Client, Event

client = Client(intents=["GUILDS", "GUILD_MESSAGES", "MESSAGE_CONTENT"], shards="auto")


@client.on("MESSAGE_CREATE")
async def on_message(event: Event) -> None:
    message = event.data
    if message["content"] == "!ping":
        await client.rest.post(f"/channels/{message['channel_id']}/messages", json={"content": "Pong!"})


client.run()
