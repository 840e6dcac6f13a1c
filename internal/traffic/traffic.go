// Package traffic keeps the newest requests of clients in memory, for the console and the command
// line.
//
// A [Log] keeps at most [Options].Requests requests and [Options].Bytes bytes. It never has tokens,
// keys or signatures: [Log.Add] copies only what package exchange calls harmless. It has bodies only
// if Options.Bodies is set, as on a development server. Adding a request takes one allocation, and
// does no work for readers: these follow the ring by the numbers of the requests ([Subscription]).
package traffic

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/confab-chat/confab/internal/clip"
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
	Operation string // such as "send message"
	User      string // id of the caller
	Thread    string
	Agent     string // the header User-Agent
	Client    string // its address
	ID        string // of the request
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
	ring      []*entry   // entry n is at n % len(ring); nil: not kept any more
	first     uint64     // the number of the oldest entry
	next      uint64     // the number of the next entry; the first is 1
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
	return &Log{o: o, ring: make([]*entry, o.Requests), first: 1, next: 1, following: map[*Subscription]bool{}}
}

// Bodies reports whether the log keeps bodies.
func (l *Log) Bodies() bool { return l.o.Bodies }

// entry is a request in the ring. It is not changed any more.
type entry struct {
	Exchange
	seq             uint64
	version         string
	shown           [len(shownAlways)]string // the values of the headers shownAlways
	request, answer map[string]string        // with Options.Bodies, instead of shown
	in, out         body
	sendable        bool // the request is here as it was sent, but for its credential
	size            int64
}

// body is what is kept of a body.
type body struct {
	text string
	cut  bool
	size int64
}

// shownAlways are the headers that are kept without Options.Bodies, in their canonical form, first
// those of requests.
var shownAlways = [...]string{
	"Authorization", "Content-Type", "Accept", "Origin", "X-Ms-Date", "Date", "X-Ms-Useragent", "Repeatability-Request-Id",
	"Content-Type", "Retry-After", "X-Ms-Error-Code", "Location",
}

// shownOfRequest is the number of headers of requests in shownAlways.
const shownOfRequest = 8

// entrySize is the memory of an entry beside its texts, in bytes, with its place in the ring and what
// the runtime adds.
const entrySize = 704

// Add keeps a request, and drops the oldest ones if the bounds of the log are reached.
func (l *Log) Add(x Exchange) {
	e := &entry{Exchange: x}
	e.Request, e.Answer, e.Copy = nil, nil, nil  // they have secrets
	long := len(x.Path)+len(x.Query) > 2*maxText // texts may be parts of one long request line
	for _, text := range [...]*string{&e.Method, &e.Path, &e.Operation, &e.User, &e.Thread, &e.Agent, &e.Client, &e.ID, &e.ClientID, &e.Host} {
		if *text = kept(*text); long {
			*text = strings.Clone(*text)
		}
		e.size += int64(len(*text))
	}
	e.version = kept(versionOf(x.Query))
	e.Query = short(exchange.RawQuery(x.Query, x.Bare))
	e.size += int64(len(e.Query) + len(e.version) + x.Why.Size())
	e.in.size, e.out.size = max(x.InSize, 0), -1
	if l.o.Bodies {
		e.keepAll(&x)
	} else {
		e.keepShown(&x)
	}
	e.size += entrySize
	l.put(e)
}

// kept returns a text without secrets, cut to maxText bytes.
func kept(text string) string { return short(exchange.Text(text)) }

// short returns a text cut to maxText bytes, which does not keep the memory of the longer one.
func short(text string) string {
	if len(text) <= maxText {
		return text
	}
	return strings.Clone(clip.Text(text, maxText))
}

// keepShown keeps the headers of shownAlways.
func (e *entry) keepShown(x *Exchange) {
	for i, name := range shownAlways {
		from := x.Request
		if i >= shownOfRequest {
			from = x.Answer
		}
		values := from[name]
		switch {
		case len(values) == 0:
			continue
		case name == "Authorization":
			e.shown[i] = exchange.Header(name, values[0])
		default:
			e.shown[i] = kept(values[0]) // what Header does with a header of this name, but faster
		}
		e.size += int64(len(e.shown[i]))
	}
}

