#!/bin/sh
# Print the path of a Python 3.11 that can make virtual environments, or say in one sentence
# what is missing and exit 1. PYTHON=... names the interpreter to use instead of searching.
set -u

version_of() {
    "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null
}

fail() {
    echo "setup: $1" >&2
    exit 1
}

if [ -n "${PYTHON:-}" ]; then
    command -v "$PYTHON" >/dev/null 2>&1 || fail "PYTHON=$PYTHON is not a command; point it at a Python 3.11."
    found=$(version_of "$PYTHON") || found="no working Python"
    [ "$found" = 3.11 ] || fail "PYTHON=$PYTHON is ${found:-no working Python}, but Python 3.11 is needed; point it at a Python 3.11."
    chosen=$PYTHON
else
    chosen=
    for candidate in python3.11 python3 python; do
        if command -v "$candidate" >/dev/null 2>&1 && [ "$(version_of "$candidate")" = 3.11 ]; then
            chosen=$candidate
            break
        fi
    done
    [ -n "$chosen" ] || fail "no Python 3.11 found (looked for python3.11, python3, python); install it or run: make setup PYTHON=/path/to/python3.11"
fi

"$chosen" -c 'import ensurepip, venv' 2>/dev/null ||
    fail "$chosen cannot make virtual environments (its venv or ensurepip module is missing); on Debian and Ubuntu: apt install python3.11-venv"

"$chosen" -c 'import sys; print(sys.executable)'
