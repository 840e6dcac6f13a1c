package postgres

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/store/storetest"
)

// cluster is a PostgreSQL server that belongs to one test, which may kill it.
type cluster struct {
	t         *testing.T
	dir, port string
}

// newCluster creates and starts a server with an empty database named confab. It skips the test
// if TEST_POSTGRES_BIN, the folder of PostgreSQL's programs, is not set.
func newCluster(t *testing.T) *cluster {
	t.Helper()
	c := emptyCluster(t)
	c.run("initdb", "-D", c.data(), "-U", "confab", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-instructions", "--no-sync")
	c.start()
	execute(t, c.url("postgres"), `CREATE DATABASE confab`)
	return c
}

// emptyCluster returns a cluster with an empty folder and a free port. It has no server yet.
func emptyCluster(t *testing.T) *cluster {
	t.Helper()
	if os.Getenv("TEST_POSTGRES_BIN") == "" {
		t.Skip("TEST_POSTGRES_BIN is not set: scripts/postgres -- go test ./internal/store/postgres sets it")
	}
	dir, err := os.MkdirTemp("", "confab-cluster")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if os.Getuid() == 0 { // PostgreSQL refuses to run as root
		u, err := user.Lookup(os.Getenv("TEST_POSTGRES_USER"))
		if err != nil {
			t.Fatal(err)
		}
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		if err := os.Chown(dir, uid, gid); err != nil {
			t.Fatal(err)
		}
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer free.Close()
	_, port, _ := net.SplitHostPort(free.Addr().String())
	return &cluster{t: t, dir: dir, port: port}
}

func (c *cluster) data() string { return filepath.Join(c.dir, "data") }

// url returns the URL of a database of the cluster.
func (c *cluster) url(database string) string {
	return "postgres://confab@" + c.address() + "/" + database + "?sslmode=disable"
}

func (c *cluster) address() string { return "127.0.0.1:" + c.port }

// run runs a program of PostgreSQL as the user who owns the server's files.
func (c *cluster) run(program string, args ...string) {
	c.t.Helper()
	command := append([]string{filepath.Join(os.Getenv("TEST_POSTGRES_BIN"), program)}, args...)
	if user := os.Getenv("TEST_POSTGRES_USER"); os.Getuid() == 0 {
		command = append([]string{"setpriv", "--reuid=" + user, "--regid=" + user, "--init-groups", "--"}, command...)
	}
	if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
		c.t.Fatalf("%s %v: %v\n%s", program, args, err, out)
	}
}

// start starts the server. It is stopped when the test ends.
func (c *cluster) start() {
	c.t.Helper()
	options := fmt.Sprintf("-c listen_addresses=127.0.0.1 -c port=%s -c unix_socket_directories=%s -c shared_buffers=32MB", c.port, c.dir)
	c.run("pg_ctl", "-D", c.data(), "-l", filepath.Join(c.dir, "log"), "-o", options, "-s", "-w", "start")
	c.t.Cleanup(func() {
		if _, err := os.Stat(filepath.Join(c.data(), "postmaster.pid")); err == nil {
			c.kill()
		}
	})
}

// kill stops the server without a checkpoint, as a crash would.
func (c *cluster) kill() {
	c.t.Helper()
	c.run("pg_ctl", "-D", c.data(), "-s", "-m", "immediate", "stop")
}

// standby makes an asynchronous standby of the server and starts it.
func (c *cluster) standby() *cluster {
	c.t.Helper()
	s := emptyCluster(c.t)
	s.run("pg_basebackup", "-D", s.data(), "-h", "127.0.0.1", "-p", c.port, "-U", "confab", "-R", "-X", "stream", "-c", "fast", "--no-sync")
	s.start()
	return s
}

// redirect cuts all connections through the proxy. The proxy then forwards new connections to the
// given address.
func (c *cutter) redirect(to string) {
	c.mu.Lock()
	c.target = to
	c.mu.Unlock()
	c.cutAll()
}

// eventually calls do until it succeeds. It fails the test after 99 calls, which take about a
// minute. A server that has just replaced another one may refuse some connections.
func eventually(t *testing.T, do func() error) {
	t.Helper()
	var err error
	for try := range 99 {
		if err = do(); err == nil {
			return
		}
		if pause(t.Context(), try) != nil {
			break
		}
	}
	t.Fatal(err)
}

// cursorsOf returns, for each event, the cursor after it.
func cursorsOf(es []core.Event) (all []core.Cursor) {
	for _, e := range es {
		all = append(all, core.Cursor{Epoch: storetest.Initial.Epoch, Position: e.Position, Check: e.Check})
	}
	return all
}

// checkReplaced checks the log of a store whose server was replaced by another one. was has the
// events of the former log; the new server has only the first of them, common in number. The log
// must continue after the cursors of these events. After all later cursors it must report a gap and
// return no event.
func checkReplaced(t *testing.T, when string, s *Store, was []core.Event, common int) {
	t.Helper()
	now := follow(t, s).rest()
	if diff := cmp.Diff(was[:common], now[:min(common, len(now))]); diff != "" {
		t.Errorf("%s: the common events have changed (-was +is):\n%s", when, diff)
	}
	for i, c := range cursorsOf(was) {
		page, err := s.Log(context.Background(), c, 1000)
		switch lost := i >= common; {
		case err != nil:
			t.Errorf("%s: the log after %+v: %v", when, c, err)
		case lost && (page.Gap != core.GapLost || len(page.Events) != 0):
			t.Errorf("%s: the log after the lost event %d: gap %q, %d events", when, c.Position, page.Gap, len(page.Events))
		case !lost && (page.Gap != 0 || !slices.Equal(page.Events, now[i+1:])):
			t.Errorf("%s: the log after the kept event %d: gap %q, %d events, want %d", when, c.Position, page.Gap, len(page.Events), len(now)-i-1)
		}
	}
}

// writeEvents sends n messages alternately to the threads t and u, and gives the events positions.
// The messages, and the checks of their batches, get ascending numbers that begin with from. These
// numbers must be new for each call.
func writeEvents(t *testing.T, s *Store, from, n int) {
	t.Helper()
	for i := range n {
		applyAt(t, s, at, uint32(from+i), text([]string{"t", "u"}[i%2], fmt.Sprint(from+i)))
	}
	sequence(t, s)
}

// TestPromotedStandby stops the replication to a standby, writes more events, promotes the standby,
// and redirects a running store to it. Before the promotion, reads of the log must fail on the
// standby. After the promotion, the log must report a gap after events that the standby never got,
// even if it has written the same number of other events. It must continue after all other events.
func TestPromotedStandby(t *testing.T) {
	ctx := context.Background()
	primary := newCluster(t)
	proxy, url := behindCutter(t, primary.url("confab"))
	s := open(t, url)
	defer s.Close()
	mustApply(t, s, core.Applied, newThread("t"))
	mustApply(t, s, core.Applied, newThread("u"))
	writeEvents(t, s, 100, 5)
	standby := primary.standby()
	writeEvents(t, s, 200, 5)
	kept := follow(t, s).rest()
	replayed := one[string](t, s, `SELECT pg_current_wal_lsn()::text`)
	behind := dial(t, standby.url("confab"))
	defer behind.Close(ctx)
	eventually(t, func() error {
		var done bool
		err := behind.QueryRow(ctx, `SELECT pg_last_wal_replay_lsn() >= $1::pg_lsn`, replayed).Scan(&done)
		if err == nil && !done {
			err = errors.New("the standby has not replayed all")
		}
		return err
	})
	// Remove the primary's address from the standby, so that it receives no more writes.
	for _, sql := range []string{`ALTER SYSTEM SET primary_conninfo = ''`, `SELECT pg_reload_conf()`} {
		if _, err := behind.Exec(ctx, sql); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, func() error {
		var receivers int
		err := behind.QueryRow(ctx, `SELECT count(*) FROM pg_stat_wal_receiver`).Scan(&receivers)
		if err == nil && receivers > 0 {
			err = errors.New("the standby still receives")
		}
		return err
	})
	writeEvents(t, s, 300, 9)
	was := follow(t, s).rest()
	if len(kept) != 12 || len(was) != 21 {
		t.Fatalf("the log has %d and then %d events", len(kept), len(was))
	}

	proxy.redirect(standby.address())
	if _, err := s.Log(ctx, cursorsOf(was)[20], 10); !errors.Is(err, core.ErrUnavailable) {
		t.Errorf("the log of a standby: %v", err)
	}
	if _, err := s.Sequence(ctx); !errors.Is(err, core.ErrUnavailable) {
		t.Errorf("positions on a standby: %v", err)
	}
	primary.kill()
	standby.run("pg_ctl", "-D", standby.data(), "-s", "-w", "promote")
	eventually(t, func() error { _, err := s.Tip(ctx); return err })
	checkReplaced(t, "after the promotion", s, was, 12)
	writeEvents(t, s, 400, 3)
	checkReplaced(t, "with fewer events than were lost", s, was, 12)
	writeEvents(t, s, 500, 6)
	checkReplaced(t, "with as many events as were lost", s, was, 12)
	writeEvents(t, s, 600, 4)
	checkReplaced(t, "with more events than were lost", s, was, 12)
}

// TestRestoredDump dumps the database of a running store, restores the dump into a new server, and
// redirects the store to it. The log must report a gap after events written since the dump, and
// must continue after all earlier events.
func TestRestoredDump(t *testing.T) {
	old := newCluster(t)
	proxy, url := behindCutter(t, old.url("confab"))
	s := open(t, url)
	defer s.Close()
	mustApply(t, s, core.Applied, newThread("t"))
	mustApply(t, s, core.Applied, newThread("u"))
	writeEvents(t, s, 100, 6)
	applyAt(t, s, at, 199, text("t", "has no position when it is dumped"))
	dump := filepath.Join(old.dir, "dump")
	old.run("pg_dump", "-h", "127.0.0.1", "-p", old.port, "-U", "confab", "-Fc", "-f", dump, "confab")
	sequence(t, s)
	writeEvents(t, s, 200, 6)
	was := follow(t, s).rest()

	fresh := newCluster(t)
	old.run("pg_restore", "-h", "127.0.0.1", "-p", fresh.port, "-U", "confab", "-d", "confab", dump)
	proxy.redirect(fresh.address())
	old.kill()
	eventually(t, func() error { _, err := s.Tip(context.Background()); return err })
	checkReplaced(t, "after the restore", s, was, 8)
	sequence(t, s)
	checkReplaced(t, "with the event that had no position", s, was, 9)
	writeEvents(t, s, 300, 3)
	checkReplaced(t, "with fewer events than were lost", s, was, 9)
	writeEvents(t, s, 400, 6)
	checkReplaced(t, "with more events than were lost", s, was, 9)
}

// TestCrashBesideAsynchronousCommits crashes a server three times under load: two stores write,
// two goroutines give positions to events, and a reader follows the log. Another database of
// the server commits asynchronously, and so loses transactions. No acknowledged event may be
// lost, and the log must not change after the reader has read it.
func TestCrashBesideAsynchronousCommits(t *testing.T) {
	ctx := context.Background()
	c := newCluster(t)
	execute(t, c.url("postgres"), `CREATE DATABASE careless`)
	execute(t, c.url("careless"), `ALTER DATABASE careless SET synchronous_commit = off; CREATE TABLE lost (n int)`)
	stores := []*Store{open(t, c.url("confab")), open(t, c.url("confab"))}
	for _, s := range stores {
		defer s.Close()
	}
	careless, err := pgxpool.New(ctx, c.url("careless"))
	if err != nil {
		t.Fatal(err)
	}
	defer careless.Close()
	const threads = 4
	for n := range threads {
		mustApply(t, stores[0], core.Applied, newThread(fmt.Sprint("t", n)))
	}
	stop, progress := make(chan struct{}), make(chan struct{})
	var workers sync.WaitGroup
	end := sync.OnceFunc(func() { close(stop); workers.Wait() })
	defer end()
	var mu sync.Mutex // guards acked
	acked := map[string]bool{}
	var checks atomic.Uint32
	for i, s := range stores {
		for lane := range lanes {
			workers.Go(func() {
				n := 0
				until(stop, func() {
					id := fmt.Sprint("t", n%threads)
					content := fmt.Sprintf("%d/%d/%d", i, lane, n)
					if n++; core.LaneOf(id, lanes) != lane {
						return
					}
					change := text(id, content)
					if n%7 == 0 {
						change.Revision = 99 // makes the change stale, so the batch draws a number and writes nothing
					}
					os, err := s.Apply(ctx, core.Batch{At: at, Check: checks.Add(1), Changes: []*core.Change{change}})
					if err != nil || os[0].Status != core.Applied {
						return
					}
					mu.Lock()
					acked[content] = true
					mu.Unlock()
					select {
					case progress <- struct{}{}:
					default:
					}
				})
			})
		}
		workers.Go(func() {
			until(stop, func() {
				if _, err := s.Sequence(ctx); err != nil && !errors.Is(err, core.ErrUnavailable) {
					t.Errorf("give positions: %v", err)
				}
			})
		})
	}
	workers.Go(func() {
		until(stop, func() { careless.Exec(ctx, `INSERT INTO lost SELECT generate_series(1, 10)`) })
	})
	f := follow(t, stores[1])
	var seen []core.Event
	workers.Go(func() {
		at := f.at
		until(stop, func() {
			page, err := stores[1].Log(ctx, at, 100)
			if err != nil && !errors.Is(err, core.ErrUnavailable) || page.Gap != 0 {
				t.Errorf("the log after %+v: gap %q, %v", at, page.Gap, err)
			}
			if err == nil {
				seen, at = append(seen, page.Events...), page.Next
			}
		})
	})
	for range 3 {
		for range 60 {
			<-progress
		}
		c.kill()
		c.start()
	}
	for range 30 {
		<-progress
	}
	end()
	sequence(t, stores[0])
	log := f.rest()
	if len(seen) > len(log) || !slices.Equal(seen, log[:len(seen)]) {
		t.Errorf("the log has changed behind the reader of %d events", len(seen))
	}
	for n := range threads {
		th, err := stores[0].Thread(ctx, fmt.Sprint("t", n))
		if err != nil || th.LastEvent != f.numbers[th.ID] {
			t.Errorf("%s has event %d, the log ends with %d: %v", th.ID, th.LastEvent, f.numbers[th.ID], err)
		}
		for _, content := range contents(t, stores[0], th.ID) {
			delete(acked, content)
		}
	}
	if len(acked) > 0 {
		t.Errorf("%d acknowledged messages were lost", len(acked))
	}
	t.Logf("the log has %d events, %d of them seen meanwhile", len(log), len(seen))
}
