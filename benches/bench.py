#!/usr/bin/env python3
"""What gateway events cost in our hosts and in other people's libraries, under the same load, in one run.

    benches/bench.py [--rounds N] [--events N] [--quick] [PREFIX]      (make bench)

The simulated Discord plays a recording: a gateway connection that was encoded beforehand, the same bytes for
everybody, as fast as the client reads. Each client is a small program as a user would write it; it takes the events
and measures itself. Rounds are interleaved, so that what else the machine does meets everybody; medians count, and
ratios are to the reference of the same round. docs/benchmarks.md, the picture and the raw figures beside it are
written; with --quick a few events only show that it works, without what takes minutes to compile (twilight,
serenity), and nothing is written.

PREFIX is where `make install PREFIX=...` went; target/capi by default. What is measured is installed below
target/bench, once."""

import argparse
import dataclasses
import datetime
import json
import os
import pathlib
import platform
import subprocess
import sys
import time

sys.dont_write_bytecode = True
import clients  # noqa: E402
import drive  # noqa: E402
import picture  # noqa: E402
from clients import CLIENTS, COMPRESSIONS, REPOSITORY  # noqa: E402
from overhead import processor  # noqa: E402
from report import Report  # noqa: E402

DOCUMENT = """\
# Benchmarks

    make bench

measures what a gateway event costs: in our hosts, in other people's libraries, and in a loop that does the least
there is to do. Everybody gets the same bytes, from the same server, in the same run.

![Processor time per event](benchmarks.svg)

{machine}

{cpu}

In brackets: the ratio to the reference of the same round. *none*, *zlib* and *zstd* are the gateway's transport
compressions; a dash is what a library does not have.

{speed}

{memory}

## The targets

{targets}

## How it was measured

- **The load.** `shardwright sim --replay {events}`: a gateway connection that was encoded beforehand, one websocket
  frame for each event and each flushed as Discord does, written as fast as the client reads, over loopback and without
  TLS. {events:,} events: 60 % MESSAGE_CREATE (about 1.2 KB), 15 % PRESENCE_UPDATE, 10 % TYPING_START,
  10 % GUILD_MEMBER_UPDATE, 5 % MESSAGE_REACTION_ADD. The bytes depend on a seed only. Slower clients take the first of
  the same events: {shares}.
- **The figures.** Each client measures itself, from the first of these events to the last: processor time of the whole
  process with all its threads (`getrusage`), time on the wall, and the peak of its resident memory (`VmHWM`).
  The server's own processor time is no part of it; it was at most {server:.0%} of the client's ({server_where}).
- **The rounds.** {rounds} rounds of all clients with all compressions, one after the other; the medians of these. Other
  programs on the machine, and its other hardware thread, are in the figures; a ratio compares what ran within the same
  few seconds.
- **The reference** is tokio, tokio-tungstenite, zlib-rs or zstd, and a look at `t`, `s` and `op` in the first bytes:
  no session, no heartbeats, no limits, no hand-over to another thread or language.
- **Our hosts** run the whole engine, with its own threads, and let the five kinds of event through (`events`).
  *parsed* is `event.data` with orjson. In Julia a first client takes 2,000 events before, so that what is measured is
  compiled.
- **The others** run as they come from their registries, with what makes them fast: zlib-sync for @discordjs/ws,
  `speed` for discord.py, `speedups` for hikari. These two have a handler for messages; the other events are counted
  where the library hands them out, which favours it. serenity has no transport compression. Their programs are in
  [benches/peers](../benches/peers), ours in [benches/hosts](../benches/hosts).

Versions: {versions}.

The raw figures of every run are in [benchmarks.json](benchmarks.json).
"""


def machine():
    """Date and machine, in a sentence."""
    load = os.getloadavg()[0]
    return (f"{datetime.date.today()}, {processor()}, {os.cpu_count()} hardware threads, Linux {platform.release()}; load of "
            f"the machine at the end of the measurement: {load:.1f}.")


