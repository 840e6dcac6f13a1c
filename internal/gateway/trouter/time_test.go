package trouter_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/gateway"
	"github.com/confab-chat/confab/internal/gateway/trouter"
	"github.com/confab-chat/confab/internal/token"
)

// pipes is a listener whose connections are pipes in memory, so that the clock of a synctest
// bubble does not wait for a network. A write to a pipe blocks until the other end reads.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80} }

// dial connects to the listener.
func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case p.conns <- server:
		return client, nil
	case <-p.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// bubble runs a test in a synctest bubble, with a server on in-memory connections.
func bubble(t *testing.T, test func(*testing.T, *house)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, newHouseOn(t, newPipes(), nil)) })
}

// TestSilentSocket checks that a socket ends 100 seconds after the last frame from its client.
func TestSilentSocket(t *testing.T) {
	bubble(t, func(t *testing.T, h *house) {
		tab := h.tab(h.person(), "tab")
		start := time.Now()
		for range 3 {
			time.Sleep(99 * time.Second)
			tab.sync()
		}
		time.Sleep(99 * time.Second)
		if err := tab.Ping(tab.CloseRead(t.Context())); err != nil {
			t.Fatal(err)
		}
		h.waitEnded(gateway.Silent)
		if got := time.Since(start); got != 496*time.Second {
			t.Errorf("the socket ended after %v", got)
		}
	})
}

