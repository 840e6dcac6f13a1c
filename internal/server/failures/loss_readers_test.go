//go:build unix

package failures

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/confab-chat/confab/sdk/chat"
	"github.com/confab-chat/confab/sdk/communication"
)

// reader is a client that receives live events: either a loop over chat.Client.Events, or a
// client of the official SDKs' protocol (trouter).
type reader struct {
	name    string
	user    user
	trouter bool
	http2   bool // whether an event stream uses HTTP/2
	selects bool // whether the reader requests only the events of the threads in since
	// since has, for each selected thread, the number of the last event before the reader
	// connected. It is nil for a reader that connected before any thread existed.
	since map[string]uint64
	lines *lines

	mu       sync.Mutex // guards the fields below
	begun    bool
	got      map[string][]received // the received events of each thread
	gaps     int
	doubled  int
	problems []string
	last     error // error of the last attempt to connect
	leave    context.CancelFunc
	away     time.Duration // time for which the reader stays disconnected after leave
	cursor   string
}

// received is an event that a reader has received.
type received struct {
	number           uint64 // number of the event in its thread; 0 if only the position is known
	position         uint64 // position in the event log, for a reader with the protocol of the official SDKs
	answered         bool   // whether the reader has confirmed the event to the server; always true for event streams, which have no confirmations
	event            string // name of the event's kind, as in an export
	message, version int64
	content          string
	at               time.Time
	opened           time.Time // when the connection was opened
}

// newReader returns a reader that is not connected yet. If trouter is set, every second reader
// speaks the protocol of the official SDKs; all others read event streams.
func (l *loss) newReader(i int, u user, trouter bool) *reader {
	r := &reader{user: u, trouter: i%2 == 1 && trouter, http2: i%4 == 0, selects: i%10 == 0, got: map[string][]received{}}
	r.name = fmt.Sprintf("reader %d (trouter %v, HTTP/2 %v)", i, r.trouter, r.http2)
	r.lines = &lines{open: map[*line]struct{}{}, pick: func() string { return l.nodes[rand.IntN(len(l.nodes))].listen }}
	return r
}

// start makes a reader receive events until ctx is done.
func (l *loss) start(ctx context.Context, r *reader) {
	l.running.Go(func() {
		if r.trouter {
			l.runTrouter(ctx, r)
		} else {
			l.runStream(ctx, r)
		}
	})
}

// ready reports whether the reader has connected at least once.
func (r *reader) ready() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.begun
}

// wants reports whether the reader has asked for the event e. A reader that selects threads has
// asked only for events of these threads that were written after the reader connected.
func (r *reader) wants(e *storedEvent) bool {
	last, ok := r.since[e.Thread]
	return r.since == nil || ok && e.Number > last
}

// stayAway makes the reader disconnect, and connect again after the time d.
func (r *reader) stayAway(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.leave != nil {
		r.away = d
		r.leave()
	}
}

// session returns a context for one connection of the reader. stayAway cancels this context.
func (r *reader) session(ctx context.Context) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.leave = cancel
	return ctx
}

