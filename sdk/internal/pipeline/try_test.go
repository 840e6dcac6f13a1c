package pipeline

import (
	"context"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/confab-chat/confab/sdk/communication"
)

// TestFaultTable sends a read, a creation and an edit to a server that fails in several ways. It
// checks the outcome of the call and the number of requests that the server receives. A creation
// must not be sent again once it may have been carried out.
func TestFaultTable(t *testing.T) {
	const all = 4 // number of requests if azcore makes its three retries after the first attempt
	status := func(status int, header ...string) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, _ *http.Request) {
			if len(header) > 0 {
				w.Header().Set(header[0], header[1])
			}
			w.WriteHeader(status)
		}
	}
	cut := func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	cutAnswer := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		io.WriteString(w, "{")
		http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	for _, test := range []struct {
		name                string
		fault               func(http.ResponseWriter, *http.Request)
		read, create, edit  int // expected number of requests of each operation if the fault persists
		createIsUnknownFate bool
	}{
		{"429", status(429), all, all, all, false},
		{"429 with Retry-After", status(429, "retry-after-ms", "2"), all, all, all, false},
		{"429 with a long Retry-After", status(429, "Retry-After", "30"), 1, 1, 1, false},
		{"408", status(408), all, 1, all, true},
		{"500", status(500), all, 1, all, true},
		{"501", status(501), 1, 1, 1, true},
		{"502", status(502), all, 1, all, true},
		{"503", status(503), all, 1, all, true},
		{"503 with Retry-After", status(503, "Retry-After", "1"), 0, 1, 0, true},
		{"504", status(504), all, 1, all, true},
		{"400", status(400), 1, 1, 1, false},
		{"403", status(403), 1, 1, 1, false},
		{"404", status(404), 1, 1, 1, false},
		{"cut after the request was read", cut, all, 1, all, true},
		{"answer cut in the middle", cutAnswer, all, 1, 1, true},
	} {
		for _, http2 := range []bool{false, true} {
			name := test.name
			if http2 {
				name += " (HTTP/2)"
			}
			t.Run(name, func(t *testing.T) {
				s := newFaultServer(t, http2, test.fault)
				c := s.client(t, nil)
				for _, op := range []struct {
					Request
					want        int
					unknownFate bool
				}{{read(), test.read, false}, {create(), test.create, test.createIsUnknownFate}, {edit(), test.edit, false}} {
					if op.want == 0 {
						continue
					}
					s.requests.Store(0)
					_, err := c.Do(context.Background(), op.Request, nil)
					var e *communication.Error
					if !errors.As(err, &e) {
						t.Fatalf("%s: got error %v", op.Operation, err)
					}
					if got := int(s.requests.Load()); got != op.want {
						t.Errorf("%s: got %d requests, want %d (%v)", op.Operation, got, op.want, err)
					}
					if e.UnknownFate != op.unknownFate || errors.Is(err, communication.ErrUnknownFate) != op.unknownFate {
						t.Errorf("%s: unknown fate: got %t, want %t (%v)", op.Operation, e.UnknownFate, op.unknownFate, err)
					}
				}
			})
		}
	}
}

func newFaultServer(t *testing.T, http2 bool, fault func(http.ResponseWriter, *http.Request)) *server {
	t.Helper()
	s := &server{}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.requests.Add(1)
		io.Copy(io.Discard, r.Body)
		fault(w, r)
	}))
	s.EnableHTTP2 = http2
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func TestThrottledThenDone(t *testing.T) {
	s := newServer(t, func(w http.ResponseWriter, _ *http.Request, n int) {
		if n < 4 {
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		w.WriteHeader(http.StatusCreated)
	})
	if _, err := s.client(t, nil).Do(context.Background(), create(), nil); err != nil {
		t.Error(err)
	}
}

func TestThrottledTellsHowLong(t *testing.T) {
	s := newServer(t, func(w http.ResponseWriter, _ *http.Request, _ int) {
		w.Header().Set("Retry-After", "30")
		w.Header().Set("MS-CV", "cv.0")
		w.WriteHeader(http.StatusTooManyRequests)
	})
	_, err := s.client(t, nil).Do(context.Background(), create(), nil)
	e := wantError(t, err, "create it: 429 Too Many Requests (retry after 30s; request cv.0)")
	if !errors.Is(err, communication.ErrThrottled) || e.RetryAfter != 30*time.Second {
		t.Errorf("got %+v", e)
	}
}

// closing is a listener that closes its first connections before the TLS handshake, and leaves
// later connections open.
type closing struct {
	net.Listener
	first atomic.Int32
}

func (l *closing) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil || l.first.Add(-1) < 0 {
			return c, err
		}
		c.Close()
	}
}

func TestCutBeforeTheRequestIsTriedAgain(t *testing.T) {
	s := &server{}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		s.requests.Add(1)
		w.WriteHeader(http.StatusCreated)
	}))
	l := &closing{Listener: s.Listener}
	s.Listener = l
	s.StartTLS()
	defer s.Close()
	c := s.client(t, nil)
	l.first.Store(2)
	if _, err := c.Do(context.Background(), create(), nil); err != nil {
		t.Error(err)
	}
	if got := s.requests.Load(); got != 1 {
		t.Errorf("got %d requests, want 1", got)
	}
}

