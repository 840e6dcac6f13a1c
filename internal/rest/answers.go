package rest

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/confab-chat/confab/internal/core"
)

// DefaultAnswerMemory is the default of Options.AnswerMemory.
const DefaultAnswerMemory = 64 << 20

// answerWait is the longest time for which an answer waits for memory.
const answerWait = 5 * time.Second

// Sizes of answers in bytes.
const (
	// smallPage is the size of a page for which little memory is reserved. Most pages are
	// smaller.
	smallPage = 256 << 10
	// freeAnswer is the largest answer that waits for its client without a reservation, so
	// that clients which read slowly never hold up ordinary requests.
	freeAnswer = 32 << 10
	// framing is room for what a page has besides its texts: JSON syntax, field names, ids.
	framing = 512 << 10
)

// answers bounds the memory of the answers to GET requests. An answer is made first, which
// takes its rows and its JSON, and never waits for a client. Then its JSON is sent, for as
// long as its client takes. Each of the two has half of the memory, so clients that do not
// read cannot keep others from being answered. Of the half for sending, answers for which no
// large page was reserved have a quarter: they go on when clients that do not read hold the
// rest.
type answers struct{ making, sending, small *pool }

func newAnswers(bytes int64) answers {
	return answers{newPool(bytes/2, fullPage), newPool(bytes/8*3, core.PageBytes+framing), newPool(bytes/8, smallPage+framing)}
}

// fullPage is the memory in which a page of core.PageBytes is made: its rows and its JSON.
const fullPage = 2 * core.PageBytes

// pool is an amount of memory that users share. One user has at most a quarter of it, or
// room for one full page if that is more.
type pool struct {
	all   *semaphore.Weighted
	share int64

	mu    sync.Mutex // guards users
	users map[string]*userShare
}

type userShare struct {
	held *semaphore.Weighted
	refs int // calls of acquire that hold or wait
}

// newPool returns a pool of this size. A user's share is at least the size of largest.
func newPool(size, largest int64) *pool {
	size = max(size, largest)
	return &pool{all: semaphore.NewWeighted(size), share: max(size/4, largest), users: map[string]*userShare{}}
}

// acquire reserves n bytes for a user, or the user's whole share if that is less, and returns
// the reserved number. It waits until they are free. It returns an error if ctx ends first.
func (p *pool) acquire(ctx context.Context, user string, n int64) (int64, error) {
	n = min(n, p.share)
	p.mu.Lock()
	u := p.users[user]
	if u == nil {
		u = &userShare{held: semaphore.NewWeighted(p.share)}
		p.users[user] = u
	}
	u.refs++
	p.mu.Unlock()
	err := acquire(ctx, u.held, n)
	if err == nil {
		if err = acquire(ctx, p.all, n); err != nil {
			u.held.Release(n)
		}
	}
	if err != nil {
		p.forget(user, u)
		return 0, err
	}
	return n, nil
}

// acquire is like s.Acquire, but needs no time if n are free: then a ctx that has ended does
// not matter.
func acquire(ctx context.Context, s *semaphore.Weighted, n int64) error {
	if s.TryAcquire(n) {
		return nil
	}
	return s.Acquire(ctx, n)
}

// shrink gives back n of the bytes that acquire has reserved.
func (p *pool) shrink(user string, n int64) {
	p.mu.Lock()
	u := p.users[user]
	p.mu.Unlock()
	u.held.Release(n)
	p.all.Release(n)
}

// release gives back the last n bytes that acquire has reserved.
func (p *pool) release(user string, n int64) {
	p.mu.Lock()
	u := p.users[user]
	p.mu.Unlock()
	p.shrink(user, n)
	p.forget(user, u)
}

// forget drops the share of a user who neither holds nor waits for bytes.
func (p *pool) forget(user string, u *userShare) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if u.refs--; u.refs == 0 {
		delete(p.users, user)
	}
}

// reserved is the memory that a request has reserved for its answer, in bytes.
type reserved struct {
	making, sending int64
	from            *pool // that sending is of
}

// errNoMemory means that no memory for an answer became free in answerWait.
var errNoMemory error = &core.Error{Code: core.Unavailable, Message: core.ErrBusy.Message}

// reserve reserves memory for an answer whose rows and whose JSON have up to n bytes each,
// and gives back what the request had reserved before. It waits for at most answerWait, and
// then fails with errNoMemory, a 503. Only requests that write nothing may reserve: the client repeats
// them.
func (h *Handler) reserve(req *request, n int64) error {
	h.made(req)
	h.sent(req)
	ctx, cancel := context.WithTimeout(req.Context(), h.answerWait)
	defer cancel()
	// The memory for sending comes first: who waits for that, because clients are slow, must
	// not hold memory that is needed only for a moment.
	var err error
	if n > smallPage {
		req.reserved.from = h.answers.sending
		if req.reserved.sending, err = req.reserved.from.acquire(ctx, req.caller, n+framing); err != nil {
			return noMemory(err)
		}
	}
	if req.reserved.making, err = h.answers.making.acquire(ctx, req.caller, 2*n); err != nil {
		return noMemory(err)
	}
	return nil
}

// made gives back the memory in which the answer was made.
func (h *Handler) made(req *request) {
	if n := req.reserved.making; n > 0 {
		h.answers.making.release(req.caller, n)
		req.reserved.making = 0
	}
}

// sent gives back the memory of an answer that was sent.
func (h *Handler) sent(req *request) {
	if n := req.reserved.sending; n > 0 {
		req.reserved.from.release(req.caller, n)
		req.reserved.sending = 0
	}
}

// holdAnswer reserves the memory of an answer of n bytes until it was sent. It waits for at
// most answerWait, and then fails with errNoMemory, a 503.
func (h *Handler) holdAnswer(req *request, n int64) error {
	if had := req.reserved.sending; had > 0 {
		if n < had {
			req.reserved.from.shrink(req.caller, had-n)
			req.reserved.sending = n
		}
		return nil
	}
	if n <= freeAnswer {
		return nil
	}
	ctx, cancel := context.WithTimeout(req.Context(), h.answerWait)
	defer cancel()
	req.reserved.from = h.answers.small
	if n > req.reserved.from.share { // a single row that is larger than most pages
		req.reserved.from = h.answers.sending
	}
	var err error
	if req.reserved.sending, err = req.reserved.from.acquire(ctx, req.caller, n); err != nil {
		return noMemory(err)
	}
	return nil
}

// noMemory returns the error of a request for whose answer no memory became free.
func noMemory(err error) error {
	if errors.Is(err, context.Canceled) {
		return err // the client has hung up
	}
	return errNoMemory
}
