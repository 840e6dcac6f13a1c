package token_test

import (
	"bytes"
	"context"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"math/rand/v2"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/confab-chat/confab/internal/bus/local"
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/store/pebble"
	"github.com/confab-chat/confab/internal/token"
	"github.com/confab-chat/confab/sdk/communication"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const resourceID = "11111111-2222-4333-8444-555555555555"

var resource = core.Resource{ID: resourceID, Epoch: "epoch", Keys: [2]core.AccessKeyRow{
	{Serial: 1, Secret: []byte("the primary key of these tests, long enough")},
	{Serial: 4, Secret: []byte("the secondary key of these tests, long too")},
}}

// fixture is an Authority with users in an embedded store in memory.
type fixture struct {
	*token.Authority
	core  *core.Service
	clock *clock
}

// clock shows a fixed time until a test moves it.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	store, err := pebble.Open("store", pebble.Options{FS: pebble.NewMem(), CacheSize: 1 << 20, Initial: resource})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	f := &fixture{clock: &clock{t: time.Date(2026, 1, 2, 3, 4, 5, 678_000_000, time.UTC)}}
	if f.core, err = core.New(context.Background(), store, new(local.Bus), core.Options{Now: f.clock.now, Grace: new(time.Second)}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.core.Close)
	f.Authority = f.another(t, resource)
	return f
}

