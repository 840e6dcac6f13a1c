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

// TestStateIsKeptForItsContext checks that the state of a request is cleared for the next request only if
// no context has waited for the end of its own.
func TestStateIsKeptForItsContext(t *testing.T) {
	h := &Handler{now: time.Now}
	for _, waits := range []bool{false, true} {
		req := h.newRequest(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
		req.limit(time.Now().Add(time.Minute))
		if waits {
			_, cancel := context.WithCancel(req.Context())
			defer cancel()
		}
		req.ctx.end()
		h.reuse(req)
		if kept := req.Request != nil; kept != waits {
			t.Errorf("a context waits: %t, the state is kept: %t", waits, kept)
		}
	}
}
