#!/bin/sh
# Print the path of a Python that can make virtual environments (3.11, 3.12 or 3.13), or say in
# one sentence what is missing and exit 1. PYTHON=... names the interpreter instead of searching.
set -u

wanted="Python 3.11, 3.12 or 3.13"

version_of() {
    "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null
}

is_wanted() {
    case "$1" in 3.11 | 3.12 | 3.13) return 0 ;; *) return 1 ;; esac
}

fail() {
    echo "setup: $1" >&2
    exit 1
}

if [ -n "${PYTHON:-}" ]; then
    command -v "$PYTHON" >/dev/null 2>&1 || fail "PYTHON=$PYTHON is not a command; point it at $wanted."
    found=$(version_of "$PYTHON") || found="no working Python"
    is_wanted "$found" || fail "PYTHON=$PYTHON is ${found:-no working Python}, but $wanted is needed; point it at one."
    chosen=$PYTHON
else
    chosen=
    for candidate in python3.11 python3.12 python3.13 python3 python; do
        if command -v "$candidate" >/dev/null 2>&1 && is_wanted "$(version_of "$candidate")"; then
            chosen=$candidate
            break
        fi
    done
    [ -n "$chosen" ] || fail "no $wanted found (looked for python3.11, python3.12, python3.13, python3, python); install one or run: make setup PYTHON=/path/to/python3.11"
fi

"$chosen" -c 'import ensurepip, venv' 2>/dev/null ||
    fail "$chosen cannot make virtual environments (its venv or ensurepip module is missing); on Debian and Ubuntu: apt install python$(version_of "$chosen")-venv"

"$chosen" -c 'import sys; print(sys.executable)'
