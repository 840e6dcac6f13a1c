package limits_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/confab-chat/confab/internal/limits"
)

// clock is a clock that the test sets. Its times have no monotonic reading.
type clock struct{ time.Time }

func newClock() *clock                { return &clock{time.Unix(1_700_000_000, 0)} }
func (c *clock) now() time.Time       { return c.Time }
func (c *clock) pass(d time.Duration) { c.Time = c.Add(d) }
func (c *clock) at(d time.Duration)   { c.Time = newClock().Add(d) }
func newLimiter(p limits.Profile) (*limits.Limiter, *clock) {
	c := newClock()
	return limits.New(p, c.now), c
}

// section9 is a copy of the table of rate limits in docs/contract/chat.md §9. It also has
// operations of preview versions that the table lacks: update participant, and those of images.
var section9 = []struct {
	operations string
	scope      string
	per10s     int
	perMinute  int
}{
	{"create thread", "user", 10, 0},
	{"delete thread", "user", 10, 0},
	{"update thread", "thread", 5, 0},
	{"add participants, update participant, remove participant", "thread", 10, 30},
	{"get thread, list threads", "user", 50, 0},
	{"get message", "user and thread", 50, 0},
	{"get message", "thread", 250, 0},
	{"list messages", "user and thread", 50, 200},
	{"list messages", "thread", 250, 400},
	{"list read receipts", "user and thread", 5, 0},
	{"list read receipts", "thread", 100, 0},
	{"list participants", "user and thread", 10, 0},
	{"list participants", "thread", 250, 0},
	{"send message, update message, delete message", "thread", 10, 30},
	{"send read receipt", "user and thread", 10, 30},
	{"send typing notification", "user and thread", 5, 15},
	{"send typing notification", "thread", 10, 30},
	{"upload image, get image, delete image", "user and thread", 50, 0},
}

// TestAzure checks every rate limit of the table in docs/contract/chat.md §9. It counts all
// operations of a table row together, and checks that as many requests as the limit says are
// allowed. The next request must be allowed as soon as the first one has left the window.
func TestAzure(t *testing.T) {
	for _, row := range section9 {
		operations := strings.Split(row.operations, ", ")
		// Spread the requests in a thread over many users, so that no user reaches a limit
		// for users.
		who := func(i int) (user, thread string) {
			switch row.scope {
			case "user":
				return "ann", fmt.Sprint("thread ", i)
			case "thread":
				return fmt.Sprint("user ", i), "work"
			}
			return "ann", "work"
		}
		phrase := map[string]string{"user": "by a user", "thread": "in a thread", "user and thread": "by a user in a thread"}[row.scope]
		for _, w := range []struct {
			count int
			span  time.Duration
			step  time.Duration // time between requests, long enough not to reach the limit of the short window
		}{
			{row.per10s, 10 * time.Second, 10 * time.Millisecond},
			{row.perMinute, time.Minute, 10*time.Second/time.Duration(row.per10s) + 1},
		} {
			if w.count == 0 {
				continue
			}
			t.Run(fmt.Sprintf("%s/%s/%v", row.operations, row.scope, w.span), func(t *testing.T) {
				l, c := newLimiter(limits.Azure)
				allow := func(i int) (limits.Refusal, bool) {
					user, thread := who(i)
					return l.Allow(operations[i%len(operations)], user, thread)
				}
				for i := range w.count {
					if r, ok := allow(i); !ok {
						t.Fatalf("request %d of %d was refused: %+v", i+1, w.count, r)
					}
					c.pass(w.step)
				}
				wait := w.span - time.Duration(w.count)*w.step
				for i := range operations { // tries all operations, because refused requests are not counted
					r, ok := allow(w.count + i)
					if ok || r.RetryAfter != wait {
						t.Fatalf("request %d: got %v, %+v; want a refusal for %v", w.count+1, ok, r, wait)
					}
					if want := fmt.Sprintf(": %d per %d s %s", w.count, w.span/time.Second, phrase); !strings.HasSuffix(r.Limit, want) {
						t.Errorf("the refusal names %q, want one that ends in %q", r.Limit, want)
					}
				}
				c.pass(wait - 1)
				if r, ok := allow(w.count); ok || r.RetryAfter != 1 {
					t.Errorf("a moment early: got %v, %+v", ok, r)
				}
				c.pass(1)
				if r, ok := allow(w.count); !ok {
					t.Errorf("after the wait: refused with %+v", r)
				}
				if _, ok := allow(w.count + 1); ok {
					t.Error("one left the window and two were allowed")
				}
			})
		}
	}
}

