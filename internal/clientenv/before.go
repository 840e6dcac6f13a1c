package clientenv

import (
	"cmp"
	"net/url"
	"os"
	"strings"

	"github.com/confab-chat/confab/internal/localca"
)

// Before is the name of the variable in which Vars stores the earlier values of the variables for
// certificates and proxies. Unset restores these values. If Vars is called again, it starts from
// these values, not from the current ones. The name begins with CONFAB_, but package config does
// not take it for a setting of the server.
const Before = "CONFAB_ENV_BEFORE"

// nothingBefore is the value of the variable Before if none of the variables that Vars changes
// had a value.
const nothingBefore = "none"

// fileVariables lists the variables that name a file with the certificates that a TLS library
// trusts.
var fileVariables = []string{requestsBundle, sslCertFile, curlBundle, nodeExtra}

// keptVariables lists the variables whose earlier values are stored in Before. The variables
// with the connection string are not in the list, because their earlier value may contain the
// access key of another service.
var keptVariables = append([]string{noProxy, noProxyLower, javaOptions}, fileVariables...)

// earlier returns the values that the keptVariables had before Vars set them. For a variable
// that was changed after Vars set it, it returns the current value without the parts that Vars
// added.
func earlier(getenv func(string) string) map[string]string {
	// the error is ignored, because the readable part of a damaged value is enough
	noted, _ := url.ParseQuery(getenv(Before))
	was := make(map[string]string, len(keptVariables))
	for _, name := range keptVariables {
		was[name] = getenv(name)
	}
	if getenv(Before) != "" { // without the variable Before, the old value of NO_PROXY is unknown
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
		return was // nothing to restore, because Vars has set no variable for certificates
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

// note returns the value for the variable Before, from which env --unset restores other variables.
// was has their values, by name, from before they were set for Confab. Variables that were empty are
// left out.
func note(was map[string]string) string {
	noted := url.Values{}
	for name, value := range was {
		if value != "" {
			noted.Set(name, value)
		}
	}
	return cmp.Or(noted.Encode(), nothingBefore)
}

// Unset returns the changes that undo Vars in an environment: restore lists the variables to
// set, with their earlier values, and remove lists the names of the variables to remove.
// Variables that Vars did not set, or that were changed since, are in neither list. Both
// results are empty if there is nothing to do.
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

// UserRoots returns the certificate files that the user's variables named before Vars changed
// the variables, each file once. Programs trusted the certificates in these files, so the
// bundle that replaces them should contain these certificates too.
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
