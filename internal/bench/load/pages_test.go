package load

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestPages(t *testing.T) {
	w := World{[]Thread{{"a", []string{"x", "y"}}, {"b", []string{"z", "v"}}}}
	var changed atomic.Bool
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("maxPageSize") != "2" {
			t.Errorf("asked for %s", r.URL)
		}
		thread := strings.Split(r.URL.Path, "/")[3]
		fmt.Fprintf(w, `{"value":[{"id":"%s1"},{"id":"%s2"}],"changed":%t}`, thread, thread, changed.Load())
	})
	l, err := NewPages(t.Context(), s, w, 2)
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"value":[{"id":"a1"},{"id":"a2"}],"changed":false}`; string(l.Body()) != want {
		t.Errorf("the first page is %s, want %s", l.Body(), want)
	}
	o := Options{Connections: 3, Span: 500 * time.Millisecond}
	if got, err := Round(t.Context(), s, l.Load(), o); err != nil || got.Answers == 0 {
		t.Errorf("%+v, %v", got, err)
	}
	changed.Store(true)
	if _, err := Round(t.Context(), s, l.Load(), o); err == nil || !strings.Contains(err.Error(), "differs") {
		t.Errorf("another page is accepted: %v", err)
	}
	short := serve(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, `{"value":[{}]}`) })
	if _, err := NewPages(t.Context(), short, w, 2); err == nil || !strings.Contains(err.Error(), "has 1 messages, want 2") {
		t.Errorf("a page of one is accepted: %v", err)
	}
}

func TestFill(t *testing.T) {
	var got atomic.Int64
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusCreated)
		fmt.Fprintf(w, `{"id":"%d"}`, got.Add(1))
	})
	l := NewSends(s, World{[]Thread{{"a", []string{"x"}}, {"b", []string{"y"}}}}, 32, 3)
	if err := Fill(t.Context(), s, l, 3, 4); err != nil {
		t.Fatal(err)
	}
	if got.Load() != 12 || l.Acknowledged() != 12 {
		t.Errorf("%d sent and %d acknowledged, want 12", got.Load(), l.Acknowledged())
	}
}
