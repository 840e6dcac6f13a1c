package traffic

import (
	"net/http"
	"strings"

	"github.com/confab-chat/confab/internal/clip"
	"github.com/confab-chat/confab/internal/exchange"
)

// moreOf returns the headers, the bodies and the reason of the refusal of a request, for a Log with
// Options.Bodies. t has the request's texts. moreOf adds the memory of the headers and bodies to
// size.
func moreOf(x *Exchange, t *texts, size *int64) *more {
	m := &more{why: x.Why, request: headers(x.Request, size), answer: headers(x.Answer, size)}
	m.in.size, m.out.size = max(x.InSize, 0), -1
	if x.Copy == nil {
		return m
	}
	var changed bool
	m.in, changed = bodyOf(&x.Copy.In)
	m.out, _ = bodyOf(&x.Copy.Out)
	*size += int64(len(m.in.text) + len(m.out.text))
	m.sendable = !x.Bare && !changed && !m.in.cut && t[textQuery] == x.Query && t[textPath] == x.Path
	return m
}

// headerSize is the memory of a header in a map, in bytes, without the name and the value.
const headerSize = 96

// headers returns the headers without secrets, and adds their memory to size.
func headers(h http.Header, size *int64) map[string]string {
	all := exchange.Headers(h)
	for name, value := range all {
		if len(name) > maxText || len(all) > maxHeaders && exchange.Header(name, value) == exchange.Sanitized {
			delete(all, name) // drop the header: a client may send many headers whose values are hidden
			continue
		}
		all[name] = short(value)
		*size += int64(headerSize + len(name) + len(all[name]))
	}
	return all
}

// bodyOf returns a body without secrets. changed reports whether it removed a secret, or bytes that
// are not UTF-8.
func bodyOf(b *exchange.Body) (kept body, changed bool) {
	kept.text, changed = exchange.BodyText(b.Data)
	if len(kept.text) > MaxBody { // cut again, because the word "sanitized" may be longer than the secret that it replaced
		kept.text, kept.cut = clip.Text(kept.text, MaxBody), true
	}
	kept.text = strings.Clone(kept.text)
	kept.cut, kept.size = kept.cut || b.Cut, b.Size
	return kept, changed
}

// Room is a function for exchange.Options.Room, for bodies that are passed to Add. It allows
// MaxBody bytes per body.
func Room(b *exchange.Body, n int) int { return max(min(n, MaxBody-len(b.Data)), 0) }
