package pipeline

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/confab-chat/confab/sdk/communication"
)

// noResponseError returns the error of a call that got no usable response, with err as its cause.
func noResponseError(c *call, err error) error {
	var token tokenError
	var certificate *tls.CertificateVerificationError
	if errors.As(err, &token) {
		err = token // give no advice about CAFile: an untrusted certificate may belong to the token issuer, not to the server
	} else {
		// Remove the URL from the error: the error already names the operation, and logs should not
		// contain the query of the URL.
		err = withoutURL(err)
		if errors.As(err, &certificate) {
			err = fmt.Errorf("%w (for a private certificate authority set CAFile in the client options or %s in the environment)", err, caFileVariable)
		}
	}
	e := &communication.Error{Op: c.operation, RequestID: c.requestID, UnknownFate: c.unknownFate, Err: err}
	if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
		return e
	}
	// If the context ended during a pause between attempts, add the failure that caused the pause.
	switch {
	case c.refused != nil:
		last := refusal(c, c.refused, 0)
		e.RetryAfter = last.RetryAfter
		e.Err = interrupted{err, last}
	case c.failed != nil && !errors.Is(c.failed, context.DeadlineExceeded) && !errors.Is(c.failed, context.Canceled):
		e.Err = interrupted{err, withoutURL(c.failed)}
	}
	return e
}

// tokenError is the error of a credential that failed to return a token. It hides the sentinel
// errors of package communication and the response of the token issuer, because a caller could take
// them for the result of the operation. It has no method Unwrap, so that errors.Is and errors.As
// use only its own methods.
type tokenError struct{ cause error }

// Error returns the text of the cause without the URL of the token issuer, whose query may contain
// a key.
func (e tokenError) Error() string {
	text := e.cause.Error()
	var u *url.Error
	if errors.As(e.cause, &u) {
		text = strings.ReplaceAll(text, u.Error(), u.Err.Error())
	}
	return "get a token: " + text
}

// Is reports whether the cause of e matches target. It returns false for the sentinel errors of
// package communication.
func (e tokenError) Is(target error) bool {
	switch target {
	case communication.ErrUnauthorized, communication.ErrForbidden, communication.ErrNotFound, communication.ErrThrottled, communication.ErrUnknownFate:
		return false
	}
	return errors.Is(e.cause, target)
}

// As implements errors.As on the error of the credential. It never finds an *azcore.ResponseError:
// that would be the response of the token issuer, and a caller would take it for the response to
// the operation.
func (e tokenError) As(target any) bool {
	if _, ok := target.(**azcore.ResponseError); ok {
		return false
	}
	return errors.As(e.cause, target)
}

// interrupted is the error of a call whose context ended between two attempts. The field end is the
// error of the context, and last the error of the last attempt.
type interrupted struct{ end, last error }

// Error returns the texts of both errors. It removes the name of the operation from the text of
// last, because the outer error begins with it.
func (i interrupted) Error() string {
	last := i.last.Error()
	if e, ok := i.last.(*communication.Error); ok {
		last = strings.TrimPrefix(last, e.Op+": ")
	}
	return i.end.Error() + ", last try: " + last
}

// Unwrap returns the error of the context and the error of the last attempt.
func (i interrupted) Unwrap() []error { return []error{i.end, i.last} }

// refusal returns the error for a response whose status is not want.
func refusal(c *call, resp *http.Response, want int) *communication.Error {
	body, _ := runtime.Payload(resp) // Payload does not fail, because azcore has already read the body
	e := &communication.Error{
		Op:          c.operation,
		StatusCode:  resp.StatusCode,
		RequestID:   requestID(c, resp),
		RetryAfter:  retryAfter(resp.Header, time.Now()),
		UnknownFate: c.unknownFate,
	}
	e.Code, e.Message, e.Target = envelope(body)
	if e.Code == "" {
		e.Code = resp.Header.Get("x-ms-error-code")
	}
	switch {
	case resp.StatusCode >= 300 && resp.StatusCode < 400:
		e.Message = "the server redirects, which is not followed: a credential goes to the endpoint and nowhere else"
		if to, err := resp.Location(); err == nil {
			e.Message = fmt.Sprintf("the server redirects to %s://%s, which is not followed: a credential goes to the endpoint and nowhere else", to.Scheme, to.Host)
		}
	case resp.StatusCode < 300:
		e.Message = fmt.Sprintf("the answer to success is %d", want)
		e.UnknownFate = c.creates
	case resp.StatusCode == http.StatusUnauthorized && len(body) == 0:
		e.Message = "the token or key is not accepted: it may have expired or been revoked"
	case e.Code == "" && e.Message == "" && len(body) > 0:
		e.Message = "the answer is not one of this service: " + describe(resp, body)
	}
	e.Err = runtime.NewResponseErrorWithErrorCode(resp, e.Code)
	return e
}

