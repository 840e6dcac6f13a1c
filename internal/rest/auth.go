package rest

import (
	"bytes"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/hosts"
	"github.com/confab-chat/confab/internal/signature"
	"github.com/confab-chat/confab/internal/token"
	"github.com/confab-chat/confab/internal/why"
	"github.com/confab-chat/confab/sdk/communication"
)

// authorization returns the value of the request's Authorization header. It fails with a 400 if
// the request has two such headers, because a proxy in front of the server may have checked the
// other one.
func (req *request) authorization() (string, error) {
	if len(req.Header.Values("Authorization")) > 1 {
		return "", &core.Error{Code: req.api.invalidBody, Target: "Authorization", Message: "The request has more than one Authorization header.",
			Why: why.Because(why.TwoCredentials, "header", "Authorization")}
	}
	return req.Header.Get("Authorization"), nil
}

// authenticateUser verifies the bearer token of a chat request and sets req.caller to
// the token's user. It fails with Unauthorized for an invalid token, with Forbidden for
// a token without a scope that the route accepts, and with Unavailable if the user
// cannot be read from the store. It does not read the body.
//
// Unverified: that the real service answers 403 to a token without the scope, and the
// text of that answer (docs/contract/identity.md §6.5, docs/contract/chat.md §11).
func (h *Handler) authenticateUser(req *request) error {
	header, err := req.authorization()
	if err != nil {
		return err
	}
	scheme, text, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return &core.Error{Code: core.Unauthorized, Message: "no bearer token", Reason: "no bearer token", Why: why.Because(why.NoToken, "has", missing(header))}
	}
	claims, err := h.tokens.Verify(req.Context(), strings.TrimSpace(text))
	if errors.Is(err, token.ErrInvalid) {
		return &core.Error{Code: core.Unauthorized, Message: "token refused", Reason: "token: " + token.ReasonOf(err), Why: token.CauseOf(err)}
	}
	if err != nil {
		return unavailable(err)
	}
	req.caller, req.leaving = claims.User, claims.Leaving
	if req.leaving && req.route.users == onlyLive {
		return errUserDeleted
	}
	if !claims.Scopes.Any(req.route.scopes) {
		return core.Forbid(token.MissingScope(claims.Scopes, req.route.scopes),
			why.Because(why.Scope, "has", claims.Scopes.List("and"), "needs", req.route.scopes.List("or")))
	}
	return nil
}

// missing returns the words with which the explanation of a refusal begins: "missing, not" if the
// request has no Authorization header, and "not" if the header has no bearer token.
func missing(header string) string {
	if header == "" {
		return "missing, not"
	}
	return "not"
}

// errUserDeleted is the error for a request with the token of a deleted user. Such a
// token is valid only for removing that user from threads, and for deleting threads that
// the user has created or is alone in.
var errUserDeleted = &core.Error{Code: core.Unauthorized, Message: "the user was deleted", Reason: "token: " + token.ReasonUserDeleted, Why: why.Because(why.UserDeleted)}

// errDenied is the error for an identity request that is not signed with an access key. The real
// service was recorded to send this error for a missing signature and for a scheme other than
// HMAC-SHA256. Unverified: that it sends the same error for a wrong signature or date
// (docs/contract/identity.md §4.5).
var errDenied = &core.Error{Code: codeDenied, Message: "Denied by the resource provider.", Why: why.Because(why.NotSigned, "problem", "it has no valid signature")}

// errKeyReplaced is the error for an identity request whose access key was replaced after the
// request's signature was verified.
var errKeyReplaced = &core.Error{Code: codeDenied, Message: errDenied.Message, Reason: "signature: the key was replaced meanwhile", Why: why.Because(why.KeyReplaced)}

// authenticateKey verifies the HMAC signature of an identity request and sets req.key to the
// access key that made it. Only then does it read the request body and compare it with the hash
// that was signed, so a client without a key cannot make the server read a body. It refuses
// bearer tokens of Microsoft Entra, because this server has no Entra tenant
// (docs/contract/identity.md §3).
func (h *Handler) authenticateKey(req *request) error {
	if _, err := req.authorization(); err != nil {
		return err
	}
	signed := h.signedRequest(req)
	key, err := h.signer(req, signed)
	if err != nil {
		return err
	}
	if err := h.readBody(req); err != nil {
		return err
	}
	if err := signed.CheckBody(req.body); err != nil {
		return denied(err)
	}
	req.key, req.signed = key, true
	return nil
}

// authenticateEntra refuses every request of a route that is called with a token of Microsoft
// Entra, because this server has no Microsoft tenant that could vouch for it. It does not read
// the body. Unverified: that the real service gives the same answer to a bad token of Entra as
// it was recorded to give to a bad Teams token (docs/contract/identity.md §3.6).
func (h *Handler) authenticateEntra(req *request) error {
	if _, err := req.authorization(); err != nil {
		return err
	}
	return errBadExchange
}

