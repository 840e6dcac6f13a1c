package core

import (
	"sync"

	"github.com/microcosm-cc/bluemonday"
)

// htmlPolicy is bluemonday's policy for user-generated content. It allows formatting,
// links and images, and removes scripts, styles, forms and embedded documents.
var htmlPolicy = sync.OnceValue(bluemonday.UGCPolicy)

// cleanHTML removes everything from an HTML message that htmlPolicy does not allow
// (docs/contract/chat.md §4.1).
func cleanHTML(s string) string { return htmlPolicy().Sanitize(s) }
