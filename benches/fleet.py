#!/usr/bin/env python3
"""What many shards in one process take: memory of an idle shard, and time until all are ready, beside twilight.

    benches/fleet.py [--shards N ...] [--quick] [PREFIX]      (make bench)

The simulated Discord lets all shards identify at once, so that no window of identifies is in the numbers. The memory
is what the process has some seconds after the last shard was ready; that of a shard is what each beyond the first
added. The time until all are ready is another process's, whose shards have one small guild: with more the simulator,
which makes their GUILD_CREATEs, would be what is measured. With wss the simulator's certificate is trusted. docs/fleets.md is written; with --quick two shards only show
that it works, without twilight. PREFIX is where `make install PREFIX=...` went; target/capi by default."""

import argparse
import dataclasses
import datetime
import os
import pathlib
import platform
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
import clients
from clients import COMPRESSIONS, FOLDER, REPOSITORY

import drive

SETTLE_S = 4  # guilds come after READY, and buffers shrink
# Guilds of a shard and members of a guild, for the memory and for the time.
WORLD, SMALL_WORLD = (20, 20), (1, 2)
OURS, THEIRS = "Shardwright", "twilight"


@dataclasses.dataclass(frozen=True)
class Row:
    """One process."""

    shards: int
    compression: str
    secure: bool
    client: str
    ready_s: float
    mib: float
    command_us: float = 0.0


class Simulator(drive.AnySimulator):
    """One that lets so many shards identify at once."""

    def __init__(self, program, shards, world, ca_file):
        guilds, members = world
        tls = ["--tls", "--ca-file", str(ca_file)] if ca_file else []
        super().__init__(program, "--shards", str(shards), "--max-concurrency", str(shards),
                         "--guilds", str(guilds * shards), "--members", str(members), *tls)


