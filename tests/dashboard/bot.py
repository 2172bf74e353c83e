"""The bot of these tests: answers "!ping", hears what is published, and has jobs that can only be done once they were
retried. Its argument is a path that it may make files at."""

import sys

from shardwright import Client, Event

client = Client(intents=["GUILDS", "GUILD_MESSAGES", "MESSAGE_CONTENT"], delivery="at_least_once")


@client.on("MESSAGE_CREATE")
async def on_message(event: Event) -> None:
    if event.data["content"] == "!ping":
        await client.rest.post(f"/channels/{event.data['channel_id']}/messages", json={"content": "Pong!"})


@client.jobs.worker("mail")
async def mail(job: Event) -> None:
    if is_first(f"job-{job.data['job_id']}"):
        raise ConnectionError("the mail server is away")


def is_first(name: str) -> bool:
    """Whether no process of the bot has said this before."""
    try:
        open(f"{sys.argv[1]}-{name}", "x").close()
    except FileExistsError:
        return False
    return True


@client.on("SHARD_STATE")
async def on_state(event: Event) -> None:
    if event.data["to"] != "ready":
        return
    print(f"shard {event.shard_id} is ready", flush=True)
    await client.subscribe("reload")
    if is_first("start"):
        for number in range(3):
            await client.jobs.push("mail", {"to": number}, max_attempts=1)


client.run()
