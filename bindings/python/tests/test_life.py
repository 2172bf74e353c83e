"""Ends of all kinds: close, garbage collection, cancellation, fork, signals; loops; leaks."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import resource
import signal
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path
from typing import Any, Optional

import pytest
import uvloop
from conftest import INTENTS, MakeClient
from simulator import Simulator

from shardwright import Client, Event, EventKind, RestError, StateError


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def files_are_closed(before: int) -> None:
    """The engine's threads, and a watching one, close theirs when they end; nothing tells of it."""
    deadline = time.monotonic() + 10
    while open_files() > before and time.monotonic() < deadline:
        os.sched_yield()
    assert open_files() <= before


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


# -- close -------------------------------------------------------------------------------------------


def test_close_while_blocked(make: MakeClient) -> None:
    """One thread waits for an event, another closes."""
    client = make(events=["MESSAGE_CREATE"])
    ended: list[Optional[BaseException]] = []
    reached = threading.Event()

    def take() -> None:
        try:
            for event in client:
                if event.name == "ready":
                    reached.set()
            ended.append(None)
        except BaseException as error:
            ended.append(error)

    client.start()
    thread = threading.Thread(target=take)
    thread.start()
    assert reached.wait(10)
    client.close()
    thread.join(10)
    assert ended == [None]


def test_close_while_blocked_in_a_loop(make: MakeClient) -> None:
    async def main() -> None:
        client = make()
        async with client:
            await client.wait_ready(10)
            serving = asyncio.create_task(client.serve())
            # Whatever it waits for, it ends when another thread closes the client.
            await asyncio.get_running_loop().run_in_executor(None, client.close)
            await asyncio.wait_for(serving, 10)

    asyncio.run(main())


@pytest.mark.parametrize("resumable", [True, False])
def test_closing_twice(sim: Simulator, make: MakeClient, resumable: bool) -> None:
    with make() as client:
        client.wait_ready().result(10)
        client.close(resumable=resumable)
        client.close()
        client.stop()
    client.close()
    make().close()
    # Discord keeps the sessions, or not.
    sim.wait(closed=2)

    async def main() -> None:
        async with make() as client:
            await client.wait_ready(10)
            await client.aclose()
            await client.aclose()

    asyncio.run(main())


def test_many_threads_close(make: MakeClient) -> None:
    client = make()
    client.start()
    threads = [threading.Thread(target=client.close) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert client.closed


def test_leaving_the_block_leaves_sessions_resumable(sim: Simulator, make: MakeClient) -> None:
    with make() as client:
        client.wait_ready().result(10)
    sim.wait(closed=2)
    # A session that was ended with 1000 is gone from the simulator at once.
    assert len(sim._ask("state")["sessions"]) == 2
    with make() as client:
        client.wait_ready().result(10)
        client.close(resumable=False)
    sim.wait(closed=4)
    assert len(sim._ask("state")["sessions"]) == 2


# -- garbage collection --------------------------------------------------------------------------------


def collect(lost: list[Client]) -> None:
    lost.clear()
    gc.collect()


def test_collected_without_close(sim: Simulator) -> None:
    def lose_one() -> weakref.ref[Client]:
        client = Client(sim.token, intents=INTENTS, api_url=sim.api_url)
        client.start()
        client.wait_ready().result(10)
        return weakref.ref(client)

    files = open_files()
    reference = lose_one()
    with pytest.warns(ResourceWarning, match="was not closed"):
        gc.collect()
    assert reference() is None
    sim.wait(closed=2)
    files_are_closed(files)


def test_collected_in_a_loop(sim: Simulator) -> None:
    async def lose_one() -> weakref.ref[Client]:
        client = Client(sim.token, intents=INTENTS, api_url=sim.api_url)
        client.start()
        await client.wait_ready(10)
        async for event in client:
            if event.name == "READY":
                break
        return weakref.ref(client)

    async def main() -> None:
        files = open_files()
        reference = await lose_one()
        with pytest.warns(ResourceWarning, match="was not closed"):
            gc.collect()
        assert reference() is None
        # The loop forgets the descriptor in its own thread, in one of its next turns.
        while open_files() > files:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0)

    asyncio.run(asyncio.wait_for(main(), 20))
    sim.wait(closed=2)


def test_a_loop_that_is_closed_first(sim: Simulator) -> None:
    async def leave_one() -> Client:
        client = Client(sim.token, intents=INTENTS, api_url=sim.api_url)
        client.start()
        await client.wait_ready(10)
        return client

    files = open_files()
    client = asyncio.run(leave_one())
    client.close()
    lost = [asyncio.run(leave_one())]
    with pytest.warns(ResourceWarning, match="was not closed"):
        collect(lost)
    sim.wait(closed=4)
    files_are_closed(files)


# -- leaks ---------------------------------------------------------------------------------------------

FLOOD = 100_000


