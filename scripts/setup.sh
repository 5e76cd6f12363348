# Functions for the scripts beside this file: they install what is missing and report each step.
# Installing needs root on Debian; where nothing is missing, no rights are needed.

say() { printf '\033[1m== %s\033[0m\n' "$*" >&2; }

help_if_asked() { # ARGUMENTS of the script; prints the comment at its top and ends it
    case "${1:-}" in
    -h | --help | help) sed -n '2,/^[^#]/{s/^# \{0,1\}//p}' "$0"; exit 0 ;;
    esac
}

need_c_headers() { [ -e /usr/include/stdio.h ] || need_packages libc6-dev:no-such-program; }

need_packages() { # PACKAGE:PROGRAM...
    local missing=() pair
    for pair in "$@"; do
        PATH="$PATH:/usr/sbin:/sbin" command -v "${pair#*:}" >/dev/null || missing+=("${pair%%:*}")
    done
    [ ${#missing[@]} -eq 0 ] && return
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
        echo "error: missing: ${missing[*]}" >&2
        echo "hint: sudo apt-get install ${missing[*]}" >&2
        exit 1
    fi
    say "installing ${missing[*]}"
    # No package may start a Tor service of the system: until the end of the installation,
    # policy-rc.d denies every start.
    local policy=/usr/sbin/policy-rc.d made=0
    if [ ! -e "$policy" ]; then printf '#!/bin/sh\nexit 101\n' >"$policy"; chmod +x "$policy"; made=1; fi
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >&2 || {
        [ $made -eq 1 ] && rm -f "$policy"
        echo "error: apt-get could not install ${missing[*]}" >&2
        exit 1
    }
    if [ $made -eq 1 ]; then rm -f "$policy"; fi
}

need_venv() { # [GROUP]: make the virtual environment .venv, with this dependency group
    local python='' candidate
    for candidate in python3 python3.14 python3.13 python3.12 python3.11; do
        # Run it: a name on the path may be a shim without a Python behind it.
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            python=$candidate
            break
        fi
    done
    if [ -z "$python" ]; then
        echo "error: Python 3.11 or later is needed" >&2
        echo "hint: sudo apt-get install python3 python3-venv" >&2
        exit 1
    fi
    if ! "$python" -c 'import ensurepip' 2>/dev/null; then need_packages python3-venv:no-such-program; fi
    if [ ! -x .venv/bin/python ]; then
        say "making a virtual environment in .venv"
        "$python" -m venv .venv
        .venv/bin/pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1' 2>&1 | grep -v '^WARNING: Location' >&2 || true
    fi
    if ! cmp -s pyproject.toml ".venv/installed-${1:-run}"; then
        say "installing exitpol${1:+ and the group $1} into it"
        .venv/bin/pip install --quiet --disable-pip-version-check -e . ${1:+--group "$1"} 2>&1 | grep -v '^WARNING: Location' >&2 || true
        .venv/bin/python -c 'import exitpolicy'
        cp pyproject.toml ".venv/installed-${1:-run}"
    fi
}

need_tool() { # PROGRAM REQUIREMENT: install a Python program into .venv that only one script needs
    [ -x ".venv/bin/$1" ] && return
    say "installing $2"
    .venv/bin/pip install --quiet --disable-pip-version-check "$2"
}
