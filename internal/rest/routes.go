package rest

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/confab-chat/confab/internal/apiver"
	"github.com/confab-chat/confab/internal/clip"
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/inbound"
	"github.com/confab-chat/confab/internal/token"
	"github.com/confab-chat/confab/internal/why"
)

// route is a method and a path at the api-versions that have a feature, with the handler of their
// operation. Two routes may have the same method and path if no version has the features of both.
type route struct {
	method    string
	path      string
	api       *api
	in        apiver.Feature // the feature of the api-versions at which the route exists
	status    int
	operation string       // name of the operation in logs, rate limits and fault rules
	scopes    token.Scopes // a token needs one of these
	users     tokenUsers   // whether the token of a deleted user is still accepted
	handler   func(*Handler, *request) (any, error)
}

// Sets of scopes that routes accept. A token needs one scope of the set
// (docs/contract/identity.md §6.5).
const (
	anyChat = token.Chat | token.ChatJoin | token.ChatJoinLimited
	invite  = token.Chat | token.ChatJoin // add and remove participants
	manage  = token.Chat                  // create, update and delete threads
)

// tokenUsers says whether a route accepts the token of a deleted user until the user's
// deletion grace, a time after the deletion, has ended.
type tokenUsers bool

// The values of tokenUsers. A deleted user may delete threads for a while, because the SDK test
// suites of 2021 delete a user and then delete its thread with the user's token.
const (
	onlyLive    tokenUsers = false
	alsoLeaving tokenUsers = true
	leavingSelf            = alsoLeaving // a user that was deleted a short time ago may still remove itself from a thread; the handler refuses to let it remove anybody else
)

// always is the feature of a route that exists at all api-versions of its API.
const always apiver.Feature = ""

