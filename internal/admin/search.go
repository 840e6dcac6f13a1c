package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/sdk/communication"
)

// Hits is the result of a search.
type Hits struct {
	Hits []Hit `json:"hits"`
}

// Hit is a user, a thread, a message or a request that a search has found.
type Hit struct {
	Kind   string `json:"kind"`
	ID     string `json:"id"`
	Thread string `json:"thread,omitempty"` // the thread of a message
	Label  string `json:"label"`
}

// maxHits is the maximum number of messages that a search by message id returns. Several messages
// may have the same id, because a message's id is unique only in its thread.
const maxHits = 20

// search returns the user, thread, messages or request that have the id in the parameters.
func (h *Handler) search(c *call) (any, error) {
	q := c.query.Get("q")
	if q == "" {
		return nil, refuse(http.StatusBadRequest, codeParameter, "q is empty: write the id of a user, a thread, a message or a request")
	}
	out := Hits{Hits: []Hit{}}
	for _, find := range []func(context.Context, string) ([]Hit, error){h.findUser, h.findThread, h.findRequest, h.findMessage} {
		hits, err := find(c.Context(), q)
		if err != nil {
			return nil, err
		}
		out.Hits = append(out.Hits, hits...)
	}
	return out, nil
}

func (h *Handler) findUser(ctx context.Context, q string) ([]Hit, error) {
	var u core.User
	var err error
	if communication.ValidUserID(q) {
		u, err = h.Core.StoredUser(ctx, q)
	} else {
		u, err = h.Core.UserWithCustomID(ctx, q)
	}
	if err != nil || u.State == core.UserUnknown {
		return nil, err
	}
	label := u.State.String()
	if u.CustomID != "" {
		label += ", " + u.CustomID
	}
	return []Hit{{Kind: "user", ID: u.ID, Label: label}}, nil
}

func (h *Handler) findThread(ctx context.Context, q string) ([]Hit, error) {
	if core.CheckThreadID(q) != nil {
		return nil, nil
	}
	t, err := h.Core.Inspect(ctx, q)
	var gone *core.Error
	if errors.As(err, &gone) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return []Hit{{Kind: "thread", ID: t.ID, Label: t.Topic}}, nil
}

func (h *Handler) findRequest(_ context.Context, q string) ([]Hit, error) {
	r, ok := h.Requests.Get(q)
	if !ok {
		return nil, nil
	}
	return []Hit{{Kind: "request", ID: r.ID, Label: fmt.Sprintf("%s %d at %s", r.Operation, r.Status, r.Time)}}, nil
}

// findMessage finds the messages with an id by reading the event log.
func (h *Handler) findMessage(ctx context.Context, q string) (hits []Hit, err error) {
	id, err := strconv.ParseInt(q, 10, 64)
	if err != nil || id <= 0 {
		return nil, nil
	}
	page, err := h.Core.Events(ctx, core.EventsQuery{Message: id, Limit: maxHits})
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for _, e := range page.Events {
		if !seen[e.Thread] {
			seen[e.Thread] = true
			hits = append(hits, Hit{Kind: "message", ID: q, Thread: e.Thread, Label: fmt.Sprintf("%s by %s at %s", e.Kind, e.Actor, formatTime(e.At))})
		}
	}
	return hits, nil
}
