"""A bot in asyncio: events, commands, REST, handlers."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import MakeClient
from simulator import Simulator

from shardwright import (
    Client,
    ClosedError,
    Event,
    EventKind,
    FatalError,
    File,
    Intents,
    InvalidArgumentError,
    InvalidConfigError,
    QueueFullError,
    RestError,
    ShardError,
    ShardTimeoutError,
    StateError,
    UnknownShardError,
    UnsupportedError,
    library_version,
    shard_for_guild,
)


async def in_thread(function: Any, *arguments: Any, **options: Any) -> Any:
    """The simulator's control API blocks; the loop must not."""
    return await asyncio.get_running_loop().run_in_executor(None, lambda: function(*arguments, **options))


def test_a_bot_answers(sim: Simulator, make: MakeClient) -> None:
    channel = sim.channel()

    async def main() -> Event:
        async with make() as client:
            await client.wait_ready(10)
            await in_thread(sim.say, "!ping", channel)
            async for event in client:
                if event.name == "MESSAGE_CREATE" and event.data["content"] == "!ping":
                    path = f"/channels/{event.data['channel_id']}/messages"
                    message = await client.rest.post(path, json={"content": "Pong!"})
                    assert message["content"] == "Pong!"
                    return event
        raise AssertionError("it ended without the message")

    event = asyncio.run(main())
    assert sim.messages(channel)[-1] == "Pong!"
    assert event.kind is EventKind.DISPATCH
    assert event.seq > 1
    assert event.guild_id == int(sim.guilds()[0]["id"])
    assert event.shard_id == shard_for_guild(event.guild_id, 2)
    assert event.data is event.data
    assert not event.replayed
    assert abs(event.received_ns / 1e9 - time.time()) < 60
    assert "MESSAGE_CREATE" in repr(event)
    assert sim.violations() == []


def test_a_dropped_socket_loses_nothing(sim: Simulator, make: MakeClient) -> None:
    channel = sim.channel()

    async def main() -> list[str]:
        said = []
        ready = 0
        async with make(events=["MESSAGE_CREATE"]) as client:
            await client.wait_ready(10)
            await in_thread(sim.do, "drop", how="reset")
            for number in range(20):
                await in_thread(sim.say, f"while you were away {number}", channel)
            async for event in client:
                if event.kind is EventKind.DISPATCH:
                    said.append(event.data["content"])
                elif event.kind is EventKind.SHARD_STATE and event.name == "ready":
                    ready += 1
                # Both shards were ready, and are it again.
                if len(said) == 20 and ready >= 4:
                    assert sum(shard["resumes"] for shard in client.status()["shards"]) == 2
                    break
        return said

    assert asyncio.run(main()) == [f"while you were away {number}" for number in range(20)]
    assert sim.counts()["identifies"] == 2


def test_handlers_run_side_by_side(
    sim: Simulator, make: MakeClient, caplog: pytest.LogCaptureFixture
) -> None:
    """A slow and a raising handler, async and plain ones, stop neither the others nor the pump."""
    client = make()
    done: list[str] = []
    release = threading.Event()

    @client.on("MESSAGE_CREATE")
    async def slow(event: Event) -> None:
        await asyncio.Event().wait()

    @client.on("MESSAGE_CREATE")
    def slow_thread(event: Event) -> None:
        release.wait()

    @client.on("MESSAGE_CREATE")
    async def broken(event: Event) -> None:
        raise RuntimeError("broken handler")

    @client.on("MESSAGE_CREATE", "MESSAGE_UPDATE")
    def broken_thread(event: Event) -> None:
        raise SystemExit("broken thread")

    @client.on("MESSAGE_CREATE")
    def answer(event: Event) -> None:
        if event.data["content"].startswith("re: "):
            return
        path = f"/channels/{event.data['channel_id']}/messages"
        client.rest.post(path, json={"content": f"re: {event.data['content']}"}).result(10)
        done.append(event.data["content"])
        if len(done) == 5:
            client.stop()

    kinds = []

    @client.on("*")
    async def everything(event: Event) -> None:
        kinds.append(event.kind)

    async def main() -> None:
        async with client:
            await client.wait_ready(10)
            for number in range(5):
                await in_thread(sim.say, f"number {number}")
            await asyncio.wait_for(client.serve(), 20)

    try:
        asyncio.run(main())
    finally:
        release.set()
    assert sorted(done) == [f"number {number}" for number in range(5)]
    assert EventKind.SHARD_STATE in kinds
    assert sum("broken handler" in (record.exc_text or "") for record in caplog.records) >= 5
    assert sum("broken thread" in (record.exc_text or "") for record in caplog.records) >= 5


