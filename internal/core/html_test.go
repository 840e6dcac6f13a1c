package core_test

import (
	"bufio"
	"context"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/confab-chat/confab/internal/core"
)

// harmful matches HTML that must not reach a browser: scripts, frames, forms and styles
// that change the page around the message.
var harmful = regexp.MustCompile(`(?i)<\s*/?\s*(script|iframe|object|embed|style|link|meta|base|form|input|button|svg|math|video|audio|template|textarea|select)\b|\son[a-z]+\s*=|javascript\s*:|vbscript\s*:|data\s*:\s*text|<!--|expression\s*\(|srcdoc|formaction`)

// TestHostileHTML sends sixty messages with hostile HTML and checks that the stored
// content has nothing harmful.
func TestHostileHTML(t *testing.T) {
	f, err := os.Open("testdata/hostile.html.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := newHouse(t, nil, nil)
	ann := h.user(t)
	thread := h.thread(t, ann)
	n := 0
	for lines := bufio.NewScanner(f); lines.Scan(); {
		in := strings.ReplaceAll(lines.Text(), `\n`, "\n")
		if in == "" {
			continue
		}
		n++
		id, err := h.SendMessage(context.Background(), ann, thread, core.SendMessage{Kind: core.HTML, Content: in})
		if err != nil {
			t.Fatalf("send %q: %v", in, err)
		}
		m, err := h.Message(context.Background(), ann, thread, id)
		if err != nil {
			t.Fatal(err)
		}
		if bad := harmful.FindString(m.Content); bad != "" {
			t.Errorf("%q is stored as %q, which has %q", in, m.Content, bad)
		}
		edited := "x" + in
		if err := h.UpdateMessage(context.Background(), ann, thread, id, core.UpdateMessage{Content: &edited}); err != nil {
			t.Fatal(err)
		}
		if m, _ = h.Message(context.Background(), ann, thread, id); harmful.MatchString(m.Content) {
			t.Errorf("edited to %q it is stored as %q", edited, m.Content)
		}
	}
	if n < 60 {
		t.Errorf("%d inputs, want 60", n)
	}
}

// TestHTMLThatFormatsStays sends HTML that formats text and checks that it is stored
// unchanged.
func TestHTMLThatFormatsStays(t *testing.T) {
	h := newHouse(t, nil, nil)
	ann := h.user(t)
	thread := h.thread(t, ann)
	for _, in := range []string{
		"<div>test</div>", "<b>bold</b> <i>it</i> <u>under</u>", "<p>one</p><p>two</p>", "<ul><li>a</li></ul>",
		"<blockquote>q</blockquote>", "<pre><code>x</code></pre>", "line<br>break", "<h1>head</h1>",
	} {
		id, err := h.SendMessage(context.Background(), ann, thread, core.SendMessage{Kind: core.HTML, Content: in})
		if err != nil {
			t.Fatal(err)
		}
		if m, _ := h.Message(context.Background(), ann, thread, id); m.Content != in {
			t.Errorf("%q is stored as %q", in, m.Content)
		}
	}
	// A message of type text is not HTML, so its content is stored unchanged.
	id := h.send(t, ann, thread, "<script>1</script>")
	if m, _ := h.Message(context.Background(), ann, thread, id); m.Content != "<script>1</script>" {
		t.Errorf("a text message is stored as %q", m.Content)
	}
}
