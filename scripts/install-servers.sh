#!/bin/sh
# Install the programs that the tests start for themselves: servers, and strace. Only root on a system with apt-get gets
# them installed; anybody else is told what is missing. With CI set, a program that is still missing is an error.
set -eu

# dpkg refuses to work without the programs of the system's administrator.
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
export PATH DEBIAN_FRONTEND=noninteractive

has_postgresql() {
    command -v initdb >/dev/null || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1
}

missing() {
    has_postgresql || echo postgresql
    command -v pgbouncer >/dev/null || echo pgbouncer
    [ "$(uname)" != Linux ] || command -v strace >/dev/null || echo strace
    # Sets the wall clock of single processes.
    [ "$(uname)" != Linux ] || ls /usr/lib/*/faketime/libfaketimeMT.so.1 >/dev/null 2>&1 || echo faketime
}

packages=$(missing)
if [ -n "$packages" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    log=$(mktemp)
    echo "Installing for the tests: $packages"
    # $packages is a list of words.
    if ! { apt-get update && apt-get install -y --no-install-recommends $packages; } >"$log" 2>&1; then
        tail -n 20 "$log" >&2
    fi
    rm -f "$log"
    packages=$(missing)
fi
if [ -n "$packages" ]; then
    echo "Not installed, so the tests that need it are skipped: $packages" \
        "(Debian and Ubuntu: apt-get install $packages; macOS: brew install $packages)" >&2
    [ -z "${CI:-}" ] || exit 1
fi
