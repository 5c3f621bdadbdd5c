/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * worker: when may a worker of a mount block in read(2) on /dev/fuse?
 *
 * A worker that blocks there wakes for a new request of the kernel and for nothing else: it collects no answers of
 * the device. So it may block only when no answer can come to its channel that nobody else collects. Otherwise it
 * sleeps in epoll, on /dev/fuse and on the channel's call eventfd, with calls enabled.
 *
 *   process, inline           code
 *   worker()                  serve(), sleep_for_both() in src/fuse/worker.c
 *   attempt()                 read_try(), op_block() and pin_all() in src/bridge, window_pin() in src/window
 *   finish()                  fs_channel_reap() in src/fs/channel.c, then op_answered(), setup_done(), remove_done()
 *   submit(), flush()         fs_req_submit(), fs_channel_flush() in src/fs/channel.c
 *   device()                  the back end; queue and call handshake are proved in kick.pml, here they are one step
 *   kernel()                  the FUSE client: posts REQUESTS requests, wakes one waiter for each (EPOLLEXCLUSIVE)
 *
 * Each request is, at the model's choice, a read or a truncation. All are of one file with one range of the window,
 * so they park: behind a SETUPMAPPING, which the thread that found the range missing sends on its own channel, and
 * behind a REMOVEMAPPING, which the thread that dropped the last pin sends. Whoever collects that answer resumes the
 * parked requests of all workers, and each of those goes on the ring of the channel that owns its slot.
 *
 * Counted, before a worker blocks:
 *   default         all that is outstanding of its channel: one counter, raised when a request is taken from /dev/fuse
 *                   or when the driver makes one of its own, lowered when the request has ended
 *   -DOLD_ORDER     requests at the device, then parked ones (two loads), as before the counter was introduced
 *   -DPER_WORKER    what this worker took from /dev/fuse or made, whatever its channel carries for others
 *   -DSUM           (with -DSHARED -DPER_WORKER) those of the channel's workers, one load after the other: holds, too,
 *                   since a request stays in one counter from its beginning to its end
 *   -DOWN_UNCOUNTED as the default, without the driver's own requests
 * -DSHARED: both workers use one channel. No time-out is modelled: a wake-up that only a time-out brings is lost.
 *
 * Claim: whatever the order, everything is answered. `monitor` checks the runs that come to a stop, the LTL formula
 * `served` those that do not (weak fairness).
 */
#ifndef REQUESTS
#define REQUESTS 3
#endif
#define WORKERS	 2
#ifdef SHARED
#define CHANNELS      1
#define CHANNEL_OF(w) 0
#else
#define CHANNELS      2
#define CHANNEL_OF(w) (w)
#endif

/* Slots: those of the kernel's requests, then the two that the driver may send for the range. */
#define SETUP  REQUESTS
#define REMOVE (REQUESTS + 1)
#define SLOTS  (REQUESTS + 2)

mtype:place = {
	FREE,
	QUEUED,	     /* in the kernel */
	HELD,	     /* some thread works on it */
	PARKED,	     /* waits for the window */
	UNPUBLISHED, /* on the ring, before the index was published */
	AT_DEVICE,
	USED,	     /* answered by the device, not collected */
	ENDED
}
mtype:place place[SLOTS] = FREE;
byte owner[SLOTS];  /* the worker that took or made it: its slot belongs to this worker's channel */
bool cuts[SLOTS];   /* a truncation */
byte tries[SLOTS];
byte n_ended;

mtype:range = { ABSENT, COMING, LIVE, DYING }
mtype:range range = ABSENT;
byte pins;

byte outstanding[WORKERS]; /* by COUNTER(): of a channel, or of a worker */
byte at_device[CHANNELS];  /* the old order: fs_channel.n_busy ... */
byte parked[WORKERS];	   /* ... and bridge_worker.parked */

bool calls_on[CHANNELS]; /* used_event is set and not passed yet */
bool called[WORKERS];	 /* edge of the call eventfd in the worker's epoll set */
mtype:wait = { AWAKE, WAITING, WOKEN }
mtype:wait waits[WORKERS] = AWAKE; /* in the wait queue of /dev/fuse */

#ifdef PER_WORKER
#define COUNTER(w) (w)
#else
#define COUNTER(w) CHANNEL_OF(w)
#endif

inline raise(w) { outstanding[COUNTER(w)]++ }
inline lower(w) { assert(outstanding[COUNTER(w)] > 0); outstanding[COUNTER(w)]-- }

#ifdef OWN_UNCOUNTED
#define raise_own(w) skip
#define lower_own(w) skip
#else
#define raise_own(w) raise(w)
#define lower_own(w) lower(w)
#endif

