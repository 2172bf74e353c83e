"""What the processes of a bot share over the `backplane`: a cache, and jobs. Messages and calls are the
client's own methods."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, Callable, Literal, Optional, TypedDict, TypeVar, Union

from ._handlers import is_async
from .errors import ClosedError, NotFoundError
from .events import Event
from .reply import Reply

if TYPE_CHECKING:
    from .client import Client

W = TypeVar("W", bound=Callable[[Event], Union[Awaitable[Any], Any]])

JobLike = Union[Event, int]
"""A job: its JOB event, or its number."""


class CallAnswers(TypedDict):
    """All answers to a call. Each has `from`, the worker's id, and `data` or `error`; `missing` are workers
    that did not answer in time."""

    answers: list[dict[str, Any]]
    missing: list[str]


class CacheEntry(TypedDict):
    """A value in the cache. `ttl_ms` is how long it stays, None for ever."""

    value: Any
    version: int
    ttl_ms: Optional[int]


class PushedJob(TypedDict):
    """A job that was added; with `new` False one with the same dedupe key was there already."""

    job_id: int
    new: bool


class PushedSchedule(TypedDict):
    """A schedule that was stored; `next_at_ms` is when it is due, in ms since 1970. With `new` False it took
    the place of the one with its name."""

    name: str
    new: bool
    next_at_ms: int


class ListedJob(TypedDict):
    """A job of a list; `error` is what the last attempt failed with."""

    job_id: int
    payload: Any
    attempt: int
    max_attempts: int
    priority: int
    error: Optional[str]


class ListedSchedule(TypedDict, total=False):
    """A schedule of a list. It has either `every_ms` or `cron`."""

    name: str
    every_ms: int
    cron: str
    next_at_ms: int
    payload: Any
    priority: int
    max_attempts: int
    dedupe: Optional[str]


Schedules = list[ListedSchedule]


class JobsPage(TypedDict):
    """Some jobs, oldest first. `next` is the `after` of the next page, None on the last one."""

    jobs: list[ListedJob]
    next: Optional[int]


class Cache:
    """`client.cache`: values that all processes of the bot see, for as long as the backplane lives.

    With `announce` every process gets a MESSAGE named `_cache` that the key has changed. A `ConflictError`
    says which version is there where `expected_version` names another one; 0 is none.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    def get(self, key: str) -> Reply[Optional[CacheEntry]]:
        """A value with its version, None where there is nothing."""
        return self._send("cache_get", key, lambda data: data)

    def set(
        self,
        key: str,
        value: Any,
        *,
        ttl: Optional[float] = None,
        expected_version: Optional[int] = None,
        announce: bool = False,
    ) -> Reply[int]:
        """Sets a value, for `ttl` seconds or for ever; its version."""
        more = {"value": value, "announce": announce, "ttl_ms": milliseconds(ttl)}
        more["expected_version"] = expected_version
        return self._send("cache_set", key, lambda data: int(data["version"]), more)

    def delete(self, key: str, *, announce: bool = False) -> Reply[bool]:
        """Deletes a value; whether there was one."""
        return self._send("cache_delete", key, lambda data: bool(data["deleted"]), {"announce": announce})

    def increment(self, key: str, by: int = 1, *, ttl: Optional[float] = None) -> Reply[int]:
        """Adds to a whole number, which is 0 where there is nothing; the sum. `ttl`, in seconds, is that of
        a number that this makes."""
        more = {"by": by, "ttl_ms": milliseconds(ttl)}
        return self._send("cache_increment", key, lambda data: int(data["value"]), more)

    def _send(
        self, kind: str, key: str, convert: Callable[[Any], Any], more: Optional[dict[str, Any]] = None
    ) -> Reply[Any]:
        return self._client._ask(kind, f"{kind} of {key!r}", convert, key=key, **more or {})


