//go:build unix

package failures

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/confab-chat/confab/sdk/communication"
)

// connections is the number of connections on which TestIssuingUnderLoad requests tokens.
const connections = 16

// TestIssuingUnderLoad replaces the secondary key while 16 connections create users with tokens,
// in requests that are signed with that key. It also revokes the tokens of a user while the
// connections request tokens for that user. After the response to the replacement or revocation,
// no older token may be accepted; on the other server this holds two seconds later. No request
// that begins after that response may get a token of the old key or of the old generation. A
// request that was signed with the old key must not get a token of the new key.
// TEST_ROTATION_ROUNDS is the number of replacements and of revocations.
func TestIssuingUnderLoad(t *testing.T) {
	rounds := 20
	if v := os.Getenv("TEST_ROTATION_ROUNDS"); v != "" {
		var err error
		if rounds, err = strconv.Atoi(v); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("one server", func(t *testing.T) {
		c := newServers(t)
		c.addNode(t)
		issueUnderLoad(t, c, rounds)
	})
	t.Run("two servers on PostgreSQL", func(t *testing.T) {
		issueUnderLoad(t, newCluster(t, database(t)), rounds)
	})
}

// issuing is the state of TestIssuingUnderLoad for one server or for two.
type issuing struct {
	*tokenRounds
	connections []*node // the server of each connection; consecutive connections use different servers
	checks      sync.WaitGroup
	before      atomic.Int64 // number of tokens from requests that began before the response to the replacement or revocation
	late        atomic.Int64 // number of requests that began after that response to the replacement or revocation
}

// issuedToken is a token that a server has issued.
type issuedToken struct {
	text       string
	kid        string
	generation uint64
}

func issueUnderLoad(t *testing.T, c *cluster, rounds int) {
	r := &issuing{tokenRounds: &tokenRounds{cluster: c, t: t}}
	for i := range connections {
		n := c.nodes[i%len(c.nodes)]
		r.connections = append(r.connections, &node{listen: n.listen, client: trusting(n.dir)})
	}
	defer r.checks.Wait()
	current, serial := r.rotateSecondary(c.nodes[0])
	for i := 0; i < rounds && !t.Failed(); i++ {
		n := c.nodes[i%len(c.nodes)]
		current, serial = r.rotateRound(n, current, serial)
		r.revokeRound(n)
	}
	r.checks.Wait()
	t.Logf("%d rotations and %d revocations with %d connections: %d tokens issued before the answer and refused after it, %d requests begun after it",
		rounds, rounds, connections, r.before.Load(), r.late.Load())
}

// rotateSecondary rotates the secondary key on a server and returns the new one.
func (r *issuing) rotateSecondary(n *node) (key communication.AccessKey, serial uint64) {
	status, answer := n.operate("POST", "keys/secondary/rotate")
	var made struct {
		Keys []struct {
			Serial    uint64
			AccessKey string
		}
	}
	if status != 200 || json.Unmarshal(answer, &made) != nil || len(made.Keys) != 1 {
		r.t.Fatalf("rotate: %d %s", status, answer)
	}
	key, err := communication.NewAccessKey(made.Keys[0].AccessKey)
	if err != nil {
		r.t.Fatal(err)
	}
	return key, made.Keys[0].Serial
}

// underLoad makes all connections request tokens, calls act when each connection has a token, and
// makes each connection request three more tokens. It returns the tokens from requests that began
// before act returned, and the tokens from later requests. If refused is true, requests may be
// refused with 401 after act was called.
func (r *issuing) underLoad(what string, issue func(*node) (status int, answer []byte), refused bool, act func()) (before, late []issuedToken) {
	var acting, acted atomic.Bool
	var mu sync.Mutex
	var working sync.WaitGroup
	begun := make(chan struct{}, connections)
	for _, n := range r.connections {
		working.Go(func() {
			for done, later := 0, 0; later < 3; done++ {
				wasActing, wasLate := acting.Load(), acted.Load()
				status, answer := issue(n)
				for deadline := time.Now().Add(time.Minute); status == 503 && time.Now().Before(deadline); {
					wasActing, wasLate = acting.Load(), acted.Load()
					status, answer = issue(n)
				}
				switch {
				case status/100 == 2:
					issued := parseIssued(r.t, answer)
					mu.Lock()
					if wasLate {
						late = append(late, issued)
					} else {
						before = append(before, issued)
					}
					mu.Unlock()
				case status != 401 || !refused || !acting.Load():
					r.t.Errorf("%s: issue a token: %d %s (begun during it: %v, after it: %v)", what, status, answer, wasActing, wasLate)
				}
				if wasLate {
					later++
					r.late.Add(1)
				}
				if done == 0 {
					begun <- struct{}{}
				}
				if r.t.Failed() {
					return
				}
			}
		})
	}
	for range connections {
		<-begun
	}
	acting.Store(true)
	act()
	acted.Store(true)
	working.Wait()
	r.before.Add(int64(len(before)))
	return before, late
}

// parseIssued returns the token in the response of an identity route.
func parseIssued(t *testing.T, answer []byte) (issued issuedToken) {
	var made struct {
		Token       string
		AccessToken struct{ Token string }
	}
	if err := json.Unmarshal(answer, &made); err != nil {
		t.Errorf("an answer of the identity routes: %v in %s", err, answer)
	}
	issued.text = made.Token + made.AccessToken.Token
	var header struct{ Kid string }
	var claims struct{ Kgen uint64 }
	parts := strings.Split(issued.text, ".")
	if len(parts) != 3 {
		t.Errorf("not a token: %s", answer)
		return issued
	}
	for i, into := range []any{&header, &claims} {
		text, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err == nil {
			err = json.Unmarshal(text, into)
		}
		if err != nil {
			t.Errorf("a token cannot be read: %v", err)
		}
	}
	issued.kid, issued.generation = header.Kid, claims.Kgen
	return issued
}

// refusedFrom checks that tokens which became invalid at the given time are refused. The server
// by, which made them invalid, must refuse them at once. The other servers must refuse them two
// seconds later.
func (r *issuing) refusedFrom(ended time.Time, by *node, tokens []issuedToken, what string) {
	refuse := func(n *node) {
		for _, issued := range tokens {
			if status, answer := r.settled(n, r.key, "GET", "/chat/threads"+version, issued.text, nil); status != 401 {
				r.t.Errorf("%s of %s, generation %d, %v after its end: %d %s, want 401", what, issued.kid, issued.generation, time.Since(ended), status, answer)
				return
			}
		}
	}
	refuse(by)
	for _, n := range r.nodes {
		if n != by {
			r.checks.Go(func() {
				time.Sleep(time.Until(ended.Add(promise)))
				refuse(n)
			})
		}
	}
}

// rotateRound replaces the secondary key under load, checks the tokens that were issued meanwhile,
// and returns the new key.
func (r *issuing) rotateRound(n *node, old communication.AccessKey, serial uint64) (next communication.AccessKey, nextSerial uint64) {
	var ended time.Time
	signed := *r.cluster
	signed.key = old
	create := func(n *node) (int, []byte) {
		return signed.ask(n, "POST", "/identities"+identity, "", "", map[string]any{"createTokenWithScopes": []string{"chat"}})
	}
	before, late := r.underLoad("rotate", create, true, func() {
		next, nextSerial = r.rotateSecondary(n)
		ended = time.Now()
	})
	if nextSerial != serial+1 {
		r.t.Fatalf("the new key has the serial %d, the old one had %d", nextSerial, serial)
	}
	if len(late) > 0 {
		r.t.Errorf("%d requests that began after the rotation's answer and are signed with the old key got tokens, such as one of %s", len(late), late[0].kid)
	}
	for _, issued := range before {
		if want := fmt.Sprint("secondary-", serial); issued.kid != want {
			r.t.Errorf("a request that is signed with the key %s got a token of %s", want, issued.kid)
			break
		}
	}
	r.refusedFrom(ended, n, before, "a token")
	id := r.newUser(r.t, n).id
	for _, n := range r.nodes {
		bearer, status := r.issue(n, next, id)
		if status != 200 {
			r.t.Errorf("a request that is signed with the new key gets %d", status)
		}
		if status, answer := r.settled(n, r.key, "GET", "/chat/threads"+version, bearer, nil); status != 200 {
			r.t.Errorf("a token of the new key: %d %s", status, answer)
		}
	}
	return next, nextSerial
}

// revokeRound revokes the tokens of a user under load and checks the tokens that were issued
// meanwhile.
func (r *issuing) revokeRound(n *node) {
	path := "/identities/" + url.PathEscape(r.newUser(r.t, n).id)
	issue := func(n *node) (int, []byte) {
		return r.ask(n, "POST", path+"/:issueAccessToken"+identity, "", "", map[string]any{"scopes": []string{"chat"}})
	}
	var ended time.Time
	before, late := r.underLoad("revoke", issue, false, func() {
		if status, answer := r.ask(n, "POST", path+"/:revokeAccessTokens"+identity, "", "", nil); status != 204 {
			r.t.Errorf("revoke: %d %s", status, answer)
		}
		ended = time.Now()
	})
	var old []issuedToken
	for _, issued := range before {
		if issued.generation == 1 {
			old = append(old, issued)
		}
	}
	if len(old) < connections {
		r.t.Errorf("%d tokens of the old generation, want at least one of each connection", len(old))
	}
	for _, issued := range late {
		if issued.generation != 2 {
			r.t.Errorf("a request that began after the revocation's answer got a token of generation %d", issued.generation)
			break
		}
	}
	r.refusedFrom(ended, n, old, "a token")
	if len(late) > 0 {
		if status, answer := r.settled(n, r.key, "GET", "/chat/threads"+version, late[0].text, nil); status != 200 {
			r.t.Errorf("a token from after the revocation: %d %s", status, answer)
		}
	}
}
