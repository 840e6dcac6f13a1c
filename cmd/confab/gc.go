package main

import (
	"context"
	"os"
	"runtime"
	"runtime/metrics"
)

// Bounds of the percentage that tuneGC sets. Go collects garbage when its size reaches this
// percentage of the live heap. Go's default is 100 %.
const (
	maxGCPercent = 300
	minGCPercent = 100
	maxGarbage   = 24 << 20 // limit of the garbage in bytes; it does not hold for a larger live heap, whose percentage is minGCPercent
)

// gcPercent returns the percentage of garbage for a live heap of the given number of bytes. It is
// maxGCPercent, or less so that the garbage stays below maxGarbage, but at least minGCPercent.
func gcPercent(live uint64) int {
	return int(min(maxGCPercent, max(minGCPercent, maxGarbage*100/max(live, 1))))
}

// tuneGC makes the garbage collector run less often while the heap is small, until ctx ends. It
// saves 4 to 5 % of the processor time of a send, and costs up to maxGarbage bytes of memory. It
// does nothing if the operator has set GOGC or GOMEMLIMIT. The argument set is debug.SetGCPercent.
//
// tuneGC sets the percentage again after each collection, because the heap may grow fast: a heap
// that grows from 8 to 80 MB within a second would have 240 MB of garbage if the percentage stayed
// at 300.
func tuneGC(ctx context.Context, set func(percent int) int) {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	percent := 0
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}} // size of the live heap after the last collection
	collected := make(chan struct{}, 1)
	for {
		metrics.Read(live)
		if now := gcPercent(live[0].Value.Uint64()); now != percent { // set the percentage only if it changes: setting it stops all goroutines for a moment
			percent = now
			set(percent)
		}
		runtime.AddCleanup(new([64]byte), func(c chan<- struct{}) { c <- struct{}{} }, collected)
		select {
		case <-ctx.Done():
			return
		case <-collected:
		}
	}
}
