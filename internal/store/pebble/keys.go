package pebble

import (
	"bytes"
	"encoding/binary"

	"github.com/confab-chat/confab/internal/core"
)

// The first byte of a key; see the package documentation.
const (
	kindMeta     = 'M'
	kindKey      = 'k'
	kindUser     = 'u'
	kindHead     = 'h'
	kindMember   = 'p'
	kindMessage  = 'm'
	kindID       = 'i'
	kindAnswer   = 'c'
	kindSent     = 't'
	kindReceipt  = 'r'
	kindList     = 'l'
	kindDeleting = 'd'
	kindExpiry   = 'x'
	kindEvent    = 'e'
	kindPosition = 'o'
)

// Names of the meta rows.
const (
	metaSchema   = "schema"
	metaResource = "resource"
	metaEpoch    = "epoch"
	metaPosition = "position" // written before old events are trimmed, so that positions never go back
)

func metaKey(name string) []byte { return append([]byte{kindMeta}, name...) }
func keyKey(index int) []byte    { return []byte{kindKey, byte(index)} }
func userKey(id string) []byte   { return append([]byte{kindUser}, id...) }

// The keys of a send are appended to a buffer that a batch reuses.

func headKey(b []byte, thread string) []byte   { return append(append(b, kindHead), thread...) }
func answerKey(b []byte, thread string) []byte { return append(append(b, kindAnswer), thread...) }

func memberKey(b []byte, thread, user string) []byte {
	return append(text(append(b, kindMember), thread), user...)
}

func messageKey(b []byte, thread string, sequence uint64) []byte {
	return binary.BigEndian.AppendUint64(text(append(b, kindMessage), thread), sequence)
}

func receiptKey(b []byte, thread, user string) []byte {
	return append(text(append(b, kindReceipt), thread), user...)
}

func deletingKey(user string) []byte { return append([]byte{kindDeleting}, user...) }

func expiryKey(on int64, thread string) []byte {
	return append(binary.BigEndian.AppendUint64([]byte{kindExpiry}, uint64(on)), thread...)
}

// expiryOf parses the key of an expiry.
func expiryOf(key []byte) core.Expiry {
	return core.Expiry{On: int64(binary.BigEndian.Uint64(key[1:])), Thread: string(key[9:])}
}

func idKey(b []byte, thread string, id int64) []byte {
	return binary.BigEndian.AppendUint64(text(append(b, kindID), thread), uint64(id))
}

func sentKey(b []byte, k core.SendKey) []byte {
	return append(text(text(append(b, kindSent), k.Thread), k.Caller), k.Token...)
}

func listKey(b []byte, user string, minute int64, thread string) []byte {
	b = binary.BigEndian.AppendUint64(text(append(b, kindList), user), uint64(minute))
	return append(b, thread...)
}

func eventKey(b []byte, day uint32, thread string, number uint64) []byte {
	b = binary.BigEndian.AppendUint32(append(b, kindEvent), day)
	return binary.BigEndian.AppendUint64(text(b, thread), number)
}

func positionKey(b []byte, day uint32, position uint64) []byte {
	b = binary.BigEndian.AppendUint32(append(b, kindPosition), day)
	return binary.BigEndian.AppendUint64(b, position)
}

// text appends a part that another follows.
func text(b []byte, s string) []byte { return append(append(b, s...), 0) }

// memberOf returns the user of a member key.
func memberOf(key []byte) string { return string(key[bytes.IndexByte(key, 0)+1:]) }

// listOf takes a list key apart.
func listOf(key []byte) (minute int64, thread string) {
	rest := key[bytes.IndexByte(key, 0)+1:]
	return int64(binary.BigEndian.Uint64(rest)), string(rest[8:])
}

// number returns the last eight bytes of a key.
func number(key []byte) uint64 { return binary.BigEndian.Uint64(key[len(key)-8:]) }

// dayOf returns the day of a position key.
func dayOf(key []byte) uint32 { return binary.BigEndian.Uint32(key[1:5]) }
