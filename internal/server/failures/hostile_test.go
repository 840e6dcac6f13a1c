//go:build unix

package failures

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Limits and goals of TestHostile.
const (
	hostileP99    = 250 * time.Millisecond // goal for the 99th percentile of the time of the honest user's requests; the test fails at five times that
	hostileMemory = 512 << 20              // limit of the server's resident memory in bytes
	hostileLog    = 10 << 20               // limit of the log's size in bytes
	hostileCalm   = time.Minute            // time after the attack within which the server must use no more resources than before the attack
)

// TestHostile attacks a server in all ways at once, while one honest user sends and reads
// messages. The attacks are slow clients, bodies that never end, streams that are reset, floods of
// connections, giant metadata, and storms of lists. No request of the honest user may fail, memory
// and log must stay below limits, and after the attack the server must use no more resources than
// before. `make hostile` runs the test for a minute, divided between the two engines, and `make
// soak` runs it for five.
func TestHostile(t *testing.T) {
	span, err := time.ParseDuration(os.Getenv("TEST_HOSTILE"))
	if err != nil {
		t.Skip("set TEST_HOSTILE, to 1m for example, to attack a server for that long: make hostile")
	}
	address := os.Getenv("TEST_POSTGRES_URL")
	if address != "" {
		span /= 2
	}
	t.Run("embedded", func(t *testing.T) {
		attackServer(t, newServers(t), span)
	})
	t.Run("postgres", func(t *testing.T) {
		if address == "" {
			t.Skip("set TEST_POSTGRES_URL to attack a server on PostgreSQL: scripts/postgres -- make hostile")
		}
		c := newServers(t)
		c.address = freshDatabase(t, address)
		attackServer(t, c, span, "CONFAB_DATABASE="+c.address)
	})
}

// attackServer starts a server and attacks it for the given time.
func attackServer(t *testing.T, c *cluster, span time.Duration, env ...string) {
	log := filepath.Join(t.TempDir(), "log")
	n := c.addNode(t, append(env, opsOn(t), logVariable+log, "CONFAB_LIMITS=fair", "CONFAB_LOG_LEVEL=info")...)
	honest, giant, lists := c.newUser(t, n), c.newUser(t, n), c.newUser(t, n)
	calm := c.newThread(t, n, honest.bearer, nil)
	stormy := c.newThread(t, n, lists.bearer, nil)
	text := strings.Repeat("many words ", 2<<10)
	for range 200 { // send enough messages for a page of 4 MB
		if status, answer := c.ask(n, "POST", "/chat/threads/"+stormy+"/messages"+version, lists.bearer, "", map[string]string{"content": text}); status != 201 {
			t.Fatalf("send: %d %s", status, answer)
		}
	}
	one := &honestUser{cluster: c, node: n, user: honest, thread: calm}
	one.run(t.Context(), 2*time.Second) // warm the server up before its resources are measured
	one.took = nil
	n.client.CloseIdleConnections()
	before := n.figures(t)

	ctx, stop := context.WithTimeout(t.Context(), span)
	defer stop()
	attack := startAttack(t, target{Address: n.listen, Giant: giant.bearer, Lists: lists.bearer, Thread: stormy})
	most := before
	var watching sync.WaitGroup
	watching.Go(func() {
		for ; ctx.Err() == nil; waitFor(ctx, 100*time.Millisecond) {
			most = most.greatest(n.figures(t))
		}
	})
	began := time.Now()
	one.run(ctx, span)
	watching.Wait()
	counts := attack.stop(t)
	took := time.Since(began)
	n.client.CloseIdleConnections()

	for name, count := range counts {
		t.Logf("attackers: %9d %s, %.0f a second", count, name, float64(count)/took.Seconds())
		if count == 0 {
			t.Errorf("no attack: %s", name)
		}
	}
	t.Logf("connections: %d open at most, %d refused, %d displaced, %d dropped for bodies or resets, %d pauses of accepting", most.connections,
		n.metric("confab_connections_refused_total"), n.metric("confab_connections_displaced_total"), n.metric("confab_connections_dropped_total"), n.metric("confab_accept_pauses_total"))
	slices.Sort(one.took)
	if len(one.took) == 0 {
		t.Fatal("the honest user had no answer at all")
	}
	p99 := one.took[len(one.took)*99/100]
	t.Logf("honest user: %d requests, p50 %v, p99 %v (goal %v), longest %v, failed %v", len(one.took), one.took[len(one.took)/2], p99, hostileP99, one.took[len(one.took)-1], one.failed)
	if len(one.failed) > 0 {
		t.Errorf("requests of the honest user failed: %v", one.failed)
	}
	if p99 > 5*hostileP99 {
		t.Errorf("p99 of the honest user: %v, more than five times %v", p99, hostileP99)
	}
	st, err := os.Stat(log)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("server: %d MiB resident at most, %d KiB of log, %d open files, %d goroutines at most", most.resident>>20, st.Size()>>10, most.files, most.goroutines)
	if most.resident > hostileMemory {
		t.Errorf("%d MiB were resident, want at most %d", most.resident>>20, hostileMemory>>20)
	}
	if st.Size() > hostileLog {
		t.Errorf("the log has %d KiB, want at most %d", st.Size()>>10, hostileLog>>10)
	}
	awaitCalm(t, n, before)
}

