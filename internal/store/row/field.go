package row

import (
	"bytes"
	"encoding/binary"
	"maps"
	"slices"
)

// Field is one field of a kind of row.
type Field[T any] struct {
	Columns []Column[T]
	since   byte // the first format that has it
	put     func(b []byte, row *T) []byte
	get     func(r *reader, row *T)
	// Of the fields of a key: bytes that compare as the field does.
	putKey func(b []byte, row *T) []byte
	getKey func(key []byte, row *T) (rest []byte)
}

// Column is a column of a field in PostgreSQL. Numbers pass as bigint, whatever
// integer the column is; the server converts them.
type Column[T any] struct {
	Name, Type string
	Value      func(row *T) any                    // for COPY
	Array      func(n int, row func(i int) *T) any // of n rows, as a parameter
	Target     func(row *T) any                    // for Scan
}

// from returns the field as one that was added in a format.
func (f Field[T]) from(format byte) Field[T] {
	f.since = format
	return f
}

func column[T, V any](name, sqlType string, value func(*T) V, target func(*T) any) Column[T] {
	return Column[T]{
		Name: name, Type: sqlType, Target: target,
		Value: func(row *T) any { return value(row) },
		Array: func(n int, row func(int) *T) any {
			vs := make([]V, n)
			for i := range vs {
				vs[i] = value(row(i))
			}
			return vs
		},
	}
}

func signed[T any](name string, at func(*T) *int64) Field[T] {
	return Field[T]{
		since:  1,
		put:    func(b []byte, row *T) []byte { return binary.AppendVarint(b, *at(row)) },
		get:    func(r *reader, row *T) { *at(row) = r.signed() },
		putKey: func(b []byte, row *T) []byte { return binary.BigEndian.AppendUint64(b, uint64(*at(row))) },
		getKey: func(key []byte, row *T) []byte {
			*at(row) = int64(binary.BigEndian.Uint64(key))
			return key[8:]
		},
		Columns: []Column[T]{column(name, "bigint",
			func(row *T) int64 { return *at(row) },
			func(row *T) any { return at(row) })},
	}
}

func unsigned[T any, V ~uint8 | ~uint32 | ~uint64 | ~int32 | ~int64](name string, at func(*T) *V) Field[T] {
	width := binary.Size(V(0)) // of a key
	return Field[T]{
		since: 1,
		put:   func(b []byte, row *T) []byte { return binary.AppendUvarint(b, uint64(*at(row))) },
		get:   func(r *reader, row *T) { *at(row) = V(r.unsigned()) },
		putKey: func(b []byte, row *T) []byte {
			var all [8]byte
			binary.BigEndian.PutUint64(all[:], uint64(*at(row)))
			return append(b, all[8-width:]...)
		},
		getKey: func(key []byte, row *T) []byte {
			n := uint64(0)
			for _, digit := range key[:width] {
				n = n<<8 | uint64(digit)
			}
			*at(row) = V(n)
			return key[width:]
		},
		Columns: []Column[T]{column(name, "bigint",
			func(row *T) int64 { return int64(*at(row)) },
			func(row *T) any { return at(row) })},
	}
}

func text[T any](name string, at func(*T) *string) Field[T] {
	return Field[T]{
		since:  1,
		put:    func(b []byte, row *T) []byte { return putText(b, *at(row)) },
		get:    func(r *reader, row *T) { *at(row) = r.text() },
		putKey: func(b []byte, row *T) []byte { return append(append(b, *at(row)...), 0) },
		getKey: func(key []byte, row *T) []byte {
			own, rest, _ := bytes.Cut(key, []byte{0})
			*at(row) = string(own)
			return rest
		},
		Columns: []Column[T]{column(name, "text",
			func(row *T) string { return *at(row) },
			func(row *T) any { return at(row) })},
	}
}

