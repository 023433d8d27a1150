package nft

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Rule is a sequence of matches that ends in a statement, in both of its forms.
type Rule struct {
	Text  string
	exprs []expr.Any
}

// Part is a piece of a rule.
type Part struct {
	text  string
	exprs []expr.Any
}

// NewRule joins parts; a part is evaluated only if all before it matched.
func NewRule(parts ...Part) Rule {
	var r Rule
	texts := make([]string, len(parts))
	for i, p := range parts {
		texts[i] = p.text
		r.exprs = append(r.exprs, p.exprs...)
	}
	r.Text = strings.Join(texts, "; ")
	return r
}

// Reg is a 32-bit register, 8 to 23. Values longer than four bytes take the registers that follow.
type Reg uint32

// scratch holds the value of a simple match; keys and data are kept in other registers only where a rule needs both.
const scratch Reg = 23

// Field is something of a packet that a key can be made of.
type Field int8

// The fields.
const (
	SAddr    Field = iota
	DAddr          // destination address
	AnyAddr        // the zero address: the key of what holds for every address of the node
	Proto          // transport protocol
	SPort          // source port
	DPort          // destination port
	Random         // a random number below the modulus given to FieldsRandom
	FirstNum       // the offset given to FieldsRandom
)

// Fields loads fields one after the other into registers from at on: the key of a set.
func (f Family) Fields(at Reg, fields ...Field) Part { return f.FieldsRandom(at, 0, 0, fields...) }

// FieldsRandom is Fields with a modulus and an offset for the field Random: offset plus a random number below modulus.
func (f Family) FieldsRandom(at Reg, modulus, offset uint32, fields ...Field) Part {
	var p Part
	names := make([]string, len(fields))
	r := at
	for i, fd := range fields {
		e, name, width := f.load(fd, r, modulus, offset)
		p.exprs = append(p.exprs, e)
		names[i] = name
		r += Reg(width)
	}
	p.text = fmt.Sprintf("load %s -> r%d", strings.Join(names, " . "), at)
	return p
}

// load is the expression that puts one field into a register, its name, and how many registers it takes.
func (f Family) load(fd Field, r Reg, modulus, offset uint32) (expr.Any, string, int) {
	reg := uint32(r)
	n := Addr.size(f)
	saddr, daddr := uint32(12), uint32(16)
	if f == IPv6 {
		saddr, daddr = 8, 24
	}
	switch fd {
	case SAddr:
		return &expr.Payload{DestRegister: reg, Base: expr.PayloadBaseNetworkHeader, Offset: saddr, Len: uint32(n)}, "saddr", n / 4
	case DAddr:
		return &expr.Payload{DestRegister: reg, Base: expr.PayloadBaseNetworkHeader, Offset: daddr, Len: uint32(n)}, "daddr", n / 4
	case AnyAddr:
		return &expr.Immediate{Register: reg, Data: make([]byte, n)}, "any", n / 4
	case Proto:
		return &expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg}, "proto", 1
	case SPort:
		return &expr.Payload{DestRegister: reg, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 2}, "sport", 1
	case DPort:
		return &expr.Payload{DestRegister: reg, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2}, "dport", 1
	case Random:
		name := fmt.Sprintf("random mod %d", modulus)
		if offset != 0 {
			name += fmt.Sprintf(" offset %d", offset)
		}
		return &expr.Numgen{Register: reg, Modulus: modulus, Type: unix.NFT_NG_RANDOM, Offset: offset}, name, 1
	default:
		return &expr.Immediate{Register: reg, Data: binaryutil.NativeEndian.PutUint32(offset)}, fmt.Sprint(offset), 1
	}
}

// AddrRegs is how many registers an address takes.
func (f Family) AddrRegs() Reg { return Reg(Addr.size(f) / 4) }

// Vmap looks the key at r up in a verdict map and takes its verdict; without an entry the rule ends.
func Vmap(r Reg, set string) Part {
	return Part{fmt.Sprintf("vmap r%d @%s", r, set), []expr.Any{
		&expr.Lookup{SourceRegister: uint32(r), SetName: set, IsDestRegSet: true, DestRegister: unix.NFT_REG_VERDICT}}}
}

