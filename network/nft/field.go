package nft

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"

	"github.com/google/nftables"
)

// Type is the type of one field of a key or value.
type Type int8

// The types of fields.
const (
	Addr   Type = iota // an address of the table's family
	L4                 // transport protocol: 6, 17, 132
	Port               // transport port
	Number             // 32 bits, host byte order
)

func (t Type) size(f Family) int {
	if t == Addr && f == IPv6 {
		return 16
	}
	return 4 // padded
}

func (t Type) kernel(f Family) nftables.SetDatatype {
	switch t {
	case Addr:
		if f == IPv6 {
			return nftables.TypeIP6Addr
		}
		return nftables.TypeIPAddr
	case L4:
		return nftables.TypeInetProto
	case Port:
		return nftables.TypeInetService
	default:
		return nftables.TypeMark // four bytes in host order, as numgen gives them
	}
}

func concat(f Family, types []Type) nftables.SetDatatype {
	if len(types) == 1 {
		return types[0].kernel(f)
	}
	parts := make([]nftables.SetDatatype, len(types))
	for i, t := range types {
		parts[i] = t.kernel(f)
	}
	return nftables.MustConcatSetType(parts...)
}

// A Key builds the raw bytes of a key or value, field by field.
type Key []byte

// Addr appends an address. It must be of the table's family; the zero address of a family stands for "any" where a rule says so.
func (k Key) Addr(a netip.Addr) Key { return append(k, a.AsSlice()...) }

// L4 appends a transport protocol.
func (k Key) L4(proto uint8) Key { return append(k, proto, 0, 0, 0) }

// Port appends a port.
func (k Key) Port(p uint16) Key { return append(binary.BigEndian.AppendUint16(k, p), 0, 0) }

// Number appends a number.
func (k Key) Number(n uint32) Key { return binary.NativeEndian.AppendUint32(k, n) }

// AddrAt reads the address at byte offset i of a raw key or value.
func AddrAt(f Family, raw string, i int) (netip.Addr, bool) {
	n := Addr.size(f)
	if i+n > len(raw) {
		return netip.Addr{}, false
	}
	return netip.AddrFromSlice([]byte(raw[i : i+n]))
}

// PortAt reads the port at byte offset i of a raw key or value.
func PortAt(raw string, i int) uint16 {
	if i+2 > len(raw) {
		return 0
	}
	return uint16(raw[i])<<8 | uint16(raw[i+1])
}

// NumberAt reads the number at byte offset i of a raw key or value.
func NumberAt(raw string, i int) uint32 {
	if i+4 > len(raw) {
		return 0
	}
	return binary.NativeEndian.Uint32([]byte(raw[i : i+4]))
}

func typesText(types []Type) string {
	names := make([]string, len(types))
	for i, t := range types {
		names[i] = [...]string{"addr", "proto", "port", "number"}[t]
	}
	return strings.Join(names, " . ")
}

// fieldsText shows raw bytes by their types; bytes that do not fit are shown in hexadecimal.
func fieldsText(types []Type, raw string) string {
	f := IPv4
	if want := len(raw); want != size(IPv4, types) {
		f = IPv6
		if want != size(IPv6, types) {
			return fmt.Sprintf("%x", raw)
		}
	}
	parts := make([]string, len(types))
	for i, t := range types {
		field := raw[:t.size(f)]
		raw = raw[t.size(f):]
		switch t {
		case Addr:
			a, _ := AddrAt(f, field, 0)
			parts[i] = a.String()
		case L4:
			parts[i] = protoName(field[0])
		case Port:
			parts[i] = fmt.Sprint(PortAt(field, 0))
		case Number:
			parts[i] = fmt.Sprint(NumberAt(field, 0))
		}
	}
	return strings.Join(parts, " . ")
}

func size(f Family, types []Type) int {
	n := 0
	for _, t := range types {
		n += t.size(f)
	}
	return n
}

func protoName(p uint8) string {
	switch p {
	case 6:
		return "tcp"
	case 17:
		return "udp"
	case 132:
		return "sctp"
	}
	return fmt.Sprint(p)
}
