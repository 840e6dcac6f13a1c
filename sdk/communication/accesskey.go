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

// redacted is the text that is printed instead of a secret. The text is not base64, so nobody can
// take it for a key.
const redacted = "(redacted)"

// AccessKey is a secret that a client and a server share. The client signs its requests with the
// key (docs/contract/identity.md §4). Make one with [NewAccessKey] or take it from a
// [ConnectionString].
//
// Package fmt, log/slog handlers and the JSON, XML and text encoders never print the key, even if
// it is a field of another value; they print "(redacted)" or an address. [AccessKey.Text] and
// [AccessKey.Bytes] return the key.
//
// Copies of an AccessKey share their secret: [AccessKey.Rotate] replaces it in all of them. All
// methods are safe for concurrent use. Compare keys with Equal, not ==. The zero AccessKey is no
// key: it signs nothing and equals no other key.
type AccessKey struct {
	// secret is a function that returns the pointer to the key, because package fmt cannot print
	// the result of a function. fmt prints other unexported fields without calling their String
	// method, and for an unsuitable verb even follows pointers in them.
	secret func() *atomic.Pointer[[]byte]
}

// NewAccessKey returns the key that text encodes in base64, in the standard alphabet with padding,
// as portals show it. Leading and trailing white space is ignored. NewAccessKey fails if text is
// empty or not base64; the error never contains text. It accepts keys of any length, as the
// official SDKs do.
func NewAccessKey(text string) (AccessKey, error) {
	secret, err := decodeKey(text)
	if err != nil {
		return AccessKey{}, err
	}
	return newKey(secret), nil
}

// Rotate replaces the secret of k, and of all copies of k, with the secret that text encodes (see
// NewAccessKey). Clients that were made with k sign with the new secret from their next attempt on.
// Rotate fails, and does not change k, if text is not a base64 key or k is the zero AccessKey.
//
// To change keys without an interruption, regenerate the secondary key on the server, call Rotate
// with the new secondary key, then regenerate the primary key.
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

// clone returns a new AccessKey with the secret of k. Rotating k does not change the new key.
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
		// Do not wrap the error of the decoder, because that error describes the secret.
		return nil, errors.New("access key is not base64 (standard alphabet, with padding)")
	}
	return secret, nil
}

// Text returns the key in base64, the form that NewAccessKey reads, or "" for the zero AccessKey.
// Keep it out of logs.
func (k AccessKey) Text() string { return base64.StdEncoding.EncodeToString(k.bytes()) }

// Bytes returns a copy of the decoded key, or nil for the zero AccessKey. Keep it out of logs.
func (k AccessKey) Bytes() []byte { return slices.Clone(k.bytes()) }

// IsZero reports whether k is the zero AccessKey.
func (k AccessKey) IsZero() bool { return k.secret == nil }

// Equal reports whether both keys have the same secret. Its run time depends only on the lengths of
// the keys.
func (k AccessKey) Equal(other AccessKey) bool { return hmac.Equal(k.bytes(), other.bytes()) }

// String returns "(redacted)".
func (k AccessKey) String() string { return redacted }

// GoString returns "(redacted)".
func (k AccessKey) GoString() string { return redacted }

// Format writes "(redacted)" for every verb.
func (k AccessKey) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }

// LogValue returns "(redacted)", so that log/slog does not print the key.
func (k AccessKey) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns "(redacted)". It keeps the key out of JSON, XML and logs. To store the key,
// store the result of Text.
func (k AccessKey) MarshalText() ([]byte, error) { return []byte(redacted), nil }

func (k AccessKey) bytes() []byte {
	if k.secret == nil {
		return nil
	}
	return *k.secret().Load()
}
