package communication

import (
	"crypto/hmac"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
)

// redacted stands where a secret would. It is not base64, so that text printed for
// a log cannot be mistaken for a key later.
const redacted = "(redacted)"

// AccessKey is a secret that a client and a server share; the client signs
// requests with it (docs/contract/identity.md §4). Make one with [NewAccessKey] or take it from a
// [ConnectionString].
//
// No verb of fmt, no log/slog handler and no encoder of JSON, XML or text shows
// the key, also when it is a field of another value; they show "(redacted)" or an
// address instead. [AccessKey.Text] and [AccessKey.Bytes] give it out.
//
// Copies of a key are one key: [AccessKey.Rotate] puts another secret into all of
// them. Every method is safe for concurrent use. Keys do not compare with ==; use
// Equal. The zero AccessKey is no key: it signs nothing and matches no signature.
type AccessKey struct {
	// A function, because fmt reaches the unexported fields of its operands without
	// asking their methods, and with a wrong verb it follows even pointers there.
	// Nothing that prints can look into a closure.
	secret func() *atomic.Pointer[[]byte]
}

// NewAccessKey returns the key that text holds in base64: standard alphabet, with
// padding, as portals show it. Blanks around text are dropped. It is an error when
// text is empty or not base64; the error never contains text. Every length is
// accepted, because SDKs do; what is long enough is for the owner of the key to
// decide.
func NewAccessKey(text string) (AccessKey, error) {
	secret, err := decodeKey(text)
	if err != nil {
		return AccessKey{}, err
	}
	return newKey(secret), nil
}

// Rotate puts the secret that text holds, in the form that NewAccessKey reads, in
// place of the one in k and in all copies of k: clients that were made with k sign
// with the new secret from their next try on. It is an error, and k stays as it is,
// when text is not a key or k is the zero AccessKey.
//
// To change keys without an interruption: have the server renew the secondary key,
// rotate to it, then have it renew the primary key.
func (k AccessKey) Rotate(text string) error {
	if k.IsZero() {
		return errors.New("rotate access key: there is no key yet")
	}
	secret, err := decodeKey(text)
	if err != nil {
		return fmt.Errorf("rotate: %w", err)
	}
	k.secret().Store(&secret)
	return nil
}

func newKey(secret []byte) AccessKey {
	cell := new(atomic.Pointer[[]byte])
	cell.Store(&secret)
	return AccessKey{secret: func() *atomic.Pointer[[]byte] { return cell }}
}

// clone returns a key of its own with the same secret.
func (k AccessKey) clone() AccessKey {
	if k.IsZero() {
		return k
	}
	return newKey(k.bytes())
}

func decodeKey(text string) ([]byte, error) {
	text = strings.TrimSpace(text)
	if text == "" {
		return nil, errors.New("access key is empty")
	}
	secret, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(secret) == 0 {
		// Not wrapped: whatever the decoder says is about the secret.
		return nil, errors.New("access key is not base64 (standard alphabet, with padding)")
	}
	return secret, nil
}

// Text returns the key itself in base64, the form that NewAccessKey reads, and ""
// for the zero AccessKey. Keep it out of logs.
func (k AccessKey) Text() string { return base64.StdEncoding.EncodeToString(k.bytes()) }

// Bytes returns a copy of the key itself, decoded, and nil for the zero AccessKey.
// Keep it out of logs.
func (k AccessKey) Bytes() []byte { return slices.Clone(k.bytes()) }

// IsZero reports whether k is the zero AccessKey.
func (k AccessKey) IsZero() bool { return k.secret == nil }

// Equal reports whether both keys are the same, in a time that depends on their
// lengths only.
func (k AccessKey) Equal(other AccessKey) bool { return hmac.Equal(k.bytes(), other.bytes()) }

// String returns "(redacted)".
func (k AccessKey) String() string { return redacted }

// GoString returns "(redacted)".
func (k AccessKey) GoString() string { return redacted }

// Format writes "(redacted)" for every verb.
func (k AccessKey) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }

// LogValue makes log/slog show "(redacted)".
func (k AccessKey) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns "(redacted)". It keeps the key out of JSON, XML and logs; to
// store the key, store what Text returns.
func (k AccessKey) MarshalText() ([]byte, error) { return []byte(redacted), nil }

func (k AccessKey) bytes() []byte {
	if k.secret == nil {
		return nil
	}
	return *k.secret().Load()
}
