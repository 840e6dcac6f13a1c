package main

import (
	"context"
	"math"
	"runtime/debug"
	"testing"
	"testing/synctest"
	"time"
)

func TestGCPercent(t *testing.T) {
	const MB = 1 << 20
	for live, want := range map[uint64]int{0: 300, 8 * MB: 300, 10 * MB: 300, 16 * MB: 200, 25 * MB: 128, 32 * MB: 100, 4096 * MB: 100, math.MaxUint64: 100} {
		if got := gcPercent(live); got != want {
			t.Errorf("a live heap of %d MB has %d %%, want %d", live/MB, got, want)
		}
	}
}

// TestTuneGC checks that tuneGC raises the percentage, and that it leaves alone what an operator has set.
func TestTuneGC(t *testing.T) {
	before := debug.SetGCPercent(100)
	defer debug.SetGCPercent(before)
	current := func() int {
		p := debug.SetGCPercent(100)
		debug.SetGCPercent(p)
		return p
	}
	for _, c := range []struct {
		name, gogc, limit string
		want              int
	}{
		{name: "nothing set", want: maxGCPercent},
		{name: "GOGC", gogc: "100", want: 100},
		{name: "GOMEMLIMIT", limit: "1GiB", want: 100},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("GOGC", c.gogc)
			t.Setenv("GOMEMLIMIT", c.limit)
			debug.SetGCPercent(100)
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				go tuneGC(ctx)
				time.Sleep(3 * time.Second)
				if got := current(); got != c.want {
					t.Errorf("the percentage is %d, want %d", got, c.want)
				}
				cancel()
			})
		})
	}
}
