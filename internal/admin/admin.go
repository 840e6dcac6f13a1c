// Package admin serves the HTTP API that the confab command uses: it lists and rotates
// access keys, shows users and threads as the store has them, and makes backups.
// Requests must be signed with an access key. Azure has no such API; its paths begin
// with /confab/.
package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/signature"
	"github.com/confab-chat/confab/sdk/communication"
)

// Prefix is the prefix of the paths of this package.
const Prefix = "/confab/"

// maxBody is the longest request body that is accepted, in bytes.
const maxBody = 4 << 10

// pageSize is the most threads that one response lists.
const pageSize = 100

// Keys lists and rotates the access keys.
type Keys interface {
	// Keys returns the access keys, primary first.
	Keys() []communication.AccessKey
	// List describes each key, without its secret.
	List() []Key
	// Reload reads the access keys from the store again, if other servers share it, and
	// reports whether they have changed.
	Reload(ctx context.Context) (changed bool, err error)
	// Rotate replaces the key with the name, primary or secondary, and returns the new
	// one. It invalidates all tokens that were signed with the old one. It fails with
	// ErrNoKey or ErrConfigured, or with a *RotatedError if another server has replaced
	// the key first.
	Rotate(ctx context.Context, name string) (Key, communication.AccessKey, error)
}

// ErrNoKey means that no access key has the given name.
var ErrNoKey = errors.New("no access key has this name: it is primary or secondary")

// ErrConfigured means that an access key comes from the server's settings and can only
// be changed there.
var ErrConfigured = errors.New("this access key stands in the server's settings: change it there and start the server again")

// RotatedError means that a key was not replaced, because another server has replaced it
// first. Its text is for the client.
type RotatedError struct {
	Name   string // of the key
	Serial uint64 // of the key that the other server has made
}

// Error returns a message with the name and the serial of the key that is valid now.
func (e *RotatedError) Error() string {
	return fmt.Sprintf("another server has replaced the %s key meanwhile: its serial is now %d, and nothing was changed here; use that key, or rotate again to replace it", e.Name, e.Serial)
}

// ErrBackup means that no backup was made. The response shows the text of an error that
// wraps it.
var ErrBackup = errors.New("no backup was made")

// BackupRequest asks the server to write a backup to a folder on its machine. The folder
// must contain only a file named ProofFile with the text Proof. This proves that the
// client can write there: a remote client with an access key cannot choose a folder.
type BackupRequest struct {
	To    string `json:"to"` // an absolute path
	Proof string `json:"proof"`
	// WithoutCAKey leaves the key of the local certificate authority out of the backup.
	WithoutCAKey bool `json:"withoutCAKey,omitempty"`
}

// ProofFile is the name of the file in the folder of a backup that contains
// BackupRequest.Proof.
const ProofFile = ".confab-backup"

// Backup describes a finished backup.
type Backup struct {
	Folder   string `json:"folder"`
	Made     string `json:"made"`    // when, in UTC
	Version  string `json:"version"` // of Confab
	Resource string `json:"resource"`
	// Epoch and Position name the end of the event log. They and Rows are what the files
	// of the backup were found to hold.
	Epoch    string      `json:"epoch"`
	Position uint64      `json:"position"`
	Rows     core.Counts `json:"rows"`
}

// Key describes an access key without its secret.
type Key struct {
	Name       string `json:"name"`       // primary or secondary
	Serial     uint64 `json:"serial"`     // 1 for the first key, one more after each rotation
	LiveTokens int    `json:"liveTokens"` // lower bound: unexpired tokens issued or used here since the start
}

// RotatedKey is the response to a rotation. AccessKey is the new secret, in base64.
type RotatedKey struct {
	Key
	Ended     int    `json:"ended"` // lower bound of the tokens that were invalidated
	AccessKey string `json:"accessKey"`
}

