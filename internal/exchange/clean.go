package exchange

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// Sanitized is the text that replaces each secret. The recordings of Microsoft's service use the
// same text.
const Sanitized = "sanitized"

// secretNames are the names of JSON members, query parameters and headers with secret values.
// They are in lower case, without hyphens and underscores.
var secretNames = map[string]bool{
	"accesskey": true, "accesstoken": true, "apikey": true, "authorization": true, "connectionstring": true, "cookie": true,
	"idtoken": true, "password": true, "refreshtoken": true, "secret": true, "sig": true, "signature": true,
	"skypetoken": true, "token": true,
}

// longestName is the length in bytes of the longest name in secretNames.
const longestName = len("connectionstring")

// isSecret reports whether the value of a JSON member, query parameter or header with this name
// is a secret. It allocates nothing, because the server calls it for each request.
func isSecret(name string) bool {
	var plain [longestName]byte
	n := 0
	for i := range len(name) {
		c := name[i]
		switch {
		case c == '-' || c == '_':
			continue
		case n == len(plain):
			return false
		case 'A' <= c && c <= 'Z':
			c += 'a' - 'A'
		}
		plain[n] = c
		n++
	}
	return secretNames[string(plain[:n])]
}

// Patterns of secrets within a text.
var (
	jwt   = regexp.MustCompile(`eyJ[\w-]{2,}\.[\w-]+\.[\w-]*`)
	named = regexp.MustCompile(`(?i)((?:access[_-]?key|access[_-]?token|signature|sig|skypetoken|token|password)\s*=\s*)[^\s&;,"'<>]+`)
	// member matches a JSON member with a secret value, in JSON that is cut off or malformed.
	member = regexp.MustCompile(`(?is)("[\w-]*(?:token|key|password|secret|signature|string)"\s*:\s*)"(?:[^"\\]|\\.)*(?:"|\\?$)`)
	scheme = regexp.MustCompile(`(?i)((?:bearer|hmac-sha256)\s+)[^\s"'<>]{16,}`)
)

// namedWords has words in lower case. A text without any of them does not match the pattern named.
var namedWords = []string{"key", "token", "sig", "password"}

// Text returns a text with each secret in it replaced by Sanitized. It searches for certain words
// before it tries a pattern, because patterns are slow on long texts.
func Text(s string) string {
	if !mayHide(s) {
		return s
	}
	if strings.Contains(s, "eyJ") {
		s = jwt.ReplaceAllString(s, Sanitized)
	}
	// Replace ſ by s too, because a pattern that ignores case takes ſ for s.
	lower := strings.ReplaceAll(strings.ToLower(s), "ſ", "s")
	has := func(word string) bool { return strings.Contains(lower, word) }
	if strings.Contains(s, "=") && slices.ContainsFunc(namedWords, has) {
		s = named.ReplaceAllString(s, "${1}"+Sanitized)
	}
	if slices.ContainsFunc(schemeWords, has) {
		s = scheme.ReplaceAllString(s, "${1}"+Sanitized)
	}
	return s
}

// schemeWords are the schemes, in lower case, that precede a credential in the header
// Authorization. A blank separates the scheme from the credential.
var schemeWords = []string{"bearer", "hmac-sha256"}

// namedEnds are the endings, in lower case, of the names before "=" that the pattern named matches.
var namedEnds = []string{"key", "token", "signature", "sig", "password"}

// Kinds of bytes in a text. mayHide examines the text before a byte unless the byte is ordinary.
const (
	ordinary = iota
	blank    // white space, the same bytes that \s in a pattern matches
	assigns
	ofToken // the third byte of "eyJ"
)

var closer = [256]byte{' ': blank, '\t': blank, '\n': blank, '\f': blank, '\r': blank, '=': assigns, 'J': ofToken}

// mayHide reports whether a text may match one of the patterns of secrets. It allocates nothing and
// is fast, because the server calls it for each text of each request.
func mayHide(s string) bool {
	for i := 0; i < len(s); i++ {
		for len(s)-i >= 8 && allOrdinary(s[i:i+8]) {
			i += 8
		}
		if i == len(s) {
			return false
		}
		switch closer[s[i]] {
		case blank:
			if endsInOne(s[:i], schemeWords) {
				return true
			}
		case assigns:
			end := i
			for end > 0 && closer[s[end-1]] == blank {
				end--
			}
			if endsInOne(s[:end], namedEnds) {
				return true
			}
		case ofToken:
			if strings.HasSuffix(s[:i], "ey") {
				return true
			}
		}
	}
	return false
}

// allOrdinary reports whether the first eight bytes of s are all ordinary. It may return false if
// one of them is a control character, although a control character is ordinary too.
func allOrdinary(s string) bool {
	const each, high = 0x0101010101010101, 0x8080808080808080
	_ = s[7]
	v := uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 | uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
	// below sets the high bit of each byte of its result if that byte of v is less than n.
	below := func(v, n uint64) uint64 { return (v - n*each) &^ v }
	return (below(v, ' '+1)|below(v^'='*each, 1)|below(v^'J'*each, 1))&high == 0
}

