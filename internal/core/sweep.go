package core

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// SweepKind is a kind of work that Sweep does.
type SweepKind uint8

// The kinds of work, in the order in which a sweep does them.
const (
	SweepRetention SweepKind = iota // threads whose retention policy ends them
	SweepErasure                    // users to erase
	SweepPurge                      // rows of deleted threads
	SweepEvents                     // positions of events, and old days of the log
	SweepEndpoints                  // old endpoints of clients
	sweepKinds
)

var sweepNames = [sweepKinds]string{"retention", "erasure", "purge", "events", "endpoints"}

// String returns the word for the kind.
func (k SweepKind) String() string { return sweepNames[k] }

// SweepCount counts the work of one kind since the start.
type SweepCount struct {
	Turns   uint64 // times that the kind had its turn
	Done    uint64 // threads ended, users erased, turns of another kind that ended well
	Failed  uint64 // attempts that failed
	Waiting int    // threads or users that have failed and wait until they are tried again
}

// SweepCounts returns the counts of all kinds of work, by kind.
func (s *Service) SweepCounts() (counts [sweepKinds]SweepCount) {
	s.swept.mu.Lock()
	defer s.swept.mu.Unlock()
	return s.swept.counts
}

// sweepCounts has what SweepCounts returns.
type sweepCounts struct {
	mu     sync.Mutex // guards counts
	counts [sweepKinds]SweepCount
}

func (c *sweepCounts) update(k SweepKind, change func(*SweepCount)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(&c.counts[k])
}

// Work of one turn, so that no kind keeps the others waiting.
const (
	sweepPage = 100 // threads or messages that are read at a time
	// sweepSteps is the number of pages and threads that the erasures of all users handle
	// in one sweep. Each user gets at most userSteps of them at a time.
	sweepSteps = 200
	userSteps  = 20
)

// Sweep deletes threads that have expired by their retention policies, erases deleted
// users whose grace is over, finishes the deletion of large threads, and deletes old days
// of the event log and old endpoints. Each of these kinds gets a turn of bounded work,
// whether or not another fails. A thread or user that fails waits before it is tried again,
// longer each time, and those after it go on.
//
// Sweep returns the time at which more work is due, also together with an error, or the zero
// time if none is known. Call it from time to time in any case, for what has failed and for
// what other servers leave. Progress is stored and every step can be repeated, so several
// servers may call Sweep and it may be interrupted at any point.
func (s *Service) Sweep(ctx context.Context) (next time.Time, err error) {
	s.sweeping.Lock()
	defer s.sweeping.Unlock()
	var errs []error
	for k := range sweepKinds {
		due, err := s.turn(ctx, k)
		s.swept.update(k, func(c *SweepCount) {
			c.Turns++
			if k == SweepRetention || k == SweepErasure {
				return // these count threads and users
			}
			if err != nil {
				c.Failed++
			} else {
				c.Done++
			}
		})
		next, errs = earlier(next, due), append(errs, err)
	}
	return next, errors.Join(errs...)
}

// turn does a bounded amount of the work of one kind, and returns the time at which more is
// due.
func (s *Service) turn(ctx context.Context, k SweepKind) (next time.Time, err error) {
	switch k {
	case SweepRetention:
		return s.sweepThreads(ctx)
	case SweepErasure:
		return s.sweepUsers(ctx)
	case SweepPurge:
		return time.Time{}, s.finishPurges(ctx)
	case SweepEvents:
		return time.Time{}, s.trimEvents(ctx)
	default:
		return time.Time{}, s.sweepEndpoints(ctx)
	}
}

// Pauses of what has failed: the first, which doubles with each failure, and the longest.
const (
	firstPause   = time.Second
	longestPause = time.Hour
	maxPaused    = 10_000 // ids of a kind; further ones are tried again in each sweep
)

// pauses are the ids of threads or users that have failed, and when each is tried again.
type pauses map[string]*pause

type pause struct {
	until  time.Time
	length time.Duration
}

// waits reports whether an id has failed and is not to be tried yet.
func (p pauses) waits(id string, now time.Time) bool {
	w := p[id]
	return w != nil && now.Before(w.until)
}

// failed begins the next pause of an id.
func (p pauses) failed(id string, now time.Time) {
	w := p[id]
	if w == nil {
		if len(p) >= maxPaused {
			return
		}
		w = &pause{length: firstPause / 2}
		p[id] = w
	}
	w.length = min(2*w.length, longestPause)
	w.until = now.Add(w.length)
}

// few joins errors, of which it names the first few.
func few(errs []error) error {
	const most = 5
	if n := len(errs) - most; n > 0 {
		errs = append(errs[:most:most], fmt.Errorf("and %d more", n))
	}
	return errors.Join(errs...)
}
