package server

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"html/template"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/confab-chat/confab/internal/gateway"
)

// welcomeStyle is the style sheet of the welcome page. The Content-Security-Policy allows it by
// its hash.
const welcomeStyle = `
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 44rem; margin: 3rem auto; padding: 0 1rem; }
pre { padding: .75rem 1rem; border: 1px solid; border-radius: .25rem; white-space: pre-wrap; overflow-wrap: anywhere; }
`

// welcomePage is the page that a browser gets at the root of a server. It says that Confab runs
// here and, on a development server, which command to run next. It shows no access key, because
// people show their browsers to others.
var welcomePage = template.Must(template.New("welcome").Parse(`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Confab</title>
<link rel="icon" href="data:,">
<style>{{.Style}}</style>
</head>
<body>
<main>
<h1>Confab</h1>
{{if .Dev}}<p>A development server for chat runs here.{{if .Chat}} Chat in this browser: choose a name; a second tab is a second person.</p>
<p><a href="{{.Chat}}">{{.Chat}}</a></p>
<p>{{else}} {{end}}Programs with an Azure Communication Services SDK reach it at:</p>
<pre>{{.Endpoint}}</pre>
<h2>What to run next</h2>
{{if not .Memory}}<p>Any program, with the endpoint, the access key and the certificates of this server in its environment:</p>
<pre>{{call .Command "run"}} -- python start-chat.py</pre>
{{end}}<p>A user and a token:</p>
<pre>{{call .Command "token"}} --new-user</pre>
{{if .Memory}}{{if .CAFile}}<p>Clients have to trust the authority in this file, which vanishes with the server:</p>
<pre>{{.CAFile}}</pre>
{{end}}{{else}}<p>If this browser has warned you of the certificate, let it trust the authority of this machine:</p>
<pre>{{call .Command "trust"}}</pre>
{{end}}{{else}}<p>A chat server runs here. It has no pages: apps reach it with the SDKs of Azure Communication Services{{if .Public}}, at:</p>
<pre>{{.Public}}</pre>
{{else}}.</p>
{{end}}<p>Whoever runs it gives out the tokens.</p>
{{end}}</main>
</body>
</html>
`))

// welcomePolicy returns the Content-Security-Policy of the welcome page. The policy forbids the
// page to load or run anything except its style sheet, and forbids other pages to show it in a
// frame.
func welcomePolicy() string {
	hash := sha256.Sum256([]byte(welcomeStyle))
	return "default-src 'none'; img-src data:; style-src 'sha256-" + base64.StdEncoding.EncodeToString(hash[:]) +
		"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}

// welcomeData holds the data that the template welcomePage may show. It contains no key and no
// secret. It is a copy of parts of Info, because Info changes while the listeners already serve
// requests.
type welcomeData struct {
	Dev, Memory bool
	Endpoint    string // Info.Endpoint; only a development server shows it
	Public      string // the public endpoint, or empty if none is set, because the server's own address may be internal
	Chat        string // as Info.Chat
	CAFile      string
	Style       template.CSS
	Command     func(name string) string
}

// welcome returns a handler that answers with the welcome page.
func (s *Server) welcome(o Options) http.Handler {
	policy := welcomePolicy()
	data := welcomeData{
		Dev: o.Config.Dev, Memory: s.info.Memory, Endpoint: s.info.Endpoint, Public: o.Config.PublicEndpoint, Chat: s.info.Chat, CAFile: s.info.CAFile,
		Style: welcomeStyle, Command: o.command(),
	}
	page := sync.OnceValue(func() []byte {
		var b bytes.Buffer
		if err := welcomePage.Execute(&b, data); err != nil {
			panic(err) // cannot happen, because only a mistake in the template causes an error, and the tests would find the mistake
		}
		return b.Bytes()
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		gateway.LimitBody(w, r)
		for name, value := range map[string]string{
			"Content-Type": "text/html; charset=utf-8", "Content-Length": strconv.Itoa(len(page())),
			"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
			"Cache-Control": "no-store", "Vary": "Accept, Origin",
		} {
			w.Header().Set(name, value)
		}
		w.Write(page())
	})
}

// wantsHTML reports whether a request's Accept header names text/html. Browsers send such a header
// when somebody opens an address. SDKs and tools accept every type, or JSON.
func wantsHTML(r *http.Request) bool {
	for _, accept := range r.Header.Values("Accept") {
		for part := range strings.SplitSeq(accept, ",") {
			kind, parameters, _ := strings.Cut(part, ";")
			if strings.EqualFold(strings.TrimSpace(kind), "text/html") && !refused(parameters) {
				return true
			}
		}
	}
	return false
}

// refused reports whether the parameters of a media type in an Accept header have the weight 0
// (q=0), by which the client refuses the type.
func refused(parameters string) bool {
	for parameter := range strings.SplitSeq(parameters, ";") {
		name, value, _ := strings.Cut(parameter, "=")
		if weight, err := strconv.ParseFloat(strings.TrimSpace(value), 64); err == nil && weight == 0 && strings.EqualFold(strings.TrimSpace(name), "q") {
			return true
		}
	}
	return false
}
