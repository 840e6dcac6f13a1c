package pebble

import (
	"bufio"
	"context"
	"errors"
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
	"github.com/confab-chat/confab/sdk/communication"
)

// The crash tests run 64 senders until the process is killed or the power is cut. Then they
// open the store again and verify that it has every acknowledged operation.
const (
	crashSenders = 64
	crashThreads = 9
)

// crashPolicies are the retention policies, in days, that a thread gets one after another; 0
// means none.
var crashPolicies = [...]int32{30, 90, 0}

// rounds returns the number of crashes in a crash test: the value of the environment variable
// if it is set, as in `make check`, or else few.
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

// ack is an operation that the store acknowledged before a crash, so its result must be there
// after the crash. A message is found by its content, without the number of edits at the end.
type ack struct {
	op      string // name of the operation: send, edit, delete, receipt, add, remove, keep, audit or end
	thread  string
	content string // identifies the operation: round/sender/count for send and audit, the user for add, remove and end, round/sender for keep
	id      int64  // of the message
	edits   int    // number of edits of the message or of the retention policy, including this one
}

func (a ack) String() string {
	return fmt.Sprintf("%s %s %s %d %d", a.op, a.thread, a.content, a.id, a.edits)
}

func parseAck(line string) (a ack, ok bool) {
	n, err := fmt.Sscanf(line, "%s %s %s %d %d", &a.op, &a.thread, &a.content, &a.id, &a.edits)
	return a, err == nil && n == 5
}

func (a ack) text() string { return fmt.Sprintf("%s#%d", a.content, a.edits) }

// crashLoad runs all senders until stop is closed or an operation fails. They send,
// edit and delete messages, send receipts, add and remove a guest, change retention policies, and
// write audit rows, some in the batch of a change. It calls acked for each operation that succeeds.
func crashLoad(s core.Store, round int, acked func(ack), stop <-chan struct{}) error {
	ctx := context.Background()
	service, err := core.New(ctx, s, new(local.Bus), core.Options{})
	if err != nil {
		return err
	}
	defer service.Close()
	// Each sender has a guest, a user that it adds to its thread and removes again.
	var users, guests []core.NewParticipant
	for range crashSenders {
		for _, list := range []*[]core.NewParticipant{&users, &guests} {
			u, err := service.CreateUser(ctx)
			if err != nil {
				return err
			}
			*list = append(*list, core.NewParticipant{User: communication.ParseRawID(u.ID)})
		}
	}
	var threads []string
	for n := range crashThreads {
		t, _, err := service.CreateThread(ctx, users[0].User.RawID(), core.CreateThread{Topic: "crash", Participants: users, RetentionDays: crashPolicies[0], Token: fmt.Sprintf("%d-%d", round, n)})
		if err != nil {
			return err
		}
		threads = append(threads, t.ID)
	}
	var wg sync.WaitGroup
	for i := range crashSenders {
		me := &crashSender{service: service, round: round, number: i, user: users[i].User.RawID(), guest: guests[i], threads: threads}
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				a, err := me.act(ctx, n)
				var refusal *core.Error
				if errors.As(err, &refusal) && refusal.Code == core.Unavailable {
					continue // the service was too busy and wrote nothing, so try the next operation
				}
				if err != nil {
					return
				}
				if a.op == "send" {
					me.last = a
				} else if a.op == "edit" {
					me.last.edits = a.edits
				}
				acked(a)
			}
		})
	}
	wg.Wait()
	return nil
}

// crashSender runs one operation after another, and changes only its own messages and its own
// guest. So after a crash at most one operation of each sender has an unknown outcome.
type crashSender struct {
	service *core.Service
	round   int
	number  int
	user    string
	guest   core.NewParticipant
	inside  bool // true if the sender's guest is in the thread
	threads []string
	last    ack // its newest message
	kept    int // number of times that the sender changed the retention policy of its home thread; only the first sender of each thread changes it
}

