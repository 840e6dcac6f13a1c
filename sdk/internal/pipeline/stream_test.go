package pipeline

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/confab-chat/confab/sdk/communication"
)

func openIt() Request {
	return Request{Operation: "open it", Method: http.MethodGet, Path: "/it", Status: http.StatusOK, NoVersion: true}
}

// streamServer returns a server that answers 401 for a token other than accepted. For the token
// accepted it sends "hello", and ", world" when the channel more is closed.
func streamServer(t *testing.T, accepted string, more <-chan struct{}) *server {
	t.Helper()
	return newServer(t, func(w http.ResponseWriter, r *http.Request, _ int) {
		if r.Header.Get("Authorization") != "Bearer "+accepted {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
		io.WriteString(w, "hello")
		w.(http.Flusher).Flush()
		select {
		case <-more:
			io.WriteString(w, ", world")
		case <-r.Context().Done():
		}
	})
}

// TestOpen checks that Open returns before the stream ends, and that Stream.Token is the token that
// the server accepted. azcore's log of bodies must not read the stream, and the option TryTimeout
// must not end it.
func TestOpen(t *testing.T) {
	more := make(chan struct{})
	s := streamServer(t, "2", more)
	c := s.client(t, func(c *Config) {
		c.Auth = Bearer(&numbered{life: time.Hour})
		c.Options.Logging.IncludeBody = true
		c.Options.Retry.TryTimeout = time.Hour
	})
	stream, err := c.Open(t.Context(), openIt())
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Body.Close()
	if stream.Token != "2" || s.requests.Load() != 2 {
		t.Errorf("got token %q after %d requests, want 2 and 2", stream.Token, s.requests.Load())
	}
	if _, err := http.ParseTime(stream.Header.Get("Date")); err != nil {
		t.Error(err)
	}
	hello := make([]byte, len("hello"))
	if _, err := io.ReadFull(stream.Body, hello); err != nil || string(hello) != "hello" {
		t.Fatalf("got %q, %v", hello, err)
	}
	close(more)
	if rest, err := io.ReadAll(stream.Body); err != nil || string(rest) != ", world" {
		t.Fatalf("got %q, %v", rest, err)
	}
}

// TestOpenAsksForAnotherToken checks that Open returns ErrSameToken if the credential has only the
// token NotToken, and that it asks the credential for another token than RefusedToken.
func TestOpenAsksForAnotherToken(t *testing.T) {
	s := streamServer(t, "fresh", nil)
	cred := &told{token: "old"}
	c := s.client(t, with(cred))
	r := openIt()
	r.NotToken = "old"
	if _, err := c.Open(t.Context(), r); !errors.Is(err, ErrSameToken) || s.requests.Load() != 0 {
		t.Errorf("got %v after %d requests, want ErrSameToken and none", err, s.requests.Load())
	}
	r = openIt()
	r.RefusedToken = "old"
	stream, err := c.Open(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	stream.Body.Close()
	if !slices.Equal(cred.refused, []string{"old"}) || stream.Token != "fresh" || s.requests.Load() != 1 {
		t.Errorf("got refusals %v and token %q after %d requests", cred.refused, stream.Token, s.requests.Load())
	}
}

// TestOpenRefusals checks the errors of Open for responses that are no stream of events, and
// whether Temporary is true for them. Open must send only one request.
func TestOpenRefusals(t *testing.T) {
	for _, test := range []struct {
		status      int
		contentType string
		body        string
		want        string // the beginning of the expected error text
		temporary   bool
	}{
		{400, "application/json", `{"error":{"code":"BadRequest","message":"the cursor is damaged"}}`, "open it: 400 BadRequest: the cursor is damaged", false},
		{401, "", "", "open it: 401 Unauthorized", false},
		{403, "", "", "open it: 403 Forbidden", false},
		{404, "", "", "open it: 404 Not Found", false},
		{408, "", "", "open it: 408 Request Timeout", true},
		{429, "", "", "open it: 429 Too Many Requests", true},
		{500, "", "", "open it: 500 Internal Server Error", true},
		{501, "", "", "open it: 501 Not Implemented", false},
		{503, "", "", "open it: 503 Service Unavailable", true},
		{302, "", "", "open it: 302 Found: the server redirects", false},
		{204, "", "", "open it: 204 No Content: the answer to success is 200", false},
		{200, "text/html", "<html>", "open it: 200 OK: the answer is no event stream, but text/html", false},
	} {
		s := newServer(t, func(w http.ResponseWriter, _ *http.Request, _ int) {
			w.Header().Set("Content-Type", test.contentType)
			w.WriteHeader(test.status)
			io.WriteString(w, test.body)
		})
		_, err := s.client(t, nil).Open(t.Context(), openIt())
		if err == nil || !strings.HasPrefix(err.Error(), test.want) || s.requests.Load() != 1 {
			t.Errorf("got %v after %d requests, want %s", err, s.requests.Load(), test.want)
		}
		if e := (*communication.Error)(nil); !errors.As(err, &e) || Temporary(err) != test.temporary {
			t.Errorf("%v: Temporary is %v", err, Temporary(err))
		}
	}
}

// TestOpenFailures checks the errors of Open if the server cannot be reached, if its certificate is
// not trusted, if the credential fails, and if the context ends.
func TestOpenFailures(t *testing.T) {
	s := streamServer(t, "token", nil)
	untrusted := s.client(t, func(c *Config) { c.Options.CAFile = "" })
	if _, err := untrusted.Open(t.Context(), openIt()); err == nil || Temporary(err) {
		t.Errorf("unknown authority: got %v, which is temporary", err)
	}
	noToken := s.client(t, with(&numbered{err: errors.New("no network")}))
	if _, err := noToken.Open(t.Context(), openIt()); !NoToken(err) {
		t.Errorf("no token: got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c := s.client(t, nil)
	if _, err := c.Open(ctx, openIt()); !errors.Is(err, context.Canceled) {
		t.Errorf("context cancelled: got %v", err)
	}
	s.Close()
	if _, err := c.Open(t.Context(), openIt()); err == nil || !Temporary(err) || NoToken(err) {
		t.Errorf("no server: got %v, which is not temporary", err)
	}
}

// closeRecorder is a response body that records whether it was closed.
type closeRecorder struct {
	io.Reader
	closed bool
}

func (r *closeRecorder) Close() error { r.closed = true; return nil }

// transportFunc is a function that implements policy.Transporter of azcore.
type transportFunc func(*http.Request) (*http.Response, error)

func (f transportFunc) Do(r *http.Request) (*http.Response, error) { return f(r) }

// TestOpenClosesBodies checks that Open closes each response body that it does not return: the
// first one if a policy sends the request twice, and the only one if the context ends meanwhile.
func TestOpenClosesBodies(t *testing.T) {
	var bodies []*closeRecorder
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	options := &Options{}
	options.Transport = transportFunc(func(r *http.Request) (*http.Response, error) {
		body := &closeRecorder{Reader: strings.NewReader("")}
		bodies = append(bodies, body)
		if len(bodies) == 3 {
			cancel()
		}
		return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"text/event-stream"}}, Body: body, Request: r}, nil
	})
	twice := policyFunc(func(r *policy.Request) (*http.Response, error) {
		if len(bodies) == 0 {
			if _, err := r.Clone(r.Raw().Context()).Next(); err != nil {
				return nil, err
			}
		}
		return r.Next()
	})
	options.PerRetryPolicies = []policy.Policy{twice}
	c, err := New(Config{Component: "test", Endpoint: "https://endpoint", Auth: Bearer(staticToken("token")), Options: options})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Open(ctx, openIt()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Open(ctx, openIt()); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the end of the context", err)
	}
	for i, want := range []bool{true, false, true} {
		if bodies[i].closed != want {
			t.Errorf("body %d: closed is %v, want %v", i+1, bodies[i].closed, want)
		}
	}
}

// TestPause checks that pauses double from RetryDelay to MaxRetryDelay, and that each pause is a
// random time between half of this length and the whole length.
func TestPause(t *testing.T) {
	for _, test := range []struct {
		retry    policy.RetryOptions
		failures int
		most     time.Duration
	}{
		{policy.RetryOptions{}, 0, 800 * time.Millisecond},
		{policy.RetryOptions{}, 3, 6400 * time.Millisecond},
		{policy.RetryOptions{}, 1000, 30 * time.Second},
		{policy.RetryOptions{RetryDelay: time.Millisecond, MaxRetryDelay: 3 * time.Millisecond}, 1, 2 * time.Millisecond},
		{policy.RetryOptions{RetryDelay: time.Millisecond, MaxRetryDelay: 3 * time.Millisecond}, 2, 3 * time.Millisecond},
		{policy.RetryOptions{RetryDelay: time.Hour}, 0, 30 * time.Second},
		{policy.RetryOptions{RetryDelay: -1}, 0, 800 * time.Millisecond},
	} {
		c := &Client{retry: test.retry}
		for range 100 {
			if got := c.Pause(test.failures); got < test.most/2 || got > test.most {
				t.Errorf("%+v, %d failures: got %v, want at most %v", test.retry, test.failures, got, test.most)
			}
		}
	}
}
