package dev

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/confab-chat/confab/internal/clip"
	"github.com/confab-chat/confab/internal/hosts"
	"github.com/confab-chat/confab/internal/inbound"
	"github.com/confab-chat/confab/internal/rest"
)

// Prefix is the prefix of the paths that New serves.
const Prefix = "/dev/"

// maxBody is the longest request body, in bytes, that the handler accepts.
const maxBody = 4 << 10

// Options configures New. Clock and Faults are required.
type Options struct {
	Clock  *Clock
	Faults *Faults
	// Names lists the host names of the server, in addition to localhost and IP addresses. A
	// name may begin with "*.", which matches exactly one label.
	Names  []string
	People People       // creates the users of the chat page; nil: /dev/join and /dev/token do not exist
	Logger *slog.Logger // nil: nothing is logged
}

// New returns the handler of all paths below Prefix.
//
// It authenticates nobody: every client that can reach a development server may use it, except web
// pages of other origins in the developer's browser. A POST must have the Content-Type
// application/json. Such a page cannot send this type without a CORS preflight, and preflights are
// refused. The header Host must name this server, which protects against DNS rebinding.
func New(o Options) http.Handler {
	h := &handler{Options: o, origins: http.NewCrossOriginProtection()}
	h.Logger = cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	h.routes = []route{
		{"clock", "GET", h.showClock},
		{"clock", "POST", h.advanceClock},
		{"faults", "GET", h.listFaults},
		{"faults", "POST", h.addFault},
		{"faults", "DELETE", h.clearFaults},
	}
	if o.People != nil {
		h.routes = append(h.routes, route{"join", "POST", h.join}, route{"token", "POST", h.renew})
	}
	return h
}

type handler struct {
	Options
	origins *http.CrossOriginProtection
	routes  []route
}

type route struct {
	path, method string
	handler      func(*http.Request) (status int, body any, err error)
}

// httpError is an error with the HTTP status of its response.
type httpError struct {
	status  int
	message string
}

func (r *httpError) Error() string { return r.message }

func errorf(status int, format string, args ...any) error {
	return &httpError{status, fmt.Sprintf(format, args...)}
}

// Refuse returns an error that a method of People may return. The handler answers it with the
// status and the message.
func Refuse(status int, message string) error { return &httpError{status, message} }

// ServeHTTP handles one request. An error response is JSON with a code and a message.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	status, body, err := h.respond(w, r)
	if err != nil {
		status = http.StatusBadRequest
		var refused *httpError
		if errors.As(err, &refused) {
			status = refused.status
		}
		body = map[string]any{"error": map[string]string{"code": rest.StatusName(status), "message": err.Error()}}
	}
	if body == nil {
		w.WriteHeader(status)
		return
	}
	text, err := json.Marshal(body)
	if err != nil { // the error cannot occur: JSON can encode every body of this package
		panic(err)
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	w.Write(append(text, '\n'))
}

// respond checks a request and calls the function of its route. It returns the status and
// the body of the response, or an error. The caller answers 400 if the error is not an
// *httpError.
func (h *handler) respond(w http.ResponseWriter, r *http.Request) (int, any, error) {
	if !hosts.Known(r.Host, h.Names) {
		return 0, nil, errorf(http.StatusForbidden, "the host %q is not a name of this server: use localhost, an address, or a name from tls-names or public-endpoint", clip.Text(r.Host, maxEcho))
	}
	path := strings.TrimPrefix(r.URL.Path, Prefix)
	var methods []string
	for _, d := range h.routes {
		if d.path != path {
			continue
		}
		if d.method == r.Method {
			if err := h.checkOrigin(r); err != nil {
				return 0, nil, err
			}
			if message := inbound.RefusedCoding(r.Header); message != "" && r.ContentLength != 0 {
				w.Header().Set("Accept-Encoding", inbound.AcceptedCoding)
				return 0, nil, errorf(http.StatusUnsupportedMediaType, "%s", message)
			}
			r.Body = http.MaxBytesReader(w, r.Body, maxBody)
			return d.handler(r)
		}
		methods = append(methods, d.method)
	}
	if methods == nil {
		return 0, nil, errorf(http.StatusNotFound, "there is nothing at this path: the development server has %s", h.paths())
	}
	allow := strings.Join(methods, ", ")
	w.Header().Set("Allow", allow)
	return 0, nil, errorf(http.StatusMethodNotAllowed, "the method %s is not allowed here; the path has %s", clip.Text(r.Method, maxEcho), allow)
}

