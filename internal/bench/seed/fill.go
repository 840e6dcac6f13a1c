package seed

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/confab-chat/confab/internal/bench/load"
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/token"
)

const (
	perBatch = 256 // changes in a batch
	// number of threads of the user World.Few, and of threads of World.Many with their last message
	// in the same minute
	few      = 10
	large    = 2 // threads of World.Large
	guests   = 50
	senders  = 64 // maximum number of members of a thread who get an access token
	perMilli = 20 // number of messages that have the same millisecond as their time
	textSize = 128
	keptIDs  = 50_000 // approximate total number of message ids that the fields Thread.Some hold
)

// Rooms returns the number of threads of two members in a store with the given number of messages.
// In a store of 10,000 messages each of these threads has about 190, enough for a page from its
// middle.
func Rooms(messages int) int { return min(max(messages/2000, 50), 1000) }

// world writes users, threads and the lists of threads, and sets f.made.
func (f *filler) world() error {
	const hour = 60 * core.MillisPerMinute
	// The last messages have a time in the present minute or the one before. The messages of
	// size.Logged begin two seconds after the begin of a minute. They move no thread in lists of
	// threads, because only the first message of a minute to a thread does that.
	const after = 2000
	logged := int64(f.size.Logged) / perMilli
	minute := core.MinuteOf(time.Now().UnixMilli()-logged-after) * core.MillisPerMinute
	begin := minute + after - int64(f.size.Messages)/perMilli
	minutes := int64(f.size.Threads/few + 1)
	f.at = begin - 3*hour - minutes*core.MillisPerMinute

	rooms := Rooms(f.size.Messages)
	users, err := f.users(2*rooms + 2 + 3 + guests + f.size.Members)
	if err != nil {
		return err
	}
	take := func(n int) (some []string) { some, users = users[:n], users[n:]; return some }
	listers := take(3)
	f.made.Guests = take(guests)
	for i, bearer := range []*string{&f.made.Few, &f.made.Many, &f.made.Crowd} {
		if *bearer, err = f.bearer(listers[i]); err != nil {
			return err
		}
	}
	if err := f.lists(listers[0], few, few); err != nil {
		return err
	}
	if err := f.lists(listers[1], f.size.Threads, few); err != nil {
		return err
	}
	f.at = begin - 3*hour
	if err := f.lists(listers[2], f.size.Threads, f.size.Threads); err != nil {
		return err
	}
	f.at = begin - 2*hour
	if f.made.Pair, err = f.thread(take(2)); err != nil {
		return err
	}
	pairs := take(2 * rooms)
	if f.made.Open, err = f.thread(users[:max(2, len(users)-guests)]); err != nil {
		return err
	}
	for range f.size.Still {
		t, err := f.thread(users)
		if err != nil {
			return err
		}
		f.made.Still = append(f.made.Still, t)
	}
	f.at = begin
	for i := range rooms {
		t, err := f.thread(pairs[2*i : 2*i+2])
		if err != nil {
			return err
		}
		f.made.Rooms = append(f.made.Rooms, t)
		f.receives(t, pairs[2*i:2*i+2])
	}
	for range large {
		t, err := f.thread(users)
		if err != nil {
			return err
		}
		f.made.Large = append(f.made.Large, t)
		f.receives(t, users)
	}
	return nil
}

// receives registers the thread t, with the members users, as one to which messages are sent.
func (f *filler) receives(t Thread, users []string) {
	f.sent = append(f.sent, &t)
	roster := core.NewRoster(members(users))
	f.members = append(f.members, roster.Participants())
}

// users writes n users and returns their ids.
func (f *filler) users(n int) (ids []string, err error) {
	var batch []*core.Change
	for i := range n {
		a, b := f.random.Uint64(), f.random.Uint64()
		id := f.initial.UserID(fmt.Sprintf("%08x-%04x-4%03x-8%03x-%012x", uint32(a), uint16(a>>32), a>>52, b>>52, b&(1<<48-1)))
		ids = append(ids, id)
		batch = append(batch, &core.Change{Key: id, PutUsers: []core.User{{ID: id, State: core.UserLive}}})
		if len(batch) == perBatch || i == n-1 {
			if _, err := f.apply(batch); err != nil {
				return nil, err
			}
			batch = batch[:0]
		}
	}
	return ids, nil
}

