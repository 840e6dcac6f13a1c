// Package admin serves the operator's API, which the confab command uses: it lists and rotates
// access keys, shows users, threads and, if that is allowed, messages as the store has them, and
// makes backups.
//
// The API has listeners of its own: a Unix socket, which only the server's user and root may
// use, and a TCP listener on this machine, whose clients must send a secret. Neither accepts
// access keys or user tokens, so a leaked access key cannot be used to learn the next one. For
// each accepted request the log has one record: who sent it and from where, what it asked for,
// and the result. Refused requests have such records too, but only a limited number in a second.
// Azure has no such API; its paths begin with /admin/v1/.
package admin

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/confab-chat/confab/internal/clip"
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/inbound"
	"github.com/confab-chat/confab/sdk/communication"
)

// Prefix is the prefix of the paths of the operator's API.
const Prefix = "/admin/v1/"

// maxBody is the longest request body, in bytes, that the API accepts.
const maxBody = 4 << 10

// maxLogged is the most bytes of a client's text that one field of a log record contains.
const maxLogged = 512

// pageSize is the greatest number of threads or messages in a response, and usersPage the
// greatest number of users.
const (
	pageSize  = 100
	usersPage = 1000
)

// answerTime is the longest time that an operation may take, except a backup and following a
// thread. Package rest has the same limit.
const answerTime = 13 * time.Second

// Keys lists and rotates the access keys.
type Keys interface {
	// List describes each key, without its secret, primary first.
	List() []Key
	// Rotate replaces the key with the name, primary or secondary, and returns the new key. It
	// invalidates all tokens that were signed with the old key. It fails with ErrNoKey or
	// ErrConfigured, or with a *RotatedError if another server has replaced the key first.
	Rotate(ctx context.Context, name string) (Key, communication.AccessKey, error)
}

// Both is the key name by which a request rotates both access keys.
const Both = "both"

// ErrNoKey means that no access key has the given name.
var ErrNoKey = errors.New("no access key has this name: it is primary or secondary")

// ErrConfigured means that an access key comes from the server's settings and can only be
// changed in them.
var ErrConfigured = errors.New("this access key stands in the server's settings: change it there and start the server again")

// RotatedError means that a key was not replaced, because another server replaced it first. The
// response shows its text.
type RotatedError struct {
	Name   string // of the key
	Serial uint64 // of the key that the other server has made
}

// Error returns a message that names the key and has the serial of the key that is valid now.
func (e *RotatedError) Error() string {
	return fmt.Sprintf("another server has replaced the %s key meanwhile: its serial is now %d, and nothing was changed here; use that key, or rotate again to replace it", e.Name, e.Serial)
}

// ErrBackup means that no backup was made. The response shows the text of an error that wraps
// ErrBackup.
var ErrBackup = errors.New("no backup was made")

// ErrExport means that an export failed while the server made the backup from which the export
// reads. It replaces ErrBackup then, whose text would puzzle an operator who asked for an export.
var ErrExport = errors.New("the store was not copied for the export")

// forExport is the value of the query parameter "for" in a request for a backup that is the
// first step of an export.
const forExport = "export"

// ExportQuery is the query string of a request for a backup that is the first step of an export.
// BackupRequest has no field for this: an older server ignores an unknown parameter, but refuses
// an unknown field.
const ExportQuery = "?for=" + forExport

// BackupRequest asks the server to write a backup to a folder on its machine. The folder must
// contain only a file named ProofFile with the text Proof. This proves that the client can write
// to the folder: so a client with the secret of the TCP listener cannot choose a folder of
// another user.
type BackupRequest struct {
	To    string `json:"to"` // an absolute path
	Proof string `json:"proof"`
	// WithoutCAKey leaves the key of the local certificate authority out of the backup.
	WithoutCAKey bool `json:"withoutCAKey,omitempty"`
	// Export means that the backup is the first step of an export. The server sets it; it is not
	// in the JSON.
	Export bool `json:"-"`
}

// ProofFile is the name of the file that contains BackupRequest.Proof. It is in the folder for
// the backup.
const ProofFile = ".confab-backup"

