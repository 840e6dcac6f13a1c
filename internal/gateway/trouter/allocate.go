package trouter

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/gateway"
	"github.com/confab-chat/confab/internal/gateway/requests"
	"github.com/confab-chat/confab/internal/hosts"
	"github.com/confab-chat/confab/internal/token"
	"github.com/confab-chat/confab/internal/why"
)

// Times for which the values that a client gets before it can open a socket are valid.
const (
	paramsLife = 24 * time.Hour // parameters of an allocation
	// how long before the end of paramsLife the server asks the client to open another socket
	overlap = 5 * time.Minute
	sidLife = 30 * time.Second // how long after the handshake the client may open its socket
)

// configure responds with the configuration of a client: the URL to which it sends all further
// requests (docs/contract/realtime.md §2).
func (h *Handler) configure(req *request) error {
	c, err := h.checks.Bearer(req.Request)
	if _, err := h.user(req, c, err); err != nil {
		return err
	}
	base := h.base(req)
	return req.respondJSON(map[string]string{"trouterServiceUrl": base, "registrarServiceUrl": base, "cloudType": "Public"})
}

// base returns the URL of the server with scheme and host, without a slash at the end:
// Options.PublicEndpoint, or else the address to which the request was sent.
func (h *Handler) base(req *request) string {
	if h.o.PublicEndpoint != "" {
		return h.o.PublicEndpoint
	}
	return hosts.Base(req.Request)
}

// skype returns the claims of the token in the header X-Skypetoken, and counts the request
// against the rate limits of its user.
func (h *Handler) skype(req *request) (token.Claims, error) {
	c, err := h.checks.Skype(req.Request)
	return h.user(req, c, err)
}

// user takes c and err, the results of verifying a request's token. It records the user for the
// access log and counts the request against the user's rate limits. It returns c with err, or with
// the error of a rate limit that the request exceeds.
func (h *Handler) user(req *request, c token.Claims, err error) (token.Claims, error) {
	req.record.User = c.User
	if err == nil {
		err = h.allow(req, c.User)
	}
	return c, err
}

// params are the signed parameters that a client gets with an allocation and sends back when
// it opens a socket.
type params struct {
	endpoint   string // chosen by the client
	connection string // the connection's id, which is part of the connection's URL
	issued     time.Time
	at         core.Cursor // the end of the event log at the time of the allocation
}

// sealPurpose distinguishes sealed parameters from other texts that are signed with the same
// key.
const sealPurpose = "trouter connectparams"

// seal returns the parameters as a signed text. The text has only letters, digits, "-" and
// "_", because the browser build does not escape it in URLs (docs/contract/realtime.md §3).
func (h *Handler) seal(c token.Claims, p params) (string, error) {
	return h.o.Tokens.Seal(sealPurpose, c, []byte(strings.Join([]string{
		p.endpoint, p.connection, strconv.FormatInt(p.issued.UnixMilli(), 10), gateway.FormatCursor(p.at, c.User, nil),
	}, "\n")))
}

// unseal returns the claims and the parameters in a text that seal has returned. epoch is the
// present epoch of the store's event log. unseal fails with token.ErrInvalid if the text is
// not valid or has expired.
func (h *Handler) unseal(text, epoch string) (c token.Claims, p params, err error) {
	c, data, err := h.o.Tokens.Unseal(sealPurpose, text)
	if err != nil {
		return c, p, err
	}
	fields := strings.Split(string(data), "\n")
	if len(fields) != 4 {
		return c, p, token.ErrInvalid
	}
	ms, err := strconv.ParseInt(fields[2], 10, 64)
	at, err2 := gateway.ParseCursor(fields[3], epoch, c.User, nil)
	if err != nil || err2 != nil {
		return c, p, token.ErrInvalid
	}
	p = params{endpoint: fields[0], connection: fields[1], issued: time.UnixMilli(ms), at: at}
	if !h.now().Before(p.issued.Add(paramsLife)) {
		return c, p, token.ErrInvalid
	}
	return c, p, nil
}

