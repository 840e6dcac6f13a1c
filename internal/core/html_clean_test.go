package core_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"

	"github.com/confab-chat/confab/internal/core"
)

// TestHTMLPolicy checks what cleaning stores for messages with allowed and forbidden HTML, on a
// server that allows images.
func TestHTMLPolicy(t *testing.T) {
	const mention = `<msft-mention id="8:acs:1b5cc06b-f352-4571-b1e6-d9b259b7c776_00000007-0464-274b-b274-5a3a0d000101">Ann</msft-mention>`
	for _, c := range []struct{ in, want string }{
		// In text only <, > and & are escaped.
		{`It's "5 > 3" & <b>true</b>`, `It's "5 &gt; 3" &amp; <b>true</b>`},
		{"a\r\nb\tc\u00a0d", "a\r\nb\tc\u00a0d"},
		{`&lt;b&gt; &amp; &nbsp;&#39;&#x27; &unknown;`, `&lt;b&gt; &amp; &nbsp;&#39;&#x27; &unknown;`},
		{`AT&T & & &; &# &#; &lt`, `AT&amp;T &amp; &amp; &amp;; &amp;# &amp;#; &amp;lt`},
		{`1 < 2 <3 <`, `1 &lt; 2 &lt;3 &lt;`},
		// The attributes name and id, and image maps, are removed.
		{`<b id="x" name="y">b</b>`, `<b>b</b>`},
		{`<a name="x" id="y" href="https://a.example/">l</a>`, `<a href="https://a.example/">l</a>`},
		{`<p><map name="m"><area href="https://a.example/" shape="rect" coords="0,0,1,1"></map>m</p>`, `<p>m</p>`},
		{`<img src="https://a.example/i.png" usemap="#m">`, `<img src="https://a.example/i.png">`},
		{`<table><tr><td headers="a">x</td></tr></table>`, `<table><tr><td>x</td></tr></table>`},
		// Mentions stay, but lose all attributes except the id.
		{"hello " + mention, "hello " + mention},
		{`<msft-mention id="everyone" displayText="Everyone" name="x">Everyone</msft-mention>`, `<msft-mention id="everyone">Everyone</msft-mention>`},
		{`<msft-mention id="28:a-b">x</msft-mention><msft-mention id="1">y</msft-mention>`, `<msft-mention id="28:a-b">x</msft-mention><msft-mention id="1">y</msft-mention>`},
		{`<msft-mention id="8:a b">x</msft-mention>`, `<msft-mention>x</msft-mention>`},
		// A mention's id is removed if a page may give the same id to one of its own elements, as
		// React does.
		{`<msft-mention id="config">x</msft-mention>`, `<msft-mention>x</msft-mention>`},
		{`<msft-mention id="Everyone">x</msft-mention>`, `<msft-mention>x</msft-mention>`},
		{`<msft-mention id=":r1:">x</msft-mention>`, `<msft-mention>x</msft-mention>`},
		{`<msft-mention id="app:root">x</msft-mention>`, `<msft-mention>x</msft-mention>`},
		{`<msft-mention id="&#99;onfig">x</msft-mention>`, `<msft-mention>x</msft-mention>`},
		{`<msft-mention id="8:">x</msft-mention><msft-mention id="">y</msft-mention>`, `<msft-mention>x</msft-mention><msft-mention>y</msft-mention>`},
		// Allowed links are stored as they were sent.
		{`<a href="https://a.example/?a=1&b='2'&amp;c=3#d">l</a>`, `<a href="https://a.example/?a=1&b='2'&amp;c=3#d">l</a>`},
		{`<a href='https://a.example/"x"'>l</a>`, `<a href='https://a.example/"x"'>l</a>`},
		{`<a href="mailto:a@b.example">l</a> <a href="/rel?x:y">l</a>`, `<a href="mailto:a@b.example">l</a> <a href="/rel?x:y">l</a>`},
		{`<a href="java&Tab;script&colon;alert(1)">l</a>`, `<a>l</a>`},
		{"<a href=\"\x01javascript:alert(1)\">l</a>", `<a>l</a>`},
		{`<a href="blob:x" rel="noopener">l</a>`, `<a rel="noopener">l</a>`},
		// Only images with an https URL stay.
		{`<img src="https://a.example/i.png" alt="it's" width="10" height="5%">`, `<img src="https://a.example/i.png" alt="it's" width="10" height="5%">`},
		{`x<img src="http://a.example/i.png"><img src="//a.example/i.png"><img src="i.png" alt="a"><img>`, `x`},
		// Tags keep the case of their letters. An attribute without a value stays without one; all
		// values get quotation marks.
		{`a<br>b<br/>c<br />d<HR>`, `a<br>b<br/>c<br />d<HR>`},
		{`<P  Title = x"y onclick=z  dir=rtl>p</P >`, `<P Title="x&#34;y" dir="rtl">p</P>`},
		{`<p title="1 < 2 > 0">x</p>`, `<p title="1 &lt; 2 &gt; 0">x</p>`},
		{`<details open><summary>s</summary>d</details>`, `<details open><summary>s</summary>d</details>`},
		{`<b dir=ltr dir=rtl>x</b>`, `<b dir="ltr">x</b>`},
		{`<table><tr><td colspan="2" align=left>x</td></tr></table>`, `<table><tr><td colspan="2" align="left">x</td></tr></table>`},
		// Scripts, styles and comments are removed with their content. Of other forbidden
		// elements only the tags are removed.
		{`a<script>b<!-- </script>c`, `ac`},
		{`a<STYLE>b</Style >c<style>d`, `ac`},
		{`a<!-- b --->c<!-->d<!--->e<!--f--!>g<!h>i<?j>k</>l</ m>n`, `acdegikln`},
		{`<font color=red>x</font><div style="x" class="y">z</div>`, `x<div>z</div>`},
		{`<scr<script>ipt>alert(1)</script>x`, `ipt&gt;alert(1)x`},
		{`a<b title="`, `a`},
	} {
		got := core.CleanHTML(c.in, true)
		if got != c.want {
			t.Errorf("%q\nis stored as %q\nwant         %q", c.in, got, c.want)
		}
		if again := core.CleanHTML(got, true); again != got {
			t.Errorf("%q is cleaned again to %q", got, again)
		}
	}
}

