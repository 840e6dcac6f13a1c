package row

import (
	"bytes"
	"encoding/binary"
	"maps"
	"slices"
)

// Field is one field of a kind of row: how it is stored in a value, in a key and in PostgreSQL.
type Field[T any] struct {
	Columns []Column[T]
	since   byte // the first format that contains the field; 0 means 1
	put     func(b []byte, row *T) []byte
	get     func(r *reader, row *T)       // decodes the field from a value of any format
	short   byte                          // the first format in which the field has a shorter form; 0 means that no format has one
	long    func(b []byte, row *T) []byte // encodes the field for formats before short; nil if short is 0
	// putKey and getKey write and read the field in a key. The written bytes sort in the same
	// order as the values of the field.
	putKey func(b []byte, row *T) []byte
	getKey func(key []byte, row *T) (rest []byte)
}

// Column is the PostgreSQL column of a field. Integers are sent as bigint, and the server
// converts them to the type of the column.
type Column[T any] struct {
	Name, Type string
	Value      func(row *T) any                    // returns the value of the column for a row, for COPY
	Array      func(n int, row func(i int) *T) any // returns an array of the column's values in n rows, for use as one parameter of a statement
	Target     func(row *T) any                    // returns where Scan stores the value
}

// from returns a copy of a field that says that the field was added in this format. Values of
// earlier formats do not contain the field.
func (f Field[T]) from(format byte) Field[T] {
	f.since = format
	return f
}

// column returns a PostgreSQL column with this name and type. Its functions Value and Array call
// value, and its function Target is target.
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

// unsigned returns a field that is an integer. The integer is stored as a uvarint in a value, and
// as a bigint in PostgreSQL.
func unsigned[T any, V ~uint8 | ~uint32 | ~uint64 | ~int32 | ~int64](name string, at func(*T) *V) Field[T] {
	width := binary.Size(V(0)) // number of bytes of the integer in a key
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

// signed returns a field that is an integer and may be negative. The integer is stored as a zig-zag
// varint in a value, and as a bigint in PostgreSQL.
func signed[T any](name string, at func(*T) *int64) Field[T] {
	f := unsigned(name, at)
	f.put = func(b []byte, row *T) []byte { return binary.AppendVarint(b, *at(row)) }
	f.get = func(r *reader, row *T) { *at(row) = r.signed() }
	return f
}

// boolean returns a field that is a bool. The bool is stored as a byte, 0 or 1, in a value and in a
// key, and as a boolean in PostgreSQL.
func boolean[T any](name string, at func(*T) *bool) Field[T] {
	put := func(b []byte, row *T) []byte {
		if *at(row) {
			return append(b, 1)
		}
		return append(b, 0)
	}
	return Field[T]{
		put:    put,
		get:    func(r *reader, row *T) { *at(row) = r.unsigned() != 0 },
		putKey: put,
		getKey: func(key []byte, row *T) []byte {
			*at(row) = key[0] != 0
			return key[1:]
		},
		Columns: []Column[T]{column(name, "boolean",
			func(row *T) bool { return *at(row) },
			func(row *T) any { return at(row) })},
	}
}

// text returns a field that is a string. The string is stored as its length and its bytes in a
// value, and as a text in PostgreSQL.
func text[T any](name string, at func(*T) *string) Field[T] {
	return octets(name, "text", at)
}

// id returns a field that is the id of a thread or a user. The id is stored as a text. In values of
// the format short and later ones the text is packed if it can be; see packID. If short is 0, no
// format packs it.
func id[T any](name string, short byte, at func(*T) *string) Field[T] {
	f := text(name, at)
	if short == 0 {
		return f
	}
	f.short, f.long = short, f.put
	f.put = func(b []byte, row *T) []byte { return putID(b, *at(row)) }
	f.get = func(r *reader, row *T) {
		if r.format < short {
			*at(row) = r.text()
		} else {
			*at(row) = r.id()
		}
	}
	return f
}

// near returns a field that is a number close to another field before it, such as two times of one
// message. Values of the format short and later ones store the difference of the two numbers, which
// mostly takes one or two bytes. If short is 0, all formats store the number in full.
func near[T any](name string, short byte, at, other func(*T) *int64) Field[T] {
	f := signed(name, at)
	if short == 0 {
		return f
	}
	f.short, f.long = short, f.put
	f.put = func(b []byte, row *T) []byte { return binary.AppendVarint(b, *at(row)-*other(row)) }
	f.get = func(r *reader, row *T) {
		*at(row) = r.signed()
		if r.format >= short {
			*at(row) += *other(row)
		}
	}
	return f
}

// putID appends the length and the bytes of an id to b. It packs the id if that is possible. If the
// id begins with a byte that marks packed ids, putID writes the byte named unpacked before it.
func putID(b []byte, s string) []byte {
	var p [33]byte
	if packed, ok := packID(p[:0], s); ok {
		return putText(b, packed)
	}
	if isPacked(s) {
		b = binary.AppendUvarint(b, uint64(len(s)+1))
		return append(append(b, unpacked), s...)
	}
	return putText(b, s)
}

// octets returns a field that is a string or bytes. The field is stored as its length and its bytes
// in a value. Its column in PostgreSQL has the type sqlType.
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

// putText appends the length of s, as a uvarint, and then the bytes of s.
func putText[S ~string | ~[]byte](b []byte, s S) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// dict returns a field that is a map. The map is stored as the number of pairs, then the pairs,
// sorted by key. An empty map is read as nil.
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

// list returns a field that is a slice. The slice is stored as the number of entries, then the
// fields of each entry. An empty slice is read as the argument none: nil or an empty slice. If none
// is nil, an empty slice is NULL in PostgreSQL. Later formats cannot add fields to an entry,
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

// packedFormat is the first byte of the bytea column of a list or a map in PostgreSQL.
const packedFormat = 1

// packed returns a field whose PostgreSQL column is a bytea: the byte packedFormat and then the
// same bytes as in a value, or NULL if the field is empty.
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

// bytesTarget is a function that pgx calls with the content of a bytea column. It implements
// pgtype.BytesScanner.
type bytesTarget func(value []byte) error

// ScanBytes calls f with the column's bytes, or with nil for NULL.
func (f bytesTarget) ScanBytes(value []byte) error { return f(value) }

// anyTarget is a function that pgx calls with the value of a column that may be NULL. It
// implements sql.Scanner.
type anyTarget func(value any) error

// Scan calls f with the column's value, or with nil for NULL.
func (f anyTarget) Scan(value any) error { return f(value) }
