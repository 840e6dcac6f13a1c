package core_test

import (
	"fmt"
	"strings"
	"testing"

	"golang.org/x/net/html"
	"pgregory.net/rapid"

	"github.com/confab-chat/confab/internal/core"
)

// TestHTMLNesting checks which texts are stored for messages with badly nested tags.
func TestHTMLNesting(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		// End tags without an open element are removed.
		{`x</div></div></td>y</br></img>`, `xy`},
		// Parts of tables and lists lose their tags if they are outside of a table or list.
		{`<td>x</td></tr><li>y</li><dd>z`, `xyz`},
		{`<table><tr><td></table>x</td></tr></table>`, `<table><tr><td></table>x`},
		{`<ul><li><table><tr><td>x</li></ul>y</td></table></li></ul>`, `<ul><li><table><tr><td>xy</td></table></li></ul>`},
		// An element that is still open at the end of the message, or at the end of the element
		// around it, gets an end tag.
		{`<b>x`, `<b>x</b>`},
		{`<div><i><ul><li>x`, `<div><i><ul><li>x</ul></i></div>`},
		{`<B>x<I>y</b>z</I>`, `<B>x<I>y</i></b>z`},
		{`<div><b>x</div>y</b>`, `<div><b>x</b></div>y`},
		{`<b><p>x</b>y</p>`, `<b><p>x</p></b>y`},
		{`<ul><li><b>x<li>y</ul>`, `<ul><li><b>x</b><li>y</ul>`},
		{`<ul><li><div><li>x</li></div></li></ul>`, `<ul><li><div></div><li>x</li></ul>`},
		// A start tag can end an open element.
		{`<p>x<div>y</div></p>z`, `<p>x<div>y</div>z`},
		{`<p><b>x<p>y</b>`, `<p><b>x</b><p>y`},
		// Cleaning adds </p>, because without a doctype a table does not end a p.
		{`<p>x<table><tr><td>y</table>`, `<p>x</p><table><tr><td>y</table>`},
		{`<a href="/1">x<a href="/2">y</a></a>`, `<a href="/1">x</a><a href="/2">y</a>`},
		{`<h1>x<h2>y</h2></h1>`, `<h1>x</h1><h2>y</h2>`},
		{`<ruby>x<rp>(<rt>y</ruby>`, `<ruby>x<rp>(</rp><rt>y</rt></ruby>`},
		// Text and elements lose their tags if they are in a part of a table that cannot contain
		// them.
		{`<table>x<b>y</b><div>z</div><tr><i>u</i><td><i>v</table>`, `<table>xyz<tr>u<td><i>v</i></table>`},
		{`<table><tr><table><tr><td>x</table></table>`, `<table><tr></table><table><tr><td>x</table>`},
		{`<table><caption>c<tr><td>x</table>`, `<table><caption>c</caption><tr><td>x</table>`},
	} {
		got := core.CleanHTML(c.in, true)
		if got != c.want {
			t.Errorf("%q\nis stored as %q\nwant         %q", c.in, got, c.want)
		}
		checkNesting(t, c.in, got)
	}
	// HTML as editors write it, with or without optional end tags, is stored unchanged.
	for _, in := range []string{
		`<p>one</p><p>two <b>b<i>i</i></b></p><p><br></p>`, `<p>one<p>two<p>three`, `x<p>y`,
		`<ul><li>a<ul><li>b</li></ul></li><li>c</li></ul>`, `<ul><li>a<li>b<ol><li>c</ol><li>d</ul>x`, `<ul><li><p>a<li><p>b</ul>`,
		`<dl><dt>a<dd>b<dt>c<dd>d</dl>`, `<dl><div><dt>a<dd>b</div><div><dt>c</dt><dd>d</dd></div></dl>`,
		`<table><colgroup><col><col></colgroup><thead><tr><th>a</th></tr></thead><tbody><tr><td><p>b</p></td></tr></tbody></table>`,
		`<table><caption>c</caption><colgroup><col><thead><tr><th>a<th>b<tbody><tr><td>c<td><p>d<tr><td>e<tfoot><tr><td>f</table>x`,
		`<table><tr><td><table><tr><td>x<td>y</table>z<td><ul><li>u</ul></table>`, `<table><td>x</td></table>`,
		`<div><p>x</div><blockquote><p>y<p>z</blockquote>`, `<b><div>x</div></b>`, `<p>x<hr>y<h1>z</h1>`, `<p>x<ul><li>y</ul>`,
		`<b><b><b><b>x</b></b></b></b>`, `<details><summary>s</summary><p>d</details>`, `<ruby>x<rp>(</rp><rt>y</rt></ruby>`,
		`hi <msft-mention id="8:acs:1">Ann</msft-mention>`, `<a href="/1"><img src="https://a.example/i.png"></a>`, `<pre><code>a</code></pre>`,
	} {
		if got := core.CleanHTML(in, true); got != in {
			t.Errorf("%q is stored as %q", in, got)
		}
		checkNesting(t, in, in)
	}
}

