package export

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

// place is where a record stands among all. Its ids are those by which a store
// finds the row again.
type place struct {
	rank   int
	ids    []string
	number uint64
}

func (p place) any() bool { return p.rank > 0 }

func placeOf(r core.Record) place {
	switch r := r.(type) {
	case core.Resource:
		return place{rank: rankResource, ids: []string{r.ID}}
	case core.User:
		return place{rank: rankUser, ids: []string{r.ID}}
	case core.Head:
		return place{rank: rankThread, ids: []string{r.ID}}
	case core.ThreadMember:
		return place{rank: rankMember, ids: []string{r.Thread, r.User}}
	case core.ThreadMessage:
		return place{rank: rankMessage, ids: []string{r.Thread}, number: r.Sequence}
	case core.ThreadAnswer:
		return place{rank: rankAnswer, ids: []string{r.Thread}}
	case core.SentToken:
		return place{rank: rankToken, ids: []string{r.Thread, r.Caller, r.Token}}
	case core.ThreadReceipt:
		return place{rank: rankReceipt, ids: []string{r.Thread, r.User}}
	case core.Event:
		return place{rank: rankEvent, number: r.Position}
	}
	return place{}
}

// compare is by rank, then by ids, then by number; there is one resource.
func (p place) compare(q place) int {
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

// check refuses ids that no store can keep: they are parts of keys.
func (p place) check() error {
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
