package trouter

import (
	"time"

	"github.com/confab-chat/confab/internal/gateway"
)

// partings maps the reason for which the server has ended a WebSocket to the longest time for which
// the server still reads from it, so that answers on their way still count. The server stops
// reading earlier if the client closes the WebSocket. A WebSocket that ends for another reason is
// closed at once.
var partings = map[gateway.Reason]time.Duration{
	gateway.Gone:     time.Second,
	gateway.Draining: time.Second,
	gateway.Away:     time.Second,
	// a short time, because another server may be waiting for the end of the WebSocket
	gateway.Replaced: 300 * time.Millisecond,
}

// part waits until the client has closed the WebSocket, at most for the time that partings has for
// the reason of its end.
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
