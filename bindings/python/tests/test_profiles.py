"""Development and production, and the endpoint for metrics and probes."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
from conftest import INTENTS, MakeClient
from simulator import Simulator

from shardwright import NetworkError

PROGRAM = """
import sys
from shardwright import Client
with Client(intents={intents}, profile={profile!r}) as client:
    client.wait_ready(20).result()
    print(len(client.status()["shards"]), flush=True)
"""


def run(sim: Simulator, profile: str) -> tuple[int, list[str]]:
    """How many shards a program without other settings has, and what it logs."""
    program = PROGRAM.format(intents=INTENTS, profile=profile)
    names = ("SHARDWRIGHT_LOG", "SHARDWRIGHT_SHARDS")
    environment = {name: value for name, value in sim.environment.items() if name not in names}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return int(done.stdout), done.stderr.splitlines()


def test_production(sim: Simulator) -> None:
    shards, log = run(sim, "production")
    assert shards == 2
    lines = [json.loads(line) for line in log]
    assert any(line["message"] == "starting shards" and line["total"] == 2 for line in lines)
    assert {"timestamp", "level", "target", "message"} <= set.intersection(*(set(line) for line in lines))
    assert {line["level"] for line in lines} == {"info"}
    assert sim.token not in "".join(log)


def test_development(sim: Simulator) -> None:
    shards, log = run(sim, "development")
    assert shards == 1
    assert any("DEBUG" in line and "identified" in line for line in log)
    assert sim.token not in "".join(log)


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_the_endpoint_comes_and_goes(sim: Simulator, make: MakeClient) -> None:
    before = open_files()
    for _ in range(3):
        client = make(metrics_address="127.0.0.1:0")
        with client:
            client.wait_ready(10).result()
            address = client.status()["metrics_address"]
            assert address is not None
            host, _, port = address.rpartition(":")
            with urllib.request.urlopen(f"http://{address}/readyz", timeout=10) as response:
                assert json.load(response) == {"ready": True}
            with socket.create_connection((host, int(port)), timeout=10) as idle:
                with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as response:
                    text = response.read().decode()
                assert re.search(r'^shardwright_ready{shard="1"} 1$', text, re.M)
                client.close()
                assert idle.recv(1) == b""
    deadline = time.monotonic() + 10
    while open_files() > before and time.monotonic() < deadline:
        os.sched_yield()
    assert open_files() <= before


def test_an_address_that_is_taken(make: MakeClient) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = "{}:{}".format(*taken.getsockname())
        client = make(metrics_address=address)
        with pytest.raises(NetworkError, match=rf"`metrics_address`: cannot listen on {address}"):
            client.start()
