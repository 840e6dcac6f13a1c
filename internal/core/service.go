package core

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

// cachedUsers is the maximum number of rows in a Service's cache of users. All rows are
// small, so limiting their number is enough to limit the memory.
const cachedUsers = 100_000

// DefaultPatience is how long an operation is tried again, by default, while other operations
// keep changing the rows that it depends on.
const DefaultPatience = 10 * time.Second

// Options has the options of a Service. The zero value is valid.
type Options struct {
	Now    func() time.Time // time.Now
	Limits Limits
	// Adopt makes the Service create a user for an unknown id of this resource, wherever the id
	// appears: in a new thread, among added participants, and when tokens are issued or revoked or
	// the user is deleted. With Adopt, an app that moves to Confab can keep the user ids that it
	// has stored.
	Adopt bool
	// Grace is the time after a user's deletion during which the user's tokens may still be used to
	// leave threads, and to delete threads that the user has created or is alone in. After the
	// grace, the user's data is erased. If Grace is nil, DefaultGrace is used. If it is zero, the
	// tokens end at once.
	Grace *time.Duration
	// Patience is how long an operation is tried again while other operations keep changing the
	// rows that it depends on. After that time the operation fails with 503 and has written
	// nothing. Zero: DefaultPatience.
	Patience time.Duration
	// EventsKept is the number of days for which Sweep keeps the event log. Values below
	// MinEventsKept or above MaxEventsKept are replaced by these bounds. Zero: DefaultEventsKept.
	EventsKept int
	// AuditKept is the number of days for which Sweep keeps audit rows. Values below MinAuditKept
	// or above MaxAuditKept are replaced by these bounds. Zero: DefaultAuditKept.
	AuditKept int
	// ThreadCache is the greatest size of all cached threads, in bytes. Zero:
	// DefaultThreadCache.
	ThreadCache int
	// Random is the source of random bytes for ids. Nil: crypto/rand.
	Random io.Reader
	// HTMLImagesOff removes all images from HTML messages, because an image tells its web
	// server who reads the message. If it is false, images with an https URL stay.
	HTMLImagesOff bool
	// RepeatsByToken makes the Service recognize a repeated send by its idempotency token only, and
	// not by the client's request id.
	RepeatsByToken bool
	// Batch, if set, is called after each call of Store.Apply, even if it failed, with the
	// number of changes in the batch and the duration of the call.
	Batch func(changes int, took time.Duration)
}

// Service carries out the operations on users, threads and messages that docs/contract describes.
// It keeps the rows of users, threads and messages in a store.
type Service struct {
	store    Store
	bus      Bus
	commits  *committer
	now      func() time.Time
	limits   Limits
	adopt    bool
	grace    time.Duration
	patience time.Duration
	random   io.Reader
	resource Resource
	threads  *threadCache

	htmlImages     bool // HTML messages may have images
	repeatsByToken bool // Options.RepeatsByToken

	eventsKept     uint32    // days
	trimmed        time.Time // when Sweep last called Store.Trim; only Sweep uses this field
	endpointsSwept time.Time // when Sweep last deleted old endpoints; only Sweep uses this field

	auditKept time.Duration
	audits    audits // guards itself

	shared     bool // true if other processes write to the store as well
	stopLoops  context.CancelFunc
	loops      sync.WaitGroup // refresh and relist
	relistings chan struct{}  // channel of capacity 1; an element in it wakes relist, which moves large threads to their new places in the users' lists of threads

	sweeping      sync.Mutex          // guards the fields below
	erasures      map[string]*erasure // by user
	lastErased    string              // the user whose data a sweep erased last
	erasurePauses pauses              // by user
	expiryPauses  pauses              // by thread
	walk          supersededWalk
	swept         sweepCounts // guards itself

	issued issued // guards itself

	mu          sync.Mutex // guards the fields below
	users       *lru.Cache[string, cachedUser]
	userChanges uint64              // number of times that changed users were removed from the cache users
	asked       map[string]struct{} // ids of the users looked up since the last refresh
	released    map[string]struct{} // threads that release has noted
	walkNow     bool                // released was full
}