func (c *crashSender) act(ctx context.Context, n int) (ack, error) {
	home := c.threads[c.number%len(c.threads)] // the thread that the guest is added to
	a := c.last
	switch n % 8 {
	case 2:
		a = ack{op: "audit", thread: home, content: fmt.Sprintf("%d/%d/%d", c.round, c.number, n)}
		if n%16 == 2 {
			return a, c.service.Audit(ctx, core.Audit{Kind: core.AuditSocket, Operation: a.op, Target: a.content, Outcome: core.AuditDone})
		}
		a.op, a.content = "end", c.user
		return a, c.service.RevokeTokens(ctx, c.user, core.Audit{Kind: core.AuditSocket, Operation: a.op, Outcome: core.AuditDone})
	case 3:
		a.op, a.edits = "edit", a.edits+1
		text := a.text()
		return a, c.service.UpdateMessage(ctx, c.user, a.thread, a.id, core.UpdateMessage{Content: &text})
	case 4:
		a.op = "receipt"
		return a, c.service.SendReceipt(ctx, c.user, a.thread, a.id)
	case 5:
		a = ack{op: "add", thread: home, content: c.guest.User.RawID()}
		if c.inside {
			a.op = "remove"
		}
		c.inside = !c.inside
		if a.op == "add" {
			_, err := c.service.AddParticipants(ctx, c.user, home, []core.NewParticipant{c.guest})
			return a, err
		}
		return a, c.service.RemoveParticipant(ctx, c.user, home, c.guest.User)
	case 6:
		if c.number >= len(c.threads) {
			break
		}
		a = ack{op: "keep", thread: home, content: fmt.Sprintf("%d/%d", c.round, c.number), edits: c.kept + 1}
		days := crashPolicies[a.edits%len(crashPolicies)]
		err := c.service.UpdateThread(ctx, c.user, home, core.UpdateThread{Topic: &a.op, RetentionDays: &days})
		if err == nil {
			c.kept++
		}
		return a, err
	case 7:
		a.op = "delete"
		return a, c.service.DeleteMessage(ctx, c.user, a.thread, a.id)
	}
	a = ack{op: "send", thread: c.threads[(c.number+n)%len(c.threads)], content: fmt.Sprintf("%d/%d/%d", c.round, c.number, n)}
	cmd := core.SendMessage{Kind: core.Text, Content: a.text()}
	if n%3 == 0 {
		cmd.Token = a.content
	}
	var err error
	a.id, err = c.service.SendMessage(ctx, c.user, a.thread, cmd)
	return a, err
}

// kept is the state that one message or guest must have after all acknowledged operations.
type kept struct {
	ack
	deleted bool
}

// verifyCrash compares the store with the acknowledged operations. Each acknowledged message
// must exist once, in its last acknowledged state or with one more operation applied. Messages
// must be in order, without gaps. Each sender may have at most one operation in the store that
// was not acknowledged.
func verifyCrash(t *testing.T, s core.Store, acks []ack) {
	t.Helper()
	messages := map[string]kept{}
	guests := map[string]kept{}
	policies := map[string]ack{}   // by thread
	receipts := map[string]int64{} // message id of the last acknowledged receipt, by thread and sender
	sends := 0
	for _, a := range acks {
		switch a.op {
		case "send":
			messages[a.content] = kept{ack: a}
			sends++
		case "edit":
			k := messages[a.content]
			k.edits = a.edits
			messages[a.content] = k
		case "delete":
			k := messages[a.content]
			k.deleted = true
			messages[a.content] = k
		case "receipt":
			sender := a.content[:strings.LastIndexByte(a.content, '/')]
			receipts[a.thread+" "+sender] = max(receipts[a.thread+" "+sender], a.id)
		case "keep":
			policies[a.thread] = a
		case "audit", "end": // see verifyAudit
		default:
			guests[a.content] = kept{ack: a}
		}
	}
	threads := map[string]bool{}
	for _, a := range acks {
		threads[a.thread] = true
	}
	verifyAudit(t, s, acks)
	found := 0
	ahead := map[string]int{} // number of unacknowledged operations in the store, by sender
	senders := map[string]string{}
	for thread := range threads {
		found += verifyThread(t, s, thread, messages, ahead, senders)
		verifyHead(t, s, thread, guests, policies[thread], ahead)
	}
	for content, k := range messages {
		if k.id != 0 {
			t.Fatalf("%s: the acknowledged message %q with id %d is lost", k.thread, content, k.id)
		}
	}
	verifyReceipts(t, s, threads, receipts, senders)
	if unacked := found - sends; unacked < 0 || unacked > crashSenders {
		t.Fatalf("%d messages for %d acknowledged sends: want at most one unacknowledged per sender", found, sends)
	}
	for sender, n := range ahead {
		if n > 1 {
			t.Fatalf("%d unacknowledged operations of %s are in the store, want at most 1", n, sender)
		}
	}
}

