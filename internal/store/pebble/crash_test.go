package pebble

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/confab-chat/confab/internal/bus/local"
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/store/storetest"
)

// The crash tests run 64 senders until the store is cut off, then open what
// is left and look for every acknowledgement.
const (
	crashSenders = 64
	crashThreads = 9
)

// rounds is how often a crash test crashes: few in `go test`, all in `make check`.
func rounds(t *testing.T, variable string, few int) int {
	t.Helper()
	v := os.Getenv(variable)
	if v == "" {
		return few
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 {
		t.Fatalf("%s=%q is not a number of rounds", variable, v)
	}
	return n
}

// ack is an acknowledged send: what its sender may rely on from then on.
type ack struct {
	thread  string
	content string // of its own: sender and count
	id      int64
}

// crashLoad sends from all senders until stop is closed or a send fails, and
// reports each acknowledgement. Every third send carries a token.
func crashLoad(s core.Store, round int, acked func(ack), stop <-chan struct{}) error {
	ctx := context.Background()
	service, err := core.New(ctx, s, new(local.Bus), core.Options{})
	if err != nil {
		return err
	}
	defer service.Close()
	user := "8:acs:" + storetest.Initial.ID + "_00000000-0000-0000-0000-000000000001"
	var threads []string
	for n := range crashThreads {
		t, _, err := service.CreateThread(ctx, user, core.CreateThread{Topic: "crash", Token: fmt.Sprintf("%d-%d", round, n)})
		if err != nil {
			return err
		}
		threads = append(threads, t.ID)
	}
	var wg sync.WaitGroup
	for sender := range crashSenders {
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				a := ack{thread: threads[(sender+n)%crashThreads], content: fmt.Sprintf("%d/%d/%d", round, sender, n)}
				cmd := core.SendMessage{Kind: core.Text, Content: a.content}
				if n%3 == 0 {
					cmd.Token = a.content
				}
				var err error
				if a.id, err = service.SendMessage(ctx, user, a.thread, cmd); err != nil {
					return
				}
				acked(a)
			}
		})
	}
	wg.Wait()
	return nil
}

// verifyCrash reads everything and holds the acknowledgements against it:
// each is there exactly once, in the order of its sender, without gaps; what
// was not acknowledged is there at most once.
func verifyCrash(t *testing.T, s core.Store, acks []ack) {
	t.Helper()
	ctx := context.Background()
	places := map[string]map[string]core.Message{}
	total := 0
	for _, a := range acks {
		if places[a.thread] != nil {
			continue
		}
		page, err := s.Messages(ctx, core.MessagesQuery{Thread: a.thread, Limit: 1 << 30})
		if err != nil {
			t.Fatalf("read %s: %v", a.thread, err)
		}
		found := map[string]core.Message{}
		lastID, lastSequence := int64(1<<62), uint64(len(page.Messages)+1)
		for _, m := range page.Messages {
			if m.Sequence != lastSequence-1 || m.ID >= lastID {
				t.Fatalf("%s: sequence %d, id %d follow %d, %d downwards", a.thread, m.Sequence, m.ID, lastSequence, lastID)
			}
			lastSequence, lastID = m.Sequence, m.ID
			if m.Kind != core.Text {
				continue
			}
			if _, twice := found[m.Content]; twice {
				t.Fatalf("%s: message %q is there twice", a.thread, m.Content)
			}
			found[m.Content] = m
			if byID, _, err := s.Message(ctx, a.thread, m.ID); err != nil || byID.Sequence != m.Sequence {
				t.Fatalf("%s: message %d by id: %+v, %v", a.thread, m.ID, byID, err)
			}
		}
		head, err := s.Thread(ctx, a.thread)
		if err != nil || head.LastSequence != uint64(len(page.Messages)) || head.LastEvent != uint64(len(found)+1) {
			t.Fatalf("%s: head %+v (%v) with %d messages", a.thread, head, err, len(page.Messages))
		}
		places[a.thread] = found
		total += len(found)
	}
	last := map[string]uint64{} // by sender and thread
	for _, a := range acks {
		m, ok := places[a.thread][a.content]
		if !ok || m.ID != a.id {
			t.Fatalf("%s: the acknowledged message %q with id %d is lost (found %+v)", a.thread, a.content, a.id, m)
		}
		sender := a.content[:strings.LastIndexByte(a.content, '/')] + a.thread
		if m.Sequence <= last[sender] {
			t.Fatalf("%s: message %q is out of its sender's order", a.thread, a.content)
		}
		last[sender] = m.Sequence
	}
	if unacked := total - len(acks); unacked < 0 || unacked > crashSenders {
		t.Fatalf("%d messages for %d acknowledgements: more than one unacknowledged for a sender", total, len(acks))
	}
}