// paths returns the paths of all routes, as text for an error message.
func (h *handler) paths() string {
	var all []string
	for _, d := range h.routes {
		if path := Prefix + d.path; !slices.Contains(all, path) {
			all = append(all, path)
		}
	}
	return strings.Join(all, ", ")
}

// checkOrigin fails for a request that a web page of another origin may have sent.
func (h *handler) checkOrigin(r *http.Request) error {
	if err := h.origins.Check(r); err != nil {
		return errorf(http.StatusForbidden, "a page of another origin may not do this: call it from the test's own process")
	}
	if r.Method != http.MethodPost {
		return nil
	}
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" {
		return errorf(http.StatusUnsupportedMediaType, "the Content-Type must be application/json")
	}
	return nil
}

// clockBody is the JSON body of the response of /dev/clock.
type clockBody struct {
	Now   string `json:"now"`
	Ahead string `json:"ahead"` // how far the clock is ahead of the real time, as a Go duration
}

func (h *handler) showClock(*http.Request) (int, any, error) {
	return http.StatusOK, clockBody{h.Clock.Now().UTC().Format("2006-01-02T15:04:05.000Z"), h.Clock.Ahead().String()}, nil
}

func (h *handler) advanceClock(r *http.Request) (int, any, error) {
	var input struct {
		Advance *duration `json:"advance"`
	}
	if err := decode(r.Body, &input, "advance"); err != nil {
		return 0, nil, err
	}
	if input.Advance == nil {
		return 0, nil, errors.New(`advance is required: how far to move the clock, such as "25h"`)
	}
	if err := h.Clock.Advance(time.Duration(*input.Advance)); err != nil {
		return 0, nil, err
	}
	h.Logger.Info("clock advanced", "by", time.Duration(*input.Advance), "ahead", h.Clock.Ahead())
	return h.showClock(r)
}

// fault is the JSON form of a rest.Fault, which docs/testing.md describes.
type fault struct {
	Operation  string    `json:"operation,omitempty"`
	Status     int       `json:"status,omitempty"`
	RetryAfter *seconds  `json:"retryAfter,omitempty"`
	Delay      duration  `json:"delay,omitzero"`
	Drop       rest.Drop `json:"drop,omitempty"`
	Times      *times    `json:"times,omitempty"`
}

func faultOf(f rest.Fault) fault {
	n := times(f.Times)
	out := fault{Operation: f.Operation, Status: f.Status, Delay: duration(f.Delay), Drop: f.Drop, Times: &n}
	if f.RetryAfter > 0 {
		s := seconds(math.Ceil(f.RetryAfter.Seconds()))
		out.RetryAfter = &s
	}
	return out
}

func (h *handler) listFaults(*http.Request) (int, any, error) {
	out := struct {
		Faults   []fault        `json:"faults"`
		Requests map[string]int `json:"requests"`
	}{[]fault{}, h.Faults.Requests()}
	for _, f := range h.Faults.List() {
		out.Faults = append(out.Faults, faultOf(f))
	}
	return http.StatusOK, out, nil
}

func (h *handler) addFault(r *http.Request) (int, any, error) {
	var input fault
	if err := decode(r.Body, &input, "operation, status, retryAfter, delay, drop and times"); err != nil {
		return 0, nil, err
	}
	f := rest.Fault{Operation: input.Operation, Status: input.Status, Delay: time.Duration(input.Delay), Drop: input.Drop}
	if input.RetryAfter != nil {
		f.RetryAfter = time.Duration(*input.RetryAfter) * time.Second
	}
	if input.Times != nil {
		f.Times = int(*input.Times)
	}
	if f.Operation == LiveSocket {
		return h.cutLive(f)
	}
	f, err := h.Faults.Add(f)
	if err != nil {
		return 0, nil, err
	}
	h.Logger.Info("fault added", "operation", f.Operation, "status", f.Status, "delay", f.Delay, "drop", string(f.Drop), "times", f.Times)
	return http.StatusCreated, faultOf(f), nil
}

