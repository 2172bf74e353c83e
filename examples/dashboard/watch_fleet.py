"""Follows the dashboard's stream, and prints what the shards of a bot do.

    pip install websockets
    python3 watch_fleet.py [ws://127.0.0.1:7711]

SHARDWRIGHT_DASHBOARD_TOKEN is sent where it is set. It goes on where it was when the connection is lost."""

import asyncio
import json
import os
import sys
from typing import Any

import websockets


def apply(document: Any, patch: Any) -> Any:
    """A JSON Merge Patch (RFC 7386), applied."""
    if not isinstance(patch, dict):
        return patch
    document = document if isinstance(document, dict) else {}
    for key, value in patch.items():
        if value is None:
            document.pop(key, None)
        else:
            document[key] = apply(document.get(key), value)
    return document


class Fleet:
    """What the dashboard knows, as far as it was heard."""

    def __init__(self) -> None:
        self.state: dict[str, Any] = {}
        # The stream and the number of what was heard last, to go on there.
        self.place = ""

    def hear(self, message: dict[str, Any]) -> None:
        before = {shard: it["state"] for shard, it in self.state.get("shards", {}).items()}
        if message["type"] == "snapshot":
            self.state = message["state"]
            self.place = f"?stream={message['stream']}"
            totals = self.state["totals"]
            print(f"{totals['shards']} shards in {totals['workers']} processes: {totals['states']}", flush=True)
        elif message["type"] == "patch":
            self.state = apply(self.state, message["patch"])
            for shard, it in self.state["shards"].items():
                if before.get(shard) != it["state"]:
                    print(f"shard {shard}: {before.get(shard, 'new')} -> {it['state']}", flush=True)
        self.place = f"{self.place.split('&')[0]}&seq={message['seq']}"


async def main() -> None:
    url = (sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:7711") + "/api/v1/stream"
    token = os.environ.get("SHARDWRIGHT_DASHBOARD_TOKEN")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    fleet = Fleet()
    while True:
        try:
            async with websockets.connect(url + fleet.place, additional_headers=headers, max_size=None) as stream:
                async for text in stream:
                    fleet.hear(json.loads(text))
        except (OSError, websockets.WebSocketException) as error:
            print(f"lost: {error}", flush=True)
            await asyncio.sleep(1)


asyncio.run(main())
