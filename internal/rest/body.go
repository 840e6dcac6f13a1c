package rest

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/inbound"
	"github.com/confab-chat/confab/internal/rest/wire"
	"github.com/confab-chat/confab/internal/why"
)

// setBodyDeadline sets the deadline for reading the request body. The deadline is
// needed even if no handler reads the body, because net/http reads the rest of the body
// before it sends the response, and would wait for a slow client.
func (h *Handler) setBodyDeadline(req *request) {
	if req.ContentLength != 0 {
		// httptest.ResponseRecorder does not support deadlines; ignore its error.
		http.NewResponseController(req.w).SetReadDeadline(time.Now().Add(h.bodyTimeout))
	}
}

// maxTrusted is the greatest Content-Length, in bytes, for which readBody allocates a
// buffer before the body arrives.
const maxTrusted = 8 << 10

// maxIdentityBody is the longest body of an identity request in bytes.
const maxIdentityBody = 64 << 10

// maxBodyOf returns the longest body that a request may have, in bytes: Options.MaxBody or
// api.maxBody, whichever is less.
func (h *Handler) maxBodyOf(req *request) int64 {
	if req.api.maxBody > 0 {
		return min(h.maxBody, req.api.maxBody)
	}
	return h.maxBody
}

// readBody reads the request body into req.body, unless it has done so before. It fails if the
// body is longer than the limit of maxBodyOf, ends early or does not arrive within
// Options.BodyTimeout, and with a 429 if the caller has written too much.
func (h *Handler) readBody(req *request) error {
	if req.bodyRead {
		return nil
	}
	limit := h.maxBodyOf(req)
	if req.ContentLength > limit {
		return h.tooLarge(req)
	}
	// Allocate a buffer of the announced length, so that it need not grow while the body is read. The
	// client may lie about the length, so do this for small bodies only. ServeHTTP returns the buffer
	// to the pool.
	req.buffer = h.getBuffer()
	b := bytes.NewBuffer(*req.buffer)
	b.Grow(int(min(max(req.ContentLength, 0), maxTrusted)) + bytes.MinRead)
	from := io.Reader(req.Body)
	if req.ContentLength < 0 { // limit a body of unknown length; net/http itself ends any other body at its announced length
		from = io.LimitReader(from, limit+1)
	}
	began := time.Now()
	_, err := b.ReadFrom(from)
	if took := time.Since(began); took > time.Second && !req.ctx.until.IsZero() {
		req.limit(req.ctx.until.Add(took)) // extend the deadline of the request by the time in which a slow client has sent the body
	}
	body := b.Bytes()
	*req.buffer = body
	switch {
	case int64(len(body)) > limit:
		return h.tooLarge(req)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &core.Error{Code: codeTimeout, Target: "request body", Message: "The request body did not arrive within " + h.bodyTimeout.String() + ".",
			Why: why.Because(why.SlowBody, "limit", h.bodyTimeout.String())}
	case err != nil:
		return core.Invalid("request body", "The request body ended early.").Because(why.BodyEnded)
	}
	req.Body.Close() // close the body, because otherwise net/http reads it to its end once more
	if req.ContentLength != 0 {
		http.NewResponseController(req.w).SetReadDeadline(time.Time{})
	}
	if err := h.count(req, int64(len(body))); err != nil {
		return err
	}
	req.body, req.bodyRead = body, true
	return nil
}

// tooLarge returns the error for a body that is longer than the limit of maxBodyOf. It first
// reads and discards up to four times the limit, because a client that is still writing when the
// connection closes would not read the response.
func (h *Handler) tooLarge(req *request) error {
	limit := h.maxBodyOf(req)
	io.CopyN(io.Discard, req.Body, 4*limit)
	has, setting := "more", "--max-body-size"
	if req.ContentLength > limit {
		has = strconv.FormatInt(req.ContentLength, 10)
	}
	if limit < h.maxBody {
		setting = ""
	}
	return &core.Error{Code: codeTooLarge, Target: "request body",
		Why:     why.Because(why.TooLarge, "field", "request body", "has", has, "unit", "bytes", "limit", strconv.FormatInt(limit, 10), "setting", setting),
		Message: "The request body is larger than the limit of " + strconv.FormatInt(limit, 10) + " bytes."}
}

// decode decodes the JSON request body into *v. It fails if the request has no body.
func (h *Handler) decode(req *request, v any) error {
	text, err := h.readText(req)
	if err != nil {
		return err
	}
	if len(text) == 0 {
		return &wire.Error{Reason: "is required"}
	}
	return wire.Decode(text, v, req.version)
}

// decodeOptional decodes the JSON request body into *v. It leaves *v unchanged if the
// request has no body (docs/contract/identity.md §1 rule 3).
func (h *Handler) decodeOptional(req *request, v any) error {
	text, err := h.readText(req)
	if err != nil || len(text) == 0 {
		return err
	}
	return wire.Decode(text, v, req.version)
}

// readText reads the request body and returns its JSON text, without a byte order mark, or
// nothing if the request has no body. It fails with a 415 if the body is compressed or is not
// JSON by its Content-Type.
func (h *Handler) readText(req *request) ([]byte, error) {
	if err := h.readBody(req); err != nil || len(req.body) == 0 {
		return nil, err
	}
	if message := inbound.RefusedCoding(req.Header); message != "" {
		req.w.Header().Set("Accept-Encoding", inbound.AcceptedCoding)
		return nil, &core.Error{Code: codeMediaType, Target: "Content-Encoding", Message: message, Why: why.Because(why.MediaType, "problem", message)}
	}
	if !isJSON(req.Header.Get("Content-Type")) {
		const message = "The Content-Type must be application/json."
		return nil, &core.Error{Code: codeMediaType, Target: "Content-Type", Message: message, Why: why.Because(why.MediaType, "problem", message)}
	}
	return inbound.JSON(req.body), nil
}

// isJSON reports whether a Content-Type means JSON in UTF-8; an empty one does.
// Unverified: no request with another type was recorded (docs/contract/chat.md §7.2).
func isJSON(contentType string) bool {
	switch contentType {
	case "", "application/json", "application/json; charset=utf-8": // no need to parse
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