// Backup describes a finished backup.
type Backup struct {
	Folder   string `json:"folder"`
	Made     string `json:"made"`    // when, in UTC
	Version  string `json:"version"` // of Confab
	Resource string `json:"resource"`
	// Epoch and Position name the end of the event log. They and Rows were read from the files
	// of the finished backup.
	Epoch    string      `json:"epoch"`
	Position uint64      `json:"position"`
	Rows     core.Counts `json:"rows"`
}

// Key describes an access key without its secret.
type Key struct {
	Name       string `json:"name"`                 // primary or secondary
	Serial     uint64 `json:"serial"`               // 1 for the first key, one more after each rotation
	LiveTokens int    `json:"liveTokens"`           // lower bound: unexpired tokens issued or used here since the start
	Configured bool   `json:"configured,omitempty"` // it stands in the server's settings and cannot be rotated here
}

// RotatedKey is a new access key. AccessKey is its secret, in base64.
type RotatedKey struct {
	Key
	Ended     int    `json:"ended"` // lower bound of the tokens that were invalidated
	AccessKey string `json:"accessKey"`
}

// Rotation is the response to a rotation: the new keys, primary first. If both keys were to be
// rotated and only the primary one was, Failed says why the secondary key was not replaced. It
// is empty otherwise.
type Rotation struct {
	Keys   []RotatedKey `json:"keys"`
	Failed string       `json:"failed,omitempty"`
}

// User is a user as the store has it.
type User struct {
	ID        string `json:"id"`
	State     string `json:"state"` // unknown, live, deleting or deleted
	DeletedAt string `json:"deletedAt,omitempty"`
	Revoked   uint64 `json:"revoked"` // number of times that its tokens were revoked
}

// Users is a page of the list of all users, sorted by id. Next is the value of the query
// parameter "after" for the next page, or empty on the last page.
type Users struct {
	Users []User `json:"users"`
	Next  string `json:"next,omitempty"`
}

// Threads is the beginning of a user's list of threads. More reports whether the list is longer.
type Threads struct {
	Threads []ThreadEntry `json:"threads"`
	More    bool          `json:"more,omitempty"`
}

// ThreadEntry is a thread in a user's list.
type ThreadEntry struct {
	ID            string `json:"id"`
	Topic         string `json:"topic"`
	LastMessageOn string `json:"lastMessageOn"`
	DeletedOn     string `json:"deletedOn,omitempty"`
}

// Thread is a thread as the store has it, without its messages.
type Thread struct {
	ID           string            `json:"id"`
	Topic        string            `json:"topic"`
	CreatedOn    string            `json:"createdOn"`
	CreatedBy    string            `json:"createdBy"`
	DeletedOn    string            `json:"deletedOn,omitempty"`
	Metadata     map[string]string `json:"metadata,omitempty"`
	LastSequence uint64            `json:"lastSequence"`
	Members      []Member          `json:"members"`
}

// Member is a present or past member of a thread.
type Member struct {
	ID          string `json:"id"`
	DisplayName string `json:"displayName,omitempty"`
	JoinedOn    string `json:"joinedOn"`
	Left        bool   `json:"left,omitempty"`
}

// Messages is a page of a thread's messages, newest first. Next is the value of the query
// parameter "before" for the next page, or 0 on the last page.
type Messages struct {
	Messages []Message `json:"messages"`
	Next     uint64    `json:"next,omitempty"`
}

// Message is a message as the store has it.
type Message struct {
	ID                string `json:"id"`
	Type              string `json:"type"` // text, html, topicUpdated, participantAdded or participantRemoved
	Sequence          uint64 `json:"sequence"`
	CreatedOn         string `json:"createdOn"`
	EditedOn          string `json:"editedOn,omitempty"`
	DeletedOn         string `json:"deletedOn,omitempty"`
	Sender            string `json:"sender,omitempty"` // empty for system messages
	SenderDisplayName string `json:"senderDisplayName,omitempty"`
	Content           string `json:"content"` // the new topic of a topicUpdated

	// Only system messages have these fields: who made the change, and who was added or removed.
	Initiator    string        `json:"initiator,omitempty"`
	Participants []Participant `json:"participants,omitempty"`
}