// bearer returns an access token of a user, valid for a day.
func (f *filler) bearer(user string) (string, error) {
	text, _, err := f.issuer.Issue(core.User{ID: user}, token.Chat, 24*time.Hour, f.issuer.Held()[0])
	return text, err
}

// lists writes n threads whose only member is the user. The parameter minute is the number of
// threads that are created in the same minute.
func (f *filler) lists(user string, n, minute int) error {
	alone := []string{user}
	for made := 0; made < n; {
		for left := min(minute, n-made); left > 0; {
			var batch []*core.Change
			for range min(left, perBatch) {
				batch = append(batch, f.create(alone))
			}
			if _, err := f.apply(batch); err != nil {
				return err
			}
			made, left = made+len(batch), left-len(batch)
		}
		f.at += core.MillisPerMinute
	}
	return nil
}

// thread writes a thread with the given users, and returns it with access tokens of its first
// members.
func (f *filler) thread(users []string) (t Thread, err error) {
	c := f.create(users)
	if _, err := f.apply([]*core.Change{c}); err != nil {
		return t, err
	}
	t.ID = c.Thread
	for _, u := range users[:min(senders, len(users))] {
		bearer, err := f.bearer(u)
		if err != nil {
			return t, err
		}
		t.Bearers = append(t.Bearers, bearer)
	}
	return t, nil
}

// create returns the change that creates a thread with the given users.
func (f *filler) create(users []string) *core.Change {
	id := fmt.Sprintf("19:%016x%016x@thread.v2", f.random.Uint64(), f.random.Uint64())
	const topic = "the topic of a thread"
	return &core.Change{
		Key: id, Thread: id, Properties: &core.Properties{Topic: topic, CreatedBy: users[0]},
		Members: members(users),
		Messages: []core.Message{
			{Kind: core.ParticipantAdded, Initiator: users[0], Participants: []core.MessageParticipant{{User: users[0]}}},
			{Kind: core.TopicUpdated, Initiator: users[0], Content: topic},
		},
		Events: []core.Event{{Kind: core.ThreadCreated, Actor: users[0]}},
	}
}

func members(users []string) []core.Member {
	ms := make([]core.Member, len(users))
	for i, u := range users {
		ms[i] = core.Member{User: u, Order: uint32(i + 1), Intervals: []core.Interval{{}}}
	}
	return ms
}

// messages sends n messages to random threads of f.sent.
func (f *filler) messages(n int) error {
	every := f.size.Messages/keptIDs + 1
	changes, batch, to := make([]core.Change, perBatch), make([]*core.Change, perBatch), make([]int, perBatch)
	for left := n; left > 0; left -= len(batch) {
		batch = batch[:min(left, perBatch)]
		for i := range batch {
			to[i] = f.random.IntN(len(f.sent))
			changes[i] = f.send(f.sent[to[i]].ID, f.members[to[i]])
			batch[i] = &changes[i]
		}
		outcomes, err := f.apply(batch)
		if err != nil {
			return err
		}
		for i, o := range outcomes {
			t := f.sent[to[i]]
			t.Sent, t.LastID = t.Sent+1, o.Change.Messages[0].ID
			if f.written%every == 0 {
				t.Some = append(t.Some, t.LastID)
			}
			if f.written++; f.written%perMilli == 0 {
				f.at++
			}
		}
	}
	return nil
}

// send returns the change by which a random member of a thread sends a message of ordinary words.
func (f *filler) send(thread string, roster []*core.Member) core.Change {
	sender := roster[f.random.IntN(min(senders, len(roster)))].User
	m := core.Message{Kind: core.Text, Sender: sender, SenderDisplayName: "Ada Lovelace", Content: load.Text(f.random, textSize)}
	binary.BigEndian.PutUint64(m.Fingerprint[:], f.random.Uint64())
	binary.BigEndian.PutUint64(m.Fingerprint[8:], f.random.Uint64())
	return core.Change{
		Key: thread, Thread: thread, Revision: 1, Caller: sender, Roster: roster,
		Messages: []core.Message{m}, Events: []core.Event{{Kind: core.MessageReceived, Actor: sender}},
	}
}
