package record

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// sanitized replaces secrets, as it does in the recordings of the real service.
const sanitized = "sanitized"

// secretNames are the names of members, parameters and headers whose value is a secret, in lower
// case and without hyphens and underscores.
var secretNames = map[string]bool{
	"accesskey": true, "accesstoken": true, "apikey": true, "authorization": true, "connectionstring": true, "cookie": true,
	"idtoken": true, "password": true, "refreshtoken": true, "secret": true, "sig": true, "signature": true,
	"skypetoken": true, "token": true,
}

func isSecret(name string) bool {
	return secretNames[strings.NewReplacer("-", "", "_", "").Replace(strings.ToLower(name))]
}

// Secrets inside of texts.
var (
	jwt   = regexp.MustCompile(`eyJ[\w-]{2,}\.[\w-]+\.[\w-]*`)
	named = regexp.MustCompile(`(?i)((?:access[_-]?key|access[_-]?token|signature|sig|skypetoken|token|password)\s*=\s*)[^\s&;,"'<>]+`)
	// member matches a member of JSON that is cut off or malformed.
	member = regexp.MustCompile(`(?i)("[\w-]*(?:token|key|password|secret|signature|string)"\s*:\s*)"(?:[^"\\]|\\.)*(?:"|$)`)
	scheme = regexp.MustCompile(`(?i)((?:bearer|hmac-sha256)\s+)[^\s"'<>]{16,}`)
)

// Words without which the patterns match nothing, in lower case.
var (
	namedWords  = []string{"key", "token", "sig", "password"}
	schemeWords = []string{"bearer", "hmac-sha256"}
)

// cleanText returns a text without the secrets in it. It looks for words before it tries a
// pattern, because patterns are slow on long texts.
func cleanText(s string) string {
	if strings.Contains(s, "eyJ") {
		s = jwt.ReplaceAllString(s, sanitized)
	}
	lower := strings.ToLower(s)
	has := func(word string) bool { return strings.Contains(lower, word) }
	if strings.Contains(s, "=") && slices.ContainsFunc(namedWords, has) {
		s = named.ReplaceAllString(s, "${1}"+sanitized)
	}
	if slices.ContainsFunc(schemeWords, has) {
		s = scheme.ReplaceAllString(s, "${1}"+sanitized)
	}
	return s
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

// cleanHeaders returns the headers with one value each. Several values are joined by commas. Of
// Authorization, the scheme stays.
func cleanHeaders(h http.Header) map[string]string {
	all := make(map[string]string, len(h))
	for name, values := range h {
		if values == nil { // the server leaves it out
			continue
		}
		text := strings.Join(values, ", ")
		shown := shownHeaders[name]
		for _, prefix := range shownPrefixes {
			shown = shown || strings.HasPrefix(name, prefix)
		}
		switch kind, _, _ := strings.Cut(text, " "); {
		case name == "Authorization" && (strings.EqualFold(kind, "Bearer") || strings.EqualFold(kind, "HMAC-SHA256")):
			all[name] = kind + " " + sanitized
		case shown:
			all[name] = cleanText(text)
		default:
			all[name] = sanitized
		}
	}
	return all
}

// cleanQuery returns the parameters with one value each, and only the api-version if bare is set.
func cleanQuery(q url.Values, bare bool) map[string]string {
	all := make(map[string]string, len(q))
	for name, values := range q {
		switch {
		case bare && !strings.EqualFold(name, "api-version"):
		case isSecret(name):
			all[name] = sanitized
		default:
			all[cleanText(name)] = cleanText(strings.Join(values, ", "))
		}
	}
	return all
}

// cleanBody returns a body as JSON without secrets: null if it is empty, itself if it is JSON, and
// otherwise its text as a string. The members of objects keep their order.
func cleanBody(data []byte) json.RawMessage {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	if len(bytes.TrimSpace(data)) == 0 {
		return json.RawMessage("null")
	}
	if json.Valid(data) { // it also bounds the depth
		in := json.NewDecoder(bytes.NewReader(data))
		in.UseNumber()
		var out bytes.Buffer
		if err := cleanValue(in, &out, false); err == nil {
			return out.Bytes()
		}
	}
	text := member.ReplaceAllString(strings.ToValidUTF8(string(data), "�"), `${1}"`+sanitized+`"`)
	return quote(cleanText(text))
}

// cleanValue copies the next JSON value. If secret is set, all strings in it become sanitized.
func cleanValue(in *json.Decoder, out *bytes.Buffer, secret bool) error {
	t, err := in.Token()
	if err != nil {
		return err
	}
	switch t := t.(type) {
	case json.Delim:
		return cleanInside(in, out, t, secret)
	case string:
		if secret && t != "" {
			t = sanitized
		}
		out.Write(quote(cleanText(t)))
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

// cleanInside copies the rest of an array or an object, of which open was read. secret is as in
// cleanValue, but the time at which a token ends is no secret.
func cleanInside(in *json.Decoder, out *bytes.Buffer, open json.Delim, secret bool) error {
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
			out.Write(quote(cleanText(name)))
			out.WriteByte(':')
		}
		if err := cleanValue(in, out, hide); err != nil {
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
