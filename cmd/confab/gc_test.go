package main

import (
	"context"
	"math"
	"runtime"
	"testing"
)

func TestGCPercent(t *testing.T) {
	const MB = 1 << 20
	for _, c := range []struct {
		live, scanned uint64
		want          int
	}{
		{0, 0, 300},
		{8 * MB, 8 * MB, 300},
		{16 * MB, 16 * MB, 150},
		{48 * MB, 48 * MB, 100},
		{48 * MB, 12 * MB, 50},
		{200 * MB, 50 * MB, 25},
		{4096 * MB, 4096 * MB, 100},
		{4096 * MB, 1 * MB, 10},
		{math.MaxUint64, math.MaxUint64, 100},
	} {
		if got := gcPercent(c.live, c.scanned); got != c.want {
			t.Errorf("a live heap of %d MB, of which %d MB are read, has %d %%, want %d", c.live/MB, c.scanned/MB, got, c.want)
		}
	}
}

// TestTuneGC checks that tuneGC sets a high percentage for a small heap and the lowest one for a
// large heap, while the heap grows and shrinks.
func TestTuneGC(t *testing.T) {
	t.Setenv("GOGC", "")
	t.Setenv("GOMEMLIMIT", "")
	ctx, cancel := context.WithCancel(t.Context())
	percents, ended := make(chan int, 1000), make(chan struct{})
	go func() {
		defer close(ended)
		tuneGC(ctx, func(percent int) int { percents <- percent; return 0 })
	}()
	await := func(reason string, ok func(percent int) bool) {
		t.Helper()
		for range 10_000 { // repeat, because the runtime runs a cleanup only some time after a collection
			runtime.GC()
			select {
			case percent := <-percents:
				if ok(percent) {
					return
				}
			default:
			}
		}
		t.Fatal(reason)
	}
	await("a small heap never got more than 100 %", func(p int) bool { return p > 100 })
	texts := make([]byte, 4*minGarbage)
	await("a heap of texts never got less than 50 %", func(p int) bool { return p < 50 })
	runtime.KeepAlive(texts)
	texts = nil
	await("a heap that became small again kept its percentage", func(p int) bool { return p > 100 })
	pointers := make([]*byte, minGarbage/2)
	await("a heap of pointers never got 80 to 110 %", func(p int) bool { return p >= 80 && p <= 110 })
	runtime.KeepAlive(pointers)
	cancel()
	<-ended
}

// TestTuneGCLeavesSettings checks that tuneGC sets no percentage if the operator has set GOGC or
// GOMEMLIMIT.
func TestTuneGCLeavesSettings(t *testing.T) {
	for _, variable := range []string{"GOGC", "GOMEMLIMIT"} {
		t.Run(variable, func(t *testing.T) {
			t.Setenv("GOGC", "")
			t.Setenv("GOMEMLIMIT", "")
			t.Setenv(variable, "100MiB")
			tuneGC(t.Context(), func(percent int) int {
				t.Errorf("the percentage was set to %d", percent)
				return 0
			})
		})
	}
}
