// Package traffic keeps the newest requests of clients in memory. The console and the command line
// show them.
//
// A [Log] keeps at most [Options].Requests requests and [Options].Bytes bytes. It never contains
// tokens, keys or signatures: [Log.Add] removes them with package exchange. It contains bodies only
// if Options.Bodies is true, as on a development server.
//
// Nobody reads most requests, so Add is cheap: it copies the texts of a request to one block of
// bytes. If the log is full, Add drops the oldest request and reuses its block, unless a reader may
// still have the block. Strings are made from the block only when somebody reads the request.
// Requests have numbers, by which readers continue where they stopped ([Subscription]).
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

// The defaults of Options, and fixed bounds.
const (
	DefaultRequests = 2000
	DefaultBytes    = 16 << 20

	// MaxBody is the maximum number of bytes of a body that a Log keeps.
	MaxBody = 16 << 10
	// MaxSubscriptions is the maximum number of open subscriptions of a Log.
	MaxSubscriptions = 64

	maxText    = 512 // maximum length in bytes of a text or header of a request
	maxHeaders = 64  // number of headers above which a Log with bodies drops headers with hidden values
)

// Options configures New. The zero value selects the defaults, and no bodies.
type Options struct {
	Requests int   // maximum number of requests to keep; 0: DefaultRequests
	Bytes    int64 // maximum memory of all requests in bytes; 0: DefaultBytes
	// Bodies makes the Log keep all headers, and at most MaxBody bytes of each body. Set it only
	// on a development server, because bodies contain what people write.
	Bodies bool
}

// Exchange is a request and its response, the argument of Add. Add keeps no reference to Request
// and Answer.
type Exchange struct {
	Time      time.Time
	Duration  time.Duration
	Status    int // status of the response; 0: there was no response
	Method    string
	Path      string // escaped path of the request, without the query and without secrets
	Query     string // the query as the client sent it
	Bare      bool   // true: keep only the api-version of the query
	Operation string // name of the operation, such as "send message"; always a constant string of the server
	User      string // id of the caller, which is verified if the server accepted the request
	Thread    string // id of the thread, or empty
	Agent     string // the header User-Agent
	Client    string // the client's address
	ID        string // id of the request, made by the server
	ClientID  string // id that the client sent for the request; may be empty
	Why       why.Cause

	Host            string
	Request, Answer http.Header    // may be nil
	InSize          int64          // size of the request's body in bytes; -1: unknown
	Copy            *exchange.Copy // has the bodies; nil: no body was copied
}

// Log keeps the newest requests. It is safe for concurrent use.
type Log struct {
	o Options

	mu        sync.Mutex // guards the fields below, and the fields of subscriptions
	ring      []entry    // the entry with number n is at index n % len(ring); zero if the entry was dropped
	first     uint64     // number of the oldest entry
	next      uint64     // number that the next entry gets; the first is 1
	read      uint64     // readers may have copies of entries with numbers below this one
	bytes     int64      // memory of all entries
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

// Add keeps a request. If the log is full, it drops the oldest requests.
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

// put adds an entry to the ring and copies its texts to a block. In a full ring it drops the oldest
// entry and reuses that entry's block, unless a reader may have a copy of the entry.
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

// Stats says how many requests a log keeps, and how much memory they take.
type Stats struct {
	Kept  int    // number of requests in the log
	Seen  uint64 // number of requests since the start
	Lost  uint64 // number of requests that were dropped
	Bytes int64  // upper bound of the memory of the kept requests
}

// Stats returns the present numbers of the log.
func (l *Log) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	return Stats{Kept: int(l.next - l.first), Seen: l.next - 1, Lost: l.first - 1, Bytes: l.bytes}
}

// Page returns at most limit requests that match the filter and have a number less than before,
// newest first. If before is 0, it begins with the newest request. next is the value of before for
// the next page, or 0 if this is the last page.
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

// backward returns the entries with numbers less than before, newest first. It locks the log for
// one batch at a time, so that Add hardly waits for readers.
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

// newest returns copies of the entries with numbers from from to before-1, oldest first. If there
// are more than batch, it returns only the newest batch. Afterwards the texts of the returned
// entries never change.
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

// Get returns the request with the given id, which the server has made. If no request has this id,
// Get returns the newest request for which the client sent this id. The ids of clients therefore
// cannot hide another request. ok is false if the log has no such request.
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