// verifyThread verifies the messages of a thread against the map messages, from which it
// deletes each message that it finds. It returns the number of text messages in the thread.
func verifyThread(t *testing.T, s core.Store, thread string, messages map[string]kept, ahead map[string]int, senders map[string]string) (found int) {
	t.Helper()
	ctx := context.Background()
	page, err := s.Messages(ctx, core.MessagesQuery{Thread: thread, Limit: 1 << 30})
	if err != nil {
		t.Fatalf("read %s: %v", thread, err)
	}
	byID := map[int64]kept{}
	for _, k := range messages {
		if k.thread == thread {
			byID[k.id] = k
		}
	}
	seen := map[int64]bool{}
	texts := map[string]bool{}
	version, sequence := int64(1<<62), ^uint64(0)
	for _, m := range page.Messages {
		if m.Sequence >= sequence || m.Version >= version || seen[m.ID] {
			t.Fatalf("%s: sequence %d, version %d listed after %d, %d, want smaller ones; id %d", thread, m.Sequence, m.Version, sequence, version, m.ID)
		}
		version, sequence, seen[m.ID] = m.Version, m.Sequence, true
		if row := messageByID(t, s, thread, m.ID); row.Sequence != m.Sequence {
			t.Fatalf("%s: message %d by id: %+v", thread, m.ID, row)
		}
		if m.Kind != core.Text {
			continue
		}
		found++
		base, _, _ := strings.Cut(m.Content, "#")
		if base != "" && texts[base] {
			t.Fatalf("%s: message %q exists twice", thread, base)
		}
		texts[base] = true
		k, acked := byID[m.ID]
		if !acked {
			continue // counted by the caller
		}
		sender := k.content[:strings.LastIndexByte(k.content, '/')]
		senders[sender] = m.Sender
		next := k
		next.edits++
		switch {
		case k.deleted && m.DeletedOn != 0, !k.deleted && m.Content == k.text():
		case !k.deleted && (m.DeletedOn != 0 || m.Content == next.text()):
			ahead[sender]++
		default:
			t.Fatalf("%s: message %d is %q (deleted on %d), want %q, deleted: %v", thread, m.ID, m.Content, m.DeletedOn, k.text(), k.deleted)
		}
		delete(messages, k.content)
	}
	return found
}

// verifyHead verifies that the guests added to a thread are its members, and that its
// retention policy is the last acknowledged one or the next one.
func verifyHead(t *testing.T, s core.Store, thread string, guests map[string]kept, policy ack, ahead map[string]int) {
	t.Helper()
	head, err := s.Thread(context.Background(), thread)
	if err != nil || head == nil {
		t.Fatalf("load %s: %v", thread, err)
	}
	for guest, k := range guests {
		if m := head.Member(guest); k.thread == thread && k.op == "add" && m == nil {
			t.Fatalf("%s: the guest %s was added but is no member", thread, guest)
		}
	}
	switch n := len(crashPolicies); head.RetentionDays {
	case crashPolicies[policy.edits%n]:
	case crashPolicies[(policy.edits+1)%n]:
		if policy.op != "" { // the sender is known only if a change of the policy was acknowledged
			ahead[policy.content]++
		}
	default:
		t.Fatalf("%s: retention policy of %d days after %d acknowledged changes", thread, head.RetentionDays, policy.edits)
	}
}

