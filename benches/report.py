"""What the runs of benches/bench.py say: medians, ratios, tables."""

from __future__ import annotations

import dataclasses
from statistics import median

from clients import CLIENTS, COMPRESSIONS, REFERENCE

# What is aimed at: what, whose figure, beside whose, in which compressions, at most so many times.
TARGETS = [
    ("C, batch 256, against the reference", "Shardwright, C, batch 256", REFERENCE.name, ("zstd", "zlib"), 1.10),
    ("C, batch 256, against the reference", "Shardwright, C, batch 256", REFERENCE.name, ("none",), 1.50),
    ("C, batch 256, against twilight's text", "Shardwright, C, batch 256", "twilight-gateway, text", COMPRESSIONS, 1.0),
    ("C, batch 256, against twilight, parsed", "Shardwright, C, batch 256", "twilight-gateway, parsed", COMPRESSIONS,
     0.33),
    ("C, batch 256, against serenity", "Shardwright, C, batch 256", "serenity, handlers and cache", ("none",), 0.12),
    ("Python, batches, against discord.py", "Shardwright, Python, batches", "discord.py", COMPRESSIONS, 0.10),
    ("Python, batches, against hikari", "Shardwright, Python, batches", "hikari", COMPRESSIONS, 0.06),
    ("Python, parsed, against discord.py", "Shardwright, Python, parsed", "discord.py", COMPRESSIONS, 0.25),
    ("Python, parsed, against hikari", "Shardwright, Python, parsed", "hikari", COMPRESSIONS, 0.15),
    ("Julia, batches, against C, batch 256", "Shardwright, Julia, batches", "Shardwright, C, batch 256", COMPRESSIONS,
     1.5),
]


@dataclasses.dataclass(frozen=True)
class Cell:
    """A client with one compression: medians over the rounds."""

    cpu_us: float
    ratio: float  # to the reference of the same round
    server_share: float  # the server's processor time, of the client's
    events_per_s: float
    peak_mib: float


class Report:
    """The figures of all rounds."""

    def __init__(self, runs):
        self.runs = runs
        self.by_key = {(run.client, run.compression, run.round): run for run in runs}
        self.rounds = sorted({run.round for run in runs})
        self.cells = {
            (name, compression): self._cell(name, compression)
            for name, compression in {(run.client, run.compression) for run in runs}
        }

    def ratio(self, name, other, compression):
        """The median of the ratios of processor time in the same rounds; None where one was not run."""
        ratios = [
            mine.cpu_us / its.cpu_us
            for number in self.rounds
            if (mine := self.by_key.get((name, compression, number)))
            and (its := self.by_key.get((other, compression, number)))
        ]
        return median(ratios) if ratios else None

    def _cell(self, name, compression):
        runs = [self.by_key[key] for number in self.rounds if (key := (name, compression, number)) in self.by_key]
        return Cell(
            median(run.cpu_us for run in runs), self.ratio(name, REFERENCE.name, compression),
            median(run.server_cpu_us / run.cpu_us for run in runs), median(run.events_per_s for run in runs),
            median(run.peak_mib for run in runs))

    def table(self, title, tell):
        """One row for each client, with what `tell` says of each compression."""
        rows = [[title, *COMPRESSIONS], ["---", *["---:"] * len(COMPRESSIONS)]]
        for client in CLIENTS:
            cells = [self.cells.get((client.name, compression)) for compression in COMPRESSIONS]
            if any(cells):
                name = f"**{client.name}**" if client.ours else client.name
                rows.append([name, *(tell(cell) if cell else "–" for cell in cells)])
        return aligned(rows)

    def cpu_table(self):
        return self.table("processor time per event, µs (of the reference)", tell_cpu)

    def speed_table(self):
        return self.table("events per second", lambda cell: f"{cell.events_per_s:,.0f}")

    def memory_table(self):
        return self.table("peak memory, MiB", lambda cell: f"{cell.peak_mib:.0f}")

    def target_table(self):
        """The targets, and whether they are met."""
        rows = [["ratio of processor time", "at most", *COMPRESSIONS], ["---", *["---:"] * 4]]
        for what, mine, other, compressions, most in TARGETS:
            row = [what, f"{most:.2f}"]
            for compression in COMPRESSIONS:
                ratio = self.ratio(mine, other, compression) if compression in compressions else None
                row.append("–" if ratio is None else f"{ratio:.2f} {'✓' if ratio <= most else '✗'}")
            rows.append(row)
        return aligned(rows)

    def versions(self):
        """What each client calls itself, once."""
        order = {client.name: place for place, client in enumerate(CLIENTS)}
        return list(dict.fromkeys(run.version for run in sorted(self.runs, key=lambda run: order[run.client])))

    def server_share(self):
        """The server's processor time as a part of the client's: the most there is, and where."""
        key = max(self.cells, key=lambda key: self.cells[key].server_share)
        return self.cells[key].server_share, f"{key[0]}, {key[1]}"


def tell_cpu(cell):
    ratio = "" if cell.ratio is None else f" ({cell.ratio:.2f})"
    return f"{cell.cpu_us:.2f}{ratio}"


def aligned(rows):
    """A table that reads well as Markdown and without it."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths))
        ]
        if row[0] == "---":
            cells = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
