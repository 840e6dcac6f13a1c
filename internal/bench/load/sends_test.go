package load

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestOpenLoopCountsTheWait(t *testing.T) {
	const slow = 20 * time.Millisecond
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(slow) // makes the server slow, so that the measured latency must be long
		w.WriteHeader(http.StatusCreated)
	})
	got, err := Round(t.Context(), s, posts, Options{Connections: 1, Span: 300 * time.Millisecond, Rate: 100})
	if err != nil {
		t.Fatal(err)
	}
	// A request is due every 10 ms and takes 20 ms. So the last requests wait for many earlier
	// ones, and about half of the requests are answered after the measured span.
	if longest := time.Duration(got.Latency.Max()) * time.Microsecond; longest < 3*slow {
		t.Errorf("the longest answer took %v: the wait for a connection is omitted", longest)
	}
	if n := got.Latency.TotalCount(); n <= int64(got.Answers) {
		t.Errorf("%d are measured and %d answered within the span: those answered later are omitted", n, got.Answers)
	}
}

// sent returns a Sends, a load that sends messages, with one connection. Its messages 0 to 3 were
// sent to the threads a, b, a and b, and got the ids 10 to 13.
func sent() *Sends {
	endpoint := &url.URL{Scheme: "https", Host: "localhost:1"}
	l := NewSends(&Server{Endpoint: endpoint}, World{[]Thread{{"a", []string{"x"}}, {"b", []string{"y"}}}}, 32, 1)
	for n := range 4 {
		l.answered(0, n, fmt.Appendf(nil, `{"id":"%d"}`, 10+n))
	}
	return l
}

func TestSendsAreUnique(t *testing.T) {
	l := sent()
	request := string(l.request(nil, 0, 0))
	for _, want := range []string{"POST /chat/threads/a/messages?", "\r\nAuthorization: Bearer x\r\n", "\r\nX-Ms-Client-Request-Id: 00000000-0000-4000-8000-000000000004\r\n\r\n", `{"content":"000.00000004 `} {
		if !strings.Contains(request, want) {
			t.Errorf("no %q in %s", want, request)
		}
	}
	head, body, _ := strings.Cut(request, "\r\n\r\n")
	if want := fmt.Sprintf("Content-Length: %d\r\n", len(body)); !strings.Contains(head, want) {
		t.Errorf("no %q in %s", want, head)
	}
	if l.Acknowledged() != 4 {
		t.Errorf("%d are acknowledged, want 4", l.Acknowledged())
	}
	if err := l.answered(0, 0, []byte(`{}`)); err == nil {
		t.Error("an answer without an id is accepted")
	}
}

func TestReadBack(t *testing.T) {
	l := sent()
	item := func(n, id, sequence int) string {
		return fmt.Sprintf(`{"id":"%d","type":"text","sequenceId":"%d","content":{"message":"000.%08d %s"}}`, id, sequence, n, l.texts[n])
	}
	const created = `{"id":"1","type":"threadCreated","sequenceId":"1"}`
	for _, tt := range []struct {
		name string
		a, b []string // the texts of the messages in the threads a and b, newest first
		want Found
	}{
		{"all", []string{item(2, 12, 3), item(0, 10, 2), created}, []string{item(3, 13, 3), item(1, 11, 2)}, Found{}},
		{"lost", []string{item(2, 12, 3), created}, []string{item(3, 13, 3)}, Found{Lost: 2}},
		{"doubled", []string{item(2, 12, 4), item(2, 14, 3), item(0, 10, 2)}, []string{item(3, 13, 3), item(1, 11, 2)}, Found{Doubled: 1}},
		{"never sent", []string{item(4, 15, 4), item(2, 12, 3), item(0, 10, 2)}, []string{item(3, 13, 3), item(1, 11, 2)}, Found{Doubled: 1}},
		{"other order", []string{item(0, 10, 3), item(2, 12, 2)}, []string{item(3, 13, 3), item(1, 11, 2)}, Found{Reordered: 1}},
		{"one sequence id", []string{item(2, 12, 2), item(0, 10, 2)}, []string{item(3, 13, 3), item(1, 11, 2)}, Found{Reordered: 1}},
		{"other id", []string{item(2, 99, 3), item(0, 10, 2)}, []string{item(3, 13, 3), item(1, 11, 2)}, Found{Wrong: 1}},
		{"other thread", []string{item(0, 10, 2)}, []string{item(3, 13, 4), item(2, 12, 3), item(1, 11, 2)}, Found{Wrong: 1}},
		{"other text", []string{strings.Replace(item(2, 12, 3), l.texts[2], "x", 1), item(0, 10, 2)}, []string{item(3, 13, 3), item(1, 11, 2)}, Found{Wrong: 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var server *httptest.Server
			limited := false
			s := serve(t, func(w http.ResponseWriter, r *http.Request) {
				items := tt.a
				if strings.HasPrefix(r.URL.Path, "/chat/threads/b/") {
					items = tt.b
					if !limited { // the client must ask again
						limited = true
						w.Header().Set("Retry-After", "0")
						w.WriteHeader(http.StatusTooManyRequests)
						return
					}
				}
				next := ""
				if r.URL.Query().Get("page") == "" { // each thread has two pages
					next = server.URL + r.URL.Path + "?page=2"
					items = items[:1]
				} else {
					items = items[1:]
				}
				fmt.Fprintf(w, `{"value":[%s],"nextLink":"%s"}`, strings.Join(items, ","), next)
			})
			server = &httptest.Server{URL: s.Endpoint.String()}
			got, err := l.ReadBack(t.Context(), s)
			if err != nil {
				t.Fatal(err)
			}
			tt.want.Acknowledged = 4
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if (got.Err() == nil) != (tt.name == "all") {
				t.Errorf("error %v", got.Err())
			}
		})
	}
}

func TestParseMetrics(t *testing.T) {
	const page = "# TYPE go_memstats_mallocs_total counter\ngo_memstats_mallocs_total 1.5e+03\ngo_memstats_alloc_bytes_total 7\nother 3\nprocess_resident_memory_bytes 9\n"
	got, err := parseMetrics(strings.NewReader(page))
	if want := (Usage{Allocations: 1500, Allocated: 7, Resident: 9}); err != nil || got != want {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
	if _, err := parseMetrics(strings.NewReader("go_memstats_mallocs_total x\n")); err == nil {
		t.Error("x is a number")
	}
}

func TestOrder(t *testing.T) {
	if a, b := Order(4, 3), Order(5, 3); !slices.Equal(a, []int{0, 1, 2}) || !slices.Equal(b, []int{2, 1, 0}) {
		t.Errorf("%v and %v", a, b)
	}
}
