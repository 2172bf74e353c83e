"""The clients that benches/bench.py measures: how each is run, and what a run of one gives."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import re
import subprocess
import sys

BENCHES = pathlib.Path(__file__).resolve().parent
REPOSITORY = BENCHES.parent
sys.path.insert(0, str(REPOSITORY / "examples"))
import drive  # noqa: E402

FOLDER = REPOSITORY / "target" / "bench"
COMPRESSIONS = ("none", "zlib", "zstd")
# Patience with one run, and with the recording: a machine may be busy.
PATIENCE_S = drive.PATIENCE_S = 300


@dataclasses.dataclass(frozen=True)
class Client:
    """A row of the table."""

    name: str
    command: tuple[str, ...]  # `{}` in it is the compression
    way: str = ""
    compressions: tuple[str, ...] = COMPRESSIONS
    share: int = 1  # it takes one in so many of the events, the first ones
    connections: int = 1
    ours: bool = False
    takes_minutes: bool = False  # to compile, which --quick does not wait for


PYTHON = str(FOLDER / "venv" / "bin" / "python")
HOST = str(FOLDER / "bin" / "host")
JULIA = (str(REPOSITORY / "scripts" / "julia.sh"), "--startup-file=no",
         f"--project={REPOSITORY / 'bindings' / 'julia' / 'Shardwright'}", str(BENCHES / "hosts" / "host.jl"))
HOST_PY = (PYTHON, str(BENCHES / "hosts" / "host.py"))
REFERENCE = Client("reference: bare loop in Rust", (str(FOLDER / "bin" / "reference"),))
CLIENTS = [
    REFERENCE,
    Client("Shardwright, C, batch 256", (HOST,), "256", ours=True),
    Client("Shardwright, C, one by one", (HOST,), "1", ours=True),
    Client("Shardwright, Julia, batches", JULIA, "batches", connections=2, ours=True),
    Client("Shardwright, Julia, channel", JULIA, "channel", connections=2, ours=True),
    Client("Shardwright, Python, batches", HOST_PY, "batches", ours=True),
    Client("Shardwright, Python, one by one", HOST_PY, "bytes", ours=True),
    Client("Shardwright, Python, parsed", HOST_PY, "parsed", ours=True),
    Client("twilight-gateway, text", (str(FOLDER / "bin" / "twilight-{}"),), "raw", takes_minutes=True),
    Client("twilight-gateway, parsed", (str(FOLDER / "bin" / "twilight-{}"),), "parsed", takes_minutes=True),
    Client("serenity, handlers and cache", (str(FOLDER / "bin" / "serenity"),), compressions=("none",), share=4,
           takes_minutes=True),
    Client("@discordjs/ws", ("/usr/bin/env", "node", str(FOLDER / "node" / "discord_js_ws.mjs")),
           compressions=("none", "zlib")),
    Client("discord.py", (PYTHON, str(BENCHES / "peers" / "discord_py.py")), share=5),
    Client("hikari", (PYTHON, str(BENCHES / "peers" / "hikari_bot.py")), share=5),
]


@dataclasses.dataclass(frozen=True)
class Run:
    """What one run of a client gave."""

    round: int
    client: str
    version: str
    compression: str
    events: int
    cpu_us: float  # per event, of the whole process
    server_cpu_us: float  # per event
    events_per_s: float
    peak_mib: float


class Simulator(drive.AnySimulator):
    """One that plays a recording to whoever connects."""

    def __init__(self, program, events, *options):
        super().__init__(program, "--replay", str(events), *options)
        self.connections = 0

    def cost(self, connections):
        """The processor time that the last of so many more connections took, in seconds."""
        self.connections += connections
        line = rf"^connection {self.connections}: .* server (\S+) s of CPU$"
        return float(self.expect(line, "what a connection cost it")[0][1])


def run(client, compression, events, number, simulator, prefix, shards=1, times=None):
    """Runs a client once; `times` is a file for when it took each event."""
    events = max(1, events // client.share)
    library = prefix / "lib" / "libshardwright.so"
    env = {key: value for key, value in os.environ.items() if not key.startswith("SHARDWRIGHT_")}
    env.update(
        DISCORD_TOKEN=simulator.token, SIMULATOR_API_URL=simulator.api_url, SIMULATOR_GATEWAY_URL=simulator.gateway_url,
        SHARDWRIGHT_API_URL=simulator.api_url, SHARDWRIGHT_LIBRARY=str(library), SHARDWRIGHT_SHARDS=str(shards),
        BENCH_EVENTS=str(events), BENCH_COMPRESSION=compression, BENCH_WAY=client.way,
        PYTHONPATH=f"{BENCHES}:{REPOSITORY / 'bindings' / 'python' / 'src'}", PYTHONDONTWRITEBYTECODE="1",
        JULIA_DEPOT_PATH=str(FOLDER / "depot"))
    if times:
        env["BENCH_TIMES"] = str(times)
    command = [part.replace("{}", compression) for part in client.command]
    try:
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    except subprocess.TimeoutExpired as late:
        told = (late.stderr or b"").decode(errors="replace")
        raise drive.Failure(f"{client.name}, {compression}: not done in {PATIENCE_S} s\n{told}") from None
    lines = re.findall(r"^\{.*\}$", done.stdout, re.MULTILINE)
    if done.returncode != 0 or not lines:
        raise drive.Failure(
            f"{client.name}, {compression}: ended with {done.returncode}\n{done.stdout}{done.stderr}")
    figures = json.loads(lines[-1])
    if figures["events"] != events:
        raise drive.Failure(f"{client.name}, {compression}: took {figures['events']} of {events} events")
    return Run(
        number, client.name, figures["client"], compression, events, figures["cpu_s"] / events * 1e6,
        simulator.cost(client.connections * shards) / events * 1e6, events / figures["wall_s"], figures["peak_kib"] / 1024)
