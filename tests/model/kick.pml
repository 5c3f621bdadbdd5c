/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * kick: no kick and no call of a split ring is lost (virtio 1.3, 2.7.7, 2.7.10, 2.7.13.4).
 *
 * Each side publishes an index and then reads whether the other wants to hear of it; each side that is about to sleep
 * writes that it wants to, and then reads the other's index. So two pairs of store-then-load, each of which needs a
 * full barrier in the middle:
 *
 *   barrier  process   store                 load                code
 *   1        driver    avail.idx             avail_event         vq_publish() in src/virtqueue/split.c
 *   2        driver    used_event            used.idx            vq_enable_calls()
 *   3        device    avail_event           avail.idx           ring_listen() in tools/vfsdax-device, ring.c
 *   4        device    used.idx              used_event          ring_push(), ring_wants_call()
 *
 * -DNO_BARRIER=n leaves number n out, and must be found. -DFLAGS: without EVENT_IDX; the two events are then
 * used.flags (NO_NOTIFY) and avail.flags (NO_INTERRUPT).
 *
 * Memory is that of x86 (TSO): stores of a CPU go through a buffer, in order, and loads overtake them. Other
 * reorderings (descriptors and ring entries before the index) are not modelled: release and acquire order them.
 * Indices have 2 bits and the ring 2 entries, so they wrap as 16 bits with 32768 entries do.
 *
 * Claim: there is no state in which both sides sleep and something waits on either ring. The driver may at any time
 * send nothing more, so a lost wake-up is not hidden by the next one. The search is for such a deadlock.
 */
#define RING	   2
#define INDEX(x)   ((x) & 3)
#ifndef NO_BARRIER
#define NO_BARRIER 0
#endif

byte avail_idx, used_idx, avail_event, used_event; /* memory */
bool kick, call;				   /* the eventfds */

mtype = { AVAIL_IDX, USED_EVENT, USED_IDX, AVAIL_EVENT }
chan driver_stores = [2] of { mtype, byte };
chan device_stores = [2] of { mtype, byte };

inline barrier(number, stores)
{
	if
	:: number != NO_BARRIER -> empty(stores)
	:: else
	fi
}

#ifdef FLAGS
#define ON(idx)	 0
#define OFF(idx) 1
#define WANTED(event, idx, old) (event == 0)
#else
#define ON(idx)	 (idx)
#define OFF(idx) INDEX((idx) - 1)
/* vring_need_event() */
#define WANTED(event, idx, old) (INDEX(idx - event - 1) < INDEX(idx - old))
#endif

/* The store buffers drain whenever they like. */
active proctype driver_memory()
{
	byte v;
end:
	do
	:: atomic { driver_stores?AVAIL_IDX(v) -> avail_idx = v; v = 0 }
	:: atomic { driver_stores?USED_EVENT(v) -> used_event = v; v = 0 }
	od
}

active proctype device_memory()
{
	byte v;
end:
	do
	:: atomic { device_stores?USED_IDX(v) -> used_idx = v; v = 0 }
	:: atomic { device_stores?AVAIL_EVENT(v) -> avail_event = v; v = 0 }
	od
}

active proctype driver()
{
	byte avail, used, in_flight; /* avail_idx and used_next of struct virtqueue */
	byte old, seen;
	bool last; /* nothing more is sent */

	driver_stores!USED_EVENT(OFF(0)); /* fs_channel_open() */
	do
	:: !last && in_flight < RING -> /* vq_add(), vq_publish(): a batch of one or two */
		old = avail;
		if
		:: in_flight + 2 <= RING -> avail = INDEX(avail + 2); in_flight = in_flight + 2
		:: avail = INDEX(avail + 1); in_flight++
		fi;
		driver_stores!AVAIL_IDX(avail);
		barrier(1, driver_stores);
		seen = avail_event;
		if
		:: WANTED(seen, avail, old) -> kick = true
		:: else
		fi;
		seen = 0; old = 0
	:: in_flight > 0 -> /* vq_reap(), of a driver in poll mode */
		seen = used_idx;
		d_step {
			assert(INDEX(seen - used) <= in_flight);
			in_flight = in_flight - INDEX(seen - used);
			used = seen; seen = 0
		}
	:: in_flight > 0 -> /* vq_enable_calls(), and to sleep */
		driver_stores!USED_EVENT(ON(used));
		barrier(2, driver_stores);
		seen = used_idx;
		if
		:: seen != used
		:: else ->
			if
			:: call -> call = false
			:: !last /* a new request wakes it */
			fi
		fi;
		seen = 0;
		driver_stores!USED_EVENT(OFF(used)) /* vq_disable_calls(): a hint, no barrier */
	:: !last -> last = true
	:: last && in_flight == 0 -> break
	od
}

active proctype device()
{
	byte last_avail, used, signalled, taken;
	byte seen;

	do
	:: seen = avail_idx; /* ring_pop(), until nothing is there */
		if
		:: seen != last_avail ->
			assert(INDEX(seen - last_avail) <= RING);
			last_avail = INDEX(last_avail + 1); taken++; seen = 0
		:: else ->
#ifndef FLAGS
			seen = 0;
#endif
			device_stores!AVAIL_EVENT(ON(last_avail)); /* ring_listen(on) */
			barrier(3, device_stores);
			seen = avail_idx;
			if
			:: seen != last_avail -> seen = 0
			:: else ->
				seen = 0;
end_asleep:
				if
				:: kick -> kick = false
				:: taken > 0 /* the host's file system is ready */
				fi
			fi;
#ifdef FLAGS
			device_stores!AVAIL_EVENT(OFF(0)); /* ring_listen(off) */
			barrier(3, device_stores)
#endif
		fi
	:: taken > 0 -> /* ring_push(), and perhaps another, then ring_wants_call() */
		do
		:: taken > 0 ->
			used = INDEX(used + 1); taken--;
			device_stores!USED_IDX(used)
		:: used != signalled -> break
		od;
		barrier(4, device_stores);
		seen = used_event;
		if
		:: WANTED(seen, used, signalled) -> call = true
		:: else
		fi;
		signalled = used; seen = 0
	od
}
