//go:build unix

package failures

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// diskSize is the size, in bytes, of the disks that TestFullDisk fills.
const diskSize = 96 << 20

// obeyed is the time within which a server should end after a signal. Because the machine may be
// busy, a longer time is only logged. The test fails if the server needs five times as long, or if
// a started server is neither ready nor ended after five times as long.
const obeyed = 5 * time.Second

// fewLines is the greatest number of lines, not counting lines about requests, that a server with
// a full disk should log. The test fails if the server logs five times as many.
const fewLines = 100

// TestFullDisk fills a disk under load, stops the server, starts it again, frees space and
// continues the load. It checks that no acknowledged message is lost. The server must not end
// without a signal, must obey signals, and must log little. `make full` runs the test.
func TestFullDisk(t *testing.T) {
	if os.Getenv("TEST_FULL_DISK") == "" {
		t.Skip("mounts disks: run make full, as root")
	}
	if os.Getuid() != 0 {
		t.Skip("SKIPPED: full disks were not tested, because only root can mount them")
	}
	c := newServers(t)
	for _, d := range []struct {
		name    string
		mount   func(*testing.T) string
		setting string
	}{
		{"tmpfs", mountMemory, ""},
		{"ext4", mountLoop, ""},
		{"no floor", mountMemory, "CONFAB_MIN_FREE_SPACE=0"},
	} {
		t.Run(d.name, func(t *testing.T) {
			f := newFull(t, c, d.mount(t), d.setting)
			f.fillUnderLoad()
			f.stopAndStart()
			f.freeAndGoOn()
			f.judge()
		})
	}
}

// mountMemory mounts a disk in memory.
func mountMemory(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	mount(t, dir, "-t", "tmpfs", "-o", "size="+strconv.Itoa(diskSize), "tmpfs")
	return dir
}

// mountLoop mounts a file with an ext4 file system as a disk. It skips the test if the system does
// not allow that.
func mountLoop(t *testing.T) string {
	t.Helper()
	dir, file := t.TempDir(), filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, diskSize); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mkfs.ext4", "-q", "-F", "-m", "0", file).CombinedOutput(); err != nil {
		t.Skipf("SKIPPED: a full ext4 was not tested, because mkfs.ext4 fails: %v %s", err, out)
	}
	mount(t, dir, "-t", "ext4", "-o", "loop", file)
	return dir
}

// mount mounts a disk on a folder until the end of the test, or skips the test.
func mount(t *testing.T, dir string, args ...string) {
	t.Helper()
	if out, err := exec.Command("mount", append(args, dir)...).CombinedOutput(); err != nil {
		t.Skipf("SKIPPED: a full disk was not tested, because mount %v fails: %v %s", args, err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", "-l", dir).CombinedOutput(); err != nil {
			t.Errorf("unmount: %v %s", err, out)
		}
	})
}

// full is the state of TestFullDisk: a server on a small disk, and clients that send messages to
// that server.
type full struct {
	*testing.T
	c       *cluster
	n       *node
	disk    string
	args    []string
	bearer  string
	threads []string
	log     bytes.Buffer // log of all servers, complete after they have ended
	ended   chan error   // the result of the running server's process

	clients sync.WaitGroup
	stopped chan struct{}

	mu      sync.Mutex // guards the fields below
	acked   map[string]int
	refused int // number of sends answered with 503
	others  map[int]int
}

func newFull(t *testing.T, c *cluster, disk, setting string) *full {
	t.Helper()
	dir := filepath.Join(disk, "data")
	f := &full{T: t, c: c, disk: disk, stopped: make(chan struct{}), acked: map[string]int{}, others: map[int]int{}}
	f.n = &node{binary: c.binary, dir: dir, listen: freePort(t), env: append(os.Environ(), "CONFAB_ACCESS_KEY="+c.keyText, "CONFAB_LIMITS=off", "CONFAB_SHUTDOWN_DELAY=0", setting)}
	f.args = []string{"serve", "--data", dir, "--listen", f.n.listen, "--listen-ops", freePort(t)}
	// Create two files on the disk, as another program would. Removing one of them frees space.
	for _, name := range []string{"first", "second"} {
		f.fill(name, diskSize/5)
	}
	f.start()
	t.Cleanup(func() {
		close(f.stopped)
		f.kill()
		f.clients.Wait()
	})
	status, answer := c.ask(f.n, "POST", "/identities"+identity, "", "", map[string]any{"createTokenWithScopes": []string{"chat"}})
	var user struct{ AccessToken struct{ Token string } }
	if status != 201 || json.Unmarshal(answer, &user) != nil {
		t.Fatalf("make a user: %d %s", status, answer)
	}
	f.bearer = user.AccessToken.Token
	for range 4 {
		status, answer := c.ask(f.n, "POST", "/chat/threads"+version, f.bearer, "", map[string]any{"topic": "full"})
		var made struct{ ChatThread struct{ ID string } }
		if status != 201 || json.Unmarshal(answer, &made) != nil {
			t.Fatalf("make a thread: %d %s", status, answer)
		}
		f.threads = append(f.threads, made.ChatThread.ID)
	}
	for i := range 12 {
		f.clients.Go(func() { f.send(i) })
	}
	return f
}