// rest waits for the time for which stayAway made the reader stay disconnected.
func (r *reader) rest(ctx context.Context) {
	r.mu.Lock()
	r.leave()
	r.leave = nil
	d := r.away
	r.away = 0
	r.mu.Unlock()
	if r.trouter {
		r.lines.cut() // close the connections, which may lose the reader's last answers
	}
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// problem records an error of the server that the reader has noticed.
func (r *reader) problem(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.problems = append(r.problems, fmt.Sprintf(format, args...))
}

// failed records the error of an attempt to connect.
func (r *reader) failed(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last = err
}

// tlsConfig returns a TLS configuration that trusts the certificates of all servers of the test.
func (l *loss) tlsConfig() *tls.Config {
	roots := x509.NewCertPool()
	for _, n := range l.nodes {
		pem, err := os.ReadFile(filepath.Join(n.dir, "tls", "ca.pem"))
		if err != nil {
			panic(err) // cannot happen, because a server that has started has written the file with its certificate
		}
		roots.AppendCertsFromPEM(pem)
	}
	return &tls.Config{RootCAs: roots, ServerName: "127.0.0.1"}
}

// runStream reads the event stream of the user. After a disconnection it begins a new event loop
// at the cursor of the last event.
func (l *loss) runStream(ctx context.Context, r *reader) {
	cred, err := communication.NewTokenCredential(r.user.bearer)
	if err != nil {
		r.problem("%v", err)
		return
	}
	transport := &http.Transport{DialContext: r.lines.dial, TLSClientConfig: l.tlsConfig(), ForceAttemptHTTP2: r.http2}
	defer transport.CloseIdleConnections()
	client, err := chat.NewClient("https://"+l.nodes[0].listen, cred, &chat.ClientOptions{ClientOptions: azcore.ClientOptions{
		Transport: &http.Client{Transport: transport},
		Retry:     policy.RetryOptions{RetryDelay: 20 * time.Millisecond, MaxRetryDelay: 200 * time.Millisecond},
	}})
	if err != nil {
		r.problem("%v", err)
		return
	}
	var threads []string
	for id := range r.since {
		threads = append(threads, id)
	}
	for ctx.Err() == nil {
		session := r.session(ctx)
		for event, err := range client.Events(session, &chat.EventsOptions{Threads: threads, Cursor: r.cursor}) {
			if err != nil {
				if session.Err() == nil {
					r.problem("the loop ends: %v", err)
					return
				}
				break
			}
			r.cursor = event.Info().Cursor
			r.take(event)
		}
		r.rest(ctx)
	}
}

// take records an event that the stream has delivered.
func (r *reader) take(event chat.Event) {
	got := received{number: uint64(event.Info().Number), answered: true, at: time.Now(), opened: r.lines.lastOpened()}
	about := func(m chat.Message) {
		got.message, _ = strconv.ParseInt(m.ID, 10, 64)
		got.version, _ = strconv.ParseInt(m.Version, 10, 64)
		got.content = m.Content.Message
	}
	switch e := event.(type) {
	case chat.MessageReceived:
		got.event = "messageReceived"
		about(e.Message)
	case chat.MessageEdited:
		got.event = "messageEdited"
		about(e.Message)
	case chat.MessageDeleted:
		got.event = "messageDeleted"
		about(e.Message)
	case chat.ReadReceiptReceived:
		got.event = "receiptReceived"
		got.message, _ = strconv.ParseInt(e.Receipt.MessageID, 10, 64)
	case chat.ThreadCreated:
		got.event = "threadCreated"
	case chat.ThreadPropertiesUpdated:
		got.event = "threadUpdated"
	case chat.ThreadDeleted:
		got.event = "threadDeleted"
	case chat.ParticipantsAdded:
		got.event = "participantsAdded"
	case chat.ParticipantsRemoved:
		got.event = "participantsRemoved"
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch event.(type) {
	case chat.Started:
		r.begun = true
	case chat.Gap:
		r.gaps++
	case chat.TypingIndicatorReceived:
	case chat.UnknownEvent:
		r.problems = append(r.problems, fmt.Sprintf("unknown event %+v", event))
	default:
		r.got[event.Info().ThreadID] = append(r.got[event.Info().ThreadID], got)
	}
}

// missing returns the events in want that the reader has not received, or has not confirmed to the
// server.
func (r *reader) missing(want []*storedEvent) (missing []*storedEvent) {
	r.mu.Lock()
	defer r.mu.Unlock()
	type key struct {
		thread string
		number uint64 // number of the event in its thread, or its position in the log for a trouter reader
	}
	have := map[key]bool{}
	for thread, got := range r.got {
		for _, g := range got {
			if g.answered {
				have[key{thread, max(g.number, g.position)}] = true
			}
		}
	}
	for _, e := range want {
		k := key{e.Thread, e.Number}
		if r.trouter {
			k.number = e.Position
		}
		if !have[k] {
			missing = append(missing, e)
		}
	}
	return missing
}

// history returns a text with the number and the time of each event that the reader has received
// from a thread.
func (r *reader) history(thread string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var b strings.Builder
	b.WriteString("got")
	for _, g := range r.got[thread] {
		fmt.Fprintf(&b, " %d@%s(%v)", max(g.number, g.position), clock(g.at), g.answered)
	}
	return b.String()
}

// check compares the events that a reader has received with the events in the store, and returns a
// text for each error.
func (r *reader) check(truth *truth, l *loss) (problems []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	problems = append(problems, r.problems...)
	r.doubled = 0
	for thread, got := range r.got {
		th := truth.threads[thread]
		if th == nil {
			problems = append(problems, fmt.Sprintf("events of an unknown thread %s", thread))
			continue
		}
		last, seen, answered := uint64(0), map[uint64]bool{}, map[uint64]received{}
		for _, g := range got {
			if r.trouter {
				if g.position == 0 || g.position > uint64(len(truth.byPosition)) {
					problems = append(problems, fmt.Sprintf("no such position: %+v in %s", g, thread))
					continue
				}
				g.number = truth.byPosition[g.position-1].Number
			}
			if before, again := answered[g.number]; again {
				r.doubled++
				if !r.excused(before, g, l) {
					problems = append(problems, fmt.Sprintf("event %d of %s at %s is doubled at %s", g.number, thread, clock(before.at), clock(g.at)))
				}
			}
			if !seen[g.number] && g.number <= last {
				problems = append(problems, fmt.Sprintf("event %d of %s follows %d", g.number, thread, last))
			}
			last, seen[g.number] = max(last, g.number), true
			if g.answered {
				answered[g.number] = g
			}
			if p := r.judge(th, thread, g, l); p != "" {
				problems = append(problems, fmt.Sprintf("%s: %+v in %s, periods %+v", p, g, thread, th.periods(r.user.id)))
			}
		}
	}
	return problems
}

func clock(t time.Time) string { return t.Format("05.000") }

// judge compares an event that the reader has received with the event in the store. It returns a
// text that says what is wrong with the event, or "".
func (r *reader) judge(th *storedThread, thread string, g received, l *loss) string {
	if g.number == 0 || g.number > uint64(len(th.events)) {
		return "no such event"
	}
	e := th.events[g.number-1]
	switch {
	case g.event != e.Event || g.message != 0 && g.message != e.Message:
		return fmt.Sprintf("the store has %+v", *e)
	case r.selects && r.since[thread] == 0:
		return "a thread that was not selected"
	}
	if _, may := th.judge(r.user.id, e); !may {
		return "the user may not see the event"
	}
	if g.event != "messageReceived" && g.event != "messageEdited" {
		return ""
	}
	wrote := uint64(0) // number of the event that wrote this version of the message
	for _, w := range th.events {
		if w.Message == e.Message && w.Version == g.version && w.Event != "receiptReceived" {
			wrote = w.Number
		}
	}
	ps := th.periods(r.user.id)
	end := ps[len(ps)-1].to
	text := l.textOf(thread, g.message)
	deleted := l.deletedAt(thread, g.message)
	switch {
	case wrote == 0:
		return "a version of the message that never was"
	case wrote < g.number:
		return "an older content of the message"
	case end != 0 && wrote > end:
		return "the content was written after the user was removed"
	case text != "" && g.content != text && g.content != text+edited:
		return "the content is not that of the message"
	case text != "" && g.event == "messageEdited" && g.content != text+edited:
		return "the content is not the edited one"
	case !deleted.IsZero() && g.opened.Sub(deleted) > 2*time.Second:
		return "the message was deleted long before at " + clock(deleted)
	}
	return ""
}

// textOf returns the content with which a message was sent, or "" if the message was not
// acknowledged.
func (r *records) textOf(thread string, message int64) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.texts[[2]string{thread, strconv.FormatInt(message, 10)}]
}

// deletedAt returns when the server acknowledged the deletion of a message, or the zero time if it
// has not.
func (r *records) deletedAt(thread string, message int64) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.deleted[[2]string{thread, strconv.FormatInt(message, 10)}]
}

