package limits_test

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/confab-chat/confab/internal/limits"
)

// TestWrittenInAnHour lets a user write at random times. It checks that no hour has more bytes than
// the limit, that a refused user may write after RetryAfter, and that after an hour and five
// minutes without writing the user may write as many bytes as the limit again.
func TestWrittenInAnHour(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const limit = 1000
		c := newClock()
		w := limits.NewWritten(limit, c.now)
		type write struct {
			at time.Time
			n  int64
		}
		var all []write
		inHour := func() (sum int64) {
			for _, a := range all {
				if c.now().Sub(a.at) < time.Hour {
					sum += a.n
				}
			}
			return sum
		}
		for range rapid.IntRange(1, 100).Draw(t, "writes") {
			c.pass(time.Duration(rapid.Int64Range(0, int64(20*time.Minute)).Draw(t, "pass")))
			n := rapid.Int64Range(0, limit).Draw(t, "bytes")
			r, ok := w.Allow("ann", n)
			if !ok {
				if inHour()+n <= limit/100 {
					t.Fatalf("%d bytes were refused after %d in this hour", n, inHour())
				}
				if r.RetryAfter <= 0 || r.RetryAfter > time.Hour+5*time.Minute || r.Limit != "1000 bytes written per hour by a user" {
					t.Fatalf("the refusal is %+v", r)
				}
				c.pass(r.RetryAfter)
				if r, ok = w.Allow("ann", n); !ok {
					t.Fatalf("after the wait: refused again with %+v", r)
				}
			}
			all = append(all, write{c.now(), n})
			if rapid.IntRange(0, 5).Draw(t, "refund") == 0 {
				w.Refund("ann", n)
				all = all[:len(all)-1]
			}
			if sum := inHour(); sum > limit {
				t.Fatalf("%d bytes in an hour", sum)
			}
		}
		c.pass(65 * time.Minute)
		if r, ok := w.Allow("ann", limit); !ok {
			t.Fatalf("after 65 minutes: %+v", r)
		}
	})
}

// TestWrittenCountsUsersApart checks that one user's bytes do not count for another user, and
// that nobody may write more than the limit at once. It also checks that the number of users in
// memory is bounded, and that a user who keeps writing is not forgotten.
func TestWrittenCountsUsersApart(t *testing.T) {
	c := newClock()
	w := limits.NewWritten(100, c.now)
	if _, ok := w.Allow("ann", 101); ok {
		t.Error("more than the limit at once was allowed")
	}
	if _, ok := w.Allow("ann", 100); !ok {
		t.Error("the limit at once was refused")
	}
	if _, ok := w.Allow("bob", 100); !ok {
		t.Error("another user was refused")
	}
	for i := range 3 * limits.MaxWriters {
		w.Allow(fmt.Sprint("user ", i), 1)
		if i%1000 == 0 {
			if _, ok := w.Allow("ann", 1); ok {
				t.Fatal("the user who keeps writing was forgotten")
			}
		}
	}
	if n := w.Users(); n > 2*limits.MaxWriters {
		t.Errorf("%d users are in memory, want at most %d", n, 2*limits.MaxWriters)
	}
}