func TestNobodyThere(t *testing.T) {
	s := newServer(t, func(http.ResponseWriter, *http.Request, int) {})
	c := s.client(t, nil)
	s.Close()
	_, err := c.Do(context.Background(), create(), nil)
	var op *net.OpError
	if !errors.As(err, &op) || errors.Is(err, communication.ErrUnknownFate) {
		t.Errorf("got %v, want an error of the dial", err)
	}
}

// TestServerGoneBetweenRequests calls the functions of an httptrace.ClientTrace in several orders.
// It checks whether the call then knows that nothing was sent. For example, if the server closed a
// pooled connection, net/http wrote nothing to it and dials again. If dialling fails, nothing was
// sent.
func TestServerGoneBetweenRequests(t *testing.T) {
	for _, test := range []struct {
		name   string
		own    bool
		events string // d: GetConn (a connection is requested), c: GotConn (a connection was obtained)
		unsent bool
	}{
		{"dial failed", true, "d", true},
		{"sent", true, "dc", false},
		{"nothing went over the first connection", true, "dcd", true},
		{"and then over the second", true, "dcdc", false},
		{"of another transport nobody knows", false, "dcd", false},
		{"a transport that tells nothing", false, "", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			var c call
			trace := httptrace.ContextClientTrace(c.watch(context.Background(), test.own))
			for _, e := range test.events {
				if e == 'd' {
					trace.GetConn("")
				} else {
					trace.GotConn(httptrace.GotConnInfo{})
				}
			}
			if got := c.unsent(); got != test.unsent {
				t.Errorf("unsent: got %t, want %t", got, test.unsent)
			}
		})
	}
}

// failing is a custom transport that always fails and does not tell whether the request was sent.
type failing struct{ requests int }

func (f *failing) Do(*http.Request) (*http.Response, error) {
	f.requests++
	return nil, io.ErrUnexpectedEOF
}

func TestFailureOfAnotherTransport(t *testing.T) {
	f := &failing{}
	o := &Options{}
	o.Transport, o.Retry = f, quick
	c, err := New(Config{Component: "chat", Endpoint: "https://localhost", Auth: Bearer(staticToken("token")), Options: o})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Do(context.Background(), create(), nil)
	wantError(t, err, "create it: unexpected EOF (the request may have been carried out)")
	if !errors.Is(err, io.ErrUnexpectedEOF) || f.requests != 1 {
		t.Errorf("got %v after %d requests, want one request", err, f.requests)
	}
	f.requests = 0
	if _, err = c.Do(context.Background(), read(), nil); err == nil || f.requests != 4 {
		t.Errorf("got %v after %d requests, want unexpected EOF after 1", err, f.requests)
	}
}

func TestCancelled(t *testing.T) {
	for _, where := range []string{"before", "waiting for the answer", "reading the answer", "between tries"} {
		t.Run(where, func(t *testing.T) {
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			s := newServer(t, func(w http.ResponseWriter, r *http.Request, _ int) {
				io.Copy(io.Discard, r.Body) // read the body: otherwise the server does not notice that the client disconnects
				if where == "between tries" {
					time.AfterFunc(10*time.Millisecond, cancel)
					w.Header().Set("Retry-After", "4")
					w.WriteHeader(http.StatusTooManyRequests)
					return
				}
				if where == "reading the answer" {
					w.WriteHeader(http.StatusCreated)
					io.WriteString(w, "{")
					http.NewResponseController(w).Flush()
				}
				cancel()
				<-r.Context().Done()
			})
			if where == "before" {
				cancel()
			}
			start := time.Now()
			header, err := s.client(t, nil).Do(ctx, create(), nil)
			if !errors.Is(err, context.Canceled) {
				t.Errorf("got %v, %v", header, err)
			}
			if want := where == "waiting for the answer" || where == "reading the answer"; errors.Is(err, communication.ErrUnknownFate) != want {
				t.Errorf("unknown fate: got %t, want %t (%v)", !want, want, err)
			}
			if took := time.Since(start); took > 3*time.Second {
				t.Errorf("took %s", took)
			}
		})
	}
}

