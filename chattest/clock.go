package chattest

import (
	"time"

	"github.com/confab-chat/confab/internal/dev"
)

// Clock is the clock of a server. The server uses it for the expiry of tokens, the times of
// messages, the windows of rate limits and the time at which a deleted user is erased. It runs like
// a normal clock, and a test can move it forward.
//
// Clients use the real time. A credential that renews its token shortly before the expiry therefore
// does not notice that the test moved the clock, and its client gets a 401, as with a revoked
// token. Certificates and the signatures of requests with an access key are checked against the
// real time, so they remain valid.
type Clock struct {
	t     failer
	clock *dev.Clock
}

// Now returns the time of the clock.
func (c *Clock) Now() time.Time { return c.clock.Now() }

// Advance moves the clock forward by d. It returns when the server has completed the work that
// became due, such as erasing deleted users. It fails the test if d is negative, or if the clock
// would be more than ten years ahead. The clock cannot be moved back, because the server takes
// message ids from the clock and they must increase.
func (c *Clock) Advance(d time.Duration) {
	c.t.Helper()
	if err := c.clock.Advance(d); err != nil {
		c.t.Fatalf("chattest: advance the clock: %v", err)
	}
}
