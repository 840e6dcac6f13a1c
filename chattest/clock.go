package chattest

import (
	"time"

	"github.com/confab-chat/confab/internal/dev"
)

// Clock is the clock of a server: by it tokens expire, messages are dated,
// limits count, and deleted users go. It runs, and it can be moved forward.
//
// Clients keep their own time. So a credential that renews its token when the
// token's own expiry is near does not notice an advance: it meets a 401, as
// with a token that was revoked. Requests that are signed with an access key
// and certificates are judged by the real time, and so stay good.
type Clock struct {
	t     failer
	clock *dev.Clock
}

// Now is the time on the clock.
func (c *Clock) Now() time.Time { return c.clock.Now() }

// Advance moves the clock forward and returns when the server has done what was
// due by then. It ends the test when d is negative, or when the clock would be
// more than ten years ahead. There is no way back: ids of messages come from
// the clock, and rise.
func (c *Clock) Advance(d time.Duration) {
	c.t.Helper()
	if err := c.clock.Advance(d); err != nil {
		c.t.Fatalf("chattest: advance the clock: %v", err)
	}
}
