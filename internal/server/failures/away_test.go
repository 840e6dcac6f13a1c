//go:build unix

package failures

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Goals of TestDatabaseAway: the time within which a request that wrote nothing is refused, and
// the longest time for which any request may wait.
const (
	refusedWithin  = 15 * time.Second
	answeredWithin = 20 * time.Second
	awaySenders    = 48
	// readyWithin is the time within which /readyz should fail after PostgreSQL stops, and
	// succeed after it starts again.
	readyWithin = 10 * time.Second
)

// TestDatabaseAway makes PostgreSQL unreachable for two servers under load, for 5 and for 20
// seconds. It does so once by pausing PostgreSQL's processes, and once by killing PostgreSQL and
// starting it again later. It compares the responses that the clients received with the servers'
// logs: every logged response must have been received, and every received response must be logged.
// A request that wrote nothing must get a 503 with Retry-After. A request that may have written
// something must get no response, and is counted. /readyz must fail while PostgreSQL is
// unreachable.
//
// Then the test stops PostgreSQL and starts it again, TEST_DATABASE_STOPS times. Each time
// /readyz, confab health and the metrics must report that PostgreSQL is unreachable, and later
// that it can be reached again.
func TestDatabaseAway(t *testing.T) {
	address := database(t)
	away := []time.Duration{5 * time.Second}
	if v := os.Getenv("TEST_AWAY"); v != "" {
		away = nil
		for text := range strings.SplitSeq(v, ",") {
			d, err := time.ParseDuration(text)
			if err != nil {
				t.Fatal(err)
			}
			away = append(away, d)
		}
	}
	c := newServers(t)
	c.logs = true
	c.onDatabase(t, address, "CONFAB_LOG_LEVEL=info", "CONFAB_LOG_FORMAT=json", "CONFAB_ACCESS_LOG=all")
	l := &awayLoad{load: c.newLoad(t), received: map[string]answer{}}
	for i := range awaySenders {
		l.clients.Go(func() { l.run(i) })
	}
	t.Cleanup(l.abandon)
	for _, d := range away {
		for _, way := range []struct {
			name       string
			take, give func(*testing.T)
		}{
			{"stopped", func(t *testing.T) { c.signalPostgres(t, syscall.SIGSTOP) }, func(t *testing.T) { c.signalPostgres(t, syscall.SIGCONT) }},
			{"killed", func(t *testing.T) { c.ctl(t, "stop", "-m", "immediate") },
				func(t *testing.T) { c.ctl(t, "start", "-w", "-l", filepath.Join(c.postgres.data, "again.log")) }},
		} {
			l.waitForProgress(t)
			before := l.seen()
			way.take(t)
			back := time.After(d)
			if d > 10*time.Second {
				c.waitForReady(t, http.StatusServiceUnavailable)
			}
			<-back
			way.give(t)
			c.waitForReady(t, http.StatusOK)
			l.waitForProgress(t)
			t.Logf("%s for %v: %s", way.name, d, l.seen().less(before))
		}
	}
	stops := 1
	if v := os.Getenv("TEST_DATABASE_STOPS"); v != "" {
		var err error
		if stops, err = strconv.Atoi(v); err != nil {
			t.Fatal(err)
		}
	}
	for i := range stops {
		c.stopAndStart(t, l, []string{"fast", "immediate"}[i%2])
	}
	l.stop()
	l.verify(t)
	c.stopServers(t)
	l.compare(t)
}

// stopAndStart stops PostgreSQL under load. It starts PostgreSQL again when the servers report
// that they are not ready and at least one request was refused.
func (c *cluster) stopAndStart(t *testing.T, l *awayLoad, mode string) {
	t.Helper()
	l.waitForProgress(t)
	before := l.seen()
	c.ctl(t, "stop", "-m", mode)
	began := time.Now()
	c.waitForReady(t, http.StatusServiceUnavailable)
	lost := time.Since(began)
	for i := range c.nodes {
		c.health(t, i, 1, "confab: the server is not ready: the database is away: it refuses connections (503).\n")
		if up := c.nodes[i].metric("confab_database_up"); up != 0 {
			t.Errorf("server %d: confab_database_up is %d while the database is stopped", i, up)
		}
	}
	for deadline := time.Now().Add(time.Minute); l.seen().refused == before.refused; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("no request is refused while the database is stopped")
		}
	}
	c.ctl(t, "start", "-w", "-l", filepath.Join(c.postgres.data, "again.log"))
	began = time.Now()
	c.waitForReady(t, http.StatusOK)
	back := time.Since(began)
	for i := range c.nodes {
		c.health(t, i, 0, "")
		if up, most := c.nodes[i].metric("confab_database_up"), c.nodes[i].metric("confab_database_connections_most"); up != 1 || most != 16 {
			t.Errorf("server %d: confab_database_up is %d, and it makes %d connections at most; want 1 and 16", i, up, most)
		}
	}
	l.waitForProgress(t)
	t.Logf("stopped (%s) and started: /readyz failed after %.1f s and was back after %.1f s, bar %v; %s",
		mode, lost.Seconds(), back.Seconds(), readyWithin, l.seen().less(before))
	if max(lost, back) > 5*readyWithin {
		t.Error("/readyz took more than five times its bar")
	}
}

