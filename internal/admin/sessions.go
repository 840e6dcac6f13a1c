package admin

import (
	"crypto/rand"
	"crypto/sha256"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/confab-chat/confab/internal/core"
)

// Bounds of the sessions of signed-in people. Sessions are in memory only.
const (
	maxSessions = 64
	maxCodes    = 64 // maximum number of unused codes
	sessionTime = 12 * time.Hour
	codeTime    = time.Minute
)

// sessionPrefix is the beginning of every session token. It lets the server recognize the
// token of an ended session.
const sessionPrefix = "confab-session-"

// Role says what a caller may do.
type Role string

// The roles. A Viewer can see all that an Operator sees, and can change nothing.
const (
	Operator Role = "operator"
	Viewer   Role = "viewer"
	// nobody is the role that an operation needs if it works without a credential.
	nobody Role = ""
)

// has reports whether a caller with the role r may use an operation that needs the role least.
func (r Role) has(least Role) bool { return least == nobody || r == Operator || r == least }

// NewSession is the response to a valid code.
type NewSession struct {
	Token   string `json:"token"`
	Role    Role   `json:"role"`
	Expires string `json:"expires"`
}

// Code is a code with which a person can sign in once. URL is the console's URL with the code,
// or empty if the server has no port for the console.
type Code struct {
	Code    string `json:"code"`
	URL     string `json:"url"`
	Expires string `json:"expires"`
	Role    Role   `json:"role"`
}

// hash is the hash of a secret. Secrets are stored and compared as hashes only.
type hash [sha256.Size]byte

func hashOf(secret string) hash { return sha256.Sum256([]byte(secret)) }

// session is the session of a person who has signed in with a code.
type session struct {
	id      string // id of the session for the log, which is not secret
	role    Role
	expires time.Time
	done    chan struct{} // closed when the session ends
}

// code is a one-time code that nobody has used yet.
type code struct {
	role    Role
	expires time.Time // zero: never
}

// sessions has the sessions and codes of a server, by the hashes of their tokens. With hashes, the
// time of a map lookup tells an attacker at most a part of a hash and nothing of a token.
type sessions struct {
	now func() time.Time

	mu       sync.Mutex // guards the fields below
	sessions map[hash]*session
	codes    map[hash]code
}

func newSessions(now func() time.Time) *sessions {
	return &sessions{now: now, sessions: map[hash]*session{}, codes: map[hash]code{}}
}

// clean removes expired sessions and codes. The caller must hold s.mu.
func (s *sessions) clean() {
	now := s.now()
	for h, one := range s.sessions {
		if !now.Before(one.expires) {
			close(one.done)
			delete(s.sessions, h)
		}
	}
	for h, c := range s.codes {
		if !c.expires.IsZero() && !now.Before(c.expires) {
			delete(s.codes, h)
		}
	}
}

// makeCode returns a new code. The code expires after lifetime, or never if lifetime is 0.
func (s *sessions) makeCode(role Role, lifetime time.Duration) (text string, expires time.Time, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.clean(); len(s.codes) >= maxCodes {
		return "", expires, refuse(http.StatusTooManyRequests, "too-many-codes", "%d codes wait to be used, which is the most at a time: use one, or wait a minute", maxCodes)
	}
	if lifetime > 0 {
		expires = s.now().Add(lifetime)
	}
	text = rand.Text()
	s.codes[hashOf(text)] = code{role, expires}
	return text, expires, nil
}

// open opens a session with a code and returns the session's token. A code works once. If there
// are too many sessions, open fails and the code stays valid.
func (s *sessions) open(text string) (token string, one *session, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clean()
	h := hashOf(text)
	c, ok := s.codes[h]
	switch {
	case !ok:
		return "", nil, refuse(http.StatusUnauthorized, "bad-code", "the code is unknown, was used, or is older than a minute: make another with confab console")
	case len(s.sessions) >= maxSessions:
		return "", nil, refuse(http.StatusTooManyRequests, "too-many-sessions", "%d sessions are open, which is the most at a time: sign out of one, or restart the server", maxSessions)
	}
	delete(s.codes, h)
	token = sessionPrefix + rand.Text()
	one = &session{id: strings.ToLower(rand.Text()[:6]), role: c.role, expires: s.now().Add(sessionTime), done: make(chan struct{})}
	s.sessions[hashOf(token)] = one
	return token, one, nil
}