// User is a user as the store has it.
type User struct {
	ID        string `json:"id"`
	State     string `json:"state"` // unknown, live, deleting or deleted
	DeletedAt string `json:"deletedAt,omitempty"`
	Revoked   uint64 `json:"revoked"` // number of times that its tokens were revoked
}

// Threads is the beginning of a user's list of threads. More means that the list is longer.
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

// Options configures New. All fields are required.
type Options struct {
	Core   *core.Service
	Keys   Keys
	Backup func(context.Context, BackupRequest) (Backup, error)
	Now    func() time.Time
	Logger *slog.Logger
}

// New returns the handler of all paths below Prefix.
func New(o Options) http.Handler {
	h := &handler{o}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /confab/keys", h.requireSignature(h.keys))
	mux.HandleFunc("POST /confab/keys/{name}/rotate", h.requireSignature(h.rotate))
	mux.HandleFunc("GET /confab/users/{id}", h.requireSignature(h.user))
	mux.HandleFunc("GET /confab/users/{id}/threads", h.requireSignature(h.threads))
	mux.HandleFunc("GET /confab/threads/{id}", h.requireSignature(h.thread))
	mux.HandleFunc("POST /confab/backup", h.requireSignature(h.backup))
	mux.HandleFunc(Prefix, func(w http.ResponseWriter, _ *http.Request) {
		writeError(w, http.StatusNotFound, "there is nothing at this path")
	})
	return mux
}

type handler struct{ Options }

// requireSignature wraps next. It answers 401 unless the request is signed with an access
// key, and turns an error of next into a response.
func (h *handler) requireSignature(next func(http.ResponseWriter, *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if len(r.Header.Values("Authorization")) > 1 {
			writeError(w, http.StatusBadRequest, "the request has more than one Authorization header")
			return
		}
		signed := signature.Of(r) // before the body is read: nothing is read from a client without a key
		_, err := signature.Verify(signed, h.Keys.Keys(), h.Now())
		var reason *signature.Error
		if errors.As(err, &reason) && reason.Reason == signature.BadSignature { // or made with a key that another server has just rotated
			if _, err := h.Keys.Reload(r.Context()); err != nil {
				writeError(w, http.StatusServiceUnavailable, "the access keys cannot be read")
				return
			}
			_, err = signature.Verify(signed, h.Keys.Keys(), h.Now())
		}
		var body []byte
		if err == nil {
			if body, err = io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody)); err != nil {
				writeError(w, http.StatusBadRequest, "the body cannot be read or is too long")
				return
			}
			err = signed.CheckBody(body)
		}
		if err != nil {
			writeError(w, http.StatusUnauthorized, "the request is not signed with an access key of this server")
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		err = next(w, r)
		var refusal *core.Error
		var rotated *RotatedError
		switch {
		case err == nil:
		case errors.As(err, &rotated):
			writeError(w, http.StatusConflict, rotated.Error())
		case errors.Is(err, core.ErrUnknown): // no answer, as in package rest
			h.Logger.Error("admin request without an answer", "path", r.URL.Path, "error", err)
			panic(http.ErrAbortHandler)
		case errors.Is(err, core.ErrUnavailable):
			h.Logger.Error("admin request refused", "path", r.URL.Path, "error", err)
			w.Header().Set("Retry-After", "1")
			writeError(w, http.StatusServiceUnavailable, "the database does not answer, and nothing was changed")
		case errors.Is(err, ErrNoKey):
			writeError(w, http.StatusNotFound, err.Error())
		case errors.Is(err, ErrConfigured), errors.Is(err, ErrBackup):
			writeError(w, http.StatusConflict, err.Error())
		case errors.As(err, &refusal) && refusal.Code == core.NotFound:
			writeError(w, http.StatusNotFound, refusal.Message)
		case errors.As(err, &refusal) && refusal.Code == core.BadRequest:
			writeError(w, http.StatusBadRequest, refusal.Message)
		default:
			h.Logger.Error("admin request failed", "path", r.URL.Path, "error", err)
			writeError(w, http.StatusInternalServerError, "internal server error; the server's log says more")
		}
	}
}

