package pipeline

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/confab-chat/confab/sdk/communication"
)

func TestRefusals(t *testing.T) {
	const forbidden = "The initiator doesn't have the permission to perform the requested operation."
	for _, test := range []struct {
		name    string
		status  int
		headers map[string]string
		body    string
		want    string
		is      error
	}{
		{"swagger", 403, nil, `{"error":{"code":"Forbidden","message":"` + forbidden + `"}}`,
			"read it: 403 Forbidden: " + forbidden + " (request cv.0)", communication.ErrForbidden},
		{"wire", 404, nil, `{"CommunicationError":{"Code":"NotFound","Message":"The specified thread id was not found.","Details":[]}}`,
			"read it: 404 NotFound: The specified thread id was not found. (request cv.0)", communication.ErrNotFound},
		{"both", 400, nil, `{"error":{"code":"a","message":"b","target":"scopes"},"CommunicationError":{"Code":"c","Message":"d"}}`,
			"read it: 400 a: b (target scopes; request cv.0)", nil},
		{"no message", 404, nil, `{"CommunicationError":{"Code":"NotFound","Details":[]}}`,
			"read it: 404 NotFound (request cv.0)", communication.ErrNotFound},
		{"no body", 401, nil, "", "read it: 401 Unauthorized: the token or key is not accepted: it may have expired or been revoked (request cv.0)", communication.ErrUnauthorized},
		{"header", 409, map[string]string{"x-ms-error-code": "Conflict7"}, "", "read it: 409 Conflict7 (request cv.0)", nil},
		{"html", 404, map[string]string{"Content-Type": "text/html"}, "<html>no\nsuch page</html>",
			"read it: 404 Not Found: the answer is not one of this service: 25 bytes, text/html (request cv.0)", communication.ErrNotFound},
		{"cut JSON", 400, nil, `{"error":{"code"`, "read it: 400 Bad Request: the answer is not one of this service: 16 bytes, application/json (request cv.0)", nil},
		{"wrong types", 400, nil, `{"error":"no","CommunicationError":[1]}`, "read it: 400 Bad Request: the answer is not one of this service: 39 bytes, application/json (request cv.0)", nil},
		{"lines", 400, nil, `{"error":{"code":"Bad\nRequest","message":"two\r\nlines\u001b[31m"}}`, "read it: 400 Bad Request: two lines [31m (request cv.0)", nil},
		{"unknown status", 499, nil, "", "read it: 499 unknown status (request cv.0)", nil},
		{"other success", 202, nil, "", "read it: 202 Accepted: the answer to success is 200 (request cv.0)", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newServer(t, func(w http.ResponseWriter, _ *http.Request, _ int) {
				w.Header().Set("MS-CV", "cv.0")
				w.Header().Set("Content-Type", "application/json")
				for name, value := range test.headers {
					w.Header().Set(name, value)
				}
				w.WriteHeader(test.status)
				io.WriteString(w, test.body)
			})
			header, err := s.client(t, nil).Do(context.Background(), read(), nil)
			e := wantError(t, err, test.want)
			if e.StatusCode != test.status {
				t.Errorf("StatusCode: got %d, want %d", e.StatusCode, test.status)
			}
			if header.Get("MS-CV") != "cv.0" {
				t.Errorf("headers: got %v", header)
			}
			if test.is != nil && !errors.Is(err, test.is) {
				t.Errorf("errors.Is(err, %v) is false", test.is)
			}
			for _, other := range []error{communication.ErrUnauthorized, communication.ErrForbidden, communication.ErrNotFound, communication.ErrThrottled, communication.ErrUnknownFate} {
				if other != test.is && errors.Is(err, other) {
					t.Errorf("errors.Is(err, %v) is true", other)
				}
			}
			var response *azcore.ResponseError
			if !errors.As(err, &response) || response.StatusCode != test.status || response.RawResponse == nil {
				t.Errorf("errors.As *azcore.ResponseError: got %+v", response)
			}
		})
	}
}

