// Package clientenv says what a program's environment must hold to talk to a
// Confab: where it is, the key, and whom to trust, under the names that the
// SDKs, their samples and the TLS libraries read. It also writes those
// variables down for a shell or a file.
//
//	server := clientenv.Server{Endpoint: "https://localhost:8443", AccessKey: key, CAFile: ...}
//	cmd.Env = clientenv.Merge(os.Environ(), server.Vars(os.Getenv))
package clientenv

import (
	"runtime"
	"strings"

	"github.com/confab-chat/confab/internal/localca"
)

// The variables that are ours. They are for clients: the server's settings
// loader knows them and passes over them.
const (
	Endpoint         = "CONFAB_ENDPOINT"
	ConnectionString = "CONFAB_CONNECTION_STRING"
	CAFile           = "CONFAB_CA_FILE"
)

// Server is what a client must know of a running server.
type Server struct {
	Endpoint  string // https://localhost:8443
	AccessKey string
	// The trust files of a local authority. All empty when the server has a
	// certificate that the world trusts: then no trust variable is set.
	CAFile, BundleFile, TrustStoreFile string
}

// Var is a variable of the environment.
type Var struct{ Name, Value string }

// ConnectionString is the one spelling that every SDK accepts: endpoint first,
// nothing after the key.
func (s Server) ConnectionString() string {
	return "endpoint=" + strings.TrimSuffix(s.Endpoint, "/") + "/;accesskey=" + s.AccessKey
}

// Vars are the variables for a client, in the order they are shown. getenv
// reads the environment they will be put into: some values add to what is there.
func (s Server) Vars(getenv func(string) string) []Var {
	endpoint, connect := strings.TrimSuffix(s.Endpoint, "/"), s.ConnectionString()
	vars := []Var{
		{Endpoint, endpoint},
		{ConnectionString, connect},
		// The same for the official samples: Python and Java; Python's chat; .NET.
		{"AZURE_COMMUNICATION_SERVICE_ENDPOINT", endpoint},
		{"COMMUNICATION_SAMPLES_CONNECTION_STRING", connect},
		{"AZURE_COMMUNICATION_SERVICE_CONNECTION_STRING", connect},
	}
	if s.CAFile == "" {
		return vars
	}
	return append(vars,
		Var{CAFile, s.CAFile},
		Var{"REQUESTS_CA_BUNDLE", s.BundleFile}, // Python's requests
		Var{"SSL_CERT_FILE", s.BundleFile},      // OpenSSL, Go and .NET on Linux, Ruby, PHP
		Var{"CURL_CA_BUNDLE", s.BundleFile},
		Var{nodeExtra, nodeExtraValue(getenv(nodeExtra), s)},
		Var{javaOptions, javaOptionsValue(getenv(javaOptions), s.TrustStoreFile)},
	)
}

// Merge puts vars into environ, in place of what is there under their names.
func Merge(environ []string, vars []Var) []string {
	set := make(map[string]bool, len(vars))
	for _, v := range vars {
		set[foldName(v.Name)] = true
	}
	var out []string
	for _, pair := range environ {
		name, _, _ := strings.Cut(pair, "=")
		if !set[foldName(name)] {
			out = append(out, pair)
		}
	}
	for _, v := range vars {
		out = append(out, v.Name+"="+v.Value)
	}
	return out
}

// foldName makes equal the names that the system takes for equal.
func foldName(name string) string {
	if runtime.GOOS == "windows" {
		return strings.ToUpper(name)
	}
	return name
}

const (
	nodeExtra   = "NODE_EXTRA_CA_CERTS"
	javaOptions = "JAVA_TOOL_OPTIONS"
)

// nodeExtraValue is our authority alone, since Node adds it to roots of its
// own. A user who had something there (a company's root, most likely) gets the
// bundle, which holds the system's roots too.
func nodeExtraValue(old string, s Server) string {
	if old == "" || old == s.CAFile {
		return s.CAFile
	}
	return s.BundleFile
}

// javaOptionsValue adds our trust store to the options that are there, in
// place of another one: of a property that is given twice Java takes the last,
// but the value should not grow with every `eval "$(confab env)"`.
func javaOptionsValue(old, trustStore string) string {
	var words []string
	for _, word := range javaWords(old) {
		if !strings.HasPrefix(strings.NewReplacer(`"`, "", `'`, "").Replace(word), "-Djavax.net.ssl.trustStore") {
			words = append(words, word)
		}
	}
	words = append(words,
		"-Djavax.net.ssl.trustStore="+javaQuote(trustStore),
		"-Djavax.net.ssl.trustStoreType=PKCS12",
		"-Djavax.net.ssl.trustStorePassword="+localca.TrustStorePassword)
	return strings.Join(words, " ")
}

// javaWords splits options as the Java VM does: at white space outside of
// quotes, of which it knows two kinds and no escape. Quotes stay in the words.
func javaWords(s string) []string {
	var words []string
	var quote rune
	start := -1
	for i, c := range s {
		switch {
		case quote == 0 && isJavaSpace(c):
			if start >= 0 {
				words, start = append(words, s[start:i]), -1
			}
			continue
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
		case quote == c:
			quote = 0
		}
		if start < 0 {
			start = i
		}
	}
	if start >= 0 {
		words = append(words, s[start:])
	}
	return words
}

// javaQuote writes s as one word for javaWords.
func javaQuote(s string) string {
	if !strings.ContainsFunc(s, func(c rune) bool { return isJavaSpace(c) || c == '"' || c == '\'' }) {
		return s
	}
	return `"` + strings.ReplaceAll(s, `"`, `"'"'"`) + `"`
}

func isJavaSpace(c rune) bool { return c == ' ' || c >= '\t' && c <= '\r' }
