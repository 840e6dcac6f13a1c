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

// The kinds of work, in the order in which a sweep does them.
const (
	SweepRetention  SweepKind = iota // threads whose retention policy ends them
	SweepErasure                     // users to erase
	SweepPurge                       // rows of deleted threads
	SweepEvents                      // positions of events, and old days of the log
	SweepEndpoints                   // old endpoints of clients
	SweepSuperseded                  // superseded versions of messages that nobody may read any more
	sweepKinds
)

var sweepNames = [sweepKinds]string{"retention", "erasure", "purge", "events", "endpoints", "superseded"}

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

// sweepCounts holds the counts that SweepCounts returns, under a lock.
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
// of the event log, old endpoints, and superseded versions of messages that nobody may read. Each of these kinds gets a turn of bounded work,
// whether or not another fails. A thread or user that fails waits before it is tried again,
// longer each time, and those after it go on. If the whole store fails, the turn ends and
// nothing waits for longer than until the next sweep.
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
	case SweepEndpoints:
		return time.Time{}, s.sweepEndpoints(ctx)
	default:
		return s.sweepSuperseded(ctx)
	}
}

// turnTime is the time after which the turn of retention or erasure leaves the rest to the
// next sweep. It is looked at after each item, so that a turn does at least one.
const turnTime = time.Second

// over reports whether the time of a turn is used up.
func (s *Service) over(ends time.Time) bool { return !s.now().Before(ends) }

// bounded returns a context for one item of a turn. It ends after the time that a request of
// a client may take.
func (s *Service) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, s.patience)
}

// Pauses of what has failed: the first, which doubles with each failure, and the longest.
const (
	firstPause   = time.Second
	longestPause = time.Hour
	maxPaused    = 10_000 // ids of a kind; another one takes the place of the one that is tried next
)

// pauses are the ids of threads or users that have failed, and when each is tried again.
type pauses map[string]*pause

type pause struct {
	until  time.Time
	length time.Duration // 0: the id has no failure of its own
	// doubted is set if the last failure may be that of the whole store. applied is then the
	// number of batches that the store had applied before.
	doubted bool
	applied uint64
}

// waits reports whether an id has failed and is not to be tried yet.
func (p pauses) waits(id string, now time.Time) bool {
	w := p[id]
	return w != nil && now.Before(w.until)
}

// waiting returns the number of ids that have failed by themselves.
func (p pauses) waiting() (n int) {
	for _, w := range p {
		if w.length > 0 {
			n++
		}
	}
	return n
}

// keep forgets the ids that are not among these.
func (p pauses) keep(ids map[string]bool) {
	maps.DeleteFunc(p, func(id string, _ *pause) bool { return !ids[id] })
}

// sort puts the ids that have not failed first, and those that have failed last, by the end
// of the pause.
func (p pauses) sort(ids []string) {
	until := func(id string) (t time.Time) {
		if w := p[id]; w != nil {
			t = w.until
		}
		return t
	}
	slices.SortStableFunc(ids, func(a, b string) int { return until(a).Compare(until(b)) })
}

// of returns the pause of an id, and adds it if the id has none. If there are too many, the
// new pause takes the place of the one that ends first.
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

// failed begins the next pause of an id.
func (p pauses) failed(id string, now time.Time) {
	w := p.of(id)
	w.length = min(max(2*w.length, firstPause), longestPause)
	w.until = now.Add(w.length)
}

// worked notes that something of the id was done, so that its last failure was not its own.
// The id keeps its pause.
func (p pauses) worked(id string) {
	if w := p[id]; w != nil {
		w.doubted = false
	}
}

// own reports whether a failure is the id's own, so that the id must wait and the turn goes
// on. Otherwise the whole store failed or ctx has ended: the turn must end, and no id waits.
//
// The error of one thread can look like that of a store that is away, if it always takes too
// long. So if an id fails twice in this way, and the store has applied a batch between, the
// failure is the id's own. While nobody writes, such an id is tried once in a sweep.
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

// storeWide reports whether an error says that the whole store refuses work, or that it did
// not answer in time.
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

// few joins errors, of which it names the first few.
func few(errs []error) error {
	const most = 5
	if n := len(errs) - most; n > 0 {
		errs = append(errs[:most:most], fmt.Errorf("and %d more", n))
	}
	return errors.Join(errs...)
}
