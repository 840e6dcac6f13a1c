package transfer

import (
	"cmp"
	"errors"
	"strings"

	"github.com/confab-chat/confab/internal/core"
)

// The kinds of rows in their order.
const (
	rankResource = iota + 1
	rankUser
	rankThread
	rankMember
	rankMessage
	rankAnswer
	rankToken
	rankReceipt
	rankEvent
)

// sortKey is the sort key of a record. Its ids are those in the key of its row.
type sortKey struct {
	rank   int
	ids    []string
	number uint64
}

func (p sortKey) any() bool { return p.rank > 0 }

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
	case core.ThreadAnswer:
		return sortKey{rank: rankAnswer, ids: []string{r.Thread}}
	case core.SentToken:
		return sortKey{rank: rankToken, ids: []string{r.Thread, r.Caller, r.Token}}
	case core.ThreadReceipt:
		return sortKey{rank: rankReceipt, ids: []string{r.Thread, r.User}}
	case core.Event:
		return sortKey{rank: rankEvent, number: r.Position}
	}
	return sortKey{}
}

// compare compares by rank, then by ids, then by number; there is one resource.
func (p sortKey) compare(q sortKey) int {
	if c := cmp.Compare(p.rank, q.rank); c != 0 || p.rank == rankResource {
		return c
	}
	for i := range p.ids {
		if c := strings.Compare(p.ids[i], q.ids[i]); c != 0 {
			return c
		}
	}
	return cmp.Compare(p.number, q.number)
}

// check refuses ids that no store can keep in its keys.
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
