package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/confab-chat/confab/internal/core"
)

// onTime fails the test if more than five times bar, the time limit of an operation, has passed
// since began.
func onTime(t *testing.T, what string, began time.Time, bar time.Duration) {
	t.Helper()
	if took := time.Since(began); took > 5*bar {
		t.Errorf("%s took %v, the bar is %v", what, took, bar)
	}
}

// TestSilentDatabase lets a database keep its connections open but not answer. A read must fail
// with core.ErrUnavailable in time, and so must a batch of which no COMMIT was sent.
func TestSilentDatabase(t *testing.T) {
	c, url := behindCutter(t, emptyDatabase(t))
	s := open(t, url)
	defer s.Close()
	s.timeouts.read = time.Second
	mustApply(t, s, core.Applied, newThread("t"))
	var silent atomic.Bool
	c.when(func(bool, []byte) (forward, cut bool) { return !silent.Load(), false })
	silent.Store(true)
	began := time.Now()
	if _, err := s.Thread(t.Context(), "t"); !errors.Is(err, core.ErrUnavailable) {
		t.Errorf("a read: %v, want core.ErrUnavailable", err)
	}
	onTime(t, "a read", began, s.timeouts.read)

	began = time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	s.timeouts.read = time.Minute
	if _, err := s.Thread(ctx, "t"); !errors.Is(err, core.ErrUnavailable) {
		t.Errorf("a read whose caller gives up: %v, want core.ErrUnavailable", err)
	}
	onTime(t, "a read whose caller gives up", began, time.Second)

	began = time.Now()
	_, err := s.Apply(t.Context(), core.Batch{At: at, Until: began.Add(2 * time.Second), Changes: []*core.Change{text("t", "never")}})
	if !errors.Is(err, core.ErrUnavailable) || errors.Is(err, core.ErrUnknown) {
		t.Errorf("a batch: %v, want core.ErrUnavailable", err)
	}
	onTime(t, "a batch", began, 2*time.Second)

	s.timeouts.read = 8 * time.Second
	silent.Store(false)
	c.cutAll()
	if got := fmt.Sprint(contents(t, s, "t")); got != "[topic]" {
		t.Errorf("the thread holds %s", got)
	}
}

// TestUnknownCommit lets the database stop answering when it gets a COMMIT. Apply must return
// core.ErrUnknown in time, whether the COMMIT has reached the database or not.
func TestUnknownCommit(t *testing.T) {
	for _, reached := range []bool{false, true} {
		t.Run(fmt.Sprintf("reached=%v", reached), func(t *testing.T) {
			direct := emptyDatabase(t)
			c, url := behindCutter(t, direct)
			s := open(t, url)
			defer s.Close()
			mustApply(t, s, core.Applied, newThread("t"))
			mustApply(t, s, core.Applied, text("t", "one"))
			var once sync.Once
			var silent atomic.Bool
			c.when(func(toServer bool, data []byte) (forward, cut bool) {
				forward = !silent.Load()
				if toServer && runs(data, "COMMIT") && runs(data, updateHeads) {
					once.Do(func() { silent.Store(true); forward = reached })
				}
				return forward, false
			})
			began := time.Now()
			_, err := s.Apply(t.Context(), core.Batch{At: at, Until: began.Add(2 * time.Second), Changes: []*core.Change{text("t", "two")}})
			if !errors.Is(err, core.ErrUnknown) || errors.Is(err, core.ErrUnavailable) {
				t.Errorf("error %v, want core.ErrUnknown", err)
			}
			onTime(t, "a batch", began, 2*time.Second+commitTime)
			once.Do(func() { t.Error("no COMMIT was sent") })

			silent.Store(false)
			c.cutAll()
			want := "[topic one]"
			if reached {
				want = "[topic one two]"
			}
			if got := fmt.Sprint(contents(t, s, "t")); got != want {
				t.Errorf("the thread holds %s, want %s", got, want)
			}
		})
	}
}

// TestRenew lets the machine at the other end of all connections vanish, while another one
// takes over its address. The connections stay open but never answer. After Renew, the first
// read must use a new connection and succeed.
func TestRenew(t *testing.T) {
	c, url := behindCutter(t, emptyDatabase(t))
	s := open(t, url)
	defer s.Close()
	mustApply(t, s, core.Applied, newThread("t"))
	var conns []*pgxpool.Conn
	for range s.Pool().Most {
		conn, err := s.pool.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
	}
	for _, conn := range conns {
		conn.Release()
	}
	if p := s.Pool(); p.Idle != p.Most || p.Open != p.Most || p.InUse != 0 {
		t.Fatalf("the pool is %+v, want all connections idle", p)
	}
	c.silence()
	s.Renew()
	if th, err := s.Thread(t.Context(), "t"); err != nil || th == nil {
		t.Errorf("the first read: %v, %v", th, err)
	}
}

// TestUnknownKey lets the database stop answering when a key is replaced. SetKey must return
// core.ErrUnknown, because the key may have been written. Called again, it must find the key and
// leave one audit row.
func TestUnknownKey(t *testing.T) {
	c, url := behindCutter(t, emptyDatabase(t))
	s := open(t, url)
	defer s.Close()
	s.timeouts.patience = 2 * time.Second
	r, err := s.Resource(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var silent atomic.Bool
	c.when(func(toServer bool, data []byte) (forward, cut bool) {
		if toServer && runs(data, updateKey) {
			silent.Store(true) // the statement reaches the database, but its answer and all later ones are lost
			return true, false
		}
		return !silent.Load(), false
	})
	key := core.AccessKeyRow{Serial: r.Keys[0].Serial + 1, Secret: bytes.Repeat([]byte("k"), 64)}
	row := core.Audit{AuditKey: core.AuditKey{At: 1, Number: 1}, Kind: core.AuditSocket, Operation: "rotate key"}
	if _, err := s.SetKey(t.Context(), 0, key, row); !errors.Is(err, core.ErrUnknown) {
		t.Errorf("set a key: %v, want core.ErrUnknown", err)
	}
	c.cut.Store(nil)
	c.cutAll()
	eventually(t, func() error { _, err := s.Resource(t.Context()); return err })
	// A second call with the same key must find out that the first one wrote it.
	stored, err := s.SetKey(t.Context(), 0, key, row)
	if err != nil || !stored.Equal(key) {
		t.Errorf("set it again: serial %d, %v", stored.Serial, err)
	}
	page, err := s.AuditPage(t.Context(), core.AuditQuery{Limit: 10})
	if err != nil || !slices.Equal(page.Rows, []core.Audit{row}) {
		t.Errorf("audit rows: %+v, %v; want %+v", page.Rows, err, row)
	}
}
