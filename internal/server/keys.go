package server

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"

	"github.com/confab-chat/confab/internal/config"
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/token"
	"github.com/confab-chat/confab/sdk/communication"
)

// keySize is the length of the keys that we make, as of the real service's.
const keySize = 64

// The keys of every development server. They are public knowledge, so that an
// app's settings survive a lost data folder, and refused without --dev.
var devKeys = [2][]byte{
	[]byte("Confab development key, public knowledge: never use it elsewhere"),
	[]byte("Confab development key 2, public knowledge: not to use elsewhere"),
}

// initialKeys are those of a new store: the configured ones, else the public
// ones with --dev, else random ones.
func initialKeys(c config.Config) (rows [2]core.AccessKeyRow) {
	for i := range rows {
		rows[i] = core.AccessKeyRow{Serial: 1, Secret: configured(c, i)}
		if rows[i].Secret == nil && c.Dev {
			rows[i].Secret = devKeys[i]
		}
		if rows[i].Secret == nil {
			rows[i].Secret = make([]byte, keySize)
			rand.Read(rows[i].Secret)
		}
	}
	return rows
}

// configured is the secret of a configured key, or nil.
func configured(c config.Config, i int) []byte {
	k := [...]communication.AccessKey{c.AccessKey, c.AccessKeySecondary}[i]
	if k.IsZero() {
		return nil
	}
	return k.Bytes()
}

// settleKeys puts configured keys in place of the stored ones, and sees to it
// that the public keys are used with --dev and never without it.
func settleKeys(ctx context.Context, s core.Store, c config.Config) error {
	r, err := s.Resource(ctx)
	if err != nil {
		return fmt.Errorf("read the access keys: %w", err)
	}
	for i, stored := range r.Keys {
		if want := configured(c, i); want != nil && !bytes.Equal(want, stored.Secret) {
			stored = core.AccessKeyRow{Serial: stored.Serial + 1, Secret: want}
			if err := s.SetKey(ctx, i, stored); err != nil {
				return fmt.Errorf("store the %s access key: %w", token.KeyName(i), err)
			}
		}
		public := bytes.Equal(stored.Secret, devKeys[0]) || bytes.Equal(stored.Secret, devKeys[1])
		if public && !c.Dev {
			return fmt.Errorf("the %s access key of %s is the public one of development servers: set CONFAB_ACCESS_KEY and CONFAB_ACCESS_KEY_SECONDARY, or choose another data folder", token.KeyName(i), c.Data)
		}
		if !public && c.Dev && configured(c, i) == nil {
			return fmt.Errorf("the data folder %s has access keys of its own, which a development server would show: serve it without --dev, or choose another data folder", c.Data)
		}
	}
	return nil
}