func putText[S ~string | ~[]byte](b []byte, s S) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// octets is a text that need not be UTF-8.
func octets[T any](name string, at func(*T) *[]byte) Field[T] {
	return Field[T]{
		since: 1,
		put:   func(b []byte, row *T) []byte { return putText(b, *at(row)) },
		get:   func(r *reader, row *T) { *at(row) = []byte(r.text()) },
		Columns: []Column[T]{column(name, "bytea",
			func(row *T) []byte { return *at(row) },
			func(row *T) any { return at(row) })},
	}
}

func dict[T any](name string, at func(*T) *map[string]string) Field[T] {
	put := func(b []byte, row *T) []byte {
		m := *at(row)
		b = binary.AppendUvarint(b, uint64(len(m)))
		if len(m) == 0 {
			return b
		}
		for _, k := range slices.Sorted(maps.Keys(m)) {
			b = putText(putText(b, k), m[k])
		}
		return b
	}
	get := func(r *reader, row *T) {
		n := r.count()
		if n == 0 {
			return
		}
		m := make(map[string]string, n)
		for range n {
			k := r.text()
			m[k] = r.text()
		}
		*at(row) = m
	}
	return packed(name, put, get, func(row *T) bool { return len(*at(row)) == 0 })
}

// list is a count and the fields of each entry. An entry gets no fields later: a
// reader cannot tell the format of an entry. An empty list reads as nil.
func list[T, E any](name string, at func(*T) *[]E, entry ...Field[E]) Field[T] {
	put, get := entries(at, entry)
	return packed(name, put, get, func(row *T) bool { return len(*at(row)) == 0 })
}

// requiredList is a list whose column is never NULL. An empty one reads as a
// slice that is not nil.
func requiredList[T, E any](name string, at func(*T) *[]E, entry ...Field[E]) Field[T] {
	put, get := entries(at, entry)
	return packed(name, put, func(r *reader, row *T) {
		*at(row) = []E{}
		get(r, row)
	}, func(*T) bool { return false })
}

func entries[T, E any](at func(*T) *[]E, entry []Field[E]) (put func([]byte, *T) []byte, get func(*reader, *T)) {
	put = func(b []byte, row *T) []byte {
		es := *at(row)
		b = binary.AppendUvarint(b, uint64(len(es)))
		for i := range es {
			for j := range entry {
				b = entry[j].put(b, &es[i])
			}
		}
		return b
	}
	get = func(r *reader, row *T) {
		n := r.count()
		if n == 0 {
			return
		}
		es := make([]E, n)
		for i := range es {
			for j := range entry {
				entry[j].get(r, &es[i])
			}
		}
		*at(row) = es
	}
	return put, get
}

// packedFormat is the byte in front of lists and maps in PostgreSQL.
const packedFormat = 1

// packed makes a field whose column is a bytea with the same bytes that the
// field has in a value, or NULL if the field is empty.
func packed[T any](name string, put func([]byte, *T) []byte, get func(*reader, *T), empty func(*T) bool) Field[T] {
	value := func(row *T) []byte {
		if empty(row) {
			return nil
		}
		return put([]byte{packedFormat}, row)
	}
	target := func(row *T) any {
		return bytesTarget(func(value []byte) error {
			if value == nil {
				return nil
			}
			var r reader
			if _, err := r.open(name, value, packedFormat); err != nil {
				return err
			}
			get(&r, row)
			return r.close(name)
		})
	}
	return Field[T]{since: 1, put: put, get: get, Columns: []Column[T]{column(name, "bytea", value, target)}}
}

// bytesTarget is a scan target for bytea, as pgtype.BytesScanner.
type bytesTarget func(value []byte) error

// ScanBytes takes the column's bytes, or nil for NULL.
func (f bytesTarget) ScanBytes(value []byte) error { return f(value) }

// anyTarget is a scan target for a column that may be NULL, as sql.Scanner.
type anyTarget func(value any) error

// Scan takes the column's value, or nil for NULL.
func (f anyTarget) Scan(value any) error { return f(value) }
