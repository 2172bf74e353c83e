"""What every test may ask for."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from simulator import REPOSITORY, Simulator

from shardwright import Client

# Missing is a failure when the first client is made, never a skip. With SHARDWRIGHT_WHEEL it is the
# library inside the installed package that is tested.
if "SHARDWRIGHT_LIBRARY" not in os.environ and "SHARDWRIGHT_WHEEL" not in os.environ:
    os.environ["SHARDWRIGHT_LIBRARY"] = str(REPOSITORY / "target/release/libshardwright.so")

# A shell's `&` starts this process with SIGINT ignored, which the bots of the tests would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)

INTENTS = ["GUILDS", "GUILD_MESSAGES", "MESSAGE_CONTENT", "GUILD_MEMBERS", "GUILD_VOICE_STATES"]

MakeClient = Callable[..., Client]


@pytest.fixture
def sim() -> Iterator[Simulator]:
    """A simulated Discord with two shards."""
    with Simulator(shards=2) as simulator:
        yield simulator


@pytest.fixture
def make(sim: Simulator) -> Iterator[MakeClient]:
    """Makes clients of that Discord, and closes them in the end."""
    made: list[Client] = []

    def make_client(**options: Any) -> Client:
        options = {"intents": INTENTS, "api_url": sim.api_url, **options}
        client = Client(options.pop("token", sim.token), **options)
        made.append(client)
        return client

    yield make_client
    for client in made:
        client.close()
