#!/usr/bin/env python3
"""What a reshard takes: its time, and the memory of the process before it, at most while it lasts, and after it.

    benches/reshard.py [--guilds N] [--events-per-second N] [PREFIX]      (make reshard)

A client with the Python binding, which hands out no event, so that nearly all memory is the engine's. PREFIX is where
`make install PREFIX=...` went; target/capi by default."""

import argparse
import os
import pathlib
import subprocess
import sys
import threading

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(REPOSITORY / "examples"), str(REPOSITORY / "bindings" / "python" / "src")]
sys.dont_write_bytecode = True
import drive  # noqa: E402

PATIENCE_S = 300


def resident_kib():
    """The memory that this process has, KiB."""
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


class Peak(threading.Thread):
    """The most memory that this process had while it was looked at, twenty times a second."""

    def __init__(self):
        super().__init__(daemon=True)
        self.kib = resident_kib()
        self.over = threading.Event()

    def run(self):
        while not self.over.wait(0.05):
            self.kib = max(self.kib, resident_kib())

    def end(self):
        """The most there was."""
        self.over.set()
        self.join()
        return self.kib


def measure(prefix, old, new, compression, arguments):
    """One row: a client in this process, with `old` shards, goes on with `new`."""
    os.environ["SHARDWRIGHT_LIBRARY"] = str(prefix / "lib" / "libshardwright.so")
    from shardwright import Client
    # Without the windows of identifies, which are the same for any library.
    simulator = drive.Simulator(prefix / "bin" / "shardwright", shards=old, guilds=arguments.guilds,
                                events_per_second=arguments.events_per_second)
    try:
        with Client(simulator.token, intents=["GUILDS", "GUILD_MESSAGES"], api_url=simulator.api_url,
                    compression=compression, events=["RESUMED"]) as client:
            client.wait_ready(PATIENCE_S).result(PATIENCE_S)
            while client.guild_count < arguments.guilds:
                client.guild_stats().result(PATIENCE_S)
            before, peak = resident_kib(), Peak()
            peak.start()
            reply = client.reshard(new).result(PATIENCE_S)
            most, after = peak.end(), resident_kib()
            if client.guild_count != arguments.guilds:
                raise drive.Failure(f"{client.guild_count} of {arguments.guilds} guilds after the reshard")
        simulator.check_rules()
    finally:
        simulator.kill()
    print(f"| {old} → {new} | {compression} | {reply['took_ms'] / 1000:.1f} | {before / 1024:.1f} | {most / 1024:.1f} "
          f"| {after / 1024:.1f} | {(most - before) / new:.0f} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prefix", nargs="?", type=pathlib.Path, default=REPOSITORY / "target" / "capi")
    parser.add_argument("--guilds", type=int, default=2000, help="guilds of the bot")
    parser.add_argument("--events-per-second", type=float, default=500, help="events of all guilds")
    parser.add_argument("--row", nargs=3, metavar=("OLD", "NEW", "COMPRESSION"), help="one row alone")
    arguments = parser.parse_args()
    prefix = arguments.prefix.resolve()
    drive.end_cleanly_when_terminated()
    if arguments.row:
        old, new, compression = arguments.row
        return measure(prefix, int(old), int(new), compression, arguments)
    print("| shards | compression | seconds | MiB before | MiB at most | MiB after | KiB more per new shard |\n"
          "| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for compression in ("none", "zlib", "zstd"):
        for old, new in ((4, 8), (16, 32)):
            # A process of its own, for the allocator keeps what the row before it took.
            row = ["--row", str(old), str(new), compression]
            subprocess.run([sys.executable, __file__, *sys.argv[1:], *row], check=True)


if __name__ == "__main__":
    try:
        main()
    except drive.Failure as failure:
        sys.exit(f"reshard: {failure}")
