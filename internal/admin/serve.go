package admin

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/confab-chat/confab/internal/clip"
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/inbound"
	"github.com/confab-chat/confab/sdk/communication"
)

// maxBody is the longest request body, in bytes, that the API accepts.
const maxBody = 4 << 10

// maxLogged is the maximum number of bytes of a client's text in a field of a log record.
// maxEcho is the same maximum for a response.
const (
	maxLogged = 512
	maxEcho   = 100
)

// answerTime is the time limit of an operation, except for a backup and a stream. Package
// rest has the same limit. auditTime is the time limit for writing an audit row.
const (
	answerTime = 13 * time.Second
	auditTime  = 10 * time.Second
)

// The number of entries on a page.
const (
	pageSize = 100 // if the parameter limit is missing
	maxPage  = 1000
)

// call is the state of one request.
type call struct {
	*http.Request
	w       http.ResponseWriter
	op      *operation // the requested operation; nil if no operation has this method and path
	who     caller     // who sent the request
	from    string     // where the request came from: "socket", or the address of the client
	name    string     // name of the operation, for the log and the audit row
	targets []string   // the ids in the path, one for each * of the operation's path
	target  string     // text that names the targets in the log and the audit row
	query   url.Values
	body    []byte
	outcome string // the outcome for the log: "done", or the reason of the failure
	status  int    // of the response; 0: no response

	id       string // id of the request, for the log, the problem and the headers MS-CV and x-ms-request-id
	began    time.Time
	refused  bool   // admit refused the request
	audited  bool   // the operation has already written the audit row together with its change
	undo     func() // undoes the operation if the audit row cannot be written; may be nil
	recorded bool
	streamed bool // the operation has written the response
}

// serve handles the request c and logs it. It writes an audit row if the operation needs one. The
// function admit returns the sender of the request, or an error if the request is not allowed.
// The argument of admit is the role that the operation needs.
func (h *Handler) serve(c *call, admit func(Role) (caller, error)) {
	c.began, c.id = time.Now(), rand.Text()+".0"
	c.w.Header().Set("Ms-Cv", c.id)
	c.w.Header().Set("X-Ms-Request-Id", c.id)
	c.w.Header().Set("X-Content-Type-Options", "nosniff")
	missing := h.find(c)
	least := Viewer
	if c.op != nil {
		least = c.op.role
	}
	defer func() {
		if c.recorded {
			return
		}
		if p := recover(); p != nil {
			c.outcome = "the connection was closed without an answer"
			if p != http.ErrAbortHandler {
				c.outcome = fmt.Sprint("panic: ", p)
			}
			h.record(c)
			panic(p)
		}
	}()
	var response any
	var err error
	if c.who, err = admit(least); err == nil && !c.who.role.has(least) {
		err = errRole
	}
	c.refused = err != nil
	if err == nil {
		err = missing
	}
	if err == nil {
		err = h.check(c)
	}
	if err == nil {
		if !c.op.long {
			ctx, cancel := context.WithTimeout(c.Context(), answerTime)
			defer cancel()
			c.Request = c.WithContext(ctx)
		}
		response, err = c.op.run(c)
	}
	if c.streamed {
		h.logStream(c, err)
		return
	}
	h.answer(c, response, err)
}

// find looks up the operation and the targets of a request and stores them in c. It fails if no
// operation has the method and path.
func (h *Handler) find(c *call) error {
	c.name, c.target = "unknown", c.Method+" "+c.URL.Path
	rest, below := strings.CutPrefix(c.URL.EscapedPath(), Prefix)
	if !below {
		return errNotFound
	}
	parts := strings.Split(rest, "/")
	var methods []string
	for i := range h.operations {
		op := &h.operations[i]
		targets, ok := op.match(parts)
		if !ok {
			continue
		}
		if op.method != c.Method {
			methods = append(methods, op.method)
			continue
		}
		c.op, c.name, c.targets, c.target = op, op.id, targets, strings.Join(targets, " ")
		return nil
	}
	if methods == nil {
		return errNotFound
	}
	slices.Sort(methods)
	allow := strings.Join(slices.Compact(methods), ", ")
	c.w.Header().Set("Allow", allow)
	return refuse(http.StatusMethodNotAllowed, "method-not-allowed", "the method %s is not allowed here; the path has %s", clip.Text(c.Method, maxEcho), allow)
}