// TestHTMLDepth cleans messages that are nested deeper than allowed, and a message that would make
// a browser repeat thousands of elements in each of thousands of paragraphs. It checks that the
// results pass checkNesting.
func TestHTMLDepth(t *testing.T) {
	for name, in := range map[string]string{
		"div":        strings.Repeat("<div>", 5000) + "x" + strings.Repeat("</div>", 5000),
		"b":          strings.Repeat("<b>", 5000) + "x" + strings.Repeat("</b>", 5000),
		"open":       strings.Repeat("<span>", 5000),
		"list":       strings.Repeat("<ul><li>", 5000),
		"table":      strings.Repeat("<table><tr><td>", 3000),
		"formats":    strings.Repeat("<table><tr><td><b><i>", 3000),
		"paragraphs": repeatingHTML(300),
	} {
		out := core.CleanHTML(in, true)
		checkNesting(t, name, out)
		if again := core.CleanHTML(out, true); again != out {
			t.Errorf("%s: it is cleaned again to %.200q", name, again)
		}
	}
}

// TestHTMLOfAnyTags cleans random sequences of tags. It checks that the cleaned message passes
// checkNesting and that cleaning it again changes nothing.
func TestHTMLOfAnyTags(t *testing.T) {
	all := strings.Fields(allowedInTree)
	rapid.Check(t, func(t *rapid.T) {
		// Use few different elements, so that a tag often meets another tag of the same element.
		some := rapid.SliceOfN(rapid.SampledFrom(all), 2, 8).Draw(t, "elements")
		tag := rapid.Custom(func(t *rapid.T) string {
			form := rapid.SampledFrom([]string{"<%s>", "<%s>", "</%s>", "x<%s>", "x</%s>", "<%s/>"}).Draw(t, "form")
			return fmt.Sprintf(form, rapid.SampledFrom(some).Draw(t, "element"))
		})
		in := strings.Join(rapid.SliceOfN(tag, 1, 30).Draw(t, "tags"), "")
		out := core.CleanHTML(in, true)
		if again := core.CleanHTML(out, true); again != out {
			t.Fatalf("%q is cleaned to %q and then to %q", in, out, again)
		}
		checkNesting(t, in, out)
	})
}

// repeatingHTML returns HTML with n formatting elements that a browser repeats in each of the
// 3n paragraphs.
func repeatingHTML(n int) string {
	var b strings.Builder
	b.WriteString("<p>")
	for i := range n {
		fmt.Fprintf(&b, "<b title=%d>", i)
	}
	b.WriteString("</p>" + strings.Repeat("<p>x", 3*n))
	return b.String()
}

// checkNesting parses a cleaned message, as a browser does, within each of several elements (boxes)
// in which an app may show the message. It fails if a part of the message is outside of its box, if
// the message changes the page around the box, or if the parser makes many more nodes than the
// message has bytes.
func checkNesting(t rapid.TB, in, out string) {
	t.Helper()
	for _, box := range []string{
		"<ul><li id=a>%</li></ul>", "<div><div id=a>%</div></div>", "<ul><li><div id=a>%</div></li></ul>",
		"<table><tbody><tr><td id=a>%</td></tr></tbody></table>", "<dl><dd id=a>%</dd></dl>", "<section><blockquote id=a>%</blockquote></section>",
	} {
		for _, page := range []string{"<!doctype html>", ""} { // a browser parses a page without a doctype by other rules
			before, after, _ := strings.Cut(page+"<div id=root>"+box+"<p id=z>z</p></div>", "%")
			want := shape(t, before+after)
			doc := parse(t, in, before+out+after)
			nodes := 0
			var a *html.Node
			for n := range doc.Descendants() {
				if nodes++; a == nil && isBox(n) {
					a = n
				}
			}
			for a.FirstChild != nil {
				a.RemoveChild(a.FirstChild)
			}
			if got := render(t, doc); got != want {
				t.Fatalf("%.300q is cleaned to %.300q, which in %s leaves\n%s\nwant\n%s", in, out, box, got, want)
			}
			if nodes > len(out)+40 {
				t.Fatalf("%.300q is cleaned to %d bytes, which have %d nodes", in, len(out), nodes)
			}
		}
	}
}

// isBox reports whether a node has the id "a", which marks the element around the message.
func isBox(n *html.Node) bool {
	for _, a := range n.Attr {
		if a.Key == "id" && a.Val == "a" {
			return true
		}
	}
	return false
}

func parse(t rapid.TB, what, page string) *html.Node {
	t.Helper()
	doc, err := html.Parse(strings.NewReader(page))
	if err != nil {
		t.Fatalf("%.300q, cleaned: %v", what, err)
	}
	return doc
}

func render(t rapid.TB, n *html.Node) string {
	t.Helper()
	var b strings.Builder
	if err := html.Render(&b, n); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// shape returns the HTML of a page after it was parsed.
func shape(t rapid.TB, page string) string {
	t.Helper()
	return render(t, parse(t, "the page", page))
}
