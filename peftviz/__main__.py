"""`python -m peftviz` is the command `peftviz`."""

from peftviz.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
