//go:build unix

package failures

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/confab-chat/confab/sdk/communication"
)

const (
	senders  = 24
	version  = "?api-version=2025-03-15"
	identity = "?api-version=2023-10-01"
)

// TestFailures kills PostgreSQL, kills a server and cuts connections at random moments, while
// clients send messages to two servers. It checks that every acknowledged message is stored
// exactly once, every other message at most once per attempt, and a message with an idempotency
// token at most once.
func TestFailures(t *testing.T) {
	address := database(t)
	rounds := 3
	if v := os.Getenv("TEST_FAILURE_ROUNDS"); v != "" {
		var err error
		if rounds, err = strconv.Atoi(v); err != nil {
			t.Fatal(err)
		}
	}
	c := newCluster(t, address)
	l := c.newLoad(t)
	for i := range senders {
		l.clients.Go(func() { l.send(i) })
	}
	t.Cleanup(l.abandon)
	for round := range rounds {
		time.Sleep(time.Duration(100+rand.IntN(300)) * time.Millisecond) // wait for a random time, so that the failure comes at a random moment
		switch round % 3 {
		case 0:
			c.killPostgres(t)
		case 1:
			c.killServer(t, rand.IntN(len(c.nodes)))
		case 2:
			c.cutConnections(t)
		}
		l.waitForProgress(t)
	}
	l.stop()
	l.verify(t)
}

// database returns the URL of the PostgreSQL server that the test may kill. It skips the test if
// no such server is configured.
func database(t *testing.T) string {
	t.Helper()
	address := os.Getenv("TEST_POSTGRES_URL")
	if address == "" || os.Getenv("TEST_POSTGRES_DATA") == "" {
		t.Skip("set TEST_POSTGRES_URL and TEST_POSTGRES_DATA to kill servers: scripts/postgres -- go test ./internal/server/failures")
	}
	return address
}

// cluster is a group of servers: two on one database, or one on the embedded store.
type cluster struct {
	binary   string
	address  string // URL of the database
	key      communication.AccessKey
	keyText  string
	nodes    []*node
	postgres postgres
	logs     bool // whether to keep the servers' logs in memory
}

type postgres struct{ bin, data, user string }

type node struct {
	binary, dir, listen string
	env                 []string
	client              *http.Client
	log                 *bytes.Buffer // the server's log, complete after the server has ended; nil: the log goes to stderr

	mu  sync.Mutex // guards cmd
	cmd *exec.Cmd
}

func newCluster(t *testing.T, address string) *cluster {
	t.Helper()
	c := newServers(t)
	c.onDatabase(t, address)
	return c
}

// onDatabase starts two servers on a new database.
func (c *cluster) onDatabase(t *testing.T, address string, env ...string) {
	t.Helper()
	c.address = freshDatabase(t, address)
	c.postgres = postgres{os.Getenv("TEST_POSTGRES_BIN"), os.Getenv("TEST_POSTGRES_DATA"), os.Getenv("TEST_POSTGRES_USER")}
	for i := range 2 {
		c.addNode(t, append(env, opsVariable+freePort(t), "CONFAB_DATABASE="+named(t, c.address, nodeName(i)))...)
	}
}

// newServers builds the program of the server and returns a cluster without servers.
func newServers(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{
		binary:  filepath.Join(t.TempDir(), "confab"),
		keyText: base64.StdEncoding.EncodeToString([]byte("the access key of the failure tests, 64 bytes long..............")),
	}
	if built := os.Getenv("TEST_CONFAB"); built != "" { // use the program that TEST_CONFAB names instead of building one
		c.binary = built
	} else if out, err := exec.Command("go", "build", "-o", c.binary, "../../../cmd/confab").CombinedOutput(); err != nil {
		t.Fatalf("build confab: %v\n%s", err, out)
	}
	var err error
	if c.key, err = communication.NewAccessKey(c.keyText); err != nil {
		t.Fatal(err)
	}
	return c
}

