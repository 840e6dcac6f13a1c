package server

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"sync"

	"github.com/confab-chat/confab/internal/admin"
	"github.com/confab-chat/confab/internal/config"
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/token"
	"github.com/confab-chat/confab/sdk/communication"
)

// keySize is the length of generated access keys in bytes, as in the real service.
const keySize = 64

// devKeyPrefix is the prefix of every public development key.
const devKeyPrefix = "Confab development key, "

// devKey returns the access key with index i and the serial number, the same on all
// development servers. It is public, so that an app keeps working after the data folder
// was deleted. A server without --dev does not start with such a key.
func devKey(i int, serial uint64) []byte {
	text := fmt.Sprintf(devKeyPrefix+"%s %d, public knowledge ", token.KeyName(i), serial)
	return []byte((text + strings.Repeat(".", keySize))[:keySize])
}

// newKey returns the secret of a new access key: the public development key if dev is
// set, else random bytes.
func newKey(dev bool, i int, serial uint64) []byte {
	if dev {
		return devKey(i, serial)
	}
	secret := make([]byte, keySize)
	rand.Read(secret)
	return secret
}

// initialKeys returns the access keys for a new store: those in the settings, and new
// ones where the settings have none.
func initialKeys(c config.Config) (rows [2]core.AccessKeyRow) {
	for i := range rows {
		rows[i] = core.AccessKeyRow{Serial: 1, Secret: configuredKey(c, i)}
		if rows[i].Secret == nil {
			rows[i].Secret = newKey(c.Dev, i, 1)
		}
	}
	return rows
}

// configuredKey returns the secret of the access key with index i in the settings, or nil.
func configuredKey(c config.Config, i int) []byte {
	k := [...]communication.AccessKey{c.AccessKey, c.AccessKeySecondary}[i]
	if k.IsZero() {
		return nil
	}
	return k.Bytes()
}

// reconcileKeys replaces access keys in the store by those in the settings. It fails
// and changes nothing in three cases: the store belongs to another resource; a public
// development key would be used without --dev; or, with --dev, a stored key is neither
// public nor in the settings.
func reconcileKeys(ctx context.Context, s core.Store, c config.Config) error {
	r, err := s.Resource(ctx)
	if err != nil {
		return fmt.Errorf("read the access keys: %w", err)
	}
	if c.ResourceID != "" && c.ResourceID != r.ID {
		return fmt.Errorf("the data folder %s belongs to resource %s, and --resource-id is %s: a resource moves in with an empty folder", c.Data, r.ID, c.ResourceID)
	}
	rows := r.Keys
	for i := range rows {
		if want := configuredKey(c, i); want != nil && !bytes.Equal(want, rows[i].Secret) {
			rows[i] = core.AccessKeyRow{Serial: rows[i].Serial + 1, Secret: want}
		}
		public := bytes.HasPrefix(rows[i].Secret, []byte(devKeyPrefix))
		if public && !c.Dev {
			return fmt.Errorf("the %s access key of %s is the public one of development servers: set CONFAB_ACCESS_KEY and CONFAB_ACCESS_KEY_SECONDARY, or choose another data folder", token.KeyName(i), c.Data)
		}
		if !public && c.Dev && configuredKey(c, i) == nil {
			return fmt.Errorf("the data folder %s has access keys of its own, which a development server would show: serve it without --dev, or choose another data folder", c.Data)
		}
	}
	for i, row := range rows {
		if row.Serial == r.Keys[i].Serial {
			continue
		}
		if err := s.SetKey(ctx, i, row); err != nil {
			return fmt.Errorf("store the %s access key: %w", token.KeyName(i), err)
		}
	}
	return nil
}

// keyring holds the access keys of a running server. It implements admin.Keys.
type keyring struct {
	*token.Authority
	store   core.Store
	config  config.Config
	changed func(primary bool) // called after a change of the keys

	mu   sync.Mutex // guards rows
	rows [2]core.AccessKeyRow
}

// List describes the primary and the secondary key.
func (k *keyring) List() []admin.Key {
	k.mu.Lock()
	defer k.mu.Unlock()
	live := k.LiveTokens()
	keys := make([]admin.Key, len(k.rows))
	for i, row := range k.rows {
		keys[i] = admin.Key{Name: token.KeyName(i), Serial: row.Serial, LiveTokens: live[i]}
	}
	return keys
}

// Rotate replaces the key with the name by a new one, in the store and then in memory. It
// fails with admin.ErrNoKey or admin.ErrConfigured.
func (k *keyring) Rotate(ctx context.Context, name string) (admin.Key, communication.AccessKey, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for i := range k.rows {
		if token.KeyName(i) != name {
			continue
		}
		// A key from the settings cannot be replaced: the next start would restore the
		// old one and make its tokens valid again.
		if configuredKey(k.config, i) != nil {
			return admin.Key{}, communication.AccessKey{}, admin.ErrConfigured
		}
		serial := k.rows[i].Serial + 1
		row := core.AccessKeyRow{Serial: serial, Secret: newKey(k.config.Dev, i, serial)}
		if err := k.store.SetKey(ctx, i, row); err != nil {
			return admin.Key{}, communication.AccessKey{}, fmt.Errorf("store the new %s access key: %w", name, err)
		}
		k.rows[i] = row
		if err := k.SetKeys(k.rows); err != nil {
			return admin.Key{}, communication.AccessKey{}, err
		}
		k.changed(i == 0)
		return admin.Key{Name: name, Serial: serial}, k.Keys()[i], nil
	}
	return admin.Key{}, communication.AccessKey{}, admin.ErrNoKey
}

// update replaces the keys in memory if those in the store have other serials, because
// another server on the same store rotated one.
func (k *keyring) update(rows [2]core.AccessKeyRow) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if rows[0].Serial == k.rows[0].Serial && rows[1].Serial == k.rows[1].Serial {
		return nil
	}
	primary := rows[0].Serial != k.rows[0].Serial
	k.rows = rows
	if err := k.SetKeys(rows); err != nil {
		return err
	}
	k.changed(primary)
	return nil
}

// keysChanged returns a function that ends the live connections of replaced access keys.
// If the primary key was replaced, it calls tell with the new one, unless tell is nil.
func (s *Server) keysChanged(tell func(communication.AccessKey)) func(primary bool) {
	return func(primary bool) {
		s.hub.Judge()
		if primary && tell != nil {
			tell(s.keys.Keys()[0])
		}
	}
}