def install(prefix, quick):
    """Gets everything that is measured."""
    subprocess.run([REPOSITORY / "scripts" / "setup.sh", "bench"], check=True)
    subprocess.run([REPOSITORY / "benches" / "install.sh", prefix], check=True, env={**os.environ, **quick})


def measure(prefix, events, rounds, only):
    """Runs everything; gives back what each run gave."""
    print(f"Recording {events:,} events", flush=True)
    simulator = clients.Simulator(prefix / "bin" / "shardwright", events)
    runs = []
    todo = [(client, compression) for client in CLIENTS for compression in client.compressions
            if compression in only.get(client.name, COMPRESSIONS)]
    try:
        for number in range(1, rounds + 1):
            began = time.monotonic()
            for place, (client, compression) in enumerate(todo, 1):
                run = clients.run(client, compression, events, number, simulator, prefix)
                runs.append(run)
                print(f"round {number}/{rounds}, {place:2}/{len(todo)}  {client.name:30} {compression:5}"
                      f"{run.cpu_us:9.2f} µs {run.events_per_s:12,.0f} events/s {run.peak_mib:6.0f} MiB"
                      f"  (server {run.server_cpu_us / run.cpu_us:.0%})", flush=True)
            print(f"round {number}/{rounds} took {time.monotonic() - began:.0f} s", flush=True)
    finally:
        simulator.kill()
    return runs


def write(report, folder, events):
    """Writes the document, its picture and the raw figures."""
    folder.mkdir(parents=True, exist_ok=True)
    told = machine()
    server, where = report.server_share()
    shares = ", ".join(f"{client.name} {events // client.share:,}" for client in CLIENTS if client.share > 1)
    (folder / "benchmarks.md").write_text(DOCUMENT.format(
        machine=told, cpu=report.cpu_table(), speed=report.speed_table(), memory=report.memory_table(),
        targets=report.target_table(), events=events, shares=shares, server=server, server_where=where,
        rounds=len(report.rounds), versions="; ".join(report.versions())))
    (folder / "benchmarks.svg").write_text(picture.draw(report, told.split(";")[0]))
    runs = [dataclasses.asdict(run) for run in report.runs]
    raw = ",\n".join(json.dumps(run, ensure_ascii=False) for run in runs)
    (folder / "benchmarks.json").write_text(f'{{"machine": {json.dumps(told)},\n"runs": [\n{raw}\n]}}\n')


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prefix", nargs="?", type=pathlib.Path, default=REPOSITORY / "target" / "capi")
    parser.add_argument("--events", type=int, default=200_000, help="events of the recording")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="only show that it works")
    parser.add_argument("--output", type=pathlib.Path, default=REPOSITORY / "docs", help="where to write the results")
    arguments = parser.parse_args()
    if arguments.events < 100 or arguments.rounds < 1:
        parser.error("at least 100 events and a round are needed")
    prefix = arguments.prefix.resolve()
    events, rounds, only = arguments.events, arguments.rounds, {}
    if arguments.quick:
        # What starts slowly starts once.
        events, rounds = 1_000, 1
        only = {client.name: ("zstd",) for client in CLIENTS if "Julia" in client.name}
        only.update({client.name: () for client in CLIENTS if client.takes_minutes})
    drive.end_cleanly_when_terminated()
    install(prefix, {"QUICK": "1"} if arguments.quick else {})
    report = Report(measure(prefix, events, rounds, only))
    if arguments.quick:
        return
    write(report, arguments.output, events)
    print("", report.cpu_table(), report.speed_table(), report.memory_table(), report.target_table(), sep="\n\n")
    print(f"\n{machine()}\nWritten to {arguments.output}/benchmarks.{{md,svg,json}}")


if __name__ == "__main__":
    try:
        main()
    except drive.Failure as failure:
        sys.exit(f"bench: {failure}")
    except subprocess.CalledProcessError as failure:
        sys.exit(f"bench: {failure.cmd[0]} ended with {failure.returncode}")
