// Package manifest reads and writes the list of what was labelled in one image.
//
// A manifest is text in lines: a header, then one line for each name of each
// file, sorted by file system and path. Each line is one JSON object. It carries
// the label values themselves, so that a later build can take over what it
// already has.
//
// The form is canonical. There is exactly one way to write a given manifest, the
// Writer writes it, and the Reader refuses everything else: a field that is
// unknown, missing, doubled or out of order, other spacing, another format
// number, entries out of order or twice, a label that contradicts its entry, a
// line without an end, a line above MaxLine bytes, another number of entries than
// the header announces. It carries no signature of its own: a manifest is as
// trustworthy as the place where it is kept.
package manifest
