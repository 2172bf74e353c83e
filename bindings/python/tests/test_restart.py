"""A restart goes on where the last process ended: nothing lost, nothing twice, no identify."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import threading
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Callable, Optional

import pytest
from conftest import MakeClient
from simulator import Simulator

from shardwright import Client, ClosedError, Event, EventKind, ForkedError, InvalidConfigError
from shardwright._leases import Leases

DELIVERIES = ["at_most_once", "at_least_once"]
SHARDS = 2


@pytest.fixture
def stored(make: MakeClient, tmp_path: Path) -> MakeClient:
    """Makes clients that go on where the last one ended."""

    def make_client(delivery: str = "at_least_once", **options: Any) -> Client:
        return make(sessions=f"sqlite:{tmp_path}/sessions", delivery=delivery, **options)

    return make_client


def number_of(event: Event) -> Optional[int]:
    """The number of something that happened in the simulated world."""
    if event.kind is not EventKind.DISPATCH:
        return None
    data = event.data
    nonce = data.get("nonce") if isinstance(data, dict) else None
    return None if nonce is None else int(nonce)


def sent(sim: Simulator) -> list[int]:
    """The numbers of all that was sent."""
    # What is replayed is not in the ledger again.
    return sorted(record["number"] for record in sim.seen("dispatches") if record["number"] is not None)


def say_apart(sim: Simulator, client: Client, *texts: str) -> None:
    """Messages that do not come in one read of the socket, which would be done together."""

    def newest() -> int:
        return sum(shard["sequence"] or 0 for shard in client.status()["shards"])

    for text in texts:
        before = newest()
        sim.say(text)
        while newest() == before:
            time.sleep(0.001)


def missed(client: Client) -> list[tuple[int, bool]]:
    """What a client gets that resumes: numbers, and whether they were replayed."""
    got = []
    resumed = 0
    with client:
        for event in client:
            number = number_of(event)
            if number is not None:
                got.append((number, event.replayed))
            elif event.name == "RESUMED":
                resumed += 1
                if resumed == SHARDS:
                    client.stop()
    return got


# -- clean ends ----------------------------------------------------------------------------------------


def with_for(client: Client, enough: int) -> list[int]:
    got = []
    with client:
        for event in client:
            number = number_of(event)
            if number is not None:
                got.append(number)
                if len(got) == enough:
                    client.stop()
    return got


def with_async_for(client: Client, enough: int) -> list[int]:
    got = []

    async def main() -> None:
        async with client:
            async for event in client:
                number = number_of(event)
                if number is not None:
                    got.append(number)
                    if len(got) == enough:
                        client.stop()

    asyncio.run(main())
    return got


def with_tasks(client: Client, enough: int) -> list[int]:
    """Three loops over one client, side by side."""
    got = []

    async def loop() -> None:
        async for event in client:
            number = number_of(event)
            if number is not None:
                await asyncio.sleep(0.001)
                got.append(number)
                if len(got) == enough:
                    client.stop()

    async def main() -> None:
        async with client:
            await asyncio.gather(loop(), loop(), loop())

    asyncio.run(main())
    return got


def with_handlers(client: Client, enough: int) -> list[int]:
    """Async and plain ones; the program waits for the last before it leaves the block."""
    awaited: list[int] = []
    called: list[int] = []

    @client.on("*")
    async def handle(event: Event) -> None:
        await asyncio.sleep(random.random() / 100)
        number = number_of(event)
        if number is not None:
            awaited.append(number)
            if len(awaited) == enough:
                client.stop()

    @client.on("*")
    def handle_too(event: Event) -> None:
        number = number_of(event)
        if number is not None:
            called.append(number)

    async def main() -> None:
        taken = 0
        async with client:
            async for event in client:
                taken += number_of(event) is not None
            while not len(awaited) == len(called) == taken:  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.001)

    asyncio.run(main())
    assert sorted(awaited) == sorted(called)
    return awaited


@pytest.mark.parametrize("delivery", DELIVERIES)
@pytest.mark.parametrize("way", [with_for, with_async_for, with_tasks, with_handlers])
def test_a_clean_end_loses_nothing_and_repeats_nothing(
    sim: Simulator, stored: MakeClient, delivery: str, way: Callable[[Client, int], list[int]]
) -> None:
    # A shard that is late might begin its session when the others have all they want.
    with stored(delivery) as client:
        client.wait_ready(30).result()
    sim.do("traffic", events_per_second=600)
    got = way(stored(delivery), 150)
    got += way(stored(delivery), 150)
    sim.do("traffic", events_per_second=0)
    rest = missed(stored(delivery))
    assert sorted(got + [number for number, _ in rest]) == sent(sim)
    assert all(replayed for _, replayed in rest)
    assert sim.counts()["identifies"] == SHARDS
    assert sim.violations() == []


def test_leaving_the_block(sim: Simulator, stored: MakeClient) -> None:
    """After a `break` the event in hand is done; what was read ahead and never taken is not."""
    numbers: list[int] = []

    def take_one(client: Client) -> None:
        for event in client:
            number = number_of(event)
            if number is not None:
                numbers.append(number)
                break

    with stored(batch=16) as client:
        client.wait_ready().result(10)
        say_apart(sim, client, "one", "two", "three")
        take_one(client)
        take_one(client)
        # The first is done, for this thread went on.
        assert len(client._core.leases or ()) == 2

    def fail(client: Client) -> None:
        with client:
            for event in client:
                if number_of(event) is not None:
                    raise ValueError("not done")

    # Without RESUMED, which may share a read of the socket with the last message.
    with pytest.raises(ValueError, match="not done"):
        fail(stored(events=["MESSAGE_CREATE"]))
    with stored(events=["MESSAGE_CREATE"]) as client:
        # Whoever asks by hand is one loop.
        number = None
        while number is None:
            number = number_of(next(client))
        numbers.append(number)
    assert missed(stored()) == []
    assert numbers == sent(sim)
    assert sim.counts()["identifies"] == SHARDS


def test_leaving_the_block_of_asyncio(sim: Simulator, stored: MakeClient) -> None:
    async def main(fails: bool) -> None:
        async with stored(events=["MESSAGE_CREATE"]) as client:
            await client.wait_ready(10)
            if fails:
                await asyncio.get_running_loop().run_in_executor(None, sim.say, "hello")
            async for event in client:
                if number_of(event) is not None:
                    if fails:
                        raise ValueError("not done")
                    break

    with pytest.raises(ValueError, match="not done"):
        asyncio.run(main(fails=True))
    asyncio.run(main(fails=False))
    assert missed(stored()) == []


@pytest.mark.parametrize("is_cancelled", [True, False])
def test_the_loop_of_another_task_is_not_done(sim: Simulator, stored: MakeClient, is_cancelled: bool) -> None:
    async def main() -> None:
        in_hand = asyncio.Event()

        async def loop(client: Client) -> None:
            async for event in client:
                if number_of(event) is not None:
                    in_hand.set()
                    await asyncio.Event().wait()

        async with stored(events=["MESSAGE_CREATE"]) as client:
            await client.wait_ready(10)
            task = asyncio.create_task(loop(client))
            await asyncio.get_running_loop().run_in_executor(None, sim.say, "hello")
            await in_hand.wait()
            if is_cancelled:
                task.cancel()
                await asyncio.wait([task])

    asyncio.run(main())
    assert missed(stored()) == [(number, True) for number in sent(sim)]


# -- handlers ------------------------------------------------------------------------------------------


ENDS = ["raises", "is cancelled", "is cancelled by others", "loses its client", "awaits what is cancelled"]


@pytest.mark.parametrize("end", ENDS)
def test_how_a_handler_ends(sim: Simulator, stored: MakeClient, end: str) -> None:
    """One that raises is done. One that the end of the client cut off is not."""

    async def main() -> None:
        began = asyncio.Event()
        ended = asyncio.Event()
        client = stored(events=["MESSAGE_CREATE"])
        task: Optional[asyncio.Task[Any]] = None

        @client.on("MESSAGE_CREATE")
        async def handle(event: Event) -> None:
            nonlocal task
            task = asyncio.current_task()
            began.set()
            try:
                if end == "raises":
                    raise ValueError("broken")
                if end == "awaits what is cancelled":
                    other = asyncio.get_running_loop().create_future()
                    other.cancel()
                    await other
                elif end == "loses its client":
                    await client.rest.get("/users/@me")
                else:
                    await asyncio.Event().wait()
            finally:
                ended.set()

        async with client:
            await client.wait_ready(10)
            if end == "loses its client":
                sim.do("rest_fault", fault={"path": "/users/@me", "what": "hang"})
            await asyncio.get_running_loop().run_in_executor(None, sim.say, "hello")
            serving = asyncio.create_task(client.serve())
            await began.wait()
            if end != "is cancelled":
                if end == "loses its client":
                    client.stop()
                elif end == "is cancelled by others":
                    assert task is not None
                    task.cancel()
                await ended.wait()
                await asyncio.sleep(0)
            client.stop()
            await serving

    asyncio.run(main())
    done = end == "raises" or (end == "awaits what is cancelled" and sys.version_info >= (3, 11))
    assert missed(stored()) == ([] if done else [(number, True) for number in sent(sim)])
    assert sim.counts()["identifies"] == SHARDS


def test_a_thread_that_raises_is_done(sim: Simulator, stored: MakeClient) -> None:
    called = threading.Semaphore(0)
    client = stored(events=["MESSAGE_CREATE"])

    @client.on("MESSAGE_CREATE")
    def handle(event: Event) -> None:
        called.release()
        raise SystemExit("a thread ends nothing")

    @client.on("MESSAGE_CREATE")
    def cut_off(event: Event) -> None:
        if event.data["content"] == "cut off":
            called.release()
            raise ClosedError(-5, "SHARD_E_CLOSED", "the client has stopped")

    with client:
        client.wait_ready().result(10)
        say_apart(sim, client, "hello", "cut off")
        taken = 0
        for event in client:
            taken += number_of(event) is not None
            if taken == 2:
                client.stop()
        for _ in range(3):
            assert called.acquire(timeout=10)
        while len(client._core.leases or ()) != 1:
            time.sleep(0.001)
    assert missed(stored()) == [(sent(sim)[1], True)]


# -- holding -------------------------------------------------------------------------------------------


def messages(client: Client) -> Iterator[Event]:
    return (event for event in client if event.name == "MESSAGE_CREATE")


def test_hold(sim: Simulator, stored: MakeClient) -> None:
    """An event that is held, and all after it, come again; done twice is done once."""
    with stored() as client:
        client.wait_ready().result(10)
        say_apart(sim, client, "0", "1", "2", "3")
        taken = messages(client)
        first, second, third, fourth = (next(taken) for _ in range(4))
        holds = [fourth.hold(), fourth.hold()]
        with pytest.raises(KeyboardInterrupt), holds[0]:
            raise KeyboardInterrupt
        with pytest.raises(ValueError, match="work"), holds[1]:
            raise ValueError("work that failed is done")
        holds[1].done()
        client.stop()
        assert list(taken) == []
        # Those before were done when the next was asked for, and it is too late to hold them.
        late = [event.hold() for event in (first, second, third)]
    assert len(client._core.leases or ()) == 0
    for hold in (*holds, *late):
        hold.done()
    assert missed(stored()) == [(sent(sim)[3], True)]

    with stored() as client:
        sim.say("more")
        taken = messages(client)
        event = next(taken)
        with event.hold() as hold:
            client.stop()
            assert list(taken) == []
        hold.done()
    assert missed(stored()) == []
    # Nobody is done twice.
    leases = Leases(client._core._library)
    (lease,) = leases.add([0])
    lease.hold()
    for _ in range(3):
        lease.taker_done()
    assert len(leases) == 1
    # By default it does nothing.
    Event(EventKind.DISPATCH, "X", b"{}").hold().done()


def test_what_is_held_takes_room(sim: Simulator, stored: MakeClient) -> None:
    """Back-pressure: what is not done counts, and at the bound the sockets are left unread."""
    bound = 100_000
    with stored(queue={"max_bytes": bound}, events=["FLOOD"]) as client:
        client.wait_ready().result(10)
        text = "x" * 1000
        # Not in one read, which would be one frame.
        steps = [
            {"at_ms": n // 10, "do": "dispatch", "target": {"shard": 0}, "t": "FLOOD", "d": {"text": text}}
            for n in range(1000)
        ]
        sim._ask("script", {"step": steps})
        holds = []
        floods = (event for event in client if event.name == "FLOOD")
        while client.status()["queue"]["bytes"] < bound:
            holds.append(next(floods).hold())
        assert len(holds) < 500
        for hold in holds:
            hold.done()
        left = 1000 - len(holds)
        for _ in range(left):
            assert next(floods).data["text"] == text
        client.stop()
        assert list(floods) == []
        assert client.status()["queue"]["bytes"] == 0


def test_what_was_read_ahead_is_not_done(sim: Simulator, stored: MakeClient) -> None:
    with stored(events=["MESSAGE_CREATE"]) as client:
        leases = client._core.leases
        assert leases is not None
        client.wait_ready().result(10)
        members = client.request_guild_members(sim.guilds()[0]["id"]).result(10)
        assert (len(members.members), len(leases)) == (100, 0)
        sim.say("hello")
        while len(leases) == 0:
            client.rest.get("/users/@me").result(10)
    assert len(leases) == 0
    assert missed(stored()) == [(number, True) for number in sent(sim)]


def test_a_forked_child_gives_nothing_back(sim: Simulator, stored: MakeClient) -> None:
    with stored(events=["MESSAGE_CREATE"]) as client, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of forks beside threads
        client.wait_ready().result(10)
        sim.say("hello")
        taken = messages(client)
        hold = next(taken).hold()
        pid = os.fork()
        if pid == 0:
            try:
                hold.done()
                next(taken)
            except ForkedError:
                os._exit(7)
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
        client.stop()
        assert list(taken) == []
        assert len(client._core.leases or ()) == 1
        hold.done()
    assert missed(stored()) == []


def test_what_is_refused(tmp_path: Path) -> None:
    for options in (
        {"delivery": "at_least_once"},
        {"delivery": "twice"},
        {"sessions": "redis://x"},
        {"sessions": f"sqlite:{tmp_path}/missing/x"},
        {"identify": {"when_low": "never"}},
    ):
        with pytest.raises(InvalidConfigError, match=next(iter(options))):
            Client("a.b.c", intents=1, **options)


# -- kill -9 -------------------------------------------------------------------------------------------

HOST = """
import asyncio, os, random, sys
from shardwright import Client

