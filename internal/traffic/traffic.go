// Package traffic keeps the newest requests of clients in memory, for the console and the command
// line.
//
// A [Log] keeps at most [Options].Requests requests and [Options].Bytes bytes. It never has tokens,
// keys or signatures: [Log.Add] copies only what package exchange calls harmless. It has bodies only
// if Options.Bodies is set, as on a development server.
//
// Nobody looks at most requests, so adding one is cheap. Its texts are copied to one block of bytes, and
// a full log uses the block of the request that it replaces, unless that was read. Texts are made
// from the block when somebody reads. Readers follow the ring by the numbers of the requests
// ([Subscription]).
package traffic

import (
	"iter"
	"math"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/confab-chat/confab/internal/exchange"
	"github.com/confab-chat/confab/internal/why"
)

// The defaults of Options, and the bounds that have no option.
const (
	DefaultRequests = 2000
	DefaultBytes    = 16 << 20

	// MaxBody is the most bytes of a body that are kept.
	MaxBody = 16 << 10
	// MaxSubscriptions is the most subscriptions at a time.
	MaxSubscriptions = 64

	maxText    = 512 // bytes of one text or header of a request
	maxHeaders = 64  // of a request or an answer, with bodies
)

// Options configures New. The zero value has the defaults, and no bodies.
type Options struct {
	Requests int   // the most requests that are kept; 0: DefaultRequests
	Bytes    int64 // the most memory of all requests; 0: DefaultBytes
	// Bodies keeps all headers and the bodies, of MaxBody bytes at most. Only a development server
	// may: they have what people write.
	Bodies bool
}

// Exchange is a request and its answer, as Add takes it. Add copies what it keeps of Request and
// Answer.
type Exchange struct {
	Time      time.Time
	Duration  time.Duration
	Status    int // 0: no answer
	Method    string
	Path      string // escaped, without the query and secrets
	Query     string // as sent
	Bare      bool   // of the query, only the api-version may be shown
	Operation string // such as "send message"; a constant of the server
	User      string // id of the caller; the server knows it if it granted the request
	Thread    string // likewise
	Agent     string // the header User-Agent
	Client    string // its address
	ID        string // of the request; the server made it
	ClientID  string // the client's id of the request; may be empty
	Why       why.Cause

	Host            string
	Request, Answer http.Header    // may be nil
	InSize          int64          // length of the body of the request; -1: unknown
	Copy            *exchange.Copy // the bodies; nil: none were copied
}

// Log keeps the newest requests. It is safe for concurrent use.
type Log struct {
	o Options

	mu        sync.Mutex // guards the fields below, and those of subscriptions
	ring      []entry    // entry n is at n % len(ring); zero: not kept any more
	first     uint64     // the number of the oldest entry
	next      uint64     // the number of the next entry; the first is 1
	read      uint64     // readers may have entries with lower numbers
	bytes     int64      // of all entries
	following map[*Subscription]bool
}

// New returns an empty Log.
func New(o Options) *Log {
	if o.Requests == 0 {
		o.Requests = DefaultRequests
	}
	if o.Bytes == 0 {
		o.Bytes = DefaultBytes
	}
	return &Log{o: o, ring: make([]entry, o.Requests), first: 1, next: 1, following: map[*Subscription]bool{}}
}

// Bodies reports whether the log keeps bodies.
func (l *Log) Bodies() bool { return l.o.Bodies }

// Add keeps a request, and drops the oldest ones if the bounds of the log are reached.
func (l *Log) Add(x Exchange) {
	var t texts
	e := entryOf(&x, &t, l.o.Bodies)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.put(&e, &t)
	for s := range l.following {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

// put copies an entry and its texts to the ring. In a full ring they replace the oldest ones, and use
// their memory again, unless a reader may still have it.
func (l *Log) put(e *entry, t *texts) {
	place := &l.ring[l.next%uint64(len(l.ring))]
	if place.seq != 0 {
		if place.seq >= l.read {
			e.block = place.block
		}
		l.drop()
	}
	e.pack(t)
	e.seq = l.next
	l.next++
	l.bytes += e.size
	*place = *e
	for l.first < e.seq && l.bytes > l.o.Bytes {
		l.drop()
	}
}

// drop removes the oldest entry.
func (l *Log) drop() {
	oldest := &l.ring[l.first%uint64(len(l.ring))]
	l.bytes -= oldest.size
	*oldest = entry{}
	l.first++
}

// Stats says how much a log keeps.
type Stats struct {
	Kept  int    // requests that are kept
	Seen  uint64 // requests since the start
	Lost  uint64 // requests that are not kept any more
	Bytes int64  // memory of those that are kept; an upper bound
}

// Stats returns how much the log keeps now.
func (l *Log) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	return Stats{Kept: int(l.next - l.first), Seen: l.next - 1, Lost: l.first - 1, Bytes: l.bytes}
}

// Page returns the newest requests that match the filter and have a number less than before, newest
// first: at most limit ones. before 0 begins with the newest. next is the before of the next page, or
// 0 after the last one.
func (l *Log) Page(f Filter, before uint64, limit int) (page []Request, next uint64) {
	if before == 0 {
		before = math.MaxUint64
	}
	for e := range l.backward(before) {
		if !f.matches(e) {
			continue
		}
		if len(page) == limit {
			return page, page[limit-1].Seq
		}
		page = append(page, e.summary())
	}
	return page, 0
}

// backward returns the entries with numbers less than before, newest first. It reads a batch at a time,
// so that requests hardly wait for readers.
func (l *Log) backward(before uint64) iter.Seq[*entry] {
	return func(yield func(*entry) bool) {
		for {
			part := l.newest(1, before)
			if len(part) == 0 {
				return
			}
			for i := range slices.Backward(part) {
				if !yield(&part[i]) {
					return
				}
			}
			before = part[0].seq
		}
	}
}

// newest returns the newest entries with numbers of at least from and less than before, oldest first: at
// most batch. From then on nobody changes their texts.
func (l *Log) newest(from, before uint64) []entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	from, before = max(from, l.first), min(before, l.next)
	if from >= before {
		return nil
	}
	l.read = max(l.read, before)
	part := make([]entry, 0, min(before-from, batch))
	for seq := max(from, before-min(before, batch)); seq < before; seq++ {
		part = append(part, l.ring[seq%uint64(len(l.ring))])
	}
	return part
}

// Get returns the request to which the server has given an id or, without one, the newest to which
// the client has given it. A client chooses its ids, so they never hide a request of another one. ok
// is false if none is kept.
func (l *Log) Get(id string) (d Detail, ok bool) {
	if id == "" {
		return Detail{}, false
	}
	var found *entry
	for e := range l.backward(math.MaxUint64) {
		switch {
		case string(e.bytes(textID)) == id:
			return e.detail(), true
		case string(e.bytes(textClientID)) == id && found == nil:
			found = e
		}
	}
	if found == nil {
		return Detail{}, false
	}
	return found.detail(), true
}
