package standby

import (
	"encoding/binary"
	"net/netip"
	"strings"
)

// Numbers of RFC 1035 and RFC 3596.
const (
	typeA     = 1
	typeCNAME = 5
	typeAAAA  = 28
	typeANY   = 255
	classIN   = 1

	rcodeOK       = 0
	rcodeFormat   = 1
	rcodeServFail = 2
	rcodeNXDomain = 3
	rcodeNotImpl  = 4

	headerLen = 12
	ttl       = 5
	maxUDP    = 1232 // what passes every network in one piece
	pointer   = 0xC00C
)

// question is what a query asks.
type question struct {
	name  string // in lower case, with a dot at the end
	qtype uint16
	end   int // where the question ends in the packet
}

// read finds the one question of a query. ok is false for what deserves no answer: not even a header, or an answer itself.
func read(in []byte) (q question, rcode byte, ok bool) {
	if len(in) < headerLen || in[2]&0x80 != 0 {
		return q, 0, false
	}
	if in[2]&0x78 != 0 {
		return q, rcodeNotImpl, true
	}
	if binary.BigEndian.Uint16(in[4:]) != 1 {
		return q, rcodeFormat, true
	}
	var name strings.Builder
	at := headerLen
	for {
		if at >= len(in) {
			return q, rcodeFormat, true
		}
		l := int(in[at])
		at++
		if l == 0 {
			break
		}
		if l > 63 || at+l > len(in) || name.Len()+l > 254 {
			return q, rcodeFormat, true
		}
		name.WriteString(strings.ToLower(string(in[at : at+l])))
		name.WriteByte('.')
		at += l
	}
	if at+4 > len(in) {
		return q, rcodeFormat, true
	}
	q = question{name.String(), binary.BigEndian.Uint16(in[at:]), at + 4}
	if binary.BigEndian.Uint16(in[at+2:]) != classIN {
		return q, rcodeNotImpl, true
	}
	return q, rcodeOK, true
}

// Answer answers a query for a name of the cluster. forward is true for other names, and for none is the answer nil if the packet deserves
// none.
func (t *Table) Answer(in []byte) (answer []byte, forward bool) {
	q, rcode, ok := read(in)
	if !ok {
		return nil, false
	}
	if rcode != rcodeOK {
		return reply(in, q, rcode), false
	}
	if q.name != t.Domain && !strings.HasSuffix(q.name, "."+t.Domain) {
		return nil, true
	}
	if to, ok := t.Aliases[q.name]; ok {
		return appendAlias(reply(in, q, rcodeOK), to), false
	}
	addrs, known := t.Names[q.name]
	switch {
	case q.qtype != typeA && q.qtype != typeAAAA && q.qtype != typeANY:
		return reply(in, q, rcodeServFail), false // the daemon knows, and will be back
	case !known && !t.parent(q.name):
		return reply(in, q, rcodeNXDomain), false
	}
	out := reply(in, q, rcodeOK)
	for _, a := range addrs {
		out = appendAddr(out, a, q.qtype)
	}
	return out, false
}

// parent says whether there are names below name, so that it exists without being anything itself.
func (t *Table) parent(name string) bool {
	for n := range t.Names {
		if strings.HasSuffix(n, "."+name) {
			return true
		}
	}
	return name == t.Domain
}

// reply is the header and the question of an answer, without records.
func reply(in []byte, q question, rcode byte) []byte {
	end := max(q.end, headerLen)
	if q.end == 0 {
		end = headerLen
	}
	out := append(make([]byte, 0, 256), in[:end]...)
	out[2] = 0x84 | in[2]&0x01 // an answer, authoritative, recursion as desired
	out[3] = 0x80 | rcode      // recursion available
	clear(out[4:headerLen])
	if q.end != 0 {
		out[5] = 1
	}
	return out
}

func appendAddr(out []byte, a netip.Addr, qtype uint16) []byte {
	kind := uint16(typeA)
	if a.Is6() {
		kind = typeAAAA
	}
	if qtype != kind && qtype != typeANY {
		return out
	}
	return appendRecord(out, kind, a.AsSlice())
}

func appendAlias(out []byte, to string) []byte {
	var data []byte
	for label := range strings.SplitSeq(strings.TrimSuffix(to, "."), ".") {
		if len(label) == 0 || len(label) > 63 {
			out[3] = out[3]&^0x0F | rcodeServFail
			return out
		}
		data = append(append(data, byte(len(label))), label...)
	}
	return appendRecord(out, typeCNAME, append(data, 0))
}

// appendRecord adds one record about the question's name, or marks the answer as cut short.
func appendRecord(out []byte, kind uint16, data []byte) []byte {
	if len(out)+12+len(data) > maxUDP {
		out[2] |= 0x02
		return out
	}
	out = binary.BigEndian.AppendUint16(out, pointer)
	out = binary.BigEndian.AppendUint16(out, kind)
	out = binary.BigEndian.AppendUint16(out, classIN)
	out = binary.BigEndian.AppendUint32(out, ttl)
	out = binary.BigEndian.AppendUint16(out, uint16(len(data)))
	out = append(out, data...)
	binary.BigEndian.PutUint16(out[6:], binary.BigEndian.Uint16(out[6:])+1)
	return out
}
