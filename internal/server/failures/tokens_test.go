//go:build unix

package failures

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/confab-chat/confab/sdk/communication"
)

const (
	atATime   = 50                      // number of rounds of TestTokensOfTwoServers that run at the same time
	longest   = 1500 * time.Millisecond // the longest pause between two steps of a round
	promise   = 2 * time.Second         // time after which every server must refuse a revoked token
	rotations = 20
)

// TestTokensOfTwoServers revokes the tokens of users, issues new ones and deletes the users, on
// alternating servers with random pauses, while both servers replace a key at the same time. It
// checks that every new token is valid at once on both servers, that no token is valid two seconds
// after it was revoked, and that both servers use the same key after each replacement.
func TestTokensOfTwoServers(t *testing.T) {
	address := database(t)
	rounds := 2 * atATime
	if v := os.Getenv("TEST_TOKEN_ROUNDS"); v != "" {
		var err error
		if rounds, err = strconv.Atoi(v); err != nil {
			t.Fatal(err)
		}
	}
	c := newCluster(t, address)
	r := &tokenRounds{cluster: c, t: t}
	var running sync.WaitGroup
	for range atATime {
		running.Go(func() {
			for r.begun.Add(1) <= int64(rounds) && !t.Failed() {
				r.round()
			}
		})
	}
	defer running.Wait() // wait for the rounds that are still running, because rotate may end the test
	r.rotate()
	running.Wait()
	t.Logf("%d rounds, %d tokens issued and accepted at once by both servers, %d refused after their end, %d requests of deleted users refused at once; %d rotations on both servers at the same time, %d of them lost",
		rounds, r.accepted.Load(), r.ended.Load(), r.denied.Load(), rotations, r.lost)
}

// tokenRounds counts the results of the rounds of TestTokensOfTwoServers.
type tokenRounds struct {
	*cluster
	t                              *testing.T
	begun, accepted, ended, denied atomic.Int64
	lost                           int // number of replacements that failed because the other server replaced the key first
}

// settled repeats a request to a server until the status of the response is not 503, for at most
// a minute.
func (r *tokenRounds) settled(n *node, key communication.AccessKey, method, path, bearer string, body any) (status int, answer []byte) {
	signed := *r.cluster
	signed.key = key
	for deadline := time.Now().Add(time.Minute); ; {
		status, answer = signed.ask(n, method, path, bearer, "", body)
		if status != 503 && status != 0 || time.Now().After(deadline) {
			return status, answer
		}
	}
}

// issue requests a token of a user from a server. The request is signed with the key.
func (r *tokenRounds) issue(n *node, key communication.AccessKey, id string) (bearer string, status int) {
	status, answer := r.settled(n, key, "POST", "/identities/"+url.PathEscape(id)+"/:issueAccessToken"+identity, "", map[string]any{"scopes": []string{"chat"}})
	var made struct{ Token string }
	if status == 200 && json.Unmarshal(answer, &made) != nil {
		r.t.Errorf("issue a token: %s", answer)
	}
	return made.Token, status
}

// mustAccept checks that both servers accept a new token.
func (r *tokenRounds) mustAccept(bearer, what string) {
	for _, n := range []*node{r.nodes[0], r.nodes[1], r.nodes[0]} {
		if status, answer := r.settled(n, r.key, "GET", "/chat/threads"+version, bearer, nil); status != 200 {
			r.t.Errorf("%s: %d %s, want 200: the token is dead from birth", what, status, answer)
			return
		}
	}
	r.accepted.Add(1)
}

// mustRefuse checks that both servers refuse a token that became invalid at the given time. Before
// the check it waits until every server must have noticed the change.
func (r *tokenRounds) mustRefuse(bearer string, since time.Time, what string) {
	time.Sleep(time.Until(since.Add(promise)))
	for _, n := range r.nodes {
		if status, answer := r.settled(n, r.key, "GET", "/chat/threads"+version, bearer, nil); status != 401 {
			r.t.Errorf("%s, %v after its end: %d %s, want 401", what, time.Since(since), status, answer)
		}
	}
	r.ended.Add(1)
}

// round creates a user with a token, revokes the token, issues another one and deletes the user.
func (r *tokenRounds) round() {
	here := rand.IntN(2)
	a, b := r.nodes[here], r.nodes[1-here]
	pause := func() { time.Sleep(time.Duration(rand.Int64N(int64(longest)))) }
	status, answer := r.settled(a, r.key, "POST", "/identities"+identity, "", map[string]any{"createTokenWithScopes": []string{"chat"}})
	var made struct {
		Identity    struct{ ID string }
		AccessToken struct{ Token string }
	}
	if status != 201 || json.Unmarshal(answer, &made) != nil {
		r.t.Errorf("make a user: %d %s", status, answer)
		return
	}
	id, first := made.Identity.ID, made.AccessToken.Token
	path := "/identities/" + url.PathEscape(id)
	r.mustAccept(first, "the first token") // after this call both servers have the user in their caches
	pause()
	if status, answer := r.settled(a, r.key, "POST", path+"/:revokeAccessTokens"+identity, "", nil); status != 204 {
		r.t.Errorf("revoke: %d %s", status, answer)
	}
	revoked := time.Now()
	if rand.IntN(2) == 0 {
		pause()
	}
	issuer := r.nodes[rand.IntN(2)]
	second, status := r.issue(issuer, r.key, id)
	if status != 200 {
		r.t.Errorf("issue a token after the revocation: %d", status)
	}
	r.mustAccept(second, "a token from after the revocation")
	pause()
	if status, answer := r.settled(b, r.key, "DELETE", path+identity, "", nil); status != 204 {
		r.t.Errorf("delete the user: %d %s", status, answer)
	}
	deleted := time.Now()
	if rand.IntN(2) == 0 {
		pause()
	}
	if _, status := r.issue(a, r.key, id); status != 401 {
		r.t.Errorf("issue a token for a deleted user: %d, want 401", status)
	}
	if status, answer := r.settled(a, r.key, "POST", "/chat/threads"+version, second, map[string]any{"topic": "never"}); status != 401 {
		r.t.Errorf("create a thread as a deleted user: %d %s, want 401", status, answer)
	}
	r.denied.Add(2)
	r.mustRefuse(first, revoked, "a revoked token")
	r.mustRefuse(second, deleted, "the token of a deleted user")
}

