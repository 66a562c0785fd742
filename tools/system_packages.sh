#!/bin/sh
# Programs that the tests drive and pip cannot install: Chromium (widget tests) and Graphviz' `dot` (pictures).
# Installs them where that is possible without asking (root and apt-get); says what is missing where it is not.
set -eu

has_chromium() { command -v chromium || command -v chromium-browser || command -v google-chrome; }

missing=""
has_chromium >/dev/null 2>&1 || missing="chromium"
command -v dot >/dev/null 2>&1 || missing="$missing graphviz"
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "Installing with apt-get: $missing"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    # shellcheck disable=SC2086 # one word for each package
    apt-get install -y -qq --no-install-recommends $missing >/dev/null
else
    echo "Please install: $missing (for example: sudo apt-get install $missing)." >&2
    [ "${1:-}" = "--optional" ] || exit 1
fi
