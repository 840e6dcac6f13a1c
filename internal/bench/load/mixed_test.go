package load

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// fakeChat answers the requests of Mixed, and counts them by method and path.
type fakeChat struct {
	mu   sync.Mutex
	asks map[string]int
	last int
	lie  bool // answer GetMessage with another message
}

func (f *fakeChat) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	parts := strings.Split(strings.TrimPrefix(r.URL.Path, "/chat/threads"), "/")
	kind := r.Method + " threads"
	if len(parts) > 2 {
		kind = r.Method + " " + parts[2]
	}
	if len(parts) > 3 {
		kind += " id"
	}
	f.asks[kind]++
	switch kind {
	case "POST messages":
		f.last++
		w.WriteHeader(http.StatusCreated)
		fmt.Fprintf(w, `{"id":"%d"}`, f.last)
	case "GET messages id":
		id := parts[3]
		if f.lie {
			id = "0"
		}
		fmt.Fprintf(w, `{"id":"%s"}`, id)
	default:
		fmt.Fprint(w, `{"value":[{}]}`)
	}
}

func TestMixed(t *testing.T) {
	f := &fakeChat{asks: map[string]int{}}
	s := serve(t, f.ServeHTTP)
	w := World{[]Thread{{"a", []string{"x", "y"}}, {"b", []string{"y", "x"}}}}
	l := NewMixed(s, w, 32, 1)
	c, err := Dial(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	// send one message first, because the first request of a Mixed may be another operation, which
	// needs a message
	if err := Fill(t.Context(), s, l.Sends, 1, 1); err != nil {
		t.Fatal(err)
	}
	f.asks["POST messages"]--
	for n := range 200 {
		if err := c.ask(l.Load(), 0, n); err != nil {
			t.Fatal(err)
		}
	}
	want := map[string]int{
		"POST messages": 80, "GET messages": 40, "GET messages id": 20, "POST readReceipts": 30, "POST typing": 20, "GET threads": 10,
	}
	if diff := cmp.Diff(want, f.asks); diff != "" {
		t.Errorf("200 requests (-want +got):\n%s", diff)
	}
	if l.Sent() != 80 || l.Acknowledged() != 81 {
		t.Errorf("%d are sent and %d acknowledged", l.Sent(), l.Acknowledged())
	}
	f.lie = true
	for n := 0; ; n++ {
		if n == 100 {
			t.Fatal("another message than the asked one is accepted")
		}
		if err := c.ask(l.Load(), 0, n); err != nil {
			if !strings.Contains(err.Error(), "asked for message") {
				t.Error(err)
			}
			break
		}
	}
}

func TestEachSecond(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusCreated) })
	var got []int
	_, err := Round(t.Context(), s, posts, Options{Connections: 1, Span: 1100 * time.Millisecond, EachSecond: func(n int) error {
		got = append(got, n)
		return nil
	}})
	if diff := cmp.Diff([]int{0, 1}, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}
