// Package clip shortens a client's text before a server repeats the text in a response or the log.
package clip

import "strings"

// Text returns s if it has at most limit bytes. Otherwise it returns the whole characters
// within the first limit bytes, followed by an ellipsis.
func Text(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit], "") + "…"
}
