package postgres

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/confab-chat/confab/internal/core"
)

// TestKillServer repeatedly kills PostgreSQL while two stores write to the same threads, two
// goroutines give positions to events, and a reader follows the log. Acknowledged changes must
// be stored once, refused ones not at all, and those with an unknown outcome at most once. The
// log must have each event once, and must not change after the reader has read it.
func TestKillServer(t *testing.T) {
	rounds, err := strconv.Atoi(os.Getenv("TEST_POSTGRES_KILLS"))
	if err != nil {
		t.Skip("TEST_POSTGRES_KILLS is not set to a number of rounds: it kills the server that other tests may be using")
	}
	url := emptyDatabase(t)
	stores := []*Store{open(t, url), open(t, url)}
	defer stores[0].Close()
	defer stores[1].Close()
	const threads = 6
	for n := range threads {
		mustApply(t, stores[0], core.Applied, newThread(fmt.Sprint("t", n)))
	}

	var mu sync.Mutex                    // guards statuses
	statuses := map[string]core.Status{} // 0: not known
	refused := map[string]bool{}
	stop := make(chan struct{})
	var writers sync.WaitGroup
	for i, s := range stores {
		for lane := range lanes {
			writers.Go(func() {
				random := rand.New(rand.NewPCG(uint64(i), uint64(lane)))
				for n := 0; ; n++ {
					select {
					case <-stop:
						return
					default:
					}
					b := core.Batch{At: at}
					for j := range 1 + random.IntN(20) {
						id := fmt.Sprint("t", random.IntN(threads))
						if core.LaneOf(id, lanes) != lane {
							continue
						}
						c := text(id, fmt.Sprintf("%s %d/%d/%d/%d", id, i, lane, n, j))
						if random.IntN(2) == 0 {
							c.Caller, c.SendToken = "8:acs:ann", c.Messages[0].Content
						}
						b.Changes = append(b.Changes, c)
					}
					rs, err := s.Apply(context.Background(), b)
					mu.Lock()
					for k, c := range b.Changes {
						content := c.Messages[0].Content
						switch {
						case err == nil:
							statuses[content] = rs[k].Status
						case errors.Is(err, core.ErrUnavailable):
							refused[content] = true
						default:
							statuses[content] = 0
							t.Logf("unknown: %v", err)
						}
					}
					mu.Unlock()
				}
			})
		}
	}
	var seen []core.Event // events that the reader has read
	for _, s := range stores {
		writers.Go(func() {
			until(stop, func() {
				if _, err := s.Sequence(context.Background()); err != nil && !errors.Is(err, core.ErrUnavailable) {
					t.Errorf("give positions: %v", err)
				}
			})
		})
	}
	f := follow(t, stores[0])
	writers.Go(func() {
		cursor := f.at
		until(stop, func() {
			page, err := stores[0].Log(context.Background(), cursor, 100)
			if err != nil && !errors.Is(err, core.ErrUnavailable) || page.Gap != 0 {
				t.Errorf("the log after %+v: gap %q, %v", cursor, page.Gap, err)
			}
			if err == nil {
				seen, cursor = append(seen, page.Events...), page.Next
			}
		})
	})
	for range rounds {
		time.Sleep(time.Duration(100+rand.IntN(400)) * time.Millisecond)
		control(t, "-m", "immediate", "stop")
		control(t, "-l", os.DevNull, "-w", "start")
	}
	time.Sleep(200 * time.Millisecond)
	close(stop)
	writers.Wait()

	there := map[string]int{}
	for n := range threads {
		id := fmt.Sprint("t", n)
		page, err := stores[1].Messages(context.Background(), core.MessagesQuery{Thread: id, Limit: 10_000_000})
		if err != nil {
			t.Fatal(err)
		}
		for i, m := range page.Messages {
			if want := uint64(len(page.Messages) - i); m.Sequence != want {
				t.Fatalf("%s: sequence %d in place of %d", id, m.Sequence, want)
			}
			there[m.Content]++
		}
	}
	sequence(t, stores[0])
	log := f.rest()
	if len(seen) > len(log) || !slices.Equal(seen, log[:len(seen)]) {
		t.Errorf("the log has changed behind the reader of %d events", len(seen))
	}
	for n := range threads {
		th, err := stores[0].Thread(context.Background(), fmt.Sprint("t", n))
		if err != nil || th.LastEvent != f.numbers[th.ID] {
			t.Errorf("%s has event %d, the log ends with %d: %v", th.ID, th.LastEvent, f.numbers[th.ID], err)
		}
	}
	applied, unknown := 0, 0
	for content, status := range statuses {
		switch n := there[content]; {
		case status == core.Applied && n != 1:
			t.Errorf("%q was acknowledged and is there %d times", content, n)
		case status == core.Applied:
			applied++
		case status == 0 && n > 1:
			t.Errorf("%q is not known to be there and is there %d times", content, n)
		case status == 0:
			unknown++
		default:
			t.Errorf("%q has status %d", content, status)
		}
	}
	for content := range refused {
		if there[content] > 0 {
			t.Errorf("%q was refused and is there", content)
		}
	}
	t.Logf("%d rounds: %d acknowledged, %d refused, %d unknown, %d of %d events seen meanwhile", rounds, applied, len(refused), unknown, len(seen), len(log))
}

// until calls do repeatedly until stop is closed.
func until(stop <-chan struct{}, do func()) {
	for {
		select {
		case <-stop:
			return
		default:
			do()
		}
	}
}

// control runs pg_ctl on the PostgreSQL server that scripts/postgres started.
func control(t *testing.T, args ...string) {
	t.Helper()
	command := append([]string{os.Getenv("TEST_POSTGRES_BIN") + "/pg_ctl", "-D", os.Getenv("TEST_POSTGRES_DATA"), "-s"}, args...)
	if user := os.Getenv("TEST_POSTGRES_USER"); os.Getuid() == 0 {
		command = append([]string{"setpriv", "--reuid=" + user, "--regid=" + user, "--init-groups", "--"}, command...)
	}
	c := exec.Command(command[0], command[1:]...)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("pg_ctl %v: %v\n%s", args, err, out)
	}
}
