package load

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestMedian(t *testing.T) {
	for _, tt := range []struct {
		xs   []float64
		want float64
	}{{[]float64{3}, 3}, {[]float64{9, 1, 2}, 2}, {[]float64{4, 1, 100, 2}, 3}} {
		if got := Median(tt.xs); got != tt.want {
			t.Errorf("Median(%v) = %v, want %v", tt.xs, got, tt.want)
		}
	}
}

// serve starts an HTTPS server with the handler h and returns it in the form that Round
// measures.
func serve(t *testing.T, h http.HandlerFunc) *Server {
	t.Helper()
	s := httptest.NewTLSServer(h)
	t.Cleanup(s.Close)
	endpoint, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	return &Server{PID: os.Getpid(), Endpoint: endpoint, TLS: s.Client().Transport.(*http.Transport).TLSClientConfig.Clone()}
}

var posts = Load{Status: http.StatusCreated, Request: func(buf []byte, connection, n int) []byte {
	return fmt.Appendf(buf, "POST /%d HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", connection)
}}

func TestRoundCountsAnswers(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusCreated) })
	got, err := Round(t.Context(), s, posts, Options{Connections: 3, Span: 500 * time.Millisecond})
	if err != nil || got.Rate() <= 0 || got.Latency.TotalCount() == 0 || len(got.ByConnection) != 3 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestRoundEndsWithABadAnswer(t *testing.T) {
	for want, h := range map[string]http.HandlerFunc{
		"status 429, want 201: slow down": func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "slow down", http.StatusTooManyRequests) },
		"EOF":                             func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"without a Content-Length":        func(w http.ResponseWriter, _ *http.Request) { w.(http.Flusher).Flush() },
	} {
		_, err := Round(t.Context(), serve(t, h), posts, Options{Connections: 3, Span: time.Hour})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want an error with %q", err, want)
		}
	}
}

func TestRoundEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done() // until the connection is closed
	})
	if _, err := Round(ctx, s, posts, Options{Connections: 3, Span: time.Hour}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want %v", err, context.Canceled)
	}
}

func TestReadAnswer(t *testing.T) {
	const two = "HTTP/1.1 201 Created\r\nA: b\r\ncontent-length:  5\r\n\r\nhelloHTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"
	in := bufio.NewReader(strings.NewReader(two))
	for _, want := range []struct {
		status int
		body   string
	}{{201, "hello"}, {204, ""}} {
		if status, body, err := readAnswer(in); err != nil || status != want.status || string(body) != want.body {
			t.Errorf("%d %q %v, want %v", status, body, err, want)
		}
	}
	for text, want := range map[string]string{
		"":                                       "EOF",
		"SSH-2.0-OpenSSH_9\r\n":                  "not an answer",
		"HTTP/1.1 abc\r\n":                       "not a status line",
		"HTTP/1.1 200 OK\r\nA: b\r\n":            "read the headers",
		"HTTP/1.1 200 OK\r\n\r\n":                "without a Content-Length",
		"HTTP/1.1 200 OK\r\nContent-Length: x\n": "not a length",
		"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort": "body of 9 bytes",
	} {
		if _, _, err := readAnswer(bufio.NewReader(strings.NewReader(text))); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want an error with %q", text, err, want)
		}
	}
}

func TestText(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, size := range []int{1, 2, 128, 1000} {
		s := Text(random, size)
		if quoted, err := json.Marshal(s); err != nil || len(s) != size || string(quoted) != `"`+s+`"` {
			t.Errorf("text of %d bytes: %d bytes, %s", size, len(s), quoted)
		}
	}
}

// TestRoundTakesEitherStatus lets the server answer with two expected statuses in turn, one of
// which has no body, and then with an unexpected status. It checks that only the unexpected status
// ends the round.
func TestRoundTakesEitherStatus(t *testing.T) {
	statuses := []int{http.StatusCreated, http.StatusNoContent}
	n := 0 // there is one connection
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(statuses[n%len(statuses)])
		n++
	})
	l := posts
	l.Also = http.StatusNoContent
	if _, err := Round(t.Context(), s, l, Options{Connections: 1, Span: 20 * time.Millisecond}); err != nil {
		t.Error(err)
	}
	statuses = append(statuses, http.StatusOK)
	if _, err := Round(t.Context(), s, l, Options{Connections: 1, Span: time.Minute}); err == nil || !strings.Contains(err.Error(), "status 200, want 201") {
		t.Errorf("the error is %v, want one about the status 200", err)
	}
}