// rotate replaces the secondary key on both servers at the same time, many times, and checks the
// results.
func (r *tokenRounds) rotate() {
	id := r.newUser(r.t, r.nodes[0]).id
	serial := uint64(1)
	var current communication.AccessKey
	var old []communication.AccessKey
	for range rotations {
		var statuses [2]int
		var answers [2][]byte
		var rotating sync.WaitGroup
		for i, n := range r.nodes {
			rotating.Go(func() {
				statuses[i], answers[i] = n.operate("POST", "keys/secondary/rotate")
			})
		}
		rotating.Wait()
		won := map[uint64]communication.AccessKey{}
		for i, answer := range answers {
			var all struct {
				Keys []struct {
					Serial    uint64
					AccessKey string
				}
			}
			if statuses[i] != 200 {
				continue
			}
			if err := json.Unmarshal(answer, &all); err != nil || len(all.Keys) != 1 {
				r.t.Fatalf("rotate: %s", answer)
			}
			rotated := all.Keys[0]
			key, err := communication.NewAccessKey(rotated.AccessKey)
			if err != nil {
				r.t.Fatal(err)
			}
			if _, twice := won[rotated.Serial]; twice {
				r.t.Errorf("both servers say that they made the key with serial %d", rotated.Serial)
			}
			won[rotated.Serial] = key
		}
		for i, status := range statuses {
			if status == 409 && strings.Contains(string(answers[i]), fmt.Sprintf("its serial is now %d", serial+1)) {
				r.lost++
			} else if status != 200 {
				r.t.Fatalf("rotate on server %d: %d %s; the last serial was %d", i, status, answers[i], serial)
			}
		}
		for range won {
			serial++
			if !current.IsZero() {
				old = append(old, current)
			}
			if current = won[serial]; current.IsZero() {
				r.t.Fatalf("no server says that it made the key with serial %d: %v, %s", serial, statuses, answers)
			}
		}
		for i, n := range r.nodes {
			bearer, status := r.issue(n, current, id)
			if status != 200 {
				r.t.Fatalf("server %d does not know the key with serial %d: %d", i, serial, status)
			}
			r.mustAccept(bearer, "a token of the new key")
		}
	}
	for i, n := range r.nodes {
		for _, key := range old {
			if _, status := r.issue(n, key, id); status != 401 {
				r.t.Errorf("server %d issues a token with a replaced key: %d", i, status)
			}
		}
	}
	r.wantStored(serial, current)
}

// operate sends a request to the operator's API of a server, over the socket whose path is in the
// server's file server.json. The argument path is relative to /admin/v1/. If there is no response,
// the status is 0 and answer is the reason.
func (n *node) operate(method, path string) (status int, answer []byte) {
	var described struct{ AdminSocket string }
	read := func() error {
		text, err := os.ReadFile(filepath.Join(n.dir, "server.json"))
		if err != nil {
			return err
		}
		return json.Unmarshal(text, &described)
	}
	err := read()
	for began := time.Now(); err != nil && time.Since(began) < 20*time.Second; err = read() {
		time.Sleep(20 * time.Millisecond) // wait, because a server may answer requests before it writes the file
	}
	if err != nil {
		return 0, []byte(err.Error())
	}
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", described.AdminSocket)
	}}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequest(method, "http://localhost/admin/v1/"+path, nil)
	if err != nil {
		panic(err)
	}
	res, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return 0, []byte(err.Error())
	}
	defer res.Body.Close()
	if answer, err = io.ReadAll(res.Body); err != nil {
		return 0, []byte(err.Error())
	}
	return res.StatusCode, answer
}

// wantStored checks that the stored secondary key has the given serial number and secret.
func (r *tokenRounds) wantStored(serial uint64, key communication.AccessKey) {
	conn, err := pgx.Connect(context.Background(), r.address)
	if err != nil {
		r.t.Fatal(err)
	}
	defer conn.Close(context.Background())
	var stored uint64
	var secret []byte
	if err := conn.QueryRow(context.Background(), `SELECT serial, secret FROM access_keys WHERE index = 1`).Scan(&stored, &secret); err != nil {
		r.t.Fatal(err)
	}
	if stored != serial || base64.StdEncoding.EncodeToString(secret) != key.Text() {
		r.t.Errorf("the database has another key with serial %d, want the last one that a server made, with serial %d", stored, serial)
	}
}
