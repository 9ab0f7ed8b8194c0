#!/usr/bin/env bash
# Install minima with one of its extras, making the environment if there is none: tools/env.sh EXTRA [ENV CONSTRAINTS]
#
# A stamp, ENV/.minima-EXTRA, is written last, so that whatever broke before is done again by the next call.
# PYTHON=... names the Python to make the environment with.
set -euo pipefail
cd "$(dirname "$0")/.."

extra=$1
env=${2:-.venv}
constraints=${3:-constraints.txt}
ours=$env/.minima-made          # this script made the environment, so it may also make it anew
busy=$env/.minima-installing    # pip is writing into it, or was when it got killed
log=build/pip-$extra.log

say() { printf '%s\n' "minima: $*" >&2; }
fail() { say "$@"; exit 1; }

in_range() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; }
has_venv() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }

# The first Python that is there, runs, is in range, and can make environments.
find_python() {
    local name without_venv=
    if [ -n "${PYTHON:-}" ]; then
        command -v "$PYTHON" >/dev/null || fail "PYTHON=$PYTHON is not a program."
        in_range "$PYTHON" || fail "PYTHON=$PYTHON does not run, or is not Python 3.11, 3.12 or 3.13."
        has_venv "$PYTHON" || fail "PYTHON=$PYTHON lacks its venv module (on Debian and Ubuntu: apt install python3-venv)."
        printf '%s\n' "$PYTHON"
        return
    fi
    for name in python3.11 python3.12 python3.13 python3 python; do
        in_range "$name" || continue
        if has_venv "$name"; then printf '%s\n' "$name"; return; fi
        without_venv=${without_venv:-$name}
    done
    [ -z "$without_venv" ] ||
        fail "$without_venv lacks its venv module (on Debian and Ubuntu: apt install $without_venv-venv)." \
            "Or name another Python: make PYTHON=/path/to/python"
    fail "needs Python 3.11, 3.12 or 3.13, and found none that runs." \
        "Install one, or name it: make PYTHON=/path/to/python"
}

works() { "$env/bin/python" -m pip --version >/dev/null 2>&1; }

if ! works || { [ -e "$busy" ] && [ -e "$ours" ]; }; then
    python=$(find_python)
    if [ -e "$env" ] || [ -L "$env" ]; then say "$env is not whole; making it anew."; rm -rf "$env"; fi
    say "making $env with $python ($("$python" -c 'import platform; print(platform.python_version())'))."
    "$python" -m venv "$env" || { rm -rf "$env"; fail "$python -m venv failed; its own words stand above."; }
    touch "$ours"
fi

say "installing minima with its extra \"$extra\" into $env; the first time this downloads much and takes minutes."
mkdir -p "$(dirname "$log")"
touch "$busy"
if ! "$env/bin/python" -m pip install --disable-pip-version-check --no-input -e ".[$extra]" -c "$constraints" >"$log" 2>&1; then
    # Where pip has not begun to install, it has left everything as it was.
    grep -q '^Installing collected packages' "$log" || rm -f "$busy"
    # hatchling has versions for every Python: where pip finds none of it, it has reached no index.
    if grep -qE 'ConnectionError|ConnectTimeout|ReadTimeout|NameResolution|ProxyError|hatchling.*from versions: none' "$log"; then
        fail "could not download what the extra \"$extra\" needs: no network, it seems. pip's log: $log"
    fi
    grep -E '^ *ERROR' "$log" | tail -n 2 >&2 || true
    fail "pip could not install minima with its extra \"$extra\" for $("$env/bin/python" -V). pip's log: $log"
fi
rm -f "$busy"

# Everything in `demo` is in `dev` too.
[ "$extra" != dev ] || touch "$env/.minima-demo"
touch "$env/.minima-$extra"
