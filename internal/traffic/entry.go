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

// The texts of an entry, in the order of its block.
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
	textHeaders // the first of the values of the headers shownAlways; empty if more.request is set
	countTexts  = textHeaders + len(shownAlways)
)

// texts are the texts of an entry before they are copied to its block.
type texts [countTexts]string

// entry is a request in the ring. It has few pointers, because the garbage collector follows those of
// all entries. Its block is not changed any more once a reader has a copy of the entry.
type entry struct {
	block []byte // all texts, one after the other
	more  *more  // nil: a request that was not refused, in a log without bodies

	seq      uint64
	time     int64 // when it arrived, in microseconds since 1970
	duration time.Duration
	inSize   int64 // of the body of the request
	size     int64 // the memory of the entry, in bytes
	status   int
	ends     [countTexts]uint16 // where each text ends in the block
}

// more is what only some entries have. It is not changed any more.
type more struct {
	why             why.Cause
	request, answer map[string]string // the headers, with Options.Bodies; otherwise nil
	in, out         body
	sendable        bool // the request is here as it was sent, but for its credential
}

// body is what is kept of a body.
type body struct {
	text string
	cut  bool
	size int64
}

// shownAlways are the headers that are kept without Options.Bodies, in their canonical form, first
// those of requests.
var shownAlways = [...]string{
	"Authorization", "Content-Type", "Accept", "Origin", "X-Ms-Date", "Date", "X-Ms-Useragent", "Repeatability-Request-Id",
	"Content-Type", "Retry-After", "X-Ms-Error-Code", "Location",
}

// shownOfRequest is the number of headers of requests in shownAlways.
const shownOfRequest = 8

// entrySize is the memory of an entry in the ring, beside its block, and moreSize that of its more, in
// bytes.
const (
	entrySize = 128
	moreSize  = 144
)

// entryOf returns the entry of a request, without a block, and sets its texts.
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

// setHeaders sets the values of the headers of shownAlways. It does with them what exchange.Header does,
// but faster. granted: the server itself made the headers of the answer.
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

// pack copies the texts to the block of the entry, or to a new one if it is too small or much too large.
func (e *entry) pack(t *texts) {
	length := 0
	for i := range t {
		length += len(t[i])
		e.ends[i] = uint16(length) // at most 24 texts of little more than maxText bytes
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

// bytes returns a text of the entry, which must not be changed.
func (e *entry) bytes(i int) []byte {
	begin := uint16(0)
	if i > 0 {
		begin = e.ends[i-1]
	}
	return e.block[begin:e.ends[i]]
}

// text returns a text of the entry.
func (e *entry) text(i int) string { return string(e.bytes(i)) }

// why returns why the request was refused, or the zero Cause.
func (e *entry) why() why.Cause {
	if e.more == nil {
		return why.Cause{}
	}
	return e.more.why
}

// kept returns a text without secrets, cut to maxText bytes.
func kept(text string) string { return short(exchange.Text(text)) }

// short returns a text cut to maxText bytes.
func short(text string) string { return clip.Text(text, maxText) }

// onlyVersion returns the version of a query that is nothing but an ordinary api-version, as most are.
// Such a query has no secrets. ok is false for all others.
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

// versionOf returns the api-version in a query, or "".
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
