package core

import (
	"crypto/rand"
	"errors"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/confab-chat/confab/internal/clip"
	"github.com/confab-chat/confab/sdk/communication"
)

const resourceID = "11111111-2222-4333-8444-555555555555"

func TestThreadIDs(t *testing.T) {
	plain := regexp.MustCompile(`^19:[0-9a-f]{32}@thread\.v2$`)
	hashed := regexp.MustCompile(`^19:[A-Za-z0-9_-]{43}1@thread\.v2$`)
	seen := map[string]bool{}
	for range 100 {
		id := newThreadID(rand.Reader)
		if !plain.MatchString(id) || seen[id] || CheckThreadID(id) != nil {
			t.Fatalf("new thread id %q: of the wrong form, doubled or refused", id)
		}
		seen[id] = true
	}
	// The id must depend on where each part ends, so texts that are equal when joined must give
	// different ids.
	for _, parts := range [][3]string{
		{resourceID, ann, "token"}, {resourceID, bob, "token"}, {resourceID, ann, "Token"}, {resourceID, ann, "token "},
		{"other", ann, "token"}, {resourceID, ann + "t", "oken"}, {resourceID, ann, "5:token"}, {resourceID + ann, "", "token"},
	} {
		id := threadIDFor(parts[0], parts[1], parts[2])
		if !hashed.MatchString(id) || seen[id] || CheckThreadID(id) != nil {
			t.Errorf("thread id %q for %q: of the wrong form, doubled or refused", id, parts)
		}
		if again := threadIDFor(parts[0], parts[1], parts[2]); again != id {
			t.Errorf("thread id for %q is %q, then %q", parts, id, again)
		}
		seen[id] = true
	}
	// The id of a given input must never change, because stored threads have such ids.
	if got, want := threadIDFor("r", "c", "t"), "19:uCVFpNw_DHx-9CSclN4E14KTJimZMr64JQSDeY0erk81@thread.v2"; got != want {
		t.Errorf("the hash has changed: %q, want %q", got, want)
	}
}

func TestCheckThreadID(t *testing.T) {
	for _, id := range []string{
		"19:0123456789abcdef0123456789abcdef@thread.v2",
		"19:rqO1kdeE7iMJ4zV7xUJ6pGXg-4_wWqKmVn0aY5m3Eg81@thread.v2",
		"19:acsV1_rqO1kdeE7iMJ4zV7xUJ6pGXg-4_wWqKmVn0aY5m3Eg81@thread.v2",
		"19:acsV2_rqO1kdeE7iMJ4zV7xUJ6pGXg-4_wWqKmVn0aY5m3Eg81@thread.v2",
		"19:gcch:acsV2_rqO1kdeE7iMJ4zV7xUJ6pGXg-4_wWqKmVn0aY5m3Eg81@thread.v2",
		"19:meeting_NjAwM2MyOWQtZmQ0Yy00@thread.v2",
		"19:uni01_uy5ucb66ys3ttypb4tgzqa7gsuyo@thread.v2",
		"19:a@thread.v2",
		"19:" + strings.Repeat("a", 187) + "@thread.v2",
	} {
		if err := CheckThreadID(id); err != nil {
			t.Errorf("%q is refused: %v", id, err)
		}
	}
	for _, id := range []string{
		"", "19:", "19:@thread.v2", "@thread.v2", "a@thread.v2", "18:a@thread.v2", "19:a@thread.v1", "19:a@thread.v2 ", " 19:a@thread.v2",
		"19:a", "19:a@thread.v2x", "19:a/b@thread.v2", "19:a%3Ab@thread.v2", "19:a\x00b@thread.v2", "19:ä@thread.v2", "19:\xff@thread.v2",
		"19:a b@thread.v2", "19:a@b@thread.v2", "19:a\n@thread.v2", "19:" + strings.Repeat("a", 188) + "@thread.v2",
	} {
		err := CheckThreadID(id)
		wantRefusal(t, "CheckThreadID("+strconv.Quote(id)+")", err, BadRequest, "Value for ChatThreadId")
		if e := (*Error)(nil); errors.As(err, &e) && len(e.Message) > 200 {
			t.Errorf("the refusal of %d bytes has %d bytes", len(id), len(e.Message))
		}
	}
}

