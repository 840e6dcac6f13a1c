package rest

import (
	"fmt"
	"strings"
	"sync"

	"github.com/confab-chat/confab/internal/apiver"
	"github.com/confab-chat/confab/internal/clip"
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/why"
)

// newerSetting is the command-line flag that sets Options.NewerVersions, as messages for operators
// name it.
const newerSetting = "--newer-api-versions newest"

// maxWarned is the greatest number of names that a value of type warned holds.
const maxWarned = 100

// warned is the set of the names of unknown api-versions about which the log has a warning. It is
// safe for concurrent use.
type warned struct {
	mu    sync.Mutex
	names map[string]bool
}

// add adds a name to the set and returns the number of names in it. It returns 0 if the set has
// the name already, or has maxWarned names, so that a client cannot fill the memory or the log.
func (w *warned) add(name string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.names[name] || len(w.names) == maxWarned {
		return 0
	}
	if w.names == nil {
		w.names = map[string]bool{}
	}
	w.names[name] = true
	return len(w.names)
}

// parseVersion returns the api-version with the given name. If the name is newer than all known
// versions and Options.NewerVersions is set, it returns the newest known version, so that a future
// SDK works (docs/contract/api-versions.md §7). In this case the response has the header
// confab-api-version. ok is false if the version is not supported.
func (h *Handler) parseVersion(req *request, name string) (v apiver.Version, ok bool) {
	versions := req.api.versions
	if v, ok := versions.Parse(name); ok || !h.newerVersions || !versions.Newer(name) {
		return v, ok
	}
	v = versions.Newest()
	req.answeredAs = string(v)
	return v, true
}

// warnOfNewer logs a warning if the request is answered at another api-version than its client
// asked for. It warns once for each name of a version. Call it for authenticated requests only:
// the number of warnings is limited, and a client without a token must not use them up with
// invented names.
func (h *Handler) warnOfNewer(req *request) {
	if req.answeredAs == "" {
		return
	}
	name := req.query.Get("api-version")
	number := h.warned.add(name)
	if number > 0 {
		h.log.Warn("a client asks for an api-version that this server does not know yet: it is answered as the newest one",
			"api_version", name, "answered_as", req.answeredAs, "user_agent", logged(req.UserAgent()))
	}
	if number == maxWarned {
		h.log.Warn("clients have asked for many api-versions that this server does not know: no further warning will name one until the server is started again",
			"api_versions", maxWarned)
	}
}

// unsupported returns the error for a request whose api-version is not supported, or at whose
// api-version the path does not have the method. The error's text names the setting that would
// make the server accept the request.
func (h *Handler) unsupported(req *request, name string) error {
	message := fmt.Sprintf("The HTTP resource that matches the request URI '%s%s' does not support the API version '%s'.",
		h.baseURL(req), clip.Text(req.escaped, maxEcho), clip.Text(name, maxEcho))
	versions := req.api.versions
	known := strings.Join(req.path.supported[req.Method], ", ")
	cause := why.Because(why.BadVersion, "asked", clip.Text(name, maxEcho), "known", known)
	if _, ok := versions.Parse(name); ok {
		cause = why.Because(why.NoSuchRoute, "asked", clip.Text(name, maxEcho), "path", clip.Text(req.escaped, maxEcho),
			"known", known)
	}
	if helps := req.path.route(req.Method, versions.Newest()) != nil; helps && !h.newerVersions && versions.Newer(name) {
		cause = why.Because(why.NewerVersion, "asked", clip.Text(name, maxEcho), "newest", string(versions.Newest()), "setting", newerSetting)
		message += fmt.Sprintf(" It is newer than all that this server knows; with the setting %s the server answers it as %s.", newerSetting, versions.Newest())
	}
	return &core.Error{Code: codeBadVersion, Target: "api-version", Message: message, Why: cause}
}
