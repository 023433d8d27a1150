package supervise

import (
	"bytes"
	"time"

	"golang.org/x/sys/unix"

	"proa.dev/runtime/keeper/wire"
)

// maxLine is the longest piece of a line in a log entry, in bytes, as CRI runtimes have it. Longer lines are split: all
// pieces but the last are marked P.
const maxLine = 16 << 10

// batch is from how many bytes on entries are written: all that one read brings, as a rule.
const batch = 64 << 10

// maxHead is more than what stands before the text of an entry.
const maxHead = 64

// write appends output to the log as CRI log entries: `<RFC 3339 time with nanoseconds> stdout F <line>`. What does not
// end a line waits for its end, or for maxLine bytes. The caller holds k.scratchMu.
func (o *output) write(p []byte, stream byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.pieces++
	if o.log < 0 {
		return
	}
	tail := &o.tails[stream-wire.KindStdout]
	var space [maxHead]byte
	head := header(space[:0], time.Now(), stream)
	if o.k.lines == nil {
		o.k.lines = make([]byte, 0, batch+maxHead+maxLine+1) // what is never written to costs nothing
	}
	lines := o.k.lines[:0]
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		room := maxLine - len(*tail)
		switch {
		case i >= 0 && i <= room:
			lines = entry(lines, head, 'F', *tail, p[:i])
			*tail, p = (*tail)[:0], p[i+1:]
		case len(p) >= room:
			lines = entry(lines, head, 'P', *tail, p[:room])
			*tail, p = (*tail)[:0], p[room:]
		default:
			*tail = append(*tail, p...)
			p = nil
		}
		if len(lines) > batch {
			o.flush(lines)
			lines = lines[:0]
		}
	}
	o.flush(lines)
}

// end writes the unfinished line of a stream that has ended, as a piece: a reader must not add a newline that nobody wrote.
func (o *output) end(stream byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	tail := &o.tails[stream-wire.KindStdout]
	if o.log >= 0 && len(*tail) > 0 {
		o.flush(entry(nil, header(nil, time.Now(), stream), 'P', *tail, nil))
	}
	*tail = nil
}

// header is what all entries of one moment begin with.
func header(b []byte, now time.Time, stream byte) []byte {
	b = now.UTC().AppendFormat(b, time.RFC3339Nano)
	if stream == wire.KindStderr {
		return append(b, " stderr F "...)
	}
	return append(b, " stdout F "...)
}

// entry appends one log entry for a line that comes in two parts.
func entry(b, header []byte, tag byte, head, rest []byte) []byte {
	b = append(b, header...)
	b[len(b)-2] = tag
	b = append(b, head...)
	b = append(b, rest...)
	return append(b, '\n')
}

// flush writes entries. A disk that is full loses them: a container must not stop because its log cannot be written.
func (o *output) flush(lines []byte) {
	for len(lines) > 0 {
		n, err := unix.Write(o.log, lines)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n <= 0 {
			return
		}
		lines = lines[n:]
	}
}
