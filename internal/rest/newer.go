package rest

import (
	"fmt"
	"sync"

	"github.com/confab-chat/confab/internal/apiver"
	"github.com/confab-chat/confab/internal/clip"
	"github.com/confab-chat/confab/internal/core"
)

// newerSetting is the setting of the server for Options.NewerVersions, as messages show it.
const newerSetting = "--newer-api-versions newest"

// maxWarned is the greatest number of names for which warned holds that there was a warning.
const maxWarned = 100

// warned holds the names of api-versions for which the log has a warning. It is safe for
// concurrent use.
type warned struct {
	mu    sync.Mutex
	names map[string]bool
}

// first reports whether it is called for the first time with this name. It returns false for all
// further names after maxWarned of them, so that a client cannot fill the memory or the log.
func (w *warned) first(name string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.names[name] || len(w.names) == maxWarned {
		return false
	}
	if w.names == nil {
		w.names = map[string]bool{}
	}
	w.names[name] = true
	return true
}

// parseVersion returns the api-version with the given name. If the name is newer than all known
// versions and Options.NewerVersions is set, it returns the newest known one, so that an SDK of
// tomorrow works (docs/contract/api-versions.md §7); it logs one warning for each name and makes
// the response have the header confab-api-version. ok is false if the version is not supported.
func (h *Handler) parseVersion(req *request, name string) (v apiver.Version, ok bool) {
	versions := req.api.versions
	if v, ok := versions.Parse(name); ok || !h.newerVersions || !versions.Newer(name) {
		return v, ok
	}
	v = versions.Newest()
	req.answeredAs = string(v)
	if h.warned.first(name) {
		h.log.Warn("a client asks for an api-version that this server does not know yet: it is answered as the newest one",
			"api_version", name, "answered_as", v, "user_agent", logged(req.UserAgent()))
	}
	return v, true
}

// unsupported returns the refusal of a request whose api-version is not supported, or at whose
// api-version the path does not have the method. It names the setting that would help.
func (h *Handler) unsupported(req *request, name string) error {
	message := fmt.Sprintf("The HTTP resource that matches the request URI '%s%s' does not support the API version '%s'.",
		h.baseURL(req), clip.Text(req.URL.EscapedPath(), maxEcho), clip.Text(name, maxEcho))
	if versions := req.api.versions; !h.newerVersions && versions.Newer(name) {
		message += fmt.Sprintf(" It is newer than all that this server knows; with the setting %s the server answers it as %s.", newerSetting, versions.Newest())
	}
	return &core.Error{Code: codeBadVersion, Target: "api-version", Message: message}
}