// TestUnverifiedSharing checks that operations in the same row of the table in
// docs/contract/chat.md §9 are counted together, and operations in different rows are not.
func TestUnverifiedSharing(t *testing.T) {
	for _, c := range []struct {
		first, second string
		shared        bool
	}{
		{"send message", "update message", true},
		{"send message", "delete message", true},
		{"add participants", "remove participant", true},
		{"get thread", "list threads", true},
		{"create thread", "delete thread", false},
		{"send message", "send typing notification", false},
		{"list messages", "get message", false},
	} {
		l, _ := newLimiter(limits.Azure)
		for range 50 { // 50 is the number of requests that the highest of these limits allows
			l.Allow(c.first, "ann", "work")
		}
		if _, ok := l.Allow(c.second, "ann", "work"); ok == c.shared {
			t.Errorf("%s was allowed: %v after the last %s", c.second, ok, c.first)
		}
	}
}

// TestUnverifiedRefusalsAreNotCounted checks that a refused request counts towards no limit of
// its operation.
func TestUnverifiedRefusalsAreNotCounted(t *testing.T) {
	l, _ := newLimiter(limits.Azure)
	for range 100 {
		l.Allow("send typing notification", "ann", "work") // 5 of these requests are allowed
	}
	for i := range 5 {
		if r, ok := l.Allow("send typing notification", "bob", "work"); !ok {
			t.Fatalf("the thread has 10, 5 of them used; request %d was refused: %+v", 5+i+1, r)
		}
	}
	r, ok := l.Allow("send typing notification", "cem", "work")
	if want := "send typing notification: 10 per 10 s in a thread"; ok || r.Limit != want {
		t.Errorf("got %v, %+v; want a refusal by %q", ok, r, want)
	}
}

// TestLongestRefusalWins sends a request that exceeds several limits. It checks that RetryAfter is
// the longest of their waits.
func TestLongestRefusalWins(t *testing.T) {
	l, c := newLimiter(limits.Azure)
	for _, at := range []time.Duration{0, 10 * time.Second, 20 * time.Second} {
		c.at(at)
		for range 10 {
			l.Allow("send message", "ann", "work")
		}
	}
	r, ok := l.Allow("send message", "ann", "work")
	if want := (limits.Refusal{Limit: "send, update or delete message: 30 per 60 s in a thread", RetryAfter: 40 * time.Second}); ok || r != want {
		t.Errorf("got %v, %+v; want %+v", ok, r, want)
	}
}

func TestFair(t *testing.T) {
	l, c := newLimiter(limits.Fair)
	operations := limits.Operations()
	for i := range 1000 {
		if r, ok := l.Allow(operations[i%len(operations)], "ann", fmt.Sprint(i%7)); !ok {
			t.Fatalf("request %d was refused: %+v", i+1, r)
		}
		c.pass(time.Millisecond)
	}
	r, ok := l.Allow("send message", "ann", "work")
	if want := (limits.Refusal{Limit: "chat requests: 1000 per 5 s by a user", RetryAfter: 4 * time.Second}); ok || r != want {
		t.Errorf("got %v, %+v; want %+v", ok, r, want)
	}
	if r, ok := l.Allow("send message", "bob", "work"); !ok {
		t.Errorf("another user was refused: %+v", r)
	}
	c.pass(r.RetryAfter)
	for range 10 * 200 { // send 200 requests a second for 10 s
		if r, ok := l.Allow("send message", "ann", "work"); !ok {
			t.Fatalf("refused: %+v", r)
		}
		c.pass(5 * time.Millisecond)
	}
}

func TestNoLimit(t *testing.T) {
	for _, c := range []struct {
		profile   limits.Profile
		operation string
	}{
		{limits.Off, "send message"},
		{limits.Off, "create thread"},
		{limits.Azure, "create user"},
		{limits.Fair, "issue token"},
		{limits.Fair, ""},
	} {
		l, _ := newLimiter(c.profile)
		for range 2000 {
			if r, ok := l.Allow(c.operation, "ann", "work"); !ok {
				t.Fatalf("%v refused %q: %+v", c.profile, c.operation, r)
			}
		}
		if n, _ := l.Counters(); n != 0 {
			t.Errorf("%v has %d counters for %q, want none", c.profile, n, c.operation)
		}
	}
}

