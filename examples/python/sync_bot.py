"""The same bot without asyncio, and with a word about what its shards do."""

from shardwright import Client, EventKind, FatalError, RestError


def main() -> None:
    with Client(intents=["GUILDS", "GUILD_MESSAGES", "MESSAGE_CONTENT"]) as client:
        for event in client:
            if event.kind == EventKind.SHARD_STATE:
                print(f"shard {event.shard_id}: {event.name} ({event.data['reason']})", flush=True)
            elif event.name == "MESSAGE_CREATE" and event.data["content"] == "!ping":
                path = f"/channels/{event.data['channel_id']}/messages"
                try:
                    message = client.rest.post(path, json={"content": "Pong!"}).result()
                    print("answered with message", message["id"], flush=True)
                except RestError as error:
                    print("could not answer:", error, flush=True)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
    except FatalError as error:
        raise SystemExit(f"Discord refused: {error}") from None
