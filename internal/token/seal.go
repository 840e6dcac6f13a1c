package token

import (
	"context"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"github.com/confab-chat/confab/internal/why"
)

// sealContext is the HKDF info with which the keys that sign sealed texts are derived from
// access keys. It makes these keys differ from the keys that sign tokens.
const sealContext = "confab sealed text, HMAC-SHA256"

// Limits and version of a sealed text.
const (
	sealVersion   = 1
	sealMAC       = 24   // bytes of the signature
	maxSealedText = 2048 // the greatest length of a sealed text, in bytes; the texts that the gateway seals have about 350
)

// sealKey derives the key that signs sealed texts from an access key.
func sealKey(secret []byte) ([]byte, error) {
	key, err := hkdf.Key(sha256.New, secret, nil, sealContext, sha256.Size)
	if err != nil {
		return nil, fmt.Errorf("derive a key for sealed texts: %w", err)
	}
	return key, nil
}

// Seal returns a signed text that contains the claims and data. A client can keep the text and
// send it back. It consists of letters, digits, "-" and "_". The client can read the data.
// Unseal with the same purpose returns the claims and the data, on every server with the same
// access keys. Seal fails with a Refusal if the claims name a key that is not current.
func (a *Authority) Seal(purpose string, c Claims, data []byte) (string, error) {
	for _, k := range a.keys.Load() {
		if k.kid != c.Key {
			continue
		}
		b := []byte{sealVersion}
		b = appendField(b, []byte(c.Key))
		b = appendField(b, []byte(c.User))
		b = append(b, byte(c.Scopes))
		b = binary.AppendUvarint(b, c.Generation)
		b = binary.AppendVarint(b, c.Expires.Unix())
		b = append(b, data...)
		return base64.RawURLEncoding.EncodeToString(append(b, k.sign(purpose, b)...)), nil
	}
	return "", refuse(ReasonKey, "key", c.Key)
}

// Unseal returns the claims and the data of a text that Seal returned for the same purpose. It
// fails with a Refusal if the text is malformed, if it is not signed with a current key, or if the
// claims have expired. It does not read the user's row: the caller must compare the generation and
// check that the user was not deleted.
func (a *Authority) Unseal(purpose, text string) (Claims, []byte, error) {
	if len(text) > maxSealedText || strings.ContainsAny(text, "\r\n") { // the base64 decoder ignores line breaks
		return Claims{}, nil, refuse(ReasonMalformed, "problem", "it was cut off or changed")
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(b) < 1+sealMAC || b[0] != sealVersion {
		return Claims{}, nil, refuse(ReasonMalformed, "problem", "it was cut off or changed")
	}
	signed, mac := b[:len(b)-sealMAC], b[len(b)-sealMAC:]
	r := fields{b: signed[1:]}
	c := Claims{Key: string(r.field()), User: string(r.field()), Scopes: Scopes(r.byte()), Generation: r.uvarint()}
	c.Expires = time.Unix(r.varint(), 0).UTC()
	if r.bad {
		return Claims{}, nil, refuse(ReasonMalformed, "problem", "it was cut off or changed")
	}
	if keys := a.keys.Load(); isNewer(c.Key, 0, keys[0].serial) || isNewer(c.Key, 1, keys[1].serial) {
		// Another server has rotated a key and sealed the text with the new key. Read the keys
		// again. If this fails, Unseal refuses the text, and the client requests a new one.
		a.Reload(context.Background()) // Reload has its own time limit
	}
	for _, k := range a.keys.Load() {
		if k.kid != c.Key {
			continue
		}
		switch {
		case !hmac.Equal(mac, k.sign(purpose, signed)):
			return Claims{}, nil, refuse(ReasonSignature)
		case !a.now().Before(c.Expires):
			return Claims{}, nil, refuse(ReasonExpired, "user", why.User(c.User), "ago", a.now().Sub(c.Expires).Truncate(time.Second).String(), "at", why.Time(c.Expires))
		}
		return c, r.b, nil
	}
	return Claims{}, nil, refuse(ReasonKey, "key", plainKid(c.Key))
}

// sign returns the signature of the bytes b of a sealed text with this purpose.
func (k *signingKey) sign(purpose string, b []byte) []byte {
	m := hmac.New(sha256.New, k.seal)
	m.Write(appendField(nil, []byte(purpose)))
	m.Write(b)
	return m.Sum(nil)[:sealMAC]
}

// appendField appends the length of a field and the field to b.
func appendField(b, field []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(field))), field...)
}

// fields reads the fields of a sealed text from b. If b is too short, it sets bad to true, and from
// then on all methods return zero values.
type fields struct {
	b   []byte
	bad bool
}

// take returns the next n bytes.
func (r *fields) take(n uint64) []byte {
	if r.bad || n > uint64(len(r.b)) {
		r.bad, r.b = true, nil
		return nil
	}
	var field []byte
	field, r.b = r.b[:n], r.b[n:]
	return field
}

// field reads a length and returns the next field, which has that length.
func (r *fields) field() []byte { return r.take(r.uvarint()) }

// byte returns the next byte.
func (r *fields) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

// uvarint returns the next unsigned number.
func (r *fields) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if r.take(uint64(max(n, 0))); n <= 0 {
		r.bad = true
		return 0
	}
	return v
}

// varint returns the next signed number.
func (r *fields) varint() int64 {
	v, n := binary.Varint(r.b)
	if r.take(uint64(max(n, 0))); n <= 0 {
		r.bad = true
		return 0
	}
	return v
}
