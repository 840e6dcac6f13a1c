// Package wire is the JSON of the contract: one struct per definition of the
// OpenAPI files, and the codec that writes and reads them.
//
// A struct holds the union of all api-versions. A field that not every version
// has carries the span in which it is alive:
//
//	Metadata map[string]string `json:"metadata,omitzero" since:"2021-09-07"`
//
// Encode writes exactly the fields alive at a version, in the order of the
// struct; Decode reads exactly those and passes over everything else. So
// whoever fills or reads a struct never asks for the version.
//
// Two more tags are for requests. A field with required:"true" must be there and
// not empty. A field with null:"{}" takes null for that JSON text: in a merge
// patch null says something.
//
// The zero value of a field marked omitzero is absent, and so is null. That is
// why a list that may be empty but present, as attachments, is a slice that is
// not nil.
package wire
