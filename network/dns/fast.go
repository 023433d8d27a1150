package dns

import (
	"bytes"
	"encoding/binary"
	"net/netip"
)

// fast answers the most common queries over UDP straight from the packet: A or AAAA of a Service with a cluster IP, and the names
// that search paths make of others and that do not exist. It appends the answer to out. ok is false for everything else, which
// takes the way by miekg/dns; both ways give the same answers.
func (z *zone) fast(in, out []byte) (answer []byte, ok bool) {
	const header = 12
	// One question, no answer or authority, at most one additional record; a plain query, whose bits RD, AD and CD may be set.
	if len(in) < header+5 || in[2]&^0x01 != 0 || in[3]&^0x30 != 0 ||
		!bytes.Equal(in[4:10], []byte{0, 1, 0, 0, 0, 0}) || in[10] != 0 || in[11] > 1 {
		return nil, false
	}
	var nameBuf [255]byte
	name, end := readName(in[header:], nameBuf[:0])
	end += header
	if name == nil || len(in) < end+4 {
		return nil, false
	}
	qtype, class := binary.BigEndian.Uint16(in[end:]), binary.BigEndian.Uint16(in[end+2:])
	if class != 1 || (qtype != typeA && qtype != typeAAAA) {
		return nil, false
	}
	end += 4
	edns := in[11] == 1
	// The OPT record: root, type 41, size, zero extended code and version, flags without DO, no options.
	if edns && (len(in) != end+11 || in[end] != 0 || in[end+1] != 0 || in[end+2] != 41 || !bytes.Equal(in[end+5:end+11], make([]byte, 6))) {
		return nil, false
	}
	if !edns && len(in) != end {
		return nil, false
	}
	labels, ok := z.labels(name)
	if !ok {
		return nil, false
	}
	e, exists, ok := z.fastLookup(labels)
	if !ok {
		return nil, false
	}
	if !exists {
		return z.writeEmpty(in[:end], out, nameError, edns)
	}
	if answer, ok = writeAnswer(in[:end], out, e.addrs, qtype, edns); !ok && !hasFamily(e.addrs, qtype) {
		return z.writeEmpty(in[:end], out, noError, edns)
	}
	return answer, ok
}

const (
	noError   = 0
	nameError = 3
)

// fastLookup finds the Service that labels (without the domain) name, or that there is no such name.
func (z *zone) fastLookup(labels []byte) (e *entry, exists, ok bool) {
	i := bytes.LastIndexByte(labels, '.')
	switch string(labels[i+1:]) {
	case "pod", "dns", "dns-version":
		return nil, false, false
	case "svc":
	default:
		return nil, false, true // only those are below the domain
	}
	if i < 0 {
		return nil, false, false
	}
	key, extra := labels[:i], false
	if j := bytes.LastIndexByte(key, '.'); j < 0 {
		return nil, false, false // a namespace
	} else if k := bytes.LastIndexByte(key[:j], '.'); k >= 0 {
		key, extra = key[k+1:], true
	}
	z.index.mu.RLock()
	e = z.index.services[string(key)] // no copy: the compiler knows
	z.index.mu.RUnlock()
	if e == nil {
		return nil, false, true
	}
	return e, true, !extra && !e.headless && e.external == ""
}

func hasFamily(addrs []netip.Addr, qtype uint16) bool {
	for _, a := range addrs {
		if a.Is4() == (qtype == typeA) {
			return true
		}
	}
	return false
}

const (
	typeA    = 1
	typeAAAA = 28
)

// readName reads an uncompressed name in lower case, with dots, and how many bytes it takes; nil if it is no such name.
func readName(in, buf []byte) (name []byte, n int) {
	for {
		if n >= len(in) {
			return nil, 0
		}
		l := int(in[n])
		n++
		if l == 0 {
			return buf, n
		}
		if l > 63 || n+l > len(in) || len(buf)+l+1 > cap(buf) {
			return nil, 0
		}
		for _, c := range in[n : n+l] {
			if 'A' <= c && c <= 'Z' {
				c += 'a' - 'A'
			}
			if c == '.' || c == '\\' {
				return nil, 0 // would need escapes
			}
			buf = append(buf, c)
		}
		buf = append(buf, '.')
		n += l
	}
}

// labels is what a name has before the domain, without the dot between: "web.shop.svc". ok is false for the domain itself and for
// names outside it.
func (z *zone) labels(name []byte) (labels []byte, ok bool) {
	i := len(name) - len(z.domain)
	if i < 2 || name[i-1] != '.' || string(name[i:]) != z.domain {
		return nil, false
	}
	return name[:i-1], true
}

// head writes header and question of an authoritative answer; query is those of the question.
func head(query, out []byte, code byte) []byte {
	out = append(out, query...)
	out[2] = 0x84 | query[2]&0x01 // response, authoritative; RD as asked
	out[3] = 0x80 | query[3]&0x10 | code
	out[10], out[11] = 0, 0
	return out
}

// tail adds the OPT record if the client sent one.
func tail(out []byte, edns bool) []byte {
	if !edns {
		return out
	}
	out[11] = 1
	return append(out, 0, 0, 41, maxUDP>>8, maxUDP&0xff, 0, 0, 0, 0, 0, 0)
}

// writeEmpty writes an answer without records, with the SOA for negative caching. Names of the SOA point into the question, so
// the question must have the domain in lower case: else ok is false.
func (z *zone) writeEmpty(query, out []byte, code byte, edns bool) (answer []byte, ok bool) {
	at := len(query) - 4 - len(z.domain) - 1 // the domain in its wire form is one byte longer than its text
	if at < 12 || !bytes.Equal(query[at:len(query)-4], z.wire) {
		return nil, false
	}
	out = head(query, out, code)
	p := [2]byte{0xc0 | byte(at>>8), byte(at)}
	out[8], out[9] = 0, 1
	out = append(out, p[0], p[1], 0, 6, 0, 1, 0, 0, 0, ttl, 0, 42)
	out = append(append(out, "\x02ns\x03dns"...), p[:]...)
	out = append(append(out, "\x0ahostmaster"...), p[:]...)
	for _, n := range [5]uint32{soaSerial, soaRefresh, soaRetry, soaExpire, ttl} {
		out = binary.BigEndian.AppendUint32(out, n)
	}
	out = tail(out, edns)
	return out, len(out) <= minUDP
}

// writeAnswer writes an authoritative answer; query is header and question. Without an address of the type ok is false.
func writeAnswer(query, out []byte, addrs []netip.Addr, qtype uint16, edns bool) (answer []byte, ok bool) {
	out = head(query, out, noError)
	n := 0
	for _, a := range addrs {
		if a.Is4() != (qtype == typeA) {
			continue
		}
		n++
		out = append(out, 0xc0, 12) // the name of the question
		out = binary.BigEndian.AppendUint16(out, qtype)
		out = append(out, 0, 1, 0, 0, 0, ttl)
		if a.Is4() {
			raw := a.As4()
			out = append(append(out, 0, 4), raw[:]...)
		} else {
			raw := a.As16()
			out = append(append(out, 0, 16), raw[:]...)
		}
	}
	if n == 0 || len(out) > minUDP {
		return nil, false
	}
	binary.BigEndian.PutUint16(out[6:], uint16(n))
	return tail(out, edns), true
}
