package traffic

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"

	"github.com/confab-chat/confab/internal/exchange"
	"github.com/confab-chat/confab/internal/why"
)

var noon = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)

// sent returns the exchange of a request to send a message. Exchanges with different i have
// different ids.
func sent(i int) Exchange {
	return Exchange{
		Time: noon.Add(time.Duration(i) * time.Second), Duration: 1500 * time.Microsecond, Status: 201, Method: "POST",
		Path: "/chat/threads/19:a@thread.v2/messages", Query: "api-version=2024-03-07", Operation: "send message",
		User: "8:acs:r_" + fmt.Sprint(i%3), Thread: "19:a@thread.v2", Agent: "azsdk-js-communication-chat/1.6.0", Client: "127.0.0.1",
		ID: fmt.Sprint("id", i), ClientID: fmt.Sprint("client", i), Host: "localhost:8443",
		Request: http.Header{"Authorization": {"Bearer secret-secret-secret"}, "Content-Type": {"application/json"}, "X-Other": {"secret-secret-secret"}},
		Answer:  http.Header{"Content-Type": {"application/json; charset=utf-8"}, "Location": {"/chat/x"}}, InSize: 20,
	}
}

func refused(i, status int, c why.Cause) Exchange {
	x := sent(i)
	x.Status, x.Why = status, c
	return x
}

func ids(page []Request) string {
	var all []string
	for _, r := range page {
		all = append(all, r.ID)
	}
	return strings.Join(all, " ")
}

// TestPages checks the pages of a log that is read page by page, with and without filters.
func TestPages(t *testing.T) {
	l := New(Options{Requests: 8})
	for i := range 10 {
		switch i {
		case 5:
			l.Add(refused(i, 403, why.Because(why.NeverParticipant, "user", "8:acs:..c2f1")))
		case 7:
			l.Add(refused(i, 0, why.Because(why.UnknownFate)))
		default:
			l.Add(sent(i))
		}
	}
	if got, want := l.Stats(), (Stats{Kept: 8, Seen: 10, Lost: 2}); got.Kept != want.Kept || got.Seen != want.Seen || got.Lost != want.Lost {
		t.Errorf("stats %+v, want %+v", got, want)
	}
	for _, c := range []struct {
		what  string
		f     Filter
		limit int
		want  []string // ids on each page
	}{
		{"all", Filter{}, 3, []string{"id9 id8 id7", "id6 id5 id4", "id3 id2"}},
		{"exactly one page", Filter{}, 8, []string{"id9 id8 id7 id6 id5 id4 id3 id2"}},
		{"status", Filter{Status: []string{"4xx", "0"}}, 9, []string{"id7 id5"}},
		{"statuses", Filter{Status: []string{"403"}}, 9, []string{"id5"}},
		{"user", Filter{User: "8:acs:r_0"}, 2, []string{"id9 id6", "id3"}},
		{"sdk", Filter{SDK: "JS-Communication"}, 9, []string{"id9 id8 id7 id6 id5 id4 id3 id2"}},
		{"thread", Filter{Thread: "19:b@thread.v2"}, 9, []string{""}},
		{"reason", Filter{Query: "never was"}, 9, []string{"id5"}},
		{"code", Filter{Query: "unknown-fate"}, 9, []string{"id7"}},
		{"id", Filter{Query: "CLIENT3"}, 9, []string{"id3"}},
		{"operation", Filter{Operation: "get thread"}, 9, []string{""}},
		{"after", Filter{After: noon.Add(7 * time.Second)}, 9, []string{"id9 id8"}},
	} {
		var got []string
		for before := uint64(0); ; {
			page, next := l.Page(c.f, before, c.limit)
			got = append(got, ids(page))
			if before = next; next == 0 {
				break
			}
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: -want +got:\n%s", c.what, diff)
		}
	}
}

