"""`python -m edgead` is the command line."""

from __future__ import annotations

from edgead.cli import main

if __name__ == "__main__":
    main()
