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

	"github.com/confab-chat/confab/internal/clip"
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/rest/wire"
	"github.com/confab-chat/confab/internal/why"
)

// The default and the largest page size of lists of threads, participants and read
// receipts. A page of 100 threads was recorded (docs/contract/chat.md §3.2).
// Unverified: the default for participants and receipts, and the largest size.
const (
	defaultPageSize = 100
	maxPageSize     = core.MaxMessagesPage
)

// messagesPage reads the query parameters of a list of messages (docs/contract/chat.md §5.1). The
// parameter syncState contains both the position and the start time of the list, so if a request
// has it, messagesPage ignores the parameter startTime, even an invalid one. It fails for other
// invalid parameters.
func (req *request) messagesPage() (page core.ListMessages, err error) {
	if page.Limit, err = req.pageSize(core.DefaultMessagesPage, core.MaxMessagesPage); err != nil {
		return page, err
	}
	if !req.query.Has("syncState") {
		page.Since, err = req.startTime()
		return page, err
	}
	c, ok := parseCursor(req.thread, req.query.Get("syncState"))
	if !ok {
		return page, errCursor
	}
	page.Before, page.Since = c.before, c.since
	return page, nil
}

// nextMessagesLink returns the link to the next page of a list of messages, in the form
// that was recorded: an absolute URL in which the thread id is not escaped and
// startTime has .NET's format.
func (h *Handler) nextMessagesLink(req *request, page core.ListMessages) string {
	c := cursor{before: page.Before, since: page.Since}
	return h.baseURL(req) + "/chat/threads/" + req.thread + "/messages?syncState=" + c.format(req.thread) +
		"&startTime=" + escapeQuery(time.UnixMilli(page.Since).UTC().Format(dotNetTime)) +
		"&maxPageSize=" + strconv.Itoa(page.Limit) + req.versionParameter()
}

// threadsPage reads the query parameters of a list of threads (docs/contract/chat.md §3.2): the
// entry before which the page begins, the start time, the page size, and the data that expand adds
// to each thread. The parameter syncState contains the entry and the start time, so if a request
// has it, threadsPage ignores the parameter startTime.
func (req *request) threadsPage() (q core.ThreadsQuery, err error) {
	q.User = req.caller
	if q.Limit, err = req.pageSize(defaultPageSize, maxPageSize); err != nil {
		return q, err
	}
	if q.Expand, err = req.expand(); err != nil {
		return q, err
	}
	if !req.query.Has("syncState") {
		q.Since, err = req.startTime()
		return q, err
	}
	c, ok := parseThreadsCursor(req.caller, req.query.Get("syncState"))
	if !ok {
		return q, errCursor
	}
	q.Before, q.Since = c.before, c.since
	return q, nil
}

// expand reads the query parameter expand, an extension of Confab: words separated by commas that
// name data to add to each thread of a list (docs/contract/chat.md §3.8). It fails for an unknown
// word.
func (req *request) expand() (e core.Expand, err error) {
	for _, list := range req.query["expand"] {
		for word := range strings.SplitSeq(list, ",") {
			switch strings.TrimSpace(word) {
			case "lastMessage":
				e.LastMessage = true
			case "unread":
				e.Unread = true
			default:
				return e, core.Invalid("expand", "Value for expand (%s) is not valid. It must be lastMessage, unread, or both, separated by a comma.", clip.Text(word, maxEcho))
			}
		}
	}
	return e, nil
}

// expandParameter returns the request's query parameter expand in the form for a link, or "" if
// the request has none.
func (req *request) expandParameter() string {
	e, _ := req.expand() // the error is always nil here, because threadsPage has refused requests with a bad expand
	switch e {
	case core.Expand{LastMessage: true}:
		return "&expand=lastMessage"
	case core.Expand{Unread: true}:
		return "&expand=unread"
	case core.Expand{LastMessage: true, Unread: true}:
		return "&expand=lastMessage,unread"
	}
	return ""
}