// Participant is a user whom a system message names.
type Participant struct {
	ID          string `json:"id"`
	DisplayName string `json:"displayName,omitempty"`
}

// Options configures New. All fields except ReadsMessages and MayLog are required.
type Options struct {
	Core   *core.Service
	Keys   Keys
	Backup func(context.Context, BackupRequest) (Backup, error)
	// ReadsMessages allows requests to read the content of messages.
	ReadsMessages bool
	Logger        *slog.Logger
	Audit         *slog.Logger // gets the records of requests, with the level info; nil: Logger
	// MayLog reports whether a refused request with this status gets a log record, so that a
	// flood of refused requests does not fill the log. Accepted requests always get one. nil:
	// every request gets one.
	MayLog func(status int) bool
}

// Handler answers the operator's requests. Its methods Socket and TCP return the handlers of the
// two listeners.
type Handler struct {
	Options
	operations []operation
	followers  chan struct{} // holds one for each request that follows a thread
	stopped    chan struct{} // closed by Stop
	stopOnce   sync.Once
}

// New returns a Handler that serves all paths below Prefix.
func New(o Options) *Handler {
	o.Audit = cmp.Or(o.Audit, o.Logger)
	h := &Handler{Options: o, followers: make(chan struct{}, maxFollowers), stopped: make(chan struct{})}
	h.operations = []operation{
		{method: "GET", path: "keys", name: "list keys", run: h.keys},
		{method: "POST", path: "keys/*/rotate", name: "rotate key", run: h.rotate},
		{method: "GET", path: "users", name: "list users", run: h.users},
		{method: "GET", path: "users/*", name: "show user", run: h.user},
		{method: "GET", path: "users/*/threads", name: "list threads", run: h.threads},
		{method: "GET", path: "threads/*", name: "show thread", run: h.thread},
		{method: "GET", path: "threads/*/messages", name: "read messages", run: h.messages},
		{method: "GET", path: "threads/*/messages/follow", name: "follow messages", run: h.follow, long: true},
		{method: "POST", path: "backup", name: "backup", run: h.backup, long: true},
	}
	return h
}

// operation is a kind of request: its method and path, and the function that answers it.
type operation struct {
	method string
	path   string // below Prefix; * stands for the target
	name   string // in the log
	run    func(*call) (response any, err error)
	long   bool // it may take longer than answerTime
}

// find returns the operation of a request, and the target that the request's path names. ok is
// false if no operation has this method and path.
func (h *Handler) find(r *http.Request) (op operation, target string, ok bool) {
	rest, below := strings.CutPrefix(r.URL.Path, Prefix)
	if !below {
		return op, "", false
	}
	for _, op := range h.operations {
		before, after, parameter := strings.Cut(op.path, "*")
		if ok, _ := path.Match(op.path, rest); !ok || op.method != r.Method { // the patterns are well-formed
			continue
		}
		if !parameter {
			return op, "", true
		}
		target := strings.TrimSuffix(strings.TrimPrefix(rest, before), after)
		return op, target, target != ""
	}
	return op, "", false
}

// call is the state of one request.
type call struct {
	*http.Request
	w       http.ResponseWriter
	who     string // who sent the request, for the log
	from    string // "socket", or the address of the client
	name    string // of the operation
	target  string // id of a user or thread, name of a key, folder; of an unknown request method and path
	body    []byte
	outcome string // "done", or why the request failed
	status  int    // of the response; 0: no response

	id       string // of the request, for the log and the headers MS-CV and x-ms-request-id
	began    time.Time
	refused  bool // the door did not let the request in
	recorded bool
	streamed bool // the operation has written the response
}

// refusal is an error with the HTTP status of the response and a text for the client.
type refusal struct {
	status int
	text   string
}

func (e *refusal) Error() string { return e.text }

