package trouter

import (
	"context"
	"fmt"
	"time"

	"github.com/confab-chat/confab/internal/core"
)

// Times of a takeover, in which a client that was connected to another server opens a socket at
// this server. This server, the caller, records a call of the endpoint in the store. The other
// server finds the call, notes in the store that it has found it, and ends the endpoint's socket.
const (
	// interval at which a server looks in the store for calls, with which other servers ask for its
	// endpoints
	lookEvery = 100 * time.Millisecond
	lookAgain = 200 * time.Millisecond // pause after a failed attempt to look in the store for calls of other servers
	// interval at which the calling server checks whether the other server has ended the endpoint's
	// socket
	askEvery   = 20 * time.Millisecond
	noticeTime = 500 * time.Millisecond // time after which a server that has not noted a call counts as dead
	// time after which the calling server opens the socket even if the other server has not ended
	// its own
	letGoTime = 3 * time.Second
)

// shared returns the store if several servers use it, and otherwise nil.
func (es *endpoints) shared() core.SharedEndpoints {
	if es.owner == "" {
		return nil
	}
	return es.store.(core.SharedEndpoints)
}

// take makes this server the owner of a stored endpoint and returns the endpoint's row. If another
// server has a socket of the endpoint, take first waits until that server has stored which events
// the client has answered. If that server does not react within noticeTime, it counts as dead, and
// take stops waiting. The caller holds e.opening.
func (es *endpoints) take(ctx context.Context, e *endpoint, row core.Endpoint) (core.Endpoint, error) {
	if row.Open && row.Owner != es.owner {
		if err := es.call(ctx, row); err != nil {
			return row, err
		}
	}
	es.saving.RLock()
	defer es.saving.RUnlock()
	e.mu.Lock()
	e.holds, e.taken = true, false
	e.mu.Unlock()
	row, found, err := es.shared().TakeEndpoint(ctx, e.user, e.id, es.owner)
	if err == nil && !found {
		err = fmt.Errorf("the endpoint %s of %s is gone", e.id, e.user)
	}
	if err != nil {
		return row, fmt.Errorf("take an endpoint over: %w", err)
	}
	return row, nil
}

// call asks the server that owns an endpoint to close the endpoint's socket. It returns nil
// when that server has done so, or when it seems to be dead.
func (es *endpoints) call(ctx context.Context, row core.Endpoint) error {
	shared := es.shared()
	if err := shared.CallEndpoint(ctx, row.User, row.ID, row.Owner); err != nil {
		return fmt.Errorf("call an endpoint: %w", err)
	}
	begin := time.Now()
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	for {
		open, called, err := shared.EndpointCalled(ctx, row.User, row.ID)
		if err != nil {
			return fmt.Errorf("see whether an endpoint was let go: %w", err)
		}
		passed := time.Since(begin)
		if !open || called && passed >= noticeTime || passed >= letGoTime {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// letGo ends the sockets of those endpoints of this server whose clients open sockets at other
// servers. It returns when ctx is done. Run stores the endpoints once these sockets are closed.
func (h *Handler) letGo(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if !h.endpoints.any() {
			continue
		}
		called, err := h.endpoints.shared().CalledEndpoints(ctx, h.endpoints.owner)
		if err != nil && ctx.Err() == nil {
			h.log.Error("look for live clients that have moved to another server", "error", err)
			tick.Reset(lookAgain)
			continue
		}
		tick.Reset(lookEvery)
		for _, c := range called {
			if e := h.endpoints.find(c.User, c.ID); e != nil {
				e.letGo()
			}
		}
		if len(called) > 0 {
			h.saveSoon()
		}
	}
}

// any reports whether this server has endpoints (clients such as browser tabs) in memory.
func (es *endpoints) any() bool {
	es.mu.Lock()
	defer es.mu.Unlock()
	return len(es.users) > 0
}

// letGo ends the socket of the endpoint, because its client opens a socket at another server. If
// this server had asked the client to open another socket, the old one stays open for some time,
// but gets no events.
func (e *endpoint) letGo() {
	e.mu.Lock()
	s := e.current
	if s != nil && s.handedOver {
		e.current, e.holds = nil, false
	}
	e.moved = true
	e.mu.Unlock()
	if s != nil {
		s.replaced()
	}
}

// lose ends the socket of the endpoint, because another server has become the owner of the
// endpoint without asking this server.
func (e *endpoint) lose() {
	e.mu.Lock()
	s := e.current
	if s != nil && s.handedOver {
		e.current = nil
	}
	e.taken, e.holds = true, false
	e.mu.Unlock()
	if s != nil {
		s.replaced()
	}
}