// TestHTMLOfWhichNothingRemains sends messages, and edits a message, with HTML of which cleaning
// leaves nothing. It checks that the requests are refused and the message stays unchanged.
func TestHTMLOfWhichNothingRemains(t *testing.T) {
	h := newHouse(t, nil, nil)
	ann := h.user(t)
	thread := h.thread(t, ann)
	ctx := context.Background()
	id, err := h.SendMessage(ctx, ann, thread, core.SendMessage{Kind: core.HTML, Content: "<b>first</b>"})
	if err != nil {
		t.Fatal(err)
	}
	for _, in := range []string{"<script>alert(1)</script>", "<!-- x -->", "<img src=x>", "<form>\n</form>", "<x"} {
		var refused *core.Error
		if _, err := h.SendMessage(ctx, ann, thread, core.SendMessage{Kind: core.HTML, Content: in}); !errors.As(err, &refused) || refused.Target != "content" {
			t.Errorf("a send of %q: %v, want a bad request about content", in, err)
		}
		if err := h.UpdateMessage(ctx, ann, thread, id, core.UpdateMessage{Content: &in}); !errors.As(err, &refused) || refused.Target != "content" {
			t.Errorf("an edit to %q: %v, want a bad request about content", in, err)
		}
	}
	m, err := h.Message(ctx, ann, thread, id)
	if err != nil || m.Content != "<b>first</b>" || m.EditedOn != 0 {
		t.Errorf("the message is %+v, %v; want it as it was sent", m, err)
	}
}

// TestHTMLImagesOff checks that a server with images turned off removes all images.
func TestHTMLImagesOff(t *testing.T) {
	in := `a<img src="https://a.example/i.png"><IMG SRC='https://a.example/i.png'/>b<b>c</b>`
	if got := core.CleanHTML(in, false); got != "ab<b>c</b>" {
		t.Errorf("%q is stored as %q without images", in, got)
	}
}

// TestHTMLTags checks that a message may have MaxHTMLTags tags and no more. The number includes the
// end tags that cleaning adds and the tags that it removes. A cleaned message can be sent again.
func TestHTMLTags(t *testing.T) {
	for _, c := range []struct {
		in, part string
		most     int // the greatest number of copies of part that may follow the text in
	}{
		{"", "<b></b>", core.MaxHTMLTags / 2},
		{"<div><div>", "<br/>", core.MaxHTMLTags - 4},
		{"", "<form>", core.MaxHTMLTags},
		{"", `<b dir="ltr"></b>`, core.MaxHTMLTags / 3},
		{"<p>", "</i>", core.MaxHTMLTags - 1},
		{"x", "<!-- a comment -->", core.MaxHTMLTags + 1},
	} {
		in := c.in + strings.Repeat(c.part, c.most)
		if err := core.CheckHTML(in, len(in)+100); err != nil {
			t.Errorf("%s and %d times %s: %v", c.in, c.most, c.part, err)
		}
		if err := core.CheckHTML(core.CleanHTML(in, true), len(in)+100); err != nil {
			t.Errorf("%s and %d times %s, cleaned and sent again: %v", c.in, c.most, c.part, err)
		}
		err := core.CheckHTML(in+c.part, len(in)+100)
		if tags := !strings.HasPrefix(c.part, "<!"); tags != (err != nil && strings.Contains(err.Error(), fmt.Sprintf("more than %d HTML tags", core.MaxHTMLTags))) {
			t.Errorf("%s and %d times %s: %v", c.in, c.most+1, c.part, err)
		}
	}
}

