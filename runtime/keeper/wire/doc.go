// Package wire is the language between the daemon and a keeper, and between a keeper and the first stage of a container:
// frames, and messages as flat fields without field numbers, because both ends are built from one source and carried in
// one binary. Version is checked once per keeper (see Setup); a daemon that meets another version of keeper after an
// upgrade still understands it as long as fields are only ever added at the end of a message: a decoder reads what is
// missing as zero and ignores what follows.
//
// A frame is a little-endian uint32 length of the payload, one byte of kind, and the payload. A message is its fields in
// order: numbers as (zigzag) uvarints, strings and byte strings with a uvarint length before them, lists with a uvarint
// count. The worked example: `Signal{ID: "c1", Signal: 15}` asked over a connection is
//
//	05 00 00 00  'k'  02 'c' '1'  1e  00      length 5, kind KindSignal, "c1", zigzag(15), all=false
//
// and the answer is `00 00 00 00 'O'`, or `'E'` with the text of an error.
//
// It imports the standard library only, and little of it: everything here is resident once per pod. Read wire.go, then
// messages.go.
package wire