func TestSlowBodyEndsWithItsContext(t *testing.T) {
	s := newServer(t, func(w http.ResponseWriter, r *http.Request, _ int) {
		answerJSON(w, http.StatusOK, "{")
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
		panic(http.ErrAbortHandler) // abort the handler, because otherwise the client may still read the end of the body
	})
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	_, err := s.client(t, nil).Do(ctx, read(), nil)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestTryTimeout(t *testing.T) {
	s := newServer(t, func(w http.ResponseWriter, r *http.Request, n int) {
		if n == 1 || r.Method == http.MethodPost {
			io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
			panic(http.ErrAbortHandler)
		}
	})
	c := s.client(t, func(c *Config) { c.Options.Retry.TryTimeout = 200 * time.Millisecond })
	if _, err := c.Do(context.Background(), read(), nil); err != nil || s.requests.Load() != 2 {
		t.Errorf("read: got %v after %d requests", err, s.requests.Load())
	}
	s.requests.Store(0)
	_, err := c.Do(context.Background(), create(), nil)
	if !errors.Is(err, communication.ErrUnknownFate) || !errors.Is(err, context.DeadlineExceeded) || s.requests.Load() != 1 {
		t.Errorf("create: got %v after %d requests", err, s.requests.Load())
	}
}

func TestUnknownAuthorityIsSaidAtOnce(t *testing.T) {
	s := newServer(t, func(http.ResponseWriter, *http.Request, int) {})
	c := s.client(t, func(c *Config) { c.Options.CAFile = ""; c.Options.Retry.RetryDelay = time.Minute })
	_, err := c.Do(context.Background(), create(), nil)
	var unknown x509.UnknownAuthorityError
	if !errors.As(err, &unknown) || errors.Is(err, communication.ErrUnknownFate) {
		t.Errorf("got %v", err)
	}
	wantError(t, err, "create it: tls: failed to verify certificate: x509: certificate signed by unknown authority (for a private certificate authority set CAFile in the client options or CONFAB_CA_FILE in the environment)")
}

// creates returns a request that may be retried. It creates something each time, unless the server
// recognizes its idempotency token.
func creates() Request {
	r := create()
	r.Once, r.Creates = false, true
	return r
}

// TestRepeatedRequestOfUnknownFate sends a request that fails after all retries. If any attempt may
// have been carried out, the error must be ErrUnknownFate, because the caller would otherwise
// repeat the request.
func TestRepeatedRequestOfUnknownFate(t *testing.T) {
	for _, test := range []struct {
		name     string
		statuses []int // HTTP status of the response to each attempt; 0 closes the connection
		status   int   // the HTTP status that the error should have
		unknown  bool
	}{
		{"answers lost", []int{0, 0, 0, 0}, 0, true},
		{"500", []int{500, 500, 500, 500}, 500, true},
		{"throttled", []int{429, 429, 429, 429}, 429, false},
		{"lost, then throttled", []int{0, 429, 429, 429}, 429, true},
		{"lost, then refused", []int{0, 403}, 403, true},
		{"refused", []int{403}, 403, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newServer(t, func(w http.ResponseWriter, r *http.Request, n int) {
				if test.statuses[n-1] == 0 {
					panic(http.ErrAbortHandler)
				}
				w.WriteHeader(test.statuses[n-1])
			})
			_, err := s.client(t, nil).Do(context.Background(), creates(), nil)
			var e *communication.Error
			if !errors.As(err, &e) || e.StatusCode != test.status || errors.Is(err, communication.ErrUnknownFate) != test.unknown {
				t.Errorf("got %v", err)
			}
			if got := int(s.requests.Load()); got != len(test.statuses) {
				t.Errorf("got %d requests, want %d", got, len(test.statuses))
			}
		})
	}
}

// TestEndOfTheContextInAPause ends the context during a pause between two attempts. The error must
// contain the failure that caused the pause.
func TestEndOfTheContextInAPause(t *testing.T) {
	s := newServer(t, func(w http.ResponseWriter, _ *http.Request, _ int) {
		w.Header().Set("MS-CV", "cv.0")
		w.WriteHeader(http.StatusTooManyRequests)
	})
	c := s.client(t, func(c *Config) {
		c.Options.Retry = policy.RetryOptions{RetryDelay: time.Hour, MaxRetryDelay: time.Hour}
	})
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	_, err := c.Do(ctx, read(), nil)
	wantError(t, err, "read it: context deadline exceeded, last try: 429 Too Many Requests (request cv.0)")
	if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, communication.ErrThrottled) {
		t.Errorf("got %v", err)
	}

	s.Close()
	ctx, cancel = context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	_, err = c.Do(ctx, read(), nil)
	var op *net.OpError
	if !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &op) {
		t.Errorf("got %v, want the end of the context and an error of the dial", err)
	}
}

// TestRetryAfterBeyondTheDeadline checks that a call ends at once if the server asks for a pause
// that ends after the caller's deadline.
func TestRetryAfterBeyondTheDeadline(t *testing.T) {
	s := newServer(t, func(w http.ResponseWriter, _ *http.Request, _ int) {
		w.Header().Set("Retry-After", "3600")
		w.WriteHeader(http.StatusTooManyRequests)
	})
	c := s.client(t, func(c *Config) { c.Options.Retry = policy.RetryOptions{MaxRetryDelay: 2 * time.Hour} })
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_, err := c.Do(ctx, read(), nil)
	var e *communication.Error
	if !errors.Is(err, communication.ErrThrottled) || !errors.As(err, &e) || e.RetryAfter != time.Hour || ctx.Err() != nil {
		t.Errorf("got %v", err)
	}
	if got := s.requests.Load(); got != 1 {
		t.Errorf("got %d requests, want 1", got)
	}
}
