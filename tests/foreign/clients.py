#!/usr/bin/env python3
"""Tries other people's clients with the simulated Discord, all named ones at once.

    tests/foreign/clients.py FOLDER NAME...

FOLDER is where test.sh installed them. Each client gets a simulator of its own, identifies on several
shards, answers `!ping` over REST, and loses some of its connections in different ways. It has to resume
them, without an identify; every numbered event has to reach it once, and the simulator has to see no
broken rule. Whatever else happens is a mistake of the simulator until Discord's documentation says that
the client is wrong.

A client prints `client NAME VERSION`, `shard 0: ready`, `shard 0: resumed`, `event 12` for a dispatch
with a number (it is its `nonce`), `shard 0: sent 34` for a message it sent, and ends with exit code 0 on
SIGTERM.

SHARDWRIGHT_PROGRAM names the program; without it that of `make build` is used."""

import collections
import concurrent.futures
import dataclasses
import json
import os
import pathlib
import queue
import re
import signal
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.dont_write_bytecode = True  # no __pycache__ among the examples
sys.path.insert(0, str(HERE.parent.parent / "examples"))
import drive  # noqa: E402
from drive import Failure  # noqa: E402

# Clients time their identifies when they send them, the simulator when they arrive, and on a busy machine
# that can be much later for one and not for the next.
OPTIONS = {"identify_window_ms": 5000, "timing_slack_ms": 2000}

# How the connections of the first shards end; further shards keep theirs.
ENDS = [
    {"do": "drop", "how": "reset"},
    {"do": "reconnect"},
    {"do": "close", "code": 4000},
]


@dataclasses.dataclass
class Client:
    """How a client is run, and what it is to ask for."""

    command: list[str]  # relative to FOLDER
    shards: int
    max_concurrency: int
    compressions: set[str]  # what it chooses by itself, one of these


CLIENTS = {
    # Waits 5 s before every identify but the first, whatever max_concurrency is. Its compression depends on
    # what this Python has.
    "discord.py": Client(["venv/bin/python", HERE / "discord_py.py"], 3, 1, {"zlib-stream", "zstd-stream"}),
    "hikari": Client(["venv/bin/python", HERE / "hikari_bot.py"], 4, 2, {"zlib-stream"}),
    "@discordjs/ws": Client(["/usr/bin/env", "node", "node/discord_js_ws.mjs"], 4, 2, {"none"}),
    "twilight": Client(["twilight/debug/shardwright-foreign-twilight"], 4, 2, {"zstd-stream"}),
}


class Bot(drive.Process):
    """A client that runs, and what it has told so far."""

    def __init__(self, command, env):
        self.ready = set()
        self.resumed = collections.Counter()
        self.sent = collections.defaultdict(list)
        self.events = collections.Counter()
        self.told_all = False
        super().__init__(command, env)

    def until(self, what, reached):
        """Reads on until something is so."""
        until = time.monotonic() + drive.PATIENCE_S
        while not reached():
            if not self.read(until - time.monotonic()):
                raise Failure(f"{what}: ended before that" if self.told_all else f"{what}: not in {drive.PATIENCE_S} s")

    def read(self, patience_s):
        """Reads one line, if there is one in time."""
        try:
            line = None if self.told_all else self.lines.get(timeout=max(0, patience_s))
        except queue.Empty:
            return False
        if line is None:
            self.told_all = True
            return False
        self.take(line)
        return True

    def drain(self):
        """Reads the rest of a client that has ended."""
        while self.read(drive.PATIENCE_S):
            pass

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.drain()

    def take(self, line):
        if event := re.fullmatch(r"event (\d+)", line):
            self.events[int(event[1])] += 1
            return
        self.seen.append(line)
        if told := re.fullmatch(r"shard (\d+): (ready|resumed|sent (\d+))", line):
            shard = int(told[1])
            if told[3]:
                self.sent[shard].append(told[3])
            elif told[2] == "resumed":
                self.resumed[shard] += 1
            else:
                self.ready.add(shard)


def ping(simulator, channel):
    simulator.post("do", {"do": "message", "channel": channel, "content": "!ping"})


def ledger(simulator, *lists):
    seen = simulator.get(f"seen?only={','.join(lists)}")
    return [seen[name] for name in lists]


