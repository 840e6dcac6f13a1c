package rest

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/confab-chat/confab/internal/apiver"
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/token"
)

// route is an operation at the versions of its span. The same method and path
// may have another row for other versions.
type route struct {
	method    string
	path      string
	family    *family
	span      apiver.Span
	status    int
	operation string       // for logs and limits
	scopes    token.Scopes // one of them is needed
	users     users        // whose tokens are good
	handler   func(*Handler, *request) (any, error)
}

// The scopes that an operation may need one of (identity.md §6.5).
const (
	anyChat = token.Chat | token.ChatJoin | token.ChatJoinLimited
	invite  = token.Chat | token.ChatJoin // add and remove participants
	manage  = token.Chat                  // create, update and delete threads
)

// users says whose tokens an operation takes.
type users bool

// A user that was deleted may still clean up for a while: the suites of 2021
// delete the user first and its thread afterwards, with the same token.
const (
	live       users = false
	orLeaving  users = true
	leavesSelf       = orLeaving // the handler sees to it that nobody else is removed
)

// The api-versions of rows that not all have.
var (
	always   = apiver.Span{}
	flatIDs  = apiver.Span{Until: "2021-01-27-preview4"} // participants are strings
	modelIDs = apiver.Span{Since: "2021-01-27-preview4"} // participants are identifier models
	teams    = apiver.Span{Since: "2022-06-01"}
)

// routes is all that is answered. The OpenAPI files in api/ are the judge. Of two
// paths that match, the one further up counts.
var routes = []route{
	{"POST", "/chat/threads", chat, always, 201, "create thread", manage, live, (*Handler).createThread},
	{"GET", "/chat/threads", chat, always, 200, "list threads", anyChat, live, (*Handler).listThreads},
	{"GET", "/chat/threads/{chatThreadId}", chat, always, 200, "get thread", anyChat, live, (*Handler).getThread},
	{"PATCH", "/chat/threads/{chatThreadId}", chat, always, 204, "update thread", manage, live, (*Handler).updateThread},
	{"DELETE", "/chat/threads/{chatThreadId}", chat, always, 204, "delete thread", manage, orLeaving, (*Handler).deleteThread},

	{"POST", "/chat/threads/{chatThreadId}/messages", chat, always, 201, "send message", anyChat, live, (*Handler).sendMessage},
	{"GET", "/chat/threads/{chatThreadId}/messages", chat, always, 200, "list messages", anyChat, live, (*Handler).listMessages},
	{"GET", "/chat/threads/{chatThreadId}/messages/{chatMessageId}", chat, always, 200, "get message", anyChat, live, (*Handler).getMessage},
	{"PATCH", "/chat/threads/{chatThreadId}/messages/{chatMessageId}", chat, always, 204, "update message", anyChat, live, (*Handler).updateMessage},
	{"DELETE", "/chat/threads/{chatThreadId}/messages/{chatMessageId}", chat, always, 204, "delete message", anyChat, live, (*Handler).deleteMessage},

	{"GET", "/chat/threads/{chatThreadId}/participants", chat, always, 200, "list participants", anyChat, live, (*Handler).listParticipants},
	{"POST", "/chat/threads/{chatThreadId}/participants", chat, flatIDs, 201, "add participants", invite, live, (*Handler).addParticipants},
	{"POST", "/chat/threads/{chatThreadId}/participants/:add", chat, always, 201, "add participants", invite, live, (*Handler).addParticipants},
	{"POST", "/chat/threads/{chatThreadId}/participants/:remove", chat, modelIDs, 204, "remove participant", invite, leavesSelf, (*Handler).removeParticipant},
	{"DELETE", "/chat/threads/{chatThreadId}/participants/{chatParticipantId}", chat, flatIDs, 204, "remove participant", invite, leavesSelf, (*Handler).removeParticipantByID},

	{"POST", "/chat/threads/{chatThreadId}/readReceipts", chat, always, 200, "send read receipt", anyChat, live, (*Handler).sendReceipt},
	{"GET", "/chat/threads/{chatThreadId}/readReceipts", chat, always, 200, "list read receipts", anyChat, live, (*Handler).listReceipts},
	{"POST", "/chat/threads/{chatThreadId}/typing", chat, always, 200, "send typing notification", anyChat, live, (*Handler).sendTyping},

	{"POST", "/identities", identity, always, 201, "create user", 0, live, (*Handler).createUser},
	{"DELETE", "/identities/{id}", identity, always, 204, "delete user", 0, live, (*Handler).deleteUser},
	{"POST", "/identities/{id}/:issueAccessToken", identity, always, 200, "issue token", 0, live, (*Handler).issueToken},
	{"POST", "/identities/{id}/:revokeAccessTokens", identity, always, 204, "revoke tokens", 0, live, (*Handler).revokeTokens},
	{"POST", "/teamsUser/:exchangeAccessToken", identity, teams, 200, "exchange token", 0, live, (*Handler).exchangeToken},
}

// Operations are the names of all operations, in the order of the routes.
func Operations() []string {
	var all []string
	for _, r := range routes {
		if !slices.Contains(all, r.operation) {
			all = append(all, r.operation)
		}
	}
	return all
}

// family is what the routes of one part of the contract have in common.
type family struct {
	versions     *apiver.Family
	invalid      core.Code // of a body that cannot be read
	authenticate func(*Handler, *request) error
	envelopes    []envelope // in the order of history
	// silent401: an unauthorized request is answered without a body (chat.md §0.2).
	silent401 bool
	// announced: the server says that it keeps send tokens, so that a client may
	// repeat a send whose fate it does not know.
	announced bool
}

