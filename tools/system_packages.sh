#!/bin/sh
# What pip cannot install: Chromium (widget tests), Graphviz' `dot` (pictures) and, unless --optional, a C compiler with
# Python's headers (the reader of captures, which works without one too).
# Installs them where that is possible without asking (root and apt-get); says what is missing where it is not.
set -eu

has_chromium() { command -v chromium || command -v chromium-browser || command -v google-chrome; }
has_headers() {
    "$("$(dirname "$0")/find_python.sh")" -c '
import os, sys, sysconfig
sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))' 2>/dev/null
}

missing=""
has_chromium >/dev/null 2>&1 || missing="chromium"
command -v dot >/dev/null 2>&1 || missing="$missing graphviz"
if [ "${1:-}" != "--optional" ]; then
    command -v "${CC:-cc}" >/dev/null 2>&1 || missing="$missing gcc libc6-dev"
    has_headers || missing="$missing python3-dev"
fi
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
