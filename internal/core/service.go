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

// Cache bounds, in entries. Beyond them the least recently used goes.
const (
	cachedThreads = 20_000
	cachedUsers   = 100_000
)

// attempts is how often an operation decides anew when its rows have changed
// meanwhile, before it answers 503. Nothing was written by then.
const attempts = 5

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
	random   io.Reader
	resource Resource
	threads  *lru.Cache[string, *Thread]

	shared      bool // other processes write to the store as well
	stopRefresh context.CancelFunc
	refreshing  sync.WaitGroup

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
		limits: o.Limits, adopt: o.Adopt, grace: cmp.Or(o.Grace, DefaultGrace), random: o.Random,
	}
	if s.random == nil {
		s.random = rand.Reader
	}
	s.threads, _ = lru.New[string, *Thread](cachedThreads)
	s.users, _ = lru.New[string, cachedUser](cachedUsers)
	s.commits = newCommitter(store, bus, o.Now, o.Batch)
	refreshing, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stopRefresh = stop
	if shared, ok := store.(Shared); ok {
		s.shared, s.asked = true, map[string]struct{}{}
		s.refreshing.Go(func() { s.refresh(refreshing, shared) })
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

// thread loads a thread, from the cache if it is there, or fails with 404.
func (s *Service) thread(ctx context.Context, id string) (*Thread, error) {
	now := s.now().UnixMilli()
	if t, ok := s.threads.Get(id); ok && !t.ended(now) {
		return t, nil
	}
	t, err := s.store.Thread(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("load thread %s: %w", id, err)
	}
	if t == nil || t.ended(now) { // or will be, as soon as Sweep comes by
		return nil, errThreadNotFound
	}
	s.threads.Add(id, t)
	return t, nil
}

// errNothingToDo is a decision to write nothing and answer well.
var errNothingToDo = errors.New("nothing to do")

// change runs load, decide and commit until the decision is not stale.
func (s *Service) change(ctx context.Context, decide func() (*Change, error)) (*Change, Result, error) {
	for range attempts {
		c, err := decide()
		if err == errNothingToDo {
			return &Change{}, Result{Status: Applied}, nil
		}
		if err != nil {
			return nil, Result{}, err
		}
		r, err := s.commits.commit(c)
		if err != nil {
			var refusal *Error
			if !errors.As(err, &refusal) {
				err = fmt.Errorf("commit a change of %s: %w", c.Key, err)
			}
			return nil, Result{}, err
		}
		if r.Status != Stale {
			if c.Properties != nil || len(c.Members) > 0 || c.Purge {
				s.threads.Remove(c.Thread)
			}
			return c, r, nil
		}
		s.threads.Remove(c.Thread)
		s.forget(c.Users)
	}
	return nil, Result{}, errBusy
}

// decide runs a decision on a thread. A refusal that rests on a cached head is
// taken only after a look at the stored one: the caller may have just joined.
func (s *Service) decide(ctx context.Context, id string, f func(*Thread) (*Change, error)) (*Change, error) {
	if t, ok := s.threads.Get(id); ok && !t.ended(s.now().UnixMilli()) {
		if c, err := f(t); err == nil {
			return c, err
		}
		s.threads.Remove(id)
	}
	t, err := s.thread(ctx, id)
	if err != nil {
		return nil, err
	}
	return f(t)
}

// read runs a query that returns its outcome with the head's revision at that
// moment, and runs it again while it was asked with another head than that. An
// error of the store comes with a zero revision and ends it.
func (s *Service) read(ctx context.Context, id string, query func(*Thread) (revision uint64, err error)) error {
	for range attempts {
		t, err := s.thread(ctx, id)
		if err != nil {
			return err
		}
		revision, err := query(t)
		if revision == t.Revision || revision == 0 {
			return err
		}
		s.threads.Remove(id)
	}
	return errBusy
}

// revision reads the head's present revision for a query that needs no rows,
// and passes its outcome on.
func (s *Service) revision(ctx context.Context, id string, outcome error) (uint64, error) {
	page, err := s.store.Messages(ctx, MessagesQuery{Thread: id})
	if err != nil {
		return 0, fmt.Errorf("load thread %s: %w", id, err)
	}
	return page.Revision, outcome
}
