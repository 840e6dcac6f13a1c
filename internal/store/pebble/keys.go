package pebble

import (
	"encoding/binary"
	"errors"

	"github.com/cockroachdb/pebble/v2"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/store/row"
)

// These constants are the first byte of the keys of each kind of row; see the package
// documentation.
const (
	kindMeta         = 'M'
	kindKey          = 'k'
	kindUser         = 'u'
	kindHead         = 'h'
	kindMember       = 'p'
	kindMessage      = 'm'
	kindID           = 'i'
	kindAnswer       = 'c'
	kindSuperseded   = 's'
	kindSupersededAt = 'v'
	kindSent         = 't'
	kindReceipt      = 'r'
	kindList         = 'l'
	kindRelisting    = 'j'
	kindDeleting     = 'd'
	kindCustomID     = 'a'
	kindExpiry       = 'x'
	kindEvent        = 'e'
	kindPosition     = 'o'
	kindEndpoint     = 'n'
	kindAudit        = 'w'
)

// These variables describe the kinds of rows whose keys have fields. Rows with keys that start
// with M and k are read by the function value instead.
var (
	users        = kind[core.User]{kindUser, row.User}
	heads        = kind[core.Head]{kindHead, row.Head}
	members      = kind[core.ThreadMember]{kindMember, row.ThreadMember}
	messages     = kind[core.ThreadMessage]{kindMessage, row.ThreadMessage}
	ids          = kind[core.ThreadMessage]{kindID, row.MessageID}
	answers      = kind[core.ThreadAnswer]{kindAnswer, row.ThreadAnswer}
	superseded   = kind[core.ThreadSuperseded]{kindSuperseded, row.ThreadSuperseded}
	supersededAt = kind[core.ThreadSuperseded]{kindSupersededAt, row.SupersededAt}
	sent         = kind[core.SentToken]{kindSent, row.SentToken}
	receipts     = kind[core.ThreadReceipt]{kindReceipt, row.ThreadReceipt}
	lists        = kind[core.ListMove]{kindList, row.ListEntry}
	relistings   = kind[core.Relisting]{kindRelisting, row.Relisting}
	deleting     = kind[core.User]{kindDeleting, row.Deleting}
	customIDs    = kind[core.User]{kindCustomID, row.CustomID}
	expiries     = kind[core.Expiry]{kindExpiry, row.Expiry}
	events       = kind[core.Event]{kindEvent, row.Event}
	positions    = kind[core.Event]{kindPosition, row.Position}
	endpoints    = kind[core.Endpoint]{kindEndpoint, row.Endpoint}
	audits       = kind[core.Audit]{kindAudit, row.Audit}
)

// kind reads and writes the rows of one kind. T is a struct with the fields of the key and of
// the value; letter is the first byte of the keys.
type kind[T any] struct {
	letter byte
	schema *row.Kind[T]
}

// key appends the key of r to b, or to a new buffer if b is nil.
func (k kind[T]) key(b []byte, r *T) []byte {
	if b == nil {
		b = make([]byte, 0, 160) // most keys fit without growing it
	}
	return k.schema.EncodeKey(append(b, k.letter), r)
}

// decode returns the row that has this key and value.
func (k kind[T]) decode(key, value []byte) (T, error) {
	return k.schema.Decode(value, k.schema.DecodeKey(key[1:]))
}

// get reads the row that has the key of r. The bool is false if it does not exist.
func (k kind[T]) get(from pebble.Reader, r T) (T, bool, error) {
	found, err := k.fill(from, &r)
	return r, found, err
}

// fill reads the row that has the key of *r into *r, and reports whether it exists.
func (k kind[T]) fill(from pebble.Reader, r *T) (bool, error) {
	value, closer, err := from.Get(k.key(nil, r))
	if errors.Is(err, pebble.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, legible(err)
	}
	err = k.schema.Fill(value, r)
	return err == nil, errors.Join(err, closer.Close())
}

// put writes the row r to the batch of w.
func (k kind[T]) put(w *writer, r *T) {
	w.key, w.value = k.schema.EncodeKey(append(w.key[:0], k.letter), r), k.schema.Encode(w.value[:0], r)
	w.batch.Set(w.key, w.value, nil)
}

// remove adds the deletion of the row with the key of r to the batch of w.
func (k kind[T]) remove(w *writer, r *T) {
	w.key = k.schema.EncodeKey(append(w.key[:0], k.letter), r)
	w.batch.Delete(w.key, nil)
}

// each calls f for each row of the kind whose key, after its first letter, starts with prefix,
// in key order. It stops at the first error.
func (k kind[T]) each(from pebble.Reader, prefix string, f func(T) error) error {
	it, err := from.NewIter(prefixRange(k.letter, prefix))
	if err != nil {
		return err
	}
	for it.First(); it.Valid() && err == nil; it.Next() {
		var r T
		if r, err = k.decode(it.Key(), it.Value()); err == nil {
			err = f(r)
		}
	}
	return errors.Join(err, closed(it))
}

// last returns the row of the kind with the greatest key, or a zero row if there is none. Only
// the fields of the key are set.
func (k kind[T]) last(from pebble.Reader) (r T, err error) {
	it, err := from.NewIter(kindRange(k.letter))
	if err != nil {
		return r, err
	}
	if it.Last() {
		r = k.schema.DecodeKey(it.Key()[1:])
	}
	return r, closed(it)
}

// These constants are the names of the rows whose keys start with M.
const (
	metaSchema   = "schema"
	metaResource = "resource"
	metaCloud    = "cloud" // name of the cloud of the resource; the public cloud has no row
	metaEpoch    = "epoch"
	metaFloor    = "floor" // the last event that was deleted from the log
)

func metaKey(name string) []byte { return append([]byte{kindMeta}, name...) }
func keyKey(index int) []byte    { return []byte{kindKey, byte(index)} }

// value reads the row with this key; found is false if it does not exist. It is used for the
// rows whose keys have no fields.
func value[T any](from pebble.Reader, key []byte, schema *row.Kind[T]) (v T, found bool, err error) {
	b, closer, err := from.Get(key)
	if err != nil {
		if errors.Is(err, pebble.ErrNotFound) {
			err = nil
		}
		return v, false, legible(err)
	}
	defer closer.Close()
	v, err = schema.Decode(b, v)
	return v, err == nil, err
}

// part returns s encoded as a field of a key that is not the last one: s and a zero byte.
func part(s string) string { return s + "\x00" }

// number returns the number in the last eight bytes of a key: a message's sequence or
// an event's position.
func number(key []byte) uint64 { return binary.BigEndian.Uint64(key[len(key)-8:]) }