// badResponseError returns the error for a successful response whose body cannot be decoded. The
// argument problem describes the reason.
func badResponseError(c *call, resp *http.Response, problem string) error {
	return &communication.Error{
		Op:          c.operation,
		StatusCode:  resp.StatusCode,
		Message:     problem,
		RequestID:   requestID(c, resp),
		UnknownFate: c.creates,
		Err:         &azcore.ResponseError{StatusCode: resp.StatusCode, RawResponse: resp},
	}
}

// decode decodes the body of resp into out. It returns "" on success, and otherwise a description
// of the problem.
func decode(resp *http.Response, out any) string {
	body, err := runtime.Payload(resp)
	switch {
	case err != nil:
		return "cannot read the answer: " + err.Error()
	case len(body) == 0:
		return "the answer is empty"
	case !isJSON(resp.Header.Get("Content-Type")):
		return "the answer is not one of this service: " + describe(resp, body)
	}
	if err := json.Unmarshal(body, out); err != nil {
		return "cannot understand the answer: " + err.Error()
	}
	return ""
}

func isJSON(contentType string) bool {
	switch contentType {
	case "", "application/json", "application/json; charset=utf-8":
		return true
	}
	kind, _, err := mime.ParseMediaType(contentType)
	return err == nil && (kind == "application/json" || strings.HasSuffix(kind, "+json"))
}

func describe(resp *http.Response, body []byte) string {
	kind := resp.Header.Get("Content-Type")
	if kind == "" {
		kind = "no content type"
	}
	return fmt.Sprintf("%d bytes, %s", len(body), kind)
}

// envelope returns the code, message and target of the error in a response body. The service uses
// two forms: the member "error", as the swagger specifies, and "CommunicationError"
// (docs/contract/chat.md §7.1). envelope returns empty strings if the body contains no error.
func envelope(body []byte) (code, message, target string) {
	// One type is enough, because encoding/json ignores the letter case of member names: "Code"
	// matches "code".
	type detail struct {
		Code    string `json:"code"`
		Message string `json:"message"`
		Target  string `json:"target"`
	}
	var b struct {
		Error              json.RawMessage `json:"error"`
		CommunicationError json.RawMessage `json:"CommunicationError"`
	}
	if json.Unmarshal(body, &b) != nil {
		return "", "", ""
	}
	for _, raw := range []json.RawMessage{b.Error, b.CommunicationError} {
		var d detail
		if len(raw) == 0 || json.Unmarshal(raw, &d) != nil || d == (detail{}) {
			continue
		}
		return d.Code, d.Message, d.Target
	}
	return "", "", ""
}

// requestID returns the id that a request has in the server's log, or the id that the client sent
// if the response contains no id.
func requestID(c *call, resp *http.Response) string {
	for _, name := range []string{"x-ms-request-id", "MS-CV"} {
		if id := resp.Header.Get(name); id != "" {
			return id
		}
	}
	return c.requestID
}

// retryAfter returns the time to wait before the next attempt, or 0 if the headers of the response
// do not say. It reads the same headers as azcore's retry policy.
func retryAfter(h http.Header, now time.Time) time.Duration {
	for _, name := range []string{"retry-after-ms", "x-ms-retry-after-ms"} {
		if n, err := strconv.ParseInt(h.Get(name), 10, 32); err == nil && n > 0 {
			return time.Duration(n) * time.Millisecond
		}
	}
	text := h.Get("Retry-After")
	if n, err := strconv.ParseInt(text, 10, 32); err == nil {
		return max(0, time.Duration(n)*time.Second)
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(0, at.Sub(now).Round(time.Second))
	}
	return 0
}
