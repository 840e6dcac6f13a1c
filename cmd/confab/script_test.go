package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/confab-chat/confab/sdk/communication"
	"github.com/confab-chat/confab/sdk/identity"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"confab": func() { os.Exit(execute(os.Args[1:])) },
		"child":  child,
		"drawn":  drawn,
	})
}

// child is the program that the tests start with `confab run`. Its first argument selects
// an action, such as to exit with a code, to print its environment or to wait for a signal.
func child() {
	switch os.Args[1] {
	case "exit":
		code, _ := strconv.Atoi(os.Args[2])
		os.Exit(code)
	case "env":
		for _, name := range os.Args[2:] {
			fmt.Printf("%s=%s\n", name, os.Getenv(name))
		}
	case "reads": // "reads VAR..." prints whether the files that the environment variables name are readable and not empty
		for _, name := range os.Args[2:] {
			text, err := os.ReadFile(os.Getenv(name))
			fmt.Println(name, len(text) > 0, err)
		}
	case "call": // "call METHOD PATH [BODY]" sends the request, with the token in the variable TOKEN if it is set
		os.Exit(call(os.Args[2], os.Args[3], strings.Join(os.Args[4:], " ")))
	case "token": // "token" creates a user and prints a token for the user
		ids, err := identity.NewClientFromConnectionString(os.Getenv("CONFAB_CONNECTION_STRING"), nil)
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		ann, err := ids.CreateUserAndToken(context.Background(), []identity.Scope{identity.ScopeChat}, nil)
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(ann.Token.Token)
	case "distrust": // "distrust" begins a TLS handshake and rejects the server's certificate
		address := strings.Replace(os.Getenv("CONFAB_ENDPOINT"), "https://localhost", "127.0.0.1", 1)
		if conn, err := tls.Dial("tcp", address, &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "localhost"}); err == nil {
			conn.Close()
			os.Exit(1)
		}
	case "signal":
		c := make(chan os.Signal, 1)
		signal.Notify(c, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
		fmt.Println("up")
		fmt.Println("got", <-c)
		os.Exit(7)
	case "wait": // "wait" runs until a signal kills the program
		fmt.Println("up")
		select {}
	}
	os.Exit(0)
}

// call sends a request to the server and prints the status and the body of the response. It
// returns an exit code.
func call(method, path, body string) (code int) {
	pool := x509.NewCertPool()
	roots, err := os.ReadFile(os.Getenv("CONFAB_CA_FILE"))
	if err != nil || !pool.AppendCertsFromPEM(roots) {
		fmt.Println("the CA file:", err)
		return 1
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	req, err := http.NewRequest(method, os.Getenv("CONFAB_ENDPOINT")+path, strings.NewReader(body))
	if err != nil {
		fmt.Println(err)
		return 1
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if token := os.Getenv("TOKEN"); token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := client.Do(req)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	fmt.Println(res.StatusCode, strings.TrimSpace(string(text)))
	if err != nil {
		return 1
	}
	return 0
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:           "testdata",
		UpdateScripts: *update,
		Setup: func(e *testscript.Env) error {
			e.Setenv("HOME", filepath.Join(e.WorkDir, "home"))
			e.Setenv("XDG_DATA_HOME", filepath.Join(e.WorkDir, "share"))
			e.Setenv("XDG_CACHE_HOME", filepath.Join(e.WorkDir, "cache"))
			e.Setenv("SHELL", "/bin/sh")
			e.Setenv("CONFAB_SHUTDOWN_DELAY", "0")  // stop at once: by default, a production server serves for 5 more seconds after a signal
			e.Setenv("GORACE", "atexit_sleep_ms=0") // do not wait at the end: by default, the race detector delays the end of each process by a second
			e.Values["jobs"] = &jobs{m: map[string]*job{}}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"start":     start,
			"signal":    sendSignal,
			"ended":     ended,
			"exits":     exits,
			"prints":    prints,
			"busy":      busy,
			"key":       key,
			"lacks":     lacks,
			"hang":      hang,
			"mode":      mode,
			"jsonenv":   jsonEnv,
			"terminal":  terminal,
			"picture":   picture,
			"type":      typeText,
			"hangup":    hangUp,
			"says":      says,
			"onlypath":  onlyPath,
			"newcert":   newCert,
			"newthread": newThreadByToken,
			"cutfile":   cutFile,
			"tokenenv":  tokenEnv,
		},
		Condition: func(cond string) (bool, error) {
			if cond == "terminal" {
				return hasTerminal, nil
			}
			return false, errors.New("unknown condition " + cond)
		},
	})
}

