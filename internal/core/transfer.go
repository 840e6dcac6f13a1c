package core

import (
	"context"
	"errors"
)

// Record is one row of an export: a Resource, User, Head, ThreadMember, ThreadMessage,
// ThreadSuperseded, ThreadAnswer, SentToken, ThreadReceipt, Event or Audit. All engines use the
// same records.
//
// The kinds of records come in this order. Within a kind, records ascend by key, with ids compared
// byte by byte. The key of users and heads is the id. The key of a row of a thread begins with the
// thread's id and continues with the user, the sequence, the message id and sequence, or the caller
// and token. The key of an event is its position. The key of an audit row is Refused, time and
// number. Positions in an export are 1, 2, 3 and so on, because the positions of a store are only
// valid in its epoch. Rows that an engine can derive from other rows are left out: the users' lists
// of threads, the indexes of messages, and the list of users in deletion.
type Record interface{ record() }

// The rows of a thread, each with the id of its thread.
type (
	ThreadMember struct {
		Thread string
		Member
	}
	ThreadMessage struct {
		Thread string
		Message
	}
	ThreadSuperseded struct {
		Thread string
		Superseded
	}
	ThreadAnswer struct {
		Thread string
		CreateAnswer
	}
	ThreadReceipt struct {
		Thread string
		Receipt
	}
	// SentToken maps the idempotency token of a send to the id of the sent message.
	SentToken struct {
		SendKey
		MessageID int64
	}
)

func (Resource) record()         {}
func (User) record()             {}
func (Head) record()             {}
func (ThreadMember) record()     {}
func (ThreadMessage) record()    {}
func (ThreadSuperseded) record() {}
func (ThreadAnswer) record()     {}
func (SentToken) record()        {}
func (ThreadReceipt) record()    {}
func (Event) record()            {}
func (Audit) record()            {}

// Exporter is a store that can export its rows.
type Exporter interface {
	// Export calls yield with every durable record, all as of one moment, even if
	// the store is written to meanwhile. Its memory does not grow with the number
	// of rows. A head's LastPosition is the position of its last event in the
	// export, or 0 if that event was deleted from the log. Export stops at the
	// first error of yield and returns it.
	Export(ctx context.Context, yield func(Record) error) error
}

// Importer is a store that can import the records of an export.
type Importer interface {
	// Import writes the records that next returns until io.EOF, which must be in the order that
	// Record describes, and returns when they are durable. Ids, times, sequences and numbers stay
	// the same. Import also sets the id of the store's resource, and those access keys that the
	// records contain. The store keeps its own epoch.
	//
	// If the store is not empty, Import returns ErrNotEmpty. The store must not be used during the
	// import. After an error the store is empty again. If the process ends before Import returns,
	// the store is either still empty or cannot be opened: opening it then returns ErrUnfinished.
	Import(ctx context.Context, next func() (Record, error)) error
}

// Checker is a store that can verify its rows.
type Checker interface {
	// Check reads every row and returns the number of rows of each kind. It fails
	// if rows contradict each other: a row without its thread, or a thread without
	// the messages that its counters require.
	Check(ctx context.Context) (Counts, error)
}

// Errors of an import, of a restore, or of opening a store afterwards.
var (
	// ErrNotEmpty means that the store already has rows.
	ErrNotEmpty = errors.New("not empty")
	// ErrUnfinished means that an import or a restore into the store was
	// interrupted, so that rows are missing.
	ErrUnfinished = errors.New("unfinished")
)

// Counts has the number of rows of each kind.
type Counts struct {
	Users    uint64 `json:"users"`
	Threads  uint64 `json:"threads"`
	Members  uint64 `json:"members"`
	Messages uint64 `json:"messages"`
	Answers  uint64 `json:"answers"`
	Tokens   uint64 `json:"tokens"`
	Receipts uint64 `json:"receipts"`
	Events   uint64 `json:"events"`
	// Superseded is left out of the JSON if it is 0, as in exports of formats before 4.
	Superseded uint64 `json:"superseded,omitempty"`
	// Audit is the number of audit rows. It is left out of the JSON if it is 0, as in exports of
	// formats before 6.
	Audit uint64 `json:"audit,omitempty"`
}

// Add increments the count of the record's kind.
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
	case ThreadSuperseded:
		c.Superseded++
	case ThreadAnswer:
		c.Answers++
	case SentToken:
		c.Tokens++
	case ThreadReceipt:
		c.Receipts++
	case Event:
		c.Events++
	case Audit:
		c.Audit++
	}
}

// Rows returns the sum of all counts.
func (c Counts) Rows() uint64 {
	return c.Users + c.Threads + c.Members + c.Messages + c.Superseded + c.Answers + c.Tokens + c.Receipts + c.Events + c.Audit
}