def test_handlers_are_bounded(sim: Simulator, make: MakeClient) -> None:
    client = make(max_handlers=2, events=["MESSAGE_CREATE"])
    running = 0
    most = 0
    count = 0

    @client.on("MESSAGE_CREATE")
    async def handler(event: Event) -> None:
        nonlocal running, most, count
        running += 1
        most = max(most, running)
        # Whoever is let in too early would be seen while this waits for the reply.
        await client.rest.get("/users/@me")
        running -= 1
        count += 1
        if count == 10:
            client.stop()

    async def main() -> None:
        async with client:
            await client.wait_ready(10)
            for number in range(10):
                await in_thread(sim.say, str(number))
            await asyncio.wait_for(client.serve(), 20)

    asyncio.run(main())
    assert most == 2


def test_wrong_handlers_are_refused(make: MakeClient) -> None:
    client = make(events=["MESSAGE_CREATE"])
    with pytest.raises(TypeError, match="name the events"):
        client.on()
    with pytest.raises(TypeError, match="name the events"):
        client.on(print)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="MESSAGE_DELETE is not in `events`"):
        client.on("MESSAGE_DELETE")

    @client.on("MESSAGE_CREATE")
    async def handler(event: Event) -> None: ...

    with pytest.raises(StateError, match="needs asyncio"):
        client.start()


def test_commands(sim: Simulator, make: MakeClient) -> None:
    guild = sim.guilds()[0]
    own_shard = shard_for_guild(int(guild["id"]), 2)

    async def main() -> None:
        async with make(shards={"total": 2, "ids": [own_shard]}) as client:
            await client.wait_ready(10)
            guilds = 0
            while guilds < 2:  # they come after READY
                guilds += (await client.__anext__()).name == "GUILD_CREATE"
            assert client.guild_count == 2
            assert client.status()["shard_total"] == 2
            client.check_healthy()
            assert "shardwright_" in client.metrics()
            activity = {"name": "chess", "type": 0}
            await client.update_presence(status="idle", activities=[activity])
            voice = guild["voice_channels"][0]
            await client.update_voice_state(guild["id"], voice, self_mute=True)
            await client.update_voice_state(int(guild["id"]))
            await client.request_soundboard_sounds([guild["id"]])
            # What is written to the socket is not received yet.
            await in_thread(sim.wait, commands=4)
            info = await client.gateway_info()
            assert info["shards"] == 2
            raw = {"guild_id": guild["id"], "channel_id": None, "self_mute": False, "self_deaf": False}
            reply = await client.send({"type": "gateway", "op": 4, "d": raw})
            assert (reply.status, reply.data) == (0, None)
            reply = await client.send({"type": "rest", "method": "GET", "path": "/channels/1"})
            assert reply.status == 404
            await client.restart_shard(own_shard)
            await in_thread(sim.wait, resumed=1)

            with pytest.raises(InvalidArgumentError, match="unknown command type"):
                client.send({"type": "dance"})
            with pytest.raises(InvalidArgumentError, match="status"):
                client.update_presence(status="asleep")
            with pytest.raises(UnsupportedError):
                client.send({"type": "publish", "topic": "reload", "data": None})
            other = next(g for g in sim.guilds() if shard_for_guild(int(g["id"]), 2) != own_shard)
            with pytest.raises(UnknownShardError):
                await client.update_voice_state(other["id"])

    asyncio.run(main())
    assert sim.violations() == []


def test_guilds_are_known(sim: Simulator, make: MakeClient) -> None:
    async def main() -> None:
        completed = []
        async with make(events=["MESSAGE_CREATE"]) as client:
            async for event in client:
                if event.kind is EventKind.GUILDS_COMPLETE:
                    completed.append(event)
                    if len(completed) == 2:
                        break
            known = {guild["id"] for guild in sim.guilds()}
            assert sum(event.data["guilds"] for event in completed) == len(known)
            assert [event.data["missing"] for event in completed] == [[], []]
            stats = await client.guild_stats()
            assert (stats["guilds"], stats["unavailable"]) == (len(known), 0)
            assert all(shard["complete"] for shard in stats["shards"])
            assert all(shard["guilds_complete"] for shard in client.status()["shards"])
            page = await client.guilds(limit=1)
            rest = await client.guilds(after=page["next"])
            assert {guild["id"] for guild in page["guilds"] + rest["guilds"]} == known
            assert page["guilds"][0]["name"]
            assert page["guilds"][0]["member_count"] == 100
            assert (await client.guilds(unavailable=True, shard=0))["guilds"] == []
            with pytest.raises(UnknownShardError):
                client.guilds(shard=2)
            reshard = await client.reshard(4)
            assert (reshard["from"], reshard["to"], len(client.status()["shards"])) == (2, 4, 4)

    asyncio.run(main())


