package server

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/confab-chat/confab/internal/admin"
	"github.com/confab-chat/confab/internal/config"
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/token"
	"github.com/confab-chat/confab/sdk/communication"
)

// keySize is the length of generated access keys in bytes, as in the real service.
const keySize = 64

// devKeyPrefix is the text with which every public development key begins.
const devKeyPrefix = "Confab development key, "

// devKey returns the development access key with index i and the given serial number. The key is
// public, and the same on all development servers, so an app keeps working after the data folder
// of its server was deleted. A server without --dev does not start with such a key.
func devKey(i int, serial uint64) []byte {
	text := fmt.Sprintf(devKeyPrefix+"%s %d, public knowledge ", token.KeyName(i), serial)
	return []byte((text + strings.Repeat(".", keySize))[:keySize])
}

// newKey returns the secret of a new access key: if dev is true, the public development key,
// otherwise random bytes.
func newKey(dev bool, i int, serial uint64) []byte {
	if dev {
		return devKey(i, serial)
	}
	secret := make([]byte, keySize)
	rand.Read(secret)
	return secret
}

// initialKeys returns the access keys for a new store. It takes a key from the settings, and makes
// a new key where the settings have none.
func initialKeys(c config.Config) (rows [2]core.AccessKeyRow) {
	for i := range rows {
		rows[i] = core.AccessKeyRow{Serial: 1, Secret: configuredKey(c, i)}
		if rows[i].Secret == nil {
			rows[i].Secret = newKey(c.Dev, i, 1)
		}
	}
	return rows
}

// configuredKey returns the secret that the settings have for the access key with index i, or nil
// if the settings do not have this key.
func configuredKey(c config.Config, i int) []byte {
	k := [...]communication.AccessKey{c.AccessKey, c.AccessKeySecondary}[i]
	if k.IsZero() {
		return nil
	}
	return k.Bytes()
}

// reconcileTries is the number of times that reconcileKeys tries again after another server has
// replaced the same access keys at the same time.
const reconcileTries = 10

// reconcileKeys replaces access keys in the store by those in the settings. It fails and changes
// nothing in three cases: the store belongs to another resource; the server would use a public
// development key without --dev; or, with --dev, a stored key is neither public nor in the
// settings.
func reconcileKeys(ctx context.Context, s core.Store, c config.Config) error {
	for range reconcileTries {
		if done, err := tryReconcileKeys(ctx, s, c); done || err != nil {
			return err
		}
	}
	return errors.New("other servers keep replacing the access keys: start the servers with the same keys, or one after another")
}

// tryReconcileKeys makes one attempt to do what reconcileKeys does. done is false if another
// server replaced an access key at the same time, so that the caller must try again.
func tryReconcileKeys(ctx context.Context, s core.Store, c config.Config) (done bool, err error) {
	r, err := s.Resource(ctx)
	if err != nil {
		return false, fmt.Errorf("read the access keys: %w", err)
	}
	if c.ResourceID != "" && c.ResourceID != r.ID {
		return false, fmt.Errorf("the data folder %s belongs to resource %s, and --resource-id is %s: a resource moves in with an empty folder", c.Data, r.ID, c.ResourceID)
	}
	if c.Explicit("cloud") && c.Cloud != r.Cloud {
		return false, fmt.Errorf("the data folder %s belongs to a resource of the cloud %s, and --cloud is %s: a resource moves in with an empty folder", c.Data, r.Cloud, c.Cloud)
	}
	rows := r.Keys
	for i := range rows {
		if want := configuredKey(c, i); want != nil && !bytes.Equal(want, rows[i].Secret) {
			rows[i] = core.AccessKeyRow{Serial: rows[i].Serial + 1, Secret: want}
		}
		public := bytes.HasPrefix(rows[i].Secret, []byte(devKeyPrefix))
		if public && !c.Dev {
			return false, fmt.Errorf("the %s access key of %s is the public one of development servers: set CONFAB_ACCESS_KEY and CONFAB_ACCESS_KEY_SECONDARY, or choose another data folder", token.KeyName(i), c.Data)
		}
		if !public && c.Dev && configuredKey(c, i) == nil {
			return false, fmt.Errorf("the data folder %s has access keys of its own, which a development server would show: serve it without --dev, or choose another data folder", c.Data)
		}
	}
	for i, row := range rows {
		if row.Serial == r.Keys[i].Serial {
			continue
		}
		stored, err := s.SetKey(ctx, i, row)
		if err != nil {
			return false, fmt.Errorf("store the %s access key: %w", token.KeyName(i), err)
		}
		if !stored.Equal(row) {
			return false, nil
		}
	}
	return true, nil
}