// waitEnded waits until a socket is closed and fails the test unless the reason is why. It
// must be called in a synctest bubble.
func (h *house) waitEnded(why gateway.Reason) {
	h.t.Helper()
	for range 10_000 {
		synctest.Wait()
		if notes := h.ended(); len(notes) > 0 {
			if notes[len(notes)-1] != why.String() {
				h.t.Errorf("the socket ended because of %s, want %v", notes[len(notes)-1], why)
			}
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	h.t.Fatal("no socket ends")
}

// TestClientThatNeverReads sends events to a client that reads no byte, and checks that its socket
// ends after 30 seconds.
func TestClientThatNeverReads(t *testing.T) {
	bubble(t, func(t *testing.T, h *house) {
		ann := h.person()
		thread := h.thread("plans", ann)
		h.tab(ann, "tab") // the client's pipe has no buffer, so the server's writes block
		start := time.Now()
		h.send(ann, thread, strings.Repeat("x", 20_000))
		h.waitEnded(gateway.Slow)
		if got := time.Since(start); got < gateway.WriteTimeout || got > gateway.WriteTimeout+3*time.Second {
			t.Errorf("the socket ended after %v", got)
		}
	})
}

// TestClientThatNeverAnswers sends 300 events, more than may be unanswered, to a client that sends
// pings but never answers. It checks that the client gets all of them, and that its next socket
// gets again only the events that were written less than 30 seconds before the last ping.
func TestClientThatNeverAnswers(t *testing.T) {
	bubble(t, func(t *testing.T, h *house) {
		ann := h.person()
		thread := h.thread("plans", ann)
		tab := h.tab(ann, "tab")
		for i := range 300 {
			h.send(ann, thread, fmt.Sprint(i))
		}
		for i := range 256 {
			tab.message(fmt.Sprint(i), 0)
		}
		time.Sleep(29 * time.Second)
		tab.sync()
		time.Sleep(time.Second)
		tab.say("2::")
		for i := range 44 {
			tab.message(fmt.Sprint(256+i), 0)
		}
		time.Sleep(29 * time.Second)
		tab.sync()
		time.Sleep(time.Hour / 60) // let a minute pass without a frame from the client
		tab.CloseNow()
		synctest.Wait()
		tab = h.tab(ann, "tab")
		for i := range 44 {
			tab.message(fmt.Sprint(256+i), 200)
		}
		tab.sync()
	})
}

// TestStoringEndpoints checks that an endpoint is stored within five seconds after an answer
// and when its socket ends, and only after ten minutes if it has merely followed the log.
func TestStoringEndpoints(t *testing.T) {
	bubble(t, func(t *testing.T, h *house) {
		ann, bob := h.person(), h.person()
		thread, other := h.thread("plans", ann), h.thread("other", bob)
		tab := h.tab(ann, "tab")
		stored := func() core.Endpoint {
			t.Helper()
			synctest.Wait()
			es, err := h.store.Endpoints(t.Context(), ann.ID)
			if err != nil || len(es) != 1 || es[0].ID != "tab" {
				t.Fatalf("endpoints %+v, %v", es, err)
			}
			return es[0]
		}
		first := stored()
		h.send(ann, thread, "one")
		tab.message("one", 200)
		tab.sync()
		if !cmp.Equal(stored(), first) {
			t.Error("the answer is stored at once")
		}
		time.Sleep(5 * time.Second)
		second := stored()
		if second.At.Position != first.At.Position+1 {
			t.Errorf("after five seconds the store has %+v, before %+v", second, first)
		}
		h.send(bob, other, "nothing for ann")
		time.Sleep(30 * time.Second)
		tab.sync()
		if !cmp.Equal(stored(), second) {
			t.Error("an endpoint that only moved with the log is stored")
		}
		for range 10 {
			time.Sleep(time.Minute)
			tab.sync()
		}
		time.Sleep(5 * time.Second)
		third := stored()
		if third.At.Position != second.At.Position+1 {
			t.Errorf("after ten minutes the store has %+v, before %+v", third, second)
		}
		h.send(ann, thread, "two")
		tab.message("two", 200)
		tab.sync()
		tab.CloseNow()
		if got := stored(); got.At.Position <= third.At.Position {
			t.Errorf("after the end the store has %+v, before %+v", got, third)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := h.h.Stats().Endpoints; n != 0 {
			t.Errorf("an hour later %d endpoints are in memory", n)
		}
		h.send(ann, thread, "three")
		ann.token = h.token(ann.User, token.Chat, time.Hour)
		h.tab(ann, "tab").message("three", 200)
	})
}

// TestSidExpires checks that a sid, the one-time id for opening a socket, is refused if it was not
// used for 30 seconds.
func TestSidExpires(t *testing.T) {
	bubble(t, func(t *testing.T, h *house) {
		a := h.allocate(h.person(), "tab")
		young, old := h.handshake(a), h.handshake(a)
		time.Sleep(29 * time.Second)
		c, _, err := h.dial(young, a.query())
		if err != nil {
			t.Fatal(err)
		}
		c.CloseNow()
		time.Sleep(time.Second)
		if _, resp, err := h.dial(old, a.query()); err == nil || resp == nil || resp.StatusCode != 401 {
			t.Errorf("an old sid: %v", err)
		}
	})
}

// TestQuietPolls checks that a GET gets a packet without meaning if there are no events, that a
// second GET makes the first one return, and that a client that stops polling loses its connection.
func TestQuietPolls(t *testing.T) {
	bubble(t, func(t *testing.T, h *house) {
		p := h.poller(h.person(), "tab")
		for range 5 {
			start := time.Now()
			if got := p.get(); len(got) != 1 || got[0] != "8::" || time.Since(start) != 30*time.Second {
				t.Fatalf("got %q after %v", got, time.Since(start))
			}
		}
		start := time.Now()
		first := make(chan []string, 1)
		go func() { first <- p.get() }()
		synctest.Wait()
		p.get()
		if got := <-first; len(got) != 1 || got[0] != "8::" || time.Since(start) != 30*time.Second {
			t.Errorf("the first GET: %q after %v", got, time.Since(start))
		}
		time.Sleep(101 * time.Second)
		synctest.Wait()
		if resp, _ := h.do("GET", p.path, "", ""); resp.StatusCode != 401 {
			t.Errorf("after the silence: %s", resp.Status)
		}
	})
}

// TestLingeringSocket lets a client open another socket because the server has asked it to. It
// checks that the old socket ends after 75 seconds if the client does not close it.
func TestLingeringSocket(t *testing.T) {
	bubble(t, func(t *testing.T, h *house) {
		ann := h.person()
		ann.token = h.token(ann.User, token.Chat, 48*time.Hour)
		a := h.allocate(ann, "tab")
		if err := h.clock.Advance(23*time.Hour + 54*time.Minute); err != nil {
			t.Fatal(err)
		}
		c, _, err := h.dial(h.handshake(a), a.query())
		if err != nil {
			t.Fatal(err)
		}
		old := &tab{h, a, c}
		old.want("1::")
		old.want("5:::*")
		time.Sleep(time.Minute)
		old.want(`5:::{"name":"trouter.reconnect","args":[{"target":"self"}]}`)
		old.sync()
		newer := h.tab(ann, "tab")
		time.Sleep(70 * time.Second)
		old.sync()
		newer.sync()
		time.Sleep(5 * time.Second)
		old.want("0:::dup")
		newer.sync()
	})
}

// TestRecordOfASocket keeps a socket open for a minute. It checks that the socket's access record
// has both the time that it took to open the socket and the time for which it was open.
func TestRecordOfASocket(t *testing.T) {
	bubble(t, func(t *testing.T, h *house) {
		tab := h.tab(h.person(), "tab")
		time.Sleep(time.Minute)
		tab.CloseNow()
		h.waitEnded(gateway.Gone)
		h.mu.Lock()
		defer h.mu.Unlock()
		r := h.records[len(h.records)-1]
		if r.Status != 101 || r.Took > time.Second || r.Duration < time.Minute {
			t.Errorf("status %d, took %v, lasted %v", r.Status, r.Took, r.Duration)
		}
	})
}

// TestBodyThatDoesNotArrive sends requests that have no token and whose headers announce a
// body that is never sent. It checks that the server closes their connections after a while.
func TestBodyThatDoesNotArrive(t *testing.T) {
	for _, path := range []string{"/v4/a", "/v3/registrations", "/socket.io/1/xhr-polling/abc", "/nothing"} {
		bubble(t, func(t *testing.T, h *house) {
			c, err := h.pipes.dial(t.Context(), "", "")
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			start := time.Now()
			go io.WriteString(c, "POST "+path+" HTTP/1.1\r\nHost: chat.example\r\nContent-Length: 5\r\n\r\n")
			c.SetReadDeadline(start.Add(time.Hour))
			if _, err := io.ReadAll(c); err != nil || time.Since(start) > time.Minute {
				t.Errorf("%s: the connection was open for %v: %v", path, time.Since(start), err)
			}
		})
	}
}

// TestEventThatWaitsForAPoll sends an event to a polling client that sends packets for more than 30
// seconds but asks for none. It checks that the event does not count as answered, so that the next
// socket of the endpoint gets it.
func TestEventThatWaitsForAPoll(t *testing.T) {
	bubble(t, func(t *testing.T, h *house) {
		ann := h.person()
		thread := h.thread("plans", ann)
		p := h.poller(ann, "tab")
		h.send(ann, thread, "one")
		time.Sleep(31 * time.Second)
		if got := p.post("2::"); got != 200 {
			t.Errorf("POST: %d", got)
		}
		h.hub.EndAll(gateway.Dropped)
		synctest.Wait()
		h.tab(ann, "tab").message("one", 200)
	})
}

// latePuts is a store for tests that runs a given function before each write of endpoints' rows.
type latePuts struct {
	core.Store
	before func([]core.Endpoint)
}

// PutEndpoints calls s.before and then writes the rows.
func (s latePuts) PutEndpoints(ctx context.Context, es []core.Endpoint) ([]core.Endpoint, error) {
	s.before(es)
	return s.Store.PutEndpoints(ctx, es)
}

// TestEndpointOfADeletedUser deletes a user and the user's endpoints just before the server writes
// a row of one endpoint, because a socket opens or because the client has answered. It checks that
// no row is left.
func TestEndpointOfADeletedUser(t *testing.T) {
	for _, opens := range []bool{true, false} {
		t.Run(fmt.Sprintf("while a socket opens: %v", opens), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var h *house
				var armed atomic.Bool
				h = newHouseOn(t, newPipes(), func(o *trouter.Options) {
					o.Store = latePuts{o.Store, func(es []core.Endpoint) {
						if !armed.Swap(false) {
							return
						}
						if err := h.core.DeleteUser(t.Context(), es[0].User); err != nil {
							t.Error(err)
						}
						// Wait until the hub has ended the user's sessions. Do not sleep, because
						// the bubble's clock stands still while the server may wait for a lock.
						for n := 0; h.hub.Stats().Sessions > 0; n++ {
							if runtime.Gosched(); n == 100_000_000 {
								t.Error("the user's sessions did not end")
								return
							}
						}
						if err := h.store.DropEndpoints(t.Context(), es); err != nil {
							t.Error(err)
						}
					}}
				})
				ann := h.person()
				thread := h.thread("plans", ann)
				if opens {
					a := h.allocate(ann, "tab")
					sid := h.handshake(a)
					armed.Store(true)
					if c, _, err := h.dial(sid, a.query()); err == nil {
						defer c.CloseNow()
					}
				} else {
					tab := h.tab(ann, "tab")
					h.send(ann, thread, "one")
					armed.Store(true)
					tab.message("one", 200)
				}
				time.Sleep(10 * time.Second)
				synctest.Wait()
				if armed.Load() {
					t.Error("no row was written")
				}
				rows, err := h.store.Endpoints(t.Context(), ann.ID)
				if err != nil || len(rows) > 0 {
					t.Errorf("the store has %+v, %v", rows, err)
				}
			})
		})
	}
}
