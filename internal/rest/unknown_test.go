package rest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/confab-chat/confab/internal/bus/local"
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/token"
)

// lostStore is a store whose Apply fails with err, unless err is nil.
type lostStore struct {
	core.Store
	err error
}

func (s *lostStore) Apply(ctx context.Context, b core.Batch) ([]core.Outcome, error) {
	if s.err != nil {
		return nil, s.err
	}
	return s.Store.Apply(ctx, b)
}

// records collects records of the access log.
type records struct {
	mu  sync.Mutex
	all []Record
}

func (r *records) add(rec Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, rec)
}

func (r *records) last(t *testing.T) Record {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.all) == 0 {
		t.Fatal("nothing was logged")
	}
	return r.all[len(r.all)-1]
}

// TestUnknownOutcome sends a message while the store loses its database. If the server cannot know
// whether the message was written, the connection must close without a response, and the access
// log must say so. If nothing was written, the response must be a 503, after which the client may
// repeat the request.
func TestUnknownOutcome(t *testing.T) {
	f := newFixture(t, nil)
	store := &lostStore{Store: f.store}
	service, err := core.New(t.Context(), store, new(local.Bus), core.Options{Now: f.clock.now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(service.Close)
	var logged bytes.Buffer
	var access records
	h, err := New(Options{Core: service, Tokens: f.tokens, Now: f.clock.now, Access: access.add, Logger: slog.New(slog.NewTextHandler(&logged, nil))})
	if err != nil {
		t.Fatal(err)
	}
	user, bearer := f.user(t, token.Chat)
	thread, _ := f.thread(t, user)
	for _, http2 := range []bool{false, true} {
		srv := httptest.NewUnstartedServer(h)
		srv.EnableHTTP2 = http2
		srv.StartTLS()
		send := func() (*http.Response, error) {
			req, err := http.NewRequest("POST", srv.URL+"/chat/threads/"+thread+"/messages?api-version=2021-09-07", strings.NewReader(`{"content":"x","type":"text"}`))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer "+bearer)
			req.Header.Set("Content-Type", "application/json")
			return srv.Client().Do(req)
		}
		store.err = fmt.Errorf("connection lost: %w", core.ErrUnknown)
		if resp, err := send(); err == nil {
			body, _ := io.ReadAll(resp.Body)
			t.Errorf("http2 %v: got %d %s, want no answer", http2, resp.StatusCode, body)
		}
		if rec := access.last(t); rec.Status != 0 || !strings.HasPrefix(rec.Note, "no answer: it is not known") || rec.Operation != "send message" {
			t.Errorf("http2 %v: the access log has %+v", http2, rec)
		}
		if !strings.Contains(logged.String(), core.ErrUnknown.Error()) {
			t.Errorf("http2 %v: the cause is not in the log:\n%s", http2, &logged)
		}
		store.err = fmt.Errorf("connection lost: %w", core.ErrUnavailable)
		resp, err := send()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil { // read the whole body, because closing an unread one would cancel the HTTP/2 stream
			t.Errorf("http2 %v: read the 503: %v", http2, err)
		}
		resp.Body.Close()
		srv.Close() // Close waits for the handler, which writes its access record after the response
		if resp.StatusCode != 503 || resp.Header.Get("Retry-After") != "1" || access.last(t).Status != 503 {
			t.Errorf("http2 %v: %d, Retry-After %q; the access log has %+v", http2, resp.StatusCode, resp.Header.Get("Retry-After"), access.last(t))
		}
	}
}

// brokenWriter is a ResponseWriter whose connection is broken: flushing a response fails.
type brokenWriter struct{ *httptest.ResponseRecorder }

var errBroken = errors.New("broken pipe")

func (brokenWriter) FlushError() error { return errBroken }

// TestAnswersThatNobodyGot sends responses over a broken connection and to a client that has
// hung up. It checks that the access log has no status for them and says why they did not
// arrive.
func TestAnswersThatNobodyGot(t *testing.T) {
	var access records
	f := newFixture(t, func(o *Options) { o.Access = access.add })
	_, bearer := f.user(t, token.Chat)
	gone, hangUp := context.WithCancel(t.Context())
	hangUp()
	for _, c := range []struct {
		name string
		ctx  context.Context
		w    func(*httptest.ResponseRecorder) http.ResponseWriter
		note string
	}{
		{"broken", t.Context(), func(r *httptest.ResponseRecorder) http.ResponseWriter { return brokenWriter{r} }, "no answer: the 200 could not be written: broken pipe"},
		{"gone", gone, func(r *httptest.ResponseRecorder) http.ResponseWriter { return r }, "no answer: the 200 could not be written: the client has hung up"},
		{"well", t.Context(), func(r *httptest.ResponseRecorder) http.ResponseWriter { return r }, ""},
	} {
		req := httptest.NewRequestWithContext(c.ctx, "GET", "/chat/threads?api-version=2021-09-07", nil)
		req.Header.Set("Authorization", "Bearer "+bearer)
		f.ServeHTTP(c.w(httptest.NewRecorder()), req)
		want := 0
		if c.note == "" {
			want = 200
		}
		if rec := access.last(t); rec.Status != want || rec.Note != c.note {
			t.Errorf("%s: the access log has %d, %q; want %d, %q", c.name, rec.Status, rec.Note, want, c.note)
		}
	}
}