// routes lists all routes. If several paths match a request, the first one wins. A test
// compares the list with the OpenAPI files in api/.
var routes = []route{
	{"POST", "/chat/threads", chat, "thread participants", 201, "create thread", manage, onlyLive, (*Handler).createThread},
	{"GET", "/chat/threads", chat, "thread participants", 200, "list threads", anyChat, onlyLive, (*Handler).listThreads},
	{"GET", "/chat/threads/{chatThreadId}", chat, "thread participants", 200, "get thread", anyChat, onlyLive, (*Handler).getThread},
	{"PATCH", "/chat/threads/{chatThreadId}", chat, "thread participants", 204, "update thread", manage, onlyLive, (*Handler).updateThread},
	{"DELETE", "/chat/threads/{chatThreadId}", chat, always, 204, "delete thread", manage, alsoLeaving, (*Handler).deleteThread},

	{"POST", "/chat/threads/{chatThreadId}/messages", chat, "thread participants", 201, "send message", anyChat, onlyLive, (*Handler).sendMessage},
	{"GET", "/chat/threads/{chatThreadId}/messages", chat, "thread participants", 200, "list messages", anyChat, onlyLive, (*Handler).listMessages},
	{"GET", "/chat/threads/{chatThreadId}/messages/{chatMessageId}", chat, "thread participants", 200, "get message", anyChat, onlyLive, (*Handler).getMessage},
	{"PATCH", "/chat/threads/{chatThreadId}/messages/{chatMessageId}", chat, "thread participants", 204, "update message", anyChat, onlyLive, (*Handler).updateMessage},
	{"DELETE", "/chat/threads/{chatThreadId}/messages/{chatMessageId}", chat, always, 204, "delete message", anyChat, onlyLive, (*Handler).deleteMessage},

	{"GET", "/chat/threads/{chatThreadId}/participants", chat, "thread participants", 200, "list participants", anyChat, onlyLive, (*Handler).listParticipants},
	{"POST", "/chat/threads/{chatThreadId}/participants", chat, "participants by id", 201, "add participants", invite, onlyLive, (*Handler).addParticipants},
	{"POST", "/chat/threads/{chatThreadId}/participants/:add", chat, "thread participants", 201, "add participants", invite, onlyLive, (*Handler).addParticipants},
	{"POST", "/chat/threads/{chatThreadId}/participants/:remove", chat, "identifier models", 204, "remove participant", invite, leavingSelf, (*Handler).removeParticipant},
	{"POST", "/chat/threads/{chatThreadId}/participants/:update", chat, "roles", 204, "update participant", invite, onlyLive, (*Handler).updateParticipant},
	{"DELETE", "/chat/threads/{chatThreadId}/participants/{chatParticipantId}", chat, "participants by id", 204, "remove participant", invite, leavingSelf, (*Handler).removeParticipantByID},

	{"POST", "/chat/threads/{chatThreadId}/readReceipts", chat, "thread participants", 200, "send read receipt", anyChat, onlyLive, (*Handler).sendReceipt},
	{"GET", "/chat/threads/{chatThreadId}/readReceipts", chat, "thread participants", 200, "list read receipts", anyChat, onlyLive, (*Handler).listReceipts},
	{"POST", "/chat/threads/{chatThreadId}/typing", chat, always, 200, "send typing notification", anyChat, onlyLive, (*Handler).sendTyping},

	{"POST", "/chat/threads/{chatThreadId}/images", chat, "images", 201, "upload image", anyChat, onlyLive, (*Handler).noImages},
	{"DELETE", "/chat/threads/{chatThreadId}/images/{imageId}", chat, "images", 204, "delete image", anyChat, onlyLive, (*Handler).noImages},
	{"GET", "/chat/threads/{chatThreadId}/images/{imageId}/view/{imageViewType}", chat, "images", 200, "get image", anyChat, onlyLive, (*Handler).noImages},
	// Only api-version 2020-09-21-preview2 has the following routes. It does not have the routes
	// above with the same paths. The handlers are in preview2.go.
	{"POST", "/chat/threads", chat, "thread members", 207, "create thread", manage, onlyLive, (*Handler).createThreadWithMembers},
	{"GET", "/chat/threads", chat, "thread members", 200, "list threads", anyChat, onlyLive, (*Handler).listThreadInfos},
	{"GET", "/chat/threads/{chatThreadId}", chat, "thread members", 200, "get thread", anyChat, onlyLive, (*Handler).getThreadWithMembers},
	{"PATCH", "/chat/threads/{chatThreadId}", chat, "thread members", 200, "update thread", manage, onlyLive, (*Handler).updateThread},
	{"POST", "/chat/threads/{chatThreadId}/messages", chat, "thread members", 201, "send message", anyChat, onlyLive, (*Handler).sendPlainMessage},
	{"GET", "/chat/threads/{chatThreadId}/messages", chat, "thread members", 200, "list messages", anyChat, onlyLive, (*Handler).listPlainMessages},
	{"GET", "/chat/threads/{chatThreadId}/messages/{chatMessageId}", chat, "thread members", 200, "get message", anyChat, onlyLive, (*Handler).getPlainMessage},
	{"PATCH", "/chat/threads/{chatThreadId}/messages/{chatMessageId}", chat, "thread members", 200, "update message", anyChat, onlyLive, (*Handler).updatePlainMessage},
	{"GET", "/chat/threads/{chatThreadId}/members", chat, "thread members", 200, "list participants", anyChat, onlyLive, (*Handler).listMembers},
	{"POST", "/chat/threads/{chatThreadId}/members", chat, "thread members", 207, "add participants", invite, onlyLive, (*Handler).addMembers},
	{"DELETE", "/chat/threads/{chatThreadId}/members/{chatMemberId}", chat, "thread members", 204, "remove participant", invite, leavingSelf, (*Handler).removeParticipantByID},
	{"POST", "/chat/threads/{chatThreadId}/readreceipts", chat, "thread members", 201, "send read receipt", anyChat, onlyLive, (*Handler).sendReceipt},
	{"GET", "/chat/threads/{chatThreadId}/readreceipts", chat, "thread members", 200, "list read receipts", anyChat, onlyLive, (*Handler).listAllReceipts},

	{"POST", "/identities", identity, "flat identities", 200, "create user", 0, onlyLive, (*Handler).createFlatUser},
	{"POST", "/identities", identity, "nested identities", 201, "create user", 0, onlyLive, (*Handler).createUser},
	{"GET", "/identities/{id}", identity, "custom ids", 200, "get user", 0, onlyLive, (*Handler).getUser},
	{"PATCH", "/identities/{id}", identity, "flat identities", 204, "revoke tokens", 0, onlyLive, (*Handler).updateUser},
	{"DELETE", "/identities/{id}", identity, always, 204, "delete user", 0, onlyLive, (*Handler).deleteUser},
	{"POST", "/identities/{id}/token", identity, "flat identities", 200, "issue token", 0, onlyLive, (*Handler).issueFlatToken},
	{"POST", "/identities/{id}/:issueAccessToken", identity, "nested identities", 200, "issue token", 0, onlyLive, (*Handler).issueToken},
	{"POST", "/identities/{id}/:revokeAccessTokens", identity, "nested identities", 204, "revoke tokens", 0, onlyLive, (*Handler).revokeTokens},

	{"POST", "/teamsUser/:exchangeAccessToken", identity, "Teams tokens", 200, "exchange token", 0, onlyLive, (*Handler).exchangeTeamsToken},
	{"POST", "/teamsUser/:exchangeAccessToken", identity, "Teams exchange", 200, "exchange token", 0, onlyLive, (*Handler).exchangeToken},
	{"POST", "/access/entra/:exchangeAccessToken", entra, "Entra access", 200, "exchange token", 0, onlyLive, (*Handler).exchangeEntraToken},
	{"POST", "/access/teamsExtension/:exchangeAccessToken", entra, "Teams Phone", 200, "exchange token", 0, onlyLive, (*Handler).exchangeEntraToken},

	{"GET", "/access/entra/assignments", identity, "Entra access", 200, "list assignments", 0, onlyLive, (*Handler).noAssignments},
	{"PATCH", "/access/entra/assignments", identity, "Entra access", 200, "update assignments", 0, onlyLive, (*Handler).noAssignments},
	{"GET", "/access/entra/assignments/{objectId}", identity, "Entra access", 200, "get assignment", 0, onlyLive, (*Handler).noAssignments},
	{"PUT", "/access/entra/assignments/{objectId}", identity, "Entra access", 200, "put assignment", 0, onlyLive, (*Handler).noAssignments},
	{"DELETE", "/access/entra/assignments/{objectId}", identity, "Entra access", 204, "delete assignment", 0, onlyLive, (*Handler).noAssignments},
	{"GET", "/access/teamsExtension/tenants/{tenantId}/assignments/{objectId}", identity, "Teams Phone", 200, "get assignment", 0, onlyLive, (*Handler).noAssignments},
	{"PUT", "/access/teamsExtension/tenants/{tenantId}/assignments/{objectId}", identity, "Teams Phone", 200, "put assignment", 0, onlyLive, (*Handler).noAssignments},
	{"DELETE", "/access/teamsExtension/tenants/{tenantId}/assignments/{objectId}", identity, "Teams Phone", 204, "delete assignment", 0, onlyLive, (*Handler).noAssignments},
}

