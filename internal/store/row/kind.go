package row

import (
	"bytes"
	"slices"
)

// Kind is the schema of one kind of row. T is the type of a row, its key included.
type Kind[T any] struct {
	Name   string     // name of the kind in errors
	Key    []Field[T] // the fields of the primary key, which are not in the value
	Fields []Field[T] // the fields in the value, in this order
	format byte       // the number of the newest format: Encode writes it, and Decode reads it and all earlier ones
	// textLast is true if the last field of the key is a text. In a key this field does not end
	// with a zero byte, unlike the texts before it.
	textLast bool
}

// newKind returns the schema of a kind of row with this name, these key fields and these value
// fields. Formats are numbered from 1. The format of the kind is the latest one in which a field
// was added or shortened.
func newKind[T any](name string, key []Field[T], fields ...Field[T]) *Kind[T] {
	k := &Kind[T]{Name: name, Key: key, Fields: fields, format: 1}
	k.textLast = len(key) > 0 && key[len(key)-1].Columns[0].Type == "text"
	for _, f := range fields {
		k.format = max(k.format, f.since, f.short)
	}
	return k
}

// keys returns its arguments as a slice. Calls of newKind use it to show which fields belong to the
// key.
func keys[T any](fields ...Field[T]) []Field[T] { return fields }

// Encode appends the encoded value of a row to b.
func (k *Kind[T]) Encode(b []byte, row *T) []byte {
	b = append(b, k.format)
	for i := range k.Fields {
		b = k.Fields[i].put(b, row)
	}
	return b
}

// EncodeEarliest appends the encoded value of a row to b. It uses the earliest format, base or
// later, that has all fields of the row that are not zero. So the value of a row stays the same
// when later formats add fields that the row does not use, or shorten fields that it has.
func (k *Kind[T]) EncodeEarliest(b []byte, base byte, row *T) []byte {
	var zero T
	format := base
	for i := range k.Fields {
		if f := &k.Fields[i]; f.since > format && !bytes.Equal(f.put(nil, row), f.put(nil, &zero)) {
			format = f.since
		}
	}
	b = append(b, format)
	for i := range k.Fields {
		switch f := &k.Fields[i]; {
		case f.since > format:
		case f.short > format:
			b = f.long(b, row)
		default:
			b = f.put(b, row)
		}
	}
	return b
}

// Decode decodes a value and returns the row. It copies the row's key fields from key. The strings
// that it decodes share the memory of one copy of the value. The error wraps ErrNewer or ErrDamaged
// and names the kind of row.
func (k *Kind[T]) Decode(value []byte, key T) (T, error) {
	err := k.Fill(value, &key)
	return key, err
}

// Fill decodes a value into row, whose key fields the caller has set. It fails as Decode does.
func (k *Kind[T]) Fill(value []byte, row *T) error { return k.FillWith(new(Decoder), value, row) }

// Decoder decodes many values with fewer allocations than Fill does. The texts of its rows share
// memory, which stays in use as long as any of these rows does. So a Decoder is for rows that are
// used together, such as the rows of a page. Its zero value is ready to use.
type Decoder struct{ reader reader }

// FillWith decodes a value into row as Fill does, but with the memory of a Decoder.
func (k *Kind[T]) FillWith(d *Decoder, value []byte, row *T) error {
	r := &d.reader
	format, err := r.open(k.Name, value, k.format)
	if err != nil {
		return err
	}
	for i := range k.Fields {
		if f := &k.Fields[i]; f.since <= format {
			f.get(r, row)
		}
	}
	return r.close(k.Name)
}

// FillFirst decodes the first n fields of a value into row. It does not look at the other fields,
// which may be damaged. It copies each text separately, so that the row does not keep the whole
// value in memory.
func (k *Kind[T]) FillFirst(n int, value []byte, row *T) error {
	var r reader
	format, err := r.open(k.Name, value, k.format)
	if err != nil {
		return err
	}
	r.apart = true
	for i := range k.Fields[:n] {
		if f := &k.Fields[i]; f.since <= format {
			f.get(&r, row)
		}
	}
	r.b = nil
	return r.close(k.Name)
}

// EncodeKey appends the encoded key of a row to b. Encoded keys sort in the same order as the
// fields of the key. Numbers are big-endian; a text that is not the last field ends with a zero
// byte, which no id contains.
func (k *Kind[T]) EncodeKey(b []byte, row *T) []byte {
	for i := range k.Key {
		b = k.Key[i].putKey(b, row)
	}
	if k.textLast {
		b = b[:len(b)-1]
	}
	return b
}

// DecodeKey decodes a key and returns a row that has only the fields of the key. It panics if
// the key is too short.
func (k *Kind[T]) DecodeKey(key []byte) (row T) {
	for i := range k.Key {
		key = k.Key[i].getKey(key, &row)
	}
	return row
}

// Columns returns the columns of all fields, the key columns first.
func (k *Kind[T]) Columns() (all []Column[T]) {
	for _, f := range slices.Concat(k.Key, k.Fields) {
		all = append(all, f.Columns...)
	}
	return all
}

// within returns the schema of R, a struct that contains a row T of kind k. in returns a pointer to
// the T of an R. The key of R consists of the fields key, followed by the key fields of k.
func within[R, T any](k *Kind[T], in func(*R) *T, key ...Field[R]) *Kind[R] {
	return newKind(k.Name, append(key, lift(k.Key, in)...), lift(k.Fields, in)...)
}

// lift converts fields of T to fields of R, a struct that contains a T. in returns a pointer to the
// T of an R.
func lift[R, T any](fields []Field[T], in func(*R) *T) []Field[R] {
	up := make([]Field[R], len(fields))
	for i, f := range fields {
		up[i] = Field[R]{
			since:  f.since,
			short:  f.short,
			put:    func(b []byte, row *R) []byte { return f.put(b, in(row)) },
			get:    func(r *reader, row *R) { f.get(r, in(row)) },
			putKey: func(b []byte, row *R) []byte { return f.putKey(b, in(row)) },
			getKey: func(key []byte, row *R) []byte { return f.getKey(key, in(row)) },
		}
		if f.long != nil {
			up[i].long = func(b []byte, row *R) []byte { return f.long(b, in(row)) }
		}
		for _, c := range f.Columns {
			up[i].Columns = append(up[i].Columns, Column[R]{
				Name: c.Name, Type: c.Type,
				Value:  func(row *R) any { return c.Value(in(row)) },
				Array:  func(n int, row func(int) *R) any { return c.Array(n, func(i int) *T { return in(row(i)) }) },
				Target: func(row *R) any { return c.Target(in(row)) },
			})
		}
	}
	return up
}
