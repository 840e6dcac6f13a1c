// Package clip bounds the text of a client that a server repeats in a response or a log.
package clip

import "strings"

// Text returns s, cut off with an ellipsis after at most limit bytes. It cuts no
// character in two.
func Text(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit], "") + "…"
}