// launch starts the server's process.
func (f *full) launch() {
	f.Helper()
	cmd := exec.Command(f.n.binary, f.args...)
	cmd.Env, cmd.Stderr = f.n.env, &f.log
	if err := cmd.Start(); err != nil {
		f.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	f.n.mu.Lock()
	f.n.cmd, f.ended = cmd, ended
	f.n.mu.Unlock()
}

// start starts the server and waits until it is ready. It fails the test if the server ends before
// that.
func (f *full) start() {
	f.Helper()
	f.launch()
	if err := f.settle(); err != nil {
		f.Fatalf("the server ended at its start: %v\n%s", err, f.tail())
	}
}

// settle waits until the started server is ready, and returns nil. If the server ends before
// that, it returns the server's error.
func (f *full) settle() error {
	f.Helper()
	client := http.Client{Timeout: time.Second}
	for began := time.Now(); time.Since(began) < 5*obeyed; time.Sleep(10 * time.Millisecond) {
		select {
		case err := <-f.ended:
			if err == nil {
				err = errors.New("ended without an error")
			}
			f.ended <- err
			return err
		default:
		}
		res, err := client.Get("http://" + f.args[len(f.args)-1] + "/readyz")
		if err != nil {
			continue
		}
		res.Body.Close()
		if res.StatusCode == 200 {
			f.trust()
			return nil
		}
	}
	f.signal(syscall.SIGKILL)
	f.Fatalf("the server neither listens nor ends\n%s", f.tail())
	return nil
}

// trust makes the HTTP client for the server trust the certificate of the server.
func (f *full) trust() {
	if f.n.client != nil {
		return
	}
	if f.n.client = trusting(f.n.dir); f.n.client == nil {
		f.Fatal("the server is ready and has no certificate")
	}
}

func (f *full) signal(s os.Signal) {
	f.n.mu.Lock()
	defer f.n.mu.Unlock()
	f.n.cmd.Process.Signal(s)
}

// kill ends the server at once, if it is running.
func (f *full) kill() {
	f.signal(syscall.SIGKILL)
	select {
	case <-f.ended:
	case <-time.After(5 * obeyed):
		f.Error("a killed server does not end")
	}
	f.ended <- nil
}

// stop sends a signal to the server and waits until it has ended.
func (f *full) stop(s os.Signal, when string) {
	f.Helper()
	began := time.Now()
	f.signal(s)
	select {
	case err := <-f.ended:
		f.ended <- err
		if took := time.Since(began); took > obeyed {
			f.Logf("%s: the server obeyed %v only after %v, on a busy machine", when, s, took)
		} else {
			f.Logf("%s: the server obeyed %v after %v (%v)", when, s, took.Round(time.Millisecond), err)
		}
	case <-time.After(5 * obeyed):
		f.signal(syscall.SIGKILL)
		<-f.ended
		f.Fatalf("%s: the server does not obey %v\n%s", when, s, f.tail())
	}
}

// lines returns the log lines of all servers that have ended, without the lines about requests.
func (f *full) lines() (some []string) {
	for line := range strings.Lines(f.log.String()) {
		if !strings.Contains(line, "msg=request ") {
			some = append(some, line)
		}
	}
	return some
}

// tail returns the last 3000 bytes of the log of a server that has ended.
func (f *full) tail() string {
	text := strings.Join(f.lines(), "")
	return text[max(0, len(text)-3000):]
}

// fill writes size bytes to a file beside the data folder, or as many as fit on the disk.
func (f *full) fill(name string, size int64) {
	f.Helper()
	to, err := os.OpenFile(filepath.Join(f.disk, name), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		f.Fatal(err)
	}
	defer to.Close()
	_, err = io.CopyN(to, zeros{}, size)
	if err == nil {
		err = to.Sync()
	}
	if err != nil && !errors.Is(err, syscall.ENOSPC) {
		f.Fatal(err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// remove removes files beside the data folder.
func (f *full) remove(names ...string) {
	f.Helper()
	for _, name := range names {
		if err := os.Remove(filepath.Join(f.disk, name)); err != nil {
			f.Fatal(err)
		}
	}
}

// send sends one message after another until the test ends, and counts the responses. The texts of
// the messages cannot be compressed.
func (f *full) send(sender int) {
	noise := make([]byte, 9<<10)
	for n := 0; ; n++ {
		rand.Read(noise)
		content := fmt.Sprintf("%d/%d ", sender, n)
		status, _ := f.c.ask(f.n, "POST", "/chat/threads/"+f.threads[sender%len(f.threads)]+"/messages"+version, f.bearer, "",
			map[string]string{"content": content + base64.StdEncoding.EncodeToString(noise)})
		f.mu.Lock()
		switch status {
		case 201:
			f.acked[content]++
		case 503:
			f.refused++
		default:
			f.others[status]++
		}
		f.mu.Unlock()
		wait := time.Duration(0)
		if status != 201 {
			wait = 20 * time.Millisecond
		}
		select {
		case <-f.stopped:
			return
		case <-time.After(wait):
		}
	}
}

// counts returns the number of messages that were acknowledged, and the number of messages that
// were refused.
func (f *full) counts() (acked, refused int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.acked), f.refused
}

// await waits until the server has acknowledged and refused at least the given numbers of further
// messages.
func (f *full) await(what string, acked, refused int) {
	f.Helper()
	a, r := f.counts()
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		na, nr := f.counts()
		if na >= a+acked && nr >= r+refused {
			return
		}
		select {
		case err := <-f.ended:
			f.ended <- err
			f.Fatalf("%s: the server ended by itself: %v\n%s", what, err, f.tail())
		default:
		}
		if time.Since(began) > time.Minute {
			f.signal(syscall.SIGKILL)
			<-f.ended
			f.ended <- nil
			f.Fatalf("%s: %d more sends acknowledged and %d refused in a minute, want %d and %d; others %v\n%s", what, na-a, nr-r, acked, refused, f.others, f.tail())
		}
	}
}

// fillUnderLoad waits until the server refuses the clients' messages. Then it fills the disk to
// the last byte, frees some space, and fills the disk again.
func (f *full) fillUnderLoad() {
	f.Helper()
	f.await("filling the disk", 0, 100)
	acked, _ := f.counts()
	if bytes := acked * 12 << 10; bytes < diskSize/10 { // the store must get a tenth of the disk at least, because other files use two fifths
		f.Errorf("writes were refused after %d MiB on a disk of %d MiB", bytes>>20, diskSize>>20)
	}
	f.mayRead("below the floor")
	f.metrics()
	f.fill("rest", diskSize)
	f.await("the disk is full", 0, 200)
	f.mayRead("on a full disk")
	f.remove("first", "rest")
	f.await("space was freed under load", 500, 0)
	f.await("filling the disk again", 0, 100)
	f.fill("rest", diskSize)
	f.await("the disk is full again", 0, 100)
	f.Logf("%d messages acknowledged, then full", acked)
}

// mayRead checks that the server answers a request for messages.
func (f *full) mayRead(when string) {
	f.Helper()
	status, answer := f.c.ask(f.n, "GET", "/chat/threads/"+f.threads[0]+"/messages"+version+"&maxPageSize=5", f.bearer, "", nil)
	if status != 200 {
		f.Errorf("%s: a read is answered %d %s", when, status, answer)
	}
}

// metrics checks the metrics about the disk. Their free space may be above the limit while the
// server refuses writes: the store has removed a table that did not fit on the disk, and refuses
// writes until a table fits.
func (f *full) metrics() {
	f.Helper()
	for began := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		du, err := exec.Command("du", "-s", "-B1", filepath.Join(f.n.dir, "store")).Output()
		if err != nil {
			f.Fatal(err)
		}
		used, _, _ := strings.Cut(string(du), "\t")
		got := f.scrape()
		low, free := got["confab_storage_below_floor"], got["confab_storage_free_bytes"]
		if strconv.FormatFloat(got["confab_storage_disk_bytes"], 'f', 0, 64) == used && low == 1 && free > 0 && free < diskSize/4 && got["confab_storage_floor_bytes"] > 0 {
			return
		}
		if time.Since(began) > 20*time.Second {
			f.Errorf("metrics %v, want %s bytes on disk, as du says, and less than a quarter of it free", got, used)
			return
		}
	}
}

// scrape returns the metrics of the store.
func (f *full) scrape() map[string]float64 {
	f.Helper()
	res, err := http.Get("http://" + f.args[len(f.args)-1] + "/metrics")
	if err != nil {
		f.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		f.Fatal(err)
	}
	found := map[string]float64{}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if strings.HasPrefix(name, "confab_storage_") {
			found[name], _ = strconv.ParseFloat(value, 64)
		}
	}
	return found
}

