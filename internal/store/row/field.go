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
	since   byte // the first format that contains it; 0 is the same as 1
	put     func(b []byte, row *T) []byte
	get     func(r *reader, row *T)
	// putKey and getKey write and read the field in a key. The bytes sort in the order
	// of the values of the field.
	putKey func(b []byte, row *T) []byte
	getKey func(key []byte, row *T) (rest []byte)
}

// Column is a PostgreSQL column of a field. Integers are sent as bigint, and the
// server converts them to the type of the column.
type Column[T any] struct {
	Name, Type string
	Value      func(row *T) any                    // returns the value of a row, for COPY
	Array      func(n int, row func(i int) *T) any // returns the values of n rows, as a parameter
	Target     func(row *T) any                    // returns where Scan stores the value
}

// from returns a copy of the field that is contained in values since the given format.
func (f Field[T]) from(format byte) Field[T] {
	f.since = format
	return f
}

// column returns a column with the value and the scan target that the functions return.
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

// unsigned returns a field of an integer, stored as a uvarint and a bigint.
func unsigned[T any, V ~uint8 | ~uint32 | ~uint64 | ~int32 | ~int64](name string, at func(*T) *V) Field[T] {
	width := binary.Size(V(0)) // of a key
	return Field[T]{
		put: func(b []byte, row *T) []byte { return binary.AppendUvarint(b, uint64(*at(row))) },
		get: func(r *reader, row *T) { *at(row) = V(r.unsigned()) },
		putKey: func(b []byte, row *T) []byte {
			var all [8]byte
			binary.BigEndian.PutUint64(all[:], uint64(*at(row)))
			return append(b, all[8-width:]...)
		},
		getKey: func(key []byte, row *T) []byte {
			var all [8]byte
			copy(all[8-width:], key[:width])
			*at(row) = V(binary.BigEndian.Uint64(all[:]))
			return key[width:]
		},
		Columns: []Column[T]{column(name, "bigint",
			func(row *T) int64 { return int64(*at(row)) },
			func(row *T) any { return at(row) })},
	}
}

// signed returns a field of an integer that may be negative, stored as a zig-zag varint
// and a bigint.
func signed[T any](name string, at func(*T) *int64) Field[T] {
	f := unsigned(name, at)
	f.put = func(b []byte, row *T) []byte { return binary.AppendVarint(b, *at(row)) }
	f.get = func(r *reader, row *T) { *at(row) = r.signed() }
	return f
}

// boolean returns a field of a bool, stored as a uvarint and a boolean.
func boolean[T any](name string, at func(*T) *bool) Field[T] {
	return Field[T]{
		put: func(b []byte, row *T) []byte {
			if *at(row) {
				return append(b, 1)
			}
			return append(b, 0)
		},
		get: func(r *reader, row *T) { *at(row) = r.unsigned() != 0 },
		Columns: []Column[T]{column(name, "boolean",
			func(row *T) bool { return *at(row) },
			func(row *T) any { return at(row) })},
	}
}

// text returns a field of a string, stored as a length and bytes and as a text.
func text[T any](name string, at func(*T) *string) Field[T] {
	return octets(name, "text", at)
}

// octets returns a field of a string or of bytes, stored as a length and bytes. Its
// column has the given type.
func octets[T any, V ~string | ~[]byte](name, sqlType string, at func(*T) *V) Field[T] {
	return Field[T]{
		put:    func(b []byte, row *T) []byte { return putText(b, *at(row)) },
		get:    func(r *reader, row *T) { *at(row) = V(r.text()) },
		putKey: func(b []byte, row *T) []byte { return append(append(b, *at(row)...), 0) },
		getKey: func(key []byte, row *T) []byte {
			own, rest, _ := bytes.Cut(key, []byte{0})
			*at(row) = V(own)
			return rest
		},
		Columns: []Column[T]{column(name, sqlType,
			func(row *T) V { return *at(row) },
			func(row *T) any { return at(row) })},
	}
}

// putText appends the length of s and s.
func putText[S ~string | ~[]byte](b []byte, s S) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// dict returns a field of a map, stored as a count and the pairs sorted by key. An
// empty map reads as nil.
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

// list returns a field of a slice, stored as a count and the fields of each entry. An
// empty slice is read as none, which is nil or an empty slice. If none is nil, the
// column of an empty slice is NULL. Later formats cannot add fields to an entry,
// because entries have no format number.
func list[T, E any](name string, at func(*T) *[]E, none []E, entry ...Field[E]) Field[T] {
	put := func(b []byte, row *T) []byte {
		es := *at(row)
		b = binary.AppendUvarint(b, uint64(len(es)))
		for i := range es {
			for j := range entry {
				b = entry[j].put(b, &es[i])
			}
		}
		return b
	}
	get := func(r *reader, row *T) {
		es := none
		if n := r.count(); n > 0 {
			es = make([]E, n)
		}
		for i := range es {
			for j := range entry {
				entry[j].get(r, &es[i])
			}
		}
		*at(row) = es
	}
	return packed(name, put, get, func(row *T) bool { return none == nil && len(*at(row)) == 0 })
}

// packedFormat is the first byte of a list or map in PostgreSQL.
const packedFormat = 1

// packed returns a field whose column is a bytea: packedFormat and the bytes that the
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
	return Field[T]{put: put, get: get, Columns: []Column[T]{column(name, "bytea", value, target)}}
}

// bytesTarget is a scan target for a bytea. It implements pgtype.BytesScanner.
type bytesTarget func(value []byte) error

// ScanBytes calls f with the column's bytes, or with nil for NULL.
func (f bytesTarget) ScanBytes(value []byte) error { return f(value) }

// anyTarget is a scan target for a column that may be NULL. It implements sql.Scanner.
type anyTarget func(value any) error

// Scan calls f with the column's value, or with nil for NULL.
func (f anyTarget) Scan(value any) error { return f(value) }