// In matches where the key at r is in the set.
func In(r Reg, set string) Part {
	return Part{fmt.Sprintf("r%d in @%s", r, set), []expr.Any{&expr.Lookup{SourceRegister: uint32(r), SetName: set}}}
}

// NotIn matches where the key at r is not in the set.
func NotIn(r Reg, set string) Part {
	return Part{fmt.Sprintf("r%d not in @%s", r, set), []expr.Any{&expr.Lookup{SourceRegister: uint32(r), SetName: set, Invert: true}}}
}

// Map looks the key at r up in a map and loads what it gives into to; without an entry the rule ends.
func Map(r Reg, set string, to Reg) Part {
	return Part{fmt.Sprintf("map r%d @%s -> r%d", r, set, to), []expr.Any{
		&expr.Lookup{SourceRegister: uint32(r), SetName: set, IsDestRegSet: true, DestRegister: uint32(to)}}}
}

// Remember puts key -> data into a dynamic map, or renews it, for d.
func Remember(key Reg, set string, data Reg, d time.Duration) Part {
	return Part{fmt.Sprintf("update @%s r%d : r%d for %s", set, key, data, seconds(d)), []expr.Any{&expr.Dynset{
		SrcRegKey: uint32(key), SrcRegData: uint32(data), SetName: set, Operation: unix.NFT_DYNSET_OP_UPDATE, Timeout: d}}}
}

// DNAT sends the connection to the address in r and the port in the register after it.
func (f Family) DNAT(r Reg) Part {
	return Part{fmt.Sprintf("dnat r%d", r), []expr.Any{&expr.NAT{
		Type: expr.NATTypeDestNAT, Family: uint32(f), RegAddrMin: uint32(r), RegProtoMin: uint32(r + f.AddrRegs()), Specified: true}}}
}

// Masquerade gives the connection the address of the interface it leaves by, and a random port.
func Masquerade() Part { return Part{"masquerade", []expr.Any{&expr.Masq{FullyRandom: true}}} }

// Reject answers with "port unreachable".
func (f Family) Reject() Part {
	code := uint8(3)
	if f == IPv6 {
		code = 4
	}
	return Part{"reject", []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_ICMP_UNREACH, Code: code}}}
}

// ResetTCP matches TCP and answers with a reset.
func ResetTCP() Part {
	return Part{"tcp; reject with reset", []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: uint32(scratch)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: uint32(scratch), Data: []byte{unix.IPPROTO_TCP}},
		&expr.Reject{Type: unix.NFT_REJECT_TCP_RST}}}
}

// Then ends a rule with a verdict.
func Then(v Verdict) Part {
	kind, text := v.kernel()
	return Part{strings.TrimSpace(text + " " + v.Chain), []expr.Any{&expr.Verdict{Kind: kind, Chain: v.Chain}}}
}

func (v Verdict) kernel() (expr.VerdictKind, string) {
	switch v.Kind {
	case Goto:
		return expr.VerdictGoto, "goto"
	case Jump:
		return expr.VerdictJump, "jump"
	case Drop:
		return expr.VerdictDrop, "drop"
	default:
		return expr.VerdictReturn, "return"
	}
}

// Within matches packets whose field (SAddr or DAddr) lies in the prefix, which is of the family.
func (f Family) Within(fd Field, p netip.Prefix) Part { return f.prefix(fd, p, expr.CmpOpEq, "in") }

// Outside matches packets whose field (SAddr or DAddr) lies outside the prefix.
func (f Family) Outside(fd Field, p netip.Prefix) Part {
	return f.prefix(fd, p, expr.CmpOpNeq, "not in")
}

