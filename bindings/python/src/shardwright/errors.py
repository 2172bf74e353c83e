"""What can go wrong: one exception for each status of the library, all of them `ShardError`."""

from __future__ import annotations

from typing import Any

from . import _ffi


class ShardError(Exception):
    """A call or a command failed.

    `status` is the library's code (negative) or for REST the HTTP status, `name` what it is called,
    `message` says what was wrong and what to do.
    """

    def __init__(self, status: int, name: str, message: str) -> None:
        super().__init__(status, name, message)
        self.status = status
        self.name = name
        self.message = message

    def __str__(self) -> str:
        return f"{self.message} ({self.name})" if self.message else self.name


class InvalidArgumentError(ShardError, ValueError):
    """A command does not make sense; the message names the key."""


class InvalidConfigError(ShardError, ValueError):
    """A key of the configuration is wrong; the message names it."""


class StateError(ShardError):
    """The wrong order: used before it was started, started twice."""


class ConflictError(StateError):
    """Another version is there than `expected_version` named."""

    def __init__(self, error: ShardError, version: int) -> None:
        super().__init__(error.status, error.name, error.message)
        self.version = version
        """The one that is there, 0 where there is nothing."""

    def __reduce__(self) -> tuple[Any, ...]:
        return ConflictError, (StateError(self.status, self.name, self.message), self.version)


class ClosedError(ShardError):
    """The client has stopped; or it stopped before the command was done."""


class UnknownShardError(ShardError):
    """The shard, or the guild's shard, is not run by this client."""


class QueueFullError(ShardError):
    """Too much waits: commands without reply, or events that nobody takes while a reply is awaited."""


class TooLargeError(ShardError, ValueError):
    """A gateway payload of more than the 4096 bytes that Discord takes."""


class ShardTimeoutError(ShardError, TimeoutError):
    """It was not done in time."""


class FatalError(ShardError):
    """Discord refused for good: a bad token, intents that are not allowed."""


class ForkedError(ShardError):
    """A client from before `fork()`; make a new one in this process."""


class UnsupportedError(ShardError, NotImplementedError):
    """Not in this build of the library, or without the `backplane` or `store` that it needs."""


class NetworkError(ShardError, OSError):
    """A file, a socket or a server failed."""


class NotFoundError(ShardError, LookupError):
    """There is no such command any more, or no such job."""


class CancelledCommandError(ShardError):
    """The command was cancelled before its reply came."""


class RestError(ShardError):
    """Discord answered a REST request with an error.

    `status` is the HTTP status, `code` Discord's own number of the error (0 without one), `body` the
    whole answer. https://discord.com/developers/docs/topics/opcodes-and-status-codes
    """

    def __init__(self, status: int, method: str, path: str, body: Any) -> None:
        fields = body if isinstance(body, dict) else {}
        code = fields.get("code")
        detail = str(fields.get("message") or "no reason given")
        super().__init__(status, f"HTTP {status}", f"{method} {path}: {detail}")
        self.code = code if isinstance(code, int) else 0
        self.body = body


_CLASSES: dict[int, type[ShardError]] = {
    _ffi.SHARD_E_INVALID_ARG: InvalidArgumentError,
    _ffi.SHARD_E_INVALID_HANDLE: ClosedError,
    _ffi.SHARD_E_INVALID_CONFIG: InvalidConfigError,
    _ffi.SHARD_E_STATE: StateError,
    _ffi.SHARD_E_CLOSED: ClosedError,
    _ffi.SHARD_E_UNKNOWN_SHARD: UnknownShardError,
    _ffi.SHARD_E_QUEUE_FULL: QueueFullError,
    _ffi.SHARD_E_TOO_LARGE: TooLargeError,
    _ffi.SHARD_E_TIMEOUT: ShardTimeoutError,
    _ffi.SHARD_E_FATAL: FatalError,
    _ffi.SHARD_E_FORKED: ForkedError,
    _ffi.SHARD_E_UNSUPPORTED: UnsupportedError,
    _ffi.SHARD_E_IO: NetworkError,
    _ffi.SHARD_E_NOT_FOUND: NotFoundError,
    _ffi.SHARD_E_CANCELLED: CancelledCommandError,
}

# The names, so that an error can be made without the library: in a forked child, say.
_NAMES = {code: name for name, code in vars(_ffi).items() if name.startswith("SHARD_E_") and code < 0}


def error_from(status: int, message: str) -> ShardError:
    """The exception for a status; one that a later library adds is a plain `ShardError`."""
    name = _NAMES.get(status, f"status {status}")
    return _CLASSES.get(status, ShardError)(status, name, message)