def test_members_are_collected(sim: Simulator, make: MakeClient) -> None:
    guild = sim.guilds()[0]["id"]

    async def main() -> None:
        async with make(events=["MESSAGE_CREATE"]) as client:
            await client.wait_ready(10)
            everyone = await client.request_guild_members(guild)
            assert len(everyone.members) == 100
            assert everyone.guild_id == int(guild)
            some = [member["user"]["id"] for member in everyone.members[:3]]
            found = await client.request_guild_members(guild, user_ids=[*some, 1])
            assert [member["user"]["id"] for member in found.members] == some
            assert [int(unknown) for unknown in found.not_found] == [1]
            with pytest.raises(InvalidArgumentError, match="either `query`"):
                client.request_guild_members(guild, query="a", user_ids=some)

            await in_thread(sim.do, "member_chunks", chunks="none")
            with pytest.raises(ShardTimeoutError, match="request_guild_members"):
                await client.request_guild_members(guild, query="a", limit=1, timeout=0.05)
            # Discord wants it later, and gets it later.
            request = client.request_guild_members(guild, query="a", limit=1)
            await in_thread(sim.wait, commands=4)
            nonce = (await in_thread(sim.seen, "commands"))[-1]["d"]["nonce"]
            await in_thread(sim.do, "member_chunks", chunks="normal")
            limited = {"opcode": 8, "retry_after": 0.2, "meta": {"guild_id": guild, "nonce": nonce}}
            await in_thread(sim.do, "dispatch", t="RATE_LIMITED", d=limited, ignore_intents=True)
            assert len((await request).members) == 1
            assert sim.counts()["commands"] == 5

            # None of all this was for the program, which asked for messages only.
            await in_thread(sim.say, "the end")
            async for event in client:
                if event.kind is EventKind.DISPATCH:
                    assert event.data["content"] == "the end"
                    break

    asyncio.run(main())


def test_chunks_in_any_order(make: MakeClient) -> None:
    """Discord may send a chunk before another; the simulated guild here needs three."""
    with Simulator(members=2500) as large:
        guild = large.guilds()[0]["id"]
        large.do("member_chunks", chunks="reversed")

        async def main() -> list[Any]:
            async with make(token=large.token, api_url=large.api_url) as client:
                await client.wait_ready(10)
                return (await client.request_guild_members(guild)).members

        members = asyncio.run(main())
    assert len({member["user"]["id"] for member in members}) == len(members) == 2500


def test_rest(sim: Simulator, make: MakeClient, tmp_path: Path) -> None:
    channel = sim.channel()
    on_disk = tmp_path / "notes.txt"
    on_disk.write_text("on disk")

    async def main() -> None:
        async with make() as client:
            rest = client.rest
            messages = f"/channels/{channel}/messages"
            sent = await rest.post(
                messages,
                json={"content": "with files ✓"},
                files=[File("a.txt", b"in memory", "text/plain"), on_disk],
            )
            assert [file["filename"] for file in sent["attachments"]] == ["a.txt", "notes.txt"]
            path = f"{messages}/{sent['id']}"
            edited = await rest.patch(path, json={"content": "edited"}, reason="because ✓")
            assert edited["content"] == "edited"
            assert await rest.put(f"{path}/reactions/%F0%9F%94%A5/@me") is None
            found = await rest.get(messages, query={"limit": 1})
            assert [message["id"] for message in found] == [sent["id"]]
            assert await rest.delete(path, reason="done") is None
            with pytest.raises(RestError, match="Unknown Message") as caught:
                await rest.get(path)
            error = caught.value
            assert (error.status, error.name, error.code) == (404, "HTTP 404", 10008)
            assert error.body["message"] == "Unknown Message"
            assert isinstance(error, ShardError)
            with pytest.raises(InvalidArgumentError, match="path"):
                rest.get("")

            fault = {"path": "/users/@me", "times": 1, "what": {"status": {"status": 404, "body": "<html>"}}}
            await in_thread(sim.do, "rest_fault", fault=fault)
            with pytest.raises(RestError, match="no reason given") as caught:
                await rest.get("/users/@me")
            assert caught.value.body == "<html>"

    asyncio.run(main())