// find returns the session with the given token, or nil if there is none.
func (s *sessions) find(token string) *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clean()
	return s.sessions[hashOf(token)]
}

// end ends a session.
func (s *sessions) end(one *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for h, other := range s.sessions {
		if other == one {
			close(one.done)
			delete(s.sessions, h)
		}
	}
}

// NewCode returns a code that signs in once, with the role operator, and never expires. A
// development server prints it.
func (h *Handler) NewCode() (string, error) {
	text, _, err := h.sessions.makeCode(Operator, 0)
	return text, err
}

// ConsoleURL returns the URL of the console with a code. base is the URL of the operator's port.
func ConsoleURL(base, code string) string { return base + "/?code=" + code }

func (h *Handler) makeCode(c *call) (any, error) {
	in := struct{ Role Role }{Operator}
	if err := c.decode(&in, true, "role"); err != nil {
		return nil, err
	}
	if in.Role != Operator && in.Role != Viewer {
		return nil, refuse(http.StatusBadRequest, codeBody, "role is operator or viewer, and %q is neither", in.Role)
	}
	text, expires, err := h.sessions.makeCode(in.Role, codeTime)
	if err != nil {
		return nil, err
	}
	out := Code{Code: text, Expires: stamp(expires), Role: in.Role}
	if h.Server.Admin != nil {
		if base := h.Server.Admin(); base != "" {
			out.URL = ConsoleURL(base, text)
		}
	}
	return out, nil
}

func (h *Handler) openSession(c *call) (any, error) {
	var in struct{ Code string }
	if err := c.decode(&in, false, "code"); err != nil {
		return nil, err
	}
	if in.Code == "" {
		return nil, refuse(http.StatusBadRequest, codeBody, "code is required: it stands in the link that --dev or confab console prints")
	}
	token, one, err := h.sessions.open(in.Code)
	if err != nil {
		return nil, err
	}
	c.who = caller{kind: core.AuditSession, name: "session " + one.id, role: one.role, session: one}
	c.undo = func() { h.sessions.end(one) }
	return NewSession{Token: token, Role: one.role, Expires: stamp(one.expires)}, nil
}

func (h *Handler) endSession(c *call) (any, error) {
	if c.who.session == nil {
		return nil, refuse(http.StatusConflict, "refused", "this request has no session: it was sent by %s", c.who.name)
	}
	h.sessions.end(c.who.session)
	return nil, nil
}

// Session tells the caller its own role and session.
type Session struct {
	Role     Role   `json:"role"`
	Who      string `json:"who"`
	Expires  string `json:"expires,omitempty"`
	Messages bool   `json:"messages"` // the caller may read the content of messages
	Server   About  `json:"server"`
}

// About describes the server to its operator.
type About struct {
	Version  string `json:"version"`
	Dev      bool   `json:"dev"`
	Endpoint string `json:"endpoint"`
	HTTP     string `json:"http,omitempty"`
	Storage  string `json:"storage"` // embedded or postgres
	Data     string `json:"data"`
	Started  string `json:"started"`
	Now      string `json:"now"`

	// Admin returns the URL of the port of the operator's API, or "". It is not in the JSON.
	Admin func() string `json:"-"`
}

func (h *Handler) showSession(c *call) (any, error) {
	out := Session{Role: c.who.role, Who: c.who.name, Messages: h.ReadsMessages, Server: h.Server}
	if one := c.who.session; one != nil {
		out.Expires = stamp(one.expires)
	}
	out.Server.Now = stamp(h.Now())
	return out, nil
}

// stamp formats a time as RFC 3339 with milliseconds, in UTC. It returns "" for the zero time.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05.000Z")
}

// formatTime formats a time in epoch milliseconds as stamp does. It returns "" for 0.
func formatTime(ms int64) string {
	if ms == 0 {
		return ""
	}
	return stamp(time.UnixMilli(ms))
}
