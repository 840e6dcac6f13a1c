package core_test

import (
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

// TestHostileHTML sends and edits sixty messages with hostile HTML, and checks that the stored
// content has nothing harmful.
func TestHostileHTML(t *testing.T) {
	h := newHouse(t, nil, nil)
	ann := h.user(t)
	thread := h.thread(t, ann)
	inputs := hostileHTML(t)
	for _, in := range inputs {
		// Begin the message with an x, because the service refuses a message of which cleaning
		// leaves nothing.
		id, err := h.SendMessage(context.Background(), ann, thread, core.SendMessage{Kind: core.HTML, Content: "x" + in})
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
		edited := "y" + in
		if err := h.UpdateMessage(context.Background(), ann, thread, id, core.UpdateMessage{Content: &edited}); err != nil {
			t.Fatal(err)
		}
		if m, _ = h.Message(context.Background(), ann, thread, id); harmful.MatchString(m.Content) {
			t.Errorf("edited to %q it is stored as %q", edited, m.Content)
		}
	}
	if len(inputs) < 60 {
		t.Errorf("%d inputs, want 60", len(inputs))
	}
}

// TestQuotationMarksStayAsTheyWereSent checks that HTML in which nothing is forbidden is stored as
// it was sent. Quotation marks and apostrophes must stay one byte each, so that a message of the
// greatest allowed size can be edited to its own text.
func TestQuotationMarksStayAsTheyWereSent(t *testing.T) {
	h := newHouseWith(t, nil, nil, core.Options{Limits: core.Limits{Content: 28_000}})
	ann := h.user(t)
	thread := h.thread(t, ann)
	for _, content := range []string{`it's "ok"`, `<p title="it's">"</p>'`, strings.Repeat("'", 28_000), strings.Repeat(`"`, 28_000)} {
		id, err := h.SendMessage(t.Context(), ann, thread, core.SendMessage{Kind: core.HTML, Content: content})
		if err != nil {
			t.Errorf("send %.20q: %v", content, err)
			continue
		}
		if m, err := h.Message(t.Context(), ann, thread, id); err != nil || m.Content != content {
			t.Errorf("%.20q comes back as %.20q, %v", content, m.Content, err)
		}
		edited := content[1:] + content[:1]
		if err := h.UpdateMessage(t.Context(), ann, thread, id, core.UpdateMessage{Content: &content}); err != nil {
			t.Errorf("edit %.20q to itself: %v", content, err)
		}
		if strings.Contains(content, "<") {
			continue
		}
		if err := h.UpdateMessage(t.Context(), ann, thread, id, core.UpdateMessage{Content: &edited}); err != nil {
			t.Errorf("edit %.20q to %.20q: %v", content, edited, err)
		}
		if m, err := h.Message(t.Context(), ann, thread, id); err != nil || m.Content != edited {
			t.Errorf("edited, %.20q comes back as %.20q, %v", edited, m.Content, err)
		}
	}
}

// hostileHTML returns the messages in testdata/hostile.html.txt.
func hostileHTML(t testing.TB) (inputs []string) {
	t.Helper()
	text, err := os.ReadFile("testdata/hostile.html.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if in := strings.ReplaceAll(strings.TrimSuffix(line, "\n"), `\n`, "\n"); in != "" {
			inputs = append(inputs, in)
		}
	}
	return inputs
}

// TestHTMLThatFormatsStays sends HTML with formatted text and checks that it is stored
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
