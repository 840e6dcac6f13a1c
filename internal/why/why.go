// Package why has the table of all reasons for which the server refuses requests.
//
// Code that refuses a request returns a [Cause]: the code of a row of the table, and facts about
// the request, such as when its token expired. [Of] converts the cause to a [Reason]: a sentence
// with these facts, and a remedy. The log, the screen of a development server, the console, the
// command line and docs/troubleshooting.md all show sentences of this table. Clients never get
// these sentences, because a response says no more than a response of Microsoft's service.
//
//	c := why.Because(why.TokenExpired, "user", why.User(id), "ago", "5m0s", "at", why.Time(at))
//	why.Of(c).Sentence // "The token of 8:acs:..88f7 expired 5m0s ago, at 21:03:11 UTC on 2026-11-28."
package why

import (
	"slices"
	"strings"
	"time"

	"github.com/confab-chat/confab/internal/clip"
)

// Code names a reason. It never changes, because programs and pages refer to it.
type Code string

// Reason explains to a person why the server refused a request.
type Reason struct {
	Code     Code   `json:"code"`
	Sentence string `json:"sentence"` // what happened, with facts about the request
	Mend     string `json:"mend"`     // the remedy
}

// String returns the sentence, a blank and the remedy.
func (r Reason) String() string {
	if r.Mend == "" {
		return r.Sentence
	}
	return r.Sentence + " " + r.Mend
}

// Cause is the code of the reason why a request was refused, with facts about the request. The zero
// Cause means that the request was not refused. A Cause is immutable; With returns a new one.
type Cause struct {
	Code  Code
	facts []string // names of facts, each followed by its value; the last of several equal names counts
}

// Because returns a cause with the code. facts has names of facts, each followed by its value. A
// name is a word in braces in the row's sentence or remedy, and its value replaces the word. An
// empty value counts as missing. A value must not contain a secret.
func Because(code Code, facts ...string) Cause { return Cause{Code: code, facts: facts} }

// With returns the cause with further facts, which replace facts of the same names.
func (c Cause) With(facts ...string) Cause {
	return Cause{Code: c.Code, facts: append(append(make([]string, 0, len(c.facts)+len(facts)), c.facts...), facts...)}
}

// Also returns the cause with further facts. Facts that the cause already has remain as they are.
// For the zero Cause, Also returns the zero Cause.
func (c Cause) Also(facts ...string) Cause {
	if c.IsZero() {
		return c
	}
	return Cause{Code: c.Code, facts: append(facts, c.facts...)}
}

// As returns a cause with another code and the facts of c.
func (c Cause) As(code Code) Cause { return Cause{Code: code, facts: c.facts} }

// IsZero reports whether c is the zero Cause, which means that the request was not refused.
func (c Cause) IsZero() bool { return c.Code == "" }

// Fact returns the value of a fact, or "" if the cause does not have it.
func (c Cause) Fact(name string) string {
	for i := len(c.facts) - 2; i >= 0; i -= 2 {
		if c.facts[i] == name {
			return c.facts[i+1]
		}
	}
	return ""
}

// Equal reports whether two causes have the same code and the same facts in the same order.
func (c Cause) Equal(other Cause) bool {
	return c.Code == other.Code && slices.Equal(c.facts, other.facts)
}

// Size returns the number of bytes of memory that the cause occupies.
func (c Cause) Size() int {
	n := len(c.Code) + 16*cap(c.facts)
	for _, f := range c.facts {
		n += len(f)
	}
	return n
}

// MaxFact is the maximum number of bytes of a fact that a sentence shows. The rest is cut off.
const MaxFact = 240

// unknown replaces a fact in a sentence if the cause does not have the fact.
const unknown = "(unknown)"

// Of returns the sentence and the remedy for a cause. For the zero Cause it returns the zero
// Reason. If the table does not have the code, it returns a sentence with the code.
func Of(c Cause) Reason {
	if c.IsZero() {
		return Reason{}
	}
	row, ok := byCode[c.Code]
	if !ok {
		return Reason{Code: c.Code, Sentence: "The request was refused (" + string(c.Code) + ")."}
	}
	return Reason{Code: c.Code, Sentence: fill(row.Sentence, c.Fact), Mend: fill(row.Mend, c.Fact)}
}

// fill returns a text of the table with each word in braces replaced by its fact. It leaves out a
// part in brackets if a fact in that part is missing. Brackets do not nest.
func fill(text string, fact func(name string) string) string {
	var b strings.Builder
	for text != "" {
		before, rest, found := strings.Cut(text, "[")
		b.WriteString(put(before, fact, true))
		if !found {
			break
		}
		part, after, _ := strings.Cut(rest, "]")
		b.WriteString(put(part, fact, false))
		text = after
	}
	return b.String()
}

// put returns a text with each word in braces replaced by its fact. If a fact is missing, put
// writes "(unknown)" for it if must is true, and otherwise returns "".
func put(text string, fact func(name string) string, must bool) string {
	var b strings.Builder
	for text != "" {
		before, rest, found := strings.Cut(text, "{")
		b.WriteString(before)
		if !found {
			break
		}
		name, after, _ := strings.Cut(rest, "}")
		value := clip.Text(fact(name), MaxFact)
		if value == "" {
			if !must {
				return ""
			}
			value = unknown
		}
		b.WriteString(value)
		text = after
	}
	return b.String()
}

// User shortens the id of a user for sentences: it removes the resource id, and keeps only the end
// of the rest, as in "8:acs:..88f7".
func User(id string) string {
	const prefix, end = "8:acs:", 4
	if strings.HasPrefix(id, prefix) && len(id) > len(prefix)+2*end {
		return prefix + ".." + id[len(id)-end:]
	}
	return id
}

// Thread shortens the id of a thread for sentences to the beginning, such as "19:f00d..".
func Thread(id string) string {
	const prefix, begin = "19:", 4
	if strings.HasPrefix(id, prefix) && len(id) > len(prefix)+2*begin {
		return id[:len(prefix)+begin] + ".."
	}
	return id
}

// Time formats a time for sentences, such as "21:03:11 UTC on 2026-11-28". For the zero time it
// returns "".
func Time(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("15:04:05 UTC on 2006-01-02")
}