// match returns the parts of a path that the stars in the operation's path match. ok is false if
// the path does not match.
func (op *operation) match(parts []string) (targets []string, ok bool) {
	pattern := strings.Split(op.path, "/")
	if len(pattern) != len(parts) {
		return nil, false
	}
	for i, want := range pattern {
		if want != "*" {
			if parts[i] != want {
				return nil, false
			}
			continue
		}
		target, err := url.PathUnescape(parts[i])
		if err != nil || target == "" || slices.Contains(op.not, target) {
			return nil, false
		}
		targets = append(targets, target)
	}
	return targets, true
}

// check fails if the request does not meet the operation's conditions other than the role:
// permission, kind of server, query parameters and body.
func (h *Handler) check(c *call) (err error) {
	if c.op.dev && h.Dev == nil {
		return errDev
	}
	if c.op.messages && !h.ReadsMessages {
		return errContent
	}
	if c.query, err = url.ParseQuery(c.URL.RawQuery); err != nil {
		return refuse(http.StatusBadRequest, codeParameter, "the query cannot be read")
	}
	known := strings.Fields(c.op.query)
	for name, values := range c.query {
		if !slices.Contains(known, name) {
			return refuse(http.StatusBadRequest, codeParameter, "there is no parameter %q here%s", clip.Text(name, maxEcho), listed(known))
		}
		if len(values) > 1 || len(values[0]) > maxLogged {
			return refuse(http.StatusBadRequest, codeParameter, "the parameter %s is there more than once, or longer than %d bytes", name, maxLogged)
		}
		if !utf8.ValidString(values[0]) || strings.ContainsRune(values[0], 0) { // PostgreSQL refuses such texts
			return refuse(http.StatusBadRequest, codeParameter, "the parameter %s has bytes that are no text in UTF-8: %q", name, clip.Text(values[0], maxEcho))
		}
	}
	return c.readBody()
}

// listed returns the end of a sentence that lists the known parameters.
func listed(known []string) string {
	if len(known) == 0 {
		return ": the operation has none"
	}
	return ": it has " + strings.Join(known, ", ")
}

// readBody reads the body of the request and removes a byte order mark. It fails if the body is too
// long or compressed.
func (c *call) readBody() (err error) {
	c.body, err = io.ReadAll(http.MaxBytesReader(c.w, c.Body, maxBody))
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errTime
	case err != nil:
		return errLength
	}
	if message := inbound.RefusedCoding(c.Header); message != "" && len(c.body) > 0 {
		c.w.Header().Set("Accept-Encoding", inbound.AcceptedCoding)
		return &refusal{http.StatusUnsupportedMediaType, "unsupported-media-type", message}
	}
	c.body = inbound.JSON(c.body)
	if len(bytes.TrimSpace(c.body)) > 0 && !c.op.body {
		return refuse(http.StatusBadRequest, codeBody, "this operation takes no body")
	}
	return nil
}

// decode decodes the body into v. The body must be one JSON object with no unknown members. If
// empty is true, the body may be missing. members lists the known members for the error.
func (c *call) decode(v any, empty bool, members string) error {
	if empty && len(bytes.TrimSpace(c.body)) == 0 {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(c.body))
	d.DisallowUnknownFields()
	err := d.Decode(v)
	if err == nil {
		if _, after := d.Token(); after != io.EOF {
			err = errors.New("it goes on after the JSON object")
		}
	}
	if err == nil && !bytes.HasPrefix(bytes.TrimSpace(c.body), []byte("{")) {
		err = errors.New("it is not a JSON object")
	}
	if err != nil {
		return refuse(http.StatusBadRequest, codeBody, "the body is not a JSON object with %s: %s", cmp.Or(members, "no members"), clip.Text(strings.TrimPrefix(err.Error(), "json: "), maxEcho))
	}
	return nil
}

// limit returns the parameter limit, the maximum number of entries on the page.
func (c *call) limit() (int, error) {
	text := c.query.Get("limit")
	if text == "" {
		return pageSize, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > maxPage {
		return 0, refuse(http.StatusBadRequest, codeParameter, "limit is a number from 1 to %d, and %q is not", maxPage, clip.Text(text, maxEcho))
	}
	return n, nil
}

// number returns the value of a parameter that is a positive number, or 0 if the parameter is
// missing.
func (c *call) number(name string) (uint64, error) {
	text := c.query.Get(name)
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 63)
	if err != nil || n == 0 {
		return 0, refuse(http.StatusBadRequest, codeParameter, "the parameter %s is not one that a page or an event gave: %q", name, clip.Text(text, maxEcho))
	}
	return n, nil
}

// page returns the parameters next and limit, which select a page: before is the value of next.
func (c *call) page() (before uint64, limit int, err error) {
	if before, err = c.number("next"); err != nil {
		return 0, 0, err
	}
	limit, err = c.limit()
	return before, limit, err
}

