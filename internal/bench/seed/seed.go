// Package seed writes embedded stores of a given size for measurements. It writes users, threads
// and messages with Store.Apply, in the same form as a server.
package seed

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/confab-chat/confab/internal/bench/load"
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/store/pebble"
	"github.com/confab-chat/confab/internal/token"
)

// Size says how many messages, threads and members a store gets.
type Size struct {
	Messages int // number of messages in World.Rooms and World.Large together, in random order
	Members  int // number of members of each thread of World.Large and World.Still
	Threads  int // number of threads of the user World.Many and of the user World.Crowd
	Still    int // threads of World.Still
	Logged   int // number of messages that a killed store has only in its log
}

// World describes the threads of a store, with access tokens of users who may send requests.
type World struct {
	Rooms []Thread // of two members
	Large []Thread // of Size.Members members
	// Still has threads with the members of Large. Their last message is more than an hour old, so
	// the next message moves the thread in the lists of all members.
	Still []Thread
	// Open is a thread in which the Guests can become members before it has the maximum number of
	// participants. Pair is a thread of two members. No messages are sent to these two threads.
	Open, Pair Thread
	Guests     []string // ids of users who are in no thread
	Few        string   // access token of a user who is in ten threads
	// access token of a user in Size.Threads threads, ten of which have their last message in the
	// same minute
	Many string
	// access token of a user in Size.Threads threads, all with their last message in the same
	// minute
	Crowd string
}

// Thread is a thread of a World.
type Thread struct {
	load.Thread
	Sent   int     // number of messages in it
	Some   []int64 // ids of some messages of the thread, the oldest first
	LastID int64   // id of the newest message of the thread, or 0 without messages
}

// Result describes the store that Write has written.
type Result struct {
	World   World
	Kept    float64 // bytes of the store's tables for each message, without the bytes from before the messages
	Written float64 // bytes written to files for each message: by the log, by flushes and by compactions
}

// Write creates a store in the folder dir and closes it cleanly. If killed is not empty, Write also
// writes size.Logged more messages and copies the store to the folder killed before it closes the
// store. The copy is like the store of a killed server: these messages are in its log and not yet
// in a table.
func Write(ctx context.Context, dir, killed string, size Size) (r Result, err error) {
	f := &filler{ctx: ctx, dir: dir, size: size, random: mathrand.New(mathrand.NewPCG(7, uint64(size.Messages)))}
	if err := f.resource(); err != nil {
		return r, err
	}
	// The store is closed after each part, because closing it flushes all rows to tables.
	err = f.opened(func() error {
		if err := f.world(); err != nil {
			return err
		}
		return f.store.Compact(ctx) // compact now, so that no later compaction makes these rows smaller
	})
	if err != nil {
		return r, fmt.Errorf("write users and threads: %w", err)
	}
	var before uint64
	err = f.opened(func() error {
		before = f.store.Stats().Tables
		if err := f.messages(size.Messages); err != nil {
			return err
		}
		err := f.settle()
		r.Written = float64(f.store.Stats().Written) / float64(size.Messages)
		return err
	})
	if err != nil {
		return r, fmt.Errorf("write %d messages: %w", size.Messages, err)
	}
	err = f.opened(func() error {
		if err := f.settle(); err != nil {
			return err
		}
		r.Kept = (float64(f.store.Stats().Tables) - float64(before)) / float64(size.Messages)
		if killed == "" {
			return nil
		}
		if err := f.messages(size.Logged); err != nil {
			return err
		}
		if err := f.settle(); err != nil {
			return err
		}
		return Copy(dir, killed)
	})
	if err != nil {
		return r, fmt.Errorf("write the messages of a killed store: %w", err)
	}
	r.World = f.made
	for i, all := range f.sent[:len(r.World.Rooms)] {
		r.World.Rooms[i] = *all
	}
	for i, all := range f.sent[len(r.World.Rooms):] {
		r.World.Large[i] = *all
	}
	return r, nil
}

// Copy copies a folder whose files no process writes. It makes hard links to the tables of a store,
// which never change, if the file system can do that. Locks, sockets and the file that says which
// process serves the folder are not copied.
func Copy(from, to string) error {
	return filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		switch {
		case e.IsDir():
			return os.MkdirAll(target, 0o700)
		case !e.Type().IsRegular() || e.Name() == "LOCK" || e.Name() == "server.json":
			return nil
		case filepath.Ext(path) == ".sst" || filepath.Ext(path) == ".blob":
			if os.Link(path, target) == nil {
				return nil
			}
		}
		return copyFile(path, target)
	})
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, info.Mode().Perm())
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	// sync the copy now, so that a server that uses it does not have to wait for that
	return errors.Join(err, out.Sync(), out.Close())
}

// filler writes one store.
type filler struct {
	ctx    context.Context
	dir    string
	size   Size
	random *mathrand.Rand
	made   World

	initial core.Resource
	issuer  *token.Authority
	store   *pebble.Store
	at      int64 // the time of the next batch, in epoch milliseconds
	// the threads to which messages are sent: first the threads in World.Rooms, then the threads in
	// World.Large
	sent    []*Thread
	members [][]*core.Member
	written int // messages
}

// resource sets the identity of the store, which includes new access keys.
func (f *filler) resource() (err error) {
	f.initial = core.Resource{ID: "11111111-2222-4333-8444-555555555555", Epoch: "bench"}
	for i := range f.initial.Keys {
		f.initial.Keys[i] = core.AccessKeyRow{Serial: 1, Secret: make([]byte, 64)}
		rand.Read(f.initial.Keys[i].Secret) // never fails
	}
	f.issuer, err = token.New(f.initial, nil, nil)
	return err
}

// opened opens the store, calls the function do and closes the store.
func (f *filler) opened(do func() error) (err error) {
	if f.store, err = pebble.Open(f.dir, pebble.Options{Initial: f.initial}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.store.Close()) }()
	return do()
}

// settle waits until the store has no flush and no compaction in progress at three checks in a row,
// because Pebble may begin the next one a moment after the last has ended.
func (f *filler) settle() error {
	for idle := 0; idle < 3; {
		if idle++; f.store.Stats().Working > 0 {
			idle = 0
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-f.ctx.Done():
			return f.ctx.Err()
		}
	}
	return nil
}

// apply writes one batch of changes with the time f.at. It fails if a change is not applied.
func (f *filler) apply(changes []*core.Change) ([]core.Outcome, error) {
	if err := f.ctx.Err(); err != nil {
		return nil, err
	}
	outcomes, err := f.store.Apply(f.ctx, core.Batch{At: f.at, Check: f.random.Uint32(), Changes: changes})
	for _, o := range outcomes {
		if err == nil && o.Status != core.Applied {
			err = fmt.Errorf("a change has the status %d", o.Status)
		}
	}
	return outcomes, err
}
