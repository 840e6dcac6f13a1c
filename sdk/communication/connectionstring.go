package communication

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/confab-chat/confab/sdk/internal/endpoint"
)

// ConnectionString is all that a client with an access key needs: where the server
// is, and the key. It is the form in which portals and command lines hand both out
// (docs/contract/identity.md §5). Read one with [ParseConnectionString], build one with
// [NewConnectionString].
//
// Printing, logging or encoding a ConnectionString shows its endpoint and
// "(redacted)" for its key; [ConnectionString.Text] gives out the real one.
// Connection strings do not compare with ==; use Equal. The zero ConnectionString
// has neither endpoint nor key.
type ConnectionString struct {
	endpoint string
	key      AccessKey
}

// ParseConnectionString reads "endpoint=https://host/;accesskey=BASE64" and
// whatever any official SDK accepts and is safe to accept (docs/contract/identity.md §5): the two pairs in
// any order, their names in any case of letters, blanks around names, values and
// pairs, empty parts between semicolons, and other pairs, which are ignored. Of
// two pairs with the same name the last one counts.
//
// It is an error when one of the two pairs is missing or empty, when the endpoint
// is not an http or https URL of just a host and maybe a port, and when the key is
// not base64. No error contains any part of s, which may be a secret in the wrong
// place.
func ParseConnectionString(s string) (ConnectionString, error) {
	var address, key string
	var hasEndpoint, hasKey bool
	for part := range strings.SplitSeq(s, ";") {
		// The key's padding is made of '=' too: only the first one separates.
		name, value, ok := strings.Cut(part, "=")
		if !ok {
			continue
		}
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		switch {
		case strings.EqualFold(name, "endpoint"):
			address, hasEndpoint = value, true
		case strings.EqualFold(name, "accesskey"):
			key, hasKey = value, true
		}
	}
	switch {
	case strings.TrimSpace(s) == "":
		return ConnectionString{}, errors.New("connection string is empty")
	case !hasEndpoint:
		return ConnectionString{}, errors.New("connection string has no endpoint (endpoint=https://host/)")
	case !hasKey:
		return ConnectionString{}, errors.New("connection string has no accesskey (accesskey=<base64>)")
	}
	if key == redacted {
		return ConnectionString{}, errors.New("connection string: the access key is hidden: use what ConnectionString.Text returns, not String")
	}
	k, err := NewAccessKey(key)
	if err != nil {
		return ConnectionString{}, fmt.Errorf("connection string: %w", err)
	}
	cs, err := NewConnectionString(address, k)
	if err != nil {
		return ConnectionString{}, fmt.Errorf("connection string: %w", err)
	}
	return cs, nil
}

// NewConnectionString joins an endpoint and a key. The endpoint is checked as
// ParseConnectionString does. The zero AccessKey is an error.
func NewConnectionString(address string, key AccessKey) (ConnectionString, error) {
	if key.IsZero() {
		return ConnectionString{}, errors.New("access key is empty")
	}
	address, err := endpoint.Clean(address)
	if err != nil {
		return ConnectionString{}, err
	}
	return ConnectionString{endpoint: address, key: key.clone()}, nil
}

// Endpoint returns the scheme, the host and, if given, the port, without a slash
// at the end: "https://localhost:8443".
func (c ConnectionString) Endpoint() string { return c.endpoint }

// AccessKey returns the key, as a key of its own: rotating it changes neither c nor
// what AccessKey returned before.
func (c ConnectionString) AccessKey() AccessKey { return c.key.clone() }

// Text returns the connection string with its key in the one form that every
// official SDK reads (docs/contract/identity.md §5): "endpoint=https://host[:port]/;accesskey=BASE64". Keep
// it out of logs. It returns "" for the zero ConnectionString.
func (c ConnectionString) Text() string {
	if c.IsZero() {
		return ""
	}
	return c.text(c.key.Text())
}

// IsZero reports whether c is the zero ConnectionString.
func (c ConnectionString) IsZero() bool { return c.endpoint == "" && c.key.IsZero() }

// Equal reports whether both have the same endpoint and the same key.
func (c ConnectionString) Equal(other ConnectionString) bool {
	return c.endpoint == other.endpoint && c.key.Equal(other.key)
}

// String returns the connection string with "(redacted)" for its key.
func (c ConnectionString) String() string {
	if c.IsZero() {
		return ""
	}
	return c.text(redacted)
}

// GoString returns the same as String.
func (c ConnectionString) GoString() string { return c.String() }

// Format writes the same as String for every verb.
func (c ConnectionString) Format(f fmt.State, _ rune) { io.WriteString(f, c.String()) }

// LogValue makes log/slog show what String returns.
func (c ConnectionString) LogValue() slog.Value { return slog.StringValue(c.String()) }

// MarshalText returns the same as String: it keeps the key out of JSON, XML and
// logs. To store a connection string, store what Text returns.
func (c ConnectionString) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

func (c ConnectionString) text(key string) string {
	return "endpoint=" + c.endpoint + "/;accesskey=" + key
}
