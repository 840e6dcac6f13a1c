package admin

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/confab-chat/confab/internal/clip"
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/snippets"
	"github.com/confab-chat/confab/internal/traffic"
)

// Requests is a page of the newest requests of clients, newest first.
type Requests struct {
	Requests []traffic.Request `json:"requests"`
	Next     string            `json:"next,omitempty"`
	Kept     int               `json:"kept"` // number of requests in memory
	Seen     uint64            `json:"seen"` // number of requests since the start
	Lost     uint64            `json:"lost"` // the number of requests that the server no longer keeps in memory
}

// Snippet is a program that sends a request.
type Snippet struct {
	Language string `json:"language"`
	Code     string `json:"code"`
}

// Repeated is the response to a request to send a client's request again.
type Repeated struct {
	ID     string `json:"id"`
	Status int    `json:"status"`
}

// statuses matches the parameter status: a list, separated by commas, of statuses, such as 403, and
// classes of statuses, such as 4xx.
var statuses = regexp.MustCompile(`^([2345]xx|0|[1-5][0-9][0-9])(,([2345]xx|0|[1-5][0-9][0-9]))*$`)

// filter returns the filter for requests that the parameters describe.
func (c *call) filter() (f traffic.Filter, err error) {
	if status := c.query.Get("status"); c.query.Has("status") {
		if !statuses.MatchString(status) {
			return f, refuse(http.StatusBadRequest, codeParameter, "status is 2xx, 4xx, 5xx, a status or 0, or several with commas, and %q is not", clip.Text(status, maxEcho))
		}
		f.Status = strings.Split(status, ",")
	}
	f.Operation, f.User, f.Thread = c.query.Get("operation"), c.query.Get("user"), c.query.Get("thread")
	f.SDK, f.Query = c.query.Get("sdk"), c.query.Get("q")
	return f, nil
}

func (h *Handler) listRequests(c *call) (any, error) {
	f, err := c.filter()
	if err != nil {
		return nil, err
	}
	before, limit, err := c.page()
	if err != nil {
		return nil, err
	}
	page, after := h.Requests.Page(f, before, limit)
	stats := h.Requests.Stats()
	return Requests{Requests: append([]traffic.Request{}, page...), Next: next(after), Kept: stats.Kept, Seen: stats.Seen, Lost: stats.Lost}, nil
}

// kept returns the client's request whose id is in the path. It fails if the server does not keep
// it.
func (h *Handler) kept(c *call) (traffic.Detail, error) {
	r, ok := h.Requests.Get(c.targets[0])
	if !ok {
		return r, refuse(http.StatusNotFound, "unknown-request", "the server does not have the request %q: it keeps the newest %d, until it stops", clip.Text(c.targets[0], maxEcho), traffic.DefaultRequests)
	}
	return r, nil
}

func (h *Handler) showRequest(c *call) (any, error) {
	r, err := h.kept(c)
	if err != nil {
		return nil, err
	}
	if !h.ReadsMessages {
		r.Sent.Body, r.Answered.Body = "", ""
	}
	if err := h.look(c, r.Sent.Body+r.Answered.Body); err != nil {
		return nil, err
	}
	return r, nil
}

// look writes an audit row if content is not empty, because content may have messages of users.
// Call it before a response with the content.
func (h *Handler) look(c *call, content string) error {
	if content != "" && h.audit(c, core.AuditDone, http.StatusOK) != nil {
		return errAudit
	}
	return nil
}

func (h *Handler) showRequestCode(c *call) (any, error) {
	language := snippets.Curl
	if c.query.Has("language") {
		language = c.query.Get("language")
	}
	r, err := h.kept(c)
	if err != nil {
		return nil, err
	}
	body := r.Sent.Body
	if !h.ReadsMessages {
		body = ""
	}
	code, ok := snippets.Of(language, snippets.Request{
		Method: r.Method, Path: r.Path, User: sender(&r), Body: body, BodyMissing: r.Sent.BodySize > int64(len(body)), Type: r.Sent.Headers["Content-Type"],
	})
	if !ok {
		return nil, refuse(http.StatusBadRequest, codeParameter, "language is %s, and %q is not", strings.Join(snippets.Languages(), ", "), clip.Text(language, maxEcho))
	}
	if err := h.look(c, body); err != nil {
		return nil, err
	}
	return Snippet{language, code}, nil
}

func (h *Handler) repeatRequest(c *call) (any, error) {
	if err := c.decode(&struct{}{}, true, ""); err != nil {
		return nil, err
	}
	r, err := h.kept(c)
	if err != nil {
		return nil, err
	}
	if !r.CanSendAgain || h.Send == nil || sender(&r) == "" {
		return nil, refuse(http.StatusConflict, "not-repeatable", "this request cannot be sent again: the server does not have all of it, or does not know who sent it")
	}
	id, status, err := h.Send(c.Context(), r)
	if err != nil {
		return nil, err
	}
	return Repeated{id, status}, nil
}

// sender returns the user whose token a request had. It returns "" for a request that was signed
// with an access key, because the user named in the path has not sent the request.
func sender(r *traffic.Detail) string {
	if strings.HasPrefix(r.Path, "/identities") {
		return ""
	}
	return r.User
}

// followRequests streams requests of clients. It sends each one when the server has answered it.
func (h *Handler) followRequests(c *call) (any, error) {
	f, err := c.filter()
	if err != nil {
		return nil, err
	}
	after, err := c.resume()
	if err != nil {
		return nil, err
	}
	sub, err := h.Requests.Subscribe(f, after)
	if errors.Is(err, traffic.ErrTooMany) {
		return nil, errStreams
	}
	if err != nil {
		return nil, err
	}
	defer sub.Close()
	return h.streaming(c, func(ctx context.Context, s *stream) error {
		for {
			waiting, stop := context.WithTimeout(ctx, streamPing)
			requests, missed, err := sub.Next(waiting)
			stop()
			if ctx.Err() != nil {
				return nil
			}
			if err != nil && !errors.Is(err, context.DeadlineExceeded) {
				return err
			}
			var b bytes.Buffer // collects all events for one write, because a system call for each event would slow down a busy server
			if missed > 0 {
				if err := addEvent(&b, "lost", "", lost{missed}); err != nil {
					return err
				}
			}
			for _, r := range requests {
				if err := addEvent(&b, "request", next(r.Seq), r); err != nil {
					return err
				}
			}
			if b.Len() > 0 {
				if err := s.write(b.Bytes()); err != nil {
					return err
				}
			}
			if len(requests) == 0 {
				s.last = s.last.Add(-time.Second) // makes ping write even if the wait was slightly shorter than streamPing
				if err := s.ping(); err != nil {
					return err
				}
			}
		}
	})
}