func TestClockStepsBack(t *testing.T) {
	l, c := newLimiter(limits.Azure)
	c.at(time.Hour)
	for range 10 {
		l.Allow("create thread", "ann", "")
	}
	c.at(0)
	if r, ok := l.Allow("create thread", "ann", ""); ok || r.RetryAfter != 10*time.Second {
		t.Errorf("after a step back: got %v, %+v; want a refusal for 10 s", ok, r)
	}
	c.at(time.Hour + 10*time.Second)
	if r, ok := l.Allow("create thread", "ann", ""); !ok {
		t.Errorf("when the window is over: refused with %+v", r)
	}
}

// model is a simple rate limiter with which the Limiter is compared. It keeps all allowed
// requests and searches all of them for each new request.
type model []struct {
	operation, user, thread string
	at                      time.Time
}

func (m model) allow(operation, user, thread string, now time.Time) (wait time.Duration) {
	for _, row := range section9 {
		shared := strings.Split(row.operations, ", ")
		if !slices.Contains(shared, operation) {
			continue
		}
		for span, count := range map[time.Duration]int{10 * time.Second: row.per10s, time.Minute: row.perMinute} {
			var in []time.Time
			for _, r := range m {
				if slices.Contains(shared, r.operation) && now.Sub(r.at) < span &&
					(row.scope == "thread" || r.user == user) && (row.scope == "user" || r.thread == thread) {
					in = append(in, r.at)
				}
			}
			if count > 0 && len(in) >= count {
				wait = max(wait, in[len(in)-count].Add(span).Sub(now))
			}
		}
	}
	return wait
}

func TestSameAsModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l, c := newLimiter(limits.Azure)
		var m model
		// Use few different operations in each run, so that their limits are reached.
		some := rapid.SliceOfN(rapid.SampledFrom(limits.Operations()), 1, 3).Draw(t, "operations")
		allowed := 0
		for range rapid.IntRange(1, 60).Draw(t, "bursts") {
			c.pass(rapid.SampledFrom([]time.Duration{0, 1, time.Second, 3 * time.Second, 9999 * time.Millisecond,
				10 * time.Second, 25 * time.Second, time.Minute, time.Hour}).Draw(t, "pass"))
			operation := rapid.SampledFrom(some).Draw(t, "operation")
			user := rapid.SampledFrom([]string{"ann", "bob", "cem"}).Draw(t, "user")
			thread := rapid.SampledFrom([]string{"work", "home"}).Draw(t, "thread")
			for range rapid.IntRange(1, 30).Draw(t, "burst") {
				c.pass(rapid.SampledFrom([]time.Duration{0, 1, 20 * time.Millisecond}).Draw(t, "step"))
				r, ok := l.Allow(operation, user, thread)
				want := m.allow(operation, user, thread, c.now())
				if ok != (want == 0) || r.RetryAfter != want {
					t.Fatalf("%s of %s on %s: got %v, %+v; want a wait of %v", operation, user, thread, ok, r, want)
				}
				if ok {
					m = append(m, struct {
						operation, user, thread string
						at                      time.Time
					}{operation, user, thread, c.now()})
					allowed++
				}
			}
		}
	})
}

func TestConcurrentUse(t *testing.T) {
	for _, c := range []struct {
		profile   limits.Profile
		operation string
		want      int
	}{
		{limits.Azure, "send message", 10},
		{limits.Azure, "list messages", 250},
		// Each of 8 users may send 1000 requests; half of these requests are receipts.
		{limits.Fair, "send message", 8 * 500},
	} {
		l := limits.New(c.profile, time.Now) // the real time is good enough: the test ends before the window
		var allowed atomic.Int64
		var wg sync.WaitGroup
		start := time.Now()
		for g := range 8 {
			wg.Go(func() {
				user := fmt.Sprint("user ", g)
				for i := range 1200 {
					if _, ok := l.Allow(c.operation, user, "work"); ok {
						allowed.Add(1)
					}
					l.Allow("send read receipt", user, fmt.Sprint("thread ", i))
				}
			})
		}
		wg.Wait()
		if took := time.Since(start); took < 5*time.Second && allowed.Load() != int64(c.want) {
			t.Errorf("%v allowed %d of %s, want %d", c.profile, allowed.Load(), c.operation, c.want)
		}
	}
}