// verifyAudit verifies that each acknowledged audit row is in the store once, and that each row
// that was written together with a change of a user is in the store if and only if the change is.
func verifyAudit(t *testing.T, s core.Store, acks []ack) {
	t.Helper()
	rows, ends := map[string]int{}, map[string]uint64{} // by target
	for q := (core.AuditQuery{Limit: 1000}); ; {
		page, err := s.AuditPage(context.Background(), q)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range page.Rows {
			if r.Operation == "end" {
				ends[r.Target]++
			} else if rows[r.Target]++; rows[r.Target] > 1 {
				t.Fatalf("the audit row of %s is there twice", r.Target)
			}
		}
		if q.Before = page.Next; q.Before == (core.AuditKey{}) {
			break
		}
	}
	acked := map[string]uint64{}
	for _, a := range acks {
		switch a.op {
		case "audit":
			if rows[a.content] != 1 {
				t.Fatalf("the acknowledged audit row of %s is lost", a.content)
			}
		case "end":
			acked[a.content]++
		}
	}
	for user, n := range acked {
		if ends[user] < n {
			t.Fatalf("%s: %d audit rows of %d acknowledged changes", user, ends[user], n)
		}
	}
	for user, n := range ends {
		us, err := s.Users(context.Background(), []string{user})
		if err != nil || len(us) != 1 || us[0].Generation != 1+n {
			t.Fatalf("%d audit rows of changes of a user: %+v, %v", n, us, err)
		}
	}
}

func verifyReceipts(t *testing.T, s core.Store, threads map[string]bool, acked map[string]int64, senders map[string]string) {
	t.Helper()
	for thread := range threads {
		page, err := s.Receipts(context.Background(), thread, "")
		if err != nil {
			t.Fatal(err)
		}
		have := map[string]int64{}
		for _, r := range page.Receipts {
			have[r.User] = r.MessageID
		}
		for key, id := range acked {
			of, sender, _ := strings.Cut(key, " ")
			if user := senders[sender]; of == thread && user != "" && have[user] < id {
				t.Fatalf("%s: the receipt of %s is at %d, want %d", thread, sender, have[user], id)
			}
		}
	}
}

// TestKill kills a child process under load, several times on one folder, and verifies the
// store after each kill. After some kills it writes garbage behind the end of the log before it
// opens the store.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	var byRound [][]ack
	total := 0
	for round := range rounds(t, "TEST_KILL_ROUNDS", 3) {
		acks := killOne(t, dir, round)
		litter(t, vfs.Default, dir, round)
		s, err := Open(dir, Options{})
		if err != nil {
			t.Fatalf("round %d: open after the kill: %v", round, err)
		}
		verifyCrash(t, s, acks)
		verifyLog(t, s)
		if _, err := s.Check(t.Context()); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		byRound, total = append(byRound, acks), total+len(acks)
	}
	s, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, acks := range byRound {
		verifyCrash(t, s, acks)
	}
	t.Logf("%d acknowledged operations, all there", total)
}

// killOne starts a child process, kills it after a random time, and returns the
// operations that the child acknowledged.
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
		a, ok := parseAck(lines.Text())
		if !ok {
			continue // skip an incomplete last line: the child had not acknowledged its operation
		}
		acks = append(acks, a)
		if timer == nil {
			timer = time.AfterFunc(time.Duration(rand.IntN(200))*time.Millisecond, func() { child.Process.Kill() })
		}
	}
	if err := child.Wait(); err == nil || err.Error() != "signal: killed" {
		t.Fatalf("round %d: the child ended with %v, want signal: killed", round, err)
	}
	return acks
}