// another returns a new Authority with the given keys, the fixture's users and an empty cache.
func (f *fixture) another(t testing.TB, r core.Resource) *token.Authority {
	t.Helper()
	a, err := token.New(r, f.core, f.clock.now)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func (f *fixture) user(t testing.TB) core.User {
	t.Helper()
	u, err := f.core.CreateUser(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func (f *fixture) issue(t testing.TB, u core.User, key int) string {
	t.Helper()
	text, _, err := f.Issue(u, token.Chat, time.Hour, f.Held()[key])
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// verify verifies a token twice: with the fixture's Authority, which may have it in its cache, and
// with a new Authority. The test fails if the results differ.
func (f *fixture) verify(t testing.TB, text string) (token.Claims, error) {
	t.Helper()
	got, err := f.Verify(context.Background(), text)
	again, err2 := f.Verify(context.Background(), text) // this time, a valid token is in the Authority's cache
	fresh, err3 := f.another(t, resource).Verify(context.Background(), text)
	if diff := cmp.Diff(got, again) + cmp.Diff(got, fresh); diff != "" || !reflect.DeepEqual(err, err2) || !reflect.DeepEqual(err, err3) {
		t.Errorf("verified %v, %v; then %v, %v; by a new authority %v, %v", got, err, again, err2, fresh, err3)
	}
	return got, err
}

func parts(t testing.TB, text string) (header, payload string) {
	t.Helper()
	three := strings.Split(text, ".")
	if len(three) != 3 {
		t.Fatalf("%d parts, want 3: %s", len(three), text)
	}
	for i, p := range three[:2] {
		b, err := base64.RawURLEncoding.DecodeString(p)
		if err != nil {
			t.Fatalf("part %d: %v", i, err)
		}
		three[i] = string(b)
	}
	return three[0], three[1]
}

// TestClaims checks that the payload of a token has the form of a token of the real service
// (docs/contract/identity.md §6.1).
func TestClaims(t *testing.T) {
	f := newFixture(t)
	u := f.user(t)
	if err := f.core.RevokeTokens(t.Context(), u.ID); err != nil {
		t.Fatal(err)
	}
	u, err := f.core.User(t.Context(), u.ID)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		scopes   token.Scopes
		lifetime time.Duration
		key      int
		header   string
		scp      int
		claim    string
	}{
		{token.Chat, 24 * time.Hour, 0, `{"alg":"HS256","kid":"primary-1","typ":"JWT"}`, 1792, "chat"},
		{token.Chat | token.VoIP, time.Hour, 1, `{"alg":"HS256","kid":"secondary-4","typ":"JWT"}`, 1792, "chat,voip"},
		{token.ChatJoinLimited, time.Minute, 0, `{"alg":"HS256","kid":"primary-1","typ":"JWT"}`, 0, "chat.join.limited"},
		{token.Chat, 90*time.Second + 999*time.Millisecond, 0, `{"alg":"HS256","kid":"primary-1","typ":"JWT"}`, 1792, "chat"},
	} {
		text, expires, err := f.Issue(u, c.scopes, c.lifetime, f.Held()[c.key])
		if err != nil {
			t.Fatal(err)
		}
		iat := f.clock.now().Unix()
		exp := iat + int64(c.lifetime/time.Second)
		header, payload := parts(t, text)
		want := fmt.Sprintf(`{"skypeid":"%s","scp":%d,"csi":"%d","exp":%d,"iat":%d,"acsScope":"%s","resourceId":"%s","resourceLocation":"local","kgen":2}`,
			strings.TrimPrefix(u.ID, "8:"), c.scp, iat, exp, iat, c.claim, resourceID)
		if header != c.header || payload != want {
			t.Errorf("got  %s %s\nwant %s %s", header, payload, c.header, want)
		}
		if !expires.Equal(time.Unix(exp, 0)) || expires.Location() != time.UTC {
			t.Errorf("expires %v, want %v", expires, time.Unix(exp, 0).UTC())
		}
		got, err := f.verify(t, text)
		if want := (token.Claims{User: u.ID, Scopes: c.scopes, Expires: expires, Generation: 2, Key: []string{"primary-1", "secondary-4"}[c.key]}); got != want || err != nil {
			t.Errorf("verified %+v, %v; want %+v", got, err, want)
		}
	}
}

// TestPayloadIsReadByEverySDK checks that four SDKs can decode the payload of a token, which
// they decode with the standard base64 alphabet. It checks that a text search finds the claim
// exp, which another SDK needs (docs/contract/identity.md §1 rule 8).
func TestPayloadIsReadByEverySDK(t *testing.T) {
	f := newFixture(t)
	random := rand.New(rand.NewPCG(1, 2))
	guid := func() string {
		return fmt.Sprintf("%08x-%04x-%04x-%04x-%012x", random.Uint32(), random.Uint32N(1<<16), random.Uint32N(1<<16), random.Uint32N(1<<16), random.Uint64N(1<<48))
	}
	for range 5000 {
		r := resource
		r.ID = guid()
		a, err := token.New(r, f.core, f.clock.now)
		if err != nil {
			t.Fatal(err)
		}
		f.clock.advance(time.Duration(random.Int64N(int64(1000 * time.Hour))))
		u := core.User{ID: communication.JoinUserID(r.ID, guid()), State: core.UserLive, Generation: random.Uint64()}
		text, expires, err := a.Issue(u, token.Scopes(1+random.UintN(31)), time.Duration(60+random.IntN(1381))*time.Minute, a.Held()[random.IntN(2)])
		if err != nil {
			t.Fatal(err)
		}
		_, payload := parts(t, text)
		encoded := strings.Split(text, ".")[1]
		if strings.ContainsAny(encoded, "-_=") || strings.ContainsAny(payload, ">?~ \n") || len(text) > 4096 {
			t.Fatalf("payload %s, encoded %s", payload, encoded)
		}
		for i := range len(payload) {
			if payload[i] < ' ' || payload[i] >= 0x7f {
				t.Fatalf("payload %q is not plain ASCII", payload)
			}
		}
		if want := fmt.Sprintf(`"exp":%d,`, expires.Unix()); !strings.Contains(payload, want) {
			t.Fatalf("payload %s has no %s", payload, want)
		}
	}
}

func TestExpiry(t *testing.T) {
	f := newFixture(t)
	text := f.issue(t, f.user(t), 0)
	for _, c := range []struct {
		wait time.Duration
		want error
	}{
		{0, nil},
		{time.Hour - time.Second, nil},
		// The clock began 0.678 s after a full second, and the claim iat is in whole seconds.
		{322*time.Millisecond - time.Nanosecond, nil},
		{time.Nanosecond, token.ErrInvalid},
		{time.Hour, token.ErrInvalid},
	} {
		f.clock.advance(c.wait)
		if _, err := f.verify(t, text); !errors.Is(err, c.want) {
			t.Errorf("at %v: %v, want %v", f.clock.now(), err, c.want)
		}
	}
}

// secretOf returns the key for signing tokens that is derived from an access key.
func secretOf(t testing.TB, row core.AccessKeyRow) []byte {
	t.Helper()
	secret, err := hkdf.Key(sha256.New, row.Secret, nil, "confab user token, HS256", sha256.Size)
	if err != nil {
		t.Fatal(err)
	}
	return secret
}

func sign(newHash func() hash.Hash, secret []byte, header, payload string) string {
	text := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(payload))
	mac := hmac.New(newHash, secret)
	mac.Write([]byte(text))
	return text + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func TestForgeries(t *testing.T) {
	f := newFixture(t)
	u := f.user(t)
	good := f.issue(t, u, 0)
	header, payload := parts(t, good)
	three := strings.Split(good, ".")
	secret := secretOf(t, resource.Keys[0])
	if sign(sha256.New, secret, header, payload) != good {
		t.Fatal("the test signs in another way than Issue")
	}
	with := func(old, new string) string {
		if !strings.Contains(payload, old) {
			t.Fatalf("%s is not in %s", old, payload)
		}
		return sign(sha256.New, secret, header, strings.Replace(payload, old, new, 1))
	}
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	other := secretOf(t, core.AccessKeyRow{Secret: []byte("somebody else's key, which is long enough")})
	for name, text := range map[string]string{
		"empty":                       "",
		"dots":                        "..",
		"one part":                    three[0],
		"two parts":                   three[0] + "." + three[1],
		"no signature":                three[0] + "." + three[1] + ".",
		"four parts":                  good + ".",
		"truncated":                   good[:len(good)-1],
		"half":                        good[:len(good)/2],
		"longer":                      good + "A",
		"huge":                        good + strings.Repeat("A", 5000),
		"huge and signed":             with(`"kgen":1`, `"pad":"`+strings.Repeat("a", 5000)+`","kgen":1`),
		"other spare bits":            good[:len(good)-1] + string(alphabet[strings.IndexByte(alphabet, good[len(good)-1])^1]),
		"huge and dotted":             strings.Repeat("a.", 100_000),
		"blank before":                " " + good,
		"line break behind":           good + "\n",
		"standard alphabet":           three[0] + "." + three[1] + "." + base64.StdEncoding.EncodeToString(make([]byte, 32)),
		"other key":                   sign(sha256.New, other, header, payload),
		"access key itself":           sign(sha256.New, resource.Keys[0].Secret, header, payload),
		"empty key":                   sign(sha256.New, nil, header, payload),
		"secondary key, primary name": sign(sha256.New, secretOf(t, resource.Keys[1]), header, payload),
		"alg none":                    sign(sha256.New, secret, `{"alg":"none","kid":"primary-1","typ":"JWT"}`, payload),
		"alg none, unsigned":          strings.TrimRight(sign(sha256.New, nil, `{"alg":"none","kid":"primary-1","typ":"JWT"}`, payload), alphabet),
		"alg None":                    sign(sha256.New, secret, `{"alg":"None","kid":"primary-1","typ":"JWT"}`, payload),
		"alg HS512":                   sign(sha512.New, secret, `{"alg":"HS512","kid":"primary-1","typ":"JWT"}`, payload),
		"alg RS256":                   sign(sha256.New, secret, `{"alg":"RS256","kid":"primary-1","typ":"JWT"}`, payload),
		"no alg":                      sign(sha256.New, secret, `{"kid":"primary-1","typ":"JWT"}`, payload),
		"alg of a number":             sign(sha256.New, secret, `{"alg":256,"kid":"primary-1"}`, payload),
		"no kid":                      sign(sha256.New, secret, `{"alg":"HS256","typ":"JWT"}`, payload),
		"kid of a list":               sign(sha256.New, secret, `{"alg":"HS256","kid":["primary-1"]}`, payload),
		"kid of a rotation":           sign(sha256.New, secret, `{"alg":"HS256","kid":"primary-2","typ":"JWT"}`, payload),
		"header no object":            sign(sha256.New, secret, `[]`, payload),
		"payload no object":           sign(sha256.New, secret, header, `[]`),
		"payload null":                sign(sha256.New, secret, header, `null`),
		"payload empty":               sign(sha256.New, secret, header, `{}`),
		"payload no JSON":             sign(sha256.New, secret, header, `{"skypeid":`),
		"other resource":              with(`"resourceId":"`+resourceID, `"resourceId":"99999999-2222-4333-8444-555555555555`),
		"other generation":            with(`"kgen":1`, `"kgen":2`),
		"no generation":               with(`,"kgen":1`, ``),
		"unknown user":                with(u.ID[len(u.ID)-12:], "000000000000"),
		"user of no form":             with(`"skypeid":"acs:`, `"skypeid":"orgid:`),
		"unknown scope":               with(`"acsScope":"chat"`, `"acsScope":"chat,root"`),
		"no scope":                    with(`"acsScope":"chat"`, `"acsScope":""`),
		"blank in scopes":             with(`"acsScope":"chat"`, `"acsScope":"chat, voip"`),
		"exp of a text":               with(`"exp":`, `"exp":"1",`+`"x":`),
		"exp of a fraction":           with(`"exp":`, `"exp":99999999999.5,"x":`),
		"no exp":                      with(`"exp":`, `"x":`),
	} {
		got, err := f.verify(t, text)
		if !errors.Is(err, token.ErrInvalid) || got != (token.Claims{}) {
			t.Errorf("%s: %+v, %v; want %v", name, got, err, token.ErrInvalid)
		}
	}
	// Replace each byte of a valid token in turn by another character of the base64 alphabet.
	for i := range good {
		b := []byte(good)
		if b[i] == 'A' {
			b[i] = 'Q'
		} else {
			b[i] = 'A'
		}
		if _, err := f.Verify(t.Context(), string(b)); !errors.Is(err, token.ErrInvalid) {
			t.Errorf("byte %d changed: %v, want %v", i, err, token.ErrInvalid)
		}
	}
	if _, err := f.verify(t, good); err != nil {
		t.Errorf("the good one: %v", err)
	}
}

func TestRevocationAndDeletion(t *testing.T) {
	f := newFixture(t)
	ctx := t.Context()
	u, bystander := f.user(t), f.user(t)
	other := f.issue(t, bystander, 0)
	old := []string{f.issue(t, u, 0), f.issue(t, u, 1)}
	if old[0] == old[1] || f.issue(t, u, 0) != old[0] {
		t.Error("tokens differ by key, and in one second by nothing else")
	}
	for _, text := range old {
		if _, err := f.verify(t, text); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.core.RevokeTokens(ctx, u.ID); err != nil {
		t.Fatal(err)
	}
	for i, text := range old {
		if _, err := f.verify(t, text); !errors.Is(err, token.ErrInvalid) {
			t.Errorf("token %d after the revoke: %v, want %v", i, err, token.ErrInvalid)
		}
	}
	u, err := f.core.User(ctx, u.ID)
	if err != nil {
		t.Fatal(err)
	}
	// A token issued in the same second as the revocation, but after it, is valid, because only the
	// generation decides.
	after := f.issue(t, u, 0)
	if c, err := f.verify(t, after); err != nil || c.Leaving {
		t.Errorf("a token from after the revoke: %+v, %v", c, err)
	}
	if err := f.core.DeleteUser(ctx, u.ID); err != nil {
		t.Fatal(err)
	}
	if c, err := f.verify(t, after); err != nil || !c.Leaving {
		t.Errorf("in the grace: %+v, %v; want it leaving", c, err)
	}
	if _, err := f.verify(t, old[0]); !errors.Is(err, token.ErrInvalid) {
		t.Errorf("a revoked token in the grace: %v, want %v", err, token.ErrInvalid)
	}
	f.clock.advance(time.Second)
	if _, err := f.verify(t, after); !errors.Is(err, token.ErrInvalid) {
		t.Errorf("after the grace: %v, want %v", err, token.ErrInvalid)
	}
	if _, err := f.verify(t, other); err != nil {
		t.Errorf("somebody else's token: %v", err)
	}
}

func TestKeyRotation(t *testing.T) {
	f := newFixture(t)
	u := f.user(t)
	by := [2]string{f.issue(t, u, 0), f.issue(t, u, 1)}
	changed := func(index int, serial uint64, secret string) core.Resource {
		r := resource
		r.Keys[index] = core.AccessKeyRow{Serial: serial, Secret: []byte(secret)}
		return r
	}
	swapped := resource
	swapped.Keys[0].Secret, swapped.Keys[1].Secret = resource.Keys[1].Secret, resource.Keys[0].Secret
	same := string(resource.Keys[0].Secret)
	for _, c := range []struct {
		name  string
		r     core.Resource
		holds [2]bool
	}{
		{"same keys", resource, [2]bool{true, true}},
		{"primary rotated", changed(0, 2, "another primary key, that is long enough"), [2]bool{false, true}},
		{"secondary rotated", changed(1, 5, "another secondary key, long enough too"), [2]bool{true, false}},
		{"serial alone", changed(0, 2, same), [2]bool{false, true}},
		{"secret alone", changed(0, 1, "another primary key, that is long enough"), [2]bool{false, true}},
		{"swapped", swapped, [2]bool{false, false}},
	} {
		fresh := f.another(t, c.r)
		running := f.another(t, resource)
		for _, text := range by {
			if _, err := running.Verify(t.Context(), text); err != nil {
				t.Fatal(err)
			}
		}
		if err := running.SetKeys(c.r.Keys); err != nil {
			t.Fatal(err)
		}
		for i, text := range by {
			if _, err := fresh.Verify(t.Context(), text); (err == nil) != c.holds[i] {
				t.Errorf("%s, restarted: %s token: %v, want it to hold: %v", c.name, token.KeyName(i), err, c.holds[i])
			}
			if _, err := running.Verify(t.Context(), text); (err == nil) != c.holds[i] {
				t.Errorf("%s, running: %s token: %v, want it to hold: %v", c.name, token.KeyName(i), err, c.holds[i])
			}
		}
		for i, k := range running.Keys() {
			if !bytes.Equal(k.Bytes(), c.r.Keys[i].Secret) {
				t.Errorf("%s: the %s key is not the one that was set", c.name, token.KeyName(i))
			}
		}
	}
}

func TestLiveTokens(t *testing.T) {
	f := newFixture(t)
	u, v := f.user(t), f.user(t)
	f.issue(t, u, 0)
	f.issue(t, u, 0) // the token is issued in the same second, so its text is the same
	f.issue(t, v, 0)
	f.clock.advance(30 * time.Minute)
	f.issue(t, v, 1)
	if got, want := f.LiveTokens(), [2]int{2, 1}; got != want {
		t.Errorf("%v live tokens, want %v", got, want)
	}
	f.clock.advance(30 * time.Minute)
	if got, want := f.LiveTokens(), [2]int{0, 1}; got != want {
		t.Errorf("%v live tokens after the first have expired, want %v", got, want)
	}
}

// failing implements Users. It fails to read any user.
type failing struct {
	*core.Service
	err error
}

func (f failing) User(context.Context, string) (core.User, error) { return core.User{}, f.err }

// outdated implements Users. User returns an old version of a user, as a cache does for a moment
// after another server has changed the user.
type outdated struct {
	*core.Service
	row core.User
}

func (o outdated) User(context.Context, string) (core.User, error) { return o.row, nil }

// TestNewerTokenThanTheCache revokes a user's tokens and issues a new one, while another Authority
// still has the old version of the user in its cache. It checks that this Authority accepts the new
// token at once: the token's higher generation proves that the cached user is outdated.
func TestNewerTokenThanTheCache(t *testing.T) {
	f := newFixture(t)
	old := f.user(t)
	if err := f.core.RevokeTokens(t.Context(), old.ID); err != nil {
		t.Fatal(err)
	}
	u, err := f.core.StoredUser(t.Context(), old.ID)
	if err != nil {
		t.Fatal(err)
	}
	a, err := token.New(resource, outdated{f.core, old}, f.clock.now)
	if err != nil {
		t.Fatal(err)
	}
	if c, err := a.Verify(t.Context(), f.issue(t, u, 0)); err != nil || c.User != u.ID {
		t.Errorf("a token of generation %d, with generation %d in the cache: %+v, %v", u.Generation, old.Generation, c, err)
	}
	u.Generation++ // the token has a higher generation than the store, as after a restore of an older backup
	if _, err := a.Verify(t.Context(), f.issue(t, u, 0)); !errors.Is(err, token.ErrInvalid) {
		t.Errorf("a token of a generation that the store does not have: %v, want %v", err, token.ErrInvalid)
	}
}

// TestNewerKeyThanKnown verifies tokens that were signed with a key that the Authority does not
// know yet. It checks that the Authority reads the access keys again if a token names a key with a
// higher serial, and otherwise not.
func TestNewerKeyThanKnown(t *testing.T) {
	f := newFixture(t)
	u := f.user(t)
	rotated := resource
	rotated.Keys[0] = core.AccessKeyRow{Serial: 2, Secret: []byte("another primary key, that is long enough")}
	newer := f.another(t, rotated)
	text, _, err := newer.Issue(u, token.Chat, time.Hour, newer.Held()[0])
	if err != nil {
		t.Fatal(err)
	}
	reads := 0
	var away error
	f.Reloads(func(context.Context) (bool, error) {
		reads++
		if away != nil {
			return false, away
		}
		return true, f.SetKeys(rotated.Keys)
	})
	before := f.issue(t, u, 0)
	away = errors.New("away")
	if _, err := f.Verify(t.Context(), text); err != away {
		t.Errorf("while the keys cannot be read: %v, want %v", err, away)
	}
	away = nil
	if _, err := f.Verify(t.Context(), text); err != nil {
		t.Errorf("a token of a newer key: %v", err)
	}
	if reads != 2 {
		t.Errorf("the keys were read %d times, want twice", reads)
	}
	if _, err := f.Verify(t.Context(), before); !errors.Is(err, token.ErrInvalid) {
		t.Errorf("a token of the key before: %v, want %v", err, token.ErrInvalid)
	}
	if reads != 2 {
		t.Error("the keys were read for a token of an older key")
	}
}

func TestStoreErrorIsNoRefusal(t *testing.T) {
	f := newFixture(t)
	text := f.issue(t, f.user(t), 0)
	disk := errors.New("disk on fire")
	a, err := token.New(resource, failing{f.core, disk}, f.clock.now)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if c, err := a.Verify(t.Context(), text); !errors.Is(err, disk) || errors.Is(err, token.ErrInvalid) || c != (token.Claims{}) {
			t.Errorf("%+v, %v; want %v and no refusal", c, err, disk)
		}
	}
	if _, err := a.Verify(t.Context(), text+"x"); !errors.Is(err, token.ErrInvalid) {
		t.Errorf("a forged token made Verify read the user: %v, want %v", err, token.ErrInvalid)
	}
}

func TestScopes(t *testing.T) {
	names := map[string]token.Scopes{
		"chat": token.Chat, "voip": token.VoIP, "chat.join": token.ChatJoin,
		"chat.join.limited": token.ChatJoinLimited, "voip.join": token.VoIPJoin,
	}
	for name, want := range names {
		if got, ok := token.ParseScope(name); got != want || !ok || got.String() != name {
			t.Errorf("ParseScope(%q) = %v, %v; want %v", name, got, ok, want)
		}
	}
	for _, name := range []string{"", "Chat", "chat ", "chat,voip", "chat.", "root"} {
		if got, ok := token.ParseScope(name); ok || got != 0 {
			t.Errorf("ParseScope(%q) = %v, %v; want it refused", name, got, ok)
		}
	}
	both := token.Chat | token.VoIP
	for _, c := range []struct {
		set, want token.Scopes
		has, any  bool
	}{
		{both, token.Chat, true, true}, {both, both, true, true}, {token.Chat, both, false, true},
		{token.ChatJoin, token.Chat, false, false}, {0, token.Chat, false, false}, {both, 0, true, false},
	} {
		if c.set.Has(c.want) != c.has || c.set.Any(c.want) != c.any {
			t.Errorf("%v of %v: has %v, any %v; want %v, %v", c.want, c.set, c.set.Has(c.want), c.set.Any(c.want), c.has, c.any)
		}
	}
	// Formatting a set of scopes and parsing the result must give an equal set.
	f := newFixture(t)
	u := f.user(t)
	for set := token.Scopes(1); set < 32; set++ {
		text, _, err := f.Issue(u, set, time.Hour, f.Held()[0])
		if err != nil {
			t.Fatal(err)
		}
		if c, err := f.verify(t, text); c.Scopes != set || err != nil {
			t.Errorf("scopes %q came back as %q, %v", set, c.Scopes, err)
		}
	}
	if text, _, err := f.Issue(u, 0, time.Hour, f.Held()[0]); err == nil || text != "" {
		t.Errorf("a token without scopes was issued, and nothing can verify it: %v", err)
	}
}

// TestSecretsStayInside prints everything that an Authority returns, except the access keys, and
// checks that it contains no secret.
func TestSecretsStayInside(t *testing.T) {
	f := newFixture(t)
	text := f.issue(t, f.user(t), 0)
	_, forged := f.Verify(t.Context(), text[:len(text)-2])
	_, _, err := f.Issue(f.user(t), 0, time.Hour, f.Held()[0])
	var shown strings.Builder
	fmt.Fprintf(&shown, "%v %+v %#v %v %v %+v %#v", forged, forged, forged, err, f.Keys(), f.Keys(), f.Keys())
	encoded, _ := json.Marshal(f.Keys())
	shown.Write(encoded)
	for _, row := range resource.Keys {
		for _, secret := range [][]byte{row.Secret, secretOf(t, row)} {
			for _, s := range []string{string(secret), fmt.Sprintf("%x", secret), fmt.Sprint(secret), base64.StdEncoding.EncodeToString(secret)} {
				if strings.Contains(shown.String(), s) {
					t.Errorf("a secret is shown: %s", &shown)
				}
			}
		}
	}
	if strings.Contains(shown.String(), text[:40]) {
		t.Errorf("a token is shown: %s", &shown)
	}
}

// live implements Users for the fuzz test. It returns every user as live.
type live struct{}

func (live) User(_ context.Context, id string) (core.User, error) {
	return core.User{ID: id, State: core.UserLive, Generation: 1}, nil
}
func (l live) StoredUser(ctx context.Context, id string) (core.User, error) { return l.User(ctx, id) }
func (live) Leaving(core.User) bool                                         { return false }

func FuzzVerify(f *testing.F) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	x, err := token.New(resource, live{}, func() time.Time { return now })
	if err != nil {
		f.Fatal(err)
	}
	u := core.User{ID: communication.JoinUserID(resourceID, "00000000-0000-0000-0000-000000000001"), State: core.UserLive, Generation: 1}
	good, _, err := x.Issue(u, token.Chat, time.Hour, x.Held()[0])
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{good, good[:len(good)-1], "", "..", "a.b.c", good + ".", "eyJhbGciOiJub25lIn0.e30.", strings.ToUpper(good), good + "\r\n", good[:len(good)-9] + "\n" + good[len(good)-9:]} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := x.Verify(context.Background(), text)
		if err != nil {
			if !errors.Is(err, token.ErrInvalid) || c != (token.Claims{}) {
				t.Errorf("%+v, %v; want %v", c, err, token.ErrInvalid)
			}
			return
		}
		if text != good || c.User != u.ID { // no other token was ever signed
			t.Errorf("%q is accepted as %+v", text, c)
		}
	})
}
