#!/bin/sh
# Rebuilds the widget's bundle from its TypeScript and compares it with the committed one, byte for byte.
set -eu
cd "$(dirname "$0")/.."

if ! command -v npm >/dev/null 2>&1; then
    echo "No node here: the committed bundle in peftviz/views/static is used without being rebuilt and compared."
    exit 0
fi

committed="$(mktemp -d)"
trap 'rm -rf "$committed"' EXIT
cp -R peftviz/views/static/. "$committed"
npm ci --silent --no-audit --no-fund
npm run --silent check
npm run --silent test
npm run --silent build
if ! diff -r "$committed" peftviz/views/static >/dev/null; then
    echo "peftviz/views/static is not what peftviz/views/frontend builds to: commit the result of 'npm run build'." >&2
    exit 1
fi
echo "The committed bundle is what its source builds to."
