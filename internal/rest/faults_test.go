package rest

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/confab-chat/confab/internal/token"
)

// queuedFaults implements Faults with a queue: each request takes the first fault from
// it.
type queuedFaults struct {
	mu   sync.Mutex
	left []Fault
}

func (q *queuedFaults) add(faults ...Fault) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.left = append(q.left, faults...)
}

func (q *queuedFaults) Next(operation string) (Fault, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.left) == 0 || q.left[0].Operation != "" && q.left[0].Operation != operation {
		return Fault{}, false
	}
	f := q.left[0]
	q.left = q.left[1:]
	return f, true
}

func (q *queuedFaults) Wait(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// withFaults returns a fixture, a queue in which the test puts faults for its requests, and the
// list of the access log records of its requests.
func withFaults(t *testing.T) (f *fixture, faults *queuedFaults, records *[]Record) {
	t.Helper()
	faults, records = new(queuedFaults), new([]Record)
	var mu sync.Mutex // guards the list of records, because requests of two connections may end at the same time
	f = newFixture(t, func(o *Options) {
		o.Faults = faults
		o.Access = func(r Record) {
			mu.Lock()
			defer mu.Unlock()
			*records = append(*records, r)
		}
	})
	return f, faults, records
}

// ask sends a request and returns the response. The status is 0 if the server closed
// the connection without a response.
func (f *fixture) ask(method, target, bearer, body string) (w *httptest.ResponseRecorder) {
	w = httptest.NewRecorder()
	defer func() {
		if p := recover(); p == http.ErrAbortHandler {
			w.Code = 0
		} else if p != nil {
			panic(p)
		}
	}()
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+bearer)
	f.ServeHTTP(w, r)
	return w
}

func TestFaultStatuses(t *testing.T) {
	f, faults, _ := withFaults(t)
	ann, bearer := f.user(t, token.Chat)
	thread, _ := f.thread(t, ann)
	const identities = "/identities?api-version=2023-10-01"
	messages := "/chat/threads/" + thread + "/messages?api-version=2021-09-07"
	old := "/chat/threads/" + thread + "/messages?api-version=2020-11-01-preview3"
	for _, c := range []struct {
		target string
		fault  Fault
		code   string
		body   string // prefix of the body
		retry  string
	}{
		{messages, Fault{Status: 400}, "BadRequest", `{"error":{"code":"BadRequest","message":"The development server was told to answer this."},"CommunicationError":{`, ""},
		{messages, Fault{Status: 401}, "Unauthorized", "", ""},
		{messages, Fault{Status: 429, RetryAfter: 1500 * time.Millisecond}, "TooManyRequests", `{"error":{"code":"TooManyRequests"`, "2"},
		{messages, Fault{Status: 429}, "TooManyRequests", `{"error":{"code":"TooManyRequests"`, ""},
		{messages, Fault{Status: 500}, "InternalServerError", `{"error":{"code":"InternalServerError"`, ""},
		{messages, Fault{Status: 503, RetryAfter: time.Second}, "ServiceUnavailable", `{"error":{"code":"ServiceUnavailable"`, "1"},
		{messages, Fault{Status: 503}, "ServiceUnavailable", `{"error":{"code":"ServiceUnavailable"`, ""},
		{messages, Fault{Status: 418}, "Imateapot", `{"error":{"code":"Imateapot"`, ""},
		{messages, Fault{Status: 599}, "Status599", `{"error":{"code":"Status599"`, ""},
		{old, Fault{Status: 404}, "NotFound", `{"Error":{"Code":"NotFound"`, ""},
		{identities, Fault{Status: 400}, "ValidationError", `{"error":{"code":"ValidationError"`, ""},
		{identities, Fault{Status: 401}, "Denied", `{"error":{"code":"Denied"`, ""},
		{identities, Fault{Status: 504}, "GatewayTimeout", `{"error":{"code":"GatewayTimeout"`, ""},
	} {
		faults.add(c.fault)
		before := f.written()
		w := f.ask("POST", c.target, bearer, `{"content":"text"}`)
		if w.Code != c.fault.Status || w.Header().Get("x-ms-error-code") != c.code || w.Header().Get("Retry-After") != c.retry ||
			!strings.HasPrefix(w.Body.String(), c.body) || c.body == "" && w.Body.Len() > 0 {
			t.Errorf("%+v on %s: %d %q, Retry-After %q\n%s", c.fault, c.target, w.Code, w.Header().Get("x-ms-error-code"), w.Header().Get("Retry-After"), w.Body)
		}
		if f.written() != before {
			t.Errorf("%+v: the operation was carried out", c.fault)
		}
	}
	if w := f.ask("POST", messages, bearer, `{"content":"text"}`); w.Code != 201 {
		t.Errorf("after all faults were used: %d %s", w.Code, w.Body)
	}
}

