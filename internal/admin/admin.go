// Package admin serves the operator's API, which the console and the confab command use. The API
// shows requests of clients and the reasons of refusals, figures, threads, users, events, keys,
// limits, settings, and the audit log. api/operator.openapi.yaml describes it.
//
// The API has separate listeners: a Unix socket, which only the server's user and root may use,
// and a TCP listener, whose clients must send a secret or the token of a session. Neither accepts
// access keys or user tokens, so a leaked access key cannot be used to learn the next one. There
// are two roles: the operator, and the viewer, who sees the same and can change nothing. The
// server writes an audit row before its response to each change, each request for the content of
// messages, and each refused attempt. The server's log has one record for each accepted request,
// and a limited number of records of refused ones. Azure has no such API; its paths begin with
// /admin/v1/.
package admin

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/figures"
	"github.com/confab-chat/confab/internal/token"
	"github.com/confab-chat/confab/internal/traffic"
)

// Prefix is the prefix of the paths of the operator's API.
const Prefix = "/admin/v1/"

// Options configures New. Fields are required unless their comments say otherwise.
type Options struct {
	Core       *core.Service
	Keys       Keys
	MakeBackup func(context.Context, BackupRequest) (Backup, error)
	// IssueToken returns a new access token of a user.
	IssueToken func(ctx context.Context, user string, scopes token.Scopes, lifetime time.Duration) (text string, expires time.Time, err error)
	// Connections returns the user's open live connections to this server.
	Connections func(user string) []Connection
	Requests    *traffic.Log
	Figures     *figures.Figures
	State       func(context.Context) (State, error)
	Limits      func() Limits
	Settings    any // the body of the response to GET settings, without secrets

	// Server describes the server in responses. Its field Now is ignored.
	Server About
	// Now is the server's clock; nil: time.Now. Sessions and codes expire by the real time.
	Now func() time.Time
	// Dev serves the paths /dev/clock and /dev/faults. It is nil unless this is a development
	// server.
	Dev http.Handler
	// Send sends a client's request to this server again, as the same user. It returns the id and
	// the status of the response. If it is nil, requests cannot be sent again.
	Send func(ctx context.Context, r traffic.Detail) (id string, status int, err error)
	// Console serves the files of the console, at all paths outside of the API. If it is nil,
	// the server has no console.
	Console http.Handler

	// ReadsMessages lets the operator read the content of messages.
	ReadsMessages bool
	Logger        *slog.Logger
	Audit         *slog.Logger // logger for the records of requests, with the level info; nil: Logger
	// MayLog reports whether a refused request with this status gets a log record, so that a
	// flood of refused requests does not fill the log. Accepted requests always get one. nil:
	// every request gets one.
	MayLog func(status int) bool
}

// Handler answers the operator's requests. Its methods Socket and TCP return the handlers of the
// two listeners.
type Handler struct {
	Options
	operations []operation
	sessions   *sessions
	streams    chan struct{} // has one element for each open stream, so its capacity bounds the number of streams
	stopped    chan struct{} // closed by Stop
	stopOnce   sync.Once
}

// New returns a Handler that serves all paths below Prefix.
func New(o Options) *Handler {
	o.Audit = cmp.Or(o.Audit, o.Logger)
	if o.Now == nil {
		o.Now = time.Now
	}
	h := &Handler{Options: o, sessions: newSessions(time.Now), streams: make(chan struct{}, maxStreams), stopped: make(chan struct{})}
	h.operations = h.table()
	return h
}

// operation describes a kind of request: its method and path, the role that it needs, and
// the function that handles it.
type operation struct {
	id     string // the operationId in api/operator.openapi.yaml, and the name in the log and the audit rows
	method string
	path   string // path below Prefix, in which * matches the id of a target
	role   Role   // the lowest role that may use the operation
	run    func(*call) (response any, err error)

	query    string   // the names of the query parameters
	status   int      // of a successful response; 0: 200
	not      []string // path elements that * does not match, because the path of another operation contains them
	body     bool     // the request has a body
	changes  bool     // the operation changes data, so the server writes an audit row
	messages bool     // the operation shows messages, so it needs Options.ReadsMessages, and the server writes an audit row
	dev      bool     // only a development server has it
	long     bool     // it may take longer than answerTime
}

// answers returns the status of a successful response of the operation.
func (op *operation) answers() int { return cmp.Or(op.status, http.StatusOK) }