func (h *handler) keys(w http.ResponseWriter, _ *http.Request) error {
	return writeJSON(w, http.StatusOK, h.Keys.List())
}

func (h *handler) rotate(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("name")
	ended := 0
	for _, k := range h.Keys.List() {
		if k.Name == name {
			ended = k.LiveTokens
		}
	}
	key, secret, err := h.Keys.Rotate(r.Context(), name)
	if err != nil {
		return err
	}
	h.Logger.Warn("access key rotated", "name", key.Name, "serial", key.Serial, "ended", ended)
	return writeJSON(w, http.StatusOK, RotatedKey{Key: key, Ended: ended, AccessKey: secret.Text()})
}

func (h *handler) backup(w http.ResponseWriter, r *http.Request) error {
	var req BackupRequest
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(&req); err != nil {
		return core.Invalid("body", "The body is not an order for a backup.")
	}
	// A backup to another disk copies all files, which may take longer than the server's
	// write timeout.
	if err := http.NewResponseController(w).SetWriteDeadline(time.Time{}); err != nil {
		return err
	}
	b, err := h.Backup(r.Context(), req)
	if err != nil {
		return err
	}
	h.Logger.Info("backup made", "folder", b.Folder)
	return writeJSON(w, http.StatusOK, b)
}

func (h *handler) user(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("id")
	if !communication.ValidUserID(id) {
		return core.InvalidIdentifier(id)
	}
	u, err := h.Core.StoredUser(r.Context(), id)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, User{ID: id, State: u.State.String(), DeletedAt: formatTime(u.DeletedAt), Revoked: max(u.Generation, 1) - 1})
}

func (h *handler) threads(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("id")
	if !communication.ValidUserID(id) {
		return core.InvalidIdentifier(id)
	}
	page, err := h.Core.ListThreads(r.Context(), id, core.ThreadsCursor{}, 0, pageSize)
	if err != nil {
		return err
	}
	out := Threads{Threads: []ThreadEntry{}, More: page.Next != (core.ThreadsCursor{})}
	for _, t := range page.Threads {
		out.Threads = append(out.Threads, ThreadEntry{ID: t.Thread, Topic: t.Topic, LastMessageOn: formatTime(t.LastMessageOn), DeletedOn: formatTime(t.DeletedOn)})
	}
	return writeJSON(w, http.StatusOK, out)
}

func (h *handler) thread(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("id")
	if err := core.CheckThreadID(id); err != nil {
		return err
	}
	t, err := h.Core.Inspect(r.Context(), id)
	if err != nil {
		return err
	}
	out := Thread{
		ID: t.ID, Topic: t.Topic, CreatedOn: formatTime(t.CreatedOn), CreatedBy: t.CreatedBy, DeletedOn: formatTime(t.DeletedOn),
		Metadata: t.Metadata, LastSequence: t.LastSequence,
	}
	for _, m := range t.Members {
		out.Members = append(out.Members, Member{ID: m.User, DisplayName: m.DisplayName, JoinedOn: formatTime(m.JoinedOn), Left: !m.Present()})
	}
	return writeJSON(w, http.StatusOK, out)
}

// formatTime formats epoch milliseconds in RFC 3339, and 0 as "".
func formatTime(ms int64) string {
	if ms == 0 {
		return ""
	}
	return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z")
}

func writeJSON(w http.ResponseWriter, status int, body any) error {
	text, err := json.MarshalIndent(body, "", "  ")
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	w.Write(append(text, '\n'))
	return nil
}

func writeError(w http.ResponseWriter, status int, message string) {
	code := strings.ReplaceAll(http.StatusText(status), " ", "")
	writeJSON(w, status, map[string]any{"error": map[string]string{"code": code, "message": message}})
}
