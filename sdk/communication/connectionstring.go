package communication

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/confab-chat/confab/sdk/internal/endpoint"
)

// ConnectionString is the endpoint of a server and an access key. Portals and command lines show
// the two in one string (docs/contract/identity.md §5). [ParseConnectionString] parses such a
// string, and [NewConnectionString] combines an endpoint and a key.
//
// Printing, logging or encoding a ConnectionString shows the endpoint and "(redacted)" instead of
// the key; [ConnectionString.Text] returns the string with the key. Compare connection strings with
// Equal, not ==. The zero ConnectionString has neither endpoint nor key.
type ConnectionString struct {
	endpoint string
	key      AccessKey
}

// ParseConnectionString parses "endpoint=https://host/;accesskey=BASE64". It accepts everything
// that any official SDK accepts, as far as it is safe (docs/contract/identity.md §5): the two pairs
// in any order, names in any letter case, white space around names, values and pairs, empty parts
// between semicolons, and unknown pairs, which it ignores. If a name occurs twice, the last pair
// wins.
//
// It fails if one of the two pairs is missing or empty, if the endpoint is not an http or https URL
// with only a host and an optional port, or if the key is not base64. Errors contain no part of s,
// because s may contain a secret in the wrong place.
func ParseConnectionString(s string) (ConnectionString, error) {
	var address, key string
	var hasEndpoint, hasKey bool
	for part := range strings.SplitSeq(s, ";") {
		// Cut at the first '=' only, because the padding at the end of a base64 key consists of '='
		// too.
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

// NewConnectionString returns a connection string for an endpoint and a key. It fails if key is the
// zero AccessKey, or if address is not an http or https URL with only a host and an optional port.
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

// AccessKey returns the access key. Each call returns a new AccessKey with its own secret: rotating
// it changes neither c nor the keys of earlier calls.
func (c ConnectionString) AccessKey() AccessKey { return c.key.clone() }

// Text returns the connection string with its key, in the form that every official SDK reads
// (docs/contract/identity.md §5): "endpoint=https://host[:port]/;accesskey=BASE64". It returns ""
// for the zero ConnectionString. Keep it out of logs.
func (c ConnectionString) Text() string {
	if c.IsZero() {
		return ""
	}
	return c.text(c.key.Text())
}

// IsZero reports whether c is the zero ConnectionString.
func (c ConnectionString) IsZero() bool { return c.endpoint == "" && c.key.IsZero() }

// Equal reports whether c and other have the same endpoint and the same key.
func (c ConnectionString) Equal(other ConnectionString) bool {
	return c.endpoint == other.endpoint && c.key.Equal(other.key)
}

// String returns the connection string with "(redacted)" instead of the key, or "" for the zero
// ConnectionString.
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

// LogValue returns the same as String, so that log/slog does not print the key.
func (c ConnectionString) LogValue() slog.Value { return slog.StringValue(c.String()) }

// MarshalText returns the same as String. It keeps the key out of JSON, XML and logs. To store a
// connection string, store the result of Text.
func (c ConnectionString) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

func (c ConnectionString) text(key string) string {
	return "endpoint=" + c.endpoint + "/;accesskey=" + key
}
