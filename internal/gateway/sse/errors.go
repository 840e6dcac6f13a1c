package sse

import (
	"net/http"
	"strconv"

	"github.com/confab-chat/confab/internal/gateway/requests"
)

// write writes the response to a refused request. It has the same headers and body as an error of
// the REST API. A response with status 401 has no body.
func write(w http.ResponseWriter, r *requests.Refusal) {
	h := w.Header()
	h.Set("X-Ms-Error-Code", r.Code())
	if r.Status == http.StatusMethodNotAllowed {
		h.Set("Allow", allowed)
	}
	r.SetRetryAfter(h)
	if r.Status == http.StatusUnauthorized {
		w.WriteHeader(r.Status)
		return
	}
	b := appendString([]byte(`{"error":{"code":`), r.Code())
	b = appendString(append(b, `,"message":`...), r.Message)
	b = appendString(append(b, `},"CommunicationError":{"Code":`...), r.Code())
	b = appendString(append(b, `,"Message":`...), r.Message)
	b = append(b, `,"Details":[]}}`...)
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(b)))
	w.WriteHeader(r.Status)
	w.Write(b) // ignore the error: it means that the client hung up
}
