#!/usr/bin/env python3
"""How late events are, and what one load costs when more shards carry it.

    benches/load.py [--rounds N] [--quick] [PREFIX]      (make bench)

Latency: the simulated Discord plays a recording with a pace and notes when it writes each event; the client notes when
it has it. Once so few that the client sleeps before each, once as many as keep twilight busy for half of the time.
Shards: as many events as the client takes, from 1 to 256 connections at once. docs/load.md is written; with --quick a
few events only show that it works, without twilight. PREFIX is where `make install PREFIX=...` went; target/capi by
default."""

import argparse
import dataclasses
import datetime
import os
import pathlib
import platform
import sys
import tempfile
from statistics import median, quantiles

sys.dont_write_bytecode = True
import clients
from clients import CLIENTS, COMPRESSIONS, REFERENCE, REPOSITORY
from overhead import processor
from report import aligned

import drive

OURS = next(client for client in CLIENTS if client.name == "Shardwright, C, batch 256")
TWILIGHT = next(client for client in CLIENTS if client.name == "twilight-gateway, text")
IDLE_PER_S = 100
LOAD_S = 4
WARM_UP = 0.25  # of the events: the client has just started, and is behind with its guilds
TRIED_PER_S = 20_000  # with this pace it is measured how much keeps twilight busy for half of the time
SHARDS = (1, 4, 16, 64, 256)
SPREAD_EVENTS = 204_800


@dataclasses.dataclass(frozen=True)
class Late:
    """How late the events of a run were."""

    client: str
    compression: str
    per_s: int
    busy: float  # part of the time, of one processor
    p50_us: float
    p99_us: float


def run_paced(prefix, client, compression, per_s, events):
    """One client at this pace."""
    with tempfile.TemporaryDirectory() as folder:
        sent, taken = pathlib.Path(folder) / "sent", pathlib.Path(folder) / "taken"
        simulator = clients.Simulator(
            prefix / "bin" / "shardwright", events, "--events-per-second", str(per_s), "--replay-times", str(sent))
        try:
            run = clients.run(client, compression, events, 1, simulator, prefix, times=taken)
        finally:
            simulator.kill()
        pairs = zip(sent.read_text().split(), taken.read_text().split(), strict=True)
        late_us = [(int(then) - int(now)) / 1e3 for now, then in pairs]
    late_us = late_us[int(len(late_us) * WARM_UP):]
    cuts = quantiles(late_us, n=100)
    return Late(client.name, compression, per_s, run.cpu_us * run.events_per_s / 1e6, median(late_us), cuts[98])


def measure_latency(prefix, rounds, quick):
    """All clients, compressions and paces, interleaved."""
    who = (REFERENCE, OURS) if quick else (REFERENCE, OURS, TWILIGHT)
    compressions = ("zstd",) if quick else COMPRESSIONS
    paces = {compression: (1_000 if quick else IDLE_PER_S,) for compression in compressions}
    if not quick:
        for compression in compressions:
            tried = run_paced(prefix, TWILIGHT, compression, TRIED_PER_S, TRIED_PER_S)
            paces[compression] += (round(TRIED_PER_S * 0.5 / tried.busy, -3),)
            print(f"{compression}: twilight is busy for {tried.busy:.0%} at {TRIED_PER_S:,} events/s", flush=True)
    lates = []
    for number in range(1, rounds + 1):
        for compression in compressions:
            for per_s in map(int, paces[compression]):
                for client in who:
                    events = 200 if quick else max(500, per_s * LOAD_S)
                    late = run_paced(prefix, client, compression, per_s, events)
                    lates.append(late)
                    print(f"round {number}/{rounds}  {client.name:30} {compression:5} {per_s:7,} events/s  busy "
                          f"{late.busy:4.0%}  p50 {late.p50_us:7.1f} µs  p99 {late.p99_us:8.1f} µs", flush=True)
    return lates