func TestMemoryIsBounded(t *testing.T) {
	l, c := newLimiter(limits.Azure)
	most := 0
	for i := range 3 * limits.MaxKeys {
		l.Allow("send message", "ann", fmt.Sprint("thread ", i))
		if i%1000 == 0 {
			l.Allow("send message", "ann", "busy")
		}
		if i%10_000 == 0 {
			n, _ := l.Counters()
			most = max(most, n)
		}
	}
	if most > limits.MaxKeys || most < limits.MaxKeys*3/4 {
		t.Errorf("there were %d counters, want nearly %d", most, limits.MaxKeys)
	}
	if r, ok := l.Allow("send message", "ann", "busy"); ok {
		t.Error("the thread that kept asking was forgotten at the bound")
	} else if r.RetryAfter != 10*time.Second {
		t.Errorf("it may retry after %v, want 10 s", r.RetryAfter)
	}

	// Use other counters for two rotations. A rotation drops counters that were not used since the
	// previous rotation, so the idle counters are dropped.
	for range 2 {
		c.pass(time.Minute)
		for i := range 2000 {
			l.Allow("send message", "ann", fmt.Sprint("new thread ", i))
		}
	}
	if n, _ := l.Counters(); n != 2000 {
		t.Errorf("%d counters are left, want 2000", n)
	}
}

func TestRingsGrowAsNeeded(t *testing.T) {
	l, c := newLimiter(limits.Fair)
	for range 100_000 { // at most four requests in 5 s, so the ring buffer must not grow
		l.Allow("send message", "slow", "work")
		c.pass(1300 * time.Millisecond)
	}
	if _, room := l.Counters(); room != 4 {
		t.Errorf("a slow user has room for %d, want 4", room)
	}
	for range 100_000 {
		l.Allow("send message", "slow", "work")
	}
	if _, room := l.Counters(); room != 1000 {
		t.Errorf("a fast user has room for %d, want 1000", room)
	}
}

// TestRingsKeepWhatCounts fills the ring buffer of a counter. It checks that the next request makes
// the buffer grow if the oldest request still counts in a window, and does not overwrite the oldest
// request.
func TestRingsKeepWhatCounts(t *testing.T) {
	for early := range 11 {
		l, c := newLimiter(limits.Azure)
		for i := range 10 {
			if i == early {
				c.pass(10*time.Second - 1)
			}
			l.Allow("create thread", "ann", "")
		}
		want := time.Duration(1)
		if early == 0 || early == 10 {
			want = 10 * time.Second
		}
		if r, ok := l.Allow("create thread", "ann", ""); ok || r.RetryAfter != want {
			t.Errorf("%d early and the rest late: got %v, %+v; want a refusal for %v", early, ok, r, want)
		}
	}
}

// TestNotForgottenTooSoon checks that a counter is kept for at least the length of its longest
// window, whenever a rotation drops unused counters.
func TestNotForgottenTooSoon(t *testing.T) {
	for start := range 60 {
		l, c := newLimiter(limits.Azure)
		for s := range start + 60 {
			c.at(time.Duration(s) * time.Second)
			// This operation's counter is in the same shard as "send message", so it causes
			// rotations of that shard.
			l.Allow("get message", "ann", "work")
			if since := s - start; since == 0 || since == 10 || since == 20 {
				for range 10 {
					l.Allow("send message", "ann", "work")
				}
			}
		}
		if r, ok := l.Allow("send message", "ann", "work"); ok || r.RetryAfter != time.Second {
			t.Errorf("started at %d s: got %v, %+v; want a refusal for 1 s", start, ok, r)
		}
	}
}

func TestAllocations(t *testing.T) {
	for _, p := range []limits.Profile{limits.Azure, limits.Fair, limits.Off} {
		l, c := newLimiter(p)
		for range 500 {
			c.pass(time.Second)
			l.Allow("list messages", "ann", "work")
		}
		if n := testing.AllocsPerRun(200, func() {
			c.pass(200 * time.Millisecond) // move the clock by so little that some requests are refused
			l.Allow("list messages", "ann", "work")
		}); n > 0 {
			t.Errorf("%v allocates %v times for a request, want 0", p, n)
		}
	}
}

func BenchmarkAllow(b *testing.B) {
	users := make([]string, 10_000)
	threads := make([]string, len(users))
	for i := range users {
		users[i] = fmt.Sprintf("8:acs:1b5cc06b-f352-4571-b1e6-d9b259b7c776_%032d", i)
		threads[i] = fmt.Sprintf("19:%032x@thread.v2", i)
	}
	for _, p := range []limits.Profile{limits.Azure, limits.Fair, limits.Off} {
		for _, operation := range []string{"send message", "list messages"} {
			b.Run(p.String()+"/"+strings.ReplaceAll(operation, " ", "_"), func(b *testing.B) {
				l := limits.New(p, time.Now)
				var next atomic.Int64
				b.ReportAllocs()
				b.RunParallel(func(pb *testing.PB) {
					i := int(next.Add(5000))
					for pb.Next() {
						i++
						l.Allow(operation, users[i%len(users)], threads[i%len(threads)])
					}
				})
			})
		}
	}
}
