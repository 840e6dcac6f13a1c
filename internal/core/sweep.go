package core

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

// SweepKind is a kind of work that Sweep does.
type SweepKind uint8

// The kinds of work. A sweep does them in this order.
const (
	SweepRetention  SweepKind = iota // threads whose retention policy ends them
	SweepErasure                     // users to erase
	SweepPurge                       // rows of deleted threads
	SweepEvents                      // this work gives positions to events, and deletes old days of the event log
	SweepEndpoints                   // old endpoints of clients
	SweepSuperseded                  // this work deletes superseded versions of messages that nobody may read any more
	SweepTokens                      // times of issued tokens to store
	SweepLists                       // this work moves entries in users' lists of threads that still have to be moved
	// SweepAudit deletes old audit rows, and writes the number of refused attempts that have no row
	// yet.
	SweepAudit
	sweepKinds
)

var sweepNames = [sweepKinds]string{"retention", "erasure", "purge", "events", "endpoints", "superseded", "tokens", "lists", "audit"}

// String returns the name of the kind, such as "retention".
func (k SweepKind) String() string { return sweepNames[k] }

// SweepCount counts the work of one kind since the Service was started.
type SweepCount struct {
	Turns   uint64 // the number of sweeps that have done work of the kind
	Done    uint64 // threads deleted or users erased; for other kinds, turns without an error
	Failed  uint64 // attempts that failed
	Waiting int    // threads or users that have failed and wait until they are tried again
}

// SweepCounts returns the counts of all kinds of work. The index is the SweepKind.
func (s *Service) SweepCounts() (counts [sweepKinds]SweepCount) {
	s.swept.mu.Lock()
	defer s.swept.mu.Unlock()
	return s.swept.counts
}

// sweepCounts holds the counts that SweepCounts returns, guarded by a lock.
type sweepCounts struct {
	mu     sync.Mutex // guards counts
	counts [sweepKinds]SweepCount
}

func (c *sweepCounts) update(k SweepKind, change func(*SweepCount)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(&c.counts[k])
}

// Bounds of the work that a sweep does for one kind, so that no kind delays the others.
const (
	sweepPage = 100 // the greatest number of threads or messages that are read at a time
	// sweepSteps is the number of steps that the erasures of all users take together in one sweep.
	// A step is a page of messages or a thread. Each user gets at most userSteps steps in a sweep.
	sweepSteps = 200
	userSteps  = 20
)