// TestKill kills a child process under load, again and again on one folder.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	var kept []ack
	for round := range rounds(t, "TEST_KILL_ROUNDS", 3) {
		acks := killOne(t, dir, round)
		s, err := Open(dir, Options{})
		if err != nil {
			t.Fatalf("round %d: open after the kill: %v", round, err)
		}
		verifyCrash(t, s, acks)
		verifyLog(t, s)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		kept = append(kept, acks...)
	}
	s, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	t.Logf("%d acknowledged sends, all there", len(kept))
	for first := 0; first < len(kept); { // a round has threads of its own
		round, _, _ := strings.Cut(kept[first].content, "/")
		end := first
		for end < len(kept) && strings.HasPrefix(kept[end].content, round+"/") {
			end++
		}
		verifyCrash(t, s, kept[first:end])
		first = end
	}
}

// killOne starts the child, lets it work for a random while and kills it.
func killOne(t *testing.T, dir string, round int) (acks []ack) {
	t.Helper()
	child := exec.Command(os.Args[0], "-test.run=^$")
	child.Env = append(os.Environ(), "TEST_CRASH_CHILD="+dir, "TEST_CRASH_ROUND="+strconv.Itoa(round))
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	var timer *time.Timer
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) != 3 {
			continue // cut off in the middle: not acknowledged
		}
		id, err := strconv.ParseInt(f[2], 10, 64)
		if err != nil {
			continue
		}
		acks = append(acks, ack{thread: f[0], content: f[1], id: id})
		if timer == nil {
			timer = time.AfterFunc(time.Duration(rand.IntN(200))*time.Millisecond, func() { child.Process.Kill() })
		}
	}
	if err := child.Wait(); err == nil || err.Error() != "signal: killed" {
		t.Fatalf("round %d: the child ended with %v, not by our kill", round, err)
	}
	return acks
}

// crashChild is the other side of TestKill; TestMain starts it.
func crashChild(dir string) {
	s, err := Open(dir, Options{Initial: storetest.Initial})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
	round, _ := strconv.Atoi(os.Getenv("TEST_CRASH_ROUND"))
	err = crashLoad(s, round, func(a ack) {
		fmt.Fprintf(os.Stdout, "%s %s %d\n", a.thread, a.content, a.id)
	}, nil)
	fmt.Fprintln(os.Stderr, "the load ended by itself:", err)
	os.Exit(4)
}

// TestPowerCut takes copies of a crashable file system under load: what was
// synced, and a random part of what was not.
func TestPowerCut(t *testing.T) {
	acked := 0
	for round := range rounds(t, "TEST_POWERCUT_ROUNDS", 25) {
		acked += powerCut(t, round)
	}
	t.Logf("%d acknowledged sends, all there", acked)
}

func powerCut(t *testing.T, round int) int {
	t.Helper()
	fs := vfs.NewCrashableMem()
	s, err := Open("store", Options{FS: fs, Initial: storetest.Initial, CacheSize: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex // guards acks and cut: what is acknowledged after the copy proves nothing
	var acks []ack
	var clone *vfs.MemFS
	var n atomic.Int64
	random := rand.New(rand.NewPCG(uint64(round), 2))
	after := int64(1 + random.IntN(600))
	stop := make(chan struct{})
	err = crashLoad(s, round, func(a ack) {
		mu.Lock()
		defer mu.Unlock()
		if clone != nil {
			return
		}
		acks = append(acks, a)
		if n.Add(1) == after {
			clone = fs.CrashClone(vfs.CrashCloneCfg{
				UnsyncedDataPercent: []int{0, 50, 100}[round%3], RNG: rand.New(rand.NewPCG(uint64(round), 3)),
			})
			close(stop)
		}
	}, stop)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	left, err := Open("store", Options{FS: clone, CacheSize: 1 << 20})
	if err != nil {
		t.Fatalf("round %d: open after the power cut: %v", round, err)
	}
	defer left.Close()
	verifyCrash(t, left, acks)
	verifyLog(t, left)
	return len(acks)
}

// verifyLog reads the whole event log: positions rise, and every event of a
// message leads to it.
func verifyLog(t *testing.T, s core.Store) {
	t.Helper()
	var last uint64
	numbers := map[string]uint64{}
	for after := uint64(0); ; {
		page, err := s.Events(context.Background(), after, 5000)
		if err != nil {
			t.Fatalf("read the log after %d: %v", after, err)
		}
		for _, e := range page.Events {
			if e.Position <= last {
				t.Fatalf("position %d after %d", e.Position, last)
			}
			last = e.Position
			if numbers[e.Thread]++; e.Number != numbers[e.Thread] {
				t.Fatalf("%s: event %d in place of %d", e.Thread, e.Number, numbers[e.Thread])
			}
		}
		if len(page.Events) == 0 {
			return
		}
		after = page.Position
	}
}
