package rest

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/rest/wire"
)

// limitBody gives the body a deadline from the start: net/http reads what a
// handler leaves before it sends the answer, and would wait for a slow client.
func (h *Handler) limitBody(q *request) {
	if q.ContentLength != 0 {
		// A writer that knows no deadlines is that of a test.
		http.NewResponseController(q.w).SetReadDeadline(time.Now().Add(h.bodyTimeout))
	}
}

// readBody reads the body once, within its limit and its deadline.
func (h *Handler) readBody(q *request) error {
	if q.read {
		return nil
	}
	if q.ContentLength > h.maxBody {
		return h.tooLarge(q)
	}
	body, err := io.ReadAll(io.LimitReader(q.Body, h.maxBody+1))
	switch {
	case int64(len(body)) > h.maxBody:
		return h.tooLarge(q)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &core.Error{Code: codeTimeout, Target: "request body", Message: "The request body did not arrive within " + h.bodyTimeout.String() + "."}
	case err != nil:
		return core.Invalid("request body", "The request body ended early.")
	}
	if q.ContentLength != 0 {
		http.NewResponseController(q.w).SetReadDeadline(time.Time{})
	}
	q.body, q.read = body, true
	return nil
}

// tooLarge drops some more of the body first: a client that finds the connection
// closed while it still writes never reads the answer.
func (h *Handler) tooLarge(q *request) error {
	io.CopyN(io.Discard, q.Body, 4*h.maxBody)
	return &core.Error{Code: codeTooLarge, Target: "request body",
		Message: "The request body is larger than the limit of " + strconv.FormatInt(h.maxBody, 10) + " bytes."}
}

// decode reads a body that has to be there into *v.
func (h *Handler) decode(q *request, v any) error {
	if err := h.readBody(q); err != nil {
		return err
	}
	if len(q.body) == 0 {
		return &wire.Error{Reason: "is required"}
	}
	return h.decodeOptional(q, v)
}

// decodeOptional reads a body if there is one (identity.md §1 rule 3).
func (h *Handler) decodeOptional(q *request, v any) error {
	if err := h.readBody(q); err != nil {
		return err
	}
	if len(q.body) == 0 {
		return nil
	}
	if !isJSON(q.Header.Get("Content-Type")) {
		return &core.Error{Code: codeMediaType, Target: "Content-Type", Message: "The Content-Type must be application/json."}
	}
	return wire.Decode(q.body, v, q.version)
}

// isJSON accepts every kind of JSON in UTF-8. Unverified: what the service does
// with another type, or none (chat.md §7.2).
func isJSON(contentType string) bool {
	if contentType == "" {
		return true
	}
	kind, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		return false
	}
	if charset := params["charset"]; charset != "" && !strings.EqualFold(charset, "utf-8") {
		return false
	}
	return kind == "application/json" || kind == "text/json" || strings.HasPrefix(kind, "application/") && strings.HasSuffix(kind, "+json")
}