// nextThreadsLink returns the link to the page of threads after the entry last. As was
// recorded, the link has maxPageSize only if the request had it.
func (h *Handler) nextThreadsLink(req *request, last core.ThreadsCursor, since int64) string {
	c := threadsCursor{before: last, since: since}
	return h.baseURL(req) + "/chat/threads?syncState=" + c.format(req.caller) + req.sizeParameter() + req.expandParameter() + req.versionParameter()
}

// skipPage reads maxPageSize and skip, the query parameters of lists of participants and
// receipts (docs/contract/chat.md §4.2). It fails if one is malformed or negative.
func (req *request) skipPage() (skip, limit int, err error) {
	if limit, err = req.pageSize(defaultPageSize, maxPageSize); err != nil {
		return 0, 0, err
	}
	if !req.query.Has("skip") {
		return 0, limit, nil
	}
	text := req.query.Get("skip")
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return 0, 0, badParameter("skip", "Value for skip (%s) is not valid. It must be 0 or more.", clip.Text(text, maxEcho))
	}
	return int(min(n, math.MaxInt32)), limit, nil
}

// nextSkipLink returns the link to the next page of a list of participants or receipts.
// The next page begins after the first skip entries.
func (h *Handler) nextSkipLink(req *request, list string, skip int) string {
	return h.baseURL(req) + "/chat/threads/" + req.thread + list + "?skip=" + strconv.Itoa(skip) + req.sizeParameter() + req.versionParameter()
}

// sizeParameter returns "&maxPageSize=N" for a link if the request has maxPageSize,
// else "".
func (req *request) sizeParameter() string {
	if !req.query.Has("maxPageSize") {
		return ""
	}
	return "&maxPageSize=" + escapeQuery(req.query.Get("maxPageSize"))
}

// versionParameter returns the request's api-version as a query parameter for a link.
// It repeats the client's text, which may be another name of the version.
func (req *request) versionParameter() string {
	return "&api-version=" + escapeQuery(req.query.Get("api-version"))
}

// badParameter returns the 400 for a parameter of the query.
func badParameter(name, format string, args ...any) error {
	e := core.Invalid(name, format, args...)
	return e.Because(why.BadParameter, "parameter", name, "problem", e.Message)
}

// dotNetTime is the layout in which the real service writes the startTime of a link to
// the next page: "1/1/1970 12:00:00 AM +00:00".
const dotNetTime = "1/2/2006 3:04:05 PM -07:00"

