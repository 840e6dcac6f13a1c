package reference

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/confab-chat/confab/internal/bench/load"
)

// newPage returns a handler that looks up the bearer token of each request and answers with the
// bytes of body.
func newPage(w load.World, body []byte) http.Handler {
	callers, length := callersOf(w), strconv.Itoa(len(body))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		bearer, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok || !callers[bearer] {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		w.Header().Set("Content-Length", length)
		w.Write(body)
	})
}
