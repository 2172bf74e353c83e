"""The shape of `Client.guilds()` and `Client.guild_stats()`."""

from __future__ import annotations

from typing import Optional, TypedDict


class Guild(TypedDict):
    """One guild. `name` and `member_count` are None until Discord has sent it."""

    id: str
    name: Optional[str]
    member_count: Optional[int]
    available: bool
    shard: int


class GuildsPage(TypedDict):
    """Some guilds, lowest id first. `next` is the `after` of the next page, None on the last one."""

    guilds: list[Guild]
    next: Optional[str]


class ShardGuildStats(TypedDict):
    """The guilds of one shard."""

    shard: int
    guilds: int
    unavailable: int
    members: int
    complete: bool


class GuildStats(TypedDict):
    """The guilds of a client."""

    guilds: int
    unavailable: int
    members: int
    shards: list[ShardGuildStats]
