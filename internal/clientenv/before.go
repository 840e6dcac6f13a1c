package clientenv

import (
	"cmp"
	"net/url"
	"os"
	"strings"

	"github.com/confab-chat/confab/internal/localca"
)

// Before is the name of the variable in which Vars notes the values that the variables for
// certificates and proxies had before. Unset brings them back, and a second Vars starts from
// them. It is no setting; package config ignores it.
const Before = "CONFAB_ENV_BEFORE"

// nothingBefore is the value of Before if none of the variables had a value.
const nothingBefore = "none"

// fileVariables name a file of certificates that a TLS library trusts.
var fileVariables = []string{requestsBundle, sslCertFile, curlBundle, nodeExtra}

// keptVariables are those whose earlier values Before notes. The variables with the
// connection string are not among them: they may hold the key of another service.
var keptVariables = append([]string{noProxy, noProxyLower, javaOptions}, fileVariables...)

// earlier returns the values that keptVariables have without what Vars has set. A value that
// was changed after Vars counts as it is now.
func earlier(getenv func(string) string) map[string]string {
	noted, _ := url.ParseQuery(getenv(Before)) // of a damaged value as much as can be read
	was := make(map[string]string, len(keptVariables))
	for _, name := range keptVariables {
		was[name] = getenv(name)
	}
	if getenv(Before) != "" { // otherwise Vars has not set NO_PROXY, or not in a way that can be undone
		names := hostsOf(getenv(Endpoint))
		for name, other := range map[string]string{noProxy: noProxyLower, noProxyLower: noProxy} {
			if now, before := was[name], noted.Get(name); now == noProxyValue(before, noted.Get(other), names) {
				was[name] = before
			} else {
				was[name] = withoutHosts(now, before, names)
			}
		}
	}
	if getenv(CAFile) == "" {
		return was // Vars has set no certificates
	}
	for _, name := range fileVariables {
		if now := was[name]; now == getenv(CAFile) || localca.IsBundle(now) || missing(now) {
			was[name] = noted.Get(name)
		}
	}
	if before := noted.Get(javaOptions); withoutTrustStore(was[javaOptions]) == withoutTrustStore(before) {
		was[javaOptions] = before
	} else {
		was[javaOptions] = withoutTrustStore(was[javaOptions])
	}
	return was
}

// missing reports whether there is no file with this name, such as a bundle of a server that
// kept its data in memory and has ended.
func missing(file string) bool {
	_, err := os.Stat(file)
	return os.IsNotExist(err)
}

// note returns the value of the variable Before for the earlier values was.
func note(was map[string]string) string {
	noted := url.Values{}
	for name, value := range was {
		if value != "" {
			noted.Set(name, value)
		}
	}
	return cmp.Or(noted.Encode(), nothingBefore)
}

// Unset returns how the variables of Vars are taken out of an environment: those to set to
// the values that they had before, and the names of those to remove. It leaves variables
// alone that Vars did not set or that were changed since. Both are empty if there is nothing
// to do.
func Unset(getenv func(string) string) (restore []Var, remove []string) {
	if getenv(Endpoint) == "" && getenv(Before) == "" {
		return nil, nil
	}
	for _, v := range []struct{ name, ours string }{
		{sampleEndpoint, getenv(Endpoint)}, {sampleConnection, getenv(ConnectionString)}, {netConnection, getenv(ConnectionString)},
	} {
		if now := getenv(v.name); now != "" && now == v.ours {
			remove = append(remove, v.name)
		}
	}
	was := earlier(getenv)
	for _, name := range keptVariables {
		switch now := getenv(name); {
		case now == was[name]:
		case was[name] == "":
			remove = append(remove, name)
		default:
			restore = append(restore, Var{name, was[name]})
		}
	}
	for _, name := range []string{Endpoint, ConnectionString, CAFile, Before} {
		if getenv(name) != "" {
			remove = append(remove, name)
		}
	}
	return restore, remove
}

// UserRoots returns the files of certificates that the variables named before Vars set them,
// each once. Programs trusted them, so they belong into the bundle that replaces them.
func UserRoots(getenv func(string) string) []string {
	was := earlier(getenv)
	var files []string
	seen := map[string]bool{"": true}
	for _, name := range fileVariables {
		if file := strings.TrimSpace(was[name]); !seen[file] {
			seen[file] = true
			files = append(files, file)
		}
	}
	return files
}