// Operations returns the names of all operations, such as "send message", in the order
// of the routes.
func Operations() []string {
	var all []string
	for _, r := range routes {
		if !slices.Contains(all, r.operation) {
			all = append(all, r.operation)
		}
	}
	return all
}

// api holds the settings that all chat routes, or all identity routes, share.
type api struct {
	versions     *apiver.List
	invalidBody  core.Code                      // error code for a request whose body cannot be decoded
	authenticate func(*Handler, *request) error // sets the request's caller or key
	envelopes    []envelope                     // oldest api-version first
	// emptyBodyOn401 makes the server send 401 responses without a body (docs/contract/chat.md §0.2).
	emptyBodyOn401 bool
	// idempotentSends adds the header confab-idempotent-send to responses. The header tells a client
	// that it may repeat a send that has an idempotency token. Api-versions without such tokens do
	// not get the header.
	idempotentSends bool
	maxBody         int64 // the longest request body in bytes; 0: only the limit Options.MaxBody applies
}

var (
	chat = &api{
		versions: apiver.Chat, invalidBody: core.BadRequest,
		authenticate: (*Handler).authenticateUser, envelopes: chatEnvelopes,
		emptyBodyOn401: true, idempotentSends: true,
	}
	identity = &api{
		versions: apiver.Identity, invalidBody: core.Validation,
		authenticate: (*Handler).authenticateKey, envelopes: identityEnvelopes,
		maxBody: maxIdentityBody,
	}
	// entra is for the identity routes that clients call with a token of Microsoft Entra
	// instead of a signature (docs/contract/identity.md §3.7).
	entra = &api{
		versions: apiver.Identity, invalidBody: core.Validation,
		authenticate: (*Handler).authenticateEntra, envelopes: identityEnvelopes,
		maxBody: maxIdentityBody,
	}
)

