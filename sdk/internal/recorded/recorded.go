// Package recorded replays recorded traffic of the real service to a client under test. It is for
// tests and examples only.
package recorded

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"os"
	"reflect"
	"slices"
	"sync"
)

// Exchange is one recorded request and its response.
type Exchange struct {
	Request  Request
	Response Response
}

// Request is a recorded request, which the client under test must send.
type Request struct {
	Method  string
	Path    string            // compared after unescaping
	Query   map[string]string // all parameters, including api-version
	Headers map[string]string // of the headers, only Content-Type is compared; if Repeatability-Request-Id is recorded, the client must send one too
	Body    json.RawMessage   // bodies are compared as JSON values; an absent body, null and {} are equal
}

// Response is a recorded response, which the client under test receives.
type Response struct {
	Status  int
	Headers map[string]string
	Body    json.RawMessage
}

// Transport responds to the requests of a client with recorded responses, in the recorded order. If
// a request differs from the recorded one, Do returns an error that describes the difference. A
// Transport implements azcore's policy.Transporter and is safe for concurrent use.
type Transport struct {
	// AnyVersion accepts any api-version, not only the recorded one.
	AnyVersion bool
	// Exchanges lists the recorded requests and responses. Tests may change them before the first
	// request.
	Exchanges []Exchange

	mu   sync.Mutex
	used int
}

// Load reads recorded traffic from a JSON file: {"exchanges": [{"request": {...}, "response":
// {...}}]}. It fails if the file cannot be read or has no exchanges.
func Load(file string) (*Transport, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var r struct{ Exchanges []Exchange }
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if len(r.Exchanges) == 0 {
		return nil, fmt.Errorf("%s: no exchanges", file)
	}
	return &Transport{Exchanges: r.Exchanges}, nil
}

// MustLoad reads recorded traffic as Load does, but panics on an error. Only examples use MustLoad.
func MustLoad(file string) *Transport {
	t, err := Load(file)
	if err != nil {
		panic(err)
	}
	return t
}

// Skip leaves out the next n exchanges, whose requests the client under test does not send, and
// returns t.
func (t *Transport) Skip(n int) *Transport {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.used += n
	return t
}

// Done returns an error if the client has not sent all recorded requests.
func (t *Transport) Done() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.used < len(t.Exchanges) {
		next := t.Exchanges[t.used].Request
		return fmt.Errorf("recording: %d of %d exchanges used, next is %s %s", t.used, len(t.Exchanges), next.Method, next.Path)
	}
	return nil
}

// Do returns the recorded response to req, or an error if req differs from the next recorded
// request. It implements policy.Transporter.
func (t *Transport) Do(req *http.Request) (*http.Response, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.used >= len(t.Exchanges) {
		return nil, final{fmt.Errorf("recording: no exchange left for %s %s", req.Method, req.URL)}
	}
	e := t.Exchanges[t.used]
	if err := t.differs(e.Request, req); err != nil {
		return nil, final{fmt.Errorf("recording: exchange %d: %w", t.used, err)}
	}
	t.used++
	return e.Response.http(req), nil
}

// final is an error after which azcore's retry policy does not retry.
type final struct{ error }

func (final) NonRetriable() {}

func (t *Transport) differs(want Request, req *http.Request) error {
	if req.Method != want.Method {
		return fmt.Errorf("method: got %s, want %s", req.Method, want.Method)
	}
	path, err := url.PathUnescape(want.Path)
	if err != nil {
		return fmt.Errorf("recorded path: %w", err)
	}
	if req.URL.Path != path {
		return fmt.Errorf("path: got %s, want %s", req.URL.Path, path)
	}
	if err := t.queryDiffers(want.Query, req.URL.Query()); err != nil {
		return err
	}
	h := http.Header{}
	for name, value := range want.Headers {
		h.Set(name, value)
	}
	if h.Get("Repeatability-Request-Id") != "" && req.Header.Get("Repeatability-Request-Id") == "" {
		return errors.New("header repeatability-request-id is missing")
	}
	return bodyDiffers(want.Body, h.Get("Content-Type"), req)
}

func (t *Transport) queryDiffers(want map[string]string, got url.Values) error {
	for name, value := range want {
		if name == "api-version" && t.AnyVersion {
			continue
		}
		if !slices.Equal(got[name], []string{value}) {
			return fmt.Errorf("query %s: got %q, want %q", name, got[name], value)
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			return fmt.Errorf("query %s: got %q, want none", name, got[name])
		}
	}
	return nil
}

func bodyDiffers(want json.RawMessage, wantType string, req *http.Request) error {
	var body []byte
	if req.Body != nil {
		var err error
		if body, err = io.ReadAll(req.Body); err != nil {
			return fmt.Errorf("read body: %w", err)
		}
	}
	a, err := canonical(body)
	if err != nil {
		return fmt.Errorf("body: %w", err)
	}
	b, err := canonical(want)
	if err != nil {
		return fmt.Errorf("recorded body: %w", err)
	}
	if !reflect.DeepEqual(a, b) {
		return fmt.Errorf("body: got %s, want %s", body, want)
	}
	if len(body) == 0 || wantType == "" {
		return nil
	}
	got, _, _ := mime.ParseMediaType(req.Header.Get("Content-Type"))
	if wanted, _, _ := mime.ParseMediaType(wantType); got != wanted {
		return fmt.Errorf("content type: got %s, want %s", got, wanted)
	}
	return nil
}

// canonical decodes JSON so that two texts can be compared. It returns an empty object for an empty
// text and for null.
func canonical(text []byte) (any, error) {
	if len(bytes.TrimSpace(text)) == 0 {
		return map[string]any{}, nil
	}
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		return nil, err
	}
	if v == nil {
		return map[string]any{}, nil
	}
	return v, nil
}

func (r Response) http(req *http.Request) *http.Response {
	h := http.Header{}
	for name, value := range r.Headers {
		h.Set(name, value)
	}
	// Remove the headers about the encoding and the length of the body, which are wrong because the
	// recorder encoded the body again.
	h.Del("Content-Length")
	h.Del("Content-Encoding")
	h.Del("Transfer-Encoding")
	body := []byte(r.Body)
	if string(body) == "null" {
		body = nil
	}
	return &http.Response{
		Status:        fmt.Sprintf("%d %s", r.Status, http.StatusText(r.Status)),
		StatusCode:    r.Status,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        h,
		Body:          io.NopCloser(bytes.NewReader(body)),
		ContentLength: int64(len(body)),
		Request:       req,
	}
}
