#!/bin/sh
# Prints a Python that the pinned environment can be made with. $PYTHON wins; then python3.11, for which constraints.txt
# was made; then any other Python the packages support. A launcher that is there but does not run is passed over.
set -eu

works() { "$1" -c 'import ensurepip, sys, venv; sys.exit(not ((3, '"$2"') <= sys.version_info[:2] <= (3, '"$3"')))' >/dev/null 2>&1; }

if [ -n "${PYTHON:-}" ]; then
    works "$PYTHON" 10 99 && { echo "$PYTHON"; exit 0; }
    echo "PYTHON=$PYTHON is no Python >= 3.10 with the venv module." >&2
    exit 1
fi
for candidate in python3.11 python3 python "$HOME"/.pyenv/versions/3.11*/bin/python; do
    works "$candidate" 11 11 && { echo "$candidate"; exit 0; }
done
for candidate in python3 python3.12 python3.13 python; do
    works "$candidate" 11 13 && {
        echo "No Python 3.11 found; going on with $candidate, for which the pinned wheels may be missing." >&2
        echo "$candidate"
        exit 0
    }
done
echo "No usable Python found. Install Python 3.11 with its venv module, or name one: make PYTHON=/path/to/python3.11 …" >&2
exit 1