func TestParseMessageID(t *testing.T) {
	for _, c := range []struct {
		text string
		want int64 // 0: refused
	}{
		{"1653551972669", 1653551972669}, {"1", 1}, {"9223372036854775807", 1<<63 - 1},
		{"", 0}, {"0", 0}, {"-1", 0}, {"+1", 0}, {"01", 0}, {"00", 0}, {" 1", 0}, {"1 ", 0}, {"1.0", 0}, {"1e3", 0}, {"0x10", 0}, {"1_000", 0},
		{"9223372036854775808", 0}, {"99999999999999999999", 0}, {"abc", 0}, {"١", 0}, {"1\x00", 0}, {"undefined", 0}, {strings.Repeat("9", 5000), 0},
	} {
		got, err := ParseMessageID(c.text)
		if got != c.want {
			t.Errorf("ParseMessageID(%.30q) = %d, %v; want %d", c.text, got, err, c.want)
		}
		if c.want == 0 {
			wantRefusal(t, "ParseMessageID("+strconv.Quote(clip.Text(c.text, maxEcho))+")", err, BadRequest, "Value for MessageId")
		} else if err != nil {
			t.Errorf("ParseMessageID(%q): %v", c.text, err)
		}
	}
}

// FuzzIDs parses arbitrary texts as thread and message ids. It checks that no two different texts
// are valid for the same id.
func FuzzIDs(f *testing.F) {
	for _, s := range []string{"1653551972669", "0", "-1", "+7", "19:a@thread.v2", "19:\x00@thread.v2", "9223372036854775808"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if id, err := ParseMessageID(s); err == nil && (id <= 0 || strconv.FormatInt(id, 10) != s) {
			t.Errorf("ParseMessageID(%q) = %d", s, id)
		} else if err != nil && id != 0 {
			t.Errorf("ParseMessageID(%q) = %d, %v", s, id, err)
		}
		if CheckThreadID(s) == nil && (strings.ContainsAny(s, "\x00/%\n ") || len(s) > maxThreadID) {
			t.Errorf("CheckThreadID(%q) accepts", s)
		}
	})
}

func TestUserParts(t *testing.T) {
	var ids []string
	for _, ms := range []int64{0, 1, 65_535, 65_536, noon, noon + 1, noon + 65_536, 1<<48 - 1} {
		part := newUserPart(rand.Reader, ms)
		id := communication.JoinUserID(resourceID, part)
		resource, user, ok := communication.SplitUserID(id)
		if !ok || resource != resourceID || user != part || len(id) != 79 || !communication.ValidUserID(id) {
			t.Errorf("user id %q of %d ms is not well-formed", id, ms)
		}
		ids = append(ids, id)
	}
	if !slices.IsSorted(ids) {
		t.Errorf("ids are not in the order of their times: %q", ids)
	}
	if a, b := newUserPart(rand.Reader, noon), newUserPart(rand.Reader, noon); a == b {
		t.Errorf("two users of one millisecond have one id: %q", a)
	}
}

func TestCheckToken(t *testing.T) {
	for _, c := range []struct {
		token string
		ok    bool
	}{
		{"", true}, {"contoso-E0A747F1-2F4E", true}, {"ä ~", true}, {strings.Repeat("a", 256), true},
		{strings.Repeat("a", 257), false}, {"a\x00", false}, {"a\n", false}, {"\x7f", false}, {"\t", false},
	} {
		if err := checkToken(c.token); (err == nil) != c.ok {
			t.Errorf("checkToken(%.20q): %v, want ok %v", c.token, err, c.ok)
		}
	}
}

// wantRefusal checks that err is an Error with this code and a message that begins with
// message.
func wantRefusal(t *testing.T, what string, err error, code Code, message string) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Code != code || !strings.HasPrefix(e.Message, message) {
		t.Errorf("%s: got error %v, want code %s and message %q", what, err, code, message)
	}
}
