package main

import (
	"context"
	"os"
	"runtime"
	"runtime/metrics"
)

// Bounds of what tuneGC sets. A collection begins when the garbage is as large as a percentage of
// the live heap; Go's default is 100 %.
const (
	maxGCPercent = 300
	minGCPercent = 100
	maxGarbage   = 24 << 20 // bytes; a larger live heap than this has minGCPercent
)

// gcPercent returns the percentage for a live heap of this many bytes: maxGCPercent, or less if
// that allows more than maxGarbage, but at least minGCPercent.
func gcPercent(live uint64) int {
	return int(min(maxGCPercent, max(minGCPercent, maxGarbage*100/max(live, 1))))
}

// tuneGC makes the garbage collector run less often while the heap is small, until ctx ends. That
// saves 4 to 5 % of the processor time of a send, and costs up to maxGarbage of memory. It does
// nothing if the operator has set GOGC or GOMEMLIMIT. set is debug.SetGCPercent.
//
// The percentage is set anew after each collection: a heap that grows from 8 to 80 MB within a
// second would have 240 MB of garbage if it kept its 300 %.
func tuneGC(ctx context.Context, set func(percent int) int) {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	percent := 0
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}} // of the last collection
	collected := make(chan struct{}, 1)
	for {
		metrics.Read(live)
		if now := gcPercent(live[0].Value.Uint64()); now != percent { // setting it stops all goroutines for a moment
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