// TestDetail checks that Get finds a request by the server's id and by the client's id.
func TestDetail(t *testing.T) {
	l := New(Options{})
	x := refused(1, 403, why.Because(why.NeverParticipant, "user", "8:acs:..c2f1"))
	l.Add(x)
	got, ok := l.Get("client1")
	if other, _ := l.Get("id1"); !ok || !cmp.Equal(got, other) {
		t.Fatalf("%+v, %+v", got, other)
	}
	reason := why.Of(x.Why)
	want := Detail{
		Request: Request{
			Seq: 1, ID: "id1", ClientID: "client1", Time: "2026-11-28T12:00:01.000Z", MS: 1.5, Status: 403, Method: "POST",
			Path: x.Path + "?api-version=2024-03-07", Operation: x.Operation, User: x.User, Thread: x.Thread, SDK: x.Agent,
			Client: x.Client, Version: "2024-03-07", Why: &reason,
		},
		Sent: Message{Headers: map[string]string{
			"Authorization": "Bearer sanitized", "Content-Type": "application/json", "Host": "localhost:8443", "User-Agent": x.Agent,
		}, BodySize: 20},
		Answered: Message{Headers: map[string]string{"Content-Type": "application/json; charset=utf-8", "Location": "/chat/x"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	for _, id := range []string{"", "id2"} {
		if _, ok := l.Get(id); ok {
			t.Errorf("found %q", id)
		}
	}
}

// TestIDsOfClientsHideNothing adds a request whose client sent the id of an earlier request. It
// checks that Get still returns the earlier request.
func TestIDsOfClientsHideNothing(t *testing.T) {
	l := New(Options{})
	later := sent(2)
	later.ClientID = "id1"
	l.Add(sent(1))
	l.Add(later)
	l.Add(sent(3))
	if got, ok := l.Get("id1"); !ok || got.ID != "id1" {
		t.Errorf("the request id1: %+v", got.Request)
	}
	again := sent(4)
	again.ClientID = "client3"
	l.Add(again)
	if got, ok := l.Get("client3"); !ok || got.ID != "id4" {
		t.Errorf("the newest request client3: %+v", got.Request)
	}
}

// passed sends a request through a handler, with a copy of the bodies, and adds the request to the
// log.
func passed(l *Log, path, in, out string) {
	r := httptest.NewRequest("POST", path, strings.NewReader(in))
	r.Header.Set("Authorization", "Bearer secret-secret-secret")
	r.Header.Set("X-Skypetoken", "secret-secret-secret")
	w := httptest.NewRecorder()
	c, cw, cr := exchange.Begin(w, r, exchange.Options{Room: Room})
	buffer := make([]byte, 1000)
	for {
		if _, err := cr.Body.Read(buffer); err != nil {
			break
		}
	}
	fmt.Fprint(cw, out)
	l.Add(Exchange{Time: noon, ID: "id", User: "8:acs:x", Status: 200, Path: r.URL.EscapedPath(), Query: r.URL.RawQuery, Request: r.Header, Answer: w.Header(), Copy: c})
}

// TestBodies checks which parts of bodies a log keeps, and for which requests CanSendAgain is true.
func TestBodies(t *testing.T) {
	for _, c := range []struct {
		what, path, in, out string
		sent, answered      string
		cut, again          bool
	}{
		{"JSON", "/chat/a?api-version=1", `{"content":"hi"}`, `{"id":"1"}`, `{"content":"hi"}`, `{"id":"1"}`, false, true},
		{"blanks", "/chat/a", `{ "content": "hi" }`, "", `{"content":"hi"}`, "", false, true},
		{"text", "/chat/a", "hello", "bye", "hello", "bye", false, true},
		{"a secret", "/chat/a", `{"token":"abc"}`, `{"token":"abc"}`, `{"token":"sanitized"}`, `{"token":"sanitized"}`, false, false},
		{"a secret in the query", "/chat/a?token=abc", "1", "", "1", "", false, false},
		{"an escaped secret in the query", "/chat/a?%74oken=abc", "1", "", "1", "", false, false},
		{"long", "/chat/a", strings.Repeat("a", MaxBody+1), "", strings.Repeat("a", MaxBody), "", true, false},
		{"as long as allowed", "/chat/a", strings.Repeat("a", MaxBody), "", strings.Repeat("a", MaxBody), "", false, true},
	} {
		l := New(Options{Bodies: true})
		passed(l, c.path, c.in, c.out)
		d, _ := l.Get("id")
		if d.Sent.Body != c.sent || d.Answered.Body != c.answered || d.Sent.BodyTruncated != c.cut || d.CanSendAgain != c.again {
			t.Errorf("%s: %+v", c.what, d)
		}
		if d.Sent.BodySize != int64(len(c.in)) || d.Answered.BodySize != int64(len(c.out)) {
			t.Errorf("%s: sizes %d and %d", c.what, d.Sent.BodySize, d.Answered.BodySize)
		}
		if strings.Contains(fmt.Sprint(d), "abc") || strings.Contains(fmt.Sprint(d), "secret-secret") {
			t.Errorf("%s: a secret is kept: %+v", c.what, d)
		}
	}
}

// TestMemory fills logs with requests of many kinds. It checks that the bytes that a log
// counts stay below its bound, and that the memory of the Go heap grows by at most 1.25 times
// the bound.
func TestMemory(t *testing.T) {
	if n := unsafe.Sizeof(entry{}); n != entrySize {
		t.Errorf("an entry has %d bytes, and entrySize is %d", n, entrySize)
	}
	if n := unsafe.Sizeof(more{}); n > moreSize-16 {
		t.Errorf("more has %d bytes, and moreSize is %d", n, moreSize)
	}
	long := strings.Repeat("a", 20_000)
	for what, add := range map[string]func(l *Log, i int){
		"sends": func(l *Log, i int) { l.Add(sent(i)) },
		"long lines": func(l *Log, i int) {
			line := strings.Clone(fmt.Sprint("POST /chat/", i, "?x=", long))
			x := sent(i)
			x.Method, x.Path, x.Query = line[:4], line[5:12], line[13:]
			l.Add(x)
		},
		"long headers": func(l *Log, i int) {
			x := sent(i)
			x.Agent = strings.Clone(long)
			for j := range 300 {
				x.Request[fmt.Sprint("X-", j)] = []string{strings.Clone(long[:100])}
				x.Request[fmt.Sprint("Sec-Fetch-", j)] = []string{strings.Clone(long[:100])}
			}
			l.Add(x)
		},
		"bodies": func(l *Log, i int) { passed(l, fmt.Sprint("/a/", i), long+fmt.Sprint(i), fmt.Sprint(i)+long) },
		"reasons": func(l *Log, i int) {
			l.Add(refused(i, 400, why.Because(why.InvalidField, "field", "content", "problem", fmt.Sprint(long[:1000], i))))
		},
	} {
		for _, bodies := range []bool{false, true} {
			const most = 2 << 20
			l := New(Options{Bytes: most, Requests: 20_000, Bodies: bodies})
			runtime.GC()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			count := 12_000
			if what == "bodies" || what == "long headers" {
				count = 1000 // fewer requests fill the log, because each has more bytes
			}
			for i := range count {
				add(l, i)
				if got := l.Stats().Bytes; got > most {
					t.Fatalf("%s: %d bytes, and %d are allowed", what, got, int64(most))
				}
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			if used := int64(after.HeapAlloc) - int64(before.HeapAlloc); used > most+most/4 {
				t.Errorf("%s, bodies %v: the heap has %d bytes more, and %d are allowed; the log counts %d", what, bodies, used, int64(most), l.Stats().Bytes)
			}
			if s := l.Stats(); s.Kept == 0 || s.Seen != uint64(count) {
				t.Errorf("%s: %+v", what, s)
			}
			runtime.KeepAlive(l)
		}
	}
}

// TestBlocksAreUsedAgain fills a log several times. It checks that a log without readers allocates
// no new blocks, and that requests that a reader has got never change.
func TestBlocksAreUsedAgain(t *testing.T) {
	l := New(Options{Requests: 20})
	x := sent(1)
	for range 20 {
		l.Add(x)
	}
	if n := testing.AllocsPerRun(100, func() { l.Add(x) }); n != 0 {
		t.Errorf("%v allocations for a request", n)
	}
	var read []entry
	var want []Detail
	for i := range 100 {
		x := sent(i)
		x.Path = strings.Repeat("/a", 20+i%30)
		l.Add(x)
		if i%7 == 0 {
			for e := range l.backward(math.MaxUint64) {
				read, want = append(read, *e), append(want, e.detail())
			}
		}
	}
	for i := range read {
		if diff := cmp.Diff(want[i], read[i].detail()); diff != "" {
			t.Errorf("a request has changed after it was read: -want +got:\n%s", diff)
		}
	}
}

// TestSmallRequestsFreeLargeBlocks adds long requests and then short ones. It checks that the short
// requests do not keep the large blocks of the long ones in memory.
func TestSmallRequestsFreeLargeBlocks(t *testing.T) {
	l := New(Options{Requests: 20})
	for range 20 {
		x := sent(1)
		x.Path, x.Agent, x.ClientID = strings.Repeat("/", 500), strings.Repeat("a", 500), strings.Repeat("c", 500)
		l.Add(x)
	}
	long := l.Stats().Bytes
	for i := range 20 {
		l.Add(sent(i))
	}
	if short := l.Stats().Bytes; short > long/2 {
		t.Errorf("%d bytes, and %d with long texts", short, long)
	}
}

// TestNoSecretsInTexts puts a secret into each text that a client chooses. It checks that the log
// does not contain the secret.
func TestNoSecretsInTexts(t *testing.T) {
	const secret = "eyJhbGciOi.eyJza3lwZWl.c2lnbmF0dXJl"
	for _, status := range []int{0, 200, 201, 302, 403} {
		for _, bodies := range []bool{false, true} {
			x := Exchange{
				Time: noon, Status: status, Method: secret, Path: "/a/" + secret, Query: "api-version=" + secret + "&a=" + secret,
				Agent: secret, Client: secret, ID: "id", ClientID: secret, Host: secret, Request: http.Header{}, Answer: http.Header{},
			}
			if status < 200 || status > 299 {
				x.User, x.Thread = secret, "19:"+secret+"@thread.v2"
				x.Answer["Location"] = []string{"/a/" + secret}
			}
			for _, name := range shownAlways[:shownOfRequest] {
				x.Request[name] = []string{secret}
			}
			for _, query := range []string{x.Query, "api-version=" + secret, "sig=2025"} {
				l := New(Options{Bodies: bodies})
				x.Query = query
				l.Add(x)
				if d, ok := l.Get("id"); !ok || strings.Contains(fmt.Sprint(d), "eyJ") || strings.Contains(d.Path, "sig=2025") {
					t.Errorf("status %d, bodies %v: a secret is kept: %+v", status, bodies, d)
				}
			}
		}
	}
}

// TestOneLargeRequestStays adds a request that is larger than the log's bound. It checks that the
// log keeps this request and drops all others.
func TestOneLargeRequestStays(t *testing.T) {
	l := New(Options{Bytes: 100})
	for i := range 3 {
		l.Add(sent(i))
	}
	if page, _ := l.Page(Filter{}, 0, 9); ids(page) != "id2" {
		t.Errorf("kept %s", ids(page))
	}
}

// TestSubscription follows a log. It checks that a fast reader receives every request, and a slow
// reader the number of requests that it has lost.
func TestSubscription(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Options{Requests: 300})
		l.Add(sent(0))
		s, err := l.Subscribe(Filter{Status: []string{"201"}}, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		type result struct {
			ids  string
			lost uint64
			took time.Duration
		}
		next := func() result {
			began := time.Now()
			got, lost, err := s.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return result{ids(got), lost, time.Since(began)}
		}
		check := func(what string, got, want result) {
			t.Helper()
			if got != want {
				t.Errorf("%s: %+v, want %+v", what, got, want)
			}
		}
		go func() {
			time.Sleep(time.Second)
			l.Add(refused(1, 403, why.Because(why.Scope)))
			l.Add(sent(2))
		}()
		check("the first", next(), result{"id2", 0, time.Second})
		l.Add(sent(3))
		l.Add(sent(4))
		check("at once again", next(), result{"id3 id4", 0, pace})
		for i := range 1000 {
			l.Add(sent(5 + i))
		}
		got := next()
		if n := len(strings.Fields(got.ids)); n != batch || got.lost != 1000-batch || !strings.HasSuffix(got.ids, "id1004") {
			t.Errorf("%d requests, %d lost", n, got.lost)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, _, err := s.Next(ctx); err == nil {
			t.Error("Next returned without a request")
		}
		again, err := l.Subscribe(Filter{}, 1003)
		if err != nil {
			t.Fatal(err)
		}
		defer again.Close()
		if got, lost, err := again.Next(t.Context()); err != nil || ids(got) != "id1003 id1004" || lost != 0 {
			t.Errorf("after 1003: %s, %d lost, %v", ids(got), lost, err)
		}
	})
}

// TestSubscribeAfterARestart subscribes with a number from before a restart, which is higher than
// any number in the log. It checks that the subscription begins with the first request.
func TestSubscribeAfterARestart(t *testing.T) {
	l := New(Options{})
	l.Add(sent(1))
	l.Add(sent(2))
	s, err := l.Subscribe(Filter{}, 999)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if got, lost, err := s.Next(t.Context()); err != nil || ids(got) != "id1 id2" || lost != 0 {
		t.Errorf("%s, %d lost, %v, want both requests of this start", ids(got), lost, err)
	}
}

// TestSubscriptionsAreBounded checks that Subscribe fails with ErrTooMany at its limit of open
// subscriptions.
func TestSubscriptionsAreBounded(t *testing.T) {
	l := New(Options{})
	var open []*Subscription
	for {
		s, err := l.Subscribe(Filter{}, 0)
		if err != nil {
			break
		}
		open = append(open, s)
	}
	if len(open) != MaxSubscriptions {
		t.Errorf("%d subscriptions", len(open))
	}
	open[0].Close()
	if _, err := l.Subscribe(Filter{}, 0); err != nil {
		t.Error(err)
	}
}

// TestConcurrentUse calls the methods of a log from several goroutines, so that the race detector
// can find a missing lock.
func TestConcurrentUse(t *testing.T) {
	l := New(Options{Requests: 50})
	ctx, cancel := context.WithCancel(t.Context())
	var readers, writers sync.WaitGroup
	for range 2 {
		s, err := l.Subscribe(Filter{}, 0)
		if err != nil {
			t.Fatal(err)
		}
		readers.Go(func() {
			defer s.Close()
			var last uint64
			for {
				got, _, err := s.Next(ctx)
				if err != nil {
					return
				}
				for _, r := range got {
					if r.Seq <= last {
						t.Errorf("%d after %d", r.Seq, last)
					}
					last = r.Seq
				}
			}
		})
	}
	for i := range 4 {
		writers.Go(func() {
			for j := range 500 {
				l.Add(sent(i*500 + j))
				l.Page(Filter{}, 0, 10)
				l.Get("id7")
			}
		})
	}
	writers.Wait()
	cancel()
	readers.Wait()
	if s := l.Stats(); s.Seen != 2000 || s.Kept != 50 {
		t.Errorf("%+v", s)
	}
}

// TestShownHeadersAreHarmless checks that package exchange does not hide the headers in
// shownAlways.
func TestShownHeadersAreHarmless(t *testing.T) {
	for _, name := range shownAlways {
		if got := exchange.Header(name, "x"); got != "x" && name != "Authorization" {
			t.Errorf("%s is kept, and package exchange shows %q", name, got)
		}
	}
}

// BenchmarkAdd measures the time of Add for a log that nobody reads.
func BenchmarkAdd(b *testing.B) {
	l, x := New(Options{}), sent(1)
	for range DefaultRequests {
		l.Add(x)
	}
	b.ReportAllocs()
	for b.Loop() {
		l.Add(x)
	}
}