// health runs confab health for a server, and checks its exit code and its text on stderr. It
// repeats this for at most a minute, because the command gives a busy server only two seconds to
// answer.
func (c *cluster) health(t *testing.T, i, code int, want string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		var said bytes.Buffer
		cmd := exec.Command(c.binary, "health", "--data", c.nodes[i].dir)
		cmd.Stderr = &said
		err := cmd.Run()
		if got := cmd.ProcessState.ExitCode(); got == code && said.String() == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("server %d: confab health: %v, %q; want exit code %d and %q", i, err, said.String(), code, want)
		}
	}
}

// signalPostgres sends a signal to all processes of PostgreSQL.
func (c *cluster) signalPostgres(t *testing.T, s syscall.Signal) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(c.postgres.data, "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	line, _, _ := strings.Cut(string(text), "\n")
	postmaster, err := strconv.Atoi(line)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(postmaster, s); err != nil { // signal the postmaster, PostgreSQL's first process, before all others, so that it starts no other processes
		t.Fatal(err)
	}
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range stats {
		stat, err := os.ReadFile(path)
		if err != nil {
			continue // the process has ended
		}
		// After the process name, which is in parentheses, the next fields are the state of the process
		// and the id of its parent.
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil && fields[1] == line {
			syscall.Kill(pid, s) // ignore the error, because it only means that the process has ended
		}
	}
}

// waitForReady waits until /readyz of each server answers with the status.
func (c *cluster) waitForReady(t *testing.T, status int) {
	t.Helper()
	for i, n := range c.nodes {
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
			resp, err := http.Get("http://" + n.ops() + "/readyz")
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode == status {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("server %d: /readyz answers %d, want %d", i, resp.StatusCode, status)
			}
		}
	}
}

// stopServers stops the servers. After that their logs are complete.
func (c *cluster) stopServers(t *testing.T) {
	t.Helper()
	for _, n := range c.nodes {
		n.client.CloseIdleConnections()
		n.signal(t, syscall.SIGTERM)
		n.mu.Lock()
		n.cmd.Wait()
		n.mu.Unlock()
	}
}

// answer is the response that a client received for a request.
type answer struct {
	status     int // 0: the client received no response
	retryAfter string
	took       time.Duration
}

// awayLoad is a load whose requests have ids, so that a test can find the log line of each request
// in a server's log.
type awayLoad struct {
	*load
	mu       sync.Mutex // guards the fields below
	received map[string]answer
	sum      summary
}

// summary has the number of responses of each kind, and the longest times for which clients waited
// for a response.
type summary struct {
	all, refused, none      int
	longest, longestRefusal time.Duration // the longest times since seen was last called
}

func (s summary) less(o summary) string {
	return fmt.Sprintf("%d requests, %d answered 503, the last after %.1f s, %d without an answer; the longest took %.1f s",
		s.all-o.all, s.refused-o.refused, s.longestRefusal.Seconds(), s.none-o.none, s.longest.Seconds())
}

// seen returns the counts since the start, and the longest times since the last call of seen.
func (l *awayLoad) seen() summary {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.sum
	l.sum.longest, l.sum.longestRefusal = 0, 0
	return s
}