def measure_spread(prefix, rounds, quick):
    """Processor time per event by number of shards and compression."""
    events = 2_560 if quick else SPREAD_EVENTS
    found = {}
    for number in range(1, rounds + 1):
        for shards in SHARDS[:2] if quick else SHARDS:
            # Small guilds: they come before the events, and are not to be in the figures.
            options = ("--shards", str(shards), "--max-concurrency", str(shards), "--guilds", "1", "--members", "10")
            simulator = clients.Simulator(prefix / "bin" / "shardwright", events // shards, *options)
            try:
                for compression in ("zstd",) if quick else COMPRESSIONS:
                    run = clients.run(OURS, compression, events, number, simulator, prefix, shards)
                    found.setdefault((shards, compression), []).append(run)
                    print(f"round {number}/{rounds}  {shards:3} shards, {compression:4} {run.cpu_us:6.2f} µs per event, "
                          f"{run.events_per_s:11,.0f} events/s, {run.peak_mib:4.0f} MiB", flush=True)
            finally:
                simulator.kill()
    return found


def latency_table(lates):
    """Medians over the rounds."""
    rows = [["client", "transport", "events/s", "busy", "p50, µs", "p99, µs", "p50 of twilight's", "p99 of twilight's"]]
    rows.append(["---"] * len(rows[0]))
    runs = {}
    for late in lates:
        runs.setdefault((late.compression, late.per_s, late.client), []).append(late)

    def middle(key, field):
        return median(getattr(late, field) for late in runs[key])

    for key in runs:
        compression, per_s, name = key
        row = [f"**{name}**" if name == OURS.name else name, compression, f"{per_s:,}", f"{middle(key, 'busy'):.0%}"]
        row += [f"{middle(key, field):.0f}" for field in ("p50_us", "p99_us")]
        other = (compression, per_s, TWILIGHT.name)
        for field in ("p50_us", "p99_us"):
            row.append(f"{middle(key, field) / middle(other, field):.2f}" if other in runs else "–")
        rows.append(row)
    return aligned(rows)


def spread_table(found):
    """Medians over the rounds, and the ratio to one shard."""
    kinds = list(dict.fromkeys(compression for _, compression in found))
    rows = [["shards", *(f"{kind}, µs per event" for kind in kinds), *(f"{kind}, events/s" for kind in kinds)]]
    rows.append(["---"] * len(rows[0]))
    for shards in dict.fromkeys(shards for shards, _ in found):
        row = [str(shards)]
        for kind in kinds:
            cpu = median(run.cpu_us for run in found[shards, kind])
            ratios = [run.cpu_us / one.cpu_us for run, one in zip(found[shards, kind], found[1, kind])]
            row.append(f"{cpu:.2f} ({median(ratios):.2f})")
        row += [f"{median(run.events_per_s for run in found[shards, kind]):,.0f}" for kind in kinds]
        rows.append(row)
    return aligned(rows)


def page(latency, spread, rounds):
    """docs/load.md."""
    return f"""# Latency, and one load over many shards

Written by `make bench` (benches/load.py) on {datetime.date.today()}: {processor()}, {os.cpu_count()} hardware threads,
Linux {platform.release()}, over loopback and without TLS. {rounds} rounds, interleaved; medians of these. The simulator
has a processor of its own while it keeps the pace, of the two there are, so both figures are those of a busy machine.

## Latency

From the moment at which the server writes an event to the moment at which the client has it: for a C host the return of
`shard_client_poll_events`, with the hand-over from the engine's thread to the host's and through the C ABI; for
twilight's text and for the reference the return of `next()` in the one thread there is. The first pace lets the client
sleep before every event; the second is what keeps twilight busy for about half of the time. *busy* is the processor time
of the whole process as a part of the time.

{latency}

## One load over many shards

{SPREAD_EVENTS:,} events for one C host, batch 256, on so many connections at once, as fast as it takes them. In brackets:
processor time as a ratio to that of one shard in the same round. Each connection has a compression window of its own, and
with many of them they do not stay in the processor's cache.

{spread}
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prefix", nargs="?", type=pathlib.Path, default=REPOSITORY / "target" / "capi")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="only show that it works")
    parser.add_argument("--output", type=pathlib.Path, default=REPOSITORY / "docs" / "load.md")
    arguments = parser.parse_args()
    drive.end_cleanly_when_terminated()
    prefix = arguments.prefix.resolve()
    rounds = 1 if arguments.quick else arguments.rounds
    spread = spread_table(measure_spread(prefix, rounds, arguments.quick))
    latency = latency_table(measure_latency(prefix, rounds, arguments.quick))
    print("", latency, spread, sep="\n\n")
    if not arguments.quick:
        arguments.output.write_text(page(latency, spread, rounds))
        print(f"\nWritten to {arguments.output}")


if __name__ == "__main__":
    try:
        main()
    except drive.Failure as failure:
        sys.exit(f"load.py: {failure}")
