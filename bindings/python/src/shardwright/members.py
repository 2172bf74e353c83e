"""Members of a guild: requested in one call, sent by Discord in chunks, put together by the engine."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .events import Event


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
    chunks: int = 0
    """How many chunks they came in."""


def members_of(event: Event) -> GuildMembers:
    """The members in a reply."""
    data = event.data
    presences = data.get("presences", [])
    return GuildMembers(int(data["guild_id"]), data["members"], presences, data["not_found"], data["chunks"])
