package server_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/confab-chat/confab/internal/rest"
	"github.com/confab-chat/confab/internal/server"
	"github.com/confab-chat/confab/internal/token"
)

// clients returns HTTP clients that trust the server, one for each version of HTTP.
func (r *running) clients(t *testing.T) map[string]*http.Client {
	t.Helper()
	one := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: r.roots}, TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{}}
	t.Cleanup(one.CloseIdleConnections)
	return map[string]*http.Client{"HTTP/1.1": {Transport: one}, "HTTP/2": r.client}
}

// stream is an event stream of a user.
type stream struct {
	resp  *http.Response
	lines *bufio.Reader
	hello map[string]string // the fields of the first message
}

// openStream opens an event stream with a token and reads its first event, which is called hello.
// The argument query is empty or begins with a question mark.
func (r *running) openStream(t *testing.T, c *http.Client, bearer, query string) *stream {
	t.Helper()
	resp := r.askForStream(t, c, bearer, query)
	s := &stream{resp: resp, lines: bufio.NewReader(resp.Body)}
	var err error
	if s.hello, err = s.next(); err != nil || s.hello["event"] != "hello" {
		t.Fatalf("%s: the stream begins with %v, %v", resp.Status, s.hello, err)
	}
	return s
}

// askForStream sends a request for an event stream and returns the response. The body is closed
// at the end of the test.
func (r *running) askForStream(t *testing.T, c *http.Client, bearer, query string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", r.Endpoint+"/chat/events"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+bearer)
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

// next returns the fields of the next event of the stream. It fails with io.EOF at the end of a
// complete response, and with another error if the connection breaks.
func (s *stream) next() (map[string]string, error) {
	message := map[string]string{}
	for {
		line, err := s.lines.ReadString('\n')
		if err != nil {
			return nil, err
		}
		if line = strings.TrimSuffix(line, "\n"); line == "" {
			return message, nil
		}
		name, value, _ := strings.Cut(line, ":")
		message[name] = strings.TrimPrefix(value, " ")
	}
}

// end reads the stream to its end and returns the data of its last event, which is called bye. It
// fails unless the stream ends with a bye, as a complete response.
func (s *stream) end() (bye string, _ error) {
	for {
		m, err := s.next()
		switch {
		case err == io.EOF && bye != "":
			return bye, nil
		case err != nil:
			return "", fmt.Errorf("the stream ends with %q: %w", bye, err)
		case m["event"] == "bye":
			bye = m["data"]
		}
	}
}

// bearer returns a new token of a user, signed with the current primary key.
func (r *running) bearer(t *testing.T, user string) string {
	t.Helper()
	text, _, err := r.IssueToken(t.Context(), user, token.Chat, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// The longest times after which a stream must be closed when its token has become invalid: on the
// server that invalidated the token, and on another server with the same database. Because the
// machine may be busy, the test fails only if the quickest of several rounds takes five times as
// long.
const (
	barHere  = 100 * time.Millisecond
	barThere = 2 * time.Second
)

// TestStreamsEndWithTheirTokens opens event streams of a user over both versions of HTTP, on one
// server and on two servers with the same PostgreSQL. It makes the user's token invalid in each
// possible way, and measures the time until the client has received the reason and the end of
// the stream.
func TestStreamsEndWithTheirTokens(t *testing.T) {
	t.Run("embedded", func(t *testing.T) {
		endTokens(t, start(t, server.Options{Config: settings(t, "dev", "true", "access-key-secondary", keyB)}))
	})
	t.Run("PostgreSQL", func(t *testing.T) {
		address := os.Getenv("TEST_POSTGRES_URL")
		if address == "" {
			t.Skip("set TEST_POSTGRES_URL to run two servers on one database: scripts/postgres -- go test ./internal/server")
		}
		database := freshDatabase(t, address)
		node := func() *running {
			return start(t, server.Options{Config: settings(t, "dev", "true", "access-key-secondary", keyB, "data", t.TempDir(), "database", database)})
		}
		endTokens(t, node(), node())
	})
}

// endTokens invalidates tokens of users at the first server in each possible way, and checks that
// the streams on all servers end.
func endTokens(t *testing.T, nodes ...*running) {
	here := nodes[0]
	here.AccessKey = keyB // sign with the secondary key, which the test does not replace
	identities := func(method, path string, want int) func(user string) {
		return func(user string) {
			if status := here.signed(t, method, fmt.Sprintf(path, user)); status != want {
				t.Fatalf("%s %s: %d", method, path, status)
			}
		}
	}
	for _, way := range []struct {
		name, bye string
		end       func(user string)
		local     bool // whether to test this way of making tokens invalid on the first server only
	}{
		{"revoked", `{"reason":"revoked","delay":0}`, identities("POST", "/identities/%s/:revokeAccessTokens?api-version=2023-10-01", 204), false},
		{"deleted", `{"reason":"deleted","delay":0}`, identities("DELETE", "/identities/%s?api-version=2023-10-01", 204), false},
		{"key rotated", `{"reason":"revoked","delay":0}`, func(string) {
			if status, body := here.operate(t, "POST", "keys/primary/rotate", ""); status != 200 {
				t.Fatalf("rotate the primary key: %d %s", status, body)
			}
		}, false},
		{"expired", `{"reason":"expired","delay":0}`, func(string) { here.advance(t, "1h") }, true},
	} {
		var times [2][]time.Duration // the time of the slowest stream of each round, on the first server and on the other ones
		const rounds = 3
		for range rounds {
			user, err := here.CreateUser(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			bearer := here.bearer(t, user)
			var mu sync.Mutex
			var ended [2][]time.Time
			var reading sync.WaitGroup
			for i, n := range nodes {
				if way.local && i > 0 {
					break
				}
				waitForKeys(t, n, bearer)
				for name, c := range n.clients(t) {
					s := n.openStream(t, c, bearer, "")
					reading.Go(func() {
						bye, err := s.end()
						at := time.Now()
						if err != nil || bye != way.bye {
							t.Errorf("%s, server %d, %s: bye is %s, %v; want %s", way.name, i, name, bye, err, way.bye)
						}
						mu.Lock()
						defer mu.Unlock()
						ended[min(i, 1)] = append(ended[min(i, 1)], at)
					})
				}
			}
			began := time.Now()
			way.end(user)
			reading.Wait()
			for i := range ended {
				if len(ended[i]) > 0 {
					times[i] = append(times[i], slices.MaxFunc(ended[i], time.Time.Compare).Sub(began))
				}
			}
		}
		for i, bar := range []time.Duration{barHere, barThere} {
			if len(times[i]) == 0 {
				continue
			}
			slowest, quickest := slices.Max(times[i]), slices.Min(times[i])
			t.Logf("%s, on %s: closed within %v of the request, at most; the bar is %v",
				way.name, []string{"this server", "the other"}[i], slowest.Round(100*time.Microsecond), bar)
			if quickest > 5*bar { // compare the quickest round, because a busy machine can make single rounds slow
				t.Errorf("%s: the streams closed within %v in the quickest round, more than five times %v", way.name, quickest, bar)
			}
		}
	}
}

// waitForKeys waits until a server accepts a token. It is needed because a server adopts a key
// that another server has replaced only within a second.
func waitForKeys(t *testing.T, r *running, bearer string) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; {
		status, body := r.chat(t, "GET", "", bearer, "")
		if status == 200 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("a token is refused: %d %s", status, body)
		}
	}
}

// TestCloseEndsStreams closes a server that has 20 open event streams over each version of HTTP.
// It checks that each client is told that the server is draining, that Close does not wait for
// the clients, and that the access log has the end of each stream when Close returns.
func TestCloseEndsStreams(t *testing.T) {
	c := settings(t)
	var ended atomic.Int64
	s := start(t, server.Options{Config: c, Access: func(r rest.Record) {
		if r.Note == "ended: draining" {
			ended.Add(1)
		}
	}})
	const each = 20
	var open []*stream
	for _, client := range s.clients(t) {
		user, err := s.CreateUser(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for range each {
			open = append(open, s.openStream(t, client, s.bearer(t, user), ""))
		}
	}
	var reading sync.WaitGroup
	for _, st := range open {
		reading.Go(func() {
			if bye, err := st.end(); err != nil || bye != `{"reason":"draining","delay":1000}` {
				t.Errorf("bye is %s, %v", bye, err)
			}
		})
	}
	ctx, cancel := context.WithTimeout(context.Background(), c.ShutdownTimeout)
	defer cancel()
	began := time.Now()
	if err := s.Close(ctx); err != nil {
		t.Errorf("close: %v", err)
	}
	if n := ended.Load(); int(n) != len(open) {
		t.Errorf("the access log has the end of %d streams, want %d", n, len(open))
	}
	t.Logf("a server with %d streams has closed within %v of %v", len(open), time.Since(began).Round(time.Millisecond), c.ShutdownTimeout)
	reading.Wait()
	s.client.CloseIdleConnections()
}

// TestCloseWaitsForTheAccessLog closes a server with an open stream. The function that logs the
// end of the stream takes a tenth of a second. It checks that Close does not return before that.
func TestCloseWaitsForTheAccessLog(t *testing.T) {
	closed, early := make(chan struct{}), make(chan bool, 1)
	s := start(t, server.Options{Config: settings(t), Access: func(r rest.Record) {
		if r.Note != "ended: draining" {
			return
		}
		select {
		case <-closed:
			early <- true
		case <-time.After(100 * time.Millisecond):
			early <- false
		}
	}})
	user, err := s.CreateUser(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.openStream(t, s.clients(t)["HTTP/1.1"], s.bearer(t, user), "")
	s.stop(t)
	close(closed)
	if <-early {
		t.Error("Close has returned before the end of the stream was in the access log")
	}
}

// TestFaultsOfStreams adds fault rules for event streams at /dev/faults. It checks that requests
// for streams are refused and cut off. It checks that the fault "live socket" breaks open
// streams without a bye, and that they can continue at their cursor.
func TestFaultsOfStreams(t *testing.T) {
	for _, protocol := range []string{"HTTP/1.1", "HTTP/2"} {
		t.Run(protocol, func(t *testing.T) { testFaultsOfStreams(t, protocol) })
	}
}

func testFaultsOfStreams(t *testing.T, name string) {
	s := start(t, server.Options{Config: settings(t, "dev", "true")})
	user, err := s.CreateUser(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	bearer := s.bearer(t, user)
	fault := func(body string, want string) {
		t.Helper()
		if status, answer := s.post(t, s.Endpoint+"/dev/faults", body); status != 201 || strings.TrimSpace(answer) != want {
			t.Errorf("add the fault %s: %d %s, want %s", body, status, answer, want)
		}
	}
	const cut = `{"operation":"live socket","drop":"after"}`
	fault(cut, `{"operation":"live socket","drop":"after","cut":0}`)
	c := s.clients(t)[name]
	fault(`{"operation":"open event stream","status":503,"retryAfter":7}`, `{"operation":"open event stream","status":503,"retryAfter":7,"times":1}`)
	if resp := s.askForStream(t, c, bearer, ""); resp.StatusCode != 503 || resp.Header.Get("Retry-After") != "7" {
		t.Errorf("%s: a refused request: %s, Retry-After %q", name, resp.Status, resp.Header.Get("Retry-After"))
	}
	one, two := s.openStream(t, c, bearer, ""), s.openStream(t, c, bearer, "")
	thread := s.newThread(t, bearer)
	created, err := one.next()
	if err != nil || !strings.Contains(created["data"], thread) {
		t.Fatalf("%s: got %v, %v", name, created, err)
	}
	if _, err := two.next(); err != nil {
		t.Fatal(err)
	}
	fault(cut, `{"operation":"live socket","drop":"after","cut":2}`)
	for _, st := range []*stream{one, two} {
		if m, err := st.next(); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("%s: a stream that was cut gives %v, %v; want a broken connection", name, m, err)
		}
	}
	if status, body := s.chat(t, "POST", "/"+thread+"/messages", bearer, `{"content":"missed"}`); status != 201 {
		t.Fatalf("send: %d %s", status, body)
	}
	again := s.openStream(t, c, bearer, "?cursor="+created["id"])
	if m, err := again.next(); err != nil || !strings.Contains(m["data"], "missed") {
		t.Errorf("%s: the stream continues with %v, %v", name, m, err)
	}
	again.resp.Body.Close()
	if n := s.Faults().Requests()["open event stream"]; n != 4 {
		t.Errorf("%d requests for streams are counted, want 4", n)
	}
	if len(s.Faults().List()) != 0 {
		t.Errorf("faults are left: %v", s.Faults().List())
	}
	if status, body := s.post(t, s.Endpoint+"/dev/faults", `{"operation":"live socket","drop":"before"}`); status != 400 || !strings.Contains(body, "name their operation") {
		t.Errorf("drop before: %d %s", status, body)
	}
}
