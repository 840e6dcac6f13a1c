package main

import (
	"context"
	"math"
	"runtime"
	"testing"
)

func TestGCPercent(t *testing.T) {
	const MB = 1 << 20
	for live, want := range map[uint64]int{0: 300, 8 * MB: 300, 10 * MB: 240, 16 * MB: 150, 24 * MB: 100, 32 * MB: 100, 4096 * MB: 100, math.MaxUint64: 100} {
		if got := gcPercent(live); got != want {
			t.Errorf("a live heap of %d MB has %d %%, want %d", live/MB, got, want)
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
	await("a small heap never got more than the least percentage", func(p int) bool { return p > minGCPercent })
	heap := make([]byte, 2*maxGarbage)
	await("a large heap never got the least percentage", func(p int) bool { return p == minGCPercent })
	runtime.KeepAlive(heap)
	heap = nil
	await("a heap that became small again kept the least percentage", func(p int) bool { return p > minGCPercent })
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
