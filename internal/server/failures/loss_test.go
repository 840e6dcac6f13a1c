//go:build unix

package failures

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// The number of threads, writers and readers in TestLoss, and its times.
const (
	lossThreads  = 200
	lossWriters  = 50
	lossReaders  = 100 // number of readers; some users have several
	lossUsers    = 75  // number of users who read threads
	usersPerRoom = 8   // number of users who read each thread
	lossLoad     = 4 * time.Second
	lossPatience = 30 * time.Second // the longest time after a round for the readers to receive all events
)

// TestLoss runs 100 readers of live events in 200 threads while 50 writers change the threads. At
// random moments it cuts the readers' connections, disconnects readers for some time, and kills
// and restarts the servers. After each round it compares the events that every reader has received
// with an export of the store. A reader must have received each event that it may see, exactly
// once and in the order of the thread, and no other event.
func TestLoss(t *testing.T) {
	v := os.Getenv("TEST_LOSS_ROUNDS")
	if v == "" {
		t.Skip("set TEST_LOSS_ROUNDS, to 8 for example, to lose connections and servers so many times: scripts/postgres -- go test -run TestLoss ./internal/server/failures")
	}
	rounds, err := strconv.Atoi(v)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("embedded", func(t *testing.T) {
		c := newServers(t)
		c.addNode(t, opsOn(t), "CONFAB_CONNECTIONS_PER_ADDRESS=0")
		runLoss(t, c, rounds)
	})
	t.Run("postgres", func(t *testing.T) {
		address := database(t)
		c := newServers(t)
		c.address = freshDatabase(t, address)
		c.postgres = postgres{os.Getenv("TEST_POSTGRES_BIN"), os.Getenv("TEST_POSTGRES_DATA"), os.Getenv("TEST_POSTGRES_USER")}
		for i := range 2 {
			c.addNode(t, "CONFAB_DATABASE="+named(t, c.address, nodeName(i)), opsOn(t), "CONFAB_CONNECTIONS_PER_ADDRESS=0")
		}
		runLoss(t, c, rounds)
	})
}

// opsOn returns an environment variable that makes a server serve its metrics on a free port.
func opsOn(t *testing.T) string { return opsVariable + freePort(t) }

// loss is the state of TestLoss on one engine.
type loss struct {
	*cluster
	readers []*reader
	writers []*writer
	rooms   []*room
	records

	running  sync.WaitGroup // the goroutines of the readers
	calm     atomic.Bool    // whether readers must answer every event
	kills    []outage
	catchUps int
	told     totals // the totals after the previous round
}

// outage is the time during which a server or PostgreSQL did not run.
type outage struct {
	from, to time.Time
	drained  bool // whether the server was stopped by SIGTERM, so that it could end its connections
}

// totals has sums over all readers.
type totals struct{ expected, got, doubled, missing, reconnects, kills, catchUps, gaps int }

func runLoss(t *testing.T, c *cluster, rounds int) {
	l := &loss{cluster: c, records: newRecords()}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(func() { cancel(); l.running.Wait() })
	l.fill(t, ctx)
	for round := range rounds {
		begin := time.Now()
		l.round(t, round)
		l.settle(t)
		l.report(t, round, time.Since(begin))
		if t.Failed() {
			return
		}
	}
}

