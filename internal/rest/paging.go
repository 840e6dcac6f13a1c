package rest

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/rest/wire"
)

// messagesPage reads the query of a list of messages (chat.md §5.1). With a
// syncState, that says where to go on, and startTime is only checked.
func (q *request) messagesPage(thread string) (page core.ListMessages, err error) {
	if page.Limit, err = q.pageSize(core.DefaultMessagesPage, core.MaxMessagesPage); err != nil {
		return page, err
	}
	if page.Since, err = q.startTime(); err != nil {
		return page, err
	}
	if q.query.Has("syncState") {
		c, ok := parseCursor(thread, q.query.Get("syncState"))
		if !ok {
			return page, core.Invalid("syncState", "The syncState parameter is not one of this list.")
		}
		page.Before, page.Since = c.before, c.since
	}
	return page, nil
}

// nextMessages is the link to what follows a full page, in the recorded form:
// absolute, the thread id not encoded, startTime written as .NET does.
func (h *Handler) nextMessages(q *request, thread string, page core.ListMessages, last uint64) string {
	c := cursor{before: last, since: page.Since}
	return h.base(q) + "/chat/threads/" + thread + "/messages?syncState=" + c.format(thread) +
		"&startTime=" + escapeQuery(time.UnixMilli(page.Since).UTC().Format(dotNetTime)) +
		"&maxPageSize=" + strconv.Itoa(page.Limit) +
		"&api-version=" + escapeQuery(q.query.Get("api-version"))
}

// dotNetTime is how the service writes the startTime of a nextLink:
// "1/1/1970 12:00:00 AM +00:00".
const dotNetTime = "1/2/2006 3:04:05 PM -07:00"

// escapeQuery writes a blank as %20, as the service does.
func escapeQuery(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

// pageSize reads maxPageSize. Unverified: a greater one than the greatest is
// clamped; 0, negative numbers and anything else are refused.
func (q *request) pageSize(usual, most int) (int, error) {
	if !q.query.Has("maxPageSize") {
		return usual, nil
	}
	text := q.query.Get("maxPageSize")
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 1 {
		return 0, core.Invalid("maxPageSize", "Value for maxPageSize (%s) is not valid. It must be from 1 to %d.", clip(text), most)
	}
	return int(min(n, int64(most))), nil
}

// startTime reads the parameter in RFC 3339 or as a nextLink writes it; 0 if it
// is not there.
func (q *request) startTime() (int64, error) {
	if !q.query.Has("startTime") {
		return 0, nil
	}
	text := q.query.Get("startTime")
	t, err := wire.ParseTime(text)
	if odd, oddErr := time.Parse(dotNetTime, text); oddErr == nil {
		t, err = wire.TimeOf(odd)
	}
	if err != nil {
		return 0, core.Invalid("startTime", "Value for startTime (%s) is not valid. It %s.", clip(text), err)
	}
	return int64(t), nil
}

// cursor is where a list of messages goes on. It is no secret: whoever forges
// one reads what it may read anyway. The sum only keeps a cursor of another
// thread, or half of one, from quietly giving the wrong page.
type cursor struct {
	before uint64 // sequence, exclusive
	since  int64
}

const cursorSize = 8 + 8 + 8

func (c cursor) format(thread string) string {
	b := make([]byte, 0, cursorSize)
	b = binary.BigEndian.AppendUint64(b, c.before)
	b = binary.BigEndian.AppendUint64(b, uint64(c.since))
	return hex.EncodeToString(append(b, cursorSum(thread, b)...))
}

func parseCursor(thread, text string) (c cursor, ok bool) {
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != cursorSize || string(b[16:]) != string(cursorSum(thread, b[:16])) {
		return cursor{}, false
	}
	c = cursor{before: binary.BigEndian.Uint64(b), since: int64(binary.BigEndian.Uint64(b[8:]))}
	return c, c.before > 0
}

func cursorSum(thread string, b []byte) []byte {
	h := sha256.New()
	h.Write([]byte("confab messages cursor 1\x00"))
	h.Write(b)
	h.Write([]byte(thread))
	return h.Sum(nil)[:8]
}
