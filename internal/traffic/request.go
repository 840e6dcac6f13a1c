package traffic

import (
	"strconv"
	"strings"
	"time"

	"github.com/confab-chat/confab/internal/why"
)

// Request is a request in a list. Its JSON is the form of the operator's API.
type Request struct {
	Seq       uint64      `json:"seq"` // number of the request; the server counts from 1 at each start
	ID        string      `json:"id"`
	ClientID  string      `json:"clientId,omitempty"`
	Time      string      `json:"time"`   // when the request arrived, in RFC 3339 with milliseconds
	MS        float64     `json:"ms"`     // milliseconds until the response was complete
	Status    int         `json:"status"` // status of the response; 0: there was no response
	Method    string      `json:"method"`
	Path      string      `json:"path"` // with the query
	Operation string      `json:"operation"`
	User      string      `json:"user,omitempty"`
	Thread    string      `json:"thread,omitempty"`
	SDK       string      `json:"sdk,omitempty"`    // the header User-Agent
	Client    string      `json:"client,omitempty"` // the client's address
	Version   string      `json:"version,omitempty"`
	Why       *why.Reason `json:"why,omitempty"` // the reason of a refusal; nil if the request was accepted
}

// Message has the headers and the body of a request or of its response.
type Message struct {
	Headers       map[string]string `json:"headers"`
	Body          string            `json:"body,omitempty"`
	BodyTruncated bool              `json:"bodyTruncated,omitempty"`
	BodySize      int64             `json:"bodySize"` // in bytes; 0 if unknown
}

// Detail is a request with its headers and bodies.
type Detail struct {
	Request
	Sent         Message `json:"request"`
	Answered     Message `json:"response"`
	CanSendAgain bool    `json:"canSendAgain"` // true for a user's chat request if everything except the token is kept
}

// summary returns the entry in the form for lists.
func (e *entry) summary() Request {
	r := Request{
		Seq: e.seq, ID: e.text(textID), ClientID: e.text(textClientID), Time: time.UnixMicro(e.time).UTC().Format("2006-01-02T15:04:05.000Z07:00"),
		MS: float64(e.duration.Microseconds()) / 1000, Status: e.status, Method: e.text(textMethod), Path: e.text(textPath),
		Operation: e.text(textOperation), User: e.text(textUser), Thread: e.text(textThread), SDK: e.text(textAgent),
		Client: e.text(textClient), Version: e.text(textVersion),
	}
	if query := e.text(textQuery); query != "" {
		r.Path += "?" + query
	}
	if cause := e.why(); !cause.IsZero() {
		reason := why.Of(cause)
		r.Why = &reason
	}
	return r
}

// detail returns the entry in the form with headers and bodies.
func (e *entry) detail() Detail {
	d := Detail{Request: e.summary()}
	if e.more != nil && e.more.request != nil {
		m := e.more
		d.CanSendAgain = m.sendable && d.User != "" && strings.HasPrefix(d.Path, "/chat/")
		d.Sent = Message{clone(m.request), m.in.text, m.in.cut, m.in.size}
		d.Answered = Message{clone(m.answer), m.out.text, m.out.cut, max(m.out.size, 0)}
	} else {
		d.Sent = Message{Headers: map[string]string{}, BodySize: e.inSize}
		d.Answered = Message{Headers: map[string]string{}}
		for i, name := range shownAlways {
			to := d.Sent.Headers
			if i >= shownOfRequest {
				to = d.Answered.Headers
			}
			if value := e.text(textHeaders + i); value != "" {
				to[name] = value
			}
		}
		if d.SDK != "" {
			d.Sent.Headers["User-Agent"] = d.SDK
		}
	}
	if host := e.text(textHost); host != "" {
		d.Sent.Headers["Host"] = host
	}
	return d
}

// clone returns a copy of m. It returns an empty map, not nil, for nil.
func clone(m map[string]string) map[string]string {
	all := make(map[string]string, len(m)+1)
	for k, v := range m {
		all[k] = v
	}
	return all
}

// Filter selects requests. A request must match all fields of the Filter that are not empty.
type Filter struct {
	Status    []string // statuses such as "403", "4xx" or "0"; the request's status must match one of them
	Operation string   // such as "send message"
	User      string   // a user's id, or the last characters of the id
	Thread    string   // a thread's id
	SDK       string   // a part of the header User-Agent
	// Query is a text that must be in the request's ids, path, operation, SDK or reason. Letter
	// case is ignored.
	Query string
	After time.Time // select only requests that arrived after this time; zero: all
}

// matches reports whether an entry matches the filter.
func (f Filter) matches(e *entry) bool {
	switch {
	case len(f.Status) > 0 && !f.hasStatus(e.status),
		f.Operation != "" && f.Operation != e.text(textOperation),
		f.User != "" && !strings.HasSuffix(e.text(textUser), f.User),
		f.Thread != "" && f.Thread != e.text(textThread),
		f.SDK != "" && !contains(e.text(textAgent), f.SDK),
		!f.After.IsZero() && e.time <= f.After.UnixMicro():
		return false
	}
	return f.Query == "" || f.finds(e)
}

// searched are the indexes of the texts that may contain Filter.Query.
var searched = [...]int{textID, textClientID, textUser, textThread, textOperation, textPath, textQuery, textAgent, textClient}

// finds reports whether the entry contains Filter.Query.
func (f Filter) finds(e *entry) bool {
	for _, i := range searched {
		if contains(e.text(i), f.Query) {
			return true
		}
	}
	cause := e.why()
	return !cause.IsZero() && (contains(string(cause.Code), f.Query) || contains(why.Of(cause).Sentence, f.Query))
}

func (f Filter) hasStatus(status int) bool {
	text := strconv.Itoa(status)
	for _, want := range f.Status {
		if want == text || len(want) == 3 && len(text) == 3 && strings.EqualFold(want[1:], "xx") && want[0] == text[0] {
			return true
		}
	}
	return false
}

// contains reports whether text contains part. It ignores letter case.
func contains(text, part string) bool {
	return strings.Contains(strings.ToLower(text), strings.ToLower(part))
}