// crashChild is the main function of TestKill's child process; TestMain calls it. It
// prints each acknowledged operation.
func crashChild(dir string) {
	s, err := Open(dir, Options{Initial: storetest.Initial})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
	round, _ := strconv.Atoi(os.Getenv("TEST_CRASH_ROUND"))
	err = crashLoad(s, round, func(a ack) {
		fmt.Fprintln(os.Stdout, a)
	}, nil)
	fmt.Fprintln(os.Stderr, "the load ended by itself:", err)
	os.Exit(4)
}

// TestPowerCut copies a file system in memory under load. A copy has all synced data and a
// random part of the data that is not synced, as a disk has after a power cut. The test opens
// and verifies the store in each copy.
func TestPowerCut(t *testing.T) {
	acked := 0
	for round := range rounds(t, "TEST_POWERCUT_ROUNDS", 25) {
		acked += powerCut(t, round)
	}
	t.Logf("%d acknowledged operations, all there", acked)
}

func powerCut(t *testing.T, round int) int {
	t.Helper()
	fs := vfs.NewCrashableMem()
	s, err := Open("store", Options{FS: fs, Initial: storetest.Initial, CacheSize: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex // guards acks and cut; the copy may lack operations that were acknowledged after it was made
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
	litter(t, clone, "store", round)
	left, err := Open("store", Options{FS: clone, CacheSize: 1 << 20})
	if err != nil {
		t.Fatalf("round %d: open after the power cut: %v", round, err)
	}
	defer left.Close()
	verifyCrash(t, left, acks)
	verifyLog(t, left)
	if _, err := left.Check(t.Context()); err != nil {
		t.Fatalf("round %d: %v", round, err)
	}
	return len(acks)
}

// litter writes 70 KB of garbage or zeros behind the last record of the newest log, in
// every tenth round.
func litter(t *testing.T, fs vfs.FS, dir string, round int) {
	t.Helper()
	if round%10 != 1 {
		return
	}
	names, err := fs.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	newest, name := uint64(0), ""
	for _, n := range names {
		if number, ok := fileNumber(n, "", logSuffix); ok && number >= newest {
			newest, name = number, fs.PathJoin(dir, n)
		}
	}
	f, err := fs.OpenReadWrite(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	chunks := newChunkReader(f, newest)
	for err == nil {
		_, err = chunks.next()
	}
	b := make([]byte, 70<<10)
	if round%20 == 1 {
		random := rand.New(rand.NewPCG(uint64(round), 4))
		for i := range b {
			b[i] = byte(random.Uint32())
		}
	}
	if _, err := f.WriteAt(b, chunks.offset()); err != nil {
		t.Fatal(err)
	}
}

// verifyLog reads the whole event log. Positions must rise, the numbers of each thread
// must have no gaps, and each head's last sequence must agree with the events.
func verifyLog(t *testing.T, s core.Store) {
	t.Helper()
	var last uint64
	numbers, moves := map[string]uint64{}, map[string]uint64{}
	log, err := storetest.Events(context.Background(), s)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range log {
		if e.Position <= last {
			t.Fatalf("position %d after %d", e.Position, last)
		}
		last = e.Position
		if e.Kind.OfUser() {
			continue
		}
		switch e.Kind {
		case core.ThreadCreated:
			moves[e.Thread] += 2 // its two system messages
		case core.ReceiptReceived:
		default:
			moves[e.Thread]++
		}
		if numbers[e.Thread]++; e.Number != numbers[e.Thread] {
			t.Fatalf("%s: event %d instead of %d", e.Thread, e.Number, numbers[e.Thread])
		}
	}
	for thread, n := range moves {
		head, err := s.Thread(context.Background(), thread)
		if err != nil || head.LastSequence != n || head.LastEvent != numbers[thread] {
			t.Fatalf("%s: head %+v (%v); the log has %d events that took %d sequences", thread, head, err, numbers[thread], n)
		}
	}
}