@pytest.mark.parametrize("in_a_loop", [False, True])
def test_many_events_leave_nothing(in_a_loop: bool) -> None:
    """100,000 events: each comes once, in order, and neither Python nor the engine keeps any."""
    with Simulator(shards=1, guilds=1) as sim:
        client = Client(sim.token, intents=INTENTS, api_url=sim.api_url, events=["FLOOD"])
        numbers = iter(range(FLOOD))
        sizes: list[int] = []

        def take(event: Event) -> bool:
            if event.kind is not EventKind.DISPATCH:
                return False
            number = next(numbers)
            assert event.data["n"] == number
            if number in (FLOOD // 10, FLOOD - 1):
                gc.collect()
                sizes.append(resident_bytes())
            return number == FLOOD - 1

        def flood() -> None:
            step = 1000
            before = sim.counts()["dispatches"]
            for start in range(0, FLOOD, step):
                steps = [
                    {"at_ms": 0, "do": "dispatch", "t": "FLOOD", "d": {"n": n, "text": "x" * 600}}
                    for n in range(start, start + step)
                ]
                sim._ask("script", {"step": steps})
                # Scripts run side by side, so the next one begins when this one is through.
                sim.wait(dispatches=before + start + step)

        async def main() -> None:
            async with client:
                await client.wait_ready(10)
                thread.start()
                async for event in client:
                    if take(event):
                        break
                check()

        def check() -> None:
            queue = client.status()["queue"]
            assert (queue["events"], queue["bytes"], queue["dropped"]) == (0, 0, 0)

        thread = threading.Thread(target=flood)
        if in_a_loop:
            asyncio.run(main())
        else:
            with client:
                client.wait_ready().result(10)
                thread.start()
                for event in client:
                    if take(event):
                        break
                check()
        thread.join()
        # The 90,000 events between had 55 MB.
        grown = sizes[1] - sizes[0]
        assert grown < 25_000_000, f"{grown} bytes more"


# -- loops ---------------------------------------------------------------------------------------------


def test_cancelling_async_for_loses_nothing(sim: Simulator, make: MakeClient) -> None:
    channel = sim.channel()

    async def main() -> list[str]:
        said: list[str] = []
        async with make(events=["MESSAGE_CREATE"]) as client:
            await client.wait_ready(10)
            loop = asyncio.get_running_loop()
            number = 0
            while len(said) < 20:
                taking = asyncio.create_task(client.__anext__())
                talking = loop.run_in_executor(None, sim.say, str(number), channel)
                if number % 2:
                    await talking
                # Cancelled before, while and after an event comes.
                taking.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    said += text_of(await taking)
                await talking
                number += 1
                with contextlib.suppress(asyncio.TimeoutError):
                    while number == 20:
                        said += text_of(await asyncio.wait_for(client.__anext__(), 5))
                        if len(said) == 20:
                            break
        return said

    def text_of(event: Event) -> list[str]:
        return [event.data["content"]] if event.kind is EventKind.DISPATCH else []

    assert asyncio.run(main()) == [str(number) for number in range(20)]


def test_two_loops(make: MakeClient) -> None:
    """Two clients in two threads with a loop each; and one client belongs to one loop."""
    seen: list[str] = []
    first = make()

    async def serve(client: Client) -> None:
        async with client:
            async for event in client:
                if event.name == "READY":
                    seen.append((await client.rest.get("/users/@me"))["id"])
                    break

    threads = [threading.Thread(target=lambda: asyncio.run(serve(make()))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 2

    async def start() -> None:
        first.start()

    asyncio.run(start())

    async def take() -> Any:
        return await first.__anext__()

    with pytest.raises(StateError, match="another asyncio loop"):
        asyncio.run(take())


class LoopWithoutReaders(asyncio.SelectorEventLoop):
    """As loops on other systems are."""

    def add_reader(self, *_: Any) -> None:  # type: ignore[override]
        raise NotImplementedError


def test_a_loop_without_add_reader(sim: Simulator, make: MakeClient) -> None:
    async def main() -> None:
        async with make() as client:
            await client.wait_ready(10)
            said = asyncio.get_running_loop().run_in_executor(None, sim.say, "hello")
            async for event in client:
                if event.name == "MESSAGE_CREATE":
                    break
            await said
            with pytest.raises(RestError):
                await client.rest.get("/channels/1")
            client.stop()
            await client.serve()

    files = open_files()
    loop = LoopWithoutReaders()
    try:
        loop.run_until_complete(asyncio.wait_for(main(), 20))
    finally:
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
    for thread in threading.enumerate():
        if thread.name == "shardwright-watch":
            thread.join(10)
    files_are_closed(files)


def test_uvloop(sim: Simulator, make: MakeClient) -> None:
    """Somebody else's loop, with an `add_reader` of its own."""

    async def main() -> list[str]:
        async with make(events=["MESSAGE_CREATE"]) as client:
            await client.wait_ready(10)
            channel = sim.channel()
            said: list[str] = []
            for number in range(3):
                await asyncio.get_running_loop().run_in_executor(None, sim.say, str(number), channel)
            async for event in client:
                if event.kind is EventKind.DISPATCH:
                    said.append(event.data["content"])
                    await client.rest.get("/users/@me")
                    if len(said) == 3:
                        break
            return said

    loop = uvloop.new_event_loop()
    try:
        assert loop.run_until_complete(asyncio.wait_for(main(), 20)) == ["0", "1", "2"]
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        loop.close()


def test_back_pressure(sim: Simulator, make: MakeClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody takes events: they stay with the engine, and come when somebody does."""
    monkeypatch.setattr("shardwright._stream.MAX_EVENTS", 8)

    async def main() -> None:
        async with make(batch=4) as client:
            await client.wait_ready(10)
            for number in range(40):
                await asyncio.get_running_loop().run_in_executor(None, sim.say, str(number))
            assert len(client._stream.events) <= 12  # type: ignore[union-attr]
            # A reply is read all the same.
            await client.rest.get("/users/@me")
            said = []
            async for event in client:
                if event.name == "MESSAGE_CREATE":
                    said.append(event.data["content"])
                    if len(said) == 40:
                        break
            assert said == [str(number) for number in range(40)]

    asyncio.run(main())


# -- processes and signals -----------------------------------------------------------------------------


def run_python(sim: Simulator, code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        env=sim.environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


FORK = """
import asyncio, os, sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of forks beside threads
from shardwright import Client, ForkedError

def child(client):
    for use in (client.status, client.stop, lambda: client.rest.get("/users/@me"), lambda: next(client)):
        try:
            use()
        except ForkedError as error:
            assert "make a new one in this process" in str(error), error
        else:
            os._exit(2)
    client.close()
    with Client(intents=["GUILDS"], shards={"total": 16, "ids": [7]}) as own:
        own.wait_ready().result(10)
        own.rest.get("/users/@me").result(10)
    os._exit(7)

def fork(client):
    pid = os.fork()
    if pid == 0:
        try:
            child(client)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

def blocking():
    with Client(intents=["GUILDS"], shards={"total": 16, "ids": [0]}) as client:
        client.wait_ready().result(10)
        code = fork(client)
        client.rest.get("/users/@me").result(10)
        return code

async def in_a_loop():
    async with Client(intents=["GUILDS"], shards={"total": 16, "ids": [0]}) as client:
        await client.wait_ready(10)
        code = fork(client)
        await client.rest.get("/users/@me")
        return code

"""


@pytest.mark.parametrize("parent", ["blocking()", "asyncio.run(in_a_loop())"])
def test_fork(sim: Simulator, parent: str) -> None:
    """A child is refused its parent's client, can make its own, and leaves the parent's alone."""
    done = run_python(sim, f"{FORK}print({parent})")
    assert done.stdout == "7\n", done.stderr
    assert done.stderr == ""


INTERRUPTED = {
    "blocking": """
import sys
from shardwright import Client
client = Client(intents=["GUILDS"])
try:
    with client:
        for event in client:
            if event.name == "READY":
                print("ready", flush=True)
except KeyboardInterrupt:
    sys.exit(130)
""",
    "asyncio": """
import asyncio, sys
from shardwright import Client

async def main():
    async with Client(intents=["GUILDS"]) as client:
        async for event in client:
            if event.name == "READY":
                print("ready", flush=True)

try:
    asyncio.run(main())
except KeyboardInterrupt:
    sys.exit(130)
""",
    "run": """
import asyncio, sys, threading
from shardwright import Client
client = Client(intents=["GUILDS"])

@client.on("READY")
def stuck(event):
    print("ready", flush=True)
    threading.Event().wait()

@client.on("READY")
async def waits(event):
    await asyncio.Event().wait()

client.run()
sys.exit(130)
""",
    "reply": """
import sys
from shardwright import Client
with Client(intents=["GUILDS"], shards=1) as client:
    client.wait_ready().result()
    try:
        print("ready", flush=True)
        while True:
            client.rest.get("/users/@me").result()
    except KeyboardInterrupt:
        pass
sys.exit(130)
""",
}


@pytest.mark.parametrize("way", sorted(INTERRUPTED))
def test_ctrl_c_ends_at_once(way: str, capsys: pytest.CaptureFixture[str]) -> None:
    with Simulator() as sim:
        if way == "reply":
            # The server never answers, so the program waits inside a call.
            sim.do("rest_fault", fault={"path": "/users/@me", "what": "hang"})
        process = subprocess.Popen(
            [sys.executable, "-c", INTERRUPTED[way]],
            env=sim.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        line = process.stdout.readline()
        if line != "ready\n":
            pytest.fail(process.communicate()[1])
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
        took = time.monotonic() - began
        assert (process.returncode, errors) == (130, "")
        sim.wait(closed=1)
        # Resumable: Discord still has the session.
        assert len(sim._ask("state")["sessions"]) == 1
    with capsys.disabled():
        print(f"\nCtrl-C, {way}: the process ended after {took * 1000:.0f} ms")
    # 0.3 s on a quiet machine; this one may be busy.
    assert took < 1


def test_sigterm_ends_run() -> None:
    code = INTERRUPTED["run"]
    with Simulator() as sim:
        process = subprocess.Popen([sys.executable, "-c", code], env=sim.environment, stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.terminate()
        process.communicate(timeout=30)
        assert process.returncode == 130
