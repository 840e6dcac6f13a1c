package dev_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/confab-chat/confab/internal/dev"
	"github.com/confab-chat/confab/internal/rest"
)

var operations = []string{"create thread", "send message"}

func TestClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		c := dev.NewClock(time.Now)
		if !c.Now().Equal(start) {
			t.Errorf("an unmoved clock shows %v, want %v", c.Now(), start)
		}
		woken := 0
		c.Wake(func() {
			woken++
			if got := c.Now().Sub(start); got != 25*time.Hour {
				t.Errorf("a function that Wake registered sees the clock %v ahead, want 25h", got)
			}
		})
		if err := c.Advance(25 * time.Hour); err != nil || woken != 1 {
			t.Fatalf("advance: %v, woken %d times, want 1", err, woken)
		}
		for d, want := range map[time.Duration]string{
			-time.Nanosecond: "forward only", dev.MaxAhead: "25h0m0s ahead", 1<<63 - 1: "no further than",
		} {
			if err := c.Advance(d); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("advance by %v: %v, want an error with %q", d, err, want)
			}
		}
		if woken != 1 || c.Ahead() != 25*time.Hour {
			t.Errorf("after refusals: woken %d times, %v ahead", woken, c.Ahead())
		}
		time.Sleep(time.Minute) // this sleep takes no real time in a synctest bubble
		if got := c.Now().Sub(start); got != 25*time.Hour+time.Minute {
			t.Errorf("a minute later the clock is %v ahead of the start", got)
		}
	})
}