// TestDefaultSizeHasFewTags cleans a message of the default size with as many tags as fit into it,
// and checks that MaxHTMLTags allows them. Cleaning adds an end tag to each <a>, so the result has
// the greatest allowed size.
func TestDefaultSizeHasFewTags(t *testing.T) {
	const size = 64 << 10
	in := strings.Repeat("<a>", size/7) + strings.Repeat("<x>", (size-3*(size/7))/3)
	if err := core.CheckHTML(in, size); err != nil {
		t.Error(err)
	}
}

// slowHTML returns texts of about n bytes that are slow to clean. Some would make a bad cleaner
// read the same bytes again and again; others cost the most time for each byte.
func slowHTML(n int) map[string]string {
	texts := map[string]string{}
	for _, part := range []string{
		"x", "'", "<", ">", "&", "&lt", "&zzzzzz", "&#1", "<b>", "<b", "</b>", "<i x>", "<br/>", "<!--", "<!-->", "<!---", "-", "<!", "</", "<?",
		"<script>", "<style></style>", "<script></s", `<a href="`, "<a href='>", "<a href=x>", `<a href="https://a.example/&amp;">`,
		`<img src="https://a.example/">`, "<p title=a\"\"\">", "<td a>", "<p title=a dir=b a>", "<b lang=a dir=b>x&</b>", "<q cite=\"&amp;&amp;&amp;\">", "\u00e9", "<b/", "=\"",
	} {
		texts[part] = strings.Repeat(part, n/len(part))
	}
	// Cleaning these tags must search for an open element that is many levels further out, or that
	// does not exist.
	deep := "<p><div><table><tr><td>" + strings.Repeat("<span>", 90)
	for _, part := range []string{"</div>", "</p>", "</i>", "<hr>", "<li>", "<td>", "<p><b>", "<a><h1>", "<ul><li>"} {
		texts["deep "+part] = deep + strings.Repeat(part, max(n-len(deep), 0)/len(part))
	}
	texts["attributes"] = "<td " + strings.Repeat("a ", n/2-4) + ">"
	texts["values"] = "<td " + strings.Repeat("abbr=a ", n/7-1) + ">"
	texts["url"] = `<a href="https://a/` + strings.Repeat("&lt", n/3-8) + `">`
	texts["title"] = `<b title='` + strings.Repeat("<", n-12) + `'>`
	return texts
}

// cleanTime is the goal for the longest time in which a message of the greatest size is
// cleaned.
const cleanTime = 20 * time.Millisecond

// TestHTMLIsCleanedInTime cleans messages of the greatest size that a server can allow. It fails if
// cleaning takes more than five times cleanTime. With the race detector, the messages are shorter,
// because the code is up to twenty times slower. BenchmarkCleanHTML prints the times.
func TestHTMLIsCleanedInTime(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for name, text := range slowHTML((1 << 20) / raceSlows) {
		least := time.Hour
		for range 3 {
			begin := threadTime()
			core.CheckHTML(text, core.MaxHTMLGrowth*len(text))
			least = min(least, threadTime()-begin)
		}
		if least > 5*cleanTime {
			t.Errorf("%d bytes of %q take %v", len(text), name, least)
		}
	}
}

// BenchmarkCleanHTML reports, for each of the slowest messages of 1 MiB, the processor time in
// milliseconds as cpu-ms/op. The goal is at most cleanTime.
func BenchmarkCleanHTML(b *testing.B) {
	for name, text := range slowHTML(1 << 20) {
		b.Run(name, func(b *testing.B) {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			begin := threadTime()
			for b.Loop() {
				// Cleaning stops at the point at which the server would refuse the message.
				core.CheckHTML(text, core.MaxContent)
			}
			b.ReportMetric((threadTime()-begin).Seconds()*1000/float64(b.N), "cpu-ms/op")
		})
	}
}

