package clientenv

import (
	"cmp"
	"net/url"
	"os"
	"strings"

	"github.com/confab-chat/confab/internal/localca"
)

// Before is the name of the variable in which Vars stores the earlier values of the variables
// for certificates and proxies. Unset restores these values. A second call of Vars starts from
// them instead of the current values. Before is not a setting; package config ignores it.
const Before = "CONFAB_ENV_BEFORE"

// nothingBefore is the value of the variable Before if none of the variables that Vars changes
// had a value.
const nothingBefore = "none"

// fileVariables lists the variables that name a file with the certificates that a TLS library
// trusts.
var fileVariables = []string{requestsBundle, sslCertFile, curlBundle, nodeExtra}

// keptVariables lists the variables whose earlier values are stored in Before. It does not
// include the variables with the connection string, which may hold the key of another service.
var keptVariables = append([]string{noProxy, noProxyLower, javaOptions}, fileVariables...)

// earlier returns the values that the keptVariables had before Vars set them. If a variable was
// changed after Vars set it, its current value counts, without the parts that Vars added.
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

// missing reports whether the file does not exist. The file of a server that kept its data in
// memory disappears when the server ends.
func missing(file string) bool {
	_, err := os.Stat(file)
	return os.IsNotExist(err)
}

// note encodes the values that variables had before they were set for Confab, given by name in
// was. The result is the value for the variable Before, from which env --unset restores them.
// Variables that were empty are left out.
func note(was map[string]string) string {
	noted := url.Values{}
	for name, value := range was {
		if value != "" {
			noted.Set(name, value)
		}
	}
	return cmp.Or(noted.Encode(), nothingBefore)
}

// Unset returns how to remove what Vars has set from an environment: restore has the variables
// to set to their earlier values, and remove the names of the variables to remove. It leaves
// alone variables that Vars did not set or that were changed since. Both results are empty if
// there is nothing to do.
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

// UserRoots returns the certificate files that the variables named before Vars set them, each
// file once. Programs trusted their certificates, so the bundle that replaces the files should
// include them.
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
