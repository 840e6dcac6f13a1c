package core

import (
	"context"
	"errors"
)

// Record is one row on its way from one store to another, the same for every
// engine: Resource, User, Head, ThreadMember, ThreadMessage, ThreadAnswer,
// SentToken, ThreadReceipt or Event.
//
// They come in this order. Within a kind they ascend, ids compared by their
// bytes: users and heads by id, what belongs to a thread by the thread and then
// by user, by sequence, or by caller and token. Events come in the order of
// their positions, which count from 1 here whatever they are in the store: they
// are an engine's own, and a store that takes the records in has another epoch.
// What can be derived is not there: the users' lists of threads, the way from a
// message's id to its row, the users in deletion.
type Record interface{ record() }

// What belongs to a thread.
type (
	ThreadMember struct {
		Thread string
		Member
	}
	ThreadMessage struct {
		Thread string
		Message
	}
	ThreadAnswer struct {
		Thread string
		CreateAnswer
	}
	ThreadReceipt struct {
		Thread string
		Receipt
	}
	// SentToken is the message that a send with a token made.
	SentToken struct {
		SendKey
		MessageID int64
	}
)

func (Resource) record()      {}
func (User) record()          {}
func (Head) record()          {}
func (ThreadMember) record()  {}
func (ThreadMessage) record() {}
func (ThreadAnswer) record()  {}
func (SentToken) record()     {}
func (ThreadReceipt) record() {}
func (Event) record()         {}

// Exporter is a store that can tell all it holds.
type Exporter interface {
	// Export yields every record of one moment, whatever is written meanwhile,
	// and nothing that is not durable. It needs the same memory however much
	// there is. LastPosition of a head is the new position of its last event, 0
	// if the log has lost it. An error of yield ends it and is returned.
	Export(ctx context.Context, yield func(Record) error) error
}

// Importer is a store that can take in what another has told.
type Importer interface {
	// Import takes records until next returns io.EOF, in the order that Record
	// names, and returns when they are durable. Ids, times, sequences and
	// numbers stay as they are; of the resource it takes the id and the keys
	// that are there, and keeps its own epoch.
	//
	// It needs an empty store, which nobody else uses meanwhile: any other is
	// ErrNotEmpty. After an error the store is empty as before. Where the
	// process ends on the way, whoever opens the store next gets ErrUnfinished.
	Import(ctx context.Context, next func() (Record, error)) error
}

// Checker is a store that can say whether it is whole.
type Checker interface {
	// Check reads every row and holds what belongs together against each other:
	// every row has its thread, and every thread the messages that it counts.
	Check(ctx context.Context) (Counts, error)
}

// Refusals to do with moving a store.
var (
	// ErrNotEmpty means that the store holds something already.
	ErrNotEmpty = errors.New("not empty")
	// ErrUnfinished means that an import or a restore was broken off in the
	// store: it does not hold all that it should.
	ErrUnfinished = errors.New("unfinished")
)

// Counts are how many rows of each kind there are.
type Counts struct {
	Users    uint64 `json:"users"`
	Threads  uint64 `json:"threads"`
	Members  uint64 `json:"members"`
	Messages uint64 `json:"messages"`
	Answers  uint64 `json:"answers"`
	Tokens   uint64 `json:"tokens"`
	Receipts uint64 `json:"receipts"`
	Events   uint64 `json:"events"`
}

// Add counts a record.
func (c *Counts) Add(r Record) {
	switch r.(type) {
	case User:
		c.Users++
	case Head:
		c.Threads++
	case ThreadMember:
		c.Members++
	case ThreadMessage:
		c.Messages++
	case ThreadAnswer:
		c.Answers++
	case SentToken:
		c.Tokens++
	case ThreadReceipt:
		c.Receipts++
	case Event:
		c.Events++
	}
}

// Rows is the sum.
func (c Counts) Rows() uint64 {
	return c.Users + c.Threads + c.Members + c.Messages + c.Answers + c.Tokens + c.Receipts + c.Events
}
