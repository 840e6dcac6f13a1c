package reference

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/confab-chat/confab/internal/bench/load"
	"github.com/confab-chat/confab/internal/bus/local"
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/rest"
	"github.com/confab-chat/confab/internal/token"
	"github.com/confab-chat/confab/sdk/communication"
)

// front is a server that runs the packages rest and core of Confab on a store that only appends to
// a log (dataLog).
type front struct {
	core    *core.Service
	handler http.Handler
	world   load.World
}

func newFront(ctx context.Context, l *dataLog, threads, members int) (*front, error) {
	service, err := core.New(ctx, newLogStore(l), new(local.Bus), core.Options{})
	if err != nil {
		return nil, err
	}
	f := &front{core: service}
	tokens, err := token.New(service.Resource(), service, nil)
	if err != nil {
		return nil, err
	}
	if f.handler, err = rest.New(rest.Options{Core: service, Tokens: tokens}); err != nil {
		return nil, err
	}
	f.world.Threads = make([]load.Thread, threads)
	group, within := errgroup.WithContext(ctx)
	group.SetLimit(64)
	for i := range f.world.Threads {
		group.Go(func() (err error) {
			f.world.Threads[i], err = f.createThread(within, tokens, i, members)
			return err
		})
	}
	return f, group.Wait()
}

func (f *front) createThread(ctx context.Context, tokens *token.Authority, index, members int) (t load.Thread, err error) {
	var all []core.NewParticipant
	for range members {
		user, err := f.core.CreateUser(ctx)
		if err != nil {
			return t, err
		}
		bearer, _, err := tokens.Issue(user, token.Chat, 24*time.Hour, tokens.Held()[0])
		if err != nil {
			return t, err
		}
		all, t.Bearers = append(all, core.NewParticipant{User: communication.ParseRawID(user.ID)}), append(t.Bearers, bearer)
	}
	made, _, err := f.core.CreateThread(ctx, all[0].User.RawID(), core.CreateThread{Topic: fmt.Sprint("Thread ", index), Participants: all[1:]})
	t.ID = made.ID
	return t, err
}

func (f *front) close() { f.core.Close() }

// logStore is a core.Store that appends messages to a dataLog and keeps threads and users in
// memory. It implements only the methods that are needed to create threads and send messages.
type logStore struct {
	core.Store // nil, so that a call of any other method panics
	log        *dataLog

	mu       sync.Mutex // guards the fields below
	heads    map[string]*core.Head
	members  map[string][]core.Member
	users    map[string]core.User
	position uint64
}

func newLogStore(l *dataLog) *logStore {
	return &logStore{log: l, heads: map[string]*core.Head{}, members: map[string][]core.Member{}, users: map[string]core.User{}}
}

// Lanes returns 1, because only one goroutine writes the log.
func (s *logStore) Lanes() int { return 1 }

func (s *logStore) Apply(_ context.Context, b core.Batch) ([]core.Outcome, error) {
	s.mu.Lock()
	state := core.NewBatchState(b)
	state.Heads, state.Users, state.Position = s.heads, s.users, s.position
	outcomes := core.Assign(b, state)
	s.position = state.Position
	var buf []byte
	for _, o := range outcomes {
		if o.Status != core.Applied {
			continue
		}
		if c := o.Change; len(c.Members) > 0 {
			s.members[c.Thread] = c.Members
		}
		for _, m := range o.Change.Messages {
			buf = fmt.Appendf(buf, "%s %d %d %s %s\n", o.Change.Thread, m.ID, m.Sequence, m.Sender, m.Content)
		}
	}
	s.mu.Unlock()
	if len(buf) == 0 {
		return outcomes, nil
	}
	return outcomes, s.log.append(string(buf))
}

func (s *logStore) Thread(_ context.Context, id string) (*core.Thread, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.heads[id]
	if h == nil {
		return nil, nil
	}
	return core.NewThread(*h, s.members[id]), nil
}

func (s *logStore) Users(_ context.Context, ids []string) (us []core.User, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		us = append(us, s.users[id])
	}
	return us, nil
}

func (s *logStore) Resource(context.Context) (core.Resource, error) {
	return core.Resource{
		ID: "11111111-2222-4333-8444-555555555555", Epoch: "bench",
		Keys: [2]core.AccessKeyRow{{Serial: 1, Secret: make([]byte, 64)}, {Serial: 1, Secret: bytes.Repeat([]byte{1}, 64)}},
	}, nil
}

func (s *logStore) Close() error { return nil }
