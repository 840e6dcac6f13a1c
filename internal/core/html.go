package core

import (
	"cmp"
	"strings"

	"github.com/confab-chat/confab/internal/why"
)

// MaxHTMLGrowth bounds how much longer cleaning makes an HTML message: the cleaned text has at most
// this many bytes for each byte of the original. A text of & characters alone reaches the bound,
// because each & becomes &amp;. A start tag with the end tag that cleaning adds stays below it.
const MaxHTMLGrowth = 5

// MaxHTMLTags is the greatest number of tags and attributes in an HTML message, including the tags
// that cleaning removes and the end tags that cleaning adds. Cleaning a tag takes as much time as
// cleaning dozens of bytes of text. A message of the default size, 64 KiB, cannot exceed the limit:
// an attribute has at least two bytes and a tag three, and a tag to which cleaning adds an end tag
// has at least seven bytes in the result.
const MaxHTMLTags = 40_000

// cleanHTML returns an HTML message without everything that htmlElements does not allow
// (docs/contract/chat.md §4.1). It fails with a BadRequest if cleaning leaves only white space,
// or if the message has more than MaxHTMLTags tags, or more bytes than Limits.Content
// after cleaning.
func (s *Service) cleanHTML(content string) (string, error) {
	limit := cmp.Or(s.limits.Content, MaxContent)
	cleaned, err := cleanHTML(content, s.htmlImages, limit)
	if err != nil {
		return "", err
	}
	if cleaned != content && strings.TrimSpace(cleaned) == "" {
		return "", Invalid("content", "The content field has no HTML that is allowed in a message.").Because(why.NoHTML)
	}
	return cleaned, nil
}

// htmlValue reports whether an attribute may have the given value. The value still contains its
// character references, such as &amp;.
type htmlValue = func(string) bool

// htmlAttribute is an attribute that an element may have.
type htmlAttribute struct {
	name  string // in lower case
	value htmlValue
}

// htmlElements are the elements that a message may have, each with the attributes that it may
// have in addition to htmlGlobal. Elements that run or embed something (script, iframe, object,
// svg, math) or change the page (style, base, form) are left out on purpose. So are image maps
// and the attributes name and id, because an id in a message can take the place of an id of the
// page. Only a mention (msft-mention) may have an id, because Microsoft's UI library finds the
// user by it; isMentionID refuses ids that a page may use.
var htmlElements = func() map[string]*htmlElement {
	attributes := map[string][]htmlAttribute{
		"a":            {{"href", isLink}, {"rel", isWords}},
		"blockquote":   {{"cite", isLink}},
		"q":            {{"cite", isLink}},
		"del":          {{"cite", isLink}, {"datetime", isTime}},
		"ins":          {{"cite", isLink}, {"datetime", isTime}},
		"time":         {{"datetime", isTime}},
		"details":      {{"open", isWords}},
		"img":          {{"src", isImage}, {"alt", isText}, {"width", isSize}, {"height", isSize}, {"align", isWords}},
		"ol":           {{"type", isNumber}, {"start", isNumber}, {"reversed", isWords}},
		"ul":           {{"type", isWords}},
		"li":           {{"type", isNumber}, {"value", isNumber}},
		"meter":        {{"value", isNumber}, {"min", isNumber}, {"max", isNumber}, {"low", isNumber}, {"high", isNumber}, {"optimum", isNumber}},
		"progress":     {{"value", isNumber}, {"max", isNumber}},
		"msft-mention": {{"id", isMentionID}},
	}
	for _, name := range strings.Fields(`abbr acronym article aside b bdi bdo br caption cite code dd dfn div dl dt em
		figcaption figure footer h1 h2 h3 h4 h5 h6 header hgroup hr i mark p pre rp rt ruby s samp section small span
		strike strong sub summary sup tt u var wbr`) {
		attributes[name] = nil
	}
	for _, name := range strings.Fields("table tbody thead tfoot tr td th col colgroup") {
		attributes[name] = []htmlAttribute{{"align", isWords}, {"valign", isWords}, {"width", isSize}, {"height", isSize},
			{"span", isNumber}, {"colspan", isNumber}, {"rowspan", isNumber}, {"scope", isWords}, {"nowrap", isWords},
			{"abbr", isText}, {"summary", isText}}
	}
	elements := map[string]*htmlElement{}
	for name, own := range attributes {
		e := &htmlElement{name: name, endTag: "</" + name + ">", attributes: append(own, htmlGlobal...)}
		for _, a := range e.attributes {
			e.lengths |= 1 << len(a.name)
		}
		elements[name] = e
	}
	nestHTML(elements)
	return elements
}()

