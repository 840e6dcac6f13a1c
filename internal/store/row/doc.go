// Package row defines the schema of the rows that both engines store. A Kind lists
// the fields of one kind of row. A Field defines the bytes of a field in a value,
// its columns in PostgreSQL and the corresponding field of a struct of package core.
//
// # Values
//
// A value starts with the number of its format, one byte. Then come its fields in the
// order in which the Kind lists them: unsigned numbers as uvarints, signed ones as
// zig-zag varints, texts as a length and bytes, lists and maps (sorted by key) as a
// count and entries. The fields of a kind's key are not in the value; the embedded
// engine encodes them in its keys.
//
// Each kind numbers its formats from 1. A field that is added later has the number
// of the first format that contains it. A kind writes its greatest format and reads
// all formats up to that one. A field that the format of a value does not contain
// reads as zero. The directory testdata has a value of each kind in each format,
// which every later version must be able to read.
//
// # Columns
//
// PostgreSQL has a column for each field, of the key too. A list or a map is one
// bytea: a format byte, which is 1 today, then the same bytes as in a value.
// A jsonb or an array of text could not hold every string that a map may hold: both
// refuse zero bytes and anything but UTF-8. An empty list or map is NULL, which takes
// one bit, except for a list that must be read as an empty slice instead of nil.
package row