// path is a path template, such as /chat/threads/{id}, with its routes.
type path struct {
	segments  []string // fixed text; empty for a parameter
	names     []string // of the parameters, in order
	routes    []*route
	allow     string              // value of the Allow header
	supported map[string][]string // value of the header api-supported-versions for each method
}

// pathsOf groups the routes by path, in the order of the table.
func pathsOf(table []route) []*path {
	var paths []*path
	byTemplate := map[string]*path{}
	for i := range table {
		// Use one path for both spellings of readReceipts, because match treats the spellings as equal.
		template := strings.Replace(table[i].path, "/"+strings.ToLower(readReceipts), "/"+readReceipts, 1)
		p := byTemplate[template]
		if p == nil {
			p = &path{segments: strings.Split(template[1:], "/")}
			for j, s := range p.segments {
				if s[0] == '{' {
					p.segments[j] = ""
					p.names = append(p.names, s[1:len(s)-1])
				}
			}
			byTemplate[template] = p
			paths = append(paths, p)
		}
		p.routes = append(p.routes, &table[i])
	}
	for _, p := range paths {
		p.supported = map[string][]string{}
		var methods []string
		for _, r := range p.routes {
			if !slices.Contains(methods, r.method) {
				methods = append(methods, r.method)
				p.supported[r.method] = []string{p.versions(r.method)}
			}
		}
		p.allow = strings.Join(append(methods, http.MethodOptions), ", ")
	}
	return paths
}

// versions returns the api-versions at which the path has the method, separated by
// commas.
func (p *path) versions(method string) string {
	var names []string
	for _, v := range p.routes[0].api.versions.Versions() {
		if p.route(method, v) != nil {
			names = append(names, string(v))
		}
	}
	return strings.Join(names, ", ")
}

// route returns the route of a method at a version, or nil.
func (p *path) route(method string, v apiver.Version) *route {
	for _, r := range p.routes {
		if r.method == method && r.in.Has(v) {
			return r
		}
	}
	return nil
}

// findPath sets req.path, req.params, the values of the path's parameters, and req.api. If no path
// matches, it fails with NotFound and chooses req.api, which has the format of the error, by the
// first segment.
func (h *Handler) findPath(req *request) error {
	req.api = chat
	var memory [8]string // memory on the stack for the segments of a path, more than the longest path has
	segments, err := splitPath(memory[:0], req.URL, req.escaped)
	if err != nil {
		return err
	}
	for _, p := range h.paths {
		if len(segments) > 0 && segments[0] == p.segments[0] {
			req.api = p.routes[0].api
		}
		if params, ok := p.match(req.room.params[:0], segments); ok {
			req.path, req.params = p, params
			return nil
		}
	}
	return &core.Error{Code: core.NotFound, Message: "The requested path was not found.",
		Why: why.Because(why.UnknownPath, "path", clip.Text(req.escaped, maxEcho))}
}

// readReceipts is the only path segment that matches in any letter case, because the service was
// recorded to answer /readreceipts too, which is the spelling of the oldest version
// (docs/contract/chat.md §8). Other segments match only in the exact letter case, because a proxy
// with rules for paths would not recognise other spellings.
const readReceipts = "readReceipts"

// match reports whether the path matches the decoded segments, and appends the values
// of its parameters to params.
func (p *path) match(params, segments []string) (_ []string, ok bool) {
	if len(segments) != len(p.segments) {
		return nil, false
	}
	for i, s := range p.segments {
		switch {
		case s == "":
			params = append(params, segments[i])
		case s != segments[i] && (s != readReceipts || !strings.EqualFold(s, segments[i])):
			return nil, false
		}
	}
	return params, true
}

// parameters are the query parameters of all routes. Their names match in any letter case, as they
// do in ASP.NET (docs/contract/chat.md §1). The parameter expand is an extension of Confab
// (docs/contract/chat.md §3.8).
var parameters = []string{"api-version", "maxPageSize", "skip", "startTime", "syncState", "expand"}

