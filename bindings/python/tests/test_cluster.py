"""What the processes of a bot share: messages, calls, the cache, jobs and the store."""

from __future__ import annotations

import asyncio
import logging
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import MakeClient
from simulator import Simulator

from shardwright import (
    Client,
    ConflictError,
    Event,
    EventKind,
    NotFoundError,
    ShardError,
    UnsupportedError,
)

MakeWorker = Callable[[int], Client]


@pytest.fixture
def worker(make: MakeClient, tmp_path: Path) -> MakeWorker:
    """Makes clients with one shard each, as if they were processes."""

    def make_worker(shard: int) -> Client:
        return make(
            shards={"total": 2, "ids": [shard]},
            backplane=f"sqlite:{tmp_path}/backplane",
            store=f"sqlite:{tmp_path}/store",
            events=["READY"],
        )

    return make_worker


def test_messages_and_calls(worker: MakeWorker) -> None:
    async def main() -> None:
        async with worker(0) as first, worker(1) as second:
            await asyncio.gather(first.subscribe("reload"), second.subscribe("reload"))
            await first.publish("reload", {"what": "config"})
            for client in (first, second):
                said = await next_of(client, EventKind.MESSAGE)
                assert (said.name, said.data["data"]) == ("reload", {"what": "config"})
                assert said.data["from"] == first.status()["worker"]
            await second.unsubscribe("reload")

            asked = asyncio.ensure_future(first.call("reload", 7)._wait())
            call = await next_of(first, EventKind.CALL)
            assert call.data["data"] == 7
            await first.answer(call, None)
            answers = await asked
            assert answers["answers"] == [{"from": first.status()["worker"], "data": None}]
            assert answers["missing"] == []

    asyncio.run(main())


async def next_of(client: Client, kind: EventKind) -> Event:
    async for event in client:
        if event.kind is kind:
            return event
    raise AssertionError("the client has stopped")


