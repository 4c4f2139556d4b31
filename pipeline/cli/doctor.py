"""``doctor``: what works on this machine, what is missing, and how to get it."""

from __future__ import annotations

import argparse

NAME = "doctor"
HELP = "look at this machine: what works, what is missing and how to get it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """No options."""


def execute(arguments: argparse.Namespace) -> int:
    """Print one line a finding; 1 when something that every run needs is broken."""
    from pipeline.doctor import Verdict, examine

    broken = False
    for finding in examine():
        print(f"{finding.verdict.value:<7} {finding.name:<20} {finding.detail}", flush=True)
        if finding.remedy:
            print(f"{'':<28} -> {finding.remedy}")
        broken = broken or finding.verdict is Verdict.BROKEN
    print("something that every run needs is broken" if broken else "everything that a run needs is here")
    return 1 if broken else 0
