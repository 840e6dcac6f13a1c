package gateway

import (
	"slices"
	"time"
)

// Connection describes an open session, the live connection of one client, to the operator.
type Connection struct {
	Protocol Protocol
	From     string // the address of the client; may be empty
	Agent    string // the client's user agent; may be empty
	Since    time.Time
	Waiting  int // the number of bytes of events that wait for the client
}

// Connections returns the open sessions of a user on this server, the oldest first.
func (h *Hub) Connections(user string) (all []Connection) {
	h.mu.Lock()
	var sessions []*Session
	if u := h.users[user]; u != nil {
		sessions = slices.Clone(u.sessions)
	}
	h.mu.Unlock()
	for _, s := range sessions {
		all = append(all, Connection{Protocol: s.o.Protocol, From: s.o.From, Agent: s.o.Agent, Since: s.since, Waiting: s.waiting()})
	}
	slices.SortFunc(all, func(a, b Connection) int { return a.Since.Compare(b.Since) })
	return all
}
