package postgres

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	neturl "net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/confab-chat/confab/internal/core"
)

// cutter is a TCP proxy between a store and PostgreSQL that can cut connections.
type cutter struct {
	listen net.Listener
	wg     sync.WaitGroup
	cut    atomic.Pointer[func(toServer bool, data []byte) (forward, cut bool)]

	mu     sync.Mutex        // guards target and conns
	target string            // the server's address
	conns  map[net.Conn]bool // true while the proxy forwards the data that it reads from the connection
}

// behindCutter starts a cutter that forwards connections to the server of url. It returns the
// URL that leads through the cutter.
func behindCutter(t *testing.T, url string) (*cutter, string) {
	t.Helper()
	u, err := neturl.Parse(url)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{target: u.Host, listen: l, conns: map[net.Conn]bool{}}
	u.Host = l.Addr().String()
	c.wg.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			c.mu.Lock()
			target := c.target
			c.mu.Unlock()
			server, err := net.Dial("tcp", target)
			if err != nil {
				client.Close()
				continue
			}
			c.mu.Lock()
			c.conns[client], c.conns[server] = true, true
			c.mu.Unlock()
			c.wg.Go(func() { c.pipe(client, server, true) })
			c.wg.Go(func() { c.pipe(server, client, false) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		c.cutAll()
		c.wg.Wait()
	})
	return c, u.String()
}

func (c *cutter) pipe(from, to net.Conn, toServer bool) {
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		forward, cut := true, err != nil
		if decide := c.cut.Load(); decide != nil && n > 0 {
			forward, cut = (*decide)(toServer, buffer[:n])
		}
		c.mu.Lock()
		forward = forward && c.conns[from]
		c.mu.Unlock()
		if forward && n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				cut = true
			}
		}
		if cut {
			break
		}
	}
	from.Close()
	if toServer { // PostgreSQL must still receive all data that was sent, and then notice that the client has disconnected
		to.(*net.TCPConn).CloseWrite()
	} else {
		to.Close()
	}
	c.mu.Lock()
	delete(c.conns, from)
	c.mu.Unlock()
}

func (c *cutter) cutAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range c.conns {
		conn.Close()
	}
}

// silence makes the proxy forward nothing more on the connections that are open now, as if the
// machine at the other end had vanished.
func (c *cutter) silence() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range c.conns {
		c.conns[conn] = false
	}
}

// when sets the function that is called for each piece of data that passes the proxy. It
// decides whether the proxy forwards the data, and whether it then cuts the connection.
func (c *cutter) when(decide func(toServer bool, data []byte) (forward, cut bool)) {
	c.cut.Store(&decide)
}

// runs reports whether bytes for the server run a statement: by its text, or by the name under which
// the driver has prepared it.
func runs(data []byte, sql string) bool {
	sum := sha256.Sum256([]byte(sql))
	name := "stmtcache_" + hex.EncodeToString(sum[:24])
	bind := []byte("\x00" + name + "\x00") // for the unnamed portal
	return bytes.Contains(data, bind) || bytes.Contains(data, []byte(sql+"\x00")) && !bytes.Contains(data, []byte(name))
}

const at = int64(20_000) * 86_400_000

func newThread(id string) *core.Change {
	const ann = "8:acs:ann"
	return &core.Change{Key: id, Thread: id, Properties: &core.Properties{Topic: "topic", CreatedBy: ann},
		Members:  []core.Member{{User: ann, Order: 1, Intervals: []core.Interval{{}}}},
		Messages: []core.Message{{Kind: core.TopicUpdated, Content: "topic"}}, Events: []core.Event{{Kind: core.ThreadCreated, Actor: ann}}}
}

func text(id, content string) *core.Change {
	return &core.Change{Key: id, Thread: id, Revision: 1, Messages: []core.Message{{Kind: core.Text, Content: content}},
		Events: []core.Event{{Kind: core.MessageReceived, Actor: "8:acs:ann"}}}
}

// tried returns the same change as the function text, but the message has a fingerprint that
// depends only on the content. So the store takes all sends of one content for tries of one call.
func tried(id, content string) *core.Change {
	c := text(id, content)
	sum := sha256.Sum256([]byte(content))
	c.Messages[0].Fingerprint = core.Fingerprint(sum[:16])
	return c
}

