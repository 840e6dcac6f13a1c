package server

import (
	"net/http"
	"strings"

	"github.com/confab-chat/confab/internal/rest"
	"github.com/confab-chat/confab/internal/token"
)

// refusalReasons maps the beginning of Record.Reason, a text in the access log, to the short
// reason that the metrics show. The first match wins.
var refusalReasons = []struct{ begin, reason string }{
	{"no bearer token", "no token"},
	{"token: " + token.ReasonExpired, "token expired"},
	{"token: " + token.ReasonRevoked, "token revoked"},
	{"token: " + token.ReasonUserDeleted, "user deleted"},
	{"token: " + token.ReasonKey, "token of a replaced key"},
	{"token: ", "token invalid"},
	{"user deleted", "user deleted"},
	{"signature: ", "signature"},
	{"scope: ", "scope"},
	{"not a participant", "not a participant"},
}

// refusalStatuses maps the status of a refused request to the reason that the metrics show. It is
// used if no entry of refusalReasons matches.
var refusalStatuses = map[int]string{
	0:                                "no answer",
	http.StatusBadRequest:            "bad request",
	http.StatusUnauthorized:          "unauthorized",
	http.StatusForbidden:             "forbidden",
	http.StatusNotFound:              "not found",
	http.StatusRequestTimeout:        "slow body",
	http.StatusRequestEntityTooLarge: "too large",
	http.StatusTooManyRequests:       "rate limit",
	http.StatusInternalServerError:   "internal error",
	http.StatusServiceUnavailable:    "unavailable",
}

// refusalReason returns the reason for which a request was refused, for the metrics. The result is
// one of a fixed set of texts and contains no text of a client.
func refusalReason(r rest.Record) string {
	if r.Status == http.StatusUnauthorized || r.Status == http.StatusForbidden {
		for _, of := range refusalReasons {
			if strings.HasPrefix(r.Reason, of.begin) {
				return of.reason
			}
		}
	}
	if reason, ok := refusalStatuses[r.Status]; ok {
		return reason
	}
	return "other"
}
