"""Discord gateway shards, run by a Rust engine.

`Client` is where to begin; the guide is docs/python.md of the project.
"""

from ._core import shard_for_guild
from ._leases import Hold
from ._lib import version as library_version
from .backplane import (
    CacheEntry,
    CallAnswers,
    JobsPage,
    ListedJob,
    ListedSchedule,
    PushedJob,
    PushedSchedule,
)
from .client import Client, Snowflake
from .errors import (
    CancelledCommandError,
    ClosedError,
    ConflictError,
    FatalError,
    ForkedError,
    InvalidArgumentError,
    InvalidConfigError,
    NetworkError,
    NotFoundError,
    QueueFullError,
    RestError,
    ShardError,
    ShardTimeoutError,
    StateError,
    TooLargeError,
    UnknownShardError,
    UnsupportedError,
)
from .events import Event, EventKind
from .guilds import Guild, GuildsPage, GuildStats, ShardGuildStats
from .intents import Intents
from .members import GuildMembers
from .reply import Reply
from .rest import File
from .status import ClientStatus, LeaseStatus, QueueStatus, SessionStartLimit, ShardStatus
from .store import Document, DocumentsPage, ListedDocument

__version__ = "0.1.0"

__all__ = [
    "CacheEntry",
    "CallAnswers",
    "CancelledCommandError",
    "Client",
    "ClientStatus",
    "ClosedError",
    "ConflictError",
    "Document",
    "DocumentsPage",
    "Event",
    "EventKind",
    "FatalError",
    "File",
    "ForkedError",
    "Guild",
    "GuildMembers",
    "GuildStats",
    "GuildsPage",
    "Hold",
    "Intents",
    "InvalidArgumentError",
    "InvalidConfigError",
    "JobsPage",
    "LeaseStatus",
    "ListedDocument",
    "ListedJob",
    "ListedSchedule",
    "NetworkError",
    "NotFoundError",
    "PushedJob",
    "PushedSchedule",
    "QueueFullError",
    "QueueStatus",
    "Reply",
    "RestError",
    "SessionStartLimit",
    "ShardError",
    "ShardGuildStats",
    "ShardStatus",
    "ShardTimeoutError",
    "Snowflake",
    "StateError",
    "TooLargeError",
    "UnknownShardError",
    "UnsupportedError",
    "library_version",
    "shard_for_guild",
]