// Sweep does the background work of the Service. It deletes threads that have expired by their
// retention policies, erases the data of deleted users whose grace is over, and finishes the
// deletion of large threads and the moves of large threads in their participants' lists. It also
// deletes old days of the event log, old endpoints, old audit rows, and superseded versions of
// messages that nobody may read any more, and stores when tokens were issued.
//
// Each kind of work gets a bounded turn, even if another kind fails. If a thread or a user fails,
// Sweep continues with the next one and tries the failed one again after a pause, which grows with
// each failure. If the whole store fails, the turn ends, and the next sweep tries all of its work
// again.
//
// Sweep returns the time at which more work is due, even together with an error, or the zero time
// if no such time is known. Call Sweep from time to time in any case, for work that has failed and
// for work that other servers have left. Progress is stored and every step can be repeated, so
// several servers may call Sweep, and a call may be interrupted at any point.
func (s *Service) Sweep(ctx context.Context) (next time.Time, err error) {
	s.sweeping.Lock()
	defer s.sweeping.Unlock()
	var errs []error
	for k := range sweepKinds {
		due, err := s.turn(ctx, k)
		s.swept.update(k, func(c *SweepCount) {
			c.Turns++
			if k == SweepRetention || k == SweepErasure {
				return // Done and Failed of retention and erasure count threads and users instead of turns
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

// turn does a bounded amount of work of one kind. It returns the time at which more work of this
// kind is due, or the zero time.
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
	case SweepEndpoints:
		return time.Time{}, s.sweepEndpoints(ctx)
	case SweepTokens:
		return time.Time{}, s.storeIssued(ctx)
	case SweepLists:
		return time.Time{}, s.sweepLists(ctx)
	case SweepAudit:
		return time.Time{}, s.sweepAudit(ctx)
	default:
		return s.sweepSuperseded(ctx)
	}
}

// turnTime is the time after which a sweep stops working on one kind of work and leaves the
// rest to the next sweep. The time is checked after each item, so at least one item is done.
const turnTime = time.Second

// over reports whether the current time is ends or later. A turn of a sweep must stop then.
func (s *Service) over(ends time.Time) bool { return !s.now().Before(ends) }

// bounded returns a context for one item of a sweep. The context ends after s.patience, the time
// that a request of a client may take.
func (s *Service) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, s.patience)
}

// Pauses before a failed thread or user is tried again. The first pause is firstPause; each
// further failure doubles it, up to longestPause.
const (
	firstPause   = time.Second
	longestPause = time.Hour
	// maxPaused is the greatest number of failed threads, or of failed users, that have a pause. A
	// further one replaces the one whose pause ends first.
	maxPaused = 10_000
)

// pauses has the ids of threads or users that have failed, with the times at which they may be
// tried again.
type pauses map[string]*pause

type pause struct {
	until  time.Time
	length time.Duration // length of the present pause; 0: every failure of the id was a failure of the whole store
	// doubted is true if the cause of the last failure may be the whole store instead of this id.
	// applied is then the number of batches that the store had applied before the failure.
	doubted bool
	applied uint64
}

// waits reports whether an id has failed and its pause has not ended.
func (p pauses) waits(id string, now time.Time) bool {
	w := p[id]
	return w != nil && now.Before(w.until)
}

// waiting returns the number of ids that failed for a reason of their own, not because the
// whole store failed.
func (p pauses) waiting() (n int) {
	for _, w := range p {
		if w.length > 0 {
			n++
		}
	}
	return n
}

// keep removes the pauses of all ids that are not in ids.
func (p pauses) keep(ids map[string]bool) {
	maps.DeleteFunc(p, func(id string, _ *pause) bool { return !ids[id] })
}

// sort puts ids that have not failed first, followed by the failed ones in the order in which
// their pauses end.
func (p pauses) sort(ids []string) {
	until := func(id string) (t time.Time) {
		if w := p[id]; w != nil {
			t = w.until
		}
		return t
	}
	slices.SortStableFunc(ids, func(a, b string) int { return until(a).Compare(until(b)) })
}

// of returns the pause of an id, and adds a pause if the id has none. If p is full, of first
// removes the pause that ends first.
func (p pauses) of(id string) *pause {
	if w := p[id]; w != nil {
		return w
	}
	if len(p) >= maxPaused {
		first := ""
		for other, w := range p {
			if first == "" || w.until.Before(p[first].until) {
				first = other
			}
		}
		delete(p, first)
	}
	w := &pause{}
	p[id] = w
	return w
}

// failed begins the next, longer pause of an id.
func (p pauses) failed(id string, now time.Time) {
	w := p.of(id)
	w.length = min(max(2*w.length, firstPause), longestPause)
	w.until = now.Add(w.length)
}

// worked records that a step for this id has succeeded. If the id's last failure looked like a
// failure of the whole store, that failure no longer counts against the id. The id keeps its pause.
func (p pauses) worked(id string) {
	if w := p[id]; w != nil {
		w.doubted = false
	}
}

// own reports whether err is a failure of this id only. If own returns true, the id must wait, and
// the turn continues with the next id. If own returns false, the whole store has failed or ctx has
// ended; the turn must end, and no id has to wait.
//
// If the work for a single id always takes too long, its error looks like the error of an
// unavailable store. Therefore, if an id fails twice in this way and the store has applied a batch
// in between, own returns true. While nothing is written, such an id is tried once in each sweep.
func (s *Service) own(ctx context.Context, p pauses, id string, err error) bool {
	if ctx.Err() != nil {
		return false
	}
	if !storeWide(err) {
		return true
	}
	w, applied := p.of(id), s.commits.applied.Load()
	if w.doubted && applied > w.applied {
		return true
	}
	if !w.doubted {
		w.applied = applied
	}
	w.doubted, w.until = true, s.now()
	return false
}

// storeWide reports whether an error means that the whole store refuses work or did not answer
// in time.
func storeWide(err error) bool {
	var refusal *Error
	if errors.As(err, &refusal) && refusal.Code == Unavailable {
		return true
	}
	for _, one := range []error{ErrStorageFull, ErrUnavailable, ErrUnknown, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, one) {
			return true
		}
	}
	return false
}

// few joins the first five errors. If there are more, it adds an error that says how many.
func few(errs []error) error {
	const most = 5
	if n := len(errs) - most; n > 0 {
		errs = append(errs[:most:most], fmt.Errorf("and %d more", n))
	}
	return errors.Join(errs...)
}
