"""The client: a bot's shards in this process, with asyncio or without."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import threading
import warnings
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Callable, Literal, Optional, TypeVar, Union

from . import _ffi, _json
from ._core import MAX_BATCH, Core
from ._handlers import ANY, Handler, Handlers, LendingHandlers, is_async
from ._loops import Loop, Loops
from ._stream import BlockingStream, LendingBlockingStream, Stream
from .aio import AsyncStream, LendingAsyncStream
from .backplane import Cache, CallAnswers, Jobs, milliseconds
from .errors import ShardError, StateError
from .events import Event, EventKind
from .guilds import GuildsPage, GuildStats
from .intents import IntentsLike, intents_json
from .members import GuildMembers, members_of
from .reply import CommandReply, Reply, closed_error, wait_for_future
from .rest import Rest
from .status import ClientStatus
from .store import Store

T = TypeVar("T")
H = TypeVar("H", bound=Handler)
A = TypeVar("A", bound=Callable[[Any], Any])

Snowflake = Union[int, str]
"""An id of Discord's, as a number or in digits."""

_RESUMABLE_STOP_MS = 250
"""A resumable stop loses nothing when it is cut short: the sessions stay at Discord either way."""
_CLOSING_STOP_MS = 5_000
"""Signing off takes an answer from Discord."""
_MEMBERS_TIMEOUT_MAX_S = 900.0
"""The longest that the engine collects members."""
_GRACE_S = 1.0
"""What a reply that tells of a timeout may take longer."""
_EVENTS_PER_BREATH = 64
"""Events that an `async for` takes in a row before other tasks get a turn."""