func TestAnswersThatCannotBeUnderstood(t *testing.T) {
	for _, test := range []struct{ name, contentType, body, want string }{
		{"empty", "application/json", "", "the answer is empty"},
		{"html", "text/html; charset=utf-8", "<p>log in first", "the answer is not one of this service: 15 bytes, text/html; charset=utf-8"},
		{"garbage", "application/json", "garbage", "cannot understand the answer: invalid character 'g' looking for beginning of value"},
		{"cut", "application/json", `{"topic":"a`, "cannot understand the answer: unexpected end of JSON input"},
		{"other type", "application/problem+json", `{"topic":1}`, "cannot understand the answer: json: cannot unmarshal number into Go struct field .Topic of type string"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newServer(t, func(w http.ResponseWriter, r *http.Request, _ int) {
				w.Header().Set("MS-CV", "cv.0")
				w.Header().Set("Content-Type", test.contentType)
				if r.Method == http.MethodPost {
					w.WriteHeader(http.StatusCreated)
				}
				io.WriteString(w, test.body)
			})
			c := s.client(t, nil)
			var out struct{ Topic string }
			_, err := c.Do(context.Background(), read(), &out)
			wantError(t, err, "read it: 200 OK: "+test.want+" (request cv.0)")
			_, err = c.Do(context.Background(), create(), &out)
			wantError(t, err, "create it: 201 Created: "+test.want+" (the request may have been carried out; request cv.0)")
			if got := s.requests.Load(); got != 2 {
				t.Errorf("got %d requests, want 2", got)
			}
		})
	}
}

func TestHugeAnswers(t *testing.T) {
	for _, name := range []string{"plain", "compressed"} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, func(w http.ResponseWriter, _ *http.Request, _ int) {
				w.Header().Set("Content-Type", "application/json")
				part := bytes.Repeat([]byte(" "), 1<<20)
				if name == "compressed" {
					w.Header().Set("Content-Encoding", "gzip")
					var b bytes.Buffer
					z := gzip.NewWriter(&b)
					z.Write(part)
					z.Close()
					part = b.Bytes() // gzip allows concatenation, so the parts together are one valid body
				}
				for range maxResponse>>20 + 1 {
					if _, err := w.Write(part); err != nil {
						return
					}
				}
			})
			_, err := s.client(t, nil).Do(context.Background(), read(), nil)
			wantError(t, err, "read it: the answer is larger than 67108864 bytes")
			if got := s.requests.Load(); got != 1 {
				t.Errorf("got %d requests, want 1", got)
			}
		})
	}
}

func TestAnswerOfJustTheBound(t *testing.T) {
	b := &boundedBody{io.NopCloser(strings.NewReader("12345")), 5}
	if text, err := io.ReadAll(b); string(text) != "12345" || err != nil {
		t.Errorf("got %q, %v", text, err)
	}
	b = &boundedBody{io.NopCloser(strings.NewReader("123456")), 5}
	if _, err := io.ReadAll(b); err == nil {
		t.Error("no error for one more byte")
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 21, 20, 31, 40, 0, time.UTC)
	for _, test := range []struct {
		name, value string
		want        time.Duration
	}{
		{"Retry-After", "7", 7 * time.Second},
		{"Retry-After", "0", 0},
		{"Retry-After", "-1", 0},
		{"Retry-After", "soon", 0},
		{"Retry-After", "99999999999999999999", 0},
		{"Retry-After", "Sat, 21 Nov 2026 20:32:40 GMT", time.Minute},
		{"Retry-After", "Sat, 21 Nov 2026 20:00:00 GMT", 0},
		{"Retry-After-Ms", "1500", 1500 * time.Millisecond},
		{"X-Ms-Retry-After-Ms", "20", 20 * time.Millisecond},
	} {
		if got := retryAfter(http.Header{test.name: {test.value}}, now); got != test.want {
			t.Errorf("%s %s: got %s, want %s", test.name, test.value, got, test.want)
		}
	}
}

func FuzzEnvelope(f *testing.F) {
	f.Add([]byte(`{"error":{"code":"a"},"CommunicationError":{"Code":"b"}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		code, message, target := envelope(body)
		e := &communication.Error{Op: "read it", StatusCode: 400, Code: code, Message: message, Target: target}
		if strings.ContainsAny(e.Error(), "\r\n\x1b") {
			t.Errorf("more than a line: %q", e.Error())
		}
	})
}
