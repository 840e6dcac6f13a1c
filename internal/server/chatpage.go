package server

import (
	"cmp"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"

	"github.com/confab-chat/confab/internal/config"
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/gateway"
	"github.com/confab-chat/confab/internal/hosts"
	"github.com/confab-chat/confab/web"
)

// Paths of the chat page.
const (
	threadPages  = "/t/" // the path of a page that opens a thread is this prefix and the thread's id
	chatAssets   = "/assets/chat/"
	chatConfig   = "/web/config.json"
	chatLicenses = "/web/licenses.md"
)

// chatPage serves the chat page.
type chatPage struct {
	config config.Config
	people *people // with --dev, or nil
	pages  *web.Pages
	told   chatFacts
}

// chatFacts is the answer to a request for the path chatConfig: the facts about the server that
// the chat page needs. Everybody who can reach the server may read them, so they contain no
// secret.
type chatFacts struct {
	Dev        bool    `json:"dev"` // whether the server has the paths /dev/join and /dev/token
	Version    string  `json:"version"`
	Endpoint   string  `json:"endpoint"`   // URL at which SDKs reach the server, without a slash at the end
	TokenURL   *string `json:"tokenUrl"`   // URL at which the page gets the token of its user, or null
	MaxContent int     `json:"maxContent"` // greatest number of bytes of a message's content
	HTMLImages bool    `json:"htmlImages"` // whether the server keeps images in HTML messages
	Lobby      *string `json:"lobby"`      // id of the thread that new users join, or null before the first user has joined
}

// chatURL returns the address at which a browser opens the chat page, or "" if no listener serves
// the page. If a development server serves the page on plain http, it returns that address,
// because a browser shows no warning about a certificate there. Otherwise it returns the endpoint
// for clients.
func chatURL(c config.Config, i Info) string {
	switch {
	case c.ChatPage(false) && i.HTTP != "" && c.Dev:
		return i.HTTP
	case c.ChatPage(true):
		return i.Endpoint
	}
	return ""
}

// withChatPage returns a handler that passes requests for the chat page to page, and other
// requests to next. It treats a request as one for the chat page only on the listeners that the
// setting web selects.
func withChatPage(c config.Config, page, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isChatPage(r) && c.ChatPage(r.TLS != nil) { // tell the listeners apart by TLS, because only the listener of the setting listen has TLS
			page.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// isChatPage reports whether a request is for the chat page or one of its files.
func isChatPage(r *http.Request) bool {
	switch path := r.URL.Path; {
	case path == "/" || strings.HasPrefix(path, threadPages) && len(path) > len(threadPages):
		return (r.Method == http.MethodGet || r.Method == http.MethodHead) && wantsHTML(r)
	default:
		return strings.HasPrefix(path, chatAssets) || path == chatConfig || path == chatLicenses
	}
}

// newChatPage returns the chat page. people is nil without --dev.
func (s *Server) newChatPage(o Options, people *people) *chatPage {
	p := &chatPage{config: o.Config, people: people, pages: web.NewPages(web.Chat())}
	p.told = chatFacts{
		Dev: o.Config.Dev, Version: o.Version, Endpoint: o.Config.PublicEndpoint,
		MaxContent: cmp.Or(o.Config.Sizes().Content, core.MaxContent), HTMLImages: o.Config.HTMLImages,
	}
	if o.Config.Dev {
		p.told.Endpoint = s.info.Endpoint
	}
	if o.Config.WebTokenURL != "" {
		p.told.TokenURL = &o.Config.WebTokenURL
	}
	return p
}

// ServeHTTP answers a request for which isChatPage returns true.
func (p *chatPage) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	gateway.LimitBody(w, r)
	switch path := r.URL.Path; {
	case path == chatConfig:
		p.serveFacts(w, r)
	case path == chatLicenses:
		p.pages.Licenses(w, r)
	case strings.HasPrefix(path, chatAssets):
		p.pages.Asset(w, r)
	default:
		p.pages.Index(w, r, p.policy(r))
	}
}

// serveFacts answers GET /web/config.json with the facts that the chat page needs.
func (p *chatPage) serveFacts(w http.ResponseWriter, r *http.Request) {
	for name, value := range map[string]string{
		"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Vary": "Origin", "Cross-Origin-Resource-Policy": "same-origin",
	} {
		w.Header().Set(name, value)
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "the file can only be read", http.StatusMethodNotAllowed)
		return
	}
	told := p.told
	if told.Endpoint == "" { // without a public endpoint, use the address that the browser has called, because the server's own address may be internal
		told.Endpoint = hosts.Base(r)
	}
	if p.people != nil {
		// If the store does not answer, leave the Lobby out. The page then gets the Lobby's id when a
		// user joins.
		if lobby, err := p.people.lobbyNow(r.Context()); err == nil && lobby != "" {
			told.Lobby = &lobby
		}
	}
	body, err := json.Marshal(told)
	if err != nil { // cannot happen, because all fields can be encoded as JSON
		panic(err)
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Write(append(body, '\n'))
}

// policy returns the Content-Security-Policy of the chat page. It lets the page run only scripts
// of this server, because the page shows texts of strangers. It lets the page send requests only
// to this server and to the application that gives out tokens.
func (p *chatPage) policy(r *http.Request) string {
	images := "'self' data:"
	if p.config.HTMLImages {
		images += " https:"
	}
	connect := "'self'"
	// In some browsers 'self' does not allow WebSockets, so allow the WebSocket addresses of this
	// server by name.
	if host, ok := hosts.ParseHost(hosts.Of(r)); ok && !strings.HasPrefix(host, "[") { // leave out IPv6 addresses, because a policy cannot contain them
		connect += " ws://" + host + " wss://" + host
	}
	// The page opens its live connection at the public endpoint, even if it was loaded
	// from another address.
	if u, err := url.Parse(p.config.PublicEndpoint); err == nil && u.Host != "" && !strings.HasPrefix(u.Host, "[") {
		connect += " " + u.Scheme + "://" + u.Host + " " + strings.Replace(u.Scheme, "http", "ws", 1) + "://" + u.Host
	}
	if u, err := url.Parse(p.config.WebTokenURL); err == nil && u.Host != "" {
		connect += " " + u.Scheme + "://" + u.Host
	}
	return "default-src 'none'; script-src 'self'; style-src 'self'; img-src " + images + "; connect-src " + connect +
		"; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}