class Client:
    """The gateway shards of a bot, or some of them.

    With asyncio::

        async with Client(token, intents=["GUILDS", "GUILD_MESSAGES"]) as client:
            async for event in client:
                ...

    Without, `with` and `for`. What takes time is a `Reply`: `await` it, or take its `result()`.
    Leaving the block stops the shards and leaves their sessions resumable. Configuration that is not
    given is the library's default, or comes from its environment variables; a wrong one is an
    `InvalidConfigError` that names the key.

    Commands may be sent from any thread; a client is started, iterated and closed in one.
    """

    def __init__(
        self,
        token: Optional[str] = None,
        *,
        intents: IntentsLike,
        shards: Union[str, int, Mapping[str, Any], None] = None,
        events: Optional[Iterable[str]] = None,
        presence: Optional[Mapping[str, Any]] = None,
        compression: Optional[str] = None,
        large_threshold: Optional[int] = None,
        properties: Optional[Mapping[str, str]] = None,
        queue: Optional[Mapping[str, Any]] = None,
        identify: Optional[Mapping[str, Any]] = None,
        threads: Optional[int] = None,
        log: Optional[Mapping[str, str]] = None,
        profile: Optional[str] = None,
        metrics_address: Optional[str] = None,
        api_url: Optional[str] = None,
        gateway_url: Optional[str] = None,
        ca_file: Union[str, os.PathLike[str], None] = None,
        proxy: Optional[str] = None,
        sessions: Optional[str] = None,
        delivery: Optional[Literal["at_most_once", "at_least_once"]] = None,
        backplane: Optional[str] = None,
        worker_name: Optional[str] = None,
        standby: Optional[str] = None,
        lease_ttl_s: Optional[int] = None,
        store: Optional[str] = None,
        max_handlers: int = 256,
        batch: int = MAX_BATCH,
    ) -> None:
        """`max_handlers`: handlers that run at once; at that bound no event is taken until one is done.
        `batch`: events read by one call. Everything else is the library's configuration.

        With `sessions="sqlite:PATH"` a restart resumes. With `delivery="at_least_once"` an event is done
        when its handlers have ended, or the loop asks for the next one; what is not done comes again.
        """
        self._is_closed = False
        self._stream: Optional[Stream] = None
        self._wanted: Optional[frozenset[str]] = None
        self._closing = threading.Lock()
        # Where it counts when an event is done, its handlers and loops tell.
        lends = delivery == "at_least_once"
        self._handlers = (LendingHandlers if lends else Handlers)(max_handlers, self._notify)
        self._loops = Loops() if lends else None
        self._own_loop: Optional[Loop] = None
        self._breath = 0
        if not 1 <= batch <= 65_536:
            raise ValueError(f"batch is {batch}; it is between 1 and 65536")
        names: Optional[list[str]] = None
        if events is not None:
            self._wanted = frozenset([events] if isinstance(events, str) else events)
            names = sorted(self._wanted)
        if log is None and profile is None and not os.environ.get("SHARDWRIGHT_LOG"):
            log = {"to": "events", "level": _log_level()}
        config = {
            "token": token,
            "intents": intents_json(intents),
            "shards": dict(shards) if isinstance(shards, Mapping) else shards,
            "events": names,
            "presence": _plain(presence),
            "compression": compression,
            "large_threshold": large_threshold,
            "properties": _plain(properties),
            "queue": _plain(queue),
            "identify": _plain(identify),
            "threads": threads,
            "log": _plain(log),
            "profile": profile,
            "metrics_address": metrics_address,
            "api_url": api_url,
            "gateway_url": gateway_url,
            "ca_file": None if ca_file is None else os.fspath(ca_file),
            "proxy": proxy,
            "sessions": sessions,
            "delivery": delivery,
            "backplane": backplane,
            "worker_name": worker_name,
            "standby": standby,
            "lease_ttl_s": lease_ttl_s,
            "store": store,
        }
        self._core = Core({key: value for key, value in config.items() if value is not None}, batch)
        self.rest = Rest(self)
        self.cache = Cache(self)
        self.jobs = Jobs(self)
        self.store = Store(self)
        self._first_commands: list[Callable[[], Reply[Any]]] = []

    # -- life ----------------------------------------------------------------------------------------

    def start(self) -> None:
        """Starts the shards and returns at once. In a running asyncio loop the client belongs to it;
        otherwise it is one without asyncio. `with` and `async with` call this."""
        self._core.check_process()
        if self._is_closed:
            raise closed_error()
        if self._stream is not None:
            raise _state_error("the client was started before; make a new one")
        stream: Stream
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            if self._handlers.has_async():
                raise _state_error(
                    "a handler is an `async def`, which needs asyncio: use `async with`, or client.run()"
                ) from None
            kind = BlockingStream if self._loops is None else LendingBlockingStream
            stream = kind(self._core)
        else:
            async_kind = AsyncStream if self._loops is None else LendingAsyncStream
            stream = async_kind(self._core)
        self._stream = stream
        self._core.start()
        try:
            for command in self._first_commands:
                command()
        except ShardError:
            self.close()
            raise

    def run(self) -> None:
        """Runs the handlers in an asyncio loop of its own until `stop()`, Ctrl-C or SIGTERM; those two
        end it without an exception."""
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(self._run())

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        # Only the main thread may have signal handlers, and not every loop can.
        with contextlib.suppress(NotImplementedError, ValueError, RuntimeError):
            loop.add_signal_handler(signal.SIGTERM, self.stop)
        async with self:
            await self.serve()

    async def serve(self) -> None:
        """Calls the handlers until the client stops: `async for` with nothing to do."""
        async for _ in self:
            pass

    def stop(self, *, resumable: bool = True) -> None:
        """Begins to stop, from any thread, and returns at once: iteration ends when the events that were
        received are taken. With `resumable=False` the bot signs off and its sessions end."""
        if not self._is_closed:
            self._core.stop(_how(resumable), 0)

    def close(self, *, resumable: bool = True) -> None:
        """Stops, waits for it, and frees everything, from any thread; may be called again. Open replies
        fail with `ClosedError`. In asyncio `await aclose()`, which lets the loop go on meanwhile."""
        if self._core.is_forked:
            # Nothing of it belongs to a child, not even its locks, which the parent may have held.
            self._is_closed = True
            return
        with self._closing:
            if self._is_closed:
                return
            self._stop_now(resumable)
            self._release()
        self._handlers.cancel()

    async def aclose(self, *, resumable: bool = True) -> None:
        """`close()`, for asyncio: also waits for the handlers' tasks, which are cancelled."""
        if not self._is_closed:
            loop = asyncio.get_running_loop()
            try:
                await loop.run_in_executor(None, self._stop_now, resumable)
            finally:
                self.close(resumable=resumable)
        tasks = self._handlers.cancel()
        current = asyncio.current_task()
        await asyncio.gather(*(task for task in tasks if task is not current), return_exceptions=True)

    def _stop_now(self, resumable: bool) -> None:
        if self._core.is_forked or self._core.is_freed:
            return
        wait_ms = _RESUMABLE_STOP_MS if resumable else _CLOSING_STOP_MS
        if not self._core.stop(_how(resumable), wait_ms):
            self._core.stop(_ffi.SHARD_STOP_ABORT, 0)

    def _release(self) -> None:
        self._is_closed = True
        self._core.free()
        if self._stream is not None:
            self._stream.end(None)
            if isinstance(self._stream, AsyncStream):
                self._stream.release()

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._is_closed

    def __enter__(self) -> Client:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            self.start()
            return self
        raise _state_error("in a running asyncio loop use `async with`: a plain `with` would block the loop")

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        if kind is None and self._loops is not None:
            self._loops.block_ended()
        self.close()

    async def __aenter__(self) -> Client:
        self.start()
        return self

    async def __aexit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        if kind is None and self._loops is not None:
            self._loops.block_ended()
        await self.aclose()

    def __del__(self) -> None:
        # Not even made when the configuration was wrong.
        stream = getattr(self, "_stream", None)
        if stream is not None and not self._is_closed and not self._core.is_forked:
            warnings.warn(f"{self!r} was not closed", ResourceWarning, stacklevel=2)
            self._handlers.cancel()

    def __repr__(self) -> str:
        state = "closed" if self._is_closed else "new" if self._stream is None else "started"
        return f"<Client {state}>"

    # -- events --------------------------------------------------------------------------------------

    def on(self, *names: str) -> Callable[[H], H]:
        """Calls the decorated function for events of these names: of dispatches
        (`@client.on("MESSAGE_CREATE")`), `"SHARD_STATE"`, `"FATAL"`, `"GUILDS_COMPLETE"`, `"OVERFLOW"`,
        or `"*"` for all.

        An `async def` runs as a task, a plain function in a thread, so that neither holds up the events
        after it; they run side by side and may finish in another order. What one raises is logged.
        They are called for the events that somebody takes: an iteration, `serve()` or `run()`.
        """
        if not names or not all(isinstance(name, str) for name in names):
            raise TypeError('name the events: @client.on("MESSAGE_CREATE")')
        kinds = {kind.name for kind in EventKind} - {"DISPATCH", "REPLY", "LOG"} | {ANY}
        for name in names:
            if self._wanted is not None and name not in self._wanted and name not in kinds:
                raise ValueError(f"{name} is not in `events`, so it would never come; add it there")

        def register(handler: H) -> H:
            if isinstance(self._stream, BlockingStream):
                added = Handlers(1, self._notify)
                added.add(ANY, handler)
                if added.has_async():
                    raise _state_error("an `async def` handler needs asyncio: use `async with`")
            for name in names:
                self._handlers.add(name, handler)
            return handler

        return register

    def __aiter__(self) -> AsyncIterator[Event]:
        return self if self._loops is None else self._loops.begin(self)

    async def __anext__(self, _loop: Optional[Loop] = None) -> Event:
        stream = self._started()
        if type(stream) is not AsyncStream:
            if not isinstance(stream, AsyncStream):
                raise _state_error("this client was started without asyncio: use `for`, or `async with`")
            if _loop is None:
                return await self._bare_loop().__anext__()
        if stream.loop is not asyncio.get_running_loop():
            raise _state_error("this client belongs to another asyncio loop; make one client per loop")
        self._breath += 1
        if self._breath >= _EVENTS_PER_BREATH:
            self._breath = 0
            await asyncio.sleep(0)
        # Nothing is awaited once an event is taken, so that a cancelled wait loses none.
        while True:
            if self._is_closed:
                raise StopAsyncIteration
            if stream.events and not self._handlers.is_busy():
                event = stream.events.popleft()
                if stream.is_paused:
                    stream.resume()
                self._handlers.start(event)
                return event
            if not stream.events and stream.is_ended:
                if stream.error is not None:
                    raise stream.error
                raise StopAsyncIteration
            await stream.changed()

    def __iter__(self) -> Iterator[Event]:
        return self._iterate() if self._loops is None else self._loops.begin(self)

    def _iterate(self) -> Iterator[Event]:
        """`__next__` again and again, but what was read before costs next to nothing."""
        handlers, getpid, pid = self._handlers.by_name, os.getpid, os.getpid()
        while True:
            try:
                event = self.__next__()
            except StopIteration:
                return
            take = self._started().events.popleft
            while True:
                yield event
                if handlers or self._is_closed or getpid() != pid:
                    break
                try:
                    event = take()
                except IndexError:
                    break

    def batches(self) -> Iterator[list[Event]]:
        """Without asyncio: the events as they were read, many at once, for bots that take a hundred thousand
        per second. With handlers one at a time, as these take them. Not with `at_least_once`, where each
        event is done when the next one is asked for."""
        if self._loops is not None:
            raise _state_error("with at_least_once take events one by one: for event in client")
        handlers = self._handlers.by_name
        while True:
            try:
                batch = [self.__next__()]
            except StopIteration:
                return
            events = self._started().events
            if not handlers:
                with contextlib.suppress(IndexError):  # another thread iterates too, and was faster
                    for _ in range(len(events)):
                        batch.append(events.popleft())
            yield batch

    def __next__(self, _loop: Optional[Loop] = None) -> Event:
        stream = self._started()
        if type(stream) is not BlockingStream:
            if not isinstance(stream, BlockingStream):
                raise _state_error("this client was started in asyncio: use `async for`")
            if _loop is None:
                return self._bare_loop().__next__()
        while True:
            if not stream.events:
                stream.wait(stream.has_news, None)
            if self._is_closed:
                raise StopIteration
            if not stream.events:
                if stream.error is not None:
                    raise stream.error
                raise StopIteration
            if not self._handlers.is_busy():
                try:
                    event = stream.events.popleft()
                except IndexError:  # another thread iterates too, and was faster
                    continue
                self._handlers.start(event)
                return event
            stream.wait_change(lambda: not self._handlers.is_busy() or self._is_closed)

    def _bare_loop(self) -> Loop:
        """That of who calls `next()` on the client itself."""
        if self._own_loop is None:
            assert self._loops is not None
            self._own_loop = self._loops.begin(self)
        return self._own_loop

    # -- commands ------------------------------------------------------------------------------------

    def send(self, command: Mapping[str, Any]) -> Reply[Event]:
        """Sends any command of the library, such as `{"type": "gateway", "op": 4, "d": {…}}`. The reply
        has `status` and `data`; a negative status raises, an HTTP status does not."""
        return self._command(dict(command), str(command.get("type")), lambda event: event)

    def request_guild_members(
        self,
        guild_id: Snowflake,
        *,
        query: Optional[str] = None,
        limit: int = 0,
        user_ids: Optional[Sequence[Snowflake]] = None,
        presences: bool = False,
        timeout: Optional[float] = 60.0,
    ) -> Reply[GuildMembers]:
        """Members of a guild: all (which takes the GUILD_MEMBERS intent), those whose name begins with
        `query`, or those with `user_ids`. The chunks are put together and do not come as events; a rate limit
        is waited out. `ShardTimeoutError` after `timeout` seconds, which are at most 900.
        """
        seconds = _MEMBERS_TIMEOUT_MAX_S if timeout is None else min(timeout, _MEMBERS_TIMEOUT_MAX_S)
        command: dict[str, Any] = {
            "type": "request_guild_members",
            "guild_id": guild_id,
            "presences": presences,
            "collect": True,
            "timeout_ms": max(1, int(seconds * 1000)),
        }
        if user_ids is None:
            command.update(query=query or "", limit=limit)
        else:
            command["user_ids"] = list(user_ids)
            if query is not None:
                command["query"] = query
        what = f"request_guild_members of guild {guild_id}"
        # The engine's own timeout says more; it begins when the shards are known.
        return self._command(command, what, members_of, timeout and timeout + _GRACE_S)

    def request_soundboard_sounds(self, guild_ids: Sequence[Snowflake]) -> Reply[None]:
        """Asks for soundboard sounds, which come as SOUNDBOARD_SOUNDS events."""
        command = {"type": "request_soundboard_sounds", "guild_ids": list(guild_ids)}
        return self._command(command, "request_soundboard_sounds", lambda event: None)

    def update_presence(
        self,
        *,
        status: str = "online",
        activities: Sequence[Mapping[str, Any]] = (),
        since: Optional[int] = None,
        afk: bool = False,
    ) -> Reply[None]:
        """Sets the bot's presence on every shard, now and after each later identify."""
        command = {
            "type": "update_presence",
            "status": status,
            "activities": [dict(activity) for activity in activities],
            "since": since,
            "afk": afk,
        }
        return self._command(command, "update_presence", lambda event: None)

    def update_voice_state(
        self,
        guild_id: Snowflake,
        channel_id: Optional[Snowflake] = None,
        *,
        self_mute: bool = False,
        self_deaf: bool = False,
    ) -> Reply[None]:
        """Joins a voice channel, moves to it, or leaves the guild's with `None`."""
        command = {
            "type": "update_voice_state",
            "guild_id": guild_id,
            "channel_id": channel_id,
            "self_mute": self_mute,
            "self_deaf": self_deaf,
        }
        return self._command(command, "update_voice_state", lambda event: None)

    def guilds(
        self,
        *,
        after: Optional[Snowflake] = None,
        limit: int = 1000,
        shard: Optional[int] = None,
        unavailable: Optional[bool] = None,
    ) -> Reply[GuildsPage]:
        """Guilds on the shards of this client, lowest id first: at most `limit` of those above `after`. With
        `shard` those of one shard, with `unavailable` those in an outage or not sent yet, or the others."""
        command: dict[str, Any] = {"type": "guilds", "limit": limit}
        for key, value in (("after", after), ("shard", shard), ("unavailable", unavailable)):
            if value is not None:
                command[key] = value
        return self._command(command, "guilds", lambda event: event.data)

    def guild_stats(self) -> Reply[GuildStats]:
        """How many guilds and members there are, in all and by shard."""
        return self._command({"type": "guild_stats"}, "guild_stats", lambda event: event.data)

    def publish(self, topic: str, data: Any = None) -> Reply[None]:
        """Says something to every process of the bot that subscribed to the topic: a MESSAGE event whose
        `name` is the topic, and whose `data` has `from` and `data`."""
        return self._ask("publish", f"publish on {topic!r}", lambda data: None, topic=topic, data=data)

    def subscribe(self, topic: str) -> Reply[None]:
        """Gets messages and calls on a topic from now on, as MESSAGE and CALL events."""
        return self._ask("subscribe", f"subscribe to {topic!r}", lambda data: None, topic=topic)

    def unsubscribe(self, topic: str) -> Reply[None]:
        """Gets them no longer."""
        return self._ask("unsubscribe", f"unsubscribe from {topic!r}", lambda data: None, topic=topic)

    def call(self, topic: str, data: Any = None, *, timeout: float = 5.0) -> Reply[CallAnswers]:
        """Asks every process that subscribed to the topic, this one too. Done when all have answered or after
        `timeout` seconds, at most 300."""
        fields = {"topic": topic, "data": data, "timeout_ms": milliseconds(timeout)}
        return self._ask("call", f"call on {topic!r}", lambda data: data, **fields)

    def answer(self, call: Event, data: Any = None, *, error: Optional[str] = None) -> Reply[None]:
        """Answers a CALL event, with data or an error."""
        fields = {"data": data} if error is None else {"error": error}
        return self._ask("answer", "answer", lambda data: None, call=call.data["call"], **fields)

    def answers(self, topic: str) -> Callable[[A], A]:
        """Answers the calls on a topic with what the decorated function returns for the data of each, from
        the start of the client on. What it raises is the answer's error, and logged."""

        def register(function: A) -> A:
            if is_async(function):

                async def answer_async(event: Event) -> None:
                    if event.name == topic:
                        try:
                            result = await function(event.data["data"])
                        except Exception as error:
                            await self.answer(event, error=repr(error))
                            raise
                        await self.answer(event, result)

                self.on("CALL")(answer_async)
            else:

                def answer(event: Event) -> None:
                    if event.name == topic:
                        try:
                            result = function(event.data["data"])
                        except Exception as error:
                            self.answer(event, error=repr(error)).result()
                            raise
                        self.answer(event, result).result()

                self.on("CALL")(answer)
            self._at_start(lambda: self.subscribe(topic))
            return function

        return register

    def cluster_stats(self) -> Reply[dict[str, Any]]:
        """Shards, guilds, members and events per second of all processes of the bot: `total`, `workers`."""
        return self._ask("cluster_stats", "cluster_stats", lambda data: data)

    def _at_start(self, command: Callable[[], Reply[Any]]) -> None:
        """Sends a command now, or when the client starts."""
        if self._stream is None:
            self._first_commands.append(command)
        else:
            command()

    def gateway_info(self) -> Reply[dict[str, Any]]:
        """What `/gateway/bot` says now: `url`, `shards`, `session_start_limit`."""
        return self._command({"type": "gateway_info"}, "gateway_info", lambda event: event.data)

    def restart_shard(self, shard_id: int, *, resume: bool = True) -> Reply[None]:
        """Gives a shard a new connection, with `resume=False` also a new session."""
        command = {"type": "restart_shard", "shard": shard_id, "resume": resume}
        return self._command(command, "restart_shard", lambda event: None)

    def reshard(self, shards: Union[int, Literal["auto"]] = "auto") -> Reply[dict[str, Any]]:
        """Runs the bot with another number of shards, without a gap; done when the old ones are gone.
        `"auto"` asks Discord for the number."""
        return self._command({"type": "reshard", "shards": shards}, "reshard", lambda event: event.data)

    def _ask(self, kind: str, what: str, convert: Callable[[Any], T], **fields: Any) -> Reply[T]:
        """Sends a command. Fields that are None are left out, but for those that may be null."""
        command = {"type": kind}
        for key, value in fields.items():
            if value is not None or key in ("data", "payload", "value"):
                command[key] = value
        return self._command(command, what, lambda event: convert(event.data))

    def _command(
        self,
        command: Mapping[str, Any],
        what: str,
        convert: Callable[[Event], T],
        timeout: Optional[float] = None,
    ) -> Reply[T]:
        stream = self._started()
        reply = CommandReply(stream, what, convert, timeout)
        stream.replies.send(_json.dumps(command), reply)
        if isinstance(stream, AsyncStream):
            # Reading may have paused, with the reply behind what was not read.
            stream.resume()
        return reply

    # -- state ---------------------------------------------------------------------------------------

    def wait_ready(self, timeout: Optional[float] = None) -> Reply[None]:
        """Done when every shard has been ready once. `FatalError` when Discord refuses a shard for good,
        `ShardTimeoutError` after `timeout` seconds."""
        reply: _Ready = _Ready(self._started(), "wait_ready", timeout)
        threading.Thread(
            target=reply.watch, args=(self._core,), name="shardwright-ready", daemon=True
        ).start()
        return reply

    def status(self) -> ClientStatus:
        """How the client is doing: its stage, its queue, and every shard."""
        self._check_open()
        status: ClientStatus = self._core.status()
        return status

    @property
    def guild_count(self) -> int:
        """Guilds on the shards of this client that are available."""
        return self.status()["guilds"]

    def metrics(self) -> str:
        """The client's numbers in Prometheus' text format."""
        self._check_open()
        return self._core.metrics()

    def check_healthy(self) -> None:
        """For a readiness probe: raises with the worst reason unless every shard is ready."""
        self._check_open()
        self._core.check_healthy()

    def _check_open(self) -> None:
        self._core.check_process()
        if self._is_closed:
            raise closed_error()

    def _started(self) -> Stream:
        self._core.check_process()
        if self._stream is None:
            if self._is_closed:
                raise closed_error()
            raise _state_error("the client is not started: use `with` or `async with`")
        return self._stream

    def _notify(self) -> None:
        if self._stream is not None:
            self._stream.notify()


