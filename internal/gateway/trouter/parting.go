package trouter

import (
	"time"

	"github.com/confab-chat/confab/internal/gateway"
)

// partings are the times for which a WebSocket that has ended is still read, until the
// client closes it: the answers that were on their way count. Others are closed at once.
var partings = map[gateway.Reason]time.Duration{
	gateway.Gone:     time.Second,
	gateway.Draining: time.Second,
	gateway.Away:     time.Second,
	gateway.Replaced: 300 * time.Millisecond, // another server may wait for it
}

// part waits until the client has closed the connection or the time of its reason has passed.
func (w *webSocket) part() {
	w.socket.mu.Lock()
	wait := partings[w.socket.why]
	w.socket.mu.Unlock()
	w.mu.Lock()
	open := w.conn != nil
	w.mu.Unlock()
	if wait == 0 || !open {
		return
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-w.unread:
	case <-t.C:
	}
}