type jobs struct{ m map[string]*job }

type job struct {
	cmd      *exec.Cmd
	terminal *os.File   // the terminal of the command, or nil if it has no terminal
	mu       sync.Mutex // guards output and more
	output   bytes.Buffer
	more     chan struct{} // closed and replaced by a new channel when the field output grows
	done     chan struct{}
}

// start implements the script command "start NAME WORD command...". It starts a command in
// the background and waits until the command prints a line that contains WORD.
func start(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: start name word command...")
	}
	r, w, err := os.Pipe()
	ts.Check(err)
	cmd := exec.Command(args[2], args[3:]...)
	path, err := lookIn(ts.Getenv("PATH"), args[2])
	ts.Check(err)
	cmd.Path, cmd.Err = path, nil
	cmd.Dir = ts.MkAbs(".")
	cmd.Env = environ(ts)
	cmd.Stdout, cmd.Stderr = w, w
	ts.Check(cmd.Start())
	w.Close()
	startJob(ts, args[0], args[1], cmd, bufio.NewReader(r))
}

// startJob reads the output of a started command until the command prints a line with the
// word. It kills the command when the script ends.
func startJob(ts *testscript.TestScript, name, word string, cmd *exec.Cmd, out *bufio.Reader) {
	j := &job{cmd: cmd, more: make(chan struct{}), done: make(chan struct{})}
	ts.Value("jobs").(*jobs).m[name] = j
	found := make(chan bool, 1)
	go func() {
		defer close(j.done)
		for {
			line, err := out.ReadString('\n')
			j.mu.Lock()
			j.output.WriteString(line)
			close(j.more)
			j.more = make(chan struct{})
			j.mu.Unlock()
			if strings.Contains(line, word) {
				select {
				case found <- true:
				default:
				}
			}
			if err != nil {
				break
			}
		}
		cmd.Wait()
		select {
		case found <- false:
		default:
		}
	}()
	ts.Defer(func() {
		cmd.Process.Kill()
		<-j.done
	})
	if !<-found {
		ts.Fatalf("%s ended before it printed %q:\n%s", name, word, j.text())
	}
}

func (j *job) text() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.output.String()
}

// prints implements the script command "prints NAME WORD". It waits until the background
// command NAME has printed WORD.
func prints(ts *testscript.TestScript, _ bool, args []string) {
	j := ts.Value("jobs").(*jobs).m[args[0]]
	timeout := time.After(time.Minute)
	for {
		j.mu.Lock()
		found, more := strings.Contains(j.output.String(), args[1]), j.more
		j.mu.Unlock()
		if found {
			return
		}
		select {
		case <-more:
		case <-j.done:
			if !strings.Contains(j.text(), args[1]) {
				ts.Fatalf("%s ended before it printed %q:\n%s", args[0], args[1], j.text())
			}
			return
		case <-timeout:
			ts.Fatalf("%s has not printed %q within a minute:\n%s", args[0], args[1], j.text())
		}
	}
}

// key implements the script command "key NAME". It types Ctrl-C on the terminal of the background
// command NAME.
func key(ts *testscript.TestScript, _ bool, args []string) {
	_, err := ts.Value("jobs").(*jobs).m[args[0]].terminal.Write([]byte{3})
	ts.Check(err)
}

// typeText implements the script command "type NAME TEXT". It types TEXT and Enter on the
// terminal of the background command NAME.
func typeText(ts *testscript.TestScript, _ bool, args []string) {
	_, err := ts.Value("jobs").(*jobs).m[args[0]].terminal.Write([]byte(args[1] + "\n"))
	ts.Check(err)
}

// hangUp implements the script command "hangup NAME". It closes the terminal of the background
// command NAME, as when the terminal's window is closed or its connection is lost.
func hangUp(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(ts.Value("jobs").(*jobs).m[args[0]].terminal.Close())
}

// says implements the script command "says NAME REGEXP". It waits until the output of the
// background command NAME matches REGEXP. It does not stop the command.
func says(ts *testscript.TestScript, _ bool, args []string) {
	j, want := ts.Value("jobs").(*jobs).m[args[0]], regexp.MustCompile("(?m)"+args[1])
	for deadline := time.Now().Add(time.Minute); !want.MatchString(j.text()); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			ts.Fatalf("%s has not printed %q:\n%s", args[0], args[1], j.text())
		}
	}
}

