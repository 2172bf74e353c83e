"""Members of a guild: requested in one call, sent by Discord in chunks."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

from .errors import RateLimitedError, ShardError
from .events import Event
from .reply import Reply

CHUNK = "GUILD_MEMBERS_CHUNK"
RATE_LIMITED = "RATE_LIMITED"


@dataclass
class GuildMembers:
    """The answer to a request for members, all chunks together."""

    guild_id: int
    """The guild."""
    members: list[dict[str, Any]] = field(default_factory=list)
    """Discord's guild member objects."""
    presences: list[dict[str, Any]] = field(default_factory=list)
    """Their presences, where they were asked for."""
    not_found: list[Any] = field(default_factory=list)
    """Ids that were asked for and are no members."""


class Collector:
    """One request: puts its chunks together and then ends its reply."""

    def __init__(self, reply: Reply[GuildMembers], guild_id: int) -> None:
        self.reply = reply
        self._guild_id = guild_id
        self._chunks: dict[int, Any] = {}

    def take(self, event: Event) -> None:
        """Takes a chunk, or the news that Discord wants the request later."""
        data = event.data
        if event.name == RATE_LIMITED:
            seconds = float(data.get("retry_after", 0))
            text = (
                f"Discord limits requests for the members of guild {self._guild_id}; try again in {seconds} s"
            )
            self.reply._fail(RateLimitedError(text, seconds))
            return
        self._chunks[data["chunk_index"]] = data
        if len(self._chunks) < data["chunk_count"]:
            return
        result = GuildMembers(self._guild_id)
        for _, chunk in sorted(self._chunks.items()):
            result.members += chunk.get("members", [])
            result.presences += chunk.get("presences", [])
            result.not_found += chunk.get("not_found", [])
        self.reply._finish(result)


class Collectors:
    """The requests whose chunks have not all come, by nonce."""

    def __init__(self) -> None:
        self._open: dict[str, Collector] = {}
        self._numbers = itertools.count(1)

    def __len__(self) -> int:
        return len(self._open)

    def add(self, reply: Reply[GuildMembers], guild_id: int) -> str:
        """Collects for this reply until it is done; the nonce to send."""
        nonce = f"shardwright-{next(self._numbers):x}"
        self._open[nonce] = Collector(reply, guild_id)
        reply._future.add_done_callback(lambda _: self._open.pop(nonce, None))
        return nonce

    def take(self, event: Event) -> bool:
        """Takes an event if it belongs to a request of ours."""
        try:
            data = event.data
            meta = data.get("meta") if event.name == RATE_LIMITED else data
            collector = self._open.get(meta.get("nonce"))
            if collector is None:
                return False
            collector.take(event)
        except (AttributeError, KeyError, TypeError, ValueError):
            # Not of the documented form: the program may know better what it is.
            return False
        return True

    def fail_all(self, error: ShardError) -> None:
        """Ends all of them: no chunk will come any more."""
        for collector in list(self._open.values()):
            collector.reply._fail(error)