// stopAndStart stops the server on the full disk, and starts it with little or no free space.
// Each start must either fail with an error that names the cause, or give a server that obeys
// signals.
func (f *full) stopAndStart() {
	f.Helper()
	f.stop(syscall.SIGTERM, "on a full disk, under load")
	f.fill("rest", diskSize) // fill the disk again, because the server may have removed files of the store when it stopped
	for i, free := range []int64{0, 1 << 20, 3 << 20, 5 << 20, 8 << 20, 12 << 20} {
		name := filepath.Join(f.disk, "rest")
		info, err := os.Stat(name)
		if err != nil {
			f.Fatal(err)
		}
		if err := os.Truncate(name, max(0, info.Size()-free)); err != nil {
			f.Fatal(err)
		}
		before := f.log.Len()
		began := time.Now()
		f.launch()
		err = f.settle()
		when := fmt.Sprintf("start with %d MiB free", free>>20)
		if err == nil {
			f.stop([]os.Signal{syscall.SIGINT, syscall.SIGTERM}[i%2], when)
		} else {
			said := f.log.String()[before:]
			f.Logf("%s: refused after %v: %s", when, time.Since(began).Round(time.Millisecond), said)
			if !strings.Contains(said, f.n.dir) || !strings.Contains(said, "bytes are free") || strings.Count(said, "\n") > 10 {
				f.Errorf("%s: the refusal does not name the folder and the free bytes in a few lines:\n%s", when, said)
			}
		}
		if free == 0 && err == nil {
			f.Error("a server starts on a disk without a free byte")
		}
		if free == 0 {
			f.export()
		}
		f.fill("rest", diskSize)
	}
}

