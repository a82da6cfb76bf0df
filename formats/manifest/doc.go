// Package manifest reads and writes the list of the signed files of one image.
//
// A manifest is a text file: a header line, then one line for each name of each file, sorted by file
// system and path. Each line is one JSON object. An entry contains the file's security.ima value, so
// that a later build can reuse it. The field "label" says whether that value is a signature, a digest,
// or missing.
//
// The form is canonical: there is exactly one way to write a given manifest. The Writer writes it, and
// the Reader refuses everything else:
//
//   - a field that is unknown, missing, doubled or out of order
//   - different spacing
//   - another format number
//   - entries that are out of order or doubled
//   - a value that contradicts its entry
//   - a line without a newline, or longer than MaxLine
//   - a number of entries that differs from the header
//
// A manifest has no signature of its own. It is as trustworthy as the place where it is kept.
package manifest
