package standby

import (
	"bufio"
	"bytes"
	"errors"
	"net/netip"
	"strconv"
	"strings"
)

// Table is what the standby knows. Names are absolute, in lower case, with a dot at the end.
type Table struct {
	Domain    string
	Listen    []netip.AddrPort
	Upstreams []netip.AddrPort
	Names     map[string][]netip.Addr
	Aliases   map[string]string
}

// Encode is the form of the file.
func (t *Table) Encode() []byte {
	var b bytes.Buffer
	b.WriteString("domain " + t.Domain + "\n")
	for _, a := range t.Listen {
		b.WriteString("listen " + a.String() + "\n")
	}
	for _, a := range t.Upstreams {
		b.WriteString("upstream " + a.String() + "\n")
	}
	for name, addrs := range t.Names {
		b.WriteString("name " + name)
		for _, a := range addrs {
			b.WriteString(" " + a.String())
		}
		b.WriteByte('\n')
	}
	for name, to := range t.Aliases {
		b.WriteString("alias " + name + " " + to + "\n")
	}
	return b.Bytes()
}

// Decode reads what Encode wrote. It names the line that is wrong.
func Decode(data []byte) (*Table, error) {
	t := &Table{Names: map[string][]netip.Addr{}, Aliases: map[string]string{}}
	in := bufio.NewScanner(bytes.NewReader(data))
	in.Buffer(nil, 1<<20) // a headless service may have thousands of addresses
	for n := 1; in.Scan(); n++ {
		if err := t.line(strings.Fields(in.Text())); err != nil {
			return nil, errors.New("line " + strconv.Itoa(n) + ": " + err.Error())
		}
	}
	return t, in.Err()
}

func (t *Table) line(f []string) error {
	if len(f) < 2 {
		return errors.New("too few words")
	}
	switch f[0] {
	case "domain":
		t.Domain = f[1]
	case "listen", "upstream":
		a, err := netip.ParseAddrPort(f[1])
		if err != nil {
			return err
		}
		if f[0] == "listen" {
			t.Listen = append(t.Listen, a)
		} else {
			t.Upstreams = append(t.Upstreams, a)
		}
	case "name":
		addrs := make([]netip.Addr, 0, len(f)-2)
		for _, s := range f[2:] {
			a, err := netip.ParseAddr(s)
			if err != nil {
				return err
			}
			addrs = append(addrs, a)
		}
		t.Names[f[1]] = addrs
	case "alias":
		if len(f) != 3 {
			return errors.New("an alias is a name and its target")
		}
		t.Aliases[f[1]] = f[2]
	default:
		return errors.New("unknown word " + strconv.Quote(f[0]))
	}
	return nil
}
