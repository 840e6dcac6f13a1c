// Package row is the schema of the rows that both engines keep. Each kind of
// row is one table of fields, a Kind, and a field is described once: its bytes
// in a value, its columns in PostgreSQL, and its place in the struct of core.
//
// # Values
//
// A value starts with the number of its format, one byte. Then come its fields
// in the order of the table: unsigned numbers as uvarints, signed ones as
// zig-zag varints, texts as a length and bytes, lists and maps (sorted by key)
// as a count and entries. The fields of a kind's key are not in the value; the
// embedded engine has them in its keys.
//
// Each kind counts its own formats. A field that is added later names the first
// format that has it, with since; the kind writes its greatest format and reads
// every format from 1 to that one. A field that is newer than the value reads as
// zero. testdata has a value of each kind in each format, which must
// decode for ever.
//
// # Columns
//
// PostgreSQL has a column for each field, of the key too. A list or a map is one
// bytea: a format byte, which is 1 today, then the same bytes as in a value.
// Neither jsonb nor an array of text can hold every string that a map may (no
// zero byte, nothing but UTF-8). An empty list is NULL, which costs a bit.
package row
