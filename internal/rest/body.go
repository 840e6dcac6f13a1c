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

// setBodyDeadline gives the body a deadline from the start: before it sends the
// response, net/http reads the rest of a body that the handler did not read, and
// would wait for a slow client.
func (h *Handler) setBodyDeadline(req *request) {
	if req.ContentLength != 0 {
		// The writer of a test knows no deadlines; its error is ignored.
		http.NewResponseController(req.w).SetReadDeadline(time.Now().Add(h.bodyTimeout))
	}
}

// readBody reads the body once, within its limit and its deadline.
func (h *Handler) readBody(req *request) error {
	if req.bodyRead {
		return nil
	}
	if req.ContentLength > h.maxBody {
		return h.tooLarge(req)
	}
	body, err := io.ReadAll(io.LimitReader(req.Body, h.maxBody+1))
	switch {
	case int64(len(body)) > h.maxBody:
		return h.tooLarge(req)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &core.Error{Code: codeTimeout, Target: "request body", Message: "The request body did not arrive within " + h.bodyTimeout.String() + "."}
	case err != nil:
		return core.Invalid("request body", "The request body ended early.")
	}
	if req.ContentLength != 0 {
		http.NewResponseController(req.w).SetReadDeadline(time.Time{})
	}
	req.body, req.bodyRead = body, true
	return nil
}

// tooLarge reads and drops some more of the body first: a client that finds the
// connection closed while it still writes never reads the response.
func (h *Handler) tooLarge(req *request) error {
	io.CopyN(io.Discard, req.Body, 4*h.maxBody)
	return &core.Error{Code: codeTooLarge, Target: "request body",
		Message: "The request body is larger than the limit of " + strconv.FormatInt(h.maxBody, 10) + " bytes."}
}

// decode reads a required body into *v.
func (h *Handler) decode(req *request, v any) error {
	if err := h.readBody(req); err != nil {
		return err
	}
	if len(req.body) == 0 {
		return &wire.Error{Reason: "is required"}
	}
	return h.decodeOptional(req, v)
}

// decodeOptional reads the body into *v, or leaves *v alone if there is none
// (docs/contract/identity.md §1 rule 3).
func (h *Handler) decodeOptional(req *request, v any) error {
	if err := h.readBody(req); err != nil {
		return err
	}
	if len(req.body) == 0 {
		return nil
	}
	if !isJSON(req.Header.Get("Content-Type")) {
		return &core.Error{Code: codeMediaType, Target: "Content-Type", Message: "The Content-Type must be application/json."}
	}
	return wire.Decode(req.body, v, req.version)
}

// isJSON accepts every kind of JSON in UTF-8. Unverified: what the service does
// with another type, or none (docs/contract/chat.md §7.2).
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