// lastLetters has the last letters of schemeWords and namedEnds, in lower and upper case. A pattern
// that ignores case matches a last letter only in these two cases. The exceptions are k and s, each
// of which also matches one letter outside ASCII.
var lastLetters = func() (last [256]bool) {
	for _, word := range slices.Concat(schemeWords, namedEnds) {
		c := word[len(word)-1:]
		last[c[0]], last[strings.ToUpper(c)[0]] = true, true
	}
	return last
}()

// endsInOne reports whether a text ends in one of the words, in any letter case. It also returns
// true if a non-ASCII character is near the end, because a pattern that ignores case takes some of
// these characters for ASCII letters, such as the Kelvin sign for k.
func endsInOne(s string, words []string) bool {
	const longest = len("hmac-sha256")
	if s == "" || !lastLetters[s[len(s)-1]] {
		return false
	}
	for _, c := range []byte(s[max(0, len(s)-longest):]) {
		if c >= utf8.RuneSelf {
			return true
		}
	}
	for _, word := range words {
		if len(s) >= len(word) && strings.EqualFold(s[len(s)-len(word):], word) {
			return true
		}
	}
	return false
}

// shownHeaders are the headers whose values are recorded, in addition to headers with a prefix in
// shownPrefixes. The value of any other header may be a secret and is replaced.
var shownHeaders = map[string]bool{
	"Accept": true, "Accept-Encoding": true, "Accept-Language": true, "Allow": true, "Api-Supported-Versions": true,
	"Cache-Control": true, "Connection": true, "Content-Encoding": true, "Content-Length": true, "Content-Type": true,
	"Date": true, "Dnt": true, "Expect": true, "Forwarded": true, "Host": true, "Idempotency-Token": true, "Image-Filename": true,
	"Keep-Alive": true, "Last-Event-Id": true, "Location": true, "Ms-Cv": true, "Origin": true, "Pragma": true,
	"Retry-After": true, "Server": true, "Strict-Transport-Security": true, "Te": true, "Traceparent": true, "Transfer-Encoding": true,
	"Upgrade": true, "User-Agent": true, "Vary": true, "Via": true, "Www-Authenticate": true, "X-Content-Type-Options": true,
	"X-Ms-Client-Request-Id": true, "X-Ms-Content-Sha256": true, "X-Ms-Date": true, "X-Ms-Error-Code": true, "X-Ms-Request-Id": true,
	"X-Ms-Return-Client-Request-Id": true, "X-Ms-Useragent": true, "X-Processing-Time": true,
}

var shownPrefixes = []string{"Access-Control-", "Confab-", "Repeatability-", "Sec-Fetch-", "Sec-Websocket-Version", "X-Forwarded-"}

// Headers returns the headers without secrets, with one value for each name. It joins several
// values by commas, and cleans the result as Header does.
func Headers(h http.Header) map[string]string {
	all := make(map[string]string, len(h))
	for name, values := range h {
		if values == nil { // a header with the value nil is not sent by net/http
			continue
		}
		all[name] = Header(name, strings.Join(values, ", "))
	}
	return all
}

// Header returns the value of a header without secrets. name is in canonical form. Of the header
// Authorization only the scheme remains. The value of a header that is not known to be harmless is
// replaced completely.
func Header(name, value string) string {
	if name == "Authorization" {
		switch kind, _, _ := strings.Cut(value, " "); {
		case strings.EqualFold(kind, "Bearer"):
			return "Bearer " + Sanitized
		case strings.EqualFold(kind, "HMAC-SHA256"):
			return "HMAC-SHA256 " + Sanitized
		}
		return Sanitized
	}
	shown := shownHeaders[name]
	for _, prefix := range shownPrefixes {
		shown = shown || strings.HasPrefix(name, prefix)
	}
	if !shown {
		return Sanitized
	}
	return Text(value)
}

// Query returns the query parameters without secrets, with one value for each name. If bare is
// true, it returns only api-version.
func Query(q url.Values, bare bool) map[string]string {
	all := make(map[string]string, len(q))
	for name, values := range q {
		switch {
		case bare && !strings.EqualFold(name, "api-version"):
		case isSecret(name):
			all[name] = Sanitized
		default:
			all[Text(name)] = Text(strings.Join(values, ", "))
		}
	}
	return all
}

// RawQuery returns the query string of a URL without secrets. If bare is true, only api-version
// remains. It allocates nothing for a query without secrets and percent-encodings.
func RawQuery(raw string, bare bool) string {
	same := true
	for part := range strings.SplitSeq(raw, "&") {
		same = same && cleanPart(part, bare) == part
	}
	if same {
		return raw
	}
	var parts []string
	for part := range strings.SplitSeq(raw, "&") {
		if part = cleanPart(part, bare); part != "" {
			parts = append(parts, part)
		}
	}
	return strings.Join(parts, "&")
}

