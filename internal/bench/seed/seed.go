// Package seed writes embedded stores of a given size for measurements. It writes users, threads
// and messages through Store.Apply, in the form in which a server would have stored them.
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

// Size says what a store gets.
type Size struct {
	Messages int // in World.Rooms and World.Large together, in random order
	Members  int // of each thread of World.Large and World.Still
	Threads  int // of the users World.Many and World.Crowd
	Still    int // threads of World.Still
	Logged   int // messages that only the log of a killed store has
}

// World is what a store has, with bearers of users who may send requests.
type World struct {
	Rooms []Thread // of two members
	Large []Thread // of Size.Members members
	// Still are threads of the members of Large. Their last message is more than an hour old, so
	// the next one moves them in the lists of all members.
	Still []Thread
	// Open is a thread that has space for Guests below the limit of participants. Pair is a thread
	// of two. No message is sent to them.
	Open, Pair Thread
	Guests     []string // ids of users who are in no thread
	Few        string   // bearer of a user in ten threads
	Many       string   // bearer of a user in Size.Threads threads, ten of which have their last message in the same minute
	Crowd      string   // bearer of a user in Size.Threads threads, all with their last message in the same minute
}

// Thread is a thread of a World.
type Thread struct {
	load.Thread
	Sent   int     // number of messages in it
	Some   []int64 // ids of some of them, the oldest first
	LastID int64   // id of the newest one, or 0
}

// Result is what Write has written.
type Result struct {
	World   World
	Kept    float64 // bytes of tables for each message, without what the store had before the messages
	Written float64 // bytes written to files for each message: by the log, by flushes and by compactions
}

// Write creates a store in dir and closes it cleanly. If killed is not empty, it writes there a copy
// of the store as a kill would leave it, with size.Logged more messages of which no table has any. The
// store in dir has these messages too.
func Write(ctx context.Context, dir, killed string, size Size) (r Result, err error) {
	f := &filler{ctx: ctx, dir: dir, size: size, random: mathrand.New(mathrand.NewPCG(7, uint64(size.Messages)))}
	if err := f.resource(); err != nil {
		return r, err
	}
	// The store is closed after each part, because that flushes what a table does not have yet.
	err = f.opened(func() error {
		if err := f.world(); err != nil {
			return err
		}
		return f.store.Compact(ctx) // so that no later compaction makes these rows smaller
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

// Copy copies a folder whose files no process writes. Tables of a store are linked if the file system
// can do that, because they never change. Locks, sockets and the file that says which process serves
// the folder are left out.
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
	return errors.Join(err, out.Sync(), out.Close()) // a server on the copy must not wait for it
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
	at      int64     // time of the next batch, in epoch milliseconds
	sent    []*Thread // that get messages: those of Rooms, then those of Large
	members [][]core.Member
	written int // messages
}

// resource sets the identity of the store, with new access keys.
func (f *filler) resource() (err error) {
	f.initial = core.Resource{ID: "11111111-2222-4333-8444-555555555555", Epoch: "bench"}
	for i := range f.initial.Keys {
		f.initial.Keys[i] = core.AccessKeyRow{Serial: 1, Secret: make([]byte, 64)}
		rand.Read(f.initial.Keys[i].Secret) // never fails
	}
	f.issuer, err = token.New(f.initial, nil, nil)
	return err
}

// opened opens the store, calls do and closes the store.
func (f *filler) opened(do func() error) (err error) {
	if f.store, err = pebble.Open(f.dir, pebble.Options{Initial: f.initial}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.store.Close()) }()
	return do()
}

// settle waits until the store has no flush and no compaction in progress, three times in a row,
// because Pebble begins the next one a moment after the end of the last.
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

// apply writes one batch at f.at.
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
