"""The picture of docs/benchmarks.md: a bar for every client and compression, as SVG without anybody's help."""

from __future__ import annotations

import math
from html import escape

from clients import CLIENTS, COMPRESSIONS

WIDTH, LEFT, RIGHT, TOP, BOTTOM = 860, 230, 70, 64, 40
BAR, GAP = 11, 12
# Told apart also by those who see no colours: from light to dark.
COLOURS = {"none": "#9cc5e8", "zlib": "#4b8fc9", "zstd": "#174a7c"}
THEIRS = {"none": "#d0d0d0", "zlib": "#9a9a9a", "zstd": "#606060"}


def draw(report, subtitle):
    """The picture's text. Its axis is logarithmic: there are two orders of magnitude between the clients."""
    rows = [(client, [(name, report.cells.get((client.name, name))) for name in COMPRESSIONS]) for client in CLIENTS]
    rows = [(client, [(name, cell) for name, cell in cells if cell]) for client, cells in rows]
    rows = [(client, cells) for client, cells in rows if cells]
    costs = [cell.cpu_us for _, cells in rows for _, cell in cells]
    low, high = math.floor(math.log10(min(costs))), math.ceil(math.log10(max(costs)))

    def x(cost):
        return LEFT + (math.log10(cost) - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    height = TOP + sum(len(cells) * BAR + GAP for _, cells in rows) + BOTTOM
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        '<text x="16" y="24" font-size="16" font-weight="bold">Processor time per event, microseconds '
        '(less is better)</text>',
        f'<text x="16" y="42" fill="#555555">{escape(subtitle)}</text>',
    ]
    for power in range(low, high + 1):
        at = x(10.0**power)
        label = f"{10.0**power:g}"
        parts.append(f'<line x1="{at:.1f}" y1="{TOP - 8}" x2="{at:.1f}" y2="{height - BOTTOM}" stroke="#e4e4e4"/>')
        parts.append(f'<text x="{at:.1f}" y="{height - BOTTOM + 16}" text-anchor="middle" fill="#555555">{label}</text>')
    y = TOP
    for client, cells in rows:
        middle = y + len(cells) * BAR / 2 + 4
        weight = ' font-weight="bold"' if client.ours else ""
        parts.append(f'<text x="{LEFT - 8}" y="{middle:.1f}" text-anchor="end"{weight}>{escape(client.name)}</text>')
        for name, cell in cells:
            colour = (COLOURS if client.ours else THEIRS)[name]
            end = x(cell.cpu_us)
            parts.append(f'<rect x="{LEFT}" y="{y}" width="{end - LEFT:.1f}" height="{BAR - 1}" fill="{colour}"/>')
            parts.append(f'<text x="{end + 5:.1f}" y="{y + 9}" font-size="10">{name} {cell.cpu_us:.3g}</text>')
            y += BAR
        y += GAP
    return "\n".join([*parts, "</svg>", ""])
