package standby

import (
	"bufio"
	"bytes"
	"fmt"
	"net/netip"
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
	fmt.Fprintf(&b, "domain %s\n", t.Domain)
	for _, a := range t.Listen {
		fmt.Fprintf(&b, "listen %s\n", a)
	}
	for _, a := range t.Upstreams {
		fmt.Fprintf(&b, "upstream %s\n", a)
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
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
	}
	return t, in.Err()
}

func (t *Table) line(f []string) error {
	if len(f) < 2 {
		return fmt.Errorf("%d words", len(f))
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
			return fmt.Errorf("an alias of %d words", len(f))
		}
		t.Aliases[f[1]] = f[2]
	default:
		return fmt.Errorf("unknown word %q", f[0])
	}
	return nil
}
