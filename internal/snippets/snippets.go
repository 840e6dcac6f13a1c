// Package snippets writes a request of a client as a program: for curl, Python, JavaScript and Go.
//
// A program runs as pasted into a shell in which `eval "$(confab env)"` was run. It needs no
// packages beside those of its language, and openssl for curl. It has no credential in it: it
// signs with the access key of the connection string and, for a request of a user, first asks for
// a token of that user, as an app's own server would.
package snippets

import (
	"embed"
	"encoding/json"
	"net/url"
	"strconv"
	"strings"
	"text/template"

	"github.com/confab-chat/confab/internal/apiver"
)

// The languages.
const (
	Curl       = "curl"
	Python     = "python"
	JavaScript = "javascript"
	Go         = "go"
)

// Languages returns the names of all languages.
func Languages() []string { return []string{Curl, Python, JavaScript, Go} }

// Request is a request of a client.
type Request struct {
	Method string
	Path   string // escaped, with the query
	User   string // whose token it had, if the path is one of the chat API; others are signed
	Body   string
	// BodyMissing says that Body is not the body that was sent: the program has a comment then.
	BodyMissing bool
	Type        string // the header Content-Type; empty: application/json
}

//go:embed templates/*
var files embed.FS

// templates has a template for each language. A template's functions quote texts.
var templates = template.Must(template.New("").Funcs(template.FuncMap{
	"sh": shell, "json": literal, "goText": goText,
}).ParseFS(files, "templates/*"))

// Of returns the program for a request. ok is false if there is no such language.
func Of(language string, r Request) (code string, ok bool) {
	t := templates.Lookup(language)
	if t == nil {
		return "", false
	}
	if !strings.HasPrefix(r.Path, "/chat/") { // requests of the identity API name a user, and are signed
		r.User = ""
	}
	if r.Type == "" || !plain(r.Type) {
		r.Type = "application/json"
	}
	if r.Body == "" && r.Method != "GET" && r.Method != "DELETE" && r.Method != "HEAD" {
		r.Body = "{}"
	}
	in := struct {
		Request
		TokenPath string // of the request for a token
	}{r, "/identities/" + url.PathEscape(r.User) + "/:issueAccessToken?api-version=" + string(apiver.Identity.Newest())}
	var b strings.Builder
	if err := t.Execute(&b, in); err != nil { // impossible: the tests run all templates
		panic(err)
	}
	return b.String(), true
}

// plain reports whether a text is printable ASCII without quotes, so that it can be a header.
func plain(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' || r == '\'' || r == '"' || r == '\\' })
}

// shell quotes a text for a POSIX shell.
func shell(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// literal quotes a text as a string of JSON, which is one of JavaScript and Python too.
func literal(s string) string {
	text, err := json.Marshal(s)
	if err != nil { // impossible for a string
		panic(err)
	}
	return string(text)
}

// goText quotes a text as a string of Go.
func goText(s string) string {
	if !strings.ContainsAny(s, "`\r\x00") && strings.ContainsAny(s, `"\`) && !strings.Contains(s, "\ufeff") {
		return "`" + s + "`"
	}
	return strconv.Quote(s)
}