// fill creates users, readers and threads. It connects the readers before it creates the threads,
// except the readers that select threads, which it connects later.
func (l *loss) fill(t *testing.T, ctx context.Context) {
	t.Helper()
	begin := time.Now()
	defer func() {
		t.Logf("%d threads are there after %v", lossThreads, time.Since(begin).Round(time.Millisecond))
	}()
	users := make([]user, lossUsers)
	for i := range users {
		users[i] = l.newUser(t, l.nodes[0])
	}
	trouter := l.speaksTrouter()
	t.Logf("half of the readers speak the protocol of the official SDKs: %v", trouter)
	for i := range lossReaders {
		l.readers = append(l.readers, l.newReader(i, users[i%lossUsers], trouter))
	}
	for _, r := range l.readers {
		if !r.selects {
			l.start(ctx, r)
		}
	}
	l.await(t, "readers do not connect", false, func() bool { return l.connected(t, false) })
	for i := range lossWriters {
		l.writers = append(l.writers, &writer{loss: l, number: i, user: l.newUser(t, l.nodes[0])})
	}
	l.rooms = make([]*room, lossThreads)
	for i := range l.rooms {
		l.rooms[i] = &room{owner: i % lossWriters}
		for j := range usersPerRoom {
			l.rooms[i].users = append(l.rooms[i].users, users[(i*7+j*11)%lossUsers].id)
		}
		for _, w := range []int{0, 7, 23} {
			w = (i + w) % lossWriters
			l.rooms[i].writers = append(l.rooms[i].writers, w)
			l.writers[w].rooms = append(l.writers[w].rooms, l.rooms[i])
		}
	}
	var making sync.WaitGroup
	for _, w := range l.writers {
		making.Go(func() {
			for _, r := range w.rooms {
				if r.owner == w.number && w.create(r) != 201 {
					t.Error("a thread is not created")
				}
			}
		})
	}
	making.Wait()
	if t.Failed() {
		t.FailNow()
	}
	made := l.export(t)
	for _, r := range l.readers {
		if r.selects {
			r.since = map[string]uint64{}
			for id, th := range made.threads {
				if th.members[r.user.id] != nil && len(r.since) < 5 {
					r.since[id] = uint64(len(th.events))
				}
			}
			l.start(ctx, r)
		}
	}
	l.await(t, "readers that select threads do not connect", true, func() bool { return l.connected(t, true) })
}

// connected reports whether all readers that select threads are connected. If the argument selects
// is false, it reports whether all other readers are connected. It fails the test if a reader
// cannot connect.
func (l *loss) connected(t *testing.T, selects bool) bool {
	for _, r := range l.readers {
		if r.selects == selects && !r.ready() {
			r.mu.Lock()
			defer r.mu.Unlock()
			if len(r.problems) > 0 {
				t.Fatalf("%s does not connect: %v (%s)", r.name, r.last, r.problems[0])
			}
			return false
		}
	}
	return true
}

// await waits until the function holds returns true. After lossPatience it fails the test with the
// given text, and with the error of a reader that has not connected, if there is one. It looks
// only at readers whose field selects has the given value.
func (l *loss) await(t *testing.T, otherwise string, selects bool, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(lossPatience); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			for _, r := range l.readers {
				if !r.ready() && r.selects == selects {
					t.Fatalf("%s: %s: %v", otherwise, r.name, r.last)
				}
			}
			t.Fatal(otherwise)
		}
	}
}

// round runs the writers for a time, and meanwhile disturbs the servers and the readers. At the
// end it stops disturbing but lets the writers continue, so that every reader receives events
// after the ones that it may have missed.
func (l *loss) round(t *testing.T, round int) {
	l.calm.Store(false)
	writing, stop := context.WithCancel(context.Background())
	var writers sync.WaitGroup
	for _, w := range l.writers {
		writers.Go(func() { w.run(writing) })
	}
	disturbing, calm := context.WithTimeout(context.Background(), lossLoad)
	var disturber sync.WaitGroup
	disturber.Go(func() { l.disturb(disturbing) })
	for range 2 {
		l.sleep(disturbing, time.Duration(rand.Int64N(int64(lossLoad/2))))
		l.outage(t, round)
	}
	<-disturbing.Done()
	calm()
	disturber.Wait()
	l.calm.Store(true)
	for _, r := range l.readers {
		r.lines.stall(0)
		if r.trouter {
			r.lines.cut() // close the connection: over the next one the server must send the unanswered events again
		}
	}
	l.sleep(context.Background(), 300*time.Millisecond) // let the writers continue for a while
	stop()
	writers.Wait()
}

