package gateway

import (
	"fmt"
	"time"

	"github.com/confab-chat/confab/internal/core"
)

// Reason says why a session ended or could not be opened.
type Reason uint8

// The reasons.
const (
	Gone     Reason = iota + 1 // the client closed the connection, or the connection broke
	Expired                    // the token expired
	Revoked                    // the user's tokens were revoked, or the token's access key was replaced
	Deleted                    // the user was deleted
	Replaced                   // a newer connection of the same client took its place
	Slow                       // the client took no byte for WriteTimeout
	Silent                     // the client sent nothing for too long
	Hostile                    // the client broke the rules of its protocol
	Dropped                    // a fault of a development server
	Draining                   // the server shuts down
	Away                       // the store cannot be read
	UserFull                   // the user has too many sessions
	NodeFull                   // the server has too many sessions
)

// reasons has the word of each reason, the time after which a client should come back,
// and whether the client is to blame.
var reasons = [...]struct {
	name  string
	delay time.Duration
}{
	Gone:     {"gone", 0},
	Expired:  {"expired", 0},
	Revoked:  {"revoked", 0},
	Deleted:  {"deleted", 0},
	Replaced: {"replaced", 0},
	Slow:     {"slow", 0},
	Silent:   {"silent", 0},
	Hostile:  {"hostile", 0},
	Dropped:  {"dropped", 0},
	Draining: {"draining", time.Second},
	Away:     {"away", time.Second},
	UserFull: {"tooManyOfUser", 10 * time.Second},
	NodeFull: {"full", 10 * time.Second},
}

// String returns the word for the reason, which clients and metrics see.
func (r Reason) String() string {
	if int(r) < len(reasons) && reasons[r].name != "" {
		return reasons[r].name
	}
	return "unknown"
}

// Delay returns the time after which a client should connect again, or 0 for at once.
func (r Reason) Delay() time.Duration { return reasons[r].delay }

// refuses reports whether a session can be refused for the reason.
func (r Reason) refuses() bool {
	switch r {
	case Gone, Expired, Revoked, Deleted, Draining, Away, UserFull, NodeFull:
		return true
	}
	return false
}

// Reasons returns all reasons.
func Reasons() (all []Reason) {
	for r := Gone; int(r) < len(reasons); r++ {
		all = append(all, r)
	}
	return all
}

// OpenError is the error of Hub.Open and Hub.Admit.
type OpenError struct {
	Why   Reason // Expired, Revoked, Deleted, Draining, Away, UserFull or NodeFull; Gone if the context is done
	Cause error  // for the log; may be nil
}

// Error says why the session was refused, and the cause.
func (e *OpenError) Error() string {
	if e.Cause != nil {
		return fmt.Sprintf("open a session: %s: %v", e.Why, e.Cause)
	}
	return "open a session: " + e.Why.String()
}

// Unwrap returns the cause.
func (e *OpenError) Unwrap() error { return e.Cause }

// GapReason says why a session misses events.
type GapReason uint8

// The reasons for a gap: those of core, and one of the gateway.
const (
	GapEpoch   = GapReason(core.GapEpoch)
	GapTrimmed = GapReason(core.GapTrimmed)
	GapLost    = GapReason(core.GapLost)
	// GapTooMuch: more threads have news than Bounds.News, or the user was in one of them so
	// often since that its row has forgotten some of these times.
	GapTooMuch = GapLost + 1
)

// String returns the word for the reason, which clients and metrics see.
func (g GapReason) String() string {
	if g == GapTooMuch {
		return "tooMuch"
	}
	return core.GapReason(g).String()
}
