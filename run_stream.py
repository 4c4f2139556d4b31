"""Entry point of rgbt-stream: hands the command line over to pipeline.cli."""

from __future__ import annotations

import sys

from pipeline.cli.main import run


def main() -> int:
    """Run the command in ``sys.argv`` and return its exit code."""
    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
