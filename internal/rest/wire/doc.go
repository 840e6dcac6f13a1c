// Package wire is the JSON of the contract: one struct per definition of the
// OpenAPI files, and the codec that writes and reads them.
//
// A struct holds the union of all api-versions. A field that not every version has
// carries the span of versions in which it exists:
//
//	Metadata map[string]string `json:"metadata,omitzero" since:"2021-09-07"`
//
// Encode writes exactly the fields of a version, in the order of the struct; Decode
// reads exactly those and ignores everything else. So code that fills or reads a
// struct never asks for the version.
//
// Two more tags are for requests. A field with required:"true" must be present and
// not empty. A field with null:"{}" reads null as that JSON text: in a merge patch
// null has a meaning.
//
// A field marked omitzero is left out when it is zero. A list that is present though
// empty, such as attachments, is therefore a slice that is not nil.
package wire