// addNode starts a server with a new data folder and adds it to the cluster.
func (c *cluster) addNode(t *testing.T, env ...string) *node {
	t.Helper()
	n := &node{binary: c.binary, dir: t.TempDir(), listen: freePort(t), env: append(os.Environ(),
		append([]string{"CONFAB_ACCESS_KEY=" + c.keyText, "CONFAB_LIMITS=off", "CONFAB_LOG_LEVEL=error", "CONFAB_SHUTDOWN_DELAY=0"}, env...)...)}
	if c.logs {
		n.log = new(bytes.Buffer)
	}
	c.nodes = append(c.nodes, n)
	n.start(t)
	t.Cleanup(n.kill)
	return n
}

func freshDatabase(t *testing.T, address string) string {
	t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	name := fmt.Sprintf("failures_%d", time.Now().UnixNano())
	if _, err := conn.Exec(ctx, "CREATE DATABASE "+name); err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = name
	return u.String()
}

// nodeName returns the application_name by which PostgreSQL shows the connections of server i.
func nodeName(i int) string { return fmt.Sprint("confab-", i) }

func named(t *testing.T, address, name string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	query := u.Query()
	query.Set("application_name", name)
	u.RawQuery = query.Encode()
	return u.String()
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// opsVariable is the beginning of an environment variable of a server, with the "=". The variable
// sets the address for the server's metrics.
const opsVariable = "CONFAB_LISTEN_OPS="

// Environment variables of a node that are not settings of the server: the limit of open files
// for its process, and the file for its log.
const (
	filesVariable = "TEST_OPEN_FILES="
	logVariable   = "TEST_LOG_FILE="
)

// variable returns the value of the last of the node's environment variables that begins with
// prefix, or "" if there is none.
func (n *node) variable(prefix string) (value string) {
	for _, v := range n.env {
		if after, ok := strings.CutPrefix(v, prefix); ok {
			value = after
		}
	}
	return value
}

// ops returns the address on which the server serves its metrics, or "" if it serves none.
func (n *node) ops() (address string) { return n.variable(opsVariable) }

// start starts the server and waits until it is ready.
func (n *node) start(t *testing.T) {
	t.Helper()
	ops := n.ops()
	if ops == "" {
		ops = "off"
	}
	cmd := exec.Command(n.binary, "serve", "--data", n.dir, "--listen", n.listen, "--listen-ops", ops)
	if files := n.variable(filesVariable); files != "" {
		cmd = exec.Command("sh", append([]string{"-c", `ulimit -n "$0" && exec "$@"`, files}, cmd.Args...)...)
	}
	cmd.Env, cmd.Stderr = n.env, os.Stderr
	if n.log != nil {
		cmd.Stderr = n.log
	}
	if name := n.variable(logVariable); name != "" {
		log, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer log.Close() // close this copy of the file descriptor, because the process has its own
		cmd.Stderr = log
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	n.mu.Lock()
	n.cmd = cmd
	n.mu.Unlock()
	deadline := time.Now().Add(30 * time.Second)
	for ; ; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("a server does not start")
		}
		if n.client == nil {
			if n.client = trusting(n.dir); n.client == nil {
				continue
			}
		}
		if res, err := n.client.Get("https://" + n.listen + "/"); err == nil {
			res.Body.Close()
			return
		}
	}
}

// trusting returns a client that trusts the certificate authority in the data folder dir, or nil
// if the folder has no authority yet.
func trusting(dir string) *http.Client {
	pem, err := os.ReadFile(filepath.Join(dir, "tls", "ca.pem"))
	roots := x509.NewCertPool()
	if err != nil || !roots.AppendCertsFromPEM(pem) {
		return nil
	}
	return &http.Client{Timeout: 90 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots}, MaxIdleConnsPerHost: senders,
	}}
}

func (n *node) kill() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cmd.Process.Signal(syscall.SIGKILL)
	n.cmd.Wait()
}

func (c *cluster) killServer(t *testing.T, i int) {
	c.nodes[i].kill()
	c.nodes[i].start(t)
}

