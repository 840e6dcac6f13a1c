package server

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/confab-chat/confab/internal/admin"
	"github.com/confab-chat/confab/internal/bus/local"
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/store/pebble"
	"github.com/confab-chat/confab/internal/token"
	"github.com/confab-chat/confab/sdk/communication"
)

// keyStore opens an embedded store with two access keys. Several keyrings, as of several servers,
// can use the store at the same time.
func keyStore(t *testing.T) core.Store {
	t.Helper()
	initial := core.Resource{ID: "11111111-2222-4333-8444-555555555555", Epoch: "epoch"}
	for i := range initial.Keys {
		initial.Keys[i] = core.AccessKeyRow{Serial: 2, Secret: newKey(false, i, 2)}
	}
	s, err := pebble.Open("store", pebble.Options{FS: pebble.NewMem(), CacheSize: 1 << 20, Initial: initial})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// keyringOn returns a keyring with the keys that the store contains now, as a server makes one
// when it starts.
func keyringOn(t *testing.T, s core.Store) *keyring {
	t.Helper()
	r, err := s.Resource(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := token.New(r, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return &keyring{Authority: tokens, store: s, rows: r.Keys, changed: func(bool) {}}
}

// wantKeys checks that the keyring uses the keys that are in the store.
func (k *keyring) wantKeys(t *testing.T, who string) {
	t.Helper()
	r, err := k.store.Resource(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r.Keys, k.rows); diff != "" {
		t.Errorf("keys of %s (-stored +its own):\n%s", who, diff)
	}
	for i, key := range k.Keys() {
		if string(key.Bytes()) != string(r.Keys[i].Secret) {
			t.Errorf("%s verifies with another %s key than the stored one", who, token.KeyName(i))
		}
	}
}

// TestRotationsAtOnce replaces the primary key on two servers at the same time, many times. One
// server must succeed. The other one must fail with an error that has the serial number of the new
// key, and use the new key. A successful rotation must not return a key that was never stored.
func TestRotationsAtOnce(t *testing.T) {
	s := keyStore(t)
	servers := [2]*keyring{keyringOn(t, s), keyringOn(t, s)}
	for range 50 {
		before := servers[0].row(0).Serial
		var keys [2]admin.Key
		var secrets [2]communication.AccessKey
		var errs [2]error
		var wg sync.WaitGroup
		for i, k := range servers {
			wg.Go(func() { keys[i], secrets[i], errs[i] = k.Rotate(context.Background(), "primary") })
		}
		wg.Wait()
		won := 0
		if errs[0] != nil {
			won = 1
		}
		if errs[won] != nil || keys[won].Serial != before+1 {
			t.Fatalf("the winner says serial %d, %v; the other one %v", keys[won].Serial, errs[won], errs[1-won])
		}
		var lost *admin.RotatedError
		if !errors.As(errs[1-won], &lost) || lost.Serial != before+1 || lost.Name != "primary" {
			t.Fatalf("the loser says %v, want an error with serial %d", errs[1-won], before+1)
		}
		if got := servers[1-won].Keys()[0]; got.Text() != secrets[won].Text() {
			t.Error("the loser does not use the winner's key")
		}
		servers[0].wantKeys(t, "the first server")
		servers[1].wantKeys(t, "the second server")
	}
}

// TestRotateBothBesideAnotherServer replaces both keys through the operator's API while another
// server replaces one of them. The response must contain the key that this server replaced, and
// say that it did not replace the other one.
func TestRotateBothBesideAnotherServer(t *testing.T) {
	s := keyStore(t)
	here, other := keyringOn(t, s), keyringOn(t, s)
	domain, err := core.New(t.Context(), s, new(local.Bus), core.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer domain.Close()
	both := func(k *keyring) *httptest.ResponseRecorder {
		r := httptest.NewRequest("POST", "http://localhost"+admin.Prefix+"keys/both/rotate", nil)
		r.Header.Set("Authorization", "Bearer secret")
		w := httptest.NewRecorder()
		admin.New(admin.Options{Core: domain, Keys: k, Logger: slog.New(slog.DiscardHandler)}).TCP(admin.Door{Secret: "secret"}).ServeHTTP(w, r)
		return w
	}
	if _, _, err := other.Rotate(t.Context(), "secondary"); err != nil {
		t.Fatal(err)
	}
	w := both(here)
	var got admin.Rotation
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != 200 || len(got.Keys) != 1 {
		t.Fatalf("%d, %v, %d keys", w.Code, err, len(got.Keys))
	}
	if k := got.Keys[0]; k.Name != "primary" || k.Serial != 3 || k.AccessKey != here.Keys()[0].Text() {
		t.Errorf("the %s key with serial %d, want the new primary one", k.Name, k.Serial)
	}
	if want := "the secondary key was not replaced: another server has replaced the secondary key meanwhile: its serial is now 3"; !strings.HasPrefix(got.Failed, want) {
		t.Errorf("failed: %q, want %q", got.Failed, want)
	}
	here.wantKeys(t, "this server")
	if w := both(other); w.Code != 409 || strings.Contains(w.Body.String(), "accessKey") {
		t.Errorf("the other server, whose primary key is old: %d, want 409", w.Code)
	}
	other.wantKeys(t, "the other server")
}

// staleStore is a store whose method Resource returns an older version of the resource than the
// store contains.
type staleStore struct {
	core.Store
	resource core.Resource
	err      error
}

func (s *staleStore) Resource(context.Context) (core.Resource, error) { return s.resource, s.err }

// TestKeysOnlyMoveForward lets the keyring read keys that are older than its own. It checks that
// an old key does not replace a newer one. The keyring must adopt a key with a higher serial
// number, and a key with the same serial number and another secret.
func TestKeysOnlyMoveForward(t *testing.T) {
	s := keyStore(t)
	k := keyringOn(t, s)
	before, err := s.Resource(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, secret, err := k.Rotate(t.Context(), "primary")
	if err != nil {
		t.Fatal(err)
	}
	stale := &staleStore{Store: s, resource: before}
	k.store = stale
	if changed, err := k.reload(t.Context()); changed || err != nil {
		t.Errorf("older keys: changed %v, %v", changed, err)
	}
	if k.Keys()[0].Text() != secret.Text() || k.List()[0].Serial != 3 {
		t.Error("the watcher has brought back the key before the rotation")
	}
	for _, c := range []struct {
		name string
		row  core.AccessKeyRow
	}{
		{"another secret", core.AccessKeyRow{Serial: 3, Secret: newKey(false, 0, 3)}},
		{"another serial", core.AccessKeyRow{Serial: 4, Secret: newKey(false, 0, 4)}},
		{"a higher serial with the same secret", core.AccessKeyRow{Serial: 9, Secret: before.Keys[1].Secret}},
	} {
		stale.resource.Keys[0] = c.row
		if changed, err := k.reload(t.Context()); !changed || err != nil {
			t.Errorf("%s: changed %v, %v; want it adopted", c.name, changed, err)
		}
		k.wantKeys(t, c.name)
	}
	stale.err = errors.New("away")
	if _, err := k.reload(t.Context()); !errors.Is(err, stale.err) {
		t.Errorf("without the store: %v", err)
	}
}