def run(client, bot, simulator):
    """What every client has to go through. Gives back the events it got."""
    shards = range(client.shards)
    bot.until("ready on every shard", lambda: bot.ready == set(shards))
    channels = drive.a_channel_of_each_shard(simulator, client.shards)

    for channel in channels.values():
        ping(simulator, channel)
    bot.until("an answer on every shard", lambda: all(bot.sent[shard] for shard in shards))

    for shard, end in enumerate(ENDS):
        simulator.post("do", {**end, "target": {"shard": shard}})
        ping(simulator, channels[shard])
    ended = range(len(ENDS))
    bot.until("all connections resumed", lambda: all(bot.resumed[shard] for shard in ended))
    bot.until("an answer to what was missed", lambda: all(len(bot.sent[shard]) > 1 for shard in ended))

    simulator.post("do", {"do": "traffic", "events_per_second": 0})
    [dispatches] = ledger(simulator, "dispatches")
    numbers = {dispatch["number"] for dispatch in dispatches} - {None}
    bot.until("every event", lambda: numbers <= bot.events.keys())

    code = bot.interrupt(signal.SIGTERM)
    bot.drain()
    if code != 0:
        raise Failure(f"ended with exit code {code}")
    # A message that the client itself sent comes with the nonce that it chose.
    doubles = {number: times for number, times in bot.events.items() if times > 1 and number in numbers}
    if doubles:
        raise Failure(f"got events more than once: {doubles}")
    for shard, channel in channels.items():
        pongs = [message["id"] for message in simulator.get(f"messages?channel={channel}")
                 if message["content"] == "Pong!"]
        if pongs != bot.sent[shard] or len(pongs) != (2 if shard in ended else 1):
            raise Failure(f"shard {shard} was told of the messages {bot.sent[shard]}, there are {pongs}")
    return len(numbers)


def check_ledger(client, simulator):
    """What the simulator saw of it. Gives back the compression it asked for."""
    simulator.post("wait", {"counts": {"closed": client.shards + len(ENDS)}, "timeout_ms": 1000 * drive.PATIENCE_S})
    simulator.check_rules()
    identifies, resumes, connections, calls = ledger(simulator, "identifies", "resumes", "connections", "rest")
    for name, attempts, shards in [("IDENTIFY", identifies, client.shards), ("RESUME", resumes, len(ENDS))]:
        granted = sorted(attempt["shard"] for attempt in attempts if "accepted" in attempt["outcome"])
        if len(attempts) != shards or granted != [[shard, client.shards] for shard in range(shards)]:
            raise Failure(f"one {name} each was expected of {shards} shards: {json.dumps(attempts)}")
    compressions = {connection["compression"] for connection in connections}
    if len(compressions) != 1 or not compressions <= client.compressions:
        raise Failure(f"asked for the compressions {compressions}, not one of {client.compressions}")
    refused = [call for call in calls if not call["authorized"] or call["status"] not in range(200, 300)]
    if refused:
        raise Failure(f"had REST calls refused: {json.dumps(refused)}")
    return compressions.pop()


def attempt(name, folder, program, processes):
    """Runs one client with its simulator. Gives back the line that says how it went, and whether well."""
    client = CLIENTS[name]
    mine = []
    started = time.monotonic()

    def start(process):
        mine.append(process)
        processes.append(process)
        return process

    try:
        simulator = start(drive.Simulator(program, client.shards, client.max_concurrency, OPTIONS))
        command = [str(folder / part) if "/" in str(part) else part for part in client.command]
        bot = start(Bot(command, {
            **os.environ, "PYTHONDONTWRITEBYTECODE": "1", "DISCORD_TOKEN": simulator.token,
            "SIMULATOR_API_URL": simulator.api_url, "SIMULATOR_GATEWAY_URL": simulator.gateway_url}))
        events = run(client, bot, simulator)
        compression = check_ledger(client, simulator)
        seconds = time.monotonic() - started
        return True, (f"{bot.find(r'^client (.+)')[0][1]}: ok ({client.shards} shards, max_concurrency "
                      f"{client.max_concurrency}, compression {compression}, {len(ENDS)} resumes, "
                      f"{events} events, {seconds:.0f} s)")
    except Failure as failure:
        for process in mine[1:]:
            process.kill()
        lines = [f"    {line}\n" for bot in mine[1:] for line in bot.seen[-40:]]
        return False, f"{''.join(lines)}{name}: FAILED: {failure}"
    finally:
        for process in mine:
            process.process.kill()
            process.process.wait()


def main():
    if len(sys.argv) < 3 or not set(sys.argv[2:]) <= CLIENTS.keys():
        sys.exit(f"{__doc__}\n\nNAME is one of: {', '.join(CLIENTS)}")
    folder, names = pathlib.Path(sys.argv[1]).resolve(), sys.argv[2:]
    program = pathlib.Path(os.environ.get("SHARDWRIGHT_PROGRAM", drive.RELEASE / "shardwright"))
    if not program.is_file():
        sys.exit(f"there is no {program}; build it with `make build`, or set SHARDWRIGHT_PROGRAM")

    drive.end_cleanly_when_terminated()
    processes = []
    failed = []
    with concurrent.futures.ThreadPoolExecutor(len(names)) as pool:
        attempts = {pool.submit(attempt, name, folder, program, processes): name for name in names}
        try:
            for done in concurrent.futures.as_completed(attempts):
                good, line = done.result()
                print(line, file=sys.stdout if good else sys.stderr, flush=True)
                if not good:
                    failed.append(attempts[done])
        finally:
            # The threads end when their clients do.
            for process in processes:
                process.process.kill()
    if failed:
        sys.exit(f"Failed: {' '.join(failed)}")


if __name__ == "__main__":
    main()