def test_functions_answer(worker: MakeWorker, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        clients = [worker(0), worker(1)]

        @clients[0].answers("count")
        async def count(data: Any) -> int:
            return 2 * int(data)

        @clients[1].answers("count")
        async def broken(data: Any) -> None:
            raise ValueError("never counted")

        async with clients[0], clients[1]:
            serving = [asyncio.ensure_future(client.serve()) for client in clients]
            for client in clients:
                await client.wait_ready(10)
            # Done before: commands of one client are carried out side by side.
            await asyncio.gather(*(client.subscribe("count") for client in clients))
            said = await clients[0].call("count", 21)
            assert said["missing"] == []
            answers = {answer["from"]: answer for answer in said["answers"]}
            assert answers[clients[0].status()["worker"]]["data"] == 42
            assert answers[clients[1].status()["worker"]]["error"] == "ValueError('never counted')"
            stats = await clients[1].cluster_stats()
            assert stats["total"]["workers"] == 2
            assert {"count"} == {topic for it in stats["workers"] for topic in it["topics"]}
            for client in clients:
                client.stop()
            await asyncio.gather(*serving)

    with caplog.at_level(logging.ERROR):
        asyncio.run(main())
    assert "never counted" in caplog.text


def test_the_cache(worker: MakeWorker) -> None:
    with worker(0) as first, worker(1) as second:
        # It hears what is announced from now on.
        second.subscribe("anything").result(10)
        assert first.cache.get("user:1").result(10) is None
        version = first.cache.set("user:1", None, ttl=60, announce=True).result(10)
        changed = next(event for event in second if event.kind is EventKind.MESSAGE)
        assert (changed.name, changed.data["data"]) == ("_cache", {"key": "user:1", "version": version})
        entry = second.cache.get("user:1").result(10)
        assert entry is not None
        assert entry["value"] is None
        assert entry["version"] == version
        with pytest.raises(ConflictError) as caught:
            second.cache.set("user:1", 2, expected_version=0).result(10)
        assert caught.value.version == version
        assert "SHARD_E_STATE" in str(caught.value)
        assert second.cache.set("user:1", 2, expected_version=version).result(10) > version
        assert [first.cache.increment("today", by).result(10) for by in (1, 5, -2)] == [1, 6, 4]
        assert [second.cache.delete("user:1").result(10) for _ in range(2)] == [True, False]


def test_the_store(worker: MakeWorker) -> None:
    with worker(0) as first, worker(1) as second:
        version = first.store.put("settings", "1", {"prefix": "!"}).result(10)
        document = second.store.get("settings", "1").result(10)
        assert document is not None
        assert document["value"] == {"prefix": "!"}
        with pytest.raises(ConflictError) as caught:
            second.store.put("settings", "1", None, expected_version=version + 1).result(10)
        assert caught.value.version == version
        second.store.put("settings", "12", None, expected_version=0).result(10)
        page = first.store.list("settings", prefix="1", limit=1).result(10)
        assert [it["key"] for it in page["documents"]] == ["1"]
        assert page["next"] == "1"
        assert first.store.list("settings", after="1").result(10)["documents"][0]["value"] is None
        assert first.store.delete("settings", "1", expected_version=version).result(10)
        assert first.store.get("settings", "1").result(10) is None


LOOKS_WITH_ANOTHER_SQLITE = """
import os, signal, sqlite3, sys
from shardwright import Client

client = Client(intents=["GUILDS"], store="sqlite:" + sys.argv[1])
with client:
    for key in "abcd":
        client.store.put("settings", key, 1).result(10)
        file = sqlite3.connect(sys.argv[1])
        assert file.execute("SELECT COUNT(*) FROM shardwright_document").fetchone()
        file.close()
    client.store.put("settings", "e", 1).result(10)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_another_sqlite_in_the_process(make: MakeClient, sim: Simulator, tmp_path: Path) -> None:
    """Python's own SQLite sees no lock of the library's, but is kept from its log and its shared memory."""
    path = str(tmp_path / "store")
    command = [sys.executable, "-c", LOOKS_WITH_ANOTHER_SQLITE, path]
    done = subprocess.run(
        command, env=sim.environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    with make(store=f"sqlite:{path}") as client:
        page = client.store.list("settings").result(10)
        assert [document["key"] for document in page["documents"]] == list("abcde")


def test_jobs_by_hand(worker: MakeWorker) -> None:
    with worker(0) as first, worker(1) as second:
        jobs = [first.jobs.push("mail", n, priority=n, dedupe=str(n)).result(10) for n in range(3)]
        assert first.jobs.push("mail", 0, dedupe="0").result(10) == {**jobs[0], "new": False}
        second.jobs.consume("mail", 2).result(10)
        taken = [next(event for event in second if event.kind is EventKind.JOB) for _ in range(2)]
        assert [(job.name, job.data["payload"]) for job in taken] == [("mail", 2), ("mail", 1)]
        second.jobs.ack(taken[0]).result(10)
        with pytest.raises(NotFoundError):
            second.jobs.ack(taken[0]).result(10)
        second.jobs.fail(taken[1], "no such address", retry=False).result(10)
        dead = first.jobs.list("mail", "dead").result(10)
        assert [(job["job_id"], job["error"]) for job in dead["jobs"]] == [
            (jobs[1]["job_id"], "no such address")
        ]
        first.jobs.retry("mail", dead["jobs"][0]["job_id"]).result(10)
        again = {next(event for event in second if event.kind is EventKind.JOB).data["payload"] for _ in "ab"}
        assert again == {0, 1}


def test_schedules(worker: MakeWorker) -> None:
    with worker(0) as first, worker(1) as second:
        tick = first.jobs.schedule("mail", "tick", "now", every=1.0).result(10)
        assert (tick["name"], tick["new"]) == ("tick", True)
        assert not second.jobs.schedule("mail", "tick", "now", every=1.0).result(10)["new"]
        second.jobs.schedule("mail", "report", None, cron="0 9 * * MON", dedupe="report").result(10)
        listed = first.jobs.schedules("mail").result(10)
        assert [(it["name"], it.get("every_ms"), it.get("cron")) for it in listed] == [
            ("report", None, "0 9 * * MON"),
            ("tick", 1000, None),
        ]
        second.jobs.consume("mail", 1).result(10)
        job = next(event for event in second if event.kind is EventKind.JOB)
        assert job.data["payload"] == "now"
        assert [first.jobs.unschedule("mail", "tick").result(10) for _ in "ab"] == [True, False]
        with pytest.raises(ShardError, match="five fields"):
            first.jobs.schedule("mail", "never", 1, cron="daily").result(10)


@pytest.mark.parametrize("is_async", [True, False])
def test_a_pool_of_workers(worker: MakeWorker, caplog: pytest.LogCaptureFixture, is_async: bool) -> None:
    """Each job is done once, by whoever has room; one that raises is done again."""
    done: list[int] = []
    failed: set[int] = set()
    lock = threading.Lock()

    def work(event: Event) -> None:
        number = event.data["payload"]
        with lock:
            if number % 5 == 0 and number not in failed:
                failed.add(number)
                raise ValueError(f"job {number} fails at first")
            done.append(number)
            is_over = len(done) == 20
        if is_over:
            for client in clients:
                client.stop()

    clients = [worker(0), worker(1)]
    for client in clients:
        if is_async:

            @client.jobs.worker("numbers", concurrency=3)
            async def work_async(event: Event) -> None:
                work(event)

        else:
            client.jobs.worker("numbers", concurrency=3)(work)

    def push() -> None:
        for number in range(20):
            clients[0].jobs.push("numbers", number, max_attempts=2)

    async def main() -> None:
        async with clients[0], clients[1]:
            push()
            await asyncio.gather(*(client.serve() for client in clients))

    def serve(client: Client) -> None:
        for _ in client:
            pass

    with caplog.at_level(logging.ERROR):
        if is_async:
            asyncio.run(main())
        else:
            with clients[0], clients[1]:
                push()
                threads = [threading.Thread(target=serve, args=(client,)) for client in clients]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
    assert sorted(done) == list(range(20))
    assert failed == {0, 5, 10, 15}
    assert "job 15 fails at first" in caplog.text


def test_without_a_backplane(make: MakeClient) -> None:
    with make() as client, pytest.raises(UnsupportedError, match="`backplane`"):
        client.subscribe("reload")
    with make() as client, pytest.raises(UnsupportedError, match="`store`"):
        client.store.get("settings", "1")
    client = make()
    client.answers("count")(lambda data: 1)
    with pytest.raises(UnsupportedError, match="`backplane`"):
        client.start()
    assert client.closed