// sleep returns after d, or as soon as ctx is done.
func (l *loss) sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// outage ends a server, usually by SIGKILL and sometimes by SIGTERM, and starts it again. In
// every fourth round with PostgreSQL it may kill PostgreSQL instead.
func (l *loss) outage(t *testing.T, round int) {
	t.Helper()
	n := l.nodes[rand.IntN(len(l.nodes))]
	l.catchUps += n.metric("confab_live_catch_ups_total")
	o := outage{from: time.Now()}
	switch {
	case l.address != "" && round%4 == 3 && rand.IntN(2) == 0:
		l.catchUps -= n.metric("confab_live_catch_ups_total")
		l.killPostgres(t)
	case rand.IntN(4) == 0:
		o.drained = true
		n.signal(t, syscall.SIGTERM)
		n.mu.Lock()
		n.cmd.Wait()
		n.mu.Unlock()
		n.start(t)
	default:
		n.kill()
		l.sleep(context.Background(), time.Duration(rand.IntN(2)*rand.IntN(600))*time.Millisecond)
		n.start(t)
	}
	o.to = time.Now()
	l.kills = append(l.kills, o)
}

// disturb disturbs the readers until ctx is done: it cuts their connections, stalls their reads,
// and disconnects them for some time.
func (l *loss) disturb(ctx context.Context) {
	for ctx.Err() == nil {
		r := l.readers[rand.IntN(len(l.readers))]
		switch rand.IntN(4) {
		case 0, 1:
			r.lines.cut()
		case 2:
			r.lines.stall(time.Duration(200+rand.IntN(800)) * time.Millisecond)
		case 3:
			r.stayAway(time.Duration(rand.IntN(2000)) * time.Millisecond)
		}
		l.sleep(ctx, time.Duration(rand.IntN(50))*time.Millisecond)
	}
}

// metric returns the value of a metric of a server, or 0 if the server does not answer.
func (n *node) metric(name string) int {
	res, err := http.Get("http://" + n.ops() + "/metrics")
	if err != nil {
		return 0
	}
	defer res.Body.Close()
	sum := 0.0
	for lines := bufio.NewScanner(res.Body); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), name); ok {
			if v, err := strconv.ParseFloat(rest[strings.LastIndex(rest, " ")+1:], 64); err == nil {
				sum += v
			}
		}
	}
	return int(sum)
}

// settle waits until every reader has received all events that it must receive. Then it fails
// the test if a reader has received an event that it must not.
func (l *loss) settle(t *testing.T) {
	t.Helper()
	truth := l.export(t)
	for _, p := range l.compare(truth) {
		t.Error(p)
	}
	deadline := time.Now().Add(lossPatience)
	for _, r := range l.readers {
		want := truth.expected(r)
		for ; ; time.Sleep(20 * time.Millisecond) {
			missing := r.missing(want)
			if len(missing) == 0 {
				break
			}
			if time.Now().After(deadline) {
				t.Errorf("%s misses %d of %d events: %s", r.name, len(missing), len(want), truth.describe(r, missing))
				break
			}
		}
	}
	for _, r := range l.readers {
		for i, p := range r.check(truth, l) {
			if i < 5 {
				t.Errorf("%s: %s", r.name, p)
			}
		}
	}
}

// report logs the numbers of a round.
func (l *loss) report(t *testing.T, round int, took time.Duration) {
	t.Helper()
	truth := l.export(t)
	now := totals{kills: len(l.kills), catchUps: l.catchUps}
	for _, n := range l.nodes {
		now.catchUps += n.metric("confab_live_catch_ups_total")
	}
	for _, r := range l.readers {
		want := truth.expected(r)
		now.expected += len(want)
		now.missing += len(r.missing(want))
		r.mu.Lock()
		for _, got := range r.got {
			now.got += len(got)
		}
		now.doubled += r.doubled
		now.gaps += r.gaps
		r.mu.Unlock()
		now.reconnects += r.lines.reconnects()
	}
	was := l.told
	l.told = now
	t.Logf("round %d in %.1fs: %d events written, %d expected, %d got, %d doubled, %d missing, %d reconnects, %d kills, %d catch-ups, %d gaps",
		round+1, took.Seconds(), truth.count-l.records.events, now.expected-was.expected, now.got-was.got, now.doubled-was.doubled, now.missing,
		now.reconnects-was.reconnects, now.kills-was.kills, now.catchUps-was.catchUps, now.gaps)
	l.records.events = truth.count
	if round == 0 || t.Failed() {
		t.Logf("requests of writers by outcome (0: no answer): %s", fmt.Sprint(l.outcomes))
	}
	if now.gaps > 0 {
		t.Errorf("%d gaps", now.gaps)
	}
}
