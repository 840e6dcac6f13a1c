package traffic

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/confab-chat/confab/internal/clip"
	"github.com/confab-chat/confab/internal/exchange"
	"github.com/confab-chat/confab/internal/why"
)

// Indexes of the texts of an entry, in the order in which the entry's block has them.
const (
	textMethod = iota
	textPath
	textQuery
	textOperation
	textUser
	textThread
	textAgent
	textClient
	textID
	textClientID
	textVersion
	textHost
	// textHeaders is the index of the first value of the headers in shownAlways. The values are
	// empty if more.request is set.
	textHeaders
	countTexts = textHeaders + len(shownAlways)
)

// texts has the texts of an entry before they are copied to the entry's block.
type texts [countTexts]string

// entry is a request in the ring of a Log. It has few pointers, because the garbage collector must
// follow the pointers of all entries. Its texts are in one block of bytes, which never changes
// after a reader has got a copy of the entry.
type entry struct {
	block []byte // all texts, joined
	more  *more  // fields that few entries need; nil if the request was not refused and the Log keeps no bodies

	seq      uint64
	time     int64 // when the request arrived, in microseconds since 1970
	duration time.Duration
	inSize   int64 // size of the request's body in bytes
	size     int64 // memory of the entry in bytes
	status   int
	ends     [countTexts]uint16 // index of the end of each text in the block
}

// more has the fields that only some entries need. It is never changed.
type more struct {
	why             why.Cause
	request, answer map[string]string // the headers; nil without Options.Bodies
	in, out         body
	sendable        bool // true if the kept request, together with a credential, is complete enough to be sent again
}

// body is the kept part of a request's or a response's body.
type body struct {
	text string
	cut  bool
	size int64
}

// shownAlways are the headers that a Log keeps even without Options.Bodies, in canonical form.
// Headers of requests come first.
var shownAlways = [...]string{
	"Authorization", "Content-Type", "Accept", "Origin", "X-Ms-Date", "Date", "X-Ms-Useragent", "Repeatability-Request-Id",
	"Content-Type", "Retry-After", "X-Ms-Error-Code", "Location",
}

// shownOfRequest is the number of headers in shownAlways that are headers of requests. The
// remaining ones are headers of responses.
const shownOfRequest = 8

// entrySize is the memory in bytes of an entry in the ring, without its block. moreSize is the
// memory of a more.
const (
	entrySize = 128
	moreSize  = 144
)

// entryOf returns the entry of a request, and sets the request's texts in t. The entry has no block
// yet.
func entryOf(x *Exchange, t *texts, bodies bool) entry {
	e := entry{time: x.Time.UnixMicro(), duration: x.Duration, status: x.Status, inSize: max(x.InSize, 0), size: entrySize}
	granted := x.Status >= http.StatusOK && x.Status < http.StatusMultipleChoices
	t[textMethod], t[textPath], t[textAgent] = kept(x.Method), kept(x.Path), kept(x.Agent)
	t[textClient], t[textClientID], t[textHost] = kept(x.Client), kept(x.ClientID), kept(x.Host)
	t[textID], t[textOperation] = short(x.ID), short(x.Operation)
	if granted {
		t[textUser], t[textThread] = short(x.User), short(x.Thread)
	} else {
		t[textUser], t[textThread] = kept(x.User), kept(x.Thread)
	}
	if version, ok := onlyVersion(x.Query); ok {
		t[textQuery], t[textVersion] = x.Query, version
	} else {
		t[textQuery], t[textVersion] = short(exchange.RawQuery(x.Query, x.Bare)), kept(versionOf(x.Query))
	}
	if bodies {
		e.more = moreOf(x, t, &e.size)
	} else {
		t.setHeaders(x, granted)
		if !x.Why.IsZero() {
			e.more = &more{why: x.Why}
		}
	}
	if e.more != nil {
		e.size += int64(moreSize + x.Why.Size())
	}
	return e
}

// setHeaders sets the values of the headers shownAlways, without secrets. It has the same results
// as exchange.Header, and is faster. granted means that the server accepted the request; in this
// case the headers of the response contain nothing that a client chose.
func (t *texts) setHeaders(x *Exchange, granted bool) {
	for i, name := range shownAlways {
		from, made := x.Request, false
		if i >= shownOfRequest {
			from, made = x.Answer, granted
		}
		values := from[name]
		switch {
		case len(values) == 0:
		case name == "Authorization":
			t[textHeaders+i] = exchange.Header(name, values[0])
		case made:
			t[textHeaders+i] = short(values[0])
		default:
			t[textHeaders+i] = kept(values[0])
		}
	}
}

// pack copies the texts to the entry's block. If the block is too small, or more than twice as
// large as needed, pack allocates a new one.
func (e *entry) pack(t *texts) {
	length := 0
	for i := range t {
		length += len(t[i])
		// The length fits, because an entry has at most 24 texts of little more than maxText bytes.
		e.ends[i] = uint16(length)
	}
	block := e.block[:0]
	if cap(block) < length || cap(block) > 2*length {
		block = slices.Grow([]byte(nil), length)
	}
	for i := range t {
		if t[i] != "" {
			block = append(block, t[i]...)
		}
	}
	e.block = block
	e.size += int64(cap(block))
}

// bytes returns the text with index i. The caller must not change it.
func (e *entry) bytes(i int) []byte {
	begin := uint16(0)
	if i > 0 {
		begin = e.ends[i-1]
	}
	return e.block[begin:e.ends[i]]
}

// text returns the text with index i.
func (e *entry) text(i int) string { return string(e.bytes(i)) }

// why returns the cause of the refusal. It is the zero Cause if the request was not refused.
func (e *entry) why() why.Cause {
	if e.more == nil {
		return why.Cause{}
	}
	return e.more.why
}

// kept removes the secrets from a text and cuts it to maxText bytes.
func kept(text string) string { return short(exchange.Text(text)) }

// short cuts a text to maxText bytes.
func short(text string) string { return clip.Text(text, maxText) }

// onlyVersion returns the api-version of a query that consists only of an ordinary api-version.
// Most queries do, and they have no secrets. For all other queries ok is false.
func onlyVersion(query string) (version string, ok bool) {
	version, ok = strings.CutPrefix(query, "api-version=")
	if !ok || len(version) > len("2006-01-02-preview") {
		return "", false
	}
	for _, c := range []byte(version) {
		if c != '-' && (c < '0' || c > '9') && (c < 'a' || c > 'z') {
			return "", false
		}
	}
	return version, true
}

// versionOf returns the parameter api-version of a query, or "" if it is missing.
func versionOf(query string) string {
	for part := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(part, "=")
		if strings.EqualFold(name, "api-version") {
			if plain, err := url.QueryUnescape(value); err == nil {
				return plain
			}
			return value
		}
	}
	return ""
}
