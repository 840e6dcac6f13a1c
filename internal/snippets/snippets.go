// Package snippets generates a program that sends a given request: with curl, or in Python,
// JavaScript or Go.
//
// A program needs the variables that `eval "$(confab env)"` sets. It uses only the standard library
// of its language; a program with curl also needs openssl. It contains no credential: it takes the
// access key from the connection string and signs requests with the key. For a request of a user it
// first requests a token for that user, as an app's own server would.
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

// The names of the languages.
const (
	Curl       = "curl"
	Python     = "python"
	JavaScript = "javascript"
	Go         = "go"
)

// Languages returns the names of the languages for which Of can generate a program.
func Languages() []string { return []string{Curl, Python, JavaScript, Go} }

// Request is the request that a program sends.
type Request struct {
	Method string
	Path   string // escaped, with the query
	User   string // id of the user whose token the request has; used only for paths of the chat API
	Body   string
	// BodyMissing means that Body is not the whole body of the original request. The program then
	// has a comment that says so.
	BodyMissing bool
	Type        string // the header Content-Type; empty: application/json
}

//go:embed templates/*
var files embed.FS

// templates has a template for each language. Its functions quote texts for the languages.
var templates = template.Must(template.New("").Funcs(template.FuncMap{
	"sh": shell, "json": literal, "goText": goText,
}).ParseFS(files, "templates/*"))

// Of returns the program for a request. ok is false for an unknown language.
func Of(language string, r Request) (code string, ok bool) {
	t := templates.Lookup(language)
	if t == nil {
		return "", false
	}
	// The program signs a request of the identity API itself, even if the request names a user.
	if !strings.HasPrefix(r.Path, "/chat/") {
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
		TokenPath string // path of the request for a token
	}{r, "/identities/" + url.PathEscape(r.User) + "/:issueAccessToken?api-version=" + string(apiver.Identity.Newest())}
	var b strings.Builder
	if err := t.Execute(&b, in); err != nil { // the error cannot occur: the tests execute all templates
		panic(err)
	}
	return b.String(), true
}

// plain reports whether a text is printable ASCII without quotation marks, so that it can be the
// value of a header.
func plain(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' || r == '\'' || r == '"' || r == '\\' })
}

// shell quotes a text for a POSIX shell.
func shell(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// literal quotes a text as a JSON string, which is also a string literal of JavaScript and Python.
func literal(s string) string {
	text, err := json.Marshal(s)
	if err != nil { // cannot happen for a string
		panic(err)
	}
	return string(text)
}

// goText quotes a text as a string literal of Go.
func goText(s string) string {
	if !strings.ContainsAny(s, "`\r\x00") && strings.ContainsAny(s, `"\`) && !strings.Contains(s, "\ufeff") {
		return "`" + s + "`"
	}
	return strconv.Quote(s)
}
