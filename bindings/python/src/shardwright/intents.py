"""Gateway intents: which groups of events Discord sends."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntFlag
from typing import Union


class Intents(IntFlag):
    """https://discord.com/developers/docs/events/gateway#list-of-intents"""

    GUILDS = 1 << 0
    GUILD_MEMBERS = 1 << 1
    GUILD_MODERATION = 1 << 2
    GUILD_EXPRESSIONS = 1 << 3
    GUILD_INTEGRATIONS = 1 << 4
    GUILD_WEBHOOKS = 1 << 5
    GUILD_INVITES = 1 << 6
    GUILD_VOICE_STATES = 1 << 7
    GUILD_PRESENCES = 1 << 8
    GUILD_MESSAGES = 1 << 9
    GUILD_MESSAGE_REACTIONS = 1 << 10
    GUILD_MESSAGE_TYPING = 1 << 11
    DIRECT_MESSAGES = 1 << 12
    DIRECT_MESSAGE_REACTIONS = 1 << 13
    DIRECT_MESSAGE_TYPING = 1 << 14
    MESSAGE_CONTENT = 1 << 15
    GUILD_SCHEDULED_EVENTS = 1 << 16
    AUTO_MODERATION_CONFIGURATION = 1 << 20
    AUTO_MODERATION_EXECUTION = 1 << 21
    GUILD_MESSAGE_POLLS = 1 << 24
    DIRECT_MESSAGE_POLLS = 1 << 25

    @classmethod
    def all(cls) -> Intents:
        """All of them; three have to be allowed in Discord's developer portal."""
        return cls(sum(intent.value for intent in cls))

    @classmethod
    def unprivileged(cls) -> Intents:
        """All that need nobody's leave."""
        return cls.all() & ~(cls.GUILD_MEMBERS | cls.GUILD_PRESENCES | cls.MESSAGE_CONTENT)


IntentsLike = Union[int, str, Iterable[str]]
"""A number, `Intents`, a name, or names; `Client` takes any of them."""


def intents_json(intents: IntentsLike) -> Union[int, list[str]]:
    """Intents as the configuration has them. Names are checked by the library."""
    if isinstance(intents, int):
        return int(intents)
    return [intents] if isinstance(intents, str) else list(intents)
