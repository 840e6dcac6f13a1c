package rest

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/rest/wire"
)

// Pages of threads, participants and receipts. A page of 100 threads was
// recorded (chat.md §3.2). Unverified: the other two, and the greatest.
const (
	usualPage = 100
	mostPage  = core.MaxMessagesPage
)

// messagesPage reads the query of a list of messages (chat.md §5.1). With a
// syncState, that says where to go on, and startTime is only checked.
func (q *request) messagesPage() (page core.ListMessages, err error) {
	if page.Limit, err = q.pageSize(core.DefaultMessagesPage, core.MaxMessagesPage); err != nil {
		return page, err
	}
	if page.Since, err = q.startTime(); err != nil {
		return page, err
	}
	if q.query.Has("syncState") {
		c, ok := parseCursor(q.thread, q.query.Get("syncState"))
		if !ok {
			return page, errCursor
		}
		page.Before, page.Since = c.before, c.since
	}
	return page, nil
}

// nextMessages is the link to what follows a full page, in the recorded form:
// absolute, the thread id not encoded, startTime written as .NET does.
func (h *Handler) nextMessages(q *request, page core.ListMessages) string {
	c := cursor{before: page.Before, since: page.Since}
	return h.base(q) + "/chat/threads/" + q.thread + "/messages?syncState=" + c.format(q.thread) +
		"&startTime=" + escapeQuery(time.UnixMilli(page.Since).UTC().Format(dotNetTime)) +
		"&maxPageSize=" + strconv.Itoa(page.Limit) + q.versionParameter()
}

// threadsPage reads the query of a list of threads (chat.md §3.2).
func (q *request) threadsPage() (before core.ThreadsCursor, since int64, limit int, err error) {
	if limit, err = q.pageSize(usualPage, mostPage); err != nil {
		return before, 0, 0, err
	}
	if since, err = q.startTime(); err != nil {
		return before, 0, 0, err
	}
	if q.query.Has("syncState") {
		c, ok := parseThreadsCursor(q.caller, q.query.Get("syncState"))
		if !ok {
			return before, 0, 0, errCursor
		}
		before, since = c.before, c.since
	}
	return before, since, limit, nil
}

// nextThreads is the link to the threads after last. As recorded, it has a page
// size only if the client gave one.
func (h *Handler) nextThreads(q *request, last core.ThreadsCursor, since int64) string {
	c := threadsCursor{before: last, since: since}
	return h.base(q) + "/chat/threads?syncState=" + c.format(q.caller) + q.sizeParameter() + q.versionParameter()
}

// skipPage reads the query of a list that is paged by place (chat.md §4.2).
func (q *request) skipPage() (skip, limit int, err error) {
	if limit, err = q.pageSize(usualPage, mostPage); err != nil {
		return 0, 0, err
	}
	if !q.query.Has("skip") {
		return 0, limit, nil
	}
	text := q.query.Get("skip")
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return 0, 0, core.Invalid("skip", "Value for skip (%s) is not valid. It must be 0 or more.", clip(text))
	}
	return int(min(n, math.MaxInt32)), limit, nil
}

// nextSkip is the link to what lies behind the first skip of a list.
func (h *Handler) nextSkip(q *request, list string, skip int) string {
	return h.base(q) + "/chat/threads/" + q.thread + list + "?skip=" + strconv.Itoa(skip) + q.sizeParameter() + q.versionParameter()
}

// sizeParameter repeats maxPageSize in a link, if it was given.
func (q *request) sizeParameter() string {
	if !q.query.Has("maxPageSize") {
		return ""
	}
	return "&maxPageSize=" + escapeQuery(q.query.Get("maxPageSize"))
}

// versionParameter repeats the name that the client used, which may be an alias.
func (q *request) versionParameter() string {
	return "&api-version=" + escapeQuery(q.query.Get("api-version"))
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

// A cursor, which clients know as syncState, is where a list goes on. It is no
// secret: whoever forges one reads what they may read anyway. The sum only keeps
// a cursor of another list, or half of one, from quietly giving the wrong page.
var errCursor = core.Invalid("syncState", "The syncState parameter is not one of this list.")

// cursor is a place in the messages of a thread.
type cursor struct {
	before uint64 // sequence, exclusive
	since  int64
}

func (c cursor) format(thread string) string {
	b := binary.BigEndian.AppendUint64(nil, c.before)
	b = binary.BigEndian.AppendUint64(b, uint64(c.since))
	return seal(messagesList+thread, b)
}

func parseCursor(thread, text string) (c cursor, ok bool) {
	b, ok := unseal(messagesList+thread, text)
	if !ok || len(b) != 16 {
		return cursor{}, false
	}
	c = cursor{before: binary.BigEndian.Uint64(b), since: int64(binary.BigEndian.Uint64(b[8:]))}
	return c, c.before > 0
}

// threadsCursor is a place in a user's list of threads.
type threadsCursor struct {
	before core.ThreadsCursor
	since  int64
}

func (c threadsCursor) format(user string) string {
	b := binary.BigEndian.AppendUint64(nil, uint64(c.before.On))
	b = binary.BigEndian.AppendUint64(b, uint64(c.since))
	return seal(threadsList+user, append(b, c.before.Thread...))
}

func parseThreadsCursor(user, text string) (c threadsCursor, ok bool) {
	b, ok := unseal(threadsList+user, text)
	if !ok || len(b) < 16 {
		return threadsCursor{}, false
	}
	c.before = core.ThreadsCursor{On: int64(binary.BigEndian.Uint64(b)), Thread: string(b[16:])}
	c.since = int64(binary.BigEndian.Uint64(b[8:]))
	return c, core.CheckThreadID(c.before.Thread) == nil
}

// The lists that have cursors.
const (
	messagesList = "confab messages cursor 1\x00"
	threadsList  = "confab threads cursor 1\x00"
)

const sumSize = 8

// seal writes a cursor and its sum over the list that it is of.
func seal(list string, b []byte) string {
	return hex.EncodeToString(append(b, cursorSum(list, b)...))
}

func unseal(list, text string) (b []byte, ok bool) {
	b, err := hex.DecodeString(text)
	if err != nil || len(b) < sumSize {
		return nil, false
	}
	b, sum := b[:len(b)-sumSize], b[len(b)-sumSize:]
	return b, string(sum) == string(cursorSum(list, b))
}

func cursorSum(list string, b []byte) []byte {
	h := sha256.New()
	h.Write([]byte(list))
	h.Write([]byte{0})
	h.Write(b)
	return h.Sum(nil)[:sumSize]
}