// New returns a Service on a store and starts its goroutines, which run until Close. It fails
// if the store's resource cannot be read.
func New(ctx context.Context, store Store, bus Bus, o Options) (*Service, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	resource, err := store.Resource(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the store's resource: %w", err)
	}
	s := &Service{
		store: store, bus: bus, now: o.Now, resource: resource,
		limits: o.Limits, adopt: o.Adopt, grace: DefaultGrace,
		patience: cmp.Or(o.Patience, DefaultPatience), random: cmp.Or(o.Random, rand.Reader),
		htmlImages: !o.HTMLImagesOff, repeatsByToken: o.RepeatsByToken,
	}
	if o.Grace != nil {
		s.grace = *o.Grace
	}
	s.threads = newThreadCache(cmp.Or(o.ThreadCache, DefaultThreadCache))
	s.erasures, s.erasurePauses, s.expiryPauses = map[string]*erasure{}, pauses{}, pauses{}
	s.released = map[string]struct{}{}
	s.issued.at = map[string]int64{}
	s.eventsKept = uint32(min(max(cmp.Or(o.EventsKept, DefaultEventsKept), MinEventsKept), MaxEventsKept))
	s.auditKept = 24 * time.Hour * time.Duration(min(max(cmp.Or(o.AuditKept, DefaultAuditKept), MinAuditKept), MaxAuditKept))
	s.audits.init()
	s.users, _ = lru.New[string, cachedUser](cachedUsers)
	s.commits = newCommitter(store, bus, o.Now, o.Batch)
	looping, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stopLoops = stop
	if _, s.shared = store.(Shared); s.shared {
		s.asked = map[string]struct{}{}
		s.loops.Go(func() { s.refresh(looping) })
	}
	s.relistings = make(chan struct{}, 1)
	s.loops.Go(func() { s.relist(looping) })
	return s, nil
}

// closeTime is the longest time for which Close waits for the store to take the times of issued
// tokens and the number of refused attempts.
const closeTime = time.Second

// Close stops the Service. It waits until the queued changes are committed, and refuses later
// changes with 503.
func (s *Service) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), closeTime)
	defer cancel()
	_ = s.storeIssued(ctx) // errors are ignored, because losing the times of issued tokens does little harm
	_ = s.storeCounted(ctx, true)
	s.stopLoops()
	s.loops.Wait()
	s.commits.close()
}

// Resource returns the store's resource as New read it when the Service was made.
func (s *Service) Resource() Resource { return s.resource }

// change calls decide, commits the Change that decide returns, and returns the outcome. If rows
// have changed since decide read them (Stale), change commits again with the field Decide set, so
// that the engine calls decide on locked rows. If decide then reads rows that are not locked
// (Unread), change commits again and the engine locks these rows too. change returns ErrBusy if ctx
// ends or s.patience has passed before one of these commits succeeds.
func (s *Service) change(ctx context.Context, decide Decision) (*Outcome, error) {
	deadline := time.Now().Add(s.patience)
	c, err := s.decide(ctx, decide)
	if err != nil {
		return nil, err
	}
	if c.empty() {
		return &Outcome{Status: Unchanged, Change: c}, nil
	}
	for {
		began, clears := s.now(), s.threads.Clears()
		o, err := s.commits.commit(ctx, c)
		if err != nil {
			var refusal *Error
			if !errors.As(err, &refusal) {
				s.threads.Remove(c.Thread) // the change may have been written
				s.invalidateUsers(c.ReadUsers)
				err = fmt.Errorf("commit a change of %s: %w", c.Key, err)
			}
			return nil, err
		}
		switch o.Status {
		case Stale:
			s.threads.Remove(c.Thread)
			s.invalidateUsers(c.ReadUsers)
			again := *c
			again.Decide = decide
			c = &again
		case Unread:
			c = o.Change
		case Refused:
			return nil, o.Err
		default:
			if o.Status == Applied && o.Change.changesRevision() {
				s.threads.Advance(o, began, clears)
			} else if o.Change.changesRevision() {
				s.threads.Remove(c.Thread) // an earlier try of this change was applied, so the cached thread is outdated
			}
			if o.Relisting != nil {
				s.wakeRelist()
			}
			if o.Status == Applied && o.Change.Releases {
				s.release(c.Thread)
			}
			s.invalidateUsers(o.Change.PutUsers)
			return o, nil
		}
		if ctx.Err() != nil || time.Now().After(deadline) {
			return nil, ErrBusy
		}
	}
}

// changeThread commits the Change that decide returns for a thread, and returns the outcome. decide
// gets the thread and the caller's row in it. If the caller is not in the thread, changeThread
// fails with 403 or 404, as joinedThread does.
func (s *Service) changeThread(ctx context.Context, caller, id string, decide func(Rows, *Thread, *Member) (*Change, error)) (*Outcome, error) {
	return s.change(ctx, func(rows Rows) (*Change, error) {
		t, me, err := s.joinedThread(rows, caller, id)
		if err != nil {
			return nil, err
		}
		return decide(rows, t, me)
	})
}