// onlyPath implements the script command "onlypath DIR". It sets the variable PATH to two folders:
// the folder with the commands of this test, and DIR.
func onlyPath(ts *testscript.TestScript, _ bool, args []string) {
	own := filepath.SplitList(ts.Getenv("PATH"))[0]
	ts.Setenv("PATH", own+string(filepath.ListSeparator)+ts.MkAbs(args[0]))
}

// newCert implements the script command "newcert NAME CERT KEY [DAYS]". It writes a
// self-signed certificate for a DNS name to the file CERT and its private key to the file
// KEY. The certificate expires after DAYS days, or 60 if DAYS is missing.
func newCert(ts *testscript.TestScript, _ bool, args []string) {
	days := 60
	if len(args) > 3 {
		var err error
		days, err = strconv.Atoi(args[3])
		ts.Check(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ts.Check(err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: args[:1], NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(0, 0, days)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	ts.Check(err)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	ts.Check(err)
	for i, block := range []*pem.Block{{Type: "CERTIFICATE", Bytes: cert}, {Type: "PRIVATE KEY", Bytes: der}} {
		ts.Check(os.WriteFile(ts.MkAbs(args[1+i]), pem.EncodeToMemory(block), 0o600))
	}
}

// newThreadByToken implements the script command "newthread VAR TOPIC TOKENFILE". It
// creates a thread on the development server, with the token in the file, and sets the
// variable VAR to the thread's id.
func newThreadByToken(ts *testscript.TestScript, _ bool, args []string) {
	var r running
	ts.Check(readJSON(filepath.Join(ts.Getenv("XDG_DATA_HOME"), "confab/dev/server.json"), &r))
	client, err := r.httpClient()
	ts.Check(err)
	defer client.CloseIdleConnections()
	req, err := http.NewRequest(http.MethodPost, r.LocalEndpoint+"/chat/threads?api-version=2021-09-07",
		strings.NewReader(`{"topic":"`+args[1]+`","participants":[]}`))
	ts.Check(err)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(ts.ReadFile(args[2])))
	res, err := client.Do(req)
	ts.Check(err)
	defer res.Body.Close()
	var made struct{ ChatThread struct{ ID string } }
	ts.Check(json.NewDecoder(res.Body).Decode(&made))
	ts.Setenv(args[0], made.ChatThread.ID)
}

// lacks implements the script command "lacks FILE TEXT". It fails if the file contains the
// text.
func lacks(ts *testscript.TestScript, _ bool, args []string) {
	if strings.Contains(ts.ReadFile(args[0]), args[1]) {
		ts.Fatalf("%s holds what it must not", args[0])
	}
}

// sendSignal implements the script command "signal NAME SIGNAL...". It sends the signals to
// the background command NAME.
func sendSignal(ts *testscript.TestScript, _ bool, args []string) {
	sigs := map[string]os.Signal{"INT": syscall.SIGINT, "TERM": syscall.SIGTERM, "HUP": syscall.SIGHUP, "KILL": syscall.SIGKILL}
	for _, s := range args[1:] {
		ts.Check(ts.Value("jobs").(*jobs).m[args[0]].cmd.Process.Signal(sigs[s]))
	}
}

// ended implements the script command "ended NAME CODE". It waits until the background
// command NAME ends, checks that its exit code is CODE, and writes its output to the file
// NAME.
func ended(ts *testscript.TestScript, _ bool, args []string) {
	j := ts.Value("jobs").(*jobs).m[args[0]]
	<-j.done
	if got := j.cmd.ProcessState.ExitCode(); strconv.Itoa(got) != args[1] {
		ts.Fatalf("%s ended with code %d, want %s:\n%s", args[0], got, args[1], j.text())
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(j.text()), 0o600))
}

// exits implements the script command "exits CODE command...". It runs a command and fails
// unless its exit code is CODE.
func exits(ts *testscript.TestScript, _ bool, args []string) {
	var exit *exec.ExitError
	err := ts.Exec(args[1], args[2:]...)
	code := 0
	if errors.As(err, &exit) {
		code = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("%s: exit code %d, want %s", strings.Join(args[1:], " "), code, args[0])
	}
}

// busy implements the script command "busy VAR". It listens on a free port until the script
// ends and sets the variable VAR to the port.
func busy(ts *testscript.TestScript, _ bool, args []string) {
	ln, err := net.Listen("tcp", "localhost:0")
	ts.Check(err)
	ts.Defer(func() { ln.Close() })
	ts.Setenv(args[0], strconv.Itoa(ln.Addr().(*net.TCPAddr).Port))
}

// hang implements the script command "hang PORT KEY". It sends the header of a request, but
// not its body, and keeps the connection open until the script ends.
func hang(ts *testscript.TestScript, _ bool, args []string) {
	key, err := communication.NewAccessKey(args[1])
	ts.Check(err)
	req, err := http.NewRequest(http.MethodPost, "https://localhost:"+args[0]+"/identities?api-version=2023-10-01", strings.NewReader("{}"))
	ts.Check(err)
	ts.Check(key.Sign(req, time.Now()))
	conn, err := tls.Dial("tcp", req.URL.Host, &tls.Config{InsecureSkipVerify: true})
	ts.Check(err)
	ts.Defer(func() { conn.Close() })
	var head bytes.Buffer
	fmt.Fprintf(&head, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Length: 2\r\nExpect: 100-continue\r\n", req.URL.RequestURI(), req.URL.Host)
	ts.Check(req.Header.Write(&head))
	_, err = conn.Write(append(head.Bytes(), "\r\n"...))
	ts.Check(err)
	// The server sends "100 Continue" when it starts to read the body, so the request is in
	// progress.
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil || !strings.Contains(line, "100 Continue") {
		ts.Fatalf("the server said %q, %v", line, err)
	}
}

// mode implements the script command "mode FILE OCTAL". It fails unless the file has the
// permissions OCTAL.
func mode(ts *testscript.TestScript, _ bool, args []string) {
	st, err := os.Stat(ts.MkAbs(args[0]))
	ts.Check(err)
	if got := fmt.Sprintf("%o", st.Mode().Perm()); got != args[1] {
		ts.Fatalf("mode of %s is %s, want %s", args[0], got, args[1])
	}
}

// cutFile implements the script command "cutfile FILE N". It removes the zeros at the end of the
// file, which follow the records of a store's log, and the N bytes before the zeros.
func cutFile(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	names, err := filepath.Glob(ts.MkAbs(args[0]))
	ts.Check(err)
	if len(names) != 1 {
		ts.Fatalf("%s are the files %q", args[0], names)
	}
	content, err := os.ReadFile(names[0])
	ts.Check(err)
	size := len(bytes.TrimRight(content, "\x00")) - n
	if size < 0 {
		ts.Fatalf("%s has less than %d bytes", names[0], n)
	}
	ts.Check(os.Truncate(names[0], int64(size)))
}

// jsonEnv implements the script command "jsonenv VAR KEY". It sets the variable VAR to the
// string with the key KEY in the JSON on stdout, without a leading "https://localhost:".
func jsonEnv(ts *testscript.TestScript, _ bool, args []string) {
	_, rest, ok := strings.Cut(ts.ReadFile("stdout"), `"`+args[1]+`": "`)
	value, _, ok2 := strings.Cut(rest, `"`)
	if !ok || !ok2 {
		ts.Fatalf("there is no %q on stdout", args[1])
	}
	ts.Setenv(args[0], strings.TrimPrefix(value, "https://localhost:"))
}

// tokenEnv implements the script command "tokenenv VAR FILE". It sets the variable VAR to
// the line in the file.
func tokenEnv(ts *testscript.TestScript, _ bool, args []string) {
	ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile(args[1])))
}

func environ(ts *testscript.TestScript) []string {
	var env []string
	for _, name := range []string{"PATH", "HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR", "TMPDIR", "SHELL", "COLUMNS", "NO_COLOR", "CONFAB_DATA", "CONFAB_SHUTDOWN_DELAY", "GOCOVERDIR", "GORACE"} {
		if v := ts.Getenv(name); v != "" {
			env = append(env, name+"="+v)
		}
	}
	return env
}

func lookIn(path, name string) (string, error) {
	for _, dir := range filepath.SplitList(path) {
		full := filepath.Join(dir, name)
		if st, err := os.Stat(full); err == nil && !st.IsDir() {
			return full, nil
		}
	}
	return "", fmt.Errorf("%s is not on PATH", name)
}
