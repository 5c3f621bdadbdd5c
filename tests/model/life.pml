/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * life: a request slot from fs_req_get() to its return, with INTERRUPT, time-out, late answer and device failure.
 *
 *                      submit            answer
 *      FREE ──> OWNED ───────> IN_FLIGHT ──────> OWNED (done) ──────────────────────> FREE
 *                                  │ INTERRUPT, time-out: done, put
 *                                  v                     answer
 *                              ABANDONED, the device's ───────> LATE, late() ───────> FREE
 *
 *   process, inline   code
 *   user()            fs_req_get(), fs_req_submit() for one request after the other
 *   worker()          two threads that collect from the same channel: fs_channel_reap(), deliver(), expire()
 *   complete()        fs_req.done(): answers the kernel, then fs_req_put()
 *   drain()           the end of fs_channel_reap() after a failure: fail_all(), take_back_abandoned()
 *   device()          writes into the memory of slots that are its own, and answers each of them once (that it answers
 *                     none twice is checked by vq_reap(), see cbmc/)
 *   failure()         transport_fail(), at any time
 *
 * `atomic` stands for what fs_channel.lock is held for, except in the device.
 *
 * Claims: each request is answered once, and its slot freed once. late() sees the slot of the request that is late, not
 * of another. The device never writes into a slot that is free or in other use. At the end all slots are free.
 *
 *   -DLATE_UNMARKED     the thread that collects a late answer leaves the slot ABANDONED while late() runs, so that
 *                       take_back_abandoned() of another thread frees it meanwhile: must be found
 *   -DFREE_BEFORE_STOP  slots are freed after a failure while the device can still write: must be found
 */
#ifndef REQUESTS
#define REQUESTS 3
#endif
#define SLOTS 2

mtype:state = { FREE, OWNED, IN_FLIGHT, ABANDONED, LATE }
mtype:state state[SLOTS] = FREE;
byte request[SLOTS];	    /* whose slot it is */
bool put_when_back[SLOTS];  /* done() has put it, the device has not returned it */
bool device_has[SLOTS];	    /* on the ring and not in the used ring */
bool used[SLOTS];	    /* in the used ring, not collected */
bool failed;		    /* transport_failed() */
bool stopped;		    /* reset, or disconnected: the device can write no more */
byte answered[REQUESTS];
byte n_answered;

inline free_slot(s)
{
	assert(state[s] != FREE);
	assert(!device_has[s] || stopped); /* nobody writes into it any more */
	state[s] = FREE;
	put_when_back[s] = false;
	device_has[s] = false;
	used[s] = false
}

/* Without the lock: the answer; then, with it, the slot. */
inline complete(s)
{
	atomic { assert(answered[request[s]] == 0); answered[request[s]]++; n_answered++ };
	atomic { /* fs_req_put() */
		if
		:: state[s] == ABANDONED || state[s] == LATE -> assert(!put_when_back[s]); put_when_back[s] = true
		:: else -> assert(state[s] == OWNED); free_slot(s)
		fi
	}
}

proctype user()
{
	byte r, s;

	do
	:: r < REQUESTS ->
end_no_slot:
		atomic { /* fs_req_get() */
			if
			:: state[0] == FREE -> s = 0
			:: state[0] != FREE && state[1] == FREE -> s = 1
			fi;
			state[s] = OWNED;
			request[s] = r
		};
		atomic { /* fs_req_submit() */
			if
			:: failed
			:: else -> state[s] = IN_FLIGHT; device_has[s] = true; s = SLOTS
			fi
		};
		if
		:: s < SLOTS -> complete(s)
		:: else
		fi;
		s = 0;
		r++
	:: else -> break
	od
}

/* Slot s was in the used ring; this thread has taken it off. */
inline deliver(s, abandoned)
{
	if
	:: !abandoned -> complete(s)
	:: else ->
		/* late(): the slot is still that of the request that was abandoned */
		assert(state[s] != FREE && request[s] == whose);
		atomic {
			if
			:: put_when_back[s] -> free_slot(s)
			:: else -> state[s] = OWNED /* done() has not put it yet: it will */
			fi
		}
	fi
}

/* After a failure. A slot that is LATE belongs to the thread that runs late(). */
inline drain()
{
#ifndef FREE_BEFORE_STOP
	stopped;
#endif
	s = 0;
	do
	:: s < SLOTS ->
		atomic { /* fail_all() */
			if
			:: state[s] == IN_FLIGHT -> state[s] = OWNED; mine = true
			:: else
			fi
		};
		if
		:: mine -> mine = false; complete(s)
		:: else
		fi;
		atomic { /* take_back_abandoned() */
			if
			:: state[s] == ABANDONED && put_when_back[s] -> free_slot(s)
			:: state[s] == ABANDONED && !put_when_back[s] -> state[s] = OWNED
			:: else
			fi
		};
		s++
	:: else -> break
	od;
	s = 0
}

proctype worker()
{
	byte s, whose;
	bool late, mine;

end_serve:
	do
	:: atomic { /* fs_channel_reap() takes an answer off the ring */
		!failed && (used[0] || used[1]) ->
		if
		:: used[0] -> s = 0
		:: used[1] -> s = 1
		fi;
		used[s] = false;
		assert(state[s] == IN_FLIGHT || state[s] == ABANDONED);
		late = state[s] == ABANDONED;
		whose = request[s];
#ifdef LATE_UNMARKED
		if
		:: late
		:: else -> state[s] = OWNED
		fi
#else
		state[s] = (late -> LATE : OWNED)
#endif
	   };
	   deliver(s, late);
	   s = 0; late = false; whose = 0
	:: atomic { /* expire(), or an INTERRUPT that found it: the caller waits no more */
		!failed && (state[0] == IN_FLIGHT || state[1] == IN_FLIGHT) ->
		if
		:: state[0] == IN_FLIGHT -> s = 0
		:: state[1] == IN_FLIGHT -> s = 1
		fi;
		state[s] = ABANDONED
	   };
	   complete(s);
	   s = 0
	:: failed && (state[0] == IN_FLIGHT || state[0] == ABANDONED || state[1] == IN_FLIGHT || state[1] == ABANDONED) ->
		drain()
	od
}

proctype device()
{
	byte s;

end_idle:
	do
	:: atomic {
		!stopped && (device_has[0] || device_has[1]) ->
		if
		:: device_has[0] -> s = 0
		:: device_has[1] -> s = 1
		fi;
		assert(state[s] == IN_FLIGHT || state[s] == ABANDONED);
		device_has[s] = false;
		used[s] = true;
		s = 0
	   }
	:: skip -> break /* silent from now on */
	od
}

proctype failure()
{
	if
	:: failed = true;
	   stopped = true
	:: skip
	fi
}

/* Nothing can happen any more. A device that is silent keeps what it has not returned, and it alone does. */
proctype monitor()
{
end_watch:
	atomic {
		timeout ->
		assert(n_answered == REQUESTS || (!failed && state[0] == ABANDONED && state[1] == ABANDONED));
		assert(state[0] == FREE || (state[0] == ABANDONED && device_has[0] && !failed));
		assert(state[1] == FREE || (state[1] == ABANDONED && device_has[1] && !failed))
	}
}

init { atomic { run user(); run worker(); run worker(); run device(); run failure(); run monitor() } }
