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

// Greatest sizes of ids and tokens that clients send, in bytes.
const (
	maxThreadID = 200
	maxToken    = 256
	maxEcho     = 100 // the greatest number of bytes of a client's text that an error message repeats
)

// newThreadID returns a random thread id, in the form that the service gives to a
// thread created without an idempotency token (docs/contract/chat.md §2).
func newThreadID(random io.Reader) string {
	var b [16]byte
	mustRead(random, b[:])
	return "19:" + hex.EncodeToString(b[:]) + "@thread.v2"
}

// threadIDFor returns the id of a thread that is created with an idempotency token. The id
// contains a hash of the resource, the caller and the token, so a repeated create gets the same
// id and finds the thread. Unverified: the form of the id was recorded, but not the input of
// the hash (docs/contract/chat.md §2).
func threadIDFor(resource, caller, token string) string {
	h := sha256.New()
	for _, part := range []string{resource, caller, token} {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	return "19:" + base64.RawURLEncoding.EncodeToString(h.Sum(nil)) + "1@thread.v2"
}

// mustRead fills b with random bytes. It panics if the source fails, which
// crypto/rand never does.
func mustRead(random io.Reader, b []byte) {
	if _, err := io.ReadFull(random, b); err != nil {
		panic(fmt.Sprintf("no random bytes for an id: %v", err))
	}
}

// newUserPart returns the second half of a new user id: it has the form of a GUID,
// sorts by the creation time ms and contains no "_" (docs/contract/identity.md §6.7).
func newUserPart(random io.Reader, ms int64) string {
	var b [10]byte
	mustRead(random, b[:])
	t := uint64(ms) << 16
	x := hex.EncodeToString(b[:])
	return fmt.Sprintf("%08x-%04x-%s-%s-%s", uint32(t>>32), uint16(t>>16), x[:4], x[4:8], x[8:20])
}

// CheckThreadID returns a BadRequest for a string that cannot be a thread id. It
// accepts every form that was recorded (docs/contract/chat.md §2).
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

// ParseMessageID parses a message id, which is epoch milliseconds in decimal
// (docs/contract/chat.md §2). It returns a BadRequest for any other text, including one with a
// sign or a leading zero.
func ParseMessageID(s string) (int64, error) {
	id, err := strconv.ParseInt(s, 10, 64)
	if err != nil || id <= 0 || s[0] == '+' || s[0] == '0' {
		return 0, Invalid("chatMessageId", "Value for MessageId (%s) is not valid.", clip.Text(s, maxEcho))
	}
	return id, nil
}

// checkToken returns a BadRequest for an idempotency token that is longer than maxToken, is not
// UTF-8 or has a control character. In the recordings the service accepted every token
// (docs/contract/chat.md §3.1). Unverified: the limit on the length and the refused characters.
func checkToken(token string) error {
	if len(token) > maxToken || !utf8.ValidString(token) || strings.ContainsFunc(token, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return Invalid("repeatability-request-id", "The repeatability-request-id must have at most %d printable characters.", maxToken)
	}
	return nil
}