// export checks that an export of the data folder contains every acknowledged message, while the
// disk has no free byte.
func (f *full) export() {
	f.Helper()
	cmd := exec.Command("timeout", "60", f.n.binary, "export", "-", "--data", f.n.dir)
	var said bytes.Buffer
	cmd.Env, cmd.Stderr = f.n.env, &said
	out, err := cmd.Output()
	if err != nil {
		f.Fatalf("export on a full disk: %v\n%s", err, said.Bytes())
	}
	exported := map[string]bool{}
	for _, found := range regexp.MustCompile(`"(\d+/\d+ )`).FindAllSubmatch(out, -1) {
		exported[string(found[1])] = true
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for content := range f.acked {
		if !exported[content] {
			f.Fatalf("the export lacks the acknowledged message %q", content)
		}
	}
}

// freeAndGoOn frees space on the disk, and waits until the server accepts the clients' messages
// again.
func (f *full) freeAndGoOn() {
	f.Helper()
	f.remove("second", "rest")
	f.start()
	f.await("after a start with free space", 500, 0)
	f.stop(syscall.SIGINT, "with free space, under load")
	f.start()
}

// judge checks that the store has every acknowledged message once, and that the servers logged
// little.
func (f *full) judge() {
	f.Helper()
	f.mu.Lock()
	acked := make(map[string]bool, len(f.acked))
	for content := range f.acked {
		acked[content] = true
	}
	f.mu.Unlock()
	found := map[string]int{}
	for _, thread := range f.threads {
		for link := "/chat/threads/" + thread + "/messages" + version + "&maxPageSize=200"; link != ""; {
			status, answer := f.c.ask(f.n, "GET", link, f.bearer, "", nil)
			var page struct {
				Value    []struct{ Content struct{ Message string } }
				NextLink string
			}
			if status != 200 || json.Unmarshal(answer, &page) != nil {
				f.Fatalf("list messages: %d %s", status, answer)
			}
			for _, m := range page.Value {
				if content, _, ok := strings.Cut(m.Content.Message, " "); ok {
					found[content+" "]++
				}
			}
			link = strings.TrimPrefix(page.NextLink, "https://"+f.n.listen)
		}
	}
	lost := 0
	for content := range acked {
		if found[content] != 1 {
			lost++
			f.Errorf("the acknowledged message %q is there %d times", content, found[content])
		}
	}
	f.stop(syscall.SIGTERM, "at the end")
	lines := len(f.lines())
	if lines >= 5*fewLines { // five times as many are allowed, because a slow machine causes more lines
		f.Errorf("%d log lines, want less than %d\n%s", lines, fewLines, f.tail())
	}
	for status, n := range f.others {
		if status != 0 { // status 0 means no response, because the server was stopped
			f.Errorf("%d sends were answered %d, want 201 or 503", n, status)
		}
	}
	f.Logf("%d messages acknowledged, %d lost; %d sends refused, %d log lines, other answers %v", len(acked), lost, f.refused, lines, f.others)
}
