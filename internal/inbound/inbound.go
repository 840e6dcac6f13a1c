// Package inbound reads the parts of a request that every listener reads alike: the names
// of query parameters, which match without case, and the bytes of a JSON body, which may
// begin with a byte order mark and must not be compressed (docs/contract/chat.md §1).
package inbound

import (
	"bytes"
	"net/http"
	"net/url"
	"strings"

	"github.com/confab-chat/confab/internal/clip"
)

// Query returns the parameters of a raw query. A parameter whose name equals one of names
// except for its case gets the name as it is in names. If the query spells a name in several
// ways, the values of all of them are together, in the order of the query. Query fails as
// url.ParseQuery does, and returns the parameters that it could read then too.
func Query(raw string, names ...string) (url.Values, error) {
	values, err := url.ParseQuery(raw)
	for name := range values {
		if spelled(name, names) != name {
			return respelled(raw, names), err
		}
	}
	return values, err
}

// respelled is Query for a query with a name that must be changed. It reads pair by pair:
// url.Values does not keep the order in which two spellings of a name stand.
func respelled(raw string, names []string) url.Values {
	all := url.Values{}
	for pair := range strings.SplitSeq(raw, "&") {
		one, _ := url.ParseQuery(pair) // Query returns the error for the whole query
		for name, values := range one {
			name = spelled(name, names)
			all[name] = append(all[name], values...)
		}
	}
	return all
}

// spelled returns the one of names that equals name except for the case of ASCII letters, or
// name if there is none.
func spelled(name string, names []string) string {
	for _, n := range names {
		if len(n) == len(name) && strings.EqualFold(n, name) { // a letter outside of ASCII that folds to one in it is longer
			return n
		}
	}
	return name
}

// AcceptedCoding is the value of the header Accept-Encoding in a response with the message of
// RefusedCoding (RFC 9110, section 15.5.16).
const AcceptedCoding = "identity"

// maxEcho is the most bytes of a client's text that a message repeats.
const maxEcho = 100

// RefusedCoding returns the message of the 415 for a body whose headers name a
// Content-Encoding, or "" if they name none or identity. No listener takes another coding: a
// small compressed body could become a large one.
func RefusedCoding(h http.Header) (message string) {
	for _, list := range h.Values("Content-Encoding") {
		for coding := range strings.SplitSeq(list, ",") {
			coding = strings.Trim(coding, " \t")
			if coding != "" && !strings.EqualFold(coding, "identity") {
				return "The Content-Encoding " + clip.Text(coding, maxEcho) +
					" is not supported. Send the body uncompressed: without the header Content-Encoding, or with identity."
			}
		}
	}
	return ""
}

// mark is the UTF-8 byte order mark, which many programs of Windows write before a text.
var mark = []byte("\xef\xbb\xbf")

// JSON returns the body of a request without the byte order mark before its text, if it has
// one: RFC 8259, section 8.1, lets a reader skip it.
func JSON(body []byte) []byte { return bytes.TrimPrefix(body, mark) }