sessions, delivery = sys.argv[1:]
client = Client(intents=["GUILDS", "GUILD_MESSAGES", "MESSAGE_CONTENT"], sessions=sessions, delivery=delivery,
                log={"to": "none"})

@client.on("*")
async def handle(event):
    await asyncio.sleep(random.random() / 50)
    if event.name in ("READY", "RESUMED"):
        line = "ready"
    elif isinstance(event.data, dict) and "nonce" in event.data:
        line = f"{event.data['nonce']} {event.replayed:d}"
    else:
        return
    # One write, so that a kill leaves it whole or not there at all.
    os.write(1, line.encode() + b"\\n")

client.run()
"""

KILLS = 10


class Finished:
    """What hosts that are killed said that they finished."""

    def __init__(self, sim: Simulator, *arguments: str) -> None:
        self.times: Counter[int] = Counter()
        self.unflagged: Counter[int] = Counter()
        self._sim = sim
        self._command = [sys.executable, "-c", HOST, *arguments]

    def run_and_kill(self, enough: int, numbers: Iterable[int] = ()) -> None:
        """Runs a host until all shards are ready, and it finished so many events after that, and all of
        these."""
        process = subprocess.Popen(self._command, env=self._sim.environment, stdout=subprocess.PIPE)
        assert process.stdout is not None
        ready = events = 0
        while ready < SHARDS or events < enough or not self.times.keys() >= set(numbers):
            line = process.stdout.readline()
            assert line, "it ended by itself"
            if self._read(line):
                events += ready == SHARDS
            else:
                ready += 1
        process.kill()
        for line in process.communicate()[0].splitlines():
            self._read(line)

    def _read(self, line: bytes) -> bool:
        if line.strip() == b"ready":
            return False
        number, replayed = map(int, line.split())
        self.times[number] += 1
        self.unflagged[number] += not replayed
        return True


@pytest.mark.parametrize("delivery", DELIVERIES)
def test_kill_9(sim: Simulator, tmp_path: Path, delivery: str, capsys: pytest.CaptureFixture[str]) -> None:
    finished = Finished(sim, f"sqlite:{tmp_path}/sessions", delivery)
    sim.do("traffic", events_per_second=1000)
    chance = random.Random(delivery)
    for _ in range(KILLS):
        finished.run_and_kill(chance.randrange(200))
    sim.do("traffic", events_per_second=0)
    numbers = sent(sim)
    if delivery == "at_least_once":
        finished.run_and_kill(0, numbers)
        assert max(finished.unflagged.values()) == 1
    else:
        finished.run_and_kill(0)
        assert max(finished.times.values()) == 1
        assert len(finished.times) > len(numbers) / 10
    assert sim.counts()["identifies"] == SHARDS
    assert sim.violations() == []
    with capsys.disabled():
        twice = sum(finished.times.values()) - len(finished.times)
        lost = len(numbers) - len(finished.times)
        print(f"\n{delivery}: {KILLS} kills, {len(numbers)} events, {twice} twice, {lost} lost")