var (
	errNotFound = &refusal{http.StatusNotFound, "there is nothing at this path"}
	errBody     = &refusal{http.StatusBadRequest, "the body cannot be read or is too long"}
	errTime     = &refusal{http.StatusRequestTimeout, "the body did not arrive in time"}
	errContent  = &refusal{http.StatusForbidden, "this server does not show the content of messages to its operator: start it with --admin-reads-messages to allow that"}
)

// serve answers the request c and logs the result. If refused is not nil, the listener's handler
// has refused the request for this reason, and serve answers with it.
func (h *Handler) serve(c *call, refused error) {
	c.began, c.refused, c.id = time.Now(), refused != nil, rand.Text()+".0"
	c.w.Header().Set("Ms-Cv", c.id)
	c.w.Header().Set("X-Ms-Request-Id", c.id)
	op, target, ok := h.find(c.Request)
	c.name, c.target = op.name, target
	if !ok {
		c.name, c.target = "unknown", c.Method+" "+c.URL.Path
	}
	defer func() {
		if c.recorded {
			return
		}
		if p := recover(); p != nil {
			c.outcome = "the connection was closed without an answer"
			if p != http.ErrAbortHandler {
				c.outcome = fmt.Sprint("panic: ", p)
			}
			h.record(c)
			panic(p)
		}
	}()
	var response any
	err := refused
	if err == nil && !ok {
		err = errNotFound
	}
	if err == nil {
		err = c.readBody()
	}
	if err == nil {
		if !op.long {
			ctx, cancel := context.WithTimeout(c.Context(), answerTime)
			defer cancel()
			c.Request = c.WithContext(ctx)
		}
		response, err = op.run(c)
	}
	if c.streamed {
		h.logFollowed(c, err)
		return
	}
	h.answer(c, response, err)
}

// record writes one log line about the request, unless the request was refused and MayLog
// returns false.
func (h *Handler) record(c *call) {
	c.recorded = true
	if c.refused && h.MayLog != nil && !h.MayLog(c.status) {
		return
	}
	h.Audit.LogAttrs(context.Background(), slog.LevelInfo, "operator",
		slog.String("who", c.who), slog.String("from", c.from),
		slog.String("operation", c.name), slog.String("target", clip.Text(c.target, maxLogged)),
		slog.Int("status", c.status), slog.String("outcome", clip.Text(c.outcome, maxLogged)),
		slog.Float64("ms", float64(time.Since(c.began).Microseconds())/1000),
		slog.String("request", c.id), slog.String("client_request", clip.Text(c.Header.Get("X-Ms-Client-Request-Id"), maxLogged)))
}

// readBody reads the body of the request and removes a byte order mark. It fails if the body is
// too long or compressed.
func (c *call) readBody() (err error) {
	c.body, err = io.ReadAll(http.MaxBytesReader(c.w, c.Body, maxBody))
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errTime
	case err != nil:
		return errBody
	}
	if message := inbound.RefusedCoding(c.Header); message != "" && len(c.body) > 0 {
		c.w.Header().Set("Accept-Encoding", inbound.AcceptedCoding)
		return &refusal{http.StatusUnsupportedMediaType, message}
	}
	c.body = inbound.JSON(c.body)
	return nil
}

