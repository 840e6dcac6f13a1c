package core

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/confab-chat/confab/internal/clip"
)

// Limits on what a client may name, in bytes.
const (
	maxThreadID = 200
	maxToken    = 256
	maxEcho     = 100 // of a client's text that an error repeats
)

// newThreadID makes a random id of the form that the service gives to creates
// without a token (docs/contract/chat.md §2).
func newThreadID(random io.Reader) string {
	var b [16]byte
	mustRead(random, b[:])
	return "19:" + hex.EncodeToString(b[:]) + "@thread.v2"
}

// threadIDFor is the id of a create with an idempotency token: a hash of who
// asked and the token, so that the thread's own row is the lock of the create
// and its replays need no other. Unverified: the form was recorded, what is
// hashed was not (docs/contract/chat.md §2).
func threadIDFor(resource, caller, token string) string {
	h := sha256.New()
	for _, part := range []string{resource, caller, token} {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	return "19:" + base64.RawURLEncoding.EncodeToString(h.Sum(nil)) + "1@thread.v2"
}

// mustRead panics when there is no randomness: crypto/rand never fails to give it.
func mustRead(random io.Reader, b []byte) {
	if _, err := io.ReadFull(random, b); err != nil {
		panic(fmt.Sprintf("no random bytes for an id: %v", err))
	}
}

// newUserPart makes the second half of a user id: shaped like a GUID, sortable
// by time, and free of "_" (docs/contract/identity.md §6.7).
func newUserPart(random io.Reader, ms int64) string {
	var b [10]byte
	mustRead(random, b[:])
	t := uint64(ms) << 16
	x := hex.EncodeToString(b[:])
	return fmt.Sprintf("%08x-%04x-%s-%s-%s", uint32(t>>32), uint16(t>>16), x[:4], x[4:8], x[8:20])
}

// CheckThreadID refuses what cannot be a thread id, before any look-up. Every
// form that was recorded passes (docs/contract/chat.md §2).
func CheckThreadID(id string) error {
	rest, ok := strings.CutPrefix(id, "19:")
	name, ok2 := strings.CutSuffix(rest, "@thread.v2")
	if !ok || !ok2 || name == "" || len(id) > maxThreadID || strings.ContainsFunc(name, notInThreadID) {
		return Invalid("chatThreadId", "Value for ChatThreadId (%s) is not valid.", clip.Text(id, maxEcho))
	}
	return nil
}

func notInThreadID(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_-:.=+", r))
}

// ParseMessageID reads a message id: decimal epoch milliseconds (docs/contract/chat.md §2).
func ParseMessageID(s string) (int64, error) {
	id, err := strconv.ParseInt(s, 10, 64)
	if err != nil || id <= 0 || s[0] == '+' || s[0] == '0' {
		return 0, Invalid("chatMessageId", "Value for MessageId (%s) is not valid.", clip.Text(s, maxEcho))
	}
	return id, nil
}

// checkToken refuses an idempotency token that could not be kept. Any opaque
// text was recorded (docs/contract/chat.md §3.1). Unverified: the length and the characters.
func checkToken(token string) error {
	if len(token) > maxToken || !utf8.ValidString(token) || strings.ContainsFunc(token, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return Invalid("repeatability-request-id", "The repeatability-request-id must have at most %d printable characters.", maxToken)
	}
	return nil
}