// lines holds the network connections of one reader, so that the test can cut and stall them.
type lines struct {
	pick func() string // returns the address of a server

	mu      sync.Mutex // guards the fields below
	open    map[*line]struct{}
	opened  time.Time
	dials   int
	stalled chan struct{} // closed when the reads may continue; nil while reads are not stalled
	cuts    []time.Time
}

// line is a network connection that the test can cut and stall.
type line struct {
	*net.TCPConn
	of     *lines
	closed chan struct{}
	once   sync.Once
}

// dial connects to one of the servers. It ignores the address that the client asks for.
func (ls *lines) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	return ls.dialNode(ctx, ls.pick())
}

func (ls *lines) dialNode(ctx context.Context, address string) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	c := &line{TCPConn: conn.(*net.TCPConn), of: ls, closed: make(chan struct{})}
	if rand.IntN(4) == 0 {
		c.SetReadBuffer(4 << 10)
	}
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.open[c] = struct{}{}
	ls.opened = time.Now()
	ls.dials++
	return c, nil
}

// lastOpened returns the time at which the last connection was opened.
func (ls *lines) lastOpened() time.Time {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	return ls.opened
}

// reconnects returns the number of connections after the first.
func (ls *lines) reconnects() int {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	return max(0, ls.dials-1)
}

// cut closes all connections, sometimes with a reset.
func (ls *lines) cut() {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.cuts = append(ls.cuts, time.Now())
	for c := range ls.open {
		if rand.IntN(2) == 0 {
			c.SetLinger(0)
		}
		c.once.Do(func() { close(c.closed) })
		c.TCPConn.Close()
	}
	clear(ls.open)
}

// stall makes all reads from the connections wait for d. If d is 0, it ends an earlier stall.
func (ls *lines) stall(d time.Duration) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if d == 0 {
		if ls.stalled != nil {
			close(ls.stalled)
			ls.stalled = nil
		}
		return
	}
	if ls.stalled == nil {
		ls.stalled = make(chan struct{})
		time.AfterFunc(d, func() { ls.stall(0) })
	}
}

// Read implements net.Conn. It waits while the reader's connections are stalled.
func (c *line) Read(p []byte) (int, error) {
	c.of.mu.Lock()
	stalled := c.of.stalled
	c.of.mu.Unlock()
	if stalled != nil {
		select {
		case <-stalled:
		case <-c.closed:
		}
	}
	return c.TCPConn.Read(p)
}

// Close implements net.Conn.
func (c *line) Close() error {
	c.once.Do(func() { close(c.closed) })
	c.of.mu.Lock()
	delete(c.of.open, c)
	c.of.mu.Unlock()
	return c.TCPConn.Close()
}