func (c *cluster) killPostgres(t *testing.T) {
	t.Helper()
	c.ctl(t, "stop", "-m", "immediate")
	c.ctl(t, "start", "-w", "-l", filepath.Join(c.postgres.data, "again.log"))
}

// ctl runs pg_ctl on the test's PostgreSQL as the operating system user that owns it.
func (c *cluster) ctl(t *testing.T, args ...string) {
	t.Helper()
	command := append([]string{filepath.Join(c.postgres.bin, "pg_ctl"), "-D", c.postgres.data, "-s"}, args...)
	if os.Getuid() == 0 {
		user := c.postgres.user
		command = append([]string{"setpriv", "--reuid=" + user, "--regid=" + user, "--init-groups", "--"}, command...)
	}
	cmd := exec.Command(command[0], command[1:]...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("pg_ctl %v: %v\n%s", args, err, out)
	}
}

// cutConnections makes PostgreSQL close about half of the servers' connections.
func (c *cluster) cutConnections(t *testing.T) {
	t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, c.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
		WHERE datname = current_database() AND pid <> pg_backend_pid() AND random() < 0.5`); err != nil {
		t.Fatal(err)
	}
}

// ask sends one request to a server and returns the response. If there was no response, the status
// is 0 and answer is the text of the error.
func (c *cluster) ask(n *node, method, path, bearer, token string, body any) (status int, answer []byte) {
	text, err := json.Marshal(body)
	if err != nil {
		panic(err)
	}
	req, err := http.NewRequest(method, "https://"+n.listen+path, bytes.NewReader(text))
	if err != nil {
		panic(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("repeatability-request-id", token)
	}
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	} else if err := c.key.Sign(req, time.Now()); err != nil {
		panic(err)
	}
	res, err := n.client.Do(req)
	if err != nil {
		return 0, []byte(err.Error())
	}
	defer res.Body.Close()
	answer, err = io.ReadAll(res.Body)
	if err != nil {
		return 0, []byte(err.Error())
	}
	return res.StatusCode, answer
}

// load runs clients that send messages, and records the acknowledged messages.
type load struct {
	*cluster
	bearer    string
	threads   []string
	stopped   chan struct{}
	abandoned chan struct{} // closed when the test has failed, so that clients stop waiting
	clients   sync.WaitGroup
	once      sync.Once // makes stop run once

	mu       sync.Mutex // guards the fields below
	attempts map[string]int
	acked    map[string]string // ids of the acknowledged messages, by the content of the message
	tokens   map[string]bool   // contents of the messages that were sent with an idempotency token
	outcomes map[int]int
}

func (c *cluster) newLoad(t *testing.T) *load {
	t.Helper()
	l := &load{cluster: c, stopped: make(chan struct{}), abandoned: make(chan struct{}), attempts: map[string]int{}, acked: map[string]string{}, tokens: map[string]bool{}, outcomes: map[int]int{}}
	status, answer := c.ask(c.nodes[0], "POST", "/identities"+identity, "", "", map[string]any{"createTokenWithScopes": []string{"chat"}})
	var user struct{ AccessToken struct{ Token string } }
	if status != 201 || json.Unmarshal(answer, &user) != nil {
		t.Fatalf("make a user: %d %s", status, answer)
	}
	l.bearer = user.AccessToken.Token
	for n := range 6 {
		status, answer := c.ask(c.nodes[n%2], "POST", "/chat/threads"+version, l.bearer, "", map[string]any{"topic": "failures"})
		var made struct{ ChatThread struct{ ID string } }
		if status != 201 || json.Unmarshal(answer, &made) != nil {
			t.Fatalf("make a thread: %d %s", status, answer)
		}
		l.threads = append(l.threads, made.ChatThread.ID)
	}
	return l
}

// send runs one client that sends messages to the servers. It repeats a message with an
// idempotency token until the message is acknowledged. It repeats any other message only after a
// 503, which means that nothing was written.
func (l *load) send(sender int) {
	for n := 0; ; n++ {
		content := fmt.Sprintf("%d/%d", sender, n)
		token := ""
		if n%2 == 0 {
			token = content
		}
		for try := 0; ; try++ {
			select {
			case <-l.abandoned:
				return
			case <-l.stopped:
				if token == "" || try == 0 {
					return
				}
			default:
			}
			l.mu.Lock()
			l.attempts[content]++
			l.tokens[content] = token != ""
			l.mu.Unlock()
			thread := l.threads[(sender+n)%len(l.threads)]
			status, answer := l.ask(l.nodes[(sender+try)%2], "POST", "/chat/threads/"+thread+"/messages"+version, l.bearer, token, map[string]string{"content": content})
			var sent struct{ ID string }
			l.mu.Lock()
			l.outcomes[status]++
			if status == 201 && json.Unmarshal(answer, &sent) == nil {
				l.acked[content] = sent.ID
			}
			if status == 503 {
				l.attempts[content]-- // do not count the attempt, because a 503 means that nothing was written
			}
			l.mu.Unlock()
			if status == 201 || token == "" && status != 503 {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
}

// waitForProgress waits until more messages are acknowledged than when it was called.
func (l *load) waitForProgress(t *testing.T) {
	t.Helper()
	count := func() int {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.acked)
	}
	before, deadline := count(), time.Now().Add(time.Minute)
	for count() < before+10*senders {
		if time.Now().After(deadline) {
			t.Fatalf("nothing is acknowledged any more; outcomes by status: %v", l.outcomes)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (l *load) stop() {
	l.once.Do(func() { close(l.stopped) })
	l.clients.Wait()
}

// abandon makes the sending clients stop at once. Every test calls it at its end, before it
// kills the servers.
func (l *load) abandon() {
	close(l.abandoned)
	l.stop()
}

// verify lists the messages of every thread through both servers. It fails the test if a message
// is missing, repeated or out of order.
func (l *load) verify(t *testing.T) {
	t.Helper()
	for _, n := range l.nodes {
		found := map[string][]string{}
		for _, thread := range l.threads {
			sequence := -1
			for link := "/chat/threads/" + thread + "/messages" + version + "&maxPageSize=200"; link != ""; {
				status, answer := l.ask(n, "GET", link, l.bearer, "", nil)
				var page struct {
					Value []struct {
						ID, SequenceID string
						Content        struct{ Message string }
					}
					NextLink string
				}
				if status != 200 || json.Unmarshal(answer, &page) != nil {
					t.Fatalf("list messages: %d %s", status, answer)
				}
				for _, m := range page.Value {
					s, err := strconv.Atoi(m.SequenceID)
					if err != nil || sequence >= 0 && s != sequence-1 {
						t.Fatalf("%s: sequence %s follows %d downwards (%v)", thread, m.SequenceID, sequence, err)
					}
					sequence = s
					if m.Content.Message != "" {
						found[m.Content.Message] = append(found[m.Content.Message], m.ID)
					}
				}
				link = strings.TrimPrefix(page.NextLink, "https://"+n.listen)
			}
			if sequence != 1 {
				t.Errorf("%s begins with sequence %d", thread, sequence)
			}
		}
		for content, id := range l.acked {
			if ids := found[content]; len(ids) == 0 || l.tokens[content] && (len(ids) != 1 || ids[0] != id) || !contains(ids, id) {
				t.Errorf("acknowledged message %q with id %s: found %v", content, id, ids)
			}
		}
		for content, ids := range found {
			if len(ids) > max(l.attempts[content], 1) || l.tokens[content] && len(ids) > 1 {
				t.Errorf("message %q is stored %d times after %d attempts (token: %v)", content, len(ids), l.attempts[content], l.tokens[content])
			}
		}
	}
	t.Logf("%d messages acknowledged, all there once; outcomes by status (0: no answer): %v", len(l.acked), l.outcomes)
}

func contains(ids []string, id string) bool {
	for _, i := range ids {
		if i == id {
			return true
		}
	}
	return false
}
