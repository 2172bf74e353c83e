"""The same without asyncio."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest
from conftest import MakeClient
from simulator import Simulator

from shardwright import ClosedError, Event, EventKind, FatalError, RestError, ShardTimeoutError, StateError


def test_a_bot_answers(sim: Simulator, make: MakeClient) -> None:
    channel = sim.channel()
    with make() as client:
        client.wait_ready(10).result()
        sim.say("!ping", channel)
        for event in client:
            if event.name == "MESSAGE_CREATE" and event.data["content"] == "!ping":
                path = f"/channels/{event.data['channel_id']}/messages"
                assert client.rest.post(path, json={"content": "Pong!"}).result(10)["content"] == "Pong!"
                client.stop()
    assert sim.messages(channel)[-1] == "Pong!"
    assert sim.violations() == []


def test_replies_and_errors(sim: Simulator, make: MakeClient) -> None:
    guild = sim.guilds()[0]["id"]
    with make() as client:
        client.wait_ready().result(10)
        assert len(client.request_guild_members(guild).result(10).members) == 100
        client.update_presence(status="dnd").result(10)
        with pytest.raises(RestError, match="Unknown Channel"):
            client.rest.get("/channels/1").result(10)
        sim.do("rest_fault", fault={"path": "/users/@me", "what": "hang"})
        late = client.rest.get("/users/@me")
        with pytest.raises(ShardTimeoutError, match=r"GET /users/@me: no reply within 0\.01 s"):
            late.result(0.01)
        # The events that came meanwhile were kept.
        names = {next(client).name for _ in range(6)}
        assert "queued" in names
    with pytest.raises(ClosedError):
        late.result()


def test_handlers_run_in_threads(sim: Simulator, make: MakeClient, caplog: pytest.LogCaptureFixture) -> None:
    client = make(max_handlers=2)
    answered: list[str] = []
    stuck = threading.Event()

    @client.on("MESSAGE_CREATE")
    def answer(event: Event) -> None:
        content = event.data["content"]
        if content == "stuck":
            stuck.wait()
        client.rest.get("/users/@me").result(10)
        answered.append(content)
        if content == "last":
            client.stop()
        raise RuntimeError("after the answer")

    try:
        with client:
            client.wait_ready().result(10)
            for content in ("stuck", "one", "two", "last"):
                sim.say(content)
            for _ in client:
                pass
    finally:
        stuck.set()
    assert answered[:3] == ["one", "two", "last"]
    assert caplog.text.count("RuntimeError: after the answer") >= 3


def test_several_threads_wait_for_replies(sim: Simulator, make: MakeClient) -> None:
    """One of them reads for all, and another goes on reading when that one has what it wants."""
    with make() as client:
        client.wait_ready().result(10)
        names: list[str] = []

        def ask() -> None:
            for _ in range(10):
                names.append(client.rest.get("/users/@me").result(30)["id"])

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(names) == 80


def test_batches(sim: Simulator, make: MakeClient) -> None:
    """What waits comes at once, in its order, whatever stands between two events in the engine's memory."""
    channel = sim.channel()
    sent = ["first"] + [f"{number} {'é' * (number % 7 * 100)}" for number in range(400)]
    with make(batch=100) as client:
        client.wait_ready(10).result()
        for text in sent:
            sim.say(text, channel)
        came: list[str] = []
        sizes: list[int] = []
        for batch in client.batches():
            sizes.append(len(batch))
            came += [event.data["content"] for event in batch if event.name == "MESSAGE_CREATE"]
            if len(came) == len(sent):
                client.stop()
    assert came == sent
    assert 1 < max(sizes) <= 100

    with make() as client:
        client.on("MESSAGE_CREATE")(lambda event: None)
        sim.say("with a handler", channel)
        batch = next(client.batches())
        assert len(batch) == 1


def test_batches_are_not_for_at_least_once(make: MakeClient, tmp_path: Path) -> None:
    client = make(delivery="at_least_once", sessions=f"sqlite:{tmp_path}/sessions")
    with client, pytest.raises(StateError, match="one by one"):
        next(client.batches())


def test_leaving_an_iteration_loses_nothing(sim: Simulator, make: MakeClient) -> None:
    channel = sim.channel()
    with make() as client:
        client.wait_ready(10).result()
        for number in range(20):
            sim.say(str(number), channel)
        came: list[str] = []
        while len(came) < 20:
            for event in client:
                if event.name == "MESSAGE_CREATE":
                    came.append(event.data["content"])
                    break
        assert came == [str(number) for number in range(20)]


def test_the_two_ways_do_not_mix(make: MakeClient) -> None:
    async def in_a_loop() -> None:
        with pytest.raises(StateError, match="use `async with`"):
            make().__enter__()
        client = make()
        async with client:
            with pytest.raises(StateError, match="use `async for`"):
                next(client)
            with pytest.raises(StateError, match="await it instead"):
                client.gateway_info().result()
        with pytest.raises(StateError, match=r"take \.result"):
            await outside.gateway_info()
        with pytest.raises(StateError, match="use `for`"):
            await outside.__anext__()

    with make() as outside:
        asyncio.run(in_a_loop())


def test_the_order_of_life(make: MakeClient) -> None:
    client = make()
    with pytest.raises(StateError, match="not started"):
        client.gateway_info()
    with pytest.raises(StateError, match="not started"):
        next(client)
    client.start()
    with pytest.raises(StateError, match="started before"):
        client.start()
    with pytest.raises(StateError, match="needs asyncio"):

        @client.on("READY")
        async def handler(event: Event) -> None: ...

    client.close()
    assert client.closed
    with pytest.raises(StopIteration):
        next(client)
    with pytest.raises(ClosedError):
        client.start()
    with pytest.raises(ClosedError):
        client.status()


def test_a_refused_bot_ends(make: MakeClient) -> None:
    with make(token="wrong.token.here") as client:
        kinds: list[int] = []
        with pytest.raises(FatalError):
            kinds.extend(event.kind for event in client)
        assert EventKind.FATAL in kinds
