package row

import (
	"encoding/binary"
	"errors"
	"fmt"
)

var (
	// ErrNewer means that a later version wrote the value.
	ErrNewer = errors.New("value has a format that this version does not know")
	// ErrDamaged means that the value ends too early or holds too much.
	ErrDamaged = errors.New("value is damaged: it ends too early or holds too much")
)

// reader takes a value apart. After the first error bad is set, and every later
// read returns zero. Functions take and return it by value, which keeps it out
// of the heap.
type reader struct {
	b    []byte
	copy string // of the value from its first text on; all texts share it
	bad  bool
}

// open reads the format of a value, which is newest at most.
func open(name string, value []byte, newest byte) (r reader, format byte, err error) {
	if len(value) == 0 || value[0] == 0 {
		return r, 0, fmt.Errorf("%s: %w", name, ErrDamaged)
	}
	if value[0] > newest {
		return r, 0, fmt.Errorf("%s: %w: it is %d, the greatest known is %d", name, ErrNewer, value[0], newest)
	}
	return reader{b: value[1:]}, value[0], nil
}

// close returns ErrDamaged unless the value was read to its end.
func (r *reader) close(name string) error {
	if r.bad || len(r.b) > 0 {
		return fmt.Errorf("%s: %w", name, ErrDamaged)
	}
	return nil
}

func (r *reader) take(n int) {
	if n <= 0 {
		r.bad = true
	}
	if r.bad {
		r.b = nil
		return
	}
	r.b = r.b[n:]
}

func (r *reader) unsigned() uint64 {
	v, n := binary.Uvarint(r.b)
	r.take(n)
	return v
}

func (r *reader) signed() int64 {
	v, n := binary.Varint(r.b)
	r.take(n)
	return v
}

// count reads the number of bytes or entries that follow. An entry takes a byte
// at least, so a greater count than there are bytes is damage.
func (r *reader) count() int {
	n := r.unsigned()
	if n > uint64(len(r.b)) {
		r.bad = true
		return 0
	}
	return int(n)
}

func (r *reader) text() string {
	n := r.count()
	if n == 0 {
		return ""
	}
	if r.copy == "" {
		r.copy = string(r.b)
	}
	s := r.copy[len(r.copy)-len(r.b):][:n]
	r.b = r.b[n:]
	return s
}
