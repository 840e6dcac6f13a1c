package gateway

import (
	"time"

	"github.com/confab-chat/confab/internal/why"
)

// Record describes one request of a live protocol for the access log. It holds no
// secrets: no query string, token, sid or content.
type Record struct {
	Time      time.Time
	Duration  time.Duration // how long the request lasted, until its response or the end of its connection
	Took      time.Duration // until the request was answered
	Method    string
	Path      string // the request's path, or the route's pattern if the path holds a secret
	Status    int    // HTTP status; 101 for a WebSocket
	Operation string // such as "open event stream"
	User      string
	Note      string // why the request was refused, or why the connection ended
	Reason    string // why the caller was refused, as in requests.Refusal; for the log only, not for the client
	// the same reason as an entry of the table of package why; zero if the request was not refused
	Why       why.Cause
	Ended     bool // true if the record is about the end of a live connection and not about a request
	UserAgent string
	Client    string // address of the client, without a port
	RequestID string // the id that this server gave the request, as in the headers MS-CV and x-ms-request-id
	ClientID  string // the client's x-ms-client-request-id, or empty
}