// next formats a number as the value of next in the response, which the client sends for the next
// page.
func next(n uint64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatUint(n, 10)
}

// checkUser fails unless id is a well-formed id of a user.
func checkUser(id string) error {
	if !communication.ValidUserID(id) {
		return refuse(http.StatusBadRequest, codeID, "%q is not the id of a user", clip.Text(id, maxEcho))
	}
	return nil
}

// checkThread fails unless id is a well-formed id of a thread.
func checkThread(id string) error {
	if core.CheckThreadID(id) != nil {
		return refuse(http.StatusBadRequest, codeID, "%q is not the id of a thread", clip.Text(id, maxEcho))
	}
	return nil
}

// row returns the audit row of the request. outcome is core.AuditDone or the code of a problem. The
// row already has its key, so a row that is written twice is stored once.
func (h *Handler) row(c *call, outcome string, status int) core.Audit {
	return h.Core.Stamp(core.Audit{
		Refused: outcome != core.AuditDone, Who: c.who.name, Kind: c.who.kind, Role: string(c.who.role), From: c.from,
		Operation: c.name, Target: c.target, Outcome: outcome, Status: int32(status), RequestID: c.id,
	})
}

// audit writes the audit row of the request and returns when the row is on disk.
func (h *Handler) audit(c *call, outcome string, status int) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.Context()), auditTime)
	defer cancel()
	row := h.row(c, outcome, status)
	err := h.Core.Audit(ctx, row)
	if errors.Is(err, core.ErrUnknown) {
		err = h.Core.Audit(ctx, row)
	}
	if err != nil {
		h.Logger.Error("write an audit row", "operation", c.name, "target", clip.Text(c.target, maxLogged), "outcome", outcome, "error", err)
	}
	return err
}

// answer writes the audit row, if the request needs one, and then the response. If err is not nil,
// the response is a problem that describes err.
func (h *Handler) answer(c *call, response any, err error) {
	changes := c.op != nil && (c.op.changes || c.op.messages)
	if err == nil && changes && !c.audited {
		if h.audit(c, core.AuditDone, c.op.answers()) != nil {
			if c.undo != nil {
				c.undo()
			}
			err = errAudit
			if c.op.changes && c.undo == nil {
				err = &refusal{http.StatusServiceUnavailable, "unavailable", "it was done, but the audit log could not be written: look whether it must be undone"}
			}
			c.audited = true // the error of the first try is the response, so do not write the row again
		}
	}
	if err == nil {
		c.outcome = cmp.Or(c.outcome, core.AuditDone)
		h.write(c, c.op.answers(), "application/json; charset=utf-8", response)
		return
	}
	p, ok := h.problemOf(c, err)
	if !ok {
		panic(http.ErrAbortHandler)
	}
	if !c.audited && (security[p.code] || changes) {
		h.audit(c, p.code, p.status) // the error is ignored here, because audit logs it
	}
	c.outcome = p.text
	h.write(c, p.status, "application/problem+json", Problem{
		Type: "about:blank", Title: http.StatusText(p.status), Status: p.status, Detail: p.text, Instance: c.id, Code: p.code,
	})
}

// write logs the request and then sends its response. A client that has received the response can
// therefore rely on the log record.
func (h *Handler) write(c *call, status int, kind string, body any) {
	c.status = status
	var text []byte
	if body != nil {
		var err error
		// The error cannot occur: JSON can encode every body of this package.
		if text, err = json.MarshalIndent(body, "", "  "); err != nil {
			panic(err)
		}
	}
	h.record(c)
	c.w.Header().Set("Cache-Control", "no-store")
	if body == nil {
		c.w.WriteHeader(status)
		return
	}
	c.w.Header().Set("Content-Type", kind)
	c.w.WriteHeader(status)
	c.w.Write(append(text, '\n'))
}

// record writes one log line about the request, unless the request was refused and MayLog
// returns false.
func (h *Handler) record(c *call) {
	c.recorded = true
	if c.refused && h.MayLog != nil && !h.MayLog(c.status) {
		return
	}
	h.Audit.LogAttrs(context.Background(), slog.LevelInfo, "operator",
		slog.String("who", cmp.Or(c.who.detail, c.who.name)), slog.String("from", c.from),
		slog.String("operation", c.name), slog.String("target", clip.Text(c.target, maxLogged)),
		slog.Int("status", c.status), slog.String("outcome", clip.Text(c.outcome, maxLogged)),
		slog.Float64("ms", float64(time.Since(c.began).Microseconds())/1000),
		slog.String("request", c.id), slog.String("client_request", clip.Text(c.Header.Get("X-Ms-Client-Request-Id"), maxLogged)))
}
