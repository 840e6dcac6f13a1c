package row

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

var (
	// ErrNewer means that a later version of Confab wrote the value.
	ErrNewer = errors.New("value has a format that this version does not know")
	// ErrDamaged means that the value is too short or too long for its fields.
	ErrDamaged = errors.New("value is damaged: it ends too early or holds too much")
)

// reader decodes the fields of a value, one after another. After the first error, bad is true
// and every read returns zero.
type reader struct {
	format byte // format of the value that is read
	b      []byte
	copy   string          // copy of the value from its first text on; all later texts are substrings of this copy
	texts  strings.Builder // the memory that the copies of this value and of later values share
	apart  bool            // true if each text is copied separately, because the rest of the value is not read
	bad    bool
}

// maxTexts is the greatest size in bytes of the memory that the texts of several values share.
const maxTexts = 16 << 10

// open starts reading a value and returns its format. It fails with ErrNewer if the format is
// greater than newest, and with ErrDamaged if the value is empty or has format 0. The error begins
// with name, the name of the field or the kind of row.
func (r *reader) open(name string, value []byte, newest byte) (format byte, err error) {
	if len(value) == 0 || value[0] == 0 {
		return 0, fmt.Errorf("%s: %w", name, ErrDamaged)
	}
	if value[0] > newest {
		return 0, fmt.Errorf("%s: %w: it is %d, the greatest known is %d", name, ErrNewer, value[0], newest)
	}
	r.format, r.b, r.copy, r.bad = value[0], value[1:], "", false
	return r.format, nil
}

// close ends the reading of a value. It fails with ErrDamaged if a read failed or if the value has
// unread bytes.
func (r *reader) close(name string) error {
	if r.bad || len(r.b) > 0 {
		return fmt.Errorf("%s: %w", name, ErrDamaged)
	}
	return nil
}

// unsigned reads a uvarint.
func (r *reader) unsigned() uint64 {
	if len(r.b) > 0 && r.b[0] < 0x80 { // fast path: one byte
		v := r.b[0]
		r.b = r.b[1:]
		return uint64(v)
	}
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.b, r.bad = nil, true
		return 0
	}
	r.b = r.b[n:]
	return v
}

// signed reads a zig-zag varint.
func (r *reader) signed() int64 {
	v := r.unsigned()
	return int64(v>>1) ^ -int64(v&1)
}

// count reads a count of the bytes or entries that follow. A count greater than the number of
// unread bytes is an error, because each entry has at least one byte.
func (r *reader) count() int {
	n := r.unsigned()
	if n > uint64(len(r.b)) {
		r.b, r.bad = nil, true
		return 0
	}
	return int(n)
}

// id reads a text that may be a packed id.
func (r *reader) id() string {
	before := r.b
	n := r.count()
	packed := r.b[:n]
	r.b = r.b[n:]
	if !isPacked(packed) {
		r.b = before
		return r.text()
	}
	var buffer [userLength]byte // the longest id
	id, ok := unpackID(buffer[:0], packed)
	switch {
	case !ok:
		r.b, r.bad = nil, true
		return ""
	case r.apart || r.copy != "":
		return string(id)
	}
	r.copyRest(id) // copy the id and all unread bytes; the id and later texts are substrings of the copy
	return r.copy[:len(id)]
}

// copyRest sets r.copy to a copy of id and of the unread bytes of the value. For the first value it
// allocates exactly the memory needed. When that memory is full, it allocates twice as much, at
// most maxTexts bytes unless one value needs more; later values share this memory.
func (r *reader) copyRest(id []byte) {
	n := len(id) + len(r.b)
	if r.texts.Cap()-r.texts.Len() < n {
		size := min(2*r.texts.Cap(), maxTexts)
		r.texts.Reset()
		r.texts.Grow(max(n, size))
	}
	start := r.texts.Len()
	r.texts.Write(id)
	r.texts.Write(r.b)
	r.copy = r.texts.String()[start:]
}

// text reads a length and a string of that many bytes.
func (r *reader) text() string {
	n := r.count()
	if n == 0 {
		return ""
	}
	if r.apart {
		s := string(r.b[:n])
		r.b = r.b[n:]
		return s
	}
	if r.copy == "" {
		r.copyRest(nil)
	}
	s := r.copy[len(r.copy)-len(r.b):][:n]
	r.b = r.b[n:]
	return s
}