// answer writes the response. If err is not nil, it writes an error response for err instead.
func (h *Handler) answer(c *call, response any, err error) {
	var refused *refusal
	var rotated *RotatedError
	var coreError *core.Error
	switch {
	case err == nil:
		if c.outcome == "" {
			c.outcome = "done"
		}
		h.write(c, http.StatusOK, response)
	case errors.As(err, &refused):
		h.refuse(c, refused.status, refused.text)
	case errors.As(err, &rotated):
		h.refuse(c, http.StatusConflict, rotated.Error())
	case errors.Is(err, core.ErrUnknown): // no answer, as in package rest
		h.Logger.Error("operator's request without an answer", "operation", c.name, "error", err)
		panic(http.ErrAbortHandler)
	case errors.Is(err, core.ErrUnavailable), errors.Is(err, context.DeadlineExceeded):
		h.Logger.Error("operator's request refused", "operation", c.name, "error", err)
		c.w.Header().Set("Retry-After", "1")
		h.refuse(c, http.StatusServiceUnavailable, "the database does not answer, and nothing was changed")
	case errors.Is(err, ErrNoKey):
		h.refuse(c, http.StatusNotFound, err.Error())
	case errors.Is(err, ErrConfigured), errors.Is(err, ErrBackup), errors.Is(err, ErrExport):
		h.refuse(c, http.StatusConflict, err.Error())
	case errors.As(err, &coreError) && coreError.Code == core.NotFound:
		h.refuse(c, http.StatusNotFound, coreError.Message)
	case errors.As(err, &coreError) && coreError.Code == core.BadRequest:
		h.refuse(c, http.StatusBadRequest, coreError.Message)
	default:
		h.Logger.Error("operator's request failed", "operation", c.name, "error", err)
		h.refuse(c, http.StatusInternalServerError, "internal server error; the server's log says more")
	}
}

func (h *Handler) refuse(c *call, status int, message string) {
	c.outcome = message
	code := strings.ReplaceAll(http.StatusText(status), " ", "")
	h.write(c, status, map[string]any{"error": map[string]string{"code": code, "message": message}})
}

// write logs the request and then sends its response. Because of this order, a client that has
// received the response can rely on the log record.
func (h *Handler) write(c *call, status int, body any) {
	text, err := json.MarshalIndent(body, "", "  ")
	if err != nil { // impossible: all bodies of this package can be encoded
		panic(err)
	}
	c.status = status
	h.record(c)
	c.w.Header().Set("Content-Type", "application/json; charset=utf-8")
	c.w.Header().Set("Cache-Control", "no-store")
	c.w.WriteHeader(status)
	c.w.Write(append(text, '\n'))
}

func (h *Handler) keys(*call) (any, error) { return h.Keys.List(), nil }

func (h *Handler) rotate(c *call) (any, error) {
	names := []string{c.target}
	if c.target == Both {
		names = nil
		for _, k := range h.Keys.List() {
			if k.Configured {
				return nil, fmt.Errorf("nothing was changed: the %s key: %w", k.Name, ErrConfigured)
			}
			names = append(names, k.Name)
		}
	}
	var done Rotation
	for _, name := range names {
		key, err := h.rotateOne(c.Context(), name)
		switch {
		case err != nil && len(done.Keys) == 0:
			return nil, err
		case err != nil: // the client must get the key that was made
			h.Logger.Error("operator's request failed", "operation", c.name, "error", err)
			done.Failed = fmt.Sprintf("it is not known whether the %s key was replaced too: %v", name, err)
			if errors.As(err, new(*RotatedError)) || errors.Is(err, core.ErrUnavailable) && !errors.Is(err, core.ErrUnknown) {
				done.Failed = fmt.Sprintf("the %s key was not replaced: %v", name, err)
			}
			c.outcome = done.Failed
			return done, nil
		}
		done.Keys = append(done.Keys, key)
	}
	return done, nil
}

// rotateOne replaces the access key with the name and returns the new key.
func (h *Handler) rotateOne(ctx context.Context, name string) (RotatedKey, error) {
	ended := 0
	for _, k := range h.Keys.List() {
		if k.Name == name {
			ended = k.LiveTokens
		}
	}
	key, secret, err := h.Keys.Rotate(ctx, name)
	if err != nil {
		return RotatedKey{}, err
	}
	h.Logger.Warn("access key rotated", "name", key.Name, "serial", key.Serial, "ended", ended)
	return RotatedKey{Key: key, Ended: ended, AccessKey: secret.Text()}, nil
}