func TestFaultsHitTheirOperationAlone(t *testing.T) {
	f, faults, _ := withFaults(t)
	ann, bearer := f.user(t, token.Chat)
	thread, _ := f.thread(t, ann)
	faults.add(Fault{Operation: "send message", Status: 503}, Fault{Operation: "send message", Status: 503})
	const version = "?api-version=2021-09-07"
	var got []int
	for _, r := range [][2]string{
		{"GET", "/messages"}, {"POST", "/messages"}, {"POST", "/typing"}, {"OPTIONS", "/messages"}, {"PUT", "/messages"}, {"POST", "/messages"}, {"POST", "/messages"},
	} {
		got = append(got, f.ask(r[0], "/chat/threads/"+thread+r[1]+version, bearer, `{"content":"text"}`).Code)
	}
	if want := []int{200, 503, 200, 204, 405, 503, 201}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestDrops(t *testing.T) {
	f, faults, records := withFaults(t)
	ann, bearer := f.user(t, token.Chat)
	thread, _ := f.thread(t, ann)
	target := "/chat/threads/" + thread + "/messages?api-version=2021-09-07"
	count := func() int {
		return strings.Count(f.ask("GET", target, bearer, "").Body.String(), `"type":"text"`)
	}
	for _, c := range []struct {
		drop   Drop
		sent   int
		status int
		note   string
	}{
		{DropBefore, 0, 0, "dropped on purpose: not carried out"},
		{DropAfter, 1, 201, "dropped on purpose: the answer is lost"},
	} {
		before := count()
		faults.add(Fault{Operation: "send message", Drop: c.drop})
		w := f.ask("POST", target, bearer, `{"content":"text"}`)
		if w.Code != 0 || w.Body.Len() > 0 {
			t.Errorf("dropped %s: answered with %d %s", c.drop, w.Code, w.Body)
		}
		last := (*records)[len(*records)-1]
		if last.Operation != "send message" || last.Status != c.status || last.Note != c.note {
			t.Errorf("dropped %s: recorded as %+v", c.drop, last)
		}
		if got := count() - before; got != c.sent {
			t.Errorf("dropped %s: the thread has %d messages, want %d", c.drop, got, c.sent)
		}
	}
}

// TestDelay sends requests with a Delay fault. It checks that the delay may be longer
// than the body timeout if the body arrived in time, and that the delay ends when the
// client hangs up.
func TestDelay(t *testing.T) {
	f, faults, _ := withFaults(t)
	f.Handler.bodyTimeout = 100 * time.Millisecond
	ann, bearer := f.user(t, token.Chat)
	thread, _ := f.thread(t, ann)
	srv := httptest.NewServer(f.Handler)
	defer srv.Close()
	defer srv.Client().CloseIdleConnections()
	send := func(ctx context.Context) (int, error) {
		r, err := http.NewRequestWithContext(ctx, "POST", srv.URL+"/chat/threads/"+thread+"/messages?api-version=2021-09-07", strings.NewReader(`{"content":"text"}`))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+bearer)
		w, err := srv.Client().Do(r)
		if err != nil {
			return 0, err
		}
		return w.StatusCode, w.Body.Close()
	}
	faults.add(Fault{Delay: 150 * time.Millisecond})
	start := time.Now()
	if status, err := send(t.Context()); status != 201 || err != nil || time.Since(start) < 150*time.Millisecond {
		t.Errorf("with a delay of 150 ms: %d %v after %v", status, err, time.Since(start))
	}
	faults.add(Fault{Delay: 30 * time.Second})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	start = time.Now()
	if _, err := send(ctx); err == nil {
		t.Error("a client with 50 ms was answered after a delay of 30 s")
	}
	srv.Close() // Close waits until the handler has returned
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("the delay went on for %v after the client hung up", took)
	}
}

// TestOperationsAreNamed checks that every operation has a name and that no two
// operations share one, because fault rules refer to operations by name.
func TestOperationsAreNamed(t *testing.T) {
	all := Operations()
	if !slices.Contains(all, "send message") || !slices.Contains(all, "issue token") || slices.Contains(all, "") {
		t.Errorf("operations: %s", fmt.Sprint(all))
	}
}
