#!/usr/bin/env python3
"""Tries a bot against the simulated Discord, whatever language it is written in.

    examples/drive.py NAME COMMAND [ARGUMENT...]

The bot has to do what examples/c/ping_bot.c does: print `shard 2: ready (...)` when a shard is, answer
`!ping` with `Pong!` over REST and print the reply's `status 200`, on SIGINT and SIGTERM take its shards
offline and end with exit code 0, and end with another one when Discord refuses its token. The simulator
has to see no broken rule all along.

SHARDWRIGHT_PROGRAM and SHARDWRIGHT_LIBRARY name the program and the library; without them those of
`cargo build --release` are used. Only Python's standard library is needed."""

import json
import os
import pathlib
import queue
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

# A shell's `&` starts this process with SIGINT ignored, which the bots would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)

SHARDS = 4
# Patience with a single step, on a machine that may be busy. A step that takes longer has failed.
PATIENCE_S = 60
# The bots start several times in a row; waiting for identify windows is tested elsewhere.
NO_IDENTIFY_WINDOWS = {"identify_window_ms": 0}

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
RELEASE = REPOSITORY / "target" / "release"


class Failure(Exception):
    """What the bot, or the simulator, did not do."""


class Process:
    """A process whose standard output is read line by line."""

    def __init__(self, command, env, quiet=False):
        self.command = command
        self.seen = []
        try:
            self.process = subprocess.Popen(
                command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL if quiet else subprocess.STDOUT, text=True, errors="replace")
        except OSError as error:
            raise Failure(f"cannot run {command[0]}: {error.strerror}") from error
        self.lines = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        with self.process.stdout as stdout:
            for line in stdout:
                self.lines.put(line.rstrip("\n"))
        self.lines.put(None)

    def expect(self, pattern, what, times=1):
        """Reads on until the pattern stood in so many different or repeated lines, all told."""
        until = time.monotonic() + PATIENCE_S
        while len(found := self.find(pattern)) < times:
            try:
                line = self.lines.get(timeout=max(0, until - time.monotonic()))
            except queue.Empty:
                raise Failure(f"did not print {what} in {PATIENCE_S} s") from None
            if line is None:
                raise Failure(f"ended before it printed {what}")
            self.seen.append(line)
        return found

    def find(self, pattern):
        """What the pattern matched so far."""
        return [match for line in self.seen if (match := re.search(pattern, line))]

    def interrupt(self, number):
        """Sends a signal and gives back the exit code."""
        self.process.send_signal(number)
        try:
            return self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            raise Failure(f"did not end in {PATIENCE_S} s after {number.name}") from None

    def end(self):
        """Waits for an end of its own accord, and gives back the exit code."""
        try:
            return self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            raise Failure(f"did not end by itself in {PATIENCE_S} s") from None

    def kill(self):
        """Ends it for good, and reads what it had to say until then."""
        self.process.kill()
        self.process.wait()
        try:
            # A child of the process may hold the pipe open, so this must not wait for its end.
            while (line := self.lines.get(timeout=1)) is not None:
                self.seen.append(line)
        except queue.Empty:
            pass


class AnySimulator(Process):
    """A simulated Discord on a free port."""

    def __init__(self, program, *options):
        super().__init__([str(program), "sim", "--listen", "127.0.0.1:0", *options], os.environ, quiet=True)
        url = r"^ +%s +(http\S+)"
        self.api_url = self.expect(url % "REST", "its REST URL")[0][1]
        self.gateway_url = self.expect(r"^ +gateway +(ws\S+)", "its gateway's URL")[0][1]
        self.control = self.expect(url % "control", "its control URL")[0][1]
        self.token = self.expect(r"DISCORD_TOKEN=(\S+)", "its token")[0][1]


