package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/sdk/communication"
)

// Keys lists and rotates the access keys.
type Keys interface {
	// List describes each key, without its secret, primary first.
	List() []Key
	// Rotate replaces the access key with the name, primary or secondary, and returns the new key.
	// It invalidates all tokens that were signed with the old key. It fails with ErrNoKey or
	// ErrConfigured, or with a *RotatedError if another server has replaced the key first. It
	// stores the audit rows together with the new key; if it fails, it stores no audit row.
	Rotate(ctx context.Context, name string, audit ...core.Audit) (Key, communication.AccessKey, error)
}

// Both is the name with which a request rotates both access keys.
const Both = "both"

// ErrNoKey means that no access key has the given name.
var ErrNoKey = errors.New("no access key has this name: it is primary or secondary")

// ErrConfigured means that an access key comes from the server's settings and can only be
// changed in them.
var ErrConfigured = errors.New("this access key stands in the server's settings: change it there and start the server again")

// RotatedError means that a key was not replaced, because another server replaced it first. The
// response shows its text.
type RotatedError struct {
	Name   string // name of the key
	Serial uint64 // serial of the key that the other server has made
}

// Error returns a message that names the key and has the serial of the key that is valid now.
func (e *RotatedError) Error() string {
	return fmt.Sprintf("another server has replaced the %s key meanwhile: its serial is now %d, and nothing was changed here; use that key, or rotate again to replace it", e.Name, e.Serial)
}

// Key describes an access key without its secret.
type Key struct {
	Name       string `json:"name"`                 // primary or secondary
	Serial     uint64 `json:"serial"`               // number of the key: 1 for the first key, one more after each rotation
	LiveTokens int    `json:"liveTokens"`           // lower bound of the key's valid tokens: the unexpired tokens that this server has issued or seen since its start
	Configured bool   `json:"configured,omitempty"` // the key is in the server's settings, so Rotate refuses it
}

// RotatedKey is a new access key. AccessKey is its secret, in base64.
type RotatedKey struct {
	Key
	Ended     int    `json:"ended"` // lower bound of the number of tokens that the rotation has invalidated
	AccessKey string `json:"accessKey"`
}

// Rotation is the response to a rotation: the new keys, primary first. If the request was to
// rotate both keys and only the primary one was rotated, Failed is the reason. Otherwise
// Failed is empty.
type Rotation struct {
	Keys   []RotatedKey `json:"keys"`
	Failed string       `json:"failed,omitempty"`
}

// listKeys describes the access keys.
func (h *Handler) listKeys(*call) (any, error) { return h.Keys.List(), nil }

// rotateKey replaces an access key, or both. Each key leaves an audit row.
func (h *Handler) rotateKey(c *call) (any, error) {
	names := []string{c.targets[0]}
	if names[0] == Both {
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
		key, err := h.rotateOne(c, name)
		switch {
		case err != nil && len(done.Keys) == 0:
			return nil, err
		case err != nil: // the primary key was already replaced, so return it with the reason why the secondary key was not
			h.Logger.Error("operator's request failed", "operation", c.name, "error", err)
			done.Failed = fmt.Sprintf("it is not known whether the %s key was replaced too: %v", name, err)
			if errors.As(err, new(*RotatedError)) || errors.Is(err, core.ErrUnavailable) && !errors.Is(err, core.ErrUnknown) {
				done.Failed = fmt.Sprintf("the %s key was not replaced: %v", name, err)
			}
			c.outcome = done.Failed
			// Write an audit row for the failure of the secondary key; if that fails, audit logs
			// the error.
			h.audit(c, "key-rotated", http.StatusConflict)
			return done, nil
		}
		done.Keys = append(done.Keys, key)
	}
	return done, nil
}

// rotateOne replaces the access key with the name and returns the new key.
func (h *Handler) rotateOne(c *call, name string) (RotatedKey, error) {
	ended := 0
	for _, k := range h.Keys.List() {
		if k.Name == name {
			ended = k.LiveTokens
		}
	}
	c.target = name
	key, secret, err := h.Keys.Rotate(c.Context(), name, h.row(c, core.AuditDone, http.StatusOK))
	if err != nil {
		return RotatedKey{}, err
	}
	c.audited = true
	h.Logger.Warn("access key rotated", "name", key.Name, "serial", key.Serial, "ended", ended)
	return RotatedKey{Key: key, Ended: ended, AccessKey: secret.Text()}, nil
}