// htmlGlobal are the attributes that every element may have.
var htmlGlobal = []htmlAttribute{{"dir", isWords}, {"lang", isWords}, {"title", isText}}

// htmlDropped are the elements that are removed together with their content, because the
// content is not text for people. The content of other removed elements stays.
var htmlDropped = map[string]bool{
	"script": true, "style": true, "iframe": true, "noembed": true, "noframes": true, "noscript": true, "object": true,
}

// htmlByName holds htmlElements by the length and the first letter of their names. It makes a
// lookup fast, because a message of the greatest size has several hundred thousand tags.
var htmlByName = func() (index [len("msft-mention") + 1][26][]*htmlElement) {
	for name, e := range htmlElements {
		of := &index[len(name)][name[0]-'a']
		*of = append(*of, e)
	}
	return index
}()

// htmlElementOf returns the allowed element with the given name, which begins with a letter and may
// be in any letter case. It returns nil if no such element is allowed.
func htmlElementOf(name string) *htmlElement {
	if len(name) >= len(htmlByName) {
		return nil
	}
	for _, e := range htmlByName[len(name)][name[0]|0x20-'a'] {
		if e.name == name || strings.EqualFold(e.name, name) {
			return e
		}
	}
	return nil
}

// cleanHTML returns s without everything that htmlElements does not allow. What remains keeps
// its spelling, with three exceptions: <, > and & in text become character references, values
// of attributes get quotation marks if they had none, and white space in tags becomes one
// blank.
//
// The result is safe even if a browser reads s differently: it contains only tags of
// htmlElements with quoted values, and no other < or >. Cleaning takes time in proportion to
// len(s). Cleaning the result again changes nothing.
//
// As soon as the result has more bytes than limit, or the text more than MaxHTMLTags tags,
// cleanHTML stops and fails with a BadRequest. It uses no more than limit bytes of memory
// besides s.
func cleanHTML(s string, images bool, limit int) (cleaned string, err error) {
	c := cleaner{in: s, images: images, limit: limit}
	for c.at < len(s) && c.fits("") && c.tags <= MaxHTMLTags {
		c.text()
		if c.at < len(s) {
			c.markup()
		}
	}
	c.end(0, true)
	if c.tags > MaxHTMLTags {
		return "", tooLarge("content", c.tags, MaxHTMLTags, "HTML tags and attributes", "", "The content field has more than %d HTML tags and attributes, or would have after missing end tags are added.", MaxHTMLTags)
	}
	if !c.fits("") {
		return "", tooLarge("content", limit+1, limit, "bytes or more after it was cleaned", profile, "The content field has %d bytes or more; at most %d are allowed.", limit+1, limit)
	}
	if !c.changed {
		return s, nil
	}
	c.out.WriteString(s[c.copied:])
	return c.out.String(), nil
}

// cleaner is the state of cleanHTML. The bytes of in before the index copied were written to
// out or removed. The bytes from copied to at will be written unchanged.
type cleaner struct {
	in      string
	at      int
	copied  int
	changed bool
	out     strings.Builder
	kept    []byte // buffer for a tag
	images  bool
	limit   int // most bytes of the result
	over    bool
	tags    int // number of tags and attributes that were read, and of end tags that were added
	nesting
}

// fits reports whether the result so far, with text appended, has at most limit bytes.
func (c *cleaner) fits(text string) bool {
	return !c.over && c.out.Len()+c.at-c.copied+len(text) <= c.limit
}

