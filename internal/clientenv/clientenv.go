// Package clientenv returns the environment variables that a client of a Confab server
// needs: the endpoint, the access key and the trusted certificates, under the names that
// the SDKs, their samples and the TLS libraries read. It also formats the variables for a
// shell or a file.
//
//	server := clientenv.Server{Endpoint: "https://localhost:8443", AccessKey: key, CAFile: ...}
//	cmd.Env = clientenv.Merge(os.Environ(), server.Vars(os.Getenv))
package clientenv

import (
	"runtime"
	"strings"

	"github.com/confab-chat/confab/internal/localca"
)

// The names of Confab's own variables for clients. They start with CONFAB_, like the variables
// of the server's settings, but package config ignores them.
const (
	Endpoint         = "CONFAB_ENDPOINT"
	ConnectionString = "CONFAB_CONNECTION_STRING"
	CAFile           = "CONFAB_CA_FILE"
)

// Server describes a running server to its clients.
type Server struct {
	Endpoint  string // https://localhost:8443
	AccessKey string
	// The paths of the files with the certificates to trust, as localca.Trust returns them. They
	// are empty if the server does not use the local certificate authority; Vars then sets no
	// variable for certificates.
	CAFile, BundleFile, TrustStoreFile string
}

// Var is an environment variable with its value.
type Var struct{ Name, Value string }

// ConnectionString returns the connection string of the server. The endpoint comes first and the
// key last, because every SDK accepts this form.
func (s Server) ConnectionString() string {
	return "endpoint=" + strings.TrimSuffix(s.Endpoint, "/") + "/;accesskey=" + s.AccessKey
}

// The variables from which the official samples read the endpoint or the connection string.
// Python's and Java's samples read the first variable, Python's chat samples the second, and .NET's
// samples the third.
const (
	sampleEndpoint   = "AZURE_COMMUNICATION_SERVICE_ENDPOINT"
	sampleConnection = "COMMUNICATION_SAMPLES_CONNECTION_STRING"
	netConnection    = "AZURE_COMMUNICATION_SERVICE_CONNECTION_STRING"
)

// Vars returns the variables for a client, in the order in which they are shown. getenv reads
// the client's current environment, because the new values of NO_PROXY, JAVA_TOOL_OPTIONS and
// NODE_EXTRA_CA_CERTS depend on the old ones. The last variable is Before, with the old values
// of all variables for certificates and proxies.
func (s Server) Vars(getenv func(string) string) []Var {
	endpoint, connect := strings.TrimSuffix(s.Endpoint, "/"), s.ConnectionString()
	was, direct := earlier(getenv), hostsOf(endpoint)
	vars := []Var{
		{Endpoint, endpoint},
		{ConnectionString, connect},
		{sampleEndpoint, endpoint},
		{sampleConnection, connect},
		{netConnection, connect},
		{noProxy, noProxyValue(was[noProxy], was[noProxyLower], direct)},
		{noProxyLower, noProxyValue(was[noProxyLower], was[noProxy], direct)},
	}
	if s.CAFile != "" {
		vars = append(vars,
			Var{CAFile, s.CAFile},
			Var{requestsBundle, s.BundleFile},
			Var{sslCertFile, s.BundleFile},
			Var{curlBundle, s.BundleFile},
			Var{nodeExtra, nodeExtraValue(was[nodeExtra], s)},
			Var{javaOptions, javaOptionsValue(was[javaOptions], s.TrustStoreFile)},
		)
	}
	return append(vars, Var{Before, note(was)})
}

// Merge returns environ with vars added. A variable in vars replaces variables of the same name
// in environ.
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

// foldName returns a variable's name for comparison: in capitals on Windows, where letter case
// does not matter, and unchanged on other systems.
func foldName(name string) string {
	if runtime.GOOS == "windows" {
		return strings.ToUpper(name)
	}
	return name
}

// The variables that name the certificates that TLS libraries trust.
const (
	requestsBundle = "REQUESTS_CA_BUNDLE" // Python's requests
	sslCertFile    = "SSL_CERT_FILE"      // the variable that OpenSSL, Go and .NET on Linux, Ruby and PHP read
	curlBundle     = "CURL_CA_BUNDLE"
	nodeExtra      = "NODE_EXTRA_CA_CERTS"
	javaOptions    = "JAVA_TOOL_OPTIONS"
)

// nodeExtraValue returns the value of NODE_EXTRA_CA_CERTS, a file of certificates that Node
// trusts in addition to its own. Usually the value is the file of the local certificate
// authority. If old names another file, probably with a company's certificate, the value is
// the bundle, which includes the certificates of the system.
func nodeExtraValue(old string, s Server) string {
	if old == "" || old == s.CAFile {
		return s.CAFile
	}
	return s.BundleFile
}

// javaOptionsValue returns the Java options old with an option added that sets the trust store. It
// removes earlier trust stores from old. Java would use only the last trust store in any case, but
// the options would become longer with every `eval "$(confab env)"`.
func javaOptionsValue(old, trustStore string) string {
	ours := "-Djavax.net.ssl.trustStore=" + javaQuote(trustStore) +
		" -Djavax.net.ssl.trustStoreType=PKCS12 -Djavax.net.ssl.trustStorePassword=" + localca.TrustStorePassword
	return strings.TrimLeft(withoutTrustStore(old)+" "+ours, " ")
}

// withoutTrustStore returns Java options without the options that choose a trust store.
func withoutTrustStore(options string) string {
	var words []string
	for _, word := range javaWords(options) {
		if !strings.HasPrefix(strings.NewReplacer(`"`, "", `'`, "").Replace(word), "-Djavax.net.ssl.trustStore") {
			words = append(words, word)
		}
	}
	return strings.Join(words, " ")
}

// javaWords splits options into words as the Java VM does: at white space outside of single
// or double quotes, without escapes. The words keep their quotes.
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

// javaQuote quotes s so that javaWords reads it as one word.
func javaQuote(s string) string {
	if !strings.ContainsFunc(s, func(c rune) bool { return isJavaSpace(c) || c == '"' || c == '\'' }) {
		return s
	}
	return `"` + strings.ReplaceAll(s, `"`, `"'"'"`) + `"`
}

func isJavaSpace(c rune) bool { return c == ' ' || c >= '\t' && c <= '\r' }