def measure(prefix, client, shards, compression, secure, world=WORLD, settle_s=SETTLE_S, commands=0):
    """Runs one process."""
    with tempfile.TemporaryDirectory() as folder:
        ca_file = pathlib.Path(folder) / "ca.pem"
        program = prefix / "bin" / "shardwright"
        simulator = Simulator(program, shards, world, ca_file)
        if not secure:
            # Twilight reads a certificate whether it uses it or not.
            simulator.kill()
            simulator = Simulator(program, shards, world, None)
        env = {**os.environ, "DISCORD_TOKEN": simulator.token, "SHARDWRIGHT_API_URL": simulator.api_url,
               "SIMULATOR_GATEWAY_URL": simulator.gateway_url, "SHARDWRIGHT_SHARDS": "auto",
               "BENCH_SHARDS": str(shards), "BENCH_COMPRESSION": compression,
               "BENCH_CA_FILE": str(ca_file), "SSL_CERT_FILE": str(ca_file)}
        program = FOLDER / "bin" / ("fleet" if client == OURS else f"twilight-fleet-{compression}")
        process = subprocess.Popen([program], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            line = process.stdout.readline().split()
            if line[:2] != ["ready", "after"]:
                raise drive.Failure(f"{program.name} did not get ready")
            time.sleep(settle_s)
            status = pathlib.Path(f"/proc/{process.pid}/status").read_text().split()
            kib = int(status[status.index("VmRSS:") + 1])
            command_us = 0.0
            if client == OURS and commands:
                print(commands, file=process.stdin, flush=True)
                command_us = float(process.stdout.readline().split()[0])
            return Row(shards, compression, secure, client, float(line[2]), kib / 1024, command_us)
        finally:
            process.kill()
            process.wait()
            simulator.kill()


def each_kib(rows, row):
    """Memory of each shard beyond the first."""
    one = next(it for it in rows if (it.shards, it.compression, it.secure, it.client)
               == (1, row.compression, row.secure, row.client))
    return (row.mib - one.mib) * 1024 / (row.shards - 1)


def table(rows):
    """For people."""
    lines = ["| shards | | compression | Shardwright, MiB | KiB per shard | ready after, s | twilight, MiB | KiB per shard |"
             " ready after, s | memory of a shard | time |",
             "| -----: | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"]
    for ours in (row for row in rows if row.client == OURS):
        same = (ours.shards, ours.compression, ours.secure)
        theirs = next((row for row in rows if row.client == THEIRS
                       and (row.shards, row.compression, row.secure) == same), None)
        cells = [f"{ours.shards}", "wss" if ours.secure else "ws", f"`{ours.compression}`"]
        for row in (ours, theirs):
            if row is None:
                cells += ["–"] * 3
                continue
            each = f"{each_kib(rows, row):.0f}" if row.shards > 1 else "–"
            cells += [f"{row.mib:.1f}", each, f"{row.ready_s:.2f}"]
        if theirs is not None and ours.shards > 1:
            cells += [f"{each_kib(rows, ours) / each_kib(rows, theirs):.2f} ×", f"{ours.ready_s / theirs.ready_s:.2f} ×"]
        else:
            cells += ["–", "–"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def page(rows, prefix):
    """docs/fleets.md."""
    program = [prefix / "bin" / "shardwright", "--version"]
    version = subprocess.run(program, capture_output=True, text=True, check=True).stdout.split()[-1]
    cost = next(row.command_us for row in rows if row.command_us)
    return f"""# Many shards in one process

Written by `make bench` (benches/fleet.py) on {datetime.date.today()}: Shardwright {version}, {platform.machine()},
{os.cpu_count()} hardware threads, Linux {platform.release()}; twilight-gateway 0.18.0 with tokio's threads and rustls with
ring, as ours. Each shard has {WORLD[0]} guilds of {WORLD[1]} members, and is idle after its READY and their GUILD_CREATEs;
twilight keeps nothing of them, Shardwright ids, names and counts. The memory is that of the whole process; that of a shard
is what each beyond the first adds. The time is that of another process, whose shards have one guild of two members. All
shards may identify at once; of twilight's time 5 s are a window that its queue waits before the second.

{table(rows)}

A shard that has had much traffic takes more: up to the window of its compression, of which idle ones have used a part.

A `send_command` and its reply (`guild_stats`) cost a C host {cost:.1f} µs of processor time.
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prefix", nargs="?", type=pathlib.Path, default=REPOSITORY / "target" / "capi")
    parser.add_argument("--shards", nargs="+", type=int, default=[1, 100, 1000])
    parser.add_argument("--quick", action="store_true", help="only show that it works")
    parser.add_argument("--output", type=pathlib.Path, default=REPOSITORY / "docs" / "fleets.md")
    arguments = parser.parse_args()
    prefix = arguments.prefix.resolve()
    shards = [1, 2] if arguments.quick else sorted({1, *arguments.shards})
    who = (OURS,) if arguments.quick else (OURS, THEIRS)
    rows = []
    ways = [(secure, compression) for secure in (False, True) for compression in COMPRESSIONS]
    if arguments.quick:
        ways = [(False, "none"), (True, "zstd")]
    for count in shards:
        for secure, compression in ways:
            for client in who:
                row = measure(prefix, client, count, compression, secure, settle_s=0 if arguments.quick else SETTLE_S,
                              commands=0 if rows else 20_000)
                if not arguments.quick:
                    quick = measure(prefix, client, count, compression, secure, world=SMALL_WORLD, settle_s=0)
                    row = dataclasses.replace(row, ready_s=quick.ready_s)
                rows.append(row)
                print(f"{count:5} shards, {'wss' if secure else 'ws':3}, {compression:4}, {client:11} {row.mib:7.1f} MiB, "
                      f"ready after {row.ready_s:.2f} s", flush=True)
    print()
    print(table(rows))
    if not arguments.quick:
        arguments.output.write_text(page(rows, prefix))
        print(f"Written to {arguments.output}")


if __name__ == "__main__":
    try:
        main()
    except drive.Failure as failure:
        sys.exit(f"fleet.py: {failure}")