func mustApply(t *testing.T, s *Store, want core.Status, changes ...*core.Change) []core.Outcome {
	t.Helper()
	rs, err := s.Apply(context.Background(), core.Batch{At: at, Changes: changes})
	if err != nil {
		t.Fatalf("apply: %v", err)
	}
	for i, r := range rs {
		if r.Status != want {
			t.Fatalf("change %d has status %d, want %d", i, r.Status, want)
		}
	}
	return rs
}

// contents returns the contents of a thread's messages, the oldest first.
func contents(t *testing.T, s *Store, id string) (all []string) {
	t.Helper()
	page, err := s.Messages(context.Background(), core.MessagesQuery{Thread: id, Limit: 1_000_000})
	if err != nil {
		t.Fatal(err)
	}
	for i := len(page.Messages) - 1; i >= 0; i-- {
		all = append(all, page.Messages[i].Content)
	}
	return all
}

// TestLostCommit cuts the connection before PostgreSQL gets a COMMIT, or after PostgreSQL has
// carried it out. Apply must find out the true outcome in both cases, and the batch must be
// stored exactly once. A try that was not committed must not count as an earlier try of its sends.
func TestLostCommit(t *testing.T) {
	for name, server := range map[string]string{"direct": server(t, "TEST_POSTGRES_URL"), "pgbouncer": server(t, "TEST_PGBOUNCER_URL")} {
		for _, answered := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/committed=%v", name, answered), func(t *testing.T) {
				url := emptyDatabase(t)
				u, _ := neturl.Parse(url)
				c, through := behindCutter(t, onServer(t, server, u.Path))
				s := open(t, through)
				defer s.Close()
				member := newThread("t")
				mustApply(t, s, core.Applied, newThread("other")) // after this send, PostgreSQL has described every statement that a batch sends
				mustApply(t, s, core.Applied, tried("other", "hello"))
				var once sync.Once
				var waiting atomic.Bool
				c.when(func(toServer bool, data []byte) (forward, cut bool) {
					if toServer && runs(data, "COMMIT") && runs(data, heads.insert) {
						if !answered {
							forward, cut = true, false
							once.Do(func() { forward, cut = false, true })
							return forward, cut
						}
						once.Do(func() { waiting.Store(true) })
					}
					if !toServer && waiting.Swap(false) {
						return false, true // the COMMIT was carried out, but its answer is lost
					}
					return true, false
				})
				mustApply(t, s, core.Applied, member, tried("t", "one"))
				mustApply(t, s, core.Applied, tried("t", "two"))
				mustApply(t, s, core.Replayed, tried("t", "one"), tried("t", "two"))
				if got := fmt.Sprint(contents(t, s, "t")); got != "[topic one two]" {
					t.Errorf("the thread holds %s", got)
				}
				th, err := s.Thread(context.Background(), "t")
				if err != nil || !th.Participants()[0].Present() || th.Participants()[0].Intervals[0].From != 1 || th.LastEvent != 3 {
					t.Errorf("the thread is %+v, %v", th, err)
				}
				once.Do(func() { t.Error("no connection was cut") })
			})
		}
	}
}

// TestFailedBatchIsNoTry sends a message that PostgreSQL refuses, because it has a NUL character.
// Then another server adds a message, so that the thread has the same number of messages as if the
// first one had been stored. The next try of the first send must add its message.
func TestFailedBatchIsNoTry(t *testing.T) {
	url := emptyDatabase(t)
	s, other := open(t, url), open(t, url)
	defer s.Close()
	defer other.Close()
	mustApply(t, s, core.Applied, newThread("t"))
	mustApply(t, s, core.Applied, tried("t", "before"))
	refused := tried("t", "one")
	refused.Messages[0].Content = "one\x00"
	if rs, err := s.Apply(context.Background(), core.Batch{At: at, Changes: []*core.Change{refused}}); err == nil {
		t.Fatalf("a message with a NUL character: %+v", rs)
	}
	mustApply(t, other, core.Applied, tried("t", "another"))
	mustApply(t, s, core.Applied, tried("t", "one"))
	mustApply(t, other, core.Replayed, tried("t", "one"))
	if got := fmt.Sprint(contents(t, s, "t")); got != "[topic before another one]" {
		t.Errorf("the thread holds %s", got)
	}
}

