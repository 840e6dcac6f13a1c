package rest

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/why"
)

// DefaultAnswerMemory is the memory, in bytes, for all answers to GET requests together. It is
// used if Options.AnswerMemory is 0.
const DefaultAnswerMemory = 64 << 20

// answerWait is the longest time that a request waits for the memory for its answer.
const answerWait = 5 * time.Second

// Sizes of answers in bytes.
const (
	// smallPage is the size, in bytes, of the page for which each GET request of a chat route
	// reserves memory at first. Most pages are smaller.
	smallPage = 256 << 10
	// freeAnswer is the largest answer, in bytes, that is sent without reserving memory, so that
	// clients that read slowly never hold up ordinary requests.
	freeAnswer = 32 << 10
	// framing is the memory, in bytes, that is reserved for the parts of a page other than its texts:
	// JSON syntax, field names and ids.
	framing = 512 << 10
)

// answers bounds the memory of the answers to GET requests. It has three pools. The pool making,
// half of the memory, is for reading the rows of answers and encoding their JSON, which never
// waits for a client. The pools sending and small, the other half, are for answers that are being
// sent, for as long as their clients take to read. So clients that do not read cannot prevent the
// making of answers to other clients. The pool small is a quarter of this second half. It is for
// requests that did not reserve memory for a large page, so their answers are sent even if clients
// that do not read hold all of the pool sending.
type answers struct{ making, sending, small *pool }

func newAnswers(bytes int64) answers {
	return answers{newPool(bytes/2, fullPage), newPool(bytes/8*3, core.PageBytes+framing), newPool(bytes/8, smallPage+framing)}
}

// fullPage is the memory in bytes for making a page of core.PageBytes: its rows and its JSON.
const fullPage = 2 * core.PageBytes

// pool is a number of bytes of memory that users share. One user can reserve at most a quarter of
// the pool, or the memory of one full page if that is more.
type pool struct {
	all   *semaphore.Weighted
	share int64

	mu    sync.Mutex // guards users
	users map[string]*userShare
}

type userShare struct {
	held *semaphore.Weighted
	refs int // number of the user's reservations and of the user's calls of acquire that are waiting
}

// newPool returns a pool of size bytes, but at least of largest bytes. The share of a user is a
// quarter of the pool, but at least largest bytes.
func newPool(size, largest int64) *pool {
	size = max(size, largest)
	return &pool{all: semaphore.NewWeighted(size), share: max(size/4, largest), users: map[string]*userShare{}}
}

// acquire reserves n bytes for a user, or the user's whole share if that is less, and returns
// the reserved number. It waits until so many bytes are free. It fails if ctx ends first.
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

// acquire is like s.Acquire of a semaphore, but if n bytes are free, it succeeds even if ctx has
// ended.
func acquire(ctx context.Context, s *semaphore.Weighted, n int64) error {
	if s.TryAcquire(n) {
		return nil
	}
	return s.Acquire(ctx, n)
}

// shrink gives back n bytes of a reservation that acquire has made. The other bytes stay reserved.
func (p *pool) shrink(user string, n int64) {
	p.mu.Lock()
	u := p.users[user]
	p.mu.Unlock()
	u.held.Release(n)
	p.all.Release(n)
}

// release ends a reservation that acquire has made, and gives back its remaining n bytes.
func (p *pool) release(user string, n int64) {
	p.mu.Lock()
	u := p.users[user]
	p.mu.Unlock()
	p.shrink(user, n)
	p.forget(user, u)
}

// forget ends one reservation of a user, or one call of acquire that waited. When the user has
// neither any more, it removes the user's entry from the pool.
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
	from            *pool // the pool in which the memory for sending the answer is reserved
}

// errNoMemory is the error for a request whose answer got no memory within answerWait.
var errNoMemory error = &core.Error{Code: core.Unavailable, Message: core.ErrBusy.Message, Why: why.Because(why.NoMemory)}

// reserve reserves memory for making an answer whose rows and whose JSON have up to n bytes each
// and, if n is larger than smallPage, for sending it. It first gives back what the request had
// reserved before. It waits for at most answerWait and then fails with errNoMemory, a 503. Only
// requests that write nothing may call it, because clients repeat a request after a 503.
func (h *Handler) reserve(req *request, n int64) error {
	h.made(req)
	h.sent(req)
	var ctx deadline
	ctx.set(req.Context(), time.Now().Add(h.answerWait))
	defer ctx.end()
	// Reserve the memory for sending first: a request may wait long for it, because of slow
	// clients, and must not hold the memory for making answers meanwhile.
	var err error
	if n > smallPage {
		req.reserved.from = h.answers.sending
		if req.reserved.sending, err = req.reserved.from.acquire(&ctx, req.caller, n+framing); err != nil {
			return noMemory(err)
		}
	}
	if req.reserved.making, err = h.answers.making.acquire(&ctx, req.caller, 2*n); err != nil {
		return noMemory(err)
	}
	return nil
}

// made gives back the memory that the request has reserved for making its answer. Call it when the
// answer is made.
func (h *Handler) made(req *request) {
	if n := req.reserved.making; n > 0 {
		h.answers.making.release(req.caller, n)
		req.reserved.making = 0
	}
}

// sent gives back the memory that the request has reserved for sending its answer. Call it when
// the answer was sent.
func (h *Handler) sent(req *request) {
	if n := req.reserved.sending; n > 0 {
		req.reserved.from.release(req.caller, n)
		req.reserved.sending = 0
	}
}

// holdAnswer reserves n bytes for sending an answer. If the request has reserved more before, it
// gives back the rest instead. It reserves nothing for an answer of up to freeAnswer bytes. It
// waits for at most answerWait and then fails with errNoMemory, a 503.
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
	var ctx deadline
	ctx.set(req.Context(), time.Now().Add(h.answerWait))
	defer ctx.end()
	req.reserved.from = h.answers.small
	if n > req.reserved.from.share { // the page has a single row that is larger than most pages
		req.reserved.from = h.answers.sending
	}
	var err error
	if req.reserved.sending, err = req.reserved.from.acquire(&ctx, req.caller, n); err != nil {
		return noMemory(err)
	}
	return nil
}

// noMemory returns the error of a request for whose answer no memory became free: errNoMemory
// or, if the client has hung up, err.
func noMemory(err error) error {
	if errors.Is(err, context.Canceled) {
		return err // the client has hung up
	}
	return errNoMemory
}
