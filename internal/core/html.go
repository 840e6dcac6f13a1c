package core

import (
	"sync"

	"github.com/microcosm-cc/bluemonday"
)

// htmlPolicy lets through what formats a message and nothing that runs, loads
// in silence or leaves the message's place.
var htmlPolicy = sync.OnceValue(bluemonday.UGCPolicy)

// cleanHTML is what is stored of an HTML message (docs/contract/chat.md §4.1).
func cleanHTML(s string) string { return htmlPolicy().Sanitize(s) }
