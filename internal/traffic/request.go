package traffic

import (
	"strconv"
	"strings"
	"time"

	"github.com/confab-chat/confab/internal/why"
)

// Request is a request in a list, in the form of the operator's API.
type Request struct {
	Seq       uint64      `json:"seq"` // its number since the start of the server
	ID        string      `json:"id"`
	ClientID  string      `json:"clientId,omitempty"`
	Time      string      `json:"time"`   // when it arrived, in RFC 3339 with milliseconds
	MS        float64     `json:"ms"`     // milliseconds until the answer
	Status    int         `json:"status"` // 0: no answer
	Method    string      `json:"method"`
	Path      string      `json:"path"` // with the query
	Operation string      `json:"operation"`
	User      string      `json:"user,omitempty"`
	Thread    string      `json:"thread,omitempty"`
	SDK       string      `json:"sdk,omitempty"`    // the header User-Agent
	Client    string      `json:"client,omitempty"` // its address
	Version   string      `json:"version,omitempty"`
	Why       *why.Reason `json:"why,omitempty"` // of a request that was refused
}

// Message is one side of a Detail.
type Message struct {
	Headers       map[string]string `json:"headers"`
	Body          string            `json:"body,omitempty"`
	BodyTruncated bool              `json:"bodyTruncated,omitempty"`
	BodySize      int64             `json:"bodySize"` // in bytes; 0 if it is not known
}

// Detail is a request with its headers and bodies.
type Detail struct {
	Request
	Sent         Message `json:"request"`
	Answered     Message `json:"response"`
	CanSendAgain bool    `json:"canSendAgain"` // a chat request of a user that is kept whole, but for its token
}

// summary returns the entry as lists show it.
func (e *entry) summary() Request {
	r := Request{
		Seq: e.seq, ID: e.ID, ClientID: e.ClientID, Time: e.Time.UTC().Format("2006-01-02T15:04:05.000Z07:00"),
		MS: float64(e.Duration.Microseconds()) / 1000, Status: e.Status, Method: e.Method, Path: e.Path,
		Operation: e.Operation, User: e.User, Thread: e.Thread, SDK: e.Agent, Client: e.Client, Version: e.version,
	}
	if e.Query != "" {
		r.Path += "?" + e.Query
	}
	if !e.Why.IsZero() {
		reason := why.Of(e.Why)
		r.Why = &reason
	}
	return r
}

// detail returns the entry with its headers and bodies.
func (e *entry) detail() Detail {
	d := Detail{Request: e.summary(), CanSendAgain: e.sendable && e.User != "" && strings.HasPrefix(e.Path, "/chat/")}
	d.Sent = Message{e.request, e.in.text, e.in.cut, e.in.size}
	d.Answered = Message{e.answer, e.out.text, e.out.cut, max(e.out.size, 0)}
	if e.request == nil {
		d.Sent.Headers, d.Answered.Headers = map[string]string{}, map[string]string{}
		for i, name := range shownAlways {
			to := d.Sent.Headers
			if i >= shownOfRequest {
				to = d.Answered.Headers
			}
			if e.shown[i] != "" {
				to[name] = e.shown[i]
			}
		}
		if e.Agent != "" {
			d.Sent.Headers["User-Agent"] = e.Agent
		}
	} else {
		d.Sent.Headers, d.Answered.Headers = clone(e.request), clone(e.answer)
	}
	if e.Host != "" {
		d.Sent.Headers["Host"] = e.Host
	}
	return d
}

// clone returns a copy of a map that is not nil.
func clone(m map[string]string) map[string]string {
	all := make(map[string]string, len(m)+1)
	for k, v := range m {
		all[k] = v
	}
	return all
}

// Filter selects requests. A request must match all fields that are not empty.
type Filter struct {
	Status    []string // such as "403", "4xx", or "0"; one of them
	Operation string   // such as "send message"
	User      string   // an id, or the end of one
	Thread    string   // an id
	SDK       string   // a part of the header User-Agent
	// Query is text in a request's ids, path, operation, SDK or reason, in any letter case.
	Query string
	After time.Time // requests that arrived later; zero: all
}

// matches reports whether an entry matches the filter.
func (f Filter) matches(e *entry) bool {
	switch {
	case len(f.Status) > 0 && !f.hasStatus(e.Status),
		f.Operation != "" && f.Operation != e.Operation,
		f.User != "" && !strings.HasSuffix(e.User, f.User),
		f.Thread != "" && f.Thread != e.Thread,
		f.SDK != "" && !contains(e.Agent, f.SDK),
		!f.After.IsZero() && !e.Time.After(f.After):
		return false
	}
	return f.Query == "" || f.finds(e)
}

// finds reports whether a text of the entry contains Filter.Query.
func (f Filter) finds(e *entry) bool {
	for _, text := range []string{e.ID, e.ClientID, e.User, e.Thread, e.Operation, e.Path, e.Query, e.Agent, e.Client, string(e.Why.Code)} {
		if contains(text, f.Query) {
			return true
		}
	}
	return !e.Why.IsZero() && contains(why.Of(e.Why).Sentence, f.Query)
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

// contains reports whether text contains part, in any letter case.
func contains(text, part string) bool {
	return strings.Contains(strings.ToLower(text), strings.ToLower(part))
}