// validEndpoint reports whether a client may use the text id as the id of its endpoint.
func validEndpoint(id string) bool {
	return len(id) <= 64 && strings.Trim(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == ""
}

// newConnection returns a random id for a connection of a user. The function ownsConnection later
// tells whether an id was made for a user. The id is not secret.
func newConnection(user string) string {
	random := requests.RandomText(15)
	return random + connectionOf(random, user)
}

// ownsConnection reports whether newConnection returned the connection's id for this user.
func ownsConnection(id, user string) bool {
	return len(id) == 32 && connectionOf(id[:20], user) == id[20:]
}

// connectionOf returns the part of a connection's id that depends on its user.
func connectionOf(random, user string) string {
	sum := sha256.Sum256([]byte(random + user))
	return base64.RawURLEncoding.EncodeToString(sum[:9])
}

// allocate responds with the URL and the parameters with which a client opens a socket
// (docs/contract/realtime.md §3). It refuses the request if the user could not open a socket now.
// It does so because a client waits longer before each new attempt after a refused allocation, but
// tries again at once after it has lost a socket.
func (h *Handler) allocate(req *request) error {
	c, err := h.skype(req)
	if err != nil {
		return err
	}
	id := req.query().Get("epid")
	if id == "" {
		// Unverified: whether native clients send the parameter epid, which names an
		// endpoint.
		id = requests.RandomText(16)
	}
	if !validEndpoint(id) {
		return requests.BadRequest("epid is not valid", why.Because(why.BadParameter, "parameter", "epid", "problem", "It is too long or has other characters than ids have."))
	}
	err = h.admit(req.Context(), c)
	if e := h.endpoints.find(c.User, id); reasonOf(err) == gateway.UserFull && e != nil && h.yield(req.Context(), e) {
		err = h.admit(req.Context(), c)
	}
	if err != nil {
		return err
	}
	p := params{endpoint: id, connection: newConnection(c.User), issued: h.now()}
	if p.at, err = h.hub.At(req.Context()); err != nil {
		return refused(err)
	}
	sealed, err := h.seal(c, p)
	if err != nil {
		// the token's signing key was replaced after the token was checked
		return requests.TokenRefused("token refused", err)
	}
	u, err := url.Parse(h.base(req))
	if err != nil {
		return requests.BadRequest("the Host is not valid", why.Because(why.LiveHost))
	}
	if u.Port() == "" && u.Scheme == "https" {
		u.Host += ":443"
	}
	path := h.base(req) + pathOf(p.connection)
	return req.respondJSON(allocation{
		SocketIO: u.Scheme + "://" + u.Host + "/", URL: path, ServiceURL: path, ID: p.connection, CCID: p.connection[:12],
		TTL: strconv.Itoa(int(paramsLife / time.Second)),
		Params: map[string]string{
			"sr": p.connection, "issuer": "confab", "sp": "connect", "sig": sealed,
			"st": strconv.FormatInt(p.issued.UnixMilli(), 10), "se": strconv.FormatInt(p.issued.Add(paramsLife).UnixMilli(), 10),
		},
	})
}

// pathOf returns the URL path of a connection. When the server sends an event to the client, the
// event has a URL that begins with this path.
func pathOf(connection string) string { return "/v4/f/" + connection + "/" }

// allocation is the JSON response to a request that allocates a socket.
type allocation struct {
	SocketIO   string            `json:"socketio"`
	ServiceURL string            `json:"surl"`
	URL        string            `json:"url"`
	ID         string            `json:"id"`
	CCID       string            `json:"ccid"`
	TTL        string            `json:"ttl"`
	Params     map[string]string `json:"connectparams"`
}

// handshake responds with a sid, a one-time id with which the client opens its socket, if the
// request has the parameters of an allocation (docs/contract/realtime.md §4). It does not
// require a token, because old clients send none with this request. If the request has a token,
// the token must be of the user of the allocation.
func (h *Handler) handshake(req *request) error {
	q := req.query()
	at, err := h.hub.At(req.Context())
	if err != nil {
		return refused(err)
	}
	c, p, err := h.unseal(q.Get("sig"), at.Epoch)
	if err != nil || q.Get("sr") != p.connection || q.Has("epid") && q.Get("epid") != p.endpoint {
		r := requests.TokenRefused("parameters refused", err)
		r.Why = why.Because(why.LiveParams, "problem", token.ReasonOf(err))
		return r
	}
	req.record.User = c.User
	if err := requests.OneCredential(req.Request); err != nil {
		return err
	}
	if text := req.Header.Get("X-Skypetoken"); text != "" {
		t, err := h.o.Tokens.Verify(req.Context(), text)
		switch {
		case errors.Is(err, token.ErrInvalid) || err == nil && t.User != c.User:
			r := requests.TokenRefused("token refused", err)
			if err == nil {
				r.Why = why.Because(why.LiveParams, "problem", "the token is of another user")
			}
			return r
		case err != nil:
			return requests.Away(req.Context(), err)
		}
	}
	if err := h.allow(req, c.User); err != nil {
		return err
	}
	err = h.admit(req.Context(), c)
	if e := h.endpoints.find(c.User, p.endpoint); err != nil && (reasonOf(err) != gateway.UserFull || e == nil) {
		return err
	}
	sid, ok := h.sids.add(c, p)
	if !ok {
		return &refusal{Status: http.StatusServiceUnavailable, Message: "too many handshakes", Why: why.Because(why.Handshakes), RetryAfter: sidLife}
	}
	transports := "websocket"
	if h.o.Polling {
		transports += ",xhr-polling"
	}
	req.respond(http.StatusOK, "text/plain; charset=utf-8", []byte(sid+":180:180:"+transports))
	return nil
}