// escapeQuery escapes a query value. It writes a blank as %20, as the service does.
func escapeQuery(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

// pageSize returns the request's maxPageSize, or standard if the request has none. It returns
// bound for a greater maxPageSize, and fails for anything but a positive integer. Unverified: both
// rules.
func (req *request) pageSize(standard, bound int) (int, error) {
	if !req.query.Has("maxPageSize") {
		return standard, nil
	}
	text := req.query.Get("maxPageSize")
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 1 {
		return 0, badParameter("maxPageSize", "Value for maxPageSize (%s) is not valid. It must be from 1 to %d.", clip.Text(text, maxEcho), bound)
	}
	return int(min(n, int64(bound))), nil
}

// startTime returns the query parameter startTime in epoch milliseconds, or 0 if the request has
// none or one before 1970. It accepts RFC 3339 and the .NET format of times that links to a next
// page have.
func (req *request) startTime() (int64, error) {
	if !req.query.Has("startTime") {
		return 0, nil
	}
	text := req.query.Get("startTime")
	t, err := wire.ParseTime(text)
	if t2, err2 := time.Parse(dotNetTime, text); err2 == nil {
		t, err = wire.TimeOf(t2)
	}
	if err != nil {
		return 0, badParameter("startTime", "Value for startTime (%s) is not valid. It %s.", clip.Text(text, maxEcho), err)
	}
	return int64(t), nil
}

// errCursor is the error for a syncState that was not made for the list in the request. A
// syncState is the position at which a list continues, with a checksum that detects a truncated
// syncState and one of another list. A client could forge a syncState, but would get only entries
// that it may read anyway.
var errCursor = core.Invalid("syncState", "The syncState parameter is not one of this list.").Because(why.BadCursor, "parameter", "syncState")

// cursor is the position at which a list of messages continues, and the list's start
// time.
type cursor struct {
	before uint64 // sequence number; the next page has the messages with smaller ones
	since  int64  // epoch milliseconds
}

// format returns the cursor as the syncState parameter for a list of the thread's
// messages.
func (c cursor) format(thread string) string {
	b := binary.BigEndian.AppendUint64(nil, c.before)
	b = binary.BigEndian.AppendUint64(b, uint64(c.since))
	return seal(messagesList+thread, b)
}

// parseCursor returns the cursor in the syncState of a list of the thread's messages.
// ok is false if the text is invalid or belongs to another list.
func parseCursor(thread, text string) (c cursor, ok bool) {
	b, ok := unseal(messagesList+thread, text)
	if !ok || len(b) != 16 {
		return cursor{}, false
	}
	c = cursor{before: binary.BigEndian.Uint64(b), since: int64(binary.BigEndian.Uint64(b[8:]))}
	return c, c.before > 0
}

// threadsCursor is the position at which a list of a user's threads continues, and the list's
// start time.
type threadsCursor struct {
	before core.ThreadsCursor
	since  int64 // epoch milliseconds
}

// format returns the cursor as the syncState parameter for a list of the user's
// threads.
func (c threadsCursor) format(user string) string {
	b := binary.BigEndian.AppendUint64(nil, uint64(c.before.On))
	b = binary.BigEndian.AppendUint64(b, uint64(c.since))
	list := threadsList
	if _, ok := c.before.ByID(); ok {
		list = threadsByID
	}
	return seal(list+user, append(b, c.before.Thread...))
}

// parseThreadsCursor returns the cursor in the syncState of a list of the user's
// threads. ok is false if the text is invalid or belongs to another list.
func parseThreadsCursor(user, text string) (c threadsCursor, ok bool) {
	b, ok := unseal(threadsList+user, text)
	byID := false
	if !ok {
		b, byID = unseal(threadsByID+user, text)
	}
	if !ok && !byID || len(b) < 16 {
		return threadsCursor{}, false
	}
	c.before = core.ThreadsCursor{On: int64(binary.BigEndian.Uint64(b)), Thread: string(b[16:])}
	c.since = int64(binary.BigEndian.Uint64(b[8:]))
	if _, is := c.before.ByID(); is != byID {
		return threadsCursor{}, false
	}
	return c, core.CheckThreadID(c.before.Thread) == nil
}

// Prefixes of the names of lists. A syncState has a checksum over the name of its list: the prefix
// for the kind of list, and the id of the thread or user. Lists of threads at a cursor by id have
// a prefix of their own, so that a server of an older version, which does not know such cursors,
// refuses their syncState.
const (
	messagesList = "confab messages cursor 1\x00"
	threadsList  = "confab threads cursor 1\x00"
	threadsByID  = "confab threads cursor 2\x00" // prefix for a list of threads whose position is a thread id (core.CursorByID)
)

const sumSize = 8 // bytes of the checksum

// seal returns the bytes b and a checksum over them and the list's name, in hexadecimal.
func seal(list string, b []byte) string {
	return hex.EncodeToString(append(b, cursorSum(list, b)...))
}

// unseal returns the bytes that seal encoded in text for the list. ok is false if the
// text is malformed or was made for another list.
func unseal(list, text string) (b []byte, ok bool) {
	b, err := hex.DecodeString(text)
	if err != nil || len(b) < sumSize {
		return nil, false
	}
	b, sum := b[:len(b)-sumSize], b[len(b)-sumSize:]
	return b, string(sum) == string(cursorSum(list, b))
}

// cursorSum returns the checksum over the name of a list and b, a position in the list.
func cursorSum(list string, b []byte) []byte {
	h := sha256.New()
	h.Write([]byte(list))
	h.Write([]byte{0})
	h.Write(b)
	return h.Sum(nil)[:sumSize]
}
