package rest

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/confab-chat/confab/internal/token"
)

// TestBigBuffersAreNotPooled returns buffers larger than maxPooled bytes to the pool,
// directly and by sending big responses. It checks that getBuffer never returns such a
// buffer.
func TestBigBuffersAreNotPooled(t *testing.T) {
	f := newFixture(t, nil)
	for _, size := range []int{maxPooled + 1, 1 << 20} {
		b := make([]byte, 0, size)
		for range 8 {
			f.putBuffer(&b)
			if got := cap(*f.getBuffer()); got > maxPooled {
				t.Errorf("a buffer of %d bytes came back, want at most %d", got, maxPooled)
			}
		}
	}

	ann, bearer := f.user(t, token.Chat)
	thread, _ := f.thread(t, ann)
	target := "/chat/threads/" + thread + "/messages?api-version=2021-09-07"
	for range 3 {
		w := f.ask("POST", target, bearer, `{"content":"`+strings.Repeat("x", maxPooled)+`"}`)
		if w.Code != 201 {
			t.Fatalf("send: %d %s", w.Code, w.Body)
		}
	}
	for range 8 {
		w := f.ask("GET", target, bearer, "")
		if w.Code != 200 || w.Body.Len() <= 3*maxPooled {
			t.Fatalf("list: %d with %d bytes", w.Code, w.Body.Len())
		}
		if got := cap(*f.getBuffer()); got > maxPooled {
			t.Errorf("after a list, a buffer of %d bytes is in the pool, want at most %d", got, maxPooled)
		}
	}
}

// TestBuffersBelongToTheirHandler checks that handlers do not share a buffer pool: a
// handler in one synctest bubble must not get a buffer from another bubble.
func TestBuffersBelongToTheirHandler(t *testing.T) {
	one, two := newFixture(t, nil), newFixture(t, nil)
	for range 8 {
		b := make([]byte, 0, 1234)
		one.putBuffer(&b)
		if got := two.getBuffer(); cap(*got) == 1234 {
			t.Fatal("a handler got the buffer of another")
		}
	}
}

// TestContextOutlivesItsRequest derives contexts from the context of a request, ends the request
// and starts another one that reuses its memory. It checks that the contexts still have the values
// of their own request.
func TestContextOutlivesItsRequest(t *testing.T) {
	type key struct{}
	h := &Handler{now: time.Now}
	begin := func(value string) *request {
		r := httptest.NewRequest("GET", "/", nil)
		req := h.newRequest(httptest.NewRecorder(), r.WithContext(context.WithValue(r.Context(), key{}, value)))
		req.limit(time.Now().Add(time.Minute))
		return req
	}
	for name, of := range map[string]func(context.Context) context.Context{
		"itself":      func(ctx context.Context) context.Context { return ctx },
		"uncancelled": context.WithoutCancel,
		"waiting": func(ctx context.Context) context.Context {
			ctx, cancel := context.WithCancel(ctx)
			t.Cleanup(cancel)
			return ctx
		},
	} {
		first := begin("first")
		ctx := of(first.Context())
		h.reuse(first)
		second := begin("second")
		if got := ctx.Value(key{}); got != "first" {
			t.Errorf("%s: the context has the value %v, want that of its own request", name, got)
		}
		h.reuse(second)
	}
}
