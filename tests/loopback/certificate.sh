# shellcheck shell=bash
# The certificate of coherence, a test a mode: coherence/certificate.sh has the cells, coherence/run.sh makes the table of
# docs/coherence.md. Without --long a choice of cells, and few commits.
#
# passthrough=auto with shared_mmap=cached, with cache=none or without a window is "passed"; with cache=always nothing is
# passed through. cache=none with a window differs from "window" only for what the window does not serve, which is "none".

MOUNT_DEFAULTS=()
# shellcheck source=tests/coherence/certificate.sh
. "${BASH_SOURCE[0]%/*}/../coherence/certificate.sh"
# mode NAME DEVICE_OPTIONS MOUNT_OPTIONS [PAIR:WORKLOAD]...: what a short run has of it
mode() {
	[ -z "$ALL_CELLS" ] || set -- "${@:1:3}"
	certify "$@"
}
ALL_CELLS=${VFSDAX_LONG:-}${VFSDAX_COHERENCE_RESULTS:-}
LONG=$((${ALL_CELLS:+20000} + 240))

timeout_passed=$LONG
test_passed() { mode passed '' '' 'mount+mount:*' '@(host+mount|mount+mount2|mount+run):@(maps|counter|replace|fsx*|wal*|lmdb)' 'mount+library:@(maps|counter|append|replace|fsx*)'; }
timeout_window=$LONG
test_window() { mode window '' '-o passthrough=never,window_admit=always' '@(host+mount|mount+library):@(calls|maps|append|replace|fsx*|rollback|wal)' 'host+run:@(maps|counter|wal|lmdb)'; }
timeout_cached=$LONG
test_cached() { mode cached '' '-o passthrough=never,shared_mmap=cached' 'mount+mount:@(maps|counter|wal|lmdb)' 'host+mount:@(calls|fsx-data)'; }
timeout_deny=$LONG
test_deny() { mode deny '' '-o shared_mmap=deny' 'host+mount:@(maps|wal|lmdb)'; }
timeout_queue=$LONG
test_queue() { mode queue '' '-o passthrough=never,dax=never' 'host+mount:@(append|rollback|wal)'; }
timeout_none=$LONG
test_none() { mode none '' '-o passthrough=never,dax=never,cache=none' 'host+mount:@(calls|fsx-data|rollback|wal)'; }
timeout_never=$LONG
test_never() { mode never '--cache never' '-o passthrough=never' 'host+mount:@(calls|replace*|fsx*|rollback)'; }
timeout_always=$LONG
test_always() { mode always '' '-o cache=always' 'mount+mount:@(calls|append|fsx-data)'; }

# A certificate that cannot be refused is none: where two sides have pages of their own, that is found.
timeout_a_lie_is_found=$LONG
test_a_lie_is_found() {
	local workload tries
	certify_begin '' '-o passthrough=never,shared_mmap=cached'
	COMMITS=2000
	for workload in maps counter wal; do
		can "$workload" host+mount || continue
		# (by chance nobody may have been in the other's way)
		for tries in {1..20}; do
			cell cached host+mount "$workload"
			[ "$VERDICT" = WRONG ] && break
		done
		expect_eq "$VERDICT" WRONG "the verdict on $workload in $tries runs"
	done
	remount_share -o cache=always
	cell always host+mount calls
	expect_eq "$VERDICT" WRONG "the verdict on what a kernel keeps"
	certify_end
}
