#!/usr/bin/env bash
# Runs one loopback test: one.sh THEME TEST. Called by run.sh, under supervise, which gives it TEST_DIR,
# TEST_NAME, VFSDAX_BUILD and VFSDAX_HELPERS. Status 0, 1, or 77 for a test that lacks what it needs.
set -eEuo pipefail
umask 022
here=${BASH_SOURCE[0]%/*}
# shellcheck source=tests/loopback/lib.sh
. "$here/lib.sh"
# shellcheck disable=SC1090 # one of the theme files beside this one
. "$here/$1.sh"
trap 'echo "FAIL: ${BASH_SOURCE[0]##*/}:$LINENO: $BASH_COMMAND: status $?" >&2' ERR
setup
"test_$2"
finish
