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
	minGCPercent = 10
	minGarbage   = 24 << 20 // bytes that are allowed even if a collection reads less
)

// gcPercent returns the percentage for a live heap of this many bytes, of which a collection reads
// scanned bytes. It allows as much garbage as it reads of the heap, or minGarbage if that is more,
// but at most maxGCPercent and at least minGCPercent.
//
// A collection costs as much as it reads, and it does not read what has no pointers: texts, and in
// a program without cgo also the store's blocks and memtables. With a percentage of the whole live
// heap, these 160 MB would allow 160 MB of garbage.
func gcPercent(live, scanned uint64) int {
	return int(min(maxGCPercent, max(minGCPercent, max(minGarbage, float64(scanned))*100/float64(max(live, 1)))))
}

// tuneGC makes the garbage collector run less often while the heap is small, until ctx ends. That
// saves 4 to 5 % of the processor time of a send, and costs up to minGarbage of memory. It does
// nothing if the operator has set GOGC or GOMEMLIMIT. set is debug.SetGCPercent.
//
// The percentage is set anew after each collection: a heap that grows from 8 to 80 MB within a
// second would have 240 MB of garbage if it kept its 300 %.
func tuneGC(ctx context.Context, set func(percent int) int) {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	percent := 0
	last := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/heap:bytes"}} // of the last collection; the second one grows with each allocation after it
	collected := make(chan struct{}, 1)
	for {
		metrics.Read(last)
		if now := gcPercent(last[0].Value.Uint64(), last[1].Value.Uint64()); now != percent { // setting it locks the heap for a moment
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