#ifdef OLD_ORDER
#define COUNT(expression) expression;
#else
#define COUNT(expression)
#endif

inline find(where, t) /* t = the first slot in this place, or SLOTS */
{
	t = 0;
	do
	:: t < SLOTS && place[t] != where -> t++
	:: else -> break
	od
}

inline find_used(w, t) /* the same for a channel's answers */
{
	t = 0;
	do
	:: t < SLOTS && !(place[t] == USED && CHANNEL_OF(owner[t]) == CHANNEL_OF(w)) -> t++
	:: else -> break
	od
}

inline flush(c)
{
	d_step {
		i = 0;
		do
		:: i < SLOTS ->
			if
			:: place[i] == UNPUBLISHED && CHANNEL_OF(owner[i]) == c -> place[i] = AT_DEVICE
			:: else
			fi;
			i++
		:: else -> break
		od;
		i = 0
	}
}

/* By the thread of worker `me`; a foreign channel is flushed at once (op_submit). */
inline submit(t)
{
	atomic {
		COUNT(at_device[CHANNEL_OF(owner[t])]++)
		place[t] = UNPUBLISHED;
		if
		:: CHANNEL_OF(owner[t]) != CHANNEL_OF(me) -> flush(CHANNEL_OF(owner[t]))
		:: else
		fi
	}
}

inline submit_own(t)
{
	atomic { assert(place[t] == FREE); place[t] = HELD; owner[t] = me; raise_own(me) };
	submit(t)
}

/* The kernel, or the program, has its answer; then the slot is free; then it counts no more. */
inline answer(t)
{
	atomic { assert(place[t] == HELD); place[t] = ENDED; n_ended++; tries[t] = 0; cuts[t] = false };
	d_step { lower(owner[t]); owner[t] = 0 }
}

/* Tries the window for slot `cur`, held by this thread. It ends parked, submitted or answered. */
inline attempt()
{
	COUNT(parked[owner[cur]]++) /* op_park(): before the wait can begin */
	atomic {
		tries[cur]++;
		send = SLOTS;
		if
		:: cuts[cur] && range == LIVE ->
			range = DYING; place[cur] = PARKED;
			if
			:: pins == 0 -> send = REMOVE
			:: else
			fi
		:: cuts[cur] && (range == COMING || range == DYING) -> place[cur] = PARKED
		:: !cuts[cur] && range == LIVE -> pins++; send = SLOTS + 2 /* WINDOW_PINNED */
		:: !cuts[cur] && range == ABSENT && tries[cur] <= 2 -> range = COMING; place[cur] = PARKED; send = SETUP
		:: !cuts[cur] && range == COMING && tries[cur] <= 2 -> place[cur] = PARKED
		:: else -> send = SLOTS + 1 /* WINDOW_QUEUE */
		fi
	};
	if
	:: send < SLOTS -> submit_own(send)
	:: send == SLOTS + 1 ->
		COUNT(parked[owner[cur]]--)
		submit(cur)
	:: send == SLOTS + 2 -> /* copies, then drops the pin */
		COUNT(parked[owner[cur]]--)
		atomic {
			pins--;
			if
			:: range == DYING && pins == 0 -> send = REMOVE
			:: else
			fi
		};
		if
		:: send == REMOVE -> submit_own(REMOVE)
		:: else
		fi;
		answer(cur)
	:: else /* parked; another thread may have resumed it already */
	fi;
	send = 0
}

/* The answer in slot `got` was taken off the ring by this thread. */
inline finish()
{
	if
	:: got < REQUESTS -> answer(got)
	:: else ->
		atomic {
			place[got] = FREE;
			if
			:: got == SETUP -> range = LIVE
			:: got == SETUP -> range = ABSENT /* refused */
			:: got == REMOVE -> range = ABSENT
			fi;
			i = 0;
			do
			:: i < REQUESTS ->
				if
				:: place[i] == PARKED -> place[i] = HELD; woken = woken | (1 << i)
				:: else
				fi;
				i++
			:: else -> break
			od;
			i = 0;
			lower_own(owner[got]);
			owner[got] = 0
		};
		/* op_woken() of each */
		cur = 0;
		do
		:: cur < REQUESTS ->
			if
			:: woken & (1 << cur) ->
				woken = woken & ~(1 << cur);
				/* Read before: after attempt() the slot may serve another request. */
				whose = owner[cur];
				attempt();
				COUNT(parked[whose]--)
				whose = 0
			:: else
			fi;
			cur++
		:: else -> break
		od;
		cur = 0
	fi
}