// keepAll keeps the headers and the bodies.
func (e *entry) keepAll(x *Exchange) {
	e.request, e.answer = headers(x.Request, &e.size), headers(x.Answer, &e.size)
	if x.Copy == nil {
		return
	}
	var changed bool
	e.in, changed = bodyOf(&x.Copy.In)
	e.out, _ = bodyOf(&x.Copy.Out)
	e.size += int64(len(e.in.text) + len(e.out.text))
	e.sendable = !x.Bare && !changed && !e.in.cut && e.Query == x.Query && e.Path == x.Path
}

// headerSize is the memory of a header in a map beside its texts, in bytes.
const headerSize = 96

// headers returns headers without secrets, and adds their memory to size.
func headers(h http.Header, size *int64) map[string]string {
	all := exchange.Headers(h)
	for name, value := range all {
		if len(name) > maxText || len(all) > maxHeaders && exchange.Header(name, value) == exchange.Sanitized {
			delete(all, name) // a client may send many that are not shown anyhow
			continue
		}
		all[name] = short(value)
		*size += int64(headerSize + len(name) + len(all[name]))
	}
	return all
}

// bodyOf returns a body without secrets, and whether that differs from what was sent.
func bodyOf(b *exchange.Body) (kept body, changed bool) {
	kept.text, changed = exchange.BodyText(b.Data)
	if len(kept.text) > MaxBody { // each secret may have become a longer word
		kept.text, kept.cut = clip.Text(kept.text, MaxBody), true
	}
	kept.text = strings.Clone(kept.text)
	kept.cut, kept.size = kept.cut || b.Cut, b.Size
	return kept, changed
}

// Room is exchange.Options.Room for bodies that Add gets.
func Room(b *exchange.Body, n int) int { return max(min(n, MaxBody-len(b.Data)), 0) }

// versionOf returns the api-version in a query, or "".
func versionOf(query string) string {
	for part := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(part, "=")
		if strings.EqualFold(name, "api-version") {
			if plain, err := url.QueryUnescape(value); err == nil {
				return plain
			}
			return value
		}
	}
	return ""
}

// put adds an entry to the ring and wakes the subscriptions that wait.
func (l *Log) put(e *entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e.seq = l.next
	l.next++
	l.bytes += e.size
	for l.first < e.seq && (e.seq-l.first >= uint64(len(l.ring)) || l.bytes > l.o.Bytes) {
		old := &l.ring[l.first%uint64(len(l.ring))]
		l.bytes -= (*old).size
		*old = nil
		l.first++
	}
	l.ring[e.seq%uint64(len(l.ring))] = e
	for s := range l.following {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
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
	for _, e := range slices.Backward(l.since(1)) {
		if before != 0 && e.seq >= before || !f.matches(e) {
			continue
		}
		if len(page) == limit {
			return page, page[limit-1].Seq
		}
		page = append(page, e.summary())
	}
	return page, 0
}

// since returns the entries with numbers from seq on, the oldest first.
func (l *Log) since(seq uint64) []*entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	seq = max(seq, l.first)
	all := make([]*entry, 0, l.next-seq)
	for ; seq < l.next; seq++ {
		all = append(all, l.ring[seq%uint64(len(l.ring))])
	}
	return all
}

// Get returns the request to which the server has given an id or, without one, the newest to which
// the client has given it. A client chooses its ids, so they never hide a request of another one. ok
// is false if none is kept.
func (l *Log) Get(id string) (d Detail, ok bool) {
	var found *entry
	for _, e := range slices.Backward(l.since(1)) {
		switch {
		case id == "":
		case e.ID == id:
			return e.detail(), true
		case e.ClientID == id && found == nil:
			found = e
		}
	}
	if found == nil {
		return Detail{}, false
	}
	return found.detail(), true
}
