"""A pool of workers: who reads a message only notes what is to be done, and whichever process has room
does it.

Start it as often as you like, with other shards each: SHARDWRIGHT_SHARDS=0-1/4, then 2-3/4. A job whose
process is killed goes to another one. On several machines SHARDWRIGHT_BACKPLANE=redis://host takes the
place of the file.
"""

import os

from shardwright import Client, Event

client = Client(
    intents=["GUILDS", "GUILD_MESSAGES", "MESSAGE_CONTENT"],
    backplane=os.environ.get("SHARDWRIGHT_BACKPLANE", "sqlite:worker_pool.backplane"),
)


@client.on("MESSAGE_CREATE")
async def note(event: Event) -> None:
    if event.data["content"] == "!ping":
        # A message that comes again after a restart is no second job.
        await client.jobs.push("pong", {"channel_id": event.data["channel_id"]}, dedupe=event.data["id"])


@client.jobs.worker("pong", concurrency=4)
async def pong(job: Event) -> None:
    path = f"/channels/{job.data['payload']['channel_id']}/messages"
    message = await client.rest.post(path, json={"content": "Pong!"})
    print("answered with message", message["id"], "in attempt", job.data["attempt"], flush=True)


if __name__ == "__main__":
    client.run()
