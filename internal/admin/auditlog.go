package admin

import (
	"net/http"

	"github.com/confab-chat/confab/internal/clip"
	"github.com/confab-chat/confab/internal/core"
)

// AuditRows is a page of the audit log, newest first. Next is the value of the query parameter
// next for the next page, or empty on the last page.
type AuditRows struct {
	Rows []AuditRow `json:"rows"`
	Next string     `json:"next,omitempty"`
}

// AuditRow is an audit row: it says which operation a caller has done, or tried to do.
type AuditRow struct {
	ID        string `json:"id"`
	Time      string `json:"time"`
	Who       string `json:"who"`
	Kind      string `json:"kind"` // socket, secret, viewer-secret, session or nobody
	Role      string `json:"role"` // operator, viewer or empty
	From      string `json:"from"`
	Operation string `json:"operation"` // operationId of api/operator.openapi.yaml
	Target    string `json:"target,omitempty"`
	Outcome   string `json:"outcome"` // "done", or the code of the problem with which the operation failed
	Status    int32  `json:"status"`
	RequestID string `json:"requestId"`
	Attempts  uint64 `json:"attempts,omitempty"` // how many refused attempts the row stands for, if more than one
}

func (h *Handler) listAudit(c *call) (any, error) {
	limit, err := c.limit()
	if err != nil {
		return nil, err
	}
	q := core.AuditQuery{
		Limit: limit, Operation: c.query.Get("operation"), Who: c.query.Get("who"), Target: c.query.Get("target"), Outcome: c.query.Get("outcome"),
	}
	if text := c.query.Get("next"); text != "" {
		if q.Before, err = core.ParseAuditKey(text); err != nil {
			return nil, refuse(http.StatusBadRequest, codeParameter, "the parameter next is not one that a page gave: %q", clip.Text(text, maxEcho))
		}
	}
	page, err := h.Core.AuditPage(c.Context(), q)
	if err != nil {
		return nil, err
	}
	out := AuditRows{Rows: []AuditRow{}}
	for i := range page.Rows {
		a := &page.Rows[i]
		out.Rows = append(out.Rows, AuditRow{
			ID: a.AuditKey.String(), Time: formatTime(a.At), Who: a.Who, Kind: a.Kind, Role: a.Role, From: a.From, Operation: a.Operation,
			Target: a.Target, Outcome: a.Outcome, Status: a.Status, RequestID: a.RequestID, Attempts: a.Attempts,
		})
	}
	if page.Next != (core.AuditKey{}) {
		out.Next = page.Next.String()
	}
	return out, nil
}
