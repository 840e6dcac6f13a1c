// Package why has the one table of the reasons for which requests are refused.
//
// The place that refuses a request knows the reason. It returns a [Cause]: the code of a row of the
// table, and the facts of this request, such as when a token has expired. [Of] makes of it a
// [Reason]: one sentence with these facts, and what to do about it. The log, the screen of a
// development server, the console, the command line and docs/troubleshooting.md all show sentences of
// this table. Clients do not get them: an answer says no more than the real service does.
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

// Code names a reason. It is stable: programs and pages refer to it.
type Code string

// Reason is why a request was refused, for people to read.
type Reason struct {
	Code     Code   `json:"code"`
	Sentence string `json:"sentence"` // with the facts of the request
	Mend     string `json:"mend"`     // what to do about it
}

// String returns the sentence followed by the mend.
func (r Reason) String() string {
	if r.Mend == "" {
		return r.Sentence
	}
	return r.Sentence + " " + r.Mend
}

// Cause is why a request was refused, as the place that refused it knows. The zero value stands for a
// request that was not refused. A Cause must not be changed once it was made; With makes a new one.
type Cause struct {
	Code  Code
	facts []string // names and values in turn; the last value of a name counts
}

// Because returns the cause with a code. facts are names and values in turn: the words in braces of
// the row's sentence and mend, and what stands there. A value has no secret. An empty value counts as
// missing.
func Because(code Code, facts ...string) Cause { return Cause{Code: code, facts: facts} }

// With returns the cause with further facts. They replace those of the same name.
func (c Cause) With(facts ...string) Cause {
	return Cause{Code: c.Code, facts: append(append(make([]string, 0, len(c.facts)+len(facts)), c.facts...), facts...)}
}

// Also returns the cause with further facts, which do not replace those that it has. It returns the zero
// Cause for the zero Cause.
func (c Cause) Also(facts ...string) Cause {
	if c.IsZero() {
		return c
	}
	return Cause{Code: c.Code, facts: append(facts, c.facts...)}
}

// As returns the cause with another code and the same facts.
func (c Cause) As(code Code) Cause { return Cause{Code: code, facts: c.facts} }

// IsZero reports whether the cause stands for a request that was not refused.
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

// Size returns the memory that the cause keeps, in bytes.
func (c Cause) Size() int {
	n := len(c.Code) + 16*cap(c.facts)
	for _, f := range c.facts {
		n += len(f)
	}
	return n
}

// MaxFact is the most bytes of a fact that a sentence shows.
const MaxFact = 240

// unknown stands in a sentence for a fact that the cause does not have.
const unknown = "(unknown)"

// Of returns the sentence and the mend for a cause. It returns the zero Reason for the zero Cause, and
// a sentence that says so for a code that the table does not have.
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

// fill returns a text of the table with its facts. A part in brackets is left out if one of the facts
// in it is missing. Brackets do not nest.
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

// put returns a text with its facts in place of the words in braces. If a fact is missing, put shows
// that it is unknown if the text must stay, and otherwise returns "".
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

// User returns the id of a user as sentences show it: without the resource, and of the rest only the
// end, such as "8:acs:..88f7".
func User(id string) string {
	const prefix, end = "8:acs:", 4
	if strings.HasPrefix(id, prefix) && len(id) > len(prefix)+2*end {
		return prefix + ".." + id[len(id)-end:]
	}
	return id
}

// Thread returns the id of a thread as sentences show it: with the beginning of its random part, such
// as "19:f00d..".
func Thread(id string) string {
	const prefix, begin = "19:", 4
	if strings.HasPrefix(id, prefix) && len(id) > len(prefix)+2*begin {
		return id[:len(prefix)+begin] + ".."
	}
	return id
}

// Time returns a time as sentences show it, such as "21:03:11 UTC on 2026-11-28". It returns "" for
// the zero time.
func Time(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("15:04:05 UTC on 2006-01-02")
}