// replace writes text in exchange for in[c.at:end] and moves to end. If the result would be longer
// than the limit, replace moves to the end of in, so that cleaning stops.
func (c *cleaner) replace(end int, text string) {
	if !c.fits(text) {
		c.over, c.at = true, len(c.in)
		return
	}
	if !c.changed {
		c.changed = true
		rest := c.in[c.at:]
		c.out.Grow(min(c.limit, len(c.in)+4*strings.Count(rest, "&")+3*strings.Count(rest, ">")+3*strings.Count(rest, "<"))) // usually enough for the whole result
	}
	if c.copied < c.at {
		c.out.WriteString(c.in[c.copied:c.at])
	}
	c.out.WriteString(text)
	c.at, c.copied = end, end
}

// remove moves to end without writing in[c.at:end].
func (c *cleaner) remove(end int) {
	if !c.changed {
		c.replace(end, "")
		return
	}
	if c.copied < c.at {
		c.out.WriteString(c.in[c.copied:c.at])
	}
	c.at, c.copied = end, end
}

// text moves over text up to the next tag or comment. It escapes <, > and &, except the & of a
// character reference.
func (c *cleaner) text() {
	for ; c.at < len(c.in); c.at++ {
		switch c.in[c.at] {
		case '<':
			if c.at+1 < len(c.in) {
				if b := c.in[c.at+1]; isLetter(b) || b == '/' || b == '!' || b == '?' {
					return
				}
			}
			c.replace(c.at+1, "&lt;")
			c.at--
		case '>':
			c.replace(c.at+1, "&gt;")
			c.at--
		case '&':
			if end := referenceEnd(c.in, c.at); end > 0 {
				c.at = end - 1
			} else {
				c.replace(c.at+1, "&amp;")
				c.at--
			}
		}
	}
}

// referenceEnd returns the end of the character reference at s[at], such as &lt; or &#60;. It
// returns 0 if no reference begins there. A reference without a semicolon does not count:
// browsers accept a few, and it is safe to show them as text.
func referenceEnd(s string, at int) int {
	i := at + 1
	if i < len(s) && s[i] == '#' {
		i++
	}
	begin := i
	for i < len(s) && isAlphanumeric(s[i]) {
		i++
	}
	if i == begin || i == len(s) || s[i] != ';' {
		return 0
	}
	return i + 1
}

// markup moves over the tag or comment at c.at. It removes comments.
func (c *cleaner) markup() {
	rest := c.in[c.at:]
	switch {
	case isLetter(rest[1]):
		c.tag(c.at + 1)
	case len(rest) > 2 && rest[1] == '/' && isLetter(rest[2]):
		c.tag(c.at + 2)
	case strings.HasPrefix(rest, "<!--"):
		c.remove(commentEnd(c.in, c.at+4))
	case rest == "</":
		c.replace(c.at+1, "&lt;")
	default: // remove other markup, which a browser reads as a comment
		end := strings.IndexByte(rest, '>') + 1
		if end == 0 {
			end = len(rest)
		}
		c.remove(c.at + end)
	}
}

// commentEnd returns the end of an HTML comment whose text begins at s[at], after <!--. The --
// in <!-- may also be part of the comment's end, as in <!-->.
func commentEnd(s string, at int) int {
	for i := at; ; i++ {
		next := strings.IndexByte(s[i:], '>')
		if next < 0 {
			return len(s)
		}
		i += next
		if s[i-2:i] == "--" || i-3 >= at && s[i-3:i] == "--!" {
			return i + 1
		}
	}
}