func TestClockOfManyHands(t *testing.T) {
	c := dev.NewClock(time.Now)
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() {
			c.Wake(func() {})
			for range 100 {
				if err := c.Advance(time.Second); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if c.Ahead() != 1000*time.Second {
		t.Errorf("ahead by %v, want 1000s", c.Ahead())
	}
}

func TestFaultsAreTakenInOrder(t *testing.T) {
	f := dev.NewFaults(operations)
	for _, r := range []rest.Fault{
		{Operation: "send message", Status: 429, Times: 2},
		{Status: 500},
		{Operation: "send message", Drop: rest.DropAfter, Times: rest.Always},
	} {
		if _, err := f.Add(r); err != nil {
			t.Fatal(err)
		}
	}
	var got []int
	for _, o := range []string{"send message", "create thread", "create thread", "send message", "send message", "send message"} {
		r, ok := f.Next(o)
		switch {
		case !ok:
			got = append(got, 0)
		case r.Drop != "":
			got = append(got, -1)
		default:
			got = append(got, r.Status)
		}
	}
	if diff := cmp.Diff([]int{429, 500, 0, 429, -1, -1}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	want := []rest.Fault{{Operation: "send message", Drop: rest.DropAfter, Times: rest.Always}}
	if diff := cmp.Diff(want, f.List()); diff != "" {
		t.Errorf("rules left (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]int{"send message": 4, "create thread": 2}, f.Requests()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	f.Clear()
	if _, ok := f.Next("send message"); ok || len(f.List()) != 0 {
		t.Error("a cleared fault is still in force")
	}
}

func TestFaultsThatCannotBeMeant(t *testing.T) {
	for _, c := range []struct {
		fault rest.Fault
		want  string
	}{
		{rest.Fault{}, "has a status, a delay or a drop"},
		{rest.Fault{Operation: "sendMessage", Status: 429}, `did you mean "send message"? the operations are create thread, send message`},
		{rest.Fault{Operation: "dance", Status: 429}, `no operation "dance": the operations are create thread`},
		{rest.Fault{Status: 200}, "status is 400 to 599"},
		{rest.Fault{Status: 600}, "status is 400 to 599"},
		{rest.Fault{Status: 500, Drop: rest.DropBefore}, "not both"},
		{rest.Fault{Drop: "during"}, `drop is "before" or "after"`},
		{rest.Fault{Drop: rest.DropAfter, RetryAfter: time.Second}, "retryAfter goes with a status"},
		{rest.Fault{Status: 429, RetryAfter: -1}, "retryAfter is at most"},
		{rest.Fault{Status: 429, RetryAfter: 25 * time.Hour}, "retryAfter is at most"},
		{rest.Fault{Delay: -1}, "delay is at most"},
		{rest.Fault{Delay: dev.MaxDelay + 1}, "delay is at most"},
		{rest.Fault{Status: 500, Times: -2}, "times is a count"},
		{rest.Fault{Operation: dev.LiveSocket}, `"live socket" takes the drop "after", and "" is not`},
		{rest.Fault{Operation: dev.LiveSocket, Drop: "during"}, `takes the drop "after", and "during" is not`},
		{rest.Fault{Operation: dev.LiveSocket, Drop: rest.DropBefore}, `takes the drop "after" only`},
		{rest.Fault{Operation: dev.LiveSocket, Status: 500}, "takes no status"},
		{rest.Fault{Operation: dev.LiveSocket, Drop: rest.DropAfter, Delay: 1}, "takes no delay"},
		{rest.Fault{Operation: dev.LiveSocket, Drop: rest.DropAfter, Times: 2}, "so times is 1"},
		{rest.Fault{Operation: dev.LiveSocket, Drop: rest.DropAfter, Times: rest.Always}, "so times is 1"},
		{rest.Fault{Operation: "Live Socket", Drop: rest.DropAfter}, `did you mean "live socket"?`},
	} {
		f := dev.NewFaults(operations)
		if _, err := f.Add(c.fault); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want an error with %q", c.fault, err, c.want)
		}
		if len(f.List()) != 0 {
			t.Errorf("%+v: refused, but listed", c.fault)
		}
	}
}

// TestLiveSocketsAreCut applies the fault that ends live connections with Add and with Cut. It
// checks that both end the connections at once and add no rule to the list.
func TestLiveSocketsAreCut(t *testing.T) {
	f := dev.NewFaults(operations)
	cut := rest.Fault{Operation: dev.LiveSocket, Drop: rest.DropAfter}
	if n, err := f.Cut(cut); n != 0 || err != nil {
		t.Errorf("a server without live connections: %d, %v", n, err)
	}
	calls := 0
	f.Live(func() int { calls++; return 3 })
	if n, err := f.Cut(cut); n != 3 || err != nil {
		t.Errorf("cut %d, %v; want 3", n, err)
	}
	for range dev.MaxFaults + 1 { // one more than the list can hold: these rules must not be added to the list
		if _, err := f.Add(cut); err != nil {
			t.Fatal(err)
		}
	}
	if calls != dev.MaxFaults+2 || len(f.List()) != 0 {
		t.Errorf("%d calls, rules %v", calls, f.List())
	}
	if _, err := f.Cut(rest.Fault{Operation: "send message", Drop: rest.DropAfter}); err == nil {
		t.Error("a request was cut")
	}
	if err := f.Known(dev.LiveSocket); err == nil {
		t.Error("a live socket counts as a request")
	}
}

func TestFaultsAreBounded(t *testing.T) {
	f := dev.NewFaults(operations)
	for range dev.MaxFaults {
		if _, err := f.Add(rest.Fault{Status: 500}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := f.Add(rest.Fault{Status: 500}); err == nil || !strings.Contains(err.Error(), "clear them") {
		t.Errorf("one fault too many: %v", err)
	}
}

func TestDelaysEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := dev.NewFaults(operations)
		start := time.Now()
		f.Wait(t.Context(), time.Second)
		if got := time.Since(start); got != time.Second {
			t.Errorf("waited %v, want 1s", got)
		}
		gone, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		f.Wait(gone, time.Second)
		if got := time.Since(start); got != time.Second+time.Millisecond {
			t.Errorf("Wait returned %v after its context was done", got-time.Second)
		}
		time.AfterFunc(time.Millisecond, f.Close)
		f.Wait(t.Context(), time.Second)
		if got := time.Since(start); got != time.Second+2*time.Millisecond {
			t.Errorf("Wait returned %v after Close", got-time.Second)
		}
		f.Close() // a second Close has no effect
	})
}
