package admin

import (
	"context"
	"time"

	"github.com/confab-chat/confab/internal/figures"
)

// Overview has the state of the server and its figures, so that an operator sees whether anything
// is wrong.
type Overview struct {
	Now      string            `json:"now"`
	Step     int               `json:"step"` // seconds that a point covers
	Points   []figures.Point   `json:"points"`
	Totals   figures.Totals    `json:"totals"`
	Refusals []figures.Refusal `json:"refusals"`
	State
}

// State is the present state of the server in an Overview.
type State struct {
	Storage     Storage      `json:"storage"`
	Servers     []ServerSeen `json:"servers"`
	Connections Open         `json:"connections"`
	Ready       bool         `json:"ready"`
	Problems    []string     `json:"problems"` // problems that the operator should solve
}

// Storage describes the store. Bytes and Free are 0 if the system does not report them.
type Storage struct {
	Kind     string `json:"kind"` // embedded or postgres
	Bytes    int64  `json:"bytes,omitempty"`
	Free     int64  `json:"free,omitempty"`
	Position uint64 `json:"position"` // position of the end of the event log
}

// ServerSeen describes a server that uses the same store.
type ServerSeen struct {
	ID      string `json:"id"`
	Version string `json:"version"`
	Started string `json:"started"`
	Seen    string `json:"seen"` // the time at which the server last reported that it runs
	Self    bool   `json:"self"`
}

// Open has the numbers of open connections.
type Open struct {
	Open int `json:"open"`
	Most int `json:"most"`
	Live int `json:"live"`
}

// Stamp formats a time as the operator's API does: RFC 3339 with milliseconds, in UTC.
func Stamp(t time.Time) string { return stamp(t) }

func (h *Handler) showOverview(c *call) (any, error) {
	state, err := h.State(c.Context())
	if err != nil {
		return nil, err
	}
	return Overview{
		Now: stamp(h.Now()), Step: int(figures.Step / time.Second), Points: h.Figures.Points(),
		Totals: h.Figures.Totals(), Refusals: h.Figures.Refusals(), State: state,
	}, nil
}

// followOverview streams the figures of the server, one event each second.
func (h *Handler) followOverview(c *call) (any, error) {
	return h.streaming(c, func(ctx context.Context, s *stream) error {
		sub := h.Figures.Follow()
		defer sub.Close()
		for {
			select {
			case <-ctx.Done():
				return nil
			case p := <-sub.Points():
				if err := s.event("figures", "", p); err != nil {
					return err
				}
			}
		}
	})
}
