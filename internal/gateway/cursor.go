package gateway

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"slices"
	"strings"

	"github.com/confab-chat/confab/internal/core"
)

// Errors of ParseCursor.
var (
	ErrCursorDamaged = errors.New("the cursor is damaged")
	ErrCursorForeign = errors.New("the cursor is of another user or of other threads")
)

// The text of a cursor is the base64url form of these fields: a version, a hash of the store's
// epoch, the check (a random number) and the position of the last event before the cursor, a keyed
// hash of the user and its threads, and a checksum of all these.
const (
	cursorVersion = 1
	cursorLen     = 1 + 4 + 4 + 8 + 4 + 4
)

// FormatCursor returns the text of a cursor, as clients get it. ParseCursor accepts the text
// for this user and these threads only. The text is no credential.
func FormatCursor(c core.Cursor, user string, threads []string) string {
	return string(NewBinding(c.Epoch, user, threads).Append(nil, c))
}

// ParseCursor returns the cursor of a text that FormatCursor returned. epoch is the store's
// present epoch. If the text was made in another epoch, the returned cursor has the epoch "",
// so that a session at this cursor begins with a gap. ParseCursor fails with ErrCursorDamaged,
// or with ErrCursorForeign if the text was made for another user or other threads.
func ParseCursor(text, epoch, user string, threads []string) (core.Cursor, error) {
	if len(text) != base64.RawURLEncoding.EncodedLen(cursorLen) { // the decoder ignores line breaks
		return core.Cursor{}, ErrCursorDamaged
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(b) != cursorLen || b[0] != cursorVersion ||
		binary.BigEndian.Uint32(b[cursorLen-4:]) != crc32.ChecksumIEEE(b[:cursorLen-4]) {
		return core.Cursor{}, ErrCursorDamaged
	}
	c := core.Cursor{Epoch: epoch, Check: binary.BigEndian.Uint32(b[5:]), Position: binary.BigEndian.Uint64(b[9:])}
	k := NewBinding(epoch, user, threads)
	if [4]byte(b[1:5]) != k.sum {
		c.Epoch = "" // no store has the empty epoch, so the client is told that events are missing (a gap)
		return c, nil
	}
	if [4]byte(b[17:21]) != k.owner {
		return core.Cursor{}, ErrCursorForeign
	}
	return c, nil
}

// Binding makes the texts of cursors for one user and some threads, in one epoch of the store.
type Binding struct {
	Epoch string
	sum   [4]byte // of the epoch
	owner [4]byte // a keyed hash of the user and its threads
}

// NewBinding returns a Binding, which makes and checks the texts of cursors for a user and some
// threads. If threads is empty, it is for all threads.
func NewBinding(epoch, user string, threads []string) *Binding {
	k := &Binding{Epoch: epoch}
	sum := sha256.Sum256([]byte(epoch))
	copy(k.sum[:], sum[:])
	threads = slices.Sorted(slices.Values(threads))
	m := hmac.New(sha256.New, []byte(epoch))
	m.Write([]byte(user + "\n" + strings.Join(threads, "\n")))
	copy(k.owner[:], m.Sum(nil))
	return k
}

// Append appends the text of the cursor c to b. It ignores c.Epoch and uses the binding's epoch. It
// computes no hash, because it is called for each event of each session.
func (k *Binding) Append(b []byte, c core.Cursor) []byte {
	var raw [cursorLen]byte
	raw[0] = cursorVersion
	copy(raw[1:], k.sum[:])
	binary.BigEndian.PutUint32(raw[5:], c.Check)
	binary.BigEndian.PutUint64(raw[9:], c.Position)
	copy(raw[17:], k.owner[:])
	binary.BigEndian.PutUint32(raw[21:], crc32.ChecksumIEEE(raw[:21]))
	return base64.RawURLEncoding.AppendEncode(b, raw[:])
}