// signedRequest returns the parts of a request that its signature covers. A client may have signed
// the host that it has sent, the host of the public endpoint, or the host that a trusted proxy has
// put into a header, if Options.Signs accepts that host.
func (h *Handler) signedRequest(req *request) signature.Request {
	signed := signature.Of(req.Request)
	signed.TLS = hosts.Secure(req.Request) || strings.HasPrefix(h.endpoint, "https:")
	signed.Authorities = h.authorities
	if told := hosts.Forwarded(req.Request).Host; told != "" && h.signs != nil && h.signs(told) {
		signed.Authorities = append(slices.Clone(h.authorities), told)
	}
	signed.Names = h.names
	signed.Others = func() []string {
		if !h.hints.take(h.now()) {
			return nil
		}
		return append(claimed(req), h.hosts...)
	}
	return signed
}

// claimed returns the hosts that headers of the request other than Host contain, because a client
// with a bad signature may have signed one of these hosts. One of these headers is from the Java
// SDK: it contains the signed text in base64.
func claimed(req *request) []string {
	all := hosts.Claimed(req.Header)
	const longest = 4096
	text := req.Header.Get("X-Ms-Hmac-String-To-Sign-Base64")
	if len(text) > longest {
		return all
	}
	signed, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return all
	}
	values := string(signed[bytes.LastIndexByte(signed, '\n')+1:]) // the values of the signed headers, separated by semicolons
	for part := range strings.SplitSeq(values, ";") {
		if host, ok := hosts.ParseHost(part); ok && len(all) < maxClaimed && strings.EqualFold(host, part) {
			all = append(all, part)
		}
	}
	return all
}

// maxClaimed is the greatest number of hosts, from the headers of a request, that the server tries
// in order to find out which host the client signed.
const maxClaimed = 6

// hints limits the number of requests per second for which the server finds out, for the log,
// which wrong host a client signed. The limit is needed because clients without a key can cause
// this work. The zero value is ready to use.
type hints struct {
	mu    sync.Mutex // guards the fields below
	since time.Time  // begin of the second
	n     int        // requests in it
}

// maxHints is the number of requests per second for which the server finds out which wrong host
// the client signed.
const maxHints = 20

// take counts a request at the time now. It returns false if the same second has had maxHints
// requests already.
func (h *hints) take(now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if since := now.Sub(h.since); since >= time.Second || since < 0 {
		h.since, h.n = now, 0
	}
	h.n++
	return h.n <= maxHints
}

// signer returns the access key that signed a request, or fails with the error for the client. If
// neither access key made the signature, another server may just have replaced one. Then signer
// reads the keys from the store and, if they have changed, verifies the signature once more.
func (h *Handler) signer(req *request, signed signature.Request) (token.Key, error) {
	first := signed
	first.Others = nil // at the first attempt, do not try to find out which host the client signed, because hints limits the number of these searches
	held := h.tokens.Held()
	i, err := signature.Verify(first, accessKeys(held), h.now())
	var refused *signature.Error
	if errors.As(err, &refused) && refused.Reason == signature.BadSignature {
		if _, err := h.tokens.Reload(req.Context()); err != nil {
			return token.Key{}, unavailable(err)
		}
		// Compare the keys instead of using the result of Reload, because another request may have read
		// the new keys already.
		if h.tokens.Holds(held[0]) && h.tokens.Holds(held[1]) {
			return token.Key{}, denied(signature.Explain(signed, accessKeys(held)))
		}
		held = h.tokens.Held()
		i, err = signature.Verify(signed, accessKeys(held), h.now())
	}
	if err != nil {
		return token.Key{}, denied(err)
	}
	return held[i], nil
}

// accessKeys converts the result of Tokens.Held to the form that signature.Verify takes.
func accessKeys(held [2]token.Key) []communication.AccessKey {
	return []communication.AccessKey{held[0].AccessKey, held[1].AccessKey}
}

// denied returns the 401 response's error for an error of package signature.
func denied(err error) error {
	e := *errDenied
	e.Cause = err
	var refused *signature.Error
	if errors.As(err, &refused) {
		e.Reason, e.Why = "signature: "+refused.Detail(), refused.Why
		if refused.Reason == signature.BadContentHash {
			e.Message = "Request 'x-ms-content-sha256' differs from generated content hash."
		}
	}
	return &e
}

// requireCurrentKey fails with Denied if the access key that signed an identity request was
// replaced after its signature was verified, perhaps by another server. Call it before issuing a
// token, because a token that is made with a replaced key is invalid.
func (h *Handler) requireCurrentKey(req *request) error {
	if _, err := h.tokens.Reload(req.Context()); err != nil {
		return unavailable(err)
	}
	if !h.tokens.Holds(req.key) {
		return errKeyReplaced
	}
	return nil
}