// keyring holds the access keys of a running server. It implements admin.Keys.
type keyring struct {
	*token.Authority
	store   core.Store
	config  config.Config
	changed func(primary bool) // called after an access key has changed

	reading sync.Mutex // held while reload reads the access keys; must be locked before mu
	began   time.Time  // when reload last began to read the keys; guarded by reading
	failed  error      // error of the last read of the keys; guarded by reading

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
		keys[i] = admin.Key{Name: token.KeyName(i), Serial: row.Serial, LiveTokens: live[i], Configured: configuredKey(k.config, i) != nil}
	}
	return keys
}

// row returns the stored form of the access key with this index.
func (k *keyring) row(i int) core.AccessKeyRow {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.rows[i]
}

// Rotate replaces the access key with the given name by a new one, first in the store and then in
// memory. It fails with admin.ErrNoKey if no key has the name, and with admin.ErrConfigured if the
// key is from the settings. If another server has replaced the key first, Rotate adopts the other
// server's key and fails with a *admin.RotatedError. The rows in audit are written together with
// the key.
func (k *keyring) Rotate(ctx context.Context, name string, audit ...core.Audit) (admin.Key, communication.AccessKey, error) {
	for i := range k.rows {
		if token.KeyName(i) != name {
			continue
		}
		// A key from the settings must not be replaced. The next start would restore the old key, and
		// tokens that were made with the old key would be valid again.
		if configuredKey(k.config, i) != nil {
			return admin.Key{}, communication.AccessKey{}, admin.ErrConfigured
		}
		serial := k.row(i).Serial + 1
		row := core.AccessKeyRow{Serial: serial, Secret: newKey(k.config.Dev, i, serial)}
		secret, err := communication.NewAccessKey(base64.StdEncoding.EncodeToString(row.Secret))
		if err != nil {
			return admin.Key{}, communication.AccessKey{}, err
		}
		stored, err := k.store.SetKey(ctx, i, row, audit...)
		if err != nil {
			return admin.Key{}, communication.AccessKey{}, fmt.Errorf("store the new %s access key: %w", name, err)
		}
		if err := k.update(i, stored); err != nil {
			return admin.Key{}, communication.AccessKey{}, err
		}
		if !stored.Equal(row) {
			return admin.Key{}, communication.AccessKey{}, &admin.RotatedError{Name: name, Serial: stored.Serial}
		}
		return admin.Key{Name: name, Serial: serial}, secret, nil
	}
	return admin.Key{}, communication.AccessKey{}, admin.ErrNoKey
}

// reloadTime is the longest time that a read of the access keys may take.
const reloadTime = 3 * time.Second

// reload reads the access keys from the store and adopts keys that other servers have replaced.
// changed is true if the keys differ from the keys before the call. Concurrent calls share one
// read, which begins after all these calls have begun. So requests with a wrong key cannot make
// the server read the store more often.
func (k *keyring) reload(ctx context.Context) (changed bool, err error) {
	called := time.Now()
	before := [2]core.AccessKeyRow{k.row(0), k.row(1)}
	k.reading.Lock()
	defer k.reading.Unlock()
	if !k.began.After(called) {
		k.began = time.Now()
		k.failed = k.read(ctx)
	}
	return !before[0].Equal(k.row(0)) || !before[1].Equal(k.row(1)), k.failed
}

// read reads the access keys from the store for reload. It continues when ctx is cancelled,
// because other callers wait for the result.
func (k *keyring) read(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), reloadTime)
	defer cancel()
	r, err := k.store.Resource(ctx)
	if err != nil {
		return fmt.Errorf("read the access keys again: %w", err)
	}
	for i, row := range r.Keys {
		if err := k.update(i, row); err != nil {
			return err
		}
	}
	return nil
}

// update replaces the current key with this index by the stored key if they differ. It ignores a
// stored key with a lower serial number, because such a key was read before another goroutine
// replaced it.
func (k *keyring) update(i int, stored core.AccessKeyRow) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if stored.Serial < k.rows[i].Serial || stored.Equal(k.rows[i]) {
		return nil
	}
	rows := k.rows
	rows[i] = stored
	if err := k.SetKeys(rows); err != nil {
		return err
	}
	k.rows = rows
	k.changed(i == 0)
	return nil
}

// keysChanged returns a function to call after an access key was replaced. That function ends the
// live connections of clients whose token was made with the old key. If the primary key was
// replaced, it also calls tell with the new one, unless tell is nil.
func (s *Server) keysChanged(tell func(communication.AccessKey)) func(primary bool) {
	return func(primary bool) {
		s.hub.Judge()
		if primary && tell != nil {
			tell(s.keys.Keys()[0])
		}
	}
}