// TestLostMessagesAreNoTry deletes the last message of a thread from the tables and cuts the
// connections: a failover to a standby that lags has the same effect. Then 0 to 3 other messages
// are added. The next try of the lost send must add its message, even if the thread is as long as
// before because one other message was added.
func TestLostMessagesAreNoTry(t *testing.T) {
	for others := range 4 {
		t.Run(fmt.Sprint(others), func(t *testing.T) {
			url := emptyDatabase(t)
			c, through := behindCutter(t, url)
			s, other := open(t, through), open(t, url)
			defer s.Close()
			defer other.Close()
			mustApply(t, s, core.Applied, newThread("t"))
			mustApply(t, s, core.Applied, tried("t", "before"))
			mustApply(t, s, core.Applied, tried("t", "lost"))
			c.cutAll()
			execute(t, url, `DELETE FROM messages WHERE content = 'lost';
				UPDATE heads SET last_sequence = last_sequence - 1, last_id = last_id - 1, last_event = last_event - 1;
				DELETE FROM events USING heads WHERE events.thread = heads.id AND events.number > heads.last_event`)
			want := "topic before"
			for n := range others {
				content := fmt.Sprint("other", n)
				mustApply(t, other, core.Applied, tried("t", content))
				want += " " + content
			}
			mustApply(t, s, core.Applied, tried("t", "lost"))
			mustApply(t, other, core.Replayed, tried("t", "lost"))
			if got := fmt.Sprint(contents(t, s, "t")); got != "["+want+" lost]" {
				t.Errorf("the thread holds %s, want %s lost", got, want)
			}
		})
	}
}

// TestCutConnections cuts the connections to PostgreSQL at random while messages are sent. Each
// acknowledged message must be stored exactly once, and no refused message may be stored.
func TestCutConnections(t *testing.T) {
	c, url := behindCutter(t, emptyDatabase(t))
	s := open(t, url)
	defer s.Close()
	mustApply(t, s, core.Applied, newThread("t"))
	random := rand.New(rand.NewPCG(1, 2))
	var mu sync.Mutex // guards random
	cuts := 0
	c.when(func(bool, []byte) (forward, cut bool) {
		mu.Lock()
		defer mu.Unlock()
		if random.IntN(40) == 0 {
			cuts++
			return random.IntN(2) == 0, true
		}
		return true, false
	})
	want := []string{"topic"}
	for i := range 200 {
		content := fmt.Sprint("message ", i)
		rs, err := s.Apply(context.Background(), core.Batch{At: at + int64(i), Changes: []*core.Change{tried("t", content)}})
		switch {
		case err == nil && rs[0].Status != core.Applied:
			t.Errorf("send %d has status %d", i, rs[0].Status)
		case err == nil:
			want = append(want, content)
		case !errors.Is(err, core.ErrUnavailable):
			t.Errorf("send %d: %v", i, err)
		}
		if th, err := s.Thread(context.Background(), "t"); err == nil && th.LastSequence != uint64(len(want)) || err != nil && !errors.Is(err, core.ErrUnavailable) {
			t.Errorf("after send %d: %+v, %v; want sequence %d", i, th, err, len(want))
		}
	}
	c.cut.Store(nil)
	if got := contents(t, s, "t"); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("after %d cuts the thread holds %d messages, want %d:\n%v\n%v", cuts, len(got), len(want), got, want)
	}
	t.Logf("%d cuts, %d messages", cuts, len(want))
}

// TestSilentConnection drops the bytes of a COMMIT without closing the connection. PostgreSQL
// keeps the locks until its idle timeout. After that, the batch must be stored exactly once.
func TestSilentConnection(t *testing.T) {
	c, url := behindCutter(t, emptyDatabase(t))
	s := open(t, url)
	defer s.Close()
	s.timeouts.trip, s.timeouts.idle, s.timeouts.lock = 500*time.Millisecond, time.Second, 2*time.Second
	mustApply(t, s, core.Applied, newThread("t"))
	mustApply(t, s, core.Applied, tried("t", "one"))
	var once sync.Once
	var dead atomic.Bool
	c.when(func(toServer bool, data []byte) (forward, cut bool) {
		forward = true
		if toServer && runs(data, "COMMIT") && runs(data, updateHeads) {
			once.Do(func() { forward = false; dead.Store(true) })
		}
		return forward, false
	})
	mustApply(t, s, core.Applied, tried("t", "two"))
	if got := fmt.Sprint(contents(t, s, "t")); got != "[topic one two]" || !dead.Load() {
		t.Errorf("the thread holds %s; a COMMIT was held back: %v", got, dead.Load())
	}
}
