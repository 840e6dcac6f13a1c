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
	Replaced                   // a newer connection of the same client has replaced this connection
	Slow                       // the client read no byte for the time WriteTimeout
	Silent                     // the client sent nothing for longer than its protocol allows
	Hostile                    // the client broke the rules of its protocol
	Dropped                    // a fault that a developer injected has cut the connection
	Draining                   // the server shuts down
	Away                       // the store cannot be read
	UserFull                   // the user has too many sessions
	NodeFull                   // the server has too many sessions
)

// reasons holds, for each Reason, the word that String returns, and the time after which a client
// should connect again.
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

// String returns the word for the reason that clients and metrics see, such as "expired".
func (r Reason) String() string {
	if int(r) < len(reasons) && reasons[r].name != "" {
		return reasons[r].name
	}
	return "unknown"
}

// Delay returns the time after which a client should connect again; 0 means at once.
func (r Reason) Delay() time.Duration { return reasons[r].delay }

// refuses reports whether Hub.Open can refuse a session for the reason r.
func (r Reason) refuses() bool {
	switch r {
	case Gone, Expired, Revoked, Deleted, Draining, Away, UserFull, NodeFull:
		return true
	}
	return false
}

// Reasons returns all values of Reason.
func Reasons() (all []Reason) {
	for r := Gone; int(r) < len(reasons); r++ {
		all = append(all, r)
	}
	return all
}

// OpenError is the error with which Hub.Open and Hub.Admit refuse a session.
type OpenError struct {
	// one of Expired, Revoked, Deleted, Draining, Away, UserFull, NodeFull, or Gone if the context
	// is done
	Why   Reason
	Cause error // for the log; may be nil
}

// Error returns a text with the reason for the refusal and its cause.
func (e *OpenError) Error() string {
	if e.Cause != nil {
		return fmt.Sprintf("open a session: %s: %v", e.Why, e.Cause)
	}
	return "open a session: " + e.Why.String()
}

// Unwrap returns the cause.
func (e *OpenError) Unwrap() error { return e.Cause }

// GapReason says why a session cannot tell its client some events that the client has missed.
type GapReason uint8

// The reasons for a gap (missing events). All but GapTooMuch come from package core.
const (
	GapEpoch   = GapReason(core.GapEpoch)
	GapTrimmed = GapReason(core.GapTrimmed)
	GapLost    = GapReason(core.GapLost)
	// GapTooMuch means that the user has missed events in more threads than Bounds.News, or that
	// the user left and joined a thread so often that the member's row no longer tells whether the
	// user was in the thread at a missed event.
	GapTooMuch = GapLost + 1
)

// String returns the word for the reason of a gap that clients and metrics see, such as "tooMuch".
func (g GapReason) String() string {
	if g == GapTooMuch {
		return "tooMuch"
	}
	return core.GapReason(g).String()
}