// decide calls a decision with cached rows and returns the decision's Change or error. If the
// decision refuses or changes nothing, decide calls it again with rows from the store, because
// the cached rows may be outdated.
func (s *Service) decide(ctx context.Context, decide Decision) (*Change, error) {
	rows := &storedRows{Service: s, ctx: ctx}
	c, err := decide(rows)
	if rows.cached && (err != nil || c.empty()) {
		c, err = decide(&storedRows{Service: s, ctx: ctx, fresh: true})
	}
	return c, err
}

// live returns a thread. If the thread does not exist, was deleted or has expired, live fails with
// 404.
func (s *Service) live(rows Rows, caller, id string) (*Thread, error) {
	t, err := rows.Thread(id)
	if err == nil && t == nil {
		err = ErrUnknownThread
	}
	if err == nil {
		err = s.exists(&t.Head, t.Member(caller))
	}
	return t, err
}

// joinedThread returns a thread that the caller is in, and the caller's row in it. If the thread
// does not exist, was deleted or has expired, joinedThread fails with 404. It fails with 403 if the
// caller is not in the thread.
func (s *Service) joinedThread(rows Rows, caller, id string) (*Thread, *Member, error) {
	t, err := s.live(rows, caller, id)
	if err != nil {
		return nil, nil, err
	}
	me, err := participant(t, caller)
	return t, me, err
}

// loadThread reads a thread from the store and puts it into the cache. It returns nil if the thread
// does not exist.
func (s *Service) loadThread(ctx context.Context, id string) (*Thread, error) {
	removals, read := s.threads.Removals(id), s.now()
	t, err := s.store.Thread(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("load thread %s: %w", id, err)
	}
	if t == nil {
		s.threads.Remove(id)
	} else {
		t.read = read
		s.threads.Add(id, t, removals)
	}
	return t, nil
}

// recent reports whether a thread is cached and was read at most freshFor ago. If no other process
// writes to the store, the age of a cached thread does not matter, because this process updates or
// removes the cached thread with each change.
func (s *Service) recent(id string) bool {
	t, ok := s.threads.Get(id)
	return ok && (!s.shared || s.now().Sub(t.read) <= freshFor)
}

// view reads a thread's head and the caller's row from the store. It fails with 404 if the thread
// does not exist, was deleted or has expired, and with 403 if the caller is not in the thread.
func (s *Service) view(ctx context.Context, caller, id string) (View, error) {
	v, err := s.store.View(ctx, id, caller)
	if err != nil {
		return v, fmt.Errorf("load thread %s: %w", id, err)
	}
	return v, cmp.Or(s.exists(&v.Head, v.Member), participates(v.Member))
}

// exists fails with 404 if the thread does not exist, was deleted or has expired. If the caller was
// never in the thread, the error is ErrUnknownThread, which does not reveal that the thread has
// existed. m is the caller's row in the thread, or nil.
func (s *Service) exists(h *Head, m *Member) error {
	switch {
	case h.Revision != 0 && h.DeletedOn == 0 && !h.expired(s.now().UnixMilli()):
		return nil
	case mayRead(m) != nil:
		return ErrUnknownThread
	default:
		return errThreadNotFound
	}
}

// threadAt returns the thread of a view with all its members, as the thread was at the time of the
// view or later. It fails with 404 if the thread does not exist.
func (s *Service) threadAt(ctx context.Context, v View) (*Thread, error) {
	if t, ok := s.threads.Get(v.Head.ID); ok && t.Revision == v.Head.Revision {
		return t, nil
	}
	t, err := s.loadThread(ctx, v.Head.ID)
	if err == nil && t == nil {
		err = errThreadNotFound
	}
	return t, err
}

// ForgetThreads removes all threads from the cache. Call it after the store was restored to an
// older state. From there revisions are counted again, so a cached thread could have the same
// revision as a thread with other members.
func (s *Service) ForgetThreads() { s.threads.Clear() }

// ThreadSince returns a thread as of the given revision or a later one. It returns nil if the
// thread does not exist.
func (s *Service) ThreadSince(ctx context.Context, id string, revision uint64) (*Thread, error) {
	if t, ok := s.threads.Get(id); ok && t.Revision >= revision {
		return t, nil
	}
	return s.loadThread(ctx, id)
}
