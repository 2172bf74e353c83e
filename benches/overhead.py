#!/usr/bin/env python3
"""What an event costs in each host: the processor time from the engine's full queue to the program.

    benches/overhead.py [--events N] [--rounds N] [PREFIX]      (make overhead)

The simulated Discord floods one shard with messages of about 1 KB until a round of them waits in the engine's
queue; then the host takes them, one at a time and 256 at a time, and says what processor time its thread used. So
sockets, inflating and queueing are not in the numbers, and other programs on the machine hardly are. The best round
counts, after one that only warms up.

PREFIX is where `make install PREFIX=...` went; target/capi by default."""

import argparse
import datetime
import os
import pathlib
import platform
import subprocess
import sys
import tempfile

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY / "examples"))
sys.dont_write_bytecode = True
import drive  # noqa: E402

PER_SCRIPT = 2_000
BATCHES = ("1", "256")
MESSAGE = {
    "id": "1100000000000000003", "channel_id": "1100000000000000002", "guild_id": "1100000000000000001",
    "content": "The quick brown fox jumps over the lazy dog. " * 8, "timestamp": "2024-01-01T00:00:00.000000+00:00",
    "edited_timestamp": None,
    "author": {"id": "1100000000000000004", "username": "somebody", "avatar": None, "discriminator": "0"},
    "member": {"roles": ["1100000000000000005"] * 5, "joined_at": "2024-01-01T00:00:00.000000+00:00"},
    "mentions": [], "mention_roles": [], "attachments": [], "embeds": [], "type": 0, "flags": 0, "pinned": False,
    "tts": False}


class Simulator(drive.Simulator):
    """A simulated Discord where nothing happens by itself."""

    def prepare(self):
        """Sets it up for a measurement."""
        self.post("do", {"do": "traffic", "events_per_second": 0})
        # A host starts many clients in a row.
        limits = {"per_route": False, "global_per_second": 10_000, "interaction_ms": 3_000}
        self.post("do", {"do": "configure", "options": {"identify_window_ms": 0, "rest": limits}})

    def flood(self, events):
        """Sends so many messages."""
        step = {"at_ms": 0, "do": "dispatch", "t": "MESSAGE_CREATE", "d": MESSAGE}
        for start in range(0, events, PER_SCRIPT):
            self.post("script", {"step": [step] * min(PER_SCRIPT, events - start)})


def measure(prefix, command, env, events, rounds):
    """Runs a host's program; gives back the host's name and, for every way to take events, the best of each batch."""
    simulator = Simulator(prefix / "bin" / "shardwright")
    env = {**os.environ, **env, "DISCORD_TOKEN": simulator.token, "SHARDWRIGHT_API_URL": simulator.api_url,
           "SHARDWRIGHT_SHARDS": "1", "SHARDWRIGHT_LIBRARY": str(prefix / "lib" / "libshardwright.so")}
    rows = {}
    name = None
    try:
        simulator.prepare()
        with subprocess.Popen([*map(str, command), str(events), str(rounds + 1)], env=env, text=True,
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE) as host:
            for line in host.stdout:
                what, *values = line.rstrip("\n").split("\t")
                if what == "host":
                    name = values[0]
                elif what == "fill":
                    simulator.flood(events)
                    host.stdin.write("\n")
                    host.stdin.flush()
                elif what == "took":
                    way, batch, cost_us = values
                    rows.setdefault(way, {}).setdefault(batch, []).append(float(cost_us))
        if host.returncode != 0:
            sys.exit(f"{command[0]} ended with {host.returncode}")
    finally:
        simulator.kill()
    # The first round warms up.
    best = {way: {batch: min(costs[1:]) for batch, costs in batches.items()} for way, batches in rows.items()}
    if name is None or not best or any(set(batches) != set(BATCHES) for batches in best.values()):
        sys.exit(f"{command[0]} did not measure everything: {best}")
    return name, best


def processor():
    """The name of this machine's processor."""
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prefix", nargs="?", type=pathlib.Path, default=REPOSITORY / "target" / "capi")
    parser.add_argument("--events", type=int, default=5_000, help="events of a round")
    parser.add_argument("--rounds", type=int, default=4, help="rounds that count")
    arguments = parser.parse_args()
    prefix = arguments.prefix.resolve()
    drive.end_cleanly_when_terminated()
    with tempfile.TemporaryDirectory() as directory:
        c_program = f"{directory}/overhead"
        subprocess.run(
            ["cc", "-O2", "-std=c11", "-D_POSIX_C_SOURCE=200809L", "-Wall", "-Wextra", "-pedantic", "-Werror",
             f"-I{prefix}/include", str(REPOSITORY / "benches" / "overhead.c"), "-o", c_program,
             f"-L{prefix}/lib", f"-Wl,-rpath,{prefix}/lib", "-lshardwright"], check=True)
        bindings = REPOSITORY / "bindings"
        hosts = [
            ([c_program], {"SESSIONS": f"{directory}/sessions"}),
            ([sys.executable, bindings / "python" / "benches" / "overhead.py"],
             {"PYTHONPATH": str(bindings / "python" / "src"), "PYTHONDONTWRITEBYTECODE": "1"}),
            ([REPOSITORY / "scripts" / "julia.sh", "--startup-file=no", f"--project={bindings}/julia/Shardwright",
              bindings / "julia" / "benches" / "overhead.jl"], {"JULIA_DEPOT_PATH": f"{directory}/depot"}),
        ]
        print(f"{datetime.date.today()}, {processor()}, {os.cpu_count()} threads; rounds of {arguments.events} events, "
              f"best of {arguments.rounds}\n")
        print("| microseconds of processor time per event | batch 1 | batch 256 |\n| --- | ---: | ---: |")
        for command, env in hosts:
            name, best = measure(prefix, command, env, arguments.events, arguments.rounds)
            for way, batches in best.items():
                print(f"| {name}: {way} | {batches['1']:.2f} | {batches['256']:.2f} |", flush=True)


if __name__ == "__main__":
    try:
        main()
    except drive.Failure as failure:
        sys.exit(f"overhead: {failure}")