/* fs_channel_reap() */
inline reap()
{
	do
	:: atomic {
		find_used(me, got);
		if
		:: got == SLOTS -> got = 0; break
		:: else -> COUNT(at_device[CHANNEL_OF(owner[got])]--) place[got] = HELD
		fi
	   };
	   finish();
	   got = 0
	od
}

/* The request in `cur` is this worker's; nobody else can see it before it is counted. */
inline take()
{
	place[cur] = HELD; owner[cur] = me; raise(me);
	if
	:: cuts[cur] = true
	:: skip
	fi
}

/* bridge_worker_busy() */
inline count_all()
{
#ifdef OLD_ORDER
	busy = at_device[CHANNEL_OF(me)] > 0;
	busy = busy || parked[me] > 0
#else
	busy = outstanding[COUNTER(me)] > 0;
#ifdef SUM
	busy = busy || outstanding[1 - COUNTER(me)] > 0
#endif
#endif
}

proctype worker(byte me)
{
	byte cur, got, send, whose, i, woken;
	bool busy, told;

serve:
	count_all();
	if
	:: busy ->
		reap();
		count_all()
	:: else
	fi;
	if
	:: !busy -> flush(CHANNEL_OF(me))
	:: else
	fi;

read:	/* blocks where !busy; else need not look before it is told that there is one */
	atomic {
		find(QUEUED, cur);
		if
		:: busy && !told -> cur = 0; busy = false; goto nothing
		:: cur < SLOTS -> busy = false; told = false; take()
		:: cur == SLOTS && !busy -> cur = 0; told = false; waits[me] = WAITING; goto blocked
		:: cur == SLOTS && busy -> cur = 0; busy = false; told = false; goto nothing
		fi
	};
	attempt();
	cur = 0;
	goto serve;

blocked:
end_blocked:
	atomic { waits[me] == WOKEN -> waits[me] = AWAKE; goto read };

nothing:
	flush(CHANNEL_OF(me));
	calls_on[CHANNEL_OF(me)] = true; /* vq_enable_calls(), and its check: */
	atomic {
		find_used(me, got);
		if
		:: got < SLOTS -> got = 0; goto collect
		:: else -> got = 0
		fi
	};
	atomic { /* epoll_wait(), which tells of a request that came before it */
		find(QUEUED, cur);
		if
		:: cur < SLOTS || called[me] -> told = told || cur < SLOTS; cur = 0; called[me] = false; goto collect
		:: else -> cur = 0; waits[me] = WAITING
		fi
	};
end_asleep:
	atomic {
		waits[me] == WOKEN || called[me] ->
		told = told || waits[me] == WOKEN;
		waits[me] = AWAKE; called[me] = false
	};
collect:
	calls_on[CHANNEL_OF(me)] = false; /* vq_disable_calls() */
	reap();
	goto serve
}

proctype device()
{
	byte t;
end_idle:
	do
	:: atomic {
		if
		:: place[0] == AT_DEVICE -> t = 0
		:: place[1] == AT_DEVICE -> t = 1
#if REQUESTS > 2
		:: place[2] == AT_DEVICE -> t = 2
#endif
#if REQUESTS > 3
		:: place[3] == AT_DEVICE -> t = 3
#endif
		:: place[SETUP] == AT_DEVICE -> t = SETUP
		:: place[REMOVE] == AT_DEVICE -> t = REMOVE
		fi;
		place[t] = USED;
		if
		:: calls_on[CHANNEL_OF(owner[t])] ->
			calls_on[CHANNEL_OF(owner[t])] = false; /* the event index is passed */
			called[0] = called[0] || CHANNEL_OF(owner[t]) == CHANNEL_OF(0);
			called[1] = called[1] || CHANNEL_OF(owner[t]) == CHANNEL_OF(1)
		:: else
		fi;
		t = 0
	   }
	od
}

proctype kernel()
{
	byte t;

	do
	:: t < REQUESTS ->
		atomic {
			place[t] = QUEUED;
			t++;
			if /* one waiter for one request */
			:: waits[0] == WAITING -> waits[0] = WOKEN
			:: waits[1] == WAITING -> waits[1] = WOKEN
			:: waits[0] != WAITING && waits[1] != WAITING
			fi
		}
	:: else -> break
	od
}

/* Nothing can happen any more: was everything answered, and is nothing counted that is not there? */
proctype monitor()
{
end_watch:
	atomic {
		timeout ->
		assert(n_ended == REQUESTS);
		assert(outstanding[0] == 0 && outstanding[1] == 0 && parked[0] == 0 && parked[1] == 0)
	}
}

init { atomic { run worker(0); run worker(1); run device(); run kernel(); run monitor() } }

ltl served { <> (n_ended == REQUESTS) }
