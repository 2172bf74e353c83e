"""The shape of `Client.status()`."""

from __future__ import annotations

from typing import Optional, TypedDict


class SessionStartLimit(TypedDict):
    """The session start limit as the engine counts it."""

    total: int
    remaining: int
    reset_after_ms: int
    max_concurrency: int


class QueueStatus(TypedDict):
    """The engine's event queue. `bytes` are those in it and those not given back."""

    events: int
    max_events: int
    bytes: int
    max_bytes: int
    dropped: int


class ShardStatus(TypedDict):
    """One shard."""

    id: int
    state: str
    session: bool
    sequence: Optional[int]
    latency_ms: Optional[int]
    guilds: int
    guilds_unavailable: int
    guilds_complete: bool
    events: int
    bytes_received: int
    bytes_inflated: int
    reconnects: int
    reconnects_by_cause: dict[str, int]
    resumes: int
    identifies: int
    queue_depth: int
    blocked: bool
    silent: bool
    last_event_age_ms: Optional[int]
    commands_held: int
    outbound_tokens: int
    last_error: Optional[str]


class LeaseStatus(TypedDict):
    """Leases, with `"shards": "lease"`."""

    held: int
    share: Optional[int]
    workers: int
    lost: int
    events_refused: int


class ClientStatus(TypedDict):
    """A client."""

    version: str
    stage: str
    uptime_ms: int
    fatal: Optional[str]
    metrics_address: Optional[str]
    sessions_error: Optional[str]
    worker: Optional[str]
    backplane_error: Optional[str]
    store_error: Optional[str]
    shard_total: Optional[int]
    leases: Optional[LeaseStatus]
    guilds: int
    session_start_limit: Optional[SessionStartLimit]
    queue: QueueStatus
    commands_in_flight: int
    shards: list[ShardStatus]