func (h *Handler) backup(c *call) (any, error) {
	var req BackupRequest
	d := json.NewDecoder(bytes.NewReader(c.body))
	d.DisallowUnknownFields()
	if err := d.Decode(&req); err != nil {
		return nil, core.Invalid("body", "The body is not an order for a backup.")
	}
	c.target, req.Export = req.To, c.URL.Query().Get("for") == forExport
	done := "backup made"
	if req.Export {
		c.name, done = "export", "store copied for an export"
	}
	// Remove the write deadline: a backup to another disk copies all files, which may take
	// longer than the server's write timeout.
	if err := http.NewResponseController(c.w).SetWriteDeadline(time.Time{}); err != nil {
		return nil, err
	}
	b, err := h.Backup(c.Context(), req)
	if err != nil {
		return nil, err
	}
	h.Logger.Info(done, "folder", b.Folder)
	return b, nil
}

func (h *Handler) user(c *call) (any, error) {
	id := c.target
	if !communication.ValidUserID(id) {
		return nil, core.InvalidIdentifier(id)
	}
	u, err := h.Core.StoredUser(c.Context(), id)
	if err != nil {
		return nil, err
	}
	return userOf(u), nil
}

func (h *Handler) users(c *call) (any, error) {
	after := c.URL.Query().Get("after")
	if after != "" && !communication.ValidUserID(after) {
		return nil, core.InvalidIdentifier(after)
	}
	us, err := h.Core.ListUsers(c.Context(), after, usersPage)
	if err != nil {
		return nil, err
	}
	out := Users{Users: []User{}}
	for _, u := range us {
		out.Users = append(out.Users, userOf(u))
	}
	if len(us) == usersPage {
		out.Next = us[len(us)-1].ID
	}
	return out, nil
}

// userOf converts a user to the form that the operator's API shows.
func userOf(u core.User) User {
	return User{ID: u.ID, State: u.State.String(), DeletedAt: formatTime(u.DeletedAt), Revoked: max(u.Generation, 1) - 1}
}

func (h *Handler) threads(c *call) (any, error) {
	id := c.target
	if !communication.ValidUserID(id) {
		return nil, core.InvalidIdentifier(id)
	}
	page, err := h.Core.ListThreads(c.Context(), id, core.ThreadsCursor{}, 0, pageSize)
	if err != nil {
		return nil, err
	}
	out := Threads{Threads: []ThreadEntry{}, More: page.Next != (core.ThreadsCursor{})}
	for _, t := range page.Threads {
		out.Threads = append(out.Threads, ThreadEntry{ID: t.Thread, Topic: t.Topic, LastMessageOn: formatTime(t.LastMessageOn), DeletedOn: formatTime(t.DeletedOn)})
	}
	return out, nil
}

func (h *Handler) thread(c *call) (any, error) {
	id := c.target
	if err := core.CheckThreadID(id); err != nil {
		return nil, err
	}
	t, err := h.Core.Inspect(c.Context(), id)
	if err != nil {
		return nil, err
	}
	out := Thread{
		ID: t.ID, Topic: t.Topic, CreatedOn: formatTime(t.CreatedOn), CreatedBy: t.CreatedBy, DeletedOn: formatTime(t.DeletedOn),
		Metadata: t.Metadata, LastSequence: t.LastSequence,
	}
	for _, m := range t.Members {
		out.Members = append(out.Members, Member{ID: m.User, DisplayName: m.DisplayName, JoinedOn: formatTime(m.JoinedOn), Left: !m.Present()})
	}
	return out, nil
}

func (h *Handler) messages(c *call) (any, error) {
	if !h.ReadsMessages {
		return nil, errContent
	}
	id := c.target
	if err := core.CheckThreadID(id); err != nil {
		return nil, err
	}
	before, err := sequenceOf(c, "before")
	if err != nil {
		return nil, err
	}
	page, err := h.Core.InspectMessages(c.Context(), id, before, pageSize)
	if err != nil {
		return nil, err
	}
	out := Messages{Messages: []Message{}, Next: page.Next}
	for _, m := range page.Messages {
		out.Messages = append(out.Messages, messageOf(m))
	}
	return out, nil
}

// formatTime formats a time in epoch milliseconds as RFC 3339. It returns "" for 0.
func formatTime(ms int64) string {
	if ms == 0 {
		return ""
	}
	return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z")
}
