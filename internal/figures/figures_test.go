package figures

import (
	"context"
	"math"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestPoints counts requests for 16 minutes. It checks that the points of the last 15 minutes,
// and only these, are kept, and that each has the counts of its Step.
func TestPoints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := New(func() Gauges { return Gauges{Connections: 3, Live: 2} })
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { f.Run(ctx) })
		synctest.Wait()
		sub := f.Follow()
		defer sub.Close()
		for i := range 16 * 60 {
			f.Request("send message", 201, 3*time.Millisecond)
			f.Request("list messages", 200, 3*time.Millisecond)
			f.Request("list messages", 404, 3*time.Millisecond)
			f.Request("list messages", 503, 3*time.Millisecond)
			f.Request("list messages", 0, 700*time.Millisecond)
			f.Batch(2 * time.Millisecond)
			f.Batch(4 * time.Millisecond)
			time.Sleep(time.Second)
			synctest.Wait()
			if i == 0 {
				if p := <-sub.Points(); p.Requests != 5 || p.Sends != 1 || p.Refused != 1 || p.Errors != 2 || p.Commit != 3 {
					t.Errorf("the first second: %+v", p)
				}
			}
		}
		points := f.Points()
		if len(points) != Kept {
			t.Fatalf("%d points, want %d", len(points), Kept)
		}
		for _, p := range points {
			if p.Requests != 25 || p.Sends != 5 || p.Refused != 5 || p.Errors != 10 || p.Connections != 3 || p.Live != 2 ||
				p.Commit != 3 || p.P50 < 3 || p.P50 > 3.4 || p.P99 < 700 || p.P99 > 800 {
				t.Fatalf("a step: %+v", p)
			}
		}
		if got := f.Totals(); got.Requests != 16*60*5 || got.Refused != 16*60*3 {
			t.Errorf("totals: %+v", got)
		}
		if n := len(sub.Points()); n != queue {
			t.Errorf("%d points wait for a slow reader, want %d", n, queue)
		}
		stop()
		running.Wait()
	})
}

// TestBuckets checks that the upper limit of a duration's bucket is above the duration by at most a
// quarter.
func TestBuckets(t *testing.T) {
	for us := int64(1); us < 1<<40; us += 1 + us/7 {
		took := time.Duration(us) * time.Microsecond
		if took < 0 {
			break
		}
		b := bucketOf(took)
		end, ms := endOf(b), float64(us)/1000
		if b < buckets-1 && (end < ms || end > math.Max(ms*1.26, 0.0013)) {
			t.Fatalf("%v is in bucket %d, which ends at %v ms", took, b, end)
		}
	}
}

// TestReasons checks the order of the reasons that Refusals returns, and that the number of reasons
// is bounded.
func TestReasons(t *testing.T) {
	f := New(func() Gauges { return Gauges{} })
	for i := range 2 * maxReasons {
		f.Refused(string(rune('a' + i)))
	}
	f.Refused("a")
	got := f.Refusals()
	if len(got) != maxReasons+1 || got[0].Reason != "other" || got[0].Count != maxReasons || got[1].Reason != "a" || got[1].Count != 2 {
		t.Errorf("%d reasons, %+v", len(got), got[:2])
	}
}

func BenchmarkRequest(b *testing.B) {
	f := New(func() Gauges { return Gauges{} })
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			f.Request("send message", 201, time.Millisecond)
		}
	})
}
