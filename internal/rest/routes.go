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
	operation string       // for logs
	scopes    token.Scopes // one of them is needed
	handler   func(*Handler, *request) (any, error)
}

// The scopes that an operation may need one of (identity.md §6.5).
const (
	anyChat = token.Chat | token.ChatJoin | token.ChatJoinLimited
	manage  = token.Chat // create, update and delete threads
)

// routes is all that is answered. The OpenAPI files in api/ are the judge.
var routes = []route{
	{"POST", "/chat/threads", chat, apiver.Span{}, 201, "create thread", manage, (*Handler).createThread},
	{"GET", "/chat/threads/{chatThreadId}", chat, apiver.Span{}, 200, "get thread", anyChat, (*Handler).getThread},
	{"POST", "/chat/threads/{chatThreadId}/messages", chat, apiver.Span{}, 201, "send message", anyChat, (*Handler).sendMessage},
	{"GET", "/chat/threads/{chatThreadId}/messages", chat, apiver.Span{}, 200, "list messages", anyChat, (*Handler).listMessages},
	{"GET", "/chat/threads/{chatThreadId}/messages/{chatMessageId}", chat, apiver.Span{}, 200, "get message", anyChat, (*Handler).getMessage},

	{"POST", "/identities", identity, apiver.Span{}, 201, "create user", 0, (*Handler).createUser},
	{"DELETE", "/identities/{id}", identity, apiver.Span{}, 204, "delete user", 0, (*Handler).deleteUser},
	{"POST", "/identities/{id}/:issueAccessToken", identity, apiver.Span{}, 200, "issue token", 0, (*Handler).issueToken},
	{"POST", "/identities/{id}/:revokeAccessTokens", identity, apiver.Span{}, 204, "revoke tokens", 0, (*Handler).revokeTokens},
	{"POST", "/teamsUser/:exchangeAccessToken", identity, apiver.Span{Since: "2022-06-01"}, 200, "exchange token", 0, (*Handler).exchangeToken},
}

// family is what the routes of one part of the contract have in common.
type family struct {
	versions     *apiver.Family
	invalid      core.Code // of a body that cannot be read
	authenticate func(*Handler, *request) error
	envelope     func(dst []byte, e *core.Error) []byte
	// silent401: an unauthorized request is answered without a body (chat.md §0.2).
	silent401 bool
	// announced: the server says that it keeps send tokens, so that a client may
	// repeat a send whose fate it does not know.
	announced bool
}

var (
	chat = &family{
		versions: apiver.Chat, invalid: core.BadRequest,
		authenticate: (*Handler).authenticateUser, envelope: chatEnvelope,
		silent401: true, announced: true,
	}
	identity = &family{
		versions: apiver.Identity, invalid: core.Validation,
		authenticate: (*Handler).authenticateKey, envelope: identityEnvelope,
	}
)

// path is the rows that share a path.
type path struct {
	segments  []string // a parameter is empty
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
		if len(segments) > 0 && segments[0] == p.segments[0] {
			q.family = p.rows[0].family
		}
		if params, ok := p.match(segments); ok {
			q.path, q.params = p, params
			return nil
		}
	}
	return &core.Error{Code: core.NotFound, Message: "The requested path was not found."}
}

func (p *path) match(segments []string) (params []string, ok bool) {
	if len(segments) != len(p.segments) {
		return nil, false
	}
	for i, s := range p.segments {
		switch s {
		case "":
			params = append(params, segments[i])
		case segments[i]:
		default:
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