var (
	chat = &family{
		versions: apiver.Chat, invalid: core.BadRequest,
		authenticate: (*Handler).authenticateUser, envelopes: chatEnvelopes,
		silent401: true, announced: true,
	}
	identity = &family{
		versions: apiver.Identity, invalid: core.Validation,
		authenticate: (*Handler).authenticateKey, envelopes: identityEnvelopes,
	}
)

// path is the rows that share a path.
type path struct {
	segments  []string // a parameter is empty
	names     []string // of the parameters
	rows      []*route
	allow     string            // the methods, for Allow
	supported map[string]string // api-supported-versions by method
}

func group(rows []route) []*path {
	var paths []*path
	byTemplate := map[string]*path{}
	for i := range rows {
		p := byTemplate[rows[i].path]
		if p == nil {
			p = &path{segments: strings.Split(rows[i].path[1:], "/")}
			for j, s := range p.segments {
				if s[0] == '{' {
					p.segments[j] = ""
					p.names = append(p.names, s[1:len(s)-1])
				}
			}
			byTemplate[rows[i].path] = p
			paths = append(paths, p)
		}
		p.rows = append(p.rows, &rows[i])
	}
	for _, p := range paths {
		p.supported = map[string]string{}
		var methods []string
		for _, row := range p.rows {
			if !slices.Contains(methods, row.method) {
				methods = append(methods, row.method)
				p.supported[row.method] = p.versions(row.method)
			}
		}
		p.allow = strings.Join(append(methods, http.MethodOptions), ", ")
	}
	return paths
}

// versions lists the api-versions at which the path has a method.
func (p *path) versions(method string) string {
	var names []string
	for _, v := range p.rows[0].family.versions.Versions() {
		if p.row(method, v) != nil {
			names = append(names, string(v))
		}
	}
	return strings.Join(names, ", ")
}

func (p *path) row(method string, v apiver.Version) *route {
	for _, row := range p.rows {
		if row.method == method && row.span.Has(v) {
			return row
		}
	}
	return nil
}

// find finds the path. An unknown one is answered in the envelope of the family
// that it looks like.
func (h *Handler) find(q *request) error {
	q.family = chat
	segments, err := splitPath(q.URL.EscapedPath())
	if err != nil {
		return err
	}
	for _, p := range h.paths {
		if len(segments) > 0 && strings.EqualFold(segments[0], p.segments[0]) {
			q.family = p.rows[0].family
		}
		if params, ok := p.match(segments); ok {
			q.path, q.params = p, params
			return nil
		}
	}
	return &core.Error{Code: core.NotFound, Message: "The requested path was not found."}
}

// match passes over case, as ASP.NET does: /readreceipts was answered as
// /readReceipts is (chat.md §8).
func (p *path) match(segments []string) (params []string, ok bool) {
	if len(segments) != len(p.segments) {
		return nil, false
	}
	for i, s := range p.segments {
		switch {
		case s == "":
			params = append(params, segments[i])
		case !strings.EqualFold(s, segments[i]):
			return nil, false
		}
	}
	return params, true
}

// findRow finds the row by method, then by version (api-versions.md §7).
func (h *Handler) findRow(q *request) error {
	if _, ok := q.path.supported[q.Method]; !ok {
		return &core.Error{Code: codeMethod, Message: "The method " + clip(q.Method) + " is not allowed here; the path has " + q.path.allow + "."}
	}
	var err error
	if q.query, err = url.ParseQuery(q.URL.RawQuery); err != nil {
		return core.Invalid("query", "The query string is malformed.")
	}
	name := q.query.Get("api-version")
	if name == "" {
		return &core.Error{Code: codeNoVersion, Target: "api-version", Message: "An API version is required, but was not specified."}
	}
	v, ok := q.family.versions.Parse(name)
	if ok {
		q.version, q.row = v, q.path.row(q.Method, v)
	}
	if q.row == nil {
		return &core.Error{Code: codeBadVersion, Target: "api-version", Message: "The HTTP resource that matches the request URI '" +
			h.base(q) + clip(q.URL.EscapedPath()) + "' does not support the API version '" + clip(name) + "'."}
	}
	return nil
}

// readIDs reads the ids of thread and message in the path. They are checked
// before anything is looked up (chat.md §7.2). Other parameters are the
// handlers' own.
func (q *request) readIDs() error {
	for i, name := range q.path.names {
		switch name {
		case "chatThreadId":
			if err := core.CheckThreadID(q.params[i]); err != nil {
				return err
			}
			q.thread = q.params[i]
		case "chatMessageId":
			var err error
			if q.message, err = core.ParseMessageID(q.params[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// splitPath splits an escaped path at its slashes and then decodes the parts, so
// that an encoded slash stays inside its part. Empty parts are dropped: SDKs
// double slashes (identity.md §4.4), and a redirect would lose the body.
func splitPath(escaped string) ([]string, error) {
	var segments []string
	for s := range strings.SplitSeq(escaped, "/") {
		if s == "" {
			continue
		}
		d, err := url.PathUnescape(s)
		if err != nil {
			return nil, core.Invalid("path", "The path has a malformed percent-encoding.")
		}
		segments = append(segments, d)
	}
	return segments, nil
}

// clip keeps what a client sent from filling an answer or a log.
func clip(s string) string {
	const most = 200
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}