// run sends, one after another, a message with an idempotency token, a message without one, and
// a request for messages. It repeats a message with a token until it is acknowledged.
func (l *awayLoad) run(client int) {
	for n := 0; ; n++ {
		content := fmt.Sprintf("%d/%d", client, n)
		for try := 0; ; try++ {
			select {
			case <-l.abandoned:
				return
			case <-l.stopped:
				if n%3 != 0 || try == 0 {
					return
				}
			default:
			}
			node, thread := l.nodes[(client+try)%2], l.threads[(client+n)%len(l.threads)]
			id := fmt.Sprintf("%s/%d", content, try)
			if n%3 == 2 {
				l.request(node, id, "GET", "/chat/threads/"+thread+"/messages"+version+"&maxPageSize=2", "", nil)
				break
			}
			if l.send(node, id, thread, content, n%3 == 0) || n%3 != 0 {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
}

// send sends a message and records the response. It reports whether the message was
// acknowledged.
func (l *awayLoad) send(n *node, id, thread, content string, withToken bool) bool {
	token := ""
	if withToken {
		token = content
	}
	l.load.mu.Lock()
	l.attempts[content]++
	l.tokens[content] = withToken
	l.load.mu.Unlock()
	a, body := l.request(n, id, "POST", "/chat/threads/"+thread+"/messages"+version, token, map[string]string{"content": content})
	var sent struct{ ID string }
	l.load.mu.Lock()
	defer l.load.mu.Unlock()
	l.outcomes[a.status]++
	if a.status == 503 {
		l.attempts[content]-- // do not count the attempt, because a 503 means that nothing was written
	}
	if a.status == 201 && json.Unmarshal(body, &sent) == nil {
		l.acked[content] = sent.ID
	}
	return a.status == 201
}

// request sends a request with the given id, and records the response, so that the method compare
// can look for it in the logs.
func (l *awayLoad) request(n *node, id, method, path, token string, body any) (a answer, text []byte) {
	b, err := json.Marshal(body)
	if err != nil {
		panic(err)
	}
	req, err := http.NewRequest(method, "https://"+n.listen+path, bytes.NewReader(b))
	if err != nil {
		panic(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+l.bearer)
	req.Header.Set("x-ms-client-request-id", id)
	if token != "" {
		req.Header.Set("repeatability-request-id", token)
	}
	began := time.Now()
	if res, err := n.client.Do(req); err == nil {
		var all bytes.Buffer
		if _, err := all.ReadFrom(res.Body); err == nil {
			a.status, a.retryAfter, text = res.StatusCode, res.Header.Get("Retry-After"), all.Bytes()
		}
		res.Body.Close()
	}
	a.took = time.Since(began)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.received[id] = a
	l.sum.all++
	l.sum.longest = max(l.sum.longest, a.took)
	switch a.status {
	case 0:
		l.sum.none++
	case 503:
		l.sum.refused++
		l.sum.longestRefusal = max(l.sum.longestRefusal, a.took)
	}
	return a, text
}

// compare compares the responses that the clients received with the servers' logs. It fails the
// test if a response is only in the logs or was only received, or if the two have different
// statuses.
func (l *awayLoad) compare(t *testing.T) {
	t.Helper()
	var longest, refused time.Duration
	for id, got := range l.received {
		longest = max(longest, got.took)
		if got.status == 503 {
			refused = max(refused, got.took)
			if got.retryAfter == "" {
				t.Errorf("the request %s got a 503 without Retry-After", id)
			}
		}
	}
	logged, unknown, unsaid := 0, 0, false
	for i, n := range l.nodes {
		for lines := bufio.NewScanner(n.log); lines.Scan(); {
			var line struct {
				Msg, Note, Operation string
				Request              string `json:"client_request"`
				Status               int
			}
			if err := json.Unmarshal(lines.Bytes(), &line); err != nil || line.Msg != "request" {
				unsaid = unsaid || strings.HasPrefix(line.Msg, "more requests were refused")
				continue
			}
			got, ours := l.received[line.Request]
			if !ours {
				continue
			}
			logged++
			delete(l.received, line.Request)
			if strings.HasPrefix(line.Note, "no answer: it is not known") {
				unknown++
			}
			if got.status != line.Status {
				t.Errorf("server %d logged %d (%s) for the request %s, its client got %d after %v", i, line.Status, line.Note, line.Request, got.status, got.took)
			}
			if got.status >= 500 && got.status != 503 {
				t.Errorf("the request %s got %d: %s", line.Request, got.status, line.Note)
			}
		}
	}
	for id, got := range l.received {
		if got.status != 0 && !(got.status == 503 && unsaid) { // a missing log line is allowed for a refusal, because a log leaves out refusals above 100 a second
			t.Errorf("the request %s got %d, and no server has logged it", id, got.status)
		}
	}
	if logged == 0 {
		t.Error("no request is in the logs")
	}
	t.Logf("the longest request took %v, bar %v; the longest that was refused with 503 %v, bar %v",
		longest, answeredWithin, refused, refusedWithin)
	if longest > 5*answeredWithin || refused > 5*refusedWithin {
		t.Error("a request took more than five times its bar")
	}
	t.Logf("%d requests are in the logs, with what their clients got; %d of them of unknown fate, without an answer", logged, unknown)
}