// tag moves over the tag at c.at, whose name begins at index name, and writes the allowed parts
// of it. If the tag has no end, all of the remaining text belongs to it, as in a browser.
func (c *cleaner) tag(name int) {
	c.tags++
	in := c.in
	i := name
	for i < len(in) && !isSpace(in[i]) && in[i] != '/' && in[i] != '>' {
		i++
	}
	spelled := in[name:i]
	e := htmlElementOf(spelled)
	img := e == htmlImg
	allowed := e != nil && (!img || c.images)
	closing := name == c.at+2
	if allowed && !img && i < len(in) && in[i] == '>' { // most tags
		if c.nests(e, closing) {
			c.at = i + 1
		} else {
			c.remove(i + 1)
		}
		return
	}
	kept := append(c.kept[:0], in[c.at:i]...)
	slash := false  // the tag ends in />
	var seen uint32 // bit i is 1 if the tag already has attributes[i] of its element
	for {
		begin := i
		for i < len(in) && (isSpace(in[i]) || in[i] == '/') {
			i++
		}
		if i == len(in) {
			c.remove(len(in))
			return
		}
		if in[i] == '>' {
			slash = i > begin && in[i-1] == '/'
			if slash && i-1 > begin && !closing {
				kept = append(kept, ' ')
			}
			i++
			break
		}
		var a htmlSpelling
		if c.tags++; c.tags > MaxHTMLTags {
			return
		}
		if a, i = readAttribute(in, i); i == len(in) {
			c.remove(len(in))
			return
		}
		if allowed && !closing {
			kept = a.appendTo(kept, e, &seen)
		}
	}
	if slash && !closing {
		kept = append(kept, '/')
	}
	kept = append(kept, '>')
	c.kept = kept
	switch {
	case allowed && img && !closing && seen&1 == 0: // the image has no permitted src
		c.remove(i)
	case allowed && !c.nests(e, closing):
		c.remove(i)
	case allowed && string(kept) == in[c.at:i]:
		c.at = i
	case allowed:
		c.replace(i, string(kept))
	case !closing && htmlDropped[strings.ToLower(spelled)]:
		c.remove(closeEnd(in, i, spelled))
	default:
		c.remove(i)
	}
}

// nests reports whether a start tag or end tag of e may stay where it is. If so, nests first writes
// the end tags that must come before it.
func (c *cleaner) nests(e *htmlElement, closing bool) bool {
	if closing {
		return c.endTag(e)
	}
	return c.startTag(e)
}

// closeEnd searches s, from index at on, for the end tag with this name, and returns the index
// after it. It returns len(s) if there is no such tag.
func closeEnd(s string, at int, name string) int {
	for {
		i := strings.Index(s[at:], "</")
		if i < 0 {
			return len(s)
		}
		at += i + 2
		if end := at + len(name); end < len(s) && strings.EqualFold(s[at:end], name) && (isSpace(s[end]) || s[end] == '/' || s[end] == '>') {
			if i := strings.IndexByte(s[end:], '>'); i >= 0 {
				return end + i + 1
			}
			return len(s)
		}
	}
}

// htmlSpelling is an attribute of a tag as the client has written it.
type htmlSpelling struct {
	name, value string
	quote       byte // " or ' or 0
	valued      bool // it has a value
}

// readAttribute reads the attribute at s[at]. It returns the attribute and the index of the next
// one, or len(s) if the attribute has no end or nothing follows it.
func readAttribute(s string, at int) (a htmlSpelling, end int) {
	i := at + 1 // a name may begin with =
	for i < len(s) && !isSpace(s[i]) && s[i] != '/' && s[i] != '>' && s[i] != '=' {
		i++
	}
	a.name = s[at:i]
	next := skipSpace(s, i)
	if next == len(s) || s[next] != '=' {
		return a, i
	}
	a.valued = true
	i = skipSpace(s, next+1)
	if i == len(s) || s[i] == '>' {
		return a, i
	}
	if s[i] == '"' || s[i] == '\'' {
		a.quote = s[i]
		n := strings.IndexByte(s[i+1:], a.quote)
		if n < 0 {
			return a, len(s)
		}
		a.value = s[i+1 : i+1+n]
		return a, i + n + 2
	}
	begin := i
	for i < len(s) && !isSpace(s[i]) && s[i] != '>' {
		i++
	}
	a.value = s[begin:i]
	return a, i
}