class _Ready(Reply[None]):
    """The end of a start. A thread waits for it in the library, where no event is needed."""

    def watch(self, core: Core) -> None:
        """Waits for it."""
        try:
            core.wait_ready(-1)
        except ShardError as error:
            self._fail(error)
        else:
            self._finish(None)

    def _wait_here(self, timeout: Optional[float]) -> bool:
        if not self._stream.is_blocking:
            return super()._wait_here(timeout)
        # No event brings it, so none has to be read for it.
        return wait_for_future(self._future, timeout)


def _how(resumable: bool) -> int:
    return _ffi.SHARD_STOP_RESUMABLE if resumable else _ffi.SHARD_STOP_CLOSE


def _plain(value: Optional[Mapping[str, Any]]) -> Optional[dict[str, Any]]:
    return None if value is None else dict(value)


def _state_error(message: str) -> StateError:
    return StateError(_ffi.SHARD_E_STATE, "SHARD_E_STATE", message)


def _log_level() -> str:
    """What the program wants to see of our log; the engine does not even write the rest."""
    level = logging.getLogger("shardwright").getEffectiveLevel()
    steps = (
        (logging.DEBUG - 1, "trace"),
        (logging.DEBUG, "debug"),
        (logging.INFO, "info"),
        (logging.WARNING, "warn"),
        (logging.CRITICAL, "error"),
    )
    return next((name for most, name in steps if level <= most), "off")