// cutLive applies a fault whose operation is LiveSocket: it ends the live connections. The
// body of the response has the number of these connections.
func (h *handler) cutLive(f rest.Fault) (int, any, error) {
	n, err := h.Faults.Cut(f)
	if err != nil {
		return 0, nil, err
	}
	h.Logger.Info("live connections cut", "count", n)
	return http.StatusCreated, struct {
		Operation string    `json:"operation"`
		Drop      rest.Drop `json:"drop"`
		Cut       int       `json:"cut"`
	}{f.Operation, f.Drop, n}, nil
}

func (h *handler) clearFaults(*http.Request) (int, any, error) {
	h.Faults.Clear()
	h.Logger.Info("faults cleared")
	return http.StatusNoContent, nil, nil
}

// maxEcho is the maximum number of bytes of a client's text that a response repeats.
const maxEcho = 100

// decode decodes a request body, which must be one JSON object, into v. It fails if the object has
// an unknown member, or if anything follows the object. The error contains members, a list of the
// known members.
func decode(body io.Reader, v any, members string) error {
	text, err := io.ReadAll(body)
	if err != nil {
		return errorf(http.StatusRequestEntityTooLarge, "the body cannot be read or has more than %d bytes", maxBody)
	}
	text = inbound.JSON(text)
	if !bytes.HasPrefix(bytes.TrimSpace(text), []byte("{")) {
		return errors.New("the body is not a JSON object")
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	err = d.Decode(v)
	var kind *json.UnmarshalTypeError
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &kind):
		return fmt.Errorf("%s is not of the right type: a %s cannot be read there", clip.Text(kind.Field, maxEcho), kind.Value)
	case errors.As(err, &syntax), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("the body is not JSON: " + err.Error())
	case err != nil:
		if name, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
			return fmt.Errorf("there is no member %s: it has %s", clip.Text(name, maxEcho), members)
		}
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("the body goes on after the JSON object")
	}
	return nil
}

// duration is a time.Duration that is not negative. Its JSON form is a Go duration: "25h",
// "1h30m", "200ms".
type duration time.Duration

func (d duration) MarshalJSON() ([]byte, error) {
	return json.Marshal(time.Duration(d).String())
}

func (d *duration) UnmarshalJSON(text []byte) error {
	var s string
	if json.Unmarshal(text, &s) != nil || string(text) == "null" {
		return fmt.Errorf(`%s is not a duration: write it as "25h", "90s" or "200ms"`, clip.Text(string(text), maxEcho))
	}
	parsed, err := time.ParseDuration(s)
	if err != nil {
		return fmt.Errorf(`%q is not a duration: write it as "25h", "90s" or "200ms"`, clip.Text(s, maxEcho))
	}
	if parsed < 0 {
		return fmt.Errorf("%q is negative: a duration here is not", clip.Text(s, maxEcho))
	}
	*d = duration(parsed)
	return nil
}

// seconds is a whole number of seconds, from 1 to MaxRetryAfter.
type seconds int

func (s *seconds) UnmarshalJSON(text []byte) error {
	var n int
	if json.Unmarshal(text, &n) != nil || n < 1 || time.Duration(n) > MaxRetryAfter/time.Second {
		return fmt.Errorf("retryAfter is a number of seconds, from 1 to %d, and %s is not", MaxRetryAfter/time.Second, clip.Text(string(text), maxEcho))
	}
	*s = seconds(n)
	return nil
}

// times is the number of requests to which a fault rule applies. Its JSON form is a number of at
// least 1, or "always" or -1 for rest.Always.
type times int

func (n times) MarshalJSON() ([]byte, error) {
	if n == rest.Always {
		return []byte(`"always"`), nil
	}
	return json.Marshal(int(n))
}

func (n *times) UnmarshalJSON(text []byte) error {
	var count int
	switch {
	case string(text) == `"always"`:
		count = rest.Always
	case json.Unmarshal(text, &count) != nil || count < 1 && count != rest.Always:
		return fmt.Errorf(`times is a number from 1, or "always", and %s is neither`, clip.Text(string(text), maxEcho))
	}
	*n = times(count)
	return nil
}