// cleanPart returns one parameter of a query string, escaped and without secrets. If bare is true,
// it returns "" for every parameter but api-version.
func cleanPart(part string, bare bool) string {
	name, value, assigned := strings.Cut(part, "=")
	if strings.ContainsAny(part, "%+") {
		var err1, err2 error
		name, err1 = url.QueryUnescape(name)
		value, err2 = url.QueryUnescape(value)
		if err1 != nil || err2 != nil {
			return Sanitized
		}
	}
	switch {
	case bare && !strings.EqualFold(name, "api-version"):
		return ""
	case isSecret(name):
		return name + "=" + Sanitized
	case Text(name) == name && Text(value) == value:
		return part
	case !assigned:
		return url.QueryEscape(Text(name))
	}
	return url.QueryEscape(Text(name)) + "=" + url.QueryEscape(Text(value))
}

// JSON returns a body, as JSON and without secrets: null for an empty body, JSON as it is,
// and any other text as a JSON string. The members of objects keep their order.
func JSON(data []byte) json.RawMessage {
	text, isJSON := clean(data)
	switch {
	case isJSON:
		return text
	case len(text) == 0:
		return json.RawMessage("null")
	}
	return quote(string(text))
}

// BodyText returns the text of a body without secrets. In JSON it removes the white space between
// tokens. changed is true if the body contained a secret or bytes that are not UTF-8.
func BodyText(data []byte) (text string, changed bool) {
	out, isJSON := clean(data)
	if !isJSON {
		return string(out), string(out) != string(data)
	}
	var same bytes.Buffer
	in := json.NewDecoder(bytes.NewReader(bytes.TrimPrefix(data, []byte(bom))))
	in.UseNumber()
	err := copyValue(in, &same, func(s string, _ bool) string { return s }, false)
	return string(out), err != nil || !bytes.Equal(same.Bytes(), out)
}

// bom is the byte order mark of UTF-8. JSON from some clients begins with it.
const bom = "\xef\xbb\xbf"

// clean returns a body without secrets, and whether it is JSON.
func clean(data []byte) (text []byte, isJSON bool) {
	data = bytes.TrimPrefix(data, []byte(bom))
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, false
	}
	if json.Valid(data) { // json.Valid also returns false for JSON that is nested too deeply to be decoded
		in := json.NewDecoder(bytes.NewReader(data))
		in.UseNumber()
		var out bytes.Buffer
		if err := copyValue(in, &out, cleanString, false); err == nil {
			return out.Bytes(), true
		}
	}
	plain := member.ReplaceAllString(strings.ToValidUTF8(string(data), "�"), `${1}"`+Sanitized+`"`)
	return []byte(Text(plain)), false
}

// cleanString returns a JSON string without secrets. If secret is true, the whole string is a
// secret.
func cleanString(s string, secret bool) string {
	if secret && s != "" {
		return Sanitized
	}
	return Text(s)
}

// copyValue copies the next JSON value from in to out. It replaces each string by the result of
// text. secret is true if the value belongs to a member with a secret name.
func copyValue(in *json.Decoder, out *bytes.Buffer, text func(s string, secret bool) string, secret bool) error {
	t, err := in.Token()
	if err != nil {
		return err
	}
	switch t := t.(type) {
	case json.Delim:
		return copyInside(in, out, text, t, secret)
	case string:
		out.Write(quote(text(t, secret)))
	case json.Number:
		out.WriteString(t.String())
	case bool:
		if t {
			out.WriteString("true")
		} else {
			out.WriteString("false")
		}
	default:
		out.WriteString("null")
	}
	return nil
}

// copyInside copies the rest of an array or an object whose first token, open, was already read.
// text and secret are as in copyValue. In a secret object, the member expiresOn is copied
// unchanged, because its value is a time.
func copyInside(in *json.Decoder, out *bytes.Buffer, text func(s string, secret bool) string, open json.Delim, secret bool) error {
	out.WriteString(open.String())
	for first := true; in.More(); first = false {
		if !first {
			out.WriteByte(',')
		}
		hide := secret
		if open == '{' {
			t, err := in.Token()
			if err != nil {
				return err
			}
			// The conversion cannot fail: the decoder accepts only strings as names.
			name := t.(string)
			// The member expiresOn of the secret object accessToken is no secret.
			hide = isSecret(name) || secret && !strings.EqualFold(name, "expiresOn")
			out.Write(quote(text(name, false)))
			out.WriteByte(':')
		}
		if err := copyValue(in, out, text, hide); err != nil {
			return err
		}
	}
	end, err := in.Token()
	if err != nil {
		return err
	}
	out.WriteString(end.(json.Delim).String())
	return nil
}

// quote returns a text as a JSON string. It does not escape <, > and &, so that people can read
// them.
func quote(s string) []byte {
	var b bytes.Buffer
	out := json.NewEncoder(&b)
	out.SetEscapeHTML(false)
	if err := out.Encode(s); err != nil { // the error cannot occur: JSON can encode every string
		panic(err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