// table returns all operations.
func (h *Handler) table() []operation {
	const (
		page   = "next limit"
		filter = "status operation user thread sdk q"
		after  = "after"
	)
	return []operation{
		{id: "openSession", method: "POST", path: "sessions", role: nobody, run: h.openSession, body: true, changes: true, status: 201},
		{id: "showSession", method: "GET", path: "session", role: Viewer, run: h.showSession},
		{id: "endSession", method: "DELETE", path: "session", role: Viewer, run: h.endSession, changes: true, status: 204},
		{id: "makeCode", method: "POST", path: "codes", role: Operator, run: h.makeCode, body: true, changes: true, status: 201},

		{id: "listRequests", method: "GET", path: "requests", role: Viewer, run: h.listRequests, query: filter + " " + page},
		{id: "followRequests", method: "GET", path: "requests/stream", role: Viewer, run: h.followRequests, query: filter + " " + after, long: true},
		{id: "showRequest", method: "GET", path: "requests/*", role: Viewer, run: h.showRequest, not: []string{"stream"}},
		{id: "showRequestCode", method: "GET", path: "requests/*/code", role: Viewer, run: h.showRequestCode, query: "language"},
		{id: "repeatRequest", method: "POST", path: "requests/*/repeat", role: Operator, run: h.repeatRequest, changes: true, dev: true, body: true},

		{id: "showOverview", method: "GET", path: "overview", role: Viewer, run: h.showOverview},
		{id: "followOverview", method: "GET", path: "overview/stream", role: Viewer, run: h.followOverview, long: true},

		{id: "listThreads", method: "GET", path: "threads", role: Viewer, run: h.listThreads, query: "search " + page},
		{id: "showThread", method: "GET", path: "threads/*", role: Viewer, run: h.showThread},
		{id: "listMessages", method: "GET", path: "threads/*/messages", role: Viewer, run: h.listMessages, query: page, messages: true},
		{id: "followMessages", method: "GET", path: "threads/*/messages/follow", role: Viewer, run: h.followMessages, query: after, messages: true, long: true},
		{id: "listThreadEvents", method: "GET", path: "threads/*/events", role: Viewer, run: h.listThreadEvents, query: page},
		{id: "showSeenBy", method: "GET", path: "threads/*/seen-by/*", role: Viewer, run: h.showSeenBy, query: "content " + page},

		{id: "listUsers", method: "GET", path: "users", role: Viewer, run: h.listUsers, query: "search " + page},
		{id: "createUser", method: "POST", path: "users", role: Operator, run: h.createUser, body: true, changes: true, status: 201},
		{id: "showUser", method: "GET", path: "users/*", role: Viewer, run: h.showUser},
		{id: "deleteUser", method: "DELETE", path: "users/*", role: Operator, run: h.deleteUser, changes: true, status: 204},
		{id: "listUserThreads", method: "GET", path: "users/*/threads", role: Viewer, run: h.listUserThreads, query: page},
		{id: "issueToken", method: "POST", path: "users/*/tokens", role: Operator, run: h.issueToken, body: true, changes: true, status: 201},
		{id: "revokeTokens", method: "POST", path: "users/*/revoke", role: Operator, run: h.revokeTokens, body: true, changes: true},

		{id: "listEvents", method: "GET", path: "events", role: Viewer, run: h.listEvents, query: "thread user kind " + page},
		{id: "followEvents", method: "GET", path: "events/stream", role: Viewer, run: h.followEvents, query: "thread user kind " + after, long: true},

		{id: "listKeys", method: "GET", path: "keys", role: Viewer, run: h.listKeys},
		{id: "rotateKey", method: "POST", path: "keys/*/rotate", role: Operator, run: h.rotateKey, body: true, changes: true},

		{id: "showLimits", method: "GET", path: "limits", role: Viewer, run: h.showLimits},
		{id: "listAudit", method: "GET", path: "audit", role: Viewer, run: h.listAudit, query: "operation who target outcome " + page},
		{id: "listSettings", method: "GET", path: "settings", role: Viewer, run: h.listSettings},
		{id: "search", method: "GET", path: "search", role: Viewer, run: h.search, query: "q"},
		{id: "backup", method: "POST", path: "backup", role: Operator, run: h.backup, query: "for", body: true, changes: true, long: true},

		{id: "showClock", method: "GET", path: "clock", role: Viewer, run: h.showClock, dev: true},
		{id: "advanceClock", method: "POST", path: "clock", role: Operator, run: h.advanceClock, body: true, changes: true, dev: true},
		{id: "listFaults", method: "GET", path: "faults", role: Viewer, run: h.listFaults, dev: true},
		{id: "addFault", method: "POST", path: "faults", role: Operator, run: h.addFault, body: true, changes: true, dev: true, status: 201},
		{id: "clearFaults", method: "DELETE", path: "faults", role: Operator, run: h.clearFaults, changes: true, dev: true, status: 204},
	}
}
