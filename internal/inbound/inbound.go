// Package inbound reads the parts of a request that all listeners read in the same way: query
// parameters, whose names match without case, and the bytes of a JSON body, which may begin
// with a byte order mark and must not be compressed (docs/contract/chat.md §1).
package inbound

import (
	"bytes"
	"net/http"
	"net/url"
	"strings"

	"github.com/confab-chat/confab/internal/clip"
)

// Query parses a raw query and returns its parameters. If a parameter's name differs from one of
// names only in case, the result has the parameter under the name in names. If the query spells a
// name in several ways, their values are combined, in the order of the query. Query fails in the
// same cases as url.ParseQuery, and then also returns the parameters that it could read.
func Query(raw string, names ...string) (url.Values, error) {
	values, err := url.ParseQuery(raw)
	for name := range values {
		if spelled(name, names) != name {
			return respelled(raw, names), err
		}
	}
	return values, err
}

// respelled does the work of Query for a query in which a name must be changed. It parses each
// pair separately, because url.Values does not keep the order of two different spellings of a
// name.
func respelled(raw string, names []string) url.Values {
	all := url.Values{}
	for pair := range strings.SplitSeq(raw, "&") {
		one, _ := url.ParseQuery(pair) // the error is ignored, because Query returns the error for the whole query
		for name, values := range one {
			name = spelled(name, names)
			all[name] = append(all[name], values...)
		}
	}
	return all
}

// spelled returns the element of names that equals name except for the case of ASCII letters, or
// name if no element does.
func spelled(name string, names []string) string {
	for _, n := range names {
		// Comparing the lengths excludes letters outside ASCII that EqualFold takes for an ASCII
		// letter, because they have more bytes.
		if len(n) == len(name) && strings.EqualFold(n, name) {
			return n
		}
	}
	return name
}

// AcceptedCoding is the value of the header Accept-Encoding in a 415 response that
// RefusedCoding has caused (RFC 9110, section 15.5.16).
const AcceptedCoding = "identity"

// maxEcho is the greatest number of bytes of a client's text that an error message repeats.
const maxEcho = 100

// RefusedCoding returns the message of the 415 response for a request whose Content-Encoding is not
// supported, or "" if the header is missing or names only identity. Compressed bodies are refused
// because a small body could expand to a large one.
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

// mark is the UTF-8 byte order mark, which many Windows programs write before a text.
var mark = []byte("\xef\xbb\xbf")

// JSON returns a request body without the byte order mark that may stand before its text. RFC
// 8259, section 8.1, allows a reader to skip it.
func JSON(body []byte) []byte { return bytes.TrimPrefix(body, mark) }
