#!/usr/bin/env python3
"""Which test shows which scenario of tests/scenarios.md.

Prints number -> tests, and fails where a number has none, or a test names one that is not in the list.
A test names its scenarios in its comment: "Scenario 7: ...", "Scenarios 3, 5 and 9 to 11: ...".
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
PLACES = {"tests": ("rs", "c"), "src": ("rs",), "crates": ("rs",), "bindings/python/tests": ("py",), "bindings/julia": ("jl",)}
LATER = "## For later"

COMMENT = re.compile(r"^\s*(?:///?!?|\*|#|\"\"\")\s?(.*)$")
MENTION = re.compile(r"\bScenarios? (\d+(?:(?:, | and | to |, and )\d+)*)")
TEST = re.compile(r"^\s*(?:pub )?(?:async )?(?:fn|def) (\w+)|^\s*@testset \"([^\"]+)\"|^static \w+ (\w+)\(")


def listed():
    """The scenarios of the list, and those that wait for something, with what for."""
    now, _, later = (ROOT / "tests/scenarios.md").read_text().partition(LATER)
    entries = re.compile(r"^(\d+)\. (.+)$", re.M)
    return {int(n): text for n, text in entries.findall(now)}, {int(n): text for n, text in entries.findall(later)}


def numbers(mention):
    """The numbers of a mention: "3, 5 and 9 to 11"."""
    parts = re.split(r",? and |, ", mention)
    for part in parts:
        first, _, last = part.partition(" to ")
        yield from range(int(first), int(last or first) + 1)


def named(path):
    """Scenario numbers that tests of a file name, with the name of the test."""
    comment = []
    module = path.relative_to(ROOT).as_posix()
    for line in path.read_text().splitlines() + [""]:
        match = COMMENT.match(line)
        if match:
            comment.append(match[1])
            continue
        test = TEST.match(line)
        if comment and not test and re.match(r"^\s*(#\[|@|$)", line) and line.strip():
            continue  # an attribute stands between the comment and its test
        text = " ".join(comment)
        for mention in MENTION.findall(text):
            name = next(filter(None, test.groups()), None) if test else None
            for number in numbers(mention):
                yield number, f"{module}: {name}" if name else module
        comment = []


def main():
    now, later = listed()
    tests = {}
    for place, endings in PLACES.items():
        for ending in endings:
            for path in sorted((ROOT / place).rglob(f"*.{ending}")):
                for number, test in named(path):
                    tests.setdefault(number, []).append(test)
    for number, text in sorted({**now, **later}.items()):
        print(f"{number:3}. {text if len(text) < 100 else text[:99] + '…'}")
        for test in tests.get(number, []):
            print(f"       {test}")
        if number in later and number not in tests:
            print("       (for later)")
    problems = [f"scenario {n} has no test" for n in sorted(now) if n not in tests]
    problems += [f"scenario {n} has a test and need not wait any more" for n in sorted(later) if n in tests]
    problems += [f"scenario {n} is not in the list, but {t[0]} names it" for n, t in sorted(tests.items()) if n not in now and n not in later]
    print(f"{len(now)} scenarios, {sum(len(t) for t in tests.values())} tests, {len(later)} for later", *problems, sep="\n")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