class Simulator(AnySimulator):
    """One that bots live in."""

    def __init__(self, program, shards=SHARDS, max_concurrency=16, options=NO_IDENTIFY_WINDOWS, guilds=None,
                 events_per_second=40):
        # Some traffic, so that the bots have more to read than what is meant for them.
        super().__init__(
            program, "--shards", str(shards), "--max-concurrency", str(max_concurrency),
            "--guilds", str(guilds or 4 * shards), "--members", "20", "--events-per-second", str(events_per_second))
        self.post("do", {"do": "configure", "options": options})

    def post(self, path, body):
        """A control request."""
        return self._ask(urllib.request.Request(f"{self.control}/{path}", json.dumps(body).encode()))

    def get(self, path):
        """A control request that changes nothing."""
        return self._ask(f"{self.control}/{path}")

    def check_rules(self):
        """Fails when a bot broke one of Discord's rules."""
        violations = self.get("violations")
        if violations:
            raise Failure(f"broke Discord's rules: {json.dumps(violations)}")

    @staticmethod
    def _ask(request):
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise Failure(f"the simulator answered {error.code}: {error.read().decode()}") from error


def end_cleanly_when_terminated():
    """Lets SIGTERM run the `finally` blocks, so that no server is left behind."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))


def a_channel_of_each_shard(simulator, shards=SHARDS):
    """One text channel for each shard, in a guild that is on it."""
    channels = {}
    for guild in simulator.get("guilds"):
        channels.setdefault((int(guild["id"]) >> 22) % shards, guild["text_channels"][0])
    if len(channels) != shards:
        raise Failure(f"the simulator has guilds for {len(channels)} of {shards} shards")
    return channels


def run(bot, simulator, ends_on, pings):
    """Lets a bot come up, answer and end; gives back how often it answered."""
    for shard in range(SHARDS):
        bot.expect(rf"^shard {shard}: ready\b", f"`shard {shard}: ready`")
    pongs = 0
    if pings:
        channels = a_channel_of_each_shard(simulator)
        for channel in channels.values():
            simulator.post("do", {"do": "message", "channel": channel, "content": "!ping"})
        bot.expect(r"\bstatus 200\b", "`status 200` for each of its answers", times=len(channels))
        for shard, channel in channels.items():
            messages = [message["content"] for message in simulator.get(f"messages?channel={channel}")]
            if messages.count("Pong!") != 1:
                raise Failure(f"answered {messages.count('Pong!')} times on shard {shard}")
            pongs += 1
    code = bot.interrupt(ends_on)
    if code != 0:
        raise Failure(f"ended with exit code {code} after {ends_on.name}")
    sessions = simulator.get("state")["sessions"]
    if sessions:
        raise Failure(f"left {len(sessions)} sessions open after {ends_on.name}")
    simulator.check_rules()
    return pongs


def run_refused(bot):
    """Lets a bot come up with a token that is not valid."""
    code = bot.end()
    if code == 0:
        raise Failure("ended with exit code 0 although its token was refused")
    bot.expect(r"refused", "that it was refused")


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    name, command = sys.argv[1], sys.argv[2:]
    program = pathlib.Path(os.environ.get("SHARDWRIGHT_PROGRAM", RELEASE / "shardwright"))
    library = pathlib.Path(os.environ.get("SHARDWRIGHT_LIBRARY", RELEASE / "libshardwright.so"))
    for variable, path in {"SHARDWRIGHT_PROGRAM": program, "SHARDWRIGHT_LIBRARY": library}.items():
        if not path.is_file():
            sys.exit(f"{name}: there is no {path}; build it with `make build`, or set {variable}")

    end_cleanly_when_terminated()
    processes = []
    try:
        simulator = Simulator(program)
        processes.append(simulator)
        env = {key: value for key, value in os.environ.items() if not key.startswith("SHARDWRIGHT_")}
        env.update(DISCORD_TOKEN=simulator.token, SHARDWRIGHT_API_URL=simulator.api_url,
                   SHARDWRIGHT_LIBRARY=str(library.resolve()))
        pongs = 0
        for ends_on in [signal.SIGINT, signal.SIGTERM]:
            bot = Process(command, env)
            processes.append(bot)
            pongs += run(bot, simulator, ends_on, pings=ends_on == signal.SIGINT)
        bot = Process(command, {**env, "DISCORD_TOKEN": simulator.token + "x"})
        processes.append(bot)
        run_refused(bot)
        print(f"{name}: ok ({SHARDS} shards, {pongs} pongs)", flush=True)
    except Failure as failure:
        for process in processes:
            process.kill()
        for bot in processes[1:]:
            for line in bot.seen[-40:]:
                print(f"    {line}", file=sys.stderr)
        sys.exit(f"{name}: FAILED: {failure}")
    finally:
        for process in processes:
            process.kill()


if __name__ == "__main__":
    main()