class Jobs:
    """`client.jobs`: work that is done at least once, by whichever process has room."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def push(
        self,
        queue: str,
        payload: Any,
        *,
        delay: float = 0.0,
        priority: int = 0,
        max_attempts: Optional[int] = None,
        dedupe: Optional[str] = None,
    ) -> Reply[PushedJob]:
        """Adds a job, to be done after `delay` seconds; higher priorities (-100 to 100) first. While one with
        the same `dedupe` waits or runs, no other is added."""
        return self._client._ask(
            "job_push",
            f"job_push to {queue!r}",
            lambda data: data,
            queue=queue,
            payload=payload,
            delay_ms=milliseconds(delay),
            priority=priority,
            max_attempts=max_attempts,
            dedupe=dedupe,
        )

    def schedule(
        self,
        queue: str,
        name: str,
        payload: Any,
        *,
        every: Optional[float] = None,
        cron: Optional[str] = None,
        priority: int = 0,
        max_attempts: Optional[int] = None,
        dedupe: Optional[str] = None,
    ) -> Reply[PushedSchedule]:
        """Adds a job again and again: `every` so many seconds, or by a `cron` expression in UTC. All
        processes may say so at their start; it is one schedule, by its name, and each time makes one job."""
        rhythm = {"every_ms": milliseconds(every), "cron": cron}
        return self._client._ask(
            "job_push",
            f"job_push of the schedule {name!r} to {queue!r}",
            lambda data: data,
            queue=queue,
            payload=payload,
            priority=priority,
            max_attempts=max_attempts,
            dedupe=dedupe,
            repeat={"name": name, **{key: value for key, value in rhythm.items() if value is not None}},
        )

    def schedules(self, queue: str) -> Reply[Schedules]:
        """The schedules of a queue, by name."""
        return self._client._ask(
            "job_schedules", f"job_schedules of {queue!r}", lambda data: data["schedules"], queue=queue
        )

    def unschedule(self, queue: str, name: str) -> Reply[bool]:
        """Ends a schedule; whether there was one. Jobs that it made stay."""
        return self._client._ask(
            "job_unschedule",
            f"job_unschedule of {name!r}",
            lambda data: bool(data["removed"]),
            queue=queue,
            name=name,
        )

    def worker(self, queue: str, *, concurrency: int = 8, visibility: float = 30.0) -> Callable[[W], W]:
        """Does the jobs of a queue with the decorated function, at most `concurrency` at once, from the start
        of the client on.

        When it returns the job is done; when it raises the job is tried again later, and logged. When this
        process dies, others get its jobs after `visibility` seconds. It counts to `max_handlers`.
        """

        def register(function: W) -> W:
            if is_async(function):

                async def work_async(event: Event) -> None:
                    if event.name == queue:
                        await self._end(event, function(event))

                self._client.on("JOB")(work_async)
            else:

                def work(event: Event) -> None:
                    if event.name == queue:
                        self._end_blocking(event, function)

                self._client.on("JOB")(work)
            self._client._at_start(lambda: self.consume(queue, concurrency, visibility=visibility))
            return function

        return register

    async def _end(self, event: Event, work: Awaitable[Any]) -> None:
        try:
            await work
        except Exception as error:
            if not isinstance(error, ClosedError):
                await self._settle(self.fail(event, repr(error)))
            raise
        await self._settle(self.ack(event))

    async def _settle(self, reply: Reply[None]) -> None:
        with contextlib.suppress(NotFoundError):  # the function has ended it by itself
            await reply

    def _end_blocking(self, event: Event, function: Callable[[Event], Any]) -> None:
        try:
            function(event)
        except Exception as error:
            if not isinstance(error, ClosedError):
                self._settle_blocking(self.fail(event, repr(error)))
            raise
        self._settle_blocking(self.ack(event))

    def _settle_blocking(self, reply: Reply[None]) -> None:
        with contextlib.suppress(NotFoundError):
            reply.result()

    def consume(self, queue: str, concurrency: int, *, visibility: float = 30.0) -> Reply[None]:
        """Takes jobs from a queue from now on, at most so many at once: they come as JOB events, to be ended
        with `ack` or `fail`. 0 takes no more. A process that dies has its jobs for `visibility` seconds."""
        fields = {"queue": queue, "concurrency": concurrency, "visibility_ms": milliseconds(visibility)}
        return self._client._ask("job_consume", f"job_consume of {queue!r}", lambda data: None, **fields)

    def ack(self, job: JobLike) -> Reply[None]:
        """The job is done. `NotFoundError` when this process does not have it any more."""
        return self._client._ask("job_ack", "job_ack", lambda data: None, job_id=number_of(job))

    def fail(
        self, job: JobLike, error: str = "", *, retry: bool = True, delay: Optional[float] = None
    ) -> Reply[None]:
        """The job failed: tried again after `delay` seconds (by default ever longer), or with `retry=False`
        or after its last attempt dead."""
        fields = {"job_id": number_of(job), "error": error[:4096], "retry": retry}
        fields["delay_ms"] = milliseconds(delay)
        return self._client._ask("job_fail", "job_fail", lambda data: None, **fields)

    def list(
        self,
        queue: str,
        state: Literal["waiting", "running", "dead"] = "waiting",
        *,
        after: Optional[int] = None,
        limit: int = 100,
    ) -> Reply[JobsPage]:
        """Jobs of a queue."""
        fields = {"queue": queue, "state": state, "after": after, "limit": limit}
        return self._client._ask("job_list", f"job_list of {queue!r}", lambda data: data, **fields)

    def retry(self, queue: str, job: JobLike) -> Reply[None]:
        """Lets a dead job wait again. `NotFoundError` when it is not dead."""
        fields = {"queue": queue, "job_id": number_of(job)}
        return self._client._ask("job_retry", f"job_retry in {queue!r}", lambda data: None, **fields)


def milliseconds(seconds: Optional[float]) -> Optional[int]:
    """Seconds as the engine counts them."""
    return None if seconds is None else round(seconds * 1000)


def number_of(job: JobLike) -> int:
    """The number of a job."""
    return int(job.data["job_id"]) if isinstance(job, Event) else job