func (f Family) prefix(fd Field, p netip.Prefix, op expr.CmpOp, word string) Part {
	n := Addr.size(f)
	at := scratch + 1 - Reg(n/4)
	load, name, _ := f.load(fd, at, 0, 0)
	mask := make([]byte, n)
	for i := range p.Bits() {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	return Part{fmt.Sprintf("%s %s %s", name, word, p.Masked()), []expr.Any{
		load,
		&expr.Bitwise{SourceRegister: uint32(at), DestRegister: uint32(at), Len: uint32(n), Mask: mask, Xor: make([]byte, n)},
		&expr.Cmp{Op: op, Register: uint32(at), Data: p.Masked().Addr().AsSlice()}}}
}

// Local matches packets whose field (SAddr or DAddr) is an address of this machine.
func Local(fd Field) Part { return fib(fd, expr.CmpOpEq, "local") }

// NotLocal matches packets whose field (SAddr or DAddr) is no address of this machine.
func NotLocal(fd Field) Part { return fib(fd, expr.CmpOpNeq, "not local") }

func fib(fd Field, op expr.CmpOp, word string) Part {
	name := "daddr"
	if fd == SAddr {
		name = "saddr"
	}
	return Part{name + " " + word, []expr.Any{
		&expr.Fib{Register: uint32(scratch), ResultADDRTYPE: true, FlagSADDR: fd == SAddr, FlagDADDR: fd != SAddr},
		&expr.Cmp{Op: op, Register: uint32(scratch), Data: binaryutil.NativeEndian.PutUint32(unix.RTN_LOCAL)}}}
}

// FromLink matches packets that came in by the link; an empty name matches any.
func FromLink(name string) Part { return link(expr.MetaKeyIIFNAME, "iif", name, expr.CmpOpEq) }

// NotFromLink matches packets that came in by another link.
func NotFromLink(name string) Part { return link(expr.MetaKeyIIFNAME, "iif not", name, expr.CmpOpNeq) }

func link(key expr.MetaKey, word, name string, op expr.CmpOp) Part {
	if name == "" {
		return Part{text: "any link"}
	}
	at := scratch - 3 // a name takes four registers
	padded := make([]byte, unix.IFNAMSIZ)
	copy(padded, name)
	return Part{word + " " + name, []expr.Any{
		&expr.Meta{Key: key, Register: uint32(at)}, &expr.Cmp{Op: op, Register: uint32(at), Data: padded}}}
}

// NewConnection matches the first packet of a connection.
func NewConnection() Part {
	return ctBits("ct state new", expr.CtKeySTATE, expr.CtStateBitNEW)
}

// Redirected matches connections whose destination was rewritten.
func Redirected() Part {
	const dstNAT = 1 << 5 // IPS_DST_NAT
	return ctBits("ct status dnat", expr.CtKeySTATUS, dstNAT)
}

func ctBits(text string, key expr.CtKey, bits uint32) Part {
	return Part{text, []expr.Any{
		&expr.Ct{Key: key, Register: uint32(scratch)},
		mask(bits, 0),
		&expr.Cmp{Op: expr.CmpOpNeq, Register: uint32(scratch), Data: make([]byte, 4)}}}
}

func mask(and, xor uint32) *expr.Bitwise {
	return &expr.Bitwise{SourceRegister: uint32(scratch), DestRegister: uint32(scratch), Len: 4,
		Mask: binaryutil.NativeEndian.PutUint32(and), Xor: binaryutil.NativeEndian.PutUint32(xor)}
}

// Mark sets bits of the packet's mark.
func Mark(bits uint32) Part {
	return Part{fmt.Sprintf("mark set %#x", bits), []expr.Any{
		&expr.Meta{Key: expr.MetaKeyMARK, Register: uint32(scratch)},
		mask(^bits, bits),
		&expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: uint32(scratch)}}}
}

// Unmark clears bits of the packet's mark.
func Unmark(bits uint32) Part {
	return Part{fmt.Sprintf("mark clear %#x", bits), []expr.Any{
		&expr.Meta{Key: expr.MetaKeyMARK, Register: uint32(scratch)},
		mask(^bits, 0),
		&expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: uint32(scratch)}}}
}

// Marked matches packets whose mark has any of the bits.
func Marked(bits uint32) Part {
	return Part{fmt.Sprintf("mark has %#x", bits), []expr.Any{
		&expr.Meta{Key: expr.MetaKeyMARK, Register: uint32(scratch)},
		mask(bits, 0),
		&expr.Cmp{Op: expr.CmpOpNeq, Register: uint32(scratch), Data: make([]byte, 4)}}}
}