// appendTo appends the attribute to a tag of e if the attribute is one that e may have, has a
// permitted value, and is the first attribute with its name in the tag.
func (a *htmlSpelling) appendTo(tag []byte, e *htmlElement, seen *uint32) []byte {
	if len(a.name) >= 32 || e.lengths&(1<<len(a.name)) == 0 {
		return tag
	}
	for i := range e.attributes {
		want := &e.attributes[i]
		if len(want.name) != len(a.name) || want.name[0] != a.name[0]|0x20 || !strings.EqualFold(want.name, a.name) {
			continue
		}
		if *seen&(1<<i) != 0 {
			return tag
		}
		before := len(tag)
		tag = append(append(tag, ' '), a.name...)
		if !a.valued {
			if !want.value("") {
				return tag[:before]
			}
			*seen |= 1 << i
			return tag
		}
		quote := a.quote
		if quote == 0 {
			quote = '"'
		}
		tag = append(tag, '=', quote)
		begin := len(tag)
		tag = appendValue(tag, a.value, quote)
		// Check the escaped value, because cleaning the result again would check that value.
		if !want.value(string(tag[begin:])) {
			return tag[:before]
		}
		*seen |= 1 << i
		return append(tag, quote)
	}
	return tag
}

// appendValue appends the value of an attribute to a tag, escaped so that it can stand between
// quotation marks of the given kind.
func appendValue(tag []byte, value string, quote byte) []byte {
	for i := range len(value) {
		switch b := value[i]; b {
		case '<':
			tag = append(tag, "&lt;"...)
		case '>':
			tag = append(tag, "&gt;"...)
		case quote: // only a value that was written without quotation marks can contain this one
			tag = append(tag, "&#34;"...)
		default:
			tag = append(tag, b)
		}
	}
	return tag
}

// isLink reports whether a value is a relative URL or one with the scheme https, http or
// mailto. It does not decode character references, so a value that hides its scheme in them is
// refused.
func isLink(v string) bool {
	v = strings.Trim(v, " \t\r\n\f")
	for _, scheme := range []string{"https://", "http://", "mailto:"} {
		if hasPrefixFold(v, scheme) {
			return true
		}
	}
	first, _, _ := strings.Cut(v, "/")
	for i := range len(first) {
		switch b := first[i]; {
		case b == '?' || b == '#':
			return true
		case b <= ' ' || b == ':' || b == '&' || b == '\\' || b == 0x7f:
			return false
		}
	}
	return true
}

// isImage reports whether a value is an https URL.
func isImage(v string) bool { return hasPrefixFold(strings.Trim(v, " \t\r\n\f"), "https://") }

// isMentionID reports whether a value may be the id of the user in a mention. It accepts only ids
// that no page gives to its own elements, so that code of the page never finds a mention under such
// an id. The accepted ids are "everyone", digits only, or digits followed by a colon and more text,
// as in 8:acs:… and 28:…. An id has at most 256 bytes and no white space.
func isMentionID(v string) bool {
	if v == "everyone" {
		return true
	}
	number, id, colon := strings.Cut(v, ":")
	return len(v) <= 256 && isDigits(number) && colon == (id != "") &&
		!strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r == 0x7f })
}

// isDigits reports whether s is not empty and has only ASCII digits.
func isDigits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

func isText(string) bool { return true }

// isWords reports whether a value has at most 100 bytes and only letters, digits, blanks, - and
// _.
func isWords(v string) bool { return short(v, " -_") }

// isNumber reports whether a value may be a number, or a letter that numbers the items of a
// list.
func isNumber(v string) bool { return short(v, "+-.") }

// isSize reports whether a value may be a number of pixels or a percentage.
func isSize(v string) bool { return short(v, "%.") }

// isTime reports whether an attribute's value looks like a date or a time.
func isTime(v string) bool { return short(v, " +-.:") }

// short reports whether a value has at most 100 bytes and consists of ASCII letters, digits and
// bytes of the string more.
func short(v, more string) bool {
	if len(v) > 100 {
		return false
	}
	for i := range len(v) {
		if !isAlphanumeric(v[i]) && strings.IndexByte(more, v[i]) < 0 {
			return false
		}
	}
	return true
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

func skipSpace(s string, i int) int {
	for i < len(s) && isSpace(s[i]) {
		i++
	}
	return i
}

func isSpace(b byte) bool {
	return b == ' ' || b == '\t' || b == '\n' || b == '\r' || b == '\f'
}

func isLetter(b byte) bool { return 'a' <= b|0x20 && b|0x20 <= 'z' }

func isAlphanumeric(b byte) bool { return isLetter(b) || '0' <= b && b <= '9' }