// awaitCalm waits until a server has about as many connections, files and goroutines as before
// the attack.
func awaitCalm(t *testing.T, n *node, before figures) {
	t.Helper()
	for deadline := time.Now().Add(hostileCalm); ; time.Sleep(100 * time.Millisecond) {
		now := n.figures(t)
		// The store opens and closes files and starts goroutines all the time. So up to 16 more than
		// before the attack do not mean a leak.
		if now.connections <= before.connections && now.held == 0 && now.files <= before.files+16 && now.goroutines <= before.goroutines+16 {
			t.Logf("as before: %+v, then %+v", before, now)
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("the server is not as before: %+v, then %+v", before, now)
			return
		}
	}
}

// figures has the resources that a server uses at one moment.
type figures struct {
	connections, files, goroutines int
	held, resident                 int64 // bytes of held request bodies and of resident memory
}

func (f figures) greatest(g figures) figures {
	return figures{max(f.connections, g.connections), max(f.files, g.files), max(f.goroutines, g.goroutines), max(f.held, g.held), max(f.resident, g.resident)}
}

// figures returns the resources that the server uses now.
func (n *node) figures(t *testing.T) figures {
	n.mu.Lock()
	process := filepath.Join("/proc", strconv.Itoa(n.cmd.Process.Pid))
	n.mu.Unlock()
	f := figures{
		connections: n.metric("confab_connections "), goroutines: n.metric("go_goroutines "), held: int64(n.metric("confab_request_bytes_held ")),
	}
	files, err := os.ReadDir(filepath.Join(process, "fd"))
	if err != nil {
		t.Errorf("the server has ended, or this system has no /proc: %v", err)
	}
	f.files = len(files)
	status, err := os.ReadFile(filepath.Join(process, "status"))
	if err != nil {
		t.Error(err)
	}
	for line := range strings.Lines(string(status)) {
		if kib, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			if _, err := fmt.Sscan(kib, &f.resident); err != nil {
				t.Error(err)
			}
			f.resident <<= 10
		}
	}
	return f
}

// honestUser sends and reads messages, one request after the other, like a person who types fast.
type honestUser struct {
	*cluster
	node   *node
	user   user
	thread string
	took   []time.Duration
	failed map[string]int
}

// run sends requests until the time span is over or ctx is done.
func (h *honestUser) run(ctx context.Context, span time.Duration) {
	h.failed = map[string]int{}
	for end, i := time.Now().Add(span), 0; time.Now().Before(end); i++ {
		method, path, want, body := "POST", "/chat/threads/"+h.thread+"/messages"+version, 201, any(map[string]string{"content": fmt.Sprint("message ", i)})
		switch i % 4 {
		case 1:
			method, path, want, body = "GET", path+"&maxPageSize=20", 200, nil
		case 3:
			method, path, want, body = "GET", "/chat/threads/"+h.thread+version, 200, nil
		}
		began := time.Now()
		status, answer := h.ask(h.node, method, path, h.user.bearer, "", body)
		h.took = append(h.took, time.Since(began))
		if status != want {
			h.failed[fmt.Sprintf("%s %d %s", method, status, answer[max(0, len(answer)-80):])]++
		}
		waitFor(ctx, 20*time.Millisecond)
	}
}

// attackers is the process that runs the attackers.
type attackers struct {
	cmd *exec.Cmd
	out bytes.Buffer
}

func startAttack(t *testing.T, to target) *attackers {
	t.Helper()
	text, err := json.Marshal(to)
	if err != nil {
		t.Fatal(err)
	}
	a := &attackers{cmd: exec.Command("nice", "-n", "19", os.Args[0])}
	a.cmd.Env = append(os.Environ(), attackVariable+"="+string(text))
	a.cmd.Stdout, a.cmd.Stderr = &a.out, os.Stderr
	if err := a.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.cmd.Process.Kill() })
	return a
}

// stop ends the attack and returns the number of attacks of each kind.
func (a *attackers) stop(t *testing.T) (counts map[string]int64) {
	t.Helper()
	a.cmd.Process.Signal(syscall.SIGTERM)
	if err := a.cmd.Wait(); err != nil {
		t.Errorf("the attackers: %v", err)
	}
	if err := json.Unmarshal(a.out.Bytes(), &counts); err != nil {
		t.Errorf("the attackers say %q: %v", a.out.Bytes(), err)
	}
	return counts
}
