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

// Sanitized replaces secrets, as it does in the recordings of the real service.
const Sanitized = "sanitized"

// secretNames are the names of members, parameters and headers whose value is a secret, in lower
// case and without hyphens and underscores.
var secretNames = map[string]bool{
	"accesskey": true, "accesstoken": true, "apikey": true, "authorization": true, "connectionstring": true, "cookie": true,
	"idtoken": true, "password": true, "refreshtoken": true, "secret": true, "sig": true, "signature": true,
	"skypetoken": true, "token": true,
}

// longestName is the length in bytes of the longest of secretNames.
const longestName = len("connectionstring")

// isSecret reports whether a member, parameter or header of this name is a secret. It allocates
// nothing, because it is called for each request.
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

// Secrets inside of texts.
var (
	jwt   = regexp.MustCompile(`eyJ[\w-]{2,}\.[\w-]+\.[\w-]*`)
	named = regexp.MustCompile(`(?i)((?:access[_-]?key|access[_-]?token|signature|sig|skypetoken|token|password)\s*=\s*)[^\s&;,"'<>]+`)
	// member matches a member of JSON that is cut off or malformed.
	member = regexp.MustCompile(`(?is)("[\w-]*(?:token|key|password|secret|signature|string)"\s*:\s*)"(?:[^"\\]|\\.)*(?:"|\\?$)`)
	scheme = regexp.MustCompile(`(?i)((?:bearer|hmac-sha256)\s+)[^\s"'<>]{16,}`)
)

// Words without which the patterns match nothing, in lower case.
var namedWords = []string{"key", "token", "sig", "password"}

// Text returns a text without the secrets in it. It looks for words before it tries a pattern, because
// patterns are slow on long texts.
func Text(s string) string {
	if !mayHide(s) {
		return s
	}
	if strings.Contains(s, "eyJ") {
		s = jwt.ReplaceAllString(s, Sanitized)
	}
	lower := strings.ReplaceAll(strings.ToLower(s), "ſ", "s") // as the patterns see it
	has := func(word string) bool { return strings.Contains(lower, word) }
	if strings.Contains(s, "=") && slices.ContainsFunc(namedWords, has) {
		s = named.ReplaceAllString(s, "${1}"+Sanitized)
	}
	if slices.ContainsFunc(schemeWords, has) {
		s = scheme.ReplaceAllString(s, "${1}"+Sanitized)
	}
	return s
}

// schemeWords are the schemes of the header Authorization, in lower case. A blank follows them.
var schemeWords = []string{"bearer", "hmac-sha256"}

// namedEnds are the ends of the words that the pattern named has before "=", in lower case.
var namedEnds = []string{"key", "token", "signature", "sig", "password"}

// The bytes at which mayHide looks closer.
const (
	ordinary = iota
	blank    // \s of a pattern
	assigns
	ofToken // the third byte of "eyJ"
)

var closer = [256]byte{' ': blank, '\t': blank, '\n': blank, '\f': blank, '\r': blank, '=': assigns, 'J': ofToken}

// mayHide reports whether one of the patterns may match in a text. It allocates nothing, and is fast: it
// is called for each text of each request.
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

// allOrdinary reports whether eight bytes are all ordinary. It may return false for a control character.
func allOrdinary(s string) bool {
	const each, high = 0x0101010101010101, 0x8080808080808080
	_ = s[7]
	v := uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 | uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
	below := func(v, n uint64) uint64 { return (v - n*each) &^ v } // has a high bit if a byte is less than n
	return (below(v, ' '+1)|below(v^'='*each, 1)|below(v^'J'*each, 1))&high == 0
}

// lastLetters are the last letters of schemeWords and namedEnds, in both cases. No letter beyond ASCII
// stands for one of them in a pattern, as one does for k and for s.
var lastLetters = func() (last [256]bool) {
	for _, word := range slices.Concat(schemeWords, namedEnds) {
		c := word[len(word)-1:]
		last[c[0]], last[strings.ToUpper(c)[0]] = true, true
	}
	return last
}()

// endsInOne reports whether a text ends in one of the words, in any letter case. It also returns true if
// there are letters near the end that are not of ASCII, because the patterns take some of them for
// letters of ASCII: the sign of Kelvin for k.
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

// shownHeaders are the headers whose values are recorded. A header that is not among them may hold
// a secret. Those with the prefixes of shownPrefixes are recorded too.
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

// Headers returns the headers with one value each, as Header does. Several values are joined by
// commas.
func Headers(h http.Header) map[string]string {
	all := make(map[string]string, len(h))
	for name, values := range h {
		if values == nil { // the server leaves it out
			continue
		}
		all[name] = Header(name, strings.Join(values, ", "))
	}
	return all
}

// Header returns the value of a header, which has a name in the canonical form, without secrets. Of
// Authorization the scheme stays. Of headers that are not known to be harmless nothing does.
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

// Query returns the parameters with one value each, and only the api-version if bare is set.
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

// RawQuery returns the query of a URL without secrets, as Query does. It allocates nothing for a query
// without secrets and percent-encodings.
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

// cleanPart returns one parameter of a query, escaped, without secrets, or "" if bare leaves it out.
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

// JSON returns a body as JSON without secrets: null if it is empty, itself if it is JSON, and
// otherwise its text as a string. The members of objects keep their order.
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

// BodyText returns the text of a body without secrets. JSON loses the blanks between its tokens. changed
// reports whether the body had a secret, or bytes that are no text.
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

// bom is the byte order mark of UTF-8, which JSON may begin with.
const bom = "\xef\xbb\xbf"

// clean returns a body without secrets, and whether it is JSON.
func clean(data []byte) (text []byte, isJSON bool) {
	data = bytes.TrimPrefix(data, []byte(bom))
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, false
	}
	if json.Valid(data) { // it also bounds the depth
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

// cleanString returns a string of JSON without secrets. secret says that all of it is one.
func cleanString(s string, secret bool) string {
	if secret && s != "" {
		return Sanitized
	}
	return Text(s)
}

// copyValue copies the next JSON value, with what text returns in place of each string. secret says
// that the value is that of a secret member.
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

// copyInside copies the rest of an array or an object, of which open was read. text and secret are as in
// copyValue, but the time at which a token ends is no secret.
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
			name := t.(string)                                                       // the decoder accepts no other key
			hide = isSecret(name) || secret && !strings.EqualFold(name, "expiresOn") // of an accessToken
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

// quote returns a text as a JSON string that reads well: < and & stay.
func quote(s string) []byte {
	var b bytes.Buffer
	out := json.NewEncoder(&b)
	out.SetEscapeHTML(false)
	if err := out.Encode(s); err != nil { // impossible: every string can be encoded
		panic(err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