// allowedInTree and allowedAttributes are the elements and attributes that a cleaned message may
// have. They are not made from htmlElements, so that the tests find a mistake in htmlElements.
var (
	allowedInTree = " " + strings.Join(strings.Fields(`a abbr acronym article aside b bdi bdo blockquote br caption cite code col
		colgroup dd del details dfn div dl dt em figcaption figure footer h1 h2 h3 h4 h5 h6 header hgroup hr i img ins li
		mark meter msft-mention ol p pre progress q rp rt ruby s samp section small span strike strong sub summary sup
		table tbody td tfoot th thead time tr tt u ul var wbr`), " ") + " "
	allowedAttributes = ` abbr align alt cite colspan datetime dir height high href lang low max min nowrap open optimum rel
		reversed rowspan scope span src start summary title type valign value width `
)

// unsafeInTree describes a part of a parsed message that must not reach a browser, or returns "" if
// the message has no such part.
func unsafeInTree(n *html.Node, images bool) string {
	switch n.Type {
	case html.TextNode:
		return ""
	case html.ElementNode:
	default:
		return "a node that is neither text nor element: " + n.Data
	}
	if n.Namespace != "" || !strings.Contains(allowedInTree, " "+n.Data+" ") || n.Data == "img" && !images {
		return "element " + n.Data
	}
	for _, a := range n.Attr {
		if a.Namespace != "" || !strings.Contains(allowedAttributes, " "+a.Key+" ") && !(n.Data == "msft-mention" && a.Key == "id") {
			return "attribute " + a.Key
		}
		v := strings.ToLower(strings.Map(func(r rune) rune {
			if r <= ' ' {
				return -1
			}
			return r
		}, a.Val))
		if a.Key == "src" && !strings.HasPrefix(v, "https://") {
			return "image " + a.Val
		}
		if a.Key == "href" || a.Key == "cite" {
			scheme, _, ok := strings.Cut(v, ":")
			if ok && !strings.ContainsAny(scheme, "/?#") && scheme != "https" && scheme != "http" && scheme != "mailto" {
				return "link " + a.Val
			}
		}
	}
	for c := n.FirstChild; c != nil; c = c.NextSibling {
		if bad := unsafeInTree(c, images); bad != "" {
			return bad
		}
	}
	return ""
}

// FuzzCleanHTML cleans any text. It checks that cleaning the result again changes nothing, and that
// the result passes checkNesting, has at most MaxHTMLGrowth times as many bytes as the text, and is
// accepted with a limit of its own size but not with a smaller one. The result must be safe when a
// browser's parser reads it in a div, in a table, and as a page.
func FuzzCleanHTML(f *testing.F) {
	for _, text := range slowHTML(120) {
		f.Add(text)
	}
	for _, line := range hostileHTML(f) {
		f.Add(line)
	}
	f.Add(repeatingHTML(20))
	for _, line := range strings.Split(`<b><p>x</b>y</p>|<ul><li><div><li>x</div></ul>|<a><table><a>|<table><tr><table><b><td>x</caption>|`+
		`<p><table><td><p></table></p>|<dl><div><dd><h1><p><h2></div>|<ruby><p><rt><b><rp></ruby></rt>|<table><caption><td><colgroup><col><tr>|`+
		`<span><p></span></td></li>|<b><i><b><i></b></i><div></b></div>|<ol><table><li><td><li></ol>`, "|") {
		f.Add(line)
	}
	f.Add(`<A href=0">`)
	f.Add("<img srC>0")
	f.Fuzz(func(t *testing.T, in string) {
		for _, images := range []bool{true, false} {
			out := core.CleanHTML(in, images)
			if again := core.CleanHTML(out, images); again != out {
				t.Fatalf("%q is cleaned to %q and then to %q", in, out, again)
			}
			if len(out) > core.MaxHTMLGrowth*len(in) {
				t.Fatalf("%q of %d bytes is cleaned to %d bytes", in, len(in), len(out))
			}
			if images && (core.CheckHTML(in, len(out)) != nil || core.CheckHTML(in, len(out)-1) == nil) {
				t.Fatalf("%q is cleaned to %d bytes, and a limit of that allows less or more", in, len(out))
			}
			checkNesting(t, in, out)
			for _, around := range []string{"div", "table", "p", "pre"} {
				nodes, err := html.ParseFragment(strings.NewReader(out), &html.Node{Type: html.ElementNode, Data: around, DataAtom: atom.Lookup([]byte(around))})
				if err != nil {
					t.Fatalf("%q is cleaned to %q: %v", in, out, err)
				}
				for _, n := range nodes {
					if bad := unsafeInTree(n, images); bad != "" {
						t.Fatalf("%q is cleaned to %q, which has %s", in, out, bad)
					}
				}
			}
			z := html.NewTokenizer(strings.NewReader(out))
			for z.Next() != html.ErrorToken {
				switch tok := z.Token(); tok.Type {
				case html.CommentToken, html.DoctypeToken:
					t.Fatalf("%q is cleaned to %q, which has a comment", in, out)
				}
			}
		}
	})
}