// usualQueries maps the text of each query that has only a known api-version to its parsed form.
var usualQueries = func() map[string]url.Values {
	all := map[string]url.Values{}
	for _, v := range slices.Concat(apiver.Chat.Versions(), apiver.Identity.Versions()) {
		all["api-version="+string(v)] = url.Values{"api-version": {string(v)}}
	}
	return all
}()

// findRoute sets the request's query, api-version and route. It fails if the path does not have
// the method, if it does not have the method at the api-version, or if the query has two different
// api-versions (docs/contract/api-versions.md §7). Unverified: the message about two api-versions.
func (h *Handler) findRoute(req *request) error {
	if _, ok := req.path.supported[req.Method]; !ok {
		return &core.Error{Code: codeMethod, Message: "The method " + clip.Text(req.Method, maxEcho) + " is not allowed here; the path has " + req.path.allow + ".",
			Why: why.Because(why.Method, "allowed", req.path.allow)}
	}
	known, err := usualQueries[req.URL.RawQuery], error(nil)
	if req.query = known; known == nil {
		req.query, err = inbound.Query(req.URL.RawQuery, parameters...)
	}
	if err != nil {
		return core.Invalid("query", "The query string is malformed.").Because(why.BadQuery)
	}
	name := req.query.Get("api-version")
	for _, other := range req.query["api-version"] {
		if other != name {
			asked := clip.Text(strings.Join(req.query["api-version"], ", "), maxEcho)
			return &core.Error{Code: codeAmbiguousVersion, Target: "api-version", Message: "The following API versions were requested: " +
				asked + ". At most one may be specified.", Why: why.Because(why.TwoVersions, "asked", asked)}
		}
	}
	if name == "" {
		return &core.Error{Code: codeNoVersion, Target: "api-version", Message: "An API version is required, but was not specified.",
			Why: why.Because(why.NoVersion, "newest", string(req.api.versions.Newest()))}
	}
	if v, ok := h.parseVersion(req, name); ok {
		req.version, req.route = v, req.path.route(req.Method, v)
	}
	if req.route == nil {
		return h.unsupported(req, name)
	}
	return nil
}

// readIDs sets the request's thread id and message id from the path. It fails if one of them is
// malformed (docs/contract/chat.md §7.2). It does not check the other parameters of the path.
func (req *request) readIDs() error {
	for i, name := range req.path.names {
		switch name {
		case "chatThreadId":
			if err := core.CheckThreadID(req.params[i]); err != nil {
				return err
			}
			req.thread = req.params[i]
		case "chatMessageId":
			var err error
			if req.message, err = core.ParseMessageID(req.params[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// escapedPath returns the same as u.EscapedPath() for the URL of a request, but faster: it returns
// u.RawPath if this contains only bytes that may be in an escaped path. EscapedPath would decode
// RawPath to check it, which net/http has done before.
func escapedPath(u *url.URL) string {
	for i := range len(u.RawPath) {
		c := u.RawPath[i]
		letter := 'a' <= c|0x20 && c|0x20 <= 'z'
		if !letter && (c < '0' || c > '9') && strings.IndexByte("%/-._~!$&'()*+,;=:@[]", c) < 0 {
			return u.EscapedPath()
		}
	}
	if u.RawPath == "" {
		return u.EscapedPath()
	}
	return u.RawPath
}

// splitPath appends the decoded segments of a URL's path to segments. The argument escaped is
// u.EscapedPath(). An encoded slash stays inside its segment. splitPath drops empty segments,
// because some SDKs double slashes (docs/contract/identity.md §4.4) and a redirect would lose the
// request's body.
func splitPath(segments []string, u *url.URL, escaped string) ([]string, error) {
	// Without an encoded slash, splitting the decoded path gives the same segments as decoding
	// each segment, and is cheaper.
	decode := strings.Contains(escaped, "%2F") || strings.Contains(escaped, "%2f")
	if !decode {
		escaped = u.Path
	}
	for s := range strings.SplitSeq(escaped, "/") {
		if s == "" {
			continue
		}
		if decode {
			var err error
			if s, err = url.PathUnescape(s); err != nil {
				return nil, core.Invalid("path", "The path has a malformed percent-encoding.").Because(why.BadPath, "problem", "a percent-encoding is not complete")
			}
		}
		segments = append(segments, s)
	}
	return segments, nil
}

// maxEcho is the largest number of bytes of a client's text that a response or the log
// repeats.
const maxEcho = 200
