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

// cachedUsers bounds the cached users. Their rows are small and of one size.
const cachedUsers = 100_000

// DefaultPatience is how long an operation goes on when its rows keep changing.
const DefaultPatience = 10 * time.Second

// Options of a Service; the zero value works.
type Options struct {
	Now    func() time.Time // time.Now
	Limits Limits
	// Adopt makes a user of an unknown id of this resource when a token is asked
	// for it: so an app moves in with the ids that it has stored.
	Adopt bool
	// Grace is how long a deleted user's tokens may still delete threads and
	// leave them; then its content goes. Zero: DefaultGrace.
	Grace time.Duration
	// Patience is how long an operation goes on when its rows keep changing; then
	// it answers 503, and nothing was written. Zero: DefaultPatience.
	Patience time.Duration
	// ThreadCache bounds the cached threads, in bytes. Zero: DefaultThreadCache.
	ThreadCache int
	// Random is where ids come from. Nil is crypto/rand; tests that compare
	// answers byte for byte give their own.
	Random io.Reader
	// Batch is told of every batch that was applied.
	Batch func(changes int, took time.Duration)
}

// Service carries out the operations of the contract on a store.
type Service struct {
	store    Store
	commits  *committer
	now      func() time.Time
	limits   Limits
	adopt    bool
	grace    time.Duration
	patience time.Duration
	random   io.Reader
	resource Resource
	threads  *threadCache

	shared      bool // other processes write to the store as well
	stopRefresh context.CancelFunc
	refreshing  sync.WaitGroup

	sweeping sync.Mutex          // guards erasures
	erasures map[string]*erasure // by user

	mu          sync.Mutex // guards what follows
	users       *lru.Cache[string, cachedUser]
	userChanges uint64              // counts what was dropped from users because it had changed
	asked       map[string]struct{} // since the last refresh
}

// New starts the lanes. Close ends them.
func New(ctx context.Context, store Store, bus Bus, o Options) (*Service, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	resource, err := store.Resource(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the store's resource: %w", err)
	}
	s := &Service{
		store: store, now: o.Now, resource: resource,
		limits: o.Limits, adopt: o.Adopt, grace: cmp.Or(o.Grace, DefaultGrace),
		patience: cmp.Or(o.Patience, DefaultPatience), random: o.Random,
	}
	if s.random == nil {
		s.random = rand.Reader
	}
	s.threads = newThreadCache(cmp.Or(o.ThreadCache, DefaultThreadCache))
	s.erasures = map[string]*erasure{}
	s.users, _ = lru.New[string, cachedUser](cachedUsers)
	s.commits = newCommitter(store, bus, o.Now, o.Batch)
	refreshing, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stopRefresh = stop
	if _, s.shared = store.(Shared); s.shared {
		s.asked = map[string]struct{}{}
		s.refreshing.Go(func() { s.refresh(refreshing) })
	}
	return s, nil
}

// Close finishes the changes under way and refuses later ones with 503.
func (s *Service) Close() {
	s.stopRefresh()
	s.refreshing.Wait()
	s.commits.close()
}

// Resource is the store's resource as it was when the service started.
func (s *Service) Resource() Resource { return s.resource }

// change runs decide and commit. A change that is stale is decided once more by
// the engine, on rows that it holds locked; only a decision that then asks for
// further rows needs another batch.
func (s *Service) change(ctx context.Context, decide Decision) (Outcome, error) {
	deadline := time.Now().Add(s.patience)
	c, err := s.decide(ctx, decide)
	if err != nil {
		return Outcome{}, err
	}
	if c.empty() {
		return Outcome{Status: Unchanged, Change: c}, nil
	}
	for {
		o, err := s.commits.commit(c)
		if err != nil {
			var refusal *Error
			if !errors.As(err, &refusal) {
				err = fmt.Errorf("commit a change of %s: %w", c.Key, err)
			}
			return Outcome{}, err
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
			return Outcome{}, o.Err
		default:
			if o.Change.changesRevision() {
				s.threads.Remove(c.Thread)
			}
			s.invalidateUsers(o.Change.PutUsers)
			return o, nil
		}
		if ctx.Err() != nil || time.Now().After(deadline) {
			return Outcome{}, ErrBusy
		}
	}
}

// decide takes a decision. A refusal that rests on cached rows is taken again on
// stored ones: the caller may have just joined.
func (s *Service) decide(ctx context.Context, decide Decision) (*Change, error) {
	rows := &storedRows{Service: s, ctx: ctx}
	c, err := decide(rows)
	if rows.cached && (err != nil || c.empty()) {
		c, err = decide(&storedRows{Service: s, ctx: ctx, fresh: true})
	}
	return c, err
}

// live returns a thread that a decision may change, or fails with 404.
func (s *Service) live(rows Rows, id string) (*Thread, error) {
	t, err := rows.Thread(id)
	if err == nil && t == nil {
		err = errThreadNotFound
	}
	if err == nil {
		err = s.exists(&t.Head)
	}
	return t, err
}

// loadThread returns a thread as the store has it, or nil, and caches it.
func (s *Service) loadThread(ctx context.Context, id string) (*Thread, error) {
	t, err := s.store.Thread(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("load thread %s: %w", id, err)
	}
	if t == nil {
		s.threads.Remove(id)
	} else {
		s.threads.Add(id, t)
	}
	return t, nil
}

// view reads a thread's head and the caller's row, or fails with 404.
func (s *Service) view(ctx context.Context, caller, id string) (View, error) {
	v, err := s.store.View(ctx, id, caller)
	if err != nil {
		return v, fmt.Errorf("load thread %s: %w", id, err)
	}
	return v, s.exists(&v.Head)
}

// exists fails with 404 for a thread that does not exist, was deleted or is over.
func (s *Service) exists(h *Head) error {
	if h.Revision == 0 || h.DeletedOn != 0 || h.expired(s.now().UnixMilli()) {
		return errThreadNotFound
	}
	return nil
}

// threadAt returns the thread with its members as of a view, or of a later moment.
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
