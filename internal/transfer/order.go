package transfer

import (
	"cmp"
	"errors"
	"strings"

	"github.com/confab-chat/confab/internal/core"
)

// The ranks of the kinds of records, in the order in which an export has them.
const (
	rankResource = iota + 1
	rankUser
	rankThread
	rankMember
	rankMessage
	rankSuperseded
	rankAnswer
	rankToken
	rankReceipt
	rankEvent
	rankAudit
)

// sortKey determines the position of a record in an export. Records are sorted by kind, then by the
// ids that identify the row, then by the row's number in the thread or in the store.
type sortKey struct {
	rank   int // rank of the record's kind; 0 in the zero sortKey
	ids    []string
	number uint64
	second uint64 // orders rows with equal first numbers
}

// isSet reports whether p is the key of a record. It returns false only for the zero sortKey.
func (p sortKey) isSet() bool { return p.rank > 0 }

// sortKeyOf returns the sort key of a record, or the zero sortKey for an unknown type.
func sortKeyOf(r core.Record) sortKey {
	switch r := r.(type) {
	case core.Resource:
		return sortKey{rank: rankResource, ids: []string{r.ID}}
	case core.User:
		return sortKey{rank: rankUser, ids: []string{r.ID}}
	case core.Head:
		return sortKey{rank: rankThread, ids: []string{r.ID}}
	case core.ThreadMember:
		return sortKey{rank: rankMember, ids: []string{r.Thread, r.User}}
	case core.ThreadMessage:
		return sortKey{rank: rankMessage, ids: []string{r.Thread}, number: r.Sequence}
	case core.ThreadSuperseded:
		return sortKey{rank: rankSuperseded, ids: []string{r.Thread}, number: uint64(r.ID), second: r.Sequence}
	case core.ThreadAnswer:
		return sortKey{rank: rankAnswer, ids: []string{r.Thread}}
	case core.SentToken:
		return sortKey{rank: rankToken, ids: []string{r.Thread, r.Caller, r.Token}}
	case core.ThreadReceipt:
		return sortKey{rank: rankReceipt, ids: []string{r.Thread, r.User}}
	case core.Event:
		return sortKey{rank: rankEvent, number: r.Position}
	case core.Audit:
		refused := "0"
		if r.Refused {
			refused = "1"
		}
		return sortKey{rank: rankAudit, ids: []string{refused}, number: uint64(r.At), second: r.Number}
	}
	return sortKey{}
}

// compare returns -1, 0 or +1 if p is before, equal to or after q. The keys of two resources are
// equal, because a store has only one resource.
func (p sortKey) compare(q sortKey) int {
	if c := cmp.Compare(p.rank, q.rank); c != 0 || p.rank == rankResource {
		return c
	}
	for i := range p.ids {
		if c := strings.Compare(p.ids[i], q.ids[i]); c != 0 {
			return c
		}
	}
	return cmp.Or(cmp.Compare(p.number, q.number), cmp.Compare(p.second, q.second))
}

// check fails if an id in the key is empty or contains a NUL character, because the
// keys of a store cannot contain such ids.
func (p sortKey) check() error {
	for _, id := range p.ids {
		if id == "" {
			return errors.New("an id is missing")
		}
		if strings.IndexByte(id, 0) >= 0 {
			return errors.New("an id holds a NUL character")
		}
	}
	return nil
}
