package limits

import (
	"fmt"
	"strings"
	"sync"
	"time"
)

// Bounds of the memory of a Written. A user takes about 300 bytes.
const (
	parts      = 12 // number of parts of the window
	partLength = time.Hour / parts

	maxWriters = 1 << 16
)

// Written limits the number of bytes that each user writes in an hour. It is safe for
// concurrent use and starts no goroutines.
//
// It counts bytes in periods of five minutes. A period counts until an hour after its end, so
// no hour has more bytes than the limit, whenever the hour begins. When a user writes, Written
// may drop the counts of users who were idle for an hour. If too many users write, it drops the
// counts of the longest idle users even if they were idle for a shorter time.
type Written struct {
	limit int64
	now   func() time.Time
	start time.Time

	mu         sync.Mutex // guards the fields below
	last       int64      // number of the latest period of five minutes since the field start
	rotated    int64      // number of the period in which the Written last dropped idle users
	young, old map[string]*volume
}

// volume has the number of bytes that a user wrote in each period of the last hour. The number
// for period p is bytes[p % len(bytes)].
type volume struct {
	newest int64 // number of the period in which the user last wrote
	bytes  [parts + 1]int64
}

// NewWritten returns a Written that allows each user to write limit bytes in an hour. now
// returns the current time.
func NewWritten(limit int64, now func() time.Time) *Written {
	return &Written{limit: limit, now: now, start: now(), young: map[string]*volume{}}
}

// Allow counts n bytes that the user is about to write, and returns true. If the user
// would exceed the limit, Allow counts nothing and returns a Refusal and false.
func (w *Written) Allow(user string, n int64) (Refusal, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	since := w.now().Sub(w.start)
	// The number of the period never decreases, even if the clock is set back.
	w.last = max(w.last, int64(since/partLength))
	v := w.volume(user)
	v.advance(w.last)
	var total int64
	for _, b := range v.bytes {
		total += b
	}
	if total+n <= w.limit {
		v.bytes[w.last%int64(len(v.bytes))] += n
		return Refusal{}, true
	}
	// Find the earliest period in which enough of the counted bytes no longer count. If n is
	// greater than the limit, no such period exists. Allow then returns the longest wait, after
	// which the same request is refused again.
	period := w.last - parts
	for ; period <= w.last && total+n > w.limit; period++ {
		total -= v.bytes[(period+int64(len(v.bytes)))%int64(len(v.bytes))]
	}
	free := time.Duration(period+parts) * partLength
	return Refusal{
		Limit:      fmt.Sprintf("%d bytes written per hour by a user", w.limit),
		RetryAfter: max(free-since, time.Second),
	}, false
}

// Refund removes n bytes that Allow has counted, because they were not written after all.
func (w *Written) Refund(user string, n int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	v := w.volume(user)
	v.advance(w.last)
	// Begin with the present period and continue with earlier ones, because Allow may have counted
	// the bytes in an earlier period.
	for i := int64(0); i <= parts && n > 0; i++ {
		b := &v.bytes[(w.last-i+int64(len(v.bytes)))%int64(len(v.bytes))]
		back := min(n, *b)
		*b -= back
		n -= back
	}
}

// advance sets the bytes of all periods that no longer count in the period now to 0.
func (v *volume) advance(now int64) {
	for ; v.newest < now; v.newest++ {
		if now-v.newest > int64(len(v.bytes)) {
			v.newest = now - int64(len(v.bytes))
		}
		v.bytes[(v.newest+1)%int64(len(v.bytes))] = 0
	}
}

// volume returns the byte counts of a user, and marks them as used, so that the next rotation keeps
// them.
func (w *Written) volume(user string) *volume {
	if w.last-w.rotated > parts || len(w.young) >= maxWriters {
		// Drop the counts of users who have not written since the last rotation.
		w.young, w.old, w.rotated = map[string]*volume{}, w.young, w.last
	}
	if v := w.young[user]; v != nil {
		return v
	}
	v := w.old[user]
	if v == nil {
		v = &volume{newest: w.last}
		// Copy the id, because it may be part of a longer string, which the map would keep in
		// memory.
		user = strings.Clone(user)
	}
	delete(w.old, user)
	w.young[user] = v
	return v
}