def test_a_cancelled_reply_cancels_its_command(sim: Simulator, make: MakeClient) -> None:
    async def main() -> None:
        async with make() as client:
            await client.wait_ready(10)
            await in_thread(sim.do, "rest_fault", fault={"path": "/users/@me", "what": "hang"})
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(client.rest.get("/users/@me"), 0.05)
            reply = client.rest.get("/users/@me")
            assert reply.cancel()
            assert reply.done()
            await client.update_presence()
            # The replies of the cancelled ones have come by now, or come before this one.
            while client.status()["commands_in_flight"]:
                await client.update_voice_state(sim.guilds()[0]["id"])
            pending = client.rest.get("/users/@me")
        with pytest.raises(ClosedError):
            await pending
        with pytest.raises(ClosedError):
            client.update_presence()

    asyncio.run(main())


def test_a_failure_that_nobody_looks_at_is_logged(
    sim: Simulator, make: MakeClient, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with make() as client:
            client.rest.get("/channels/1")
            while "nobody looked" not in caplog.text:
                await client.rest.get("/users/@me")

    asyncio.run(asyncio.wait_for(main(), 20))
    assert "GET /channels/1 failed, and nobody looked at the reply" in caplog.text


def test_a_reply_behind_too_many_events_fails(
    sim: Simulator, make: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that takes no events while it waits for a reply waits not for ever."""
    monkeypatch.setattr("shardwright._stream.MAX_EVENTS", 2)
    monkeypatch.setattr("shardwright._stream.MAX_EVENTS_FOR_REPLY", 4)

    async def ask_for_ever(client: Client) -> None:
        while True:
            await client.rest.get("/users/@me")

    async def main() -> None:
        async with make(batch=1) as client:
            # The shards' first states alone are more than four.
            with pytest.raises(QueueFullError, match="take events while you wait"):
                await ask_for_ever(client)
            seen = []
            async for event in client:
                seen.append(event.name)
                if seen.count("READY") == 2:
                    break

    asyncio.run(main())


def test_logs_go_to_logging(sim: Simulator, make: MakeClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "shardwright")

    async def main() -> None:
        async with make() as client:
            await client.wait_ready(10)
            await client.rest.get("/users/@me")

    asyncio.run(main())
    lines = [record for record in caplog.records if record.name == "shardwright.client.life"]
    assert any(record.levelno == logging.INFO and "starting shards" in record.message for record in lines)
    assert any(record.levelno == logging.DEBUG for record in caplog.records)
    assert sim.token not in caplog.text


def test_a_refused_bot_ends(sim: Simulator, make: MakeClient, caplog: pytest.LogCaptureFixture) -> None:
    async def wrong_token() -> None:
        async with make(token="wrong.token.here") as client:
            async for _ in client:
                pass

    async def wrong_intents() -> None:
        async with make(intents=1 << 60) as client:
            async for _ in client:
                pass

    with pytest.raises(FatalError, match="oken"):
        asyncio.run(wrong_token())
    with pytest.raises(FatalError, match="ntent"):
        asyncio.run(wrong_intents())
    assert "wrong.token.here" not in caplog.text


def test_wrong_configuration_names_the_key(make: MakeClient) -> None:
    for key, value in (("shards", "many"), ("compression", "rar"), ("threads", 0), ("queue", {"max": 1})):
        with pytest.raises(InvalidConfigError, match=key):
            make(**{key: value})
    with pytest.raises(InvalidConfigError, match="GUILD"):
        make(intents=["GUILD"])
    with pytest.raises(InvalidConfigError, match="token"):
        make(token="")
    with pytest.raises(ValueError, match="max_handlers"):
        make(max_handlers=0)
    with pytest.raises(ValueError, match="batch"):
        make(batch=0)


def test_intents_are_a_number_a_name_or_names(make: MakeClient) -> None:
    assert Intents.GUILDS | Intents.GUILD_MESSAGES == 513
    assert Intents.all() & ~Intents.unprivileged() == 33026
    for intents in (513, Intents.GUILDS, "GUILDS", ("GUILDS", "GUILD_MESSAGES")):
        make(intents=intents)


def test_small_things() -> None:
    assert library_version().startswith("shardwright/")
    assert shard_for_guild(41771983423143937, 16) == (41771983423143937 >> 22) % 16
    with pytest.raises(ValueError, match="at least one shard"):
        shard_for_guild(1, 0)
    # What orjson refuses and json takes: half a surrogate pair.
    assert Event(1, "X", b'{"a":"\\ud83d"}').data == {"a": "\ud83d"}
    with pytest.raises(ValueError, match="line 1"):
        Event(1, "X", b"{").data  # noqa: B018
